//! The generator of socket traffic: both ends, the kernel's accounts and its TCP say the same.

use isotherm_model::Counts;
use isotherm_tests::generator::Generator;
use isotherm_tests::process::wait_for;
use isotherm_tests::sockets::{
    Calls, ClientPlan, Connection, Flow, Manner, Origin, Protocol, ServerPlan, SocketTruth, addresses, mark,
};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// How long the kernel may take for what it does by itself.
const LIMIT: Duration = Duration::from_secs(20);

const CALLS: [Calls; 5] = [Calls::Plain, Calls::SendRecv, Calls::Vectored, Calls::Message, Calls::Uring];

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn server(protocol: Protocol, address: &str, manner: Manner) -> (Generator<SocketTruth>, SocketAddr) {
    let server = ServerPlan::new().listen(protocol, at(address)).manner(manner).spawn().unwrap();
    let address = addresses(&server).unwrap()[0];
    (server, address)
}

/// What read and write moved by the account of a process, without what generators say and are told.
fn account(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    (field("rchar:"), field("wchar:"))
}

/// As [`account`], of a generator that waits for a word: what it said before is on its account only when the call
/// has ended, which its caller does not see.
fn settled_account(pid: u32) -> (u64, u64) {
    wait_for("the generator to read its stdin", LIMIT, || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok(call.starts_with("0 0x0 ").then(|| account(pid)))
    })
    .unwrap()
}

/// Whose end of connections.
#[derive(Clone, Copy)]
enum End {
    Client,
    Server,
}

/// What the kernel's TCP brought over and received on the open connections to or from a port, by `ss`.
///
/// What was acknowledged, as what was sent also has, under load, what was sent again.
fn by_tcp(server: SocketAddr, end: End) -> (u64, u64) {
    // The SYN of the client is acknowledged as a byte; that of the server is not among them (Linux 6.18).
    let (side, syn_bytes) = match end {
        End::Client => ("dport", 1),
        End::Server => ("sport", 0),
    };
    let filter = format!("{side} = :{}", server.port());
    let connections = wait_for("every byte to be acknowledged", LIMIT, || {
        let output = Command::new("ss").args(["-HOtni", "state", "established", &filter]).output()?;
        assert!(output.status.success(), "{output:?}");
        let connections: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
        // The second column is what waits to be sent or acknowledged.
        let settled = |line: &String| line.split_whitespace().nth(1) == Some("0");
        Ok(connections.iter().all(settled).then_some(connections))
    })
    .unwrap();
    let sum = |name: &str| {
        let words = connections.iter().flat_map(|line| line.split_whitespace());
        words
            .filter_map(|word| word.strip_prefix(name))
            .map(|value| value.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    (sum("bytes_acked:") - syn_bytes * connections.len() as u64, sum("bytes_received:"))
}

fn mirrored(flow: &Flow) -> (SocketAddr, SocketAddr, u64, u64) {
    (flow.remote, flow.local, flow.sent.bytes, flow.received.bytes)
}

/// Every flow of one end is one of the other's, with as many bytes.
fn assert_same(asked: &SocketTruth, answered: &SocketTruth) {
    let mut asked: Vec<_> = asked.flows.iter().map(mirrored).collect();
    let plain = |flow: &Flow| (flow.local, flow.remote, flow.received.bytes, flow.sent.bytes);
    let mut answered: Vec<_> = answered.flows.iter().map(plain).collect();
    asked.sort_unstable();
    answered.sort_unstable();
    assert_eq!(asked, answered);
}

#[test]
fn both_ends_of_a_stream_and_the_kernel_agree_by_every_call() {
    for calls in CALLS {
        let manner = Manner { calls, ..Manner::default() };
        let (mut server, address) = server(Protocol::Tcp, "127.0.0.1:0", manner);
        let connection = Connection::new(Protocol::Tcp, address).calls(calls).exchanges(20, 3_000, 100_000);
        let plan = ClientPlan::new().connection(connection.clone().early()).connection(connection);
        let mut client = plan.spawn().unwrap();
        let before = settled_account(client.pid());
        let asked = client.run().unwrap();
        let after = settled_account(client.pid());
        assert_eq!(by_tcp(address, End::Client), (asked.sent().bytes, asked.received().bytes), "{calls:?}");
        let answered = server.run().unwrap();
        assert_eq!(
            by_tcp(address, End::Server),
            (answered.sent().bytes, answered.received().bytes),
            "{calls:?}"
        );
        assert_eq!(
            (asked.sent().bytes, asked.received().bytes),
            (2 * 20 * 3_000, 2 * 20 * 100_000),
            "{calls:?}"
        );
        assert_eq!(asked.sent().ops, 40, "{calls:?}: a request fits into the socket");
        assert!(asked.received().ops >= 40, "{calls:?}");
        assert_same(&asked, &answered);
        if matches!(calls, Calls::Plain | Calls::Vectored) {
            let said = serde_json::to_string(&asked).unwrap().len() as u64 + 1;
            let read = after.0 - before.0 - "go\n".len() as u64;
            let written = after.1 - before.1 - said;
            assert_eq!((written, read), (asked.sent().bytes, asked.received().bytes), "{calls:?}");
        }
    }
}

#[test]
fn peers_are_known_by_their_addresses() {
    let plan = ServerPlan::new()
        .listen(Protocol::Tcp, at("127.0.0.1:0"))
        .listen(Protocol::Tcp, at("[::1]:0"))
        .listen(Protocol::Tcp, at("[::]:0"));
    let mut server = plan.spawn().unwrap();
    let [four, six, both] = addresses(&server).unwrap()[..] else { panic!("three addresses") };
    let mapped = SocketAddr::new(at("127.0.0.1:0").ip(), both.port());
    let connection = |server, source: &str| Connection::new(Protocol::Tcp, server).source(at(source));
    let mut client = ClientPlan::new()
        .connection(connection(four, "127.0.0.2:0"))
        .connection(connection(four, "127.0.0.3:0"))
        .connection(connection(six, "[::1]:0"))
        .connection(connection(mapped, "127.0.0.4:0"))
        .spawn()
        .unwrap();
    client.run().unwrap();
    let answered = server.run().unwrap();
    let peers: BTreeSet<_> = answered.flows.iter().map(Flow::peer).collect();
    let expected = [
        (four, at("127.0.0.2:0")),
        (four, at("127.0.0.3:0")),
        (six, at("[::1]:0")),
        (mapped, at("127.0.0.4:0")),
    ];
    assert_eq!(peers, BTreeSet::from(expected));
    assert_eq!(answered.flows.iter().filter(|flow| flow.remote.is_ipv6()).count(), 2, "one is IPv4-mapped");
}

#[test]
fn datagrams_are_counted_one_by_one() {
    for (calls, protocol) in [
        (Calls::Plain, Protocol::Udp),
        (Calls::SendRecv, Protocol::Udp),
        (Calls::Vectored, Protocol::Udp),
        (Calls::Message, Protocol::Udp),
        (Calls::Uring, Protocol::Udp),
        (Calls::SendRecv, Protocol::UdpUnconnected),
        (Calls::Message, Protocol::UdpUnconnected),
    ] {
        let theirs = if calls == Calls::Message { calls } else { Calls::SendRecv };
        let manner = Manner { calls: theirs, ..Manner::default() };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut server, address) = server(protocol, address, manner);
            let source = SocketAddr::new(address.ip(), 0);
            let connection = Connection::new(protocol, address).source(source).calls(calls);
            let plan = ClientPlan::new().connection(connection.exchanges(50, 1_000, 20_000));
            let asked = plan.spawn().unwrap().run().unwrap();
            assert_eq!(asked.sent(), Counts { ops: 50, bytes: 50_000 }, "{calls:?} {protocol:?}");
            assert_eq!(asked.received(), Counts { ops: 50, bytes: 1_000_000 }, "{calls:?} {protocol:?}");
            let answered = server.run().unwrap();
            assert_eq!((answered.received(), answered.sent()), (asked.sent(), asked.received()));
            assert_same(&asked, &answered);
            let origin = if protocol == Protocol::Udp { Origin::Connected } else { Origin::Unconnected };
            assert_eq!((asked.flows[0].origin, answered.flows[0].origin), (origin, Origin::Unconnected));
        }
    }
}

