//! Which processes a target consists of, from /proc.
//!
//! Looked at when the kernel side says that something happened ([`Cadence`]). Children of a watched process
//! need no look: the kernel side follows them.

mod cadence;
mod listener;
mod process;
mod sockdiag;
mod unit;

pub use cadence::Cadence;
pub use listener::Listeners;
pub use process::{Candidate, Depth, Scanner, candidates};
pub use unit::{UnitName, UnitNameError};

use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// What a process must be to belong to a target. All parts that are given must hold.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// Over the path of its executable.
    pub exe: Option<Regex>,
    /// Over its arguments, joined by spaces.
    pub cmdline: Option<Regex>,
    /// Its id.
    pub pid: Option<u32>,
    /// Over the paths of its control groups, as the agent sees them; one must match. Version 2 has one path,
    /// version 1 one per hierarchy.
    pub cgroup: Option<Regex>,
    /// The systemd unit that it runs in.
    pub unit: Option<UnitName>,
    /// An address and port that it listens on. A process that listens on the port at every address matches
    /// too, if the address is one of its network namespace and nobody on the host listens on it alone.
    pub listen: Option<SocketAddr>,
}

/// One part of a selector.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// See [`Selector`]; and so the others.
    Pid(u32),
    /// Executable.
    Exe(&'a Regex),
    /// Arguments.
    Cmdline(&'a Regex),
    /// Control group.
    Cgroup(&'a Regex),
    /// systemd unit.
    Unit(&'a UnitName),
    /// Listening address.
    Listen(SocketAddr),
}

impl Selector {
    /// The parts that are given, those first that cost least to look at.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        [
            self.pid.map(Part::Pid),
            self.exe.as_ref().map(Part::Exe),
            self.cmdline.as_ref().map(Part::Cmdline),
            self.cgroup.as_ref().map(Part::Cgroup),
            self.unit.as_ref().map(Part::Unit),
            self.listen.map(Part::Listen),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether it would match every process.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts().next().is_none()
    }

    /// Whether it is written the same way, and so selects the same processes.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let text = |selector: &Self| -> Vec<String> {
            selector.parts().map(|part| format!("{} {part}", part.key())).collect()
        };
        text(self) == text(other)
    }

    fn matches(&self, process: &Candidate, listeners: &mut Listeners) -> bool {
        self.parts().all(|part| part.holds(process, listeners))
    }
}

impl Part<'_> {
    /// Its name in the configuration.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Pid(_) => "pid",
            Self::Exe(_) => "exe",
            Self::Cmdline(_) => "cmdline",
            Self::Cgroup(_) => "cgroup",
            Self::Unit(_) => "unit",
            Self::Listen(_) => "listen",
        }
    }

    /// Whether a process is so.
    pub fn holds(self, process: &Candidate, listeners: &mut Listeners) -> bool {
        match self {
            Self::Pid(pid) => pid == process.pid,
            Self::Exe(regex) => regex.is_match(&process.exe.to_string_lossy()),
            Self::Cmdline(regex) => regex.is_match(&process.cmdline),
            Self::Cgroup(regex) => process.cgroups.iter().any(|path| regex.is_match(path)),
            Self::Unit(unit) => process.cgroups.iter().any(|path| unit.is_in(path)),
            Self::Listen(wanted) => listeners.has(process, wanted),
        }
    }

    /// What it looks at in a process, in words.
    pub fn seen(self, process: &Candidate, listeners: &mut Listeners) -> Vec<String> {
        match self {
            Self::Pid(_) => vec![process.pid.to_string()],
            Self::Exe(_) => vec![process.exe.to_string_lossy().into_owned()],
            Self::Cmdline(_) => vec![process.cmdline.clone()],
            Self::Cgroup(_) | Self::Unit(_) => process.cgroups.clone(),
            Self::Listen(_) => listeners.of(process).iter().map(ToString::to_string).collect(),
        }
    }
}

/// What it asks for, as the configuration has it.
impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => pid.fmt(f),
            Self::Exe(regex) | Self::Cmdline(regex) | Self::Cgroup(regex) => regex.fmt(f),
            Self::Unit(unit) => unit.fmt(f),
            Self::Listen(address) => address.fmt(f),
        }
    }
}

/// Processes of each selector, by its index. One that several selectors match goes to the first; the log
/// names it, and `conflicts` returns it.
pub fn select(candidates: &[Candidate], selectors: &[&Selector]) -> Selection {
    let needs_listeners = selectors.iter().any(|selector| selector.listen.is_some());
    let mut listeners = if needs_listeners { Listeners::of_all(candidates) } else { Listeners::default() };
    select_with(candidates, selectors.iter().copied().enumerate(), &mut listeners)
}

/// As [`select`], for selectors with an index each, and listeners that were looked at before.
pub fn select_with<'a>(
    candidates: &[Candidate],
    selectors: impl Iterator<Item = (usize, &'a Selector)> + Clone,
    listeners: &mut Listeners,
) -> Selection {
    let mut selection = Selection { processes: Vec::new(), conflicts: Vec::new() };
    for process in candidates {
        let mut matching = selectors
            .clone()
            .filter(|(_, selector)| selector.matches(process, listeners))
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

/// Whether a process is still there.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests;
