//! Answers.

use crate::client::{local, remote};
use crate::wire::{Wire, count};
use anyhow::{Context, Result, anyhow, bail, ensure};
use isotherm_tests::generator::{next_line, ready};
use isotherm_tests::sockets::{Flow, MIN_REQUEST_BYTES, Manner, Origin, Protocol, ServerPlan, SocketTruth};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a thread looks whether it is to finish.
const TURN_MS: u16 = 20;

/// How long early connections may take to be accepted.
const LIMIT: Duration = Duration::from_secs(20);

/// The longest question or answer.
const MAX_BYTES: u32 = 64 << 20;

/// What a thread did, and what it leaves open.
type Done = (Vec<Flow>, Vec<Wire>);

/// What all threads look at.
#[derive(Default)]
struct State {
    finish: AtomicBool,
    marked: AtomicBool,
    accepted: AtomicU64,
}

impl State {
    fn finishing(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }

    fn early(&self) -> bool {
        !self.marked.load(Ordering::Acquire)
    }
}

/// Serves until it is told to finish; the truth, and what stays open.
pub(crate) fn run(plan: &ServerPlan) -> Result<(SocketTruth, Vec<Wire>)> {
    let state = Arc::new(State::default());
    let (mut addresses, mut threads) = (Vec::new(), Vec::new());
    for (index, (protocol, address)) in plan.listeners.iter().enumerate() {
        let (bound, thread) = listen(*protocol, *address, plan.manner, &state)
            .with_context(|| format!("listeners[{index}] ({address})"))?;
        addresses.push(bound);
        threads.push(thread);
    }
    let mut line = ready(&addresses)?;
    while let Some(word) = line.as_deref().and_then(|line| line.strip_prefix("mark ")) {
        mark(&state, word.parse().context("mark, and a number")?)?;
        println!("mark {word}");
        line = next_line()?;
    }
    state.finish.store(true, Ordering::Release);
    let (mut truth, mut open) = (SocketTruth::default(), Vec::new());
    for thread in threads {
        let (flows, wires) = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        truth.flows.extend(flows);
        open.extend(wires);
    }
    Ok((truth, open))
}

/// Waits for so many connections; later ones are not early.
fn mark(state: &State, accepted: u64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while state.accepted.load(Ordering::Acquire) < accepted {
        ensure!(Instant::now() < deadline, "waited in vain for {accepted} connections");
        thread::sleep(Duration::from_millis(1));
    }
    state.marked.store(true, Ordering::Release);
    Ok(())
}

type Serving = JoinHandle<Result<Done>>;

fn listen(
    protocol: Protocol,
    at: SocketAddr,
    manner: Manner,
    state: &Arc<State>,
) -> Result<(SocketAddr, Serving)> {
    let state = Arc::clone(state);
    if protocol == Protocol::Tcp {
        // The standard library leaves IPV6_V6ONLY off, as Linux does.
        let listener = TcpListener::bind(at).context("listen")?;
        let bound = listener.local_addr().context("getsockname")?;
        return Ok((bound, thread::spawn(move || accept(&listener, manner, &state))));
    }
    let socket = UdpSocket::bind(at).context("bind")?;
    let bound = socket.local_addr().context("getsockname")?;
    Ok((bound, thread::spawn(move || answer_datagrams(socket, bound, manner, &state))))
}

/// One thread per connection.
fn accept(listener: &TcpListener, manner: Manner, state: &Arc<State>) -> Result<Done> {
    listener.set_nonblocking(true).context("O_NONBLOCK")?;
    let mut threads: Vec<Serving> = Vec::new();
    while !state.finishing() {
        match listener.accept() {
            Ok((stream, _)) => {
                let (early, state) = (state.early(), Arc::clone(state));
                stream.set_nonblocking(false).context("O_NONBLOCK")?;
                state.accepted.fetch_add(1, Ordering::Release);
                threads.push(thread::spawn(move || answer_stream(stream, early, manner, &state)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("accept"),
        }
    }
    let (mut flows, mut wires) = (Vec::new(), Vec::new());
    for thread in threads {
        let (more_flows, more_wires) = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        flows.extend(more_flows);
        wires.extend(more_wires);
    }
    Ok((flows, wires))
}

fn answer_stream(stream: TcpStream, early: bool, manner: Manner, state: &State) -> Result<Done> {
    let remote = remote(&stream)?;
    let socket = OwnedFd::from(stream);
    let mut flow = Flow::new(Protocol::Tcp, local(&socket)?, remote, Origin::Accepted);
    flow.early = early;
    let mut wire = Wire::new(socket, manner)?;
    let mut header = [0; MIN_REQUEST_BYTES as usize];
    loop {
        while !wire.readable(TURN_MS)? {
            if state.finishing() {
                return Ok((vec![flow], vec![wire]));
            }
        }
        if !wire.receive_exact(&mut flow, &mut header)? {
            return Ok((vec![flow], vec![]));
        }
        let (request_bytes, response_bytes) = lengths(&header)?;
        let mut rest = vec![0; request_bytes as usize - header.len()];
        ensure!(
            rest.is_empty() || wire.receive_exact(&mut flow, &mut rest)?,
            "{remote} closed in a question"
        );
        wire.send_all(&mut flow, &mut vec![2; response_bytes as usize])?;
    }
}

fn answer_datagrams(socket: UdpSocket, local: SocketAddr, manner: Manner, state: &State) -> Result<Done> {
    let mut wire = Wire::new(socket.into(), manner)?;
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut request = vec![0; 1 << 16];
    loop {
        while !wire.readable(TURN_MS)? {
            if state.finishing() {
                return Ok((flows.into_values().collect(), vec![wire]));
            }
        }
        let (result, from) = wire.receive_from(&mut request)?;
        let flow = flows.entry(from).or_insert_with(|| Flow {
            early: state.early(),
            ..Flow::new(Protocol::UdpUnconnected, local, from, Origin::Unconnected)
        });
        let len = count(&mut flow.received, result)?.context("a datagram was there and is not")?;
        let header = request.first_chunk::<8>().context("the header of a question")?;
        let (request_bytes, response_bytes) = lengths(header)?;
        ensure!(len == request_bytes as usize, "a question of {request_bytes} bytes came as {len}");
        wire.send_datagram(flow, &mut vec![2; response_bytes as usize], Some(from))?;
    }
}

/// How long a question is, and its answer is to be.
fn lengths(header: &[u8; 8]) -> Result<(u32, u32)> {
    let [a, b, c, d, e, f, g, h] = *header;
    let (request, response) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if !(MIN_REQUEST_BYTES..=MAX_BYTES).contains(&request) || response > MAX_BYTES {
        bail!("a question of {request} bytes for {response}");
    }
    Ok((request, response))
}
