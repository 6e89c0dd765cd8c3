//! What nodes held that stay away is made again elsewhere, under every policy alike.

use super::Cluster;
use crate::world::{REPLICAS, Stream, TICKS_PER_H};

/// A replica that is to be made again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repair {
    due: usize,
    partition: usize,
    from: u16,
}

/// Share of its capacity above which a node is not given more.
const MOST_FILLED: f64 = 0.75;

impl Cluster<'_> {
    pub(super) fn begin_repairs(&mut self) {
        let failure = self.world.spec().failure;
        let after = failure.repair_after_h as usize * TICKS_PER_H;
        let takes = failure.repair_h as usize * TICKS_PER_H;
        for node in 0..self.nodes.up.len() {
            if self.nodes.up[node] || self.nodes.failed_at[node] + after != self.tick {
                continue;
            }
            let held: Vec<usize> = (0..self.holders.len())
                .filter(|partition| self.holders[*partition].contains(&(node as u16)))
                .collect();
            for (at, partition) in held.iter().enumerate() {
                let due = self.tick + 1 + takes * (at + 1) / held.len();
                self.repairs.push(Repair { due, partition: *partition, from: node as u16 });
            }
        }
    }

    pub(super) fn repair(&mut self) {
        let all = std::mem::take(&mut self.repairs);
        for mut repair in all {
            let slot = self.holders[repair.partition].iter().position(|node| *node == repair.from);
            let (Some(slot), false) = (slot, self.nodes.up[usize::from(repair.from)]) else { continue };
            if repair.due > self.tick {
                self.repairs.push(repair);
                continue;
            }
            match self.target(repair.partition, slot) {
                Some(node) => {
                    // What it will serve counts at once, or all would go to the same node.
                    let share = self.world.shares(self.tick, repair.partition)[slot];
                    self.nodes.load[usize::from(node)] += share * self.rate[repair.partition];
                    self.put(repair.partition, slot, node);
                    self.record.repaired += self.world.sizes()[repair.partition];
                }
                None => {
                    repair.due = self.tick + TICKS_PER_H;
                    self.repairs.push(repair);
                }
            }
        }
    }

    /// The node of the least load, with some luck, that may take a replica.
    fn target(&self, partition: usize, slot: usize) -> Option<u16> {
        let truths = self.world.nodes();
        let filled = |node: usize| self.nodes.load[node] / truths[node].capacity;
        let fits = |node: &usize| {
            self.nodes.up[*node]
                && filled(*node) < MOST_FILLED
                && self.is_apart(partition, slot, *node as u16)
        };
        let luck = |node: usize| {
            let item = (partition * REPLICAS + slot) * truths.len() + node;
            0.5 * self.world.chance().unit(Stream::Repair, item, self.tick)
        };
        let score = |node: usize| filled(node) + luck(node);
        (0..truths.len())
            .filter(fits)
            .map(|node| (score(node), node))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, node)| node as u16)
    }
}
