//! The rules by their names: what is tried again, what is asked, what goes back, and what stops.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_migration::{
    Action, Approval, Cause, Command, Copies, Decision, Denied, Done, End, Epoch, Event, Expiry, Fate,
    Fenced, Moment, Observation, Outcome, Phase, Policy, Progress, Reason, Revision, Side, Spec, Step,
    StepKind, SwitchWhen, Term, Validated, Warrant,
};
use support::{Hand, SERVING, before_copy, engine, progress, repair, spec};

const NOT_NOW: Reason = Reason::Transient { retry_after_ms: None };

fn with_policy(change: impl Fn(&mut Policy)) -> Spec {
    let mut spec = spec();
    change(&mut spec.policy);
    spec
}

#[test]
fn approval_expires_and_is_for_what_was_looked_at() {
    let asks = with_policy(|policy| policy.approval = Approval::Within { ms: 1_000 });
    let mut hand = Hand::new(asks.clone());
    hand.event(Event::Admitted);
    assert_eq!(hand.phase(), Phase::AwaitingApproval, "limits do not stand for a person");
    let (planned, seen) = (Revision(3), Revision(4));
    assert_eq!(hand.want(Action::Approve { revision: seen }), Some(Denied::OtherRevision { planned, seen }));
    hand.pass(1_000);
    assert_eq!(hand.migration.end(), Some(&End::Expired(Expiry::Unapproved)));

    let mut hand = Hand::new(asks);
    assert_eq!(hand.want(Action::Approve { revision: planned }), None);
    assert_eq!(hand.event(Event::Admitted).phase(), Phase::Preflight);
}

#[test]
fn a_store_may_stop_writes_by_itself_while_a_survivor_is_copied() {
    for step in [StepKind::StartReplication, StepKind::AwaitCatchup, StepKind::Verify] {
        let mut hand = Hand::calling(repair(), step);
        let (phase, calls) = (hand.phase(), hand.calls.len());
        hand.answer(Outcome::Accepted).wait();
        hand.tell(|seen| Observation { fenced: Fenced::Yes, fate: Some(Fate::Running), ..seen });
        assert_eq!((hand.phase(), hand.calls.len()), (phase, calls), "{step:?} goes on");
    }
    // In a move it means that a predecessor went further, and is undone.
    let mut hand = Hand::calling(spec(), StepKind::Verify);
    hand.answer(Outcome::Accepted).wait();
    hand.tell(|seen| Observation { fenced: Fenced::Yes, fate: Some(Fate::Running), ..seen });
    assert_eq!(hand.phase(), Phase::Unfencing);
}

#[test]
fn a_moved_topology_has_it_planned_anew_as_long_as_nothing_has_begun() {
    let mut hand = Hand::new(spec());
    hand.event(Event::TopologyMoved { revision: Revision(3) });
    assert_eq!(hand.phase(), Phase::Planned, "that is what it was planned on");
    hand.event(Event::TopologyMoved { revision: Revision(4) });
    assert_eq!(hand.migration.end(), Some(&End::Expired(Expiry::TopologyMoved(Revision(4)))));
    assert_eq!(hand.others, [Command::Replan { revision: Revision(3) }]);

    let mut hand = Hand::at(spec(), Phase::Replicating);
    hand.event(Event::TopologyMoved { revision: Revision(4) });
    assert_eq!(hand.phase(), Phase::Replicating);
}

#[test]
fn what_stands_in_the_way_is_told_and_leaves_nothing() {
    let mut hand = Hand::calling(spec(), StepKind::ValidateMigration);
    let findings = vec!["table p has no primary key: add one".to_owned()];
    let found = Validated { serving: SERVING, promised: SERVING, findings, copies: Copies::Live };
    hand.answer(Outcome::Done(Done::Validated(found)));
    assert_eq!(
        hand.migration.cause().unwrap().to_string(),
        "it cannot be done: table p has no primary key: add one"
    );
    assert_eq!(hand.calls.len(), 1);
}

