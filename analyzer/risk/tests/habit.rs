//! The whole of habit and surge on made-up partitions of whom the truth is known.
//!
//! Reads are Poisson counts on each node, so that the entropy is that of the real estimator with its real noise. A
//! partition's shares lean on its first nodes by a power that has a day (by up to half), a weekend (by up to a third),
//! a level of each day's own and a noise of minutes; where it gets a shift, that power falls over 30 minutes.
//!
//! How often a healthy partition surges is a matter of how long its noise lasts: three windows of five beyond three
//! deviations are one event where it lasts for half an hour, and there are 48 such half hours in a day. So there
//! are two worlds, and the restless one is there to know the price.

use isotherm_model::Timestamp;
use isotherm_model::entropy::{NodeEntropy, over_nodes};
use isotherm_risk::class::Normalised;
use isotherm_risk::habit::{self, Habit};
use isotherm_risk::surge::{self, Surge, Verdict, Window};
use rand_distr::{Distribution, Normal, Poisson, Uniform};
use rand_pcg::Pcg64Mcg;
use std::f64::consts::TAU;

const MINUTE_MS: u64 = 60_000;
const DAY: u64 = 24 * 60;

/// 2024-02-26 00:00 UTC, a Monday.
const START: Timestamp = Timestamp::from_ms(1_708_905_600_000);

/// How noisy the power of the shares is, as a part of it.
#[derive(Clone, Copy)]
struct Noise {
    /// Standard deviation of each day's own level.
    daily: f64,
    /// Standard deviation of what changes within a day ...
    fast: f64,
    /// ... and after how many minutes it is forgotten by 1 / e.
    lasts_min: f64,
}

const CALM: Noise = Noise { daily: 0.03, fast: 0.04, lasts_min: 10.0 };
const RESTLESS: Noise = Noise { daily: 0.05, fast: 0.06, lasts_min: 30.0 };

/// A partition, and what its clients do.
struct Partition {
    world: Noise,
    rng: Pcg64Mcg,
    nodes: usize,
    reads: f64,
    /// Power of the shares at rest.
    tilt: f64,
    /// By how much a day and a weekend change it, and where in the day.
    daily: f64,
    weekend: f64,
    phase: f64,
    day_level: f64,
    noise: f64,
}

impl Partition {
    fn new(seed: u64, world: Noise) -> Self {
        let mut rng = Pcg64Mcg::new(u128::from(seed) << 64 | 0x5eed);
        let mut between =
            |low: f64, high: f64| Uniform::new(low, high).expect("low is below high").sample(&mut rng);
        let (nodes, reads) = (between(3.0, 9.0) as usize, between(4.6, 8.0).exp());
        let (tilt, daily, weekend) = (between(0.8, 3.0), between(0.0, 0.5), between(-0.3, 0.3));
        let phase = between(0.0, 1.0);
        Self { world, nodes, reads, tilt, daily, weekend, phase, day_level: 0.0, noise: 0.0, rng }
    }

    /// The entropy of a minute; `easing` is the part of the tilt that is gone, 0 where all is as ever.
    fn entropy(&mut self, minute: u64, easing: f64) -> Option<Normalised> {
        let normal = Normal::new(0.0, 1.0).expect("1 is a deviation");
        if minute.is_multiple_of(DAY) {
            self.day_level = self.world.daily * normal.sample(&mut self.rng);
        }
        let kept = (-1.0 / self.world.lasts_min).exp();
        self.noise *= kept;
        self.noise += self.world.fast * (1.0 - kept * kept).sqrt() * normal.sample(&mut self.rng);
        let day = (TAU * (minute as f64 / DAY as f64 + self.phase)).sin();
        let weekend = if minute / DAY % 7 >= 5 { self.weekend } else { 0.0 };
        let tilt =
            self.tilt * (1.0 + self.daily * day + weekend + self.day_level + self.noise) * (1.0 - easing);
        let weights: Vec<f64> = (0..self.nodes).map(|node| (-tilt * node as f64).exp()).collect();
        let all: f64 = weights.iter().sum();
        let reads = self.reads * (1.0 + 0.6 * day);
        let counts: Vec<u64> = weights
            .iter()
            .map(|weight| {
                Poisson::new(reads * weight / all).map_or(0.0, |poisson| poisson.sample(&mut self.rng))
            })
            .map(|count: f64| count as u64)
            .collect();
        match over_nodes(&counts) {
            NodeEntropy::Known(measured) => Normalised::new(measured.normalised),
            NodeEntropy::Unknown { .. }
            | NodeEntropy::NotApplicable { .. }
            | NodeEntropy::Insufficient { .. } => None,
        }
    }
}

