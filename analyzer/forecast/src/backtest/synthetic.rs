//! Series like the entropy of a partition, of kinds that are known.
//!
//! A partition of eight parts is accessed with shares `softmax(w exp(-a_t))`, where the weights `w` are normal
//! and the tilt `a_t` moves as its [`Kind`] says. What is seen is the entropy of a number of accesses per
//! window, with the correction of Miller and Madow (1955), over its largest value: a series in [0, 1], whose
//! noise shrinks as it nears 1, as that of a real partition does.
//!
//! A series depends on its arguments only. Functions that differ between platforms are taken from `libm`.

use rand_distr::{Binomial, Distribution, StandardNormal, StandardUniform};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use std::num::NonZeroU64;

/// Steps per period of [`Kind::Daily`]: windows of an hour.
pub const STEPS_PER_DAY: usize = 24;

/// Parts of the partition, whose shares the entropy is of.
const PARTS: usize = 8;

/// Accesses per window, unless told otherwise.
const ACCESSES: NonZeroU64 = NonZeroU64::new(2000).expect("not zero");

/// How a series moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A level with AR(1) noise.
    Level,
    /// A level that wanders: an IMA(1,1).
    Wander,
    /// A level with AR(1) noise that jumps once, up or down, between 30 and 90 % of the series.
    Shift,
    /// A level with AR(1) noise that begins to rise between 50 and 95 % of the series, and rises to its end.
    Ramp,
    /// A swing of [`STEPS_PER_DAY`] steps, with AR(1) noise.
    Daily,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Level, Self::Wander, Self::Shift, Self::Ramp, Self::Daily];
}

/// A series of a kind, in [0, 1], of 2000 accesses per window.
#[must_use]
pub fn series(kind: Kind, seed: u64, len: usize) -> Vec<f64> {
    observed(kind, seed, len, ACCESSES)
}

/// A series of a kind, in [0, 1], of the given number of accesses per window.
#[must_use]
pub fn observed(kind: Kind, seed: u64, len: usize, accesses: NonZeroU64) -> Vec<f64> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let shares = shares(kind, &mut rng, len);
    shares.iter().map(|shares| entropy_seen(&mut rng, shares, accesses.get())).collect()
}

/// What [`series`] and [`observed`] of the same kind, seed and length are observations of: the entropy without
/// the noise of counting.
#[must_use]
pub fn truth(kind: Kind, seed: u64, len: usize) -> Vec<f64> {
    let shares = shares(kind, &mut Pcg64::seed_from_u64(seed), len);
    shares.iter().map(|shares| normalised(shares.iter().map(|share| surprise(*share)).sum())).collect()
}

/// As many series as asked for, the kinds in turn, each with a seed of its own.
#[must_use]
pub fn mixed(count: usize, len: usize, seed: u64) -> Vec<(Kind, Vec<f64>)> {
    let mut seeds = StandardUniform.sample_iter(Pcg64::seed_from_u64(seed));
    let kinds = Kind::ALL.into_iter().cycle().take(count);
    kinds.map(|kind| (kind, series(kind, seeds.next().expect("there is always another"), len))).collect()
}

/// The shares of the parts at each step.
fn shares(kind: Kind, rng: &mut Pcg64, len: usize) -> Vec<[f64; PARTS]> {
    let spread = between(rng, 0.6, 1.5);
    let weights: [f64; PARTS] = std::array::from_fn(|_| spread * normal(rng));
    let tilts = tilts(kind, rng, len);
    tilts.into_iter().map(|tilt| softmax(weights, libm::exp(-tilt))).collect()
}

