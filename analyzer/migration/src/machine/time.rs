//! What time brings: deadlines, and when the next one is.

use super::Migration;
use crate::call::Trouble;
use crate::end::{Cause, End, Expiry};
use crate::ids::Moment;
use crate::spec::Path;
use crate::state::{Doing, Gate, Open, Probe, Proof, State, Then, Underway};

impl Migration {
    /// When [`crate::Event::Due`] should come, if nothing else happens before; absent if only somebody else can move
    /// it. Always after the latest moment there was: a runner that follows it does not spin.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        if self.superseded.is_some() {
            return None;
        }
        let (policy, held) = (&self.spec.policy, self.is_held());
        match &self.state {
            State::Planned | State::NeedsOperator { .. } | State::Ended(_) => None,
            State::AwaitingApproval { until } => Some(*until),
            State::Preflight { call } => call.deadline(policy, held),
            State::Underway(underway) => {
                let call = underway.call().and_then(|call| call.deadline(policy, held));
                let probe = underway.probe.map(|probe| match probe {
                    Probe::At(at) | Probe::Open { until: at, .. } => at,
                });
                let begins = self.begins_at(underway);
                [call, probe, fence_ends(underway), begins].into_iter().flatten().min()
            }
        }
    }

    /// When the gate or the end of probation lets the next phase begin.
    fn begins_at(&self, underway: &Underway) -> Option<Moment> {
        if self.is_held() || underway.probe.is_some() {
            return None;
        }
        match &underway.doing {
            Doing::Ready { open: Open::From(at), call: None, .. } => Some(*at),
            Doing::Switched { proof: Proof::Passed(_), until } => Some(*until),
            Doing::Ready { open: Open::No, .. }
            | Doing::Ready { call: Some(_), .. }
            | Doing::Switched { proof: Proof::Pending(_) | Proof::Again { .. }, .. }
            | Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Engine { .. }
            | Doing::Retiring { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => None,
        }
    }

    /// Lets time pass.
    pub(super) fn elapse(&mut self) {
        let now = self.clock;
        if let State::AwaitingApproval { until } = self.state
            && until <= now
        {
            self.state = State::Ended(End::Expired(Expiry::Unapproved));
        }
        self.elapse_questions();
        self.elapse_call();
        if let State::Underway(underway) = &self.state {
            if fence_ends(underway).is_some_and(|until| until <= now) {
                let underway = underway.clone();
                self.state = self.give_up_fence(underway);
            } else if self.begins_at(underway).is_some_and(|at| at <= now) {
                let underway = underway.clone();
                self.state = self.begin(underway);
            }
        }
    }

    fn elapse_questions(&mut self) {
        let now = self.clock;
        let again = now.after_ms(self.spec.policy.poll_ms);
        if let State::Underway(Underway { probe: Some(probe), .. }) = &mut self.state
            && matches!(probe, Probe::Open { until, .. } if *until <= now)
        {
            *probe = Probe::At(again);
        }
    }

    fn elapse_call(&mut self) {
        let (policy, now, held) = (self.spec.policy.clone(), self.clock, self.is_held());
        let Some(call) = self.call_mut() else { return };
        call.elapse(&policy, now);
        let step = call.kind();
        let Some(trouble) = call.trouble(&policy, now, held) else { return };
        let cause = match trouble {
            Trouble::Unreachable => Cause::Unreachable { step },
            Trouble::Stalled => Cause::Stalled { step },
        };
        self.state = match self.state.clone() {
            State::Preflight { .. } => State::Ended(End::Failed(cause)),
            State::Underway(underway) => self.failed(underway, cause),
            other @ (State::Planned
            | State::AwaitingApproval { .. }
            | State::NeedsOperator { .. }
            | State::Ended(_)) => other,
        };
    }

    /// Begins what was waited for.
    fn begin(&mut self, underway: Underway) -> State {
        match underway.doing.clone() {
            Doing::Ready { gate, .. } => self.pass_gate(underway, gate),
            Doing::Switched { proof: Proof::Passed(warrant), .. } => self.retire(underway, warrant),
            Doing::Switched { proof: Proof::Pending(_) | Proof::Again { .. }, .. }
            | Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Engine { .. }
            | Doing::Retiring { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => State::Underway(underway),
        }
    }

    /// Writes were stopped for as long as they may be, or nobody knows for how long: they go on.
    pub(super) fn give_up_fence(&mut self, underway: Underway) -> State {
        let over = Then::Abort(End::Failed(Cause::FenceBudget));
        let then = match (&underway.doing, self.spec.path()) {
            (Doing::Fencing { gate, .. }, _) => Then::Ready(gate.clone()),
            (Doing::Committing { .. }, Path::FenceAtSwitch) => super::back::verified(&underway)
                .map_or(over, |verification| Then::Ready(Gate::Switch(verification))),
            // What was copied behind the fence is out of date once writes go on.
            (
                Doing::Committing { .. }
                | Doing::Preparing { .. }
                | Doing::Replicating { .. }
                | Doing::CatchingUp { .. }
                | Doing::Verifying { .. }
                | Doing::Ready { .. }
                | Doing::Unfencing { .. }
                | Doing::Engine { .. }
                | Doing::Switched { .. }
                | Doing::Retiring { .. }
                | Doing::Aborting { .. }
                | Doing::Reversing { .. },
                _,
            ) => over,
        };
        self.unfence(underway, then)
    }
}

/// When writes must go on, if it can be said now that they shall. While a commit is under way it cannot.
fn fence_ends(underway: &Underway) -> Option<Moment> {
    let until = underway.traces.fence.and_then(|hold| hold.until)?;
    let may_end = match &underway.doing {
        Doing::Committing { call } => call.is_waiting(),
        Doing::Fencing { .. }
        | Doing::Replicating { .. }
        | Doing::CatchingUp { .. }
        | Doing::Verifying { .. } => true,
        Doing::Preparing { .. }
        | Doing::Ready { .. }
        | Doing::Unfencing { .. }
        | Doing::Engine { .. }
        | Doing::Switched { .. }
        | Doing::Retiring { .. }
        | Doing::Aborting { .. }
        | Doing::Reversing { .. } => false,
    };
    may_end.then_some(until)
}
