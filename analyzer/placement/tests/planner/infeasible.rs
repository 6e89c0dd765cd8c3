//! Clusters that cannot hold what they should: refusals that say why, and no move that does not help.

use crate::support::judge::faults;
use isotherm_placement::{
    Assignment, Cause, Cluster, Domain, DomainFacts, Gain, Level, Node, NodeFacts, NodeState, Partition,
    Partitions, Plan, Policy, PolicyError, Request, Snapshot, SnapshotError, Topology, check, check_schedule,
    hash, plan, schedule,
};

/// Nodes of 1,000 bytes by rack and state, partitions of 100 bytes by row, three replicas wanted.
fn cluster(racks: &[&[NodeState]], rows: &[&[u16]]) -> Cluster {
    let name = |rack: usize| DomainFacts { name: format!("rack{rack}"), level: Level(0), parent: None };
    let domains: Vec<DomainFacts> = (0..racks.len()).map(name).collect();
    let inside = racks.iter().enumerate().flat_map(|(rack, states)| states.iter().map(move |s| (rack, *s)));
    let nodes = inside.enumerate().map(|(at, (rack, state))| NodeFacts {
        name: format!("n{at}"),
        key: hash::key(format!("n{at}").as_bytes()),
        domain: Some(Domain(rack as u16)),
        capacity_bytes: 1_000,
        load_capacity: None,
        network_bytes_per_s: None,
        cordoned: false,
        state,
        risk: None,
    });
    let topology = Topology::new(vec!["rack".to_owned()], domains, nodes.collect(), Vec::new()).unwrap();
    let keys = (0..rows.len()).map(|at| hash::key(format!("p{at}").as_bytes()));
    let partitions = Partitions::new(keys.collect(), vec![100; rows.len()], vec![1.0; rows.len()], 3);
    let mut assignment = Assignment::empty(rows.len(), 3);
    for (at, row) in rows.iter().enumerate() {
        let nodes: Vec<Node> = row.iter().map(|node| Node(*node)).collect();
        assignment.set(Partition(at as u32), &nodes);
    }
    let policy = Policy { breaker: 1.0, ..Policy::default() };
    Cluster { revision: 1, now_s: 0, topology, partitions, assignment, in_flight: Vec::new(), policy }
}

fn repaired(cluster: &Cluster) -> Plan {
    let request = Request { repair: true, ..Request::default() };
    let made = plan(&Snapshot::new(cluster.clone()).unwrap(), &request);
    let found = faults(cluster, &request, &made);
    assert!(found.is_empty(), "{found:#?}");
    made
}

fn causes(plan: &Plan) -> Vec<Cause> {
    plan.refusals.iter().map(|refusal| refusal.cause).collect()
}

const UP: NodeState = NodeState::Up;
const DOWN: NodeState = NodeState::Down;
const DRAINING: NodeState = NodeState::Draining;

#[test]
fn one_rack_cannot_hold_three_replicas_apart() {
    let made = repaired(&cluster(&[&[UP, UP, UP, UP]], &[&[0]]));
    assert!(made.moves.is_empty());
    let expected = Cause::Domains { replicas: 3, limit: 1, level: Level(0), domains: 1, feasible: 1 };
    assert_eq!(causes(&made), [expected, expected]);
}

#[test]
fn the_replicas_that_two_racks_can_hold_are_made_and_the_third_is_refused() {
    let made = repaired(&cluster(&[&[UP, UP], &[UP, UP]], &[&[0]]));
    assert_eq!(made.moves.len(), 1);
    let expected = Cause::Domains { replicas: 3, limit: 1, level: Level(0), domains: 2, feasible: 2 };
    assert_eq!(causes(&made), [expected]);
}

#[test]
fn too_few_nodes_are_told_from_too_few_racks() {
    let made = repaired(&cluster(&[&[UP], &[UP], &[DOWN]], &[&[0, 1, 2]]));
    assert!(made.moves.is_empty());
    assert_eq!(causes(&made), [Cause::Nodes { replicas: 3, nodes: 2 }]);
}

