//! Laws of plans over random clusters: possible, complete, at rest afterwards, and of the least bytes.

use crate::support::events::Asked;
use crate::support::judge::{copies, faults, open_slots, settled, subset};
use crate::support::measures::{held, max_over_mean};
use crate::support::recipe::{Recipe, odd, plain};
use isotherm_placement::{
    Cause, Cluster, Node, NodeFacts, NodeState, Partition, Plan, Reason, Snapshot, Topology, plan,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeSet;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() }
}

/// What may be asked at once.
#[derive(Debug, Clone)]
struct Ask {
    repair: bool,
    shed: Vec<u8>,
    fill: Vec<u8>,
    balance: bool,
}

fn asks() -> impl Strategy<Value = Ask> {
    let some = || proptest::collection::vec(any::<u8>(), 0..3);
    (proptest::bool::weighted(0.8), some(), some(), any::<bool>())
        .prop_map(|(repair, shed, fill, balance)| Ask { repair, shed, fill, balance })
}

fn asked(ask: &Ask, cluster: &Cluster) -> isotherm_placement::Request<'static> {
    let nodes = |draws: &Vec<u8>| -> Vec<Node> {
        let chosen: BTreeSet<u16> =
            draws.iter().map(|draw| u16::from(*draw) % cluster.topology.nodes().len() as u16).collect();
        chosen.into_iter().map(Node).collect()
    };
    let mut request = Asked { repair: ask.repair, shed: nodes(&ask.shed), fill: nodes(&ask.fill) }.request();
    request.balance = ask.balance;
    request
}

fn planned(cluster: &Cluster, request: &isotherm_placement::Request<'_>) -> (Snapshot, Plan) {
    let snapshot = Snapshot::new(cluster.clone()).expect("a recipe makes a cluster that can be planned for");
    let made = plan(&snapshot, request);
    (snapshot, made)
}

/// A node's shares of size and load over the mean that there would be if all replicas lay on nodes that are up; 0 of
/// what there is nothing of.
fn pressures(cluster: &Cluster, assignment: &isotherm_placement::Assignment, node: Node) -> (f64, f64) {
    let partitions = &cluster.partitions;
    let (bytes, load) = held(cluster, assignment);
    let over_mean = |held: f64, weight: &dyn Fn(Partition) -> f64, capacity: &dyn Fn(&NodeFacts) -> f64| {
        let wanted = partitions.all().map(|p| weight(p) * f64::from(partitions.replicas.get(p)));
        let up = cluster.topology.nodes().iter().filter(|node| node.state == NodeState::Up);
        let (all, total): (f64, f64) = (wanted.sum(), up.map(capacity).sum());
        let own = capacity(cluster.topology.node(node));
        if all > 0.0 && own > 0.0 { held / own * total / all } else { 0.0 }
    };
    let size_of = |p: Partition| partitions.size_bytes[p.at()] as f64;
    let size = over_mean(bytes[node.at()], &size_of, &|node| node.capacity_bytes as f64);
    let load_of = |p: Partition| partitions.load[p.at()];
    (size, over_mean(load[node.at()], &load_of, &|node| node.load_capacity.unwrap_or(0.0)))
}

/// What a node reached of a pressure, where the plan says that it is not what was wanted.
fn reached(made: &Plan, node: Node, pressure: f64) -> Option<f64> {
    let of_node = made.refusals.iter().filter(|refusal| refusal.node == Some(node));
    of_node.map(|refusal| refusal.cause).find_map(|cause| {
        if let Cause::Pressure { reached, wanted } = cause
            && wanted == pressure
        {
            Some(reached)
        } else {
            None
        }
    })
}

fn repair() -> isotherm_placement::Request<'static> {
    Asked { repair: true, ..Asked::default() }.request()
}

/// The same, with some of its nodes in other states.
fn with_states(cluster: &Cluster, changes: &[(u8, NodeState)]) -> Cluster {
    let mut nodes = cluster.topology.nodes().to_vec();
    for (draw, state) in changes {
        let at = usize::from(*draw) % nodes.len();
        nodes[at].state = *state;
    }
    let mut changed = cluster.clone();
    let (levels, domains) = (cluster.topology.levels().to_vec(), cluster.topology.domains().to_vec());
    changed.topology = Topology::new(levels, domains, nodes, cluster.topology.links().to_vec()).unwrap();
    changed
}

