//! Who listens where.
//!
//! The agent's own network namespace is asked by netlink. Others cannot be; their tables in /proc list the
//! listening sockets first (net/ipv4/tcp_ipv4.c, seen up to Linux 6.18), so only the head is read. To find
//! its end the kernel walks the table of all connections, which takes milliseconds; so other namespaces are
//! read no more often than costs [`SHARE`] of a core.

use super::process::{Candidate, Depth, Image};
use super::sockdiag;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tracing::debug;

/// Listening sockets of a namespace that are looked at.
const MAX_LISTENERS: usize = 65_536;

/// State of a listening socket in the kernel's table (TCP_LISTEN).
const LISTEN: &str = "0A";

/// Share of a core that reading the tables of other namespaces may take: 1 in this many.
const SHARE: u32 = 200;

/// A network namespace, as far as listeners matter.
#[derive(Debug)]
struct Network {
    /// A process in it.
    pid: u32,
    /// Addresses listened on, with the inodes of the sockets.
    listening: Vec<(SocketAddr, u64)>,
    /// Changes with `listening`.
    version: u64,
    /// Addresses, or whole blocks of them, that are local. Read when asked for.
    local: OnceCell<Vec<(IpAddr, u8)>>,
}

/// The listening sockets that a process has open.
#[derive(Debug)]
struct Owned {
    image: Image,
    version: u64,
    inodes: HashSet<u64>,
}

/// Who listens where, read at most once per network namespace and look.
#[derive(Debug, Default)]
pub struct Listeners {
    networks: HashMap<u64, Network>,
    owned: HashMap<u32, Owned>,
    versions: u64,
    /// When other namespaces may be read again.
    rested: Option<Instant>,
    stale: bool,
}

impl Listeners {
    /// Looks at the namespaces of all candidates.
    #[must_use]
    pub fn of_all(candidates: &[Candidate]) -> Self {
        let mut listeners = Self::default();
        listeners.update(candidates, Depth::Full);
        listeners
    }

    /// Looks again. A short look keeps what a process has open, unless the process or the sockets that are
    /// listened on have changed; and what it would cost too much to read again ([`Self::is_stale`]).
    pub fn update(&mut self, candidates: &[Candidate], depth: Depth) {
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        let own = own.and_then(|link| super::process::namespace_number(&link.to_string_lossy()));
        let rested = depth == Depth::Full || self.rested.is_none_or(|rested| Instant::now() >= rested);
        let mut before = std::mem::take(&mut self.networks);
        let mut cost = Duration::ZERO;
        self.stale = false;
        for process in candidates {
            if self.networks.contains_key(&process.namespace) {
                continue;
            }
            let old = before.remove(&process.namespace);
            let is_own = own == Some(process.namespace);
            let old = match old {
                Some(mut old) if !is_own && !rested => {
                    self.stale = true;
                    old.pid = process.pid;
                    self.networks.insert(process.namespace, old);
                    continue;
                }
                old => old,
            };
            let began = Instant::now();
            let listening = if is_own { listening_here(process.pid) } else { listening(process.pid) };
            if !is_own {
                cost += began.elapsed();
            }
            // A process that has just ended says nothing; the next one in the namespace may.
            let Some(listening) = listening else { continue };
            let version = match old {
                Some(old) if old.listening == listening => old.version,
                Some(_) | None => {
                    self.versions += 1;
                    self.versions
                }
            };
            self.networks.insert(
                process.namespace,
                Network { pid: process.pid, listening, version, local: OnceCell::new() },
            );
        }
        if !cost.is_zero() {
            self.rested = Some(Instant::now() + cost * SHARE);
        }
        if depth == Depth::Full {
            self.owned.clear();
        }
        let images: HashMap<u32, &Image> =
            candidates.iter().map(|process| (process.pid, &process.image)).collect();
        self.owned.retain(|pid, owned| images.get(pid).is_some_and(|image| **image == owned.image));
    }

