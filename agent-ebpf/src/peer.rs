//! What is counted at sockets.

/// An address and port. IPv4 addresses are mapped into IPv6 (::ffff:a.b.c.d). Network byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// Network byte order.
    pub ip: [u8; 16],
    /// Host byte order.
    pub port: u16,
    /// 0.
    pub reserved: u16,
}

/// What a target exchanges with a peer in one direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The target whose process did it.
    pub target: u32,
    /// [`crate::READ`], [`crate::WRITE`], [`crate::ACCEPT`] or [`crate::CONNECT`].
    pub operation: u16,
    /// The target that the peer is, + 1; 0 if it is not known to be one.
    pub peer_target: u16,
    /// Port 0: the node opened the connection.
    pub local: Address,
    /// Port 0: the peer opened the connection.
    pub remote: Address,
}

impl PeerKey {
    /// Takes what finds no room.
    #[must_use]
    pub const fn overflow(target: u32, operation: u16) -> Self {
        let none = Address { ip: [0; 16], port: 0, reserved: 0 };
        Self { target, operation, peer_target: 0, local: none, remote: none }
    }

    /// Whether this is an overflow key: no socket has two empty addresses.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.local == Address::default() && self.remote == Address::default()
    }
}

/// Counters of a [`PeerKey`]. They only grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Calls that moved bytes; connections.
    pub ops: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A port that a target listens on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Port {
    /// The target.
    pub target: u32,
    /// The port, host byte order.
    pub port: u32,
}

/// Value of a [`Port`]: listened on.
pub const LISTENED: u32 = 1;
/// Value of a [`Port`]: a connection was also opened from it, so that the port alone does not tell who came.
pub const SHARED: u32 = 2;

/// One end of a connection: the one that has opened it. Both addresses, because a port can be used by several
/// connections at once if they lead to different peers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// Inode number of the network namespace for loopback addresses, which are the same ones in each; else 0,
    /// as the ends may be in different namespaces.
    pub namespace: u64,
    /// Of this end.
    pub local: Address,
    /// Of the other end.
    pub remote: Address,
}

/// Who has opened a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opener {
    /// Its target.
    pub target: u32,
    /// 0 or [`Opener::BOTH_HERE`].
    pub flags: u32,
}

impl Opener {
    /// The other end is on this host, so that its closing is seen.
    pub const BOTH_HERE: u32 = 1;
}
