//! The table `windows`: names, types and words of its columns. No other file spells them.
//!
//! One row per window, node, subject, layer and operation. Rows of the class `total` exist for every layer and
//! operation that was watched, even when nothing happened: they are the record of who was looking at what when.
//! Rows of the class `lost` count, in `ops`, events that no layer or operation is known of; both are null there.
//!
//! Rows of the class `peer` repeat parts of the rows of the network layer, by local and remote address: those
//! of one subject and operation sum to its row. They are never summed with rows of another class.
//!
//! Histogram columns are fixed in width and never null; `offset_shift` and `latency_ops` are null where offsets
//! and latency are not known, and their columns are then 0. Fixed-width columns merge five times faster than
//! lists did.

use isotherm_model::{BUCKETS, LATENCY_BUCKETS, Subject};
use polars::prelude::{DataType, Expr, Field, PlSmallStr, Schema, TimeUnit, TimeZone, col, lit};

pub(crate) const WINDOW_START: &str = "window_start";
pub(crate) const WINDOW_MS: &str = "window_ms";
pub(crate) const COMPLETENESS: &str = "completeness";
pub(crate) const AGENT: &str = "agent";
pub(crate) const BOOT: &str = "boot";
pub(crate) const SEQ: &str = "seq";
pub(crate) const SYSTEM: &str = "system";
pub(crate) const NODE: &str = "node";
pub(crate) const PROCESSES: &str = "processes";
pub(crate) const CLASS: &str = "class";
pub(crate) const PARTITION: &str = "partition";
pub(crate) const REASON: &str = "reason";
pub(crate) const LAYER: &str = "layer";
pub(crate) const OPERATION: &str = "operation";
pub(crate) const OPS: &str = "ops";
pub(crate) const BYTES: &str = "bytes";
/// The node's own side of what a row of the class `peer` counts.
pub(crate) const LOCAL: &str = "local";
/// The other side; null for all peers that are not told apart.
pub(crate) const REMOTE: &str = "remote";
/// The node that the peer is, by system and name; null where the agent does not know.
pub(crate) const PEER_SYSTEM: &str = "peer_system";
pub(crate) const PEER_NODE: &str = "peer_node";
pub(crate) const OFFSET_SHIFT: &str = "offset_shift";
/// Sum of the latency columns; null where nobody measured.
pub(crate) const LATENCY_OPS: &str = "latency_ops";

/// Name of the column of one offset bucket: `o00` to `o63`.
pub(crate) fn bucket(index: usize) -> PlSmallStr {
    PlSmallStr::from_string(format!("o{index:02}"))
}

/// All offset columns, lowest offsets first.
pub(crate) fn buckets() -> impl Iterator<Item = PlSmallStr> {
    (0..BUCKETS).map(bucket)
}

/// All latency columns, shortest first: `l00` to `l39`.
pub(crate) fn latencies() -> impl Iterator<Item = PlSmallStr> {
    (0..LATENCY_BUCKETS).map(|index| PlSmallStr::from_string(format!("l{index:02}")))
}

/// The latency columns without nulls, which stand for them in the files of catalogs before version 3.
pub(crate) fn latencies_or_zero() -> Vec<Expr> {
    latencies().map(|name| col(name).fill_null(lit(0u64))).collect()
}

/// `window_start`: a moment in UTC, to the millisecond, marked as such in the files.
pub(crate) fn start_type() -> DataType {
    DataType::Datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC))
}

/// The columns of a segment, in their order. The folders `date=` and `hour=` repeat `window_start` and are
/// not columns of the files.
pub(crate) fn windows() -> Schema {
    let text = |name: &str| Field::new(name.into(), DataType::String);
    let number = |name: &str| Field::new(name.into(), DataType::UInt64);
    let fixed = [
        Field::new(WINDOW_START.into(), start_type()),
        Field::new(WINDOW_MS.into(), DataType::UInt32),
        text(COMPLETENESS),
        text(AGENT),
        text(BOOT),
        number(SEQ),
        text(SYSTEM),
        text(NODE),
        Field::new(PROCESSES.into(), DataType::UInt32),
        text(CLASS),
        text(PARTITION),
        text(REASON),
        text(LAYER),
        text(OPERATION),
        number(OPS),
        number(BYTES),
        text(LOCAL),
        text(REMOTE),
        text(PEER_SYSTEM),
        text(PEER_NODE),
        number(LATENCY_OPS),
        Field::new(OFFSET_SHIFT.into(), DataType::UInt8),
    ];
    let counts = buckets().chain(latencies()).map(|name| Field::new(name, DataType::UInt64));
    Schema::from_iter(fixed.into_iter().chain(counts))
}

/// The kind of subject that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Everything a node did in one layer and operation; there if it was watched.
    Total,
    /// A partition's share of it.
    Partition,
    /// Understood, of no partition.
    Other,
    /// Not understood.
    Unattributed,
    /// Not counted.
    Lost,
    /// A part of a row of the network layer.
    Peer,
}

impl Class {
    pub(crate) const ALL: [Self; 6] =
        [Self::Total, Self::Partition, Self::Other, Self::Unattributed, Self::Lost, Self::Peer];

    /// The word in the column.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Partition => "partition",
            Self::Other => "other",
            Self::Unattributed => "unattributed",
            Self::Lost => "lost",
            Self::Peer => "peer",
        }
    }

    /// The class of a word, if it is one.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// The class of a subject, its partition's name and its reason.
    pub(crate) fn of(subject: &Subject) -> (Self, Option<&str>, Option<&'static str>) {
        match subject {
            Subject::Partition(id) => (Self::Partition, Some(id.name()), None),
            Subject::Other(reason) => (Self::Other, None, Some(reason.as_str())),
            Subject::Unattributed(reason) => (Self::Unattributed, None, Some(reason.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let schema = windows();
        assert_eq!(schema.len(), 22 + BUCKETS + LATENCY_BUCKETS);
        assert_eq!(bucket(0), "o00");
        assert_eq!(bucket(63), "o63");
    }

    #[test]
    fn words_of_classes_are_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::from_word(class.as_str()), Some(class));
        }
        assert_eq!(Class::from_word("sum"), None);
    }
}
