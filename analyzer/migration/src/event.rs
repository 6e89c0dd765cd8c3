//! What happens to a migration.

use crate::answer::{Outcome, Progress, Told};
use crate::end::Decision;
use crate::ids::{Revision, Term};
use crate::request::{Question, RequestId};
use serde::{Deserialize, Serialize};

/// Something happened. Every event can come in every state, more than once, and late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The runner's limits (migrations at once, per node, bandwidth) have room for it.
    Admitted,
    /// A controller took it over, after a start or a change of leader: calls that were under way have an unknown
    /// outcome. The term must be higher than that of whoever had it before.
    Resumed {
        /// The controller's.
        term: Term,
    },
    /// What the plan was made from has changed: the nodes it names, or the partition's subset. What counts is the
    /// runner's to say.
    TopologyMoved {
        /// The newer topology.
        revision: Revision,
    },
    /// The window for switches has opened.
    WindowOpened,
    /// Somebody wants something.
    Wanted(Action),
    /// A call has an outcome.
    Answered {
        /// The call.
        request: RequestId,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A question has an answer.
    Observed {
        /// The question.
        question: Question,
        /// The answer.
        told: Told,
    },
    /// The adapter told how far it is.
    Progressed(Progress),
    /// The moment of [`crate::Migration::deadline`] has come.
    Due,
}

/// What somebody wants. The runner knows who, and records it with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Agree to it.
    Approve {
        /// The topology that was looked at.
        revision: Revision,
    },
    /// Begin nothing new. What is under way at the adapter goes on, and what stops writes is brought to its end.
    Pause,
    /// Go on.
    Unpause,
    /// Give up before the switch, and restore the start.
    Cancel,
    /// Compare copy and source again: behind the gate, or, where the engine has switched, during probation.
    Verify,
    /// Open the gate before the switch.
    Switch,
    /// End probation: the source may go.
    Complete,
    /// Take the switch back.
    Reverse,
    /// Go on without what the copy does not have.
    AcceptDataLoss(Decision),
    /// Go on where it stopped.
    Retry,
}

/// Why an action cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denied {
    /// It has ended.
    #[error("the migration has ended")]
    Ended,
    /// Another controller has taken over.
    #[error("another controller has taken the migration over; ask that one")]
    Superseded,
    /// Nobody has to agree, or somebody has.
    #[error("it does not wait for approval")]
    NotAwaitingApproval,
    /// What was looked at is not what it was planned on.
    #[error("it was planned on revision {planned} of the topology, and {seen} was looked at; plan anew")]
    OtherRevision {
        /// Planned on.
        planned: Revision,
        /// Looked at.
        seen: Revision,
    },
    /// It is paused already, or not paused.
    #[error("it is paused already, or not paused")]
    SamePause,
    /// The switch may have happened.
    #[error("the point of no return has passed; `reverse` takes a switch back, where the adapter can")]
    PointOfNoReturn,
    /// It is on its way back already.
    #[error("it is being undone already")]
    Undoing,
    /// The gate is not what it waits for.
    #[error("it does not wait for the switch")]
    NotReady,
    /// It has not switched, or the source is gone or going.
    #[error("it is not in probation")]
    NotInProbation,
    /// There is no passing verification, so the source must stay.
    #[error("the copy has not been verified yet; the source stays until it has")]
    NotVerified,
    /// The adapter cannot take a switch back.
    #[error("the adapter cannot take a switch back")]
    Irreversible,
    /// There is no copy that could be compared: none is whole yet, or it is being compared or switched.
    #[error(
        "there is nothing to compare at this point; a copy can be verified again in READY, once it is whole"
    )]
    NothingToVerify,
    /// Clients write to the copy, and nothing of that reaches the source.
    #[error(
        "clients have written to the copy since the switch, so it differs from the source as it should; the \
             evidence of the switch is in `isotherm migrate status`"
    )]
    WrittenSince,
    /// It did not stop for the loss of data.
    #[error("it did not stop because data would be lost")]
    NothingLost,
    /// It did not stop.
    #[error("it does not wait for an operator")]
    NotStopped,
}
