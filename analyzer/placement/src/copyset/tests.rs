//! Laws of copysets that are built, and reports of small clusters counted by hand.

use super::*;
use crate::{
    Assignment, Cluster, Column, Domain, DomainFacts, InFlight, Level, Node, NodeFacts, NodeState, Partition,
    Partitions, Policy, Snapshot, Topology, hash,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Racks of nodes with these weights; racks in zones of `zone` racks.
fn cluster(racks: &[Vec<f64>], zone: usize, partitions: usize, replicas: u8) -> Cluster {
    let zones = racks.len().div_ceil(zone);
    let outer = (0..zones).map(|at| DomainFacts { name: format!("z{at}"), level: Level(0), parent: None });
    let inner = (0..racks.len()).map(|at| DomainFacts {
        name: format!("r{at}"),
        level: Level(1),
        parent: Some(Domain((at / zone) as u16)),
    });
    // Sizes and loads with long tails, in another order.
    let size = |at: usize| 1_000 + 100_000 / (1 + (at * 7919) % 97) as u64;
    let load = |at: usize| 1.0 + 300.0 / (1 + (at * 104_729) % 89) as f64;
    let sizes: Vec<u64> = (0..partitions).map(size).collect();
    let loads: Vec<f64> = (0..partitions).map(load).collect();
    let all = racks.iter().flatten().sum::<f64>();
    let bytes = f64::from(replicas) * sizes.iter().sum::<u64>() as f64 / 0.65;
    let mut nodes = Vec::new();
    for (rack, weights) in racks.iter().enumerate() {
        for weight in weights {
            let name = format!("n{}", nodes.len());
            nodes.push(NodeFacts {
                key: hash::key(name.as_bytes()),
                name,
                domain: Some(Domain((zones + rack) as u16)),
                capacity_bytes: (weight * bytes / all) as u64,
                load_capacity: Some(*weight),
                network_bytes_per_s: None,
                cordoned: false,
                state: NodeState::Up,
                risk: None,
            });
        }
    }
    let levels = vec!["zone".to_owned(), "rack".to_owned()];
    let keys = (0..partitions as u64).map(|at| hash::key(&at.to_le_bytes())).collect();
    Cluster {
        revision: 1,
        now_s: 0,
        topology: Topology::new(levels, outer.chain(inner).collect(), nodes, Vec::new()).unwrap(),
        partitions: Partitions::new(keys, sizes, loads, replicas),
        assignment: Assignment::empty(partitions, usize::from(replicas)),
        in_flight: Vec::new(),
        policy: Policy::default(),
    }
}

fn snapshot(cluster: Cluster) -> Snapshot {
    Snapshot::new(cluster).unwrap()
}

/// Ten racks of the benchmark's mix, 1 : 2 : 4.
fn mixed() -> Vec<Vec<f64>> {
    vec![vec![1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 4.0, 4.0]; 10]
}

fn change_nodes(cluster: &mut Cluster, change: impl Fn(usize, &mut NodeFacts)) {
    let old = &cluster.topology;
    let mut nodes = old.nodes().to_vec();
    nodes.iter_mut().enumerate().for_each(|(at, node)| change(at, node));
    cluster.topology =
        Topology::new(old.levels().to_vec(), old.domains().to_vec(), nodes, Vec::new()).unwrap();
}

fn limit(cluster: &mut Cluster, limits: &[(&str, u8)]) {
    cluster.policy.replicas_per_domain =
        limits.iter().map(|(level, limit)| ((*level).to_owned(), *limit)).collect();
}

/// Highest share of size and of load over the mean, of nodes with a capacity.
fn pressures(snapshot: &Snapshot, assignment: &Assignment) -> (f64, f64) {
    let nodes = snapshot.topology().nodes();
    let (mut bytes, mut load) = (vec![0.0; nodes.len()], vec![0.0; nodes.len()]);
    for partition in snapshot.partitions().all() {
        for node in assignment.subset(partition) {
            bytes[node.at()] += snapshot.partitions().size_bytes[partition.at()] as f64;
            load[node.at()] += snapshot.partitions().load[partition.at()];
        }
    }
    let highest = |held: &[f64], capacity: &dyn Fn(&NodeFacts) -> f64| {
        let mean = held.iter().sum::<f64>() / nodes.iter().map(capacity).sum::<f64>();
        held.iter().zip(nodes).map(|(held, node)| held / capacity(node) / mean).fold(0.0, f64::max)
    };
    (highest(&bytes, &|node| node.capacity_bytes as f64), highest(&load, &|node| node.load_capacity.unwrap()))
}

fn different<T: Ord>(items: impl Iterator<Item = T>) -> usize {
    items.collect::<BTreeSet<T>>().len()
}

#[test]
fn weighted_sets_are_few_distinct_in_racks_and_evenly_filled() {
    let snapshot = snapshot(cluster(&mixed(), 5, 20_000, 3));
    for spread in [2, 4, 10, 20] {
        let layout = build(&snapshot, spread, 1).unwrap();
        let sets: Vec<&[Node]> = layout.sets().collect();
        let bound = 1.05 * 100.0 * f64::from(spread) / 6.0;
        assert!(sets.len() as f64 <= bound, "{} sets, spread {spread}", sets.len());
        assert_eq!(different(sets.iter()), sets.len());
        assert!(sets.iter().all(|set| different(set.iter().map(|node| node.at() / 10)) == 3));
        assert_eq!(different(sets.iter().copied().flatten()), 100, "every node lies in a set");
        let in_use = Copysets::in_use(&layout.assignment, &snapshot.partitions().size_bytes);
        assert!(in_use.all().all(|set| sets.contains(&in_use.nodes(set))));
        let (size, load) = pressures(&snapshot, &layout.assignment);
        assert!(size < 1.02 && load < 1.02, "spread {spread}: {size} {load}, fit {}", layout.fit);
    }
}

#[test]
fn heavier_nodes_lie_in_more_sets() {
    let snapshot = snapshot(cluster(&mixed(), 5, 20_000, 3));
    let layout = build(&snapshot, 18, 1).unwrap();
    let sets_of = |node: usize| layout.sets().filter(|set| set.contains(&Node(node as u16))).count();
    let mean = |of: &[usize]| {
        (0..100).filter(|at| of.contains(&(at % 10))).map(sets_of).sum::<usize>() as f64
            / (10 * of.len()) as f64
    };
    // 300 sets of 3 nodes and a weight of 190: 4.74 tokens for a weight of 1.
    for (of, expected) in [(&[0, 1, 2, 3, 4][..], 4.74), (&[5, 6, 7], 9.47), (&[8, 9], 18.95)] {
        assert!((mean(of) / expected - 1.0).abs() < 0.1, "{of:?}: {} of {expected}", mean(of));
    }
}

#[test]
fn more_spread_has_more_copysets_and_more_peers() {
    let snapshot = snapshot(cluster(&mixed(), 5, 20_000, 3));
    let reports: Vec<Report> = [3, 6, 12, 24]
        .into_iter()
        .map(|spread| measure(&snapshot, &build(&snapshot, spread, 1).unwrap().assignment))
        .collect();
    for pair in reports.windows(2) {
        assert!(pair[0].copysets.len() < pair[1].copysets.len());
        assert!(pair[0].scatter_mean < pair[1].scatter_mean);
        assert!(pair[0].scatter_effective_mean < pair[1].scatter_effective_mean);
        assert!(pair[0].quorum_loss_given_two < pair[1].quorum_loss_given_two);
    }
    assert!((reports[2].scatter_mean - 12.0).abs() < 1.0, "{}", reports[2].scatter_mean);
}

#[test]
fn the_same_seed_gives_the_same_layout_whatever_the_threads() {
    let snapshot = snapshot(cluster(&mixed(), 5, 5_000, 3));
    let with = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build(&snapshot, 10, seed).unwrap())
    };
    assert_eq!(with(1, 7), with(3, 7));
    assert_ne!(with(1, 7).assignment, with(1, 8).assignment);
}

