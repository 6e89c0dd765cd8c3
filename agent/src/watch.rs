//! The thread that owns the probe: finds processes, learns names, cuts windows on time.
//!
//! A thread of its own, because all it does are short system calls at set times, and a busy runtime must not
//! delay a cut. Everything it holds is bounded by the configuration's limits.

use crate::attribution::Attribution;
use crate::config::{Config, Target};
use crate::discovery::{self, Candidate, Listeners, Selector};
use crate::probe::{OpenedConnection, Probe, ProbeError, TargetIndex};
use crate::upkeep::Upkeep;
use crate::window::{Cutter, Span, Told, Watching, WindowClock};
use isotherm_agent_ebpf::Part;
use isotherm_model::{Completeness, NodeId, Timestamp, Window};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

/// How often names are fetched and messages of the kernel side shown. The ring of names holds about 1,500.
const POLL: Duration = Duration::from_millis(200);

/// How often /proc is looked at.
const DISCOVERY: Duration = Duration::from_secs(1);

/// A file may be evicted from a map that is nearly full after this time without an access.
const IDLE: Duration = Duration::from_secs(300);

/// Addresses of a node that are told.
const MAX_LISTENING: usize = 64;

/// Which processes belong to which target, kept up to date.
pub struct Watched {
    selectors: Vec<Selector>,
    nodes: Vec<NodeId>,
    /// Targets that were reported as without a process.
    waiting: BTreeSet<usize>,
    conflicts: HashSet<(u32, usize, usize)>,
    known: BTreeMap<u32, usize>,
    /// Addresses listened on, by target.
    listening: BTreeMap<usize, Vec<SocketAddr>>,
    /// Processes were found since the last cut; what they did before is not counted.
    found: bool,
    /// It was told that ports found no room.
    ports_full: bool,
}

impl Watched {
    /// For the targets by their index, all of which get room in the kernel's map.
    pub fn new(probe: &mut Probe, targets: &[Target]) -> Result<Self, ProbeError> {
        for index in 0..targets.len() {
            probe.add_target(TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?)?;
        }
        Ok(Self {
            selectors: targets.iter().map(|target| target.select.clone()).collect(),
            nodes: targets.iter().map(|target| target.node.clone()).collect(),
            waiting: BTreeSet::new(),
            conflicts: HashSet::new(),
            known: BTreeMap::new(),
            listening: BTreeMap::new(),
            found: false,
            ports_full: false,
        })
    }

    /// Looks at /proc, watches what is new and forgets what has gone.
    pub fn refresh(&mut self, probe: &mut Probe) -> Result<(), ProbeError> {
        let candidates = match discovery::candidates() {
            Ok(candidates) => candidates,
            Err(error) => {
                warn!("cannot list processes, those known stay watched: {error}");
                return Ok(());
            }
        };
        let selection = discovery::select(&candidates, &self.selectors.iter().collect::<Vec<_>>());
        for (pid, first, second) in selection.conflicts {
            if self.conflicts.insert((pid, first, second)) {
                let (first, second) = (&self.nodes[first], &self.nodes[second]);
                warn!("process {pid} matches {first} and {second}; it counts for {first}");
            }
        }
        self.conflicts.retain(|(pid, _, _)| candidates.iter().any(|process| process.pid == *pid));
        let watched: BTreeMap<u32, usize> = probe.watched()?.into_iter().collect();
        let mut wanted: BTreeMap<u32, usize> = watched.clone();
        wanted.extend(selection.processes);
        let mut found = discovery::with_children(&candidates, wanted);
        found.retain(|pid, index| watched.get(pid) != Some(index));
        let processes: Vec<Candidate> =
            candidates.iter().filter(|process| found.contains_key(&process.pid)).cloned().collect();
        // Before their first access is counted, so that it is counted for the right peer.
        let mut listeners = Listeners::of_all(&processes);
        for process in &processes {
            for address in listeners.of(process) {
                self.add_port(probe, found[&process.pid], address.port())?;
            }
        }
        for (pid, index) in found.clone() {
            match probe.watch(pid, TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?) {
                Ok(()) => {
                    self.found = true;
                    info!("watching process {pid} for {}", self.nodes[index]);
                }
                // The kernel side counts what finds no room as lost; the others stay watched.
                Err(error) => warn!("process {pid} of {} is not watched: {error}", self.nodes[index]),
            }
        }
        self.learn_connections(probe, &processes, &found)?;
        for pid in watched.keys().filter(|pid| !discovery::is_alive(**pid)) {
            probe.forget(*pid)?;
        }
        self.known = probe.watched()?.into_iter().collect();
        self.report_waiting();
        self.learn_ports(probe, &candidates)
    }

