use super::*;
use crate::ids::Partition;
use crate::partitions::Column;
use crate::plan::{Action, Move, Reason};
use crate::sample::{Dice, Sample, decided, plan, valid_plan};
use crate::schedule::{Doing, Schedule, Span, Step, Stuck, StuckCause, Times, schedule};
use crate::snapshot::{Cluster, InFlight};
use crate::topology::{Link, NodeState};

/// Four racks of two nodes; a partition of 100 bytes on nodes 0, 2, 4.
fn sample() -> Sample {
    Sample::racks(4, 2).with(100, &[0, 2, 4])
}

/// What one move is found to violate.
fn of_move(cluster: Cluster, decided: Move) -> Vec<Fault> {
    let found = check(&Snapshot::new(cluster).unwrap(), &plan(vec![decided]));
    assert!(found.iter().all(|violation| violation.position == Some(0)), "{found:?}");
    found.into_iter().map(|violation| violation.fault).collect()
}

fn balance(sample: &Sample) -> Move {
    sample.copy(0, Some(0), 6, Reason::Balance)
}

#[test]
fn a_good_plan_is_clean() {
    let sample = sample();
    assert_eq!(of_move(sample.cluster(), balance(&sample)), []);
    assert_eq!(check(&sample.snapshot(), &plan(Vec::new())), []);
}

#[test]
fn a_plan_of_another_revision_is_stale() {
    let sample = sample();
    let cluster = Cluster { revision: 9, ..sample.cluster() };
    let found = check(&Snapshot::new(cluster).unwrap(), &plan(vec![balance(&sample)]));
    assert_eq!(found, [Violation::whole(Fault::Stale { planned: 5, current: 9 })]);
}

#[test]
fn a_plan_that_was_changed_after_it_was_hashed_is_found() {
    let sample = sample();
    let mut plan = plan(vec![balance(&sample)]);
    plan.moves[0] = sample.copy(0, Some(0), 7, Reason::Balance);
    assert_eq!(check(&sample.snapshot(), &plan), [Violation::whole(Fault::Hash)]);
}

#[test]
fn what_does_not_exist_is_named() {
    let sample = sample();
    let nowhere = Move { partition: Partition(1), ..balance(&sample) };
    assert_eq!(of_move(sample.cluster(), nowhere), [Fault::NoSuchPartition]);
    let node = sample.copy(0, Some(0), 8, Reason::Balance);
    assert_eq!(of_move(sample.cluster(), node), [Fault::NoSuchNode { node: Node(8) }]);
}

#[test]
fn holders_are_those_of_the_row() {
    let sample = sample();
    let from = sample.copy(0, Some(6), 7, Reason::Balance);
    assert_eq!(of_move(sample.cluster(), from), [Fault::FromDoesNotHold { from: Node(6) }]);
    let holds = sample.copy(0, Some(0), 2, Reason::Balance);
    assert_eq!(of_move(sample.cluster(), holds), [Fault::HoldsAlready { to: Node(2) }]);
    let full = sample.copy(0, None, 6, Reason::Missing);
    assert_eq!(of_move(sample.cluster(), full), [Fault::NoSlot]);
    let lead = decided(0, Action::Lead { from: Node(2), to: Node(4) }, 0, Reason::Risk);
    assert_eq!(of_move(sample.cluster(), lead), [Fault::DoesNotLead { from: Node(2) }]);
    let lead = decided(0, Action::Lead { from: Node(0), to: Node(6) }, 0, Reason::Risk);
    assert_eq!(of_move(sample.cluster(), lead), [Fault::NotALiveHolder { node: Node(6) }]);
    let drain = decided(0, Action::DrainReads { from: Node(1) }, 0, Reason::Risk);
    assert_eq!(of_move(sample.cluster(), drain), [Fault::NotALiveHolder { node: Node(1) }]);
}

#[test]
fn targets_must_be_up_and_able() {
    let to = Node(6);
    let draining = sample().state(6, NodeState::Draining);
    assert_eq!(of_move(draining.cluster(), balance(&draining)), [Fault::TargetDraining { to }]);
    let down = sample().state(6, NodeState::Down);
    let lost = [Fault::TargetDown { to }, Fault::LosesReplica { before: 3, after: 2 }];
    assert_eq!(of_move(down.cluster(), balance(&down)), lost);
    let mut none = sample();
    none.nodes[6].capacity_bytes = 0;
    let full = Fault::Capacity { node: to, bytes: 100, limit_bytes: 0 };
    assert_eq!(of_move(none.cluster(), balance(&none)), [Fault::TargetNoCapacity { to }, full]);
    let mut risky = sample();
    risky.nodes[6].risk = Some(0.5);
    risky.policy.risk_limit = Some(0.4);
    assert_eq!(of_move(risky.cluster(), balance(&risky)), [Fault::TargetRisk { to, risk: 0.5, limit: 0.4 }]);
}