#[test]
fn too_few_domains_or_nodes_are_told_with_what_is_feasible() {
    let one_rack = snapshot(cluster(&[vec![1.0; 6]], 1, 100, 3));
    let expected = LayoutError::Domains { replicas: 3, limit: 1, level: Level(1), domains: 1, feasible: 1 };
    assert_eq!(build(&one_rack, 4, 1).unwrap_err(), expected);
    let mut two_zones = cluster(&vec![vec![1.0; 4]; 4], 2, 100, 3);
    limit(&mut two_zones, &[("zone", 1), ("rack", 1)]);
    let expected = LayoutError::Domains { replicas: 3, limit: 1, level: Level(0), domains: 2, feasible: 2 };
    assert_eq!(build(&snapshot(two_zones), 4, 1).unwrap_err(), expected);
    let few = snapshot(cluster(&[vec![1.0], vec![1.0]], 1, 100, 3));
    assert_eq!(build(&few, 4, 1).unwrap_err(), LayoutError::Nodes { replicas: 3, nodes: 2 });
}

#[test]
fn what_does_not_fit_is_told() {
    let mut full = cluster(&mixed(), 5, 1_000, 3);
    full.partitions.size_bytes.iter_mut().for_each(|size| *size *= 2);
    assert!(matches!(build(&snapshot(full), 10, 1).unwrap_err(), LayoutError::Capacity { .. }));
    // A third of everything must lie on one small node.
    let uneven = cluster(&[vec![4.0; 5], vec![4.0; 5], vec![1.0]], 1, 1_000, 3);
    let error = build(&snapshot(uneven), 4, 1).unwrap_err();
    assert!(matches!(error, LayoutError::Overfull { node: Node(10), .. }), "{error}");
}

