//! A step without the names that the one before had.

use super::UnpackError;
use crate::input::{NodeStep, PartitionStep, Step, StepLength};
use isotherm_model::entropy::{Measured, NodeEntropy};
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};
use isotherm_risk::gray::Latency;
use serde::{Deserialize, Serialize};

/// System and name.
type Name = (String, String);

/// Names of the step before, in their order; `None` before the first.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: Option<Vec<NodeId>>,
    partitions: Option<Vec<PartitionId>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PackedStep {
    end_ms: u64,
    length: StepLength,
    /// `None` where all are as in the step before.
    node_names: Option<Vec<Name>>,
    partition_names: Option<Vec<Name>>,
    nodes: Vec<(Option<u64>, Option<Latency>)>,
    partitions: Vec<PackedPartition>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PackedPartition {
    reads: Option<u64>,
    served: Vec<(u32, Option<u64>)>,
    entropy: PackedEntropy,
    offset_h: Option<f64>,
    peer_h: Option<f64>,
}

/// [`NodeEntropy`], field by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum PackedEntropy {
    Known { bits: f64, normalised: f64, effective: f64, places: usize, accesses: u64 },
    Unknown { silent: Vec<String> },
    NotApplicable { eligible: usize },
    Insufficient { have: u64, need: u64 },
}

impl PackedStep {
    pub(super) fn pack(step: &Step, names: &mut Names) -> Self {
        let node_names = fresh(&mut names.nodes, step.nodes.iter().map(|one| &one.node), |node| {
            (node.system().to_string(), node.name().to_owned())
        });
        let partition_names =
            fresh(&mut names.partitions, step.partitions.iter().map(|one| &one.partition), |partition| {
                (partition.system().to_string(), partition.name().to_owned())
            });
        let partition = |one: &PartitionStep| PackedPartition {
            reads: one.reads,
            served: one.served.clone(),
            entropy: PackedEntropy::pack(&one.entropy),
            offset_h: one.offset_h,
            peer_h: one.peer_h,
        };
        Self {
            end_ms: step.end.as_ms(),
            length: step.length,
            node_names,
            partition_names,
            nodes: step.nodes.iter().map(|one| (one.reads, one.latency)).collect(),
            partitions: step.partitions.iter().map(partition).collect(),
        }
    }

    pub(super) fn unpack(self, names: &mut Names, step_ms: u64) -> Result<Step, UnpackError> {
        if self.end_ms == 0 || !self.end_ms.is_multiple_of(self.length.ms(step_ms)) {
            let should = "be at a multiple of its length";
            return Err(UnpackError::Time { end_ms: self.end_ms, should });
        }
        if let Some(fresh) = self.node_names {
            names.nodes = Some(ids(fresh, NodeId::new)?);
        }
        if let Some(fresh) = self.partition_names {
            names.partitions = Some(ids(fresh, PartitionId::new)?);
        }
        let nodes = names.nodes.as_ref().ok_or(UnpackError::NothingBefore)?;
        let partitions = names.partitions.as_ref().ok_or(UnpackError::NothingBefore)?;
        same_length("nodes", self.nodes.len(), nodes.len())?;
        same_length("partitions", self.partitions.len(), partitions.len())?;
        let of_nodes = nodes.iter().zip(self.nodes).map(|(node, (reads, latency))| {
            for (what, value) in
                latency.iter().flat_map(|at| [("latency", at.median_ns), ("latency", at.p99_ns)])
            {
                number(node, what, value, f64::MAX)?;
            }
            Ok(NodeStep { node: node.clone(), reads, latency })
        });
        let of_nodes = of_nodes.collect::<Result<_, UnpackError>>()?;
        let unpacked = partitions.iter().zip(self.partitions);
        let unpacked = unpacked.map(|(partition, packed)| packed.unpack(partition, nodes.len()));
        Ok(Step {
            end: Timestamp::from_ms(self.end_ms),
            length: self.length,
            nodes: of_nodes,
            partitions: unpacked.collect::<Result<_, _>>()?,
        })
    }
}

