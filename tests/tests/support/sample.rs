//! Windows whose numbers are known.

use isotherm_model::{
    AgentId, BUCKETS, Completeness, Counts, LATENCY_BUCKETS, LatencyHistogram, Layer, NodeId, NodeWindow,
    OffsetHistogram, Operation, OtherReason, PartitionId, Peer, Row, Subject, SystemId, Timestamp, Window,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

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

/// A row of the device layer whose requests all took between 2^20 and 2^21 ns.
pub(crate) fn device(partition: &str, operation: Operation, ops: u64) -> Row {
    let mut latency = [0; LATENCY_BUCKETS];
    latency[20] = ops;
    let latency = Some(Box::new(LatencyHistogram::new(latency)));
    Row { layer: Layer::Device, latency, ..row(partition, operation, ops) }
}

/// What passed between a node and a peer for a partition: 100 bytes by each read, 10 by each write.
pub(crate) fn peer(
    partition: &str,
    operation: Operation,
    local: &str,
    remote: Option<&str>,
    ops: u64,
) -> Peer {
    let row = row(partition, operation, ops);
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Peer {
        subject: row.subject,
        operation,
        local: address(local),
        remote: remote.map(address),
        node: None,
        counts: row.counts,
    }
}

/// Adds peers to a node's window, with the rows and totals of the network layer that they are parts of. All
/// operations of that layer were watched.
pub(crate) fn with_peers(mut node: NodeWindow, peers: Vec<Peer>) -> NodeWindow {
    for operation in Layer::Network.operations() {
        node.totals.insert((Layer::Network, *operation), Counts::default());
    }
    let mut rows: BTreeMap<(Subject, Operation), Counts> = BTreeMap::new();
    for peer in &peers {
        let row = rows.entry((peer.subject.clone(), peer.operation)).or_default();
        *row = row.plus(peer.counts);
        let total = node.totals.get_mut(&(Layer::Network, peer.operation)).unwrap();
        *total = total.plus(peer.counts);
    }
    node.rows.extend(rows.into_iter().map(|((subject, operation), counts)| Row {
        subject,
        layer: Layer::Network,
        operation,
        counts,
        offsets: OffsetHistogram::EMPTY,
        latency: None,
    }));
    node.peers = peers;
    node.check_conserved().unwrap();
    node
}

/// What happened on the devices of an agent's host and is no target's: writes of 10 bytes each.
pub(crate) fn host(agent: &str, writes: u64) -> NodeWindow {
    let mut host = node("-", Vec::new());
    host.node = NodeId::of_host(&AgentId::new(agent).unwrap());
    host.processes = 0;
    let subject = Subject::Other(OtherReason::NoTarget);
    let row = Row { subject, ..device("-", Operation::Write, writes) };
    host.totals = BTreeMap::from([((Layer::Device, Operation::Write), row.counts)]);
    host.rows = vec![row];
    host
}

/// What a node did. With rows, reads and writes of the logical layer were watched, and what has rows; without
/// them nothing was.
pub(crate) fn node(name: &str, rows: Vec<Row>) -> NodeWindow {
    let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Logical, operation));
    let mut totals: BTreeMap<_, Counts> = BTreeMap::new();
    if !rows.is_empty() {
        totals.extend(watched.map(|place| (place, Counts::default())));
    }
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
