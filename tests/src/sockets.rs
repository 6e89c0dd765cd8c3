//! Traffic of sockets whose truth is known.
//!
//! The program `sockets` is a server or a client, by its plan. A client asks with so many bytes, and the
//! server answers with as many as it was asked for, by whatever calls both plans say. Each says what its calls
//! returned, by local address and peer.
//!
//! A client opens its early connections before it is ready and the others when it is told to go; its bytes
//! flow only then. A server serves from the start until it is told to go, which for it means: finish.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use isotherm_tests::sockets::{Calls, ClientPlan, Connection, Protocol, ServerPlan, mark, addresses};
//! let mut server = ServerPlan::new().listen(Protocol::Tcp, "127.0.0.1:0".parse()?).spawn()?;
//! let connection = Connection::new(Protocol::Tcp, addresses(&server)?[0]).source("127.0.0.9:0".parse()?);
//! let plan = ClientPlan::new().connection(connection.early().calls(Calls::Vectored).exchanges(10, 100, 5_000));
//! let mut client = plan.spawn()?;
//! mark(&mut server, &client)?; // what is open is early for the server, too
//! // ... attach to server.pid() and client.pid() ...
//! let asked = client.run()?;
//! let answered = server.run()?;
//! assert_eq!(asked.sent().bytes, 10 * 100);
//! assert_eq!(answered.sent().bytes, 10 * 5_000);
//! # Ok(())
//! # }
//! ```

use crate::generator::{Generator, program};
use anyhow::{Context, Result};
use isotherm_model::Counts;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The shortest request: it has to hold its own length and that of the answer.
pub const MIN_REQUEST_BYTES: u32 = 8;

/// How an end is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Datagrams; a client's socket is connected, a server's is not.
    Udp,
    /// Datagrams; neither socket is connected.
    UdpUnconnected,
}

/// The calls that send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// write, read.
    Plain,
    /// send, recv.
    SendRecv,
    /// writev, readv, of two parts.
    Vectored,
    /// sendmsg, recvmsg, of two parts.
    Message,
    /// io_uring's SEND and RECV.
    Uring,
}

/// How one end sends and receives. Sockets that are not connected use sendto and recvfrom, or
/// [`Calls::Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manner {
    /// By these calls.
    pub calls: Calls,
    /// At most so many bytes of a stream at once.
    pub chunk_bytes: u32,
    /// Look by MSG_PEEK before each receipt.
    pub peek: bool,
    /// MSG_WAITALL, where the calls take flags.
    pub wait_all: bool,
    /// O_NONBLOCK: a call that would wait fails with EAGAIN instead.
    pub nonblocking: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { calls: Calls::Plain, chunk_bytes: 1 << 20, peek: false, wait_all: false, nonblocking: false }
    }
}

/// What the program `sockets` is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Answer.
    Server(ServerPlan),
    /// Ask.
    Client(ClientPlan),
}

/// A server.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPlan {
    /// Where it listens. `[::]` takes IPv4, too, whose peers are then IPv4-mapped addresses.
    pub listeners: Vec<(Protocol, SocketAddr)>,
    /// How it answers.
    pub manner: Manner,
}

/// A client.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// All at the same time.
    pub connections: Vec<Connection>,
}

/// What a client does with one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// By which protocol.
    pub protocol: Protocol,
    /// With whom.
    pub server: SocketAddr,
    /// From which address; any port if that is 0.
    pub source: Option<SocketAddr>,
    /// Whether it is opened before the program is ready.
    pub early: bool,
    /// How often it is opened, one after the other. All but the last are closed.
    pub lives: u32,
    /// Questions and answers per life.
    pub exchanges: u32,
    /// Length of a question, at least [`MIN_REQUEST_BYTES`].
    pub request_bytes: u32,
    /// Length of an answer; more than 0.
    pub response_bytes: u32,
    /// How it is done.
    pub manner: Manner,
}

/// What was sent or received.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Calls that moved something.
    pub ops: u64,
    /// What they moved.
    pub bytes: u64,
    /// Calls that returned 0: the other side has closed.
    pub empty_ops: u64,
    /// Calls that failed with EAGAIN.
    pub again_ops: u64,
}

/// How two ends came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The peer opened the connection.
    Accepted,
    /// We opened the connection, or connected a socket of datagrams.
    Connected,
    /// Datagrams by a socket that is not connected: the kernel's socket has no peer.
    Unconnected,
}

/// Traffic between two ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// By which protocol.
    pub protocol: Protocol,
    /// Our side, as getsockname has it.
    pub local: SocketAddr,
    /// The other side, as getpeername or the call has it.
    pub remote: SocketAddr,
    /// How it came about.
    pub origin: Origin,
    /// For a client, opened before it was ready; for a server, before [`mark`].
    pub early: bool,
    /// What came.
    pub received: Traffic,
    /// What went.
    pub sent: Traffic,
    /// Looks by MSG_PEEK that returned something. In no other count.
    pub peeks: u64,
}

