//! A series that goes on: its state, whether the model still holds, and when to fit again.
//!
//! An update is a step of the filter and of two charts, whatever came before: no value is kept. The
//! coefficients stay as they were fitted; [`Tracker::advice`] says when they should not. To fit again, start
//! from [`Tracker::model`], and go on with [`Tracker::refitted`].

use crate::paths::Innovations;
use crate::state::System;
use crate::{Cusum, Fitted, Forecast, Model, Paths, PathsError, SeriesError, Side, State};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::num::NonZeroU32;

/// What a new squared innovation weighs in the variance that is tracked (RiskMetrics 1996).
const VARIANCE_WEIGHT: f64 = 0.06;

/// Values whose squares, and those of their differences, are sure to be numbers.
const LARGEST: f64 = 1e150;

/// When to fit and to select again, if nothing else asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Steps from a fit to the next. A fit from the coefficients of the last is cheap. 12.
    pub refit_every: NonZeroU32,
    /// Steps from a selection of the order in turn to the next. An order that is a window of 120 values old
    /// costs 3 % of accuracy. 120.
    pub reselect_every: NonZeroU32,
    /// Where in the turn this series is: with the number of the series, those of a fleet are spread evenly. 0.
    pub offset: u32,
    /// A runner-up within this of the best AICc was nearly as good (Burnham and Anderson 2002, section 2.6):
    /// the next fit selects again. 2.
    pub close: f64,
    /// With more than this share of the values since the fit missing, there is too little that is new to
    /// learn from, and what is due by time waits. 0.5.
    pub missing: f64,
}

impl Default for Policy {
    fn default() -> Self {
        let steps = |steps| NonZeroU32::new(steps).unwrap_or(NonZeroU32::MIN);
        Self { refit_every: steps(12), reselect_every: steps(120), offset: 0, close: 2.0, missing: 0.5 }
    }
}

/// Why to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The innovations' mean moved to a side.
    Level(Side),
    /// The innovations' variance moved to a side.
    Spread(Side),
    /// A fit is due, and another order was nearly as good.
    RunnerUp,
    /// It is this series' turn.
    Turn,
    /// A fit is due.
    Age,
}

/// What to do about the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing.
    Keep,
    /// Nothing yet, though something is due: too many of the values since the fit are missing.
    Wait(Reason),
    /// Estimate the coefficients again.
    Refit(Reason),
    /// Select the order again.
    Reselect(Reason),
}

/// What a step said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Innovation {
    /// What was expected.
    pub predicted: f64,
    /// The standard error of that. Above 0.
    pub standard_error: f64,
    /// How far off the value was; `None` if it was missing.
    pub error: Option<f64>,
}

impl Innovation {
    /// How far off in standard errors; `None` if the value was missing.
    #[must_use]
    pub fn standardised(&self) -> Option<f64> {
        self.error.map(|error| error / self.standard_error)
    }
}

/// Follows a series. Written down and read back it is the same, if the format keeps all digits of a number
/// (`serde_json` does with its feature `float_roundtrip`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracker {
    model: Model,
    state: State,
    #[serde(deserialize_with = "variance")]
    sigma2: f64,
    policy: Policy,
    /// How much worse the AICc of the second best order was.
    runner_up: Option<f64>,
    /// Steps since the series was first tracked.
    steps: u64,
    /// At which of them the model was fitted.
    fitted_at: u64,
    /// Values that were missing since then.
    missing: u64,
    #[serde(deserialize_with = "variance")]
    tracked_variance: f64,
    level: Cusum,
    spread: Cusum,
}

impl Tracker {
    /// From where a series left a model. `runner_up` is by how much the AICc of the second best order was
    /// higher, if orders were compared.
    #[must_use]
    pub fn new(fitted: &Fitted, policy: Policy, runner_up: Option<f64>) -> Self {
        let sigma2 = fitted.sigma2_unbiased();
        Self {
            model: fitted.model().clone(),
            state: fitted.state().clone(),
            sigma2,
            policy,
            runner_up,
            steps: 0,
            fitted_at: 0,
            missing: 0,
            tracked_variance: sigma2,
            level: Cusum::of_level(),
            spread: Cusum::of_spread(),
        }
    }

    /// With the model of a new fit of the series up to the last update. The turn goes on; the charts begin
    /// anew.
    #[must_use]
    pub fn refitted(&self, fitted: &Fitted, runner_up: Option<f64>) -> Self {
        let anew = Self::new(fitted, self.policy.clone(), runner_up);
        Self { steps: self.steps, fitted_at: self.steps, ..anew }
    }

