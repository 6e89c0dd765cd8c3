//! Cuts windows: cumulative readings in, differences by subject out.
//!
//! Pure; readings, claims and the time come as arguments. A [`Round`] takes one reading; what it cannot name yet
//! waits in it until the names that came meanwhile are known.

mod balance;
mod clock;
mod ledger;
mod links;
mod rows;

pub use balance::Unbalanced;
pub use clock::{Span, WindowClock};
pub use ledger::{Counters, Ledger};
pub use rows::address;

use crate::probe::{Totals, Visit};
use balance::Balance;
use isotherm_agent_ebpf::{
    BlockCounters, BlockKey, DISCARD, FileCounters, FileKey, HOST_TARGET, Lost, PeerCounters, PeerKey, READ,
    SYNC, WRITE,
};
use isotherm_model::{
    AgentId, Counts, Layer, LostReason, NodeId, NodeWindow, Operation, Subject, UnattributedReason, Window,
};
use links::Links;
use rows::{Finished, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Peers of a row that are told apart; the others of it are one.
pub const TOP_PEERS: usize = 32;

/// Devices of the host that are told apart.
const MAX_DEVICES: usize = 64;

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A target, by its index.
    Target(u32),
    /// Nobody that is known, on a block device of the host.
    Device(u32),
    /// Nobody that is known, on a device that is not known either.
    Host,
}

/// The host, and what its block devices are called.
#[derive(Debug, Clone)]
pub struct Host {
    /// The agent that watches it.
    pub agent: AgentId,
    /// Gives a device's name by its number in kernel form.
    pub device_name: fn(u32) -> String,
}

/// Says whose accesses are.
pub trait Attribute {
    /// Of a file, by the target that the key names.
    fn file(&mut self, key: &FileKey) -> Subject;
    /// Of a file or a part of a device in the device layer.
    fn block(&mut self, key: &BlockKey) -> (Owner, Subject);
    /// At a socket.
    fn peer(&mut self, key: &PeerKey) -> Subject;
}

/// A node that is told in a window, beside what was counted.
#[derive(Debug, Clone)]
pub struct Told {
    /// Index of its target.
    pub target: u32,
    /// The node.
    pub node: NodeId,
    /// Its processes.
    pub processes: u32,
    /// Addresses that they listen on.
    pub listening: Vec<SocketAddr>,
}

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether latencies are measured in the device layer.
    pub latency: bool,
}

/// Remembers what the last window has already told.
#[derive(Default)]
pub struct Cutter {
    /// The logical layer.
    pub files: Ledger<FileCounters>,
    /// The device layer.
    pub blocks: Ledger<BlockCounters>,
    /// The network layer.
    pub peers: Ledger<PeerCounters>,
    balance: Balance,
    lost: Vec<Lost>,
    recursion_misses: u64,
    /// Devices on which something was nobody's; they are told from then on.
    devices: BTreeMap<u32, NodeId>,
}

/// A reading under way.
pub struct Round<'a, A: Attribute> {
    cutter: &'a mut Cutter,
    attribute: &'a mut A,
    rows: BTreeMap<Owner, Rows>,
    links: Links,
    /// What had no name when it was read.
    nameless_files: Vec<(FileKey, FileCounters)>,
    nameless_blocks: Vec<(BlockKey, BlockCounters)>,
    latency: bool,
}

impl Cutter {
    /// Begins a reading, which the probe then shows to the round.
    pub fn round<'a, A: Attribute>(&'a mut self, attribute: &'a mut A, watching: &Watching) -> Round<'a, A> {
        self.balance.begin();
        let (files, blocks, peers) = (self.files.begin(), self.blocks.begin(), self.peers.begin());
        let mut round = Round {
            cutter: self,
            attribute,
            rows: BTreeMap::new(),
            links: Links::default(),
            nameless_files: Vec::new(),
            nameless_blocks: Vec::new(),
            latency: watching.latency,
        };
        files.iter().for_each(|(key, change)| round.add_file(key, change));
        blocks.iter().for_each(|(key, change)| round.add_block(key, change));
        peers.iter().for_each(|(key, change)| round.add_peer(key, change));
        round
    }

