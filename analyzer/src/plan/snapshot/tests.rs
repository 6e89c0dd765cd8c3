use super::*;
use crate::topology::Source;
use isotherm_migration::{Capabilities, Fence, MigrationId, Moment, Origin, Revision, Spec, Switch, Term};
use isotherm_migration::{Migration, Policy as MigrationPolicy};
use isotherm_placement::{Constraint, InFlight, NodeState, Request, plan};
use isotherm_proto::{Health, NodeFacts, PartitionFacts};
use isotherm_runner::{About, Trigger};
use std::sync::Arc;

const GIB: u64 = 1 << 30;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// Nodes a to d in racks of their own, and three partitions of 1 GiB on two nodes each.
fn topology() -> Topology {
    let facts = |name: &str| NodeFacts {
        domains: vec![format!("rack {name}")],
        capacity_bytes: Some(100 * GIB),
        health: Health::Up,
        ..NodeFacts::default()
    };
    let mut topology = Topology { revision: 7, ..Topology::default() };
    topology.nodes = Arc::new(["a", "b", "c", "d"].map(|name| (node(name), facts(name))).into());
    topology.sources.insert(system(), Source::configured());
    for (name, nodes) in [("p1", ["a", "b"]), ("p2", ["b", "c"]), ("p3", ["a", "c"])] {
        let nodes = nodes.map(node).to_vec();
        let facts = PartitionFacts { size_bytes: Some(GIB), nodes, epoch: 3, locators: Vec::new() };
        topology.set_partition(partition(name), facts);
    }
    topology
}

fn change(topology: &mut Topology, name: &str, change: impl FnOnce(&mut NodeFacts)) {
    change(Arc::make_mut(&mut topology.nodes).get_mut(&node(name)).unwrap());
}

fn unsized_partition(topology: &mut Topology, name: &str) {
    Arc::make_mut(&mut topology.partitions).get_mut(&partition(name)).unwrap().size_bytes = None;
}

fn charted<'a>(topology: &'a Topology, with: impl FnOnce(&mut Sources<'a>)) -> Result<Chart, ChartError> {
    let system: &'static SystemId = Box::leak(Box::new(system()));
    let mut sources = Sources::new(system, topology, None);
    with(&mut sources);
    chart(&sources)
}

fn entry(name: &str, from: Origin, to: &str) -> Entry {
    let spec = Spec {
        id: MigrationId::new("m").unwrap(),
        partition: partition(name),
        origin: from,
        target: node(to),
        revision: Revision(1),
        capabilities: Capabilities {
            switch: Switch::Gated,
            fence: Fence::AtSwitch,
            repair_from_replica: true,
            reverse: true,
        },
        policy: MigrationPolicy::default(),
    };
    let about = About {
        created_ms: 1,
        ended_ms: None,
        by: "ann".to_owned(),
        reason: String::new(),
        trigger: Trigger::Manual,
        words: None,
        compared: Vec::new(),
        rolled_back: false,
    };
    Entry { migration: Migration::new(spec, Term(1), Moment(0)).unwrap(), about }
}

#[test]
fn names_sizes_epochs_and_holders_are_the_topologys_with_the_leader_first() {
    let mut topology = topology();
    let nodes = vec![node("c"), node("b")];
    let facts = PartitionFacts { size_bytes: Some(GIB), nodes, epoch: 4, locators: Vec::new() };
    topology.set_partition(partition("p2"), facts);
    let chart = charted(&topology, |_| ()).unwrap();
    assert_eq!(chart.snapshot.revision(), 7);
    assert_eq!(chart.partition(&partition("p2")), Some(Partition(1)));
    let held: Vec<Node> = chart.snapshot.assignment().subset(Partition(1)).collect();
    assert_eq!(held, [Node(2), Node(1)]);
    assert_eq!(chart.snapshot.partitions().epoch.get(Partition(1)), 4);
    assert_eq!(chart.snapshot.partitions().size_bytes, [GIB; 3]);
    assert!(chart.left_out.is_empty() && chart.closed.is_empty());
    assert_eq!(chart.no_load.as_deref(), Some("no cycle has measured it yet"));
    assert!(!chart.snapshot.judges_load(), "a load that nobody knows is not 0");
}

