//! Intervals that hold what they say, from the errors that were made.
//!
//! A model's own interval supposes that the model is right, and its coverage falls where it is wrong. A
//! conformal interval is as wide as the errors of earlier forecasts of the same number of steps were: if these
//! and the next one are exchangeable, it covers with at least its level, whatever their distribution (Vovk,
//! Gammerman and Shafer 2005; Lei et al. 2018). [`Pooled`] shares the errors of many series, in units of each
//! forecast's standard error, as one short series has too few; [`Adaptive`] follows a series that drifts, whose
//! errors are not exchangeable (Gibbs and Candes 2021). Fewer errors than a level needs are an error, never a
//! width that was made up.

mod adaptive;
mod pooled;
mod window;

pub use adaptive::{Adaptive, Range};
pub use pooled::{Pooled, Source};

use crate::backtest::origin::Origin;
use crate::{Forecast, Interval};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use thiserror::Error;
use window::Window;

/// Why there is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ConformalError {
    /// A level that an interval cannot have.
    #[error("{0} is no level: it has to be above 0 and below 1")]
    Level(f64),
    /// A rate that does not adapt.
    #[error("{0} is no rate of adaption: it has to be above 0 and below 1")]
    Rate(f64),
    /// No such step.
    #[error("step {step} of a horizon of {horizon}")]
    Step {
        /// Steps ahead, from 1.
        step: usize,
        /// The last there is.
        horizon: usize,
    },
    /// The level needs more errors.
    #[error("{have} errors at step {step} where the level needs {need}")]
    TooFewErrors {
        /// Steps ahead, from 1.
        step: usize,
        /// Errors there are.
        have: usize,
        /// Errors the level needs.
        need: usize,
    },
    /// Errors are in units of a standard error that is not above 0.
    #[error("at step {step} errors are told in standard errors, and that of the forecast is {value}")]
    NoStandardError {
        /// Steps ahead, from 1.
        step: usize,
        /// The standard error.
        value: f64,
    },
    /// A forecast, an actual value or an end of an interval is beyond double precision.
    #[error("a number at step {step} is not finite")]
    NotFinite {
        /// Steps ahead, from 1.
        step: usize,
    },
}

/// How errors are told and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether both sides have the same width.
    pub sides: Sides,
    /// What errors are told in.
    pub unit: Unit,
    /// How many errors are kept per step; the oldest leaves.
    pub window: NonZeroUsize,
}

/// Whether an interval reaches as far up as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// Yes: from the sizes of the errors. A level of .95 needs 19.
    Same,
    /// No: either end from the signed errors, at half the risk each. A level of .95 needs 39.
    Each,
}

/// What errors are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The unit of the values.
    Value,
    /// The standard error of the forecast, which makes forecasts of different width comparable.
    StandardError,
}

/// A forecast of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecasted {
    /// Steps ahead, from 1.
    pub step: usize,
    /// Its mean.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Forecasted {
    /// The steps of a forecast.
    pub fn steps(forecast: &Forecast) -> impl Iterator<Item = Self> {
        let pairs = std::iter::zip(forecast.mean(), forecast.standard_error()).enumerate();
        pairs.map(|(at, (mean, standard_error))| Self {
            step: at + 1,
            mean: *mean,
            standard_error: *standard_error,
        })
    }
}

/// Split-conformal intervals per step ahead.
///
/// With m errors the upper end at a level is the `ceil((m + 1) level)`-th smallest (Lei et al. 2018).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Conformal {
    settings: Settings,
    /// Step 1 first.
    steps: Vec<Window>,
}

impl Conformal {
    /// Without errors so far.
    #[must_use]
    pub fn new(settings: Settings, horizon: usize) -> Self {
        Self { settings, steps: vec![Window::new(settings.window); horizon] }
    }

    /// How errors are told and kept.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Steps ahead.
    #[must_use]
    pub fn horizon(&self) -> usize {
        self.steps.len()
    }

    /// Errors kept at each step, step 1 first.
    #[must_use]
    pub fn errors(&self) -> Vec<usize> {
        self.steps.iter().map(Window::len).collect()
    }

    /// Errors kept at the step with an index.
    fn errors_at(&self, at: usize) -> usize {
        self.steps[at].len()
    }

