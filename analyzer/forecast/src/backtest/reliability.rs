//! Whether what was given a probability of 30 % came in 30 of 100 cases.

use crate::Interval;
use crate::backtest::score::{ScoreError, check_level, check_probabilities, indicator};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::num::NonZeroUsize;

/// How probabilities are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// As many ranges of one width in [0, 1]. One that no probability is in has no bin.
    EqualWidth(NonZeroUsize),
    /// As many bins of about one count. Equal probabilities share a bin, so there may be fewer.
    EqualCount(NonZeroUsize),
    /// One for each probability there is.
    Distinct,
}

/// Probabilities that are near each other, and what came of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Mean probability.
    pub forecast: f64,
    /// Share of positive outcomes.
    pub frequency: f64,
    /// Outcomes; above 0.
    pub count: usize,
    /// Where the frequency would lie with more outcomes, by Wilson (1927).
    pub interval: Interval,
}

/// A reliability curve, lowest probabilities first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    bins: Vec<Bin>,
}

/// The parts of the Brier score by Murphy (1973): `reliability - resolution + uncertainty`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decomposition {
    /// Mean squared distance of the probabilities from the frequencies: 0 is best.
    pub reliability: f64,
    /// Mean squared distance of the frequencies from the overall frequency: the more, the better.
    pub resolution: f64,
    /// Variance of the outcomes, which no forecast changes.
    pub uncertainty: f64,
}

impl Reliability {
    /// Of probabilities and outcomes, with Wilson intervals of a level.
    ///
    /// # Errors
    /// Unequal lengths, no outcomes, a number that is no probability, a level outside (0, 1).
    pub fn new(
        probabilities: &[f64],
        outcomes: &[bool],
        binning: Binning,
        level: f64,
    ) -> Result<Self, ScoreError> {
        check_probabilities(probabilities, outcomes)?;
        check_level(level)?;
        let mut cases: Vec<Case> = std::iter::zip(probabilities, outcomes).map(|(p, o)| (*p, *o)).collect();
        cases.sort_by(|left, right| left.0.total_cmp(&right.0));
        let bins = match binning {
            Binning::Distinct => {
                cases.chunk_by(|left, right| left.0 == right.0).map(|cases| bin(cases, level)).collect()
            }
            Binning::EqualWidth(bins) => {
                let place = |case: &Case| ((case.0 * bins.get() as f64) as usize).min(bins.get() - 1);
                cases
                    .chunk_by(|left, right| place(left) == place(right))
                    .map(|cases| bin(cases, level))
                    .collect()
            }
            Binning::EqualCount(bins) => {
                of_equal_count(&cases, bins.get()).into_iter().map(|cases| bin(cases, level)).collect()
            }
        };
        Ok(Self { bins })
    }

    /// Its bins, lowest probabilities first.
    #[must_use]
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Expected calibration error: mean distance of probability and frequency, bins weighted with their counts.
    #[must_use]
    pub fn calibration_error(&self) -> f64 {
        self.mean(|bin| (bin.forecast - bin.frequency).abs())
    }

    /// The parts of the Brier score. With [`Binning::Distinct`] they add up to it; with wider bins what the
    /// probabilities differ within a bin is left out.
    #[must_use]
    pub fn decomposition(&self) -> Decomposition {
        let overall = self.mean(|bin| bin.frequency);
        Decomposition {
            reliability: self.mean(|bin| (bin.forecast - bin.frequency).powi(2)),
            resolution: self.mean(|bin| (bin.frequency - overall).powi(2)),
            uncertainty: overall * (1.0 - overall),
        }
    }

    fn mean(&self, term: impl Fn(&Bin) -> f64) -> f64 {
        let count: usize = self.bins.iter().map(|bin| bin.count).sum();
        self.bins.iter().map(|bin| bin.count as f64 * term(bin)).sum::<f64>() / count as f64
    }
}

/// A probability and what came of it.
type Case = (f64, bool);

/// Runs of cases that end at each n / bins-th case, or where its ties end.
fn of_equal_count(cases: &[Case], bins: usize) -> Vec<&[Case]> {
    let (mut runs, mut start) = (Vec::new(), 0);
    for bin in 1..=bins.min(cases.len()) {
        let last = (cases.len() * bin).div_ceil(bins.min(cases.len())) - 1;
        let end = cases.partition_point(|case| case.0 <= cases[last].0);
        if end > start {
            runs.push(&cases[start..end]);
            start = end;
        }
    }
    runs
}

fn bin(cases: &[Case], level: f64) -> Bin {
    let n = cases.len() as f64;
    let mean = cases.iter().map(|case| case.0).sum::<f64>() / n;
    let frequency = cases.iter().map(|case| indicator(case.1)).sum::<f64>() / n;
    Bin { forecast: mean, frequency, count: cases.len(), interval: wilson(frequency, n, level) }
}

