//! Each path, where all goes well: which steps, in which order, at which epochs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_migration::{Command, Phase, Reason, Spec, SpecError, Step, StepKind, Warrant};
use support::{Hand, before_copy, engine, node, repair, spec};

fn steps(spec: Spec) -> String {
    let hand = Hand::at(spec, Phase::Completed);
    let steps = hand.calls.iter().map(|call| match call.epochs {
        Some(epochs) => format!("{} {}>{}", call.id.step, epochs.expected, epochs.new),
        None => call.id.step.to_string(),
    });
    steps.collect::<Vec<_>>().join(", ")
}

#[test]
fn each_path_has_its_order_and_raises_the_epoch_where_it_matters() {
    assert_eq!(
        steps(spec()),
        "validate, prepare 7>8, replicate 7>8, catch-up 7>8, verify 7>8, catch-up 7>8, fence 7>9, catch-up 7>9, \
         commit 7>9, retire 9>10"
    );
    assert_eq!(
        steps(before_copy()),
        "validate, prepare 7>8, fence 7>9, replicate 7>9, catch-up 7>9, verify 7>9, commit 7>9, retire 9>10"
    );
    assert_eq!(steps(engine()), "validate, prepare 7>8, replicate 7>8, verify 8>8, retire 8>9");
    assert_eq!(
        steps(repair()),
        "validate, prepare 7>8, replicate 7>8, catch-up 7>8, verify 7>8, commit 7>8, retire 8>9"
    );
}

#[test]
fn a_switch_carries_the_verification_of_its_migration_and_epoch() {
    for spec in [spec(), before_copy(), repair()] {
        let hand = Hand::calling(spec, StepKind::CommitSwitch);
        let Step::CommitSwitch { warrant: Warrant::Verified(found) } = &hand.call().step else {
            panic!("{:?}", hand.call());
        };
        assert_eq!((&found.migration, found.epoch), (&hand.call().id.migration, support::SERVING));
    }
}

#[test]
fn an_engines_copy_is_verified_before_the_source_goes() {
    let mut hand = Hand::at(engine(), Phase::Switched);
    assert_eq!(hand.call().id.step, StepKind::Verify);
    hand.pass(10_000_000);
    assert!(!hand.steps().contains(&StepKind::RetireSource), "without a verification it stays");
}

#[test]
fn behind_a_fence_the_copy_must_have_the_last_write() {
    let hand = Hand::calling(before_copy(), StepKind::AwaitCatchup);
    let Step::AwaitCatchup { position, max_lag_bytes } = &hand.call().step else { panic!() };
    assert_eq!((position.as_ref().map(|at| at.0.as_str()), *max_lag_bytes), (Some("0/19"), 0));
}

#[test]
fn the_progress_of_a_copy_is_watched() {
    let hand = Hand::calling(spec(), StepKind::StartReplication);
    let id = spec().id;
    assert_eq!(hand.others, [Command::Watch { migration: id, resume: None }]);
}

#[test]
fn a_request_is_named_after_what_it_does() {
    let hand = Hand::calling(spec(), StepKind::FenceSource);
    assert_eq!(hand.call().id.to_string(), "m1/fence/9/7");
    assert_eq!(hand.calls[0].id.to_string(), "m1/validate/-/1");
}

#[test]
fn what_cannot_be_done_is_refused_before_it_begins() {
    let begin = |spec| {
        isotherm_migration::Migration::new(spec, isotherm_migration::Term(1), isotherm_migration::Moment(0))
    };
    let same = Spec { target: node("a"), ..spec() };
    assert_eq!(begin(same).unwrap_err(), SpecError::SameNode { node: node("a") });
    let other = isotherm_model::NodeId::new(isotherm_model::SystemId::new("else").unwrap(), "b").unwrap();
    let error = begin(Spec { target: other, ..spec() }).unwrap_err();
    assert_eq!(error.to_string(), "else/b is no node of the partition's system \"sim\"");
    let mut repair = repair();
    repair.capabilities.repair_from_replica = false;
    assert!(matches!(begin(repair), Err(SpecError::NoRepair { .. })));
    let mut idle = spec();
    idle.policy.poll_ms = 0;
    assert_eq!(begin(idle).unwrap_err().to_string(), "poll_ms must be more than 0");
}

#[test]
fn findings_of_preflight_end_it_without_effects() {
    let mut hand = Hand::calling(spec(), StepKind::ValidateMigration);
    hand.refuse(Reason::Unsupported);
    assert_eq!((hand.phase(), hand.calls.len()), (Phase::Failed, 1));
    assert_eq!(hand.migration.cause().unwrap().to_string(), "validate was refused: the adapter cannot do it");
}