#[test]
fn a_copy_may_take_for_ever_if_it_moves_or_is_throttled() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    hand.answer(Outcome::Accepted);
    let mut round = |done: u64, throttled: bool| {
        hand.now = hand.now.after_ms(599_999);
        let progress = Some(progress(done, throttled));
        hand.event(Event::Due).tell(|seen| Observation {
            fate: Some(Fate::Running),
            progress: progress.clone(),
            ..seen
        });
        assert_eq!(hand.phase(), Phase::Replicating, "{done} done");
    };
    (1..200).for_each(|done| round(done, false));
    (1..200).for_each(|_| round(199, true));
}

#[test]
fn a_copy_that_does_not_move_is_given_up() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    hand.answer(Outcome::Accepted);
    let stuck = |seen: Observation| Observation {
        fate: Some(Fate::Running),
        progress: Some(progress(5, false)),
        ..seen
    };
    for _ in 0..400 {
        hand.wait().tell(stuck);
        if hand.phase() != Phase::Replicating {
            break;
        }
    }
    assert_eq!(hand.phase(), Phase::Aborting);
    assert!(hand.now <= Moment(620_000), "{:?}", hand.now);
    hand.succeed();
    let step = StepKind::StartReplication;
    assert_eq!(hand.migration.end(), Some(&End::Failed(Cause::Stalled { step })));
}

#[test]
fn the_next_attempt_goes_on_where_the_last_one_was() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    hand.answer(Outcome::Accepted).event(Event::Progressed(progress(7, false)));
    hand.wait().fate(Fate::Refused(NOT_NOW)).wait();
    assert_eq!(
        hand.call().step,
        Step::StartReplication { resume: Some("at 7".to_owned()), bytes_per_s: None }
    );
}

#[test]
fn refusals_for_the_moment_are_bounded_and_back_off() {
    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    let mut waits = Vec::new();
    while hand.phase() == Phase::Preparing {
        let before = (hand.now, hand.call().id.clone());
        hand.refuse(NOT_NOW);
        if hand.phase() == Phase::Preparing {
            hand.wait();
            waits.push(hand.now.0 - before.0.0);
            assert_ne!(
                hand.call().id,
                before.1,
                "a refusal is an answer: the next attempt is another request"
            );
        }
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
    assert_eq!(hand.phase(), Phase::Aborting);
}

#[test]
fn throttling_is_no_failure_and_an_adapter_may_ask_for_patience() {
    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    for _ in 0..100 {
        let before = hand.now;
        hand.refuse(Reason::Throttled { retry_after_ms: Some(29_000) }).wait();
        assert!(hand.now.0 - before.0 >= 29_000);
    }
    assert_eq!(hand.phase(), Phase::Preparing);
}

#[test]
fn an_unknown_outcome_is_asked_about_and_what_was_not_heard_is_the_same_request_again() {
    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    let first = hand.call().clone();
    hand.answer(Outcome::Unknown);
    assert_eq!(hand.questions.last().unwrap().about.as_ref(), Some(&first.id));
    hand.fate(Fate::Unheard);
    assert_eq!((hand.calls.len(), hand.call()), (3, &first));
    // No answer at all is the same as an unknown outcome.
    hand.pass(30_000);
    assert_eq!(hand.questions.len(), 2);
    hand.fate(Fate::Done(Done::Prepared));
    assert_eq!(hand.phase(), Phase::Replicating);
}

#[test]
fn answers_that_come_twice_or_late_change_nothing() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    let prepare = hand.calls[1].id.clone();
    let before = hand.migration.clone();
    for outcome in [Outcome::Done(Done::Prepared), Outcome::Refused(Reason::Conflict), Outcome::Unknown] {
        hand.event(Event::Answered { request: prepare.clone(), outcome });
    }
    assert_eq!(hand.migration, before);
}

