//! A forecast from each of many pasts of one series, and what came after them.
//!
//! Time is kept: a forecaster sees only values before its origin, and origins come in the order of time.

use crate::Forecast;
use crate::backtest::score::{ScoreError, check_level, gaussian_crps, naive_scale, symmetric_error};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::num::NonZeroUsize;
use thiserror::Error;

/// Where forecasts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// Values before the first origin.
    pub first: NonZeroUsize,
    /// Values from one origin to the next.
    pub step: NonZeroUsize,
    /// Steps that are forecast; an origin with fewer values after it is not used.
    pub horizon: NonZeroUsize,
}

/// Forecasts and what came after them, oldest origin first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// Origins with a forecast.
    pub origins: Vec<Origin>,
    /// Numbers of known values at which the forecaster had no forecast.
    pub refused: Vec<usize>,
}

/// A forecast and what came after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// How many values the forecaster saw: the first that is forecast has this index.
    pub known: usize,
    /// The forecast.
    pub forecast: Forecast,
    /// What came, one value per step; `NaN` where it is missing.
    #[serde(with = "missing_as_null")]
    pub actual: Vec<f64>,
    /// [`naive_scale`] of what was known.
    pub scale: Option<f64>,
}

/// A forecaster that broke its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// It gave another number of steps than was asked for.
    #[error("a forecast of {have} steps where {need} were asked for, after {known} values")]
    Horizon {
        /// Values that were known.
        known: usize,
        /// Steps of the forecast.
        have: usize,
        /// Steps that were asked for.
        need: usize,
    },
    /// A mean that is not finite, or a standard error that is not finite or below 0.
    #[error("the forecast of step {step} after {known} values is no number with a standard error")]
    NotFinite {
        /// Values that were known.
        known: usize,
        /// Steps ahead, from 1.
        step: usize,
    },
    /// An actual value is infinite.
    #[error("value {at} is infinite")]
    InfiniteActual {
        /// Its index, from 0.
        at: usize,
    },
}

impl Rolling {
    /// Asks for a forecast at each origin of a series; the forecaster gets what is known and the horizon, and
    /// says `None` if it has no forecast. A series too short for an origin has none.
    ///
    /// # Errors
    /// A forecast of another horizon or that is not finite; an infinite value after an origin.
    pub fn run(
        &self,
        series: &[f64],
        mut forecaster: impl FnMut(&[f64], usize) -> Option<Forecast>,
    ) -> Result<Backtest, OriginError> {
        let (horizon, mut known) = (self.horizon.get(), self.first.get());
        let mut backtest = Backtest { origins: Vec::new(), refused: Vec::new() };
        while let Some(actual) = series.get(known..known.saturating_add(horizon)) {
            match forecaster(&series[..known], horizon) {
                Some(forecast) => {
                    check(known, &forecast, actual)?;
                    let scale = naive_scale(&series[..known]);
                    backtest.origins.push(Origin { known, forecast, actual: actual.to_vec(), scale });
                }
                None => backtest.refused.push(known),
            }
            known = known.saturating_add(self.step.get());
        }
        Ok(backtest)
    }
}

fn check(known: usize, forecast: &Forecast, actual: &[f64]) -> Result<(), OriginError> {
    let (have, need) = (forecast.mean().len(), actual.len());
    if have != need {
        return Err(OriginError::Horizon { known, have, need });
    }
    let sound =
        |(mean, deviation): (&f64, &f64)| mean.is_finite() && deviation.is_finite() && *deviation >= 0.0;
    if let Some(at) = std::iter::zip(forecast.mean(), forecast.standard_error()).position(|pair| !sound(pair))
    {
        return Err(OriginError::NotFinite { known, step: at + 1 });
    }
    match actual.iter().position(|value| value.is_infinite()) {
        Some(at) => Err(OriginError::InfiniteActual { at: known + at }),
        None => Ok(()),
    }
}

impl Origin {
    /// Actual value less mean, one per step; `NaN` where the actual value is missing.
    #[must_use]
    pub fn errors(&self) -> Vec<f64> {
        std::iter::zip(&self.actual, self.forecast.mean()).map(|(actual, mean)| actual - mean).collect()
    }
}

/// Scores by step and over all steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Over all steps; `None` without an actual value.
    pub overall: Option<Scores>,
    /// One per step ahead, step 1 first; `None` where no actual value is there.
    pub steps: Vec<Option<Scores>>,
    /// Actual values that are missing.
    pub missing: usize,
}

