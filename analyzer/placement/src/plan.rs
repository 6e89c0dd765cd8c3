//! What is decided: moves with their reasons, refusals with theirs.

use crate::ids::{Level, Node, Partition};
use crate::partitions::Assignment;
use crate::refusal::Refusal;
use crate::snapshot::{Cluster, Snapshot};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;

/// What is done to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Action {
    /// Its bytes are copied to `to`, which takes the slot of `from`, or an empty one.
    Copy {
        /// The holder that is replaced; absent where a replica is added.
        from: Option<Node>,
        /// The new holder.
        to: Node,
    },
    /// Another holder becomes its leader. No bytes.
    Lead {
        /// The leader so far.
        from: Node,
        /// The leader to be.
        to: Node,
    },
    /// A holder serves no more reads, and keeps its replica. No bytes.
    DrainReads {
        /// The holder.
        from: Node,
    },
}

/// Why something is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The holder is down.
    Lost,
    /// It has fewer replicas than it should.
    Missing,
    /// The holder is draining.
    Draining,
    /// The holder's capacity was lowered, or it holds more than its share.
    Overfull,
    /// A node holds less than its share.
    Underfull,
    /// Pressure is uneven.
    Balance,
    /// The expected loss is lower elsewhere.
    Risk,
}

impl Reason {
    /// Whether replicas are at stake: such moves obey hard constraints only, no budget, cool-down or pin.
    #[must_use]
    pub const fn repairs(self) -> bool {
        matches!(self, Self::Lost | Self::Missing | Self::Draining)
    }

    /// Whether nobody asked for it: budgets, cool-downs and the ban on returning bind such moves. What an operator
    /// asked for (a drain, a new node, another capacity) is not held up by them.
    #[must_use]
    pub const fn by_choice(self) -> bool {
        matches!(self, Self::Balance | Self::Risk)
    }
}

/// What a move is good for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Gain {
    /// Replicas on nodes that serve and stay, before and after.
    Replicas {
        /// Before.
        before: u8,
        /// After.
        after: u8,
    },
    /// Pressure of the more pressed of the two nodes, relative to the mean, before and after.
    Pressure {
        /// Before.
        before: f64,
        /// After.
        after: f64,
    },
    /// Expected loss avoided over the residence, at its lower bound, and what the move costs, in the unit of the
    /// caller's loss.
    Loss {
        /// Avoided.
        benefit: f64,
        /// Spent.
        cost: f64,
    },
}

/// What forbids a node to take a partition. In the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Constraint {
    /// It is down, draining or cordoned, or has no capacity for bytes or for load.
    NotATarget,
    /// Its risk is above the policy's limit, or its hazard too far above its class's.
    Risk,
    /// It holds the partition already.
    Holds,
    /// Another replica lies in its domain of that level.
    Domain(Level),
    /// Its bytes, with what is on its way to it, would exceed the fill limit.
    Capacity,
    /// The partition left it not long ago.
    Returned,
    /// Its pressure would exceed what the survivors of one more failure could bear, or balance.
    Headroom,
    /// There would be more copysets than the policy allows.
    Copysets,
}

/// How many nodes each constraint rejected first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rejected {
    /// See [`Constraint::NotATarget`].
    pub not_a_target: u16,
    /// See [`Constraint::Risk`].
    pub risk: u16,
    /// See [`Constraint::Holds`].
    pub holds: u16,
    /// See [`Constraint::Domain`], all levels.
    pub domain: u16,
    /// See [`Constraint::Capacity`].
    pub capacity: u16,
    /// See [`Constraint::Returned`].
    pub returned: u16,
    /// See [`Constraint::Headroom`].
    pub headroom: u16,
    /// See [`Constraint::Copysets`].
    pub copysets: u16,
}

impl Rejected {
    /// Counts one.
    pub fn add(&mut self, constraint: Constraint) {
        let count = match constraint {
            Constraint::NotATarget => &mut self.not_a_target,
            Constraint::Risk => &mut self.risk,
            Constraint::Holds => &mut self.holds,
            Constraint::Domain(_) => &mut self.domain,
            Constraint::Capacity => &mut self.capacity,
            Constraint::Returned => &mut self.returned,
            Constraint::Headroom => &mut self.headroom,
            Constraint::Copysets => &mut self.copysets,
        };
        *count = count.saturating_add(1);
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Move {
    /// Of what.
    pub partition: Partition,
    /// What is done.
    pub action: Action,
    /// Bytes to copy.
    pub bytes: u64,
    /// The epoch of the subset that is changed.
    pub epoch: u64,
    /// Why.
    pub reason: Reason,
    /// What for.
    pub gain: Gain,
    /// What the chosen node scored; lower is better. Its pressure after the move as a share of what is tolerable,
    /// and what the policy's weights add.
    pub score: f64,
    /// The second best node, and what it scored.
    pub runner_up: Option<(Node, f64)>,
    /// Nodes that could not be chosen; [`crate::explain`] names them one by one.
    pub rejected: Rejected,
}

/// Where a replica of a partition should be restored to, of which no live one is left. Not a move: there is nothing to
/// copy from, and whether a backup is good enough is not the planner's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Restore {
    /// Of what.
    pub partition: Partition,
    /// The lost holder it stands for; absent where a replica was missing.
    pub from: Option<Node>,
    /// Where to.
    pub to: Node,
    /// Bytes to write.
    pub bytes: u64,
}

/// How evenly nodes are pressed, relative to the mean over those that are up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pressure {
    /// Share of capacity filled, the highest over the mean; absent where nothing is held.
    pub size: Option<f64>,
    /// The same of load; absent where load is not judged or there is none.
    pub load: Option<f64>,
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes that must be copied at least for what was asked: those lost, and those over or under a share.
    pub least_bytes: u64,
    /// Before the event's moves, over the nodes that are up.
    pub before: Pressure,
    /// After all moves.
    pub after: Pressure,
    /// The lowest highest size pressure over the mean that the domains allow.
    pub feasible: f64,
}

