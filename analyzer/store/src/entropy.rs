//! Entropy of partitions' reads in one layer, by step. In the network layer a read is an operation that received.
//!
//! Counts are merged over a step first and entropy is taken of the sum; entropies are never averaged. A node
//! whose windows are missing makes the value unknown: its share could be anything, and least of all zero.

mod answer;

use crate::activity::{in_layer, node_ids, numbers, partition_ids, text};
use crate::catalog::{self, NodeReport};
use crate::coverage::{Coverage, clamped, whole_steps};
use crate::error::QueryError;
use crate::offset::{histograms, summed_by_layout};
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use answer::{Cell, System};
use isotherm_model::entropy::NodeEntropy;
use isotherm_model::{Interval, Layer, NodeId, Operation, PartitionId, SystemId, Timestamp};
use polars::prelude::{DataType, Expr, IntoSeries, LazyFrame, NamedFrom, Series, col, lit, when};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::Range;

/// The most partitions times steps that one question is answered for: about 25 MB on the wire.
pub const MAX_ANSWERS: u64 = 100_000;

/// The nodes that may serve each partition that the topology names.
pub type Subsets = BTreeMap<PartitionId, BTreeSet<NodeId>>;

/// How the time asked for is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Not at all.
    Whole,
    /// Into steps of so many milliseconds, aligned to the epoch. Windows are not cut: where one lies in two
    /// steps, both are unknown.
    EachMs(NonZeroU64),
}

/// Which partitions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionFilter {
    /// Those that the topology names and those that were seen.
    All,
    /// Those called `name` or `system/name`.
    Named(String),
}

/// A question about entropy.
#[derive(Debug, Clone)]
pub struct EntropyQuery<'a> {
    /// The time asked for. An open end is the last moment until which all reporting nodes were watched.
    pub span: Span,
    /// How it is cut.
    pub step: Step,
    /// Reads of which layer.
    pub layer: Layer,
    /// Of which partitions.
    pub filter: PartitionFilter,
    /// Only so many of them, those with the most reads.
    pub top: Option<NonZeroUsize>,
    /// Who may serve them.
    pub subsets: &'a Subsets,
    /// Steps that end after this moment are not answered for, and an open end is not after it.
    pub now: Timestamp,
}

/// The entropy of one partition in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionEntropy {
    /// Whose.
    pub partition: PartitionId,
    /// When.
    pub time: Interval,
    /// Reads by all nodes, eligible or not, in the windows that start in that time; `None` when the layer was
    /// watched at none of the eligible nodes.
    pub reads: Option<u64>,
    /// Writes by all nodes, likewise.
    pub writes: Option<u64>,
    /// Reads by each eligible node, by name.
    pub shares: Vec<Share>,
    /// Who said that they are eligible.
    pub source: EligibleSource,
    /// Entropy of the reads over the eligible nodes.
    pub node_entropy: NodeEntropy,
    /// Entropy of the reads over the 64 offset buckets (Grassberger), in bits; `None` when no offset is known.
    pub offset_bits: Option<f64>,
    /// Entropy of what was received over the peers that sent it; `None` in other layers, when an eligible node
    /// was not watched for all of the time, and below 30 operations.
    pub peer_entropy: Option<PeerEntropy>,
}

/// Entropy over the remote addresses of peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerEntropy {
    /// Grassberger, in bits. With peers that are not told apart it is a lower bound: their operations count as
    /// those of the busiest peer, because any other way of giving them to peers is more even.
    pub bits: f64,
    /// Peers that are told apart.
    pub remotes: u64,
    /// Operations of those that are not. Above 0, `bits` is a lower bound.
    pub not_told_apart: u64,
}

/// What one node served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Who.
    pub node: NodeId,
    /// How many reads; `None` when the layer was watched at it in no part of the time.
    pub reads: Option<u64>,
}

/// How the nodes that may serve a partition are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EligibleSource {
    /// The topology names them.
    Topology,
    /// It does not: they read or wrote it in the time asked for.
    Observed,
}

const STEP: &str = "step";
const READS: &str = "reads";
const WRITES: &str = "writes";

