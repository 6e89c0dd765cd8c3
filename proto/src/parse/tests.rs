use super::*;
use crate::{gap_to_wire, hello_to_wire, window_set_to_payload};

fn sample() -> Vec<Window> {
    let system = SystemId::new("seaweedfs").unwrap();
    let counts = Counts { ops: 3, bytes: 300 };
    let mut buckets = [0; BUCKETS];
    buckets[7] = 3;
    let row = |subject| Row {
        subject,
        layer: Layer::Logical,
        operation: Operation::Read,
        counts,
        offsets: OffsetHistogram::new(14, buckets).unwrap(),
        latency: None,
    };
    let sent = Counts { ops: 2, bytes: 20 };
    let network = Row {
        subject: Subject::Other(OtherReason::NoRule),
        layer: Layer::Network,
        operation: Operation::Write,
        counts: sent,
        offsets: OffsetHistogram::EMPTY,
        latency: None,
    };
    let mut requests = [0; isotherm_model::LATENCY_BUCKETS];
    requests[13] = 2;
    let device = Row {
        layer: Layer::Device,
        latency: Some(Box::new(LatencyHistogram::new(requests))),
        ..row(Subject::Other(OtherReason::Journal))
    };
    let peer = Peer {
        subject: network.subject.clone(),
        operation: Operation::Write,
        local: "[fe80::1]:8080".parse().unwrap(),
        remote: Some("10.0.0.9:0".parse().unwrap()),
        node: Some(NodeId::new(system.clone(), "10.0.0.2:8080").unwrap()),
        counts: Counts { ops: 1, bytes: 5 },
    };
    let rest = Peer { remote: None, node: None, counts: Counts { ops: 1, bytes: 15 }, ..peer.clone() };
    vec![Window {
        start: Timestamp::from_ms(10_000),
        length_ms: 1_000,
        completeness: Completeness::Complete,
        nodes: vec![NodeWindow {
            node: NodeId::new(system.clone(), "10.0.0.1:8080").unwrap(),
            processes: 1,
            totals: BTreeMap::from([
                ((Layer::Logical, Operation::Read), Counts { ops: 9, bytes: 900 }),
                ((Layer::Logical, Operation::Write), Counts::default()),
                ((Layer::Device, Operation::Read), counts),
                ((Layer::Network, Operation::Write), sent),
            ]),
            rows: vec![
                row(Subject::Partition(PartitionId::new(system, "7").unwrap())),
                row(Subject::Other(OtherReason::PartitionLimit)),
                row(Subject::Unattributed(UnattributedReason::NoPath)),
                device,
                network,
            ],
            listening: vec!["0.0.0.0:8080".parse().unwrap()],
            peers: vec![peer, rest],
            lost: BTreeMap::from([(LostReason::Compat, 2)]),
        }],
    }]
}

