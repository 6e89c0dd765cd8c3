//! What is remembered of nodes: their habitual latency, and whether they are suspected of answering badly.
//!
//! A suspicion holds from the window that raised it until one that clears it. While a node is suspected its latency
//! is not learned, and neither are the shares of the partitions on it, or badness would become a habit.

use crate::input::{NodeStep, Step};
use crate::partition::Partition;
use crate::policy::Settings;
use isotherm_risk::gray::{LatencyHabit, OnNode, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) latency: LatencyHabit,
    /// What the last minute said.
    pub(crate) gray: Option<Verdict>,
    /// Reads per second of the last minute; `None` if it was not watched all the time.
    pub(crate) reads_per_s: Option<f64>,
}

impl Memory {
    pub(crate) fn is_suspected(&self) -> bool {
        self.gray.is_some_and(|verdict| verdict.is_suspicion())
    }
}

/// Judges every node of a minute by its partitions' shares, as they were habitual before it.
pub(crate) fn judge<'a>(
    memories: &mut BTreeMap<u32, Memory>,
    step: &Step,
    numbers: &[u32],
    partitions: impl Iterator<Item = (&'a Partition, &'a crate::input::PartitionStep)>,
    settings: &Settings,
) {
    let mut on: Vec<Vec<OnNode>> = vec![Vec::new(); step.nodes.len()];
    for (partition, counted) in partitions {
        let served: Option<Vec<u64>> = counted.served.iter().map(|(_, reads)| *reads).collect();
        let Some(all) = served.map(|served| served.iter().sum::<u64>()).filter(|all| *all > 0) else {
            continue;
        };
        for (node, reads) in &counted.served {
            let habitual = partition.habitual_share(numbers[*node as usize], settings);
            let share = reads.unwrap_or(0) as f64 / all as f64;
            on[*node as usize].push(OnNode { share, habitual, reads: all });
        }
    }
    for ((seen, number), partitions) in step.nodes.iter().zip(numbers).zip(on) {
        let memory = memories.entry(*number).or_default();
        memory.reads_per_s =
            seen.reads.map(|reads| reads as f64 * 1_000.0 / step.length.ms(settings.step_ms) as f64);
        memory.see(seen, partitions, settings);
    }
}

impl Memory {
    fn see(&mut self, seen: &NodeStep, partitions: Vec<OnNode>, settings: &Settings) {
        let rule = &settings.gray_habit;
        let verdict = settings.gray.judge(partitions, self.latency.ratio(rule, seen.latency));
        self.gray = Some(verdict);
        self.latency.observe(rule, seen.latency, verdict.is_suspicion());
    }
}
