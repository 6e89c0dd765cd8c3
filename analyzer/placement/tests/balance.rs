//! Balancing in the background: what it reaches, what it costs, and that it rests.

use isotherm_placement::{
    Action, Assignment, Cause, Cluster, Column, Domain, DomainFacts, Level, Node, NodeFacts, NodeState,
    Partition, Partitions, Plan, Policy, Request, Snapshot, Topology, hash, plan,
};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

fn share(rng: &mut Pcg64Mcg) -> f64 {
    rng.next_u64() as f64 / u64::MAX as f64
}

/// Nodes in racks of one zone each three, capacities 1:2:4.
fn topology(nodes: usize, racks: usize, unit_bytes: u64, unit_load: Option<f64>) -> Topology {
    let zones = racks.div_ceil(3);
    let zone = |at: usize| DomainFacts { name: format!("z{at}"), level: Level(0), parent: None };
    let rack = |at: usize| DomainFacts {
        name: format!("r{at}"),
        level: Level(1),
        parent: Some(Domain((at % zones) as u16)),
    };
    let domains = (0..zones).map(zone).chain((0..racks).map(rack)).collect();
    let node = |at: usize| {
        let weight = [1, 2, 4][at % 3];
        NodeFacts {
            name: format!("n{at}"),
            key: hash::key(format!("n{at}").as_bytes()),
            domain: Some(Domain((zones + at % racks) as u16)),
            capacity_bytes: weight * unit_bytes,
            load_capacity: unit_load.map(|unit| unit * weight as f64),
            network_bytes_per_s: None,
            cordoned: false,
            state: NodeState::Up,
            risk: None,
        }
    };
    Topology::new(vec!["zone".into(), "rack".into()], domains, (0..nodes).map(node).collect(), Vec::new())
        .expect("every rack has a zone and every node a rack")
}

/// Three replicas on distinct racks, drawn by capacity.
fn cluster(nodes: usize, racks: usize, partitions: usize, seed: u64) -> Cluster {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let size_bytes: Vec<u64> =
        (0..partitions).map(|_| 1 + (1000.0 * share(&mut rng).powi(3)) as u64).collect();
    let load: Vec<f64> = (0..partitions).map(|_| (200.0 * share(&mut rng).powi(6)).max(0.1)).collect();
    let weights: u64 = (0..nodes).map(|at| [1, 2, 4][at % 3]).sum();
    let unit_bytes = 3 * size_bytes.iter().sum::<u64>() * 10 / (6 * weights) + 1;
    let unit_load = 3.0 * load.iter().sum::<f64>() * 2.0 / weights as f64;
    let topology = topology(nodes, racks, unit_bytes, Some(unit_load));
    let mut assignment = Assignment::empty(partitions, 3);
    for at in 0..partitions {
        let mut row: Vec<Node> = Vec::new();
        while row.len() < 3 {
            let drawn = (share(&mut rng) * weights as f64) as u64;
            let mut sum = 0;
            let node = (0..nodes).find(|at| {
                sum += [1, 2, 4][at % 3];
                drawn < sum
            });
            let node = node.unwrap_or(0);
            if row.iter().all(|other| other.at() % racks != node % racks) {
                row.push(Node(node as u16));
            }
        }
        assignment.set(Partition(at as u32), &row);
    }
    let key = (0..partitions).map(|at| hash::key(format!("p{at}").as_bytes())).collect();
    Cluster {
        revision: 1,
        now_s: 1_000_000,
        topology,
        partitions: Partitions::new(key, size_bytes, load, 3),
        assignment,
        in_flight: Vec::new(),
        policy: Policy::default(),
    }
}

fn balance(snapshot: &Snapshot) -> Plan {
    plan(snapshot, &Request { balance: true, ..Request::default() })
}

fn total_bytes(cluster: &Cluster) -> u64 {
    3 * cluster.partitions.size_bytes.iter().sum::<u64>()
}

#[test]
fn size_and_load_come_down_to_the_balance_and_a_second_run_proposes_nothing() {
    for seed in 1..=5 {
        let snapshot = Snapshot::new(cluster(60, 12, 12_000, seed)).unwrap();
        let first = balance(&snapshot);
        assert!(first.totals.before.load.unwrap() > 1.03, "nothing to do for seed {seed}");
        assert!(first.totals.after.size.unwrap() <= 1.020_001, "{:?}", first.totals);
        assert!(first.totals.after.load.unwrap() <= 1.020_001, "{:?}", first.totals);
        let again = balance(&Snapshot::new(first.apply(snapshot).unwrap()).unwrap());
        assert!(again.moves.is_empty(), "{} moves again", again.moves.len());
    }
}

