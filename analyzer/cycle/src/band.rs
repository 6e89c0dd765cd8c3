//! Intervals of forecasts that hold what they say, from the errors that forecasts of all partitions made.
//!
//! A model's own interval is too narrow where the model is wrong, as on a ramp. The errors of a sample of forecasts,
//! in their standard errors, are pooled over all partitions by kind, length of step and behaviour; an end of an
//! interval is the quantile of those errors. Until there are enough, an end is the model's own, and says so.

use crate::series::{Behaviour, Series};
use isotherm_forecast::conformal::{Forecasted, Pooled, Settings, Sides, Unit};
use isotherm_forecast::transform::back;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// What an entropy is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The nodes that serve.
    Node,
    /// Offsets.
    Offset,
    /// Peers.
    Peer,
}

/// Errors that are kept per step ahead and group.
const KEPT: NonZeroUsize = NonZeroUsize::new(500).expect("not zero");

/// The two-sided level whose ends are exceeded with probability .8 and .2.
const LEVEL: f64 = 0.6;

/// The standard normal quantile of .8.
const NORMAL_80: f64 = 0.841_621_233_572_914_3;

/// Where an interval comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    /// Errors of forecasts of the same kind and behaviour.
    Group,
    /// Errors of all forecasts.
    Pooled,
    /// The model's own standard errors: too few forecasts have been judged.
    Model,
    /// The series never changed.
    Still,
}

/// A forecast of one step, back between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// Steps ahead, from 1.
    pub step: usize,
    /// The median.
    pub h: f64,
    /// Exceeded with probability .8.
    pub lower_80: f64,
    /// Exceeded with probability .2.
    pub upper_80: f64,
    /// Where the ends are from.
    pub source: Source,
}

/// Errors of forecasts of one length of step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bands {
    pooled: Pooled<(Kind, Behaviour)>,
    horizon: usize,
}

impl Bands {
    /// Without errors; for forecasts of at most `horizon` steps.
    #[must_use]
    pub fn new(horizon: usize) -> Self {
        let settings = Settings { sides: Sides::Each, unit: Unit::StandardError, window: KEPT };
        Self { pooled: Pooled::new(settings, horizon, 9), horizon }
    }

    /// Most steps ahead.
    #[must_use]
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// How many errors are kept of the first step ahead.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.pooled.whole().errors().first().copied().unwrap_or(0)
    }

    /// Takes in what came of the forecast that a series kept, if it is over, and keeps another if asked to.
    pub fn judge(&mut self, kind: Kind, series: &mut Series, keep: bool) {
        if let Some((behaviour, origin)) = series.take_outcome() {
            // A forecast without a standard error teaches nothing, and neither does a number that is none.
            let _ = self.pooled.observe_origin(Some((kind, behaviour)), &origin);
        }
        if keep {
            series.await_forecast(self.horizon);
        }
    }

    /// What is foreseen of one step ahead, 1 to the horizon. `None` without a model, or beyond the horizon.
    #[must_use]
    pub fn foresee(&self, kind: Kind, series: &Series, step: usize) -> Option<Foreseen> {
        if step == 0 || step > self.horizon {
            return None;
        }
        let forecast = series.forecast(step)?;
        let (mean, error) = (*forecast.mean().last()?, *forecast.standard_error().last()?);
        let of = |low: f64, high: f64, source| {
            let [h, lower_80, upper_80] = [mean, low, high].map(back);
            Some(Foreseen { step, h, lower_80, upper_80, source })
        };
        if series.is_still() || error <= 0.0 {
            return of(mean, mean, Source::Still);
        }
        let forecasted = Forecasted { step, mean, standard_error: error };
        let group = self.pooled.group(&(kind, series.behaviour()));
        if let Some(interval) = group.and_then(|own| own.interval_at(forecasted, LEVEL).ok()) {
            return of(interval.low, interval.high, Source::Group);
        }
        match self.pooled.whole().interval_at(forecasted, LEVEL) {
            Ok(interval) => of(interval.low, interval.high, Source::Pooled),
            Err(_) => of(mean - NORMAL_80 * error, mean + NORMAL_80 * error, Source::Model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Due;
    use isotherm_forecast::Select;

    /// Noise that is not Gaussian, from a linear congruence.
    fn noise(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let uniform = (*seed >> 40) as f64 / (1u64 << 24) as f64;
        if uniform < 0.1 { 0.2 } else { 0.04 * (uniform - 0.55) }
    }

    fn step(series: &mut Series, value: f64) {
        match series.update(Some(value)) {
            Due::Nothing => {}
            Due::Refit => {
                let _ = series.refit();
            }
            Due::Select => {
                let values = series.values();
                series.selected(Select::new().quick().select(&values));
            }
        }
    }

    #[test]
    fn ends_are_the_models_own_until_enough_forecasts_were_judged_and_then_cover_as_they_say() {
        let mut bands = Bands::new(5);
        let mut all: Vec<Series> = (0..20).map(|turn| Series::new(120, turn)).collect();
        let mut seed = 11;
        for _ in 0..60 {
            for series in &mut all {
                step(series, 0.5 + noise(&mut seed));
            }
        }
        assert_eq!(bands.foresee(Kind::Node, &all[0], 1).expect("a model").source, Source::Model);
        let (mut above, mut count) = (0, 0);
        for round in 0..200 {
            for series in &mut all {
                let foreseen = bands.foresee(Kind::Node, series, 1).expect("a model");
                let value = 0.5 + noise(&mut seed);
                step(series, value);
                bands.judge(Kind::Node, series, true);
                if round >= 100 {
                    above += usize::from(value >= foreseen.lower_80);
                    count += 1;
                }
            }
        }
        assert_eq!(bands.foresee(Kind::Node, &all[0], 1).expect("a model").source, Source::Group);
        let share = f64::from(above as u32) / f64::from(count as u32);
        assert!((share - 0.8).abs() < 0.05, "{share} lie above the lower end");
        assert!(bands.foresee(Kind::Node, &all[0], 6).is_none());
        assert!(bands.foresee(Kind::Node, &all[0], 0).is_none());
    }

    #[test]
    fn a_series_that_rose_is_rising() {
        let mut series = Series::new(120, 0);
        let mut seed = 3;
        for _ in 0..100 {
            step(&mut series, 0.4 + 0.1 * noise(&mut seed));
        }
        assert_eq!(series.behaviour(), Behaviour::Steady);
        for at in 0..5 {
            step(&mut series, 0.4 + 0.1 * f64::from(at + 1));
        }
        assert_eq!(series.behaviour(), Behaviour::Rising);
    }
}
