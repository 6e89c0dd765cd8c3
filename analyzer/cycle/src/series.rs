//! One entropy of one partition at one step: its last values, the model that follows them, what is due.
//!
//! Values are followed as `arcsin(sqrt(h))`, in which their noise does not depend on the level and forecasts stay
//! between 0 and 1. A step without a value is a missing value, for the model and in the window, and never a zero.
//! The window is kept in single precision: a hundred thousand partitions have several windows each, and an entropy
//! is not known to seven digits.

use isotherm_forecast::backtest::origin::Origin;
use isotherm_forecast::transform::{back, forward};
use isotherm_forecast::{Advice, Fit, FitError, Forecast, Paths, Policy, Selection, Tracker};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// Fewest known values that a model is made from. An order that is selected from fewer is chance.
pub const FEWEST: usize = 20;

/// Steps after which a series without a model is looked at again.
const AGAIN: u32 = 12;

/// What a series asks for after an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Coefficients, from those there are: microseconds, done where it is found.
    Refit,
    /// An order: done for many series at once.
    Select,
}

/// What there is to forecast with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Followed {
    /// Too few values, or none of the models could be computed.
    Not,
    /// The values never changed, or lie on a line: the last of them goes on.
    Still,
    /// By a model.
    By(Box<Tracker>),
}

/// A series that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Most values that are kept.
    most: u16,
    /// Steps since a model was last looked for in vain.
    waited: u32,
    /// Where this series is in the turn of selections, so that a fleet's do not fall together.
    turn: u32,
    /// `arcsin(sqrt(h))`, oldest first; NaN is missing.
    window: VecDeque<f32>,
    followed: Followed,
    /// A forecast that waits for what comes of it.
    waiting: Option<Box<Waiting>>,
}

/// A forecast, and how many steps of it are still to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Waiting {
    left: usize,
    behaviour: Behaviour,
    forecast: Forecast,
}

/// What a series did lately: errors of forecasts are of one kind while it rises, and of another while it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Behaviour {
    /// Neither rose nor fell.
    Steady,
    /// Rose.
    Rising,
    /// Fell.
    Falling,
}

/// Values that are compared, the last so many with as many before.
const LATELY: usize = 5;

/// Change of the mean, in standard errors of a step, from which a series is said to move: the mean of five values
/// is less often so far from that of the five before by chance than once in a hundred.
const MOVED: f64 = 1.7;

impl Series {
    /// Without values. `turn` is any number that differs between the series of a fleet.
    #[must_use]
    pub fn new(most: u16, turn: u32) -> Self {
        Self { most, waited: 0, turn, window: VecDeque::new(), followed: Followed::Not, waiting: None }
    }

    /// Takes the next step's value, between 0 and 1, and says what is due.
    pub fn update(&mut self, h: Option<f64>) -> Due {
        let z = h.map_or(f64::NAN, transformed);
        if self.window.len() >= usize::from(self.most) {
            self.window.pop_front();
        }
        self.window.push_back(z as f32);
        self.waited = self.waited.saturating_add(1);
        if let Some(waiting) = &mut self.waiting {
            waiting.left = waiting.left.saturating_sub(1);
        }
        match &mut self.followed {
            Followed::By(tracker) => {
                // A value between 0 and pi / 2 is neither infinite nor out of range.
                let _ = tracker.update(z);
                match tracker.advice() {
                    Advice::Keep | Advice::Wait(_) => Due::Nothing,
                    Advice::Refit(_) => Due::Refit,
                    Advice::Reselect(_) => Due::Select,
                }
            }
            Followed::Not => {
                let known = self.window.iter().filter(|value| !value.is_nan()).count();
                let first = known == FEWEST && !z.is_nan();
                if first || (known >= FEWEST && self.waited >= AGAIN) { Due::Select } else { Due::Nothing }
            }
            Followed::Still => {
                // Whatever is not the value that was always there ends the stillness.
                let last = self.window.iter().rev().skip(1).find(|value| !value.is_nan());
                let moved = !z.is_nan() && last.is_some_and(|last| *last != z as f32);
                if moved { Due::Select } else { Due::Nothing }
            }
        }
    }