/// The tilt at each step: the larger, the more even the shares.
fn tilts(kind: Kind, rng: &mut Pcg64, len: usize) -> Vec<f64> {
    let steps = len as f64;
    match kind {
        Kind::Level => noise(rng, len, (0.5, 0.97), (0.04, 0.15)),
        Kind::Wander => wander(rng, len),
        Kind::Shift => {
            let at = steps * between(rng, 0.3, 0.9);
            let size = between(rng, 0.4, 1.2) * if between(rng, 0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
            plus(noise(rng, len, (0.3, 0.9), (0.04, 0.1)), |t| if t < at { 0.0 } else { size })
        }
        Kind::Ramp => {
            let start = steps * between(rng, 0.5, 0.95);
            let slope = between(rng, 0.01, 0.05);
            plus(noise(rng, len, (0.5, 0.97), (0.04, 0.15)), |t| slope * (t - start).max(0.0))
        }
        Kind::Daily => {
            let (size, start) = (between(rng, 0.2, 0.6), between(rng, 0.0, 1.0));
            let phase = |t: f64| t / STEPS_PER_DAY as f64 + start;
            plus(noise(rng, len, (0.0, 0.6), (0.04, 0.1)), |t| size * libm::sin(TAU * phase(t)))
        }
    }
}

/// A stationary AR(1) with a coefficient and a standard deviation of the innovations from between these.
fn noise(rng: &mut Pcg64, len: usize, coefficient: (f64, f64), deviation: (f64, f64)) -> Vec<f64> {
    let coefficient = between(rng, coefficient.0, coefficient.1);
    let deviation = between(rng, deviation.0, deviation.1);
    let mut value = normal(rng) * deviation / (1.0 - coefficient * coefficient).sqrt();
    let next = |_| {
        value = coefficient * value + deviation * normal(rng);
        value
    };
    (0..len).map(next).collect()
}

/// `x_t = x_(t-1) + e_t + b e_(t-1)`.
fn wander(rng: &mut Pcg64, len: usize) -> Vec<f64> {
    let (coefficient, deviation) = (between(rng, -0.8, -0.2), between(rng, 0.03, 0.1));
    let (mut value, mut before) = (0.0, 0.0);
    let next = |_| {
        let innovation = deviation * normal(rng);
        value += innovation + coefficient * before;
        before = innovation;
        value
    };
    (0..len).map(next).collect()
}

fn plus(values: Vec<f64>, term: impl Fn(f64) -> f64) -> Vec<f64> {
    values.into_iter().enumerate().map(|(t, value)| value + term(t as f64)).collect()
}

fn softmax(weights: [f64; PARTS], factor: f64) -> [f64; PARTS] {
    let largest = weights.iter().fold(f64::NEG_INFINITY, |most, weight| most.max(weight * factor));
    let powers = weights.map(|weight| libm::exp(weight * factor - largest));
    let sum: f64 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// Entropy of as many accesses with these shares, by Miller and Madow, over its largest value.
fn entropy_seen(rng: &mut Pcg64, shares: &[f64; PARTS], accesses: u64) -> f64 {
    let counts = multinomial(rng, shares, accesses);
    let n = accesses as f64;
    let plug_in: f64 = counts.iter().map(|count| surprise(*count as f64 / n)).sum();
    let occupied = counts.iter().filter(|count| **count > 0).count();
    normalised(plug_in + (occupied as f64 - 1.0) / (2.0 * n))
}

/// Each count is binomial given those before it; the last is what they leave.
fn multinomial(rng: &mut Pcg64, shares: &[f64; PARTS], accesses: u64) -> [u64; PARTS] {
    let (mut counts, mut left, mut share_left) = ([0; PARTS], accesses, 1.0);
    for (count, share) in std::iter::zip(&mut counts[..PARTS - 1], shares) {
        let probability = if share_left > *share { share / share_left } else { 1.0 };
        *count = Binomial::new(left, probability).expect("a probability in [0, 1]").sample(rng);
        left -= *count;
        share_left -= share;
    }
    counts[PARTS - 1] = left;
    counts
}

/// `-p ln p`, which is 0 for 0.
fn surprise(share: f64) -> f64 {
    if share > 0.0 { -share * libm::log(share) } else { 0.0 }
}

/// Of an entropy in nats; one that the correction took above its largest value is that value.
fn normalised(entropy: f64) -> f64 {
    (entropy / libm::log(PARTS as f64)).clamp(0.0, 1.0)
}

fn between(rng: &mut Pcg64, low: f64, high: f64) -> f64 {
    let uniform: f64 = StandardUniform.sample(rng);
    low + (high - low) * uniform
}

fn normal(rng: &mut Pcg64) -> f64 {
    StandardNormal.sample(rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last value of the first seed. A change of these changes every result that was ever published.
    #[test]
    fn series_are_the_same_on_every_platform() {
        let expected = [
            (Kind::Level, 0.8095012205946795, 0.8084907149941295),
            (Kind::Wander, 0.7880611273401052, 0.797916873260808),
            (Kind::Shift, 0.7644630099631967, 0.8995463789025278),
            (Kind::Ramp, 0.6767200643662494, 0.9192466809894367),
            (Kind::Daily, 0.7967572597301655, 0.7744509727236606),
        ];
        for (kind, first, last) in expected {
            let series = series(kind, 1, 132);
            assert_eq!((series[0], series[131]), (first, last), "{kind:?}");
        }
    }

    #[test]
    fn series_differ_by_seed_and_stay_in_bounds() {
        let all = mixed(200, 132, 7);
        assert_eq!(all, mixed(200, 132, 7));
        assert_ne!(all[0].1, all[5].1);
        assert_ne!(all[0].1, mixed(1, 132, 8)[0].1);
        for (kind, series) in &all {
            assert_eq!(series.len(), 132);
            assert!(series.iter().all(|value| (0.0..=1.0).contains(value)), "{kind:?}");
            assert!(series.iter().any(|value| *value != series[0]), "{kind:?}");
        }
        for kind in Kind::ALL {
            assert_eq!(all.iter().filter(|(other, _)| *other == kind).count(), 40);
        }
        assert!(mixed(0, 132, 7).is_empty() && series(Kind::Ramp, 1, 0).is_empty());
    }

    /// Mean and standard deviation of a term over many series.
    fn over_seeds(term: impl Fn(u64) -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..200).map(term).collect();
        let mean = values.iter().sum::<f64>() / 200.0;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 200.0).sqrt())
    }

    /// The plug-in of 50 accesses in eight parts would be (m - 1) / (2 n ln k) = 3.4 % low.
    #[test]
    fn counts_scatter_about_the_truth() {
        for (accesses, most) in [(50, 0.012), (2000, 0.0005)] {
            let accesses = NonZeroU64::new(accesses).expect("not zero");
            let (bias, _) = over_seeds(|seed| {
                let (seen, truth) = (observed(Kind::Level, seed, 50, accesses), truth(Kind::Level, seed, 50));
                seen.iter().zip(&truth).map(|(seen, truth)| seen - truth).sum::<f64>() / 50.0
            });
            assert!(bias.abs() < most, "{accesses}: {bias}");
        }
        let scatter = |accesses: u64| {
            let accesses = NonZeroU64::new(accesses).expect("not zero");
            over_seeds(|seed| observed(Kind::Level, seed, 1, accesses)[0] - truth(Kind::Level, seed, 1)[0]).1
        };
        assert!(scatter(100) > 3.0 * scatter(10_000));
    }

    #[test]
    fn kinds_move_as_they_say() {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let rise = |kind| {
            over_seeds(|seed| {
                let series = truth(kind, seed, 240);
                mean(&series[230..]) - mean(&series[..110])
            })
        };
        let (level, ramp) = (rise(Kind::Level), rise(Kind::Ramp));
        assert!(level.0.abs() < 0.02 && ramp.0 > 0.05, "{level:?} {ramp:?}");
        // A shift goes either way.
        let shift = rise(Kind::Shift);
        assert!(shift.1 > 2.0 * level.1, "{shift:?} {level:?}");

        // The variance of a wandering level grows with the time that passes, that of a level does not.
        let change = |kind, steps: usize| {
            over_seeds(|seed| {
                let series = truth(kind, seed, 240);
                series[20 + steps] - series[20]
            })
            .1
        };
        assert!(change(Kind::Wander, 200) > 2.0 * change(Kind::Wander, 20));
        assert!(change(Kind::Level, 200) < 1.5 * change(Kind::Level, 20));
        // A day later a habit is where it was; half a day later it is not.
        assert!(change(Kind::Daily, 12) > 1.5 * change(Kind::Daily, 24));
    }

    #[test]
    fn multinomial_counts_have_the_shares_they_are_of() {
        let mut rng = Pcg64::seed_from_u64(3);
        let shares = [0.4, 0.3, 0.2, 0.05, 0.05, 0.0, 0.0, 0.0];
        let mut sums = [0; PARTS];
        for _ in 0..1000 {
            let counts = multinomial(&mut rng, &shares, 100);
            assert_eq!(counts.iter().sum::<u64>(), 100);
            std::iter::zip(&mut sums, counts).for_each(|(sum, count)| *sum += count);
        }
        for (sum, share) in sums.iter().zip(shares) {
            // Four standard deviations of a count of 100,000 accesses.
            let deviation = (1e5 * share * (1.0 - share)).sqrt();
            assert!((*sum as f64 - 1e5 * share).abs() <= 4.0 * deviation, "{sums:?}");
        }
    }
}
