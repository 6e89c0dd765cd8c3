//! What happened in one closed step, for all partitions at once: what every cycle begins with.
//!
//! A question of [`Reader::entropy`] is about some partitions and much time; this one is about all partitions and
//! little time, every minute. So the answer is tables of plain numbers that refer to each other by place, and the
//! memory for it is proportional to partitions and their nodes, not to the windows that are read: polars merges
//! those batch by batch.
//!
//! A longer step is answered from its windows, or from the sums of shorter ones ([`RunningSteps`]), never from their
//! entropies. That is exact, and knows more: a window that reaches over a border between two minutes makes both
//! unknown, and not their hour.
//!
//! Reads are those of clients, as far as they can be told. In the network layer what was exchanged with a node of
//! the same system is replication or copying and is kept out; peers that are not told apart stay in, and are
//! counted. In the logical and the device layer a read has no sender: a store that serves its replicas from a
//! process of its own is told apart by its role, that is by being another node; anything else stays in. Partitions
//! that are being moved are marked, because the mover's reads are among theirs.

mod load;
mod names;
mod offsets;
mod part;
mod running;
mod scan;
mod served;

use crate::catalog::{self, NodeReport};
use crate::entropy::{EligibleSource, PeerEntropy, Subsets};
use crate::error::QueryError;
use crate::read::Reader;
use isotherm_model::entropy::{MIN_ACCESSES, Measured, NodeEntropy};
use isotherm_model::{Counts, Interval, LatencyHistogram, Layer, NodeId, PartitionId, SystemId, Timestamp};
use part::Part;
pub use running::RunningSteps;
use scan::Scan;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::Range;

/// A question about one step.
#[derive(Debug, Clone, Copy)]
pub struct StepQuery<'a> {
    /// Length of the step in milliseconds.
    pub length_ms: NonZeroU64,
    /// Its number: it starts so many lengths after the epoch. It should have ended, and its windows have come.
    pub number: u64,
    /// Whose reads count, by system; those of the logical layer where a system is absent.
    pub layers: &'a BTreeMap<SystemId, Layer>,
    /// Who may serve each partition in this step, by the topology. A node that was added in the middle of the step
    /// should not be here yet.
    pub subsets: &'a Subsets,
    /// Who was seen to serve partitions that the topology does not name, earlier. Without this a node that falls
    /// silent is no longer seen, and its partitions seem to lean on the others alone.
    pub seen: &'a Subsets,
    /// Who of them serves nothing now.
    pub excluded: &'a Excluded,
}

/// What the caller knows about the step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Nodes that are draining, down, or were there for a part of the step only: not eligible for any partition.
    pub nodes: BTreeSet<NodeId>,
    /// Nodes that are not eligible for one partition, such as the target of its move.
    pub of: BTreeMap<PartitionId, BTreeSet<NodeId>>,
    /// Partitions that are being moved or copied.
    pub moving: BTreeSet<PartitionId>,
}

/// What happened in a step. Tables are sorted by id.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCounts {
    /// The step.
    pub time: Interval,
    /// Nodes that the topology names, that were seen before, or that did something.
    pub nodes: Vec<NodeCounts>,
    /// Partitions, likewise.
    pub partitions: Vec<PartitionCounts>,
    /// Reads of every partition by every node that is eligible for it; a partition's are side by side.
    pub shares: Vec<NodeReads>,
    /// Systems of these nodes and partitions.
    pub systems: Vec<SystemLoad>,
}

/// How much of a step a node was watched, in the layer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// All of it.
    Whole,
    /// Some of it, or all of it in windows that reach over its borders.
    Part,
    /// None of it.
    No,
}

/// What a node did in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeCounts {
    /// Who.
    pub node: NodeId,
    /// In which layer.
    pub layer: Layer,
    /// How much of the step is known.
    pub watched: Watched,
    /// All reads, of partitions or not, of clients or not; `None` when the layer was watched in no part of the step.
    pub reads: Option<Counts>,
    /// All writes, likewise.
    pub writes: Option<Counts>,
    /// Reads and writes among them that were exchanged with nodes of the same system.
    pub kept_out: KeptOut,
    /// How long reads of the layer took; `None` when nobody measured it.
    pub latency: Option<LatencyHistogram>,
    /// How long reads of the device layer took, whatever layer counts; `None` likewise.
    pub device_latency: Option<LatencyHistogram>,
    /// Processes at the end of its last window that starts in the step; `None` without one.
    pub processes: Option<u32>,
}

/// What happened to a partition in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionCounts {
    /// Which.
    pub partition: PartitionId,
    /// Who says which nodes are eligible.
    pub source: EligibleSource,
    /// Whether it is being moved: the mover's reads may be among its own.
    pub moving: bool,
    /// Reads of clients from all nodes, eligible or not; `None` when the layer was watched at none of the eligible
    /// ones and there are none.
    pub reads: Option<Counts>,
    /// Writes of clients, likewise.
    pub writes: Option<Counts>,
    /// Operations that are not among them, because they were exchanged with nodes of the same system.
    pub kept_out: KeptOut,
    /// Reads among them that came from peers that are not told apart, nodes of the system perhaps. Network layer.
    pub not_told_apart: u64,
    /// Entropy of the reads over the eligible nodes.
    pub entropy: ShareEntropy,
    /// Entropy of the reads over their offsets; `None` below 30 reads with an offset, in the network layer, and
    /// where an eligible node was not watched for all of the step.
    pub offset: Option<OffsetEntropy>,
    /// Entropy of what was received over the clients that sent it; `None` in other layers, and likewise.
    pub peer: Option<PeerEntropy>,
    /// Its places in [`StepCounts::shares`].
    shares: Range<u32>,
}