#[test]
fn a_drained_node_is_emptied_and_cordoned_ones_take_nothing() {
    let topology = topology();
    let (drained, cordoned) = ([node("a")].into(), [node("d")].into());
    let drain = Request { drain: true, ..Request::default() };
    let chart = charted(&topology, |sources| sources.drained = &drained).unwrap();
    let moves = plan(&chart.snapshot, &drain).moves;
    assert_eq!(moves.len(), 2, "exactly what lies on it");
    let chart = charted(&topology, |sources| {
        sources.drained = &drained;
        sources.cordoned = &cordoned;
    });
    let chart = chart.unwrap();
    let made = plan(&chart.snapshot, &drain);
    let to_d = |action| matches!(action, isotherm_placement::Action::Copy { to: Node(3), .. });
    assert!(!made.moves.is_empty() && !made.moves.iter().any(|one| to_d(one.action)), "{made:?}");
    let forged = isotherm_placement::Move {
        action: isotherm_placement::Action::Copy { from: Some(Node(0)), to: Node(3) },
        ..made.moves[0].clone()
    };
    let totals = made.totals.clone();
    let forged = isotherm_placement::Plan::new(7, vec![forged], Vec::new(), totals);
    let found = isotherm_placement::check(&chart.snapshot, &forged);
    assert!(found.iter().any(|one| one.to_string().contains("is cordoned")), "{found:?}");
    let explained = isotherm_placement::explain::of_move(&chart.snapshot, &made, 0, None).unwrap();
    let rejected = isotherm_placement::explain::Verdict::Rejected(Constraint::NotATarget);
    assert!(explained.nodes.contains(&(Node(3), rejected)));
}

#[test]
fn a_node_that_is_down_is_repaired_only_when_that_is_asked_for() {
    let mut topology = topology();
    change(&mut topology, "a", |facts| facts.health = Health::Down);
    let drained = [node("b")].into();
    let chart = charted(&topology, |sources| sources.drained = &drained).unwrap();
    assert_eq!(chart.snapshot.topology().node(Node(0)).state, NodeState::Down);
    let moved = |request: &Request<'_>| plan(&chart.snapshot, request).moves.len();
    assert_eq!(moved(&Request { drain: true, ..Request::default() }), 2);
    assert_eq!(moved(&Request { repair: true, ..Request::default() }), 4);
}

#[test]
fn what_is_never_touched_takes_its_part_of_the_capacity() {
    let topology = topology();
    let never = |id: &PartitionId| (id.name() == "p1").then(|| "never touched".to_owned());
    let policy = Policy { fill_limit: 0.5, ..Policy::default() };
    let chart = charted(&topology, |sources| {
        sources.untouchable = &never;
        sources.policy = policy;
    });
    let chart = chart.unwrap();
    let left = LeftOut {
        partition: partition("p1"),
        holders: vec![node("a"), node("b")],
        why: "never touched".to_owned(),
    };
    assert_eq!((chart.left_out.as_slice(), chart.partition(&partition("p1"))), (&[left][..], None));
    let capacity = |at: u16| chart.snapshot.topology().node(Node(at)).capacity_bytes;
    assert_eq!([0, 1, 2].map(capacity), [98 * GIB, 98 * GIB, 100 * GIB]);
}

