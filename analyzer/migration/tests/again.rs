//! An operator has copy and source compared again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_migration::{Action, Cause, Denied, End, Phase, Policy, Reason, Spec, StepKind, SwitchWhen};
use support::{Hand, before_copy, engine, spec};

/// It waits behind the gate until it is told.
fn told(spec: Spec) -> Spec {
    Spec { policy: Policy { switch: SwitchWhen::Told, ..spec.policy.clone() }, ..spec }
}

fn comparisons(hand: &Hand) -> usize {
    hand.steps().iter().filter(|step| **step == StepKind::Verify).count()
}

/// An engine has switched, and its copy is verified.
fn switched() -> Hand {
    let mut hand = Hand::at(engine(), Phase::Switched);
    hand.succeed();
    assert_eq!((hand.phase(), comparisons(&hand)), (Phase::Switched, 1));
    hand
}

#[test]
fn behind_the_gate_a_copy_is_compared_again_and_waits_on() {
    let mut hand = Hand::at(told(spec()), Phase::Ready);
    assert_eq!(hand.want(Action::Verify), None);
    assert_eq!((hand.phase(), comparisons(&hand)), (Phase::Verifying, 2));
    assert_eq!(hand.want(Action::Verify), Some(Denied::NothingToVerify), "it is being compared");
    hand.succeed().pass(86_400_000);
    assert_eq!(hand.phase(), Phase::Ready, "nobody has opened the gate");
    assert_eq!(hand.want(Action::Switch), None);
    hand.succeed_until(|hand| hand.migration.end().is_some());
    assert_eq!(hand.migration.end(), Some(&End::Completed));
}

#[test]
fn a_copy_that_differs_behind_the_gate_is_never_switched_to() {
    let mut hand = Hand::at(told(spec()), Phase::Ready);
    hand.want(Action::Verify);
    hand.refuse(Reason::Mismatch);
    hand.succeed_until(|hand| hand.migration.end().is_some());
    let (step, reason) = (StepKind::Verify, Reason::Mismatch);
    assert_eq!(hand.migration.end(), Some(&End::Failed(Cause::Refused { step, reason })));
    assert!(!hand.steps().contains(&StepKind::CommitSwitch));
}

#[test]
fn what_an_engine_switched_to_is_compared_again_before_the_source_goes() {
    let mut hand = switched();
    assert_eq!(hand.want(Action::Verify), None);
    assert_eq!(hand.want(Action::Complete), Some(Denied::NotVerified));
    hand.pass(100_000);
    assert!(!hand.steps().contains(&StepKind::RetireSource), "nothing is removed while it is compared");
    hand.succeed();
    assert_eq!((comparisons(&hand), hand.want(Action::Complete)), (2, None));
    hand.succeed_until(|hand| hand.migration.end().is_some());
    assert_eq!(hand.migration.end(), Some(&End::Completed));
}

#[test]
fn what_differs_after_the_switch_needs_somebody() {
    let mut hand = switched();
    hand.want(Action::Verify);
    hand.refuse(Reason::Mismatch);
    assert_eq!((hand.phase(), hand.migration.stopped_in()), (Phase::NeedsOperator, Some(Phase::Switched)));
    hand.pass(100_000_000);
    assert!(!hand.steps().contains(&StepKind::RetireSource));
    // After a mend it is compared once more, and goes on.
    assert_eq!(hand.want(Action::Retry), None);
    assert_eq!(comparisons(&hand), 3);
    hand.succeed_until(|hand| hand.migration.end().is_some());
    assert_eq!(hand.migration.end(), Some(&End::Completed));
}

#[test]
fn a_comparison_that_cannot_be_made_leaves_the_first_one_in_force() {
    for reason in [Reason::Unsupported, Reason::Conflict] {
        let mut hand = switched();
        hand.want(Action::Verify);
        hand.refuse(reason);
        assert_eq!((hand.phase(), hand.want(Action::Complete)), (Phase::Switched, None));
    }
}

#[test]
fn elsewhere_there_is_nothing_to_compare() {
    for (spec, phase, denied) in [
        (spec(), Phase::Replicating, Denied::NothingToVerify),
        (told(before_copy()), Phase::Ready, Denied::NothingToVerify),
        (spec(), Phase::Fencing, Denied::NothingToVerify),
        (spec(), Phase::Switched, Denied::WrittenSince),
        (spec(), Phase::Retiring, Denied::NothingToVerify),
        (spec(), Phase::Completed, Denied::Ended),
    ] {
        let mut hand = Hand::at(spec, phase);
        let calls = hand.calls.len();
        assert_eq!(hand.want(Action::Verify), Some(denied), "{phase:?}");
        assert_eq!((hand.phase(), hand.calls.len()), (phase, calls), "nothing has changed");
    }
}