#[test]
fn domains_are_bounded_at_every_level_after_every_move() {
    let same_rack = sample().copy(0, Some(0), 3, Reason::Balance);
    let rack = Fault::Domain { level: Level(1), domain: Domain(3), replicas: 2, limit: 1 };
    assert_eq!(of_move(sample().cluster(), same_rack), [rack]);
    // Racks 0 and 2 are in zone 0, racks 1 and 3 in zone 1: nodes 0, 2, 4 become 6, 2, 4, two in each.
    let mut zones = sample();
    zones.policy.replicas_per_domain = [("zone".to_owned(), 1)].into();
    let zone = Fault::Domain { level: Level(0), domain: Domain(1), replicas: 2, limit: 1 };
    assert_eq!(of_move(zones.cluster(), balance(&zones)), [zone]);
    // The second move makes it good again, and the state between is not.
    let moves = vec![sample().copy(0, Some(0), 3, Reason::Lost), sample().copy(0, Some(2), 0, Reason::Lost)];
    let found = check(&sample().snapshot(), &plan(moves));
    assert_eq!((found[0].position, found[0].fault), (Some(0), rack));
}

#[test]
fn what_was_wrong_before_is_not_the_plans_fault() {
    // Nodes 0 and 1 share a rack; the third replica moves.
    let sample = Sample::racks(4, 2).with(100, &[0, 1, 4]);
    assert_eq!(of_move(sample.cluster(), sample.copy(0, Some(4), 6, Reason::Balance)), []);
    assert_eq!(of_move(sample.cluster(), sample.copy(0, Some(1), 6, Reason::Balance)), []);
}

#[test]
fn a_node_is_never_filled_above_its_limit_on_the_way() {
    let mut sample = sample().with(950, &[6, 2, 4]);
    sample.nodes[6].capacity_bytes = 1_000;
    let full = Fault::Capacity { node: Node(6), bytes: 1_050, limit_bytes: 1_000 };
    assert_eq!(of_move(sample.cluster(), balance(&sample)), [full]);
    let after = vec![sample.copy(1, Some(6), 0, Reason::Balance), balance(&sample)];
    assert_eq!(check(&sample.snapshot(), &plan(after)), []);
    let before = vec![balance(&sample), sample.copy(1, Some(6), 0, Reason::Balance)];
    assert_eq!(check(&sample.snapshot(), &plan(before)).len(), 1);
    sample.nodes[6].capacity_bytes = 10_000;
    sample.policy.fill_limit = 0.1;
    let full = Fault::Capacity { node: Node(6), bytes: 1_050, limit_bytes: 1_000 };
    assert_eq!(of_move(sample.cluster(), balance(&sample)), [full]);
}

#[test]
fn what_is_on_its_way_counts_and_is_not_moved() {
    let mut sample = sample().with(950, &[0, 2, 4]);
    sample.nodes[6].capacity_bytes = 1_000;
    sample.in_flight.push(InFlight { partition: Partition(1), from: Some(Node(0)), to: Node(6) });
    let full = Fault::Capacity { node: Node(6), bytes: 1_050, limit_bytes: 1_000 };
    assert_eq!(of_move(sample.cluster(), balance(&sample)), [full]);
    let moved = sample.copy(1, Some(2), 7, Reason::Balance);
    assert_eq!(of_move(sample.cluster(), moved)[0], Fault::InFlight);
}

#[test]
fn the_last_majority_is_not_given_away() {
    let sample = sample().state(0, NodeState::Down).state(6, NodeState::Down);
    let found = of_move(sample.cluster(), sample.copy(0, Some(2), 6, Reason::Balance));
    let lost = [Fault::LosesReplica { before: 2, after: 1 }, Fault::BelowQuorum { live: 1, wanted: 3 }];
    assert_eq!(found[1..], lost);
}

