//! Windows as columns.

use crate::schema::{self, Class};
use crate::write::Run;
use isotherm_model::{
    BUCKETS, Completeness, Counts, LATENCY_BUCKETS, LatencyHistogram, Layer, NodeWindow, OffsetHistogram,
    Operation, Peer, Row, Seq, Window,
};
use polars::prelude::{
    Column, DataFrame, Int64Chunked, IntoColumn, IntoSeries, PolarsResult, TimeUnit, TimeZone,
};

/// Rows of the table `windows` that are being gathered, column by column.
#[derive(Debug)]
pub(crate) struct Columns {
    start_ms: Vec<i64>,
    window_ms: Vec<u32>,
    completeness: Vec<&'static str>,
    agent: Vec<String>,
    boot: Vec<String>,
    seq: Vec<u64>,
    system: Vec<String>,
    node: Vec<String>,
    processes: Vec<u32>,
    class: Vec<&'static str>,
    partition: Vec<Option<String>>,
    reason: Vec<Option<&'static str>>,
    layer: Vec<Option<&'static str>>,
    operation: Vec<Option<&'static str>>,
    ops: Vec<u64>,
    bytes: Vec<u64>,
    local: Vec<Option<String>>,
    remote: Vec<Option<String>>,
    peer_system: Vec<Option<String>>,
    peer_node: Vec<Option<String>>,
    latency_ops: Vec<Option<u64>>,
    shift: Vec<Option<u8>>,
    offsets: Vec<Vec<u64>>,
    latencies: Vec<Vec<u64>>,
}

/// What is common to all rows of one node's window.
struct Head<'a> {
    run: &'a Run,
    seq: Seq,
    start_ms: i64,
    window_ms: u32,
    completeness: Completeness,
    node: &'a NodeWindow,
}

/// What differs between them.
#[derive(Clone, Copy)]
struct Tail<'a> {
    class: Class,
    partition: Option<&'a str>,
    reason: Option<&'static str>,
    place: Option<(Layer, Operation)>,
    counts: Counts,
    peer: Option<&'a Peer>,
    offsets: Option<&'a OffsetHistogram>,
    latency: Option<&'a LatencyHistogram>,
}

impl<'a> Tail<'a> {
    fn new(class: Class, counts: Counts) -> Self {
        Self {
            class,
            partition: None,
            reason: None,
            place: None,
            counts,
            peer: None,
            offsets: None,
            latency: None,
        }
    }

    fn of_row(row: &'a Row) -> Self {
        let (class, partition, reason) = Class::of(&row.subject);
        Self {
            partition,
            reason,
            place: Some((row.layer, row.operation)),
            offsets: known_offsets(row),
            latency: row.latency.as_deref(),
            ..Self::new(class, row.counts)
        }
    }

    fn of_peer(peer: &'a Peer) -> Self {
        let (_, partition, reason) = Class::of(&peer.subject);
        Self {
            partition,
            reason,
            place: Some((Layer::Network, peer.operation)),
            peer: Some(peer),
            ..Self::new(Class::Peer, peer.counts)
        }
    }
}

impl Columns {
    pub(crate) fn new() -> Self {
        Self {
            start_ms: Vec::new(),
            window_ms: Vec::new(),
            completeness: Vec::new(),
            agent: Vec::new(),
            boot: Vec::new(),
            seq: Vec::new(),
            system: Vec::new(),
            node: Vec::new(),
            processes: Vec::new(),
            class: Vec::new(),
            partition: Vec::new(),
            reason: Vec::new(),
            layer: Vec::new(),
            operation: Vec::new(),
            ops: Vec::new(),
            bytes: Vec::new(),
            local: Vec::new(),
            remote: Vec::new(),
            peer_system: Vec::new(),
            peer_node: Vec::new(),
            latency_ops: Vec::new(),
            shift: Vec::new(),
            offsets: vec![Vec::new(); BUCKETS],
            latencies: vec![Vec::new(); LATENCY_BUCKETS],
        }
    }

    /// Adds every row of a window.
    pub(crate) fn push(&mut self, run: &Run, seq: Seq, window: &Window) {
        for node in &window.nodes {
            let head = Head {
                run,
                seq,
                start_ms: window.start.as_ms().cast_signed(),
                window_ms: window.length_ms,
                completeness: window.completeness,
                node,
            };
            self.push_node(&head);
        }
    }

