//! Copysets under proactive moves: what there are, and how many more there may be.
//!
//! Moves for risk are decided partition by partition, as benefit per byte differs within a copyset. What keeps
//! copysets together is that the partitions of one follow each other: a subset that exists is preferred, and no more
//! than `fan_out` nodes take the place of one beside the same others. That is counted among the copysets there are,
//! not among those that one plan has made, so plan after plan cannot make more. Where hardly two partitions share a
//! subset there is nothing to keep, and no index is made.

use super::super::work::Work;
use crate::ids::{Node, Partition};
use crate::partitions::{Assignment, MOST_REPLICAS, NONE};
use rayon::iter::ParallelIterator;
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use std::collections::BTreeMap;

/// Partitions for each distinct subset from which on subsets are taken to be copysets.
const SHARED_BY: usize = 4;

/// A subset without its order; empty slots last.
type Set = [u16; MOST_REPLICAS];

/// Copysets in use.
pub(super) struct Copysets {
    partitions: BTreeMap<Set, u32>,
    /// For all nodes of a copyset but one: the nodes with which they are a copyset.
    around: BTreeMap<Set, Vec<u16>>,
    fan_out: u32,
    /// Absent without a spread factor, which it is a multiple of.
    most: Option<usize>,
}

/// One step of a partition from a subset to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    before: Set,
    after: Set,
}

/// What copysets there are around some holders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'c> {
    /// Nodes with which they are a copyset in use.
    pub(super) known: &'c [u16],
    /// Whether there may be one more with another node.
    pub(super) may_add: bool,
}

impl Step {
    /// Of the subset that the partition has, with `to` in the place of `from`.
    pub(super) fn new(assignment: &Assignment, partition: Partition, from: Node, to: Node) -> Self {
        let before = set(assignment.row(partition));
        Self { before, after: with(&before, from.0, to.0) }
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

    /// What there is around the holders that stay, if a partition leaves `from`.
    pub(super) fn around(&self, assignment: &Assignment, partition: Partition, from: Node) -> Around<'_> {
        let before = set(assignment.row(partition));
        let known = self.around.get(&with(&before, from.0, NONE)).map_or(&[][..], Vec::as_slice);
        let vanishes = self.partitions.get(&before) == Some(&1);
        let more = self.partitions.len() + usize::from(!vanishes);
        let beside = known.len().saturating_sub(1);
        Around { known, may_add: beside < self.fan_out as usize && self.most.is_none_or(|most| more <= most) }
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
                self.around.entry(with(set, *node, NONE)).or_default().push(*node);
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
            if let Some(nodes) = self.around.get_mut(&with(set, *node, NONE)) {
                nodes.retain(|other| other != node);
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
    let rows = assignment.slots().par_chunks_exact(assignment.width());
    let pack = |row: &[u16]| set(row).iter().fold(0u128, |packed, slot| packed << 16 | u128::from(*slot));
    let mut sets: Vec<u128> = rows.map(pack).collect();
    sets.par_sort_unstable();
    sets.dedup();
    sets.len()
}
