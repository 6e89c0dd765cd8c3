//! Numbers that say how far forecasts were from what came.
//!
//! An actual value that is missing (`NaN`) is left out, and counted: a score says how many values it is of.
//! A forecast is never missing here; one that is not finite is an error, as leaving it out would flatter it.

use crate::{Forecast, Interval};
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use thiserror::Error;

/// Why there is no score.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ScoreError {
    /// Not as many of one as of the other.
    #[error("{have} {name} for {need} actual values")]
    Length {
        /// What there is another number of.
        name: &'static str,
        /// How many of it.
        have: usize,
        /// How many actual values.
        need: usize,
    },
    /// Nothing to score, or no actual value but missing ones.
    #[error("there is no actual value to score against")]
    Nothing,
    /// A number that is infinite, or missing where it may not be.
    #[error("{name} number {index} is {value}")]
    NotFinite {
        /// What it is.
        name: &'static str,
        /// Its index, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A standard error or a width below 0.
    #[error("{name} number {index} is {value}, below 0")]
    Negative {
        /// What it is.
        name: &'static str,
        /// Its index, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A number that is no probability.
    #[error("{name} number {index} is {value}, not between 0 and 1")]
    NotProbability {
        /// What it is.
        name: &'static str,
        /// Its index, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A level that an interval cannot have.
    #[error("{0} is no level: it has to be above 0 and below 1")]
    Level(f64),
}

/// A mean over the actual values that are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The mean.
    pub value: f64,
    /// Over how many actual values; above 0.
    pub count: usize,
    /// How many were missing.
    pub missing: usize,
}

/// Mean absolute difference of neighbours that are both there: the error of a forecast of no change, by which
/// errors are scaled (Hyndman and Koehler 2006). `None` if there are no such neighbours, or none that differ,
/// or a value is infinite.
#[must_use]
pub fn naive_scale(history: &[f64]) -> Option<f64> {
    let steps = history.windows(2).map(|pair| (pair[1] - pair[0]).abs()).filter(|step| !step.is_nan());
    let (sum, count) = steps.fold((0.0, 0_usize), |(sum, count), step| (sum + step, count + 1));
    let scale = sum / count as f64;
    (scale > 0.0 && scale.is_finite()).then_some(scale)
}

/// Mean absolute scaled error (Hyndman and Koehler 2006): `mean |actual - mean| / naive_scale(history)`.
/// `Ok(None)` if the history has no scale.
///
/// # Errors
/// Unequal lengths, a forecast that is not finite, an infinite actual value, nothing to score.
pub fn mase(actual: &[f64], mean: &[f64], history: &[f64]) -> Result<Option<Score>, ScoreError> {
    let errors =
        over(actual, "means", mean.len(), |at, actual| Ok((actual - finite("mean", at, mean[at])?).abs()))?;
    Ok(naive_scale(history).map(|scale| Score { value: errors.value / scale, ..errors }))
}

/// Symmetric mean absolute percentage error, as in the M4 competition (Makridakis et al. 2020):
/// `mean 200 |actual - mean| / (|actual| + |mean|)`, from 0 to 200. Where both are 0 the error is 0.
///
/// # Errors
/// Unequal lengths, a forecast that is not finite, an infinite actual value, nothing to score.
pub fn smape(actual: &[f64], mean: &[f64]) -> Result<Score, ScoreError> {
    over(actual, "means", mean.len(), |at, actual| Ok(symmetric_error(actual, finite("mean", at, mean[at])?)))
}

/// One term of [`smape`].
pub(crate) fn symmetric_error(actual: f64, mean: f64) -> f64 {
    // Halves, as the sum of two large numbers may be infinite.
    let size = actual.abs() / 2.0 + mean.abs() / 2.0;
    if size > 0.0 { 200.0 * ((actual / 2.0 - mean / 2.0).abs() / size) } else { 0.0 }
}

/// Continuous ranked probability score of Gaussian forecasts, the mean over the steps of
/// `s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))` with `z = (actual - mean) / s` (Gneiting and Raftery 2007).
/// It is in the unit of the values, and the absolute error where the standard error is 0.
///
/// # Errors
/// Unequal lengths, a forecast that is not finite, an infinite actual value, nothing to score, a standard error
/// below 0.
pub fn crps(actual: &[f64], forecast: &Forecast) -> Result<Score, ScoreError> {
    let (mean, deviation) = (forecast.mean(), forecast.standard_error());
    over(actual, "means", mean.len(), |at, actual| {
        let mean = finite("mean", at, mean[at])?;
        let deviation = not_negative("standard error", at, deviation[at])?;
        Ok(gaussian_crps(actual - mean, deviation))
    })
}

/// [`crps`] over [`naive_scale`], so that series of any unit can be averaged. `Ok(None)` if the history has no
/// scale.
///
/// # Errors
/// As [`crps`].
pub fn scaled_crps(
    actual: &[f64],
    forecast: &Forecast,
    history: &[f64],
) -> Result<Option<Score>, ScoreError> {
    let score = crps(actual, forecast)?;
    Ok(naive_scale(history).map(|scale| Score { value: score.value / scale, ..score }))
}

/// One term of [`crps`].
pub(crate) fn gaussian_crps(error: f64, deviation: f64) -> f64 {
    let z = error / deviation;
    // Beyond 1e8 deviations, and with none, the width is lost in the rounding of the error.
    if deviation == 0.0 || z.abs() > 1e8 {
        return error.abs();
    }
    let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
    deviation * (z * libm::erf(z * FRAC_1_SQRT_2) + 2.0 * density - 1.0 / PI.sqrt())
}

/// How the spread of a sample is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// The sample is the forecast: `mean |x - y| - sum |x_i - x_j| / (2 m^2)`.
    Plain,
    /// The sample is drawn from the forecast, whose score is estimated without bias:
    /// `mean |x - y| - sum |x_i - x_j| / (2 m (m - 1))` (Ferro 2014). Needs two values.
    Fair,
}

