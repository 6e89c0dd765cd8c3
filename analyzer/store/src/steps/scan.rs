//! What is read from segments: sums by name, each in one pass of the columns it needs.

use super::offsets::OffsetSums;
use crate::activity::{in_layer, numbers};
use crate::coverage::Spans;
use crate::error::QueryError;
use crate::latency;
use crate::read::Reader;
use crate::schema::{self, Class};
use crate::write::Run;
use isotherm_model::{Counts, Interval, Layer, NodeId, Operation, Seq, SystemId};
use polars::prelude::{
    DataFrame, DataType, Engine, Expr, IntoLazy, JoinArgs, JoinType, LazyFrame, NamedFrom, PolarsResult,
    Series, SortMultipleOptions, UInt64Chunked, col, lit, when,
};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A system's rows of some time and one layer.
pub(super) struct Scan<'a> {
    pub(super) reader: &'a Reader,
    pub(super) catalog: &'a Connection,
    pub(super) system: &'a SystemId,
    pub(super) layer: Layer,
    pub(super) time: Interval,
    /// What was read before, which is left out; everything is read if it is absent.
    pub(super) after: Option<&'a Marks>,
}

/// Until which batch every run of an agent is read.
pub(super) type Marks = [(Run, Seq)];

/// Reads and writes of something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accesses {
    pub(super) reads: Counts,
    pub(super) writes: Counts,
}

/// [`Accesses`] by row of a frame.
pub(super) struct Sums<'a>([&'a UInt64Chunked; 4]);

/// Whose operations a row of the class `peer` counts.
pub(super) const FROM_NODE: &str = "from_node";
pub(super) const NOT_TOLD_APART: &str = "not_told_apart";
/// Start of a node's last window.
pub(super) const LAST_START: &str = "last_start";
const SUMS: [&str; 4] = ["reads", "read_bytes", "writes", "written_bytes"];

impl Scan<'_> {
    /// What the windows of the nodes span, whether they were read before or not.
    pub(super) fn spans(&self) -> Result<Spans, QueryError> {
        Spans::read(self.reader, self.catalog, self.system, self.layer, self.time)
    }

    /// Reads and writes by partition and node.
    pub(super) fn partitions(&self) -> Result<DataFrame, QueryError> {
        let rows = self.rows(Class::Partition)?.filter(is_access());
        Ok(streamed(rows.group_by([schema::PARTITION, schema::NODE].map(col)).agg(sums(None)))?)
    }

    /// Reads, writes and processes by node.
    pub(super) fn totals(&self) -> Result<DataFrame, QueryError> {
        // Two agents may report the same node: the order must not be left to chance.
        let last = [schema::WINDOW_START, schema::PROCESSES].map(col);
        let processes = col(schema::PROCESSES).sort_by(last, SortMultipleOptions::default()).last();
        let last_start = col(schema::WINDOW_START).max().alias(LAST_START);
        let sums = sums(None).into_iter().chain([processes, last_start]).collect::<Vec<_>>();
        Ok(self.rows(Class::Total)?.filter(is_access()).group_by([col(schema::NODE)]).agg(sums).collect()?)
    }

    /// Latency of reads by node and layer, of this layer and the device's.
    pub(super) fn latencies(&self) -> Result<DataFrame, QueryError> {
        let classes = [Class::Partition, Class::Other, Class::Unattributed];
        let of_class = classes.map(|class| col(schema::CLASS).eq(lit(class.as_str())));
        let [first, second, third] = of_class;
        let rows = self
            .all_rows()?
            .filter(in_layer(self.layer).or(in_layer(Layer::Device)))
            .filter(first.or(second).or(third).and(is(Operation::Read)));
        Ok(streamed(latency::summed(rows, &[schema::NODE, schema::LAYER].map(col)))?)
    }

    /// Offset histograms of reads, by partition and layout.
    pub(super) fn offsets(&self) -> Result<OffsetSums, QueryError> {
        OffsetSums::read(self.rows(Class::Partition)?.filter(is(Operation::Read)))
    }

    /// What was exchanged with nodes of the system, and what was received from peers that are not told apart, by
    /// partition (or none) and node.
    pub(super) fn exchanged(&self, nodes: &BTreeSet<SocketAddr>) -> Result<DataFrame, QueryError> {
        let unknown = col(schema::REMOTE).is_null().and(is(Operation::Read));
        let not_told_apart = when(unknown).then(col(schema::OPS)).otherwise(lit(0u64)).sum();
        let mut sums = sums(Some(col(FROM_NODE)));
        sums.push(not_told_apart.alias(NOT_TOLD_APART));
        let keys = [schema::PARTITION, schema::NODE].map(col);
        Ok(streamed(self.peers(nodes)?.filter(is_access()).group_by(keys).agg(sums))?)
    }

    /// Operations that received for a partition from clients, by remote address.
    pub(super) fn remotes(&self, nodes: &BTreeSet<SocketAddr>) -> Result<DataFrame, QueryError> {
        let rows = self
            .peers(nodes)?
            .filter(is(Operation::Read).and(col(schema::PARTITION).is_not_null()))
            .filter(col(FROM_NODE).not().and(col(schema::OPS).gt(lit(0u64))));
        let keys = [schema::PARTITION, schema::REMOTE].map(col);
        Ok(streamed(rows.group_by(keys).agg([col(schema::OPS).sum()]))?)
    }

    /// Rows of the class `peer`, with whether the peer is a node of the system: because the agent says so, or by the
    /// address that a node listens on.
    fn peers(&self, nodes: &BTreeSet<SocketAddr>) -> Result<LazyFrame, QueryError> {
        let addresses: Vec<String> = nodes.iter().map(SocketAddr::to_string).collect();
        let known = Series::new("addresses".into(), addresses);
        let by_address = col(schema::REMOTE).is_in(lit(known).implode(true), false).fill_null(lit(false));
        let by_agent = col(schema::PEER_SYSTEM).eq(lit(self.system.as_str())).fill_null(lit(false));
        Ok(self.rows(Class::Peer)?.with_columns([by_agent.or(by_address).alias(FROM_NODE)]))
    }

    fn rows(&self, class: Class) -> Result<LazyFrame, QueryError> {
        Ok(self.all_rows()?.filter(in_layer(self.layer)).filter(col(schema::CLASS).eq(lit(class.as_str()))))
    }

    fn all_rows(&self) -> Result<LazyFrame, QueryError> {
        let rows = self.reader.starting_in(self.catalog, self.time.start(), self.time.end())?;
        let rows = rows.filter(col(schema::SYSTEM).eq(lit(self.system.as_str())));
        Ok(match self.after {
            Some(marks) => newer(rows, marks)?,
            None => rows,
        })
    }
}

