//! The gRPC contracts of Isotherm, and their conversions to the model.
//!
//! A message is parsed once, here, into model types whose constructors cannot be bypassed; past this crate
//! nobody looks at a raw message of telemetry again. Malformed input is refused with the path of the field.

mod cluster;
mod compress;
mod locators;
mod parse;
mod render;
pub mod tls;

pub use cluster::{
    Capabilities, DeviceRange, Fence, Health, KeyRange, Locator, NodeFacts, PartitionFacts, Relation, SLOTS,
    ShiftReads, SlotRange, Switch, TopologyChanges, TopologyMessage, TopologyPart, VerifyMethod,
    capabilities_from_wire, locator_to_wire, topology_from_wire,
};
pub use compress::{compressed, unpacked, unpacked_bytes};
pub use locators::{
    Locators, MAX_TARGETS, Place, Watching, locators_from_wire, place_to_wire, watching_from_wire,
    watching_to_wire,
};
pub use parse::{Malformed, gap_from_wire, hello_from_wire, rows_in_payload, window_set_from_payload};
pub use render::{gap_to_wire, hello_to_wire, window_set_to_payload};

use isotherm_model::{AgentId, BootId, Interval, NodeId, Seq};

/// Generated code: agents to analyzer.
pub mod telemetry {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("isotherm.telemetry.v1");
    }
}

/// Generated code: people and tools to analyzer.
pub mod control {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("isotherm.control.v1");
    }
}

/// Generated code: analyzer to adapters.
pub mod adapter {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("isotherm.adapter.v1");
    }
}

/// All contracts as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The largest payload of a batch, in bytes. Ten thousand partitions, both directions, full histograms,
/// are about 5 MB.
pub const MAX_PAYLOAD_BYTES: usize = 8 << 20;

/// The most rows of a payload, all kinds together: [`rows_in_payload`]. Ten thousand partitions in both directions
/// are a tenth of it. The size alone bounds little: a row without offsets is some 15 bytes on the wire and about
/// 1 KiB in memory.
pub const MAX_ROWS: usize = 1 << 18;

/// The largest message either side decodes: room beyond [`MAX_PAYLOAD_BYTES`], so that a payload that is
/// too large is refused by name instead of ending the stream.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How an agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The agent.
    pub agent: AgentId,
    /// This run of it.
    pub boot: BootId,
    /// Its version, for people.
    pub version: String,
    /// Length of its windows, never 0.
    pub window_ms: u32,
    /// The nodes that it watches.
    pub targets: Vec<NodeId>,
}

/// Batches that will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first missing batch.
    pub first: Seq,
    /// The last missing batch, not before the first.
    pub last: Seq,
    /// The time that is missing.
    pub time: Interval,
    /// Why.
    pub reason: GapReason,
}

/// Why batches will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Too many batches waited for an acknowledgement.
    QueueFull,
    /// The analyzer refused the batch for good.
    Refused,
    /// The analyzer had acknowledged them, and has them no more: its data is gone, or older than it was.
    AnalyzerLost,
    /// They were damaged where the agent kept them.
    Damaged,
}

impl GapReason {
    /// The word used in tables and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::AnalyzerLost => "analyzer_lost",
            Self::Damaged => "damaged",
        }
    }
}
