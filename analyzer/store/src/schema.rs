//! The table `windows`: names, types and words of its columns. No other file spells them.
//!
//! One row per window, node, subject, layer and operation. Rows of the class `total` exist for every node of
//! every window, even when it did nothing: they are the record of who was looking when. Rows of the class
//! `lost` count, in `ops`, events that no layer or operation is known of; both are null there.
//!
//! Histogram columns are fixed in width and never null; `offset_shift` is null where offsets are not known,
//! and the 64 columns are then 0. Fixed-width columns merge five times faster than lists did.

use isotherm_model::{BUCKETS, Subject};
use polars::prelude::{DataType, Field, PlSmallStr, Schema, TimeUnit, TimeZone};

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
pub(crate) const OFFSET_SHIFT: &str = "offset_shift";

/// Name of the column of one offset bucket: `o00` to `o63`.
pub(crate) fn bucket(index: usize) -> PlSmallStr {
    PlSmallStr::from_string(format!("o{index:02}"))
}

/// All offset columns, lowest offsets first.
pub(crate) fn buckets() -> impl Iterator<Item = PlSmallStr> {
    (0..BUCKETS).map(bucket)
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
        Field::new(OFFSET_SHIFT.into(), DataType::UInt8),
    ];
    let offsets = buckets().map(|name| Field::new(name, DataType::UInt64));
    Schema::from_iter(fixed.into_iter().chain(offsets))
}

/// The kind of subject that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Everything a node did in one layer and direction.
    Total,
    /// A partition's share of it.
    Partition,
    /// Understood, of no partition.
    Other,
    /// Not understood.
    Unattributed,
    /// Not counted.
    Lost,
}

impl Class {
    pub(crate) const ALL: [Self; 5] =
        [Self::Total, Self::Partition, Self::Other, Self::Unattributed, Self::Lost];

    /// The word in the column.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Partition => "partition",
            Self::Other => "other",
            Self::Unattributed => "unattributed",
            Self::Lost => "lost",
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
        assert_eq!(schema.len(), 17 + BUCKETS);
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