/// Continuous ranked probability score of a forecast given as a sample, for one actual value that is there, in
/// O(m log m). `Ok(None)` if the sample is too small: empty, or of one value for [`Sample::Fair`].
///
/// # Errors
/// A value that is not finite.
pub fn sample_crps(actual: f64, sample: &[f64], kind: Sample) -> Result<Option<f64>, ScoreError> {
    let actual = finite("actual value", 0, actual)?;
    let mut sorted = sample.to_vec();
    for (at, value) in sample.iter().enumerate() {
        finite("sample value", at, *value)?;
    }
    sorted.sort_by(f64::total_cmp);
    let m = sorted.len() as f64;
    let pairs = match kind {
        Sample::Plain => m * m,
        Sample::Fair => m * (m - 1.0),
    };
    if sorted.is_empty() || pairs == 0.0 {
        return Ok(None);
    }
    let error = sorted.iter().map(|value| (value - actual).abs()).sum::<f64>() / m;
    // In order, value i is the larger of a pair i times and the smaller one m - 1 - i times.
    let ranked = sorted.iter().enumerate().map(|(i, value)| (2.0 * i as f64 + 1.0 - m) * (value - sorted[0]));
    Ok(Some(error - ranked.sum::<f64>() / pairs))
}

/// Share of the actual values that lie in their interval, its ends included.
///
/// # Errors
/// Unequal lengths, an end that is not finite, ends in the wrong order, nothing to score.
pub fn coverage(actual: &[f64], intervals: &[Interval]) -> Result<Score, ScoreError> {
    over(actual, "intervals", intervals.len(), |at, actual| {
        width(at, intervals[at])?;
        Ok(f64::from(u8::from(intervals[at].low <= actual && actual <= intervals[at].high)))
    })
}

/// Mean width of intervals.
///
/// # Errors
/// No intervals, an end that is not finite, ends in the wrong order.
pub fn mean_width(intervals: &[Interval]) -> Result<f64, ScoreError> {
    let widths = intervals.iter().enumerate().map(|(at, interval)| width(at, *interval));
    let sum = widths.sum::<Result<f64, _>>()?;
    if intervals.is_empty() { Err(ScoreError::Nothing) } else { Ok(sum / intervals.len() as f64) }
}

/// Interval score of Winkler (1972), as in Gneiting and Raftery (2007): the width, and `2 / (1 - level)` times
/// the distance of an actual value that lies outside.
///
/// # Errors
/// Unequal lengths, an end that is not finite, ends in the wrong order, nothing to score, a level outside (0, 1).
pub fn interval_score(actual: &[f64], intervals: &[Interval], level: f64) -> Result<Score, ScoreError> {
    check_level(level)?;
    over(actual, "intervals", intervals.len(), |at, actual| {
        let Interval { low, high } = intervals[at];
        let outside = (low - actual).max(actual - high).max(0.0);
        Ok(width(at, intervals[at])? + 2.0 / (1.0 - level) * outside)
    })
}

/// Mean squared difference of probabilities and outcomes (Brier 1950), from 0 to 1.
///
/// # Errors
/// Unequal lengths, a number that is no probability, nothing to score.
pub fn brier(probabilities: &[f64], outcomes: &[bool]) -> Result<f64, ScoreError> {
    check_probabilities(probabilities, outcomes)?;
    let terms = probabilities.iter().zip(outcomes).map(|(p, outcome)| (p - indicator(*outcome)).powi(2));
    Ok(terms.sum::<f64>() / outcomes.len() as f64)
}

