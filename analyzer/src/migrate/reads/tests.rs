use super::*;
use crate::migrate::Config;
use isotherm_proto::NodeFacts;
use isotherm_runner::journal::trust::{Cause as Distrusted, Distrust};
use isotherm_runner::shift::{End, Named};
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

fn config(reads: Policy) -> Config {
    Config { reads, ..Config::default() }
}

fn drained(id: &str, of: &str, created_ms: u64, trigger: Trigger) -> Shift {
    let wanted = Wanted {
        partition: partition(of),
        what: What::Drain { node: node("a") },
        by: "isotherm".to_owned(),
        reason: String::new(),
        trigger,
        gray: false,
        approval_until_ms: None,
    };
    let mut shift = Shift::new(MigrationId::new(id).unwrap(), wanted, created_ms);
    shift.stage = Stage::InForce;
    shift.undo = Some(Named(node("a")));
    shift
}

fn ended(mut shift: Shift, end: End, at_ms: u64) -> Shift {
    shift.end(end, at_ms);
    shift
}

#[test]
fn a_shift_is_not_followed_by_another_before_its_time() {
    let config = config(Policy { cool_down: Duration::from_secs(10), ..Policy::default() });
    let cause_gone = End::Undone(Why::CauseGone);
    let at = |now_ms, end| {
        let shifts = vec![ended(drained("1", "p", 0, Trigger::Gate), end, 5_000)];
        Lately::of(shifts, Vec::new(), now_ms).permits(&partition("p"), &config)
    };
    assert!(at(14_999, cause_gone).unwrap_err().contains("within 10s, migrate.reads.cool_down"));
    assert_eq!(at(15_000, cause_gone), Ok(()));
    assert_eq!(at(6_000, End::Undone(Why::Move)), Ok(()), "it was undone for a move");
    let other = Lately::of(vec![drained("1", "q", 0, Trigger::Gate)], Vec::new(), 1);
    assert!(other.permits(&partition("p"), &config).is_ok() && !other.is_open(&partition("p")));
    assert!(other.is_open(&partition("q")));
}

#[test]
fn what_isotherm_begins_in_a_day_is_counted_and_what_people_begin_is_not() {
    let config = config(Policy { per_day: 1, ..Policy::default() });
    let permits = |trigger, now_ms| {
        let shifts = vec![drained("1", "q", 0, trigger)];
        Lately::of(shifts, Vec::new(), now_ms).permits(&partition("p"), &config)
    };
    assert!(permits(Trigger::Gate, 1).unwrap_err().contains("1 shifts of reads within a day"));
    assert_eq!(permits(Trigger::Manual, 1), Ok(()));
    assert_eq!(permits(Trigger::Gate, 86_400_000), Ok(()));
}

#[test]
fn reads_are_trusted_to_isotherm_as_far_as_moves_are() {
    let distrust = |cause, why: &str| Distrust { system: "s".into(), cause, at_ms: 1_000, why: why.into() };
    let known =
        vec![distrust(Distrusted::Demoted, "a rollback"), distrust(Distrusted::OtherMover, "p3 left n1")];
    let config = config(Policy::default());
    let quiet_ms = ms(config.trust.other_movers_quiet);
    let at = |now_ms| Lately::of(Vec::new(), known.clone(), now_ms);
    let why = at(1_000).permits(&partition("p"), &config).unwrap_err();
    assert_eq!(why, "somebody else moves partitions of s: p3 left n1");
    assert_eq!(at(1_000 + quiet_ms).permits(&partition("p"), &config), Ok(()));
    let elsewhere = PartitionId::new(SystemId::new("t").unwrap(), "p").unwrap();
    assert_eq!(at(1_000).permits(&elsewhere, &config), Ok(()));

    let demoted = |name: &str| at(1_000).demoted(&SystemId::new(name).unwrap());
    assert!(demoted("s") && !demoted("t"));
    assert_eq!([true, false].map(|demoted| asks(Standing::Carried, demoted)), [Ok(true), Ok(false)]);
    assert_eq!(asks(Standing::AwaitsApproval, false), Ok(true));
    assert!(asks(Standing::Recommended, true).is_err());
}

fn topology(shift_reads: ShiftReads, health: [Health; 2]) -> Topology {
    let mut topology = Topology::default();
    let facts = |health| NodeFacts {
        addresses: Vec::new(),
        domains: Vec::new(),
        capacity_bytes: None,
        load_capacity_ops_per_s: None,
        class: None,
        health,
    };
    let nodes = [("a", health[0]), ("b", health[1])];
    topology.nodes = Arc::new(nodes.into_iter().map(|(name, health)| (node(name), facts(health))).collect());
    let holders: BTreeSet<NodeId> = [node("a"), node("b")].into();
    topology.subsets = Arc::new([(partition("p"), holders)].into_iter().collect());
    let mut source = crate::topology::Source::configured();
    source.capabilities = Some(Arc::new(isotherm_proto::Capabilities {
        system: system(),
        adapter: String::new(),
        switch: isotherm_proto::Switch::Gated,
        fence: None,
        repair_from_replica: false,
        shift_reads,
        verify: Vec::new(),
        reverse: false,
        online_copy: true,
        throttle: false,
        max_concurrent: 1,
    }));
    topology.sources = [(system(), source)].into();
    topology
}

#[test]
fn what_the_topology_says_against_a_shift_is_said() {
    let (drain, lead) = (What::Drain { node: node("a") }, What::Lead { to: node("b") });
    let up = [Health::Up; 2];
    let found = |topology: &Topology, what| in_the_way(topology, &partition("p"), what).join("; ");
    assert_eq!(found(&topology(ShiftReads::DrainReplica, up), &drain), "");
    assert_eq!(found(&topology(ShiftReads::LeaderSwitch, up), &lead), "");
    assert!(found(&topology(ShiftReads::None, up), &drain).contains("cannot shift reads"));
    assert!(found(&topology(ShiftReads::LeaderSwitch, up), &drain).contains("can drain nothing"));
    let down = topology(ShiftReads::DrainReplica, [Health::Up, Health::Down]);
    assert!(found(&down, &drain).contains("no other holder of s/p is up"));
    let elsewhere = What::Drain { node: node("c") };
    assert!(found(&topology(ShiftReads::DrainReplica, up), &elsewhere).contains("does not lie on s/c"));
}

#[test]
fn a_drained_replica_is_restored_when_no_other_is_up() {
    let shift = drained("1", "p", 0, Trigger::Gate);
    let alone = |health| alone(&topology(ShiftReads::DrainReplica, health), &shift);
    assert!(alone([Health::Up, Health::Down]));
    assert!(!alone([Health::Up, Health::Up]) && !alone([Health::Up, Health::Unknown]));
    assert!(!alone([Health::Down, Health::Down]), "there is nothing to restore");
}
