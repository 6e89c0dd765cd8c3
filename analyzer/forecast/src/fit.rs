//! How to estimate a model.

use crate::{FitError, Fitted, Order};
use serde::{Deserialize, Serialize};

/// What is made as small, or as large, as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The exact Gaussian likelihood.
    #[default]
    Exact,
    /// The conditional sum of squares: the innovations before the first p values are taken as zero. Quicker,
    /// and nearly the same on long series away from unit roots.
    Conditional,
    /// Nothing: the coefficients were given.
    Given,
}

/// How to estimate a model of an order.
#[derive(Clone, Debug)]
pub struct Fit {
    order: Order,
    method: Method,
}

impl Fit {
    /// By exact maximum likelihood.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order, method: Method::Exact }
    }

    /// Estimates.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit(&self, series: &[f64]) -> Result<Fitted, FitError> {
        let _ = (series, self.order, self.method);
        Err(FitError::NoLikelihood)
    }
}
