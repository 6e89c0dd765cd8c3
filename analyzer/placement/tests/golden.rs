//! Plans of clusters small enough to be worked out by hand, and what a small change of the input does to them.
//!
//! Every expectation follows from the order of aims in docs/placement.md, and the comment above it says how. Sizes
//! are chosen so that candidates never score alike: no expectation rests on a hash.

use isotherm_placement::{
    Action, Assignment, Cluster, Column, Domain, DomainFacts, Level, Link, Node, NodeFacts, NodeState,
    Outlook, Partition, Partitions, Plan, PlanDiff, Policy, Request, Shifts, Snapshot, Topology, check,
    check_schedule, plan, schedule,
};

const VALID: &str = "the test builds what can be";

/// Bytes of a partition and its holders.
type Row<'a> = (u64, &'a [u16]);

/// A cluster by hand: the rack of each node, all of 100 bytes; one replica at most in a rack.
fn cluster(racks: &[u16], replicas: u8, rows: &[Row<'_>]) -> Cluster {
    let last = racks.iter().copied().max().unwrap_or(0);
    let domains =
        (0..=last).map(|at| DomainFacts { name: format!("r{at}"), level: Level(0), parent: None }).collect();
    let nodes = (0..)
        .zip(racks)
        .map(|(at, rack)| NodeFacts {
            name: format!("n{at}"),
            key: at + 1000,
            domain: Some(Domain(*rack)),
            capacity_bytes: 100,
            load_capacity: None,
            network_bytes_per_s: None,
            cordoned: false,
            state: NodeState::Up,
            risk: None,
        })
        .collect();
    let mut assignment = Assignment::empty(rows.len(), usize::from(replicas));
    for (at, (_, row)) in (0..).zip(rows) {
        let holders: Vec<Node> = row.iter().copied().map(Node).collect();
        assignment.set(Partition(at), &holders);
    }
    let sizes = rows.iter().map(|(size, _)| *size).collect();
    let keys = (0..rows.len() as u64).collect();
    Cluster {
        revision: 1,
        now_s: 1_000_000,
        topology: Topology::new(vec!["rack".to_owned()], domains, nodes, Vec::new()).expect(VALID),
        partitions: Partitions::new(keys, sizes, vec![0.0; rows.len()], replicas),
        assignment,
        in_flight: Vec::new(),
        policy: Policy::default(),
    }
}

/// The cluster with other nodes or links.
fn with(mut cluster: Cluster, change: impl Fn(&mut Vec<NodeFacts>, &mut Vec<Link>)) -> Cluster {
    let old = &cluster.topology;
    let (mut nodes, mut links) = (old.nodes().to_vec(), old.links().to_vec());
    change(&mut nodes, &mut links);
    cluster.topology =
        Topology::new(old.levels().to_vec(), old.domains().to_vec(), nodes, links).expect(VALID);
    cluster
}

fn state(cluster: Cluster, node: usize, state: NodeState) -> Cluster {
    with(cluster, |nodes, _| nodes[node].state = state)
}

/// The plan for a request, which is valid and can be done to the end.
fn planned(cluster: &Cluster, request: &Request<'_>) -> Plan {
    let snapshot = Snapshot::new(cluster.clone()).expect(VALID);
    let plan = plan(&snapshot, request);
    assert_eq!(check(&snapshot, &plan), []);
    let schedule = schedule(&snapshot, &plan);
    assert_eq!(check_schedule(&snapshot, &plan, &schedule), []);
    assert_eq!(schedule.stuck, []);
    assert_eq!(schedule.steps.len(), plan.moves.len());
    plan
}

fn repaired(cluster: &Cluster) -> Plan {
    planned(cluster, &Request { repair: true, ..Request::default() })
}

fn evened(cluster: &Cluster) -> Plan {
    planned(cluster, &Request { balance: true, ..Request::default() })
}

/// The plan against a loss that is the sum of the holders' hazards, where copying a byte costs next to nothing.
fn fled(cluster: &Cluster) -> Plan {
    let nodes = cluster.topology.nodes().to_vec();
    let sum = |_: Partition, subset: &[Node]| {
        subset.iter().filter_map(|node| nodes[usize::from(node.0)].risk).sum::<f64>()
    };
    let outlook = Outlook {
        loss_per_hour: &sum,
        exposure_per_hour: &sum,
        cost_of_copy: &|_, bytes| bytes as f64 * 1e-6,
        cost_of_shift: &|_| 1.0,
        hazard_over_class: None,
        shifts: Shifts::None,
    };
    planned(cluster, &Request { risk: Some(outlook), ..Request::default() })
}

/// A line for each move, then for each refusal, by partition.
fn lines(plan: &Plan) -> String {
    let moves = plan.moves.iter().map(|decided| {
        let Action::Copy { from: Some(from), to } = decided.action else {
            panic!("{decided:?} replaces none")
        };
        format!("p{}: n{} -> n{} {:?}\n", decided.partition.0, from.0, to.0, decided.reason)
    });
    let refusals = plan.refusals.iter().map(|refusal| {
        let of = refusal.partition.expect("every refusal here is of a partition").0;
        format!("p{of}: {}\n", refusal.cause)
    });
    let [mut moves, mut refusals]: [Vec<String>; 2] = [moves.collect(), refusals.collect()];
    moves.sort();
    refusals.sort();
    moves.concat() + &refusals.concat()
}

fn diff(old: &Plan, new: &Plan) -> String {
    PlanDiff::new(old, new).to_string()
}

/// Racks r0: n0 n1, r1: n2 n3, r2: n4 n5; two replicas. The nodes hold 42, 52, 50, 11, 34, 21 bytes, 35 on average.
const SIX_ROWS: [Row<'_>; 6] =
    [(20, &[0, 2]), (12, &[0, 4]), (30, &[1, 2]), (22, &[1, 4]), (11, &[3, 5]), (10, &[0, 5])];

fn six() -> Cluster {
    cluster(&[0, 0, 1, 1, 2, 2], 2, &SIX_ROWS)
}

/// The six nodes, n0 of twenty times the hazard of the others.
fn hazardous() -> Cluster {
    with(six(), |nodes, _| {
        nodes.iter_mut().for_each(|node| node.risk = Some(0.01));
        nodes[0].risk = Some(0.2);
    })
}

/// A rack for each of four nodes, n0 down. Its p0 can go to n2, which holds 30 bytes, or to n3, which holds `last`.
fn four(last: u64) -> Cluster {
    let cluster = cluster(&[0, 1, 2, 3], 2, &[(20, &[0, 1]), (30, &[1, 2]), (last, &[1, 3])]);
    state(cluster, 0, NodeState::Down)
}

/// A rack for each of four nodes, which hold 60, 40, 40 and 20 bytes.
fn hot() -> Cluster {
    let rows: [Row<'_>; 4] = [(15, &[0, 1]), (20, &[0, 2]), (25, &[0, 1]), (20, &[2, 3])];
    cluster(&[0, 1, 2, 3], 2, &rows)
}

/// p0 may not go to r1, and n5 is emptier than n1 and n4. p1 and p5 may not go to r2, and n3 stays below n1 and n2
/// with both. No node ends above the 52 of n1.
#[test]
fn what_a_failed_node_held_goes_to_the_emptiest_nodes_of_free_racks() {
    let plan = repaired(&state(six(), 0, NodeState::Down));
    assert_eq!(lines(&plan), "p0: n0 -> n5 Lost\np1: n0 -> n3 Lost\np5: n0 -> n3 Lost\n");
    assert_eq!(plan.totals.bytes, 42);
}

/// p2 may not go to r1: n5 with 51 is below n4 with 64 and n0 with 72. p3 may not go to r2: n3 is the emptiest.
#[test]
fn a_draining_node_is_emptied_and_nothing_else_moves() {
    let plan = repaired(&state(six(), 1, NodeState::Draining));
    assert_eq!(lines(&plan), "p2: n1 -> n5 Draining\np3: n1 -> n3 Draining\n");
    assert_eq!(plan.totals.bytes, 52);
}

/// Only n5 has room left for one copy. p1 has one live replica and p0 has two, so p1 gets it. The other nodes that
/// are up, n2, n3 and n4, hold 80 and may hold 95.
#[test]
fn the_last_room_is_for_the_partition_with_the_fewest_live_replicas() {
    let rows: [Row<'_>; 4] = [(30, &[0, 3, 4]), (30, &[0, 1, 2]), (50, &[2, 3, 4]), (60, &[5])];
    let mut cluster = cluster(&[0, 1, 2, 3, 4, 5], 3, &rows);
    cluster.partitions.replicas = Column::Each(vec![3, 3, 3, 1]);
    cluster.policy.breaker = 0.5;
    let plan = repaired(&state(state(cluster, 0, NodeState::Down), 1, NodeState::Down));
    assert_eq!(plan.moves.iter().map(|decided| decided.partition.0).collect::<Vec<_>>(), [1]);
    let expected = "p0: needs 30 bytes, and no node that may take it has more than 15 left\n\
                    p1: needs 30 bytes, and no node that may take it has more than 15 left\n";
    assert!(lines(&plan).ends_with(expected), "{}", lines(&plan));
    assert_eq!(plan.refusals.len(), 2);
}

/// Of 210 bytes the seventh node's share is 30. p2 is as much, and lies on the most pressed node.
#[test]
fn an_added_node_gets_its_share_from_the_most_pressed_one() {
    let added = cluster(&[0, 0, 1, 1, 2, 2, 3], 2, &SIX_ROWS);
    let plan = planned(&added, &Request { fill: vec![Node(6)], ..Request::default() });
    assert_eq!(lines(&plan), "p2: n1 -> n6 Underfull\n");
}

/// With 58 of the 558 bytes of capacity, n1 should hold 21.8. Without p2 it holds 22, within the dead band; without
/// p3 it would hold 30. p2 may not go to r1, and n5 is emptier than n0 and n4.
#[test]
fn a_node_of_lowered_capacity_gives_up_what_is_beyond_its_share() {
    let lowered = with(six(), |nodes, _| nodes[1].capacity_bytes = 58);
    let plan = planned(&lowered, &Request { shed: vec![Node(1)], ..Request::default() });
    assert_eq!(lines(&plan), "p2: n1 -> n5 Overfull\n");
}

/// Each should hold 40. The 20 bytes that are too many are p1, which n3 does not hold.
#[test]
fn a_hot_node_is_relieved_with_the_fewest_bytes() {
    let plan = evened(&hot());
    assert_eq!(lines(&plan), "p1: n0 -> n3 Balance\n");
    assert_eq!(plan.totals.after.size, Some(1.0));
}

/// Destinations may reach 1.05 times the mean of 35. n3 can take p1 and p5. p0 may not go to r1, and on n5 it would
/// make 41; n1 and n4 are fuller.
#[test]
fn a_hazardous_node_is_left_by_what_finds_a_place_below_the_peak() {
    let plan = fled(&hazardous());
    let expected = "p1: n0 -> n3 Risk\np5: n0 -> n3 Risk\n\
                    p0: no node may take it: Rejected { not_a_target: 0, risk: 0, holds: 2, domain: 1, \
                    capacity: 0, returned: 0, headroom: 3, copysets: 0 }\n";
    assert_eq!(lines(&plan), expected);
}

/// Two racks have a node that is up, and n1 lies in the one of n0.
#[test]
fn a_third_replica_is_refused_where_two_racks_are_left() {
    let cluster = cluster(&[0, 0, 1, 2], 3, &[(10, &[0, 2, 3])]);
    let plan = repaired(&state(cluster, 3, NodeState::Down));
    let expected = "p0: 3 replicas of which at most 1 may share a domain of level 0: 2 such domains can take one; \
                    the most that can be had is 2\n";
    assert_eq!(lines(&plan), expected);
}

/// n1 holds 80 and n3 holds 70, of the 95 that the fill limit allows.
#[test]
fn a_replica_is_refused_where_no_node_has_room() {
    let cluster = cluster(&[0, 1, 2, 3], 2, &[(40, &[0, 2]), (70, &[1, 3]), (10, &[0, 1])]);
    let plan = repaired(&state(cluster, 2, NodeState::Down));
    assert_eq!(lines(&plan), "p0: needs 40 bytes, and no node that may take it has more than 25 left\n");
}

/// With 28 bytes n3 would end at 48 and n2 at 50. The mean is 45.33 and the most pressed node holds 78, so n3 scores
/// 2 / 78 = .026 less. A link from n1 to it that takes 100 times as long adds .0005 x 99 = .050; one that takes 10
/// times as long adds .0045 and changes nothing.
#[test]
fn a_link_slow_enough_turns_a_copy_to_the_next_emptiest_node() {
    let linked = |slow: u64| {
        with(four(28), |_, links| {
            links.push(Link { a: Domain(1), b: Domain(2), bytes_per_s: 1000 });
            links.push(Link { a: Domain(1), b: Domain(3), bytes_per_s: slow });
        })
    };
    let before = repaired(&linked(1000));
    assert_eq!(lines(&before), "p0: n0 -> n3 Lost\n");
    assert_eq!(diff(&before, &repaired(&linked(100))), "");
    let expected = "~ p0 n0 -> n2, 20 bytes, epoch 0, Lost, not n0 -> n3, 20 bytes, epoch 0, Lost\n";
    assert_eq!(diff(&before, &repaired(&linked(10))), expected);
}

/// n3 holds 28 bytes before and 33 after, n2 holds 30.
#[test]
fn a_fuller_node_turns_a_copy_to_the_one_that_is_the_emptiest_now() {
    let expected = "~ p0 n0 -> n2, 20 bytes, epoch 0, Lost, not n0 -> n3, 20 bytes, epoch 0, Lost\n";
    assert_eq!(diff(&repaired(&four(28)), &repaired(&four(33))), expected);
}

/// A pin forbids what is done by choice, and no repair.
#[test]
fn a_pin_keeps_a_partition_from_fleeing_and_not_from_repair() {
    let pinned = |mut cluster: Cluster| {
        cluster.partitions.pinned = Column::Each(vec![false, true, false, false, false, false]);
        cluster
    };
    let (free, held) = (hazardous(), pinned(hazardous()));
    let expected = "- p1 n0 -> n3, 12 bytes, epoch 0, Risk\n+ p1 refused: pinned\n";
    assert_eq!(diff(&fled(&free), &fled(&held)), expected);
    let [free, held] = [free, held].map(|cluster| state(cluster, 0, NodeState::Down));
    assert_eq!(diff(&repaired(&free), &repaired(&held)), "");
}

/// A kept node costs half of half the present loss of .21. p1 leaves n4 for n5, too, which then holds 33. p5 saves
/// more per byte and so comes before; it stays on n5, for with it n4 would hold 44, above the peak of 36.75.
#[test]
fn an_overlap_weight_moves_the_other_replica_too_where_there_is_room() {
    let mut apart = hazardous();
    apart.policy.weights.overlap = 0.5;
    let expected = "+ p1 n4 -> n5, 12 bytes, epoch 0, Risk\n";
    assert_eq!(diff(&fled(&hazardous()), &fled(&apart)), expected);
}

/// Without p1 nothing of 20 bytes can leave n0. Even is then only p1 with p3 on n0 and p0 with p2 on n3, which is
/// 60 bytes; any other assignment leaves a node at 45 or above.
#[test]
fn a_pin_on_what_would_leave_a_hot_node_makes_an_exchange_of_it() {
    let mut pinned = hot();
    pinned.partitions.pinned = Column::Each(vec![false, true, false, false]);
    let after = evened(&pinned);
    let expected = "\
+ p0 n0 -> n3, 15 bytes, epoch 0, Balance
- p1 n0 -> n3, 20 bytes, epoch 0, Balance
+ p2 n0 -> n3, 25 bytes, epoch 0, Balance
+ p3 n3 -> n0, 20 bytes, epoch 0, Balance
";
    assert_eq!(diff(&evened(&hot()), &after), expected);
    assert_eq!(after.totals.after.size, Some(1.0));
}