#[test]
fn what_is_pinned_or_cooling_down_is_not_moved_without_need() {
    let sample = sample();
    let mut pinned = sample.cluster();
    pinned.partitions.pinned = Column::Same(true);
    let mut cooling = sample.cluster();
    cooling.partitions.moved_at_s = Column::Same(Some(1_000_000 - 60));
    let until_s = 1_000_000 - 60 + 6 * 3600;
    for (reason, needless, by_choice) in [
        (Reason::Lost, false, false),
        (Reason::Missing, false, false),
        (Reason::Draining, false, false),
        (Reason::Overfull, true, false),
        (Reason::Underfull, true, false),
        (Reason::Balance, true, true),
        (Reason::Risk, true, true),
    ] {
        let decided = sample.copy(0, Some(0), 6, reason);
        let expected = |is: bool, fault| if is { vec![fault] } else { Vec::new() };
        assert_eq!(of_move(pinned.clone(), decided.clone()), expected(needless, Fault::Pinned));
        assert_eq!(of_move(cooling.clone(), decided), expected(by_choice, Fault::CoolingDown { until_s }));
    }
    let twice =
        vec![sample.copy(0, Some(0), 6, Reason::Draining), sample.copy(0, Some(2), 1, Reason::Balance)];
    let found = check(&sample.snapshot(), &plan(twice));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].position, found[0].fault),
        (Some(1), Fault::CoolingDown { until_s: 1_000_000 + 21_600 })
    );
}

#[test]
fn nothing_returns_to_the_node_it_just_left() {
    let sample = sample();
    let mut cluster = sample.cluster();
    cluster.partitions.last_left = Column::Same(Some(Node(6)));
    cluster.partitions.moved_at_s = Column::Same(Some(1_000_000 - 86_399));
    assert_eq!(of_move(cluster.clone(), balance(&sample)), [Fault::Returned { to: Node(6) }]);
    cluster.partitions.moved_at_s = Column::Same(Some(1_000_000 - 86_400));
    assert_eq!(of_move(cluster, balance(&sample)), []);
    let back =
        vec![sample.copy(0, Some(0), 6, Reason::Draining), sample.copy(0, Some(6), 0, Reason::Balance)];
    let found = check(&sample.snapshot(), &plan(back));
    let returned = at(1, Moment::Decided, Fault::Returned { to: Node(0) });
    assert!(found.contains(&returned), "{found:?}");
}

#[test]
fn budgets_bound_moves_by_choice_and_no_others() {
    let mut sample = sample().with(50, &[0, 2, 4]).with(70, &[0, 2, 4]);
    sample.policy.byte_budget = Some(149);
    sample.policy.move_budget = Some(1);
    let moves = |reason| {
        let of = |p| sample.copy(p, Some(0), 6, if p < 2 { reason } else { Reason::Lost });
        (0..3).map(of).collect()
    };
    let expected = [
        Violation::whole(Fault::ByteBudget { bytes: 150, budget_bytes: 149 }),
        Violation::whole(Fault::MoveBudget { moves: 2, budget: 1 }),
    ];
    let found = |reason| check(&sample.snapshot(), &plan(moves(reason)));
    assert_eq!((found(Reason::Balance), found(Reason::Risk)), (expected.to_vec(), expected.to_vec()));
    assert_eq!((found(Reason::Draining), found(Reason::Overfull)), (Vec::new(), Vec::new()));
}

#[test]
fn a_move_names_the_epoch_and_the_bytes_of_its_partition() {
    let sample = sample();
    let epoch = Move { epoch: 8, ..balance(&sample) };
    assert_eq!(of_move(sample.cluster(), epoch), [Fault::Epoch { planned: 8, current: 7 }]);
    let bytes = Move { bytes: 99, ..balance(&sample) };
    assert_eq!(of_move(sample.cluster(), bytes), [Fault::Bytes { planned: 99, needed: 100 }]);
    let lead = decided(0, Action::Lead { from: Node(0), to: Node(2) }, 1, Reason::Risk);
    assert_eq!(of_move(sample.cluster(), lead), [Fault::Bytes { planned: 1, needed: 0 }]);
}

/// A schedule of these copies, by position, wave, source, start and rate.
fn timed(plan: &Plan, steps: &[(u32, u32, u16, u64, u64)]) -> Schedule {
    let step = |&(position, wave, source, start_ms, bytes_per_s): &(u32, u32, u16, u64, u64)| {
        let takes_ms = (plan.moves[position as usize].bytes * 1000).div_ceil(bytes_per_s);
        let span = Some(Span { start_ms, end_ms: start_ms + takes_ms, bytes_per_s });
        Step { position, wave, doing: Doing::Copy { source: Node(source), span } }
    };
    let steps: Vec<Step> = steps.iter().map(step).collect();
    let end = |step: &Step| match step.doing {
        Doing::Copy { span: Some(span), .. } => span.end_ms,
        Doing::Copy { span: None, .. } | Doing::Shift { .. } => 0,
    };
    let makespan_ms = steps.iter().map(end).max().unwrap_or(0);
    let waves = steps.iter().map(|step| step.wave + 1).max().unwrap_or(0);
    let times = Some(Times { makespan_ms, bound_ms: 0 });
    Schedule { plan: plan.hash, steps, stuck: Vec::new(), waves, times }
}

