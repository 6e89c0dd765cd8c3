use super::*;
use crate::topology::{Partition, Source};
use isotherm_proto::{Capabilities, Fence, NodeFacts, Switch};

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

fn nodes(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| node(name)).collect()
}

/// Nodes a to d, all up but `down`; partition p on these, the leader first.
fn topology(held: &[&str], down: &[&str], shift_reads: ShiftReads) -> Arc<Topology> {
    let capabilities = Capabilities {
        system: system(),
        adapter: String::new(),
        switch: Switch::Gated,
        fence: Some(Fence::AtSwitch),
        repair_from_replica: true,
        shift_reads,
        verify: Vec::new(),
        reverse: true,
        online_copy: true,
        throttle: true,
        max_concurrent: 1,
    };
    let health = |name: &&str| if down.contains(name) { Health::Down } else { Health::Up };
    let facts =
        |name: &'static str| (node(name), NodeFacts { health: health(&name), ..NodeFacts::default() });
    let partition_facts =
        Partition { leader: node(held[0]), size_bytes: None, epoch: 1, locators: Arc::default() };
    let source = Source { capabilities: Some(Arc::new(capabilities)), ..Source::configured() };
    Arc::new(Topology {
        revision: 1,
        nodes: Arc::new(["a", "b", "c", "d"].map(facts).into()),
        subsets: Arc::new(BTreeMap::from([(partition("p"), nodes(held))])),
        partitions: Arc::new(BTreeMap::from([(partition("p"), partition_facts)])),
        sources: BTreeMap::from([(system(), source)]),
    })
}

/// What is seen of a cluster that is like the first, then like the others.
fn seen(states: &[(&[&str], &[&str])]) -> Vec<Change> {
    let mut movers = Movers::default();
    let look = |(held, down): &(&[&str], &[&str])| movers.look(&topology(held, down, ShiftReads::None));
    states.iter().flat_map(look).collect()
}

#[test]
fn what_was_there_at_first_and_what_stays_is_no_change() {
    assert!(seen(&[(&["a", "b"], &[])]).is_empty());
    assert!(seen(&[(&["a", "b"], &[]), (&["a", "b"], &[]), (&["a", "b"], &["a"])]).is_empty());
}

#[test]
fn a_replica_that_goes_elsewhere_is_a_change() {
    let changes = seen(&[(&["a", "b"], &[]), (&["c", "b"], &[])]);
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0].left, &changes[0].came), (&nodes(&["a"]), &nodes(&["c"])));
    assert_eq!(changes[0].words(), "s/p went from a to c");
}

#[test]
fn a_node_that_fails_and_comes_back_moves_nothing() {
    let whole: (&[&str], &[&str]) = (&["a", "b"], &[]);
    assert!(seen(&[whole, (&["b"], &["a"]), whole]).is_empty());
    // But somebody who makes the lost replica again elsewhere is at work.
    let changes = seen(&[whole, (&["b"], &["a"]), (&["b", "c"], &["a"])]);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].left.len(), &changes[0].came), (0, &nodes(&["c"])));
    // And one who takes a replica from a node that is up.
    assert_eq!(seen(&[whole, (&["b"], &[])])[0].words(), "s/p left a");
}

#[test]
fn another_leader_is_a_change_only_where_somebody_leads_and_could_have_gone_on() {
    let leaders = |shift_reads, down: &[&str]| {
        let mut movers = Movers::default();
        movers.look(&topology(&["a", "b"], &[], shift_reads));
        movers.look(&topology(&["b", "a"], down, shift_reads))
    };
    assert_eq!(leaders(ShiftReads::LeaderSwitch, &[])[0].words(), "b leads s/p");
    assert!(leaders(ShiftReads::LeaderSwitch, &["a"]).is_empty(), "that is a failover");
    assert!(leaders(ShiftReads::DrainReplica, &[]).is_empty(), "the order of replicas says nothing");
}

#[test]
fn only_what_isotherm_did_itself_explains_a_change() {
    let change = seen(&[(&["a", "b"], &[]), (&["c", "b"], &[])]);
    let left = |own: Own| unexplained(change.clone(), &BTreeMap::from([(partition("p"), vec![own])])).len();
    assert_eq!(left(Own::Moved([node("a"), node("c")])), 0);
    assert_eq!(left(Own::Moved([node("c"), node("a")])), 0, "taken back");
    assert_eq!(left(Own::Moved([node("a"), node("d")])), 1, "isotherm moved it, but not there");
    assert_eq!(left(Own::Touched), 0);
    let elsewhere = BTreeMap::from([(partition("q"), vec![Own::Touched])]);
    assert_eq!(unexplained(change, &elsewhere).len(), 1);
}