impl PackedPartition {
    fn unpack(self, partition: &PartitionId, nodes: usize) -> Result<PartitionStep, UnpackError> {
        if let Some((position, _)) = self.served.iter().find(|(node, _)| *node as usize >= nodes) {
            return Err(UnpackError::Position {
                partition: partition.to_string(),
                position: *position,
                nodes,
            });
        }
        for (what, h) in [("offset entropy", self.offset_h), ("peer entropy", self.peer_h)] {
            number(partition, what, h.unwrap_or(0.0), 1.0)?;
        }
        Ok(PartitionStep {
            partition: partition.clone(),
            reads: self.reads,
            served: self.served,
            entropy: self.entropy.unpack(partition)?,
            offset_h: self.offset_h,
            peer_h: self.peer_h,
        })
    }
}

impl PackedEntropy {
    fn pack(entropy: &NodeEntropy) -> Self {
        match entropy {
            NodeEntropy::Known(Measured { bits, normalised, effective, places, accesses }) => Self::Known {
                bits: *bits,
                normalised: *normalised,
                effective: *effective,
                places: *places,
                accesses: *accesses,
            },
            NodeEntropy::Unknown { silent } => Self::Unknown { silent: silent.clone() },
            NodeEntropy::NotApplicable { eligible } => Self::NotApplicable { eligible: *eligible },
            NodeEntropy::Insufficient { have, need } => Self::Insufficient { have: *have, need: *need },
        }
    }

    fn unpack(self, partition: &PartitionId) -> Result<NodeEntropy, UnpackError> {
        Ok(match self {
            Self::Known { bits, normalised, effective, places, accesses } => {
                // A measured one may be above its bound by its last digit.
                number(partition, "entropy", normalised, 1.0 + 1e-9)?;
                number(partition, "entropy in bits", bits, f64::MAX)?;
                number(partition, "effective nodes", effective, f64::MAX)?;
                NodeEntropy::Known(Measured { bits, normalised, effective, places, accesses })
            }
            Self::Unknown { silent } => NodeEntropy::Unknown { silent },
            Self::NotApplicable { eligible } => NodeEntropy::NotApplicable { eligible },
            Self::Insufficient { have, need } => NodeEntropy::Insufficient { have, need },
        })
    }
}

/// The names, if they are others than before; they are those before from then on.
fn fresh<'a, I: Clone + PartialEq + 'a>(
    before: &mut Option<Vec<I>>,
    now: impl ExactSizeIterator<Item = &'a I> + Clone,
    name: impl Fn(&I) -> Name,
) -> Option<Vec<Name>> {
    if before.as_ref().is_some_and(|before| before.len() == now.len() && before.iter().eq(now.clone())) {
        return None;
    }
    *before = Some(now.clone().cloned().collect());
    Some(now.map(name).collect())
}

fn ids<I: Ord + ToString, E: Into<UnpackError>>(
    names: Vec<Name>,
    id: impl Fn(SystemId, String) -> Result<I, E>,
) -> Result<Vec<I>, UnpackError> {
    let mut ids: Vec<I> = Vec::with_capacity(names.len());
    for (system, name) in names {
        let next = id(SystemId::new(system)?, name).map_err(Into::into)?;
        if ids.last().is_some_and(|last| *last >= next) {
            return Err(UnpackError::Order { name: next.to_string() });
        }
        ids.push(next);
    }
    Ok(ids)
}

fn same_length(what: &'static str, have: usize, need: usize) -> Result<(), UnpackError> {
    if have == need { Ok(()) } else { Err(UnpackError::Length { what, have, need }) }
}

fn number(name: &impl ToString, what: &'static str, value: f64, most: f64) -> Result<(), UnpackError> {
    if (0.0..=most).contains(&value) {
        Ok(())
    } else {
        Err(UnpackError::Number { name: name.to_string(), what, value })
    }
}