fn refused(change: impl FnOnce(&mut wire::Window)) -> String {
    let mut set = wire::WindowSet::decode(window_set_to_payload(&sample()).as_slice()).unwrap();
    change(&mut set.windows[0]);
    let error = window_set_from_payload(&set.encode_to_vec()).unwrap_err();
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[test]
fn windows_survive_the_wire() {
    assert_eq!(window_set_from_payload(&window_set_to_payload(&sample())).unwrap(), sample());
}

#[test]
fn malformed_windows_are_refused_with_the_field() {
    let node = |window: &mut wire::Window| window.nodes[0].clone();
    for (got, want) in [
        (
            refused(|w| w.length_ms = 0),
            "windows[0].length_ms is 0, expected a length above 0 that ends before the year 2262",
        ),
        (refused(|w| w.completeness = 9), "windows[0].completeness is 9, expected a value of its enum"),
        (refused(|w| w.nodes[0].node.clear()), "windows[0].nodes[0].node: node is empty"),
        (
            refused(|w| {
                let twin = node(w);
                w.nodes.push(twin);
            }),
            "windows[0].nodes[1] (seaweedfs/10.0.0.1:8080) occurs twice",
        ),
        (
            refused(|w| {
                let twin = w.nodes[0].rows[0].clone();
                w.nodes[0].rows.push(twin);
            }),
            "windows[0].nodes[0].rows[5] occurs twice",
        ),
        (
            refused(|w| w.nodes[0].rows[0].subject = None),
            "windows[0].nodes[0].rows[0].subject is absent, expected partition, other or unattributed",
        ),
        (
            refused(|w| {
                w.nodes[0].rows[0].offsets.as_mut().unwrap().counts.pop();
            }),
            "windows[0].nodes[0].rows[0].offsets.counts is 63 buckets, expected 64 buckets",
        ),
        (
            refused(|w| w.nodes[0].rows[0].offsets.as_mut().unwrap().shift = 58),
            "windows[0].nodes[0].rows[0].offsets.shift is 58, expected 12 to 57",
        ),
        (
            refused(|w| w.nodes[0].rows[0].offsets.as_mut().unwrap().counts[0] = 1),
            "windows[0].nodes[0].rows[0].offsets.counts is a sum of 4, expected a sum equal to ops",
        ),
        (
            refused(|w| w.nodes[0].rows[1].operation = 0),
            "windows[0].nodes[0].rows[1].operation is unspecified, expected a value of its enum",
        ),
        (
            refused(|w| w.nodes[0].totals[0].bytes = 901),
            "windows[0].nodes[0]: seaweedfs/10.0.0.1:8080: logical read: the total is 9 operations and 901 bytes, its rows sum to 9 operations and 900 bytes",
        ),
        (
            refused(|w| w.nodes[0].lost[0].reason = 0),
            "windows[0].nodes[0].lost[0] is unspecified, expected a value of its enum",
        ),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn damaged_empty_and_oversized_payloads_are_refused() {
    let message = |payload: &[u8]| window_set_from_payload(payload).unwrap_err().to_string();
    assert_eq!(message(&[0xff; 40]), "the payload is not a WindowSet");
    assert_eq!(message(&[]), "windows is empty, expected at least one window");
    assert_eq!(
        message(&vec![0; MAX_PAYLOAD_BYTES + 1]),
        "the payload has 8388609 bytes, more than the 8388608 accepted"
    );
}

#[test]
fn rows_are_counted_before_they_are_parsed() {
    let rows = |nodes: usize, rows: usize| {
        let node = wire::NodeWindow { rows: vec![wire::Row::default(); rows], ..Default::default() };
        let window = wire::Window { nodes: vec![node; nodes], ..Default::default() };
        wire::WindowSet { windows: vec![window] }.encode_to_vec()
    };
    assert_eq!(rows_in_payload(&rows(3, 5)).unwrap(), 1 + 3 * (1 + 5));
    assert_eq!(rows_in_payload(&window_set_to_payload(&sample())).unwrap(), 15);
    assert_eq!(rows_in_payload(&rows(1, MAX_ROWS - 2)).unwrap(), MAX_ROWS);
    for payload in [rows(1, MAX_ROWS - 1), rows(MAX_ROWS, 0)] {
        let error = window_set_from_payload(&payload).unwrap_err().to_string();
        assert_eq!(error, "the payload has more than the 262144 rows accepted");
    }
    let whole = window_set_to_payload(&sample());
    for end in 1..whole.len() {
        let error = window_set_from_payload(&whole[..end]).unwrap_err();
        assert!(matches!(error, Malformed::Encoding(_)), "{end}: {error}");
    }
}

#[test]
fn hello_and_gap_survive_the_wire_and_refuse_nonsense() {
    let hello = Hello {
        agent: AgentId::new("host-1").unwrap(),
        boot: BootId::new("b").unwrap(),
        version: "0.1.0".into(),
        window_ms: 1_000,
        targets: vec![NodeId::new(SystemId::new("s").unwrap(), "n").unwrap()],
    };
    assert_eq!(hello_from_wire(hello_to_wire(&hello)).unwrap(), hello);
    assert!(hello_from_wire(wire::Hello { window_ms: 0, ..hello_to_wire(&hello) }).is_err());

    let time = Interval::new(Timestamp::from_ms(1), Timestamp::from_ms(2)).unwrap();
    let gap = Gap { first: Seq::FIRST, last: Seq::FIRST.next(), time, reason: GapReason::QueueFull };
    assert_eq!(gap_from_wire(gap_to_wire(&gap)).unwrap(), gap);
    assert!(gap_from_wire(wire::Gap { last_seq: 0, ..gap_to_wire(&gap) }).is_err());
    assert!(gap_from_wire(wire::Gap { end_ms: 1, ..gap_to_wire(&gap) }).is_err());
}
