//! What a score means: the probability that goes with it, by isotonic regression.
//!
//! A score ranks; how often a positive outcome follows it has to be learned from outcomes. Isotonic regression
//! supposes only that a higher score does not mean a lower probability (Zadrozny and Elkan 2002).

use crate::backtest::score::{ScoreError, check_length, finite, indicator, not_negative};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A nondecreasing map from scores to probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Knot>", into = "Vec<Knot>")]
pub struct Calibration {
    /// At least one; scores rise, probabilities do not fall and are in [0, 1].
    knots: Vec<Knot>,
}

/// A score and its probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knot {
    /// Finite.
    pub score: f64,
    /// In [0, 1].
    pub probability: f64,
}

/// Knots that are no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KnotError {
    /// There are none.
    #[error("a calibration needs a knot")]
    None,
    /// A score that is not finite, a probability outside [0, 1], or an order that is not rising.
    #[error("knot {0} is no score with a probability, or not above the one before")]
    At(usize),
}

impl Calibration {
    /// Of scores and outcomes, each of weight 1.
    ///
    /// # Errors
    /// See [`Self::fit_weighted`].
    pub fn fit(scores: &[f64], outcomes: &[bool]) -> Result<Self, ScoreError> {
        Self::fit_weighted(scores, outcomes, &vec![1.0; outcomes.len()])
    }

    /// The nondecreasing probabilities nearest to the outcomes in weighted squares, by pooling adjacent violators
    /// (Ayer et al. 1955). Equal scores are one. O(n log n).
    ///
    /// # Errors
    /// Unequal lengths, no outcomes or none of a weight above 0, a score that is not finite, a weight that is not
    /// finite or below 0.
    pub fn fit_weighted(scores: &[f64], outcomes: &[bool], weights: &[f64]) -> Result<Self, ScoreError> {
        check_length("scores", scores.len(), outcomes.len())?;
        check_length("weights", weights.len(), outcomes.len())?;
        let mut points = Vec::with_capacity(scores.len());
        for (at, (score, outcome)) in scores.iter().zip(outcomes).enumerate() {
            let (score, weight) = (finite("score", at, *score)?, not_negative("weight", at, weights[at])?);
            if weight > 0.0 {
                points.push(Block { low: score, high: score, value: indicator(*outcome), weight });
            }
        }
        if points.is_empty() {
            return Err(ScoreError::Nothing);
        }
        points.sort_by(|left, right| left.low.total_cmp(&right.low));
        let ties = points.chunk_by(|left, right| left.low == right.low).map(merged);
        let mut blocks: Vec<Block> = Vec::with_capacity(points.len());
        for block in ties {
            blocks.push(block);
            while let [.., left, right] = blocks[..]
                && left.value >= right.value
            {
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged(&[left, right]));
            }
        }
        Ok(Self { knots: blocks.iter().flat_map(Block::knots).collect() })
    }

    /// The probability that goes with a score: linear between knots, constant outside. `NaN` is a score that is
    /// missing, and stays so.
    #[must_use]
    pub fn apply(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let at = self.knots.partition_point(|knot| knot.score < score);
        let (Some(right), Some(left)) = (self.knots.get(at), self.knots[..at].last()) else {
            return self.knots[at.min(self.knots.len() - 1)].probability;
        };
        // Halves, as the difference of two large numbers may be infinite.
        let share = (score / 2.0 - left.score / 2.0) / (right.score / 2.0 - left.score / 2.0);
        // The right end, and steps between scores next to each other, are to be met exactly.
        let value = left.probability + (right.probability - left.probability) * share;
        if score == right.score {
            right.probability
        } else {
            value.clamp(left.probability, right.probability)
        }
    }

    /// Where it bends.
    #[must_use]
    pub fn knots(&self) -> &[Knot] {
        &self.knots
    }
}

impl TryFrom<Vec<Knot>> for Calibration {
    type Error = KnotError;

    fn try_from(knots: Vec<Knot>) -> Result<Self, KnotError> {
        for (at, knot) in knots.iter().enumerate() {
            let rises = knots[..at]
                .last()
                .is_none_or(|before| before.score < knot.score && before.probability <= knot.probability);
            if !knot.score.is_finite() || !(0.0..=1.0).contains(&knot.probability) || !rises {
                return Err(KnotError::At(at));
            }
        }
        if knots.is_empty() { Err(KnotError::None) } else { Ok(Self { knots }) }
    }
}

impl From<Calibration> for Vec<Knot> {
    fn from(calibration: Calibration) -> Self {
        calibration.knots
    }
}

/// Neighbouring scores with one probability.
#[derive(Clone, Copy)]
struct Block {
    low: f64,
    high: f64,
    value: f64,
    weight: f64,
}

impl Block {
    /// Its ends, which are one if it is of one score.
    fn knots(&self) -> Vec<Knot> {
        let knot = |score| Knot { score, probability: self.value };
        if self.low == self.high { vec![knot(self.low)] } else { vec![knot(self.low), knot(self.high)] }
    }
}

