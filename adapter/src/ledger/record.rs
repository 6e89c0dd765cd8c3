//! What the ledger keeps, as values that can be written down.

use crate::contract::{Answer, Asked, AskedShift, Migration, Refusal};
use crate::store::Shift;
use isotherm_migration::{Epoch, Proposal, Side, Term, Verification};
use isotherm_model::NodeId;
use serde::{Deserialize, Serialize};

/// What is known of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The epoch that serves.
    pub serving: Epoch,
    /// The highest that was ever proposed; at least `serving`.
    pub highest: Epoch,
    /// Names of the nodes that hold it under that epoch, the leader first.
    pub holders: Vec<String>,
}

/// What is known of a migration that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// What is moved.
    pub migration: Migration,
    /// Under which it was called last.
    pub term: Term,
    /// The epoch that serves as far as this migration knows. Another one was made by somebody else.
    pub at: Epoch,
    /// Which copy this migration made serve.
    pub side: Side,
    /// Its fence, if one is made.
    pub fence: Option<FenceMade>,
    /// Its verification of the copy there is.
    pub verified: Option<Verification>,
    /// The request that was made last.
    pub last_request: String,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
}

/// A fence that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceMade {
    /// Proposed with it.
    pub epoch: Epoch,
    /// When, in milliseconds since 1970.
    pub since_ms: i64,
}

/// What a request asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A step.
    Step(Asked),
    /// A shift of reads.
    Shift(ShiftMade),
}

/// A shift of reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftMade {
    /// Name of the partition.
    pub partition: String,
    /// Its epochs.
    pub epochs: Proposal,
    /// What, and with which node.
    pub what: ShiftKind,
    /// Name of the node.
    pub node: String,
    /// Who held it before, the leader first: a shift that is done again after a crash finds nothing to do, and could
    /// not tell what would undo it.
    pub before: Vec<String>,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShiftKind {
    /// It becomes the leader.
    Leader,
    /// It gets no reads.
    Drain,
    /// It gets them again.
    Restore,
}

/// What came of a shift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shifted {
    /// It is being done.
    Running,
    /// It is done.
    Done {
        /// The epoch that serves from then on.
        serving: Epoch,
        /// Name of the node that would undo it.
        undo: Option<String>,
    },
    /// It was refused.
    Refused(Refusal),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a step.
    Step(Answer),
    /// Of a shift.
    Shift(Shifted),
}

/// A request that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it asked for.
    pub content: Content,
    /// What came of it.
    pub outcome: Outcome,
}

impl Heard {
    /// The fate of a step; `None` for a shift.
    #[must_use]
    pub fn fate(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Step(answer) => Some(answer),
            Outcome::Shift(_) => None,
        }
    }
}

impl ShiftMade {
    /// A shift that is about to be made, of a partition that `before` hold.
    #[must_use]
    pub fn new(asked: &AskedShift, before: &[NodeId]) -> Self {
        let (what, node) = match &asked.shift {
            Shift::Leader(node) => (ShiftKind::Leader, node),
            Shift::Drain(node) => (ShiftKind::Drain, node),
            Shift::Restore(node) => (ShiftKind::Restore, node),
        };
        Self {
            partition: asked.partition.name().to_owned(),
            epochs: asked.epochs,
            what,
            node: node.name().to_owned(),
            before: before.iter().map(|node| node.name().to_owned()).collect(),
        }
    }

    /// Whether it is the same as another: all but who held the partition is.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        (&self.partition, self.epochs, self.what, &self.node)
            == (&other.partition, other.epochs, other.what, &other.node)
    }
}
