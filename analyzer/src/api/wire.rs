//! Answers of the store as messages.

use super::place::{counts_to_wire, layer_to_wire, operation_to_wire};
use crate::topology::Topology;
use crate::topology::join::{Join, Match};
use isotherm_model::entropy::NodeEntropy;
use isotherm_model::{Counts, Layer, NodeId, Operation, PartitionId, Timestamp};
use isotherm_proto::Health;
use isotherm_proto::control::v1 as wire;
use isotherm_store::{
    Accesses, EligibleSource, Missing, NodeActivity, NodeReport, PartitionActivity, PartitionEntropy,
    PartitionShare, Place, SILENT_WINDOWS,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Every node of the topology, of the catalog and of the time asked for.
pub(super) fn nodes(
    topology: &Topology,
    reports: &[NodeReport],
    activity: &BTreeMap<NodeId, NodeActivity>,
    missing: &BTreeMap<String, Missing>,
    now: Timestamp,
) -> Vec<wire::Node> {
    let reports: BTreeMap<&NodeId, &NodeReport> =
        reports.iter().map(|report| (&report.node, report)).collect();
    let join = Join::new(topology, &reports);
    let names: BTreeSet<&NodeId> =
        topology.nodes.keys().chain(reports.keys().copied()).chain(activity.keys()).collect();
    let node = |id: &NodeId| {
        let (report, seen) = (reports.get(id).copied(), activity.get(id));
        // Every part has what was watched.
        let part = |of: fn(&NodeActivity) -> &Accesses| seen.and_then(|seen| logical(of(seen)));
        let agents: Vec<String> = match (seen, report) {
            (Some(seen), _) => seen.agents.iter().cloned().collect(),
            (None, Some(report)) => vec![report.agent.clone()],
            (None, None) => Vec::new(),
        };
        let missing = |of: fn(&Missing) -> u64| {
            agents.iter().filter_map(|agent| missing.get(agent)).map(of).fold(0, u64::saturating_add)
        };
        let facts = topology.nodes.get(id);
        let (matched, match_reason) = join.of(id, report, &agents);
        wire::Node {
            system: id.system().to_string(),
            name: id.name().to_owned(),
            domains: facts.map(|facts| facts.domains.clone()).unwrap_or_default(),
            in_topology: facts.is_some(),
            r#match: match_to_wire(matched).into(),
            match_reason,
            health: health_to_wire(topology.health(id)).into(),
            addresses: facts.map(|facts| strings(&facts.addresses)).unwrap_or_default(),
            capacity_bytes: facts.and_then(|facts| facts.capacity_bytes),
            load_capacity_ops_per_s: facts.and_then(|facts| facts.load_capacity_ops_per_s),
            class: facts.and_then(|facts| facts.class.clone()).unwrap_or_default(),
            state: state(report, now).into(),
            gaps: missing(|missing| missing.batches),
            gap_ms: missing(|missing| missing.ms),
            agents,
            last_window_end_ms: report.map(|report| report.last_end.as_ms()),
            processes: report.filter(|_| !id.is_host()).map(|report| report.processes),
            total: part(|seen| &seen.total),
            partitions: part(|seen| &seen.partitions),
            other: part(|seen| &seen.other),
            unattributed: part(|seen| &seen.unattributed),
            lost: seen.map_or(0, |seen| seen.lost),
            host: id.is_host(),
            accesses: seen.map(node_accesses).unwrap_or_default(),
            listening: report.map(|report| strings(&report.listening)).unwrap_or_default(),
            // The agents know.
            clock: wire::ClockState::Unspecified.into(),
            lag_ms: None,
        }
    };
    names.into_iter().map(node).collect()
}

fn node_accesses(seen: &NodeActivity) -> Vec<wire::NodeAccesses> {
    let accesses = |place: &Place| {
        let counts = |part: &Accesses| Some(counts_to_wire(part.get(place).copied().unwrap_or_default()));
        wire::NodeAccesses {
            layer: layer_to_wire(place.0).into(),
            operation: operation_to_wire(place.1).into(),
            total: counts(&seen.total),
            partitions: counts(&seen.partitions),
            other: counts(&seen.other),
            unattributed: counts(&seen.unattributed),
        }
    };
    seen.total.keys().map(accesses).collect()
}

fn strings(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}

fn match_to_wire(found: Match) -> wire::NodeMatch {
    match found {
        Match::NotCompared => wire::NodeMatch::Unspecified,
        Match::Matched => wire::NodeMatch::Matched,
        Match::NotInTopology => wire::NodeMatch::NotInTopology,
        Match::NoAgent => wire::NodeMatch::NoAgent,
        Match::OtherAddresses => wire::NodeMatch::OtherAddresses,
        Match::TwoAgents => wire::NodeMatch::TwoAgents,
    }
}

fn health_to_wire(health: Option<Health>) -> wire::NodeHealth {
    match health {
        None => wire::NodeHealth::Unspecified,
        Some(Health::Unknown) => wire::NodeHealth::Unknown,
        Some(Health::Up) => wire::NodeHealth::Up,
        Some(Health::Down) => wire::NodeHealth::Down,
        Some(Health::Draining) => wire::NodeHealth::Draining,
    }
}

fn state(report: Option<&NodeReport>, now: Timestamp) -> wire::NodeState {
    match report {
        None => wire::NodeState::NeverReported,
        Some(report) => {
            let patience_ms = SILENT_WINDOWS * u64::from(report.window_ms);
            if report.last_end.plus_ms(patience_ms) <= now {
                wire::NodeState::Silent
            } else {
                wire::NodeState::Reporting
            }
        }
    }
}

/// Every partition of the topology and of the time asked for.
pub(super) fn partitions(
    topology: &Topology,
    activity: &BTreeMap<PartitionId, PartitionActivity>,
) -> Vec<wire::Partition> {
    let names: BTreeSet<&PartitionId> = topology.subsets.keys().chain(activity.keys()).collect();
    let node = |(node, share): (&NodeId, &PartitionShare)| wire::NodeActivity {
        node: node.name().to_owned(),
        activity: logical(&share.accesses),
        accesses: accesses(share),
    };
    let partition = |id: &PartitionId| wire::Partition {
        system: id.system().to_string(),
        name: id.name().to_owned(),
        in_topology: topology.subsets.contains_key(id),
        nodes: match activity.get(id) {
            Some(seen) => seen.iter().map(node).collect(),
            // Nobody counted it in that time: who holds it is known, and what they did is not.
            None => topology.subsets.get(id).into_iter().flatten().map(unseen).collect(),
        },
    };
    names.into_iter().map(partition).collect()
}

fn unseen(node: &NodeId) -> wire::NodeActivity {
    wire::NodeActivity { node: node.name().to_owned(), activity: None, accesses: Vec::new() }
}

fn accesses(share: &PartitionShare) -> Vec<wire::Accesses> {
    let latency = |place: &Place| share.latency.get(place).map(|found| found.counts().to_vec());
    let accesses = |(place, counts): (&Place, &Counts)| wire::Accesses {
        layer: layer_to_wire(place.0).into(),
        operation: operation_to_wire(place.1).into(),
        counts: Some(counts_to_wire(*counts)),
        latency: latency(place).map(|counts| wire::Latency { counts }),
    };
    share.accesses.iter().map(accesses).collect()
}

/// One answer about entropy in a layer.
pub(super) fn entropy(found: PartitionEntropy, layer: Layer) -> wire::PartitionEntropy {
    let source = match found.source {
        EligibleSource::Topology => wire::EligibleSource::Topology,
        EligibleSource::Observed => wire::EligibleSource::Observed,
    };
    let share = |share: isotherm_store::Share| wire::NodeShare {
        node: share.node.name().to_owned(),
        reads: share.reads,
    };
    wire::PartitionEntropy {
        system: found.partition.system().to_string(),
        partition: found.partition.name().to_owned(),
        start_ms: found.time.start().as_ms(),
        end_ms: found.time.end().as_ms(),
        reads: found.reads,
        writes: found.writes,
        shares: found.shares.into_iter().map(share).collect(),
        eligible_source: source.into(),
        node_entropy: Some(node_entropy(found.node_entropy)),
        offset_entropy_bits: found.offset_bits,
        layer: layer_to_wire(layer).into(),
        peer_entropy: found.peer_entropy.map(|peers| wire::PeerEntropy {
            bits: peers.bits,
            remotes: peers.remotes,
            ops_not_told_apart: peers.not_told_apart,
        }),
    }
}

fn node_entropy(entropy: NodeEntropy) -> wire::partition_entropy::NodeEntropy {
    use wire::partition_entropy::NodeEntropy as Wire;
    match entropy {
        NodeEntropy::Known(known) => Wire::Known(wire::Measured {
            bits: known.bits,
            normalised: known.normalised,
            effective_nodes: known.effective,
        }),
        NodeEntropy::Unknown { silent } => Wire::Unknown(wire::Unknown { silent_nodes: silent }),
        NodeEntropy::NotApplicable { eligible } => Wire::NotApplicable(wire::NotApplicable {
            eligible_nodes: u32::try_from(eligible).unwrap_or(u32::MAX),
        }),
        NodeEntropy::Insufficient { have, need } => Wire::Insufficient(wire::Insufficient { have, need }),
    }
}

/// Reads and writes of the logical layer, if it was watched.
fn logical(accesses: &Accesses) -> Option<wire::Activity> {
    let of = |operation| accesses.get(&(Layer::Logical, operation)).copied();
    let (reads, writes) = (of(Operation::Read), of(Operation::Write));
    (reads.is_some() || writes.is_some()).then(|| {
        let (reads, writes) = (reads.unwrap_or_default(), writes.unwrap_or_default());
        wire::Activity {
            reads: reads.ops,
            read_bytes: reads.bytes,
            writes: writes.ops,
            written_bytes: writes.bytes,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::SystemId;
    use isotherm_proto::NodeFacts;
    use std::sync::Arc;

    fn id(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    #[test]
    fn a_partition_that_nobody_counted_has_its_nodes_without_counts() {
        let partition = PartitionId::new(SystemId::new("s").unwrap(), "p").unwrap();
        let subsets = BTreeMap::from([(partition.clone(), BTreeSet::from([id("a"), id("b")]))]);
        let topology = Topology { subsets: Arc::new(subsets), ..Topology::default() };
        let told = partitions(&topology, &BTreeMap::new());
        assert!(told.len() == 1 && told[0].in_topology);
        let nodes: Vec<(&str, bool)> =
            told[0].nodes.iter().map(|node| (node.node.as_str(), node.activity.is_none())).collect();
        assert_eq!(nodes, [("a", true), ("b", true)], "unknown, and not zero");
        // Rows that count nothing say that nothing was done.
        let counted = BTreeMap::from([(partition, PartitionActivity::new())]);
        assert!(partitions(&topology, &counted)[0].nodes.is_empty());
    }

    #[test]
    fn nodes_that_never_reported_or_stopped_are_told_apart() {
        let nodes_of = BTreeMap::from([(id("cold"), NodeFacts::default())]);
        let topology = Topology { nodes: Arc::new(nodes_of), ..Topology::default() };
        let report = NodeReport {
            node: id("n"),
            agent: "a".into(),
            first_watched: None,
            last_watched: None,
            last_end: Timestamp::from_ms(10_000),
            window_ms: 1_000,
            processes: 2,
            listening: vec!["10.0.0.1:80".parse().unwrap()],
        };
        let missing = BTreeMap::from([("a".to_owned(), Missing { batches: 2, ms: 2_000 })]);
        let states = |now| {
            let reports = std::slice::from_ref(&report);
            nodes(&topology, reports, &BTreeMap::new(), &missing, Timestamp::from_ms(now))
                .iter()
                .map(wire::Node::state)
                .collect::<Vec<_>>()
        };
        assert_eq!(states(12_999), [wire::NodeState::NeverReported, wire::NodeState::Reporting]);
        assert_eq!(states(13_000), [wire::NodeState::NeverReported, wire::NodeState::Silent]);
        let seen = nodes(&topology, &[report], &BTreeMap::new(), &missing, Timestamp::from_ms(0));
        assert_eq!(seen[1].total, None, "no window in the time asked for is not zero reads");
        assert_eq!((seen[1].gaps, seen[1].gap_ms, seen[0].gaps), (2, 2_000, 0));
        assert_eq!((seen[0].in_topology, seen[1].in_topology), (true, false));
    }
}
