use super::super::Assumed;
use super::*;
use isotherm_proto::{Fence, Health, ShiftReads, Switch};
use std::time::Duration;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + s * 1_000)
}

fn up() -> NodeFacts {
    NodeFacts { health: Health::Up, ..NodeFacts::default() }
}

fn on(nodes: &[&str]) -> PartitionFacts {
    let nodes = nodes.iter().map(|name| node(name)).collect();
    PartitionFacts { size_bytes: None, nodes, epoch: 1, locators: Vec::new() }
}

fn part(revision: u64, incarnation: &str, nodes: &[&str], partitions: &[(&str, &[&str])]) -> TopologyPart {
    TopologyPart {
        revision,
        incarnation: incarnation.to_owned(),
        nodes: nodes.iter().map(|name| (node(name), up())).collect(),
        partitions: partitions.iter().map(|(name, nodes)| (partition(name), on(nodes))).collect(),
        more: false,
    }
}

fn nothing(revision: u64) -> TopologyChanges {
    TopologyChanges {
        revision,
        removed_partitions: Vec::new(),
        removed_nodes: Vec::new(),
        nodes: BTreeMap::new(),
        partitions: BTreeMap::new(),
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        system: system(),
        adapter: "test".to_owned(),
        switch: Switch::Gated,
        fence: Some(Fence::AtSwitch),
        repair_from_replica: false,
        shift_reads: ShiftReads::None,
        verify: Vec::new(),
        reverse: false,
        online_copy: true,
        throttle: false,
        max_concurrent: 1,
    }
}

/// A model that has seen revision 5 of nodes a, b, c with partition 1 on a and b.
fn model() -> Model {
    let adapter = Adapter {
        system: system(),
        endpoint: "http://h:1".to_owned(),
        tls: None,
        heartbeat: Duration::from_secs(5),
        stale_after: Duration::from_secs(60),
        assumed: Assumed::default(),
    };
    let mut model = Model::new(Topology::default(), &[adapter], at(0));
    model.connected(&system(), capabilities(), at(0));
    let snapshot = part(5, "i", &["a", "b", "c"], &[("1", &["b", "a"])]);
    model.apply(&system(), TopologyMessage::Part(snapshot), at(1)).unwrap();
    model
}

fn change(model: &mut Model, changes: TopologyChanges) -> Result<(), Refused> {
    model.apply(&system(), TopologyMessage::Changes(changes), at(2))
}

#[test]
fn changes_are_applied_to_the_snapshot() {
    let mut model = model();
    let before = model.take();
    assert_eq!(before.partitions[&partition("1")].leader, node("b"), "the first leads");
    let down = NodeFacts { health: Health::Down, ..NodeFacts::default() };
    let changes = TopologyChanges {
        removed_nodes: vec![node("c")],
        nodes: BTreeMap::from([(node("a"), down), (node("d"), up())]),
        partitions: BTreeMap::from([(partition("2"), on(&["d"]))]),
        ..nothing(6)
    };
    change(&mut model, changes).unwrap();
    let after = model.take();
    assert!(after.revision > before.revision);
    assert_eq!(after.health(&node("a")), Some(Health::Down));
    assert_eq!(after.health(&node("c")), None);
    assert_eq!(after.subsets[&partition("2")], BTreeSet::from([node("d")]));
    assert_eq!(before.health(&node("a")), Some(Health::Up), "a snapshot that was taken never changes");
    let removed = TopologyChanges { removed_partitions: vec![partition("1")], ..nothing(7) };
    change(&mut model, removed).unwrap();
    assert!(!model.take().subsets.contains_key(&partition("1")));
}

#[test]
fn a_heartbeat_changes_nothing_but_the_time() {
    let mut model = model();
    let before = model.take();
    change(&mut model, nothing(5)).unwrap();
    assert!(model.has_news());
    let after = model.take();
    assert_eq!(after.revision, before.revision);
    assert_eq!(after.sources[&system()].heard, Some(at(2)));
    assert!(Arc::ptr_eq(&after.nodes, &before.nodes));
    change(&mut model, nothing(5)).unwrap();
    assert!(!model.has_news(), "a word in the same second is no news");
}