#[test]
fn small_clusters_have_layouts() {
    let none = build(&snapshot(cluster(&mixed(), 5, 0, 3)), 10, 1).unwrap();
    assert_eq!((none.sets().count(), none.assignment.len()), (0, 0));
    let alone = build(&snapshot(cluster(&[vec![1.0]], 1, 5, 1)), 10, 1).unwrap();
    assert_eq!(alone.sets().collect::<Vec<_>>(), [&[Node(0)]]);
    assert!((0..5).all(|at| alone.assignment.holds(Node(0), Partition(at))));
    let three = build(&snapshot(cluster(&vec![vec![1.0]; 3], 1, 5, 3)), 1_000_000, 1).unwrap();
    assert_eq!(three.sets().count(), 1);
}

#[test]
fn nodes_that_must_not_hold_anything_do_not() {
    let mut some = cluster(&mixed(), 5, 5_000, 3);
    change_nodes(&mut some, |at, node| match at {
        0 => node.capacity_bytes = 0,
        1 => node.state = NodeState::Down,
        2 => node.state = NodeState::Draining,
        3 => node.load_capacity = Some(0.0),
        4 => node.risk = Some(0.9),
        _ => {}
    });
    some.policy.risk_limit = Some(0.5);
    let layout = build(&snapshot(some), 10, 1).unwrap();
    assert!((0..5).all(|at| !layout.sets().any(|set| set.contains(&Node(at)))));
    assert!((5..100).all(|at| layout.sets().any(|set| set.contains(&Node(at)))));
}

#[test]
fn uneven_racks_are_filled_as_far_as_replicas_allow() {
    // The first rack has 5/8 of the capacity and may hold 1/3 of the replicas: the others are filled alike.
    let mut uneven = cluster(&[vec![1.0; 20], vec![1.0; 4], vec![1.0; 4], vec![1.0; 4]], 1, 6_000, 3);
    change_nodes(&mut uneven, |_, node| node.capacity_bytes *= 3);
    let snapshot = snapshot(uneven);
    let layout = build(&snapshot, 9, 1).unwrap();
    let report = measure(&snapshot, &layout.assignment);
    let total: u64 = report.of_nodes.iter().map(|blast| blast.bytes).sum();
    for (node, blast) in report.of_nodes.iter().enumerate() {
        let expected = if node < 20 { 1.0 / 3.0 / 20.0 } else { 2.0 / 3.0 / 12.0 };
        let ratio = blast.bytes as f64 / total as f64 / expected;
        assert!((ratio - 1.0).abs() < 0.02, "node {node}: {ratio}");
    }
}

#[test]
fn replicas_of_several_numbers_have_sets_of_their_own() {
    let mut some = cluster(&mixed(), 5, 9_000, 3);
    some.partitions.replicas = Column::Each((0..9_000).map(|at| 1 + (at % 3) as u8).collect());
    let snapshot = snapshot(some);
    let layout = build(&snapshot, 10, 1).unwrap();
    for partition in snapshot.partitions().all() {
        assert_eq!(layout.assignment.subset(partition).len(), 1 + partition.at() % 3);
    }
    let (size, load) = pressures(&snapshot, &layout.assignment);
    assert!(size < 1.02 && load < 1.02, "{size} {load}");
}