/// Area under the precision-recall curve as average precision: the precision at each threshold, weighted with
/// the recall it adds. Scores that are equal are one threshold. `Ok(None)` without a positive outcome.
///
/// # Errors
/// Unequal lengths, a score that is not a number, nothing to score.
pub fn average_precision(scores: &[f64], outcomes: &[bool]) -> Result<Option<f64>, ScoreError> {
    let thresholds = thresholds(scores, outcomes)?;
    let positives: usize = thresholds.iter().map(|threshold| threshold.positives).sum();
    let (mut found, mut alerts, mut sum) = (0, 0, 0.0);
    for Threshold { positives: added, negatives } in thresholds {
        found += added;
        alerts += added + negatives;
        sum += added as f64 * found as f64 / alerts as f64;
    }
    Ok((positives > 0).then(|| sum / positives as f64))
}

/// Area under the receiver operating characteristic: the probability that a positive outcome has the higher
/// score than a negative one, ties counted as half (Hanley and McNeil 1982). `Ok(None)` unless there are both.
///
/// # Errors
/// As [`average_precision`].
pub fn roc_auc(scores: &[f64], outcomes: &[bool]) -> Result<Option<f64>, ScoreError> {
    let thresholds = thresholds(scores, outcomes)?;
    let (mut found, mut false_alerts, mut area) = (0.0, 0.0, 0.0);
    for Threshold { positives, negatives } in thresholds {
        area += negatives as f64 * (found + positives as f64 / 2.0);
        found += positives as f64;
        false_alerts += negatives as f64;
    }
    let pairs = found * false_alerts;
    Ok((pairs > 0.0).then(|| area / pairs))
}

/// How many outcomes of either kind have one score.
struct Threshold {
    positives: usize,
    negatives: usize,
}

/// From the highest score to the lowest.
fn thresholds(scores: &[f64], outcomes: &[bool]) -> Result<Vec<Threshold>, ScoreError> {
    check_length("scores", scores.len(), outcomes.len())?;
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(ScoreError::NotFinite { name: "score", index, value: scores[index] });
    }
    let mut ranked: Vec<(f64, bool)> = scores.iter().copied().zip(outcomes.iter().copied()).collect();
    ranked.sort_by(|left, right| right.0.total_cmp(&left.0));
    let same = ranked.chunk_by(|left, right| left.0 == right.0);
    let count = |group: &[(f64, bool)]| {
        let positives = group.iter().filter(|(_, outcome)| *outcome).count();
        Threshold { positives, negatives: group.len() - positives }
    };
    Ok(same.map(count).collect())
}

/// Mean of a term of each actual value that is there.
fn over(
    actual: &[f64],
    name: &'static str,
    have: usize,
    mut term: impl FnMut(usize, f64) -> Result<f64, ScoreError>,
) -> Result<Score, ScoreError> {
    check_length(name, have, actual.len())?;
    let (mut sum, mut count) = (0.0, 0);
    for (at, value) in actual.iter().enumerate() {
        if value.is_nan() {
            continue;
        }
        sum += term(at, finite("actual value", at, *value)?)?;
        count += 1;
    }
    if count == 0 {
        return Err(ScoreError::Nothing);
    }
    Ok(Score { value: sum / count as f64, count, missing: actual.len() - count })
}

/// As many probabilities as outcomes, above 0 of them.
pub(crate) fn check_probabilities(probabilities: &[f64], outcomes: &[bool]) -> Result<(), ScoreError> {
    check_length("probabilities", probabilities.len(), outcomes.len())?;
    match probabilities.iter().position(|value| !(0.0..=1.0).contains(value)) {
        Some(index) => {
            Err(ScoreError::NotProbability { name: "probability", index, value: probabilities[index] })
        }
        None => Ok(()),
    }
}

pub(crate) fn check_length(name: &'static str, have: usize, need: usize) -> Result<(), ScoreError> {
    if have != need {
        return Err(ScoreError::Length { name, have, need });
    }
    if need == 0 { Err(ScoreError::Nothing) } else { Ok(()) }
}

pub(crate) fn check_level(level: f64) -> Result<(), ScoreError> {
    if level > 0.0 && level < 1.0 { Ok(()) } else { Err(ScoreError::Level(level)) }
}

pub(crate) fn finite(name: &'static str, index: usize, value: f64) -> Result<f64, ScoreError> {
    if value.is_finite() { Ok(value) } else { Err(ScoreError::NotFinite { name, index, value }) }
}

pub(crate) fn not_negative(name: &'static str, index: usize, value: f64) -> Result<f64, ScoreError> {
    if finite(name, index, value)? < 0.0 {
        Err(ScoreError::Negative { name, index, value })
    } else {
        Ok(value)
    }
}

fn width(index: usize, interval: Interval) -> Result<f64, ScoreError> {
    let (low, high) = (finite("lower end", index, interval.low)?, finite("upper end", index, interval.high)?);
    not_negative("width", index, high - low)
}

pub(crate) fn indicator(outcome: bool) -> f64 {
    f64::from(u8::from(outcome))
}

#[cfg(test)]
mod tests;
