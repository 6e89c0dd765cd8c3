//! Whether an assignment keeps its copysets few, and how many more there may be.

use super::work::Work;
use crate::copyset::{Copysets, Groups};

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
        // Where the policy does not say how many there should be: as many for each node as there are.
        let used: f64 = (0..work.up.len()).filter(|at| work.held[*at]).map(|at| capacity(work, at)).sum();
        let usable: f64 = (0..work.up.len()).filter(|at| work.target[*at]).map(|at| capacity(work, at)).sum();
        let growth = if used > 0.0 { (usable / used).max(1.0) } else { 1.0 };
        let least = wanted.map_or(sets.len() as f64 * growth, |spread| copysets(work, spread));
        let most = (least * work.snapshot.policy().copyset_budget) as i64;
        let left = most - sets.len() as i64;
        let groups = sets.groups();
        Some(Self { sets, groups, left })
    }
}

fn capacity(work: &Work<'_>, node: usize) -> f64 {
    work.snapshot.topology().nodes()[node].capacity_bytes as f64
}

/// The copysets of a spread factor: N S / (R (R - 1)), with R the replicas that the most partitions have.
fn copysets(work: &Work<'_>, spread: u32) -> f64 {
    let nodes = work.target.iter().filter(|target| **target).count() as f64;
    let mut counts = [0usize; crate::partitions::MOST_REPLICAS + 1];
    let partitions = work.snapshot.partitions();
    partitions.all().for_each(|partition| counts[usize::from(partitions.replicas.get(partition))] += 1);
    let replicas = (1..counts.len()).max_by_key(|replicas| counts[*replicas]).unwrap_or(1) as f64;
    if replicas < 2.0 { nodes } else { nodes * f64::from(spread) / (replicas * (replicas - 1.0)) }
}
