//! The way back, and where there is none: what follows when a step fails.

use super::Migration;
use super::forward::with;
use crate::answer::{Reason, Verification};
use crate::end::{Cause, End};
use crate::ids::Epoch;
use crate::request::{Proposal, Step, Warrant};
use crate::spec::Path;
use crate::state::{Doing, Gate, Proof, State, Then, Underway};

/// What a failure leads to, whatever is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gravity {
    /// It may be otherwise in a while.
    Passing,
    /// It will be the same the next time.
    Lasting,
    /// Nobody but an operator can say what is so.
    Unclear,
}

impl Migration {
    /// A step has failed for good, as far as its own bounds go.
    pub(super) fn failed(&mut self, underway: Underway, cause: Cause) -> State {
        let gravity = gravity(&cause);
        let lost = cause == Cause::NoLiveCopy;
        match underway.doing.clone() {
            Doing::Preparing { .. }
            | Doing::Replicating { .. }
            | Doing::CatchingUp { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Engine { .. } => {
                let unclear = gravity == Gravity::Unclear || matches!(cause, Cause::Unreachable { .. });
                if lost || (unclear && underway.traces.fence.is_none()) {
                    return State::NeedsOperator { why: cause, underway };
                }
                self.abort(underway, End::Failed(cause))
            }
            Doing::Fencing { .. } | Doing::Committing { .. } if lost => {
                State::NeedsOperator { why: cause, underway }
            }
            Doing::Fencing { gate, .. } => {
                let then = match gravity {
                    Gravity::Passing => Then::Ready(gate),
                    Gravity::Lasting | Gravity::Unclear => Then::Abort(End::Failed(cause)),
                };
                // The fence may stand even if its call failed.
                self.unfence(underway, then)
            }
            Doing::Committing { .. } => {
                if underway.traces.fence.is_none() {
                    return self.abort(underway, End::Failed(cause));
                }
                let again = verified(&underway)
                    .filter(|_| gravity == Gravity::Passing && self.spec.path() == Path::FenceAtSwitch);
                let then =
                    again.map_or(Then::Abort(End::Failed(cause)), |found| Then::Ready(Gate::Switch(found)));
                self.unfence(underway, then)
            }
            // Only what a comparison has found makes an earlier one worthless.
            Doing::Switched { proof: Proof::Again { warrant, .. }, until } if !differs(&cause) => {
                with(underway, Doing::Switched { proof: Proof::Passed(warrant), until })
            }
            // There is nothing to be unfenced apart, or something else restores the start already: an abort says which.
            Doing::Unfencing { then: Then::Abort(end), .. } if conflicts(&cause) => {
                let mut underway = underway;
                let call = self.raised(&mut underway.epochs, Step::Abort);
                with(underway, Doing::Aborting { call, end })
            }
            Doing::Unfencing { .. }
            | Doing::Switched { .. }
            | Doing::Retiring { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => State::NeedsOperator { why: cause, underway },
        }
    }

    /// Restores the start: first writes go on, then the copy goes, and there is an end only when both are done.
    pub(super) fn abort(&mut self, mut underway: Underway, end: End) -> State {
        underway.probe = None;
        if underway.traces.fence.is_some() {
            return self.unfence(underway, Then::Abort(end));
        }
        if !underway.traces.objects {
            return State::Ended(end);
        }
        let call = self.raised(&mut underway.epochs, Step::Abort);
        with(underway, Doing::Aborting { call, end })
    }

    /// Lets writes go on at the source, unless the switch has happened: the call says so by its epoch.
    pub(super) fn unfence(&mut self, mut underway: Underway, then: Then) -> State {
        underway.probe = None;
        let call = self.raised(&mut underway.epochs, Step::UnfenceSource);
        with(underway, Doing::Unfencing { call, then })
    }

    /// A call was refused because of its epoch, and the partition is where it was: something proposed a higher epoch.
    /// It is made again above that; a commit is not, since its epoch is that of its fence.
    pub(super) fn refused_as_stale(&mut self, mut underway: Underway) -> State {
        let policy = self.spec.policy.clone();
        let bound_to_fence = matches!(underway.doing, Doing::Fencing { .. } | Doing::Committing { .. });
        let highest = underway.epochs.highest.next();
        let serving = underway.epochs.serving;
        let Some(call) = underway.call_mut() else { return State::Underway(underway) };
        let step = call.kind();
        if bound_to_fence || !call.may_repeat(&policy) {
            call.stale = false;
            return self.failed(underway, Cause::Refused { step, reason: Reason::StaleEpoch });
        }
        call.count_refusal();
        underway.epochs.highest = highest;
        self.state = State::Underway(underway);
        let at = self.clock.after_ms(policy.retry.first_ms);
        self.renew(at, Some(Proposal { expected: serving, new: highest }));
        self.state.clone()
    }

    /// Somebody else moved the partition. No step of this migration has any effect there, not even one back.
    pub(super) fn moved(&mut self, underway: Underway, serving: Epoch) -> State {
        let cause = Cause::EpochMoved { serving };
        if underway.traces.objects || underway.traces.fence.is_some() {
            return State::NeedsOperator { why: cause, underway };
        }
        State::Ended(End::Failed(cause))
    }
}

/// Whether something else is under way, or the store is not as the step needs it.
fn conflicts(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused { reason: Reason::Conflict, .. })
}

/// Whether copy and source were found to differ.
fn differs(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused { reason: Reason::Mismatch, .. })
}

fn gravity(cause: &Cause) -> Gravity {
    match cause {
        Cause::Unreachable { .. } | Cause::Stalled { .. } | Cause::FenceBudget => Gravity::Passing,
        Cause::Blocked(_) | Cause::NoLiveCopy | Cause::EpochMoved { .. } => Gravity::Lasting,
        Cause::Contradicted { .. } => Gravity::Unclear,
        Cause::Refused { reason, .. } => match reason {
            Reason::Transient { .. } | Reason::Throttled { .. } | Reason::StaleEpoch => Gravity::Passing,
            Reason::StaleTerm { .. }
            | Reason::Conflict
            | Reason::Unsupported
            | Reason::Mismatch
            | Reason::NoLiveCopy => Gravity::Lasting,
            Reason::AlreadyExists => Gravity::Unclear,
        },
    }
}

/// The verification that the last commit was founded on, if it was.
pub(super) fn verified(underway: &Underway) -> Option<Verification> {
    match underway.warrant.clone()? {
        Warrant::Verified(verification) => Some(verification),
        Warrant::DataLoss(_) => None,
    }
}
