//! What can be seen of a made-up cluster: counted reads, measured latencies, capacities and topology.
//!
//! Everything that decides goes by this and never by the truth. Reads are counts with the chance of counts, latency
//! is noisy, capacities are measured wrongly, and a node that is gone tells nothing. [`Step`] is one tick of it, simple
//! enough to be recorded and fed to anything else that takes counts.

use crate::cluster::Cluster;
use crate::world::{REPLICAS, Stream, TICK_MIN, World};
use rand_distr::{Distribution, Poisson, StandardNormal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// What is known of a node from its topology and its measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSeen {
    /// Its rack.
    pub rack: u16,
    /// Its class, by position.
    pub class: usize,
    /// Reads per minute that it was measured to bear, as multiples of a mean partition's.
    pub capacity: f64,
    /// Failures in the days before the first step.
    pub failed_before: u32,
}

/// What is known of a cluster before its first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its nodes.
    pub nodes: Vec<NodeSeen>,
    /// Sizes of a replica of each partition, as multiples of the mean.
    pub sizes: Vec<f64>,
    /// Reads that were counted in a step of a mean partition.
    pub reads_per_step: f64,
    /// Days before the first step, of which failures are known.
    pub history_days: u32,
    /// Length of a step, seconds.
    pub step_s: u32,
    /// The first step after those of learning.
    pub first_step: usize,
}

/// One step as it was seen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its position, from 0.
    pub step: usize,
    /// Holders of each partition, leader first.
    pub holders: Vec<[u16; REPLICAS]>,
    /// Reads that each of them served.
    pub reads: Vec<[u32; REPLICAS]>,
    /// The holder that is drained on purpose, by its place.
    pub drained: Vec<Option<u8>>,
    /// Mean latency of each node, milliseconds; absent of one that is down.
    pub latency_ms: Vec<Option<f32>>,
    /// Nodes that went away in this step.
    pub failed: Vec<u16>,
}

impl World {
    /// What may be known of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let seen = |node: &crate::world::NodeTruth| NodeSeen {
            rack: node.rack,
            class: node.class,
            capacity: node.measured,
            failed_before: node.failed_before,
        };
        Facts {
            nodes: self.nodes().iter().map(seen).collect(),
            sizes: self.sizes().to_vec(),
            reads_per_step: self.spec().sight.reads_per_tick,
            history_days: self.spec().failure_history_days,
            step_s: (TICK_MIN * 60.0) as u32,
            first_step: self.first_tick(),
        }
    }
}

impl Cluster<'_> {
    /// Looks at the tick that passed, into `step`, whose memory is used again.
    pub(crate) fn look(&self, step: &mut Step) {
        let sight = self.world.spec().sight;
        let mut dice = self.world.chance().dice(Stream::Reads, 0, self.tick);
        step.step = self.tick;
        step.holders.clone_from(&self.holders);
        step.drained.clone_from(&self.drained);
        step.reads.clear();
        step.reads.extend(
            self.served.iter().zip(&self.rate).map(|(served, rate)| {
                served.map(|share| count(share * rate * sight.reads_per_tick, &mut dice))
            }),
        );
        step.latency_ms.clear();
        for node in 0..self.nodes.up.len() {
            let idle = 1.0 - self.nodes.utilisation[node].min(0.97);
            let gray = self.nodes.is_gray(node, self.tick);
            let times = if gray { self.world.spec().gray.latency_times } else { 1.0 };
            let noise: f64 = self.world.chance().from(&StandardNormal, Stream::Latency, node, self.tick);
            let latency_ms = sight.latency_ms / idle * times * (sight.latency_noise * noise).exp();
            step.latency_ms.push(self.nodes.up[node].then_some(latency_ms as f32));
        }
        step.failed.clear();
        let now = self.record.failures.iter().rev().take_while(|failed| failed.tick == self.tick);
        step.failed.extend(now.map(|failed| failed.node));
    }
}

/// A count of so many expected; of many, by the normal distribution that it then has.
fn count(expected: f64, dice: &mut Pcg64Mcg) -> u32 {
    if expected <= 0.0 {
        0
    } else if expected < 30.0 {
        let drawn: f64 = Poisson::new(expected).expect("it is above 0").sample(dice);
        drawn as u32
    } else {
        let noise: f64 = StandardNormal.sample(dice);
        (expected + expected.sqrt() * noise).round().max(0.0) as u32
    }
}