#[test]
fn an_adapter_out_of_reach_stops_it_with_all_kept_and_a_retry_asks_again() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    let calls = hand.calls.len();
    hand.pass(100_000_000);
    let step = StepKind::StartReplication;
    assert_eq!(hand.migration.cause(), Some(&Cause::Unreachable { step }));
    assert_eq!((hand.phase(), hand.migration.stopped_in()), (Phase::NeedsOperator, Some(Phase::Replicating)));
    assert!(hand.migration.traces().objects);
    assert_eq!(hand.migration.deadline(), None, "nothing happens by itself");
    assert_eq!(hand.want(Action::Retry), None);
    hand.fate(Fate::Done(Done::Replicated));
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::CatchingUp, calls + 1));
}

#[test]
fn a_mismatch_is_never_verified_again_by_itself() {
    for spec in [spec(), before_copy(), repair()] {
        let mut hand = Hand::calling(spec, StepKind::Verify);
        hand.refuse(Reason::Mismatch);
        hand.succeed_until(|hand| hand.migration.end().is_some());
        let (step, reason) = (StepKind::Verify, Reason::Mismatch);
        assert_eq!(hand.migration.end(), Some(&End::Failed(Cause::Refused { step, reason })));
        assert_eq!(hand.steps().iter().filter(|step| **step == StepKind::Verify).count(), 1);
        assert!(!hand.steps().contains(&StepKind::CommitSwitch));
    }
}

#[test]
fn a_verification_of_another_epoch_is_none() {
    let mut hand = Hand::calling(spec(), StepKind::Verify);
    let Done::Verified(mut found) = hand.success(hand.call()) else { panic!() };
    found.epoch = Epoch(6);
    hand.answer(Outcome::Done(Done::Verified(found)));
    assert_eq!(hand.migration.cause(), Some(&Cause::Contradicted { step: StepKind::Verify }));
}

#[test]
fn the_lag_is_looked_at_again_when_the_gate_opens() {
    let mut hand = Hand::at(with_policy(|policy| policy.switch = SwitchWhen::Told), Phase::Ready);
    hand.pass(86_400_000);
    assert_eq!(hand.phase(), Phase::Ready, "it waits for an operator or a window");
    hand.event(Event::WindowOpened);
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Ready, StepKind::AwaitCatchup));
    hand.answer(Outcome::Done(Done::CaughtUp { lag_bytes: (16 << 20) + 1 }));
    assert_eq!(hand.migration.cause(), Some(&Cause::Contradicted { step: StepKind::AwaitCatchup }));
}

#[test]
fn writes_are_stopped_no_longer_than_the_budget_and_not_too_often() {
    let mut hand = Hand::at(spec(), Phase::Fencing);
    for fence in 1..=3 {
        assert_eq!(hand.phase(), Phase::Fencing);
        let begun = hand.now;
        hand.succeed().answer(Outcome::Accepted);
        while hand.phase() == Phase::Fencing {
            hand.wait().fate(Fate::Running);
        }
        assert_eq!((hand.phase(), hand.now), (Phase::Unfencing, begun.after_ms(10_000)));
        hand.succeed();
        if fence < 3 {
            assert_eq!(hand.phase(), Phase::Verifying);
            hand.wait().succeed_until(|hand| hand.phase() == Phase::Fencing);
        }
    }
    assert_eq!(hand.migration.cause(), Some(&Cause::FenceBudget));
    assert_eq!(hand.migration.traces().fence, None, "it stops with writes going on");
}