/// Operations that are no client's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptOut {
    /// Operations that received.
    pub reads: u64,
    /// Operations that sent.
    pub writes: u64,
}

/// What one eligible node served of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeReads {
    /// Its place in [`StepCounts::nodes`].
    pub node: u32,
    /// Reads of clients; `None` when it was not watched for all of the step.
    pub reads: Option<u64>,
}

/// Entropy over nodes, or why there is none: [`NodeEntropy`] without a list of names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ShareEntropy {
    /// Measured.
    Known(Measured),
    /// Some eligible node was not watched for all of the step; its share is `None`.
    Unknown,
    /// Fewer than two nodes are eligible.
    NotApplicable,
    /// Too few reads; none of them is one of these.
    Insufficient {
        /// How many there are.
        have: u64,
    },
}

/// Entropy over the 64 offset buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OffsetEntropy {
    /// Grassberger, `0 ..= 6`.
    pub bits: f64,
    /// Reads behind it.
    pub accesses: u64,
}

/// How a system's reads are spread.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemLoad {
    /// Which system.
    pub system: SystemId,
    /// Over its nodes: those that are eligible for at least one partition, with all reads of clients (Miller-Madow).
    pub over_nodes: NodeEntropy,
    /// Over its partitions, by reads of clients (Grassberger: many places, some with few reads). Its `effective` is
    /// the number of partitions that the load is concentrated on.
    pub over_partitions: NodeEntropy,
}

impl StepQuery<'_> {
    /// The step.
    #[must_use]
    pub fn time(&self) -> Option<Interval> {
        let start = Timestamp::from_ms(self.number.checked_mul(self.length_ms.get())?);
        Interval::new(start, start.plus_ms(self.length_ms.get()))
    }

    fn layer(&self, system: &SystemId) -> Layer {
        self.layers.get(system).copied().unwrap_or(Layer::Logical)
    }
}

impl StepCounts {
    /// Of no step.
    fn none() -> Self {
        Self {
            time: Interval::new(Timestamp::from_ms(0), Timestamp::from_ms(1)).expect("0 is before 1"),
            nodes: Vec::new(),
            partitions: Vec::new(),
            shares: Vec::new(),
            systems: Vec::new(),
        }
    }

    /// What the eligible nodes served of a partition of this step, by name.
    #[must_use]
    pub fn shares_of(&self, partition: &PartitionCounts) -> &[NodeReads] {
        partition.places(&self.shares)
    }

    /// Entropy of a partition's reads over the eligible nodes, with the names of the silent ones.
    #[must_use]
    pub fn node_entropy(&self, partition: &PartitionCounts) -> NodeEntropy {
        let shares = self.shares_of(partition);
        match partition.entropy {
            ShareEntropy::Known(measured) => NodeEntropy::Known(measured),
            ShareEntropy::Unknown => {
                let silent = shares.iter().filter(|share| share.reads.is_none());
                let name = |share: &NodeReads| self.nodes[share.node as usize].node.name().to_owned();
                NodeEntropy::Unknown { silent: silent.map(name).collect() }
            }
            ShareEntropy::NotApplicable => NodeEntropy::NotApplicable { eligible: shares.len() },
            ShareEntropy::Insufficient { have } => NodeEntropy::Insufficient { have, need: MIN_ACCESSES },
        }
    }

    /// Where a partition is in the table.
    #[must_use]
    pub fn partition(&self, id: &PartitionId) -> Option<&PartitionCounts> {
        let at = self.partitions.binary_search_by(|counts| counts.partition.cmp(id)).ok()?;
        self.partitions.get(at)
    }
}

impl PartitionCounts {
    fn places<'a>(&self, shares: &'a [NodeReads]) -> &'a [NodeReads] {
        &shares[self.shares.start as usize..self.shares.end as usize]
    }

    fn has_silent(&self, shares: &[NodeReads]) -> bool {
        self.places(shares).iter().any(|share| share.reads.is_none())
    }
}

impl Reader {
    /// Everything that happened in one step, by system: those of the topology and those that reported.
    ///
    /// A step that nobody watched has partitions whose values are unknown; a partition that nobody read has zero
    /// reads and an insufficient entropy. An empty answer for a step that does not exist, at the end of time.
    pub fn steps(&self, query: &StepQuery<'_>) -> Result<StepCounts, QueryError> {
        let Some(time) = query.time() else { return Ok(StepCounts::none()) };
        let catalog = self.catalog()?;
        let reports = catalog::nodes(&catalog)?;
        let mut counts = StepCounts { time, ..StepCounts::none() };
        for system in systems_of(query, &reports) {
            let layer = query.layer(&system);
            let scan = Scan { reader: self, catalog: &catalog, system: &system, layer, time, after: None };
            served::add(&system, &Part::read(&scan, &reports)?, query, &mut counts)?;
        }
        Ok(counts)
    }
}

/// The systems with partitions: hosts and devices have none.
fn systems_of(query: &StepQuery<'_>, reports: &[NodeReport]) -> BTreeSet<SystemId> {
    let named = query.subsets.keys().chain(query.seen.keys()).map(PartitionId::system);
    let mut systems: BTreeSet<SystemId> = BTreeSet::new();
    // Keys are sorted by system: nearly always the last one again.
    for system in named {
        if systems.last() != Some(system) {
            systems.insert(system.clone());
        }
    }
    let nodes = reports.iter().map(|report| &report.node).filter(|node| !node.is_host());
    systems.extend(nodes.map(|node| node.system().clone()));
    systems
}

#[cfg(test)]
mod tests;
