//! What should be done and is not, and why: values that a caller can act on.

use crate::ids::{Level, Node, Partition};
use crate::plan::Rejected;
use serde::Serialize;
use thiserror::Error;

/// Why something that should be done is not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Error)]
pub enum Cause {
    /// No allowed node has room for it.
    #[error("needs {needs_bytes} bytes, and no node that may take it has more than {room_bytes} left")]
    Capacity {
        /// What it needs.
        needs_bytes: u64,
        /// The most that a node it may go to has left.
        room_bytes: u64,
    },
    /// Too few domains for the replicas.
    #[error(
        "{replicas} replicas of which at most {limit} may share a domain of level {}: {domains} such domains can \
         take one; the most that can be had is {feasible}", level.0
    )]
    Domains {
        /// Replicas wanted.
        replicas: u8,
        /// Most in one domain.
        limit: u8,
        /// The level.
        level: Level,
        /// Domains of that level with a node that may be a target.
        domains: u16,
        /// Replicas that are feasible.
        feasible: u8,
    },
    /// Too few nodes for the replicas.
    #[error("{replicas} replicas, and {nodes} nodes that can hold one")]
    Nodes {
        /// Replicas wanted.
        replicas: u8,
        /// Nodes that serve and take.
        nodes: u16,
    },
    /// Nodes could take it by domain and room, and other limits forbid them.
    #[error("no node may take it: {rejected:?}")]
    NoTarget {
        /// What forbids them.
        rejected: Rejected,
    },
    /// No live replica is left to copy from.
    #[error("no live replica is left to copy from")]
    NoSurvivor,
    /// A copy of it is under way.
    #[error("a copy of it is under way")]
    InFlight,
    /// It must not be moved.
    #[error("pinned")]
    Pinned,
    /// It moved not long ago.
    #[error("it moved not long ago; it may move again at {until_s} s")]
    CoolDown {
        /// When it may move again, seconds of the snapshot's clock.
        until_s: u32,
    },
    /// The plan's bytes or moves are used up.
    #[error("{bytes} bytes more than the plan's budget has left, {left_bytes}, or its moves are used up")]
    Budget {
        /// What it would copy.
        bytes: u64,
        /// What is left.
        left_bytes: u64,
    },
    /// It would gain too little for what it costs.
    #[error("moving will not help: {benefit} for {cost}")]
    NoGain {
        /// Avoided, at its lower bound.
        benefit: f64,
        /// Spent.
        cost: f64,
    },
    /// Elsewhere it would be exposed to hazards about as much.
    #[error("moving will not help: {left:.3} of the exposure to hazards would be left, more than {most}")]
    Exposure {
        /// Share that would be left.
        left: f64,
        /// Most that may be.
        most: f64,
    },
    /// So much is lost at once that it is taken for a failure of another kind.
    #[error(
        "{lost:.3} of the capacity was lost at once, more than {limit}: look first, then raise `breaker`"
    )]
    Breaker {
        /// Share lost.
        lost: f64,
        /// Share allowed.
        limit: f64,
    },
    /// A node could not be brought to its share.
    #[error("its pressure stays at {reached:.4} of the mean instead of {wanted:.4}")]
    Pressure {
        /// Where it stays.
        reached: f64,
        /// Where it should be.
        wanted: f64,
    },
}

/// Something that should be done and is not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Refusal {
    /// Of which partition; absent where it is the whole plan's or a node's.
    pub partition: Option<Partition>,
    /// Of which node.
    pub node: Option<Node>,
    /// Why.
    pub cause: Cause,
}
