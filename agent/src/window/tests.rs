use super::*;
use crate::probe::Reading;
use isotherm_agent_ebpf::{
    ACCEPT, Address, BlockKind, CONNECT, MAX_TARGETS, SLOTS, Slot, Tally, tally_index,
};
use isotherm_model::{Completeness, OtherReason, SystemId, Timestamp};

/// Everything is of no rule; blocks of inode 9 belong to nobody, and file 5 gets its name late.
#[derive(Default)]
struct Simple {
    named: bool,
}

impl Attribute for Simple {
    fn file(&mut self, key: &FileKey) -> Subject {
        if key.is_overflow() {
            Subject::Unattributed(UnattributedReason::FilesFull)
        } else if key.ino == 5 && !self.named {
            Subject::Unattributed(UnattributedReason::NoPath)
        } else {
            Subject::Other(OtherReason::NoRule)
        }
    }

    fn block(&mut self, key: &BlockKey) -> (Owner, Subject) {
        if key.number == 9 {
            (Owner::Device(key.dev), Subject::Other(OtherReason::NoTarget))
        } else {
            (Owner::Target(0), Subject::Other(OtherReason::NoRule))
        }
    }

    fn peer(&mut self, _: &PeerKey) -> Subject {
        Subject::Other(OtherReason::NoRule)
    }
}

fn key(ino: u64, target: u32, operation: u16, shift: u16) -> FileKey {
    FileKey { ino, dev: 1, generation: 1, target, operation, shift }
}

fn counters(bytes: u64, buckets: &[(usize, u64)]) -> FileCounters {
    let mut counters = FileCounters { bytes, ..FileCounters::ZERO };
    for (bucket, count) in buckets {
        counters.offsets[*bucket] = *count;
    }
    counters
}

/// A reading whose totals agree with it.
fn reading(files: &[(FileKey, FileCounters)]) -> Reading {
    let mut reading = Reading { files: files.to_vec(), ..Reading::default() };
    balance(&mut reading);
    reading
}

fn balance(reading: &mut Reading) {
    let mut tallies = vec![Tally::default(); (MAX_TARGETS * SLOTS) as usize];
    let mut add = |target, slot, operation, counts: Counts| {
        let tally = &mut tallies[tally_index(target, slot, operation) as usize];
        tally.seen_ops += counts.ops;
        tally.seen_bytes += counts.bytes;
        tally.settled_ops += counts.ops;
        tally.settled_bytes += counts.bytes;
    };
    for (key, counters) in &reading.files {
        add(key.target, Slot::Calls, key.operation, counters.counts());
    }
    for (key, counters) in &reading.blocks {
        add(key.target, Slot::Block, u16::from(key.operation), counters.counts());
    }
    for (key, counters) in &reading.peers {
        add(key.target, Slot::Received, key.operation, counters.counts());
    }
    (reading.totals.before, reading.totals.after) = (tallies.clone(), tallies);
}

const SPAN: Span =
    Span { start: Timestamp::from_ms(0), length_ms: 1_000, completeness: Completeness::Complete };

fn cut(cutter: &mut Cutter, reading: &Reading) -> (Window, Vec<Unbalanced>) {
    let system = SystemId::new("s").unwrap();
    let told = |target, name: &str| Told {
        target,
        node: NodeId::new(system.clone(), name).unwrap(),
        processes: 1,
        listening: Vec::new(),
    };
    let nodes = [told(0, "a"), told(1, "b")];
    let host = Host { agent: AgentId::new("h").unwrap(), device_name: |dev| format!("d{dev}") };
    let watching = Watching { layers: Layer::ALL.to_vec(), latency: true };
    let mut attribute = Simple::default();
    let mut round = cutter.round(&mut attribute, &watching);
    reading.visit(&mut round);
    round.attribute().named = true;
    let (window, unbalanced) = round.finish(&reading.totals, SPAN, &nodes, &host, &watching);
    window.nodes.iter().for_each(|node| node.check_conserved().unwrap());
    (window, unbalanced)
}

#[test]
fn a_window_tells_only_what_is_new_and_merges_files_of_a_subject() {
    let mut cutter = Cutter::default();
    let first = [(key(1, 0, READ, 12), counters(100, &[(3, 1)]))];
    cut(&mut cutter, &reading(&first));
    let second = [
        (key(1, 0, READ, 12), counters(300, &[(3, 2), (60, 1)])),
        (key(1, 0, READ, 13), counters(50, &[(7, 1)])),
    ];
    let (window, unbalanced) = cut(&mut cutter, &reading(&second));
    assert_eq!(unbalanced, []);
    let node = &window.nodes[0];
    assert_eq!(node.totals[&(Layer::Logical, Operation::Read)], Counts { ops: 3, bytes: 250 });
    assert_eq!(node.rows.len(), 1);
    let offsets = &node.rows[0].offsets;
    assert_eq!(
        (offsets.shift(), offsets.counts()[1], offsets.counts()[30], offsets.counts()[7]),
        (13, 1, 1, 1)
    );
    assert!(window.nodes[1].rows.is_empty());
    assert_eq!(window.nodes[1].totals.len(), 3 + 3 + 4, "a node that did nothing says so");
    let (quiet, _) = cut(&mut cutter, &reading(&second));
    assert!(quiet.nodes[0].rows.is_empty());
}

