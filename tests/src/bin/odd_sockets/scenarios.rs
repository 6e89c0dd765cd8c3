//! The scenarios.

use crate::calls::{
    PATIENCE, any_socket, borrowed, connect, flow, in_child, receive_many, send_many, stream_socket,
};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::sockets::{Flow, Origin, Protocol, SocketTruth};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

/// The question to the program `sockets` that a file has; the answer is not waited for.
const FILE_BYTES: u32 = 100_000;

/// What is done when the program is told to go.
type Act = Box<dyn FnOnce() -> Result<SocketTruth>>;

/// A scenario, prepared.
pub(crate) struct Scenario {
    pub(crate) listening: Vec<SocketAddr>,
    pub(crate) act: Act,
}

pub(crate) fn prepare(name: &str, addresses: &[SocketAddr]) -> Result<Scenario> {
    let plain = |act: Act| Ok(Scenario { listening: Vec::new(), act });
    let addresses = addresses.to_vec();
    match (name, addresses.as_slice()) {
        ("failures", []) => plain(Box::new(failures)),
        ("families", []) => plain(Box::new(families)),
        ("many", []) => plain(Box::new(many)),
        ("file", [server]) => file(*server),
        ("children", []) => plain(Box::new(children)),
        ("reused", [server]) => reused(*server),
        ("late", [listen]) => late(*listen, false),
        ("ended", [listen]) => late(*listen, true),
        ("client", [source, server]) => {
            let (source, server) = (*source, *server);
            plain(Box::new(move || client(source, server, End::Closed)))
        }
        ("hasty", [source, server]) => {
            let (source, server) = (*source, *server);
            plain(Box::new(move || client(source, server, End::Hasty)))
        }
        ("holder", [source, server]) => {
            let (source, server) = (*source, *server);
            plain(Box::new(move || client(source, server, End::Open)))
        }
        _ => bail!("there is no scenario {name} with {} addresses", addresses.len()),
    }
}

fn localhost() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Calls that move nothing, and one byte each way that does.
fn failures() -> Result<SocketTruth> {
    let listener = TcpListener::bind(localhost()).context("listen")?;
    let here = listener.local_addr().context("getsockname")?;
    let refused = TcpListener::bind(localhost()).and_then(|gone| gone.local_addr()).context("a free port")?;
    ensure!(TcpStream::connect(refused).is_err(), "{refused} is not refused");

    // Not blocking: the connection is opened after the call has failed with EINPROGRESS.
    let socket = stream_socket(None)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true).context("O_NONBLOCK")?;
    let to = nix::sys::socket::SockaddrStorage::from(here);
    match nix::sys::socket::connect(stream.as_raw_fd(), &to) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
        Err(error) => return Err(error).context("connect"),
    }
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    let limit = PollTimeout::from(PATIENCE.as_millis() as u16);
    ensure!(poll(&mut polled, limit).context("poll")? == 1, "the connection is not opened");
    let (mut client, (mut server, _)) = (stream, listener.accept().context("accept")?);

    let again = client.read(&mut [0; 8]).map_err(|error| error.kind());
    ensure!(again == Err(ErrorKind::WouldBlock), "there is something to read: {again:?}");
    ensure!(client.write(&[]).context("an empty write")? == 0, "an empty write wrote");
    let (mut asked, mut answered) = (flow(&client, Origin::Connected)?, flow(&server, Origin::Accepted)?);
    ensure!(client.write(&[1]).context("write")? == 1, "one byte");
    (asked.sent.ops, asked.sent.bytes) = (1, 1);
    ensure!(server.read(&mut [0; 8]).context("read")? == 1, "one byte");
    (answered.received.ops, answered.received.bytes) = (1, 1);
    client.shutdown(Shutdown::Write).context("shutdown")?;
    ensure!(client.write(&[1]).is_err(), "a write after the end");
    ensure!(server.read(&mut [0; 8]).context("read the end")? == 0, "the end has bytes");

    let mut loose = TcpStream::from(stream_socket(None)?);
    ensure!(loose.write(&[1]).is_err() && loose.read(&mut [0]).is_err(), "without a connection");
    let (one, two) =
        (UdpSocket::bind(localhost()).context("bind")?, UdpSocket::bind(localhost()).context("bind")?);
    two.set_read_timeout(Some(PATIENCE)).context("a time limit")?;
    one.connect(two.local_addr()?).context("connect")?;
    ensure!(one.send(&[]).context("an empty datagram")? == 0, "an empty datagram has bytes");
    ensure!(two.recv(&mut [0; 8]).context("an empty datagram")? == 0, "an empty datagram has bytes");
    Ok(SocketTruth { flows: vec![asked, answered] })
}

