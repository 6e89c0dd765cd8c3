//! Whether a plan and its schedule may be executed, judged from the snapshot alone.
//!
//! It trusts neither: domains, limits, sums, hashes and the state at every instant are computed again from raw facts,
//! by code that plans nothing, so that a fault of the planner or the scheduler is not repeated here. What it replays:
//! the moves one after the other in the plan's order ([`check`]); and, for a schedule, its waves one after the other,
//! and its times event by event, ends before starts ([`check_schedule`]).
//!
//! What is the plan's fault: what a move does. A partition that broke a limit before, and a node that was too full
//! before, are not held against a plan that leaves them as they are; but a replica must not come into a domain that
//! then has more than its limit, with all other holders counted but those that are down; nor to a node that then
//! holds more than its fill limit, with all that is on its way to it. What a copy replaces is counted until it ends.
//!
//! It never proposes anything, and is not told what a plan is good for: gains and scores are not its business.

mod facts;
mod moves;
mod replay;
mod sweep;
#[cfg(test)]
mod tests;

use crate::ids::{Domain, Level, Node};
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::snapshot::Snapshot;
use serde::Serialize;
use thiserror::Error;

/// Something that a plan or a schedule must not do, and where it does it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Violation {
    /// The move, by its position in the plan; absent where it is the whole's.
    pub position: Option<u32>,
    /// When.
    pub moment: Moment,
    /// What.
    pub fault: Fault,
}

/// When something is violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Moment {
    /// When the moves before it are done, in the plan's order.
    Decided,
    /// When the waves before it are done.
    Wave(u32),
    /// So many milliseconds after the start.
    Ms(u64),
}

/// Into a node, or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Direction {
    /// Into it.
    In,
    /// Out of it.
    Out,
}

/// What must not be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Fault {
    /// The plan is for another state. Nothing else of it is judged then.
    #[error("the plan is for revision {planned}, and the state is at {current}")]
    Stale { planned: u64, current: u64 },
    /// The plan's hash is not that of what it decides.
    #[error("the plan's hash is not that of its moves")]
    Hash,
    /// A partition that does not exist.
    #[error("there is no such partition")]
    NoSuchPartition,
    /// A node that does not exist.
    #[error("there is no node {}", node.0)]
    NoSuchNode { node: Node },
    /// A holder that is replaced, and does not hold the partition.
    #[error("node {} is to be replaced, and does not hold it", from.0)]
    FromDoesNotHold { from: Node },
    /// A new holder that holds the partition already.
    #[error("node {} holds it already", to.0)]
    HoldsAlready { to: Node },
    /// A replica is added to a row that is full.
    #[error("there is no empty slot for another replica")]
    NoSlot,
    /// The leader that is replaced is not the leader.
    #[error("node {} does not lead it", from.0)]
    DoesNotLead { from: Node },
    /// A leader to be, or a holder to drain, that does not hold the partition, or is down.
    #[error("node {} is no live holder of it", node.0)]
    NotALiveHolder { node: Node },
    /// A target that is down.
    #[error("the target, node {}, is down", to.0)]
    TargetDown { to: Node },
    /// A target that drains.
    #[error("the target, node {}, is draining", to.0)]
    TargetDraining { to: Node },
    /// A target that takes nothing more.
    #[error("the target, node {}, is cordoned", to.0)]
    TargetCordoned { to: Node },
    /// A target of no capacity.
    #[error("the target, node {}, has no capacity", to.0)]
    TargetNoCapacity { to: Node },
    /// A target above the risk limit.
    #[error("the target, node {}, has a risk of {risk}, above {limit}", to.0)]
    TargetRisk { to: Node, risk: f64, limit: f64 },
    /// A replica comes into a domain that then has too many.
    #[error("{replicas} replicas in domain {} of level {}; at most {limit} may be there", domain.0, level.0)]
    Domain { level: Level, domain: Domain, replicas: u8, limit: u8 },
    /// A replica comes to a node that then has too much.
    #[error("node {} would have {bytes} bytes and may have {limit_bytes}", node.0)]
    Capacity { node: Node, bytes: i128, limit_bytes: i128 },
    /// Fewer live replicas than before.
    #[error("{before} live replicas become {after}")]
    LosesReplica { before: u8, after: u8 },
    /// Fewer live replicas than before, and than a majority of those wanted.
    #[error("{live} live replicas are no majority of {wanted}")]
    BelowQuorum { live: u8, wanted: u8 },
    /// A pinned partition is moved without need.
    #[error("it is pinned, and moved without need")]
    Pinned,
    /// A partition that moved not long ago, or earlier in the plan, is moved by choice.
    #[error("it may be moved by choice from {until_s} s on")]
    CoolingDown { until_s: u32 },
    /// A partition goes back to the node it last left, within the window.
    #[error("it left node {} not long ago", to.0)]
    Returned { to: Node },
    /// Balancing and proactive moves copy more than they may.
    #[error("{bytes} bytes by choice, and at most {budget_bytes} may be copied")]
    ByteBudget { bytes: u128, budget_bytes: u64 },
    /// There are more balancing and proactive moves than there may be.
    #[error("{moves} moves by choice, and at most {budget} may be made")]
    MoveBudget { moves: u32, budget: u32 },
    /// The move is for another epoch of its partition.
    #[error("the move is for epoch {planned}, and the partition is at {current}")]
    Epoch { planned: u64, current: u64 },
    /// The move's bytes are not the partition's, or not 0 where none are copied.
    #[error("the move says {planned} bytes and needs {needed}")]
    Bytes { planned: u64, needed: u64 },
    /// A copy of the partition is under way.
    #[error("a copy of it is under way")]
    InFlight,
    /// The schedule is of another plan.
    #[error("the schedule is of another plan")]
    OtherPlan,
    /// A step of a move that is not in the plan.
    #[error("there is no such move in the plan")]
    NoSuchMove,
    /// A move is done, or said to be stuck, more than once.
    #[error("it is in the schedule more than once")]
    DoneTwice,
    /// A move is neither done nor said to be stuck.
    #[error("it is not in the schedule")]
    NotDone,
    /// A copy is scheduled as a shift, or a shift as a copy.
    #[error("it is scheduled as what it is not")]
    OtherKind,
    /// A step has times and the schedule none, or the other way around.
    #[error("some have times and others do not")]
    TimesOfSome,
    /// A copy's times and rate do not belong to its bytes.
    #[error("at its rate it would end at {ends_ms} ms")]
    Span { ends_ms: u64 },
    /// The makespan is not the end of the last step.
    #[error("the makespan is said to be {said_ms} ms, and is {is_ms} ms")]
    Makespan { said_ms: u64, is_ms: u64 },
    /// The lower bound is above the makespan.
    #[error("the bound, {bound_ms} ms, is above the makespan, {makespan_ms} ms")]
    Bound { bound_ms: u64, makespan_ms: u64 },
    /// The number of waves is not that of the steps.
    #[error("there are said to be {said} waves, and are {are}")]
    Waves { said: u32, are: u32 },
    /// The source of a copy is down.
    #[error("its source, node {}, is down", source_node.0)]
    SourceDown { source_node: Node },
    /// The source of a copy does not hold the partition.
    #[error("its source, node {}, does not hold it", source_node.0)]
    SourceDoesNotHold { source_node: Node },
    /// Two copies of one partition at once.
    #[error("move {other} copies the same partition at the same time")]
    Overlap { other: u32 },
    /// A node takes part in too many copies at once.
    #[error("node {} takes part in {copies} copies at once; at most {limit} are allowed", node.0)]
    NodeCopies { node: Node, copies: u32, limit: u16 },
    /// A node spends more than its budget.
    #[error("node {} spends {bytes_per_s} bytes/s ({direction:?}) of {limit}", node.0)]
    NodeRate { node: Node, direction: Direction, bytes_per_s: u128, limit: u64 },
    /// A link carries more than it can in one direction.
    #[error("link {link} carries {bytes_per_s} bytes/s in one direction; it can carry {limit}")]
    LinkRate { link: u32, bytes_per_s: u128, limit: u64 },
}