#[test]
fn once_writes_have_gone_on_the_copy_is_compared_again() {
    let mut hand = Hand::at(spec(), Phase::Committing);
    while hand.phase() == Phase::Committing {
        hand.refuse(NOT_NOW).wait();
    }
    assert_eq!(hand.phase(), Phase::Unfencing);
    hand.succeed();
    assert_eq!(hand.phase(), Phase::Verifying);
    let verified = |hand: &Hand| hand.steps().iter().filter(|step| **step == StepKind::Verify).count();
    hand.wait();
    assert_eq!(verified(&hand), 2, "the first comparison counts no longer");
    hand.succeed_until(|hand| hand.phase() == Phase::Committing);
    assert_eq!(verified(&hand), 2);
    // Where all fences are spent it is compared only when somebody says that it is to go on.
    let mut hand = Hand::at(with_policy(|policy| policy.retry.most_fences = 1), Phase::Fencing);
    hand.refuse(NOT_NOW).event(Event::Resumed { term: Term(2) });
    hand.succeed();
    assert_eq!((hand.phase(), hand.migration.stopped_in()), (Phase::NeedsOperator, Some(Phase::Verifying)));
    assert_eq!(verified(&hand), 1);
    assert_eq!(hand.want(Action::Retry), None);
    hand.succeed_until(|hand| hand.phase() == Phase::Completed);
    assert_eq!(verified(&hand), 2);
}

#[test]
fn a_copy_behind_a_fence_has_the_copys_budget() {
    let mut spec = before_copy();
    spec.policy.copy_fence_budget_ms = Some(60_000);
    let mut hand = Hand::at(spec, Phase::Replicating);
    hand.answer(Outcome::Accepted);
    while hand.phase() == Phase::Replicating {
        hand.wait().fate(Fate::Running);
    }
    assert_eq!((hand.phase(), hand.now), (Phase::Unfencing, Moment(60_000)));
    hand.succeed_until(|hand| hand.migration.end().is_some());
    assert_eq!(hand.migration.end(), Some(&End::Failed(Cause::FenceBudget)));
    assert_eq!(hand.steps().last(), Some(&StepKind::Abort));
}

#[test]
fn a_commit_of_unknown_outcome_is_asked_about_for_ever() {
    let mut hand = Hand::at(spec(), Phase::Committing);
    hand.answer(Outcome::Unknown);
    let calls = hand.calls.len();
    hand.pass(7 * 86_400_000);
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::Committing, calls));
    assert!(hand.questions.len() > 9_000, "{}", hand.questions.len());
    assert_eq!(hand.want(Action::Cancel), Some(Denied::PointOfNoReturn));
    hand.fate(Fate::Done(Done::Committed));
    assert_eq!((hand.phase(), hand.migration.serving()), (Phase::Switched, Some(Epoch(9))));
}

#[test]
fn a_commit_that_has_not_happened_leads_to_writes_going_on() {
    let mut hand = Hand::at(spec(), Phase::Committing);
    hand.answer(Outcome::Unknown).pass(60_000).fate(Fate::Unheard);
    assert_eq!(hand.phase(), Phase::Unfencing, "the budget is over, and nothing is under way");
    let (commit, unfence) = (&hand.calls[hand.calls.len() - 2], hand.call());
    assert_eq!((commit.id.step, unfence.id.step), (StepKind::CommitSwitch, StepKind::UnfenceSource));
    assert!(unfence.epochs.unwrap().new > commit.epochs.unwrap().new, "a commit that comes late is refused");
}

#[test]
fn a_commit_that_has_happened_after_all_goes_forward() {
    let mut hand = Hand::at(spec(), Phase::Committing);
    hand.refuse(Reason::Conflict);
    assert_eq!(hand.phase(), Phase::Unfencing);
    hand.refuse(Reason::StaleEpoch);
    hand.tell(|seen| Observation { serving: Epoch(9), promised: Epoch(10), serves: Side::Target, ..seen });
    assert_eq!((hand.phase(), hand.migration.serving()), (Phase::Switched, Some(Epoch(9))));
    hand.succeed_until(|hand| hand.phase() == Phase::Completed);
}

#[test]
fn unfencing_never_gives_up_while_the_adapter_is_only_out_of_reach() {
    let mut hand = Hand::at(spec(), Phase::Fencing);
    hand.refuse(Reason::Conflict);
    for _ in 0..500 {
        hand.refuse(NOT_NOW).wait();
    }
    hand.pass(86_400_000);
    assert_eq!(hand.phase(), Phase::Unfencing);
    assert!(hand.migration.traces().fence.is_some());
}

