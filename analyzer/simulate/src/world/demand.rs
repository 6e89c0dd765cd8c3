//! Reads of every partition and the shares of its replicas, hour by hour: what no policy changes.
//!
//! Shares belong to slots (the leader is slot 0), not to nodes, so that a replica that moves takes its share along.

use super::REPLICAS;
use super::chance::{Chance, Stream};
use super::spec::Spec;
use rand_distr::{Distribution, Exp, Gamma, LogNormal, Normal, StandardUniform};
use rand_pcg::Pcg64Mcg;
use std::f64::consts::TAU;

/// Shares of the replicas, leader first.
pub type Shares = [f64; REPLICAS];

/// A lasting change of who serves a partition's reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Whose.
    pub partition: usize,
    /// First hour of the change.
    pub hour: usize,
    /// Hours until it is complete.
    pub ramp_h: usize,
    /// Hour at which it ends; the last of all if it stays.
    pub until: usize,
    /// Shares that it goes to.
    pub to: Shares,
}

/// Reads and shares by hour and partition.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    partitions: usize,
    rate: Vec<f32>,
    shares: Vec<[f32; REPLICAS]>,
    pub(crate) shifts: Vec<Shift>,
    /// Shares that partitions start from, and their mean rate.
    pub(super) start: Vec<(Shares, f64)>,
}

impl Hours {
    pub(crate) fn new(spec: &Spec, chance: Chance) -> Self {
        let hours = (spec.learning_days + spec.days) as usize * 24 + 1;
        let partitions = spec.partitions as usize;
        let mut all = Self {
            partitions,
            rate: vec![0.0; hours * partitions],
            shares: vec![[0.0; REPLICAS]; hours * partitions],
            shifts: Vec::new(),
            start: Vec::with_capacity(partitions),
        };
        let mut means: Vec<f64> = (0..partitions).map(|at| mean(spec, chance, at)).collect();
        let mean = means.iter().sum::<f64>() / partitions as f64;
        means.iter_mut().for_each(|own| *own /= mean);
        for (at, mean) in means.iter().enumerate() {
            all.fill(spec, chance, at, *mean, hours);
        }
        all
    }

    /// Reads per minute of a partition, as a multiple of a mean partition's.
    pub(crate) fn rate(&self, tick: usize, partition: usize) -> f64 {
        let (at, part) = self.place(tick, partition);
        let (low, high) = (f64::from(self.rate[at]), f64::from(self.rate[at + self.partitions]));
        low + (high - low) * part
    }

    /// Shares of its slots when all of them serve.
    pub(crate) fn shares(&self, tick: usize, partition: usize) -> Shares {
        let (at, part) = self.place(tick, partition);
        let (low, high) = (&self.shares[at], &self.shares[at + self.partitions]);
        std::array::from_fn(|slot| f64::from(low[slot]) * (1.0 - part) + f64::from(high[slot]) * part)
    }

    /// Mean over all hours of the reads of all partitions.
    pub(super) fn mean_load(&self) -> f64 {
        let sum: f64 = self.rate.iter().map(|rate| f64::from(*rate)).sum();
        sum / (self.rate.len() / self.partitions) as f64
    }

    #[cfg(test)]
    pub(crate) fn set_shares(&mut self, change: impl Fn(usize, Shares) -> Shares) {
        for (at, shares) in self.shares.iter_mut().enumerate() {
            *shares = change(at % self.partitions, shares.map(f64::from)).map(|share| share as f32);
        }
    }

    fn place(&self, tick: usize, partition: usize) -> (usize, f64) {
        let (hour, part) = (tick / super::TICKS_PER_H, tick % super::TICKS_PER_H);
        (hour * self.partitions + partition, part as f64 / super::TICKS_PER_H as f64)
    }

