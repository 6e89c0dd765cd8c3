//! From what was thought of to what is decided: in the order of use for its bytes, as far as the budget goes.
//!
//! If all of it fits, all is decided. If not, what is no use by itself is left out: a receiver is not filled above
//! the limit for the sake of a move that is beyond the budget. Each node that stays above the limit is a refusal.

use super::draft::{Displaced, ROUNDING};
use crate::ids::{Node, Partition};
use crate::plan::{Gain, Reason, Rejected};
use crate::planner::choose::Choice;
use crate::planner::work::Work;
use crate::refusal::{Cause, Refusal};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;

/// Passes over what was no use when it was looked at first.
const MOST_PASSES: usize = 8;

/// Decides displacements, and returns those that the budget leaves nothing for.
pub(super) fn run(
    work: &mut Work<'_>,
    limit: f64,
    displaced: BTreeMap<Partition, Displaced>,
) -> BTreeMap<Partition, Displaced> {
    let (left_bytes, left_moves) = left(work);
    let bytes: u64 = displaced.keys().map(|partition| size(work, *partition)).sum();
    let all_fits = bytes <= left_bytes && displaced.len() as u64 <= left_moves;
    let mut waits: Vec<(Partition, Displaced)> = displaced.into_iter().collect();
    for _ in 0..MOST_PASSES {
        let before = waits.len();
        waits = pass(work, limit, waits);
        if waits.len() == before {
            break;
        }
    }
    if all_fits {
        for (partition, displaced) in waits.drain(..) {
            copy(work, partition, displaced);
        }
    }
    waits.into_iter().collect()
}

/// Decides what is of use, most for its bytes first; returns what is not, or does not fit.
fn pass(work: &mut Work<'_>, limit: f64, waits: Vec<(Partition, Displaced)>) -> Vec<(Partition, Displaced)> {
    let mut heap: BinaryHeap<Ranked> = waits
        .into_iter()
        .map(|(partition, displaced)| Ranked {
            worth: worth(work, limit, partition, displaced),
            partition,
            displaced,
        })
        .collect();
    let mut waits = Vec::new();
    while let Some(mut first) = heap.pop() {
        // What was decided since it was looked at may have changed its worth; it can only be taken if it is first
        // still.
        let worth = worth(work, limit, first.partition, first.displaced);
        if worth < first.worth && heap.peek().is_some_and(|next| worth < next.worth) {
            first.worth = worth;
            heap.push(first);
            continue;
        }
        let (left_bytes, left_moves) = left(work);
        if worth > 0.0 && size(work, first.partition) <= left_bytes && left_moves > 0 {
            copy(work, first.partition, first.displaced);
        } else {
            waits.push((first.partition, first.displaced));
        }
    }
    waits.sort_unstable_by_key(|(partition, _)| *partition);
    waits
}

struct Ranked {
    worth: f64,
    partition: Partition,
    displaced: Displaced,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth.total_cmp(&other.worth).then(other.partition.cmp(&self.partition))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// How much less the squares of excess over the limit become, for a byte.
fn worth(work: &Work<'_>, limit: f64, partition: Partition, displaced: Displaced) -> f64 {
    let (bytes, load) = (work.size_of(partition), work.load_of(partition));
    let excess = |node: Node, sign: f64| {
        let at = node.at();
        let size = ((work.bytes[at] + sign * bytes) * work.per_byte[at] - limit).max(0.0);
        let load = ((work.load[at] + sign * load) * work.per_load[at] - limit).max(0.0);
        size * size + load * load
    };
    let (from, to) = (displaced.from, displaced.choice.node);
    (excess(from, 0.0) + excess(to, 0.0) - excess(from, -1.0) - excess(to, 1.0)) / (bytes + 1.0)
}

fn copy(work: &mut Work<'_>, partition: Partition, displaced: Displaced) {
    let (from, to) = (displaced.from, displaced.choice.node);
    let gain = gain(work, partition, from, to);
    work.chosen_bytes += size(work, partition);
    work.chosen_moves += 1;
    work.copy(partition, Some(from), Reason::Balance, gain, displaced.choice);
}

/// Decides one copy that needs no choice any more.
pub(super) fn copy_one(work: &mut Work<'_>, partition: Partition, from: Node, to: Node) {
    let score = pressure_with(work, partition, to, 1.0);
    let choice = Choice { node: to, score, runner_up: None, rejected: Rejected::default() };
    copy(work, partition, Displaced { from, choice });
}

fn gain(work: &Work<'_>, partition: Partition, from: Node, to: Node) -> Gain {
    let before = work.pressure(from.at()).max(work.pressure(to.at()));
    let after = pressure_with(work, partition, from, -1.0).max(pressure_with(work, partition, to, 1.0));
    Gain::Pressure { before, after }
}

fn pressure_with(work: &Work<'_>, partition: Partition, node: Node, sign: f64) -> f64 {
    let at = node.at();
    let size = (work.bytes[at] + sign * work.size_of(partition)) * work.per_byte[at];
    size.max((work.load[at] + sign * work.load_of(partition)) * work.per_load[at])
}

/// Bytes and moves that the budgets leave.
pub(super) fn left(work: &Work<'_>) -> (u64, u64) {
    let policy = work.snapshot.policy();
    let bytes = policy.byte_budget.map_or(u64::MAX, |budget| budget.saturating_sub(work.chosen_bytes));
    let moves = policy.move_budget.map_or(u32::MAX, |budget| budget.saturating_sub(work.chosen_moves));
    (bytes, u64::from(moves))
}

pub(super) fn size(work: &Work<'_>, partition: Partition) -> u64 {
    work.snapshot.partitions().size_bytes[partition.at()]
}

/// Bytes that each node would give away if the budget had them.
pub(super) fn wanted_bytes(work: &Work<'_>, waits: &BTreeMap<Partition, Displaced>) -> Vec<u64> {
    let mut wanted = vec![0; work.up.len()];
    for (partition, displaced) in waits {
        wanted[displaced.from.at()] += size(work, *partition).max(1);
    }
    wanted
}

/// Every node that stays above the limit: for want of budget, or because nothing helps.
pub(super) fn refuse(work: &mut Work<'_>, limit: f64, wanted_bytes: impl Fn(usize) -> u64) {
    let (left_bytes, _) = left(work);
    for at in 0..work.up.len() {
        let reached = work.pressure(at);
        if !work.up[at] || reached <= limit + ROUNDING {
            continue;
        }
        let bytes = wanted_bytes(at);
        let cause = if bytes > 0 {
            Cause::Budget { bytes, left_bytes }
        } else {
            Cause::Pressure { reached, wanted: limit }
        };
        work.refusals.push(Refusal { partition: None, node: Some(Node(at as u16)), cause });
    }
}