impl Reader {
    /// Answers a question about entropy, by partition, then time. A partition that was not touched in a step
    /// is answered for too; a system that never reported, in a time that is left open, is not.
    pub fn entropy(&self, query: &EntropyQuery<'_>) -> Result<Vec<PartitionEntropy>, QueryError> {
        let catalog = self.catalog()?;
        let nodes = catalog::nodes(&catalog)?;
        let mut systems = Vec::new();
        for system in systems_of(query.subsets, &nodes) {
            if let Some(time) = clamped(query.span, &system, &nodes, query.now) {
                systems.push(self.candidates(&catalog, query, system, time)?);
            }
        }
        choose(&mut systems, query)?;
        let mut found = Vec::new();
        for mut system in systems {
            if system.partitions.is_empty() || system.steps.is_empty() {
                continue;
            }
            self.fill(&catalog, query, &mut system)?;
            let coverage = self.coverage(&catalog, query, &system)?;
            found.extend(system.answers(&coverage)?);
        }
        Ok(found)
    }

    /// The partitions of a system that the question is about, and who may serve them.
    fn candidates(
        &self,
        catalog: &Connection,
        query: &EntropyQuery<'_>,
        id: SystemId,
        time: Interval,
    ) -> Result<System, QueryError> {
        let steps = match query.step {
            Step::Whole => 0..1,
            Step::EachMs(step_ms) => whole_steps(time, step_ms.get(), query.now),
        };
        let mut system = System::new(id, time, query.step, steps);
        for (partition, nodes) in query.subsets {
            if *partition.system() == system.id && query.filter.accepts(partition) {
                system.name(partition.clone(), nodes.clone());
            }
        }
        let asked = system.asked();
        let frame = self
            .rows(catalog, &system.id, query.layer, Class::Partition, asked)?
            .group_by([schema::SYSTEM, schema::PARTITION, schema::NODE].map(col))
            .agg(sums())
            .collect()?;
        let (reads, writes) = (numbers(&frame, READS)?, numbers(&frame, WRITES)?);
        let found = partition_ids(&frame)?.into_iter().zip(node_ids(&frame)?);
        for (row, (partition, node)) in found.enumerate() {
            if query.filter.accepts(&partition) {
                let (reads, writes) = (reads.get(row).unwrap_or(0), writes.get(row).unwrap_or(0));
                system.observe(partition, node, reads, writes);
            }
        }
        Ok(system)
    }

    fn coverage(
        &self,
        catalog: &Connection,
        query: &EntropyQuery<'_>,
        system: &System,
    ) -> Result<Coverage, QueryError> {
        Coverage::read(self, catalog, &system.id, query.layer, system.asked(), query.step)
    }

    /// Reads the counts of a system's chosen partitions, by step.
    fn fill(
        &self,
        catalog: &Connection,
        query: &EntropyQuery<'_>,
        system: &mut System,
    ) -> Result<(), QueryError> {
        let names: Vec<&str> = system.partitions.keys().map(PartitionId::name).collect();
        let chosen = lit(Series::new("chosen".into(), names).into_series()).implode(true);
        let rows = |class| -> Result<LazyFrame, QueryError> {
            Ok(self
                .rows(catalog, &system.id, query.layer, class, system.asked())?
                .filter(col(schema::PARTITION).is_in(chosen.clone(), false))
                .with_columns([step_of(query.step).alias(STEP)]))
        };
        let partitions = rows(Class::Partition)?;
        let peers = (query.layer == Layer::Network).then(|| rows(Class::Peer)).transpose()?;

        let keys = [schema::SYSTEM, schema::PARTITION, STEP].map(col);
        let by_node = [keys.as_slice(), &[col(schema::NODE)]].concat();
        let frame = partitions.clone().group_by(by_node).agg(sums()).collect()?;
        let (reads, writes) = (numbers(&frame, READS)?, numbers(&frame, WRITES)?);
        let steps = numbers(&frame, STEP)?;
        let found = partition_ids(&frame)?.into_iter().zip(node_ids(&frame)?);
        for (row, (partition, node)) in found.enumerate() {
            let cell: &mut Cell = system.cell(partition, steps.get(row).unwrap_or(0));
            cell.add(node, reads.get(row).unwrap_or(0), writes.get(row).unwrap_or(0));
        }

        let frame = summed_by_layout(partitions.filter(operation(Operation::Read)), &keys).collect()?;
        let steps = numbers(&frame, STEP)?;
        let found = partition_ids(&frame)?.into_iter().zip(histograms(&frame)?);
        for (row, (partition, histogram)) in found.enumerate() {
            if let Some(histogram) = histogram {
                let cell = system.cell(partition, steps.get(row).unwrap_or(0));
                cell.offsets = cell.offsets.merge(&histogram);
            }
        }

        let Some(peers) = peers else { return Ok(()) };
        let by_remote = [keys.as_slice(), &[col(schema::REMOTE)]].concat();
        let received = peers.filter(operation(Operation::Read)).group_by(by_remote);
        let frame = received.agg([col(schema::OPS).sum()]).collect()?;
        let (steps, ops) = (numbers(&frame, STEP)?, numbers(&frame, schema::OPS)?);
        let remotes = text(&frame, schema::REMOTE)?;
        for (row, partition) in partition_ids(&frame)?.into_iter().enumerate() {
            let cell = system.cell(partition, steps.get(row).unwrap_or(0));
            cell.receive(remotes.get(row), ops.get(row).unwrap_or(0));
        }
        Ok(())
    }