#[test]
fn a_cancelled_migration_leaves_nothing_and_asks_for_nothing_it_need_not() {
    let mut hand = Hand::new(spec());
    assert_eq!(hand.want(Action::Cancel), None);
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::Cancelled, 0));

    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    assert_eq!(hand.want(Action::Cancel), None);
    assert_eq!(
        (hand.phase(), hand.call().id.step),
        (Phase::Aborting, StepKind::Abort),
        "it may have been made"
    );
    assert_eq!(hand.want(Action::Cancel), Some(Denied::Undoing));

    let mut hand = Hand::at(spec(), Phase::Fencing);
    assert_eq!(hand.want(Action::Cancel), None);
    hand.succeed_until(|hand| hand.phase() == Phase::Cancelled);
    let steps = hand.steps();
    assert_eq!(steps[steps.len() - 2..], [StepKind::UnfenceSource, StepKind::Abort]);
}

#[test]
fn an_engine_can_be_cancelled_until_it_hands_over() {
    let mut hand = Hand::calling(engine(), StepKind::StartReplication);
    hand.answer(Outcome::Accepted);
    assert_eq!((hand.phase(), hand.migration.permits(&Action::Cancel)), (Phase::Replicating, Ok(())));
    hand.event(Event::Progressed(Progress { handing_over: true, ..progress(9, false) }));
    assert_eq!(hand.phase(), Phase::Committing);
    assert_eq!(hand.want(Action::Cancel), Some(Denied::PointOfNoReturn));
    // The hand-over failed, and with it the engine's attempt.
    hand.fate(Fate::Refused(NOT_NOW)).wait().fate(Fate::Refused(NOT_NOW));
    assert_eq!(hand.migration.permits(&Action::Cancel), Ok(()));
}

#[test]
fn an_engines_mismatch_needs_an_operator() {
    let mut hand = Hand::at(engine(), Phase::Switched);
    hand.refuse(Reason::Mismatch);
    assert_eq!((hand.phase(), hand.migration.stopped_in()), (Phase::NeedsOperator, Some(Phase::Switched)));
    assert_eq!(hand.migration.permits(&Action::Reverse), Ok(()));
    let decision = Decision { by: "ada".to_owned(), reason: "cache only".to_owned() };
    assert_eq!(hand.want(Action::AcceptDataLoss(decision)), None);
    hand.succeed_until(|hand| hand.phase() == Phase::Completed);
}

#[test]
fn a_switch_is_taken_back_during_probation_only() {
    let mut hand = Hand::at(spec(), Phase::Ready);
    assert_eq!(hand.want(Action::Reverse), Some(Denied::NotInProbation));
    let mut hand = Hand::at(spec(), Phase::Switched);
    assert_eq!(hand.want(Action::Reverse), None);
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Reversing, StepKind::ReverseSwitch));
    hand.succeed();
    assert_eq!(
        (hand.phase(), hand.call().id.step),
        (Phase::Reversing, StepKind::Abort),
        "the copy goes, too"
    );
    assert_eq!(hand.succeed().phase(), Phase::Reversed);

    let mut fixed = spec();
    fixed.capabilities.reverse = false;
    let hand = Hand::at(fixed, Phase::Switched);
    assert_eq!(hand.migration.permits(&Action::Reverse), Err(Denied::Irreversible));
    // After a repair there is nothing to go back to, and so no probation.
    let hand = Hand::at(repair(), Phase::Retiring);
    assert_eq!(hand.migration.permits(&Action::Reverse), Err(Denied::Irreversible));
    let hand = Hand::calling(spec(), StepKind::RetireSource);
    assert_eq!(hand.migration.permits(&Action::Reverse), Err(Denied::NotInProbation));
}

