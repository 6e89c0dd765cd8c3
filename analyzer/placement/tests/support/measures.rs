//! What the benchmark's judge measures of an assignment and of the way to it.

use isotherm_placement::{Assignment, Cluster, Node, NodeState, Partition};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measures {
    /// Pairs of partition and node that there were not, and their bytes.
    pub(crate) moves: usize,
    pub(crate) moved_bytes: u64,
    /// Bytes that nodes held before which are no longer up.
    pub(crate) lost_bytes: u64,
    /// Highest share of capacity filled over the mean, of nodes that are up.
    pub(crate) size: f64,
    pub(crate) load: f64,
    /// Partitions with a replica on a node that is not up, with fewer than are wanted, or with two in one domain of
    /// the innermost level.
    pub(crate) violations: usize,
    /// Nodes that are up and hold more than they can.
    pub(crate) over: usize,
    pub(crate) copysets: usize,
    pub(crate) receivers: usize,
    /// Share of the moved bytes that the largest receiver takes.
    pub(crate) largest_receiver: f64,
}

pub(crate) fn measure(cluster: &Cluster, before: &Assignment, after: &Assignment) -> Measures {
    let partitions = &cluster.partitions;
    let nodes = cluster.topology.nodes();
    let up = |node: Node| nodes[node.at()].state == NodeState::Up;
    let (mut moves, mut moved_bytes, mut lost_bytes, mut violations) = (0, 0, 0, 0);
    let mut received: BTreeMap<Node, u64> = BTreeMap::new();
    let innermost = cluster.topology.levels().len().checked_sub(1);
    for partition in partitions.all() {
        let size = partitions.size_bytes[partition.at()];
        for node in after.subset(partition).filter(|node| !before.holds(*node, partition)) {
            moves += 1;
            moved_bytes += size;
            *received.entry(node).or_default() += size;
        }
        lost_bytes += size * before.subset(partition).filter(|node| !up(*node)).count() as u64;
        let held = after.subset(partition).len();
        let apart = innermost.map_or(held, |level| {
            let level = isotherm_placement::Level(level as u8);
            let domains: BTreeSet<_> =
                after.subset(partition).map(|node| cluster.topology.domain_of(node, level)).collect();
            domains.len()
        });
        let wanted = usize::from(partitions.replicas.get(partition));
        if apart < held || held < wanted || !after.subset(partition).all(up) {
            violations += 1;
        }
    }
    let (bytes, load) = held(cluster, after);
    let capacity: Vec<f64> = nodes.iter().map(|node| node.capacity_bytes as f64).collect();
    let load_capacity: Vec<f64> = nodes.iter().map(|node| node.load_capacity.unwrap_or(0.0)).collect();
    let over = (0..nodes.len()).filter(|at| up(Node(*at as u16)) && bytes[*at] > capacity[*at]).count();
    let largest = received.values().max().copied().unwrap_or(0);
    Measures {
        moves,
        moved_bytes,
        lost_bytes,
        size: max_over_mean(cluster, &bytes, &capacity),
        load: max_over_mean(cluster, &load, &load_capacity),
        violations,
        over,
        copysets: copysets(after),
        receivers: received.len(),
        largest_receiver: if moved_bytes == 0 { 0.0 } else { largest as f64 / moved_bytes as f64 },
    }
}

/// Bytes and load that each node holds.
pub(crate) fn held(cluster: &Cluster, assignment: &Assignment) -> (Vec<f64>, Vec<f64>) {
    let nodes = cluster.topology.nodes().len();
    let (mut bytes, mut load) = (vec![0.0; nodes], vec![0.0; nodes]);
    for partition in cluster.partitions.all() {
        for node in assignment.subset(partition) {
            bytes[node.at()] += cluster.partitions.size_bytes[partition.at()] as f64;
            load[node.at()] += cluster.partitions.load[partition.at()];
        }
    }
    (bytes, load)
}

/// The highest ratio of `held` to `capacity` over that of the sums, of nodes that are up. 1 where there is nothing.
pub(crate) fn max_over_mean(cluster: &Cluster, held: &[f64], capacity: &[f64]) -> f64 {
    let up = |at: &usize| cluster.topology.nodes()[*at].state == NodeState::Up && capacity[*at] > 0.0;
    let (mut all, mut can) = (0.0, 0.0);
    (0..held.len()).filter(up).for_each(|at| {
        all += held[at];
        can += capacity[at];
    });
    if all <= 0.0 {
        return 1.0;
    }
    (0..held.len()).filter(up).map(|at| held[at] / capacity[at] * can / all).fold(0.0, f64::max)
}

/// Distinct replica sets of at least two nodes.
pub(crate) fn copysets(assignment: &Assignment) -> usize {
    let mut sets = BTreeSet::new();
    for at in 0..assignment.len() {
        let mut set: Vec<Node> = assignment.subset(Partition(at as u32)).collect();
        set.sort_unstable();
        if set.len() > 1 {
            sets.insert(set);
        }
    }
    sets.len()
}
