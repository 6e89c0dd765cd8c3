//! A given model on a series.

use super::filter::{Filtered, run};
use super::system::System;
use crate::series::ends;
use crate::{FitError, Fitted, Line, Method, Model, SeriesError};
use std::f64::consts::TAU;

/// Innovations smaller than this, next to the largest value, are rounding and no noise.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

impl Model {
    /// The exact likelihood of a series under this model, the variance of its innovations, and the state the
    /// series leaves it in. Nothing is estimated but the variance. `NaN` is a missing value; missing values
    /// before the first one that is there say nothing.
    ///
    /// # Errors
    /// [`SeriesError`] for a series without values, with an infinite one, with not more than d values, or of
    /// a magnitude whose squares are no numbers of double precision; [`FitError::NoNoise`] if the model
    /// leaves nothing to chance; [`FitError::NoLikelihood`] if the model has no stationary distribution that
    /// can be computed.
    pub fn apply(&self, series: &[f64]) -> Result<Fitted, FitError> {
        let ends = ends(series)?;
        let largest = check(series, self.order().d())?;
        let system = System::of(self);
        let (state, filtered) = run(&system, series, |_, _, _| {}).ok_or(FitError::NoLikelihood)?;
        let sigma2 = filtered.s_yy / filtered.n as f64;
        if sigma2.sqrt() <= ROUNDING * largest {
            return Err(FitError::NoNoise(line(series, ends)));
        }
        if !sigma2.is_normal() {
            return Err(SeriesError::OutOfRange.into());
        }
        let log_likelihood = filtered.log_likelihood(filtered.s_yy);
        Ok(Fitted {
            model: self.clone(),
            method: Method::Given,
            sigma2,
            log_likelihood,
            n: filtered.n,
            state,
        })
    }
}

impl Fitted {
    /// Innovations of a series under the model, each divided by its standard deviation and multiplied by that
    /// of an innovation after a long past, as R does: all have the variance [`Self::sigma2`]. One per value of
    /// the series; `None` where the value is missing or infinite, and for the first d values that are there.
    #[must_use]
    pub fn residuals(&self, series: &[f64]) -> Vec<Option<f64>> {
        let mut residuals = vec![None; series.len()];
        let finite: Vec<f64> =
            series.iter().map(|&value| if value.is_finite() { value } else { f64::NAN }).collect();
        let _ = run(&System::of(&self.model), &finite, |at, error, variance| {
            residuals[at] = Some(error / variance.sqrt()).filter(|residual| residual.is_finite());
        });
        residuals
    }
}

impl Filtered {
    /// The log-likelihood with the variance at its maximum, for a sum of squares S(c).
    pub(crate) fn log_likelihood(&self, squares: f64) -> f64 {
        let n = self.n as f64;
        -0.5 * n * ((TAU * (squares / n)).ln() + 1.0) - 0.5 * self.log_det
    }
}

/// The largest absolute value, if a series with a value can be filtered.
fn check(series: &[f64], d: usize) -> Result<f64, SeriesError> {
    let have = series.iter().filter(|value| !value.is_nan()).count();
    if have < d + 1 {
        return Err(SeriesError::TooShort { have, need: d + 1 });
    }
    let largest = series.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    // Differences of two values, of four with d = 2, and a sum over all of them.
    let squares = 16.0 * largest * largest * series.len() as f64;
    if largest > 0.0 && !(squares.is_finite() && (largest * largest).is_normal()) {
        return Err(SeriesError::OutOfRange);
    }
    Ok(largest)
}

/// The line through the first and the last value that is there.
fn line(series: &[f64], (first, last): (usize, usize)) -> Line {
    let slope = if last == first { 0.0 } else { (series[last] - series[first]) / (last - first) as f64 };
    Line { last: series[last] + slope * (series.len() - 1 - last) as f64, slope }
}