fn wilson(frequency: f64, n: f64, level: f64) -> Interval {
    let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
    let middle = frequency + z * z / (2.0 * n);
    let half = z * (frequency * (1.0 - frequency) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // Without rounding the frequency lies between.
    Interval {
        low: ((middle - half) / scale).clamp(0.0, frequency),
        high: ((middle + half) / scale).clamp(frequency, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::score::brier;
    use proptest::prelude::*;

    const P: [f64; 6] = [0.1, 0.1, 0.3, 0.8, 0.8, 0.95];
    const O: [bool; 6] = [false, true, false, true, true, true];

    fn of(binning: fn(NonZeroUsize) -> Binning, count: usize) -> Vec<(f64, f64, usize)> {
        let count = NonZeroUsize::new(count).expect("bins");
        let reliability = Reliability::new(&P, &O, binning(count), 0.95).expect("probabilities");
        reliability.bins().iter().map(|bin| (bin.forecast, bin.frequency, bin.count)).collect()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn bins_of_equal_width_leave_out_what_is_empty() {
        let bins = of(Binning::EqualWidth, 5);
        assert_eq!(bins.iter().map(|bin| bin.2).collect::<Vec<_>>(), [2, 1, 3]);
        near(bins[2].0, 0.85);
        assert_eq!((bins[0].1, bins[1].1, bins[2].1), (0.5, 0.0, 1.0));
        let all = Reliability::new(&[1.0, 0.0], &[true, true], Binning::EqualWidth(NonZeroUsize::MIN), 0.9);
        assert_eq!(all.expect("probabilities").bins().len(), 1);
    }

    #[test]
    fn bins_of_equal_count_keep_ties_together() {
        let counts = |bins| of(Binning::EqualCount, bins).iter().map(|bin| bin.2).collect::<Vec<_>>();
        assert_eq!(counts(2), [3, 3]);
        // The third of five would end between the two of .8.
        assert_eq!(counts(5), [2, 1, 2, 1]);
        assert_eq!(counts(100), [2, 1, 2, 1]);
        assert_eq!(counts(1), [6]);
    }

    /// By hand: distances .4, .3, .2, .05 with counts 2, 1, 2, 1; overall frequency 4 / 6.
    #[test]
    fn calibration_error_and_parts_are_those_by_hand() {
        let reliability = Reliability::new(&P, &O, Binning::Distinct, 0.95).expect("probabilities");
        near(reliability.calibration_error(), (0.8 + 0.3 + 0.4 + 0.05) / 6.0);
        let parts = reliability.decomposition();
        near(parts.reliability, (2.0 * 0.16 + 0.09 + 2.0 * 0.04 + 0.0025) / 6.0);
        near(parts.resolution, (2.0 / 36.0 + 4.0 / 9.0 + 3.0 / 9.0) / 6.0);
        near(parts.uncertainty, 2.0 / 9.0);
    }

    /// `prop.test(x, n, correct = FALSE)$conf.int` of R 4.2.2.
    #[test]
    fn wilson_intervals_are_those_of_r() {
        for (x, n, low, high) in
            [(0.0, 10.0, 0.0, 0.277532799863), (7.0, 20.0, 0.181191824101, 0.567145723315)]
        {
            let interval = wilson(x / n, n, 0.95);
            assert!((interval.low - low).abs() < 1e-9 && (interval.high - high).abs() < 1e-9, "{interval:?}");
        }
    }

    #[test]
    fn what_is_no_probability_is_named() {
        assert!(Reliability::new(&[1.1], &[true], Binning::Distinct, 0.95).is_err());
        assert!(Reliability::new(&[0.1], &[], Binning::Distinct, 0.95).is_err());
        assert_eq!(Reliability::new(&[0.1], &[true], Binning::Distinct, 0.0), Err(ScoreError::Level(0.0)));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_brier_score(cases in prop::collection::vec((0..10u8, any::<bool>()), 1..60)) {
            let probabilities: Vec<f64> = cases.iter().map(|(p, _)| f64::from(*p) / 9.0).collect();
            let outcomes: Vec<bool> = cases.iter().map(|(_, outcome)| *outcome).collect();
            let reliability = Reliability::new(&probabilities, &outcomes, Binning::Distinct, 0.95).expect("in range");
            let parts = reliability.decomposition();
            let sum = parts.reliability - parts.resolution + parts.uncertainty;
            prop_assert!((sum - brier(&probabilities, &outcomes).expect("in range")).abs() < 1e-12);
            let inside = |bin: &Bin| bin.interval.low <= bin.frequency && bin.frequency <= bin.interval.high;
            prop_assert!(reliability.bins().iter().all(inside));
        }
    }
}
