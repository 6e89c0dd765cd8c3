//! What was counted in a stretch of time, summed by name.
//!
//! Parts add up: that of an hour is the sum of those of its minutes. Only sums are in them, and what windows span,
//! never an entropy.

use super::offsets::OffsetSums;
use super::scan::{LAST_START, Scan, addresses, streamed};
use crate::catalog::NodeReport;
use crate::coverage::Spans;
use crate::error::QueryError;
use crate::schema;
use isotherm_model::Layer;
use polars::prelude::{DataFrame, Expr, IntoLazy, PolarsResult, SortMultipleOptions, UnionArgs, col, concat};

/// A system's part, in the layer that counts for it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) layer: Layer,
    /// What the windows of its nodes span.
    pub(super) spans: Spans,
    /// Reads and writes by partition and node.
    pub(super) partitions: DataFrame,
    /// Reads, writes and processes by node.
    pub(super) totals: DataFrame,
    /// Latency of reads by node and layer.
    pub(super) latencies: DataFrame,
    pub(super) detail: Detail,
}

/// What only some layers know.
#[derive(Debug, Clone)]
pub(super) enum Detail {
    /// Offset histograms of reads by partition and layout, in layers with offsets.
    Offsets(OffsetSums),
    /// The network layer.
    Peers(Peers),
}

/// What network peers add to the picture.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    /// What was exchanged with nodes of the system, by partition (or none) and node.
    pub(super) exchanged: DataFrame,
    /// Operations that received from clients, by partition and remote address.
    pub(super) remotes: DataFrame,
}

impl Part {
    /// Reads the rows of `scan`. Peers are nodes of the system if `reports` say so now.
    pub(super) fn read(scan: &Scan<'_>, reports: &[NodeReport]) -> Result<Self, QueryError> {
        let detail = if scan.layer == Layer::Network {
            let of_system = reports.iter().filter(|report| report.node.system() == scan.system);
            let known = addresses(of_system.map(|report| (&report.node, report.listening.as_slice())));
            Detail::Peers(Peers { exchanged: scan.exchanged(&known)?, remotes: scan.remotes(&known)? })
        } else {
            Detail::Offsets(scan.offsets()?)
        };
        Ok(Self {
            layer: scan.layer,
            spans: scan.spans()?,
            partitions: scan.partitions()?,
            totals: scan.totals()?,
            latencies: scan.latencies()?,
            detail,
        })
    }

    /// The part of both times. The rows of no window may be in both.
    pub(super) fn plus(self, other: Self) -> Result<Self, QueryError> {
        let detail = match (self.detail, other.detail) {
            (Detail::Offsets(left), Detail::Offsets(right)) => Detail::Offsets(left.plus(&right)),
            (Detail::Peers(left), Detail::Peers(right)) => Detail::Peers(Peers {
                exchanged: sum(left.exchanged, right.exchanged, &[schema::PARTITION, schema::NODE])?,
                remotes: sum(left.remotes, right.remotes, &[schema::PARTITION, schema::REMOTE])?,
            }),
            (Detail::Offsets(_), Detail::Peers(_)) | (Detail::Peers(_), Detail::Offsets(_)) => {
                unreachable!("parts of one layer are summed")
            }
        };
        Ok(Self {
            layer: self.layer,
            spans: self.spans.plus(other.spans)?,
            partitions: sum(self.partitions, other.partitions, &[schema::PARTITION, schema::NODE])?,
            totals: sum_totals(self.totals, other.totals)?,
            latencies: sum(self.latencies, other.latencies, &[schema::NODE, schema::LAYER])?,
            detail,
        })
    }
}

/// The rows of two frames with the same keys as one: every other column is summed.
fn sum(left: DataFrame, right: DataFrame, keys: &[&str]) -> PolarsResult<DataFrame> {
    let sums = summed(&left, keys);
    let both = concat([left.lazy(), right.lazy()], UnionArgs::default())?;
    streamed(both.group_by(keys.iter().map(|key| col(*key)).collect::<Vec<_>>()).agg(sums))
}

/// The same for nodes, whose processes are those of the last window.
fn sum_totals(left: DataFrame, right: DataFrame) -> PolarsResult<DataFrame> {
    let mut sums = summed(&left, &[schema::NODE, schema::PROCESSES, LAST_START]);
    let last = [LAST_START, schema::PROCESSES].map(col);
    sums.push(col(schema::PROCESSES).sort_by(last, SortMultipleOptions::default()).last());
    sums.push(col(LAST_START).max());
    let both = concat([left.lazy(), right.lazy()], UnionArgs::default())?;
    both.group_by([col(schema::NODE)]).agg(sums).collect()
}

/// Sums of the columns of a frame without these.
fn summed(frame: &DataFrame, without: &[&str]) -> Vec<Expr> {
    let names = frame.get_column_names().into_iter();
    names.filter(|name| !without.contains(&name.as_str())).map(|name| col(name.clone()).sum()).collect()
}
