//! An HTTP client whose traffic is known: it has an address of its own, and counts at its sockets what it
//! sends to each server, receives from it, and how often it connects.
//!
//! ureq does the HTTP. Its connector and transport are replaced, since ureq's own can neither be given an
//! address nor be looked at.

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// How long a server may take for a piece of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one client exchanged with one server so far. Counted when the call has returned, so that a load
/// which has ended has counted everything.
#[derive(Debug)]
pub struct Meter {
    server: SocketAddr,
    client: Ipv4Addr,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    connections: AtomicU64,
}

/// What one client exchanged with one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Traffic {
    /// The server's `address:port`.
    pub server: String,
    /// The client's address.
    pub client: Ipv4Addr,
    /// Bytes that the client gave to its sockets.
    pub sent_bytes: u64,
    /// Bytes that it got from them.
    pub received_bytes: u64,
    /// Connections that it opened.
    pub connections: u64,
}

impl Meter {
    /// Of a client and a server that have exchanged nothing.
    #[must_use]
    pub fn new(client: Ipv4Addr, server: SocketAddr) -> Self {
        let zero = || AtomicU64::new(0);
        Self { server, client, sent_bytes: zero(), received_bytes: zero(), connections: zero() }
    }

    /// What was exchanged so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            server: self.server.to_string(),
            client: self.client,
            sent_bytes: now(&self.sent_bytes),
            received_bytes: now(&self.received_bytes),
            connections: now(&self.connections),
        }
    }
}

/// A client at an address, which has to be local. It connects only to servers that one of the meters names
/// together with that address.
#[must_use]
pub fn metered(client: Ipv4Addr, meters: Arc<[Meter]>) -> Agent {
    let config = Config::builder().timeout_global(Some(PATIENCE)).proxy(None).build();
    Agent::with_parts(config, Metered { client, meters }, DefaultResolver::default())
}

#[derive(Debug)]
struct Metered {
    client: Ipv4Addr,
    meters: Arc<[Meter]>,
}

impl Connector for Metered {
    type Out = Metering;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Metering>, ureq::Error> {
        let [server] = &*details.addrs else {
            return Err(io::Error::other(format!("{} is not one address", details.uri)).into());
        };
        let of_server = |meter: &Meter| meter.client == self.client && meter.server == *server;
        let Some(meter) = self.meters.iter().position(of_server) else {
            return Err(io::Error::other(format!("nobody counts what goes to {server}")).into());
        };
        let stream = open(self.client, *server)?;
        self.meters[meter].connections.fetch_add(1, Ordering::Relaxed);
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let meters = Arc::clone(&self.meters);
        Ok(Some(Metering { stream, buffers: LazyBuffers::new(input, output), meters, meter }))
    }
}

/// A connection from an address of ours.
fn open(client: Ipv4Addr, server: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(server) = server else {
        return Err(io::Error::other(format!("{server} is no address of IPv4")));
    };
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(client, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(server))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection, and what counts its bytes.
#[derive(Debug)]
struct Metering {
    stream: TcpStream,
    buffers: LazyBuffers,
    meters: Arc<[Meter]>,
    meter: usize,
}

impl Transport for Metering {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.write_all(&self.buffers.output()[..amount])?;
        self.meters[self.meter].sent_bytes.fetch_add(amount as u64, Ordering::Relaxed);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffers.input_appended(amount);
        self.meters[self.meter].received_bytes.fetch_add(amount as u64, Ordering::Relaxed);
        Ok(amount > 0)
    }

    /// Whether the other side has neither closed the connection nor said anything that nobody asked for.
    fn is_open(&mut self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let quiet = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

/// The address of a node's name.
pub(crate) fn address(node: &str) -> Result<SocketAddr> {
    node.parse().with_context(|| format!("{node:?} is no address:port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn what_is_counted_is_what_the_server_saw() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let serving = thread::spawn(move || {
            let (mut stream, client) = listener.accept().unwrap();
            let mut received = 0;
            for _ in 0..2 {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                received += request.len() as u64;
                stream.write_all(answer.as_bytes()).unwrap();
            }
            (client.ip(), received)
        });
        let client = Ipv4Addr::new(127, 0, 0, 77);
        let meters: Arc<[Meter]> = Arc::new([Meter::new(client, server)]);
        let http = metered(client, Arc::clone(&meters));
        for _ in 0..2 {
            let body = http.get(format!("http://{server}/")).call().unwrap().body_mut().read_to_string();
            assert_eq!(body.unwrap(), "hi");
        }
        let (seen, received) = serving.join().unwrap();
        assert_eq!(seen, client);
        let traffic = meters[0].traffic();
        assert_eq!((traffic.sent_bytes, traffic.connections), (received, 1));
        assert_eq!(traffic.received_bytes, 2 * answer.len() as u64);
    }

    #[test]
    fn a_server_that_nobody_meters_is_refused() {
        let error = metered(Ipv4Addr::LOCALHOST, Arc::new([])).get("http://127.0.0.1:1/").call().unwrap_err();
        assert!(error.to_string().contains("nobody counts what goes to 127.0.0.1:1"), "{error}");
    }
}