#[test]
fn a_single_node_holds_what_it_can() {
    let made = repaired(&cluster(&[&[UP]], &[&[0]]));
    assert!(made.moves.is_empty());
    let expected = Cause::Nodes { replicas: 3, nodes: 1 };
    assert_eq!(causes(&made), [expected, expected]);
}

#[test]
fn full_disks_are_said_to_be_full() {
    let rows: [&[u16]; 9] = [&[0, 2, 3]; 9];
    let mut full = cluster(&[&[DOWN, UP], &[UP], &[UP]], &rows);
    full.partitions.size_bytes = vec![110; 9];
    let made = repaired(&full);
    // Node 1 of rack 0 has 950 bytes: eight partitions of 110.
    assert_eq!(made.moves.len(), 8);
    assert_eq!(causes(&made), [Cause::Capacity { needs_bytes: 110, room_bytes: 70 }]);
}

#[test]
fn what_all_nodes_lost_cannot_be_made_again() {
    let made = repaired(&cluster(&[&[DOWN, UP], &[DOWN, UP], &[DOWN, UP]], &[&[0, 2, 4], &[1, 3, 5]]));
    assert!(made.moves.is_empty());
    assert_eq!(causes(&made), [Cause::NoSurvivor; 3]);
}

#[test]
fn all_nodes_down_is_a_plan_of_refusals() {
    let made = repaired(&cluster(&[&[DOWN], &[DOWN], &[DOWN]], &[&[0, 1, 2]]));
    assert!(made.moves.is_empty());
    assert_eq!(causes(&made), [Cause::NoSurvivor; 3]);
}

#[test]
fn draining_the_last_holder_copies_from_it() {
    let made = repaired(&cluster(&[&[DRAINING, UP], &[DOWN, UP], &[DOWN, UP]], &[&[0, 2, 4]]));
    assert_eq!(made.moves.len(), 3);
    assert!(made.refusals.is_empty());
}

#[test]
fn a_mass_failure_is_left_alone_and_said() {
    let mut failed = cluster(&[&[DOWN, UP], &[DOWN, UP], &[UP, UP]], &[&[0, 2, 4], &[1, 3, 5]]);
    failed.policy.breaker = 0.25;
    let made = repaired(&failed);
    assert!(made.moves.is_empty());
    assert_eq!(causes(&made), [Cause::Breaker { lost: 2.0 / 6.0, limit: 0.25 }]);
    failed.policy.breaker = 0.34;
    assert_eq!(repaired(&failed).moves.len(), 2);
}

#[test]
fn a_draining_rack_is_no_mass_failure() {
    let mut draining = cluster(&[&[DRAINING, DRAINING], &[UP], &[UP], &[UP]], &[&[0, 2, 3], &[1, 3, 4]]);
    draining.policy.breaker = 0.25;
    assert_eq!(repaired(&draining).moves.len(), 2);
}

#[test]
fn no_partitions_and_no_nodes_need_nothing() {
    for empty in [cluster(&[&[UP, DOWN]], &[]), cluster(&[], &[])] {
        let made = repaired(&empty);
        assert!(made.moves.is_empty() && made.refusals.is_empty());
    }
}

#[test]
fn a_partition_of_no_bytes_fits_a_full_node() {
    let mut full = cluster(&[&[DOWN, UP], &[UP], &[UP]], &[&[0, 2, 3], &[1, 2, 3]]);
    full.partitions.size_bytes = vec![0, 1_000];
    let made = repaired(&full);
    assert_eq!(made.moves.len(), 1, "{:?}", made.refusals);
}

#[test]
fn two_lost_replicas_of_one_rack_do_not_bar_each_other() {
    // Both lay in rack 0 against the policy; there is room for one of them in it, and nowhere else.
    let made = repaired(&cluster(&[&[DOWN, DOWN, UP], &[UP]], &[&[0, 1, 3]]));
    assert_eq!(made.moves.len(), 1, "{:?}", made.refusals);
}

