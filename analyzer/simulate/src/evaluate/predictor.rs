//! Those who predict, and how what they said and what came become cases.

use super::{Case, Scores};
use statrs::distribution::{ContinuousCDF, Normal};

/// Cases of one who predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Who.
    pub name: &'static str,
    /// What the scores are.
    pub scores: Scores,
    /// The cases.
    pub cases: Vec<Case>,
}

/// What several said of one subject at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<const N: usize> {
    /// When.
    pub step: u64,
    /// Of whom.
    pub subject: u32,
    /// By each, finite.
    pub scores: [f64; N],
}

/// Cases of all who predict. `events` are steps by subject, in order; an event within `horizon` steps after a score is
/// what came of it. Scores whose horizon does not end by `last` are left out: what is predicted at the end cannot be
/// told from what did not come.
#[must_use]
pub fn cases<const N: usize>(
    scored: &[Scored<N>],
    events: &[Vec<u64>],
    horizon: u64,
    last: u64,
    names: [(&'static str, Scores); N],
) -> Vec<Predicted> {
    let cases = |which: usize| {
        let complete = scored.iter().filter(|one| one.step + horizon <= last);
        complete
            .map(|one| {
                let next = events[one.subject as usize].iter().find(|event| **event > one.step);
                let came_after = next.map(|event| event - one.step).filter(|after| *after <= horizon);
                Case { step: one.step, subject: one.subject, score: one.scores[which], came_after }
            })
            .collect()
    };
    (0..N).map(|at| Predicted { name: names[at].0, scores: names[at].1, cases: cases(at) }).collect()
}

/// Probability that a random walk is above a bar after some steps, if it is at `last` now and its steps are those of
/// the series. Values that are not numbers are missing.
#[must_use]
pub fn random_walk(series: &[f64], last: f64, bar: f64, steps: usize) -> f64 {
    let squares: Vec<f64> = series
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).powi(2))
        .filter(|square| square.is_finite())
        .collect();
    let variance = squares.iter().sum::<f64>() / squares.len().max(1) as f64;
    above(last, (variance * steps as f64).sqrt(), bar)
}

/// Probability that what is normal with that mean and standard deviation is above a bar.
#[must_use]
pub fn above(mean: f64, deviation: f64, bar: f64) -> f64 {
    Normal::standard().cdf((mean - bar) / deviation.max(1e-6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_of_the_scores_before_it_within_the_horizon() {
        let scored = |step| Scored { step, subject: 1, scores: [0.5, step as f64] };
        let all = cases(
            &[scored(0), scored(10), scored(20), scored(28)],
            &[vec![11], vec![20, 25]],
            10,
            35,
            [("a", Scores::Probabilities), ("b", Scores::Ranks)],
        );
        let came: Vec<_> = all[1].cases.iter().map(|case| (case.score as u64, case.came_after)).collect();
        // The event at 20 is that of 10, not of 20 itself; what is said at 28 may still come.
        assert_eq!(came, [(0, None), (10, Some(10)), (20, Some(5))]);
        assert_eq!(all[0].cases.len(), 3);
    }

    #[test]
    fn a_walk_goes_as_far_as_its_steps_went() {
        assert_eq!(random_walk(&[0.5, 0.5, 0.5], 0.5, 0.6, 10), 0.0);
        let even = random_walk(&[0.5, 0.6, 0.5], 0.6, 0.6, 1);
        assert!((even - 0.5).abs() < 1e-12);
        let one = random_walk(&[0.5, 0.6, f64::NAN, 0.5, 0.6], 0.5, 0.6, 1);
        assert!((one - 0.158_655_253_9).abs() < 1e-9, "one standard deviation: {one}");
        assert!(random_walk(&[0.5, 0.6], 0.5, 0.6, 9) > one);
    }
}
