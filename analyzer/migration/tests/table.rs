//! Every event in every state: there is always an answer, and some answers are the same everywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_migration::{
    Action, Decision, Done, Event, Fate, Fenced, Migration, Moment, Observation, Outcome, Phase, Reason,
    Revision, Side, Spec, StepKind, Term, Told,
};
use std::collections::{BTreeMap, BTreeSet};
use support::{Hand, before_copy, engine, progress, repair, spec};

/// Migrations in all states that hands can lead to: on each path, each step done, refused, unknown, cancelled,
/// reversed, paused, taken over.
fn states() -> BTreeMap<Phase, Vec<(Hand, Spec)>> {
    let mut found: BTreeMap<Phase, Vec<(Hand, Spec)>> = BTreeMap::new();
    for spec in [spec(), before_copy(), engine(), repair()] {
        for &step in StepKind::ALL {
            for end in 0..8 {
                let mut hand = Hand::new(spec.clone());
                hand.event(Event::Admitted);
                for _ in 0..60 {
                    if hand.calls.last().is_some_and(|call| call.id.step == step) {
                        break;
                    }
                    hand.go_on();
                }
                bend(&mut hand, end);
                for past in hand.past.clone() {
                    let mut at = Hand::new(spec.clone());
                    (at.migration, at.now) = (past, hand.now);
                    at.calls.clone_from(&hand.calls);
                    at.questions.clone_from(&hand.questions);
                    let same = found.entry(at.phase()).or_default();
                    if !same.iter().any(|(known, _)| known.migration == at.migration) {
                        same.push((at, spec.clone()));
                    }
                }
            }
        }
    }
    found
}

/// Something other than success.
fn bend(hand: &mut Hand, how: u8) {
    match how {
        0 => drop(hand.want(Action::Cancel)),
        1 => drop(hand.want(Action::Reverse)),
        2 => drop(hand.refuse(Reason::Mismatch)),
        3 => drop(hand.refuse(Reason::NoLiveCopy)),
        4 => drop(hand.event(Event::Resumed { term: Term(5) })),
        5 => drop(hand.answer(Outcome::Accepted)),
        6 => drop(hand.want(Action::Verify)),
        _ => drop(hand.answer(Outcome::Unknown)),
    }
    for _ in 0..6 {
        if hand.migration.end().is_none() {
            hand.go_on();
        }
    }
}

fn reasons() -> Vec<Reason> {
    vec![
        Reason::Transient { retry_after_ms: None },
        Reason::Throttled { retry_after_ms: Some(1) },
        Reason::StaleTerm { seen: Term(9) },
        Reason::StaleEpoch,
        Reason::Conflict,
        Reason::Unsupported,
        Reason::Mismatch,
        Reason::NoLiveCopy,
        Reason::AlreadyExists,
    ]
}

fn outcomes(hand: &Hand) -> Vec<Outcome> {
    let mut all: Vec<Outcome> = reasons().into_iter().map(Outcome::Refused).collect();
    all.extend([Outcome::Accepted, Outcome::Unknown]);
    all.extend(hand.calls.iter().map(|call| Outcome::Done(hand.success(call))));
    all.push(Outcome::Done(Done::CaughtUp { lag_bytes: u64::MAX }));
    all
}

