//! Calls that the standard library has not, and truths of single connections.

use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::sockets::{Flow, Origin, Protocol};
use std::io;
use std::mem::{ManuallyDrop, zeroed};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use isotherm_tests::process::wait_for;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};

/// How long a step of another process may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A stream's socket, bound if `source` is given, to a port that may still be waiting for its last packets.
pub(crate) fn stream_socket(source: Option<SocketAddr>) -> Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    if let Some(source) = source {
        set(&socket, libc::SO_REUSEADDR, 1i32)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source)).with_context(|| format!("bind {source}"))?;
    }
    Ok(socket)
}

/// Connects; if it must, when what is left of the port's last connection is gone.
pub(crate) fn connect(socket: OwnedFd, to: SocketAddr) -> Result<TcpStream> {
    wait_for("a port to be free", PATIENCE, || {
        match nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) => Ok(Some(())),
            Err(Errno::EADDRNOTAVAIL) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("connect {to}")),
        }
    })?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).context("a time limit")?;
    Ok(stream)
}

fn set<T>(socket: &impl AsRawFd, option: libc::c_int, value: T) -> Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is of the option's type and outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), len)
    };
    ensure!(result == 0, "setsockopt {option}: {}", io::Error::last_os_error());
    Ok(())
}

/// The flow of a stream, in which nothing has moved yet.
pub(crate) fn flow(stream: &TcpStream, origin: Origin) -> Result<Flow> {
    let (local, remote) =
        (stream.local_addr().context("getsockname")?, stream.peer_addr().context("getpeername")?);
    Ok(Flow::new(Protocol::Tcp, local, remote, origin))
}

/// Several datagrams by one call; how many it took, and their bytes.
pub(crate) fn send_many(socket: &UdpSocket, lengths: &[usize]) -> Result<(u64, u64)> {
    let mut data = vec![3u8; lengths.iter().copied().max().unwrap_or_default()];
    let mut vectors: Vec<libc::iovec> =
        lengths.iter().map(|len| libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: *len }).collect();
    let mut messages = messages(&mut vectors);
    // SAFETY: the messages point to vectors and data that outlive the call.
    let result =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, 0) };
    moved(result, &messages)
}

/// As [`send_many`]: receives at least one datagram, and as many as have come.
pub(crate) fn receive_many(socket: &UdpSocket, most: usize) -> Result<(u64, u64)> {
    let mut data = vec![[0u8; 2_048]; most];
    let mut vectors: Vec<libc::iovec> = data
        .iter_mut()
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
        .collect();
    let mut messages = messages(&mut vectors);
    let (fd, count) = (socket.as_raw_fd(), messages.len() as u32);
    // SAFETY: as in `send_many`.
    let result = unsafe {
        libc::recvmmsg(fd, messages.as_mut_ptr(), count, libc::MSG_WAITFORONE, std::ptr::null_mut())
    };
    moved(result, &messages)
}

fn messages(vectors: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let message = |vector: &mut libc::iovec| {
        // SAFETY: a structure of integers and pointers, for which zeros are values.
        let mut message: libc::mmsghdr = unsafe { zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (vector, 1);
        message
    };
    vectors.iter_mut().map(message).collect()
}

fn moved(result: i32, messages: &[libc::mmsghdr]) -> Result<(u64, u64)> {
    ensure!(result >= 0, "many datagrams: {}", io::Error::last_os_error());
    let bytes = messages[..result as usize].iter().map(|message| u64::from(message.msg_len)).sum();
    Ok((u64::from(result.cast_unsigned()), bytes))
}

/// Runs `job` in a child process, which shares all descriptors, and returns the two numbers that it found.
/// Only for processes of one thread.
pub(crate) fn in_child(job: impl FnOnce() -> Result<(u64, u64)>) -> Result<(u64, u64)> {
    let (reading, writing) = nix::unistd::pipe().context("pipe")?;
    // SAFETY: this program has no other thread that could hold a lock.
    match unsafe { nix::unistd::fork() }.context("fork")? {
        nix::unistd::ForkResult::Child => {
            let told = job().map(|(ops, bytes)| format!("{ops} {bytes}"));
            let text = told.unwrap_or_else(|error| format!("{error:#}"));
            let done = nix::unistd::write(&writing, text.as_bytes()).is_ok();
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(writing);
            let text = io::read_to_string(std::fs::File::from(reading)).context("what the child says")?;
            nix::sys::wait::waitpid(child, None).context("wait for the child")?;
            let numbers =
                text.split_once(' ').and_then(|(ops, bytes)| Some((ops.parse().ok()?, bytes.parse().ok()?)));
            let Some(numbers) = numbers else { bail!("the child failed: {text}") };
            Ok(numbers)
        }
    }
}

/// A socket of any family; a descriptor that closes itself.
pub(crate) fn any_socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: a plain system call; the descriptor returned is ours alone.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        ensure!(fd >= 0, "socket of family {family}: {}", io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The standard library's calls on a socket of any family whose descriptor stays the caller's.
pub(crate) fn borrowed(socket: &OwnedFd) -> ManuallyDrop<UdpSocket> {
    // SAFETY: the descriptor is open, and is not closed by what is returned.
    ManuallyDrop::new(unsafe { UdpSocket::from_raw_fd(socket.as_raw_fd()) })
}
