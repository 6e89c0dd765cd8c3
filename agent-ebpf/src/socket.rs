//! What watched processes send and receive, and whom they are connected to. Never what is in it.

use crate::access::NO_EXIST;
use crate::field::{self, Head, probe};
use crate::file::current;
use crate::map::{CONNECTIONS, Connection, ENDS, PEERS, PORTS, add, event, lose, tallied, watched};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use isotherm_agent_ebpf::{ACCEPT, Address, CONNECT, PeerCounters, PeerKey, Port, READ, Slot, WRITE};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The caller only looked, and will receive the bytes again.
const MSG_PEEK: u32 = 2;

// States of net/tcp_states.h.
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;

/// Counts one receiving call.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn iso_receive(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (struct sock *, int ret, int flags).
    let (sock, result, flags): (u64, u64, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if flags & MSG_PEEK == 0 {
        moved(sock, result, READ, Slot::Received);
    }
    0
}

/// Counts one sending call.
#[btf_tracepoint(function = "sock_send_length")]
pub fn iso_send(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as in `iso_receive`.
    let (sock, result): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    moved(sock, result, WRITE, Slot::Sent);
    0
}

/// Learns who listens and who connects to whom.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn iso_state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (const struct sock *, const int oldstate, const int newstate).
    let (sock, old, new): (u64, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    match (old, new) {
        (_, LISTEN) => listens(sock),
        (_, SYN_SENT) => {
            // Still the process that connects; later it may be any.
            if let Some(target) = watched() {
                let connection = Connection { target, local: Address::default() };
                // Without room the connection is not counted as opened; that is told by the agent's limits.
                if CONNECTIONS.insert(&sock, &connection, 0).is_err() {
                    // SAFETY: a field of a map value.
                    lose(target, 1, |lost| unsafe { &raw mut (*lost).peers_full });
                }
            }
        }
        (SYN_SENT, ESTABLISHED) => connected(sock),
        (_, CLOSE) => closed(sock),
        _ => {}
    }
    0
}

/// Counts the connection that a call has taken, by its descriptor.
#[inline(always)]
pub(crate) fn accepted(target: u32, descriptor: u32) {
    let file = current(descriptor);
    if file == 0 {
        return;
    }
    let socket: u64 = probe(file, field::file_private());
    let Some(sides) = Sides::of(probe(socket, field::socket_sk())) else { return };
    // A connection that was taken came from outside, also if the port's listening was not seen.
    let remote = Address { port: 0, ..sides.remote };
    let peer_target = sides.peer_target();
    let key = PeerKey { target, operation: ACCEPT, peer_target, local: sides.local, remote };
    tallied(target, Slot::Accepted, 0, 0, || count(&key, 0));
}

#[inline(always)]
fn moved(sock: u64, result: u64, operation: u16, slot: Slot) {
    let bytes = result as i32;
    if bytes <= 0 {
        return;
    }
    let Some(target) = watched() else { return };
    let Some(sides) = Sides::of(sock) else { return };
    let port = Port { target, port: u32::from(sides.local.port) };
    // Bound and not connected, as servers of datagrams are; or connected to a port that is listened on.
    let inbound = sides.remote.port == 0 || PORTS.get_ptr(&port).is_some();
    let key = if inbound {
        let peer_target = sides.peer_target();
        let remote = Address { port: 0, ..sides.remote };
        PeerKey { target, operation, peer_target, local: sides.local, remote }
    } else {
        let local = Address { port: 0, ..sides.local };
        PeerKey { target, operation, peer_target: 0, local, remote: sides.remote }
    };
    tallied(target, slot, 0, bytes as u64, || count(&key, bytes as u64));
}

