use super::*;
use crate::topology::{Origin as From, Source};
use isotherm_model::SystemId;
use isotherm_proto::{NodeFacts, PartitionFacts};
use std::sync::Arc;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// Partition 1 on a, partition 2 on a and b, and node c with nothing.
fn topology(switch: proto::Switch) -> Topology {
    let mut topology = Topology { revision: 7, ..Topology::default() };
    for name in ["a", "b", "c"] {
        Arc::make_mut(&mut topology.nodes).insert(node(name), NodeFacts::default());
    }
    for (name, nodes) in [("1", &["a"][..]), ("2", &["a", "b"])] {
        let nodes = nodes.iter().map(|name| node(name)).collect();
        let facts = PartitionFacts { size_bytes: None, nodes, epoch: 1, locators: Vec::new() };
        topology.set_partition(partition(name), facts);
    }
    let capabilities = proto::Capabilities {
        system: system(),
        adapter: "test".to_owned(),
        switch,
        fence: Some(proto::Fence::AtSwitch),
        repair_from_replica: true,
        shift_reads: proto::ShiftReads::None,
        verify: Vec::new(),
        reverse: true,
        online_copy: true,
        throttle: true,
        max_concurrent: 1,
    };
    let source = Source {
        origin: From::Adapter { endpoint: "http://a".to_owned() },
        capabilities: Some(Arc::new(capabilities)),
        ..Source::configured()
    };
    topology.sources.insert(system(), source);
    topology
}

fn asked(name: &str, source: Option<&str>, target: &str) -> Asked {
    Asked {
        id: MigrationId::new("m").unwrap(),
        partition: partition(name),
        source: source.map(node),
        repair: false,
        target: node(target),
        gated: false,
        probation_ms: None,
        bytes_per_s: Some(70),
    }
}

fn specified(asked: Asked) -> Result<Spec, Problem> {
    let limits = isotherm_runner::Limits { bytes_per_s: Some(200), ..isotherm_runner::Limits::default() };
    specify(&topology(proto::Switch::Gated), &Config { limits, ..Config::default() }, asked)
}

#[test]
fn the_only_holder_is_the_source_and_the_tighter_rate_counts() {
    let spec = specified(asked("1", None, "c")).unwrap();
    assert_eq!((spec.origin, spec.target), (Origin::Move { source: node("a") }, node("c")));
    assert_eq!((spec.revision, spec.policy.bytes_per_s), (Revision(7), Some(50)));
    let gated = specified(Asked { gated: true, probation_ms: Some(5), ..asked("1", None, "c") }).unwrap();
    assert_eq!((gated.policy.switch, gated.policy.probation_ms), (SwitchWhen::Told, 5));
    let repair = specified(Asked { repair: true, ..asked("2", Some("b"), "c") }).unwrap();
    assert_eq!(repair.origin, Origin::Repair { dead: node("b") });
}

#[test]
fn what_cannot_be_is_said_with_what_is() {
    let told = |asked| specified(asked).unwrap_err().to_string();
    assert_eq!(told(asked("2", None, "c")), "s/2 lies on s/a, s/b: say which one is left");
    assert_eq!(told(asked("1", Some("b"), "c")), "s/1 does not lie on s/b, but on s/a");
    assert_eq!(told(asked("2", Some("a"), "b")), "s/2 lies on s/b already");
    assert!(told(asked("9", None, "c")).contains("no topology names partition s/9"));
    assert!(told(asked("1", None, "x")).contains("does not name node s/x"));
    let fixed = specify(&topology(proto::Switch::None), &Config::default(), asked("1", None, "c"));
    assert_eq!(fixed.unwrap_err(), Problem::Immovable("s".to_owned()));
    let mut silent = topology(proto::Switch::Gated);
    silent.sources.get_mut(&system()).unwrap().freshness = Freshness::Stale;
    let told = specify(&silent, &Config::default(), asked("1", None, "c")).unwrap_err();
    assert_eq!(told, Problem::Stale("s".to_owned()));
    silent.sources.clear();
    let told = specify(&silent, &Config::default(), asked("1", None, "c")).unwrap_err();
    assert_eq!(told, Problem::NoAdapter("s".to_owned()));
}
