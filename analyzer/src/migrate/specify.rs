//! A migration as somebody asks for it, made into one that can be.

use super::Config;
use crate::topology::{Freshness, Topology};
use isotherm_migration::{
    Capabilities, Fence, MigrationId, Origin, Policy, Revision, Spec, Switch, SwitchWhen,
};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto as proto;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: MigrationId,
    pub(crate) partition: PartitionId,
    /// The node that is left; `None` where only one can be meant.
    pub(crate) source: Option<NodeId>,
    /// Its copy is lost.
    pub(crate) repair: bool,
    pub(crate) target: NodeId,
    /// Somebody opens the gate.
    pub(crate) gated: bool,
    pub(crate) probation_ms: Option<u64>,
    pub(crate) bytes_per_s: Option<u64>,
}

/// Why there can be no such migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error(
        "no topology names partition {0}: its adapter or a [[topology]] must; `isotherm get topology` shows them"
    )]
    NoPartition(PartitionId),
    #[error("the topology does not name node {0}; `isotherm get nodes` lists them")]
    NoNode(NodeId),
    #[error("{partition} lies on {}: say which one is left", list(.holders))]
    WhichSource { partition: PartitionId, holders: Vec<NodeId> },
    #[error("{partition} does not lie on {node}, but on {}", list(.holders))]
    NotThere { partition: PartitionId, node: NodeId, holders: Vec<NodeId> },
    #[error("{partition} lies on {node} already")]
    ThereAlready { partition: PartitionId, node: NodeId },
    #[error("{0} has no adapter that was heard; `isotherm get topology` says why")]
    NoAdapter(String),
    #[error("the adapter of {0} cannot move partitions")]
    Immovable(String),
    #[error("what the adapter of {0} says of its cluster is old; `isotherm get topology` says why")]
    Stale(String),
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Checks what is asked for against the topology.
pub(crate) fn specify(topology: &Topology, config: &Config, asked: Asked) -> Result<Spec, Problem> {
    let Asked { id, partition, source, repair, target, gated, probation_ms, bytes_per_s } = asked;
    let system = partition.system();
    let subset = topology.subsets.get(&partition).ok_or_else(|| Problem::NoPartition(partition.clone()))?;
    let known = topology.sources.get(system);
    let capabilities = known.and_then(|source| source.capabilities.as_deref());
    let capabilities = capabilities.ok_or_else(|| Problem::NoAdapter(system.to_string()))?;
    if known.is_some_and(|source| source.freshness != Freshness::Fresh) {
        return Err(Problem::Stale(system.to_string()));
    }
    let capabilities = usable(capabilities).ok_or_else(|| Problem::Immovable(system.to_string()))?;
    if !topology.nodes.contains_key(&target) {
        return Err(Problem::NoNode(target));
    }
    if subset.contains(&target) {
        return Err(Problem::ThereAlready { partition, node: target });
    }
    let holders = || subset.iter().cloned().collect::<Vec<_>>();
    let origin = match source {
        Some(dead) if repair => Origin::Repair { dead },
        Some(source) if subset.contains(&source) => Origin::Move { source },
        Some(node) => return Err(Problem::NotThere { partition, node, holders: holders() }),
        None => match holders().as_slice() {
            [source] => Origin::Move { source: source.clone() },
            _ => return Err(Problem::WhichSource { partition, holders: holders() }),
        },
    };
    let policy = &config.policy;
    let policy = Policy {
        switch: if gated { SwitchWhen::Told } else { policy.switch },
        probation_ms: probation_ms.unwrap_or(policy.probation_ms),
        bytes_per_s: bytes_per_s.into_iter().chain(config.limits.rate()).min(),
        ..policy.clone()
    };
    Ok(Spec { id, partition, origin, target, revision: Revision(topology.revision), capabilities, policy })
}

/// What the machine has to know of an adapter; `None` if it moves nothing.
fn usable(told: &proto::Capabilities) -> Option<Capabilities> {
    Some(Capabilities {
        switch: match told.switch {
            proto::Switch::None => return None,
            proto::Switch::Gated => Switch::Gated,
            proto::Switch::EngineAtomic => Switch::EngineAtomic,
        },
        fence: match told.fence? {
            proto::Fence::AtSwitch => Fence::AtSwitch,
            proto::Fence::BeforeCopy => Fence::BeforeCopy,
        },
        repair_from_replica: told.repair_from_replica,
        reverse: told.reverse,
    })
}

#[cfg(test)]
mod tests;