    /// Whose port is which, so that connections to it are known as those of peers.
    fn learn_ports(&mut self, probe: &mut Probe, candidates: &[Candidate]) -> Result<(), ProbeError> {
        let watched: Vec<Candidate> =
            candidates.iter().filter(|process| self.known.contains_key(&process.pid)).cloned().collect();
        let mut listeners = Listeners::of_all(&watched);
        let mut listening: BTreeMap<usize, BTreeSet<SocketAddr>> = BTreeMap::new();
        for process in &watched {
            let index = self.known[&process.pid];
            listening.entry(index).or_default().extend(listeners.of(process));
        }
        for (index, addresses) in listening {
            let known = self.listening.remove(&index).unwrap_or_default();
            for address in addresses.iter().filter(|address| !known.contains(address)) {
                self.add_port(probe, index, address.port())?;
            }
            self.listening.insert(index, addresses.into_iter().take(MAX_LISTENING).collect());
        }
        Ok(())
    }

    /// Without room for a port, connections to it look like ones that the node has opened.
    fn add_port(&mut self, probe: &mut Probe, index: usize, port: u16) -> Result<(), ProbeError> {
        let target = TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?;
        if let Err(error) = probe.add_port(target, port)
            && !std::mem::replace(&mut self.ports_full, true)
        {
            let node = &self.nodes[index];
            warn!("port {port} of {node}, and perhaps others, is not known as listened on: {error}");
        }
        Ok(())
    }

    /// Who has opened the connections that are older than the look at their processes, so that the nodes at the
    /// other ends learn it. Later ones the kernel side sees by itself.
    fn learn_connections(
        &mut self,
        probe: &mut Probe,
        processes: &[Candidate],
        targets: &BTreeMap<u32, usize>,
    ) -> Result<(), ProbeError> {
        let opened = discovery::opened_connections(processes);
        for (pid, connection) in &opened {
            let target = TargetIndex::new(targets[pid]).ok_or(ProbeError::TooManyTargets)?;
            if let Err(error) = probe.add_connection(target, connection) {
                warn!("not all open connections of {} are known: {error}", self.nodes[targets[pid]]);
                break;
            }
        }
        // One that closed before it was added has nothing left that would remove it.
        let still: HashSet<(u32, OpenedConnection)> = if opened.is_empty() {
            HashSet::new()
        } else {
            discovery::opened_connections(processes).into_iter().collect()
        };
        for (_, closed) in opened.iter().filter(|connection| !still.contains(connection)) {
            probe.forget_connection(closed)?;
        }
        Ok(())
    }

    fn report_waiting(&mut self) {
        let processes = self.processes();
        for (index, node) in self.nodes.iter().enumerate() {
            if processes[index] > 0 {
                self.waiting.remove(&index);
            } else if self.waiting.insert(index) {
                warn!("no process matches {node}; waiting for one");
            }
        }
    }

    /// Whether a look since the last question found a process that was not watched from its start.
    pub fn take_found(&mut self) -> bool {
        std::mem::take(&mut self.found)
    }

    /// Number of processes per target, children included.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut processes = vec![0; self.nodes.len()];
        for index in self.known.values() {
            if let Some(count) = processes.get_mut(*index) {
                *count += 1;
            }
        }
        processes
    }

    /// Addresses that a target's processes listen on.
    #[must_use]
    pub fn listening(&self, index: usize) -> Vec<SocketAddr> {
        self.listening.get(&index).cloned().unwrap_or_default()
    }

    /// A process of a target, if it has one.
    #[must_use]
    pub fn process_of(&self, target: u32) -> Option<u32> {
        self.known.iter().find(|(_, index)| **index == target as usize).map(|(pid, _)| *pid)
    }

    /// "watching 3 processes of 4 targets".
    #[must_use]
    pub fn summary(&self) -> String {
        let processes: u32 = self.processes().iter().sum();
        format!("watching {processes} processes of {} targets", self.nodes.len())
    }
}

