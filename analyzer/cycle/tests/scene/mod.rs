//! A made-up cluster whose counts, and with them its entropies, are known.

use isotherm_cycle::Shifts;
use isotherm_cycle::cluster::{
    Cluster, DomainFacts, Hazard, HazardSource, NodeFacts, NodeState, PartitionFacts,
};
use isotherm_cycle::input::{NodeStep, PartitionStep, Step, StepLength};
use isotherm_model::entropy::over_nodes;
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};

/// Monday 2024-01-01, 00:00 UTC.
pub(crate) const START_MS: u64 = 1_704_067_200_000;

pub(crate) fn system() -> SystemId {
    SystemId::new("made-up").expect("a name")
}

/// A cluster of so many nodes, three to a rack, and partitions of three replicas in different racks.
pub(crate) fn cluster(nodes: u32, partitions: u32) -> Cluster {
    let racks = nodes.div_ceil(3);
    let hazard = |per_hour| Hazard {
        per_hour,
        sd_per_hour: per_hour,
        over_class: 1.0,
        source: HazardSource::Observed,
    };
    Cluster {
        revision: 7,
        nodes: (0..nodes)
            .map(|node| NodeFacts {
                shifts: Shifts::None,
                system: "made-up".into(),
                name: format!("n{node:05}"),
                class: "disk".into(),
                domains: vec![node / 3],
                capacity_per_s: Some(4_000.0),
                capacity_bytes: Some(1 << 40),
                state: NodeState::Up,
                hazard: hazard(1e-4 * f64::from(1 + node % 5)),
                failures: 1,
                observed_h: 1_000.0,
            })
            .collect(),
        domains: (0..racks)
            .map(|rack| DomainFacts { name: format!("dc1/r{rack:03}"), hazard: hazard(1e-5) })
            .collect(),
        partitions: (0..partitions)
            .map(|partition| PartitionFacts {
                system: "made-up".into(),
                name: format!("p{partition:07}"),
                holders: holders(partition, nodes).to_vec(),
                size_bytes: Some(1 << 30),
                replicas: 3,
                moving: false,
                pinned: false,
                shift: None,
                coming: None,
            })
            .collect(),
    }
}

/// Three nodes in three racks.
pub(crate) fn holders(partition: u32, nodes: u32) -> [u32; 3] {
    [0, 1, 2].map(|slot| (partition * 7 + slot * (nodes / 3).max(1)) % nodes)
}

/// A step in which partition `p` has the reads that `reads` says, by holder; `None`: the holder was not watched.
pub(crate) fn step(
    cluster: &Cluster,
    length: StepLength,
    number: u64,
    mut reads: impl FnMut(u32, u64) -> [Option<u64>; 3],
) -> Step {
    let id = |name: &str| NodeId::new(system(), name).expect("a name");
    let nodes = cluster.nodes.iter();
    let nodes = nodes.map(|node| NodeStep { node: id(&node.name), reads: None, latency: None });
    let partitions = (0_u32..).zip(&cluster.partitions).map(|(at, facts)| {
        let served: Vec<(u32, Option<u64>)> = facts.holders.iter().copied().zip(reads(at, number)).collect();
        let counts: Option<Vec<u64>> = served.iter().map(|(_, reads)| *reads).collect();
        PartitionStep {
            partition: PartitionId::new(system(), &facts.name).expect("a name"),
            reads: counts.as_ref().map(|counts| counts.iter().sum()),
            entropy: match counts {
                Some(counts) => over_nodes(&counts),
                None => isotherm_model::entropy::NodeEntropy::Unknown { silent: vec!["n".into()] },
            },
            served,
            offset_h: None,
            peer_h: None,
        }
    });
    Step {
        end: Timestamp::from_ms(START_MS + (number + 1) * length.ms(60_000)),
        length,
        nodes: nodes.collect(),
        partitions: partitions.collect(),
    }
}

/// A number from 0 to 1 that looks random and is not.
pub(crate) fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Six hundred reads a minute of which `lead` go to the first holder, with noise.
pub(crate) fn led(lead: f64, partition: u32, number: u64) -> [Option<u64>; 3] {
    let of = |slot: u64, share: f64| {
        let noise = noise(u64::from(partition) * 1_000_003 + number * 10 + slot) - 0.5;
        Some((600.0 * share * (1.0 + 0.1 * noise)).round() as u64)
    };
    [of(0, lead), of(1, 0.6 * (1.0 - lead)), of(2, 0.4 * (1.0 - lead))]
}