fn lost() -> impl Strategy<Value = Vec<(u8, NodeState)>> {
    let state = prop_oneof![Just(NodeState::Down), Just(NodeState::Draining)];
    proptest::collection::vec((any::<u8>(), state), 1..5)
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn whatever_is_asked_of_whatever_cluster_each_move_is_possible_and_each_refusal_true(
        recipe in odd(), ask in asks(),
    ) {
        let cluster = recipe.cluster();
        let request = asked(&ask, &cluster);
        let (_, made) = planned(&cluster, &request);
        let found = faults(&cluster, &request, &made);
        prop_assert!(found.is_empty(), "{:#?}", &found[..found.len().min(5)]);
    }

    #[test]
    fn repair_moves_what_is_lost_and_nothing_else(recipe in plain(), changes in lost()) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let (_, made) = planned(&cluster, &repair());
        let found = faults(&cluster, &repair(), &made);
        prop_assert!(found.is_empty(), "{:#?}", &found[..found.len().min(5)]);
        let after = made.result(&Snapshot::new(cluster.clone()).unwrap()).unwrap();
        let slots = |assignment: &isotherm_placement::Assignment| -> u64 {
            let open = |p: Partition| open_slots(&cluster, assignment, p) as u64;
            cluster.partitions.all().map(|p| open(p) * cluster.partitions.size_bytes[p.at()]).sum()
        };
        prop_assert_eq!(made.totals.bytes, slots(&cluster.assignment) - slots(&after));
        let of_repair =
            |reason: Reason| matches!(reason, Reason::Lost | Reason::Missing | Reason::Draining);
        prop_assert!(copies(&made).all(|(.., reason)| of_repair(reason)));
    }

    #[test]
    fn a_cluster_that_was_repaired_needs_no_repair(recipe in odd(), changes in lost()) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let (snapshot, made) = planned(&cluster, &repair());
        let mut next = made.apply(snapshot).expect("a plan fits its own snapshot");
        next.now_s += 400_000;
        let (_, again) = planned(&next, &repair());
        // What was barred from its last node may return to it when the window is over.
        let barred = |p: Partition| cluster.partitions.last_left.get(p).is_some();
        let moves: Vec<_> = again.moves.iter().filter(|decided| !barred(decided.partition)).collect();
        prop_assert!(moves.is_empty(), "{:#?}", &moves[..moves.len().min(3)]);
    }

    #[test]
    fn a_plan_of_anything_done_leaves_nothing_to_do(recipe in plain(), changes in lost(), ask in asks()) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let request = asked(&ask, &cluster);
        let (snapshot, made) = planned(&cluster, &request);
        let refused = made.refusals.len();
        let next = made.apply(snapshot).expect("a plan fits its own snapshot");
        let (_, again) = planned(&next, &request);
        prop_assert!(
            again.moves.is_empty() || refused > 0,
            "{} moves, then {}: {:#?}", made.moves.len(), again.moves.len(), again.moves[0],
        );
    }

    #[test]
    fn what_is_filled_has_its_share_in_the_end_or_is_refused_with_what_it_reached(
        recipe in plain(), changes in lost(), fill in proptest::collection::vec(any::<u8>(), 1..3),
    ) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let ask = Ask { repair: false, shed: Vec::new(), fill, balance: true };
        let request = asked(&ask, &cluster);
        let partitions = &cluster.partitions;
        if partitions.all().all(|p| partitions.size_bytes[p.at()] == 0 && partitions.load[p.at()] == 0.0) {
            return Ok(());
        }
        let (snapshot, made) = planned(&cluster, &request);
        let after = made.result(&snapshot).unwrap();
        let wanted = 1.0 - cluster.policy.dead_band;
        for node in request.fill.iter().filter(|node| cluster.topology.node(**node).takes()) {
            let (size, load) = pressures(&cluster, &after, *node);
            let pressure = size.max(load);
            let refused = reached(&made, *node, wanted);
            let is_true = |reached: f64| reached < wanted && (reached - pressure).abs() < 1e-9;
            prop_assert!(
                refused.map_or(pressure > wanted - 1e-9, is_true),
                "{:?} comes to {}, refused at {:?}", node, pressure, refused,
            );
        }
    }

    #[test]
    fn what_is_filled_bears_no_more_load_than_another_or_the_dead_band(
        recipe in plain(), changes in lost(), draw in any::<u8>(),
    ) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let ask = Ask { repair: false, shed: Vec::new(), fill: vec![draw], balance: false };
        let request = asked(&ask, &cluster);
        let (snapshot, made) = planned(&cluster, &request);
        let after = made.result(&snapshot).unwrap();
        let borne = |node: Node| pressures(&cluster, &after, node).1;
        let filled = request.fill[0];
        let up = |node: &Node| cluster.topology.node(*node).state == NodeState::Up;
        let others = cluster.topology.all().filter(up).filter(|node| *node != filled).map(borne);
        let most = others.fold(1.0 + cluster.policy.dead_band, f64::max);
        let took = made.moves.len();
        prop_assert!(
            took == 0 || borne(filled) <= most * (1.0 + 1e-9),
            "{:?} took {} and bears {}, others {}", filled, took, borne(filled), most,
        );
    }

    #[test]
    fn balancing_leaves_to_repair_what_nodes_hold_that_are_not_up(recipe in odd(), changes in lost()) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let request = isotherm_placement::Request { balance: true, ..Default::default() };
        let (_, made) = planned(&cluster, &request);
        let found = faults(&cluster, &request, &made);
        prop_assert!(found.is_empty(), "{:#?}", &found[..found.len().min(5)]);
    }

    #[test]
    fn balancing_comes_to_rest_when_its_cool_downs_are_over(recipe in plain()) {
        // A plan moves one replica of a partition, so a small cluster can need several.
        let mut cluster = recipe.cluster();
        let request = isotherm_placement::Request { balance: true, ..Default::default() };
        let mut bytes = Vec::new();
        while bytes.last() != Some(&0) {
            prop_assert!(bytes.len() < 12, "it does not rest: {bytes:?}");
            let (snapshot, made) = planned(&cluster, &request);
            bytes.push(made.moves.len());
            cluster = made.apply(snapshot).expect("a plan fits its own snapshot");
            cluster.now_s += 400_000;
        }
    }

    #[test]
    fn balancing_never_raises_the_highest_pressure(recipe in plain()) {
        let cluster = recipe.cluster();
        let request = isotherm_placement::Request { balance: true, ..Default::default() };
        let (snapshot, made) = planned(&cluster, &request);
        let found = faults(&cluster, &request, &made);
        prop_assert!(found.is_empty(), "{:#?}", &found[..found.len().min(5)]);
        let highest = |assignment| {
            let (bytes, load) = held(&cluster, assignment);
            let nodes = cluster.topology.nodes();
            let capacity: Vec<f64> = nodes.iter().map(|node| node.capacity_bytes as f64).collect();
            let can: Vec<f64> = nodes.iter().map(|node| node.load_capacity.unwrap_or(0.0)).collect();
            max_over_mean(&cluster, &bytes, &capacity).max(max_over_mean(&cluster, &load, &can))
        };
        let (was, is) = (highest(&cluster.assignment), highest(&made.result(&snapshot).unwrap()));
        prop_assert!(is <= was * (1.0 + 1e-9), "{was} became {is}");
    }

    #[test]
    fn totals_say_what_the_result_measures(recipe in plain(), changes in lost()) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let (snapshot, made) = planned(&cluster, &repair());
        let after = made.result(&snapshot).unwrap();
        if cluster.partitions.all().any(|p| open_slots(&cluster, &after, p) > 0) {
            return Ok(());
        }
        let (bytes, load) = held(&cluster, &after);
        let nodes = cluster.topology.nodes();
        let capacity: Vec<f64> = nodes.iter().map(|node| node.capacity_bytes as f64).collect();
        let can: Vec<f64> = nodes.iter().map(|node| node.load_capacity.unwrap_or(0.0)).collect();
        if let Some(size) = made.totals.after.size {
            let measured = max_over_mean(&cluster, &bytes, &capacity);
            prop_assert!((size - measured).abs() < 1e-9 * measured, "size {size}, measured {measured}");
        }
        if let Some(value) = made.totals.after.load {
            let measured = max_over_mean(&cluster, &load, &can);
            prop_assert!((value - measured).abs() < 1e-9 * measured, "load {value}, measured {measured}");
        }
        prop_assert_eq!(made.totals.least_bytes, made.totals.bytes);
    }
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn the_number_of_threads_changes_nothing(recipe in odd(), ask in asks()) {
        let cluster = recipe.cluster();
        let request = || asked(&ask, &cluster);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| planned(&cluster, &request()).1)
        };
        let one = on(1);
        for threads in [2, 7] {
            let other = on(threads);
            prop_assert_eq!(format!("{:?}", &one), format!("{:?}", &other), "{} threads", threads);
        }
    }

    #[test]
    fn the_order_of_partitions_and_nodes_changes_no_refusal_and_no_byte(
        recipe in plain(), changes in lost(), seed in any::<u64>(),
    ) {
        let cluster = with_states(&recipe.cluster(), &changes);
        let (permuted, nodes, rows) = permute(&cluster, seed);
        let (one, other) = (planned(&cluster, &repair()).1, planned(&permuted, &repair()).1);
        if !one.refusals.is_empty() {
            return Ok(());
        }
        prop_assert!(other.refusals.is_empty(), "{:?}", other.refusals);
        prop_assert_eq!(one.totals.bytes, other.totals.bytes);
        // What is made again is the same; where it goes may differ between partitions of equal weight.
        let named: BTreeSet<(u32, Option<u16>)> =
            copies(&one).map(|(p, from, ..)| (rows[p.at()], from.map(|from| nodes[from.at()]))).collect();
        let there: BTreeSet<_> = copies(&other).map(|(p, from, ..)| (p.0, from.map(|from| from.0))).collect();
        prop_assert_eq!(named, there);
    }

    #[test]
    fn nothing_goes_back_and_forth_over_many_events(
        recipe in plain(), events in proptest::collection::vec(lost(), 2..8),
    ) {
        let mut cluster = recipe.cluster();
        for (round, changes) in events.iter().enumerate() {
            let total: usize = cluster.partitions.all().map(|p| cluster.assignment.subset(p).len()).sum();
            cluster = with_states(&cluster, changes);
            let (snapshot, made) = planned(&cluster, &repair());
            let found = faults(&cluster, &repair(), &made);
            prop_assert!(found.is_empty(), "round {round}: {:#?}", &found[..found.len().min(5)]);
            let after = made.apply(snapshot).unwrap();
            let held: usize = after.partitions.all().map(|p| after.assignment.subset(p).len()).sum();
            prop_assert!(held >= total, "{total} replicas became {held}");
            // Those that failed come back empty, those that drained come back to use.
            let up: Vec<(u8, NodeState)> =
                (0..after.topology.nodes().len()).map(|at| (at as u8, NodeState::Up)).collect();
            let left = after.topology.all().filter(|node| after.topology.node(*node).state != NodeState::Up);
            let left: BTreeSet<Node> = left.collect();
            let kept = after.partitions.all().filter(|p| after.assignment.subset(*p).any(|node| left.contains(&node)));
            if kept.count() > 0 {
                return Ok(());
            }
            let mut back = with_states(&after, &up);
            back.now_s += 1_000;
            let request = Asked { repair: true, ..Asked::default() }.request();
            let (snapshot, idle) = planned(&back, &request);
            prop_assert!(idle.moves.is_empty(), "round {round}: {:?}", idle.moves[0]);
            let mut request = request;
            request.balance = true;
            let balanced = plan(&snapshot, &request);
            let found = faults(&back, &request, &balanced);
            prop_assert!(found.is_empty(), "round {round}: {:#?}", &found[..found.len().min(5)]);
            cluster = back;
            cluster.now_s += 100_000;
        }
    }
}