#[test]
fn looks_and_calls_that_move_nothing_stand_apart() {
    let run = |manner: Manner| {
        let (mut server, address) = server(Protocol::Tcp, "127.0.0.1:0", Manner::default());
        let connection = Connection::new(Protocol::Tcp, address).exchanges(10, 100, 500_000).manner(manner);
        let asked = ClientPlan::new().connection(connection).spawn().unwrap().run().unwrap();
        server.run().unwrap();
        let flow = asked.flows.into_iter().next().unwrap();
        assert_eq!(flow.received.bytes, 10 * 500_000, "{manner:?}");
        flow
    };
    let manner = Manner { calls: Calls::SendRecv, chunk_bytes: 500_000, ..Manner::default() };
    let waited = run(Manner { wait_all: true, ..manner });
    assert_eq!((waited.received.ops, waited.peeks, waited.received.again_ops), (10, 0, 0));
    let peeked = run(Manner { wait_all: true, peek: true, ..manner });
    assert_eq!((peeked.received.ops, peeked.peeks), (10, 10));
    let chunked = run(Manner { wait_all: true, chunk_bytes: 1_000, ..manner });
    assert_eq!((chunked.received.ops, chunked.sent.ops), (5_000, 10));
    let nonblocking = run(Manner { nonblocking: true, ..manner });
    assert!(nonblocking.received.again_ops > 0 && nonblocking.received.ops >= 10, "{nonblocking:?}");
}

#[test]
fn connections_are_early_or_late_and_live_several_times() {
    let (mut server, address) = server(Protocol::Tcp, "127.0.0.1:0", Manner::default());
    let connection = Connection::new(Protocol::Tcp, address);
    let plan = ClientPlan::new()
        .connection(connection.clone().early())
        .connection(connection.clone().early().lives(3))
        .connection(connection.lives(5));
    let mut client = plan.spawn().unwrap();
    mark(&mut server, &client).unwrap();
    let asked = client.run().unwrap();
    let answered = server.run().unwrap();
    assert_eq!(asked.streams(Origin::Connected), (9, 7));
    assert_eq!(answered.streams(Origin::Accepted), (9, 7));
    assert_eq!(asked.sent(), Counts { ops: 9, bytes: 9 * 64 });
    // Lives that ended were seen to end; the last ones are still open.
    let ends: u64 = answered.flows.iter().map(|flow| flow.received.empty_ops).sum();
    assert_eq!(ends, 6);
    assert_same(&asked, &answered);
}

#[test]
fn a_server_that_is_gone_is_an_error_and_no_truth() {
    let (mut server, address) = server(Protocol::Tcp, "127.0.0.1:0", Manner::default());
    let connection = Connection::new(Protocol::Tcp, address).early();
    let mut client = ClientPlan::new().connection(connection.clone()).spawn().unwrap();
    mark(&mut server, &client).unwrap();
    server.kill().unwrap();
    assert!(client.run().is_err());
    assert!(ClientPlan::new().connection(connection).spawn().is_err());
}