    /// Estimates the coefficients anew, from those there are. Says whether it could.
    pub fn refit(&mut self) -> bool {
        let series = self.values();
        let Followed::By(tracker) = &mut self.followed else { return false };
        let fit = Fit::new(tracker.model().order()).starting_from(tracker.model());
        match fit.fit(&series) {
            Ok(fitted) => {
                **tracker = tracker.refitted(&fitted, None);
                true
            }
            Err(error) => {
                self.without_model(&error);
                false
            }
        }
    }

    /// Takes the order that was found for [`Self::values`], or why there is none.
    pub fn selected(&mut self, selection: Result<Selection, FitError>) {
        self.waited = 0;
        match selection {
            Ok(selection) => {
                let tracker = match &self.followed {
                    Followed::By(tracker) => tracker.refitted(&selection.fitted, selection.gap()),
                    Followed::Not | Followed::Still => {
                        Tracker::new(&selection.fitted, self.policy(), selection.gap())
                    }
                };
                self.followed = Followed::By(Box::new(tracker));
            }
            Err(error) => self.without_model(&error),
        }
    }

    fn without_model(&mut self, error: &FitError) {
        self.waited = 0;
        self.followed = match error {
            FitError::NoNoise(_) => Followed::Still,
            FitError::Series(_) | FitError::Gap { .. } | FitError::NoLikelihood => Followed::Not,
        };
    }

    fn policy(&self) -> Policy {
        let window = NonZeroU32::new(u32::from(self.most)).unwrap_or(NonZeroU32::MIN);
        Policy { offset: self.turn % window, reselect_every: window, ..Policy::default() }
    }

    /// The values, transformed, oldest first; NaN is missing.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.window.iter().map(|value| f64::from(*value)).collect()
    }

    /// How many values of the window are known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.window.iter().filter(|value| !value.is_nan()).count()
    }

    /// The last value, back between 0 and 1; `None` if it is missing or there is none.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.window.back().map(|value| f64::from(*value)).filter(|value| !value.is_nan()).map(back)
    }

    /// The model's order, as p, d, q.
    #[must_use]
    pub fn order(&self) -> Option<[usize; 3]> {
        let Followed::By(tracker) = &self.followed else { return None };
        let order = tracker.model().order();
        Some([order.p(), order.d(), order.q()])
    }

    /// The next steps, transformed. `None` without a model; a series that never changed has no standard error.
    #[must_use]
    pub fn forecast(&self, horizon: usize) -> Option<Forecast> {
        match &self.followed {
            Followed::By(tracker) => Some(tracker.forecast_with_tracked_variance(horizon)),
            Followed::Still => {
                let last = self.window.iter().rev().find(|value| !value.is_nan())?;
                Some(Forecast::new(vec![f64::from(*last); horizon], vec![0.0; horizon]))
            }
            Followed::Not => None,
        }
    }

    /// What the series did lately; steady where too little is known.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        let Followed::By(tracker) = &self.followed else { return Behaviour::Steady };
        let mean = |skip: usize| {
            let values = self.window.iter().rev().skip(skip).take(LATELY).filter(|value| !value.is_nan());
            let (count, sum) = values.fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + f64::from(*value)));
            (count >= 3).then(|| sum / f64::from(count))
        };
        let (Some(last), Some(before)) = (mean(0), mean(LATELY)) else { return Behaviour::Steady };
        let bound = MOVED * tracker.tracked_variance().sqrt();
        match last - before {
            change if change > bound => Behaviour::Rising,
            change if change < -bound => Behaviour::Falling,
            _ => Behaviour::Steady,
        }
    }

    /// Keeps a forecast of so many steps until its actual values are there, unless one is kept already or there
    /// is none.
    pub fn await_forecast(&mut self, horizon: usize) {
        if self.waiting.is_none()
            && let Followed::By(tracker) = &self.followed
        {
            let forecast = tracker.forecast_with_tracked_variance(horizon);
            self.waiting = Some(Box::new(Waiting { left: horizon, behaviour: self.behaviour(), forecast }));
        }
    }

    /// A forecast that was kept, with what came of it, once all of its steps are over.
    pub fn take_outcome(&mut self) -> Option<(Behaviour, Origin)> {
        let over = self.waiting.take_if(|waiting| waiting.left == 0)?;
        let horizon = over.forecast.mean().len();
        let from = self.window.len().checked_sub(horizon)?;
        let actual = self.window.iter().skip(from).map(|value| f64::from(*value)).collect();
        Some((over.behaviour, Origin { known: from, forecast: over.forecast, actual, scale: None }))
    }

    /// Simulated paths of the next steps, transformed. `None` without a model.
    #[must_use]
    pub fn paths(&self, horizon: usize, count: usize, seed: u64) -> Option<Paths> {
        let Followed::By(tracker) = &self.followed else { return None };
        tracker.paths(horizon, count, seed).ok()
    }

    /// Whether the values never changed.
    #[must_use]
    pub fn is_still(&self) -> bool {
        matches!(self.followed, Followed::Still)
    }
}