#[test]
fn the_source_goes_after_probation_and_a_second_look_at_the_epoch() {
    let mut hand = Hand::at(spec(), Phase::Switched);
    hand.pass(3_599_999);
    assert_eq!(hand.phase(), Phase::Switched);
    hand.wait();
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Retiring, StepKind::CommitSwitch));
    hand.tell(|seen| Observation { serving: Epoch(12), serves: Side::Neither, ..seen });
    assert_eq!(hand.migration.cause(), Some(&Cause::EpochMoved { serving: Epoch(12) }));
    assert!(!hand.steps().contains(&StepKind::RetireSource));

    let mut hand = Hand::at(spec(), Phase::Switched);
    assert_eq!(hand.want(Action::Complete), None);
    assert_eq!(hand.phase(), Phase::Retiring, "probation can be ended early");
}

#[test]
fn without_a_live_copy_only_an_explicit_decision_goes_on() {
    let mut hand = Hand::calling(repair(), StepKind::ValidateMigration);
    let found = Validated { serving: SERVING, promised: SERVING, findings: Vec::new(), copies: Copies::Lost };
    hand.answer(Outcome::Done(Done::Validated(found)));
    assert_eq!(hand.migration.cause(), Some(&Cause::NoLiveCopy));
    hand.pass(86_400_000);
    let decision = Decision { by: "ada".to_owned(), reason: "the disks are gone".to_owned() };
    assert_eq!(hand.want(Action::AcceptDataLoss(decision.clone())), None);
    hand.succeed_until(|hand| hand.phase() == Phase::Committing);
    assert_eq!(hand.call().step, Step::CommitSwitch { warrant: Warrant::DataLoss(decision.clone()) });

    let mut hand = Hand::at(spec(), Phase::Replicating);
    assert_eq!(hand.want(Action::AcceptDataLoss(decision)), Some(Denied::NothingLost));
}

#[test]
fn a_pause_begins_nothing_new_and_holds_no_fence() {
    let mut hand = Hand::calling(spec(), StepKind::StartReplication);
    assert_eq!(hand.want(Action::Pause), None);
    let calls = hand.calls.len();
    hand.succeed().pass(86_400_000);
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::CatchingUp, calls));
    assert_eq!(hand.want(Action::Unpause), None);
    assert_eq!(hand.calls.len(), calls + 1);

    let mut hand = Hand::at(spec(), Phase::Fencing);
    assert_eq!(hand.want(Action::Pause), None);
    hand.succeed_until(|hand| hand.phase() == Phase::Switched);
    hand.pass(86_400_000);
    assert_eq!(hand.phase(), Phase::Switched, "the source is kept while it is paused");
}

#[test]
fn who_is_superseded_does_nothing_until_a_higher_term() {
    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    hand.refuse(Reason::StaleTerm { seen: Term(4) });
    assert_eq!(hand.migration.superseded(), Some(Term(4)));
    let (calls, questions) = (hand.calls.len(), hand.questions.len());
    hand.pass(86_400_000).event(Event::Due);
    assert_eq!(hand.want(Action::Cancel), Some(Denied::Superseded));
    assert_eq!((hand.calls.len(), hand.questions.len()), (calls, questions));
    hand.event(Event::Resumed { term: Term(5) });
    assert_eq!((hand.migration.superseded(), hand.questions.len()), (None, questions + 1));
}

#[test]
fn after_a_start_all_that_was_under_way_is_asked_about() {
    for &step in StepKind::ALL.iter().filter(|step| **step != StepKind::FenceSource) {
        let mut hand = match step {
            StepKind::UnfenceSource | StepKind::Abort => {
                let mut hand = Hand::at(spec(), Phase::Fencing);
                hand.want(Action::Cancel);
                hand.succeed_until(|hand| hand.call().id.step == step);
                hand
            }
            StepKind::ReverseSwitch => {
                let mut hand = Hand::at(spec(), Phase::Switched);
                hand.want(Action::Reverse);
                hand
            }
            StepKind::ValidateMigration
            | StepKind::PrepareTarget
            | StepKind::StartReplication
            | StepKind::AwaitCatchup
            | StepKind::Verify
            | StepKind::FenceSource
            | StepKind::CommitSwitch
            | StepKind::RetireSource => Hand::calling(spec(), step),
        };
        let (call, calls) = (hand.call().id.clone(), hand.calls.len());
        hand.event(Event::Resumed { term: Term(2) });
        assert_eq!(hand.questions.last().unwrap().about.as_ref(), Some(&call));
        assert_eq!(hand.calls.len(), calls, "{step} is not assumed to have failed");
    }
}

