//! Why a move is as it is, and why a partition stays.
//!
//! Values that can be shown ([`words`]) or read by a program. They are not kept with the plan, which would make it
//! many times as large, but found again by replaying it: the same snapshot, the same moves before, the same judges.
//! The losses behind proactive moves are the caller's and not in a plan; without them such moves are explained by
//! what the plan recorded, and by what constraints can be judged without.

mod words;

use crate::ids::{Node, Partition};
use crate::plan::{Action, ApplyError, Constraint, Gain, Move, Plan, Reason};
use crate::planner::replay::{Looked, Replay, Stay};
use crate::proactive::{Outlook, Shifts};
use crate::refusal::Cause;
use crate::snapshot::{InFlight, Snapshot};
use thiserror::Error;

pub use words::{MoveInWords, StandingInWords};

/// How a move came about, node by node.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Of what.
    pub partition: Partition,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What for.
    pub gain: Gain,
    /// How it was decided.
    pub how: How,
    /// The candidates and what became of them: the chosen one, then the others that were allowed, best first, then
    /// those that were rejected, by position. All nodes for a copy; holders for a shift of reads.
    pub nodes: Vec<(Node, Verdict)>,
}

/// How a move was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By itself, as the best of all candidates; the verdicts are those of the decision.
    Alone,
    /// With others: as a part of a group that shares holders, towards a node that was to be filled, as a step of
    /// balancing, or by losses that are not known here. Score and runner-up are those that the plan recorded; the
    /// other verdicts are of the partition by itself at that moment.
    Together,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It was the best.
    Chosen {
        /// Its score, lower is better.
        score: f64,
    },
    /// It was allowed, and others were better.
    Allowed {
        /// Its score; absent where the losses that made it are not known here.
        score: Option<f64>,
    },
    /// It was forbidden.
    Rejected(
        /// By what first.
        Constraint,
    ),
}

/// What becomes of a partition.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It moves: positions of its moves in the plan.
    Moves(Vec<usize>),
    /// It stays.
    Stays(Why),
}

/// Why a partition stays. The first that holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The plan wanted to move it and says why it does not.
    Refused(Cause),
    /// It must not be moved.
    Pinned,
    /// It moved not long ago.
    Cooling {
        /// When it may move again, seconds of the snapshot's clock.
        until_s: u32,
    },
    /// A copy of it is under way.
    InFlight(InFlight),
    /// It has its replicas on nodes that serve, none of them is pressed beyond the dead band, and none is known to
    /// be a risk worth leaving.
    Fine {
        /// The highest pressure of its holders over the mean.
        pressure: f64,
        /// The pressure from which on something is moved.
        band: f64,
    },
    /// Elsewhere it would lose less, but not by enough for what a copy costs.
    NoGain {
        /// Avoided, at its lower bound.
        benefit: f64,
        /// Spent.
        cost: f64,
    },
    /// No node may take it: the first constraint of each.
    Nowhere(Vec<(Node, Constraint)>),
    /// It could move; others were enough, or the plan was not asked to.
    PassedOver {
        /// Its most pressed holder.
        holder: Node,
        /// The holder's pressure after the plan.
        pressure: f64,
    },
}

/// Why nothing can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The plan does not belong to the snapshot.
    #[error(transparent)]
    Plan(#[from] ApplyError),
    /// There is no such move.
    #[error("move {at}; the plan has {moves}")]
    NoSuchMove {
        /// What was asked for.
        at: usize,
        /// Moves there are.
        moves: usize,
    },
    /// There is no such partition.
    #[error("partition {at}; the snapshot has {partitions}")]
    NoSuchPartition {
        /// What was asked for.
        at: u32,
        /// Partitions there are.
        partitions: usize,
    },
}

/// What was known of every node when a move was decided. `outlook`: the one that the plan was made with, if any.
///
/// # Errors
/// If the plan is not of this snapshot, or has no such move.
pub fn of_move(
    snapshot: &Snapshot,
    plan: &Plan,
    at: usize,
    outlook: Option<&Outlook<'_>>,
) -> Result<Explained, ExplainError> {
    plan.result(snapshot)?;
    let Some(decided) = plan.moves.get(at) else {
        return Err(ExplainError::NoSuchMove { at, moves: plan.moves.len() });
    };
    let unknown = nothing_known();
    let looked = Replay::new(snapshot, &plan.moves[..at], outlook.unwrap_or(&unknown)).look(decided);
    let scored = decided.reason != Reason::Risk || outlook.is_some();
    let how = if scored && is_of(&looked, decided) { How::Alone } else { How::Together };
    Ok(Explained {
        partition: decided.partition,
        action: decided.action,
        reason: decided.reason,
        gain: decided.gain,
        how,
        nodes: verdicts(looked, decided, scored),
    })
}