#[inline(always)]
fn count(key: &PeerKey, bytes: u64) {
    let mut counters = PEERS.get_ptr_mut(key);
    if counters.is_none() {
        let zero = PeerCounters { ops: 0, bytes: 0 };
        // A second CPU may have been faster; the look-up that follows tells.
        let _lost_race_is_fine = PEERS.insert(key, &zero, NO_EXIST);
        counters = PEERS.get_ptr_mut(key);
    }
    if counters.is_none() {
        // SAFETY: a field of a map value.
        lose(key.target, 1, |lost| unsafe { &raw mut (*lost).peers_full });
        counters = PEERS.get_ptr_mut(&PeerKey::overflow(key.target, key.operation));
    }
    if let Some(counters) = counters {
        // SAFETY: a live map value, only added to atomically.
        unsafe {
            add(&raw mut (*counters).ops, 1);
            add(&raw mut (*counters).bytes, bytes);
        }
    }
}

#[inline(always)]
fn listens(sock: u64) {
    let Some(target) = watched() else {
        // A process that is selected by its port is found sooner.
        event();
        return;
    };
    if let Some(sides) = Sides::of(sock) {
        let port = Port { target, port: u32::from(sides.local.port) };
        // Without room its connections look like ones that the node opened; that is bounded, too.
        let _full_is_bounded = PORTS.insert(&port, &1, 0);
    }
}

#[inline(always)]
fn connected(sock: u64) {
    let Some(connection) = CONNECTIONS.get_ptr_mut(&sock) else { return };
    let Some(sides) = Sides::of(sock) else { return };
    // SAFETY: a live map value; only this socket's events touch it.
    let target = unsafe {
        (*connection).local = sides.local;
        (*connection).target
    };
    // Without room the other side does not learn who it is talking to.
    let _full_is_bounded = ENDS.insert(&sides.local, &target, 0);
    let local = Address { port: 0, ..sides.local };
    let key = PeerKey { target, operation: CONNECT, peer_target: 0, local, remote: sides.remote };
    tallied(target, Slot::Connected, 0, 0, || count(&key, 0));
}

#[inline(always)]
fn closed(sock: u64) {
    let Some(connection) = CONNECTIONS.get_ptr(&sock) else { return };
    // SAFETY: a live map value.
    let local = unsafe { (*connection).local };
    if local.port != 0 {
        let _absent_is_fine = ENDS.remove(&local);
    }
    let _absent_is_fine = CONNECTIONS.remove(&sock);
}

/// Both ends of a socket.
struct Sides {
    local: Address,
    remote: Address,
}

impl Sides {
    /// `None` for a socket that is not of IP.
    #[inline(always)]
    fn of(sock: u64) -> Option<Self> {
        let mut head = Head::<11>::new();
        head.read(sock);
        let family: u16 = head.get(field::sk_family());
        let (local, remote) = if family == AF_INET {
            (mapped(head.get(field::sk_ip4())), mapped(head.get(field::sk_peer_ip4())))
        } else if family == AF_INET6 {
            let at = |offset| -> [u64; 2] { [head.get(offset), head.get(offset + 8)] };
            (at(field::sk_ip6()), at(field::sk_peer_ip6()))
        } else {
            return None;
        };
        let port = u16::from_be(head.get(field::sk_peer_port()));
        Some(Self { local: address(local, head.get(field::sk_port())), remote: address(remote, port) })
    }

    /// The target that the other end belongs to, + 1.
    #[inline(always)]
    fn peer_target(&self) -> u16 {
        match ENDS.get_ptr(&self.remote) {
            // SAFETY: a live map value, only replaced whole.
            Some(target) => unsafe { *target as u16 + 1 },
            None => 0,
        }
    }
}

/// An IPv4 address in network byte order, as ::ffff:a.b.c.d.
#[inline(always)]
fn mapped(ip: u32) -> [u64; 2] {
    [0, u64::from(ip) << 32 | 0xffff_0000]
}

#[inline(always)]
fn address(words: [u64; 2], port: u16) -> Address {
    let (low, high) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    let mut ip = [0; 16];
    ip[..8].copy_from_slice(&low);
    ip[8..].copy_from_slice(&high);
    Address { ip, port, reserved: 0 }
}