    fn fill(&mut self, spec: &Spec, chance: Chance, partition: usize, mean: f64, hours: usize) {
        let demand = &spec.demand;
        let mut dice = chance.dice(Stream::Partition, partition, 1);
        let kind = unit(&mut dice);
        let base = if kind < demand.led {
            regime(0, &mut dice)
        } else if kind < demand.led + demand.leaning {
            regime(1, &mut dice)
        } else {
            regime(2, &mut dice)
        };
        let by_day = kind < demand.led + demand.leaning && unit(&mut dice) < demand.spread_by_day;
        let phase = normal(demand.phase_h).sample(&mut dice);
        self.start.push((base, mean));
        let mut regimes = vec![(base, 1.0); hours];
        for (shift, times) in shifts(spec, chance, partition, hours) {
            for (since, (shares, load)) in regimes[shift.hour..shift.until].iter_mut().enumerate() {
                let done = ((since + 1) as f64 / shift.ramp_h as f64).min(1.0);
                *shares = between(*shares, shift.to, done);
                *load *= 1.0 + done * (times - 1.0);
            }
            self.shifts.push(shift);
        }
        let mut dice = chance.dice(Stream::Demand, partition, 0);
        let (load_noise, share_noise) = (normal(demand.noise), normal(demand.share_noise));
        for (hour, (shares, times)) in regimes.into_iter().enumerate() {
            let at = hour * self.partitions + partition;
            let spread = if by_day { workday(hour) } else { 0.0 };
            let even = [1.0 / REPLICAS as f64; REPLICAS];
            let noisy =
                between(shares, even, spread).map(|share| share * share_noise.sample(&mut dice).exp());
            self.shares[at] = normed(noisy).map(|share| share as f32);
            let wave = 1.0 + demand.daily * (TAU * (hour as f64 - 8.0 - phase) / 24.0).sin();
            let weekend = if hour / 24 % 7 >= 5 { demand.weekend } else { 1.0 };
            self.rate[at] = (mean * times * wave * weekend * load_noise.sample(&mut dice).exp()) as f32;
        }
    }
}

/// How far a partition that spreads by day does so at an hour.
fn workday(hour: usize) -> f64 {
    0.9 * (0.5 + 0.8 * (TAU * (hour as f64 - 8.0) / 24.0).sin()).clamp(0.0, 1.0)
}

fn mean(spec: &Spec, chance: Chance, partition: usize) -> f64 {
    let skew = LogNormal::new(0.0, spec.demand.skew).expect("the skew was checked");
    chance.from(&skew, Stream::Partition, partition, 0).min(spec.demand.skew_most)
}

/// Changes of a partition in the order of their times, and what its load is multiplied with.
fn shifts(spec: &Spec, chance: Chance, partition: usize, hours: usize) -> Vec<(Shift, f64)> {
    let per_h = spec.demand.shifts_per_day / 24.0;
    let mut dice = chance.dice(Stream::Shift, partition, 0);
    let mut at = f64::from(spec.learning_days) * 24.0;
    let mut all = Vec::new();
    if per_h <= 0.0 {
        return all;
    }
    loop {
        at += Exp::new(per_h).expect("it is above 0").sample(&mut dice);
        let hour = at as usize;
        if hour >= hours {
            break;
        }
        let to = regime(below(&mut dice, 3), &mut dice);
        let ramp_h = 1 + below(&mut dice, spec.demand.ramp_most_h as usize);
        let until = if unit(&mut dice) < 0.4 { (hour + 24 + below(&mut dice, 72)).min(hours) } else { hours };
        let grows: f64 = LogNormal::new(0.15, 0.5).expect("a standard deviation above 0").sample(&mut dice);
        let times = if unit(&mut dice) < 0.5 { grows } else { 1.0 };
        all.push((Shift { partition, hour, ramp_h, until, to }, times));
    }
    all
}

/// Shares of a led (0), a leaning (1) and an even (2) partition.
fn regime(kind: usize, dice: &mut Pcg64Mcg) -> Shares {
    match kind {
        0 => normed([1.0, 2e-3, 1e-4]),
        1 => {
            let lead = 0.55 + 0.25 * unit(dice);
            let second = 0.5 + 0.4 * unit(dice);
            [lead, (1.0 - lead) * second, (1.0 - lead) * (1.0 - second)]
        }
        _ => {
            let gamma = Gamma::new(60.0, 1.0).expect("its numbers are above 0");
            normed(std::array::from_fn(|_| gamma.sample(dice)))
        }
    }
}

fn between(from: Shares, to: Shares, part: f64) -> Shares {
    std::array::from_fn(|slot| from[slot] * (1.0 - part) + to[slot] * part)
}

/// Divided by their sum, which is above 0.
pub(crate) fn normed(shares: Shares) -> Shares {
    let sum: f64 = shares.iter().sum();
    shares.map(|share| share / sum)
}

fn normal(deviation: f64) -> Normal<f64> {
    Normal::new(0.0, deviation).expect("standard deviations were checked")
}

pub(super) fn unit(dice: &mut Pcg64Mcg) -> f64 {
    StandardUniform.sample(dice)
}

/// A whole number below a bound.
pub(super) fn below(dice: &mut Pcg64Mcg, bound: usize) -> usize {
    ((unit(dice) * bound as f64) as usize).min(bound.saturating_sub(1))
}
