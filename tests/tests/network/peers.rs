//! Who the peers are.

use crate::lab::{Lab, assert_totals, counted, expected, expected_with, odd, target, untagged};
use isotherm_agent::probe::Capacity;
use isotherm_agent::rule::Rule;
use isotherm_agent::window::TOP_PEERS;
use isotherm_model::{Operation, Subject};
use isotherm_tests::generator::Generator;
use isotherm_tests::process::wait_for;
use isotherm_tests::sockets::{
    ClientPlan, Connection, Flow, Origin, Protocol, ServerPlan, SocketTruth, addresses, mark,
};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

fn ip(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 0)
}

fn server(address: &str) -> (Generator<SocketTruth>, SocketAddr) {
    let server = ServerPlan::new().listen(Protocol::Tcp, ip(address)).spawn().unwrap();
    let listening = addresses(&server).unwrap()[0];
    (server, listening)
}

/// A port that is free at this address, and was not used before.
fn free(address: &str) -> SocketAddr {
    TcpListener::bind(ip(address)).unwrap().local_addr().unwrap()
}

/// Local addresses of a client.
fn ends(truth: &SocketTruth) -> BTreeSet<SocketAddr> {
    truth.flows.iter().map(|flow| flow.local).collect()
}

fn forgotten(lab: &Lab) {
    wait_for("all connections to be forgotten", Duration::from_secs(10), || {
        let remembered = lab.probe.remembered()?;
        Ok((remembered.opening + remembered.open == 0).then_some(()))
    })
    .unwrap();
}

#[test]
fn nodes_are_told_from_clients_at_both_ends() {
    let name = "nodes_are_told_from_clients_at_both_ends";
    let Some(mut lab) = Lab::start(name, 2, &[], Capacity::default()) else { return };
    for (address, source) in [("127.0.0.1", "127.0.0.31"), ("::1", "::1")] {
        let (mut server, listening) = server(address);
        lab.probe.add_port(target(0), listening.port()).unwrap();
        let connection =
            || Connection::new(Protocol::Tcp, listening).source(ip(source)).lives(3).exchanges(4, 9, 2_000);
        // Node and client come from the same address.
        let plan = || ClientPlan::new().connection(connection()).connection(connection());
        let (mut node, mut client) = (plan().spawn().unwrap(), plan().spawn().unwrap());
        mark(&mut server, &node).unwrap();
        lab.watch(server.pid(), 0);
        lab.watch(node.pid(), 1);
        node.go().unwrap();
        client.go().unwrap();
        let (asked, _) = (node.done(|| Ok(())).unwrap(), client.done(|| Ok(())).unwrap());
        let answered = server.run().unwrap();
        let window = lab.cut();
        let known = ends(&asked);
        let of_server = |flow: &Flow| known.contains(&flow.remote).then_some(1);
        assert_eq!(counted(&window.nodes[0]), expected_with(&answered, of_server));
        assert_eq!(counted(&window.nodes[1]), expected_with(&asked, |_| Some(0)));
        assert_totals(&window.nodes[0], &answered);
        assert_totals(&window.nodes[1], &asked);
        // One connection of each is still open; whose opener is the node is remembered.
        assert_eq!(lab.probe.remembered().unwrap().open, 2);
        node.leave().unwrap();
        server.leave().unwrap();
        forgotten(&lab);
    }
}

/// Waits until the other end's kernel has acknowledged that this end of IPv4 is closed, which then is no socket
/// any more.
fn acknowledged(local: SocketAddr) {
    let port = format!(":{:04X}", local.port());
    wait_for("the end to be acknowledged", Duration::from_secs(10), || {
        let table = std::fs::read_to_string("/proc/net/tcp")?;
        let ends = table.lines().map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>());
        // States of net/tcp_states.h: ESTABLISHED, FIN_WAIT1.
        let open =
            |end: &Vec<&str>| end.len() == 3 && end[0].ends_with(&port) && ["01", "04"].contains(&end[2]);
        Ok((!ends.into_iter().any(|end| open(&end))).then_some(()))
    })
    .unwrap();
}

#[test]
fn what_a_node_sent_before_it_closed_is_the_nodes() {
    for scenario in ["late", "ended"] {
        let mut reader = odd(scenario, &[ip("127.0.0.1")]);
        let listening: Vec<SocketAddr> = serde_json::from_str(reader.details()).unwrap();
        let mut writer = odd("hasty", &[ip("127.0.0.32"), listening[0]]);
        let name = "what_a_node_sent_before_it_closed_is_the_nodes";
        let Some(mut lab) = Lab::start(name, 2, &[], Capacity::default()) else { return };
        lab.probe.add_port(target(0), listening[0].port()).unwrap();
        lab.watch(reader.pid(), 0);
        lab.watch(writer.pid(), 1);
        let sent = writer.run().unwrap();
        acknowledged(sent.flows[0].local);
        assert_eq!(lab.probe.remembered().unwrap().open, 1, "the other end has not read yet");
        let read = reader.run().unwrap();
        assert_eq!(read.received().bytes, sent.sent().bytes);
        let window = lab.cut();
        let counted = counted(&window.nodes[0]);
        assert_eq!(untagged(&counted), expected(&read), "{scenario}");
        // An end that is closed both ways has nothing left that tells when its last bytes are read.
        if scenario == "late" {
            assert_eq!(counted, expected_with(&read, |_| Some(1)));
        }
        forgotten(&lab);
    }
}