/// What a server or a client did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTruth {
    /// In no order.
    pub flows: Vec<Flow>,
}

impl Flow {
    /// Nothing moved yet.
    #[must_use]
    pub fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr, origin: Origin) -> Self {
        let none = Traffic::default();
        Self { protocol, local, remote, origin, early: false, received: none, sent: none, peeks: 0 }
    }

    /// Both sides, with port 0 for a port that the kernel chose, as `isotherm_model::Peer` has them, and
    /// IPv4-mapped addresses as IPv4. Without connection, with both ports.
    #[must_use]
    pub fn peer(&self) -> (SocketAddr, SocketAddr) {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (mut local, mut remote) = (plain(self.local), plain(self.remote));
        match self.origin {
            Origin::Accepted => remote.set_port(0),
            Origin::Connected => local.set_port(0),
            Origin::Unconnected => {}
        }
        (local, remote)
    }
}

impl SocketTruth {
    /// Calls and bytes that came, of all flows.
    #[must_use]
    pub fn received(&self) -> Counts {
        self.flows.iter().fold(Counts::default(), |sum, flow| sum.plus(counts(flow.received)))
    }

    /// Calls and bytes that went, of all flows.
    #[must_use]
    pub fn sent(&self) -> Counts {
        self.flows.iter().fold(Counts::default(), |sum, flow| sum.plus(counts(flow.sent)))
    }

    /// Streams that came about in this way: all of them, and those that are not early.
    #[must_use]
    pub fn streams(&self, origin: Origin) -> (u64, u64) {
        let streams =
            self.flows.iter().filter(|flow| flow.protocol == Protocol::Tcp && flow.origin == origin);
        streams.fold((0, 0), |(all, late), flow| (all + 1, late + u64::from(!flow.early)))
    }
}

/// Operations and bytes.
fn counts(traffic: Traffic) -> Counts {
    Counts { ops: traffic.ops, bytes: traffic.bytes }
}

impl ServerPlan {
    /// Without listeners yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more address; at port 0, the kernel chooses, and [`addresses`] says what.
    #[must_use]
    pub fn listen(mut self, protocol: Protocol, address: SocketAddr) -> Self {
        self.listeners.push((protocol, address));
        self
    }

    /// Answering in this manner.
    #[must_use]
    pub fn manner(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    /// Starts the program and waits until it listens. Call it from a thread that outlives it.
    pub fn spawn(&self) -> Result<Generator<SocketTruth>> {
        spawn(&Plan::Server(self.clone()))
    }
}

impl ClientPlan {
    /// Without connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connections.push(connection);
        self
    }

    /// Starts the program and waits until its early connections are open. Call it from a thread that outlives
    /// it.
    pub fn spawn(&self) -> Result<Generator<SocketTruth>> {
        spawn(&Plan::Client(self.clone()))
    }
}

impl Connection {
    /// Opened once when the client is told to go, for one exchange of 64 bytes each.
    #[must_use]
    pub fn new(protocol: Protocol, server: SocketAddr) -> Self {
        Self {
            protocol,
            server,
            source: None,
            early: false,
            lives: 1,
            exchanges: 1,
            request_bytes: 64,
            response_bytes: 64,
            manner: Manner::default(),
        }
    }

    /// From this address.
    #[must_use]
    pub fn source(self, source: SocketAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Opened before the client is ready.
    #[must_use]
    pub fn early(self) -> Self {
        Self { early: true, ..self }
    }

    /// Opened so often.
    #[must_use]
    pub fn lives(self, lives: u32) -> Self {
        Self { lives, ..self }
    }

    /// So many questions and answers of such lengths.
    #[must_use]
    pub fn exchanges(self, exchanges: u32, request_bytes: u32, response_bytes: u32) -> Self {
        Self { exchanges, request_bytes, response_bytes, ..self }
    }

    /// By these calls.
    #[must_use]
    pub fn calls(mut self, calls: Calls) -> Self {
        self.manner.calls = calls;
        self
    }

    /// In this manner.
    #[must_use]
    pub fn manner(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }
}

/// The addresses that a server listens on, in the order of its plan.
pub fn addresses(server: &Generator<SocketTruth>) -> Result<Vec<SocketAddr>> {
    serde_json::from_str(server.details()).context("the addresses of a server")
}

/// Waits until the server has accepted the client's early connections, and has it take all that is open for
/// early.
pub fn mark(server: &mut Generator<SocketTruth>, client: &Generator<SocketTruth>) -> Result<()> {
    let early: u64 = serde_json::from_str(client.details()).context("the early connections of a client")?;
    server.say(&format!("mark {early}"))
}

fn spawn(plan: &Plan) -> Result<Generator<SocketTruth>> {
    let plan = serde_json::to_string(plan).context("write the plan")?;
    Generator::spawn(&mut program("sockets")?, Some(&plan))
}
