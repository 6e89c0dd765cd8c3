//! Operations and bytes, by every call and protocol.

use crate::lab::{Lab, Peers, assert_totals, counted, expected, odd, total};
use isotherm_agent::probe::Capacity;
use isotherm_model::{Counts, Layer, Operation};
use isotherm_tests::sockets::{
    Calls, ClientPlan, Connection, Manner, Protocol, ServerPlan, SocketTruth, addresses, mark,
};
use std::net::{IpAddr, SocketAddr};

/// The server's listeners.
const TCP4: usize = 0;
const TCP6: usize = 1;
const DUAL: usize = 2;
const UDP4: usize = 3;
const UDP6: usize = 4;

fn any_port(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 0)
}

fn at(ip: &str, listener: SocketAddr) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), listener.port())
}

/// The same questions by both protocols, over IPv4, IPv6, and IPv4 to a socket of IPv6.
fn client(listeners: &[SocketAddr], manner: Manner) -> ClientPlan {
    let mut plan = ClientPlan::new();
    let mut add = |connection: Connection| {
        let connections = std::mem::take(&mut plan).connections;
        plan = ClientPlan { connections }.connection(connection.manner(manner));
    };
    let tcp = |to: SocketAddr| Connection::new(Protocol::Tcp, to);
    add(tcp(listeners[TCP4]).source(any_port("127.0.0.21")).early().exchanges(7, 8, 100_000));
    add(tcp(listeners[TCP4]).source(any_port("127.0.0.22")).exchanges(3, 50_000, 1).lives(4));
    add(tcp(listeners[TCP6]).exchanges(5, 1_000, 2_000));
    add(tcp(at("127.0.0.1", listeners[DUAL])).source(any_port("127.0.0.23")).exchanges(5, 100, 200));
    add(tcp(at("::1", listeners[DUAL])).exchanges(2, 10_000, 20_000));
    if listeners.len() > UDP4 {
        let udp = |to: SocketAddr| Connection::new(Protocol::Udp, to).exchanges(9, 100, 1_300);
        add(udp(listeners[UDP4]));
        add(udp(at("::1", listeners[UDP6])));
        add(udp(at("127.0.0.1", listeners[UDP6])));
        if manner.calls != Calls::Uring {
            let loose = |to: SocketAddr| Connection::new(Protocol::UdpUnconnected, to).exchanges(4, 8, 9);
            add(loose(listeners[UDP4]));
            add(loose(at("::1", listeners[UDP6])));
        }
    }
    plan
}

fn server(manner: Manner) -> ServerPlan {
    let plan = ServerPlan::new()
        .listen(Protocol::Tcp, any_port("127.0.0.1"))
        .listen(Protocol::Tcp, any_port("::1"))
        .listen(Protocol::Tcp, any_port("::"))
        .manner(manner);
    if manner.calls == Calls::Uring {
        return plan;
    }
    plan.listen(Protocol::Udp, any_port("127.0.0.1")).listen(Protocol::Udp, any_port("::"))
}

fn assert_exact(test: &str, manner: Manner) {
    let mut server = server(manner).spawn().unwrap();
    let listeners = addresses(&server).unwrap();
    let mut client = client(&listeners, manner).spawn().unwrap();
    mark(&mut server, &client).unwrap();
    let Some(mut lab) = Lab::start(test, 2, &[], Capacity::default()) else { return };
    for listener in &listeners[..UDP4] {
        lab.probe.add_port(crate::lab::target(0), listener.port()).unwrap();
    }
    lab.watch(server.pid(), 0);
    let asked = client.run().unwrap();
    let answered = server.run().unwrap();
    let window = lab.cut();
    assert_eq!(counted(&window.nodes[0]), expected(&answered), "the server, {manner:?}");
    assert_totals(&window.nodes[0], &answered);
    assert!(asked.received().ops > 0 && asked.received().bytes == answered.sent().bytes);

    // The other side, for itself.
    let mut server = self::server(manner).spawn().unwrap();
    let mut client = self::client(&addresses(&server).unwrap(), manner).spawn().unwrap();
    lab.watch(client.pid(), 1);
    let asked = client.run().unwrap();
    server.run().unwrap();
    let window = lab.cut();
    assert_eq!(counted(&window.nodes[1]), expected(&asked), "the client, {manner:?}");
    assert_totals(&window.nodes[1], &asked);
    assert_eq!(counted(&window.nodes[0]), Peers::new());
}

