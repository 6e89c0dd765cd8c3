//! Frames as they are written down: what is as it was in the frame before is left out.
//!
//! Names, and who holds what, hardly ever change, and are most of a frame. So [`Packer`] and [`Unpacker`] each remember
//! the last ones, and a [`Packed`] frame can only be understood after those before it. What comes out is what went in,
//! to the bit; what nobody could have packed is refused by name, as the cycle takes positions for granted.

mod step;

use crate::cluster::{Cluster, ClusterError, DomainFacts, NodeFacts, PartitionFacts};
use crate::frame::{Frame, Incident, Purpose};
use crate::input::{Step, StepLength};
use isotherm_model::{InvalidName, Timestamp};
use serde::{Deserialize, Serialize};
use step::{Names, PackedStep};
use thiserror::Error;

/// A frame as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    gaps: u64,
    purpose: Purpose,
    incidents: Vec<Incident>,
    longer: Vec<PackedStep>,
    minute: PackedStep,
    revision: u64,
    /// Hazards change with every minute, and nodes are few; `None` where all is as before, here and below.
    nodes: Option<Vec<NodeFacts>>,
    domains: Option<Vec<DomainFacts>>,
    partitions: Option<Vec<PartitionFacts>>,
}

/// Why a frame cannot be understood.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum UnpackError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The cluster.
    #[error("its cluster cannot be")]
    Cluster(#[from] ClusterError),
    /// It is the first and leaves out what should be as before.
    #[error("it leaves out what no frame before it has said")]
    NothingBefore,
    /// Names that are not in order, or twice.
    #[error("{name} is not in the order of names")]
    Order {
        /// The name.
        name: String,
    },
    /// Two lists that belong together.
    #[error("it has {have} {what} for {need} names")]
    Length {
        /// `nodes` or `partitions`.
        what: &'static str,
        /// Entries.
        have: usize,
        /// Names.
        need: usize,
    },
    /// A node that is none of the step.
    #[error("{partition} is served by node number {position}, of {nodes}")]
    Position {
        /// Whose.
        partition: String,
        /// The position.
        position: u32,
        /// Nodes of the step.
        nodes: usize,
    },
    /// An entropy or a latency that is no number in its range.
    #[error("{name}: {what} is {value}")]
    Number {
        /// Whose.
        name: String,
        /// Which.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// It is not after the frame before, or a step does not end with its minute.
    #[error("a step ends at {end_ms} ms, and should {should}")]
    Time {
        /// Its end.
        end_ms: u64,
        /// What it should be.
        should: &'static str,
    },
}

/// Packs frames, one after the other.
#[derive(Debug, Default)]
pub struct Packer {
    names: Names,
    cluster: Option<Cluster>,
}

impl Packer {
    /// Packs the frame that follows the one packed last.
    pub fn pack(&mut self, frame: &Frame) -> Packed {
        let before = self.cluster.as_ref();
        let packed = Packed {
            gaps: frame.gaps,
            purpose: frame.purpose,
            incidents: frame.incidents.clone(),
            longer: frame.longer.iter().map(|step| PackedStep::pack(step, &mut self.names)).collect(),
            minute: PackedStep::pack(&frame.minute, &mut self.names),
            revision: frame.cluster.revision,
            nodes: changed(before.map(|cluster| &cluster.nodes), &frame.cluster.nodes),
            domains: changed(before.map(|cluster| &cluster.domains), &frame.cluster.domains),
            partitions: changed(before.map(|cluster| &cluster.partitions), &frame.cluster.partitions),
        };
        self.cluster = Some(frame.cluster.clone());
        packed
    }
}

fn changed<T: Clone + PartialEq>(before: Option<&Vec<T>>, now: &Vec<T>) -> Option<Vec<T>> {
    (before != Some(now)).then(|| now.clone())
}

/// Unpacks frames, one after the other.
#[derive(Debug, Default)]
pub struct Unpacker {
    names: Names,
    cluster: Option<Cluster>,
    until: Option<Timestamp>,
}

impl Unpacker {
    /// Unpacks the frame that follows the one unpacked last. `step_ms` is the length of a minute.
    ///
    /// # Errors
    /// The first thing that cannot be; nothing may be unpacked after that.
    pub fn unpack(&mut self, packed: Packed, step_ms: u64) -> Result<Frame, UnpackError> {
        let longer: Vec<Step> = packed
            .longer
            .into_iter()
            .map(|step| step.unpack(&mut self.names, step_ms))
            .collect::<Result<_, _>>()?;
        let minute = packed.minute.unpack(&mut self.names, step_ms)?;
        let end = minute.end;
        let wrong = |should| UnpackError::Time { end_ms: end.as_ms(), should };
        if minute.length != StepLength::Minute {
            return Err(wrong("be the end of a minute"));
        }
        if self.until.is_some_and(|until| end <= until) {
            return Err(wrong("be after the one before it"));
        }
        if longer.iter().any(|step| step.end != end || step.length == StepLength::Minute) {
            return Err(wrong("be that of the longer steps beside it"));
        }
        self.until = Some(end);
        let before = self.cluster.take();
        let cluster = match (before, packed.nodes, packed.domains, packed.partitions) {
            (Some(before), nodes, domains, partitions) => Cluster {
                revision: packed.revision,
                nodes: nodes.unwrap_or(before.nodes),
                domains: domains.unwrap_or(before.domains),
                partitions: partitions.unwrap_or(before.partitions),
            },
            (None, Some(nodes), Some(domains), Some(partitions)) => {
                Cluster { revision: packed.revision, nodes, domains, partitions }
            }
            (None, ..) => return Err(UnpackError::NothingBefore),
        };
        cluster.check()?;
        self.cluster = Some(cluster.clone());
        let (gaps, incidents, purpose) = (packed.gaps, packed.incidents, packed.purpose);
        Ok(Frame { gaps, incidents, longer, minute, cluster, purpose })
    }
}

#[cfg(test)]
mod tests;
