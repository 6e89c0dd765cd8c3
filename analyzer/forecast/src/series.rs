//! A series as it comes in: checked, cut to what says something, and brought to a size that double precision
//! can square.

use crate::{FitError, Line, SeriesError};

/// A series that a model can be fitted to.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// From the first value that is there to the last, as `(y - shift) / unit`; `NaN` where missing.
    pub(crate) values: Vec<f64>,
    /// Values that are there.
    pub(crate) observed: usize,
    /// A power of two, so that nothing is rounded.
    pub(crate) unit: f64,
    /// Taken off before, in the unit of the series.
    pub(crate) shift: f64,
    /// Steps of the series after its last value that is there.
    after: usize,
}

/// A series that is ready for the likelihood.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) prepared: Prepared,
    pub(crate) d: usize,
    /// The differenced values; where there are gaps, of a series whose gaps are filled by lines, of use as a
    /// start only.
    pub(crate) differenced: Vec<f64>,
}

impl Ready {
    pub(crate) fn new(prepared: Prepared, d: usize) -> Self {
        let differenced = prepared.differenced(d);
        Self { prepared, d, differenced }
    }

    pub(crate) fn values(&self) -> Values<'_> {
        if self.prepared.has_gaps() {
            Values::WithGaps { series: &self.prepared.values, d: self.d, filled: &self.differenced }
        } else {
            Values::Differenced(&self.differenced)
        }
    }
}

/// What is estimated from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    /// A series without gaps, differenced as often as it has to be.
    Differenced(&'a [f64]),
    /// A series with gaps.
    WithGaps {
        /// With `NaN` where a value is missing.
        series: &'a [f64],
        /// How often it has to be differenced.
        d: usize,
        /// What [`Self::Differenced`] would be with the gaps filled by lines.
        filled: &'a [f64],
    },
}

/// What a model is after, where its value at the start means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Zero is a value like any other: a model without a mean.
    Fixed,
    /// Any: the model has a mean or takes differences.
    Free,
}

impl Prepared {
    /// Checks and scales.
    pub(crate) fn new(series: &[f64], origin: Origin) -> Result<Self, SeriesError> {
        let (first, last) = ends(series)?;
        let span = &series[first..=last];
        let shift = match origin {
            Origin::Fixed => 0.0,
            Origin::Free => series[first],
        };
        // Halves, as a difference of two finite values need not be finite.
        let half_reach = span.iter().fold(0.0, |most: f64, y| most.max((0.5 * y - 0.5 * shift).abs()));
        let unit = power_of_two(half_reach).ok_or(SeriesError::OutOfRange)?;
        let values: Vec<f64> = span.iter().map(|y| (y / unit) - (shift / unit)).collect();
        let observed = values.iter().filter(|value| !value.is_nan()).count();
        Ok(Self { values, observed, unit, shift, after: series.len() - 1 - last })
    }

    /// Whether a value between the first and the last is missing.
    pub(crate) fn has_gaps(&self) -> bool {
        self.observed < self.values.len()
    }

    /// The differenced series, its gaps filled by lines.
    pub(crate) fn differenced(&self, d: usize) -> Vec<f64> {
        let mut values = self.values.clone();
        if self.has_gaps() {
            fill(&mut values);
        }
        for _ in 0..d {
            for t in 1..values.len() {
                values[t - 1] = values[t] - values[t - 1];
            }
            values.pop();
        }
        values
    }

    /// # Errors
    /// If there are fewer values than needed, or no noise among them once differenced `d` times.
    pub(crate) fn check(&self, d: usize, need: usize) -> Result<(), FitError> {
        let line = self.line();
        match line {
            Some(line) if d > 0 || line.slope == 0.0 => return Err(FitError::NoNoise(line)),
            Some(_) | None => {}
        }
        if self.observed < need {
            return Err(SeriesError::TooShort { have: self.observed, need }.into());
        }
        Ok(())
    }

    /// The line that all values lie on, if there are at least two and they do; a line through two values that
    /// differ is no evidence, one through two that do not is a constant.
    fn line(&self) -> Option<Line> {
        let last = self.values.len() - 1;
        let end = self.values[last];
        let slope = if last == 0 { 0.0 } else { (end - self.values[0]) / last as f64 };
        // Each value is rounded to within an epsilon of the largest, which lies within a factor of 2 of the unit.
        let size = 1.0 + (self.shift / self.unit).abs();
        let near = |(t, value): (usize, &f64)| {
            value.is_nan() || (self.values[0] + slope * t as f64 - value).abs() <= 8.0 * f64::EPSILON * size
        };
        let straight = self.values.iter().enumerate().all(near);
        let constant = slope.abs() * last as f64 <= 8.0 * f64::EPSILON * size;
        let slope = if constant { 0.0 } else { slope };
        let enough = self.observed >= if constant { 2 } else { 3 };
        (straight && enough).then_some(Line {
            last: (end + slope * self.after as f64) * self.unit + self.shift,
            slope: slope * self.unit,
        })
    }
}

