//! What is told of a migration.

use super::Migration;
use crate::end::{Cause, End};
use crate::event::{Action, Denied};
use crate::ids::{Epoch, Term};
use crate::spec::{Origin, Spec};
use crate::state::{Doing, Phase, State, Traces};

impl Migration {
    /// What it is to do.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The term of the controller that has it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The newer term, if another controller has it: nothing is done here until a higher term resumes it.
    #[must_use]
    pub fn superseded(&self) -> Option<Term> {
        self.superseded
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The name of its state.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Planned => Phase::Planned,
            State::AwaitingApproval { .. } => Phase::AwaitingApproval,
            State::Preflight { .. } => Phase::Preflight,
            State::Underway(underway) => self.doing_phase(&underway.doing),
            State::NeedsOperator { .. } => Phase::NeedsOperator,
            State::Ended(End::Completed) => Phase::Completed,
            State::Ended(End::Cancelled) => Phase::Cancelled,
            State::Ended(End::Failed(_)) => Phase::Failed,
            State::Ended(End::Reversed) => Phase::Reversed,
            State::Ended(End::Expired(_)) => Phase::Expired,
        }
    }

    fn doing_phase(&self, doing: &Doing) -> Phase {
        match doing {
            Doing::Preparing { .. } => Phase::Preparing,
            Doing::Replicating { .. } => match self.spec.origin {
                Origin::Move { .. } => Phase::Replicating,
                Origin::Repair { .. } => Phase::Repairing,
            },
            Doing::CatchingUp { .. } => Phase::CatchingUp,
            Doing::Verifying { .. } => Phase::Verifying,
            Doing::Ready { .. } => Phase::Ready,
            Doing::Fencing { .. } => Phase::Fencing,
            Doing::Unfencing { .. } => Phase::Unfencing,
            Doing::Committing { .. } | Doing::Engine { handing_over: true, .. } => Phase::Committing,
            Doing::Engine { handing_over: false, .. } => Phase::Replicating,
            Doing::Switched { .. } => Phase::Switched,
            Doing::Retiring { .. } => Phase::Retiring,
            Doing::Reversing { .. } | Doing::Aborting { end: End::Reversed, .. } => Phase::Reversing,
            Doing::Aborting {
                end: End::Completed | End::Cancelled | End::Failed(_) | End::Expired(_),
                ..
            } => Phase::Aborting,
        }
    }

    /// Where it stopped, while it needs an operator.
    #[must_use]
    pub fn stopped_in(&self) -> Option<Phase> {
        match &self.state {
            State::NeedsOperator { underway, .. } => Some(self.doing_phase(&underway.doing)),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::Ended(_) => None,
        }
    }

    /// Why it needs an operator, or failed.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            State::NeedsOperator { why: cause, .. } | State::Ended(End::Failed(cause)) => Some(cause),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::Ended(End::Completed | End::Cancelled | End::Reversed | End::Expired(_)) => None,
        }
    }

    /// Its end, once it has one.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::NeedsOperator { .. } => None,
        }
    }

    /// What may be in the store because of it.
    #[must_use]
    pub fn traces(&self) -> Traces {
        match &self.state {
            State::Underway(underway) | State::NeedsOperator { underway, .. } => underway.traces,
            State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. } | State::Ended(_) => {
                Traces { objects: false, fence: None }
            }
        }
    }

    /// The epoch that serves, as far as is known; absent before validation and after the end.
    #[must_use]
    pub fn serving(&self) -> Option<Epoch> {
        match &self.state {
            State::Underway(underway) | State::NeedsOperator { underway, .. } => {
                Some(underway.epochs.serving)
            }
            State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. } | State::Ended(_) => {
                None
            }
        }
    }

    /// Whether somebody's action would be done, or why not.
    pub fn permits(&self, action: &Action) -> Result<(), Denied> {
        self.clone().act(action.clone()).map_or(Ok(()), Err)
    }
}
