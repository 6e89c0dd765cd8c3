//! What the machine asks of the outside: the adapter's calls, one to one, and nothing hidden in them.

use crate::answer::{Position, Verification};
use crate::end::Decision;
use crate::ids::{Epoch, MigrationId, Revision, Term};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something for the runner to do, after the state that asks for it has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make a call that changes the store (or, of [`Step::ValidateMigration`], looks whether it can be changed).
    /// Answered by [`crate::Event::Answered`].
    Perform {
        /// The controller's.
        term: Term,
        /// The call.
        request: Request,
    },
    /// Call GetMigrationState. Answered by [`crate::Event::Observed`].
    ///
    /// It carries the term, and the adapter keeps that: what it tells cannot be changed any more by a predecessor.
    Ask {
        /// The controller's.
        term: Term,
        /// Which question this is; an answer to an older one is of no interest.
        question: Question,
    },
    /// Follow WatchProgress, if it is not followed yet. What comes is told as [`crate::Event::Progressed`]; a stream
    /// that ends, or never comes, changes nothing.
    Watch {
        /// Of which migration.
        migration: MigrationId,
        /// Where an earlier stream was.
        resume: Option<String>,
    },
    /// Plan anew: what the plan was made from is not so any more.
    Replan {
        /// The topology the plan was made from.
        revision: Revision,
    },
}

/// A question about a migration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// The migration.
    pub migration: MigrationId,
    /// Questions are numbered, and numbers are not used twice.
    pub number: u32,
    /// The request whose fate is unknown; absent where only the partition is of interest.
    pub about: Option<RequestId>,
}

/// A call that changes the store, at most once however often it is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Which request; a repeated one gets the first answer. The term is no part of what is compared, since a
    /// successor repeats its predecessor's requests.
    pub id: RequestId,
    /// Under what the partition must be served, else the adapter refuses, and what it is asked to keep. Absent in
    /// ValidateMigration, which learns the epochs.
    pub epochs: Option<Proposal>,
    /// The call.
    pub step: Step,
}

/// The epochs of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proposal {
    /// The epoch that must serve.
    pub expected: Epoch,
    /// The epoch that would serve after a switch. Adapters keep the highest they saw and refuse lower ones, so each
    /// step back raises it: what was sent before it and comes late has no effect any more.
    pub new: Epoch,
}

/// Which request of which migration: the same whenever the same state asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The migration.
    pub migration: MigrationId,
    /// The step.
    pub step: StepKind,
    /// The epoch it proposes; absent where it has none.
    pub epoch: Option<Epoch>,
    /// Requests of a migration are numbered. A request that is refused is made anew under the next number; one whose
    /// outcome is unknown keeps its own.
    pub attempt: u32,
}

impl fmt::Display for RequestId {
    /// As it goes over the wire: `MIGRATION/STEP/EPOCH/ATTEMPT`, with `-` for no epoch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.migration, self.step)?;
        match self.epoch {
            Some(epoch) => write!(f, "{epoch}")?,
            None => f.write_str("-")?,
        }
        write!(f, "/{}", self.attempt)
    }
}

/// A call of the adapter, with what it needs beside migration and epochs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Look whether it can be done, and undone; no effects.
    ValidateMigration,
    /// Make on the target what the copy needs.
    PrepareTarget,
    /// Copy, and follow the writes; done when the copy is whole. An engine also switches, and is done when it has.
    StartReplication {
        /// Where an attempt before this one was, as the adapter told it.
        resume: Option<String>,
        /// The highest rate; absent for none.
        bytes_per_s: Option<u64>,
    },
    /// Wait until the target has caught up.
    AwaitCatchup {
        /// What the target must have reached; absent where the source still takes writes.
        position: Option<Position>,
        /// The most it may lag behind.
        max_lag_bytes: u64,
    },
    /// Compare the copy with its source.
    Verify,
    /// Stop writes to the source.
    FenceSource,
    /// Let the target serve, by compare-and-swap of the epoch.
    CommitSwitch {
        /// What it is founded on; there is no switch without.
        warrant: Warrant,
    },
    /// Let the source take writes again. Refused if the switch has happened.
    UnfenceSource,
    /// Let the source serve again, with every write that the target has acknowledged since the switch.
    ReverseSwitch,
    /// Remove the source's data, and all that was made for the migration.
    RetireSource,
    /// Restore the start: remove the copy, and all that was made for the migration.
    Abort,
}

/// What a switch is founded on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Warrant {
    /// Copy and source were compared, and equal.
    Verified(Verification),
    /// Somebody decided to lose what the copy has not.
    DataLoss(Decision),
}

macro_rules! kinds {
    ($($kind:ident { $($pattern:tt)* } $text:literal $rpc:literal,)*) => {
        /// The name of a [`Step`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum StepKind {
            $(#[doc = $rpc] $kind,)*
        }

        impl StepKind {
            /// All of them, in the order of a migration.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];
        }

        impl Step {
            /// Its name.
            #[must_use]
            pub fn kind(&self) -> StepKind {
                match self { $(Self::$kind $($pattern)* => StepKind::$kind,)* }
            }
        }

        impl fmt::Display for StepKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$kind => $text,)* })
            }
        }
    };
}

kinds! {
    ValidateMigration {} "validate" "[`Step::ValidateMigration`]",
    PrepareTarget {} "prepare" "[`Step::PrepareTarget`]",
    StartReplication { { .. } } "replicate" "[`Step::StartReplication`]",
    AwaitCatchup { { .. } } "catch-up" "[`Step::AwaitCatchup`]",
    Verify {} "verify" "[`Step::Verify`]",
    FenceSource {} "fence" "[`Step::FenceSource`]",
    CommitSwitch { { .. } } "commit" "[`Step::CommitSwitch`]",
    UnfenceSource {} "unfence" "[`Step::UnfenceSource`]",
    ReverseSwitch {} "reverse" "[`Step::ReverseSwitch`]",
    RetireSource {} "retire" "[`Step::RetireSource`]",
    Abort {} "abort" "[`Step::Abort`]",
}