#[test]
fn after_a_start_nobody_knows_how_long_writes_have_been_stopped() {
    let mut hand = Hand::at(spec(), Phase::Fencing);
    hand.event(Event::Resumed { term: Term(2) });
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Unfencing, StepKind::UnfenceSource));
    // Where the fence is the copy's, a start is no reason to begin it anew.
    let mut hand = Hand::at(before_copy(), Phase::Replicating);
    hand.event(Event::Resumed { term: Term(2) });
    assert_eq!(hand.phase(), Phase::Replicating);
}

#[test]
fn the_same_state_asks_for_the_same_request() {
    let hand = Hand::at(spec(), Phase::Verifying);
    let done = Outcome::Done(hand.success(hand.call()));
    let event = Event::Answered { request: hand.call().id.clone(), outcome: done };
    let (one, other) =
        (hand.migration.handle(event.clone(), hand.now), hand.migration.handle(event, hand.now));
    assert_eq!(one.commands, other.commands);
}

#[test]
fn time_that_goes_back_is_no_time() {
    let mut hand = Hand::calling(spec(), StepKind::PrepareTarget);
    hand.pass(20_000).event(Event::Due);
    let before = hand.migration.clone();
    let next = before.handle(Event::Due, Moment(3));
    assert_eq!((next.migration, next.commands.len()), (before, 0));
}

#[test]
fn a_partition_that_somebody_else_moved_is_left_alone() {
    let mut hand = Hand::calling(spec(), StepKind::Verify);
    hand.refuse(Reason::StaleEpoch);
    hand.tell(|seen| Observation { serving: Epoch(20), promised: Epoch(20), serves: Side::Neither, ..seen });
    assert_eq!(hand.migration.cause(), Some(&Cause::EpochMoved { serving: Epoch(20) }));
    // Once somebody has looked, what is left of the migration is removed, at the epoch that serves.
    assert_eq!(hand.want(Action::Retry), None);
    let abort = hand.call();
    assert_eq!((abort.id.step, abort.epochs.unwrap().expected), (StepKind::Abort, Epoch(20)));
}

/// Its copy is thrown away, behind a fence before the copy that is lifted already.
fn aborting() -> Hand {
    let mut hand = Hand::calling(before_copy(), StepKind::StartReplication);
    hand.want(Action::Cancel);
    hand.succeed();
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Aborting, StepKind::Abort));
    hand
}

#[test]
fn writes_that_an_abort_stops_for_itself_are_not_lifted_beside_it() {
    let mut hand = aborting();
    let calls = hand.calls.len();
    hand.answer(Outcome::Unknown);
    hand.tell(|seen| Observation { fenced: Fenced::Yes, fate: Some(Fate::Running), ..seen });
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::Aborting, calls));
    hand.pass(10_000);
    hand.tell(|seen| Observation { fenced: Fenced::Yes, fate: Some(Fate::Unheard), ..seen });
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Unfencing, StepKind::UnfenceSource));
}

#[test]
fn what_needs_no_unfencing_of_its_own_is_aborted() {
    let mut hand = Hand::calling(before_copy(), StepKind::StartReplication);
    hand.want(Action::Cancel);
    assert_eq!(hand.phase(), Phase::Unfencing);
    hand.refuse(Reason::Conflict);
    assert_eq!((hand.phase(), hand.call().id.step), (Phase::Aborting, StepKind::Abort));
    hand.refuse(Reason::Conflict);
    assert_eq!((hand.phase(), hand.migration.stopped_in()), (Phase::NeedsOperator, Some(Phase::Aborting)));
    assert_eq!(hand.want(Action::Retry), None);
    hand.succeed();
    assert_eq!(hand.migration.end(), Some(&End::Cancelled));
}