fn events(hand: &Hand) -> Vec<Event> {
    let decision = Decision { by: "somebody".to_owned(), reason: "for a test".to_owned() };
    let actions = [
        Action::Approve { revision: Revision(3) },
        Action::Pause,
        Action::Unpause,
        Action::Cancel,
        Action::Verify,
        Action::Switch,
        Action::Complete,
        Action::Reverse,
        Action::AcceptDataLoss(decision),
        Action::Retry,
    ];
    let mut all: Vec<Event> = actions.into_iter().map(Event::Wanted).collect();
    all.extend([
        Event::Admitted,
        Event::Resumed { term: Term(1) },
        Event::Resumed { term: Term(9) },
        Event::TopologyMoved { revision: Revision(4) },
        Event::WindowOpened,
        Event::Progressed(progress(5, true)),
        Event::Due,
    ]);
    for call in &hand.calls {
        let answers = outcomes(hand).into_iter();
        all.extend(answers.map(|outcome| Event::Answered { request: call.id.clone(), outcome }));
    }
    for question in &hand.questions {
        let tell = |told| Event::Observed { question: question.clone(), told };
        all.push(tell(Told::Unknown));
        all.extend(reasons().into_iter().map(|reason| tell(Told::Refused(reason))));
        let fates = outcomes(hand).into_iter().map(|outcome| match outcome {
            Outcome::Done(done) => Fate::Done(done),
            Outcome::Refused(reason) => Fate::Refused(reason),
            Outcome::Accepted => Fate::Running,
            Outcome::Unknown => Fate::Unheard,
        });
        for fate in fates {
            for serves in [Side::Source, Side::Target, Side::Neither] {
                for fenced in [Fenced::Yes, Fenced::No] {
                    let serving = hand.migration.serving().unwrap_or(support::SERVING);
                    let fate = Some(fate.clone());
                    let seen =
                        Observation { fate, serving, promised: serving, serves, fenced, progress: None };
                    all.push(tell(Told::State(seen)));
                }
            }
        }
    }
    all
}

#[test]
fn every_event_has_an_answer_in_every_state() {
    let states = states();
    let met: BTreeSet<Phase> = states.keys().copied().collect();
    let unmet: Vec<Phase> = [
        Phase::Planned,
        Phase::Preflight,
        Phase::Preparing,
        Phase::Replicating,
        Phase::Repairing,
        Phase::CatchingUp,
        Phase::Verifying,
        Phase::Ready,
        Phase::Fencing,
        Phase::Unfencing,
        Phase::Committing,
        Phase::Switched,
        Phase::Retiring,
        Phase::Aborting,
        Phase::Reversing,
        Phase::NeedsOperator,
        Phase::Completed,
        Phase::Cancelled,
        Phase::Failed,
        Phase::Reversed,
    ]
    .into_iter()
    .filter(|phase| !met.contains(phase))
    .collect();
    assert!(unmet.is_empty(), "{unmet:?} are not met, so nothing is shown of them");
    let mut pairs = 0;
    for (hand, spec) in states.values().flatten() {
        for event in events(hand) {
            laws(&hand.migration, spec, event, hand.now);
            pairs += 1;
        }
    }
    println!("{} states, {pairs} pairs", states.values().map(Vec::len).sum::<usize>());
}

fn laws(migration: &Migration, spec: &Spec, event: Event, now: Moment) {
    let next = migration.handle(event.clone(), now);
    let shown = || format!("{:?} by {event:?}: {next:?}", migration.phase());
    assert_eq!(next, migration.handle(event.clone(), now), "the same answer to the same event");
    assert_eq!(next.migration.spec(), spec, "what is to be done stays as it is");
    assert!(next.migration.term() >= migration.term(), "{}", shown());
    assert!(next.migration.deadline().is_none_or(|at| at > now), "spins: {}", shown());
    if migration.end().is_some() {
        assert!(next.commands.is_empty() && next.migration.end() == migration.end(), "{}", shown());
    }
    if next.migration.end().is_some() && migration.end().is_none() {
        let only_replan =
            next.commands.iter().all(|command| matches!(command, isotherm_migration::Command::Replan { .. }));
        assert!(only_replan, "{}", shown());
    }
    if let Event::Wanted(action) = event {
        let permitted = migration.permits(&action);
        assert_eq!(next.denied, permitted.err(), "what is permitted is done");
    } else {
        assert_eq!(next.denied, None);
    }
    let text = serde_json::to_string(&next.migration).unwrap();
    assert_eq!(serde_json::from_str::<Migration>(&text).unwrap(), next.migration, "written and read again");
}