impl<'a> Sums<'a> {
    pub(super) fn of(frame: &'a DataFrame) -> PolarsResult<Self> {
        let [reads, read_bytes, writes, written_bytes] = SUMS;
        Ok(Self([
            numbers(frame, reads)?,
            numbers(frame, read_bytes)?,
            numbers(frame, writes)?,
            numbers(frame, written_bytes)?,
        ]))
    }

    /// Those of a row.
    pub(super) fn at(&self, row: usize) -> Accesses {
        let [reads, read_bytes, writes, written_bytes] =
            self.0.map(|column| column.get(row).unwrap_or_default());
        Accesses {
            reads: Counts { ops: reads, bytes: read_bytes },
            writes: Counts { ops: writes, bytes: written_bytes },
        }
    }
}

/// Rows of batches that came after those that were read.
fn newer(rows: LazyFrame, marks: &Marks) -> PolarsResult<LazyFrame> {
    const MARK: &str = "mark";
    let texts = |of: fn(&Run) -> &str| marks.iter().map(|(run, _)| of(run).to_owned()).collect::<Vec<_>>();
    let marks = polars::df!(
        schema::AGENT => texts(|run| run.agent.as_str()),
        schema::BOOT => texts(|run| run.boot.as_str()),
        MARK => marks.iter().map(|(_, seq)| seq.get()).collect::<Vec<_>>(),
    )?;
    let keys = [schema::AGENT, schema::BOOT].map(col);
    let marked = rows.join(marks.lazy(), keys.clone(), keys, JoinArgs::new(JoinType::Left));
    Ok(marked.filter(col(MARK).is_null().or(col(schema::SEQ).gt(col(MARK)))))
}

/// Collects without all rows in memory at once.
pub(super) fn streamed(frame: LazyFrame) -> PolarsResult<DataFrame> {
    Ok(frame.collect_with_engine(Engine::Streaming)?.unwrap_single())
}

/// Addresses that nodes of a system listen on, or are called by. Those that mean another host on every host do not
/// say who is there.
pub(super) fn addresses<'a>(
    nodes: impl Iterator<Item = (&'a NodeId, &'a [SocketAddr])>,
) -> BTreeSet<SocketAddr> {
    nodes
        .flat_map(|(node, listening)| node.name().parse().ok().into_iter().chain(listening.iter().copied()))
        .filter(|address| {
            !address.ip().is_unspecified() && !address.ip().is_loopback() && address.port() != 0
        })
        .collect()
}

/// Operations and bytes of reads and writes; only of rows for which `only` holds, if it is given.
fn sums(only: Option<Expr>) -> Vec<Expr> {
    let places = [
        (Operation::Read, schema::OPS),
        (Operation::Read, schema::BYTES),
        (Operation::Write, schema::OPS),
        (Operation::Write, schema::BYTES),
    ];
    let sum = |((operation, column), name): ((Operation, &str), &str)| {
        let counted = only.iter().fold(is(operation), |counted, only| counted.and(only.clone()));
        when(counted).then(col(column)).otherwise(lit(0u64)).sum().cast(DataType::UInt64).alias(name)
    };
    places.into_iter().zip(SUMS).map(sum).collect()
}

fn is(operation: Operation) -> Expr {
    col(schema::OPERATION).eq(lit(operation.as_str()))
}

fn is_access() -> Expr {
    is(Operation::Read).or(is(Operation::Write))
}
