//! Layers on the command line, and the columns that each has in a table.

use super::print::{self, Column};
use clap::ValueEnum;
use isotherm_model::LatencyHistogram;
use isotherm_proto::control::v1::{Counts, Latency, Layer, Operation};
use serde::Serialize;

/// Where accesses were observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LayerArg {
    /// What processes asked of their files, by system call.
    Logical,
    /// What was handed to block devices.
    Device,
    /// What was sent and received through sockets.
    Network,
}

impl From<LayerArg> for Layer {
    fn from(layer: LayerArg) -> Self {
        match layer {
            LayerArg::Logical => Self::Logical,
            LayerArg::Device => Self::Device,
            LayerArg::Network => Self::Network,
        }
    }
}

pub(super) fn layer_word(layer: Layer) -> &'static str {
    match layer {
        Layer::Logical => "logical",
        Layer::Device => "device",
        Layer::Network => "network",
        Layer::Unspecified => "unspecified",
    }
}

pub(super) fn operation_word(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Sync => "sync",
        Operation::Discard => "discard",
        Operation::Accept => "accept",
        Operation::Connect => "connect",
        Operation::Unspecified => "unspecified",
    }
}

/// What a column of a table shows of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown {
    Ops,
    Bytes,
}

impl Shown {
    pub(super) fn of(self, counts: Counts) -> String {
        match self {
            Self::Ops => counts.ops.to_string(),
            Self::Bytes => print::bytes(counts.bytes),
        }
    }
}

/// The columns of a layer.
pub(super) fn columns(layer: LayerArg) -> &'static [(&'static str, Operation, Shown)] {
    match layer {
        LayerArg::Logical => &[
            ("READS", Operation::Read, Shown::Ops),
            ("READ", Operation::Read, Shown::Bytes),
            ("WRITES", Operation::Write, Shown::Ops),
            ("WRITTEN", Operation::Write, Shown::Bytes),
            ("SYNCS", Operation::Sync, Shown::Ops),
        ],
        LayerArg::Device => &[
            ("READS", Operation::Read, Shown::Ops),
            ("READ", Operation::Read, Shown::Bytes),
            ("WRITES", Operation::Write, Shown::Ops),
            ("WRITTEN", Operation::Write, Shown::Bytes),
            ("DISCARDS", Operation::Discard, Shown::Ops),
            ("DISCARDED", Operation::Discard, Shown::Bytes),
        ],
        LayerArg::Network => &[
            ("RECEIVES", Operation::Read, Shown::Ops),
            ("RECEIVED", Operation::Read, Shown::Bytes),
            ("SENDS", Operation::Write, Shown::Ops),
            ("SENT", Operation::Write, Shown::Bytes),
            ("ACCEPTS", Operation::Accept, Shown::Ops),
            ("CONNECTS", Operation::Connect, Shown::Ops),
        ],
    }
}

/// The headers of a layer's columns.
pub(super) fn headers(layer: LayerArg) -> impl Iterator<Item = Column> {
    columns(layer).iter().map(|(name, _, _)| Column::Number(name))
}

#[derive(Debug, Serialize)]
pub(super) struct CountsJson {
    ops: u64,
    bytes: u64,
}

impl From<Counts> for CountsJson {
    fn from(counts: Counts) -> Self {
        Self { ops: counts.ops, bytes: counts.bytes }
    }
}

/// Upper bounds of how long accesses took.
#[derive(Debug, Serialize)]
pub(super) struct LatencyJson {
    /// Accesses (in the device layer: requests) that were measured.
    measured: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
}

impl LatencyJson {
    /// `None` unless it has the 40 buckets.
    pub(super) fn of(latency: &Latency) -> Option<Self> {
        let histogram = histogram(latency)?;
        let quantile = |q| histogram.quantile_ns(q);
        Some(Self { measured: histogram.total(), p50_ns: quantile(0.5), p99_ns: quantile(0.99) })
    }
}

/// An upper bound of the latency that a share of the accesses did not exceed, or a dash.
pub(super) fn quantile(latency: Option<&Latency>, q: f64) -> String {
    latency
        .and_then(histogram)
        .and_then(|histogram| histogram.quantile_ns(q))
        .map_or_else(|| "-".to_owned(), print::nanoseconds)
}

fn histogram(latency: &Latency) -> Option<LatencyHistogram> {
    Some(LatencyHistogram::new(latency.counts.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::LATENCY_BUCKETS;

    #[test]
    fn latency_is_an_upper_bound_or_a_dash() {
        let mut counts = vec![0; LATENCY_BUCKETS];
        counts[19] = 99;
        counts[24] = 1;
        let latency = Latency { counts };
        assert_eq!(quantile(Some(&latency), 0.5), "1.0 ms");
        assert_eq!(quantile(Some(&latency), 1.0), "33.6 ms");
        assert_eq!(quantile(None, 0.5), "-");
        assert_eq!(quantile(Some(&Latency { counts: vec![0; LATENCY_BUCKETS] }), 0.5), "-");
        assert_eq!(quantile(Some(&Latency { counts: vec![1] }), 0.5), "-", "of another version");
    }
}
