//! What an agent counted in one window, and the identity that its numbers obey.
//!
//! Everything a node's processes did is in exactly one row: a partition, `other` (understood, but of no
//! partition) or `unattributed` (not understood, with the reason): `total = partitions + other +
//! unattributed`. The agent holds the totals against kernel counters of their own before it sends them, and
//! the analyzer refuses a window whose rows do not sum to its totals. What was not seen at all is `lost`,
//! and stands beside the total, not in it.

use crate::{LatencyHistogram, NodeId, OffsetHistogram, PartitionId, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// Where an access was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// What the process asked of its files, by system call.
    Logical,
    /// What was handed to a block device for a file, whoever's thread did it: reads that missed the page
    /// cache, writes that left it.
    Device,
    /// What the process sent and received through its sockets.
    Network,
}

impl Layer {
    /// The operations that are told apart in the layer.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::Logical => &[Operation::Read, Operation::Write, Operation::Sync],
            Self::Device => &[Operation::Read, Operation::Write, Operation::Discard],
            Self::Network => &[Operation::Read, Operation::Write, Operation::Accept, Operation::Connect],
        }
    }
}

/// What an access did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Bytes came from the file, the device or the peer.
    Read,
    /// Bytes went there.
    Write,
    /// The file was to be made durable: fsync, fdatasync. Moves no bytes.
    Sync,
    /// The device may forget the bytes.
    Discard,
    /// A peer opened a connection. Moves no bytes.
    Accept,
    /// A connection to a peer was opened. Moves no bytes.
    Connect,
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
    /// Device layer: blocks that hold the file system itself.
    Metadata,
    /// Device layer: the file system's journal.
    Journal,
    /// Device layer: a file that no target has to do with.
    NoTarget,
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
    /// Device layer: blocks of no file and no file system that the agent understands.
    NoFile,
    /// Device layer: several targets use the file, or would claim it.
    SeveralTargets,
    /// The kernel map of peers was full, so that only the node is known.
    PeersFull,
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
    /// Asynchronous accesses (libaio) whose request could not be read again when they had ended.
    UnreadRequest,
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
    /// How long they took; absent where nobody measures it. In the device layer its total is the number of
    /// requests, into which the kernel merges neighbouring operations.
    pub latency: Option<Box<LatencyHistogram>>,
}

/// What was exchanged with one peer: a part of a row of the network layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The row that it is a part of.
    pub subject: Subject,
    /// In which direction.
    pub operation: Operation,
    /// The node's own side. Port 0: the node opened the connection, from whatever port.
    pub local: SocketAddr,
    /// The other side; `None` for all peers that are not told apart. Port 0: the peer opened the connection,
    /// from whatever port.
    pub remote: Option<SocketAddr>,
    /// The node that the peer is, where the agent watches both ends.
    pub node: Option<NodeId>,
    /// How many, how much.
    pub counts: Counts,
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
    /// Addresses that its processes listen on, as far as known.
    pub listening: Vec<SocketAddr>,
    /// Everything counted, by layer and operation. An operation that is absent was not watched.
    pub totals: BTreeMap<(Layer, Operation), Counts>,
    /// The same, by subject; at most one row per subject, layer and direction.
    pub rows: Vec<Row>,
    /// The rows of the network layer by peer. Their sum is that of the rows.
    pub peers: Vec<Peer>,
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
    "{node}: {layer} {operation}: the total is {total_ops} operations and {total_bytes} bytes, its {parts} sum \
     to {rows_ops} operations and {rows_bytes} bytes"
)]
pub struct NotConserved {
    /// The node whose numbers disagree.
    pub node: NodeId,
    /// In this layer.
    pub layer: Layer,
    /// In this direction.
    pub operation: Operation,
    /// What was summed: `rows` or `peers`.
    pub parts: &'static str,
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
    /// Checks `total = partitions + other + unattributed`, in operations and bytes, per layer and operation,
    /// and that the peers sum to the rows of the network layer, subject by subject.
    pub fn check_conserved(&self) -> Result<(), NotConserved> {
        let mut sums: BTreeMap<(Layer, Operation), Counts> = BTreeMap::new();
        let mut network: BTreeMap<(&Subject, Operation), [Counts; 2]> = BTreeMap::new();
        for row in &self.rows {
            let sum = sums.entry((row.layer, row.operation)).or_default();
            *sum = sum.plus(row.counts);
            if row.layer == Layer::Network {
                let [rows, _] = network.entry((&row.subject, row.operation)).or_default();
                *rows = rows.plus(row.counts);
            }
        }
        for peer in &self.peers {
            let [_, peers] = network.entry((&peer.subject, peer.operation)).or_default();
            *peers = peers.plus(peer.counts);
        }
        for key in sums.keys().chain(self.totals.keys()) {
            let total = self.totals.get(key).copied().unwrap_or_default();
            let rows = sums.get(key).copied().unwrap_or_default();
            self.check_sum(*key, total, "rows", rows)?;
        }
        for ((_, operation), [rows, peers]) in network {
            self.check_sum((Layer::Network, operation), rows, "peers", peers)?;
        }
        Ok(())
    }

