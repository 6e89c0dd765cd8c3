//! The analyzer's own cluster as the planner takes it: one system of the topology of the moment, with what the last
//! cycle measured, what operators said, and what is being moved.
//!
//! Nothing is guessed. A partition of unknown size is left out, and so is one that must never be touched: what they take
//! of their nodes is taken from the nodes' capacity, and where it is not known, those nodes take nothing more. A node of
//! unknown capacity, health or failure domain can be emptied, but is no target. All of this is told in [`Chart`].

mod nodes;
mod partitions;
#[cfg(test)]
mod tests;

use crate::cycle::Cycled;
use crate::topology::{Freshness, Topology};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_placement::{
    Assignment, Cluster, MOST_REPLICAS, Node, Partition, Policy, Snapshot, SnapshotError, TopologyError,
};
use isotherm_runner::Entry;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// What a snapshot is made from.
pub(crate) struct Sources<'a> {
    pub(crate) system: &'a SystemId,
    pub(crate) topology: &'a Topology,
    /// The last cycle; without one loads and hazards are not known.
    pub(crate) cycled: Option<&'a Cycled>,
    /// Nodes that are down, whatever the topology says.
    pub(crate) down: &'a BTreeSet<NodeId>,
    /// Nodes that are to be emptied.
    pub(crate) drained: &'a BTreeSet<NodeId>,
    /// Nodes that take nothing more.
    pub(crate) cordoned: &'a BTreeSet<NodeId>,
    /// Bytes that nodes can hold by an operator's word, which stands above the topology's.
    pub(crate) capacities: &'a BTreeMap<NodeId, u64>,
    /// Nodes that only count with a share of their capacity, 0 to 1, and take nothing more.
    pub(crate) lowered: &'a BTreeMap<NodeId, f64>,
    /// Migrations that have not ended, and those that ended lately.
    pub(crate) migrations: &'a [Entry],
    /// Why nobody may touch a partition, if so.
    pub(crate) untouchable: &'a dyn Fn(&PartitionId) -> Option<String>,
    /// Limits and weights. Where it says nothing of domains, there are as few replicas of a partition in one innermost
    /// domain as the number of domains allows.
    pub(crate) policy: Policy,
    pub(crate) now_ms: u64,
}

impl<'a> Sources<'a> {
    /// Those of a system as it is, with nothing that anybody wants of it.
    pub(crate) fn new(system: &'a SystemId, topology: &'a Topology, cycled: Option<&'a Cycled>) -> Self {
        const NONE: &BTreeSet<NodeId> = &BTreeSet::new();
        Self {
            system,
            topology,
            cycled,
            down: NONE,
            drained: NONE,
            cordoned: NONE,
            capacities: const { &BTreeMap::new() },
            lowered: const { &BTreeMap::new() },
            migrations: &[],
            untouchable: &|_| None,
            policy: Policy::default(),
            now_ms: topology.revision,
        }
    }
}

/// A snapshot, with the names of its positions, and what is not in it.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) snapshot: Snapshot,
    /// By position in the snapshot.
    pub(crate) nodes: Vec<NodeId>,
    /// By position in the snapshot.
    pub(crate) partitions: Vec<PartitionId>,
    /// Partitions that are not planned for, by name.
    pub(crate) left_out: Vec<LeftOut>,
    /// Nodes that take nothing because something of them is not known, and why.
    pub(crate) closed: Vec<(NodeId, String)>,
    /// Why load is no objective, if it is none.
    pub(crate) no_load: Option<String>,
}

/// A partition that is not planned for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) partition: PartitionId,
    pub(crate) holders: Vec<NodeId>,
    pub(crate) why: String,
}

/// Why nothing can be planned.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum ChartError {
    #[error("no topology names the system {0}; `isotherm get topology` lists those there are")]
    NoSystem(SystemId),
    #[error("what is known of the cluster of {0} is not of this moment; `isotherm get topology` says why")]
    Stale(SystemId),
    #[error(
        "the capacity of no node of {system} is known, and so nothing can be placed; say it with --capacity NODE=BYTES ({})",
        .nodes.join(", ")
    )]
    NoCapacity { system: SystemId, nodes: Vec<String> },
    #[error("{partition} lies on {holders} nodes; at most {MOST_REPLICAS} can be planned for")]
    TooManyHolders { partition: PartitionId, holders: usize },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Makes a snapshot of a system.
///
/// # Errors
/// What keeps everything from being planned, by name. What keeps single partitions or nodes out is in the chart.
pub(crate) fn chart(sources: &Sources<'_>) -> Result<Chart, ChartError> {
    let known = sources.topology.sources.get(sources.system);
    let known = known.ok_or_else(|| ChartError::NoSystem(sources.system.clone()))?;
    if known.freshness != Freshness::Fresh {
        return Err(ChartError::Stale(sources.system.clone()));
    }
    let nodes: Vec<NodeId> =
        sources.topology.nodes.keys().filter(|node| node.system() == sources.system).cloned().collect();
    let partitions::Sorted { rows, left_out, taken } = partitions::sort_out(sources, &nodes)?;
    let load = partitions::loads(sources, &rows);
    let made = nodes::make(sources, &nodes, &taken, load.is_ok())?;
    let (load, no_load) = match (load, made.no_load) {
        (Ok(load), None) => (load, None),
        (Ok(_), Some(why)) | (Err(why), _) => (vec![0.0; rows.len()], Some(why)),
    };
    let width = rows.iter().map(partitions::Row::slots).max().unwrap_or(1);
    let mut assignment = Assignment::empty(rows.len(), width);
    for (at, row) in (0..).zip(&rows) {
        assignment.set(Partition(at), &row.holders);
    }
    let in_flight = (0..).zip(&rows).filter_map(|(at, row)| row.in_flight(Partition(at))).collect();
    let mut policy = sources.policy.clone();
    if let (true, Some(level)) = (policy.replicas_per_domain.is_empty(), made.topology.levels().last()) {
        let most = rows.iter().map(|row| row.holders.len()).max().unwrap_or(1);
        let limit = u8::try_from(most.div_ceil(made.serving_domains.max(1))).unwrap_or(u8::MAX);
        policy.replicas_per_domain.insert(level.clone(), limit.max(1));
    }
    let columns = partitions::columns(sources, &nodes, &rows, load);
    let snapshot = Snapshot::new(Cluster {
        revision: sources.topology.revision,
        now_s: seconds(sources.now_ms),
        topology: made.topology,
        partitions: columns,
        assignment,
        in_flight,
        policy,
    })?;
    let partitions = rows.into_iter().map(|row| row.id).collect();
    Ok(Chart { snapshot, nodes, partitions, left_out, closed: made.closed, no_load })
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX)
}

/// Where a node is among the sorted nodes of its system.
fn place(nodes: &[NodeId], node: &NodeId) -> Option<Node> {
    nodes.binary_search(node).ok().and_then(|at| u16::try_from(at).ok()).map(Node)
}

impl Chart {
    /// Where a node is.
    pub(crate) fn node(&self, node: &NodeId) -> Option<Node> {
        place(&self.nodes, node)
    }

    /// Where a partition is; `None` if it is left out, or not there.
    pub(crate) fn partition(&self, partition: &PartitionId) -> Option<Partition> {
        self.partitions.binary_search(partition).ok().and_then(|at| u32::try_from(at).ok()).map(Partition)
    }
}