#[test]
fn load_and_capacity_that_disagree_are_both_fitted() {
    let mut some = cluster(&vec![vec![1.0; 6]; 8], 4, 40_000, 3);
    change_nodes(&mut some, |at, node| node.load_capacity = Some(1.0 + 0.4 * (at % 2) as f64));
    let snapshot = snapshot(some);
    let (size, load) = pressures(&snapshot, &build(&snapshot, 10, 1).unwrap().assignment);
    assert!(size < 1.02 && load < 1.02, "{size} {load}");
}

#[test]
fn pinned_and_moving_partitions_keep_their_holders_and_leaders_stay() {
    let mut some = cluster(&mixed(), 5, 5_000, 3);
    some.assignment = build(&snapshot(some.clone()), 10, 1).unwrap().assignment;
    some.partitions.pinned = Column::Each((0..5_000).map(|at| at < 20).collect());
    let from = some.assignment.subset(Partition(30)).next().unwrap();
    let to = (0..100).map(Node).find(|node| !some.assignment.holds(*node, Partition(30))).unwrap();
    some.in_flight = vec![InFlight { partition: Partition(30), from: Some(from), to }];
    let snapshot = snapshot(some);
    let layout = build(&snapshot, 10, 2).unwrap();
    for at in (0..20).chain([30]) {
        let row = |assignment: &Assignment| assignment.subset(Partition(at)).collect::<Vec<_>>();
        assert_eq!(row(&layout.assignment), row(snapshot.assignment()));
    }
    for partition in snapshot.partitions().all() {
        let leader = snapshot.assignment().subset(partition).next().unwrap();
        if layout.assignment.holds(leader, partition) {
            assert_eq!(layout.assignment.subset(partition).next(), Some(leader));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn limits_hold_at_every_level_and_rows_are_full(
        racks in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec![1.0, 2.0, 4.0]), 1..5), 6..12),
        replicas in 1u8..=5, spread in 0u32..40, seed: u64,
        limits in prop::sample::select(vec![
            vec![], vec![("rack", 2)], vec![("zone", 2), ("rack", 1)], vec![("zone", 3)],
        ]),
    ) {
        let mut some = cluster(&racks, 2, 400, replicas);
        limit(&mut some, &limits);
        some.policy.fill_limit = 1.0;
        change_nodes(&mut some, |_, node| node.capacity_bytes *= 50);
        let snapshot = snapshot(some);
        let layout = build(&snapshot, spread, seed).unwrap();
        let topology = snapshot.topology();
        for partition in snapshot.partitions().all() {
            let row: Vec<Node> = layout.assignment.subset(partition).collect();
            prop_assert_eq!(different(row.iter()), usize::from(replicas));
            for (level, most) in snapshot.limits().iter().enumerate() {
                let domain = |node: &Node| topology.domain_of(*node, Level(level as u8));
                let most = most.map_or(usize::MAX, usize::from);
                let crowd = |node: &Node| row.iter().filter(|other| domain(other) == domain(node)).count();
                prop_assert!(row.iter().all(|node| crowd(node) <= most));
            }
        }
    }
}

/// Four nodes in two racks of a zone each; partitions of 10, 20 and 40 bytes on {0, 2}, {0, 3} and {1, 2, 3}.
fn by_hand() -> Cluster {
    let mut some = cluster(&vec![vec![1.0; 2]; 2], 1, 3, 3);
    some.partitions.size_bytes = vec![10, 20, 40];
    some.partitions.load = vec![1.0, 2.0, 4.0];
    some.partitions.replicas = Column::Each(vec![2, 3, 3]);
    some.assignment.set(Partition(0), &[Node(2), Node(0)]);
    some.assignment.set(Partition(1), &[Node(0), Node(3)]);
    some.assignment.set(Partition(2), &[Node(1), Node(2), Node(3)]);
    some
}

