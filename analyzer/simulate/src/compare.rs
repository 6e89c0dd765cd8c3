//! Policies compared on the same clusters.
//!
//! Paired: every policy runs every seed, and a ratio is that of two runs of one seed. What clients lose is so skewed
//! (a hot node without headroom costs more than a month of failures) that ratios are averaged as logarithms; their
//! interval is a bootstrap over seeds, and unknown with fewer than [`FEWEST_SEEDS`].

use crate::policy::{Limits, Policy};
use crate::run::{Outcome, run};
use crate::world::{Spec, SpecError, World};
use rand_distr::{Distribution, StandardUniform};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;

/// Seeds from which on a ratio has an interval. A bootstrap knows no more variety than its seeds show: of one the
/// interval is a point, and of fewer than five its ends are mostly the least and the largest of them.
pub const FEWEST_SEEDS: usize = 5;

/// A mean ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean over seeds.
    pub mean: f64,
    /// Where it lies with a probability of 95 %; absent with fewer than [`FEWEST_SEEDS`].
    pub interval: Option<Interval>,
}

/// An interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a policy came to, over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// The policy.
    pub policy: Policy,
    /// Client-minutes lost, over those of the first policy.
    pub total: Ratio,
    /// The part of failovers, over that of the first policy.
    pub failover: Ratio,
    /// Of all seeds: this policy's sum over the first one's.
    pub of_sums: f64,
    /// Bytes that it copied, in percent of all there are, in the mean of the seeds.
    pub copied_percent: f64,
    /// Moves in the mean of the seeds.
    pub moves: f64,
    /// Shifts in the mean of the seeds.
    pub shifts: f64,
    /// Each seed's run.
    pub outcomes: Vec<Outcome>,
}

/// Runs all policies on all seeds. The first policy is what the others are compared with.
///
/// The same arguments give the same result, whatever the number of threads.
///
/// # Errors
/// A spec that cannot be.
pub fn compare(
    spec: &Spec,
    limits: &Limits,
    seeds: &[u64],
    policies: &[(&str, Policy)],
) -> Result<Vec<Compared>, SpecError> {
    compare_telling(spec, limits, seeds, policies, || {})
}

/// The same, and calls `ended` from any thread after every run, of which there is one for each seed and policy.
///
/// # Errors
/// A spec that cannot be.
pub fn compare_telling(
    spec: &Spec,
    limits: &Limits,
    seeds: &[u64],
    policies: &[(&str, Policy)],
    ended: impl Fn() + Sync,
) -> Result<Vec<Compared>, SpecError> {
    spec.check()?;
    let of_seed: Vec<Vec<Outcome>> = seeds
        .into_par_iter()
        .map(|seed| {
            let world = World::new(spec.clone(), *seed)?;
            let run = |(_, policy): &(&str, Policy)| {
                let outcome = run(&world, *policy, limits);
                ended();
                outcome
            };
            Ok(policies.into_par_iter().map(run).collect())
        })
        .collect::<Result<_, SpecError>>()?;
    let outcomes = |at: usize| of_seed.iter().map(move |seed| &seed[at]);
    let compared = |(at, (name, policy)): (usize, &(&str, Policy))| {
        let ratio = |part: fn(&Outcome) -> f64| {
            paired(&outcomes(at).map(part).collect::<Vec<_>>(), &outcomes(0).map(part).collect::<Vec<_>>())
        };
        let mean = |part: fn(&Outcome) -> f64| outcomes(at).map(part).sum::<f64>() / seeds.len() as f64;
        let sum = |at: usize| outcomes(at).map(|outcome| outcome.toll.total()).sum::<f64>();
        Compared {
            name: (*name).to_owned(),
            policy: *policy,
            total: ratio(|outcome| outcome.toll.total()),
            failover: ratio(|outcome| outcome.toll.failover),
            of_sums: sum(at) / sum(0),
            copied_percent: mean(|outcome| 100.0 * outcome.record.bytes / outcome.all_bytes),
            moves: mean(|outcome| f64::from(outcome.record.moves)),
            shifts: mean(|outcome| f64::from(outcome.record.shifts)),
            outcomes: outcomes(at).cloned().collect(),
        }
    };
    Ok(policies.iter().enumerate().map(compared).collect())
}

/// Bootstrap samples: the ends of the interval then move by less than a hundredth of it.
const SAMPLES: usize = 4_000;

/// The mean ratio of numbers that belong together, one of each seed. Not a number without seeds. A number of 0 or less
/// counts as one client-minute, as there is no logarithm of nothing.
#[must_use]
pub fn paired(these: &[f64], those: &[f64]) -> Ratio {
    let logs: Vec<f64> =
        these.iter().zip(those).map(|(this, that)| (this.max(1.0) / that.max(1.0)).ln()).collect();
    let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
    Ratio { mean, interval: (logs.len() >= FEWEST_SEEDS).then(|| bootstrap(&logs)) }
}

/// The interval of the mean of logarithms, as a ratio.
fn bootstrap(logs: &[f64]) -> Interval {
    let mut dice = Pcg64Mcg::seed_from_u64(1);
    let mut draw = || {
        let unit: f64 = StandardUniform.sample(&mut dice);
        logs[((unit * logs.len() as f64) as usize).min(logs.len() - 1)]
    };
    let mut sample = || (0..logs.len()).map(|_| draw()).sum::<f64>() / logs.len() as f64;
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| sample().exp()).collect();
    samples.sort_by(f64::total_cmp);
    let at = |q: f64| samples[(q * (SAMPLES - 1) as f64) as usize];
    Interval { low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_that_is_always_the_same_is_certain() {
        let these = [10.0, 200.0, 3e5, 7.0, 80.0];
        let ratio = paired(&these, &these.map(|this| 2.0 * this));
        let Interval { low, high } = ratio.interval.unwrap();
        for value in [ratio.mean, low, high] {
            assert!((value - 0.5).abs() < 1e-12, "{ratio:?}");
        }
    }

    #[test]
    fn the_interval_holds_the_mean_and_widens_with_what_differs() {
        let those = [100.0; 8];
        let near = paired(&[48.0, 52.0, 50.0, 49.0, 51.0, 50.0, 47.0, 53.0], &those);
        let far = paired(&[20.0, 125.0, 50.0, 30.0, 80.0, 50.0, 25.0, 100.0], &those);
        let [one, other] = [near, far].map(|ratio| {
            let Interval { low, high } = ratio.interval.unwrap();
            assert!(low <= ratio.mean && ratio.mean <= high, "{ratio:?}");
            high - low
        });
        assert!(other > 5.0 * one, "{near:?} {far:?}");
    }

    #[test]
    fn too_few_seeds_have_a_mean_and_no_interval() {
        for seeds in 1..FEWEST_SEEDS {
            let ratio = paired(&vec![30.0; seeds], &vec![60.0; seeds]);
            assert!((ratio.mean - 0.5).abs() < 1e-12 && ratio.interval.is_none(), "{ratio:?}");
        }
        assert!(paired(&[], &[]).mean.is_nan());
    }
}
