//! A shift of reads: what is wanted, how far it is, and what follows from what an adapter says. No clock, no file, no
//! connection.
//!
//! A shift is a request that the adapter does once, and a state that lasts until it is undone. Before each call the
//! request is given a name and epochs, which are written down; an outcome that nobody knows is asked for again by the
//! same name, as ShiftReads is done once however often it is called. What was refused had no effect, and is asked for
//! by another name.

use crate::journal::Trigger;
use isotherm_migration::{Epoch, MigrationId, Reason, names};
use isotherm_model::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// Refusals for the moment after which a shift that has had no effect is given up.
const PATIENCE: u32 = 8;

/// What becomes of reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A node leads.
    Lead {
        /// It.
        #[serde(with = "names::node")]
        to: NodeId,
    },
    /// A node gets no reads.
    Drain {
        /// It.
        #[serde(with = "names::node")]
        node: NodeId,
    },
}

impl What {
    /// `lead` or `drain`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Lead { .. } => "lead",
            Self::Drain { .. } => "drain",
        }
    }

    /// The node that leads, or is drained.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        match self {
            Self::Lead { to } => to,
            Self::Drain { node } => node,
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lead { to } => write!(f, "let {to} lead"),
            Self::Drain { node } => write!(f, "drain {node}"),
        }
    }
}

/// A node, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Named(#[serde(with = "names::node")] pub NodeId);

/// A shift that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose reads.
    pub partition: PartitionId,
    /// What becomes of them.
    pub what: What,
    /// Who wants it: a person, or "isotherm".
    pub by: String,
    /// Why.
    pub reason: String,
    /// What made it begin.
    pub trigger: Trigger,
    /// A node that is suspected of answering badly is what it is for.
    pub gray: bool,
    /// Somebody must agree before this moment, milliseconds since 1970; absent where nobody is asked.
    pub approval_until_ms: Option<u64>,
}

/// One shift of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// Its name.
    pub id: MigrationId,
    /// Whose reads.
    #[serde(with = "names::partition")]
    pub partition: PartitionId,
    /// What becomes of them.
    pub what: What,
    /// How far it is.
    pub stage: Stage,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What made it begin.
    pub trigger: Trigger,
    /// See [`Wanted::gray`].
    pub gray: bool,
    /// When it was wanted, milliseconds since 1970, as all times here.
    pub created_ms: u64,
    /// Since when it is in force; absent before.
    pub since_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Who gets reads again when it is undone: the former leader, the drained node. Absent before it is in force.
    pub undo: Option<Named>,
    /// The last words of a refusal, or why nothing is known of a call.
    pub words: Option<String>,
    /// Requests that were named so far.
    pub requests: u32,
}

/// How far a shift is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Somebody must agree.
    AwaitingApproval {
        /// Before that.
        until_ms: u64,
    },
    /// It is being made.
    Intent {
        /// The request; absent before the epochs are known.
        call: Option<Call>,
    },
    /// Reads go elsewhere.
    InForce,
    /// It is being undone.
    Undoing {
        /// Why.
        why: Why,
        /// The request; absent before the epochs are known.
        call: Option<Call>,
    },
    /// It is over.
    Ended(End),
}

/// A request as it is made, the same whenever it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name.
    pub request_id: String,
    /// The epoch that serves.
    pub expected: u64,
    /// The one that would.
    pub new: u64,
    /// It may have been made before, with an outcome that nobody knows.
    pub doubtful: bool,
}

/// Why a shift is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody wants it.
    Wanted,
    /// What it was for is over.
    CauseGone,
    /// No other holder is up.
    NobodyElse,
    /// The partition is to be moved.
    Move,
}

impl Why {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "somebody wants it",
            Self::CauseGone => "its cause is gone",
            Self::NobodyElse => "no other holder is up",
            Self::Move => "the partition is to be moved",
        }
    }
}

/// How a shift ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Reads are as they were.
    Undone(Why),
    /// They were so already.
    NothingToDo,
    /// The adapter will not, or was not there for too long. It had no effect.
    Refused,
    /// Nobody agreed in time.
    Expired,
    /// It was given up before it began.
    Dropped,
    /// The partition was moved, and it means nothing any more.
    Moved,
    /// Somebody says that it is over.
    Forgotten,
}

impl End {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undone(_) => "undone",
            Self::NothingToDo => "nothing had to be done",
            Self::Refused => "refused",
            Self::Expired => "nobody agreed in time",
            Self::Dropped => "given up before it began",
            Self::Moved => "the partition was moved",
            Self::Forgotten => "somebody says that it is over",
        }
    }
}

