//! Many events one after the other: what a plan leaves must be as good a start as it found.

use crate::support::draws::Draws;
use crate::support::events::Asked;
use crate::support::generator::{Scale, Start, generate};
use crate::support::judge::{faults, subset};
use crate::support::measures::{Measures, measure};
use isotherm_placement::{Cluster, Node, NodeFacts, NodeState, Partition, Snapshot, Topology, plan};

/// Plans and does what is asked. What it came to, and the cluster after it, a day later.
fn round(cluster: Cluster, asked: &Asked) -> (Measures, Cluster) {
    let request = asked.request();
    let snapshot = Snapshot::new(cluster.clone()).unwrap();
    let made = plan(&snapshot, &request);
    let found = faults(&cluster, &request, &made);
    assert!(found.is_empty(), "{asked:?}: {:#?}", &found[..found.len().min(5)]);
    let mut after = made.apply(snapshot).unwrap();
    after.now_s += 100_000;
    (measure(&cluster, &cluster.assignment, &after.assignment), after)
}

fn with_nodes(cluster: &mut Cluster, change: impl FnOnce(&mut Vec<NodeFacts>)) {
    let mut nodes = cluster.topology.nodes().to_vec();
    change(&mut nodes);
    let (levels, domains) = (cluster.topology.levels().to_vec(), cluster.topology.domains().to_vec());
    cluster.topology = Topology::new(levels, domains, nodes, Vec::new()).unwrap();
}

fn set_state(cluster: &mut Cluster, node: usize, state: NodeState) {
    with_nodes(cluster, |nodes| nodes[node].state = state);
}

fn repair() -> Asked {
    Asked { repair: true, ..Asked::default() }
}

fn fill(node: usize) -> Asked {
    Asked { fill: vec![Node(node as u16)], ..Asked::default() }
}

/// N S / 6 for a scatter width of 10.
fn fewest_copysets(cluster: &Cluster) -> f64 {
    cluster.topology.nodes().len() as f64 * 10.0 / 6.0
}

#[test]
fn fifty_failures_and_replacements_keep_copysets_few_and_move_no_more_than_they_must() {
    for (scale, rounds) in [(Scale::M, 50)] {
        let generated = generate(scale, 1, Start::Copysets(10));
        let mut cluster = generated.cluster();
        let start = measure(&cluster, &cluster.assignment, &cluster.assignment);
        let most = 1.10 * (start.copysets as f64).max(fewest_copysets(&cluster));
        let mut draws = Draws::new(1, "fail");
        let mut wrong = Vec::new();
        for at in 0..rounds {
            let node = draws.below(cluster.topology.nodes().len());
            set_state(&mut cluster, node, NodeState::Down);
            let (failed, repaired) = round(cluster, &repair());
            if failed.moved_bytes != failed.lost_bytes || failed.violations > 0 {
                wrong.push(format!("round {at}, node {node} fails: {failed:?}"));
            }
            cluster = repaired;
            set_state(&mut cluster, node, NodeState::Up);
            let (filled, full) = round(cluster, &fill(node));
            let share = share_of(&full, node);
            if filled.moved_bytes as f64 > 1.02 * share {
                wrong.push(format!(
                    "round {at}, node {node} takes {:.3} of its share",
                    filled.moved_bytes as f64 / share
                ));
            }
            if filled.copysets as f64 > most || filled.violations > 0 {
                wrong
                    .push(format!("round {at}: {} copysets, at most {most:.0}: {filled:?}", filled.copysets));
            }
            let tolerable = |was: f64| was.max(1.02) + 0.03;
            if filled.size > tolerable(start.size) || filled.load > tolerable(start.load) {
                wrong.push(format!("round {at}: from {:.3}, {:.3}: {filled:?}", start.size, start.load));
            }
            cluster = full;
        }
        let shown = wrong.iter().take(3).chain(wrong.last()).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{scale:?}: {} of {start:?}\n{shown}", wrong.len());
    }
}