#[test]
fn a_port_that_another_process_uses_is_not_the_nodes() {
    let name = "a_port_that_another_process_uses_is_not_the_nodes";
    let (mut first, one) = server("127.0.0.1");
    let (second, two) = server("127.0.0.1");
    let Some(mut lab) = Lab::start(name, 3, &[], Capacity::default()) else { return };
    lab.watch(first.pid(), 0);
    lab.watch(second.pid(), 2);
    for (node, listening) in [(0, one), (2, two)] {
        lab.probe.add_port(target(node), listening.port()).unwrap();
    }
    // The port is given back, and taken by a process that is no node.
    let port = free("127.0.0.33");
    let (mut node, mut client) = (odd("client", &[port, one]), odd("client", &[port, one]));
    lab.watch(node.pid(), 1);
    assert_eq!(ends(&node.run().unwrap()), BTreeSet::from([port]));
    let tags = |lab: &mut Lab, index: usize| -> BTreeSet<Option<usize>> {
        counted(&lab.cut().nodes[index]).keys().map(|(_, _, _, node)| *node).collect()
    };
    assert_eq!(tags(&mut lab, 0), BTreeSet::from([Some(1)]));
    client.run().unwrap();
    assert_eq!(tags(&mut lab, 0), BTreeSet::from([None]));

    // The port is used by both at once, to different servers.
    let port = free("127.0.0.34");
    let (mut node, mut client) = (odd("holder", &[port, one]), odd("holder", &[port, two]));
    lab.watch(node.pid(), 1);
    node.run().unwrap();
    client.run().unwrap();
    let window = lab.cut();
    let tags = |index: usize| -> BTreeSet<Option<usize>> {
        counted(&window.nodes[index]).keys().map(|(_, _, _, node)| *node).collect()
    };
    assert_eq!((tags(0), tags(2)), (BTreeSet::from([Some(1)]), BTreeSet::from([None])));
    drop(node);
    forgotten(&lab);
    first.run().unwrap();
}

#[test]
fn a_connection_from_a_port_that_was_listened_on_is_the_nodes_own() {
    let name = "a_connection_from_a_port_that_was_listened_on_is_the_nodes_own";
    let (_server, listening) = server("127.0.0.1");
    let mut node = odd("reused", &[listening]);
    let Some(mut lab) = Lab::start(name, 1, &[], Capacity::default()) else { return };
    lab.watch(node.pid(), 0);
    let truth = node.run().unwrap();
    let window = lab.cut();
    assert_eq!(untagged(&counted(&window.nodes[0])), expected(&truth));
    assert_totals(&window.nodes[0], &truth);
}

#[test]
fn ports_are_partitions_and_the_busiest_peers_are_told_apart() {
    let name = "ports_are_partitions_and_the_busiest_peers_are_told_apart";
    let plan =
        ServerPlan::new().listen(Protocol::Tcp, ip("127.0.0.1")).listen(Protocol::Tcp, ip("127.0.0.1"));
    let mut server = plan.spawn().unwrap();
    let listening = addresses(&server).unwrap();
    let mut plan = ClientPlan::new();
    for index in 1..=TOP_PEERS as u8 + 8 {
        let source = SocketAddr::from(([127, 0, 1, index], 0));
        let connection = Connection::new(Protocol::Tcp, listening[0]).exchanges(u32::from(index), 8, 100);
        plan = plan.connection(connection.source(source).early());
    }
    let plan = plan.connection(Connection::new(Protocol::Tcp, listening[1]).early());
    let mut client = plan.spawn().unwrap();
    mark(&mut server, &client).unwrap();
    let rule = Rule::port(&listening[0].port().to_string(), "port-$port").unwrap();
    let Some(mut lab) = Lab::start(name, 1, &[rule], Capacity::default()) else { return };
    for address in &listening {
        lab.probe.add_port(target(0), address.port()).unwrap();
    }
    lab.watch(server.pid(), 0);
    client.run().unwrap();
    let truth = server.run().unwrap();
    let window = lab.cut();
    let node = &window.nodes[0];
    assert_totals(node, &truth);
    let all = expected(&truth);
    for operation in [Operation::Read, Operation::Write] {
        let of = |peers: &crate::lab::Peers, port: u16| -> Vec<_> {
            let here = peers.iter().filter(|((op, local, ..), _)| *op == operation && local.port() == port);
            here.map(|(key, counts)| (*key, *counts)).collect()
        };
        let mut told = of(&counted(node), listening[0].port());
        let rest: Vec<_> = told.extract_if(.., |((_, _, remote, _), _)| remote.is_none()).collect();
        let mut true_ones = of(&all, listening[0].port());
        let sum: u64 = true_ones.iter().map(|(_, counts)| counts.ops).sum();
        let row = node.rows.iter().find(|row| {
            row.operation == operation
                && matches!(&row.subject, Subject::Partition(id)
                if id.name() == format!("port-{}", listening[0].port()))
        });
        assert_eq!(row.unwrap().counts.ops, sum);
        true_ones.sort_by_key(|(_, counts)| std::cmp::Reverse((counts.ops, counts.bytes)));
        let (top, others) = true_ones.split_at(TOP_PEERS);
        told.sort_by_key(|(_, counts)| std::cmp::Reverse((counts.ops, counts.bytes)));
        assert_eq!(told, top);
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].1.ops, others.iter().map(|(_, counts)| counts.ops).sum::<u64>());
        assert_eq!(rest[0].1.bytes, others.iter().map(|(_, counts)| counts.bytes).sum::<u64>());
        assert_eq!(of(&counted(node), listening[1].port()), of(&all, listening[1].port()));
    }
    assert_eq!(truth.streams(Origin::Accepted), (TOP_PEERS as u64 + 9, 0));
}
