//! The order of doing: when each copy of a plan starts, from whom, how fast, and what it waits for.
//!
//! List scheduling by events: whenever something ends, what waits for it is tried in the order of urgency, and starts
//! if it can. That keeps the bottlenecks busy (for one kind of bottleneck it ends within twice the least time), needs
//! no clock but the copies' own ends, and is the same for the same input. Urgency: repair before moves by choice,
//! fewest live replicas first, then highest risk times impact (unknown last), then larger first, so that no long copy
//! is left for the end.
//!
//! A copy's rate is fixed when it starts, to what its way has left; it starts only if that is at least half of the
//! fastest way there is for it, so that no copy crawls through a remnant.
//!
//! It never decides what is moved or where to. It never lets a partition have fewer live replicas than it has: a copy
//! adds before the old one retires, one at a time, in the plan's order for each partition.
//!
//! # Waves
//! A wave is one more than the highest wave of what a copy takes something over from: the copy slot of its source and
//! of its target, the room on its target where that was not there from the start, and its partition's earlier move.
//! So waves can also be executed one after the other without looking at times: within a wave, shifts first, then all
//! copies at once and in any order, no node takes part in more than `node_copies`, all have room, and no partition is
//! copied twice. Byte rates make copies wait in time and not in waves: who executes by waves shares them among the
//! copies that run.

mod jobs;
mod least;
mod network;
mod run;
#[cfg(test)]
mod tests;

use crate::ids::Node;
use crate::plan::{Plan, PlanHash};
use crate::snapshot::Snapshot;
use serde::Serialize;
use thiserror::Error;

/// The order of doing a plan's moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The plan.
    pub plan: PlanHash,
    /// What is done, in the order of starting.
    pub steps: Vec<Step>,
    /// What cannot be done, by position of the move.
    pub stuck: Vec<Stuck>,
    /// Waves there are.
    pub waves: u32,
    /// How long it takes; absent where the bandwidth of some copy's way is not known, and then no step has times.
    pub times: Option<Times>,
}

/// How long a schedule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Until the last copy has ended, in milliseconds.
    pub makespan_ms: u64,
    /// What no schedule of the same moves can take less than, in milliseconds.
    pub bound_ms: u64,
}

/// A move, done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The move, by its position in the plan.
    pub position: u32,
    /// See [the waves](self#waves).
    pub wave: u32,
    /// How.
    pub doing: Doing,
}

/// How a move is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Doing {
    /// A change of leader or a drain of reads: no bytes, done at once.
    Shift {
        /// When, in milliseconds from the start; absent where times are not known.
        at_ms: Option<u64>,
    },
    /// A copy.
    Copy {
        /// Who it is copied from: a live holder.
        source: Node,
        /// When; absent where times are not known.
        span: Option<Span>,
    },
}

/// When a copy runs, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Its start, in milliseconds from the start of the schedule.
    pub start_ms: u64,
    /// Its end: after the start by the bytes over the rate, rounded up, and at least 1 ms.
    pub end_ms: u64,
    /// Its rate.
    pub bytes_per_s: u64,
}

/// A move that cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// The move, by its position in the plan.
    pub position: u32,
    /// Why.
    pub cause: StuckCause,
}

/// Why a move cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Error)]
pub enum StuckCause {
    /// The plan was made from another state.
    #[error("the plan is for another revision of the state")]
    Stale,
    /// The move does not fit the assignment that the moves before it leave.
    #[error("it does not fit the assignment")]
    DoesNotFit,
    /// A copy of the partition is under way.
    #[error("a copy of the partition is under way")]
    InFlight,
    /// An earlier move of the same partition is stuck.
    #[error("move {position} of the same partition is stuck")]
    After {
        /// The earlier move.
        position: u32,
    },
    /// No live holder to copy from.
    #[error("no live holder to copy from")]
    NoSource,
    /// Not enough room, whatever is done first.
    #[error("needs {needs_bytes} bytes, and node {} has room for {room_bytes}", node.0)]
    Room {
        /// The target.
        node: Node,
        /// What it needs.
        needs_bytes: u64,
        /// What the target has after all that could be done.
        room_bytes: u64,
    },
    /// Copies that are under way take all that the node may take part in at once.
    #[error("node {} is taken up by copies that are under way", node.0)]
    Busy {
        /// The node.
        node: Node,
    },
}

/// Orders the moves of a plan.
///
/// Copies under way keep their slots and their share of the budget (one over `node_copies`) throughout, and the bytes
/// they bring are counted from the start: when they end is not known.
#[must_use]
pub fn schedule(snapshot: &Snapshot, plan: &Plan) -> Schedule {
    if plan.parent != snapshot.revision() {
        let stuck = (0..plan.moves.len())
            .map(|position| Stuck { position: position as u32, cause: StuckCause::Stale })
            .collect();
        return Schedule { plan: plan.hash, steps: Vec::new(), stuck, waves: 0, times: None };
    }
    let network = network::Network::new(snapshot);
    let jobs = jobs::Jobs::new(snapshot, plan, &network);
    run::Run::new(snapshot, &jobs, &network).finish(plan.hash)
}
