//! The way forward: what follows when a step is done.

use super::Migration;
use crate::answer::{Copies, Done, Position, Verification};
use crate::call::Call;
use crate::end::{Cause, End};
use crate::ids::Epoch;
use crate::policy::SwitchWhen;
use crate::request::{Step, StepKind, Warrant};
use crate::spec::{Origin, Path};
use crate::state::{Doing, Epochs, Gate, Open, Probe, Proof, State, Then, Traces, Underway};

/// Nothing is in the store.
const NO_TRACES: Traces = Traces { objects: false, fence: None };

impl Migration {
    /// Preflight is over.
    pub(super) fn validated(&mut self, done: Done) -> State {
        let step = StepKind::ValidateMigration;
        let Done::Validated(found) = done else {
            return State::Ended(End::Failed(Cause::Contradicted { step }));
        };
        if found.promised < found.serving {
            return State::Ended(End::Failed(Cause::Contradicted { step }));
        }
        if !found.findings.is_empty() {
            return State::Ended(End::Failed(Cause::Blocked(found.findings)));
        }
        let epochs = Epochs { serving: found.serving, highest: found.promised.next() };
        let call = self.call(epochs, Step::PrepareTarget);
        let doing = Doing::Preparing { call };
        let underway =
            Underway { epochs, traces: NO_TRACES, loss: None, warrant: None, fences: 0, probe: None, doing };
        match found.copies {
            Copies::Live => State::Underway(underway),
            Copies::Lost => State::NeedsOperator { why: Cause::NoLiveCopy, underway },
        }
    }

    /// The step under way is done.
    pub(super) fn done(&mut self, underway: Underway, done: Done) -> State {
        let Some(step) = underway.call().map(Call::kind) else { return State::Underway(underway) };
        if done.kind() != step {
            return self.failed(underway, Cause::Contradicted { step });
        }
        match done {
            Done::Validated(_) => self.failed(underway, Cause::Contradicted { step }),
            Done::Prepared => self.prepared(underway),
            Done::Replicated => self.replicated(underway),
            Done::CaughtUp { lag_bytes } => self.caught_up(underway, lag_bytes),
            Done::Verified(verification) => self.verified(underway, verification),
            Done::Fenced { position } => self.fenced(underway, position),
            Done::Committed => {
                let serving =
                    underway.call().map_or(underway.epochs.serving, |call| proposed(call, &underway));
                self.switched(underway, serving)
            }
            Done::Unfenced => self.unfenced(underway),
            Done::Reversed => {
                let serving =
                    underway.call().map_or(underway.epochs.serving, |call| proposed(call, &underway));
                self.reversed(underway, serving)
            }
            Done::Retired => State::Ended(End::Completed),
            Done::Aborted => {
                let Doing::Aborting { end, .. } = underway.doing else { return State::Underway(underway) };
                State::Ended(end)
            }
        }
    }

    fn prepared(&mut self, underway: Underway) -> State {
        if let Some(decision) = underway.loss.clone() {
            return self.commit(underway, Warrant::DataLoss(decision));
        }
        match self.spec.path() {
            Path::FenceAtSwitch | Path::Repair => self.replicate(underway, None),
            Path::FenceBeforeCopy | Path::Engine => self.ready(underway, Gate::Copy),
        }
    }

    /// Writes are stopped.
    fn fenced(&mut self, underway: Underway, position: Position) -> State {
        let Doing::Fencing { gate, .. } = underway.doing.clone() else { return State::Underway(underway) };
        match gate {
            Gate::Copy => self.replicate(underway, Some(position)),
            Gate::Switch(_) => {
                let step = Step::AwaitCatchup { position: Some(position), max_lag_bytes: 0 };
                let call = self.call(underway.epochs, step);
                with(underway, Doing::Fencing { gate, call })
            }
        }
    }

    fn replication(&self) -> Step {
        Step::StartReplication { resume: None, bytes_per_s: self.spec.policy.bytes_per_s }
    }

    fn replicate(&mut self, underway: Underway, position: Option<Position>) -> State {
        let step = self.replication();
        let call = self.call(underway.epochs, step);
        with(underway, Doing::Replicating { call, position })
    }

    fn replicated(&mut self, underway: Underway) -> State {
        if let Doing::Engine { call, .. } = &underway.doing {
            let serving = proposed(call, &underway);
            return self.switched(underway, serving);
        }
        let Doing::Replicating { position, .. } = underway.doing.clone() else {
            return State::Underway(underway);
        };
        // Behind a fence there is a last write, and the copy must have it.
        let max_lag_bytes = if position.is_some() { 0 } else { self.spec.policy.max_lag_bytes };
        let call =
            self.call(underway.epochs, Step::AwaitCatchup { position: position.clone(), max_lag_bytes });
        with(underway, Doing::CatchingUp { call, position })
    }

    /// The lag gate: an adapter that says "done" above the lag it was given contradicts itself.
    fn caught_up(&mut self, underway: Underway, lag_bytes: u64) -> State {
        if let Some(Step::AwaitCatchup { max_lag_bytes, .. }) = underway.call().map(|call| &call.request.step)
            && lag_bytes > *max_lag_bytes
        {
            return self.failed(underway, Cause::Contradicted { step: StepKind::AwaitCatchup });
        }
        if let Doing::Ready { gate, .. } = underway.doing.clone() {
            return self.fence(underway, gate);
        }
        if let Doing::Fencing { gate: Gate::Switch(verification), .. } = underway.doing.clone() {
            return self.commit(underway, Warrant::Verified(verification));
        }
        let call = self.call(underway.epochs, Step::Verify);
        with(underway, Doing::Verifying { call })
    }

