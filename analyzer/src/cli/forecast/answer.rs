//! From values to what is said about them. No files, no output.

use super::arguments::{Intervals, ModelQuestion, Question};
use anyhow::{Result, anyhow, bail};
use isotherm_forecast::backtest::origin::Rolling;
use isotherm_forecast::conformal::{Conformal, ConformalError, Settings, Sides, Unit};
use isotherm_forecast::transform::{self, Bounded};
use isotherm_forecast::{Fit, FitError, Fitted, Forecast, Interval, Line, Paths, Side, Tried};
use std::num::NonZeroUsize;

/// Simulated paths, where so many fit.
const PATHS: usize = 10_000;

/// Errors of earlier forecasts per step, where there are as many and the level needs no more.
const ERRORS: usize = 200;

/// More errors than that, and so levels above .999, are not looked for.
const MOST_ERRORS: usize = 1_000;

/// Values before the first earlier forecast, or twice what the order needs.
const FIRST_ORIGIN: usize = 20;

/// What there is to say.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) model: Found,
    pub(super) steps: Vec<Step>,
    /// Fewest errors at any step that conformal intervals are from.
    pub(super) errors: Option<usize>,
    pub(super) crossing: Option<Crossing>,
}

/// What describes the series.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A model.
    Model(Box<Described>),
    /// No noise at all. Of the transformed series if it is bounded.
    Line(Line),
}

/// A model and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) fitted: Fitted,
    /// Of ar, ma and the constant; `None` where the likelihood does not say.
    pub(super) standard_errors: Vec<Option<f64>>,
    /// All orders that were tried, if it was looked for.
    pub(super) tried: Option<Vec<Tried>>,
}

/// One step of the forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) mean: f64,
    /// Of a bounded series it has none: the distribution has another shape on either side.
    pub(super) standard_error: Option<f64>,
    pub(super) interval: Interval,
}

/// How likely a threshold is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Crossing {
    pub(super) threshold: f64,
    /// Where the threshold is, seen from the last value.
    pub(super) side: Side,
    /// Simulated paths; none for a line, which needs none.
    pub(super) paths: Option<usize>,
    /// At or before each step.
    pub(super) probability: Vec<f64>,
}

/// Answers a question about a series, oldest value first, `NaN` where one is missing.
pub(super) fn answer(question: &Question, values: &[f64]) -> Result<Answer> {
    let modelled = if question.bounded {
        transform::forward(values).map_err(|error| {
            anyhow!("--bounded is for values between 0 and 1, and number {} is {}", error.at + 1, error.value)
        })?
    } else {
        values.to_vec()
    };
    let threshold = question.threshold.map(|value| threshold(question, value, values)).transpose()?;
    match find(question, &modelled) {
        Ok((fitted, tried)) => model(question, &modelled, fitted, tried, threshold),
        Err(FitError::NoNoise(line)) => Ok(straight(question, line, threshold)),
        Err(error) => Err(error.into()),
    }
}

fn find(question: &Question, values: &[f64]) -> Result<(Fitted, Option<Vec<Tried>>), FitError> {
    match &question.model {
        ModelQuestion::Find(select) => {
            select.select(values).map(|selection| (selection.fitted, Some(selection.tried)))
        }
        ModelQuestion::Fit(order) => Fit::new(*order).fit(values).map(|fitted| (fitted, None)),
    }
}

/// A threshold that is asked about.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    value: f64,
    /// In the unit of what is modelled, which never falls as the values grow.
    modelled: f64,
    side: Side,
}

fn threshold(question: &Question, value: f64, values: &[f64]) -> Result<Threshold> {
    let modelled = match question.bounded {
        true => transform::forward(&[value]).map(|modelled| modelled[0]).map_err(|_| {
            anyhow!("a threshold of {value} is never reached: with --bounded all values lie between 0 and 1")
        })?,
        false => value,
    };
    let side = match values.iter().rfind(|value| !value.is_nan()) {
        Some(last) if *last < value => Side::Above,
        Some(last) if *last > value => Side::Below,
        Some(_) => bail!("the last value is {value}: the threshold is reached already"),
        // That there are no values is told by the fit.
        None => Side::Above,
    };
    Ok(Threshold { value, modelled, side })
}

