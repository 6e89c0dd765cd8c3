//! Which order a series has.
//!
//! The number of differences by the test of KPSS, the rest by the corrected criterion of Akaike, which finds the
//! order that forecasts best rather than the true one. A model with a root near the unit circle is no candidate:
//! it is a model of one difference more, or of two terms that cancel.

mod job;
mod stepwise;

pub(crate) use job::select_all;
use stepwise::{Bounds, Steps};

use crate::processor::Instructions;
use crate::{FitError, Fitted, Order};
use serde::{Deserialize, Serialize};

/// How to find the order of a series.
///
/// ```
/// use isotherm_forecast::Select;
///
/// let series: Vec<f64> = (0..60_u8).map(|t| f64::from(t) + f64::from(u16::from(t) * 37 % 11)).collect();
/// let selection = Select::new().select(&series)?;
/// assert_eq!(selection.fitted.order().d(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select {
    exhaustive: bool,
    thorough: bool,
    max_p: usize,
    max_q: usize,
    differences: Option<usize>,
    constant: bool,
}

impl Select {
    /// Stepwise (Hyndman and Khandakar 2008), up to five terms of each kind and two differences. Where the steps end,
    /// orders two steps away are tried, and the best order and those next above it are estimated again from more
    /// starts, as a likelihood can have many maxima.
    #[must_use]
    pub fn new() -> Self {
        Self {
            exhaustive: false,
            thorough: true,
            max_p: Order::MAX_P,
            max_q: Order::MAX_Q,
            differences: None,
            constant: true,
        }
    }

    /// Ends where the steps end: for many series, in a third of the time or less. Of the 61 series that the tests hold
    /// against R, it ends at a worse order than R's default on 8, [`Self::new`] on 1.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { thorough: false, ..self }
    }

    /// All orders instead of the promising ones: some ten times as long.
    #[must_use]
    pub fn exhaustive(self) -> Self {
        Self { exhaustive: true, ..self }
    }

    /// At most so many autoregressive terms; at most [`Order::MAX_P`].
    #[must_use]
    pub fn max_p(self, max_p: usize) -> Self {
        Self { max_p: max_p.min(Order::MAX_P), ..self }
    }

    /// At most so many moving-average terms; at most [`Order::MAX_Q`].
    #[must_use]
    pub fn max_q(self, max_q: usize) -> Self {
        Self { max_q: max_q.min(Order::MAX_Q), ..self }
    }

    /// So many differences, whatever the test says; at most [`Order::MAX_D`].
    #[must_use]
    pub fn differences(self, d: usize) -> Self {
        Self { differences: Some(d.min(Order::MAX_D)), ..self }
    }

    /// Neither a mean nor a drift.
    #[must_use]
    pub fn without_constant(self) -> Self {
        Self { constant: false, ..self }
    }

    /// Finds the order of one series and fits it. [`crate::batch::select`] does the same for many, with the same
    /// results.
    ///
    /// # Errors
    /// [`FitError::Series`] for a series without values, with an infinite one, of a magnitude that cannot be
    /// squared, or too short for any model; [`FitError::NoNoise`] for a constant or a straight line;
    /// [`FitError::NoLikelihood`] if no order has a likelihood.
    pub fn select(&self, series: &[f64]) -> Result<Selection, FitError> {
        let mut results = select_all(self, &[series], Instructions::best());
        results.pop().unwrap_or(Err(FitError::NoLikelihood))
    }

    /// The search for a series of so many values, once differenced.
    fn steps(&self, d: usize, observed: usize) -> Steps {
        let bounds = Bounds {
            // As R: a third of the values.
            max_p: self.max_p.min(observed / 3),
            max_q: self.max_q.min(observed / 3),
            constant: self.constant && d < 2,
        };
        if self.exhaustive { Steps::exhaustive(bounds) } else { Steps::stepwise(bounds, self.thorough) }
    }
}

impl Default for Select {
    fn default() -> Self {
        Self::new()
    }
}

/// The best order that was found, and what else was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The fit of the best order.
    pub fitted: Fitted,
    /// All orders that were tried, small ones first.
    pub tried: Vec<Tried>,
}

impl Selection {
    /// By how much the corrected criterion of the second best order is larger; `None` if there is none.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let mut others: Vec<f64> = self
            .tried
            .iter()
            .filter(|tried| tried.order != self.fitted.order())
            .filter_map(|tried| tried.aicc)
            .collect();
        others.sort_by(f64::total_cmp);
        others.first().map(|second| (second - self.fitted.aicc()).max(0.0))
    }
}

/// An order that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The order.
    pub order: Order,
    /// Its corrected criterion of Akaike, to a hundredth; in a stepwise search, of an order that fell behind while
    /// it was estimated, what it had come to, which is more. `None` if the series is too short for it, if it has a root within 1 % of
    /// the unit circle, or no likelihood.
    pub aicc: Option<f64>,
}