    /// Targets of which something is remembered, beside what takes what finds no room.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<u32> {
        let files = self.files.keys().filter(|key| !key.is_overflow()).map(|key| key.target);
        let blocks = self.blocks.keys().filter(|key| !key.is_overflow()).map(|key| key.target);
        let peers = self.peers.keys().filter(|key| !key.is_overflow()).map(|key| key.target);
        files.chain(blocks).chain(peers).collect()
    }

    /// Events of the first `targets` that were lost since the last reading, which takes them as told.
    pub fn take_lost(&mut self, totals: &Totals, targets: u32) -> u64 {
        let lost = (0..targets).flat_map(|target| self.lost_since(totals, target));
        // What the kernel skipped is of no target in particular, and counted once.
        let of_targets =
            lost.filter(|(reason, _)| *reason != LostReason::Recursion).map(|(_, events)| events);
        let events = of_targets.sum::<u64>() + totals.recursion_misses.saturating_sub(self.recursion_misses);
        self.lost.clone_from(&totals.lost);
        self.recursion_misses = totals.recursion_misses;
        events
    }

    fn lost_since(&self, totals: &Totals, target: u32) -> BTreeMap<LostReason, u64> {
        let at = |lost: &[Lost]| lost.get(target as usize).copied().unwrap_or_default();
        let (now, before) = (at(&totals.lost), at(&self.lost));
        [
            // The kernel does not say whose run it skipped, so each node may have lost it.
            (LostReason::Recursion, totals.recursion_misses.saturating_sub(self.recursion_misses)),
            (LostReason::Compat, now.compat.saturating_sub(before.compat)),
            (LostReason::ClosedDescriptor, now.closed_descriptor.saturating_sub(before.closed_descriptor)),
            (LostReason::Miscounted, self.balance.miscounted(target)),
            (LostReason::UnreadRequest, now.unread_request.saturating_sub(before.unread_request)),
        ]
        .into_iter()
        .filter(|(_, events)| *events > 0)
        .collect()
    }
}

impl<A: Attribute> Visit for Round<'_, A> {
    fn file(&mut self, key: &FileKey, counters: &FileCounters) {
        if let Some(change) = self.cutter.files.tell(key, counters) {
            self.add_file(key, &change);
        }
    }

    fn block(&mut self, key: &BlockKey, counters: &BlockCounters) {
        if let Some(change) = self.cutter.blocks.tell(key, counters) {
            self.add_block(key, &change);
        }
    }

    fn peer(&mut self, key: &PeerKey, counters: &PeerCounters) {
        self.links.learn(key);
        if let Some(change) = self.cutter.peers.tell(key, counters) {
            self.add_peer(key, &change);
        }
    }
}