    /// Whether a namespace was not read again by the last look, because that would have cost too much. Look
    /// again soon, also if nothing happens.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Addresses that a process listens on; empty if its descriptors cannot be read.
    pub fn of(&mut self, process: &Candidate) -> Vec<SocketAddr> {
        let Some(network) = self.networks.get(&process.namespace) else { return Vec::new() };
        if network.listening.is_empty() {
            return Vec::new();
        }
        let owned = own(&mut self.owned, process, network);
        let mine = network.listening.iter().filter(|(_, inode)| owned.contains(inode));
        mine.map(|(address, _)| *address).collect()
    }

    /// Whether a process serves an address: listens on it, or on its port at every address, if the address
    /// is one of its namespace and nobody on the host listens on it alone.
    pub(super) fn has(&mut self, process: &Candidate, wanted: SocketAddr) -> bool {
        let Some(network) = self.networks.get(&process.namespace) else { return false };
        let exact = |network: &Network| network.listening.iter().any(|(address, _)| *address == wanted);
        let any = |address: &SocketAddr| address.port() == wanted.port() && address.ip().is_unspecified();
        let by_wildcard = network.listening.iter().any(|(address, _)| any(address))
            && !self.networks.values().any(exact)
            && network.is_local(wanted.ip());
        let serves = |address: &SocketAddr| *address == wanted || (by_wildcard && any(address));
        let mut inodes = network.listening.iter().filter(|(address, _)| serves(address)).peekable();
        if inodes.peek().is_none() {
            return false;
        }
        let owned = own(&mut self.owned, process, network);
        inodes.any(|(_, inode)| owned.contains(inode))
    }
}

/// The listening sockets of its namespace that a process has open.
fn own<'a>(known: &'a mut HashMap<u32, Owned>, process: &Candidate, network: &Network) -> &'a HashSet<u64> {
    let read = || Owned {
        image: process.image.clone(),
        version: network.version,
        inodes: open_sockets(process.pid, &network.listening),
    };
    let owned = known.entry(process.pid).or_insert_with(read);
    if owned.version != network.version {
        *owned = read();
    }
    &owned.inodes
}

impl Network {
    fn is_local(&self, ip: IpAddr) -> bool {
        let local = self.local.get_or_init(|| local_addresses(self.pid));
        local.iter().any(|(block, prefix)| in_block(ip, *block, *prefix))
    }
}

fn in_block(ip: IpAddr, block: IpAddr, prefix: u8) -> bool {
    let (ip, block, width) = match (ip, block) {
        (IpAddr::V4(ip), IpAddr::V4(block)) => (u128::from(ip.to_bits()), u128::from(block.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(block)) => (ip.to_bits(), block.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    // A prefix of 0 shifts by the whole width.
    let shift = u32::from(width - prefix.min(width));
    ip.checked_shr(shift).unwrap_or(0) == block.checked_shr(shift).unwrap_or(0)
}

/// Local addresses of a process's network namespace: IPv4 from its routing trie, IPv6 from its interfaces.
fn local_addresses(pid: u32) -> Vec<(IpAddr, u8)> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let mut local = local_of_trie(&read("fib_trie"));
    local.extend(read("if_inet6").lines().filter_map(|line| {
        let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        Some((IpAddr::V6(bits.into()), 128))
    }));
    local
}

/// Lines such as `|-- 10.77.0.0` are followed by lines such as `/24 host LOCAL`.
fn local_of_trie(text: &str) -> Vec<(IpAddr, u8)> {
    let mut local = Vec::new();
    let mut address = None;
    for line in text.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.parse::<IpAddr>().ok();
        } else if let (Some(address), Some(prefix)) = (address, line.strip_suffix(" host LOCAL")) {
            local.extend(prefix.trim_start_matches('/').parse().ok().map(|prefix| (address, prefix)));
        }
    }
    local
}

/// Listening sockets of the agent's own namespace, which process `pid` is in too.
fn listening_here(pid: u32) -> Option<Vec<(SocketAddr, u64)>> {
    match sockdiag::listening(MAX_LISTENERS) {
        Ok(listening) => Some(listening),
        Err(error) => {
            // Kernels without CONFIG_INET_DIAG, or that may not load its module.
            debug!("listening sockets are read from /proc, as netlink does not tell them: {error}");
            listening(pid)
        }
    }
}