/// The bytes that a node should have.
fn share_of(cluster: &Cluster, node: usize) -> f64 {
    let partitions = &cluster.partitions;
    let bytes: f64 = partitions
        .all()
        .map(|p| cluster.assignment.subset(p).len() as f64 * partitions.size_bytes[p.at()] as f64)
        .sum();
    let up = cluster.topology.nodes().iter().filter(|node| node.state == NodeState::Up);
    let all: f64 = up.map(|node| node.capacity_bytes as f64).sum();
    bytes * cluster.topology.nodes()[node].capacity_bytes as f64 / all
}

#[test]
fn twenty_new_nodes_fill_up_and_nothing_else_moves() {
    for start in [Start::Random, Start::Copysets(10)] {
        let generated = generate(Scale::M, 2, start);
        let mut cluster = generated.cluster();
        let first = measure(&cluster, &cluster.assignment, &cluster.assignment);
        let mut wrong = Vec::new();
        let mut draws = Draws::new(2, "add");
        for at in 0..20 {
            let node = cluster.topology.nodes().len();
            let like = cluster.topology.nodes()[draws.below(node)].clone();
            let name = format!("new{at}");
            let key = isotherm_placement::hash::key(name.as_bytes());
            with_nodes(&mut cluster, |nodes| nodes.push(NodeFacts { name, key, ..like }));
            let (filled, after) = round(cluster, &fill(node));
            let share = share_of(&after, node);
            let moved = filled.moved_bytes as f64 / share;
            if !(0.95..=1.02).contains(&moved) || filled.receivers != 1 || filled.violations > 0 {
                wrong.push(format!("{start:?}, round {at} moves {moved:.3} of the share: {filled:?}"));
            }
            if start != Start::Random && filled.copysets as f64 > 1.10 * first.copysets as f64 {
                wrong.push(format!("round {at}: {} copysets became {}", first.copysets, filled.copysets));
            }
            cluster = after;
        }
        let shown = wrong.iter().take(3).chain(wrong.last()).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{} of {first:?}\n{shown}", wrong.len());
    }
}

#[test]
fn nodes_that_drain_one_after_the_other_leave_even_pressures() {
    for start in [Start::Random, Start::Copysets(10)] {
        let generated = generate(Scale::M, 3, start);
        let mut cluster = generated.cluster();
        let first = measure(&cluster, &cluster.assignment, &cluster.assignment);
        let mut draws = Draws::new(3, "drain");
        for at in 0..20 {
            let up: Vec<usize> = (0..cluster.topology.nodes().len())
                .filter(|node| cluster.topology.nodes()[*node].state == NodeState::Up)
                .collect();
            let node = up[draws.below(up.len())];
            let before = measure(&cluster, &cluster.assignment, &cluster.assignment);
            let touched = copysets_of(&cluster, node);
            set_state(&mut cluster, node, NodeState::Draining);
            let (drained, after) = round(cluster.clone(), &repair());
            assert_eq!(drained.moved_bytes, drained.lost_bytes, "{start:?}, round {at}");
            assert_eq!(drained.violations + drained.over, 0, "{start:?}, round {at}: {drained:?}");
            let tolerable = |was: f64| was.max(1.02) + 0.01;
            assert!(
                drained.size <= tolerable(first.size) && drained.load <= tolerable(first.load),
                "{start:?}, round {at}: {first:?} became {drained:?}"
            );
            let split = cluster.policy.fan_out as usize - 1;
            assert!(
                start == Start::Random || drained.copysets <= before.copysets + split * touched,
                "{start:?}, round {at}: {touched} of {before:?} became {drained:?}"
            );
            cluster = after;
        }
    }
}

fn copysets_of(cluster: &Cluster, node: usize) -> usize {
    let holds = |p: &Partition| cluster.assignment.holds(Node(node as u16), *p);
    let mut sets: Vec<Vec<Node>> =
        cluster.partitions.all().filter(holds).map(|p| subset(&cluster.assignment, p)).collect();
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets.sort_unstable();
    sets.dedup();
    sets.len()
}