/// Sockets that are not of IP, and those of IP that have no ports.
fn families() -> Result<SocketTruth> {
    let folder = tempfile::tempdir().context("a folder")?;
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).context("listen")?;
    let mut client = UnixStream::connect(&path).context("connect")?;
    let (mut server, _) = listener.accept().context("accept")?;
    client.write_all(&[1; 100]).context("write")?;
    server.read_exact(&mut [0; 100]).context("read")?;
    let (one, two) = UnixDatagram::pair().context("socketpair")?;
    one.send(&[1; 100]).context("send")?;
    two.recv(&mut [0; 100]).context("receive")?;

    // NLMSG_NOOP with NLM_F_REQUEST, to which the kernel has no answer.
    let netlink = any_socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let mut request = [0; 16];
    request[..8].copy_from_slice(&[16, 0, 0, 0, 1, 0, 1, 0]);
    // SAFETY: the buffer outlives the call.
    let sent = unsafe { libc::send(netlink.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    ensure!(sent == 16, "netlink took {sent} bytes");

    // An echo request, to which the kernel fills in the checksum only for those who may not do so themselves.
    let raw = any_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    ensure!(borrowed(&raw).send_to(&echo, localhost()).context("an echo request")? == echo.len(), "echo");
    borrowed(&raw).set_read_timeout(Some(PATIENCE)).context("a time limit")?;
    ensure!(borrowed(&raw).recv(&mut [0; 100]).context("an echo")? > 0, "no echo");
    Ok(SocketTruth::default())
}

/// Many datagrams by one call.
fn many() -> Result<SocketTruth> {
    let receiver = UdpSocket::bind(localhost()).context("bind")?;
    let here = receiver.local_addr().context("getsockname")?;
    let sender = UdpSocket::bind(localhost()).context("bind")?;
    sender.connect(here).context("connect")?;
    let mut sent = Flow::new(Protocol::Udp, sender.local_addr()?, here, Origin::Connected);
    let mut received = Flow::new(Protocol::UdpUnconnected, here, sender.local_addr()?, Origin::Unconnected);
    (sent.sent.ops, sent.sent.bytes) = send_many(&sender, &[1, 20, 300, 1_400])?;
    while received.received.ops < sent.sent.ops {
        let (ops, bytes) = receive_many(&receiver, 3)?;
        received.received.ops += ops;
        received.received.bytes += bytes;
    }
    Ok(SocketTruth { flows: vec![sent, received] })
}

/// sendfile into a stream. The kernel sends a file by pages, so the truth has bytes only, as if by one call.
fn file(server: SocketAddr) -> Result<Scenario> {
    let mut data = tempfile::tempfile().context("a file")?;
    let mut question = vec![1; FILE_BYTES as usize];
    question[..4].copy_from_slice(&FILE_BYTES.to_le_bytes());
    data.write_all(&question).context("write the file")?;
    let stream = connect(stream_socket(None)?, server)?;
    let act = move || -> Result<SocketTruth> {
        let mut sent = flow(&stream, Origin::Connected)?;
        send_file(&data, &stream, &mut sent)?;
        Ok(SocketTruth { flows: vec![sent] })
    };
    Ok(Scenario { listening: Vec::new(), act: Box::new(act) })
}

fn send_file(data: &File, stream: &TcpStream, flow: &mut Flow) -> Result<()> {
    let mut offset = 0;
    while offset < i64::from(FILE_BYTES) {
        // SAFETY: the offset outlives the call.
        let sent = unsafe {
            libc::sendfile(stream.as_raw_fd(), data.as_raw_fd(), &raw mut offset, FILE_BYTES as usize)
        };
        ensure!(sent > 0, "sendfile: {}", std::io::Error::last_os_error());
        flow.sent.bytes += sent.cast_unsigned() as u64;
    }
    flow.sent.ops = 1;
    Ok(())
}

/// Children accept, serve and connect.
fn children() -> Result<SocketTruth> {
    let listener = TcpListener::bind(localhost()).context("listen")?;
    let here = listener.local_addr().context("getsockname")?;
    let client = connect(stream_socket(None)?, here)?;
    let mut asked = flow(&client, Origin::Connected)?;
    let sent = in_child(|| {
        let bytes = (&client).write(&[1; 5_000]).context("write")?;
        Ok((1, bytes as u64))
    })?;
    (asked.sent.ops, asked.sent.bytes) = sent;
    let received = in_child(|| {
        let (mut server, _) = listener.accept().context("accept")?;
        let (mut ops, mut bytes) = (0, 0);
        while bytes < 5_000 {
            let got = server.read(&mut [0; 2_000]).context("read")?;
            (ops, bytes) = (ops + 1, bytes + got as u64);
        }
        Ok((ops, bytes))
    })?;
    let mut served = Flow::new(Protocol::Tcp, here, client.local_addr()?, Origin::Accepted);
    (served.received.ops, served.received.bytes) = received;
    Ok(SocketTruth { flows: vec![asked, served] })
}

/// Connects from a port that it has listened on.
fn reused(server: SocketAddr) -> Result<Scenario> {
    let act = move || -> Result<SocketTruth> {
        let listener = TcpListener::bind(localhost()).context("listen")?;
        let port = listener.local_addr().context("getsockname")?;
        let mut visitor = connect(stream_socket(None)?, port)?;
        let (mut taken, _) = listener.accept().context("accept")?;
        drop(listener);
        let mut opened = connect(stream_socket(Some(port))?, server)?;
        let (mut visited, mut took) = (flow(&visitor, Origin::Connected)?, flow(&taken, Origin::Accepted)?);
        let mut out = flow(&opened, Origin::Connected)?;
        (visited.sent.ops, visited.sent.bytes) = (1, visitor.write(&[1; 30]).context("write")? as u64);
        (took.received.ops, took.received.bytes) = (1, taken.read(&mut [0; 30]).context("read")? as u64);
        ensure!(ask(&mut opened, &mut out)?, "no answer");
        Ok(SocketTruth { flows: vec![visited, took, out] })
    };
    Ok(Scenario { listening: Vec::new(), act: Box::new(act) })
}

/// A question of eight bytes to the program `sockets`, and its answer of eight.
fn ask(stream: &mut TcpStream, flow: &mut Flow) -> Result<bool> {
    let (sent, mut answer) = (stream.write(&[8, 0, 0, 0, 8, 0, 0, 0]).context("ask")?, [0; 8]);
    let got = stream.read(&mut answer).context("the answer")?;
    (flow.sent.ops, flow.sent.bytes) = (1, sent as u64);
    (flow.received.ops, flow.received.bytes) = (1, got as u64);
    Ok(sent == 8 && got == 8)
}

/// Takes a connection when told to, and reads what had come; if `ends`, after it has ended its own side.
fn late(listen: SocketAddr, ends: bool) -> Result<Scenario> {
    let listener = TcpListener::bind(listen).context("listen")?;
    let here = listener.local_addr().context("getsockname")?;
    let act = move || -> Result<SocketTruth> {
        let (mut stream, remote) = listener.accept().context("accept")?;
        let mut taken = Flow::new(Protocol::Tcp, here, remote, Origin::Accepted);
        if ends {
            stream.shutdown(Shutdown::Write).context("shutdown")?;
        }
        let mut data = [0; 600];
        loop {
            let bytes = stream.read(&mut data).context("read")?;
            if bytes == 0 {
                return Ok(SocketTruth { flows: vec![taken] });
            }
            taken.received.ops += 1;
            taken.received.bytes += bytes as u64;
        }
    };
    Ok(Scenario { listening: vec![here], act: Box::new(act) })
}

/// How a client ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It asks, gets its answer, and closes.
    Closed,
    /// The same, and the connection stays open as long as the program lives.
    Open,
    /// It sends, and closes at once.
    Hasty,
}

/// Connects from `source`.
fn client(source: SocketAddr, server: SocketAddr, end: End) -> Result<SocketTruth> {
    let mut stream = connect(stream_socket(Some(source))?, server)?;
    let mut out = flow(&stream, Origin::Connected)?;
    if end == End::Hasty {
        (out.sent.ops, out.sent.bytes) = (1, stream.write(&[1; 1_000]).context("write")? as u64);
        return Ok(SocketTruth { flows: vec![out] });
    }
    ensure!(ask(&mut stream, &mut out)?, "no answer");
    if end == End::Open {
        std::mem::forget(stream);
    }
    Ok(SocketTruth { flows: vec![out] })
}
