//! Connections that are older than the look at their processes.

use super::Candidate;
use crate::probe::OpenedConnection;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};
use std::collections::{HashMap, HashSet};

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

fn tcp(pid: u32) -> Vec<TcpNetEntry> {
    let Ok(process) = Process::new(pid.cast_signed()) else { return Vec::new() };
    let (four, six) = (process.tcp().unwrap_or_default(), process.tcp6().unwrap_or_default());
    four.into_iter().chain(six).collect()
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