/// Two partitions that move to one node, from holders that they do not share.
fn two() -> (Sample, Plan) {
    let sample = Sample::racks(4, 2).with(100, &[0, 2, 4]).with(100, &[1, 3, 5]);
    let moves =
        vec![sample.copy(0, Some(0), 6, Reason::Balance), sample.copy(1, Some(1), 6, Reason::Balance)];
    (sample, plan(moves))
}

fn found(sample: &Sample, plan: &Plan, steps: &[(u32, u32, u16, u64, u64)]) -> Vec<Violation> {
    check_schedule(&sample.snapshot(), plan, &timed(plan, steps))
}

fn at(position: u32, moment: Moment, fault: Fault) -> Violation {
    Violation { position: Some(position), moment, fault }
}

#[test]
fn a_good_schedule_is_clean() {
    let (sample, plan) = two();
    assert_eq!(found(&sample, &plan, &[(0, 0, 2, 0, 50), (1, 0, 3, 0, 50)]), []);
    assert_eq!(found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 0, 3, 1_000, 100)]), []);
}

#[test]
fn every_move_is_in_the_schedule_once() {
    let (sample, plan) = two();
    let good = [(0, 0, 2, 0, 50), (1, 0, 3, 0, 50)];
    let once = |position, fault| vec![at(position, Moment::Decided, fault)];
    assert_eq!(found(&sample, &plan, &good[..1]), once(1, Fault::NotDone));
    assert_eq!(found(&sample, &plan, &[good[0], good[1], good[0]]), once(0, Fault::DoneTwice));
    let mut schedule = timed(&plan, &good);
    schedule.stuck.push(Stuck { position: 1, cause: StuckCause::Stale });
    assert_eq!(check_schedule(&sample.snapshot(), &plan, &schedule), once(1, Fault::DoneTwice));
    let mut schedule = timed(&plan, &good);
    schedule.steps[0].doing = Doing::Shift { at_ms: Some(0) };
    assert_eq!(check_schedule(&sample.snapshot(), &plan, &schedule), once(0, Fault::OtherKind));
    let mut schedule = timed(&plan, &good);
    schedule.stuck.push(Stuck { position: 2, cause: StuckCause::Stale });
    assert_eq!(check_schedule(&sample.snapshot(), &plan, &schedule), once(2, Fault::NoSuchMove));
}

#[test]
fn a_schedule_is_of_its_plan_and_its_sums_are_right() {
    let (sample, plan) = two();
    let good = timed(&plan, &[(0, 0, 2, 0, 50), (1, 0, 3, 0, 50)]);
    let of = |change: &dyn Fn(&mut Schedule)| {
        let mut schedule = good.clone();
        change(&mut schedule);
        let found = check_schedule(&sample.snapshot(), &plan, &schedule);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].fault
    };
    assert_eq!(of(&|schedule| schedule.plan.0[3] ^= 1), Fault::OtherPlan);
    assert_eq!(of(&|schedule| schedule.waves = 2), Fault::Waves { said: 2, are: 1 });
    let times = |makespan_ms, bound_ms| Some(Times { makespan_ms, bound_ms });
    let makespan = Fault::Makespan { said_ms: 2_001, is_ms: 2_000 };
    assert_eq!(of(&|schedule| schedule.times = times(2_001, 0)), makespan);
    let bound = Fault::Bound { bound_ms: 2_001, makespan_ms: 2_000 };
    assert_eq!(of(&|schedule| schedule.times = times(2_000, 2_001)), bound);
    let span = Some(Span { start_ms: 0, end_ms: 1_999, bytes_per_s: 50 });
    let short = |schedule: &mut Schedule| schedule.steps[0].doing = Doing::Copy { source: Node(2), span };
    assert_eq!(of(&short), Fault::Span { ends_ms: 2_000 });
    let unknown =
        |schedule: &mut Schedule| schedule.steps[0].doing = Doing::Copy { source: Node(2), span: None };
    assert_eq!(of(&unknown), Fault::TimesOfSome);
}

