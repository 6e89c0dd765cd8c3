//! What somebody wants, and when it can be done.

use super::Migration;
use super::forward::with;
use crate::answer::Reason;
use crate::end::{Cause, Decision, End};
use crate::event::{Action, Denied};
use crate::ids::Revision;
use crate::request::{Step, Warrant};
use crate::spec::{Origin, Path};
use crate::state::{Doing, Epochs, Gate, Open, Probe, Proof, State, Then, Underway};

impl Migration {
    /// Does it, or says why not; then nothing has changed.
    pub(super) fn act(&mut self, action: Action) -> Option<Denied> {
        if self.end().is_some() {
            return Some(Denied::Ended);
        }
        if self.superseded.is_some() {
            return Some(Denied::Superseded);
        }
        let done = match action {
            Action::Approve { revision } => self.approve(revision),
            Action::Pause => self.pause(true),
            Action::Unpause => self.pause(false),
            Action::Cancel => self.cancel(),
            Action::Verify => self.verify_again(),
            Action::Switch => self.open_gate(),
            Action::Complete => self.complete(),
            Action::Reverse => self.reverse(),
            Action::AcceptDataLoss(decision) => self.accept_data_loss(&decision),
            Action::Retry => self.retry(),
        };
        done.err()
    }

    fn approve(&mut self, seen: Revision) -> Result<(), Denied> {
        let State::AwaitingApproval { .. } = self.state else { return Err(Denied::NotAwaitingApproval) };
        if seen != self.spec.revision {
            return Err(Denied::OtherRevision { planned: self.spec.revision, seen });
        }
        self.state = State::Planned;
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), Denied> {
        if self.paused == paused {
            return Err(Denied::SamePause);
        }
        self.paused = paused;
        let now = self.clock;
        if let Some(call) = self.call_mut() {
            call.restart_watchdog(now);
        }
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), Denied> {
        self.state = match self.state.clone() {
            State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. } => {
                State::Ended(End::Cancelled)
            }
            State::Underway(underway) | State::NeedsOperator { underway, .. } => self.undo(underway)?,
            State::Ended(_) => return Err(Denied::Ended),
        };
        Ok(())
    }

    fn undo(&mut self, underway: Underway) -> Result<State, Denied> {
        match &underway.doing {
            Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Fencing { .. }
            | Doing::Engine { handing_over: false, .. } => Ok(self.abort(underway, End::Cancelled)),
            Doing::Unfencing { then: Then::Ready(_), .. } => {
                // A new call, also where the last one was refused and somebody was called.
                Ok(self.unfence(underway, Then::Abort(End::Cancelled)))
            }
            Doing::Unfencing { then: Then::Abort(_), .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => Err(Denied::Undoing),
            Doing::Committing { .. }
            | Doing::Engine { handing_over: true, .. }
            | Doing::Switched { .. }
            | Doing::Retiring { .. } => Err(Denied::PointOfNoReturn),
        }
    }

    /// Compares copy and source once more. What it finds counts as what the first comparison found.
    fn verify_again(&mut self) -> Result<(), Denied> {
        let State::Underway(underway) = self.state.clone() else { return Err(Denied::NothingToVerify) };
        self.state = match underway.doing.clone() {
            Doing::Ready { gate: Gate::Switch(_), open: Open::No, call: None } => {
                let call = self.call(underway.epochs, Step::Verify);
                with(underway, Doing::Verifying { call })
            }
            Doing::Switched { proof: Proof::Passed(warrant @ Warrant::Verified(_)), until } => {
                if self.spec.path() != Path::Engine {
                    return Err(Denied::WrittenSince);
                }
                let call = self.call(underway.epochs, Step::Verify);
                with(underway, Doing::Switched { proof: Proof::Again { warrant, call }, until })
            }
            Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Engine { .. }
            | Doing::Switched { .. }
            | Doing::Retiring { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => return Err(Denied::NothingToVerify),
        };
        Ok(())
    }

    pub(super) fn open_gate(&mut self) -> Result<(), Denied> {
        let now = self.clock;
        match &mut self.state {
            State::Underway(Underway { doing: Doing::Ready { open, .. }, .. }) if *open == Open::No => {
                *open = Open::From(now);
                Ok(())
            }
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::NeedsOperator { .. }
            | State::Ended(_) => Err(Denied::NotReady),
        }
    }

    fn complete(&mut self) -> Result<(), Denied> {
        let now = self.clock;
        let State::Underway(Underway { doing: Doing::Switched { proof, until }, .. }) = &mut self.state
        else {
            return Err(Denied::NotInProbation);
        };
        match proof {
            Proof::Passed(_) => {
                *until = now;
                Ok(())
            }
            Proof::Pending(_) | Proof::Again { .. } => Err(Denied::NotVerified),
        }
    }

    fn reverse(&mut self) -> Result<(), Denied> {
        let (State::Underway(underway) | State::NeedsOperator { underway, .. }) = &self.state else {
            return Err(Denied::NotInProbation);
        };
        // Once the source's removal has begun there is nothing to go back to.
        let (Doing::Switched { .. } | Doing::Retiring { call: None, .. }) = underway.doing else {
            return Err(Denied::NotInProbation);
        };
        let repair = matches!(self.spec.origin, Origin::Repair { .. });
        if repair || !self.spec.capabilities.reverse || underway.loss.is_some() {
            return Err(Denied::Irreversible);
        }
        let mut underway = underway.clone();
        underway.probe = None;
        let call = self.raised(&mut underway.epochs, Step::ReverseSwitch);
        self.state = with(underway, Doing::Reversing { call });
        Ok(())
    }

    fn accept_data_loss(&mut self, decision: &Decision) -> Result<(), Denied> {
        let State::NeedsOperator { why, underway } = self.state.clone() else {
            return Err(Denied::NothingLost);
        };
        let mut underway = Underway { loss: Some(decision.clone()), ..underway };
        let warrant = Warrant::DataLoss(decision.clone());
        self.state = match (&underway.doing, why) {
            (Doing::Preparing { .. }, Cause::NoLiveCopy) => {
                let call = self.call(underway.epochs, Step::PrepareTarget);
                with(underway, Doing::Preparing { call })
            }
            (
                Doing::Replicating { .. }
                | Doing::CatchingUp { .. }
                | Doing::Verifying { .. }
                | Doing::Ready { .. }
                | Doing::Fencing { .. }
                | Doing::Committing { .. },
                Cause::NoLiveCopy,
            ) => {
                // Nobody can write to what is dead; there is no hurry to let them.
                if let Some(hold) = &mut underway.traces.fence {
                    hold.until = None;
                }
                self.commit(underway, warrant)
            }
            (Doing::Switched { until, .. }, Cause::Refused { reason: Reason::Mismatch, .. }) => {
                let doing = Doing::Switched { proof: Proof::Passed(warrant), until: *until };
                with(underway, doing)
            }
            (
                Doing::Preparing { .. }
                | Doing::Replicating { .. }
                | Doing::CatchingUp { .. }
                | Doing::Verifying { .. }
                | Doing::Ready { .. }
                | Doing::Fencing { .. }
                | Doing::Unfencing { .. }
                | Doing::Committing { .. }
                | Doing::Engine { .. }
                | Doing::Switched { .. }
                | Doing::Retiring { .. }
                | Doing::Aborting { .. }
                | Doing::Reversing { .. },
                Cause::NoLiveCopy
                | Cause::Blocked(_)
                | Cause::Refused { .. }
                | Cause::Unreachable { .. }
                | Cause::Stalled { .. }
                | Cause::FenceBudget
                | Cause::Contradicted { .. }
                | Cause::EpochMoved { .. },
            ) => return Err(Denied::NothingLost),
        };
        Ok(())
    }

    /// Goes on where it stopped, with all that was counted forgotten.
    fn retry(&mut self) -> Result<(), Denied> {
        let State::NeedsOperator { why, mut underway } = self.state.clone() else {
            return Err(Denied::NotStopped);
        };
        underway.fences = 0;
        let after_switch = matches!(underway.doing, Doing::Switched { .. } | Doing::Retiring { .. });
        if let Cause::EpochMoved { serving } = why
            && !after_switch
        {
            underway.epochs = Epochs { serving, highest: underway.epochs.highest.max(serving) };
            self.state = self.abort(underway, End::Failed(why));
            return Ok(());
        }
        if let Doing::Ready { open, .. } = &mut underway.doing {
            *open = Open::From(self.clock);
        }
        let unknown = matches!(why, Cause::Unreachable { .. } | Cause::Stalled { .. });
        let now = self.clock;
        match underway.call_mut() {
            Some(call) => {
                call.forgive();
                call.restart_watchdog(now);
                if unknown {
                    call.ask(now);
                }
            }
            None => underway.probe = Some(Probe::At(now)),
        }
        self.state = State::Underway(underway);
        if !unknown {
            self.renew(now, None);
        }
        Ok(())
    }
}
