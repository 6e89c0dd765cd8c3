//! What is bounded loses nothing, and says so; what changes while it is read is told once.

use crate::lab::{Lab, Peers, assert_totals, counted, expected, target, total};
use isotherm_agent::probe::{Capacity, TargetIndex};
use isotherm_agent::upkeep::Upkeep;
use isotherm_agent_ebpf::MAX_PORTS;
use isotherm_model::{Counts, NodeWindow, Operation, Subject, UnattributedReason};
use isotherm_tests::generator::Generator;
use isotherm_tests::sockets::{ClientPlan, Connection, Protocol, ServerPlan, SocketTruth, addresses, mark};
use std::net::SocketAddr;

/// A server, and a client from so many addresses.
fn crowd(addresses_count: u8, exchanges: u32) -> (Generator<SocketTruth>, Generator<SocketTruth>) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut server = ServerPlan::new().listen(Protocol::Tcp, listen).spawn().unwrap();
    let to = addresses(&server).unwrap()[0];
    let connection = |index: u8| {
        let source = SocketAddr::from(([127, 0, 2, index], 0));
        Connection::new(Protocol::Tcp, to).source(source).exchanges(exchanges, 8, 100)
    };
    let plan =
        (1..=addresses_count).fold(ClientPlan::new(), |plan, index| plan.connection(connection(index)));
    let client = plan.spawn().unwrap();
    mark(&mut server, &client).unwrap();
    (server, client)
}

fn listening(server: &Generator<SocketTruth>) -> SocketAddr {
    addresses(server).unwrap()[0]
}

/// Operations that are not attributed because the map was full.
fn without_room(node: &NodeWindow) -> u64 {
    let rows = node.rows.iter();
    rows.filter(|row| row.subject == Subject::Unattributed(UnattributedReason::PeersFull))
        .map(|row| row.counts.ops)
        .sum()
}

#[test]
fn a_full_map_of_peers_loses_nothing_and_says_so() {
    let name = "a_full_map_of_peers_loses_nothing_and_says_so";
    let (mut server, mut client) = crowd(120, 3);
    let Some(mut lab) = Lab::start(name, 1, &[], Capacity { peers: 30, ..Capacity::default() }) else {
        return;
    };
    lab.probe.add_port(target(0), listening(&server).port()).unwrap();
    lab.watch(server.pid(), 0);
    client.run().unwrap();
    let truth = server.run().unwrap();
    let window = lab.cut();
    let node = &window.nodes[0];
    assert_totals(node, &truth);
    let full = without_room(node);
    let all = truth.received().ops + truth.sent().ops + 120;
    assert!(full > 0 && full < all, "{full} of {all} found no room");
    assert_eq!(lab.probe.read().unwrap().totals.lost[0].peers_full, full);
}

#[test]
fn idle_peers_make_room_and_are_counted_again() {
    let name = "idle_peers_make_room_and_are_counted_again";
    let (mut server, mut client) = crowd(30, 2);
    let Some(mut lab) = Lab::start(name, 1, &[], Capacity { peers: 100, ..Capacity::default() }) else {
        return;
    };
    lab.probe.add_port(target(0), listening(&server).port()).unwrap();
    lab.watch(server.pid(), 0);
    client.run().unwrap();
    let truth = server.run().unwrap();
    assert_eq!(counted(&lab.cut().nodes[0]), expected(&truth));
    let entries = |lab: &mut Lab| {
        let peers = lab.probe.read().unwrap().peers;
        peers.iter().filter(|(key, _)| !key.is_overflow()).count()
    };
    let before = entries(&mut lab);
    lab.cut();
    lab.evict_idle(&mut Upkeep::default());
    let after = entries(&mut lab);
    assert!(before >= 90 && after <= 75, "{before} entries became {after}");
    // The totals have what is no longer in the map, and that is no contradiction.
    assert_eq!(counted(&lab.cut().nodes[0]), Peers::new());
    let (mut server, mut client) = crowd(8, 2);
    lab.probe.add_port(target(0), listening(&server).port()).unwrap();
    lab.watch(server.pid(), 0);
    client.run().unwrap();
    let truth = server.run().unwrap();
    let window = lab.cut();
    assert_eq!(counted(&window.nodes[0]), expected(&truth));
    assert_eq!(without_room(&window.nodes[0]), 0);
}

#[test]
fn windows_cut_during_the_traffic_sum_to_it() {
    let name = "windows_cut_during_the_traffic_sum_to_it";
    let (mut server, mut client) = crowd(4, 20_000);
    let Some(mut lab) = Lab::start(name, 2, &[], Capacity::default()) else { return };
    lab.probe.add_port(target(0), listening(&server).port()).unwrap();
    lab.watch(server.pid(), 0);
    lab.watch(client.pid(), 1);
    let operations = [Operation::Read, Operation::Write, Operation::Accept, Operation::Connect];
    let mut sums = [[Counts::default(); 4]; 2];
    let mut add = |lab: &mut Lab| {
        let window = lab.cut();
        for (node, sums) in window.nodes.iter().zip(&mut sums) {
            for (operation, sum) in operations.iter().zip(sums) {
                *sum = sum.plus(total(node, *operation));
            }
        }
    };
    client.go().unwrap();
    let mut windows = 0;
    let asked = client
        .done(|| {
            windows += 1;
            add(&mut lab);
            Ok(())
        })
        .unwrap();
    let answered = server.run().unwrap();
    add(&mut lab);
    let none = Counts::default();
    let four = Counts { ops: 4, bytes: 0 };
    assert_eq!(sums[0], [answered.received(), answered.sent(), four, none]);
    assert_eq!(sums[1], [asked.received(), asked.sent(), none, four]);
    assert!(windows > 2, "the traffic fits into {windows} windows");
}

#[test]
fn without_room_for_its_port_a_server_is_counted_all_the_same() {
    let name = "without_room_for_its_port_a_server_is_counted_all_the_same";
    let (mut server, mut client) = crowd(3, 2);
    let Some(mut lab) = Lab::start(name, 1, &[], Capacity::default()) else { return };
    let other = TargetIndex::new(1).unwrap();
    for port in 1..=MAX_PORTS as u16 {
        lab.probe.add_port(other, port).unwrap();
    }
    let full = lab.probe.add_port(target(0), listening(&server).port());
    assert!(full.is_err(), "there is room for {MAX_PORTS} ports");
    // One that is known already needs no room.
    lab.probe.add_port(other, 1).unwrap();
    lab.watch(server.pid(), 0);
    client.run().unwrap();
    let truth = server.run().unwrap();
    assert_totals(&lab.cut().nodes[0], &truth);
}
