//! Where partitions should lie: from an immutable snapshot of a cluster to a checked, explained plan.
//!
//! Values in, values out: no clock, no file, no chance that is not seeded, no thread whose timing could reach a
//! plan. docs/placement.md has the definitions and their sources.
//!
//! The way of a plan: a [`Cluster`] is checked once and becomes a [`Snapshot`]; [`plan`] decides moves and refusals;
//! [`schedule`] orders them; [`check`] verifies both against the snapshot without any code of the planner; and
//! [`explain`] says of any move why, and of any partition that stays, why it stays.

pub mod bound;
mod check;
pub mod copyset;
mod diff;
pub mod explain;
pub mod hash;
mod ids;
mod partitions;
mod plan;
mod planner;
mod policy;
mod proactive;
mod refusal;
pub mod rendezvous;
#[cfg(test)]
mod sample;
mod schedule;
mod snapshot;
mod topology;

pub use check::{Direction, Fault, Moment, Violation, check, check_schedule};
pub use copyset::{Copyset, Copysets, Groups, Layout, LayoutError};
pub use diff::PlanDiff;
pub use ids::{Domain, Level, Node, Partition};
pub use partitions::{Assignment, Column, MOST_REPLICAS, Partitions, PeerShare};
pub use plan::{
    Action, ApplyError, Constraint, Gain, Move, Plan, PlanHash, Pressure, Reason, Rejected, Restore, Totals,
};
pub use planner::{Request, plan};
pub use policy::{Gate, Policy, PolicyError, Weights};
pub use proactive::{Drains, Outlook, Shifts};
pub use refusal::{Cause, Refusal};
pub use schedule::{Doing, Schedule, Span, Step, Stuck, StuckCause, Times, schedule};
pub use snapshot::{Cluster, InFlight, Snapshot, SnapshotError};
pub use topology::{DomainFacts, Link, MOST_NODES, NodeFacts, NodeState, Topology, TopologyError};
