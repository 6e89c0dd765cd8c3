//! What watched processes send and receive, and whom they are connected to. Never what is in it.
//!
//! An operation is a message that the kernel's sockets took or gave: a call, one of several datagrams of
//! sendmmsg and recvmmsg, a batch of pages of sendfile. One that moves nothing, fails or only looks (MSG_PEEK) is
//! none.
//!
//! Sockets of IP that have ports are counted, and no others: not Unix sockets, not raw ones. Not seen are splice
//! from a socket, received data that is mapped instead of copied (TCP_ZEROCOPY_RECEIVE), and the acceptance of
//! connections by io_uring or 32-bit calls; what flows over such connections is counted. An end is only told
//! which node the other end is if both are watched here and see the same addresses: not through address
//! translation, and not for datagrams. A socket that is not connected does not say who its peers are.

use crate::access::NO_EXIST;
use crate::field::{self, Head, load_u16, load_u32, load_u64, probe};
use crate::file::current;
use crate::map::{ENDS, OPENING, PEERS, PORTS, add, event, lose, tallied, watched};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use isotherm_agent_ebpf::{
    ACCEPT, Address, CONNECT, End, LISTENED, Opener, PeerCounters, PeerKey, Port, READ, SHARED, Slot, WRITE,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The caller only looked, and will receive the bytes again.
const MSG_PEEK: u32 = 2;

// Protocols with ports.
const TCP: u16 = 6;
const UDP: u16 = 17;
const SCTP: u16 = 132;
const UDP_LITE: u16 = 136;
const MPTCP: u16 = 262;

// States of net/tcp_states.h.
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const SYN_RECV: u32 = 3;
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
        (_, SYN_SENT) => opens(sock),
        // A connection to oneself passes through SYN_RECV, too.
        (SYN_SENT | SYN_RECV, ESTABLISHED) => match take_opening(sock) {
            Some(target) => opened(sock, target),
            None if old == SYN_RECV => arrived(sock),
            None => {}
        },
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
    let Some(sides) = Sides::probed(probe(socket, field::socket_sk())) else { return };
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
    let inbound = sides.inbound(target);
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
        let _known_or_full = PORTS.insert(&port, &LISTENED, NO_EXIST);
    }
}

/// The process that connects is still the current one; later it may be any.
#[inline(always)]
fn opens(sock: u64) {
    let Some(target) = watched() else { return };
    if OPENING.insert(&sock, &target, 0).is_err() {
        // Seen, and in no peer's count: the agent finds the totals in disagreement, and tells it.
        tallied(target, Slot::Connected, 0, 0, || ());
    }
}

#[inline(always)]
fn take_opening(sock: u64) -> Option<u32> {
    let opening = OPENING.get_ptr(&sock)?;
    // SAFETY: a live map value; only this socket's events touch it.
    let target = unsafe { *opening };
    let _is_there = OPENING.remove(&sock);
    Some(target)
}

#[inline(always)]
fn opened(sock: u64, target: u32) {
    let Some(sides) = Sides::of(sock) else { return };
    // Without room the other end does not learn who it is talking to.
    let _full_is_bounded = ENDS.insert(&sides.end(), &Opener { target, flags: 0 }, 0);
    let port = Port { target, port: u32::from(sides.local.port) };
    if let Some(used) = PORTS.get_ptr_mut(&port) {
        // SAFETY: a live map value of one word.
        unsafe { *used = SHARED };
    }
    let local = Address { port: 0, ..sides.local };
    let key = PeerKey { target, operation: CONNECT, peer_target: 0, local, remote: sides.remote };
    tallied(target, Slot::Connected, 0, 0, || count(&key, 0));
}

/// The other end of a connection is on this host: what its opener has sent can be received after the opener
/// has closed, so the opener is remembered until this end closes.
#[inline(always)]
fn arrived(sock: u64) {
    let Some(sides) = Sides::of(sock) else { return };
    if let Some(opener) = ENDS.get_ptr_mut(&sides.other_end()) {
        // SAFETY: a live map value; the only writer after its insertion.
        unsafe { (*opener).flags |= Opener::BOTH_HERE };
    }
}

