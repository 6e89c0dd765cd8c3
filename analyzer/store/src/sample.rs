//! Windows for tests.

use crate::{Entry, Gap, Run, Store, Submission, Verdict};
use isotherm_model::{
    AgentId, BUCKETS, BootId, Completeness, Counts, Interval, LATENCY_BUCKETS, LatencyHistogram, Layer,
    LostReason, NodeId, NodeWindow, OffsetHistogram, Operation, OtherReason, PartitionId, Peer, Row, Seq,
    Subject, SystemId, Timestamp, Window,
};
use std::collections::BTreeMap;

/// Length of every window made here.
pub(crate) const WINDOW_MS: u32 = 1_000;

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

pub(crate) fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

pub(crate) fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

pub(crate) fn run(agent: &str) -> Run {
    Run { agent: AgentId::new(agent).unwrap(), boot: BootId::new("boot").unwrap() }
}

pub(crate) fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

pub(crate) fn row(subject: Subject, operation: Operation, ops: u64, offsets: OffsetHistogram) -> Row {
    Row {
        subject,
        layer: Layer::Logical,
        operation,
        counts: Counts { ops, bytes: ops * 100 },
        offsets,
        latency: None,
    }
}

/// `ops` reads of a partition, all in one bucket of the finest layout.
pub(crate) fn reads(name: &str, ops: u64) -> Row {
    let mut counts = [0; BUCKETS];
    counts[5] = ops;
    let offsets = OffsetHistogram::new(12, counts).unwrap();
    row(Subject::Partition(partition(name)), Operation::Read, ops, offsets)
}

pub(crate) fn writes(name: &str, ops: u64) -> Row {
    row(Subject::Partition(partition(name)), Operation::Write, ops, OffsetHistogram::EMPTY)
}

pub(crate) fn other_reads(ops: u64) -> Row {
    row(Subject::Other(OtherReason::NoRule), Operation::Read, ops, OffsetHistogram::EMPTY)
}

/// `ops` reads of a partition from the device, each of which took 2^20 ns or a little more.
pub(crate) fn device_reads(name: &str, ops: u64) -> Row {
    let mut latency = [0; LATENCY_BUCKETS];
    latency[20] = ops;
    let latency = Some(Box::new(LatencyHistogram::new(latency)));
    Row { layer: Layer::Device, latency, ..reads(name, ops) }
}

/// Adds what was received for a partition, by remote address, to a window; `None` for those not told apart.
pub(crate) fn receiving(mut window: NodeWindow, name: &str, peers: &[(Option<&str>, u64)]) -> NodeWindow {
    let subject = Subject::Partition(partition(name));
    let counts = |ops| Counts { ops, bytes: ops * 100 };
    let sum = counts(peers.iter().map(|(_, ops)| ops).sum());
    window.totals.insert((Layer::Network, Operation::Read), sum);
    let read = row(subject.clone(), Operation::Read, sum.ops, OffsetHistogram::EMPTY);
    window.rows.push(Row { layer: Layer::Network, ..read });
    window.peers.extend(peers.iter().map(|(remote, ops)| Peer {
        subject: subject.clone(),
        operation: Operation::Read,
        local: "10.0.0.1:80".parse().unwrap(),
        remote: remote.map(|remote| remote.parse().unwrap()),
        node: None,
        counts: counts(*ops),
    }));
    window.check_conserved().unwrap();
    window
}

/// What a node did, with totals that fit. Reads and writes of the logical layer were watched, and what has rows.
pub(crate) fn node_window(name: &str, rows: Vec<Row>) -> NodeWindow {
    let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Logical, operation));
    let mut totals: BTreeMap<_, Counts> = watched.map(|place| (place, Counts::default())).into();
    for row in &rows {
        let total = totals.entry((row.layer, row.operation)).or_default();
        *total = total.plus(row.counts);
    }
    NodeWindow {
        node: node(name),
        processes: 1,
        listening: Vec::new(),
        totals,
        rows,
        peers: Vec::new(),
        lost: BTreeMap::new(),
    }
}

pub(crate) fn with_lost(mut window: NodeWindow, events: u64) -> NodeWindow {
    window.lost.insert(LostReason::Compat, events);
    window
}

pub(crate) fn window(start_ms: u64, nodes: Vec<NodeWindow>) -> Window {
    Window { start: at(start_ms), length_ms: WINDOW_MS, completeness: Completeness::Complete, nodes }
}

pub(crate) fn batch(run: &Run, number: u64, windows: Vec<Window>) -> Submission {
    Submission { run: run.clone(), entry: Entry::Batch { seq: seq(number), windows } }
}

pub(crate) fn gap(run: &Run, first: u64, last: u64) -> Submission {
    let time = Interval::new(at(0), at(1_000)).unwrap();
    let gap = Gap { first: seq(first), last: seq(last), time, reason: "queue_full" };
    Submission { run: run.clone(), entry: Entry::Gap(gap) }
}

/// After every window made here.
pub(crate) const NOW_MS: u64 = 100_000_000;

/// Commits what must go through.
pub(crate) fn commit(store: &mut Store, submissions: &[Submission]) {
    let outcome = store.commit(submissions, at(NOW_MS));
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    for (verdict, submission) in outcome.verdicts.iter().zip(submissions) {
        assert_eq!(*verdict, Verdict::Committed { through: submission.entry.last() });
    }
}
