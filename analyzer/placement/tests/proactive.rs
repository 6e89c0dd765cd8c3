//! Properties of proactive moves, with losses whose least is known.

mod racks;

use isotherm_placement::{
    Action, Cause, Cluster, Column, Drains, Gain, InFlight, Node, Outlook, Partition, Plan, Reason, Request,
    Shifts, Snapshot, plan,
};
use racks::{GB, cluster, hazard, with_hazard, with_nodes, with_outlook};

fn risk(outlook: Outlook<'_>) -> Request<'_> {
    Request { risk: Some(outlook), ..Request::default() }
}

fn planned(snapshot: &Snapshot, cost_per_gb: f64) -> Plan {
    with_outlook(snapshot, cost_per_gb, |_| 1.0, |outlook| plan(snapshot, &risk(outlook)))
}

fn restless(mut cluster: Cluster) -> Cluster {
    cluster.policy.cool_down_s = 0;
    cluster.policy.no_return_s = 0;
    cluster
}

fn causes_of(plan: &Plan, partition: Partition) -> Vec<Cause> {
    plan.refusals.iter().filter(|refusal| refusal.partition == Some(partition)).map(|r| r.cause).collect()
}

#[test]
fn nothing_moves_where_hazards_are_equal() {
    for (racks, per_rack) in [(3, 2), (5, 4), (8, 7)] {
        let snapshot = Snapshot::new(cluster(racks, per_rack, 2_000)).unwrap();
        let plan = planned(&snapshot, 1e-9);
        assert_eq!(plan.moves.len(), 0, "{racks} racks");
        assert_eq!(plan.refusals.len(), 0);
    }
}

#[test]
fn nothing_moves_where_hazards_differ_as_they_usually_do() {
    let usual = with_nodes(cluster(5, 8, 2_000), |at, node| node.risk = Some(0.01 + 0.001 * at as f64));
    let snapshot = Snapshot::new(usual).unwrap();
    assert_eq!(planned(&snapshot, 1e-9).moves.len(), 0);
}

#[test]
fn what_flees_one_node_stays_within_headroom_and_peak_and_the_rest_is_told() {
    let snapshot = Snapshot::new(restless(with_hazard(cluster(6, 10, 6_000), 7, 20.0))).unwrap();
    let before = bytes_of_nodes(&snapshot.clone().into_cluster());
    let plan = planned(&snapshot, 1e-3);
    assert!(plan.moves.len() > 100, "{} moves", plan.moves.len());
    for decided in &plan.moves {
        assert_eq!(decided.reason, Reason::Risk);
        let Action::Copy { from, to } = decided.action else { panic!("{decided:?} is no copy") };
        assert_eq!(from, Some(Node(7)));
        assert_ne!(to, Node(7));
        let Gain::Loss { benefit, cost } = decided.gain else { panic!("{decided:?} has no loss") };
        assert!(benefit >= 3.0 * cost);
    }
    let held = snapshot.partitions().all().filter(|at| snapshot.assignment().holds(Node(7), *at)).count();
    assert_eq!(plan.moves.len() + plan.refusals.len(), held);
    let after = plan.apply(snapshot).unwrap();
    let mean = after.partitions.len() as f64 * 3.0 * GB as f64 / 60.0;
    for (at, bytes) in bytes_of_nodes(&after).into_iter().enumerate() {
        let allowed = (mean * 1.05).max(before[at] as f64);
        assert!(bytes as f64 <= allowed, "node {at} has {bytes}, and may have {allowed}");
    }
}

#[test]
fn headroom_with_one_more_node_lost_bounds_destinations() {
    let mut tight = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    tight.policy.gate.peak_over_mean = 10.0;
    tight = with_nodes(tight, |_, node| node.capacity_bytes = 400 * GB);
    let snapshot = Snapshot::new(tight).unwrap();
    let after = planned(&snapshot, 1e-3).apply(snapshot.clone()).unwrap();
    let most = 400.0 * GB as f64 * 0.85 * 59.0 / 60.0;
    let before = bytes_of_nodes(&snapshot.into_cluster());
    let mut filled = 0;
    for (at, bytes) in bytes_of_nodes(&after).into_iter().enumerate() {
        assert!(bytes as f64 <= most.max(before[at] as f64), "node {at} has {bytes} of {most}");
        filled += usize::from(bytes > before[at]);
    }
    assert!(filled > 0, "the bound is not reached by anything");
}

#[test]
fn a_second_run_proposes_nothing_even_without_cool_down() {
    for times in [6.0, 20.0, 500.0] {
        for cost in [1e-6, 1e-3, 0.2] {
            let mut cluster = restless(with_hazard(cluster(6, 10, 6_000), 7, times));
            cluster.policy.weights.overlap = if times > 10.0 { 0.3 } else { 0.0 };
            let snapshot = Snapshot::new(cluster).unwrap();
            let next = Snapshot::new(planned(&snapshot, cost).apply(snapshot).unwrap()).unwrap();
            assert_eq!(planned(&next, cost).moves.len(), 0, "{times} times, {cost} for a GB");
        }
    }
}

#[test]
fn noise_in_the_loss_does_not_thrash() {
    let mut cluster = restless(with_hazard(cluster(6, 10, 6_000), 7, 20.0));
    let mut bytes = Vec::new();
    for round in 0..50u64 {
        let snapshot = Snapshot::new(cluster).unwrap();
        let noise = |partition: Partition| {
            let draw = isotherm_placement::hash::draw(u64::from(partition.0), round);
            0.95 + 0.1 * (draw as f64 / u64::MAX as f64)
        };
        let plan = with_outlook(&snapshot, 1e-3, noise, |outlook| plan(&snapshot, &risk(outlook)));
        bytes.push(plan.totals.bytes);
        cluster = plan.apply(snapshot).unwrap();
    }
    assert!(bytes[0] > 0);
    let later: u64 = bytes[1..].iter().sum();
    assert!(later <= bytes[0] / 100, "{later} bytes after the first round's {}", bytes[0]);
}

#[test]
fn budgets_bind_and_the_most_saved_for_a_byte_goes_first() {
    let mut limited = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    let (light, heavy) = {
        let mut of = limited.partitions.all().filter(|at| limited.assignment.holds(Node(7), *at));
        (of.next().unwrap(), of.last().unwrap())
    };
    limited.partitions.load[heavy.at()] = 2.0;
    limited.partitions.size_bytes[light.at()] = 2 * GB;
    limited.policy.byte_budget = Some(10 * GB);
    let snapshot = Snapshot::new(limited.clone()).unwrap();
    let by_bytes = planned(&snapshot, 1e-3);
    assert_eq!(by_bytes.totals.bytes, 10 * GB);
    assert_eq!(by_bytes.moves[0].partition, heavy);
    assert!(matches!(causes_of(&by_bytes, light)[..], [Cause::Budget { left_bytes: 0, .. }]));
    limited.policy.move_budget = Some(3);
    assert_eq!(planned(&Snapshot::new(limited).unwrap(), 1e-3).moves.len(), 3);
}

#[test]
fn what_is_pinned_cooling_or_under_way_stays_and_says_so() {
    let mut still = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    let of: Vec<Partition> =
        still.partitions.all().filter(|at| still.assignment.holds(Node(7), *at)).take(3).collect();
    let len = still.partitions.len();
    let mut pinned = vec![false; len];
    pinned[of[0].at()] = true;
    still.partitions.pinned = Column::Each(pinned);
    let mut moved = vec![None; len];
    moved[of[1].at()] = Some(still.now_s - 60);
    still.partitions.moved_at_s = Column::Each(moved);
    let holders: Vec<Node> = still.assignment.subset(of[2]).collect();
    let (from, to) = (holders.iter().copied().find(|node| *node != Node(7)), Node(59));
    assert!(!holders.contains(&to));
    still.in_flight = vec![InFlight { partition: of[2], from, to }];
    let snapshot = Snapshot::new(still).unwrap();
    let plan = planned(&snapshot, 1e-3);
    assert!(plan.moves.iter().all(|decided| !of.contains(&decided.partition)));
    assert_eq!(causes_of(&plan, of[0]), [Cause::Pinned]);
    let until_s = snapshot.now_s() - 60 + snapshot.policy().cool_down_s;
    assert_eq!(causes_of(&plan, of[1]), [Cause::CoolDown { until_s }]);
    assert_eq!(causes_of(&plan, of[2]), [Cause::InFlight]);
}

#[test]
fn moving_will_not_help_where_copies_cost_more_than_they_save() {
    let snapshot = Snapshot::new(with_hazard(cluster(6, 10, 600), 7, 20.0)).unwrap();
    let plan = planned(&snapshot, 1e3);
    assert_eq!(plan.moves.len(), 0);
    // (0.20 - 0.01) / 3 an hour for 14 days, of which four fifths are certain.
    let expected = 0.19 / 3.0 * 336.0 * 0.8;
    assert!(!plan.refusals.is_empty());
    for refusal in &plan.refusals {
        let Cause::NoGain { benefit, cost } = refusal.cause else { panic!("{refusal:?}") };
        assert!((benefit - expected).abs() < 1e-9 && (cost - 1e3).abs() < 1e-9, "{benefit} for {cost}");
    }
}

#[test]
fn a_move_for_hazard_must_leave_little_of_the_exposure() {
    let mut exposed = with_hazard(cluster(6, 10, 600), 7, 20.0);
    exposed.policy.gate.exposure_left = 0.1;
    let plan = planned(&Snapshot::new(exposed).unwrap(), 1e-3);
    assert_eq!(plan.moves.len(), 0);
    for refusal in &plan.refusals {
        let Cause::Exposure { left, .. } = refusal.cause else { panic!("{refusal:?}") };
        assert!((left - 3.0 / 22.0).abs() < 1e-9, "{left}");
    }
}

#[test]
fn no_node_is_a_target_where_all_are_too_full_and_the_plan_says_what_rejected_them() {
    let mut full = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    full = with_nodes(full, |_, node| node.capacity_bytes = 330 * GB);
    let plan = planned(&Snapshot::new(full).unwrap(), 1e-3);
    assert_eq!(plan.moves.len(), 0);
    let Cause::NoTarget { rejected } = plan.refusals[0].cause else { panic!("{:?}", plan.refusals[0]) };
    let sum = rejected.not_a_target + rejected.risk + rejected.holds + rejected.domain;
    assert_eq!(sum + rejected.capacity + rejected.returned + rejected.headroom + rejected.copysets, 60);
    assert!(rejected.headroom + rejected.capacity > 10, "{rejected:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let snapshot = Snapshot::new(with_hazard(cluster(6, 10, 6_000), 7, 20.0)).unwrap();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| planned(&snapshot, 1e-3))
    };
    assert!(with(1) == with(4));
}

/// Loss of the leader alone.
fn leading(snapshot: &Snapshot, call: impl Fn(Outlook<'_>) -> Plan) -> Plan {
    let loss = |_: Partition, subset: &[Node]| hazard(snapshot, subset[0]);
    with_outlook(
        snapshot,
        1e-3,
        |_| 1.0,
        |outlook| call(Outlook { loss_per_hour: &loss, shifts: Shifts::Lead, ..outlook }),
    )
}

#[test]
fn leaders_are_switched_before_anything_is_copied() {
    let snapshot = Snapshot::new(restless(with_hazard(cluster(6, 10, 6_000), 7, 20.0))).unwrap();
    let first = leading(&snapshot, |outlook| plan(&snapshot, &risk(outlook)));
    let led = snapshot
        .partitions()
        .all()
        .filter(|at| snapshot.assignment().subset(*at).next() == Some(Node(7)))
        .count();
    assert!(led > 50);
    assert_eq!(first.moves.len(), led);
    assert!(
        first.moves.iter().all(|m| matches!(m.action, Action::Lead { from: Node(7), .. }) && m.bytes == 0)
    );
    let next = Snapshot::new(first.apply(snapshot).unwrap()).unwrap();
    assert_eq!(leading(&next, |outlook| plan(&next, &risk(outlook))).moves.len(), 0);
}

#[test]
fn a_leader_is_switched_only_to_nodes_with_headroom() {
    let mut busy = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    busy = with_nodes(busy, |_, node| node.load_capacity = Some(380.0));
    let snapshot = Snapshot::new(busy).unwrap();
    let plan = leading(&snapshot, |outlook| plan(&snapshot, &risk(outlook)));
    let most = 380.0 * 0.85 * 59.0 / 60.0;
    let after = plan.result(&snapshot).unwrap();
    let reads = |assignment: &isotherm_placement::Assignment| {
        let mut reads = [0.0; 60];
        for at in snapshot.partitions().all() {
            reads[assignment.subset(at).next().unwrap().at()] += 3.0;
        }
        reads
    };
    let (had, has) = (reads(snapshot.assignment()), reads(&after));
    assert!(plan.moves.iter().any(|m| matches!(m.action, Action::Lead { .. })));
    for (at, (had, has)) in had.into_iter().zip(has).enumerate() {
        assert!(has <= had || has <= most, "node {at} serves {has}, and its headroom is {most}");
    }
}

#[test]
fn a_drained_replica_is_not_drained_again() {
    let snapshot = Snapshot::new(restless(with_hazard(cluster(6, 10, 600), 7, 20.0))).unwrap();
    let drain = |drained: &(dyn Fn(Partition) -> Option<Node> + Sync)| {
        let without = |_: Partition, subset: &[Node], drained: Node| {
            subset.iter().filter(|node| **node != drained).map(|node| hazard(&snapshot, *node)).sum::<f64>()
                / 2.0
        };
        let drains = Drains { drained, loss_per_hour: &without };
        with_outlook(
            &snapshot,
            1e3,
            |_| 1.0,
            |outlook| plan(&snapshot, &risk(Outlook { shifts: Shifts::Drain(drains), ..outlook })),
        )
    };
    let first = drain(&|_| None);
    let held = snapshot.partitions().all().filter(|at| snapshot.assignment().holds(Node(7), *at)).count();
    assert_eq!(first.moves.len(), held);
    assert!(first.moves.iter().all(|m| m.action == Action::DrainReads { from: Node(7) }));
    let done: Vec<Partition> = first.moves.iter().map(|m| m.partition).collect();
    let second = drain(&|partition| done.contains(&partition).then_some(Node(7)));
    assert_eq!(second.moves.len(), 0);
}

/// Bytes of each node.
fn bytes_of_nodes(cluster: &Cluster) -> Vec<u64> {
    let mut bytes = vec![0; cluster.topology.nodes().len()];
    for partition in cluster.partitions.all() {
        for node in cluster.assignment.subset(partition) {
            bytes[node.at()] += cluster.partitions.size_bytes[partition.at()];
        }
    }
    bytes
}