#[test]
fn what_contradicts_what_was_said_is_refused_and_changes_nothing() {
    let facts = |name: &str| BTreeMap::from([(node(name), up())]);
    let cases = [
        (nothing(4), Refused::Back { sent: 4, seen: 5 }),
        (TopologyChanges { nodes: facts("d"), ..nothing(5) }, Refused::Reused { revision: 5 }),
        (
            TopologyChanges { removed_nodes: vec![node("x")], ..nothing(6) },
            Refused::NotThere { what: "node s/x".to_owned() },
        ),
        (
            TopologyChanges { removed_partitions: vec![partition("x")], ..nothing(6) },
            Refused::NotThere { what: "partition s/x".to_owned() },
        ),
        (
            TopologyChanges { removed_nodes: vec![node("a")], nodes: facts("d"), ..nothing(6) },
            Refused::Holds { node: node("a"), partition: partition("1") },
        ),
        (
            TopologyChanges {
                removed_nodes: vec![node("c")],
                partitions: BTreeMap::from([(partition("2"), on(&["c"]))]),
                ..nothing(6)
            },
            Refused::NoSuchNode { partition: partition("2"), node: node("c") },
        ),
    ];
    for (changes, want) in cases {
        let mut model = model();
        let before = model.take();
        assert_eq!(change(&mut model, changes), Err(want));
        assert_eq!(model.take(), before);
    }
}

#[test]
fn a_connection_begins_with_a_snapshot_that_is_not_older() {
    let mut model = model();
    model.lost(&system(), "gone".to_owned(), at(2));
    assert_eq!(change(&mut model, nothing(6)), Err(Refused::NoSnapshot));
    let apply = |model: &mut Model, part| model.apply(&system(), TopologyMessage::Part(part), at(3));
    let older = part(4, "i", &["z"], &[]);
    assert_eq!(apply(&mut model, older), Err(Refused::Back { sent: 4, seen: 5 }));
    let kept = model.take();
    assert_eq!(kept.nodes.len(), 3);
    assert_eq!(kept.sources[&system()].problem.as_deref(), Some("gone"));
    apply(&mut model, part(4, "another count", &["z"], &[])).unwrap();
    let new = model.take();
    assert_eq!((new.nodes.len(), new.subsets.len(), new.partitions.len()), (1, 0, 0));
    assert_eq!(new.sources[&system()].problem, None);
}

#[test]
fn a_snapshot_comes_in_parts() {
    let mut model = model();
    let before = model.take();
    let first = TopologyPart { more: true, ..part(6, "i", &["a", "b"], &[("1", &["a"])]) };
    let apply = |model: &mut Model, part| model.apply(&system(), TopologyMessage::Part(part), at(3));
    apply(&mut model, first.clone()).unwrap();
    assert_eq!(model.take().nodes, before.nodes, "not before it is whole");
    assert_eq!(change(&mut model, nothing(6)), Err(Refused::Unfinished));
    apply(&mut model, part(6, "i", &["z"], &[("2", &["a", "z"])])).unwrap();
    assert_eq!(model.take().nodes.len(), 3);

    apply(&mut model, first.clone()).unwrap();
    assert_eq!(apply(&mut model, part(7, "i", &["z"], &[])), Err(Refused::PartsDiffer));
    apply(&mut model, first.clone()).unwrap();
    let again = Refused::Repeated { what: "s/a".to_owned() };
    assert_eq!(apply(&mut model, part(6, "i", &["a"], &[])), Err(again));
    apply(&mut model, first).unwrap();
    let nowhere = Refused::NoSuchNode { partition: partition("3"), node: node("q") };
    assert_eq!(apply(&mut model, part(6, "i", &["z"], &[("3", &["q"])])), Err(nowhere));
    assert_eq!(model.take().nodes.len(), 3, "what was known stays");
}

#[test]
fn what_is_old_is_stale_and_its_health_unknown() {
    let mut model = model();
    model.tick(at(60));
    assert_eq!(model.take().sources[&system()].freshness, Freshness::Fresh);
    model.tick(at(61));
    let stale = model.take();
    assert_eq!(stale.sources[&system()].freshness, Freshness::Stale);
    assert_eq!(stale.health(&node("a")), Some(Health::Unknown));
    assert_eq!(stale.nodes.len(), 3, "all else is as it was last");
    change(&mut model, nothing(5)).unwrap();
    assert_eq!(model.take().health(&node("a")), Some(Health::Up));
}
