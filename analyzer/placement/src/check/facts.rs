//! Raw facts of a snapshot, looked up one by one: where nodes lie, what may be where, what is held.

use crate::ids::{Domain, Level, Node, Partition};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;

/// A level that bounds replicas.
pub(super) struct LevelLimit {
    pub(super) level: Level,
    pub(super) limit: u8,
    /// The domain around each node.
    pub(super) domains: Vec<Option<Domain>>,
}

pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) limits: Vec<LevelLimit>,
    /// Bytes that each node may have, and has: what it holds and what is on its way.
    pub(super) may_have: Vec<i128>,
    pub(super) has: Vec<i128>,
    /// Partitions with a copy under way, sorted.
    pub(super) in_flight: Vec<Partition>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let policy = snapshot.policy();
        let nodes = snapshot.topology().nodes();
        // A rounding of the product is not held against a plan: less than a millionth of a millionth of a capacity.
        let slack = |capacity: u64| i128::from(capacity >> 40);
        let may_have = nodes.iter().map(|node| {
            (node.capacity_bytes as f64 * policy.fill_limit).floor() as i128 + slack(node.capacity_bytes)
        });
        let may_have = may_have.collect();
        let mut in_flight: Vec<Partition> = snapshot.in_flight().iter().map(|copy| copy.partition).collect();
        in_flight.sort_unstable();
        Self { snapshot, limits: limits(snapshot), may_have, has: has(snapshot), in_flight }
    }

    pub(super) fn nodes(&self) -> usize {
        self.snapshot.topology().nodes().len()
    }

    pub(super) fn live(&self, node: Node) -> bool {
        match self.snapshot.topology().nodes()[node.at()].state {
            NodeState::Up | NodeState::Draining => true,
            NodeState::Down => false,
        }
    }

    /// The domain of a level around a node, found by going outwards.
    pub(super) fn domain(&self, node: Node, level: Level) -> Option<Domain> {
        domain(self.snapshot, node.at(), level)
    }

    /// Bytes of one replica.
    pub(super) fn size(&self, partition: Partition) -> u64 {
        self.snapshot.partitions().size_bytes[partition.at()]
    }
}

fn domain(snapshot: &Snapshot, node: usize, level: Level) -> Option<Domain> {
    let domains = snapshot.topology().domains();
    let outwards = |domain: &Domain| domains[domain.at()].parent;
    std::iter::successors(snapshot.topology().nodes()[node].domain, outwards)
        .find(|domain| domains[domain.at()].level == level)
}

/// Limits by the policy's words: those it names, or else 1 at the innermost level.
fn limits(snapshot: &Snapshot) -> Vec<LevelLimit> {
    let named = &snapshot.policy().replicas_per_domain;
    let levels = snapshot.topology().levels();
    let limited = levels.iter().enumerate().filter_map(|(at, name)| {
        let unnamed = (named.is_empty() && at + 1 == levels.len()).then_some(1);
        Some((Level(at as u8), named.get(name).copied().or(unnamed)?))
    });
    let nodes = 0..snapshot.topology().nodes().len();
    limited
        .map(|(level, limit)| LevelLimit {
            level,
            limit,
            domains: nodes.clone().map(|node| domain(snapshot, node, level)).collect(),
        })
        .collect()
}

fn has(snapshot: &Snapshot) -> Vec<i128> {
    let mut has = vec![0i128; snapshot.topology().nodes().len()];
    let sizes = &snapshot.partitions().size_bytes;
    for (partition, size) in snapshot.partitions().all().zip(sizes) {
        for holder in snapshot.assignment().subset(partition) {
            has[holder.at()] += i128::from(*size);
        }
    }
    for copy in snapshot.in_flight() {
        has[copy.to.at()] += i128::from(sizes[copy.partition.at()]);
    }
    has
}
