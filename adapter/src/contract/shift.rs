//! Moving reads, as it is asked for.

use super::call::request_id;
use super::{Malformed, malformed};
use crate::store::Shift;
use isotherm_migration::{Epoch, Proposal, Term};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::adapter::v1 as wire;
use wire::shift_reads_request::Shift as Raw;

/// A shift of reads, as an adapter hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedShift {
    /// The name of the request.
    pub request_id: String,
    /// The controller's.
    pub term: Term,
    /// Which partition.
    pub partition: PartitionId,
    /// Under which it must be served, and would be.
    pub epochs: Proposal,
    /// What is to be done.
    pub shift: Shift,
}

impl AskedShift {
    /// Checks a request for `system`.
    pub fn from_wire(system: &SystemId, raw: wire::ShiftReadsRequest) -> Result<Self, Malformed> {
        let node = |field: &str, raw: String| {
            NodeId::new(system.clone(), raw).map_err(|error| malformed(field, error))
        };
        if raw.new_epoch <= raw.expected_epoch {
            let what = format!("{} is not above expected_epoch {}", raw.new_epoch, raw.expected_epoch);
            return Err(malformed("new_epoch", what));
        }
        Ok(Self {
            request_id: request_id("request_id", raw.request_id)?,
            term: Term(raw.term),
            partition: PartitionId::new(system.clone(), raw.partition)
                .map_err(|error| malformed("partition", error))?,
            epochs: Proposal { expected: Epoch(raw.expected_epoch), new: Epoch(raw.new_epoch) },
            shift: match raw.shift {
                Some(Raw::Leader(raw)) => Shift::Leader(node("leader", raw)?),
                Some(Raw::Drain(raw)) => Shift::Drain(node("drain", raw)?),
                Some(Raw::Restore(raw)) => Shift::Restore(node("restore", raw)?),
                None => return Err(malformed("shift", "absent: a leader, or a node to drain or restore")),
            },
        })
    }
}