    fn push_node(&mut self, head: &Head<'_>) {
        for (place, counts) in &head.node.totals {
            self.push_row(head, &Tail { place: Some(*place), ..Tail::new(Class::Total, *counts) });
        }
        for row in &head.node.rows {
            self.push_row(head, &Tail::of_row(row));
        }
        for peer in &head.node.peers {
            self.push_row(head, &Tail::of_peer(peer));
        }
        for (reason, events) in &head.node.lost {
            let counts = Counts { ops: *events, bytes: 0 };
            self.push_row(head, &Tail { reason: Some(reason.as_str()), ..Tail::new(Class::Lost, counts) });
        }
    }

    fn push_row(&mut self, head: &Head<'_>, tail: &Tail<'_>) {
        self.start_ms.push(head.start_ms);
        self.window_ms.push(head.window_ms);
        self.completeness.push(head.completeness.as_str());
        self.agent.push(head.run.agent.to_string());
        self.boot.push(head.run.boot.to_string());
        self.seq.push(head.seq.get());
        self.system.push(head.node.node.system().to_string());
        self.node.push(head.node.node.name().to_owned());
        self.processes.push(head.node.processes);
        self.class.push(tail.class.as_str());
        self.partition.push(tail.partition.map(str::to_owned));
        self.reason.push(tail.reason);
        self.layer.push(tail.place.map(|(layer, _)| layer.as_str()));
        self.operation.push(tail.place.map(|(_, operation)| operation.as_str()));
        self.ops.push(tail.counts.ops);
        self.bytes.push(tail.counts.bytes);
        let node = tail.peer.and_then(|peer| peer.node.as_ref());
        self.local.push(tail.peer.map(|peer| peer.local.to_string()));
        self.remote.push(tail.peer.and_then(|peer| peer.remote).map(|remote| remote.to_string()));
        self.peer_system.push(node.map(|node| node.system().to_string()));
        self.peer_node.push(node.map(|node| node.name().to_owned()));
        self.latency_ops.push(tail.latency.map(LatencyHistogram::total));
        self.shift.push(tail.offsets.map(OffsetHistogram::shift));
        let counts = tail.offsets.map_or(&[0; BUCKETS], OffsetHistogram::counts);
        for (column, count) in self.offsets.iter_mut().zip(counts) {
            column.push(*count);
        }
        let counts = tail.latency.map_or(&[0; LATENCY_BUCKETS], LatencyHistogram::counts);
        for (column, count) in self.latencies.iter_mut().zip(counts) {
            column.push(*count);
        }
    }

    /// The rows as a frame with the schema of `windows`.
    pub(crate) fn into_frame(self) -> PolarsResult<DataFrame> {
        let height = self.start_ms.len();
        let start = Int64Chunked::from_vec(schema::WINDOW_START.into(), self.start_ms)
            .into_datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC));
        let mut columns: Vec<Column> = vec![
            start.into_series().into_column(),
            Column::new(schema::WINDOW_MS.into(), self.window_ms),
            Column::new(schema::COMPLETENESS.into(), self.completeness),
            Column::new(schema::AGENT.into(), self.agent),
            Column::new(schema::BOOT.into(), self.boot),
            Column::new(schema::SEQ.into(), self.seq),
            Column::new(schema::SYSTEM.into(), self.system),
            Column::new(schema::NODE.into(), self.node),
            Column::new(schema::PROCESSES.into(), self.processes),
            Column::new(schema::CLASS.into(), self.class),
            Column::new(schema::PARTITION.into(), self.partition),
            Column::new(schema::REASON.into(), self.reason),
            Column::new(schema::LAYER.into(), self.layer),
            Column::new(schema::OPERATION.into(), self.operation),
            Column::new(schema::OPS.into(), self.ops),
            Column::new(schema::BYTES.into(), self.bytes),
            Column::new(schema::LOCAL.into(), self.local),
            Column::new(schema::REMOTE.into(), self.remote),
            Column::new(schema::PEER_SYSTEM.into(), self.peer_system),
            Column::new(schema::PEER_NODE.into(), self.peer_node),
            Column::new(schema::LATENCY_OPS.into(), self.latency_ops),
            Column::new(schema::OFFSET_SHIFT.into(), self.shift),
        ];
        let counts = schema::buckets().zip(self.offsets).chain(schema::latencies().zip(self.latencies));
        columns.extend(counts.map(|(name, counts)| Column::new(name, counts)));
        let frame = DataFrame::new(height, columns)?;
        debug_assert_eq!(frame.schema().as_ref(), &schema::windows());
        Ok(frame)
    }
}

/// The offsets of a row, unless they are unknown: accesses without a single offset, and operations that have
/// none.
fn known_offsets(row: &Row) -> Option<&OffsetHistogram> {
    let can_have = row.layer != Layer::Network && row.operation != Operation::Sync;
    (row.offsets.total() > 0 || (row.counts.ops == 0 && can_have)).then_some(&row.offsets)
}