/// SHA-256 of what a plan decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanHash(pub [u8; 32]);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for PlanHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is to be done to a snapshot. Never changed: another decision is another plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The revision it was made from, and holds for.
    pub parent: u64,
    /// In the order in which they were decided; the order of doing is the schedule's.
    pub moves: Vec<Move>,
    /// What should be done and is not.
    pub refusals: Vec<Refusal>,
    /// Where partitions that are lost should be restored to, as far as there is room when all moves are done.
    pub restores: Vec<Restore>,
    /// What it comes to.
    pub totals: Totals,
    /// Of parent, moves (partition, action, bytes, epoch) and nothing else.
    pub hash: PlanHash,
}

/// Why a plan cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// It was made from another state.
    #[error("the plan is for revision {planned}, and the state is at {current}; plan again")]
    Stale {
        /// What it was made from.
        planned: u64,
        /// What there is.
        current: u64,
    },
    /// A move that does not fit the state.
    #[error("move {0} does not fit the assignment")]
    DoesNotFit(usize),
}

impl Plan {
    /// A plan of these decisions.
    #[must_use]
    pub fn new(parent: u64, moves: Vec<Move>, refusals: Vec<Refusal>, totals: Totals) -> Self {
        let hash = hash(parent, &moves);
        Self { parent, moves, refusals, restores: Vec::new(), totals, hash }
    }

    /// The plan with advice where to restore what is lost.
    #[must_use]
    pub fn with_restores(self, restores: Vec<Restore>) -> Self {
        Self { restores, ..self }
    }

    /// The assignment after all moves and restores.
    ///
    /// # Errors
    /// As [`Plan::result`].
    pub fn restored(&self, snapshot: &Snapshot) -> Result<Assignment, ApplyError> {
        let mut assignment = self.result(snapshot)?;
        for (at, restore) in self.restores.iter().enumerate() {
            if !assignment.replace(restore.partition, restore.from, restore.to) {
                return Err(ApplyError::DoesNotFit(self.moves.len() + at));
            }
        }
        Ok(assignment)
    }

    /// The assignment after all moves.
    ///
    /// # Errors
    /// If the snapshot is not the plan's parent, or a move does not fit it.
    pub fn result(&self, snapshot: &Snapshot) -> Result<Assignment, ApplyError> {
        if snapshot.revision() != self.parent {
            return Err(ApplyError::Stale { planned: self.parent, current: snapshot.revision() });
        }
        let mut assignment = snapshot.assignment().clone();
        for (at, decided) in self.moves.iter().enumerate() {
            let fits = match decided.action {
                Action::Copy { from, to } => assignment.replace(decided.partition, from, to),
                Action::Lead { to, .. } => assignment.lead(decided.partition, to),
                Action::DrainReads { from } => assignment.holds(from, decided.partition),
            };
            if !fits {
                return Err(ApplyError::DoesNotFit(at));
            }
        }
        Ok(assignment)
    }

    /// The cluster after all moves, at the next revision: assignments, epochs of what moved, when, and from where.
    ///
    /// # Errors
    /// As [`Plan::result`].
    pub fn apply(&self, snapshot: Snapshot) -> Result<Cluster, ApplyError> {
        let assignment = self.result(&snapshot)?;
        let now_s = snapshot.now_s();
        let mut cluster = snapshot.into_cluster();
        cluster.assignment = assignment;
        cluster.revision += 1;
        let len = cluster.partitions.len();
        for decided in &self.moves {
            let Action::Copy { from, .. } = decided.action else { continue };
            let at = decided.partition.at();
            cluster.partitions.epoch.each(len)[at] += 1;
            cluster.partitions.moved_at_s.each(len)[at] = Some(now_s);
            cluster.partitions.last_left.each(len)[at] = from;
        }
        Ok(cluster)
    }
}

fn hash(parent: u64, moves: &[Move]) -> PlanHash {
    let mut digest = Sha256::new();
    digest.update(parent.to_le_bytes());
    for decided in moves {
        let (kind, from, to) = match decided.action {
            Action::Copy { from, to } => (0u8, from.map_or(u16::MAX, |node| node.0), to.0),
            Action::Lead { from, to } => (1, from.0, to.0),
            Action::DrainReads { from } => (2, from.0, u16::MAX),
        };
        digest.update(decided.partition.0.to_le_bytes());
        digest.update([kind]);
        digest.update(from.to_le_bytes());
        digest.update(to.to_le_bytes());
        digest.update(decided.bytes.to_le_bytes());
        digest.update(decided.epoch.to_le_bytes());
    }
    PlanHash(digest.finalize().into())
}
