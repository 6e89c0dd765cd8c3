//! Moves that are thought of, before any is decided: they change what nodes hold in the draft and can be thought of
//! again, at no cost.
//!
//! At most one replica of a partition is displaced. A replica that has been displaced can go on to a third node, or
//! back home: its bytes are copied once, or not at all. Hard constraints are asked of the assignment as it was, so
//! whichever of the displacements are done in the end, they hold.

use super::cover::Item;
use crate::hash;
use crate::ids::{Node, Partition};
use crate::partitions::NONE;
use crate::planner::choose::Choice;
use crate::planner::work::Work;
use std::collections::BTreeMap;

/// Pressures closer to the limit than this are at it.
pub(super) const ROUNDING: f64 = 1e-9;

/// A replica that is to lie elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Displaced {
    pub(super) from: Node,
    pub(super) choice: Choice,
}

/// A cluster in thought.
pub(super) struct Draft<'w, 'a> {
    pub(super) work: &'w mut Work<'a>,
    /// The pressure that nodes are brought down to.
    pub(super) limit: f64,
    /// Pressure of one byte, of one unit of load on a node of mean capacity.
    pub(super) mean_per_byte: f64,
    pub(super) mean_per_load: f64,
    pub(super) displaced: BTreeMap<Partition, Displaced>,
    /// Partitions that may not be moved, or of which a replica is displaced.
    fixed: Vec<bool>,
    /// What each node held of what may be moved: those of node i at `[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    held: Vec<Partition>,
    arrived: Vec<Vec<Partition>>,
    saved: [Vec<f64>; 3],
}

impl<'w, 'a> Draft<'w, 'a> {
    pub(super) fn new(work: &'w mut Work<'a>, limit: f64) -> Self {
        let fixed = fixed(work);
        let (starts, held) = holdings(work, &fixed);
        Self {
            limit,
            mean_per_byte: mean(&work.per_byte),
            mean_per_load: mean(&work.per_load),
            displaced: BTreeMap::new(),
            fixed,
            starts,
            held,
            arrived: vec![Vec::new(); work.up.len()],
            saved: [work.bytes.clone(), work.load.clone(), work.room.clone()],
            work,
        }
    }

