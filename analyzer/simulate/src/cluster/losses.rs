//! What clients lose: client-minutes, in reads of a mean partition for a minute.
//!
//! Four kinds, each counted where it happens: reads whose node went away, until they are served by others, or while
//! nobody is left; reads that an overloaded node does not serve; those that a gray node fails; and those that wait for
//! a copy or a shift.

use super::Cluster;
use crate::world::TICK_MIN;
use serde::Serialize;

/// Client-minutes lost, in reads of a mean partition for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Toll {
    /// While reads of nodes that went away were sent elsewhere, or nobody was left.
    pub failover: f64,
    /// On nodes with more load than capacity, and some from 85 % on.
    pub overload: f64,
    /// On gray nodes.
    pub gray: f64,
    /// In pauses of copies and shifts, and by the load of copies.
    pub copy: f64,
}

impl Toll {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.failover + self.overload + self.gray + self.copy
    }
}

/// Why a node went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Fault {
    /// By itself.
    Alone,
    /// By too much load.
    Overloaded,
    /// It had been gray.
    Gray,
    /// Its rack went away.
    Rack,
}

/// A node that went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// When.
    pub tick: usize,
    /// Which.
    pub node: u16,
    /// Why.
    pub fault: Fault,
}

/// A failure that took much of a partition's reads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Incident {
    /// When.
    pub tick: usize,
    /// Whose.
    pub partition: usize,
    /// Share of its reads.
    pub share: f64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Record {
    /// Nodes that went away, in the order of their times.
    pub failures: Vec<Failed>,
    /// Failures that took at least a fifth of a partition's reads.
    pub incidents: Vec<Incident>,
    /// Copies that were begun by a policy.
    pub moves: u32,
    /// Of those, what was not of use in the end.
    pub aborted: u32,
    /// Leaders switched and replicas drained.
    pub shifts: u32,
    /// Replicas copied by a policy, as multiples of a mean replica.
    pub bytes: f64,
    /// Replicas made again, as multiples of a mean replica.
    pub repaired: f64,
    /// Of what was lost to overload, the part on gray nodes, which bear less.
    pub overload_of_gray: f64,
    /// Hours in which partitions had less than all replicas up, summed.
    pub under_replicated_h: f64,
}

/// Share of a partition's reads whose loss at once is an incident: eps of docs/risk.md.
pub(super) const INCIDENT: f64 = 0.2;

impl Cluster<'_> {
    pub(super) fn count_losses(&mut self) {
        let gray_lost = self.world.spec().gray.lost;
        for (node, load) in self.nodes.load.iter().enumerate() {
            let used = self.nodes.utilisation[node];
            let over = if used > 1.0 { 1.0 - 1.0 / used } else { 0.0 };
            let near = 0.01 * ((used - 0.85) / 0.15).clamp(0.0, 1.0);
            self.toll.overload += load * (over + near) * TICK_MIN;
            if self.nodes.is_gray(node, self.tick) {
                self.toll.gray += load * gray_lost * TICK_MIN;
                self.record.overload_of_gray += load * (over + near) * TICK_MIN;
            }
        }
        for (partition, served) in self.served.iter().enumerate() {
            let down = self.holders[partition].iter().any(|node| !self.nodes.up[usize::from(*node)]);
            self.record.under_replicated_h += f64::from(u8::from(down)) * TICK_MIN / 60.0;
            if served.iter().all(|share| *share == 0.0) {
                self.toll.failover += self.rate[partition] * TICK_MIN;
            }
        }
    }

    /// Counts what is lost when nodes go away, and lets them go.
    pub(super) fn lose(&mut self, failed: &[Failed]) {
        if failed.is_empty() {
            return;
        }
        let reroute_min = self.world.spec().failure.reroute_min;
        let gone = |node: u16| failed.iter().any(|other| other.node == node);
        for partition in 0..self.holders.len() {
            let slots = self.holders[partition].iter().zip(self.served[partition]);
            let share: f64 = slots.filter(|(node, _)| gone(**node)).map(|(_, share)| share).sum();
            self.toll.failover += self.rate[partition] * share * reroute_min;
            if share >= INCIDENT {
                self.record.incidents.push(Incident { tick: self.tick, partition, share });
            }
        }
        for other in failed {
            self.nodes.up[usize::from(other.node)] = false;
            self.nodes.failed_at[usize::from(other.node)] = self.tick;
        }
        self.record.failures.extend_from_slice(failed);
    }
}
