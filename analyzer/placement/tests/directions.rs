//! What changes the chosen subset, and in which direction: for repair and for proactive moves alike.

mod racks;

use isotherm_placement::{
    Action, Cluster, Domain, Link, Node, NodeState, Partition, PeerShare, Plan, Request, Snapshot, Topology,
    plan,
};
use racks::{cluster, with_hazard, with_nodes, with_outlook};
use std::collections::BTreeSet;

/// Whose partitions have to go somewhere else.
const LEFT: Node = Node(7);

#[derive(Debug, Clone, Copy)]
enum Asked {
    Repair,
    Risk,
}

const BOTH: [Asked; 2] = [Asked::Repair, Asked::Risk];

fn planned(asked: Asked, cluster: Cluster) -> (Snapshot, Plan) {
    match asked {
        Asked::Repair => {
            let down = with_nodes(cluster, |at, node| {
                if at == LEFT.at() {
                    node.state = NodeState::Down;
                }
            });
            let snapshot = Snapshot::new(down).unwrap();
            let plan = plan(&snapshot, &Request { repair: true, ..Request::default() });
            (snapshot, plan)
        }
        Asked::Risk => {
            let snapshot = Snapshot::new(with_hazard(cluster, LEFT.at(), 20.0)).unwrap();
            let plan = with_outlook(
                &snapshot,
                1e-3,
                |_| 1.0,
                |outlook| plan(&snapshot, &Request { risk: Some(outlook), ..Request::default() }),
            );
            (snapshot, plan)
        }
    }
}

fn target_of(plan: &Plan, partition: Partition) -> Node {
    let mut of = plan.moves.iter().filter(|decided| decided.partition == partition);
    match of.next().map(|decided| decided.action) {
        Some(Action::Copy { to, .. }) => to,
        other => panic!("{partition:?}: {other:?}"),
    }
}

/// The first partition that moves, and where it goes if nothing tells nodes apart.
fn first(asked: Asked) -> (Partition, Node) {
    let (_, plan) = planned(asked, even());
    (plan.moves[0].partition, target_of(&plan, plan.moves[0].partition))
}

fn even() -> Cluster {
    with_nodes(cluster(6, 10, 6_000), |_, node| node.network_bytes_per_s = Some(1_000_000_000))
}

#[test]
fn a_slower_node_is_not_chosen() {
    for asked in BOTH {
        let (partition, chosen) = first(asked);
        let slower = with_nodes(even(), |at, node| {
            if at == chosen.at() {
                node.network_bytes_per_s = Some(100_000_000);
            }
        });
        let (_, plan) = planned(asked, slower);
        assert_ne!(target_of(&plan, partition), chosen, "{asked:?}");
    }
}

#[test]
fn a_rack_behind_slower_links_is_not_chosen() {
    for asked in BOTH {
        let (partition, chosen) = first(asked);
        let mut slower = even();
        let rack = Domain(chosen.0 / 10);
        let links = (0..6)
            .flat_map(|a| (a..6).map(move |b| (Domain(a), Domain(b))))
            .map(|(a, b)| {
                let slow = a == rack || b == rack;
                Link { a, b, bytes_per_s: if slow { 100_000_000 } else { 1_000_000_000 } }
            })
            .collect();
        let old = &slower.topology;
        slower.topology =
            Topology::new(old.levels().to_vec(), old.domains().to_vec(), old.nodes().to_vec(), links)
                .unwrap();
        let (_, plan) = planned(asked, slower);
        assert_ne!(target_of(&plan, partition).0 / 10, rack.0, "{asked:?}");
    }
}

#[test]
fn a_fuller_node_is_not_chosen() {
    for asked in BOTH {
        let (partition, chosen) = first(asked);
        let fuller = with_nodes(even(), |at, node| {
            if at == chosen.at() {
                node.capacity_bytes = node.capacity_bytes * 97 / 100;
            }
        });
        let (_, plan) = planned(asked, fuller);
        assert_ne!(target_of(&plan, partition), chosen, "{asked:?}");
    }
}

#[test]
fn a_locality_weight_brings_partitions_to_their_peers() {
    for asked in BOTH {
        let (partition, chosen) = first(asked);
        let mut near = even();
        let racks: Vec<u16> = near.assignment.subset(partition).map(|holder| holder.0 / 10).collect();
        let rack = (0..6).find(|rack| !racks.contains(rack) && *rack != chosen.0 / 10).unwrap();
        near.partitions.peers = vec![PeerShare { partition, domain: Domain(rack), share: 0.9 }];
        let (_, without) = planned(asked, near.clone());
        assert_eq!(
            target_of(&without, partition),
            chosen,
            "{asked:?}: peers without a weight decide nothing"
        );
        near.policy.weights.locality = 1.0;
        let (_, with) = planned(asked, near);
        assert_eq!(target_of(&with, partition).0 / 10, rack, "{asked:?}");
    }
}

#[test]
fn an_overlap_weight_keeps_fewer_of_the_present_nodes() {
    let kept = |overlap: f64| {
        let mut cluster = even();
        cluster.policy.weights.overlap = overlap;
        cluster.policy.move_budget = Some(3);
        let (snapshot, plan) = planned(Asked::Risk, cluster);
        let partition = plan.moves[0].partition;
        let after = plan.result(&snapshot).unwrap();
        let before: Vec<Node> = snapshot.assignment().subset(partition).collect();
        let kept = after.subset(partition).filter(|node| before.contains(node)).count();
        (kept, plan.moves.iter().filter(|decided| decided.partition == partition).count())
    };
    assert_eq!(kept(0.0), (2, 1));
    assert_eq!(kept(0.5), (0, 3));
}

/// Thirty copysets of a hundred partitions each: every node shares with six others.
fn copysets() -> Cluster {
    let mut cluster = cluster(6, 5, 3_000);
    for at in cluster.partitions.all() {
        let row: Vec<Node> =
            (0..3).map(|replica| Node(((at.0 + replica) % 6 * 5 + at.0 / 6 % 5) as u16)).collect();
        cluster.assignment.set(at, &row);
    }
    cluster
}

#[test]
fn a_higher_spread_factor_spreads_what_leaves_over_more_copysets() {
    for asked in BOTH {
        let after = |spread: u32| {
            let mut cluster = copysets();
            cluster.policy.spread_factor = Some(spread);
            let (snapshot, plan) = planned(asked, cluster);
            assert!(plan.moves.len() > 20, "{asked:?}, {spread}: {} moves", plan.moves.len());
            let result = plan.result(&snapshot).unwrap();
            let sets: BTreeSet<Vec<Node>> = snapshot
                .partitions()
                .all()
                .map(|at| {
                    let mut set: Vec<Node> = result.subset(at).collect();
                    set.sort_unstable();
                    set
                })
                .collect();
            sets.len()
        };
        let (few, many) = (after(6), after(20));
        assert!(few < many, "{asked:?}: {few} and {many}");
        assert!(few <= 33, "{asked:?}: {few} copysets, and the budget is 1.1 times 30");
    }
}