#[test]
fn replicas_stay_in_distinct_racks_and_nodes_within_their_fill() {
    let before = cluster(24, 8, 3_000, 7);
    let snapshot = Snapshot::new(before.clone()).unwrap();
    let after = balance(&snapshot).apply(snapshot).unwrap();
    for at in 0..3_000 {
        let racks: Vec<usize> = after.assignment.subset(Partition(at)).map(|node| node.at() % 8).collect();
        assert!(racks[0] != racks[1] && racks[1] != racks[2] && racks[0] != racks[2], "{racks:?}");
    }
}

#[test]
fn noise_of_five_percent_moves_at_most_one_percent_of_bytes_in_a_hundred_rounds() {
    let mut now = cluster(60, 12, 12_000, 3);
    let all = total_bytes(&now);
    let snapshot = Snapshot::new(now).unwrap();
    now = balance(&snapshot).apply(snapshot).unwrap();
    let load = now.partitions.load.clone();
    let mut rng = Pcg64Mcg::seed_from_u64(99);
    let (mut moved, mut left) = (0, Vec::new());
    for _ in 0..100 {
        now.now_s += 3600;
        for (noisy, load) in now.partitions.load.iter_mut().zip(&load) {
            *noisy = load * (0.95 + 0.1 * share(&mut rng));
        }
        let snapshot = Snapshot::new(now).unwrap();
        let decided = balance(&snapshot);
        moved += decided.totals.bytes;
        for step in &decided.moves {
            let Action::Copy { from: Some(from), to } = step.action else { panic!("{step:?}") };
            let returns = left.iter().any(|(partition, node, at_s)| {
                (*partition, *node) == (step.partition, to) && snapshot.now_s() - at_s < 24 * 3600
            });
            assert!(!returns, "{:?} returns to {to:?}", step.partition);
            left.push((step.partition, from, snapshot.now_s()));
        }
        now = decided.apply(snapshot).unwrap();
    }
    assert!(moved * 100 <= all, "{moved} of {all} bytes");
}

