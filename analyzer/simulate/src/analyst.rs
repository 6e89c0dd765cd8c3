//! What is believed of a cluster by one who sees its steps: shares and their habit, reads, hazards, gray nodes.
//!
//! All learned, nothing told: shares from counts, with what is drained on purpose counted back; the habit of each hour
//! of the day; reads from counts without the day's wave; hazards of nodes from failures by their class; gray nodes
//! from their shares and latencies.

mod gray;
mod hazard;

use crate::observe::{Facts, Step};
use crate::world::{REPLICAS, Shares, TICKS_PER_H, normed};
use gray::Watch;
use hazard::Failures;
use isotherm_risk::{normalised_entropy, tilt_to};

pub(crate) use hazard::Hazards;

/// What shares a partition is taken to have in the days to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Those of the last hour.
    Present,
    /// Those of the last hour and of its habit, tilted to the entropy that is forecast.
    Forecast,
}

/// All that was learned so far.
pub(crate) struct Analyst {
    facts: Facts,
    drained_left: f64,
    /// Reads of the hour, by slot, what is drained counted back; a slot that is down or drained is told by its mark.
    reads: Vec<[f64; REPLICAS]>,
    unseen: Vec<bool>,
    ticks: usize,
    /// Shares of the last hour and of the two before.
    last: [Vec<Shares>; 3],
    /// Shares of each hour of the day: a mean that forgets.
    habit: Vec<Vec<Shares>>,
    habit_entropy: Vec<Vec<f64>>,
    /// Reads of a partition in an hour without the day's wave, and the wave.
    pub(crate) mean_reads: Vec<f64>,
    wave: [f64; 24],
    hours: usize,
    failures: Failures,
    gray: Watch,
}