/// Replaces each `NaN` by the line between its neighbours. The first and the last value are there.
fn fill(values: &mut [f64]) {
    let mut last = 0;
    for t in 1..values.len() {
        if values[t].is_nan() {
            continue;
        }
        let slope = (values[t] - values[last]) / (t - last) as f64;
        for gap in last + 1..t {
            values[gap] = values[last] + slope * (gap - last) as f64;
        }
        last = t;
    }
}

/// The indices of the first and the last value that is there.
pub(crate) fn ends(series: &[f64]) -> Result<(usize, usize), SeriesError> {
    if let Some(at) = series.iter().position(|value| value.is_infinite()) {
        return Err(SeriesError::Infinite { at });
    }
    let there = |value: &f64| !value.is_nan();
    let ends = series.iter().position(there).zip(series.iter().rposition(there));
    ends.ok_or(SeriesError::AllMissing { len: series.len() })
}

/// The power of two next to a size; 1 for 0, nothing if squares of such values are none of double precision.
fn power_of_two(half: f64) -> Option<f64> {
    if half == 0.0 {
        return Some(1.0);
    }
    let exponent = half.log2().floor() + 1.0;
    let unit = exponent.exp2();
    (half.is_finite() && (-1000.0..=1000.0).contains(&exponent)).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_told_apart() {
        let prepare = |series: &[f64]| Prepared::new(series, Origin::Free).map(|prepared| prepared.values);
        assert_eq!(prepare(&[]), Err(SeriesError::AllMissing { len: 0 }));
        assert_eq!(prepare(&[f64::NAN; 3]), Err(SeriesError::AllMissing { len: 3 }));
        assert_eq!(prepare(&[1.0, f64::INFINITY]), Err(SeriesError::Infinite { at: 1 }));
        assert_eq!(prepare(&[1.0, 1e308]), Err(SeriesError::OutOfRange));
        assert_eq!(prepare(&[0.0, 1e-320]), Err(SeriesError::OutOfRange));
        assert_eq!(prepare(&[f64::NAN, 3.0, 7.0, f64::NAN]), Ok(vec![0.0, 1.0]));
    }

    #[test]
    fn a_line_is_no_noise() {
        let check = |series: &[f64], d| {
            Prepared::new(series, Origin::Free)
                .map_err(FitError::from)
                .and_then(|prepared| prepared.check(d, 3))
        };
        let line: Vec<f64> = (0..50).map(|t| 0.1 + 0.3 * f64::from(t)).collect();
        let Err(FitError::NoNoise(found)) = check(&line, 1) else { panic!("it is a line") };
        assert!((found.slope - 0.3).abs() < 1e-12 && (found.last - 14.8).abs() < 1e-12);
        assert_eq!(check(&line, 0), Ok(()));
        assert_eq!(check(&[2.5; 9], 0), Err(FitError::NoNoise(Line { last: 2.5, slope: 0.0 })));
        assert_eq!(check(&[1.0, 2.0], 0), Err(SeriesError::TooShort { have: 2, need: 3 }.into()));
        let with_gap = [1.0, f64::NAN, 3.0, 4.0, f64::NAN, f64::NAN, 7.0];
        assert_eq!(check(&with_gap, 1), Err(FitError::NoNoise(Line { last: 7.0, slope: 1.0 })));
        // The line goes on over what is missing at the end.
        let cut_short = [1.0, 2.0, 3.0, 4.0, f64::NAN, f64::NAN];
        assert_eq!(check(&cut_short, 1), Err(FitError::NoNoise(Line { last: 6.0, slope: 1.0 })));
    }

    #[test]
    fn gaps_are_filled_by_lines() {
        let mut values = [1.0, f64::NAN, 3.0, f64::NAN, f64::NAN, 0.0];
        fill(&mut values);
        assert_eq!(values, [1.0, 2.0, 3.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn differences_are_taken_in_order() {
        let prepared = Prepared::new(&[0.0, 1.0, 4.0, 9.0, 16.0], Origin::Fixed).expect("finite");
        let unit = prepared.unit;
        assert_eq!(
            prepared.differenced(1).iter().map(|x| x * unit).collect::<Vec<_>>(),
            [1.0, 3.0, 5.0, 7.0]
        );
        assert_eq!(prepared.differenced(2).iter().map(|x| x * unit).collect::<Vec<_>>(), [2.0, 2.0, 2.0]);
    }
}