/// The same cluster with nodes and partitions at other positions; where each came to.
fn permute(cluster: &Cluster, seed: u64) -> (Cluster, Vec<u16>, Vec<u32>) {
    let mut draws = crate::support::draws::Draws::new(seed, "permute");
    let mut nodes: Vec<u16> = (0..cluster.topology.nodes().len() as u16).collect();
    let mut rows: Vec<u32> = (0..cluster.partitions.len() as u32).collect();
    draws.shuffle(&mut nodes);
    draws.shuffle(&mut rows);
    let mut changed = cluster.clone();
    let mut facts = cluster.topology.nodes().to_vec();
    for (at, to) in nodes.iter().enumerate() {
        facts[usize::from(*to)] = cluster.topology.nodes()[at].clone();
    }
    let (levels, domains) = (cluster.topology.levels().to_vec(), cluster.topology.domains().to_vec());
    changed.topology = Topology::new(levels, domains, facts, cluster.topology.links().to_vec()).unwrap();
    let mut replicas = vec![0; rows.len()];
    for (at, to) in rows.iter().enumerate() {
        let (from, to) = (Partition(at as u32), *to as usize);
        changed.partitions.key[to] = cluster.partitions.key[at];
        changed.partitions.size_bytes[to] = cluster.partitions.size_bytes[at];
        changed.partitions.load[to] = cluster.partitions.load[at];
        replicas[to] = cluster.partitions.replicas.get(from);
        let row: Vec<Node> =
            subset(&cluster.assignment, from).iter().map(|node| Node(nodes[node.at()])).collect();
        changed.assignment.set(Partition(to as u32), &row);
    }
    changed.partitions.replicas = isotherm_placement::Column::Each(replicas);
    (changed, nodes, rows)
}

#[test]
fn clusters_of_recipes_can_be_planned_for() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut partitions, mut in_flight, mut down) = (0, 0, 0);
    for _ in 0..100 {
        let recipe: Recipe = odd().new_tree(&mut runner).unwrap().current();
        let cluster = recipe.cluster();
        partitions += cluster.partitions.len();
        in_flight += cluster.in_flight.len();
        down += cluster.topology.nodes().iter().filter(|node| node.state == NodeState::Down).count();
        assert_eq!(settled(&cluster).len(), cluster.partitions.len());
        Snapshot::new(cluster).unwrap();
    }
    assert!(partitions > 1_000 && in_flight > 50 && down > 50, "{partitions} {in_flight} {down}");
}