impl Analyst {
    pub(crate) fn new(facts: Facts, drained_left: f64) -> Self {
        let partitions = facts.sizes.len();
        let even = vec![[1.0 / REPLICAS as f64; REPLICAS]; partitions];
        Self {
            drained_left,
            reads: vec![[0.0; REPLICAS]; partitions],
            unseen: vec![false; partitions],
            ticks: 0,
            last: [even.clone(), even.clone(), even.clone()],
            habit: vec![even; 24],
            habit_entropy: vec![vec![1.0; partitions]; 24],
            mean_reads: vec![0.0; partitions],
            wave: [1.0; 24],
            hours: 0,
            failures: Failures::new(&facts),
            gray: Watch::new(&facts),
            facts,
        }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Learns from a step.
    pub(crate) fn see(&mut self, step: &Step) {
        self.failures.see(step, &self.facts);
        let hour = step.step / TICKS_PER_H % 24;
        self.gray.see(step);
        for (partition, reads) in step.reads.iter().enumerate() {
            for (slot, reads) in reads.iter().enumerate() {
                let node = usize::from(step.holders[partition][slot]);
                let left = if step.drained[partition] == Some(slot as u8) { self.drained_left } else { 1.0 };
                self.reads[partition][slot] += f64::from(*reads) / left;
                self.unseen[partition] |= step.latency_ms[node].is_none() || self.gray.suspects(node);
            }
        }
        self.ticks += 1;
        if self.ticks == TICKS_PER_H {
            self.end_hour(hour);
        }
    }

    /// Nodes that are suspected of answering badly.
    pub(crate) fn suspects(&self, node: usize) -> bool {
        self.gray.suspects(node)
    }

    pub(crate) fn hazards(&self) -> Hazards {
        self.failures.hazards()
    }

    /// Reads per minute of a partition at the busiest hour of the day, as a multiple of a mean partition's.
    pub(crate) fn peak(&self, partition: usize) -> f64 {
        self.mean_reads[partition] * self.wave.iter().copied().fold(1.0, f64::max)
    }

    /// Entropy of the shares of the last hour over the most there can be.
    pub(crate) fn entropy(&self, partition: usize) -> f64 {
        normalised_entropy(&self.last[0][partition]).expect("there are several replicas")
    }

    /// Shares of a partition in the days to come, if all its replicas serve.
    pub(crate) fn expected(&self, partition: usize, expect: Expect) -> Shares {
        let now = self.last[0][partition];
        if expect == Expect::Present || self.hours < 24 {
            return now;
        }
        let hour = (self.hours + 23) % 24;
        let mean: Shares = std::array::from_fn(|slot| {
            self.habit.iter().map(|habit| habit[partition][slot]).sum::<f64>() / 24.0
        });
        let usual = self.habit[hour][partition];
        // What differs from the habit of the hour stays for the most part: changes of regime last for days.
        let shares = std::array::from_fn(|slot| (mean[slot] + LASTING * (now[slot] - usual[slot])).max(1e-4));
        let entropy = |shares: &Shares| normalised_entropy(shares).expect("there are several replicas");
        let trend = entropy(&now) - entropy(&self.last[2][partition]);
        let trend = if trend.abs() > STEEP { 0.5 * trend } else { 0.0 };
        let usual: f64 = self.habit_entropy.iter().map(|habit| habit[partition]).sum::<f64>() / 24.0;
        let target = usual + LASTING * (entropy(&now) - self.habit_entropy[hour][partition]) + trend;
        let shares = normed(shares);
        // A search for next to nothing would take most of the time of an hour's decisions.
        if (entropy(&shares) - target.clamp(0.0, 1.0)).abs() < NEAR {
            return shares;
        }
        match tilt_to(&shares, Some(&mean), target) {
            Some(tilted) => std::array::from_fn(|slot| tilted.shares[slot]),
            None => shares,
        }
    }

    fn end_hour(&mut self, hour: usize) {
        self.last.rotate_right(1);
        let unit = self.facts.reads_per_step * TICKS_PER_H as f64;
        let mut total = 0.0;
        let first_days = self.hours < 24;
        let first = self.hours == 0;
        for partition in 0..self.reads.len() {
            let reads = self.reads[partition];
            let sum: f64 = reads.iter().sum();
            let rate = sum / unit;
            total += rate;
            let known = sum > 0.0 && !self.unseen[partition];
            let shares = if known { normed(reads) } else { self.last[1][partition] };
            self.last[0][partition] = shares;
            let weight = if first_days { 1.0 } else { FORGET };
            if known {
                let entropy = normalised_entropy(&shares).expect("there are several replicas");
                // Hours that were not seen yet are taken for like the ones before.
                let to = if first_days { hour..24 } else { hour..hour + 1 };
                for at in to {
                    let habit = &mut self.habit[at][partition];
                    *habit = std::array::from_fn(|s| habit[s] + weight * (shares[s] - habit[s]));
                    let habit = &mut self.habit_entropy[at][partition];
                    *habit += weight * (entropy - *habit);
                }
            }
            let level = rate / self.wave[hour];
            let mean = &mut self.mean_reads[partition];
            *mean = if first { level } else { *mean + LEVEL * (level - *mean) };
        }
        let mean: f64 = self.mean_reads.iter().sum();
        if mean > 0.0 {
            let seen = total / mean;
            self.wave[hour] += (if first_days { 1.0 } else { FORGET }) * (seen - self.wave[hour]);
        }
        self.reads.iter_mut().for_each(|reads| *reads = [0.0; REPLICAS]);
        self.unseen.fill(false);
        self.ticks = 0;
        self.hours += 1;
    }
}

/// What is left after a day of what differs from the habit.
const LASTING: f64 = 0.8;

/// A change of the entropy within two hours from which on it is a trend.
const STEEP: f64 = 0.08;

/// A difference of entropies that is not worth a tilt.
const NEAR: f64 = 0.02;

/// Weight of the latest day in the habit of an hour.
const FORGET: f64 = 0.3;

/// Weight of the latest hour in a partition's reads.
const LEVEL: f64 = 0.06;
