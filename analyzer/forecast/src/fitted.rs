//! What a series made of a model.

use crate::{Coefficients, Method, Model, Order, State};
use serde::{Deserialize, Serialize};

/// A model with what a series said about it, and the state the series left it in. From [`crate::Fit`], where
/// the coefficients are estimated, or from [`Model::apply`], where they are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    pub(crate) model: Model,
    pub(crate) method: Method,
    /// Maximum-likelihood variance of the innovations, given the coefficients. Above 0.
    pub(crate) sigma2: f64,
    pub(crate) log_likelihood: f64,
    /// Values that are not missing, less d.
    pub(crate) n: usize,
    pub(crate) state: State,
}

impl Fitted {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.model.order()
    }

    /// Its coefficients.
    #[must_use]
    pub fn coefficients(&self) -> &Coefficients {
        self.model.coefficients()
    }

    /// How the coefficients were found.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The state after the last value of the series.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Maximum-likelihood variance of the innovations: `S / n`.
    #[must_use]
    pub fn sigma2(&self) -> f64 {
        self.sigma2
    }

    /// Variance of the innovations with the degrees of freedom of the coefficients taken off: `S / (n - k)`.
    /// With no degree left, that of maximum likelihood.
    #[must_use]
    pub fn sigma2_unbiased(&self) -> f64 {
        let left = self.n.saturating_sub(self.order().coefficients());
        if left == 0 { self.sigma2 } else { self.sigma2 * self.n as f64 / left as f64 }
    }

    /// Logarithm of the exact Gaussian likelihood of the d-times differenced series, with the variance at its
    /// maximum. For a series with missing values: of the values that are there, given the first d of them.
    #[must_use]
    pub fn log_likelihood(&self) -> f64 {
        self.log_likelihood
    }

    /// Values that are not missing, less d: what the information criteria count.
    #[must_use]
    pub fn observations(&self) -> usize {
        self.n
    }

    /// Akaike's criterion: `-2 L + 2 (k + 1)`, where the variance counts as a coefficient.
    #[must_use]
    pub fn aic(&self) -> f64 {
        -2.0 * self.log_likelihood + 2.0 * self.estimated()
    }

    /// Akaike's criterion with the correction for short series of Hurvich and Tsai (1989); infinite if there
    /// are not two values more than coefficients.
    #[must_use]
    pub fn aicc(&self) -> f64 {
        let (n, k) = (self.n as f64, self.estimated());
        if n - k - 1.0 <= 0.0 { f64::INFINITY } else { self.aic() + 2.0 * k * (k + 1.0) / (n - k - 1.0) }
    }

    /// Schwarz's criterion: `-2 L + (k + 1) ln n`.
    #[must_use]
    pub fn bic(&self) -> f64 {
        -2.0 * self.log_likelihood + self.estimated() * (self.n as f64).ln()
    }

    /// Coefficients and the variance.
    fn estimated(&self) -> f64 {
        self.order().coefficients() as f64 + 1.0
    }
}

/// A series without noise: a constant, or a straight line. Its forecast has no width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its value at the last step of the series, also if the series' own is missing there.
    pub last: f64,
    /// Its rise per step.
    pub slope: f64,
}

impl Line {
    /// The values of the next `horizon` steps.
    #[must_use]
    pub fn forecast(&self, horizon: usize) -> Vec<f64> {
        (1..=horizon).map(|step| self.slope.mul_add(step as f64, self.last)).collect()
    }
}
