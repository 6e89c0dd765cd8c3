//! What is sent is what is heard, and what cannot be is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use isotherm_adapter::contract::{
    Answer, Asked, Migration, Refusal, call_to_wire, done_from_wire, done_to_wire, fate_from_wire,
    fate_to_wire, refusal_from_status, refusal_to_status, warrant_from_wire, warrant_to_wire,
};
use isotherm_migration::{
    Copies, Decision, Done, Epoch, MigrationId, Origin, Position, Proposal, Reason, Request, RequestId, Step,
    Term, Validated, Verification, Warrant,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::adapter::v1 as wire;
use proptest::prelude::*;

fn system() -> SystemId {
    SystemId::new("demo").unwrap()
}

fn migrations() -> impl Strategy<Value = Migration> {
    ("[a-zA-Z0-9_-]{1,40}", "[ -~]{1,60}", "a[ -~]{0,40}", "b[ -~]{0,40}", any::<bool>()).prop_map(
        |(id, partition, from, to, repair)| {
            let from = NodeId::new(system(), from).unwrap();
            Migration {
                id: MigrationId::new(id).unwrap(),
                partition: PartitionId::new(system(), partition).unwrap(),
                origin: if repair { Origin::Repair { dead: from } } else { Origin::Move { source: from } },
                target: NodeId::new(system(), to).unwrap(),
            }
        },
    )
}

fn verifications() -> impl Strategy<Value = Verification> {
    ("[a-z]{1,40}", any::<u64>(), ".{0,40}").prop_map(|(id, epoch, evidence)| Verification {
        migration: MigrationId::new(id).unwrap(),
        epoch: Epoch(epoch),
        evidence,
    })
}

fn dones() -> impl Strategy<Value = Done> {
    prop_oneof![
        (any::<u32>(), any::<u32>(), proptest::collection::vec(".{0,20}", 0..3), any::<bool>()).prop_map(
            |(serving, above, findings, lost)| Done::Validated(Validated {
                serving: Epoch(serving.into()),
                promised: Epoch(u64::from(serving) + u64::from(above)),
                findings,
                copies: if lost { Copies::Lost } else { Copies::Live },
            })
        ),
        Just(Done::Prepared),
        Just(Done::Replicated),
        any::<u64>().prop_map(|lag_bytes| Done::CaughtUp { lag_bytes }),
        verifications().prop_map(Done::Verified),
        ".{0,40}".prop_map(|position| Done::Fenced { position: Position(position) }),
        Just(Done::Committed),
        Just(Done::Unfenced),
        Just(Done::Reversed),
        Just(Done::Retired),
        Just(Done::Aborted),
    ]
}

fn reasons() -> impl Strategy<Value = Reason> {
    let after = || proptest::option::of(0..1_u64 << 40);
    prop_oneof![
        after().prop_map(|retry_after_ms| Reason::Transient { retry_after_ms }),
        after().prop_map(|retry_after_ms| Reason::Throttled { retry_after_ms }),
        any::<u64>().prop_map(|seen| Reason::StaleTerm { seen: Term(seen) }),
        Just(Reason::StaleEpoch),
        Just(Reason::Conflict),
        Just(Reason::Unsupported),
        Just(Reason::Mismatch),
        Just(Reason::NoLiveCopy),
        Just(Reason::AlreadyExists),
    ]
}

fn refusals() -> impl Strategy<Value = Refusal> {
    (reasons(), "[ -~]{0,60}").prop_map(|(reason, message)| Refusal { reason, message })
}

proptest! {
    #[test]
    fn a_call_is_heard_as_it_was_made(
        migration in migrations(), term: u64, expected in 0..u64::MAX, above in 1..1_000_u64, attempt: u32,
    ) {
        let new = expected.saturating_add(above);
        let epochs = Some(Proposal { expected: Epoch(expected), new: Epoch(new) });
        let id = RequestId {
            migration: migration.id.clone(), step: Step::Verify.kind(), epoch: Some(Epoch(new)), attempt,
        };
        let request = Request { id: id.clone(), epochs, step: Step::Verify };
        let call = call_to_wire(&migration, Term(term), &request);
        let heard = Asked::from_wire(&system(), Some(call), Step::Verify).unwrap();
        let made = Asked { request_id: id.to_string(), term: Term(term), epochs, migration, step: Step::Verify };
        prop_assert_eq!(&heard, &made);
        let kept: Asked = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
        prop_assert_eq!(kept, made, "the ledger has it as it was made");
    }

    #[test]
    fn a_result_is_heard_as_it_was_told(done in dones()) {
        let kind = done.kind();
        prop_assert_eq!(done_from_wire("done", kind, done_to_wire(&done)).unwrap(), done.clone());
        let answer = Answer::Done(done);
        prop_assert_eq!(fate_from_wire("fate", kind, fate_to_wire(&answer)).unwrap(), answer);
    }

    #[test]
    fn a_refusal_is_heard_as_it_was_told(refusal in refusals()) {
        prop_assert_eq!(refusal_from_status(&refusal_to_status(&refusal)), Some(refusal.clone()));
        let answer = Answer::Refused(refusal);
        let kind = Step::Abort.kind();
        prop_assert_eq!(fate_from_wire("fate", kind, fate_to_wire(&answer)).unwrap(), answer);
    }

    #[test]
    fn a_warrant_is_heard_as_it_was_given(verification in verifications(), by in ".{1,20}", reason in ".{1,20}") {
        for warrant in [Warrant::Verified(verification), Warrant::DataLoss(Decision { by, reason })] {
            prop_assert_eq!(warrant_from_wire(Some(warrant_to_wire(&warrant))).unwrap(), warrant);
        }
    }

    #[test]
    fn no_request_name_but_a_plain_one_is_heard(name in ".{0,220}") {
        let plain = (1..=200).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        let migration = wire::Migration {
            migration_id: "m".into(),
            partition: "p".into(),
            origin: Some(wire::migration::Origin::Dead("a".into())),
            target: "b".into(),
        };
        let call = wire::Call {
            request_id: name, term: 1, expected_epoch: Some(1), new_epoch: Some(2), migration: Some(migration),
        };
        let heard = Asked::from_wire(&system(), Some(call), Step::Abort);
        prop_assert_eq!(heard.is_ok(), plain);
        if let Err(malformed) = heard {
            prop_assert_eq!(malformed.field, "call.request_id");
        }
    }
}

#[test]
fn a_status_without_a_reason_says_nothing_but_that_it_cannot_be() {
    for (status, certain) in [
        (tonic::Status::deadline_exceeded("late"), false),
        (tonic::Status::unavailable("gone"), false),
        (tonic::Status::failed_precondition("who knows"), false),
        (tonic::Status::unimplemented("no"), true),
        (tonic::Status::invalid_argument("no"), true),
    ] {
        assert_eq!(refusal_from_status(&status).is_some(), certain, "{status}");
    }
}

#[test]
fn a_result_of_another_step_is_refused() {
    let error = done_from_wire("done", Step::Abort.kind(), done_to_wire(&Done::Prepared)).unwrap_err();
    assert_eq!(error.to_string(), "done.result: is that of prepare, asked for was abort");
}
