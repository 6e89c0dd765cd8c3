//! What an agent counted in one window, and the identity that its numbers obey.
//!
//! Everything a node's processes did is in exactly one row: a partition, `other` (understood, but of no
//! partition) or `unattributed` (not understood, with the reason): `total = partitions + other +
//! unattributed`. The agent holds the totals against kernel counters of their own before it sends them, and
//! the analyzer refuses a window whose rows do not sum to its totals. What was not seen at all is `lost`,
//! and stands beside the total, not in it.

use crate::{NodeId, OffsetHistogram, PartitionId, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// Where an access was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// What the process asked of its files, by system call.
    Logical,
}

/// The direction of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Bytes came from the file.
    Read,
    /// Bytes went to the file.
    Write,
}

/// Number of accesses, and the bytes that they really moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Completed calls.
    pub ops: u64,
    /// Bytes that the calls returned, not what they asked for.
    pub bytes: u64,
}

impl Counts {
    /// Both sums, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { ops: self.ops.saturating_add(other.ops), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// Accesses that are understood, but belong to no partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OtherReason {
    /// No rule of the target claims the file: an index, a log, a lock.
    NoRule,
    /// The file's partition would be one more than the agent may keep apart.
    PartitionLimit,
}

/// Accesses whose file could not be given to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnattributedReason {
    /// The file's path is not known (yet).
    NoPath,
    /// The kernel map of files was full, so that only the node is known.
    FilesFull,
    /// Two rules claim the file for different partitions.
    RulesDisagree,
}

/// Events that happened and were not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostReason {
    /// The kernel skipped the program, because it was already running on that CPU.
    Recursion,
    /// A 32-bit system call, whose arguments the program does not read.
    Compat,
    /// A descriptor that was closed by another thread before its call could be looked at.
    ClosedDescriptor,
    /// Calls that the kernel's totals have and no file does: their file was given up at that moment.
    Miscounted,
    /// Children that found no room among the watched processes; what they do is not counted.
    UnwatchedProcess,
}

/// Whom a row's accesses belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A partition of the node's system.
    Partition(PartitionId),
    /// Understood, of no partition.
    Other(OtherReason),
    /// Not understood.
    Unattributed(UnattributedReason),
}

/// One subject's accesses in one layer and direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose accesses.
    pub subject: Subject,
    /// Observed where.
    pub layer: Layer,
    /// In which direction.
    pub operation: Operation,
    /// How many, how much.
    pub counts: Counts,
    /// At which offsets; all-empty where offsets are not known. Otherwise its total equals `counts.ops`.
    pub offsets: OffsetHistogram,
}

/// Whether a window saw all of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// The probes were attached from its start to its end.
    Complete,
    /// The probes were attached, or the clock was set, in the middle of it.
    Partial,
}

/// What one node did in a window. A node that did nothing is present, with totals of zero: that is how
/// "nothing happened" differs from "nobody looked".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWindow {
    /// Which node.
    pub node: NodeId,
    /// Processes of the node that were alive at the end of the window. 0: the node may be down.
    pub processes: u32,
    /// Everything counted, by layer and direction.
    pub totals: BTreeMap<(Layer, Operation), Counts>,
    /// The same, by subject; at most one row per subject, layer and direction.
    pub rows: Vec<Row>,
    /// Events that were missed, by reason; absent is none.
    pub lost: BTreeMap<LostReason, u64>,
}

/// A window: everything an agent counted between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Start, a multiple of the length since the epoch.
    pub start: Timestamp,
    /// Length in milliseconds, never 0. A late cut makes it a multiple of the agent's window.
    pub length_ms: u32,
    /// Whether all of it was seen.
    pub completeness: Completeness,
    /// One entry per target of the agent.
    pub nodes: Vec<NodeWindow>,
}

/// The conservation identity does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{node}: {layer} {operation}: the total is {total_ops} operations and {total_bytes} bytes, its rows sum \
     to {rows_ops} operations and {rows_bytes} bytes"
)]
pub struct NotConserved {
    /// The node whose numbers disagree.
    pub node: NodeId,
    /// In this layer.
    pub layer: Layer,
    /// In this direction.
    pub operation: Operation,
    /// Operations by the total.
    pub total_ops: u64,
    /// Bytes by the total.
    pub total_bytes: u64,
    /// Operations by the rows.
    pub rows_ops: u64,
    /// Bytes by the rows.
    pub rows_bytes: u64,
}

impl NodeWindow {
    /// Checks `total = partitions + other + unattributed`, in operations and bytes, per layer and direction.
    pub fn check_conserved(&self) -> Result<(), NotConserved> {
        let mut sums: BTreeMap<(Layer, Operation), Counts> = BTreeMap::new();
        for row in &self.rows {
            let sum = sums.entry((row.layer, row.operation)).or_default();
            *sum = sum.plus(row.counts);
        }
        for key in sums.keys().chain(self.totals.keys()) {
            let total = self.totals.get(key).copied().unwrap_or_default();
            let rows = sums.get(key).copied().unwrap_or_default();
            if total != rows {
                return Err(NotConserved {
                    node: self.node.clone(),
                    layer: key.0,
                    operation: key.1,
                    total_ops: total.ops,
                    total_bytes: total.bytes,
                    rows_ops: rows.ops,
                    rows_bytes: rows.bytes,
                });
            }
        }
        Ok(())
    }
}

impl Window {
    /// The first moment after the window.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start.plus_ms(u64::from(self.length_ms))
    }
}

macro_rules! words {
    ($type:ty { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in tables, files and messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Layer { Logical => "logical" });
words!(Operation { Read => "read", Write => "write" });
words!(OtherReason { NoRule => "no_rule", PartitionLimit => "partition_limit" });
words!(UnattributedReason { NoPath => "no_path", FilesFull => "files_full", RulesDisagree => "rules_disagree" });
words!(LostReason { Recursion => "recursion", Compat => "compat", ClosedDescriptor => "closed_descriptor", Miscounted => "miscounted", UnwatchedProcess => "unwatched_process" });
words!(Completeness { Complete => "complete", Partial => "partial" });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemId;

    fn node_window(total: Counts, rows: &[Counts]) -> NodeWindow {
        let system = SystemId::new("s").unwrap();
        NodeWindow {
            node: NodeId::new(system, "n").unwrap(),
            processes: 1,
            totals: BTreeMap::from([((Layer::Logical, Operation::Read), total)]),
            rows: rows
                .iter()
                .map(|counts| Row {
                    subject: Subject::Other(OtherReason::NoRule),
                    layer: Layer::Logical,
                    operation: Operation::Read,
                    counts: *counts,
                    offsets: OffsetHistogram::EMPTY,
                })
                .collect(),
            lost: BTreeMap::new(),
        }
    }

    #[test]
    fn a_total_is_the_sum_of_its_rows() {
        let counts = |ops, bytes| Counts { ops, bytes };
        assert_eq!(node_window(counts(3, 30), &[counts(1, 10), counts(2, 20)]).check_conserved(), Ok(()));
        assert_eq!(node_window(counts(0, 0), &[]).check_conserved(), Ok(()));
        let missing = node_window(counts(3, 30), &[counts(3, 29)]).check_conserved().unwrap_err();
        assert_eq!(
            missing.to_string(),
            "s/n: logical read: the total is 3 operations and 30 bytes, its rows sum to 3 operations and 29 bytes"
        );
        let mut unknown_layer = node_window(counts(1, 1), &[counts(1, 1)]);
        unknown_layer.totals.clear();
        assert!(unknown_layer.check_conserved().is_err(), "rows without a total are not conserved");
    }
}