/// Why something is not done with a shift.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShiftRefused {
    /// There is none of this id that has not ended.
    #[error("there is no shift {0} that has not ended; `isotherm reads status --all` lists them")]
    NotFound(String),
    /// The partition has another one.
    #[error("reads of {partition} are shifted already, by {by}; `isotherm reads restore {by}` undoes it")]
    Shifted {
        /// The partition.
        partition: String,
        /// The other shift.
        by: String,
    },
    /// The partition is being moved.
    #[error("{partition} is being moved by migration {by}; its reads are not shifted meanwhile")]
    Moving {
        /// The partition.
        partition: String,
        /// The migration.
        by: String,
    },
    /// It is too early or too late.
    #[error("shift {id} is {state}: {what}")]
    State {
        /// The shift.
        id: String,
        /// Its state.
        state: &'static str,
        /// What cannot be.
        what: &'static str,
    },
}

/// What is to be found out or done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing by itself.
    Nothing,
    /// Ask which epochs there are.
    Epochs,
    /// Make this call, for this node.
    Call(Call, Order),
}

/// What an adapter is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A node leads.
    Lead(NodeId),
    /// A node gets no reads.
    Drain(NodeId),
    /// It gets them again.
    Restore(NodeId),
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lead(node) => write!(f, "{node} is to lead"),
            Self::Drain(node) => write!(f, "{node} is to be drained"),
            Self::Restore(node) => write!(f, "{node} is to be restored"),
        }
    }
}

/// What came of a call, or of the question before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and this undoes it; `None` where it changed nothing.
    Done(Option<NodeId>),
    /// It was refused, and had no effect.
    Refused(Reason, String),
    /// Nobody knows.
    Unknown(String),
}

impl Shift {
    /// One that begins.
    #[must_use]
    pub fn new(id: MigrationId, wanted: Wanted, now_ms: u64) -> Self {
        let Wanted { partition, what, by, reason, trigger, gray, approval_until_ms } = wanted;
        let stage = match approval_until_ms {
            Some(until_ms) => Stage::AwaitingApproval { until_ms },
            None => Stage::Intent { call: None },
        };
        Self {
            id,
            partition,
            what,
            stage,
            by,
            reason,
            trigger,
            gray,
            created_ms: now_ms,
            since_ms: None,
            ended_ms: None,
            undo: None,
            words: None,
            requests: 0,
        }
    }

