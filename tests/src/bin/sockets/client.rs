//! Asks.

use crate::wire::{Wire, count};
use anyhow::{Context, Result, anyhow, ensure};
use isotherm_tests::generator::ready;
use isotherm_tests::sockets::{
    ClientPlan, Connection, Flow, MIN_REQUEST_BYTES, Origin, Protocol, SocketTruth,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

/// The longest datagram here.
const MAX_DATAGRAM_BYTES: u32 = 60_000;

/// Does the plan; the truth, and what stays open.
pub(crate) fn run(plan: &ClientPlan) -> Result<(SocketTruth, Vec<Wire>)> {
    let mut waiting = Vec::new();
    for (index, connection) in plan.connections.iter().enumerate() {
        let opened = check(connection).and_then(|()| connection.early.then(|| open(connection)).transpose());
        waiting.push((connection, opened.with_context(|| format!("connections[{index}]"))?));
    }
    let streams = plan.connections.iter().filter(|one| one.early && one.protocol == Protocol::Tcp).count();
    if ready(&streams)?.is_none() {
        return Ok((SocketTruth::default(), Vec::new()));
    }
    thread::scope(|scope| {
        let threads: Vec<_> = waiting
            .into_iter()
            .map(|(connection, opened)| scope.spawn(move || converse(connection, opened)))
            .collect();
        let (mut truth, mut open) = (SocketTruth::default(), Vec::new());
        for (index, thread) in threads.into_iter().enumerate() {
            let done = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            let (flows, wire) = done.with_context(|| format!("connections[{index}]"))?;
            truth.flows.extend(flows);
            open.extend(wire);
        }
        Ok((truth, open))
    })
}

fn check(connection: &Connection) -> Result<()> {
    let Connection { protocol, lives, request_bytes, response_bytes, .. } = *connection;
    ensure!(lives > 0, "lives: more than 0");
    ensure!(request_bytes >= MIN_REQUEST_BYTES, "request_bytes: at least {MIN_REQUEST_BYTES}");
    ensure!(response_bytes > 0, "response_bytes: more than 0");
    let longest = request_bytes.max(response_bytes);
    ensure!(protocol == Protocol::Tcp || longest <= MAX_DATAGRAM_BYTES, "{longest} bytes are no datagram");
    Ok(())
}

/// A socket, connected unless it is not to be, and its flow.
fn open(connection: &Connection) -> Result<(Wire, Flow)> {
    let Connection { protocol, server, source, manner, .. } = *connection;
    let kind = if protocol == Protocol::Tcp { SockType::Stream } else { SockType::Datagram };
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    if let Some(source) = source {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source)).with_context(|| format!("bind {source}"))?;
    }
    if protocol == Protocol::UdpUnconnected {
        if source.is_none() {
            let any = if server.is_ipv4() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, 0))).context("bind")?;
        }
    } else {
        connect(socket.as_raw_fd(), &SockaddrStorage::from(server))
            .with_context(|| format!("connect {server}"))?;
    }
    let local = local(&socket)?;
    let origin = if protocol == Protocol::UdpUnconnected { Origin::Unconnected } else { Origin::Connected };
    let flow = Flow::new(protocol, local, server, origin);
    Ok((Wire::new(socket, manner)?, flow))
}

/// The address of an end; the kinds of sockets do not differ in this.
pub(crate) fn local(socket: &OwnedFd) -> Result<SocketAddr> {
    let copy = socket.try_clone().context("share a socket")?;
    UdpSocket::from(copy).local_addr().context("getsockname")
}

/// The address of the other end.
pub(crate) fn remote(stream: &TcpStream) -> Result<SocketAddr> {
    stream.peer_addr().context("getpeername")
}

/// All lives of a connection; what it did, and the last one's socket.
fn converse(connection: &Connection, mut opened: Option<(Wire, Flow)>) -> Result<(Vec<Flow>, Option<Wire>)> {
    let (mut flows, mut last) = (Vec::new(), None);
    for _ in 0..connection.lives {
        // The life before ends here.
        drop(last.take());
        let early = opened.is_some();
        let (mut wire, mut flow) = match opened.take() {
            Some(opened) => opened,
            None => open(connection)?,
        };
        flow.early = early;
        for _ in 0..connection.exchanges {
            exchange(connection, &mut wire, &mut flow)?;
        }
        flows.push(flow);
        last = Some(wire);
    }
    Ok((flows, last))
}

fn exchange(connection: &Connection, wire: &mut Wire, flow: &mut Flow) -> Result<()> {
    let Connection { request_bytes, response_bytes, server, .. } = *connection;
    let mut request = vec![1; request_bytes as usize];
    request[..4].copy_from_slice(&request_bytes.to_le_bytes());
    request[4..8].copy_from_slice(&response_bytes.to_le_bytes());
    let mut response = vec![0; response_bytes as usize];
    let got = match connection.protocol {
        Protocol::Tcp => {
            wire.send_all(flow, &mut request)?;
            ensure!(wire.receive_exact(flow, &mut response)?, "{server} closed instead of answering");
            response.len()
        }
        Protocol::Udp => {
            wire.send_datagram(flow, &mut request, None)?;
            wire.receive_datagram(flow, &mut response)?
        }
        Protocol::UdpUnconnected => {
            wire.send_datagram(flow, &mut request, Some(server))?;
            let (result, from) = wire.receive_from(&mut response)?;
            ensure!(from == server, "{from} answered, not {server}");
            count(&mut flow.received, result)?.context("a datagram was there and is not")?
        }
    };
    ensure!(got == response.len(), "{server} answered with {got} bytes, not {response_bytes}");
    Ok(())
}
