//! From what the store counted in a step to what a cycle takes in.

use isotherm_cycle::input::{NodeStep, PartitionStep, Step, StepLength};
use isotherm_model::BUCKETS;
use isotherm_risk::gray::Latency;
use isotherm_store::{NodeCounts, PartitionCounts, StepCounts, Watched};

/// The step that was counted. Only entropies over nodes are normalised by the store: those over offsets are over their
/// 64 buckets, those over peers over as many as were told apart.
pub(crate) fn step(counts: &StepCounts, length: StepLength) -> Step {
    Step {
        end: counts.time.end(),
        length,
        nodes: counts.nodes.iter().map(node).collect(),
        partitions: counts.partitions.iter().map(|partition| of_partition(counts, partition)).collect(),
    }
}

fn node(counts: &NodeCounts) -> NodeStep {
    let reads = counts.reads.filter(|_| counts.watched == Watched::Whole);
    NodeStep {
        node: counts.node.clone(),
        reads: reads.map(|reads| reads.ops.saturating_sub(counts.kept_out.reads)),
        latency: counts.latency.as_ref().or(counts.device_latency.as_ref()).and_then(Latency::of),
    }
}

fn of_partition(counts: &StepCounts, partition: &PartitionCounts) -> PartitionStep {
    let over = |bits: f64, places: f64| (places > 1.0).then(|| (bits / places.log2()).clamp(0.0, 1.0));
    PartitionStep {
        partition: partition.partition.clone(),
        reads: partition.reads.map(|reads| reads.ops),
        served: counts.shares_of(partition).iter().map(|share| (share.node, share.reads)).collect(),
        entropy: counts.node_entropy(partition),
        offset_h: partition.offset.and_then(|offset| over(offset.bits, BUCKETS as f64)),
        peer_h: partition.peer.and_then(|peer| over(peer.bits, peer.remotes as f64)),
    }
}
