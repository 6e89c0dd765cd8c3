//! What was there before the agent looked: ports, connections, and who has opened them.

use crate::lab::{Lab, Peers, counted, expected_with, node};
use isotherm_agent::config::Target;
use isotherm_agent::discovery::Depth;
use isotherm_agent::discovery::Selector;
use isotherm_agent::locator::Located;
use isotherm_agent::probe::Capacity;
use isotherm_agent::watched::Watched;
use isotherm_model::Operation;
use isotherm_tests::process::wait_for;
use isotherm_tests::sockets::{ClientPlan, Connection, Protocol, ServerPlan, addresses, mark};
use std::net::SocketAddr;
use std::time::Duration;

fn select(index: usize, pid: u32) -> Target {
    let select = Selector { pid: Some(pid), ..Selector::default() };
    Target { node: node(index), select, rules: Vec::new(), located: Located::default() }
}

#[test]
fn connections_older_than_the_agent_are_told_with_their_nodes() {
    let name = "connections_older_than_the_agent_are_told_with_their_nodes";
    // A listener of both protocols, so that the server's side is an address of IPv6 that is mapped.
    for (listen, to) in [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "::1")] {
        let listen = SocketAddr::new(listen.parse().unwrap(), 0);
        let mut server = ServerPlan::new().listen(Protocol::Tcp, listen).spawn().unwrap();
        let to = SocketAddr::new(to.parse().unwrap(), addresses(&server).unwrap()[0].port());
        let connection = || Connection::new(Protocol::Tcp, to).early().exchanges(5, 10, 3_000);
        let plan = || ClientPlan::new().connection(connection()).connection(connection());
        let (mut caller, mut client) = (plan().spawn().unwrap(), plan().spawn().unwrap());
        mark(&mut server, &caller).unwrap();
        mark(&mut server, &client).unwrap();

        let Some(mut lab) = Lab::start(name, 2, &[], Capacity::default()) else { return };
        let targets = [select(0, server.pid()), select(1, caller.pid())];
        let mut watched = Watched::new(&mut lab.probe, &targets).unwrap();
        watched.refresh(&mut lab.probe, Depth::Full).unwrap();
        watched.refresh(&mut lab.probe, Depth::Full).unwrap();
        assert_eq!(watched.processes(), [1, 1]);
        assert_eq!(lab.probe.remembered().unwrap().open, 2, "the caller's two");

        let asked = caller.run().unwrap();
        client.run().unwrap();
        let answered = server.run().unwrap();
        let window = lab.cut();
        let of_server = |remote: SocketAddr| asked.flows.iter().any(|flow| flow.local == remote).then_some(1);
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let late = |mut peers: Peers| {
            // Which early connections the server took before it was marked, only it knows; none is counted.
            peers.retain(|(operation, ..), _| *operation != Operation::Accept);
            peers
        };
        let told = counted(&window.nodes[0]);
        assert!(told.keys().all(|(operation, ..)| *operation != Operation::Accept));
        assert_eq!(told, late(expected_with(&answered, |flow| of_server(canonical(flow.remote)))));
        assert_eq!(counted(&window.nodes[1]), expected_with(&asked, |_| Some(0)));

        caller.leave().unwrap();
        wait_for("the connections to be forgotten", Duration::from_secs(10), || {
            Ok((lab.probe.remembered()?.open == 0).then_some(()))
        })
        .unwrap();
    }
}
