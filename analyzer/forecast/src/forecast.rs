//! What comes next, and how sure that is.

use serde::{Deserialize, Serialize};

/// Means and standard errors of the next steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    mean: Vec<f64>,
    standard_error: Vec<f64>,
}

/// Between two values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Forecast {
    /// Of given means and standard errors, one of each per step.
    #[must_use]
    pub fn new(mean: Vec<f64>, standard_error: Vec<f64>) -> Self {
        assert_eq!(mean.len(), standard_error.len(), "a standard error for each mean");
        Self { mean, standard_error }
    }

    /// Expected values, one per step.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard errors, one per step.
    #[must_use]
    pub fn standard_error(&self) -> &[f64] {
        &self.standard_error
    }
}
