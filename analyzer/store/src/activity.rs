//! How much was done, by node and by partition.

use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use isotherm_model::{Layer, NodeId, Operation, PartitionId, SystemId};
use polars::prelude::{DataFrame, Expr, PolarsResult, StringChunked, UInt64Chunked, col, lit, when};
use std::collections::{BTreeMap, BTreeSet};

/// Accesses of the logical layer, in both directions. Sums are exact below 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Completed reads.
    pub reads: u64,
    /// Bytes they returned.
    pub read_bytes: u64,
    /// Completed writes.
    pub writes: u64,
    /// Bytes they took.
    pub written_bytes: u64,
}

impl Activity {
    fn add(&mut self, other: Self) {
        self.reads = self.reads.saturating_add(other.reads);
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.writes = self.writes.saturating_add(other.writes);
        self.written_bytes = self.written_bytes.saturating_add(other.written_bytes);
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a node did in the time asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeActivity {
    /// Agents that sent its windows.
    pub agents: BTreeSet<String>,
    /// Everything: the sum of the three below.
    pub total: Activity,
    /// On files of partitions.
    pub partitions: Activity,
    /// On files that are understood and of no partition.
    pub other: Activity,
    /// On files that are not understood.
    pub unattributed: Activity,
    /// Events that were missed, not in the total.
    pub lost: u64,
}

/// What was done to a partition in the time asked for, by node. Nodes that did not touch it are absent.
pub type PartitionActivity = BTreeMap<NodeId, Activity>;

const READS: &str = "reads";
const READ_BYTES: &str = "read_bytes";
const WRITES: &str = "writes";
const WRITTEN_BYTES: &str = "written_bytes";
const LOST: &str = "lost";

impl Reader {
    /// Every node with a window in the time asked for.
    pub fn node_activity(&self, span: Span) -> Result<BTreeMap<NodeId, NodeActivity>, QueryError> {
        let frame = self
            .starting_in(&self.catalog()?, span.start(), span.end())?
            .group_by([schema::SYSTEM, schema::NODE, schema::AGENT, schema::CLASS].map(col))
            .agg([sums().as_slice(), &[col(schema::OPS).sum().alias(LOST)]].concat())
            .collect()?;
        let (agents, classes) = (text(&frame, schema::AGENT)?, text(&frame, schema::CLASS)?);
        let lost = numbers(&frame, LOST)?;
        let nodes = node_ids(&frame)?;
        let mut found: BTreeMap<NodeId, NodeActivity> = BTreeMap::new();
        for (row, (node, activity)) in nodes.into_iter().zip(activities(&frame)?).enumerate() {
            let node = found.entry(node).or_default();
            node.agents.extend(agents.get(row).map(str::to_owned));
            match classes.get(row).and_then(Class::from_word) {
                Some(Class::Total) => node.total.add(activity),
                Some(Class::Partition) => node.partitions.add(activity),
                Some(Class::Other) => node.other.add(activity),
                Some(Class::Unattributed) => node.unattributed.add(activity),
                Some(Class::Lost) => node.lost = node.lost.saturating_add(lost.get(row).unwrap_or(0)),
                None => {}
            }
        }
        Ok(found)
    }

    /// Every partition with a row in the time asked for. A partition whose rows count nothing has no nodes.
    pub fn partition_activity(
        &self,
        span: Span,
    ) -> Result<BTreeMap<PartitionId, PartitionActivity>, QueryError> {
        let frame = self
            .starting_in(&self.catalog()?, span.start(), span.end())?
            .filter(col(schema::CLASS).eq(lit(Class::Partition.as_str())))
            .group_by([schema::SYSTEM, schema::PARTITION, schema::NODE].map(col))
            .agg(sums())
            .collect()?;
        let partitions = partition_ids(&frame)?;
        let nodes = node_ids(&frame)?;
        let mut found: BTreeMap<PartitionId, PartitionActivity> = BTreeMap::new();
        for ((partition, node), activity) in partitions.into_iter().zip(nodes).zip(activities(&frame)?) {
            let nodes = found.entry(partition).or_default();
            if !activity.is_empty() {
                nodes.insert(node, activity);
            }
        }
        Ok(found)
    }
}

/// The accesses of one direction, counted by `column`; 0 for rows of another.
pub(crate) fn counted(column: &str, operation: Operation) -> Expr {
    let counts = col(schema::LAYER)
        .eq(lit(Layer::Logical.as_str()))
        .and(col(schema::OPERATION).eq(lit(operation.as_str())));
    when(counts).then(col(column)).otherwise(lit(0u64))
}

fn sums() -> Vec<Expr> {
    [
        (READS, schema::OPS, Operation::Read),
        (READ_BYTES, schema::BYTES, Operation::Read),
        (WRITES, schema::OPS, Operation::Write),
        (WRITTEN_BYTES, schema::BYTES, Operation::Write),
    ]
    .map(|(name, column, operation)| counted(column, operation).sum().alias(name))
    .to_vec()
}

fn activities(frame: &DataFrame) -> PolarsResult<Vec<Activity>> {
    let columns = [READS, READ_BYTES, WRITES, WRITTEN_BYTES];
    let [reads, read_bytes, writes, written_bytes] = columns.map(|name| numbers(frame, name));
    let (reads, read_bytes, writes, written_bytes) = (reads?, read_bytes?, writes?, written_bytes?);
    let at = |column: &UInt64Chunked, row| column.get(row).unwrap_or(0);
    Ok((0..frame.height())
        .map(|row| Activity {
            reads: at(reads, row),
            read_bytes: at(read_bytes, row),
            writes: at(writes, row),
            written_bytes: at(written_bytes, row),
        })
        .collect())
}

pub(crate) fn text<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a StringChunked> {
    frame.column(name)?.str()
}

pub(crate) fn numbers<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a UInt64Chunked> {
    frame.column(name)?.u64()
}

pub(crate) fn node_ids(frame: &DataFrame) -> Result<Vec<NodeId>, QueryError> {
    members(frame, schema::NODE, NodeId::new)
}

pub(crate) fn partition_ids(frame: &DataFrame) -> Result<Vec<PartitionId>, QueryError> {
    members(frame, schema::PARTITION, PartitionId::new)
}

fn members<T>(
    frame: &DataFrame,
    column: &str,
    make: impl Fn(SystemId, String) -> Result<T, isotherm_model::InvalidName>,
) -> Result<Vec<T>, QueryError> {
    let (systems, names) = (text(frame, schema::SYSTEM)?, text(frame, column)?);
    systems
        .iter()
        .zip(names.iter())
        .map(|(system, name)| {
            let system = SystemId::new(system.unwrap_or_default())?;
            Ok(make(system, name.unwrap_or_default().to_owned())?)
        })
        .collect()
}
