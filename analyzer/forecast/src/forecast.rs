//! What comes next, and how sure that is.
//!
//! The mean is the recursion with innovations of zero; the variance after h steps is that of the h innovations
//! to come and of what is not known about the state: `sigma2 (sum_(k<h) psi_k^2 + Z T^(h-1) P T'^(h-1) Z')`
//! (Box and Jenkins 1970, section 5.1). That the coefficients were estimated does not widen it, as in R.

use crate::state::System;
use crate::{Fitted, State};
use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc_inv;
use std::f64::consts::SQRT_2;
use thiserror::Error;

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

/// What cannot be asked of a forecast.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ForecastError {
    /// A level, or a probability, that is none.
    #[error("{0} is not between 0 and 1")]
    Probability(f64),
    /// A variance that is none.
    #[error("{0} is no variance")]
    Variance(f64),
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

    /// Gaussian intervals that hold the value with probability `level`, as much outside on either side; one
    /// per step. An end beyond double precision is the largest number there is.
    ///
    /// # Errors
    /// [`ForecastError::Probability`] if the level is not between 0 and 1, both excluded.
    pub fn interval(&self, level: f64) -> Result<Vec<Interval>, ForecastError> {
        let level = probability(level)?;
        let width = -normal_quantile(0.5 * (1.0 - level));
        let interval = |(mean, error): (&f64, &f64)| Interval {
            low: bounded(mean - width * error),
            high: bounded(mean + width * error),
        };
        Ok(self.mean.iter().zip(&self.standard_error).map(interval).collect())
    }

    /// The value that is not exceeded with probability `p`, if Gaussian; one per step. Beyond double
    /// precision it is the largest number there is.
    ///
    /// # Errors
    /// [`ForecastError::Probability`] if p is not between 0 and 1, both excluded.
    pub fn quantile(&self, p: f64) -> Result<Vec<f64>, ForecastError> {
        let width = normal_quantile(probability(p)?);
        let quantile = |(mean, error): (&f64, &f64)| bounded(mean + width * error);
        Ok(self.mean.iter().zip(&self.standard_error).map(quantile).collect())
    }
}

impl Fitted {
    /// The next `horizon` steps after the series, with [`Self::sigma2_unbiased`] as the variance of the
    /// innovations, as R's forecast package has it. Missing values at the end of the series are steps that
    /// were gone over: the first step is the one after them. Empty for a horizon of 0.
    ///
    /// Always finite: a series whose squares are beyond double precision has no fit.
    #[must_use]
    pub fn forecast(&self, horizon: usize) -> Forecast {
        self.state.forecast(&System::of(&self.model), horizon, self.sigma2_unbiased())
    }

    /// The same with another variance of the innovations, such as [`Self::sigma2`], which R's `predict` has.
    ///
    /// # Errors
    /// [`ForecastError::Variance`] if it is negative or not finite.
    pub fn forecast_with_variance(&self, horizon: usize, sigma2: f64) -> Result<Forecast, ForecastError> {
        if !sigma2.is_finite() || sigma2 < 0.0 {
            return Err(ForecastError::Variance(sigma2));
        }
        Ok(self.state.forecast(&System::of(&self.model), horizon, sigma2))
    }
}

impl State {
    pub(crate) fn forecast(&self, system: &System, horizon: usize, sigma2: f64) -> Forecast {
        let mut mean = Vec::with_capacity(horizon);
        let mut standard_error = Vec::with_capacity(horizon);
        let mut state = self.mean;
        let mut columns = self.columns.clone();
        // Z T^(h-1) K is the weight of the innovation of h steps before.
        let mut impact = system.impact();
        let mut innovations = 1.0;
        let sigma = sigma2.sqrt();
        for _ in 0..horizon {
            let expected = system.intercept() + state[0];
            mean.push(self.origin + expected);
            state = system.carry(&state, expected);
            let doubt: f64 = columns.iter().map(|column| column[0] * column[0]).sum();
            standard_error.push(sigma * (innovations + doubt).sqrt());
            for column in &mut columns {
                *column = system.carry(column, column[0]);
            }
            innovations += impact[0] * impact[0];
            impact = system.carry(&impact, impact[0]);
        }
        Forecast { mean, standard_error }
    }
}

/// The standard normal quantile.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * p)
}

/// Checks that it is between 0 and 1, both excluded.
pub(crate) fn probability(p: f64) -> Result<f64, ForecastError> {
    if p > 0.0 && p < 1.0 { Ok(p) } else { Err(ForecastError::Probability(p)) }
}