    /// Takes the next value, `NaN` if it is missing. Time and memory do not depend on what came before.
    ///
    /// # Errors
    /// [`SeriesError::Infinite`], with the number of the update, and [`SeriesError::OutOfRange`] above 1e150.
    /// The tracker is then as it was.
    pub fn update(&mut self, value: f64) -> Result<Innovation, SeriesError> {
        if value.is_infinite() {
            return Err(SeriesError::Infinite { at: usize::try_from(self.steps).unwrap_or(usize::MAX) });
        }
        if value.abs() > LARGEST {
            return Err(SeriesError::OutOfRange);
        }
        let system = System::of(&self.model);
        let predicted = self.state.predicted(&system);
        let standard_error = (self.sigma2 * self.state.variance()).sqrt();
        self.steps += 1;
        if value.is_nan() {
            self.missing += 1;
            self.state.skip(&system);
            return Ok(Innovation { predicted, standard_error, error: None });
        }
        let (error, variance) = self.state.observe(&system, value);
        let standardised = error / standard_error;
        self.tracked_variance += VARIANCE_WEIGHT * (error * error / variance - self.tracked_variance);
        self.level.update(standardised);
        self.spread.update(standardised);
        Ok(Innovation { predicted, standard_error, error: Some(error) })
    }

    /// The next `horizon` steps, with the variance of the fit.
    #[must_use]
    pub fn forecast(&self, horizon: usize) -> Forecast {
        self.state.forecast(&System::of(&self.model), horizon, self.sigma2)
    }

    /// The next `horizon` steps, with the variance that is tracked.
    #[must_use]
    pub fn forecast_with_tracked_variance(&self, horizon: usize) -> Forecast {
        self.state.forecast(&System::of(&self.model), horizon, self.tracked_variance)
    }

    /// Simulated paths of the next steps, as [`Fitted::paths`].
    ///
    /// # Errors
    /// As [`Fitted::paths`].
    pub fn paths(&self, horizon: usize, count: usize, seed: u64) -> Result<Paths, PathsError> {
        let (system, sigma) = (System::of(&self.model), self.sigma2.sqrt());
        self.state.simulate(&system, sigma, &Innovations::Gaussian, [horizon, count], seed)
    }

    /// What to do about the model. The strongest reason counts; what a chart saw does not wait.
    #[must_use]
    pub fn advice(&self) -> Advice {
        let age = self.steps - self.fitted_at;
        let turn =
            |step: u64| (step + u64::from(self.policy.offset)) / u64::from(self.policy.reselect_every.get());
        let due = age >= u64::from(self.policy.refit_every.get());
        let close = self.runner_up.is_some_and(|gap| gap < self.policy.close);
        let wait = self.missing_share().is_some_and(|share| share > self.policy.missing);
        let unless_missing = |advice, reason| if wait { Advice::Wait(reason) } else { advice };
        if let Some(side) = self.level.tripped() {
            Advice::Reselect(Reason::Level(side))
        } else if turn(self.steps) > turn(self.fitted_at) && !wait {
            Advice::Reselect(Reason::Turn)
        } else if let Some(side) = self.spread.tripped() {
            Advice::Refit(Reason::Spread(side))
        } else if turn(self.steps) > turn(self.fitted_at) {
            Advice::Wait(Reason::Turn)
        } else if due && close {
            unless_missing(Advice::Reselect(Reason::RunnerUp), Reason::RunnerUp)
        } else if due {
            unless_missing(Advice::Refit(Reason::Age), Reason::Age)
        } else {
            Advice::Keep
        }
    }

    /// The model, to start the next fit from.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The state after the last update.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Updates since the model was fitted.
    #[must_use]
    pub fn age(&self) -> u64 {
        self.steps - self.fitted_at
    }

    /// The share of the updates since the fit whose value was missing; `None` before the first.
    #[must_use]
    pub fn missing_share(&self) -> Option<f64> {
        (self.age() > 0).then(|| self.missing as f64 / self.age() as f64)
    }

    /// Variance of the innovations with exponential weights, that of the fit to begin with.
    #[must_use]
    pub fn tracked_variance(&self) -> f64 {
        self.tracked_variance
    }

    /// The chart of the innovations.
    #[must_use]
    pub fn level(&self) -> &Cusum {
        &self.level
    }

    /// The chart of their squares.
    #[must_use]
    pub fn spread(&self) -> &Cusum {
        &self.spread
    }
}

fn variance<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    let is_variance = value.is_finite() && value > 0.0;
    if is_variance { Ok(value) } else { Err(de::Error::custom("a variance is above 0")) }
}

#[cfg(test)]
mod tests;
