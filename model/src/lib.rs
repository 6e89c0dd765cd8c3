//! The pure words of Isotherm, shared by the agent and the analyzer.
//!
//! Ids, windows, the offset histogram with its exact merging, what a node counted in a window, and the
//! scalar entropy estimators. Nothing here reads a clock, a file or a socket, and nothing is random.

pub mod entropy;
mod histogram;
mod id;
mod latency;
mod time;
mod window;

pub use histogram::{BUCKETS, MAX_SHIFT, MIN_SHIFT, OffsetHistogram, shift_for};
pub use id::{AgentId, BootId, HOST_SYSTEM, InvalidName, MAX_NAME_LEN, NodeId, PartitionId, Seq, SystemId};
pub use latency::{LATENCY_BUCKETS, LatencyHistogram};
pub use time::{Interval, Timestamp};
pub use window::{
    Completeness, Counts, Layer, LostReason, NodeWindow, NotConserved, Operation, OtherReason, Peer, Row,
    Subject, UnattributedReason, Window,
};