#[test]
fn what_is_not_known_is_told_and_its_nodes_take_nothing() {
    let mut topology = topology();
    unsized_partition(&mut topology, "p2");
    change(&mut topology, "d", |facts| facts.capacity_bytes = None);
    change(&mut topology, "a", |facts| facts.health = Health::Unknown);
    let chart = charted(&topology, |_| ()).unwrap();
    let closed: Vec<(&str, &str)> =
        chart.closed.iter().map(|(node, why)| (node.name(), why.as_str())).collect();
    assert_eq!(
        closed,
        [
            ("a", "nobody says whether it serves"),
            ("b", "it holds partitions of unknown size"),
            ("c", "it holds partitions of unknown size"),
            ("d", "its capacity is not known"),
        ]
    );
    assert_eq!(chart.left_out[0].why, "its size is not known");
    assert!(chart.snapshot.topology().nodes().iter().all(|facts| !facts.takes()));
    // An operator's word makes a target of it.
    let word = [(node("d"), GIB)].into();
    let chart = charted(&topology, |sources| sources.capacities = &word).unwrap();
    assert!(chart.snapshot.topology().node(Node(3)).takes());
}

#[test]
fn where_no_capacity_is_known_nothing_is_planned_and_the_way_out_is_told() {
    let mut topology = topology();
    for name in ["a", "b", "c", "d"] {
        change(&mut topology, name, |facts| facts.capacity_bytes = None);
    }
    let refused = charted(&topology, |_| ()).unwrap_err().to_string();
    assert!(refused.contains("--capacity") && refused.contains("a, b, c, d"), "{refused}");
    topology.sources.get_mut(&system()).unwrap().freshness = Freshness::Stale;
    assert_eq!(charted(&topology, |_| ()).unwrap_err(), ChartError::Stale(system()));
    topology.sources.clear();
    assert_eq!(charted(&topology, |_| ()).unwrap_err(), ChartError::NoSystem(system()));
}

#[test]
fn a_copy_under_way_counts_before_and_after_its_switch_and_also_of_a_node_that_is_gone() {
    let mut topology = topology();
    let moving = [entry("p1", Origin::Move { source: node("a") }, "d")];
    let flight = InFlight { partition: Partition(0), from: Some(Node(0)), to: Node(3) };
    let before = charted(&topology, |sources| sources.migrations = &moving).unwrap();
    assert_eq!(before.snapshot.in_flight(), [flight]);
    let nodes = vec![node("d"), node("b")];
    let facts = PartitionFacts { size_bytes: Some(GIB), nodes, epoch: 4, locators: Vec::new() };
    topology.set_partition(partition("p1"), facts);
    let after = charted(&topology, |sources| sources.migrations = &moving).unwrap();
    assert_eq!(after.snapshot.in_flight(), [flight]);
    let repair = [entry("p1", Origin::Repair { dead: node("gone") }, "c")];
    let chart = charted(&topology, |sources| sources.migrations = &repair).unwrap();
    let flight = InFlight { partition: Partition(0), from: None, to: Node(2) };
    assert_eq!(chart.snapshot.in_flight(), [flight]);
    let nowhere = [entry("p1", Origin::Move { source: node("d") }, "gone")];
    let chart = charted(&topology, |sources| sources.migrations = &nowhere).unwrap();
    assert!(chart.left_out[0].why.contains("gone"), "{:?}", chart.left_out);
}

#[test]
fn domains_allow_no_more_replicas_than_there_must_be_and_an_unknown_one_takes_none() {
    let mut topology = topology();
    let limits = |topology: &Topology| charted(topology, |_| ()).unwrap().snapshot.limits().to_vec();
    assert_eq!(limits(&topology), [Some(1)]);
    for name in ["a", "b", "c", "d"] {
        change(&mut topology, name, |facts| facts.domains = vec!["dc".to_owned(), "rack".to_owned()]);
    }
    assert_eq!(limits(&topology), [None, Some(2)], "all are in one rack");
    change(&mut topology, "d", |facts| facts.domains = Vec::new());
    let chart = charted(&topology, |_| ()).unwrap();
    assert_eq!(chart.closed, [(node("d"), "its failure domain is not known".to_owned())]);
}