    /// As it is told: `IN_FORCE`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self.stage {
            Stage::AwaitingApproval { .. } => "AWAITING_APPROVAL",
            Stage::Intent { .. } => "INTENT",
            Stage::InForce => "IN_FORCE",
            Stage::Undoing { .. } => "UNDOING",
            Stage::Ended(_) => "ENDED",
        }
    }

    /// Whether reads may be elsewhere because of it.
    #[must_use]
    pub fn may_be_in_force(&self) -> bool {
        match self.stage {
            Stage::Intent { .. } | Stage::InForce | Stage::Undoing { .. } => true,
            Stage::AwaitingApproval { .. } | Stage::Ended(_) => false,
        }
    }

    /// What is to be found out or done next.
    #[must_use]
    pub fn next(&self) -> Next {
        let (call, order) = match &self.stage {
            Stage::AwaitingApproval { .. } | Stage::InForce | Stage::Ended(_) => return Next::Nothing,
            Stage::Intent { call } => (call, self.order()),
            Stage::Undoing { call, .. } => (call, self.way_back()),
        };
        match (call, order) {
            (None, _) => Next::Epochs,
            (Some(call), order) => Next::Call(call.clone(), order),
        }
    }

    fn order(&self) -> Order {
        match &self.what {
            What::Lead { to } => Order::Lead(to.clone()),
            What::Drain { node } => Order::Drain(node.clone()),
        }
    }

    fn way_back(&self) -> Order {
        let back = self.undo.as_ref().map_or_else(|| self.what.node().clone(), |undo| undo.0.clone());
        match &self.what {
            What::Lead { .. } => Order::Lead(back),
            What::Drain { .. } => Order::Restore(back),
        }
    }

    /// Names a request, now that the epochs are known: the one that serves, and the highest that was ever proposed.
    pub fn propose(&mut self, serving: Epoch, promised: Epoch) {
        let number = self.requests + 1;
        let request_id = format!("{}/reads/{number}", self.id);
        let new = serving.0.max(promised.0) + 1;
        let named = Call { request_id, expected: serving.0, new, doubtful: false };
        match &mut self.stage {
            Stage::Intent { call } | Stage::Undoing { call, .. } => {
                *call = Some(named);
                self.requests = number;
            }
            Stage::AwaitingApproval { .. } | Stage::InForce | Stage::Ended(_) => {}
        }
    }

    /// Somebody who made calls for it has gone: what it called for last may have been done.
    pub fn taken_over(&mut self) {
        if let Some(call) = self.call() {
            call.doubtful = true;
        }
    }

    fn call(&mut self) -> Option<&mut Call> {
        match &mut self.stage {
            Stage::Intent { call } | Stage::Undoing { call, .. } => call.as_mut(),
            Stage::AwaitingApproval { .. } | Stage::InForce | Stage::Ended(_) => None,
        }
    }

    /// Takes what came of a call, or of the question before it. `attempts` counts those that came to nothing in a row,
    /// this one not among them. Returns whether it is to be tried again after a pause.
    pub fn hear(&mut self, outcome: Outcome, attempts: u32, now_ms: u64) -> bool {
        let doubtful = self.call().is_some_and(|call| call.doubtful);
        match outcome {
            Outcome::Done(undo) => {
                self.words = None;
                self.done(undo, doubtful, now_ms);
                false
            }
            Outcome::Unknown(words) => {
                self.words = Some(words);
                match self.call() {
                    Some(call) => call.doubtful = true,
                    None => return self.refused(true, attempts, now_ms),
                }
                true
            }
            Outcome::Refused(reason, words) => {
                self.words = Some(format!("{reason}: {words}"));
                self.refused(passes(&reason), attempts, now_ms)
            }
        }
    }

    fn done(&mut self, undo: Option<NodeId>, doubtful: bool, now_ms: u64) {
        match &self.stage {
            Stage::Intent { .. } => {
                // The first answer may be lost with an adapter that died, and the second one finds nothing to do.
                let again = match &self.what {
                    What::Drain { node } if doubtful => Some(node.clone()),
                    What::Drain { .. } | What::Lead { .. } => None,
                };
                match undo.or(again) {
                    Some(node) => {
                        self.undo = Some(Named(node));
                        self.since_ms = Some(now_ms);
                        self.stage = Stage::InForce;
                    }
                    None => self.end(End::NothingToDo, now_ms),
                }
            }
            Stage::Undoing { why, .. } => self.end(End::Undone(*why), now_ms),
            Stage::AwaitingApproval { .. } | Stage::InForce | Stage::Ended(_) => {}
        }
    }

    /// What is refused for the moment is tried again, to undo without end. What is refused for good leaves a shift in
    /// force that was to be undone.
    fn refused(&mut self, passes: bool, attempts: u32, now_ms: u64) -> bool {
        match &mut self.stage {
            Stage::Intent { call } if passes && attempts + 1 < PATIENCE => {
                *call = None;
                true
            }
            Stage::Intent { .. } => {
                self.end(End::Refused, now_ms);
                false
            }
            Stage::Undoing { call, .. } if passes => {
                *call = None;
                true
            }
            Stage::Undoing { .. } => {
                self.stage = Stage::InForce;
                false
            }
            Stage::AwaitingApproval { .. } | Stage::InForce | Stage::Ended(_) => false,
        }
    }

    /// Somebody agrees.
    ///
    /// # Errors
    /// Nobody was asked.
    pub fn approve(&mut self) -> Result<(), ShiftRefused> {
        match self.stage {
            Stage::AwaitingApproval { .. } => {
                self.stage = Stage::Intent { call: None };
                Ok(())
            }
            Stage::Intent { .. } | Stage::InForce | Stage::Undoing { .. } | Stage::Ended(_) => {
                Err(self.denied("it does not wait for approval"))
            }
        }
    }

    /// It is to be undone, or given up where it has not begun.
    ///
    /// # Errors
    /// It is under way, or over.
    pub fn undo(&mut self, why: Why, now_ms: u64) -> Result<(), ShiftRefused> {
        match self.stage {
            Stage::AwaitingApproval { .. } => {
                self.end(End::Dropped, now_ms);
                Ok(())
            }
            Stage::InForce => {
                self.stage = Stage::Undoing { why, call: None };
                Ok(())
            }
            Stage::Intent { .. } => Err(self.denied("it can be undone once the adapter has answered")),
            Stage::Undoing { .. } => Err(self.denied("it is being undone")),
            Stage::Ended(_) => Err(self.denied("it is over")),
        }
    }

    /// It is over.
    pub fn end(&mut self, end: End, now_ms: u64) {
        self.stage = Stage::Ended(end);
        self.ended_ms = Some(now_ms);
    }

    fn denied(&self, what: &'static str) -> ShiftRefused {
        ShiftRefused::State { id: self.id.to_string(), state: self.state(), what }
    }
}

/// Whether a refusal is one for the moment: another request may be granted.
fn passes(reason: &Reason) -> bool {
    match reason {
        Reason::Transient { .. } | Reason::Throttled { .. } | Reason::StaleEpoch => true,
        Reason::StaleTerm { .. }
        | Reason::Conflict
        | Reason::Unsupported
        | Reason::Mismatch
        | Reason::NoLiveCopy
        | Reason::AlreadyExists => false,
    }
}