#[test]
fn a_source_lives_and_holds() {
    let (sample, plan) = two();
    let sample = sample.state(2, NodeState::Down);
    let down = Fault::SourceDown { source_node: Node(2) };
    let other = Fault::SourceDoesNotHold { source_node: Node(4) };
    let found = found(&sample, &plan, &[(0, 0, 2, 0, 50), (1, 0, 4, 0, 50)]);
    let each = [Moment::Wave(0), Moment::Ms(0)].into_iter().flat_map(|m| [at(0, m, down), at(1, m, other)]);
    assert_eq!(found, each.collect::<Vec<_>>());
}

#[test]
fn a_node_takes_part_in_no_more_copies_than_allowed() {
    let (mut sample, plan) = two();
    sample.policy.node_copies = 1;
    let fault = Fault::NodeCopies { node: Node(6), copies: 2, limit: 1 };
    let by_wave = found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 0, 3, 1_000, 100)]);
    assert_eq!(by_wave, [at(1, Moment::Wave(0), fault)]);
    let by_time = found(&sample, &plan, &[(0, 0, 2, 0, 50), (1, 1, 3, 1_000, 50)]);
    assert_eq!(by_time, [at(1, Moment::Ms(1_000), fault)]);
    assert_eq!(found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 1, 3, 1_000, 100)]), []);
    sample = sample.with(10, &[0, 2, 4]);
    sample.in_flight.push(InFlight { partition: Partition(2), from: Some(Node(0)), to: Node(6) });
    assert_eq!(found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 1, 3, 1_000, 100)]).len(), 4);
}

#[test]
fn budgets_and_links_hold_at_every_instant() {
    let (mut sample, plan) = two();
    let steps = [(0, 0, 2, 0, 60), (1, 0, 3, 1_000, 60)];
    let node = Fault::NodeRate { node: Node(6), direction: Direction::In, bytes_per_s: 120, limit: 100 };
    assert_eq!(found(&sample, &plan, &steps), [at(1, Moment::Ms(1_000), node)]);
    sample.nodes[6].network_bytes_per_s = None;
    assert_eq!(found(&sample, &plan, &steps), []);
    // Nodes 2 and 3 lie in rack 1, node 6 in rack 3, both in zone 1.
    sample.links.push(Link { a: Domain(5), b: Domain(3), bytes_per_s: 119 });
    let link = |limit| Fault::LinkRate { link: 0, bytes_per_s: 120, limit };
    assert_eq!(found(&sample, &plan, &steps), [at(1, Moment::Ms(1_000), link(119))]);
    sample.links[0] = Link { a: Domain(1), b: Domain(1), bytes_per_s: 100 };
    assert_eq!(found(&sample, &plan, &steps), [at(1, Moment::Ms(1_000), link(100))]);
    sample.links[0] = Link { a: Domain(0), b: Domain(1), bytes_per_s: 1 };
    assert_eq!(found(&sample, &plan, &steps), []);
}

#[test]
fn room_is_there_before_it_is_taken() {
    let mut sample = Sample::racks(4, 2).with(600, &[0, 2, 4]).with(500, &[1, 3, 6]);
    sample.nodes[6].capacity_bytes = 1_000;
    let moves =
        vec![sample.copy(1, Some(6), 4, Reason::Balance), sample.copy(0, Some(0), 6, Reason::Balance)];
    let plan = plan(moves);
    let full = Fault::Capacity { node: Node(6), bytes: 1_100, limit_bytes: 1_000 };
    assert_eq!(found(&sample, &plan, &[(0, 0, 3, 0, 100), (1, 1, 2, 5_000, 100)]), []);
    let by_wave = found(&sample, &plan, &[(0, 0, 3, 0, 100), (1, 0, 2, 5_000, 100)]);
    assert_eq!(by_wave, [at(1, Moment::Wave(0), full)]);
    let by_time = found(&sample, &plan, &[(0, 0, 3, 0, 100), (1, 1, 2, 4_999, 100)]);
    assert_eq!(by_time, [at(1, Moment::Ms(4_999), full)]);
}

