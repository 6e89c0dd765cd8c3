//! Whether an assignment keeps its copysets few, and how many more there may be.

use super::work::Work;
use crate::copyset::{Copysets, Groups};
use crate::ids::Node;
use crate::partitions::MOST_REPLICAS;

/// By how much of the usual size pieces of one copyset may exceed it.
const SLACK: f64 = 0.25;
/// Partitions on one copyset from which on copysets are taken for meant.
const MEANT: usize = 4;

/// Copysets that are kept few.
pub(crate) struct Grouped {
    pub(crate) sets: Copysets,
    pub(crate) groups: Groups,
    /// How many more the policy allows.
    pub(crate) left: i64,
}

impl Grouped {
    /// The copysets of the assignment as it will be; absent where hardly two partitions share one and the policy
    /// does not want it otherwise.
    pub(crate) fn new(work: &Work<'_>) -> Option<Self> {
        let partitions = work.snapshot.partitions();
        let sets = Copysets::in_use(&work.assignment, &partitions.size_bytes);
        let wanted = work.snapshot.policy().spread_factor;
        if sets.is_empty() || wanted.is_none() && partitions.len() < MEANT * sets.len() {
            return None;
        }
        let least = wanted.map_or_else(|| meant(work, &sets), |spread| copysets(work, spread));
        let most = (least * work.snapshot.policy().copyset_budget).ceil() as i64;
        let left = most - sets.len() as i64;
        let groups = sets.groups();
        Some(Self { sets, groups, left })
    }
}

/// How many copysets were meant, where the policy does not say: those there are, the pieces of one that was split
/// counted once, and for nodes that are new as many as the others have. So plan after plan has the same budget.
///
/// Copysets that differ in one member are pieces of one if together they are not larger than one of the usual size.
fn meant(work: &Work<'_>, sets: &Copysets) -> f64 {
    let sum = |power: i32| -> f64 { sets.all().map(|set| (sets.bytes(set) as f64).powi(power)).sum() };
    let usual = if sum(1) > 0.0 { sum(2) / sum(1) } else { 0.0 };
    let mut pieces: Vec<(u128, f64)> = Vec::with_capacity(3 * sets.len());
    for set in sets.all() {
        for donor in sets.nodes(set) {
            let others = sets.nodes(set).iter().filter(|member| *member != donor);
            pieces.push((pack(others), sets.bytes(set) as f64));
        }
    }
    pieces.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let extra: f64 = pieces
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|family| family.len() > 1)
        .map(|family| {
            let bytes: f64 = family.iter().map(|piece| piece.1).sum();
            let whole = if usual > 0.0 { (bytes / usual - SLACK).ceil() } else { 1.0 };
            family.len() as f64 - whole.clamp(1.0, family.len() as f64)
        })
        .sum();
    let used: f64 = (0..work.up.len()).filter(|at| work.held[*at]).map(|at| capacity(work, at)).sum();
    let usable: f64 = (0..work.up.len()).filter(|at| work.target[*at]).map(|at| capacity(work, at)).sum();
    let growth = if used > 0.0 { (usable / used).max(1.0) } else { 1.0 };
    (sets.len() as f64 - extra).max(1.0) * growth
}

/// Nodes, packed in their order.
pub(crate) fn pack<'a>(nodes: impl Iterator<Item = &'a Node>) -> u128 {
    nodes.take(MOST_REPLICAS).fold(0, |packed, node| packed << 16 | u128::from(node.0 + 1))
}

fn capacity(work: &Work<'_>, node: usize) -> f64 {
    work.snapshot.topology().nodes()[node].capacity_bytes as f64
}

/// The copysets of a spread factor: N S / (R (R - 1)), with R the replicas that the most partitions have.
fn copysets(work: &Work<'_>, spread: u32) -> f64 {
    let nodes = work.target.iter().filter(|target| **target).count() as f64;
    let mut counts = [0usize; MOST_REPLICAS + 1];
    let partitions = work.snapshot.partitions();
    partitions.all().for_each(|partition| counts[usize::from(partitions.replicas.get(partition))] += 1);
    let replicas = (1..counts.len()).max_by_key(|replicas| counts[*replicas]).unwrap_or(1) as f64;
    if replicas < 2.0 { nodes } else { nodes * f64::from(spread) / (replicas * (replicas - 1.0)) }
}