    fn rows(
        &self,
        catalog: &Connection,
        system: &SystemId,
        layer: Layer,
        class: Class,
        time: Interval,
    ) -> Result<LazyFrame, QueryError> {
        Ok(self
            .starting_in(catalog, time.start(), time.end())?
            .filter(col(schema::SYSTEM).eq(lit(system.as_str())))
            .filter(col(schema::CLASS).eq(lit(class.as_str())))
            .filter(in_layer(layer)))
    }
}

impl PartitionFilter {
    fn accepts(&self, partition: &PartitionId) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => partition.name() == name || partition.to_string() == *name,
        }
    }
}

/// Keeps the partitions with the most reads, and refuses what would be too much to answer.
fn choose(systems: &mut [System], query: &EntropyQuery<'_>) -> Result<(), QueryError> {
    if let PartitionFilter::Named(name) = &query.filter
        && systems.iter().all(|system| system.partitions.is_empty())
    {
        return Err(QueryError::NoSuchPartition { name: name.clone() });
    }
    if let Some(top) = query.top {
        let mut by_reads: Vec<(u64, PartitionId)> =
            systems.iter().flat_map(System::reads_by_partition).collect();
        by_reads.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let kept: BTreeSet<PartitionId> =
            by_reads.into_iter().take(top.get()).map(|(_, partition)| partition).collect();
        systems.iter_mut().for_each(|system| system.partitions.retain(|id, _| kept.contains(id)));
    }
    let answers = systems
        .iter()
        .map(|system| (system.partitions.len() as u64).saturating_mul(step_count(&system.steps)))
        .fold(0, u64::saturating_add);
    if answers > MAX_ANSWERS {
        return Err(QueryError::TooMany { answers, limit: MAX_ANSWERS });
    }
    Ok(())
}

fn step_count(steps: &Range<u64>) -> u64 {
    steps.end.saturating_sub(steps.start)
}

fn systems_of(subsets: &Subsets, nodes: &[NodeReport]) -> BTreeSet<SystemId> {
    let named = subsets.keys().map(PartitionId::system);
    // A host has no partitions.
    let nodes = nodes.iter().map(|report| &report.node).filter(|node| !node.is_host());
    named.chain(nodes.map(NodeId::system)).cloned().collect()
}

fn sums() -> [Expr; 2] {
    [(READS, Operation::Read), (WRITES, Operation::Write)].map(|(name, counted)| {
        when(operation(counted)).then(col(schema::OPS)).otherwise(lit(0u64)).sum().alias(name)
    })
}

fn operation(operation: Operation) -> Expr {
    col(schema::OPERATION).eq(lit(operation.as_str()))
}

/// The number of the step that a window starts in.
fn step_of(step: Step) -> Expr {
    match step {
        Step::Whole => lit(0u64).cast(DataType::UInt64),
        Step::EachMs(step_ms) => {
            // Whole numbers above zero: dividing them rounds down.
            let start = col(schema::WINDOW_START).cast(DataType::Int64).cast(DataType::UInt64);
            (start / lit(step_ms.get())).cast(DataType::UInt64)
        }
    }
}

#[cfg(test)]
mod tests;