    /// What nodes hold is as before the draft; what was thought of remains.
    pub(super) fn end(self) -> BTreeMap<Partition, Displaced> {
        let [bytes, load, room] = self.saved;
        (self.work.bytes, self.work.load, self.work.room) = (bytes, load, room);
        self.displaced
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.work.up.len()).map(|at| Node(at as u16))
    }

    /// Whether a node is up and pressed above the limit.
    pub(super) fn is_over(&self, node: Node) -> bool {
        self.work.up[node.at()] && self.work.pressure(node.at()) > self.limit + ROUNDING
    }

    /// Bytes and load that a node holds above the limit.
    pub(super) fn excess(&self, node: Node) -> (f64, f64) {
        let at = node.at();
        let excess = |pressure: f64, per: f64| {
            if pressure > self.limit + ROUNDING { (pressure - self.limit) / per } else { 0.0 }
        };
        (
            excess(self.work.size_pressure(at), self.work.per_byte[at]),
            excess(self.work.load_pressure(at), self.work.per_load[at]),
        )
    }

    /// How badly a node is pressed above the limit if it held so much more: the squares of both excesses.
    pub(super) fn pain(&self, node: Node, bytes: f64, load: f64) -> f64 {
        let at = node.at();
        let size = ((self.work.bytes[at] + bytes) * self.work.per_byte[at] - self.limit).max(0.0);
        let load = ((self.work.load[at] + load) * self.work.per_load[at] - self.limit).max(0.0);
        size * size + load * load
    }

    pub(super) fn pain_of_all(&self) -> f64 {
        self.nodes().map(|node| self.pain(node, 0.0, 0.0)).sum()
    }

    /// The higher pressure of a node if it held so much more.
    pub(super) fn pressure_with(&self, node: Node, bytes: f64, load: f64) -> f64 {
        let at = node.at();
        let size = (self.work.bytes[at] + bytes) * self.work.per_byte[at];
        size.max((self.work.load[at] + load) * self.work.per_load[at])
    }

    /// What a node holds that may be displaced, or displaced again.
    pub(super) fn items(&self, node: Node) -> impl Iterator<Item = Item> + '_ {
        let held = &self.held[self.starts[node.at()]..self.starts[node.at() + 1]];
        let stays = held.iter().filter(|partition| !self.fixed[partition.at()]);
        stays.chain(&self.arrived[node.at()]).map(move |partition| self.item(*partition, node))
    }

    pub(super) fn item(&self, partition: Partition, node: Node) -> Item {
        Item {
            partition,
            bytes: self.work.size_of(partition),
            load: self.work.load_of(partition),
            draw: hash::draw(
                self.work.snapshot.partitions().key[partition.at()],
                self.work.snapshot.topology().node(node).key,
            ),
        }
    }

    /// Where the replica that lies on `at` in the draft comes from.
    pub(super) fn home(&self, partition: Partition, at: Node) -> Node {
        self.displaced.get(&partition).map_or(at, |displaced| displaced.from)
    }

    /// Whether the replica that lies on `at` in the draft may go to a node.
    pub(super) fn admits(&self, partition: Partition, at: Node, to: Node) -> bool {
        let home = self.home(partition, at);
        to != at && (to == home || self.work.admits(partition, Some(home), to).is_ok())
    }

    /// Bytes that are copied more if the replica on `at` goes to a node: none if it is on its way anyway.
    pub(super) fn copied(&self, item: Item, at: Node, to: Node) -> f64 {
        let home = self.home(item.partition, at);
        match (at == home, to == home) {
            (true, true) | (false, false) => 0.0,
            (true, false) => item.bytes,
            (false, true) => -item.bytes,
        }
    }

    /// Sends the replica that lies on `at` to a node that admits it.
    pub(super) fn displace(&mut self, partition: Partition, at: Node, choice: Choice) {
        self.lift(partition, at);
        self.land(partition, at, Some(choice));
    }

    /// Takes the replica that lies on `at` from it, for the moment: it must land.
    pub(super) fn lift(&mut self, partition: Partition, at: Node) {
        let (bytes, load) = (self.work.size_of(partition), self.work.load_of(partition));
        self.work.bytes[at.at()] -= bytes;
        self.work.load[at.at()] -= load;
    }

    /// Puts what was lifted from `at` where it was chosen to go, or back.
    pub(super) fn land(&mut self, partition: Partition, at: Node, choice: Option<Choice>) {
        let (bytes, load) = (self.work.size_of(partition), self.work.load_of(partition));
        let to = choice.map_or(at, |choice| choice.node);
        self.work.bytes[to.at()] += bytes;
        self.work.load[to.at()] += load;
        let Some(choice) = choice else { return };
        let home = self.home(partition, at);
        if at != home {
            self.work.room[at.at()] += bytes;
            self.arrived[at.at()].retain(|other| *other != partition);
        }
        if to == home {
            self.fixed[partition.at()] = false;
            self.displaced.remove(&partition);
        } else {
            self.work.room[to.at()] -= bytes;
            self.fixed[partition.at()] = true;
            self.arrived[to.at()].push(partition);
            self.displaced.insert(partition, Displaced { from: home, choice });
        }
    }
}

/// What may not be moved by choice: what is pinned, moved not long ago, or is decided about.
fn fixed(work: &Work<'_>) -> Vec<bool> {
    let partitions = work.snapshot.partitions();
    let stays = |partition: Partition| {
        work.moved[partition.at()]
            || partitions.pinned.get(partition)
            || work.cooling_until_s(partition).is_some()
    };
    partitions.all().map(stays).collect()
}

/// The mean over nodes that are up.
pub(super) fn mean(per: &[f64]) -> f64 {
    let count = per.iter().filter(|per| **per > 0.0).count();
    if count > 0 { per.iter().sum::<f64>() / count as f64 } else { 0.0 }
}

fn holdings(work: &Work<'_>, fixed: &[bool]) -> (Vec<usize>, Vec<Partition>) {
    let slots = work.assignment.slots();
    let rows =
        || slots.chunks_exact(work.assignment.width()).zip(fixed).enumerate().filter(|(_, row)| !row.1);
    let mut starts = vec![0; work.up.len() + 1];
    for (_, (row, _)) in rows() {
        row.iter().filter(|slot| **slot != NONE).for_each(|slot| starts[usize::from(*slot) + 1] += 1);
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut ends = starts.clone();
    let mut held = vec![Partition(0); starts.last().copied().unwrap_or(0)];
    for (at, (row, _)) in rows() {
        for slot in row.iter().filter(|slot| **slot != NONE) {
            let end = &mut ends[usize::from(*slot)];
            held[*end] = Partition(at as u32);
            *end += 1;
        }
    }
    (starts, held)
}