    fn check_sum(
        &self,
        (layer, operation): (Layer, Operation),
        total: Counts,
        parts: &'static str,
        sum: Counts,
    ) -> Result<(), NotConserved> {
        if total == sum {
            return Ok(());
        }
        Err(NotConserved {
            node: self.node.clone(),
            layer,
            operation,
            parts,
            total_ops: total.ops,
            total_bytes: total.bytes,
            rows_ops: sum.ops,
            rows_bytes: sum.bytes,
        })
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

words!(Layer { Logical => "logical", Device => "device", Network => "network" });
words!(Operation {
    Read => "read",
    Write => "write",
    Sync => "sync",
    Discard => "discard",
    Accept => "accept",
    Connect => "connect",
});
words!(OtherReason {
    NoRule => "no_rule",
    PartitionLimit => "partition_limit",
    Metadata => "metadata",
    Journal => "journal",
    NoTarget => "no_target",
});
words!(UnattributedReason {
    NoPath => "no_path",
    FilesFull => "files_full",
    RulesDisagree => "rules_disagree",
    NoFile => "no_file",
    SeveralTargets => "several_targets",
    PeersFull => "peers_full",
});
words!(LostReason {
    Recursion => "recursion",
    Compat => "compat",
    ClosedDescriptor => "closed_descriptor",
    Miscounted => "miscounted",
    UnwatchedProcess => "unwatched_process",
    UnreadRequest => "unread_request",
});
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
            listening: Vec::new(),
            totals: BTreeMap::from([((Layer::Logical, Operation::Read), total)]),
            rows: rows
                .iter()
                .map(|counts| Row {
                    subject: Subject::Other(OtherReason::NoRule),
                    layer: Layer::Logical,
                    operation: Operation::Read,
                    counts: *counts,
                    offsets: OffsetHistogram::EMPTY,
                    latency: None,
                })
                .collect(),
            peers: Vec::new(),
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

    #[test]
    fn the_peers_of_a_row_sum_to_it() {
        let counts = Counts { ops: 3, bytes: 30 };
        let mut node = node_window(counts, &[counts]);
        node.totals.clear();
        node.totals.insert((Layer::Network, Operation::Read), counts);
        node.rows[0].layer = Layer::Network;
        let error = node.check_conserved().unwrap_err().to_string();
        assert!(error.ends_with("its peers sum to 0 operations and 0 bytes"), "{error}");
        node.peers.push(Peer {
            subject: node.rows[0].subject.clone(),
            operation: Operation::Read,
            local: "10.0.0.1:80".parse().unwrap(),
            remote: None,
            node: None,
            counts,
        });
        assert_eq!(node.check_conserved(), Ok(()));
    }

    #[test]
    fn every_operation_belongs_to_a_layer() {
        for operation in Operation::ALL {
            assert!(Layer::ALL.iter().any(|layer| layer.operations().contains(operation)), "{operation}");
        }
    }
}
