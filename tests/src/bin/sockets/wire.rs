//! One end of a socket, which counts what its calls return.

use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, opcode, types::Fd};
use isotherm_tests::sockets::{Calls, Flow, Manner, Traffic};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// How long the other side may keep us waiting.
const PATIENCE_MS: u16 = 20_000;

/// A socket and the way it is used.
pub(crate) struct Wire {
    socket: OwnedFd,
    manner: Manner,
    ring: Option<IoUring>,
}

impl Wire {
    pub(crate) fn new(socket: OwnedFd, manner: Manner) -> Result<Self> {
        ensure!(manner.chunk_bytes > 0, "manner.chunk_bytes: more than 0");
        if manner.nonblocking {
            // SAFETY: a flag of an open descriptor.
            let result = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            ensure!(result == 0, "O_NONBLOCK: {}", io::Error::last_os_error());
        }
        let ring = (manner.calls == Calls::Uring).then(|| IoUring::new(2)).transpose();
        Ok(Self { socket, manner, ring: ring.context("io_uring_setup")? })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether something has come within so many milliseconds.
    pub(crate) fn readable(&self, limit_ms: u16) -> Result<bool> {
        self.poll(PollFlags::POLLIN, limit_ms)
    }

    fn poll(&self, events: PollFlags, limit_ms: u16) -> Result<bool> {
        let mut polled = [PollFd::new(self.socket.as_fd(), events)];
        Ok(poll(&mut polled, PollTimeout::from(limit_ms)).context("poll")? > 0)
    }

    /// Sends all of a stream's bytes, by as many calls as it takes.
    pub(crate) fn send_all(&mut self, flow: &mut Flow, data: &mut [u8]) -> Result<()> {
        let (mut from, most) = (0, self.manner.chunk_bytes as usize);
        while from < data.len() {
            let to = data.len().min(from.saturating_add(most));
            let returned = self.send(&mut data[from..to])?;
            if let Some(bytes) = count(&mut flow.sent, returned)? {
                from += bytes;
            } else {
                ensure!(self.poll(PollFlags::POLLOUT, PATIENCE_MS)?, "the other side does not read");
            }
        }
        Ok(())
    }

    /// Receives exactly so many of a stream's bytes; `false` if the other side closed before the first.
    pub(crate) fn receive_exact(&mut self, flow: &mut Flow, data: &mut [u8]) -> Result<bool> {
        let (mut from, most) = (0, self.manner.chunk_bytes as usize);
        while from < data.len() {
            let to = data.len().min(from.saturating_add(most));
            if self.manner.peek {
                self.peek(flow, &mut data[from..to])?;
            }
            let returned = self.receive(&mut data[from..to])?;
            match count(&mut flow.received, returned)? {
                Some(0) if from == 0 => return Ok(false),
                Some(0) => bail!("the other side closed after {from} of {} bytes", data.len()),
                Some(bytes) => from += bytes,
                None => ensure!(self.readable(PATIENCE_MS)?, "the other side is silent"),
            }
        }
        Ok(true)
    }

    /// Sends a datagram, to the given address if the socket is not connected.
    pub(crate) fn send_datagram(
        &mut self,
        flow: &mut Flow,
        data: &mut [u8],
        to: Option<SocketAddr>,
    ) -> Result<()> {
        let returned = match to {
            None => self.send(data)?,
            Some(to) => self.send_to(data, to)?,
        };
        let sent = count(&mut flow.sent, returned)?;
        ensure!(sent == Some(data.len()), "a datagram of {} bytes: {sent:?} were sent", data.len());
        Ok(())
    }

    /// Receives a datagram by a connected socket.
    pub(crate) fn receive_datagram(&mut self, flow: &mut Flow, data: &mut [u8]) -> Result<usize> {
        loop {
            if !self.manner.nonblocking {
                ensure!(self.readable(PATIENCE_MS)?, "the other side is silent");
            }
            if self.manner.peek {
                self.peek(flow, data)?;
            }
            let returned = self.receive(data)?;
            match count(&mut flow.received, returned)? {
                Some(bytes) => return Ok(bytes),
                None => ensure!(self.readable(PATIENCE_MS)?, "the other side is silent"),
            }
        }
    }

    /// Receives a datagram by a socket that is not connected, from whomever. The caller counts.
    pub(crate) fn receive_from(&mut self, data: &mut [u8]) -> Result<(i64, SocketAddr)> {
        ensure!(self.readable(PATIENCE_MS)?, "the other side is silent");
        // SAFETY: a structure of integers, for which zeros are values.
        let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let returned = if self.manner.calls == Calls::Message {
            let mut vectors = halves(data);
            let mut message = message(&mut vectors);
            (message.msg_name, message.msg_namelen) = ((&raw mut from).cast(), len);
            // SAFETY: the message points to buffers and an address that outlive the call.
            let returned = unsafe { libc::recvmsg(self.fd(), &raw mut message, 0) };
            len = message.msg_namelen;
            returned
        } else {
            let buffer = data.as_mut_ptr().cast();
            // SAFETY: as above.
            unsafe { libc::recvfrom(self.fd(), buffer, data.len(), 0, (&raw mut from).cast(), &raw mut len) }
        };
        // SAFETY: the kernel has set so many bytes of the address.
        let from = unsafe { SockaddrStorage::from_raw((&raw const from).cast(), Some(len)) };
        Ok((result(returned), from.as_ref().and_then(address).context("the sender of a datagram")?))
    }

    fn send_to(&mut self, data: &mut [u8], to: SocketAddr) -> Result<i64> {
        ensure!(self.manner.calls != Calls::Uring, "io_uring only with connected sockets here");
        let to = SockaddrStorage::from(to);
        let (name, len) = (to.as_ptr(), to.len());
        if self.manner.calls == Calls::Message {
            let mut vectors = halves(data);
            let mut message = message(&mut vectors);
            (message.msg_name, message.msg_namelen) = (name.cast_mut().cast(), len);
            // SAFETY: the message points to buffers and an address that outlive the call.
            return Ok(result(unsafe { libc::sendmsg(self.fd(), &raw const message, 0) }));
        }
        // SAFETY: as above.
        Ok(result(unsafe { libc::sendto(self.fd(), data.as_ptr().cast(), data.len(), 0, name, len) }))
    }

    /// One call that sends; what it returned, or -errno.
    fn send(&mut self, data: &mut [u8]) -> Result<i64> {
        let fd = self.fd();
        let (buffer, len) = (data.as_mut_ptr(), data.len());
        let mut vectors = halves(data);
        let message = message(&mut vectors);
        // SAFETY: the buffers outlive the call.
        Ok(result(unsafe {
            match self.manner.calls {
                Calls::Plain => libc::write(fd, buffer.cast(), len),
                Calls::SendRecv => libc::send(fd, buffer.cast(), len, 0),
                Calls::Vectored => libc::writev(fd, message.msg_iov, 2),
                Calls::Message => libc::sendmsg(fd, &raw const message, 0),
                Calls::Uring => {
                    return self.ring(&opcode::Send::new(Fd(fd), buffer, len as u32).build());
                }
            }
        }))
    }

    /// One call that receives; what it returned, or -errno.
    fn receive(&mut self, data: &mut [u8]) -> Result<i64> {
        let fd = self.fd();
        let flags = if self.manner.wait_all { libc::MSG_WAITALL } else { 0 };
        let (buffer, len) = (data.as_mut_ptr(), data.len());
        let mut vectors = halves(data);
        let mut message = message(&mut vectors);
        // SAFETY: the buffers outlive the call.
        Ok(result(unsafe {
            match self.manner.calls {
                Calls::Plain => libc::read(fd, buffer.cast(), len),
                Calls::SendRecv => libc::recv(fd, buffer.cast(), len, flags),
                Calls::Vectored => libc::readv(fd, message.msg_iov, 2),
                Calls::Message => libc::recvmsg(fd, &raw mut message, flags),
                Calls::Uring => {
                    let entry = opcode::Recv::new(Fd(fd), buffer, len as u32).flags(flags);
                    return self.ring(&entry.build());
                }
            }
        }))
    }

    fn ring(&mut self, entry: &io_uring::squeue::Entry) -> Result<i64> {
        let ring = self.ring.as_mut().context("there is no ring")?;
        // SAFETY: the buffers outlive their completion, which is waited for.
        unsafe { ring.submission().push(entry) }.context("the submission queue is full")?;
        ring.submit_and_wait(1).context("io_uring_enter")?;
        let completion = ring.completion().next().context("io_uring completed nothing")?;
        Ok(i64::from(completion.result()))
    }

    /// Looks at what has come, and leaves it there.
    fn peek(&mut self, flow: &mut Flow, data: &mut [u8]) -> Result<()> {
        // SAFETY: the buffer outlives the call.
        let returned = unsafe { libc::recv(self.fd(), data.as_mut_ptr().cast(), data.len(), libc::MSG_PEEK) };
        match result(returned) {
            1.. => flow.peeks += 1,
            0 => {}
            error if error == -i64::from(libc::EAGAIN) => {}
            error => return Err(io::Error::from_raw_os_error(-error as i32)).context("recv with MSG_PEEK"),
        }
        Ok(())
    }
}

/// Adds a result to the counts: bytes moved, or `None` for EAGAIN. Another error is one.
pub(crate) fn count(traffic: &mut Traffic, result: i64) -> Result<Option<usize>> {
    match result {
        0 => {
            traffic.empty_ops += 1;
            Ok(Some(0))
        }
        1.. => {
            traffic.ops += 1;
            traffic.bytes += result.cast_unsigned();
            Ok(Some(result as usize))
        }
        error if error == -i64::from(libc::EAGAIN) => {
            traffic.again_ops += 1;
            Ok(None)
        }
        error => Err(io::Error::from_raw_os_error(-error as i32)).context("send or receive"),
    }
}

fn halves(data: &mut [u8]) -> [libc::iovec; 2] {
    let half = data.len() / 2;
    let (low, high) = data.split_at_mut(half);
    [low, high].map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
}

fn message(vectors: &mut [libc::iovec; 2]) -> libc::msghdr {
    // SAFETY: a structure of integers and pointers, for which zeros are values.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (vectors.as_mut_ptr(), 2);
    message
}

fn result(returned: isize) -> i64 {
    if returned >= 0 {
        return returned as i64;
    }
    -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let four = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    four.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}
