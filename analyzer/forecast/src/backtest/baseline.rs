//! Forecasts that anything better has to beat.
//!
//! Values that are missing are steps that pass without being seen. A forecast of a series without noise has
//! standard errors of 0: that is what its past says.

use crate::{Forecast, SeriesError};
use std::num::NonZeroUsize;
use thiserror::Error;

/// Why there is no baseline forecast.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BaselineError {
    /// The series.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// All values at one place of the period are missing.
    #[error("there is no value at place {place} of a period of {period} steps")]
    NoValueAtPlace {
        /// From 0; the series begins at place 0.
        place: usize,
        /// Steps per period.
        period: usize,
    },
}

/// No change: the last value, with the errors of a random walk, `s sqrt(h)`, where `s^2` is the mean squared
/// difference (Hyndman and Athanasopoulos 2021, 5.5). A difference over g steps counts as g steps' variance.
///
/// # Errors
/// Fewer than two values, an infinite value, values out of range.
pub fn naive(series: &[f64], horizon: usize) -> Result<Forecast, BaselineError> {
    seasonal_naive(series, NonZeroUsize::MIN, horizon)
}

/// The value a period ago, with the errors of a random walk per place in the period: `s sqrt(k)`, where `k` is
/// the number of periods since (Hyndman and Athanasopoulos 2021, 5.5).
///
/// # Errors
/// Fewer than `period + 1` values, no two values at the same place, a place without value, an infinite value,
/// values out of range.
pub fn seasonal_naive(
    series: &[f64],
    period: NonZeroUsize,
    horizon: usize,
) -> Result<Forecast, BaselineError> {
    let period = period.get();
    let seen = present(series, period + 1)?;
    let mut last: Vec<Option<(usize, f64)>> = vec![None; period.min(series.len())];
    let mut squares = Squares::default();
    for (at, value) in seen {
        if let Some((before, from)) = last[at % period].replace((at, value)) {
            squares.add(value - from, (at - before) as f64 / period as f64);
        }
    }
    // A place each has a value, and with one more value than places two are at the same.
    let last = last.into_iter().enumerate().map(|(place, value)| match value {
        Some(value) => Ok(value),
        None => Err(BaselineError::NoValueAtPlace { place, period }),
    });
    let last = last.collect::<Result<Vec<_>, _>>()?;
    let deviation = squares.deviation(0)?;
    of_steps(series.len(), horizon, |time| {
        let (at, value) = last[time % period];
        (value, deviation * (((time - at) / period) as f64).sqrt())
    })
}

/// The line from the first value to the last, with the errors of a random walk with drift:
/// `s sqrt(h (1 + h / T))`, where `s^2` is the unbiased variance of the differences and `T` the steps between
/// first and last (Hyndman and Athanasopoulos 2021, 5.5).
///
/// # Errors
/// Fewer than three values, an infinite value, values out of range.
pub fn drift(series: &[f64], horizon: usize) -> Result<Forecast, BaselineError> {
    let seen = present(series, 3)?;
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    let span = (last.0 - first.0) as f64;
    let slope = (last.1 - first.1) / span;
    let mut squares = Squares::default();
    for pair in seen.windows(2) {
        let steps = (pair[1].0 - pair[0].0) as f64;
        squares.add(pair[1].1 - pair[0].1 - slope * steps, steps);
    }
    let deviation = squares.deviation(1)?;
    of_steps(series.len(), horizon, |time| {
        let steps = (time - last.0) as f64;
        (last.1 + slope * steps, deviation * (steps * (1.0 + steps / span)).sqrt())
    })
}

/// The Theta method (Assimakopoulos and Nikolopoulos 2000): simple exponential smoothing, by least squares in
/// its coefficient and its first level, that drifts by half the slope of the linear trend (Hyndman and Billah
/// 2003). Standard errors are those of the smoothing, `s sqrt(1 + (h - 1) a^2)`, without that of the slope, as
/// in R's `thetaf`. There is no season.
///
/// # Errors
/// Fewer than three values, an infinite value, values out of range.
pub fn theta(series: &[f64], horizon: usize) -> Result<Forecast, BaselineError> {
    let seen = present(series, 3)?;
    let half_slope = slope(&seen) / 2.0;
    // Levels are told from the first value on, as a large one would take their digits.
    let origin = seen[0].1;
    let values: Vec<f64> = seen.iter().map(|(_, value)| value - origin).collect();
    let smoothed = best_smoothing(&values);
    let deviation = smoothed.squares.deviation(2)?;
    let alpha = smoothed.alpha;
    // How far the level with drift lies above that without.
    let (mut above, mut time) = (-half_slope, 0);
    for (at, _) in &seen {
        above = (1.0 - alpha) * (above + half_slope * (at + 1 - time) as f64);
        time = at + 1;
    }
    let last = time - 1;
    of_steps(series.len(), horizon, |time| {
        let steps = (time - last) as f64;
        let mean = origin + smoothed.level + above + half_slope * steps;
        (mean, deviation * (1.0 + (steps - 1.0) * alpha * alpha).sqrt())
    })
}

