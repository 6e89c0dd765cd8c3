//! Small clusters of all kinds.

use crate::hash;
use crate::ids::{Domain, Level, Node, Partition};
use crate::partitions::{Assignment, Column, Partitions};
use crate::policy::Policy;
use crate::snapshot::{Cluster, Snapshot};
use crate::topology::{DomainFacts, Link, NodeFacts, NodeState, Topology};
use proptest::prelude::*;

prop_compose! {
    fn node(domains: u16)(
        domain in 0..domains,
        capacity in prop_oneof![Just(0u64), Just(100), 1u64..10_000],
        rate in proptest::option::of(1u64..4),
        state in prop_oneof![6 => Just(NodeState::Up), 1 => Just(NodeState::Draining), 1 => Just(NodeState::Down)],
        risk in proptest::option::of(0.0..1.0f64),
    ) -> NodeFacts {
        NodeFacts {
            name: String::new(),
            key: 0,
            domain: Some(Domain(domain)),
            capacity_bytes: capacity,
            load_capacity: Some(capacity as f64 / 7.0),
            network_bytes_per_s: rate,
            cordoned: false,
            state,
            risk,
        }
    }
}

/// Small clusters of all kinds, some of them hardly possible.
pub(crate) fn clusters() -> impl Strategy<Value = Snapshot> {
    let nodes = proptest::collection::vec(node(4), 1..9);
    let rows =
        proptest::collection::vec((proptest::collection::vec(0u16..9, 0..4), 0u64..500, 0u32..90), 0..30);
    (nodes, rows, 0.0..0.01f64, any::<bool>(), any::<bool>()).prop_map(
        |(mut nodes, rows, transfer, risky, linked)| {
            for (at, node) in nodes.iter_mut().enumerate() {
                node.name = format!("n{at}");
                node.key = hash::key(node.name.as_bytes());
            }
            let links =
                if linked { vec![Link { a: Domain(0), b: Domain(1), bytes_per_s: 2 }] } else { Vec::new() };
            let domains =
                (0..4).map(|at| DomainFacts { name: format!("r{at}"), level: Level(0), parent: None });
            let count = nodes.len() as u16;
            let topology =
                Topology::new(vec!["rack".to_owned()], domains.collect(), nodes, links).expect("well formed");
            let keys = (0..rows.len()).map(|at| hash::key(format!("p{at}").as_bytes())).collect();
            let sizes = rows.iter().map(|row| row.1).collect();
            let loads = rows.iter().map(|row| f64::from(row.2)).collect();
            let mut partitions = Partitions::new(keys, sizes, loads, 3);
            partitions.last_left = Column::Same(Some(Node(0)));
            partitions.moved_at_s = Column::Same(Some(1));
            let mut assignment = Assignment::empty(rows.len(), 3);
            for (at, row) in rows.iter().enumerate() {
                let mut holders: Vec<Node> = row.0.iter().map(|node| Node(node % count)).collect();
                holders.sort();
                holders.dedup();
                assignment.set(Partition(at as u32), &holders);
            }
            let mut policy = Policy { risk_limit: risky.then_some(0.5), ..Policy::default() };
            policy.weights.transfer = transfer;
            let in_flight = Vec::new();
            let cluster =
                Cluster { revision: 1, now_s: 2, topology, partitions, assignment, in_flight, policy };
            Snapshot::new(cluster).expect("well formed")
        },
    )
}
