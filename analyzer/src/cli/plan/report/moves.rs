//! Moves, summed and one by one.

use crate::cli::plan::cluster::Names;
use isotherm_placement::{Action, Gain, Move, Plan, Reason, Rejected};
use serde::Serialize;

/// All moves of a plan.
#[derive(Debug, Serialize)]
pub(in crate::cli::plan) struct Moved {
    pub(super) moves: usize,
    /// Those that copy bytes.
    pub(super) copies: usize,
    pub(super) bytes: u64,
    /// What had to be copied at least for what was asked.
    pub(super) least_bytes: u64,
    /// The one over the other; absent where nothing had to be.
    pub(super) over_least: Option<f64>,
    pub(super) by_reason: Vec<OfReason>,
    /// Nodes that take something, and the most that one of them takes of all bytes.
    pub(super) receivers: usize,
    pub(super) largest_receiver_share: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct OfReason {
    pub(super) reason: Reason,
    pub(super) moves: usize,
    pub(super) bytes: u64,
}

/// One move.
#[derive(Debug, Serialize)]
pub(in crate::cli::plan) struct Largest {
    pub(super) partition: String,
    pub(super) action: &'static str,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) bytes: u64,
    pub(super) reason: Reason,
    pub(super) gain: Gain,
    pub(super) score: f64,
    pub(super) runner_up: Option<RunnerUp>,
    /// Nodes that could not be chosen, by what rejected them first.
    pub(super) rejected: Rejected,
}

#[derive(Debug, Serialize)]
pub(super) struct RunnerUp {
    pub(super) node: String,
    pub(super) score: f64,
}

impl Moved {
    pub(super) fn of(plan: &Plan, names: &Names) -> Self {
        let mut received = vec![0u64; names.nodes.len()];
        let mut by_reason: Vec<OfReason> = Vec::new();
        let mut copies = 0;
        for decided in &plan.moves {
            if let Action::Copy { to, .. } = decided.action {
                received[to.at()] += decided.bytes;
                copies += 1;
            }
            let bytes = decided.bytes;
            match by_reason.iter_mut().find(|of| of.reason == decided.reason) {
                Some(of) => (of.moves, of.bytes) = (of.moves + 1, of.bytes + bytes),
                None => by_reason.push(OfReason { reason: decided.reason, moves: 1, bytes }),
            }
        }
        let (bytes, least_bytes) = (plan.totals.bytes, plan.totals.least_bytes);
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        Self {
            moves: plan.moves.len(),
            copies,
            bytes,
            least_bytes,
            over_least: share(bytes, least_bytes),
            by_reason,
            receivers: received.iter().filter(|bytes| **bytes > 0).count(),
            largest_receiver_share: share(received.iter().copied().max().unwrap_or(0), bytes),
        }
    }
}

/// The moves of the most bytes; among equals, those decided first.
pub(super) fn largest(plan: &Plan, names: &Names, most: usize) -> Vec<Largest> {
    let mut order: Vec<usize> = (0..plan.moves.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(plan.moves[*at].bytes));
    order.into_iter().take(most).map(|at| one(&plan.moves[at], names)).collect()
}

fn one(decided: &Move, names: &Names) -> Largest {
    let (action, from, to) = match decided.action {
        Action::Copy { from, to } => ("copy", from, Some(to)),
        Action::Lead { from, to } => ("lead", Some(from), Some(to)),
        Action::DrainReads { from } => ("drain reads", Some(from), None),
    };
    let name = |node| names.nodes.of(node).to_owned();
    Largest {
        partition: names.partitions.of(decided.partition),
        action,
        from: from.map(name),
        to: to.map(name),
        bytes: decided.bytes,
        reason: decided.reason,
        gain: decided.gain,
        score: decided.score,
        runner_up: decided.runner_up.map(|(node, score)| RunnerUp { node: name(node), score }),
        rejected: decided.rejected,
    }
}
