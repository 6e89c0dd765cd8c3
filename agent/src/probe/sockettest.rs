//! The same question as in `selftest`, of the program on sockets: does it count what it should? A few datagrams
//! to itself tell. Without a loopback interface there is no way to ask, and the program is believed.

use super::{Probe, ProbeError};
use isotherm_agent_ebpf::{PeerKey, READ, SELF_TEST_TARGET, WRITE};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use tracing::debug;

const DATAGRAMS: [usize; 3] = [1, 20, 300];

/// `Some` says what is wrong.
pub(super) fn run(probe: &mut Probe) -> Result<Option<String>, ProbeError> {
    let sockets = match sockets() {
        Ok(sockets) => sockets,
        Err(error) => {
            debug!("sockets are not tried: no datagrams to oneself: {error}");
            return Ok(None);
        }
    };
    probe.processes.set(std::process::id(), Some(SELF_TEST_TARGET));
    let exercised = exercise(&sockets);
    probe.processes.set(std::process::id(), None);
    let reading = probe.read()?;
    let counted = |operation, port: u16| {
        let own = reading.peers.iter().filter(|(key, _)| {
            let ports = [key.local.port, key.remote.port];
            key.target == SELF_TEST_TARGET && key.operation == operation && ports == [0, port]
        });
        own.fold((0, 0), |(ops, bytes), (_, counters)| (ops + counters.ops, bytes + counters.bytes))
    };
    // Both are connected to each other, and neither port is known as listened on.
    let (sender, receiver) = (sockets.sender_at.port(), sockets.receiver_at.port());
    let (sent, received) = (counted(WRITE, receiver), counted(READ, sender));
    let keys: Vec<PeerKey> =
        reading.peers.iter().map(|(key, _)| *key).filter(|key| key.target == SELF_TEST_TARGET).collect();
    for key in keys {
        probe.evict_peer(&key)?;
    }
    if let Err(error) = exercised {
        return Ok(Some(format!("datagrams to try it on do not arrive: {error}")));
    }
    let expected = (DATAGRAMS.len() as u64, DATAGRAMS.iter().sum::<usize>() as u64);
    Ok((sent != expected || received != expected).then(|| {
        format!("{expected:?} datagrams and bytes were counted as {sent:?} sent and {received:?} received")
    }))
}

struct Sockets {
    sender: UdpSocket,
    sender_at: SocketAddr,
    receiver: UdpSocket,
    receiver_at: SocketAddr,
}

fn sockets() -> std::io::Result<Sockets> {
    let here = (Ipv4Addr::LOCALHOST, 0);
    let (sender, receiver) = (UdpSocket::bind(here)?, UdpSocket::bind(here)?);
    let (sender_at, receiver_at) = (sender.local_addr()?, receiver.local_addr()?);
    sender.connect(receiver_at)?;
    receiver.connect(sender_at)?;
    receiver.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    Ok(Sockets { sender, sender_at, receiver, receiver_at })
}

fn exercise(sockets: &Sockets) -> std::io::Result<()> {
    let mut data = [0; 512];
    for len in DATAGRAMS {
        sockets.sender.send(&data[..len])?;
        // Only looked at, and so not to be counted.
        sockets.receiver.peek(&mut data)?;
        sockets.receiver.recv(&mut data)?;
    }
    Ok(())
}