#[test]
fn plain_calls_are_counted() {
    assert_exact("plain_calls_are_counted", Manner::default());
}

#[test]
fn calls_of_sockets_are_counted_and_looks_are_not() {
    let manner = Manner { calls: Calls::SendRecv, peek: true, chunk_bytes: 3_000, ..Manner::default() };
    assert_exact("calls_of_sockets_are_counted_and_looks_are_not", manner);
}

#[test]
fn vectors_are_counted() {
    let manner = Manner { calls: Calls::Vectored, chunk_bytes: 777, ..Manner::default() };
    assert_exact("vectors_are_counted", manner);
}

#[test]
fn messages_that_wait_for_all_are_counted() {
    let manner = Manner { calls: Calls::Message, wait_all: true, ..Manner::default() };
    assert_exact("messages_that_wait_for_all_are_counted", manner);
}

#[test]
fn calls_that_would_wait_are_not_counted() {
    let manner = Manner { calls: Calls::SendRecv, nonblocking: true, ..Manner::default() };
    assert_exact("calls_that_would_wait_are_not_counted", manner);
}

#[test]
fn io_uring_is_counted() {
    let manner = Manner { calls: Calls::Uring, ..Manner::default() };
    assert_exact("io_uring_is_counted", manner);
}

fn assert_odd(scenario: &str) -> Option<(Lab, SocketTruth)> {
    let mut generator = odd(scenario, &[]);
    let mut lab = Lab::start(scenario, 1, &[], Capacity::default())?;
    lab.watch(generator.pid(), 0);
    let truth = generator.run().unwrap();
    let window = lab.cut();
    let counted = crate::lab::untagged(&counted(&window.nodes[0]));
    assert_eq!(counted, expected(&truth), "{scenario}");
    assert_totals(&window.nodes[0], &truth);
    Some((lab, truth))
}

#[test]
fn what_fails_or_is_empty_is_not_counted() {
    let Some((lab, truth)) = assert_odd("failures") else { return };
    assert_eq!((truth.sent().bytes, truth.received().bytes), (1, 1));
    assert_eq!(lab.probe.remembered().unwrap().opening, 0);
}

#[test]
fn sockets_without_ports_of_ip_are_not_counted() {
    let Some((_, truth)) = assert_odd("families") else { return };
    assert!(truth.flows.is_empty());
}

#[test]
fn each_of_many_datagrams_is_counted() {
    let Some((_, truth)) = assert_odd("many") else { return };
    assert_eq!(truth.sent(), Counts { ops: 4, bytes: 1_721 });
    assert_eq!(truth.received(), truth.sent());
}

#[test]
fn children_are_counted() {
    let Some((_, truth)) = assert_odd("children") else { return };
    assert_eq!(truth.received().bytes, 5_000);
}

#[test]
fn the_bytes_of_a_sent_file_are_counted() {
    let server = ServerPlan::new().listen(Protocol::Tcp, any_port("127.0.0.1")).spawn().unwrap();
    let mut client = odd("file", &addresses(&server).unwrap());
    let name = "the_bytes_of_a_sent_file_are_counted";
    let Some(mut lab) = Lab::start(name, 1, &[], Capacity::default()) else { return };
    lab.watch(client.pid(), 0);
    let truth = client.run().unwrap();
    let window = lab.cut();
    assert_eq!(total(&window.nodes[0], Operation::Write).bytes, truth.sent().bytes);
    let logical = window.nodes[0].totals[&(Layer::Logical, Operation::Read)];
    assert_eq!(logical, Counts::default(), "sendfile is no call on files that is counted");
}
