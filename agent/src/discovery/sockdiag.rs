//! The listening sockets of the agent's own network namespace, asked of the kernel by netlink (sock_diag(7)).
//!
//! /proc/net/tcp has them too, but its end is found only by walking the table of all connections: 5.4 ms for
//! each family on a host of 24 GB, whoever is connected, where this takes 0.05 ms (Linux 6.18).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The bit of TCP_LISTEN in a set of states.
const LISTENING: u32 = 1 << 10;
/// Bytes of a `nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of a `inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Bytes of a `inet_diag_msg`.
const ANSWER: usize = 72;
/// The kernel sends at most this much at once.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the kernel may take; it answers during the call.
static PATIENCE: libc::timeval = libc::timeval { tv_sec: 1, tv_usec: 0 };

/// Addresses that are listened on over TCP, with the inodes of the sockets, at most `limit`, IPv4 first.
pub(super) fn listening(limit: usize) -> io::Result<Vec<(SocketAddr, u64)>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(family as u8, limit, &mut found)?;
    }
    Ok(found)
}

fn ask(family: u8, limit: usize, found: &mut Vec<(SocketAddr, u64)>) -> io::Result<()> {
    // SAFETY: a plain system call; the descriptor returned is ours alone.
    let socket = unsafe {
        let fd =
            libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: the option takes a `timeval`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const PATIENCE).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    let request = request(family);
    // SAFETY: the buffer is as long as said, and outlives the call. An unconnected netlink socket sends to the
    // kernel.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // SAFETY: the buffer is as long as said, and outlives the call.
        let received = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        if take(&buffer[..received], limit, found)? == Dump::Over || found.len() >= limit {
            return Ok(());
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port, then what is asked: family, protocol, no extensions.
    message.extend([0; 8]);
    message.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(LISTENING.to_ne_bytes());
    message.resize(HEADER + REQUEST, 0);
    message
}

/// Whether more messages follow.
#[derive(PartialEq)]
enum Dump {
    Open,
    Over,
}

/// Takes the sockets of one datagram.
fn take(datagram: &[u8], limit: usize, found: &mut Vec<(SocketAddr, u64)>) -> io::Result<Dump> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "netlink message that is cut short");
    let mut rest = datagram;
    while !rest.is_empty() {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let length = word(0).ok_or_else(damaged)? as usize;
        let kind = u16::try_from(word(4).ok_or_else(damaged)? & 0xffff).map_err(|_| damaged())?;
        let body = rest.get(HEADER..length).ok_or_else(damaged)?;
        if i32::from(kind) == libc::NLMSG_DONE {
            return Ok(Dump::Over);
        }
        if i32::from(kind) == libc::NLMSG_ERROR {
            let code = word(HEADER).ok_or_else(damaged)?.cast_signed();
            return Err(io::Error::from_raw_os_error(-code));
        }
        if kind == SOCK_DIAG_BY_FAMILY && found.len() < limit {
            found.push(socket(body).ok_or_else(damaged)?);
        }
        // Messages begin at multiples of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Dump::Open)
}

/// From a `inet_diag_msg`: family first, port and address of the socket from byte 4 and 8 on, inode at last.
fn socket(body: &[u8]) -> Option<(SocketAddr, u64)> {
    let body = body.get(..ANSWER)?;
    let port = u16::from_be_bytes(body[4..6].try_into().ok()?);
    let ip: IpAddr = if i32::from(body[0]) == libc::AF_INET {
        Ipv4Addr::from(<[u8; 4]>::try_from(&body[8..12]).ok()?).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(&body[8..24]).ok()?).into()
    };
    let inode = u32::from_ne_bytes(body[ANSWER - 4..].try_into().ok()?);
    Some((SocketAddr::new(ip, port), inode.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_listeners_are_told_and_each_with_its_inode() {
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
        let _stream = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
        let found = listening(usize::MAX).unwrap();
        for listener in listeners {
            let address = listener.local_addr().unwrap();
            let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
            let inodes: Vec<u64> =
                found.iter().filter(|(other, _)| *other == address).map(|(_, inode)| *inode).collect();
            assert_eq!(inodes.len(), 1, "{found:?}");
            assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", inodes[0]));
        }
        assert_eq!(listening(1).unwrap().len(), 1);
    }

    #[test]
    fn no_truncation_of_a_message_makes_it_panic() {
        let mut message = ((HEADER + ANSWER) as u32).to_ne_bytes().to_vec();
        message.extend(u32::from(SOCK_DIAG_BY_FAMILY).to_ne_bytes());
        message.resize(HEADER + ANSWER, 0);
        let mut found = Vec::new();
        assert!(take(&message, 9, &mut found).is_ok_and(|dump| dump == Dump::Open));
        assert_eq!(found.len(), 1);
        for end in 1..message.len() {
            assert!(take(&message[..end], 9, &mut found).is_err(), "cut at {end}");
        }
        // A length of 0 would never end.
        message[..4].fill(0);
        assert!(take(&message, 9, &mut found).is_err());
    }
}
