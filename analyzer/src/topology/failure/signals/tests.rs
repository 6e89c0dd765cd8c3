use super::*;
use crate::topology::Source;
use isotherm_model::SystemId;
use isotherm_proto::NodeFacts;
use std::sync::Arc;

const STARTED: u64 = 1_000_000;

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(STARTED + s * 1_000)
}

fn id(name: &str) -> NodeId {
    NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
}

fn topology(health: Health, freshness: Freshness) -> Topology {
    let facts = NodeFacts { health, ..NodeFacts::default() };
    Topology {
        nodes: Arc::new(BTreeMap::from([(id("n"), facts)])),
        sources: BTreeMap::from([(
            SystemId::new("s").unwrap(),
            Source { freshness, ..Source::configured() },
        )]),
        ..Topology::default()
    }
}

fn report(name: &str, agent: &str, last_end: u64, processes: u32) -> NodeReport {
    NodeReport {
        node: id(name),
        agent: agent.to_owned(),
        first_watched: None,
        last_watched: None,
        last_end: at(last_end),
        window_ms: 10_000,
        processes,
        listening: Vec::new(),
    }
}

fn seen(topology: &Topology, reports: &[NodeReport], was_up: bool, now: u64) -> Seen {
    let probes = Probes::new(false);
    Signals::new(topology, reports, &probes, at(0), at(now)).of(&id("n"), was_up)
}

#[test]
fn the_topology_comes_first_while_it_is_fresh() {
    let running = [report("n", "h", 100, 1)];
    let gone = [report("n", "h", 100, 0)];
    for (health, up) in [(Health::Up, true), (Health::Draining, true), (Health::Down, false)] {
        for reports in [&running, &gone] {
            let found = seen(&topology(health, Freshness::Fresh), reports, true, 101);
            assert_eq!((found.up, found.draining), (Some(up), health == Health::Draining), "{health:?}");
        }
        let stale = topology(health, Freshness::Stale);
        assert_eq!(seen(&stale, &running, true, 101).up, Some(true), "then the agent is asked");
        assert_eq!(seen(&stale, &[], true, 101).up, None);
    }
}

#[test]
fn a_process_that_was_there_and_is_gone_is_a_node_that_is_down() {
    let unknown = topology(Health::Unknown, Freshness::Fresh);
    let gone = [report("n", "h", 100, 0)];
    let found = seen(&unknown, &gone, true, 101);
    assert_eq!((found.up, found.source), (Some(false), Recorder::Agent));
    assert_eq!(seen(&unknown, &gone, false, 101).up, None, "a selector may match nothing from the start");
}

#[test]
fn silence_alone_says_nothing_of_the_node() {
    let unknown = topology(Health::Unknown, Freshness::Fresh);
    let last = [report("n", "h", 100, 1)];
    let found = seen(&unknown, &last, true, 129);
    assert_eq!((found.up, found.silent_since), (Some(true), None), "a window may be under way");
    let found = seen(&unknown, &last, true, 130);
    assert_eq!((found.up, found.silent_since), (None, Some(at(100))));
    let others = [report("n", "h", 100, 1), report("m", "h", 200, 1)];
    assert_eq!(seen(&unknown, &others, true, 201).silent_since, None, "its agent has stopped watching it");
}

#[test]
fn after_a_start_agents_have_time_to_connect() {
    let unknown = topology(Health::Unknown, Freshness::Fresh);
    let mut old = [report("n", "h", 0, 1)];
    old[0].last_end = Timestamp::from_ms(5);
    assert_eq!(seen(&unknown, &old, false, 29).silent_since, None);
    assert_eq!(seen(&unknown, &old, false, 30).silent_since, Some(at(0)), "not since before the start");
}

#[test]
fn a_node_is_not_gone_because_its_source_is_not_heard() {
    let gone = |freshness| {
        let known = topology(Health::Up, freshness);
        Signals::new(&known, &[], &Probes::new(false), at(0), at(1)).is_gone(&id("other"))
    };
    assert!(gone(Freshness::Fresh));
    assert!(!gone(Freshness::Never), "as after a start");
    assert!(!gone(Freshness::Stale));
}

#[test]
fn an_agent_says_what_it_sees_whatever_the_topology_says() {
    let down = topology(Health::Down, Freshness::Fresh);
    let says = |reports: &[NodeReport], now: u64| {
        let probes = Probes::new(false);
        Signals::new(&down, reports, &probes, at(0), at(now)).agent(&id("n"))
    };
    let mut gone = report("n", "h", 100, 0);
    assert_eq!(says(&[gone.clone()], 101), AgentSays::Nothing, "a selector may match nothing from the start");
    gone.last_watched = Some(at(90));
    assert_eq!(says(&[gone.clone()], 101), AgentSays::NoProcess);
    assert_eq!(says(&[report("n", "h", 100, 1)], 101), AgentSays::Runs);
    assert_eq!(says(&[gone], 131), AgentSays::Silent);
    assert_eq!(says(&[], 131), AgentSays::Nothing);
}
