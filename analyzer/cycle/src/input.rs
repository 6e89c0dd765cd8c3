//! What a cycle is made from: counts of one step, and the cluster as it is known.
//!
//! Both are immutable once made, and sorted by name, so that nothing depends on who assembled them in which order.

use isotherm_model::entropy::NodeEntropy;
use isotherm_model::{NodeId, PartitionId, Timestamp};
use isotherm_risk::gray::Latency;
use serde::{Deserialize, Serialize};

/// The lengths of steps that series have, in units of the shortest: a minute, unless the settings say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StepLength {
    /// A minute: every cycle.
    Minute,
    /// A quarter of an hour.
    Quarter,
    /// An hour.
    Hour,
}

impl StepLength {
    /// All, short ones first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Quarter, Self::Hour];

    /// How many of the shortest it is.
    #[must_use]
    pub fn steps(self) -> u64 {
        match self {
            Self::Minute => 1,
            Self::Quarter => 15,
            Self::Hour => 60,
        }
    }

    /// In milliseconds, if the shortest has so many.
    #[must_use]
    pub fn ms(self, step_ms: u64) -> u64 {
        self.steps() * step_ms
    }
}

/// What was counted in one step, of all partitions and nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The first moment after it; a multiple of its length.
    pub end: Timestamp,
    /// How long it was.
    pub length: StepLength,
    /// By name.
    pub nodes: Vec<NodeStep>,
    /// By name.
    pub partitions: Vec<PartitionStep>,
}

/// What a node did in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStep {
    /// Which.
    pub node: NodeId,
    /// Reads it served; `None` if it was not watched all the time.
    pub reads: Option<u64>,
    /// How long its reads took; `None` where nobody measured it, or with too few.
    pub latency: Option<Latency>,
}

/// What was done with a partition in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionStep {
    /// Which.
    pub partition: PartitionId,
    /// Client reads; `None` where nobody watched.
    pub reads: Option<u64>,
    /// By each eligible node, as a position in [`Step::nodes`]; `None` if that node was not watched all the time.
    pub served: Vec<(u32, Option<u64>)>,
    /// Entropy over the eligible nodes.
    pub entropy: NodeEntropy,
    /// Entropy over offsets, over its largest value; `None` if unknown.
    pub offset_h: Option<f64>,
    /// Entropy over peers, over its largest value; `None` if unknown.
    pub peer_h: Option<f64>,
}