/// Means over forecasts with an actual value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// How many; above 0.
    pub count: usize,
    /// How many of them have a scale.
    pub scaled: usize,
    /// Absolute error over the scale of its origin; `None` if none has one.
    pub mase: Option<f64>,
    /// As [`crate::backtest::score::smape`].
    pub smape: f64,
    /// As [`crate::backtest::score::crps`], of Gaussian forecasts.
    pub crps: f64,
    /// That over the scale of its origin; `None` if none has one.
    pub scaled_crps: Option<f64>,
    /// Share of actual values within the Gaussian interval of the level, its ends included.
    pub coverage: f64,
}

impl Summary {
    /// Of the backtests of one series or of many, each forecast with the same weight.
    ///
    /// # Errors
    /// A level outside (0, 1).
    pub fn new<'a>(
        backtests: impl IntoIterator<Item = &'a Backtest>,
        level: f64,
    ) -> Result<Self, ScoreError> {
        check_level(level)?;
        let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
        let mut steps: Vec<Sums> = Vec::new();
        let mut missing = 0;
        for origin in backtests.into_iter().flat_map(|backtest| &backtest.origins) {
            steps.resize(steps.len().max(origin.actual.len()), Sums::default());
            for (step, actual) in origin.actual.iter().enumerate() {
                if actual.is_nan() {
                    missing += 1;
                } else {
                    steps[step].add(origin, step, z);
                }
            }
        }
        let overall = steps.iter().fold(Sums::default(), Sums::plus).scores();
        Ok(Self { overall, steps: steps.iter().map(Sums::scores).collect(), missing })
    }
}

#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    scaled: usize,
    /// Scaled error, symmetric error, CRPS, scaled CRPS, covered.
    sums: [f64; 5],
}

impl Sums {
    fn add(&mut self, origin: &Origin, step: usize, z: f64) {
        let (actual, mean) = (origin.actual[step], origin.forecast.mean()[step]);
        let deviation = origin.forecast.standard_error()[step];
        let error = (actual - mean).abs();
        let crps = gaussian_crps(error, deviation);
        let covered = f64::from(u8::from(error <= z * deviation));
        let (scaled, by_scale) = match origin.scale {
            Some(scale) => (1, [error / scale, crps / scale]),
            None => (0, [0.0; 2]),
        };
        let sums = [by_scale[0], symmetric_error(actual, mean), crps, by_scale[1], covered];
        *self = self.plus(&Self { count: 1, scaled, sums });
    }

    fn plus(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.scaled += other.scaled;
        std::iter::zip(&mut self.sums, other.sums).for_each(|(sum, term)| *sum += term);
        self
    }

    fn scores(&self) -> Option<Scores> {
        let [scaled_error, smape, crps, scaled_crps, covered] = self.sums;
        let mean = |sum: f64| sum / self.count as f64;
        let scaled_mean = |sum: f64| (self.scaled > 0).then(|| sum / self.scaled as f64);
        (self.count > 0).then(|| Scores {
            count: self.count,
            scaled: self.scaled,
            mase: scaled_mean(scaled_error),
            smape: mean(smape),
            crps: mean(crps),
            scaled_crps: scaled_mean(scaled_crps),
            coverage: mean(covered),
        })
    }
}

