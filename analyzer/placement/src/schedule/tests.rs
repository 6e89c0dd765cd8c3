use super::*;
use crate::ids::{Domain, Partition};
use crate::partitions::Column;
use crate::plan::{Action, Reason};
use crate::sample::{Sample, decided, plan, valid_plan};
use crate::snapshot::InFlight;
use crate::topology::{Link, NodeState};

/// Position, wave, source, start and end of each copy.
fn copies(schedule: &Schedule) -> Vec<(u32, u32, u16, u64, u64)> {
    let of = |step: &Step| match step.doing {
        Doing::Shift { .. } => None,
        Doing::Copy { source, span } => {
            let span = span.unwrap_or(Span { start_ms: 0, end_ms: 0, bytes_per_s: 0 });
            Some((step.position, step.wave, source.0, span.start_ms, span.end_ms))
        }
    };
    schedule.steps.iter().filter_map(of).collect()
}

#[test]
fn nothing_to_do_takes_no_time() {
    let schedule = schedule(&Sample::racks(3, 1).snapshot(), &plan(Vec::new()));
    assert_eq!((schedule.waves, schedule.steps.len()), (0, 0));
    assert_eq!(schedule.times, Some(Times { makespan_ms: 0, bound_ms: 0 }));
}

#[test]
fn a_copy_runs_at_the_budget_of_its_nodes() {
    let sample = Sample::racks(4, 1).with(1_000, &[0, 1, 2]).state(0, NodeState::Down);
    let schedule = schedule(&sample.snapshot(), &plan(vec![sample.copy(0, Some(0), 3, Reason::Lost)]));
    assert_eq!(schedule.times, Some(Times { makespan_ms: 10_000, bound_ms: 10_000 }));
    let Doing::Copy { source, span } = schedule.steps[0].doing else { panic!() };
    assert!(source == Node(1) || source == Node(2), "never from node 0, which is down: {source:?}");
    assert_eq!(span, Some(Span { start_ms: 0, end_ms: 10_000, bytes_per_s: 100 }));
}

#[test]
fn the_holder_on_the_faster_way_feeds_it() {
    let mut sample = Sample::racks(4, 1).with(1_000, &[0, 1, 2]).state(0, NodeState::Down);
    sample.links.push(Link { a: Domain(5), b: Domain(3), bytes_per_s: 10 });
    let schedule = schedule(&sample.snapshot(), &plan(vec![sample.copy(0, Some(0), 3, Reason::Lost)]));
    assert_eq!(copies(&schedule), [(0, 0, 2, 0, 10_000)]);
}

#[test]
fn a_link_that_all_ways_cross_bounds_the_time() {
    let mut sample = Sample::racks(4, 1).with(1_000, &[0, 1]).with(1_000, &[0, 1]);
    sample.links.push(Link { a: Domain(2), b: Domain(5), bytes_per_s: 10 });
    sample.links.push(Link { a: Domain(5), b: Domain(3), bytes_per_s: 20 });
    let moves = vec![sample.copy(0, None, 3, Reason::Missing), sample.copy(1, None, 3, Reason::Missing)];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let times = schedule.times.unwrap();
    // Over both links at once, 10 and 20 bytes/s: one copy each, 100 s and 50 s.
    assert_eq!(times, Times { makespan_ms: 100_000, bound_ms: 50_000 });
}

