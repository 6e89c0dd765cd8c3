//! How a migration ends, and why it stops.

use crate::answer::Reason;
use crate::ids::{Epoch, Revision};
use crate::request::StepKind;
use serde::{Deserialize, Serialize};

/// The end of a migration: nothing of it is left in the store, and nothing more is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The target serves, the source is gone.
    Completed,
    /// Somebody gave up before the switch; the source serves.
    Cancelled,
    /// It could not be done; the source serves.
    Failed(Cause),
    /// The switch was taken back; the source serves.
    Reversed,
    /// It never began.
    Expired(Expiry),
}

/// Why a migration never began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Expiry {
    /// Nobody agreed in time.
    #[error("nobody agreed in time")]
    Unapproved,
    /// The topology moved, and so a plan must be made anew.
    #[error("revision {0} of the topology differs from what it was planned on")]
    TopologyMoved(Revision),
}

/// Why a migration failed, or needs an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Cause {
    /// Validation found what stands in the way.
    #[error("it cannot be done: {}", .0.join("; "))]
    Blocked(Vec<String>),
    /// The adapter refused a step.
    #[error("{step} was refused: {reason}")]
    Refused {
        /// The step.
        step: StepKind,
        /// Why.
        reason: Reason,
    },
    /// The adapter does not answer.
    #[error("{step}: the adapter does not answer")]
    Unreachable {
        /// The step whose outcome is unknown.
        step: StepKind,
    },
    /// A step makes no progress.
    #[error("{step} makes no progress")]
    Stalled {
        /// The step.
        step: StepKind,
    },
    /// Writes were stopped for as long as they may be, as often as may be.
    #[error("the switch did not come about while writes could be stopped")]
    FenceBudget,
    /// The adapter's answer does not fit what was asked.
    #[error("{step}: the adapter's answer contradicts what was asked")]
    Contradicted {
        /// The step.
        step: StepKind,
    },
    /// Somebody else moved the partition.
    #[error("somebody else moved the partition: epoch {serving} serves")]
    EpochMoved {
        /// The epoch that serves.
        serving: Epoch,
    },
    /// Nothing is left to copy from.
    #[error("no live copy is left: what the copy has not is lost unless a node comes back")]
    NoLiveCopy,
}

/// Somebody's word that data may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decision {
    /// Who decided.
    pub by: String,
    /// Why.
    pub reason: String,
}
