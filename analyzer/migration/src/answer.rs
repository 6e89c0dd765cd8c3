//! What comes back from an adapter.

use crate::ids::{Epoch, MigrationId, Term};
use crate::request::StepKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Done(Done),
    /// Begun, and goes on by itself.
    Accepted,
    /// Refused; nothing was done.
    Refused(Reason),
    /// Nobody knows: no answer in time, a broken connection, an answer that could not be read. Never taken for a
    /// failure; the adapter is asked.
    Unknown,
}

/// What was done, with what is learned by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The migration can be done, or what stands in the way.
    Validated(Validated),
    /// The target is ready for the copy.
    Prepared,
    /// The copy is whole; of an engine, the target serves.
    Replicated,
    /// The target has caught up but for so much.
    CaughtUp {
        /// What it lags behind.
        lag_bytes: u64,
    },
    /// Copy and source are equal.
    Verified(Verification),
    /// The source takes no writes.
    Fenced {
        /// Where its last write is.
        position: Position,
    },
    /// The target serves.
    Committed,
    /// The source takes writes again.
    Unfenced,
    /// The source serves again.
    Reversed,
    /// Nothing is left of source and migration.
    Retired,
    /// Nothing is left of copy and migration.
    Aborted,
}

impl Done {
    /// The call whose answer it is.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Validated(_) => StepKind::ValidateMigration,
            Self::Prepared => StepKind::PrepareTarget,
            Self::Replicated => StepKind::StartReplication,
            Self::CaughtUp { .. } => StepKind::AwaitCatchup,
            Self::Verified(_) => StepKind::Verify,
            Self::Fenced { .. } => StepKind::FenceSource,
            Self::Committed => StepKind::CommitSwitch,
            Self::Unfenced => StepKind::UnfenceSource,
            Self::Reversed => StepKind::ReverseSwitch,
            Self::Retired => StepKind::RetireSource,
            Self::Aborted => StepKind::Abort,
        }
    }
}

/// What ValidateMigration found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validated {
    /// The epoch that serves.
    pub serving: Epoch,
    /// The highest epoch that was ever proposed; at least `serving`.
    pub promised: Epoch,
    /// What stands in the way, a sentence each with the way out: of the copy, of the switch, and of taking it back.
    pub findings: Vec<String>,
    /// Whether there is a copy to copy from.
    pub copies: Copies,
}

/// Whether there is a copy to copy from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copies {
    /// At least one.
    Live,
    /// None.
    Lost,
}

/// A place in a store's log of writes, in the store's own notation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub String);

/// Copy and source were compared and equal. It holds for one migration and one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verification {
    /// The migration.
    pub migration: MigrationId,
    /// The epoch that served.
    pub epoch: Epoch,
    /// What was compared and found, in the adapter's words: "1,204 rows, sum 5fe1".
    pub evidence: String,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    /// TRANSIENT: not now.
    #[error("not now")]
    Transient {
        /// When to try again, if the adapter says.
        retry_after_ms: Option<u64>,
    },
    /// THROTTLED: the store has enough to do.
    #[error("throttled")]
    Throttled {
        /// When to try again, if the adapter says.
        retry_after_ms: Option<u64>,
    },
    /// STALE_TERM: another controller is newer.
    #[error("a controller of term {seen} is newer")]
    StaleTerm {
        /// The newest term the adapter heard of.
        seen: Term,
    },
    /// STALE_EPOCH: another epoch serves than the one expected, or a higher one was proposed.
    #[error("another epoch serves, or a higher one was proposed")]
    StaleEpoch,
    /// CONFLICT: something else is under way on the partition.
    #[error("something else is under way on the partition")]
    Conflict,
    /// UNSUPPORTED: the adapter cannot do it.
    #[error("the adapter cannot do it")]
    Unsupported,
    /// MISMATCH: copy and source differ.
    #[error("copy and source differ")]
    Mismatch,
    /// NO_LIVE_COPY: nothing is left to copy from.
    #[error("no live copy is left")]
    NoLiveCopy,
    /// ALREADY_EXISTS: the request was made before with another content.
    #[error("the request was made before with another content")]
    AlreadyExists,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// What is so.
    State(Observation),
    /// The adapter refused to say.
    Refused(Reason),
    /// No answer.
    Unknown,
}

/// What is so, as the adapter and its store know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The fate of the request that was asked about; absent where none was.
    pub fate: Option<Fate>,
    /// The epoch that serves.
    pub serving: Epoch,
    /// The highest epoch that was ever proposed.
    pub promised: Epoch,
    /// Which copy serves, as this migration left it.
    pub serves: Side,
    /// Whether a fence of this migration stops writes.
    pub fenced: Fenced,
    /// Of the step that runs, if one does.
    pub progress: Option<Progress>,
}

/// The fate of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The adapter has not heard of it. It may still be on its way.
    Unheard,
    /// It runs.
    Running,
    /// It is done.
    Done(Done),
    /// It was refused, or has failed without a trace.
    Refused(Reason),
}

/// Which copy serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The source, or whoever served when the migration began.
    Source,
    /// The target, by a switch of this migration.
    Target,
    /// Neither: somebody else has moved the partition.
    Neither,
}

/// Whether a fence stops writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fenced {
    /// Writes are stopped.
    Yes,
    /// They are not.
    No,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes, rows or keys that are done; it does not fall within an attempt.
    pub done: u64,
    /// How many there are, if anybody knows.
    pub total: Option<u64>,
    /// What the target lags behind; absent where unknown.
    pub lag_bytes: Option<u64>,
    /// What slows it down on purpose; absent if nothing does.
    pub throttled_by: Option<String>,
    /// Where to go on after an interruption.
    pub resume: Option<String>,
    /// The engine is handing over: it cannot be cancelled any more.
    pub handing_over: bool,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