#[test]
fn what_found_no_room_or_has_no_place_is_counted_without_an_offset() {
    let mut cutter = Cutter::default();
    let without = |ops, bytes| FileCounters { unplaced_ops: ops, bytes, ..FileCounters::ZERO };
    let files = [(FileKey::overflow(1, WRITE), without(4, 40)), (key(7, 1, SYNC, 12), without(2, 0))];
    let (window, _) = cut(&mut cutter, &reading(&files));
    let rows = &window.nodes[1].rows;
    assert_eq!(rows[0].counts, Counts { ops: 4, bytes: 40 });
    assert_eq!((rows[1].operation, rows[1].counts), (Operation::Sync, Counts { ops: 2, bytes: 0 }));
    assert!(rows.iter().all(|row| row.offsets.total() == 0));
}

#[test]
fn a_name_that_comes_while_the_counters_are_read_is_in_time() {
    let (window, _) = cut(&mut Cutter::default(), &reading(&[(key(5, 0, READ, 12), counters(1, &[(0, 1)]))]));
    assert_eq!(window.nodes[0].rows[0].subject, Subject::Other(OtherReason::NoRule));
}

#[test]
fn what_a_device_does_for_nobody_is_the_hosts() {
    let block = |number| BlockKey {
        number,
        dev: 1,
        generation: 0,
        target: HOST_TARGET,
        kind: BlockKind::File as u8,
        operation: WRITE as u8,
        shift: 12,
        reserved: 0,
    };
    let mut counters = BlockCounters { bytes: 4_096, ..BlockCounters::ZERO };
    counters.offsets[0] = 1;
    counters.latency[15] = 1;
    let mut reading =
        Reading { blocks: vec![(block(1), counters), (block(9), counters)], ..Reading::default() };
    balance(&mut reading);
    let (window, unbalanced) = cut(&mut Cutter::default(), &reading);
    assert_eq!(unbalanced, []);
    assert_eq!(window.nodes[2].node.to_string(), "host/h");
    assert_eq!(window.nodes[2].totals[&(Layer::Device, Operation::Write)], Counts::default());
    let host = &window.nodes[3];
    assert_eq!(host.node.to_string(), "host/h:d1");
    assert_eq!(host.totals[&(Layer::Device, Operation::Write)], Counts { ops: 1, bytes: 4_096 });
    assert!(
        host.totals.keys().all(|(layer, _)| *layer == Layer::Device),
        "nobody looked at its other layers"
    );
    for node in [host, &window.nodes[0]] {
        assert_eq!(node.rows[0].latency.as_ref().unwrap().counts()[15], 1);
    }
}

#[test]
fn peers_are_told_by_operation() {
    let address = |port| Address { ip: [1; 16], port, reserved: 0 };
    let peer =
        |operation| PeerKey { target: 1, operation, peer_target: 1, local: address(80), remote: address(0) };
    let peers = [READ, WRITE, ACCEPT, CONNECT].map(|code| (peer(code), PeerCounters { ops: 1, bytes: 2 }));
    let mut reading = Reading { peers: peers.to_vec(), ..Reading::default() };
    balance(&mut reading);
    let (window, unbalanced) = cut(&mut Cutter::default(), &reading);
    assert_eq!(unbalanced, []);
    let node = &window.nodes[1];
    let operations: Vec<Operation> = node.peers.iter().map(|peer| peer.operation).collect();
    assert_eq!(operations, Layer::Network.operations());
    assert!(node.peers.iter().all(|peer| peer.node.as_ref().unwrap().name() == "a"));
}

#[test]
fn lost_events_are_told_once() {
    let mut cutter = Cutter::default();
    let lost = Lost { compat: 2, closed_descriptor: 1, unread_request: 3, ..Lost::default() };
    let mut reading = reading(&[]);
    reading.totals.lost = vec![Lost::default(), lost];
    reading.totals.recursion_misses = 1;
    let (window, _) = cut(&mut cutter, &reading);
    assert_eq!(window.nodes[0].lost, BTreeMap::from([(LostReason::Recursion, 1)]));
    assert_eq!(window.nodes[1].lost[&LostReason::Compat], 2);
    assert_eq!(window.nodes[1].lost[&LostReason::UnreadRequest], 3);
    assert!(cut(&mut cutter, &reading).0.nodes.iter().all(|node| node.lost.is_empty()));
}

#[test]
fn what_the_kernels_totals_contradict_is_lost() {
    let mut cutter = Cutter::default();
    let mut reading = reading(&[(key(1, 0, READ, 12), counters(100, &[(3, 5)]))]);
    reading.totals.before[tally_index(0, Slot::Calls, READ) as usize].settled_ops += 2;
    reading.totals.after[tally_index(0, Slot::Calls, READ) as usize].seen_ops += 2;
    let (window, unbalanced) = cut(&mut cutter, &reading);
    assert_eq!(unbalanced.len(), 1);
    assert_eq!(window.nodes[0].lost, BTreeMap::from([(LostReason::Miscounted, 2)]));
    assert!(cut(&mut cutter, &reading).0.nodes[0].lost.is_empty());
}

#[test]
fn an_evicted_file_is_told_to_the_end() {
    let mut cutter = Cutter::default();
    let files =
        [(key(1, 0, READ, 12), counters(100, &[(3, 5)])), (key(2, 0, READ, 12), counters(7, &[(0, 1)]))];
    cut(&mut cutter, &reading(&files));
    let last = counters(9, &[(0, 2)]);
    cutter.files.evict(&files[1].0, &last);
    // The kernel's totals go on from where they were.
    let mut later = reading(&[files[0], (files[1].0, last)]);
    later.files.pop();
    let (window, unbalanced) = cut(&mut cutter, &later);
    assert_eq!(unbalanced, []);
    assert_eq!(window.nodes[0].rows[0].counts, Counts { ops: 1, bytes: 2 });
}
