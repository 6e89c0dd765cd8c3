//! Copysets under proactive moves: what there are, and how many more there may be.
//!
//! Moves for risk are decided partition by partition, as benefit per byte differs within a copyset. What keeps
//! copysets together is that the partitions of one follow each other: a subset that exists is preferred, and no more
//! than `fan_out` nodes take the place of one beside the same others. That is counted among the copysets there are,
//! not among those that one plan has made, so plan after plan cannot make more. Where hardly two partitions share a
//! subset there is nothing to keep, and no index is made.

use super::super::work::Work;
use crate::hash;
use crate::ids::{Node, Partition};
use crate::partitions::{Assignment, MOST_REPLICAS, NONE};
use rayon::slice::ParallelSliceMut;
use std::collections::BTreeMap;

/// Partitions for each distinct subset from which on subsets are taken to be copysets.
const SHARED_BY: usize = 4;

/// A subset without its order; empty slots last.
type Set = [u16; MOST_REPLICAS];

/// Copysets in use.
pub(super) struct Copysets {
    partitions: BTreeMap<Set, u32>,
    /// Copysets around all nodes of one but one.
    around: BTreeMap<Set, u32>,
    fan_out: u32,
    /// Absent without a spread factor, which it is a multiple of.
    most: Option<usize>,
}

/// One step of a partition from a subset to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    before: Set,
    after: Set,
    others: Set,
}

impl Step {
    /// Of the subset that the partition has, with `to` in the place of `from`.
    pub(super) fn new(assignment: &Assignment, partition: Partition, from: Node, to: Node) -> Self {
        let before = set(assignment.row(partition));
        Self { before, after: with(&before, from.0, to.0), others: with(&before, from.0, NONE) }
    }
}

impl Copysets {
    /// The index, where copysets are an objective.
    pub(super) fn new(work: &Work<'_>) -> Option<Self> {
        let policy = work.snapshot.policy();
        let distinct = distinct(&work.assignment);
        let shared = distinct > 0 && work.assignment.len() / distinct >= SHARED_BY;
        if !shared && policy.spread_factor.is_none() {
            return None;
        }
        let most = policy.spread_factor.map(|spread| {
            let replicas = work.assignment.width();
            let nodes = work.up.iter().filter(|up| **up).count();
            let fewest = (nodes * spread as usize).div_ceil((replicas * (replicas - 1)).max(1));
            (fewest as f64 * policy.copyset_budget) as usize
        });
        let mut index =
            Self { partitions: BTreeMap::new(), around: BTreeMap::new(), fan_out: policy.fan_out, most };
        for row in work.assignment.slots().chunks_exact(work.assignment.width()) {
            index.add(&set(row));
        }
        Some(index)
    }

    /// Whether the subset after the step is in use.
    pub(super) fn exists(&self, step: &Step) -> bool {
        self.partitions.contains_key(&step.after)
    }

    /// Whether there may be one more copyset for this step.
    pub(super) fn may_add(&self, step: &Step) -> bool {
        let vanishes = self.partitions.get(&step.before) == Some(&1);
        let beside = self.around.get(&step.others).copied().unwrap_or(0).saturating_sub(1);
        let more = self.partitions.len() + usize::from(!vanishes);
        beside < self.fan_out && self.most.is_none_or(|most| more <= most)
    }

    /// Does a step.
    pub(super) fn take(&mut self, step: &Step) {
        self.remove(&step.before);
        self.add(&step.after);
    }

    /// Undoes a step.
    pub(super) fn undo(&mut self, step: &Step) {
        self.remove(&step.after);
        self.add(&step.before);
    }

    fn add(&mut self, set: &Set) {
        let partitions = self.partitions.entry(*set).or_insert(0);
        *partitions += 1;
        if *partitions == 1 {
            for node in set.iter().filter(|node| **node != NONE) {
                *self.around.entry(with(set, *node, NONE)).or_insert(0) += 1;
            }
        }
    }

    fn remove(&mut self, set: &Set) {
        let Some(partitions) = self.partitions.get_mut(set) else { return };
        *partitions -= 1;
        if *partitions > 0 {
            return;
        }
        self.partitions.remove(set);
        for node in set.iter().filter(|node| **node != NONE) {
            if let Some(sets) = self.around.get_mut(&with(set, *node, NONE)) {
                *sets -= 1;
            }
        }
    }
}

fn with(set: &Set, from: u16, to: u16) -> Set {
    let mut set = *set;
    if let Some(slot) = set.iter_mut().find(|slot| **slot == from) {
        *slot = to;
    }
    set.sort_unstable();
    set
}

fn set(row: &[u16]) -> Set {
    let mut set = [NONE; MOST_REPLICAS];
    set[..row.len()].copy_from_slice(row);
    set.sort_unstable();
    set
}

fn distinct(assignment: &Assignment) -> usize {
    let rows = assignment.slots().chunks_exact(assignment.width());
    let mut keys: Vec<u64> =
        rows.map(|row| set(row).iter().fold(0, |key, slot| hash::draw(key, u64::from(*slot)))).collect();
    keys.par_sort_unstable();
    keys.dedup();
    keys.len()
}