/// JSON has no `NaN`.
mod missing_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        let values: Vec<_> = values.iter().map(|value| (!value.is_nan()).then_some(*value)).collect();
        values.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::baseline::naive;
    use crate::backtest::score::{crps, mase, scaled_crps, smape};
    use crate::backtest::synthetic::{Kind, series};

    fn rolling(first: usize, step: usize, horizon: usize) -> Rolling {
        let [first, step, horizon] =
            [first, step, horizon].map(|value| NonZeroUsize::new(value).expect("above 0"));
        Rolling { first, step, horizon }
    }

    #[test]
    fn a_forecaster_sees_the_past_only_in_the_order_of_time() {
        let series: Vec<f64> = (0..10).map(f64::from).collect();
        let mut seen = Vec::new();
        let backtest = rolling(3, 2, 3).run(&series, |past, horizon| {
            seen.push((past.len(), past.last().copied(), horizon));
            (past.len() != 5).then(|| Forecast::new(vec![1.0; horizon], vec![1.0; horizon]))
        });
        let backtest = backtest.expect("a forecast of three steps");
        assert_eq!(seen, [(3, Some(2.0), 3), (5, Some(4.0), 3), (7, Some(6.0), 3)]);
        assert_eq!(backtest.refused, [5]);
        let origins: Vec<_> =
            backtest.origins.iter().map(|origin| (origin.known, origin.actual.clone())).collect();
        assert_eq!(origins, [(3, vec![3.0, 4.0, 5.0]), (7, vec![7.0, 8.0, 9.0])]);
        assert_eq!(backtest.origins[1].errors(), [6.0, 7.0, 8.0]);
        assert_eq!(backtest.origins[1].scale, Some(1.0));
    }

    #[test]
    fn a_series_too_short_has_no_origin() {
        for run in [rolling(8, 1, 3), rolling(usize::MAX, 1, 1), rolling(1, 1, usize::MAX)] {
            let backtest =
                run.run(&[1.0; 10], |_, _| panic!("there is no origin")).expect("no forecast is wrong");
            assert!(backtest.origins.is_empty() && backtest.refused.is_empty());
            let summary = Summary::new([&backtest], 0.95).expect("a level");
            assert_eq!((summary.overall, summary.steps.len()), (None, 0));
        }
    }

    #[test]
    fn a_forecaster_that_breaks_its_contract_is_named() {
        let run = |series: &[f64], mean: Vec<f64>, deviation: Vec<f64>| {
            rolling(2, 1, 2).run(series, |_, _| Some(Forecast::new(mean.clone(), deviation.clone())))
        };
        let wrong = run(&[1.0; 5], vec![1.0], vec![1.0]).expect_err("one step");
        assert_eq!(wrong, OriginError::Horizon { known: 2, have: 1, need: 2 });
        let not_finite = Err(OriginError::NotFinite { known: 2, step: 2 });
        assert_eq!(run(&[1.0; 5], vec![1.0, f64::NAN], vec![1.0, 1.0]), not_finite);
        assert_eq!(run(&[1.0; 5], vec![1.0, 1.0], vec![1.0, -1.0]), not_finite);
        let infinite = Err(OriginError::InfiniteActual { at: 3 });
        assert_eq!(run(&[1.0, 1.0, 1.0, f64::INFINITY], vec![1.0; 2], vec![1.0; 2]), infinite);
    }

    #[test]
    fn a_summary_is_the_mean_of_the_scores_of_its_origins() {
        let mut values = series(Kind::Level, 5, 60);
        values[50] = f64::NAN;
        let backtest =
            rolling(30, 4, 6).run(&values, |past, horizon| naive(past, horizon).ok()).expect("finite");
        let summary = Summary::new([&backtest], 0.8).expect("a level");
        let overall = summary.overall.expect("actual values");
        assert_eq!((backtest.origins.len(), overall.count, summary.missing), (7, 40, 2));

        let mut sums = [0.0; 4];
        for origin in &backtest.origins {
            let (actual, past) = (&origin.actual, &values[..origin.known]);
            let mase = mase(actual, origin.forecast.mean(), past).expect("finite").expect("a scale");
            let scaled = scaled_crps(actual, &origin.forecast, past).expect("finite").expect("a scale");
            let smape = smape(actual, origin.forecast.mean()).expect("finite");
            let crps = crps(actual, &origin.forecast).expect("finite");
            for (sum, score) in sums.iter_mut().zip([mase, smape, crps, scaled]) {
                *sum += score.value * score.count as f64 / 40.0;
            }
        }
        let found = [
            overall.mase.expect("scales"),
            overall.smape,
            overall.crps,
            overall.scaled_crps.expect("scales"),
        ];
        for (found, expected) in found.iter().zip(sums) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
        // The missing value is at step 5 of the origin at 46, and at step 1 of that at 50.
        let counts: Vec<_> = summary.steps.iter().map(|step| step.expect("values").count).collect();
        assert_eq!(counts, [6, 7, 7, 7, 6, 7]);

        let json = serde_json::to_string(&backtest).expect("missing values are null");
        let read: Backtest = serde_json::from_str(&json).expect("as written");
        assert!(read.origins[4].actual[4].is_nan() && read.origins[4].known == 46);
        for (read, origin) in read.origins[3].errors().iter().zip(backtest.origins[3].errors()) {
            assert!((read - origin).abs() < 1e-15);
        }
    }

    /// Of errors -2, 0, 1 with deviation 1, an interval of 50 % covers one and one of 90 % two.
    #[test]
    fn coverage_is_that_of_the_level() {
        let covered = |level| {
            let forecast = |_: &[f64], _| Some(Forecast::new(vec![0.0; 3], vec![1.0; 3]));
            let backtest = rolling(1, 9, 3).run(&[4.0, -2.0, 0.0, 1.0], forecast).expect("finite");
            let summary = Summary::new([&backtest], level).expect("a level");
            // A single value has no scale.
            assert_eq!(summary.overall.map(|scores| (scores.mase, scores.scaled)), Some((None, 0)));
            summary.overall.expect("values").coverage
        };
        assert_eq!((covered(0.5), covered(0.9)), (1.0 / 3.0, 2.0 / 3.0));
        assert_eq!(
            Summary::new([], f64::NAN).map_err(|error| error.to_string().contains("level")),
            Err(true)
        );
    }
}