    /// Takes in what came of a forecast; nothing if the actual value is missing. Logarithmic in the window, and
    /// a move of memory of its size.
    ///
    /// # Errors
    /// A step beyond the horizon, a number that is not finite, a standard error that is not above 0 where it is
    /// the unit.
    pub fn observe(&mut self, forecasted: Forecasted, actual: f64) -> Result<(), ConformalError> {
        let (horizon, Forecasted { step, mean, .. }) = (self.horizon(), forecasted);
        let unit = self.unit_of(forecasted)?;
        let window = place(step, horizon).map(|at| &mut self.steps[at])?;
        if actual.is_nan() {
            return Ok(());
        }
        let error = finite(step, (actual - mean) / unit)?;
        window.push(match self.settings.sides {
            Sides::Same => error.abs(),
            Sides::Each => error,
        });
        Ok(())
    }

    /// Takes in all steps of an origin that have an actual value and, where it is the unit, a standard error
    /// above 0. Says how many that were.
    ///
    /// # Errors
    /// More steps than the horizon, a number that is not finite.
    pub fn observe_origin(&mut self, origin: &Origin) -> Result<usize, ConformalError> {
        let mut taken = 0;
        for (forecasted, actual) in Forecasted::steps(&origin.forecast).zip(&origin.actual) {
            match self.observe(forecasted, *actual) {
                Ok(()) => taken += usize::from(!actual.is_nan()),
                Err(ConformalError::NoStandardError { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// An interval per step of a forecast.
    ///
    /// # Errors
    /// As [`Self::interval_at`], of the first step that has none.
    pub fn interval(&self, forecast: &Forecast, level: f64) -> Result<Vec<Interval>, ConformalError> {
        Forecasted::steps(forecast).map(|forecasted| self.interval_at(forecasted, level)).collect()
    }

    /// The interval of one step.
    ///
    /// # Errors
    /// A level outside (0, 1), a step beyond the horizon, fewer errors than the level needs, a number that is
    /// not finite, a standard error that is not above 0 where it is the unit.
    pub fn interval_at(&self, forecasted: Forecasted, level: f64) -> Result<Interval, ConformalError> {
        if !(level > 0.0 && level < 1.0) {
            return Err(ConformalError::Level(level));
        }
        let Forecasted { step, mean, .. } = forecasted;
        let unit = self.unit_of(forecasted)?;
        let window = &self.steps[place(step, self.horizon())?];
        let upper_level = match self.settings.sides {
            Sides::Same => level,
            Sides::Each => 0.5 + level / 2.0,
        };
        let too_few = |need| ConformalError::TooFewErrors { step, have: window.len(), need };
        let high = window.upper(upper_level).map_err(too_few)?;
        let low = match self.settings.sides {
            Sides::Same => -high,
            Sides::Each => window.lower(upper_level).map_err(too_few)?,
        };
        Ok(Interval { low: finite(step, mean + low * unit)?, high: finite(step, mean + high * unit)? })
    }

    /// What an error of 1 is worth.
    fn unit_of(&self, forecasted: Forecasted) -> Result<f64, ConformalError> {
        let Forecasted { step, standard_error: value, .. } = forecasted;
        match self.settings.unit {
            Unit::Value => Ok(1.0),
            Unit::StandardError if value > 0.0 => finite(step, value),
            Unit::StandardError => Err(ConformalError::NoStandardError { step, value }),
        }
    }
}

/// The index of a step.
fn place(step: usize, horizon: usize) -> Result<usize, ConformalError> {
    if (1..=horizon).contains(&step) { Ok(step - 1) } else { Err(ConformalError::Step { step, horizon }) }
}

fn finite(step: usize, value: f64) -> Result<f64, ConformalError> {
    if value.is_finite() { Ok(value) } else { Err(ConformalError::NotFinite { step }) }
}

/// How it is written down: errors in the order they came, oldest first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    settings: Settings,
    steps: Vec<Vec<f64>>,
}

impl TryFrom<Parts> for Conformal {
    type Error = ConformalError;

    fn try_from(parts: Parts) -> Result<Self, ConformalError> {
        let mut conformal = Self::new(parts.settings, parts.steps.len());
        for (at, errors) in parts.steps.into_iter().enumerate() {
            for error in errors {
                conformal.steps[at].push(finite(at + 1, error)?);
            }
        }
        Ok(conformal)
    }
}

impl From<Conformal> for Parts {
    fn from(conformal: Conformal) -> Self {
        Self { settings: conformal.settings, steps: conformal.steps.iter().map(Window::arrivals).collect() }
    }
}

#[cfg(test)]
mod tests;
