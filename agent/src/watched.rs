//! Which processes belong to which target, kept up to date in the kernel's map.

use crate::config::Target;
use crate::discovery::{self, Cadence, Candidate, Depth, Listeners, Scanner, Selection};
use crate::probe::{OpenedConnection, Probe, ProbeError, TargetIndex};
use crate::slot::{Changes, NoSlot, Slots};
use isotherm_model::{NodeId, Window};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::Duration;
use tracing::{info, warn};

/// Addresses of a node that are told.
const MAX_LISTENING: usize = 64;

/// Targets and their processes.
pub struct Watched {
    slots: Slots,
    scanner: Scanner,
    listeners: Listeners,
    cadence: Cadence,
    /// Nodes that were reported as without a process.
    waiting: BTreeSet<NodeId>,
    conflicts: HashSet<(u32, usize, usize)>,
    known: BTreeMap<u32, usize>,
    /// Addresses listened on, by target.
    listening: BTreeMap<usize, Vec<SocketAddr>>,
    /// It was told that ports found no room.
    ports_full: bool,
    /// Processes were found since the last cut; what they did before is not counted.
    found: bool,
}

/// Why a new configuration could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Too many targets.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// The kernel's maps.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

impl Watched {
    /// For the targets by their index, all of which get room in the kernel's map.
    pub fn new(probe: &mut Probe, targets: &[Target]) -> Result<Self, ProbeError> {
        for index in 0..targets.len() {
            probe.add_target(TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?)?;
        }
        Ok(Self {
            slots: Slots::new(targets),
            scanner: Scanner::default(),
            listeners: Listeners::default(),
            cadence: Cadence::default(),
            waiting: BTreeSet::new(),
            conflicts: HashSet::new(),
            known: BTreeMap::new(),
            listening: BTreeMap::new(),
            ports_full: false,
            found: false,
        })
    }

    /// Looks at the processes if it is time to; `now` is counted from any fixed moment.
    pub fn look(&mut self, probe: &mut Probe, now: Duration) -> Result<(), ProbeError> {
        // What was not looked at for its cost is, as soon as it can be, whether something happens or not.
        let events = if self.listeners.is_stale() { None } else { probe.events() };
        match self.cadence.look(now, events) {
            Some(depth) => self.refresh(probe, depth),
            None => Ok(()),
        }
    }

    /// Looks at the processes, watches what is new and forgets what has gone.
    pub fn refresh(&mut self, probe: &mut Probe, depth: Depth) -> Result<(), ProbeError> {
        let Some((candidates, selection)) = self.scan(depth) else { return Ok(()) };
        let nodes = self.slots.nodes();
        // While a change is staged, some processes have an old target and a new one.
        let conflicts = selection.conflicts.into_iter().filter(|_| !self.slots.is_staged());
        for (pid, first, second) in conflicts {
            if self.conflicts.insert((pid, first, second)) {
                let (first, second) = (&nodes[first], &nodes[second]);
                warn!("process {pid} matches {first} and {second}; it counts for {first}");
            }
        }
        self.conflicts.retain(|(pid, _, _)| candidates.iter().any(|process| process.pid == *pid));
        let watched: BTreeMap<u32, usize> = probe.watched()?.into_iter().collect();
        let mut wanted: BTreeMap<u32, usize> = watched.clone();
        wanted.extend(selection.processes);
        let wanted = discovery::with_children(&candidates, wanted);
        let mut found = wanted.clone();
        found.retain(|pid, index| watched.get(pid) != Some(index));
        let processes: Vec<Candidate> =
            candidates.iter().filter(|process| found.contains_key(&process.pid)).cloned().collect();
        // Before their first access is counted, so that it is counted for the right peer.
        for process in &processes {
            for address in self.listeners.of(process) {
                self.add_port(probe, found[&process.pid], address.port())?;
            }
        }
        self.watch(probe, &watched, wanted)?;
        self.learn_connections(probe, &processes, &found)?;
        // Also one that ended between the look and now, whose number another process may get.
        for pid in watched.keys().chain(found.keys()).filter(|pid| !discovery::is_alive(**pid)) {
            probe.forget(*pid)?;
        }
        self.recount(probe)?;
        self.report_waiting();
        self.learn_ports(probe, &candidates)
    }