#[test]
fn a_node_that_drains_does_not_count_as_one_that_stays() {
    let made = repaired(&cluster(&[&[DRAINING, UP], &[UP], &[UP]], &[&[0, 2, 3]]));
    assert_eq!(made.moves[0].gain, Gain::Replicas { before: 2, after: 3 });
}

#[test]
fn a_partition_of_no_bytes_on_a_node_beyond_its_limit_is_no_fault_to_the_checker() {
    let mut full = cluster(&[&[DOWN, UP], &[UP], &[UP]], &[&[0, 2, 3], &[1, 2, 3]]);
    full.partitions.size_bytes = vec![0, 1_000];
    let snapshot = Snapshot::new(full).unwrap();
    let made = plan(&snapshot, &Request { repair: true, ..Request::default() });
    let order = schedule(&snapshot, &made);
    assert_eq!((order.steps.len(), order.stuck.len()), (1, 0));
    assert_eq!(check(&snapshot, &made), []);
    assert_eq!(check_schedule(&snapshot, &made, &order), []);
}

#[test]
fn one_node_of_three_is_no_mass_failure_and_two_are() {
    let breaker = |racks: &[&[NodeState]]| {
        let mut cluster = cluster(racks, &[&[0, 1, 2]]);
        cluster.policy.breaker = 0.25;
        let made = plan(&Snapshot::new(cluster).unwrap(), &Request { repair: true, ..Request::default() });
        causes(&made).iter().any(|cause| matches!(cause, Cause::Breaker { .. }))
    };
    assert!(!breaker(&[&[DOWN], &[UP], &[UP]]));
    assert!(breaker(&[&[DOWN], &[DOWN], &[UP]]));
}

#[test]
fn what_was_one_replica_too_many_is_not_made_again() {
    let mut cluster = cluster(&[&[DOWN, UP], &[UP], &[UP]], &[&[0, 2, 3]]);
    cluster.partitions.replicas = isotherm_placement::Column::Same(2);
    let made = plan(&Snapshot::new(cluster).unwrap(), &Request { repair: true, ..Request::default() });
    assert!(made.moves.is_empty() && made.refusals.is_empty(), "{made:?}");
}

#[test]
fn what_cannot_be_summed_or_limits_everything_to_nothing_is_refused_at_the_door() {
    let mut huge = cluster(&[&[UP], &[UP], &[UP]], &[&[0, 1, 2], &[0, 1, 2]]);
    huge.partitions.size_bytes = vec![1 << 62; 2];
    assert_eq!(Snapshot::new(huge).unwrap_err(), SnapshotError::TooMuch);
    let mut nothing = cluster(&[&[UP], &[UP], &[UP]], &[&[0, 1, 2]]);
    nothing.policy.replicas_per_domain = [("rack".to_owned(), 0)].into();
    let refused = Snapshot::new(nothing).unwrap_err();
    assert!(matches!(refused, SnapshotError::Policy(PolicyError::OutOfRange { .. })), "{refused}");
}

#[test]
fn a_node_that_can_hold_nothing_any_more_and_is_pinned_full_is_said_to_be() {
    let mut pinned = cluster(&[&[UP], &[UP], &[UP], &[UP]], &[&[0, 1, 2]]);
    pinned.partitions.pinned = isotherm_placement::Column::Same(true);
    let mut nodes = pinned.topology.nodes().to_vec();
    nodes[0].capacity_bytes = 0;
    let (levels, domains) = (pinned.topology.levels().to_vec(), pinned.topology.domains().to_vec());
    pinned.topology = Topology::new(levels, domains, nodes, Vec::new()).unwrap();
    let asked = Request { repair: true, shed: vec![Node(0)], ..Request::default() };
    let made = plan(&Snapshot::new(pinned).unwrap(), &asked);
    assert!(made.moves.is_empty());
    assert!(matches!(causes(&made)[..], [Cause::Pressure { .. }]), "{:?}", made.refusals);
}
