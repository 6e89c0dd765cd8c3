//! Which processes a target consists of, from /proc.
//!
//! Looked at once a second. Children of a watched process need no look: the kernel side follows them.

use crate::probe::OpenedConnection;
use procfs::ProcError;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};
use regex::Regex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// What a process must be to belong to a target. All parts that are given must hold.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// Over the path of its executable.
    pub exe: Option<Regex>,
    /// Over its arguments, joined by spaces.
    pub cmdline: Option<Regex>,
    /// Its id.
    pub pid: Option<u32>,
    /// An address and port that it listens on. A process that listens on the port at every address matches
    /// too, if the address is one of its network namespace and nobody on the host listens on it alone.
    pub listen: Option<SocketAddr>,
}

impl Selector {
    /// Whether it would match every process.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exe.is_none() && self.cmdline.is_none() && self.pid.is_none() && self.listen.is_none()
    }

    /// Whether it is written the same way, and so selects the same processes.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let text = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_owned());
        text(&self.exe) == text(&other.exe)
            && text(&self.cmdline) == text(&other.cmdline)
            && self.pid == other.pid
            && self.listen == other.listen
    }
}

/// A process, as far as selectors look at it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Process id.
    pub pid: u32,
    /// Path of the executable, without the mark of a deleted one.
    pub exe: PathBuf,
    /// Arguments, joined by spaces.
    pub cmdline: String,
    parent: u32,
    /// Its network namespace.
    namespace: u64,
}

/// All processes that run a program; kernel threads, zombies and what ends meanwhile are left out.
pub fn candidates() -> Result<Vec<Candidate>, ProcError> {
    Ok(procfs::process::all_processes()?
        .filter_map(Result::ok)
        .filter_map(|process| candidate(&process))
        .collect())
}

fn candidate(process: &Process) -> Option<Candidate> {
    let exe = process.exe().ok()?;
    let exe = exe.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    let network = OsString::from("net");
    Some(Candidate {
        pid: process.pid().try_into().ok()?,
        exe: exe.into(),
        cmdline: process.cmdline().ok()?.join(" "),
        parent: process.stat().ok()?.ppid.try_into().ok()?,
        namespace: process.namespaces().ok()?.0.get(&network).map(|namespace| namespace.identifier)?,
    })
}

/// A network namespace, as far as listeners matter.
struct Network {
    /// Addresses listened on, with the inodes of the sockets.
    listening: Vec<(SocketAddr, u64)>,
    /// Addresses, or whole blocks of them, that are local.
    local: Vec<(IpAddr, u8)>,
}

/// Who listens where, read at most once per network namespace.
#[derive(Default)]
pub struct Listeners {
    networks: HashMap<u64, Network>,
    sockets: HashMap<u32, HashSet<u64>>,
}

impl Listeners {
    /// Looks at the namespaces of all candidates.
    #[must_use]
    pub fn of_all(candidates: &[Candidate]) -> Self {
        let mut listeners = Self::default();
        for process in candidates {
            let network =
                || Network { listening: listening(process.pid), local: local_addresses(process.pid) };
            listeners.networks.entry(process.namespace).or_insert_with(network);
        }
        listeners
    }

    /// Addresses that a process listens on; empty if its descriptors cannot be read.
    pub fn of(&mut self, process: &Candidate) -> Vec<SocketAddr> {
        let Some(network) = self.networks.get(&process.namespace) else { return Vec::new() };
        if network.listening.is_empty() {
            return Vec::new();
        }
        let sockets = self.sockets.entry(process.pid).or_insert_with(|| sockets(process.pid));
        let own = network.listening.iter().filter(|(_, inode)| sockets.contains(inode));
        own.map(|(address, _)| *address).collect()
    }

    fn has(&mut self, process: &Candidate, wanted: SocketAddr) -> bool {
        let Some(network) = self.networks.get(&process.namespace) else { return false };
        let exact = |network: &Network| network.listening.iter().any(|(address, _)| *address == wanted);
        let by_wildcard = !self.networks.values().any(exact) && network.is_local(wanted.ip());
        let serves = |address: SocketAddr| {
            address == wanted
                || (by_wildcard && address.port() == wanted.port() && address.ip().is_unspecified())
        };
        let inodes: Vec<u64> = network
            .listening
            .iter()
            .filter(|(address, _)| serves(*address))
            .map(|(_, inode)| *inode)
            .collect();
        if inodes.is_empty() {
            return false;
        }
        let sockets = self.sockets.entry(process.pid).or_insert_with(|| sockets(process.pid));
        inodes.iter().any(|inode| sockets.contains(inode))
    }
}

impl Network {
    fn is_local(&self, ip: IpAddr) -> bool {
        self.local.iter().any(|(block, prefix)| in_block(ip, *block, *prefix))
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

fn tcp(pid: u32) -> Vec<TcpNetEntry> {
    let Ok(process) = Process::new(pid.cast_signed()) else { return Vec::new() };
    let (four, six) = (process.tcp().unwrap_or_default(), process.tcp6().unwrap_or_default());
    four.into_iter().chain(six).collect()
}

fn listening(pid: u32) -> Vec<(SocketAddr, u64)> {
    tcp(pid)
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.local_address, entry.inode))
        .collect()
}

fn sockets(pid: u32) -> HashSet<u64> {
    let Ok(descriptors) = Process::new(pid.cast_signed()).and_then(|process| process.fd()) else {
        return HashSet::new();
    };
    descriptors
        .filter_map(Result::ok)
        .filter_map(
            |descriptor| if let FDTarget::Socket(inode) = descriptor.target { Some(inode) } else { None },
        )
        .collect()
}

