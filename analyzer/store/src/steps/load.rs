//! How a system's reads are spread over its nodes and its partitions.

use super::{NodeCounts, NodeReads, PartitionCounts, SystemLoad, Watched};
use isotherm_model::SystemId;
use isotherm_model::entropy::{NodeEntropy, over_nodes, over_partitions};

/// A system's tables, whose places are counted from their own beginning.
pub(super) struct SystemCounts<'a> {
    pub(super) nodes: &'a [NodeCounts],
    pub(super) partitions: &'a [PartitionCounts],
    pub(super) shares: &'a [NodeReads],
}

/// Both are unknown when a node that is eligible for anything was not watched for all of the step.
pub(super) fn system_load(system: &SystemId, counts: &SystemCounts<'_>) -> SystemLoad {
    let mut eligible = vec![false; counts.nodes.len()];
    counts.shares.iter().for_each(|share| eligible[share.node as usize] = true);
    let nodes: Vec<&NodeCounts> =
        counts.nodes.iter().zip(eligible).filter(|(_, eligible)| *eligible).map(|(node, _)| node).collect();
    let silent: Vec<String> = nodes
        .iter()
        .filter(|node| node.watched != Watched::Whole)
        .map(|node| node.node.name().to_owned())
        .collect();
    let clients =
        |node: &&NodeCounts| node.reads.map_or(0, |reads| reads.ops.saturating_sub(node.kept_out.reads));
    let by_node: Vec<u64> = nodes.iter().map(clients).collect();
    let reads = |partition: &PartitionCounts| partition.reads.map_or(0, |reads| reads.ops);
    let by_partition: Vec<u64> = counts.partitions.iter().map(reads).collect();
    let told = |over: NodeEntropy| match over {
        NodeEntropy::Known(_) | NodeEntropy::Insufficient { .. } if !silent.is_empty() => {
            NodeEntropy::Unknown { silent: silent.clone() }
        }
        NodeEntropy::Known(_)
        | NodeEntropy::Unknown { .. }
        | NodeEntropy::NotApplicable { .. }
        | NodeEntropy::Insufficient { .. } => over,
    };
    SystemLoad {
        system: system.clone(),
        over_nodes: told(over_nodes(&by_node)),
        over_partitions: told(over_partitions(&by_partition)),
    }
}