/// Listening sockets of a process's namespace, IPv4 first. `None` if the process is not there.
fn listening(pid: u32) -> Option<Vec<(SocketAddr, u64)>> {
    let mut found = head(pid, "tcp")?;
    // Absent where the kernel has no IPv6.
    found.extend(head(pid, "tcp6").unwrap_or_default());
    Some(found)
}

fn head(pid: u32, table: &str) -> Option<Vec<(SocketAddr, u64)>> {
    let table = BufReader::new(File::open(format!("/proc/{pid}/net/{table}")).ok()?);
    let lines = table.lines().skip(1).map_while(Result::ok);
    Some(lines.map_while(|line| listening_of_line(&line)).take(MAX_LISTENERS).collect())
}

/// From `0: 0100007F:1F90 00000000:0000 0A .. inode ..`; `None` for a socket that does not listen.
fn listening_of_line(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    // Each word of an address is printed as a number, of bytes in network order.
    let words: Vec<u8> = (0..ip.len())
        .step_by(8)
        .filter_map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip: IpAddr = match words.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(words).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into(),
        _ => return None,
    };
    let inode = fields.nth(5)?.parse().ok()?;
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), inode))
}

fn open_sockets(pid: u32, listening: &[(SocketAddr, u64)]) -> HashSet<u64> {
    let wanted: HashSet<u64> = listening.iter().map(|(_, inode)| *inode).collect();
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .filter(|inode| wanted.contains(inode))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::net::TcpState;
    use procfs::process::Process;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn local_addresses_are_read_from_the_routing_trie() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.77.0.0\n        /24 host LOCAL\n     |-- 10.78.0.0\n        \
                    /24 link UNICAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let local = local_of_trie(trie);
        let is_local =
            |ip: &str| local.iter().any(|(block, prefix)| in_block(ip.parse().unwrap(), *block, *prefix));
        assert!(is_local("10.77.0.9") && is_local("127.0.0.1"));
        assert!(!is_local("10.78.0.1") && !is_local("127.0.0.2") && !is_local("::1"));
    }

    #[test]
    fn the_head_of_the_table_has_every_listener() {
        let listeners: Vec<TcpListener> = ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]
            .map(|address| TcpListener::bind(address).unwrap())
            .into();
        // Connections, so that the table has a tail.
        let _streams: Vec<TcpStream> = listeners
            .iter()
            .map(|listener| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        let found = listening(std::process::id()).unwrap();
        for listener in &listeners {
            let address = listener.local_addr().unwrap();
            assert!(found.iter().any(|(other, _)| *other == address), "{address} in {found:?}");
        }
        let asked = sockdiag::listening(MAX_LISTENERS).unwrap();
        for listener in &listeners {
            let address = listener.local_addr().unwrap();
            let inode =
                |from: &[(SocketAddr, u64)]| from.iter().find(|(other, _)| *other == address).cloned();
            assert_eq!(inode(&found), inode(&asked), "netlink and /proc agree");
        }
        // Against a reader of the whole table; other tests open and close listeners meanwhile.
        let process = Process::myself().unwrap();
        let all = process.tcp().unwrap().into_iter().chain(process.tcp6().unwrap());
        let after = listening(std::process::id()).unwrap();
        for entry in all.filter(|entry| entry.state == TcpState::Listen) {
            let entry = (entry.local_address, entry.inode);
            assert!(found.contains(&entry) || after.contains(&entry), "{entry:?}");
        }
    }

    #[test]
    fn lines_of_other_sockets_end_the_head() {
        let line =
            "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 77 1";
        assert_eq!(listening_of_line(line), None);
        let line = line.replace(" 01 ", " 0A ");
        assert_eq!(listening_of_line(&line), Some(("127.0.0.1:8080".parse().unwrap(), 77)));
        assert_eq!(listening_of_line(""), None);
    }
}
