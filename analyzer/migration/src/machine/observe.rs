//! What the adapter tells when it is asked: first who serves, then what came of the call.
//!
//! Who serves decides over everything else. A switch that happened although its call was given up is a switch.

use super::Migration;
use crate::answer::{Fate, Fenced, Observation, Reason, Side, Told};
use crate::call::Turn;
use crate::end::{Cause, End};
use crate::request::{Question, Step};
use crate::spec::Path;
use crate::state::{Doing, Epochs, FenceHold, Probe, State, Then, Underway};

/// How an observation fits what is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    /// Who should serve, serves.
    AsBelieved,
    /// This migration's switch has happened after all.
    Switched,
    /// This migration's switch has been taken back after all.
    Reversed,
    /// Somebody else has moved the partition.
    Moved,
}

impl Migration {
    /// Takes the answer to a question, if it is the one that is open.
    pub(super) fn told(&mut self, question: &Question, told: Told) {
        if question.migration != self.spec.id {
            return;
        }
        let (number, policy, now) = (question.number, self.spec.policy.clone(), self.clock);
        let probed = matches!(&self.state, State::Underway(Underway { probe: Some(Probe::Open { number: open, .. }), .. })
            if *open == number);
        let asked = self.call_mut().is_some_and(|call| call.asked(number));
        if !probed && !asked {
            return;
        }
        match told {
            Told::Refused(Reason::StaleTerm { seen }) => self.superseded = Some(seen),
            Told::Refused(
                Reason::Transient { .. }
                | Reason::Throttled { .. }
                | Reason::StaleEpoch
                | Reason::Conflict
                | Reason::Unsupported
                | Reason::Mismatch
                | Reason::NoLiveCopy
                | Reason::AlreadyExists,
            )
            | Told::Unknown => match &mut self.state {
                State::Underway(Underway { probe: Some(probe), .. }) if probed => {
                    *probe = Probe::At(now.after_ms(policy.poll_ms));
                }
                State::Planned
                | State::AwaitingApproval { .. }
                | State::Preflight { .. }
                | State::Underway(_)
                | State::NeedsOperator { .. }
                | State::Ended(_) => {
                    if let Some(call) = self.call_mut() {
                        call.unheard(&policy, now);
                    }
                }
            },
            Told::State(observation) => match self.state.clone() {
                State::Underway(underway) => self.observed(underway, observation, probed),
                State::Preflight { .. } => self.fated(&observation),
                State::Planned
                | State::AwaitingApproval { .. }
                | State::NeedsOperator { .. }
                | State::Ended(_) => {}
            },
        }
    }

    fn observed(&mut self, mut underway: Underway, seen: Observation, probed: bool) {
        underway.epochs.highest = underway.epochs.highest.max(seen.promised).max(seen.serving);
        if probed {
            underway.probe = None;
        }
        let fits = serving(&underway, &seen);
        // A repair asks for no fence, but some stores stop writes while a survivor is copied: abort and commit end that.
        // So may an abort, to clear what a copy has left.
        let own = matches!(&underway.doing, Doing::Aborting { .. })
            && matches!(&seen.fate, Some(Fate::Running | Fate::Done(_)));
        let unasked = seen.fenced == Fenced::Yes
            && underway.traces.fence.is_none()
            && self.spec.path() != Path::Repair
            && !own;
        self.state = match fits {
            Serving::Switched => self.switched(underway, seen.serving),
            Serving::Reversed => self.reversed(underway, seen.serving),
            Serving::Moved => self.moved(underway, seen.serving),
            Serving::AsBelieved if unasked && may_fence(&underway.doing) => {
                self.fenced_by_predecessor(underway)
            }
            Serving::AsBelieved if probed => self.probed(underway),
            Serving::AsBelieved if underway.call().is_some_and(|call| call.stale) => {
                self.refused_as_stale(underway)
            }
            Serving::AsBelieved => {
                self.state = State::Underway(underway);
                self.fated(&seen);
                if let Some(progress) = &seen.progress {
                    self.progressed(progress);
                }
                return;
            }
        };
    }

    /// What came of the call that was asked about.
    fn fated(&mut self, seen: &Observation) {
        let (policy, now) = (self.spec.policy.clone(), self.clock);
        let Some(call) = self.call_mut() else { return };
        let turn = match &seen.fate {
            Some(fate) => call.fated(fate.clone(), &policy, now),
            None => {
                call.unheard(&policy, now);
                Turn::Wait
            }
        };
        self.turned(turn);
    }

    /// The partition is as it should be.
    fn probed(&mut self, underway: Underway) -> State {
        match underway.doing.clone() {
            Doing::Retiring { warrant, call: None } => {
                let mut underway = underway;
                let call = self.raised(&mut underway.epochs, Step::RetireSource);
                super::forward::with(underway, Doing::Retiring { warrant, call: Some(call) })
            }
            Doing::Retiring { call: Some(_), .. }
            | Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Engine { .. }
            | Doing::Switched { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => State::Underway(underway),
        }
    }

    /// Writes are stopped for this migration, which knows nothing of it: a predecessor went further than it could
    /// write down.
    fn fenced_by_predecessor(&mut self, mut underway: Underway) -> State {
        underway.traces.fence = Some(FenceHold { until: Some(self.clock) });
        let then = match (&underway.doing, underway.call()) {
            (Doing::Ready { gate, .. }, _) => Then::Ready(gate.clone()),
            (_, Some(call)) => Then::Abort(End::Failed(Cause::Contradicted { step: call.kind() })),
            (_, None) => Then::Abort(End::Failed(Cause::FenceBudget)),
        };
        self.unfence(underway, then)
    }
}

/// Whether a fence would be news: before the switch, while none is made or lifted.
fn may_fence(doing: &Doing) -> bool {
    match doing {
        Doing::Preparing { .. }
        | Doing::Replicating { .. }
        | Doing::CatchingUp { .. }
        | Doing::Verifying { .. }
        | Doing::Ready { .. }
        | Doing::Aborting { .. }
        | Doing::Committing { .. } => true,
        Doing::Fencing { .. }
        | Doing::Unfencing { .. }
        | Doing::Engine { .. }
        | Doing::Switched { .. }
        | Doing::Retiring { .. }
        | Doing::Reversing { .. } => false,
    }
}

fn serving(underway: &Underway, seen: &Observation) -> Serving {
    let Epochs { serving: believed, .. } = underway.epochs;
    let same = seen.serving == believed;
    let (own, reversing) = match &underway.doing {
        Doing::Preparing { .. }
        | Doing::Replicating { .. }
        | Doing::CatchingUp { .. }
        | Doing::Verifying { .. }
        | Doing::Ready { .. }
        | Doing::Fencing { .. }
        | Doing::Unfencing { .. }
        | Doing::Committing { .. }
        | Doing::Engine { .. }
        | Doing::Aborting { .. } => (Side::Source, false),
        Doing::Switched { .. } | Doing::Retiring { .. } => (Side::Target, false),
        Doing::Reversing { .. } => (Side::Target, true),
    };
    match (own, seen.serves) {
        (Side::Source, Side::Source) | (Side::Target, Side::Target) if same => Serving::AsBelieved,
        (Side::Source, Side::Target) => Serving::Switched,
        (Side::Target, Side::Source) if reversing => Serving::Reversed,
        (Side::Source | Side::Target | Side::Neither, Side::Source | Side::Target | Side::Neither) => {
            Serving::Moved
        }
    }
}