/// Everything the thread owns.
pub struct Watcher {
    probe: Probe,
    watched: Watched,
    attribution: Attribution,
    cutter: Cutter,
    upkeep: Upkeep,
    clock: WindowClock,
    /// What the clock's monotonic time is counted from.
    started: Instant,
    nodes: Vec<NodeId>,
    host: NodeId,
    watching: Watching,
    idle_windows: u64,
}

impl Watcher {
    /// Takes over an attached probe.
    pub fn new(mut probe: Probe, config: &Config) -> Result<Self, ProbeError> {
        // The configuration admits windows of whole milliseconds up to an hour.
        let window_ms = config.window.as_millis() as u32;
        let started = Instant::now();
        let watching = Watching { layers: probe.layers(), latency: probe.has(Part::BlockLatency) };
        Ok(Self {
            watched: Watched::new(&mut probe, &config.targets)?,
            probe,
            host: NodeId::of_host(&config.agent),
            watching,
            attribution: Attribution::new(&config.targets, config.limits.partitions),
            cutter: Cutter::default(),
            upkeep: Upkeep::default(),
            clock: WindowClock::new(window_ms, wall_clock(), 0),
            started,
            nodes: config.targets.iter().map(|target| target.node.clone()).collect(),
            idle_windows: (IDLE.as_millis() as u64).div_ceil(u64::from(window_ms)),
        })
    }

    /// Runs until `stop` is sent or dropped, or nobody takes the windows. `ready` is called once, with a
    /// line for people, when all processes that match are watched.
    pub fn run(
        mut self,
        stop: &Receiver<()>,
        windows: &Sender<Window>,
        ready: impl FnOnce(&str),
    ) -> Result<(), ProbeError> {
        self.watched.refresh(&mut self.probe)?;
        // A process may have been born while /proc was read; the kernel side follows those of the second look.
        self.watched.refresh(&mut self.probe)?;
        ready(&self.watched.summary());
        let mut looked = Instant::now();
        loop {
            let until_end = Duration::from_millis(self.clock.until_end_ms(wall_clock()));
            let stopped = !matches!(stop.recv_timeout(POLL.min(until_end)), Err(RecvTimeoutError::Timeout));
            // First the cut, which is due at a moment; the rest can wait.
            let now = wall_clock();
            let span = self.clock.cut(now, self.started.elapsed().as_millis() as u64);
            for span in span.into_iter().chain(stopped.then(|| self.clock.close(now))) {
                let window = self.cut(span)?;
                if windows.blocking_send(window).is_err() {
                    return Ok(());
                }
            }
            if stopped {
                return Ok(());
            }
            self.attribution.learn(self.probe.take_names());
            if looked.elapsed() >= DISCOVERY {
                looked = Instant::now();
                self.watched.refresh(&mut self.probe)?;
            }
        }
    }

    fn cut(&mut self, span: Span) -> Result<Window, ProbeError> {
        let processes = self.watched.processes();
        let nodes: Vec<Told> = self
            .nodes
            .iter()
            .zip(processes)
            .enumerate()
            .map(|(index, (node, processes))| Told {
                target: index as u32,
                node: node.clone(),
                processes,
                listening: self.watched.listening(index),
            })
            .collect();
        let mut round = self.cutter.round(&mut self.attribution, &self.watching);
        let totals = self.probe.visit(&mut round)?;
        // Names travel before the counts that they belong to, so none is missing that had room in the ring.
        round.attribute().learn(self.probe.take_names());
        let (mut window, unbalanced) = round.finish(&totals, span, &nodes, &self.host, &self.watching);
        for unbalanced in &unbalanced {
            error!("this window is not complete: {unbalanced}");
        }
        if !unbalanced.is_empty() || self.watched.take_found() {
            window.completeness = Completeness::Partial;
        }
        let Self { upkeep, probe, cutter, attribution, watched, idle_windows, .. } = self;
        upkeep.run(probe, cutter, attribution, *idle_windows, |target| watched.process_of(target))?;
        Ok(window)
    }
}

/// Now, by the wall clock. Before 1970 it is 1970.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(since_epoch.as_millis() as u64)
}