/// Of blocks in order, at least one.
fn merged(blocks: &[Block]) -> Block {
    // Weights relative to the largest, as their sum may be infinite.
    let largest = blocks.iter().fold(0.0, |most: f64, block| most.max(block.weight));
    let sum: f64 = blocks.iter().map(|block| block.weight / largest).sum();
    let values: f64 = blocks.iter().map(|block| block.value * (block.weight / largest)).sum();
    let value = (values / sum).clamp(0.0, 1.0);
    let weight = (sum * largest).min(f64::MAX);
    Block { low: blocks[0].low, high: blocks[blocks.len() - 1].high, value, weight }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::score::brier;
    use proptest::prelude::*;

    const SCORES: [f64; 10] = [0.1, 0.4, 0.35, 0.8, 0.4, 0.7, 0.7, 0.2, 0.9, 0.4];
    const OUTCOMES: [bool; 10] = [false, false, true, true, true, false, true, false, true, false];
    const QUERIES: [f64; 11] = [0.0, 0.1, 0.15, 0.3, 0.35, 0.4, 0.55, 0.7, 0.75, 0.8, 1.0];

    /// `IsotonicRegression(out_of_bounds="clip")` of scikit-learn 1.9.1.
    #[test]
    fn probabilities_are_those_of_scikit_learn() {
        let plain = Calibration::fit(&SCORES, &OUTCOMES).expect("scores");
        let expected = [0.0, 0.0, 0.0, 1.0 / 3.0, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0, 1.0];
        let weights = [1.0, 2.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.5];
        let weighted = Calibration::fit_weighted(&SCORES, &OUTCOMES, &weights).expect("scores");
        let half = 0.5263157894736842;
        let expected_weighted =
            [0.0, 0.0, 0.0, 0.3508771929824561, half, half, half, half, 0.763157894736842, 1.0, 1.0];
        for (at, query) in QUERIES.into_iter().enumerate() {
            assert!((plain.apply(query) - expected[at]).abs() < 1e-12, "{query}");
            assert!((weighted.apply(query) - expected_weighted[at]).abs() < 1e-12, "{query}");
        }
        assert!(plain.apply(f64::NAN).is_nan());
        assert_eq!((plain.apply(f64::INFINITY), plain.apply(f64::NEG_INFINITY)), (1.0, 0.0));
    }

    #[test]
    fn a_single_score_has_the_share_of_its_outcomes() {
        let fitted = Calibration::fit(&[0.3; 4], &[true, false, false, false]).expect("scores");
        assert_eq!(fitted.knots(), [Knot { score: 0.3, probability: 0.25 }]);
        assert_eq!((fitted.apply(0.0), fitted.apply(0.3), fitted.apply(9.0)), (0.25, 0.25, 0.25));
    }

    #[test]
    fn what_cannot_be_fitted_is_named() {
        assert_eq!(Calibration::fit(&[], &[]), Err(ScoreError::Nothing));
        assert_eq!(Calibration::fit_weighted(&[0.1], &[true], &[0.0]), Err(ScoreError::Nothing));
        let expected = ScoreError::NotFinite { name: "score", index: 0, value: f64::INFINITY };
        assert_eq!(Calibration::fit(&[f64::INFINITY], &[true]), Err(expected));
        assert!(Calibration::fit_weighted(&[0.1], &[true], &[-1.0]).is_err());
        assert!(Calibration::fit_weighted(&[0.1], &[true], &[]).is_err());
    }

    #[test]
    fn what_is_read_is_checked() {
        let fitted = Calibration::fit(&SCORES, &OUTCOMES).expect("scores");
        let json = serde_json::to_string(&fitted).expect("plain numbers");
        assert_eq!(serde_json::from_str::<Calibration>(&json).expect("as written"), fitted);
        let knots = |pairs: &[(f64, f64)]| -> Vec<Knot> {
            pairs
                .iter()
                .map(|(score, probability)| Knot { score: *score, probability: *probability })
                .collect()
        };
        assert_eq!(Calibration::try_from(vec![]), Err(KnotError::None));
        for wrong in [[(0.0, 0.5), (0.0, 0.6)], [(0.0, 0.5), (1.0, 0.4)], [(0.0, 0.5), (1.0, 1.1)]] {
            assert_eq!(Calibration::try_from(knots(&wrong)), Err(KnotError::At(1)), "{wrong:?}");
        }
        assert!(serde_json::from_str::<Calibration>("[]").is_err());
    }

    proptest! {
        /// The minimum has slopes of opposite sign: no step of a rising map away from it is better.
        #[test]
        fn no_other_rising_map_is_nearer(
            points in prop::collection::vec((0..8u8, any::<bool>()), 1..40),
            levels in prop::collection::vec(0.0..1.0f64, 8),
        ) {
            let scores: Vec<f64> = points.iter().map(|(score, _)| f64::from(*score)).collect();
            let outcomes: Vec<bool> = points.iter().map(|(_, outcome)| *outcome).collect();
            let fitted = Calibration::fit(&scores, &outcomes).expect("scores");
            let ours: Vec<f64> = scores.iter().map(|score| fitted.apply(*score)).collect();
            let mut rising = levels;
            rising.sort_by(f64::total_cmp);
            let other = |share: f64| -> Vec<f64> {
                let level = |score: u8| rising[usize::from(score)];
                let mix = |at: usize| ours[at] * (1.0 - share) + level(points[at].0) * share;
                (0..points.len()).map(mix).collect()
            };
            let best = brier(&ours, &outcomes).expect("probabilities");
            for share in [1.0, 0.1, 0.001] {
                prop_assert!(best <= brier(&other(share), &outcomes).expect("probabilities") + 1e-12);
            }
        }

        #[test]
        fn a_higher_score_never_means_a_lower_probability(
            points in prop::collection::vec((any::<f64>(), any::<bool>()), 1..40),
            queries in prop::collection::vec(any::<f64>(), 2..20),
        ) {
            let (scores, outcomes): (Vec<f64>, Vec<bool>) = points.into_iter().unzip();
            if let Ok(fitted) = Calibration::fit(&scores, &outcomes) {
                let mut queries = queries;
                queries.retain(|query| !query.is_nan());
                queries.sort_by(f64::total_cmp);
                let found: Vec<f64> = queries.iter().map(|query| fitted.apply(*query)).collect();
                prop_assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
                prop_assert!(found.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }
}