#[test]
fn the_partition_with_fewest_live_replicas_is_first() {
    let sample = Sample::racks(4, 1).with(500, &[0, 1, 2]).with(500, &[0, 4 - 2]);
    let mut sample = sample.state(0, NodeState::Down);
    sample.policy.node_copies = 1;
    let moves = vec![sample.copy(0, Some(0), 3, Reason::Lost), sample.copy(1, Some(0), 3, Reason::Lost)];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    assert_eq!(copies(&schedule).iter().map(|copy| (copy.0, copy.1)).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
}

#[test]
fn among_equals_the_riskier_is_first_and_the_unknown_last() {
    let sample = Sample::racks(4, 1).with(500, &[0, 1]).with(500, &[0, 1]).with(500, &[0, 1]);
    let mut sample = sample.with(900, &[0, 1]);
    sample.policy.node_copies = 1;
    let mut cluster = sample.cluster();
    cluster.partitions.risk = Column::Each(vec![0.1, 0.5, f32::NAN, f32::NAN]);
    cluster.partitions.impact = Column::Same(2.0);
    let moves = (0..4).map(|p| sample.copy(p, None, 3, Reason::Missing)).collect();
    let schedule = schedule(&Snapshot::new(cluster).unwrap(), &plan(moves));
    assert_eq!(copies(&schedule).iter().map(|copy| copy.0).collect::<Vec<_>>(), [1, 0, 3, 2]);
}

#[test]
fn repair_is_before_moves_by_choice() {
    let mut sample = Sample::racks(5, 1).with(900, &[0, 1, 2]).with(100, &[0, 1, 2]);
    sample.policy.node_copies = 1;
    let sample = sample.state(2, NodeState::Draining);
    let moves =
        vec![sample.copy(0, Some(0), 3, Reason::Balance), sample.copy(1, Some(2), 3, Reason::Draining)];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    assert_eq!(copies(&schedule).iter().map(|copy| copy.0).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn copies_of_one_partition_follow_each_other_and_the_first_may_feed_the_second() {
    let sample = Sample::racks(5, 1).with(1_000, &[0, 1, 2]);
    let sample = sample.state(0, NodeState::Down).state(1, NodeState::Down);
    let moves = vec![
        sample.copy(0, Some(0), 3, Reason::Lost),
        sample.copy(0, Some(1), 4, Reason::Lost),
        decided(0, Action::Lead { from: Node(3), to: Node(4) }, 0, Reason::Risk),
    ];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let all = copies(&schedule);
    assert_eq!((all[0].1, all[0].4), (0, 10_000));
    assert_eq!((all[1].1, all[1].3), (1, 10_000));
    assert_eq!(schedule.times, Some(Times { makespan_ms: 20_000, bound_ms: 20_000 }));
    let last = schedule.steps[2];
    assert_eq!((last.position, last.wave, last.doing), (2, 2, Doing::Shift { at_ms: Some(20_000) }));
}

#[test]
fn shifts_come_first() {
    let sample = Sample::racks(4, 1).with(10, &[0, 1, 2]).with(10, &[0, 1, 2]);
    let moves = vec![
        sample.copy(0, Some(0), 3, Reason::Balance),
        decided(1, Action::DrainReads { from: Node(1) }, 0, Reason::Risk),
    ];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    assert_eq!(schedule.steps[0], Step { position: 1, wave: 0, doing: Doing::Shift { at_ms: Some(0) } });
}

#[test]
fn a_node_takes_part_in_no_more_copies_than_allowed_and_waves_say_so() {
    let mut sample = Sample::racks(4, 1);
    for _ in 0..5 {
        sample = sample.with(100, &[0, 1]);
    }
    sample.policy.node_copies = 2;
    let moves = (0..5).map(|p| sample.copy(p, None, 3, Reason::Missing)).collect();
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let mut waves: Vec<u32> = copies(&schedule).iter().map(|copy| copy.1).collect();
    waves.sort_unstable();
    assert_eq!((waves, schedule.waves), (vec![0, 0, 1, 1, 2], 3));
}

#[test]
fn without_any_bandwidth_the_order_and_the_waves_hold_and_times_are_unknown() {
    let mut sample = Sample::racks(4, 1);
    for _ in 0..3 {
        sample = sample.with(100, &[0, 1]);
    }
    sample.policy.node_copies = 1;
    for node in &mut sample.nodes {
        node.network_bytes_per_s = None;
    }
    let moves = (0..3).map(|p| sample.copy(p, None, 3, Reason::Missing)).collect();
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    assert_eq!(schedule.times, None);
    assert_eq!(copies(&schedule).iter().map(|copy| copy.1).collect::<Vec<_>>(), [0, 1, 2]);
    let timed = |step: &Step| matches!(step.doing, Doing::Copy { span: Some(_), .. });
    assert!(!schedule.steps.iter().any(timed));
}

#[test]
fn a_copy_waits_for_the_room_that_another_leaves() {
    // Node 3 is full of partition 1 until that has moved to node 4.
    let mut sample = Sample::racks(5, 1).with(600, &[0, 1, 2]).with(500, &[1, 2, 3]);
    sample.nodes[3].capacity_bytes = 1_000;
    let moves =
        vec![sample.copy(0, Some(0), 3, Reason::Balance), sample.copy(1, Some(3), 4, Reason::Balance)];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let all: Vec<_> = copies(&schedule).iter().map(|copy| (copy.0, copy.1, copy.3)).collect();
    assert_eq!(all, [(1, 0, 0), (0, 1, 5_000)]);
}

#[test]
fn two_full_nodes_that_want_to_change_places_are_stuck_and_say_why() {
    let mut sample = Sample::racks(4, 1).with(600, &[0]).with(600, &[1]);
    sample.nodes[0].capacity_bytes = 1_000;
    sample.nodes[1].capacity_bytes = 1_000;
    let moves =
        vec![sample.copy(0, Some(0), 1, Reason::Balance), sample.copy(1, Some(1), 0, Reason::Balance)];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let cause = |node| StuckCause::Room { node: Node(node), needs_bytes: 600, room_bytes: 400 };
    let stuck = [Stuck { position: 0, cause: cause(1) }, Stuck { position: 1, cause: cause(0) }];
    assert_eq!((schedule.steps.len(), schedule.stuck), (0, stuck.to_vec()));
}

#[test]
fn copies_under_way_keep_their_slots() {
    let mut sample = Sample::racks(5, 1).with(100, &[0, 1, 2]).with(100, &[0, 1]).with(100, &[1, 2]);
    sample.policy.node_copies = 1;
    sample.in_flight.push(InFlight { partition: Partition(0), from: Some(Node(0)), to: Node(3) });
    let moves = vec![
        sample.copy(0, Some(1), 4, Reason::Balance),
        sample.copy(1, None, 3, Reason::Missing),
        sample.copy(2, None, 4, Reason::Missing),
    ];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    assert_eq!(schedule.stuck[0], Stuck { position: 0, cause: StuckCause::InFlight });
    assert_eq!(schedule.stuck[1], Stuck { position: 1, cause: StuckCause::Busy { node: Node(3) } });
    assert_eq!(copies(&schedule).len(), 1);
}

#[test]
fn what_does_not_fit_or_has_no_source_is_stuck_and_what_follows_it_too() {
    let sample = Sample::racks(5, 1).with(10, &[0]).with(10, &[1, 2]).state(0, NodeState::Down);
    let moves = vec![
        sample.copy(0, Some(0), 3, Reason::Lost),
        sample.copy(1, Some(4), 3, Reason::Balance),
        sample.copy(1, Some(1), 4, Reason::Balance),
    ];
    let schedule = schedule(&sample.snapshot(), &plan(moves));
    let causes: Vec<StuckCause> = schedule.stuck.iter().map(|stuck| stuck.cause).collect();
    assert_eq!(causes, [StuckCause::NoSource, StuckCause::DoesNotFit, StuckCause::After { position: 1 }]);
}

#[test]
fn a_plan_of_another_revision_is_not_scheduled() {
    let sample = Sample::racks(4, 1).with(10, &[0, 1, 2]);
    let mut cluster = sample.cluster();
    cluster.revision = 6;
    let schedule =
        schedule(&Snapshot::new(cluster).unwrap(), &plan(vec![sample.copy(0, Some(0), 3, Reason::Balance)]));
    assert_eq!(schedule.stuck, [Stuck { position: 0, cause: StuckCause::Stale }]);
}

#[test]
fn every_move_is_done_or_stuck_and_no_schedule_is_faster_than_the_bound() {
    for seed in 0..500 {
        let (sample, mut dice) = Sample::random(seed);
        let plan = valid_plan(&sample, &mut dice);
        let schedule = schedule(&sample.snapshot(), &plan);
        assert_eq!(schedule.stuck, [], "seed {seed}: every order of a valid plan is feasible");
        assert_eq!(schedule.steps.len(), plan.moves.len());
        if let Some(times) = schedule.times {
            assert!(times.bound_ms <= times.makespan_ms, "seed {seed}: {times:?}");
        }
        assert_eq!(schedule, super::schedule(&sample.snapshot(), &plan));
    }
}