/// A partition's habit and surge as a cycle keeps them.
#[derive(Default)]
struct Followed {
    habit: Habit,
    surge: Surge,
    surging: bool,
}

impl Followed {
    /// Whether a surge begins in this minute.
    fn begins(&mut self, minute: u64, h: Option<Normalised>) -> bool {
        let at = START.plus_ms(minute * MINUTE_MS);
        let seen = self.habit.observe(&habit::Rule::default(), at, h, None);
        let verdict = self.surge.observe(&surge::Rule::default(), at, Window::of(h, &seen));
        let surging = matches!(verdict, Verdict::Surging { .. });
        let begins = surging && !self.surging;
        self.surging = surging;
        begins
    }
}

/// Surges that begin, per healthy partition-day.
fn surges_per_day(name: &str, world: Noise) -> f64 {
    let (partitions, days) = (60, 35);
    let mut of_week = [0u32; 5];
    let mut first_day = 0;
    for seed in 0..partitions {
        let mut partition = Partition::new(seed, world);
        let mut followed = Followed::default();
        for minute in 0..days * DAY {
            let h = partition.entropy(minute, 0.0);
            if followed.begins(minute, h) {
                of_week[(minute / DAY / 7) as usize] += 1;
                first_day += u32::from(minute < DAY);
            }
        }
    }
    let rate = f64::from(of_week.iter().sum::<u32>()) / (partitions * days) as f64;
    println!(
        "{name}: {of_week:?} surges in weeks 1 to 5, {first_day} on the first day: {rate:.4} a partition-day"
    );
    rate
}

#[test]
fn healthy_partitions_hardly_ever_surge() {
    let rate = surges_per_day("calm", CALM);
    assert!(rate <= 0.01, "{rate}");
}

#[test]
fn noise_that_lasts_costs_surges_within_a_bound() {
    let rate = surges_per_day("restless", RESTLESS);
    assert!(rate <= 0.03, "{rate}");
}

#[test]
fn every_shift_is_found_within_its_ramp() {
    const RAMP: u64 = 30;
    // In the first two weeks the spread has the partition's whole day in it, and a shift that is not larger than
    // that is not found.
    for (name, days, need) in [("by the mean of late", 5, 80), ("by the hours of the week", 21, 100)] {
        let mut delays = Vec::new();
        let mut seed = 1000;
        while delays.len() < 100 {
            seed += 1;
            let mut partition = Partition::new(seed, CALM);
            let mut followed = Followed::default();
            let start = days * DAY + 60 * (seed % 24) + seed % 60;
            let healthy: Vec<f64> = (0..start)
                .filter_map(|minute| {
                    let h = partition.entropy(minute, 0.0);
                    followed.begins(minute, h);
                    h.map(Normalised::get)
                })
                .collect();
            // A surge is a rise that leads to at least .60: what is even already cannot have one.
            let late = &healthy[healthy.len() - 60..];
            if late.iter().sum::<f64>() / 60.0 > 0.6 || followed.surging {
                continue;
            }
            let found = (1..=3 * RAMP).find(|since| {
                let easing = 0.8 * (*since as f64 / RAMP as f64).min(1.0);
                let h = partition.entropy(start + since, easing);
                followed.begins(start + since, h)
            });
            delays.push(found);
        }
        delays.sort_unstable_by_key(|delay| delay.unwrap_or(u64::MAX));
        let found = delays.iter().flatten().count();
        println!(
            "{name}: {found} of 100 found, median {:?} minutes into the ramp, last {:?}",
            delays[50], delays[99]
        );
        assert!(found >= need, "{name}: {found}");
        assert!(delays[50].unwrap() <= RAMP, "{name}: {:?}", delays[50]);
    }
}