fn bounded(value: f64) -> f64 {
    value.clamp(-f64::MAX, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coefficients, Model, Order};

    fn fitted(ar: &[f64], d: usize, ma: &[f64], constant: Option<f64>, series: &[f64]) -> Fitted {
        let order = Order::new(ar.len(), d, ma.len()).expect("in range");
        let order = if constant.is_some() { order.with_constant().expect("d < 2") } else { order };
        let coefficients = Coefficients { ar: ar.to_vec(), ma: ma.to_vec(), constant };
        Model::new(order, coefficients).map(|model| model.apply(series)).expect("a model").expect("a fit")
    }

    fn assert_close(have: f64, want: f64) {
        assert!((have - want).abs() <= 1e-12 * (1.0 + want.abs()), "{have} is not {want}");
    }

    const SERIES: [f64; 9] = [3.0, 4.5, 4.0, 6.0, 5.5, 7.5, 9.0, 8.0, 10.0];

    #[test]
    fn a_random_walk_with_drift_goes_on_by_its_drift_and_widens_by_the_root() {
        let fitted = fitted(&[], 1, &[], Some(0.75), &SERIES);
        let forecast = fitted.forecast_with_variance(4, 4.0).expect("a variance");
        for step in 0..4 {
            let steps = f64::from(step + 1);
            assert_close(forecast.mean()[step as usize], 10.0 + 0.75 * steps);
            assert_close(forecast.standard_error()[step as usize], 2.0 * steps.sqrt());
        }
    }

    #[test]
    fn an_autoregression_returns_to_its_mean() {
        let fitted = fitted(&[0.5], 0, &[], Some(6.0), &SERIES);
        let forecast = fitted.forecast_with_variance(60, 1.0).expect("a variance");
        for step in 0..60 {
            let left = 0.5_f64.powi(step as i32 + 1);
            assert_close(forecast.mean()[step], 6.0 + 4.0 * left);
            assert_close(forecast.standard_error()[step], ((1.0 - left * left) / 0.75).sqrt());
        }
    }

    #[test]
    fn two_differences_go_on_along_the_last_slope() {
        let fitted = fitted(&[], 2, &[], None, &SERIES);
        let forecast = fitted.forecast_with_variance(3, 1.0).expect("a variance");
        for step in 0..3 {
            assert_close(forecast.mean()[step], 10.0 + 2.0 * (step + 1) as f64);
        }
        assert_close(forecast.standard_error()[2], (1.0_f64 + 4.0 + 9.0).sqrt());
    }

    /// Of a local level with missing values at the end, the variance grows by that of the level alone.
    #[test]
    fn missing_values_at_the_end_are_steps_gone_over() {
        let mut longer = SERIES.to_vec();
        longer.extend([f64::NAN; 5]);
        for (ar, d, ma) in [(&[0.4, 0.2][..], 1, &[0.3][..]), (&[0.6], 0, &[-0.2, 0.1]), (&[], 2, &[-0.5])] {
            let plain = fitted(ar, d, ma, None, &SERIES).forecast_with_variance(9, 2.0).expect("a variance");
            let later = fitted(ar, d, ma, None, &longer).forecast_with_variance(4, 2.0).expect("a variance");
            for step in 0..4 {
                assert_close(later.mean()[step], plain.mean()[step + 5]);
                assert_close(later.standard_error()[step], plain.standard_error()[step + 5]);
            }
        }
    }

    #[test]
    fn an_interval_of_ninety_five_per_cent_is_of_known_width() {
        let forecast = Forecast::new(vec![1.0, f64::MAX], vec![2.0, f64::MAX]);
        let intervals = forecast.interval(0.95).expect("a level");
        assert_close(intervals[0].high, 1.0 + 2.0 * 1.959_963_984_540_054);
        assert_close(intervals[0].low, 1.0 - 2.0 * 1.959_963_984_540_054);
        assert_eq!(intervals[1].high, f64::MAX);
        assert_close(forecast.quantile(0.9).expect("a probability")[0], 1.0 + 2.0 * 1.281_551_565_544_600_4);
        assert_close(forecast.quantile(0.5).expect("a probability")[0], 1.0);
    }

    #[test]
    fn what_is_no_level_is_refused() {
        let forecast = Forecast::new(vec![1.0], vec![2.0]);
        for level in [0.0, 1.0, -0.5, 95.0, f64::INFINITY] {
            assert_eq!(forecast.interval(level), Err(ForecastError::Probability(level)));
            assert_eq!(forecast.quantile(level), Err(ForecastError::Probability(level)));
        }
        assert!(forecast.interval(f64::NAN).is_err());
        let fitted = fitted(&[], 1, &[], None, &SERIES);
        assert_eq!(fitted.forecast_with_variance(1, -1.0), Err(ForecastError::Variance(-1.0)));
        assert!(fitted.forecast(0).mean().is_empty());
    }
}