/// What becomes of a partition under a plan, and why, if it stays. `outlook`: the one that the plan was made with, if
/// any.
///
/// # Errors
/// If the plan is not of this snapshot, or there is no such partition.
pub fn of_partition(
    snapshot: &Snapshot,
    plan: &Plan,
    partition: Partition,
    outlook: Option<&Outlook<'_>>,
) -> Result<Standing, ExplainError> {
    plan.result(snapshot)?;
    let partitions = snapshot.partitions().len();
    if partition.at() >= partitions {
        return Err(ExplainError::NoSuchPartition { at: partition.0, partitions });
    }
    let mine = plan.moves.iter().enumerate().filter(|(_, decided)| decided.partition == partition);
    let moves: Vec<usize> = mine.map(|(at, _)| at).collect();
    if !moves.is_empty() {
        return Ok(Standing::Moves(moves));
    }
    Ok(Standing::Stays(why(snapshot, plan, partition, outlook)))
}

fn why(snapshot: &Snapshot, plan: &Plan, partition: Partition, outlook: Option<&Outlook<'_>>) -> Why {
    if let Some(refusal) = plan.refusals.iter().find(|refusal| refusal.partition == Some(partition)) {
        return Why::Refused(refusal.cause);
    }
    if snapshot.partitions().pinned.get(partition) {
        return Why::Pinned;
    }
    let moved_at_s = snapshot.partitions().moved_at_s.get(partition);
    let until_s = moved_at_s.map_or(0, |at| at.saturating_add(snapshot.policy().cool_down_s));
    if until_s > snapshot.now_s() {
        return Why::Cooling { until_s };
    }
    if let Some(copy) = snapshot.in_flight().iter().find(|copy| copy.partition == partition) {
        return Why::InFlight(*copy);
    }
    let unknown = nothing_known();
    let mut replay = Replay::new(snapshot, &plan.moves, outlook.unwrap_or(&unknown));
    match replay.stay(partition, outlook.is_some()) {
        Stay::Fine(pressure) => Why::Fine { pressure, band: 1.0 + snapshot.policy().dead_band },
        Stay::NoGain(benefit, cost) => Why::NoGain { benefit, cost },
        Stay::Nowhere(nodes) => Why::Nowhere(nodes),
        Stay::PassedOver(holder, pressure) => Why::PassedOver { holder, pressure },
    }
}

/// Whether a scan chooses what the move says, for the same score and over the same nodes.
fn is_of(looked: &Looked, decided: &Move) -> bool {
    looked.choice.is_some_and(|choice| {
        Some(choice.node) == candidate(decided.action)
            && choice.score == decided.score
            && choice.runner_up == decided.runner_up
            && choice.rejected == decided.rejected
    })
}

/// The node that a move is decided for.
fn candidate(action: Action) -> Option<Node> {
    match action {
        Action::Copy { to, .. } | Action::Lead { to, .. } => Some(to),
        Action::DrainReads { from } => Some(from),
    }
}

fn verdicts(looked: Looked, decided: &Move, scored: bool) -> Vec<(Node, Verdict)> {
    let chosen = candidate(decided.action);
    let runner_up = decided.runner_up.map(|(node, _)| node);
    let mut nodes: Vec<(Node, Verdict)> = looked
        .nodes
        .into_iter()
        .filter(|(node, _)| Some(*node) != chosen)
        .map(|(node, is)| match is {
            Ok(_) if Some(node) == runner_up => {
                (node, Verdict::Allowed { score: decided.runner_up.map(|(_, score)| score) })
            }
            Ok(score) => (node, Verdict::Allowed { score: scored.then_some(score) }),
            Err(constraint) => (node, Verdict::Rejected(constraint)),
        })
        .chain(chosen.map(|node| (node, Verdict::Chosen { score: decided.score })))
        .collect();
    let order = |(node, verdict): &(Node, Verdict)| match verdict {
        Verdict::Chosen { .. } => (0, 0.0),
        Verdict::Allowed { .. } if Some(*node) == runner_up => (1, 0.0),
        Verdict::Allowed { score } => (2, score.unwrap_or(0.0)),
        Verdict::Rejected(_) => (3, 0.0),
    };
    nodes.sort_by(|a, b| {
        let (x, y) = (order(a), order(b));
        x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)).then(a.0.cmp(&b.0))
    });
    nodes
}

/// Stands for the outlook where the caller has none.
fn nothing_known() -> Outlook<'static> {
    Outlook {
        loss_per_hour: &|_, _| 0.0,
        exposure_per_hour: &|_, _| 0.0,
        cost_of_copy: &|_, _| 0.0,
        cost_of_shift: &|_| 0.0,
        hazard_over_class: None,
        shifts: Shifts::None,
    }
}