/// Connections of processes that do not come to a port that is listened on in their network namespace: those
/// that the processes have opened.
#[must_use]
pub fn opened_connections(processes: &[Candidate]) -> Vec<(u32, OpenedConnection)> {
    let mut tables: HashMap<u64, Vec<TcpNetEntry>> = HashMap::new();
    let mut opened = Vec::new();
    for process in processes {
        let table = tables.entry(process.namespace).or_insert_with(|| tcp(process.pid));
        let listened = |port| {
            table.iter().any(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        };
        let own = sockets(process.pid);
        let ended =
            |state: &TcpState| matches!(state, TcpState::Listen | TcpState::TimeWait | TcpState::Close);
        let entries = table.iter().filter(|entry| own.contains(&entry.inode) && !ended(&entry.state));
        for entry in entries.filter(|entry| !listened(entry.local_address.port())) {
            let (local, remote) = (entry.local_address, entry.remote_address);
            opened.push((process.pid, OpenedConnection { namespace: process.namespace, local, remote }));
        }
    }
    opened
}

/// Processes of each selector, by its index. One that several selectors match goes to the first; the log
/// names it, and `conflicts` returns it.
pub fn select(candidates: &[Candidate], selectors: &[&Selector]) -> Selection {
    let needs_listeners = selectors.iter().any(|selector| selector.listen.is_some());
    let mut listeners = if needs_listeners { Listeners::of_all(candidates) } else { Listeners::default() };
    let mut selection = Selection { processes: Vec::new(), conflicts: Vec::new() };
    for process in candidates {
        let mut matching = selectors
            .iter()
            .enumerate()
            .filter(|(_, selector)| matches(selector, process, &mut listeners))
            .map(|(index, _)| index)
            .collect::<Vec<_>>()
            .into_iter();
        if let Some(first) = matching.next() {
            selection.processes.push((process.pid, first));
            selection.conflicts.extend(matching.map(|second| (process.pid, first, second)));
        }
    }
    selection
}

/// Adds the children, their children and so on of selected processes, each to its parent's selector unless it
/// has one itself: as the kernel side does with children that are born later.
#[must_use]
pub fn with_children(candidates: &[Candidate], selected: BTreeMap<u32, usize>) -> BTreeMap<u32, usize> {
    let mut selected = selected;
    loop {
        let born: Vec<(u32, usize)> = candidates
            .iter()
            .filter(|process| !selected.contains_key(&process.pid))
            .filter_map(|process| Some((process.pid, *selected.get(&process.parent)?)))
            .collect();
        if born.is_empty() {
            return selected;
        }
        selected.extend(born);
    }
}

/// What [`select`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Process id and index of its selector.
    pub processes: Vec<(u32, usize)>,
    /// Process id, the selector that got it, and another that matches it too.
    pub conflicts: Vec<(u32, usize, usize)>,
}

fn matches(selector: &Selector, process: &Candidate, listeners: &mut Listeners) -> bool {
    let text = |regex: &Option<Regex>, text: &str| regex.as_ref().is_none_or(|regex| regex.is_match(text));
    selector.pid.is_none_or(|pid| pid == process.pid)
        && text(&selector.exe, &process.exe.to_string_lossy())
        && text(&selector.cmdline, &process.cmdline)
        && selector.listen.is_none_or(|wanted| listeners.has(process, wanted))
}

/// Whether a process is still there.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn regex(pattern: &str) -> Option<Regex> {
        Some(Regex::new(pattern).unwrap())
    }

    fn myself() -> (u32, usize) {
        (std::process::id(), 0)
    }

    #[test]
    fn every_kind_of_selector_finds_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exe = std::env::current_exe().unwrap();
        let candidates = candidates().unwrap();
        for selector in [
            Selector { pid: Some(std::process::id()), ..Selector::default() },
            Selector {
                exe: regex(&format!("^{}$", regex::escape(&exe.to_string_lossy()))),
                ..Selector::default()
            },
            Selector { listen: Some(listener.local_addr().unwrap()), ..Selector::default() },
        ] {
            let found = select(&candidates, &[&selector]).processes;
            assert!(found.contains(&myself()), "{selector:?}: {found:?}");
        }
    }

    #[test]
    fn a_listener_at_every_address_serves_each_address_unless_taken() {
        let any = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = any.local_addr().unwrap().port();
        let wanted = SocketAddr::from(([127, 0, 0, 9], port));
        let selector = Selector { listen: Some(wanted), ..Selector::default() };
        assert!(select(&candidates().unwrap(), &[&selector]).processes.contains(&myself()));
        let other = Selector { listen: Some(SocketAddr::from(([127, 0, 0, 9], 1))), ..Selector::default() };
        assert_eq!(select(&candidates().unwrap(), &[&other]), Selection::default());
    }

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
    fn children_that_were_there_before_belong_to_their_parent() {
        let process = |pid, parent| Candidate {
            pid,
            exe: PathBuf::new(),
            cmdline: String::new(),
            parent,
            namespace: 0,
        };
        let candidates = [process(30, 20), process(20, 10), process(10, 1), process(40, 1), process(50, 20)];
        let all = with_children(&candidates, BTreeMap::from([(10, 0), (50, 1)]));
        assert_eq!(all, BTreeMap::from([(10, 0), (20, 0), (30, 0), (50, 1)]));
    }

    #[test]
    fn all_parts_must_hold_and_the_first_selector_wins() {
        let pid = Some(std::process::id());
        let nothing = Selector { pid, cmdline: regex("no such argument anywhere"), ..Selector::default() };
        let first = Selector { pid, ..Selector::default() };
        let selection = select(&candidates().unwrap(), &[&nothing, &first, &first]);
        assert_eq!(selection.processes, [(std::process::id(), 1)]);
        assert_eq!(selection.conflicts, [(std::process::id(), 1, 2)]);
    }
}
