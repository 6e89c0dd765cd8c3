//! What the kernel programs must know of sockets that are older than they are.

use super::{NEW, Probe, ProbeError, Raw, TargetIndex, insert_new};
use aya::maps::{HashMap, MapError};
use isotherm_agent_ebpf::{Address, End, HOST_TARGET, LISTENED, Opener, Port};
use std::net::{IpAddr, SocketAddr};

/// An open connection, from the end that has opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenedConnection {
    /// Inode number of its network namespace.
    pub namespace: u64,
    /// Of the end that has opened it.
    pub local: SocketAddr,
    /// Of the other end.
    pub remote: SocketAddr,
}

/// Connections that the kernel programs remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Asked for, and not answered yet.
    pub opening: usize,
    /// Open, or closed by one end only.
    pub open: usize,
}

impl Probe {
    /// A port that a target listens on: connections to it were opened by their peers. Known by itself for ports
    /// that are opened by a watched process. Fails where there is no room; its connections then look like ones
    /// that the target has opened.
    pub fn add_port(&mut self, target: TargetIndex, port: u16) -> Result<(), ProbeError> {
        let mut ports: HashMap<_, Raw<Port>, u32> = self.map_mut("PORTS", HashMap::try_from)?;
        let key = Raw(Port { target: target.get() as u32, port: u32::from(port) });
        insert_new("PORTS", ports.insert(key, LISTENED, NEW))
    }

    /// A connection that a target has opened, so that the other end is told who it is. Known by itself for those
    /// that a watched process opens. Forgotten when it closes; call
    /// [`forget_connection`](Self::forget_connection) for one that had closed before it was added. Fails where
    /// there is no room; the other end then takes it for a client.
    pub fn add_connection(
        &mut self,
        target: TargetIndex,
        connection: &OpenedConnection,
    ) -> Result<(), ProbeError> {
        let mut ends: HashMap<_, Raw<End>, Raw<Opener>> = self.map_mut("ENDS", HashMap::try_from)?;
        let opener = Raw(Opener { target: target.get() as u32, flags: 0 });
        insert_new("ENDS", ends.insert(Raw(connection.end()), opener, NEW))
    }

    /// Undoes [`add_connection`](Self::add_connection). One that is not known is no error.
    pub fn forget_connection(&mut self, connection: &OpenedConnection) -> Result<(), ProbeError> {
        let mut ends: HashMap<_, Raw<End>, Raw<Opener>> = self.map_mut("ENDS", HashMap::try_from)?;
        match ends.remove(&Raw(connection.end())) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(ProbeError::Map { map: "ENDS", source: Box::new(source) }),
        }
    }

    /// How many connections the kernel programs remember.
    pub fn remembered(&self) -> Result<Remembered, ProbeError> {
        let opening: HashMap<_, u64, u32> = self.map_ref("OPENING", HashMap::try_from)?;
        let open: HashMap<_, Raw<End>, Raw<Opener>> = self.map_ref("ENDS", HashMap::try_from)?;
        // Not what this process itself connected to while the programs were tried.
        let opening = opening.iter().filter_map(Result::ok).filter(|(_, target)| *target < HOST_TARGET);
        let open = open.iter().filter_map(Result::ok).filter(|(_, Raw(opener))| opener.target < HOST_TARGET);
        Ok(Remembered { opening: opening.count(), open: open.count() })
    }
}

impl OpenedConnection {
    fn end(&self) -> End {
        let loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let namespace = if loopback(self.local) || loopback(self.remote) { self.namespace } else { 0 };
        End { namespace, local: address(self.local), remote: address(self.remote) }
    }
}

/// As the kernel programs have it.
fn address(address: SocketAddr) -> Address {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Address { ip: ip.octets(), port: address.port(), reserved: 0 }
}