/// Distinct sets of holders.
fn copysets(assignment: &Assignment) -> usize {
    let sets = (0..assignment.len()).map(|at| {
        let mut row: Vec<Node> = assignment.subset(Partition(at as u32)).collect();
        row.sort_unstable();
        row
    });
    sets.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn copysets_stay_within_their_budget_while_pressure_falls() {
    for budget in [1.0, 1.1] {
        let mut before = cluster(24, 8, 12_000, 2);
        // Every row becomes one of forty of the rows.
        for at in 40..12_000 {
            let row: Vec<Node> = before.assignment.subset(Partition(at % 40)).collect();
            before.assignment.set(Partition(at), &row);
        }
        before.policy.copyset_budget = budget;
        let had = copysets(&before.assignment);
        let snapshot = Snapshot::new(before).unwrap();
        let decided = balance(&snapshot);
        let has = copysets(&decided.result(&snapshot).unwrap());
        assert!(has as f64 <= budget * had as f64, "{had} copysets became {has}");
        let (was, is) = (decided.totals.before.size.unwrap(), decided.totals.after.size.unwrap());
        assert!(is - 1.0 < 0.5 * (was - 1.0), "{was} became {is}");
    }
}

#[test]
fn pinned_and_cooling_partitions_stay() {
    let mut before = cluster(24, 8, 3_000, 5);
    before.partitions.pinned = Column::Each((0..3_000).map(|at| at % 2 == 0).collect());
    let moved_at = |at: u32| at.is_multiple_of(3).then_some(before.now_s - 60);
    before.partitions.moved_at_s = Column::Each((0..3_000).map(moved_at).collect());
    let decided = balance(&Snapshot::new(before).unwrap());
    assert!(!decided.moves.is_empty());
    for step in decided.moves {
        assert!(step.partition.0 % 2 == 1 && step.partition.0 % 3 != 0, "{step:?}");
    }
}

#[test]
fn a_byte_budget_is_never_exceeded_and_buys_the_most_useful_first() {
    let free = balance(&Snapshot::new(cluster(24, 8, 3_000, 11)).unwrap());
    let mut before = cluster(24, 8, 3_000, 11);
    let budget = free.totals.bytes / 4;
    before.policy.byte_budget = Some(budget);
    let bound = balance(&Snapshot::new(before).unwrap());
    assert!(
        bound.totals.bytes <= budget && bound.totals.bytes * 2 > budget,
        "{} of {budget}",
        bound.totals.bytes
    );
    assert!(bound.refusals.iter().any(|refusal| matches!(refusal.cause, Cause::Budget { .. })));
    let (was, is) = (bound.totals.before.load.unwrap(), bound.totals.after.load.unwrap());
    assert!(was - is > 0.4 * (was - 1.01), "a quarter of the bytes relieves {was} only to {is}");
}

#[test]
fn a_move_budget_is_never_exceeded() {
    let mut before = cluster(24, 8, 3_000, 11);
    before.policy.move_budget = Some(7);
    assert_eq!(balance(&Snapshot::new(before).unwrap()).moves.len(), 7);
}

#[test]
fn degenerate_clusters_are_left_alone() {
    let empty = Cluster { assignment: Assignment::empty(0, 3), ..cluster(24, 8, 0, 1) };
    let mut none = cluster(24, 8, 300, 1);
    none.partitions.size_bytes.fill(0);
    none.partitions.load.fill(0.0);
    let mut one = cluster(24, 8, 0, 1);
    one.topology = topology(1, 1, 100, Some(100.0));
    one.partitions = Partitions::new(vec![1], vec![10], vec![1.0], 1);
    one.assignment = Assignment::empty(1, 1);
    one.assignment.set(Partition(0), &[Node(0)]);
    let mut full = cluster(24, 8, 300, 1);
    full.topology = topology(24, 8, 1, Some(1.0));
    for before in [empty, none, one, full] {
        assert!(balance(&Snapshot::new(before).unwrap()).moves.is_empty());
    }
}

#[test]
fn size_is_evened_out_where_load_is_not_judged() {
    let mut before = cluster(24, 8, 3_000, 4);
    let unit = before.topology.nodes()[0].capacity_bytes;
    before.topology = topology(24, 8, unit, None);
    let decided = balance(&Snapshot::new(before).unwrap());
    assert_eq!(decided.totals.after.load, None);
    assert!(decided.totals.after.size.unwrap() <= 1.020_001, "{:?}", decided.totals);
}

/// The fewest bytes of any assignment of single replicas to four equal nodes below the limit; absent if there is
/// none.
fn least_bytes(sizes: &[u64], loads: &[f64], at: &[usize], most: (f64, f64)) -> Option<u64> {
    let mut least = None;
    for code in 0..4usize.pow(sizes.len() as u32) {
        let (mut bytes, mut load, mut moved) = ([0.0; 4], [0.0; 4], 0);
        for item in 0..sizes.len() {
            let node = code / 4usize.pow(item as u32) % 4;
            bytes[node] += sizes[item] as f64;
            load[node] += loads[item];
            moved += if node == at[item] { 0 } else { sizes[item] };
        }
        let below = bytes.iter().all(|held| *held <= most.0) && load.iter().all(|held| *held <= most.1);
        if below && least.is_none_or(|least| moved < least) {
            least = Some(moved);
        }
    }
    least
}

#[test]
fn tiny_clusters_cost_at_most_half_more_than_the_least_bytes_on_the_whole() {
    let (mut spent, mut least, mut reached, mut feasible) = (0, 0, 0, 0);
    for seed in 0..60 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let sizes: Vec<u64> = (0..8).map(|_| 1 + rng.next_u64() % 20).collect();
        let loads: Vec<f64> = (0..8).map(|_| (1 + rng.next_u64() % 20) as f64).collect();
        let at: Vec<usize> = (0..8).map(|_| (rng.next_u64() % 4) as usize).collect();
        let mut before = cluster(24, 8, 0, 1);
        let node = |at: usize| NodeFacts {
            domain: None,
            capacity_bytes: 1000,
            load_capacity: Some(1000.0),
            ..before.topology.nodes()[at].clone()
        };
        before.topology = Topology::new(vec![], vec![], (0..4).map(node).collect(), vec![]).unwrap();
        before.assignment = Assignment::empty(8, 1);
        for (item, node) in at.iter().enumerate() {
            before.assignment.set(Partition(item as u32), &[Node(*node as u16)]);
        }
        before.partitions = Partitions::new((0..8).collect(), sizes.clone(), loads.clone(), 1);
        (before.policy.dead_band, before.policy.balance) = (0.301, 0.3);
        let most = (1.3 * sizes.iter().sum::<u64>() as f64 / 4.0, 1.3 * loads.iter().sum::<f64>() / 4.0);
        let Some(best) = least_bytes(&sizes, &loads, &at, most) else { continue };
        feasible += 1;
        let decided = balance(&Snapshot::new(before).unwrap());
        let after = &decided.totals.after;
        if after.size.unwrap().max(after.load.unwrap()) <= 1.302 {
            reached += 1;
            spent += decided.totals.bytes;
            least += best;
        }
    }
    assert!(reached * 10 >= feasible * 6, "{reached} of {feasible} reached");
    assert!(spent * 2 <= least * 3, "{spent} bytes, least {least}");
}