#[test]
fn a_report_is_as_counted_by_hand() {
    let snapshot = snapshot(by_hand());
    let report = measure(&snapshot, snapshot.assignment());
    assert_eq!((report.nodes, report.copysets.len()), (4, 3));
    assert_eq!(report.scatter.iter().map(|of| of.width).collect::<Vec<_>>(), [2, 2, 3, 3]);
    // Node 0 shares 10 and 20 bytes; node 1 40 and 40; node 2 10, 40, 40; node 3 20, 40, 40.
    let effective = [900.0 / 500.0, 2.0, 8100.0 / 3300.0, 10_000.0 / 3600.0];
    for (of, expected) in report.scatter.iter().zip(effective) {
        assert!((of.effective - expected).abs() < 1e-12);
    }
    // Either node of the first two takes a quorum of two alone: 0, 2 and 3 do. Every pair has one of them.
    assert_eq!(report.quorum_loss_given_two, 1.0);
    let zero = Blast { partitions: 2, bytes: 30, load: 3.0, under_replicated: 2, without_quorum: 2, lost: 0 };
    assert_eq!(report.of_nodes[0], zero);
    // The second zone, domain 1, has nodes 2 and 3: both of the last partition's, one of each other's.
    let second =
        Blast { partitions: 3, bytes: 110, load: 11.0, under_replicated: 3, without_quorum: 3, lost: 0 };
    assert_eq!((report.of_domains[1], report.of_domains[3]), (second, second));
    // Two failures of six pairs take all of {0, 2} or {0, 3}; three always take a pair or the three: {0, 1, 2},
    // {0, 1, 3}, {0, 2, 3} and {1, 2, 3} each have a set.
    assert_eq!(report.loss_given(1, 1), Chance::Exact(0.0));
    let Chance::Exact(two) = report.loss_given(2, 1) else { panic!() };
    assert!((two - 2.0 / 6.0).abs() < 1e-12);
    assert!(matches!(report.loss_given(3, 1), Chance::Sampled { mean, .. } if mean == 1.0));
    assert_eq!(report.loss_given(4, 1), Chance::Exact(1.0));
}

#[test]
fn what_is_down_counts_for_nothing() {
    let mut some = by_hand();
    change_nodes(&mut some, |at, node| {
        if at == 2 {
            node.state = NodeState::Down;
        }
    });
    let snapshot = snapshot(some);
    let report = measure(&snapshot, snapshot.assignment());
    assert_eq!((report.nodes, report.scatter[2].width), (3, 0));
    // {0}, {0, 3} and {1, 3} are left; the first has no quorum of its two, and is lost with node 0.
    assert_eq!(report.of_nodes[0].lost, 1);
    assert_eq!(report.of_nodes[0].without_quorum, 1);
    assert_eq!(report.loss_given(1, 1), Chance::Exact(1.0 / 3.0));
}

#[test]
fn chances_agree_with_all_cases_counted() {
    let snapshot = snapshot(cluster(&vec![vec![1.0; 2]; 6], 1, 300, 3));
    let layout = build(&snapshot, 4, 3).unwrap();
    let report = measure(&snapshot, &layout.assignment);
    let masks: Vec<u32> = report
        .copysets
        .all()
        .map(|set| report.copysets.nodes(set).iter().map(|node| 1 << node.at()).sum())
        .collect();
    for failures in 2..12u32 {
        let cases = (0u32..1 << 12).filter(|case| case.count_ones() == failures);
        let (mut all, mut losses) = (0.0, 0.0);
        for case in cases {
            all += 1.0;
            losses += f64::from(u8::from(masks.iter().any(|set| case & set == *set)));
        }
        let expected = losses / all;
        match report.loss_given(failures, 5) {
            Chance::Exact(chance) => assert!((chance - expected).abs() < 1e-12, "{failures}"),
            Chance::Between { low, high } => assert!(low <= expected && expected <= high, "{failures}"),
            Chance::Sampled { mean, standard_error, .. } => {
                assert!((mean - expected).abs() < 5.0 * standard_error, "{failures}: {mean} {expected}");
            }
        }
    }
    let pairs: BTreeSet<(u16, u16)> = masks
        .iter()
        .flat_map(|set| {
            (0..12u16)
                .flat_map(move |a| (0..a).map(move |b| (a, b)))
                .filter(move |(a, b)| set >> a & set >> b & 1 == 1)
        })
        .collect();
    assert!((report.quorum_loss_given_two - pairs.len() as f64 / 66.0).abs() < 1e-12);
}