/// `arcsin(sqrt(h))`. What is out of bounds by more than rounding would be an error of whoever computed it.
fn transformed(h: f64) -> f64 {
    forward(&[h.clamp(0.0, 1.0)]).map_or(f64::NAN, |z| z[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_forecast::Select;

    fn wave(at: u32) -> f64 {
        0.5 + 0.2 * (f64::from(at) * 0.7).sin() + 0.05 * (f64::from(at * at % 17) / 17.0 - 0.5)
    }

    fn followed(steps: u32) -> Series {
        let mut series = Series::new(120, 3);
        for at in 0..steps {
            match series.update(Some(wave(at))) {
                Due::Nothing => {}
                Due::Refit => assert!(series.refit()),
                Due::Select => {
                    let values = series.values();
                    series.selected(Select::new().quick().select(&values));
                }
            }
        }
        series
    }

    #[test]
    fn a_model_is_asked_for_when_there_are_enough_values_and_not_before() {
        let mut series = Series::new(120, 0);
        for at in 0..FEWEST as u32 - 1 {
            assert_eq!(series.update(Some(wave(at))), Due::Nothing);
            assert_eq!(series.update(None), Due::Nothing, "a gap is no value");
        }
        assert_eq!(series.update(Some(wave(50))), Due::Select);
        assert!(series.forecast(3).is_none());
    }

    #[test]
    fn a_series_with_a_model_forecasts_within_bounds_and_follows_its_values() {
        let series = followed(200);
        let forecast = series.forecast(4).expect("a model");
        let mean: Vec<f64> = forecast.mean().iter().map(|z| back(*z)).collect();
        for (step, mean) in mean.iter().enumerate() {
            let truth = wave(200 + u32::try_from(step).expect("small"));
            assert!((mean - truth).abs() < 0.1, "step {step}: {mean} against {truth}");
        }
        assert_eq!(series.values().len(), 120);
        assert!(series.order().is_some());
    }

    #[test]
    fn values_that_never_change_are_still_until_one_does() {
        let mut series = Series::new(120, 0);
        for _ in 0..FEWEST {
            if series.update(Some(0.0)) == Due::Select {
                let values = series.values();
                series.selected(Select::new().quick().select(&values));
            }
        }
        assert!(series.is_still());
        let forecast = series.forecast(2).expect("it goes on");
        assert_eq!((forecast.mean(), forecast.standard_error()), ([0.0; 2].as_slice(), [0.0; 2].as_slice()));
        assert_eq!(series.update(None), Due::Nothing);
        assert_eq!(series.update(Some(0.4)), Due::Select);
    }

    #[test]
    fn a_gap_is_a_missing_value_and_not_a_zero() {
        let mut gapped = followed(100);
        let before = gapped.forecast(1).expect("a model").mean()[0];
        for _ in 0..3 {
            let _ = gapped.update(None);
        }
        assert_eq!(gapped.last(), None);
        let after = gapped.forecast(1).expect("a model").mean()[0];
        assert!(back(before) > 0.2 && back(after) > 0.2, "{before} {after}");
    }
}
