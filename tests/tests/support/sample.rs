//! Windows whose numbers are known.

use isotherm_model::{
    BUCKETS, Completeness, Counts, Layer, NodeId, NodeWindow, OffsetHistogram, Operation, OtherReason,
    PartitionId, Row, Subject, SystemId, Timestamp, Window,
};
use std::collections::BTreeMap;

/// Every window lasts a second.
pub(crate) const WINDOW_MS: u32 = 1_000;

/// 2026-01-01T09:00:00Z: an hour that careless readers take for the number 9.
pub(crate) const START_MS: u64 = 1_767_258_000_000;

pub(crate) fn system() -> SystemId {
    SystemId::new("seaweedfs").unwrap()
}

/// A row of reads (of 100 bytes each) or writes (of 10) at the beginning of the partition's file.
pub(crate) fn row(partition: &str, operation: Operation, ops: u64) -> Row {
    let mut counts = [0; BUCKETS];
    counts[3] = ops;
    let each = match operation {
        Operation::Read => 100,
        Operation::Write => 10,
        Operation::Sync | Operation::Discard | Operation::Accept | Operation::Connect => 0,
    };
    Row {
        subject: Subject::Partition(PartitionId::new(system(), partition).unwrap()),
        layer: Layer::Logical,
        operation,
        counts: Counts { ops, bytes: ops * each },
        offsets: OffsetHistogram::new(12, counts).unwrap(),
        latency: None,
    }
}

/// Reads of no partition.
pub(crate) fn other(ops: u64) -> Row {
    Row {
        subject: Subject::Other(OtherReason::NoRule),
        offsets: OffsetHistogram::EMPTY,
        ..row("-", Operation::Read, ops)
    }
}

/// What a node did. Reads and writes of the logical layer were watched, and what has rows.
pub(crate) fn node(name: &str, rows: Vec<Row>) -> NodeWindow {
    let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Logical, operation));
    let mut totals: BTreeMap<_, Counts> = watched.map(|place| (place, Counts::default())).into();
    for row in &rows {
        let total = totals.entry((row.layer, row.operation)).or_default();
        *total = total.plus(row.counts);
    }
    let node = NodeId::new(system(), name).unwrap();
    NodeWindow {
        node,
        processes: 1,
        listening: Vec::new(),
        totals,
        rows,
        peers: Vec::new(),
        lost: BTreeMap::new(),
    }
}

/// The window that starts so many seconds after [`START_MS`].
pub(crate) fn window(second: u64, nodes: Vec<NodeWindow>) -> Window {
    Window {
        start: Timestamp::from_ms(START_MS + second * 1_000),
        length_ms: WINDOW_MS,
        completeness: Completeness::Complete,
        nodes,
    }
}

/// A window in which node `a` reads ten times from partition `1`.
pub(crate) fn ten_reads(second: u64) -> Window {
    window(second, vec![node("a", vec![row("1", Operation::Read, 10)])])
}