    /// A verification counts for its migration and the epoch that served only.
    fn verified(&mut self, underway: Underway, verification: Verification) -> State {
        let bound = verification.migration == self.spec.id && verification.epoch == underway.epochs.serving;
        if !bound {
            return self.failed(underway, Cause::Contradicted { step: StepKind::Verify });
        }
        if let Doing::Switched { until, .. } = underway.doing {
            let proof = Proof::Passed(Warrant::Verified(verification));
            return with(underway, Doing::Switched { proof, until });
        }
        match self.spec.path() {
            Path::FenceAtSwitch => self.ready(underway, Gate::Switch(verification)),
            Path::FenceBeforeCopy | Path::Repair | Path::Engine => {
                self.commit(underway, Warrant::Verified(verification))
            }
        }
    }

    /// Waits behind the gate.
    pub(super) fn ready(&mut self, underway: Underway, gate: Gate) -> State {
        let open = match self.spec.policy.switch {
            SwitchWhen::AtOnce => Open::From(self.clock),
            SwitchWhen::Told => Open::No,
        };
        with(underway, Doing::Ready { gate, open, call: None })
    }

    /// The gate is open.
    pub(super) fn pass_gate(&mut self, underway: Underway, gate: Gate) -> State {
        match (self.spec.path(), &gate) {
            (Path::Engine, _) => {
                let step = self.replication();
                let call = self.call(underway.epochs, step);
                with(underway, Doing::Engine { call, handing_over: false })
            }
            (Path::FenceAtSwitch | Path::FenceBeforeCopy | Path::Repair, Gate::Copy) => {
                self.fence(underway, gate)
            }
            (Path::FenceAtSwitch | Path::FenceBeforeCopy | Path::Repair, Gate::Switch(_)) => {
                let max_lag_bytes = self.spec.policy.max_lag_bytes;
                let call = self.call(underway.epochs, Step::AwaitCatchup { position: None, max_lag_bytes });
                with(underway, Doing::Ready { gate, open: Open::From(self.clock), call: Some(call) })
            }
        }
    }

    fn fence(&mut self, mut underway: Underway, gate: Gate) -> State {
        underway.fences += 1;
        let call = self.raised(&mut underway.epochs, Step::FenceSource);
        with(underway, Doing::Fencing { gate, call })
    }

    /// Switches, at the epoch of the fence.
    pub(super) fn commit(&mut self, mut underway: Underway, warrant: Warrant) -> State {
        underway.warrant = Some(warrant.clone());
        let call = self.call(underway.epochs, Step::CommitSwitch { warrant });
        with(underway, Doing::Committing { call })
    }

    /// The target serves.
    pub(super) fn switched(&mut self, mut underway: Underway, serving: Epoch) -> State {
        underway.epochs.serving = serving;
        underway.epochs.highest = underway.epochs.highest.max(serving);
        underway.traces = Traces { objects: true, fence: None };
        underway.probe = None;
        let proof = match underway.warrant.clone() {
            Some(warrant) => Proof::Passed(warrant),
            None => Proof::Pending(self.call(underway.epochs, Step::Verify)),
        };
        let probation_ms = match self.spec.origin {
            Origin::Move { .. } => self.spec.policy.probation_ms,
            // There is nothing to go back to.
            Origin::Repair { .. } => 0,
        };
        let until = self.clock.after_ms(probation_ms);
        with(underway, Doing::Switched { proof, until })
    }

    /// Probation is over; the epoch is looked at once more before anything is removed.
    pub(super) fn retire(&mut self, mut underway: Underway, warrant: Warrant) -> State {
        underway.probe = Some(Probe::At(self.clock));
        with(underway, Doing::Retiring { warrant, call: None })
    }

    fn unfenced(&mut self, mut underway: Underway) -> State {
        (underway.traces.fence, underway.warrant) = (None, None);
        let Doing::Unfencing { then, .. } = underway.doing.clone() else { return State::Underway(underway) };
        match then {
            Then::Abort(end) => self.abort(underway, end),
            Then::Ready(gate) => {
                let spent = underway.fences >= self.spec.policy.retry.most_fences;
                let at = self.clock.after_ms(self.spec.policy.retry.backoff_ms(underway.fences));
                underway.doing = match (gate, self.spec.policy.switch) {
                    (gate @ Gate::Copy, SwitchWhen::AtOnce) if !spent => {
                        Doing::Ready { gate, open: Open::From(at), call: None }
                    }
                    (gate @ Gate::Copy, SwitchWhen::AtOnce | SwitchWhen::Told) => {
                        Doing::Ready { gate, open: Open::No, call: None }
                    }
                    // Writes go on that the copy was not compared with.
                    (Gate::Switch(_), SwitchWhen::AtOnce | SwitchWhen::Told) => {
                        let mut call = self.call(underway.epochs, Step::Verify);
                        call.wait_until(at);
                        Doing::Verifying { call }
                    }
                };
                if spent {
                    return State::NeedsOperator { why: Cause::FenceBudget, underway };
                }
                State::Underway(underway)
            }
        }
    }

    /// The source serves again; the copy goes.
    pub(super) fn reversed(&mut self, mut underway: Underway, serving: Epoch) -> State {
        underway.epochs.serving = serving;
        underway.epochs.highest = underway.epochs.highest.max(serving);
        underway.probe = None;
        let call = self.raised(&mut underway.epochs, Step::Abort);
        with(underway, Doing::Aborting { call, end: End::Reversed })
    }
}

/// The same migration, doing something else.
pub(super) fn with(mut underway: Underway, doing: Doing) -> State {
    underway.doing = doing;
    State::Underway(underway)
}

/// The epoch that serves once the call is done.
fn proposed(call: &Call, underway: &Underway) -> Epoch {
    call.request.epochs.map_or(underway.epochs.serving, |epochs| epochs.new)
}