#[inline(always)]
fn closed(sock: u64) {
    if take_opening(sock).is_some() {
        return;
    }
    let Some(sides) = Sides::of(sock) else { return };
    if sides.remote.port == 0 {
        return;
    }
    let end = sides.end();
    if let Some(opener) = ENDS.get_ptr(&end) {
        // SAFETY: a live map value.
        if unsafe { (*opener).flags } & Opener::BOTH_HERE == 0 {
            let _is_there = ENDS.remove(&end);
        }
    }
    let other = sides.other_end();
    if ENDS.get_ptr(&other).is_some() {
        let _is_there = ENDS.remove(&other);
    }
}

/// Both ends of a socket.
struct Sides {
    /// The network namespace of loopback addresses, which are the same ones in each; else 0.
    namespace: u64,
    local: Address,
    remote: Address,
}

impl Sides {
    /// Of a socket that the verifier knows as one, without a helper call per field. `None` if it is not of IP, or
    /// raw: what then is in place of the port is none.
    #[inline(always)]
    fn of(sock: u64) -> Option<Self> {
        if !matches!(load_u16(sock, field::sk_protocol()), TCP | UDP | UDP_LITE | SCTP | MPTCP) {
            return None;
        }
        let family = load_u16(sock, field::sk_family());
        let (local, remote) = if family == AF_INET {
            (mapped(load_u32(sock, field::sk_ip4())), mapped(load_u32(sock, field::sk_peer_ip4())))
        } else if family == AF_INET6 {
            let at = |offset| [load_u64(sock, offset), load_u64(sock, offset + 8)];
            (at(field::sk_ip6()), at(field::sk_peer_ip6()))
        } else {
            return None;
        };
        let namespace = if is_loopback(local) || is_loopback(remote) {
            u64::from(load_u32(load_u64(sock, field::sk_net()), field::net_inum()))
        } else {
            0
        };
        let peer_port = load_u16(sock, field::sk_peer_port());
        let port = port_of(sock, load_u16(sock, field::sk_port()), peer_port);
        Some(Self {
            namespace,
            local: address(local, port),
            remote: address(remote, u16::from_be(peer_port)),
        })
    }

    /// The same by the mere address of a socket that was accepted, and so has ports.
    #[inline(always)]
    fn probed(sock: u64) -> Option<Self> {
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
        let namespace = if is_loopback(local) || is_loopback(remote) {
            u64::from(probe::<u32>(head.get(field::sk_net()), field::net_inum()))
        } else {
            0
        };
        let peer_port = head.get(field::sk_peer_port());
        let port = port_of(sock, head.get(field::sk_port()), peer_port);
        Some(Self {
            namespace,
            local: address(local, port),
            remote: address(remote, u16::from_be(peer_port)),
        })
    }

    /// Whether the peer came to the node: to a socket that is bound and not connected, as servers of datagrams
    /// have it, or to a port that is listened on.
    #[inline(always)]
    fn inbound(&self, target: u32) -> bool {
        if self.remote.port == 0 {
            return true;
        }
        let port = Port { target, port: u32::from(self.local.port) };
        let Some(used) = PORTS.get_ptr(&port) else { return false };
        // SAFETY: a live map value of one word.
        let shared = unsafe { *used } == SHARED;
        !shared || ENDS.get_ptr(&self.end()).is_none()
    }

    /// The target that the other end belongs to, + 1.
    #[inline(always)]
    fn peer_target(&self) -> u16 {
        if self.remote.port == 0 {
            return 0;
        }
        match ENDS.get_ptr(&self.other_end()) {
            // SAFETY: a live map value.
            Some(opener) => unsafe { (*opener).target as u16 + 1 },
            None => 0,
        }
    }

    /// This end, if it has opened the connection.
    #[inline(always)]
    fn end(&self) -> End {
        End { namespace: self.namespace, local: self.local, remote: self.remote }
    }

    /// The other end, if that has opened the connection.
    #[inline(always)]
    fn other_end(&self) -> End {
        End { namespace: self.namespace, local: self.remote, remote: self.local }
    }
}

/// The local port in host byte order. A connection that has ended has given its `port` back, also while
/// received bytes are still to be read; what it had is in another field then.
#[inline(always)]
fn port_of(sock: u64, port: u16, peer_port: u16) -> u16 {
    if port == 0 && peer_port != 0 { u16::from_be(probe(sock, field::inet_port())) } else { port }
}

/// Whether an address is 127.0.0.0/8 or ::1.
#[inline(always)]
fn is_loopback(words: [u64; 2]) -> bool {
    words[0] == 0 && (words[1] & 0xff_ffff_ffff == 0x7f_ffff_0000 || words[1] == 1 << 56)
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