fn model(
    question: &Question,
    modelled: &[f64],
    fitted: Fitted,
    tried: Option<Vec<Tried>>,
    threshold: Option<Threshold>,
) -> Result<Answer> {
    let forecast = fitted.forecast(question.horizon);
    let (intervals, errors) = match question.intervals {
        Intervals::Gaussian => (forecast.interval(question.level)?, None),
        Intervals::Conformal => {
            let (intervals, errors) = conformal(question, modelled, &fitted, &forecast)?;
            (intervals, Some(errors))
        }
    };
    let crossing = threshold.map(|threshold| simulated(question, &fitted, threshold)).transpose()?;
    let steps = if question.bounded {
        let means = Bounded::new(forecast).mean();
        let step = |(mean, interval)| Step {
            mean,
            standard_error: None,
            interval: transform::back_interval(interval),
        };
        means.into_iter().zip(intervals).map(step).collect()
    } else {
        let pairs = forecast.mean().iter().zip(forecast.standard_error());
        let step = |((mean, error), interval): ((&f64, &f64), _)| Step {
            mean: *mean,
            standard_error: Some(*error),
            interval,
        };
        pairs.zip(intervals).map(step).collect()
    };
    let standard_errors = fitted.standard_errors(modelled)?;
    let model = Found::Model(Box::new(Described { fitted, standard_errors, tried }));
    Ok(Answer { model, steps, errors, crossing })
}

/// As wide as the errors were that the same order, fitted to what was known, made on the last part of the series.
fn conformal(
    question: &Question,
    series: &[f64],
    fitted: &Fitted,
    forecast: &Forecast,
) -> Result<(Vec<Interval>, usize)> {
    let (order, horizon) = (fitted.order(), question.horizon);
    let needed = (question.level / (1.0 - question.level)).ceil();
    if needed > MOST_ERRORS as f64 {
        bail!(
            "conformal intervals have a level of at most {:.1} %",
            100.0 * (1.0 - 1.0 / MOST_ERRORS as f64)
        );
    }
    let window = ERRORS.max(needed as usize + 1);
    let least = FIRST_ORIGIN.max(2 * (order.d() + order.coefficients() + 2));
    let first = series.len().saturating_sub(horizon + window - 1).max(least);
    let size = |value| NonZeroUsize::new(value).expect("a first origin, a window and a horizon are above 0");
    let rolling = Rolling { first: size(first), step: NonZeroUsize::MIN, horizon: size(horizon) };
    let fit = Fit::new(order).starting_from(fitted.model());
    let backtest =
        rolling.run(series, |past, horizon| fit.fit(past).ok().map(|fitted| fitted.forecast(horizon)))?;
    let settings = Settings { sides: Sides::Same, unit: Unit::Value, window: size(window) };
    let mut conformal = Conformal::new(settings, horizon);
    for origin in &backtest.origins {
        conformal.observe_origin(origin)?;
    }
    match conformal.interval(forecast, question.level) {
        Ok(intervals) => Ok((intervals, conformal.errors().into_iter().min().unwrap_or(0))),
        Err(ConformalError::TooFewErrors { step, have, need }) => bail!(
            "conformal intervals of {} % need {need} errors of earlier forecasts at each step, and there are {have} \
             at step {step}: give them {} values with few missing (there are {}), a shorter --horizon, a lower \
             --level, or take --intervals gaussian",
            100.0 * question.level,
            least + need + horizon - 1,
            series.len(),
        ),
        Err(error) => Err(error.into()),
    }
}

fn simulated(question: &Question, fitted: &Fitted, threshold: Threshold) -> Result<Crossing> {
    let Threshold { value, modelled, side } = threshold;
    let count = PATHS.min(Paths::MAX_VALUES / question.horizon);
    let paths = fitted.paths(question.horizon, count, question.seed)?;
    let probability = paths.first_passage(modelled, side)?;
    Ok(Crossing { threshold: value, side, paths: Some(count), probability })
}

/// The line goes on; there is no doubt, and nothing to simulate.
fn straight(question: &Question, line: Line, threshold: Option<Threshold>) -> Answer {
    let ahead = line.forecast(question.horizon);
    let crossing = threshold.map(|Threshold { value, modelled, side }| {
        let mut reached = false;
        let each = |ahead: &f64| {
            reached |= match side {
                Side::Above => *ahead >= modelled,
                Side::Below => *ahead <= modelled,
            };
            f64::from(u8::from(reached))
        };
        Crossing { threshold: value, side, paths: None, probability: ahead.iter().map(each).collect() }
    });
    let step = |value: f64| {
        let mean = if question.bounded { transform::back(value) } else { value };
        Step { mean, standard_error: Some(0.0), interval: Interval { low: mean, high: mean } }
    };
    let steps = ahead.iter().map(|value| step(*value)).collect();
    Answer { model: Found::Line(line), steps, errors: None, crossing }
}
