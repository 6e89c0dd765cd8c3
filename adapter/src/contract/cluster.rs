//! What a system is and can do, and its cluster, as they are sent.

use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::{
    Capabilities, Fence, Health, NodeFacts, PartitionFacts, ShiftReads, Switch, VerifyMethod, locator_to_wire,
};

/// Capabilities as they are sent.
#[must_use]
pub fn capabilities_to_wire(of: &Capabilities) -> wire::GetCapabilitiesResponse {
    let switch = match of.switch {
        Switch::None => wire::Switch::None,
        Switch::Gated => wire::Switch::Gated,
        Switch::EngineAtomic => wire::Switch::EngineAtomic,
    };
    let fence = match of.fence {
        None => wire::Fence::Unspecified,
        Some(Fence::AtSwitch) => wire::Fence::AtSwitch,
        Some(Fence::BeforeCopy) => wire::Fence::BeforeCopy,
    };
    let shift_reads = match of.shift_reads {
        ShiftReads::None => wire::ShiftReads::None,
        ShiftReads::LeaderSwitch => wire::ShiftReads::LeaderSwitch,
        ShiftReads::DrainReplica => wire::ShiftReads::DrainReplica,
    };
    let verify = of.verify.iter().map(|method| match method {
        VerifyMethod::Count => wire::VerifyMethod::Count.into(),
        VerifyMethod::Checksum => wire::VerifyMethod::Checksum.into(),
        VerifyMethod::Sample => wire::VerifyMethod::Sample.into(),
        VerifyMethod::Size => wire::VerifyMethod::Size.into(),
    });
    wire::GetCapabilitiesResponse {
        system: of.system.to_string(),
        adapter: of.adapter.clone(),
        switch: switch.into(),
        fence: fence.into(),
        repair_from_replica: of.repair_from_replica,
        shift_reads: shift_reads.into(),
        verify: verify.collect(),
        reverse: of.reverse,
        online_copy: of.online_copy,
        throttle: of.throttle,
        max_concurrent: of.max_concurrent,
    }
}

/// A node as it is sent.
#[must_use]
pub fn node_to_wire(node: &NodeId, facts: &NodeFacts) -> wire::Node {
    let health = match facts.health {
        Health::Unknown => wire::Health::Unknown,
        Health::Up => wire::Health::Up,
        Health::Down => wire::Health::Down,
        Health::Draining => wire::Health::Draining,
    };
    wire::Node {
        node: node.name().to_owned(),
        addresses: facts.addresses.iter().map(ToString::to_string).collect(),
        domains: facts.domains.clone(),
        capacity_bytes: facts.capacity_bytes,
        load_capacity_ops_per_s: facts.load_capacity_ops_per_s,
        class: facts.class.clone().unwrap_or_default(),
        health: health.into(),
    }
}

/// A partition as it is sent.
#[must_use]
pub fn partition_to_wire(partition: &PartitionId, facts: &PartitionFacts) -> wire::Partition {
    wire::Partition {
        partition: partition.name().to_owned(),
        size_bytes: facts.size_bytes,
        nodes: facts.nodes.iter().map(|node| node.name().to_owned()).collect(),
        epoch: facts.epoch,
        locators: facts.locators.iter().map(locator_to_wire).collect(),
    }
}
