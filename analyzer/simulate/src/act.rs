//! From what is believed to commands.

mod baseline;
pub(crate) mod belief;
mod copy;
mod shift;

use crate::analyst::Analyst;
use crate::cluster::{Cluster, Command};
use crate::policy::{Limits, Parts, Policy};
use crate::world::{TICKS_PER_DAY, TICKS_PER_H};
use belief::Belief;

/// Who acts: a policy with what it may spend yet, and what it did when.
pub(crate) struct Actor {
    policy: Policy,
    limits: Limits,
    /// Replicas, as multiples of a mean one, that may be copied yet.
    bytes: f64,
    shifts: f64,
    /// When a partition was moved or shifted last.
    acted: Vec<Option<usize>>,
    /// Whether a partition was shifted away from a suspect last.
    for_gray: Vec<bool>,
    suspects: Vec<bool>,
}

impl Actor {
    pub(crate) fn new(policy: Policy, limits: Limits, nodes: usize, partitions: usize) -> Self {
        let suspects = vec![false; nodes];
        let (acted, for_gray) = (vec![None; partitions], vec![false; partitions]);
        Self { policy, limits, bytes: 0.0, shifts: 0.0, acted, for_gray, suspects }
    }

    /// Acts on a cluster, if it is time to.
    pub(crate) fn act(&mut self, analyst: &Analyst, cluster: &mut Cluster<'_>) {
        let hourly = cluster.tick.is_multiple_of(TICKS_PER_H);
        if hourly {
            self.earn(analyst);
        }
        match self.policy {
            Policy::Reactive => {}
            Policy::EntropyLevel if hourly => baseline::entropy_level(self, analyst, cluster),
            Policy::HazardOnly if hourly => baseline::hazard_only(self, analyst, cluster),
            Policy::EntropyLevel | Policy::HazardOnly => {}
            Policy::Model(parts) => {
                let suspects: Vec<bool> =
                    (0..self.suspects.len()).map(|node| parts.gray && analyst.suspects(node)).collect();
                let changed = suspects != self.suspects;
                self.suspects = suspects;
                let due = cluster.tick.is_multiple_of(TICKS_PER_H * self.limits.every_h.max(1));
                if due || changed || self.suspects.contains(&true) {
                    self.by_model(analyst, cluster, parts);
                }
            }
        }
    }

    fn by_model(&mut self, analyst: &Analyst, cluster: &mut Cluster<'_>, parts: Parts) {
        let mut belief = Belief::new(analyst, cluster, parts, self.suspects.clone(), &self.limits);
        if parts.shift {
            shift::undo(self, &mut belief, cluster);
            shift::run(self, &mut belief, cluster);
        }
        if parts.copy {
            copy::run(self, &mut belief, cluster);
        }
    }

    /// Budgets grow by the hour, up to those of two days.
    fn earn(&mut self, analyst: &Analyst) {
        let all: f64 = analyst.facts().sizes.iter().sum::<f64>() * crate::world::REPLICAS as f64;
        let day = self.limits.bytes_per_day * all;
        self.bytes = (self.bytes + day / 24.0).min(2.0 * day);
        self.shifts = (self.shifts + self.limits.shifts_per_day / 24.0).min(self.limits.shifts_per_day);
    }

    fn cooled(&self, partition: usize, tick: usize) -> bool {
        let ticks = (self.limits.cool_down_days * TICKS_PER_DAY as f64) as usize;
        self.acted[partition].is_none_or(|acted| tick >= acted + ticks)
    }

    /// Has a copy made, if it is within the budget and possible.
    fn copy(&mut self, cluster: &mut Cluster<'_>, partition: usize, slot: usize, to: u16) -> bool {
        let size = cluster.world.sizes()[partition];
        let done = size <= self.bytes && cluster.obey(Command::Copy { partition, slot, to });
        if done {
            self.bytes -= size;
            self.acted[partition] = Some(cluster.tick);
        }
        done
    }
}