    /// Whose port is which, so that connections to it are known as those of peers.
    fn learn_ports(&mut self, probe: &mut Probe, candidates: &[Candidate]) -> Result<(), ProbeError> {
        let mut listening: BTreeMap<usize, BTreeSet<SocketAddr>> = BTreeMap::new();
        for process in candidates {
            if let Some(index) = self.known.get(&process.pid) {
                listening.entry(*index).or_default().extend(self.listeners.of(process));
            }
        }
        // A node without a process listens nowhere.
        self.listening.retain(|index, _| listening.contains_key(index));
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
            let node = &self.slots.nodes()[index];
            warn!("port {port} of {node}, and perhaps others, is not known as listened on: {error}");
        }
        Ok(())
    }

    /// Who has opened the connections that are older than the look at their processes, so that the nodes at the
    /// other ends learn it. Later ones the kernel side sees by itself.
    fn learn_connections(
        &self,
        probe: &mut Probe,
        processes: &[Candidate],
        targets: &BTreeMap<u32, usize>,
    ) -> Result<(), ProbeError> {
        let opened = discovery::opened_connections(processes);
        for (pid, connection) in &opened {
            let target = TargetIndex::new(targets[pid]).ok_or(ProbeError::TooManyTargets)?;
            if let Err(error) = probe.add_connection(target, connection) {
                let node = &self.slots.nodes()[targets[pid]];
                warn!("not all open connections of {node} are known: {error}");
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

    fn scan(&mut self, depth: Depth) -> Option<(Vec<Candidate>, Selection)> {
        let candidates = match self.scanner.scan(depth) {
            Ok(candidates) => candidates,
            Err(error) => {
                warn!("cannot list processes, those known stay watched: {error}");
                return None;
            }
        };
        self.listeners.update(&candidates, depth);
        let selectors = self.slots.watched().map(|(index, target)| (index, &target.select));
        let selection = discovery::select_with(&candidates, selectors, &mut self.listeners);
        Some((candidates, selection))
    }

    fn watch(
        &mut self,
        probe: &mut Probe,
        watched: &BTreeMap<u32, usize>,
        wanted: BTreeMap<u32, usize>,
    ) -> Result<(), ProbeError> {
        let targets = self.slots.targets();
        let live: HashSet<usize> = self.slots.live().map(|(index, _)| index).collect();
        for (pid, index) in wanted {
            if watched.get(&pid) == Some(&index) {
                continue;
            }
            let node = &targets[index].node;
            match probe.watch(pid, TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?) {
                Ok(()) => {
                    // No window has told of a staged target, so none is incomplete for it; and a process that
                    // changes its target was watched before.
                    self.found |= live.contains(&index) && !watched.contains_key(&pid);
                    info!("watching process {pid} for {node}");
                }
                // The kernel side counts what finds no room as lost; the others stay watched.
                Err(error) => warn!("process {pid} of {node} is not watched: {error}"),
            }
        }
        Ok(())
    }

    fn report_waiting(&mut self) {
        let processes = self.processes();
        let targets: Vec<(usize, NodeId)> =
            self.slots.live().map(|(index, target)| (index, target.node.clone())).collect();
        for (index, node) in targets {
            if processes[index] > 0 {
                self.waiting.remove(&node);
            } else if self.waiting.insert(node.clone()) {
                warn!("no process matches {node}; waiting for one");
            }
        }
    }

    /// Asks the kernel which processes are watched now: it adds children and removes what ends by itself.
    pub fn recount(&mut self, probe: &mut Probe) -> Result<(), ProbeError> {
        self.known = probe.watched()?.into_iter().collect();
        Ok(())
    }

    /// Takes a new set of targets: its new ones are watched from now on, and told when it is in force.
    pub fn stage(&mut self, probe: &mut Probe, targets: &[Target]) -> Result<Changes, StageError> {
        let (changes, room) = self.slots.stage(targets)?;
        for index in room {
            probe.add_target(index)?;
        }
        self.refresh(probe, Depth::Full)?;
        Ok(changes)
    }

    /// Whether a new set of targets waits for the next boundary of windows.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.slots.is_staged()
    }

    /// Stops watching what no coming target has to do with: the last step before the last window of the old
    /// targets is cut. A child whose parent has ended stays with its target if that is chosen as before.
    pub fn forget_leaving(&mut self, probe: &mut Probe) -> Result<(), ProbeError> {
        let Some((candidates, _)) = self.scan(Depth::Short) else { return Ok(()) };
        let watched: BTreeMap<u32, usize> = probe.watched()?.into_iter().collect();
        let selectors = self.slots.coming().map(|(index, target, _)| (index, &target.select));
        let selection = discovery::select_with(&candidates, selectors, &mut self.listeners);
        let wanted = settle(&candidates, &watched, selection.processes, &self.chosen_as_before());
        for pid in watched.keys().filter(|pid| !wanted.contains_key(pid)) {
            probe.forget(*pid)?;
            info!("process {pid} is not watched any more");
        }
        Ok(())
    }

    /// Puts the staged targets in force: call it when the last window of the old ones has been cut.
    pub fn commit(&mut self, probe: &mut Probe) -> Result<(), ProbeError> {
        let same = self.chosen_as_before();
        self.slots.commit();
        self.conflicts.clear();
        let nodes: BTreeSet<NodeId> = self.slots.live().map(|(_, target)| target.node.clone()).collect();
        self.waiting.retain(|node| nodes.contains(node));
        let Some((candidates, selection)) = self.scan(Depth::Short) else { return Ok(()) };
        let watched: BTreeMap<u32, usize> = probe.watched()?.into_iter().collect();
        let wanted = settle(&candidates, &watched, selection.processes, &same);
        // Children of what was forgotten, born meanwhile.
        for pid in watched.keys().filter(|pid| !wanted.contains_key(pid)) {
            probe.forget(*pid)?;
        }
        self.watch(probe, &watched, wanted)?;
        self.recount(probe)?;
        self.report_waiting();
        Ok(())
    }

    /// Indexes of targets that stay, and whose processes are chosen as before.
    fn chosen_as_before(&self) -> HashSet<usize> {
        self.slots.coming().filter(|(_, _, same)| *same).map(|(index, _, _)| index).collect()
    }

    /// Removes from a window what it does not tell; see [`Slots::tell`].
    pub fn tell(&self, window: &mut Window) {
        self.slots.tell(window);
    }

    /// Every target by its index, removed ones included.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.slots.targets()
    }

    /// Indexes of the targets that are in force.
    #[must_use]
    pub fn live(&self) -> Vec<usize> {
        self.slots.live().map(|(index, _)| index).collect()
    }

    /// Every node by its index, removed ones included.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.slots.nodes()
    }

    /// Indexes of removed targets; see [`Slots::retired`].
    #[must_use]
    pub fn retired(&self) -> Vec<usize> {
        self.slots.retired()
    }

    /// Frees the indexes of removed targets that are in no map of the kernel's any more.
    pub fn free_unused(&mut self, in_kernel: &HashSet<usize>) {
        self.slots.free_unused(in_kernel);
    }

    /// Whether a look since the last question found a process that was not watched from its start.
    pub fn take_found(&mut self) -> bool {
        std::mem::take(&mut self.found)
    }

    /// Number of processes per target, children included.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut processes = vec![0; self.slots.nodes().len()];
        for index in self.known.values() {
            if let Some(count) = processes.get_mut(*index) {
                *count += 1;
            }
        }
        processes
    }

    /// Every watched process.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    /// Addresses that a target's processes listen on, as far as known.
    #[must_use]
    pub fn listening(&self, index: usize) -> Vec<SocketAddr> {
        self.listening.get(&index).cloned().unwrap_or_default()
    }

    /// The processes of a target.
    pub fn processes_of(&self, target: u32) -> impl Iterator<Item = u32> {
        self.known.iter().filter(move |(_, index)| **index == target as usize).map(|(pid, _)| *pid)
    }

    /// A living process of a target.
    #[must_use]
    pub fn process_of(&self, target: u32) -> Option<u32> {
        self.processes_of(target).next()
    }

    /// For people.
    #[must_use]
    pub fn summary(&self) -> String {
        let processes: u32 = self.processes().iter().sum();
        format!("watching {processes} processes of {} targets", self.slots.live().count())
    }
}

/// Who belongs to whom when the targets change: what the new selectors choose, what was watched for a target
/// whose processes are chosen as before (`same`) and has lost its parent, and the children of both.
fn settle(
    candidates: &[Candidate],
    watched: &BTreeMap<u32, usize>,
    selected: Vec<(u32, usize)>,
    same: &HashSet<usize>,
) -> BTreeMap<u32, usize> {
    let orphan = |process: &&Candidate| !watched.contains_key(&process.parent);
    let mut wanted: BTreeMap<u32, usize> = candidates
        .iter()
        .filter(orphan)
        .filter_map(|process| Some((process.pid, *watched.get(&process.pid)?)))
        .filter(|(_, index)| same.contains(index))
        .collect();
    wanted.extend(selected);
    discovery::with_children(candidates, wanted)
}