impl<A: Attribute> Round<'_, A> {
    fn add_file(&mut self, key: &FileKey, change: &FileCounters) {
        let subject = self.attribute.file(key);
        if subject == Subject::Unattributed(UnattributedReason::NoPath) {
            self.nameless_files.push((*key, *change));
        } else {
            self.put_file(key, change, subject);
        }
    }

    fn put_file(&mut self, key: &FileKey, change: &FileCounters, subject: Subject) {
        let rows = self.rows.entry(Owner::Target(key.target)).or_default();
        rows.add_file(subject, operation(Layer::Logical, key.operation), key.shift, change);
    }

    fn add_block(&mut self, key: &BlockKey, change: &BlockCounters) {
        match self.attribute.block(key) {
            (_, Subject::Unattributed(UnattributedReason::NoPath)) => {
                self.nameless_blocks.push((*key, *change));
            }
            (owner, subject) => self.put_block(key, change, owner, subject),
        }
    }

    fn put_block(&mut self, key: &BlockKey, change: &BlockCounters, owner: Owner, subject: Subject) {
        let operation = operation(Layer::Device, u16::from(key.operation));
        let rows = self.rows.entry(owner).or_default();
        rows.add_block(subject, operation, u16::from(key.shift), change, self.latency);
    }

    fn add_peer(&mut self, key: &PeerKey, change: &PeerCounters) {
        let subject = self.attribute.peer(key);
        let rows = self.rows.entry(Owner::Target(key.target)).or_default();
        rows.add_peer(subject, operation(Layer::Network, key.operation), key, change);
    }

    /// Names that arrived while the counters were read.
    pub fn attribute(&mut self) -> &mut A {
        self.attribute
    }

    /// Ends the reading: the window's nodes, the host and its devices last, and what the kernel's totals contradict. A
    /// window with a contradiction should be partial.
    pub fn finish(
        mut self,
        totals: &Totals,
        span: Span,
        nodes: &[Told],
        host: &Host,
        watching: &Watching,
    ) -> (Window, Vec<Unbalanced>) {
        for (key, change) in std::mem::take(&mut self.nameless_files) {
            let subject = self.attribute.file(&key);
            self.put_file(&key, &change, subject);
        }
        for (key, change) in std::mem::take(&mut self.nameless_blocks) {
            let (owner, subject) = self.attribute.block(&key);
            self.put_block(&key, &change, owner, subject);
        }
        let links = std::mem::take(&mut self.links);
        let node_of = |caller: Option<u32>, remote: SocketAddr, target: u16| {
            let called = || links.answering(caller?, remote);
            let index = u32::from(target).checked_sub(1).or_else(called)?;
            nodes.iter().find(|told| told.target == index).map(|told| told.node.clone())
        };
        let mut unbalanced = Vec::new();
        let mut windows = Vec::with_capacity(nodes.len() + 1);
        for told in nodes {
            unbalanced.extend(self.compare(told.target, totals, watching));
            let rows = self.rows.remove(&Owner::Target(told.target)).unwrap_or_default();
            let name = |remote, target| node_of(Some(told.target), remote, target);
            let Finished { rows, totals: sums, peers } = rows.finish(TOP_PEERS, name);
            windows.push(NodeWindow {
                node: told.node.clone(),
                processes: told.processes,
                listening: told.listening.clone(),
                totals: with_zeros(sums, &watching.layers),
                rows,
                peers,
                lost: self.cutter.lost_since(totals, told.target),
            });
        }
        if watching.layers.contains(&Layer::Device) {
            unbalanced.extend(self.compare(HOST_TARGET, totals, watching));
            let lost = self.cutter.lost_since(totals, HOST_TARGET);
            windows.extend(self.of_host(host, lost));
        }
        self.cutter.lost.clone_from(&totals.lost);
        self.cutter.recursion_misses = totals.recursion_misses;
        let Span { start, length_ms, completeness } = span;
        (Window { start, length_ms, completeness, nodes: windows }, unbalanced)
    }

    /// The host itself, and its devices.
    fn of_host(&mut self, host: &Host, lost: BTreeMap<LostReason, u64>) -> Vec<NodeWindow> {
        for owner in self.rows.keys() {
            if let Owner::Device(dev) = owner
                && self.cutter.devices.len() < MAX_DEVICES
            {
                let node = || NodeId::of_device(&host.agent, &(host.device_name)(*dev));
                self.cutter.devices.entry(*dev).or_insert_with(node);
            }
        }
        let mut nodes = BTreeMap::from([(NodeId::of_host(&host.agent), Rows::default())]);
        nodes.extend(self.cutter.devices.values().map(|node| (node.clone(), Rows::default())));
        for (owner, rows) in std::mem::take(&mut self.rows) {
            let node = match owner {
                // A target that is not told, as it was removed long ago.
                Owner::Target(_) => continue,
                Owner::Device(dev) => self.cutter.devices.get(&dev).cloned(),
                Owner::Host => None,
            };
            nodes.entry(node.unwrap_or_else(|| NodeId::of_host(&host.agent))).or_default().absorb(rows);
        }
        let window = |(node, rows): (NodeId, Rows)| {
            let lost = if node == NodeId::of_host(&host.agent) { lost.clone() } else { BTreeMap::new() };
            let Finished { rows, totals: sums, peers } = rows.finish(TOP_PEERS, |_, _| None);
            let (listening, totals) = (Vec::new(), with_zeros(sums, &[Layer::Device]));
            NodeWindow { node, processes: 0, listening, totals, rows, peers, lost }
        };
        nodes.into_iter().map(window).collect()
    }

    fn compare(&mut self, target: u32, totals: &Totals, watching: &Watching) -> Vec<Unbalanced> {
        let mut found = Vec::new();
        for layer in &watching.layers {
            let cutter = &mut *self.cutter;
            for code in codes(*layer) {
                let sum = match layer {
                    Layer::Logical => cutter.files.sum(target, *code),
                    Layer::Device => cutter.blocks.sum(target, *code),
                    Layer::Network => cutter.peers.sum(target, *code),
                };
                found.extend(cutter.balance.compare(target, *layer, *code, totals, sum));
            }
        }
        found
    }
}

/// The kernel's numbers of a layer's operations.
fn codes(layer: Layer) -> &'static [u16] {
    match layer {
        Layer::Logical => &[READ, WRITE, SYNC],
        Layer::Device => &[READ, WRITE, DISCARD],
        Layer::Network => &[0, 1, 2, 3],
    }
}

/// An operation by the kernel's number.
fn operation(layer: Layer, code: u16) -> Operation {
    let operations = layer.operations();
    operations[usize::from(code).min(operations.len() - 1)]
}

/// A layer that was watched has a total of every operation.
fn with_zeros(
    mut sums: BTreeMap<(Layer, Operation), Counts>,
    layers: &[Layer],
) -> BTreeMap<(Layer, Operation), Counts> {
    for layer in layers {
        for operation in layer.operations() {
            sums.entry((*layer, *operation)).or_default();
        }
    }
    sums
}

#[cfg(test)]
mod tests;