#[test]
fn copies_of_one_partition_follow_each_other_in_an_order_that_fits() {
    let sample =
        Sample::racks(5, 1).with(100, &[0, 1, 2]).state(0, NodeState::Down).state(1, NodeState::Down);
    let moves = vec![sample.copy(0, Some(0), 3, Reason::Lost), sample.copy(0, Some(1), 4, Reason::Lost)];
    let plan = plan(moves);
    assert_eq!(found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 1, 3, 1_000, 100)]), []);
    let overlap = Fault::Overlap { other: 0 };
    let by_wave = found(&sample, &plan, &[(0, 0, 2, 0, 100), (1, 0, 2, 1_000, 100)]);
    assert_eq!(by_wave, [at(1, Moment::Wave(0), overlap)]);
    let by_time = found(&sample, &plan, &[(0, 0, 2, 0, 50), (1, 1, 2, 1_000, 50)]);
    assert_eq!(by_time, [at(1, Moment::Ms(1_000), overlap)]);
    let early = found(&sample, &plan, &[(0, 1, 2, 1_000, 100), (1, 0, 3, 0, 100)]);
    let source = Fault::SourceDoesNotHold { source_node: Node(3) };
    assert_eq!(early, [at(1, Moment::Wave(0), source), at(1, Moment::Ms(0), source)]);
}

/// Random clusters with a valid plan of some moves and its schedule.
fn valid() -> impl Iterator<Item = (Sample, Plan, Schedule, Dice)> {
    (0..500).filter_map(|seed| {
        let (sample, mut dice) = Sample::random(seed);
        let plan = valid_plan(&sample, &mut dice);
        let schedule = schedule(&sample.snapshot(), &plan);
        (!plan.moves.is_empty()).then_some((sample, plan, schedule, dice))
    })
}

#[test]
fn plans_drawn_among_the_valid_ones_and_their_schedules_are_clean() {
    assert!(valid().count() > 300);
    for (sample, plan, schedule, _) in valid() {
        assert_eq!(check(&sample.snapshot(), &plan), []);
        assert_eq!(check_schedule(&sample.snapshot(), &plan, &schedule), []);
    }
}

#[test]
fn a_plan_with_one_field_damaged_is_found() {
    for (sample, good, _, mut dice) in valid() {
        for field in 0..6 {
            let (mut moves, mut parent) = (good.moves.clone(), good.parent);
            let at = dice.below(moves.len() as u64) as usize;
            match field {
                0 => moves[at].bytes += 1 + dice.below(1_000),
                1 => moves[at].epoch ^= 1 << dice.below(64),
                2 => moves[at].partition.0 += sample.sizes.len() as u32,
                3 => parent ^= 1 << dice.below(64),
                4 => moves.push(moves[at].clone()),
                _ => match &mut moves[at].action {
                    Action::Copy { from, to } => *to = from.unwrap_or(*to),
                    Action::Lead { to, .. } | Action::DrainReads { from: to } => *to = Node(u16::MAX - 1),
                },
            }
            let bad = Plan::new(parent, moves, Vec::new(), good.totals.clone());
            assert_ne!(check(&sample.snapshot(), &bad), [], "field {field} of {:?}", good.moves[at]);
        }
    }
}

#[test]
fn a_schedule_with_one_field_damaged_is_found() {
    for (sample, plan, good, mut dice) in valid() {
        for field in 0..9 {
            let mut bad = good.clone();
            let at = dice.below(bad.steps.len() as u64) as usize;
            let target = plan.moves[bad.steps[at].position as usize].action;
            match (field, &mut bad.steps[at].doing) {
                (0, _) => bad.steps[at].position += 1,
                (1, _) => drop(bad.steps.remove(at)),
                (2, _) => bad.waves += 1,
                (3, Doing::Copy { span: Some(span), .. }) => span.start_ms += 1 + dice.below(1_000),
                (4, Doing::Copy { span: Some(span), .. }) => span.end_ms ^= 1 << dice.below(20),
                (5, Doing::Copy { span: Some(span), .. }) => span.bytes_per_s *= 1_000,
                (6, Doing::Copy { source, .. }) => {
                    let Action::Copy { to, .. } = target else { unreachable!() };
                    *source = to;
                }
                (7, Doing::Copy { span, .. }) => {
                    *span = match span {
                        Some(_) => None,
                        None => Some(Span { start_ms: 0, end_ms: 1, bytes_per_s: 1 }),
                    }
                }
                (8, _) => bad.plan.0[dice.below(32) as usize] ^= 1,
                _ => continue,
            }
            let found = check_schedule(&sample.snapshot(), &plan, &bad);
            assert_ne!(found, [], "field {field}: {:?} to {:?}", good.steps[at], bad.steps.get(at));
        }
    }
}