/// What a plan violates, in the order of its moves. Empty: it may be executed, in its own order.
///
/// Pins forbid copies for the reasons `Overfull`, `Underfull`, `Balance` and `Risk`; cool-downs and the ban on
/// returning, copies for `Balance` and `Risk`, what the plan itself moved before included; budgets bound all moves for
/// these two.
#[must_use]
pub fn check(snapshot: &Snapshot, plan: &Plan) -> Vec<Violation> {
    if let Some(stale) = stale(snapshot, plan) {
        return vec![stale];
    }
    moves::check(&facts::Facts::new(snapshot), plan)
}

/// What a schedule of a plan violates. Empty: it may be executed by its times, where it has any, and by its waves.
///
/// It says nothing of the plan; [`check`] does. Rates are those of the schedule's copies: what copies under way take
/// is not known; they count among a node's copies, and their bytes in its capacity.
#[must_use]
pub fn check_schedule(snapshot: &Snapshot, plan: &Plan, schedule: &Schedule) -> Vec<Violation> {
    if let Some(stale) = stale(snapshot, plan).filter(|_| !schedule.steps.is_empty()) {
        return vec![stale];
    }
    sweep::check(&facts::Facts::new(snapshot), plan, schedule)
}

fn stale(snapshot: &Snapshot, plan: &Plan) -> Option<Violation> {
    let (planned, current) = (plan.parent, snapshot.revision());
    (planned != current).then_some(Violation::whole(Fault::Stale { planned, current }))
}

impl Violation {
    fn whole(fault: Fault) -> Self {
        Self { position: None, moment: Moment::Decided, fault }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            None => write!(f, "the whole")?,
            Some(position) => write!(f, "move {position}")?,
        }
        match self.moment {
            Moment::Decided => {}
            Moment::Wave(wave) => write!(f, " in wave {wave}")?,
            Moment::Ms(ms) => write!(f, " at {ms} ms")?,
        }
        write!(f, ": {}", self.fault)
    }
}