/// Times and values that are not missing, at least as many as needed.
fn present(series: &[f64], need: usize) -> Result<Vec<(usize, f64)>, SeriesError> {
    if let Some(at) = series.iter().position(|value| value.is_infinite()) {
        return Err(SeriesError::Infinite { at });
    }
    let seen: Vec<_> = series.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
    match seen.len() {
        0 => Err(SeriesError::AllMissing { len: series.len() }),
        have if have < need => Err(SeriesError::TooShort { have, need }),
        _ => Ok(seen),
    }
}

/// Mean and standard error at each time from the end of the series on.
fn of_steps(
    end: usize,
    horizon: usize,
    step: impl FnMut(usize) -> (f64, f64),
) -> Result<Forecast, BaselineError> {
    let (mean, deviation): (Vec<f64>, Vec<f64>) = (end..end + horizon).map(step).unzip();
    if mean.iter().chain(&deviation).all(|value| value.is_finite()) {
        Ok(Forecast::new(mean, deviation))
    } else {
        Err(SeriesError::OutOfRange.into())
    }
}

/// Squares of changes per step.
#[derive(Clone, Copy, Default)]
struct Squares {
    sum: f64,
    count: usize,
    /// Largest size of a change, which tells squares that vanish from changes that are 0.
    largest: f64,
}

impl Squares {
    fn add(&mut self, change: f64, steps: f64) {
        self.sum += change * change / steps;
        self.count += 1;
        self.largest = self.largest.max(change.abs());
    }

    /// Root of their mean, with the degrees of freedom of what was estimated taken off. There is one left.
    fn deviation(self, estimated: usize) -> Result<f64, SeriesError> {
        if !self.sum.is_finite() || (self.sum == 0.0 && self.largest > 0.0) {
            return Err(SeriesError::OutOfRange);
        }
        Ok((self.sum / self.count.saturating_sub(estimated).max(1) as f64).sqrt())
    }
}

/// Of the line by least squares through two points or more.
fn slope(seen: &[(usize, f64)]) -> f64 {
    let n = seen.len() as f64;
    let centre = seen.iter().map(|(at, _)| *at as f64).sum::<f64>() / n;
    let across: f64 = seen.iter().map(|(at, value)| (*at as f64 - centre) * (value - seen[0].1)).sum();
    across / seen.iter().map(|(at, _)| (*at as f64 - centre).powi(2)).sum::<f64>()
}

/// Simple exponential smoothing at the end of a series.
#[derive(Clone, Copy)]
struct Smoothed {
    alpha: f64,
    level: f64,
    squares: Squares,
}

/// The coefficients that are tried, as R's `ets` does.
const ALPHA: (f64, f64) = (1e-4, 0.9999);

/// Of the least sum of squared errors: the best of a grid, and from there by golden sections.
fn best_smoothing(values: &[f64]) -> Smoothed {
    const GRID: usize = 50;
    let at = |index: usize| ALPHA.0 + (ALPHA.1 - ALPHA.0) * index as f64 / GRID as f64;
    let mut best = (0, smooth(values, ALPHA.0));
    for index in 1..=GRID {
        let tried = smooth(values, at(index));
        if tried.squares.sum < best.1.squares.sum {
            best = (index, tried);
        }
    }
    let (mut low, mut high) = (at(best.0.saturating_sub(1)), at((best.0 + 1).min(GRID)));
    let mut best = best.1;
    let section = (5f64.sqrt() - 1.0) / 2.0;
    // 60 sections are 13 digits.
    for _ in 0..60 {
        let left = smooth(values, high - section * (high - low));
        let right = smooth(values, low + section * (high - low));
        let better = if left.squares.sum <= right.squares.sum {
            high = right.alpha;
            left
        } else {
            low = left.alpha;
            right
        };
        if better.squares.sum < best.squares.sum {
            best = better;
        }
    }
    best
}

/// The errors are linear in the first level, which is therefore known.
fn smooth(values: &[f64], alpha: f64) -> Smoothed {
    let (mut across, mut weights) = (0.0, 0.0);
    run(values, alpha, 0.0, |error, weight| {
        across += error * weight;
        weights += weight * weight;
    });
    let mut squares = Squares::default();
    let level = run(values, alpha, across / weights, |error, _| squares.add(error, 1.0));
    Smoothed { alpha, level, squares }
}

/// Tells each error and how much the first level weighs in it; gives the last level.
fn run(values: &[f64], alpha: f64, first: f64, mut each: impl FnMut(f64, f64)) -> f64 {
    let (mut level, mut weight) = (first, 1.0);
    for value in values {
        let error = value - level;
        each(error, weight);
        level += alpha * error;
        weight *= 1.0 - alpha;
    }
    level
}

#[cfg(test)]
mod tests;
