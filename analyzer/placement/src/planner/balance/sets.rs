//! Evens out what lies on few copysets, and keeps them few.
//!
//! Three kinds of steps relieve a node. Where it has too many bytes, a whole group (the partitions of one copyset)
//! goes to a substitute in one piece: one copyset instead of another. A piece of a group goes to a substitute: a
//! copyset more, of which the policy allows so many; none more if that copyset is there. And single partitions,
//! above all dense ones where there is too much load, go from one copyset to another that is there, with all replicas
//! that differ: no copyset more, at the price of copying up to all replicas.
//!
//! Steps are decided as they are found, so a budget cuts off what comes last. Nothing is moved twice.

mod step;

use super::cover::Item;
use super::decide::{left, size};
use super::draft::ROUNDING;
use crate::hash;
use crate::ids::{Node, Partition};
use crate::planner::regime::Grouped;
use crate::planner::work::Work;
use std::collections::BTreeMap;

/// Rounds over all kinds of steps.
const MOST_ROUNDS: usize = 8;
/// Steps of one kind in one round.
const MOST_STEPS: usize = 100_000;
/// A piece or a group is moved for bytes if it is at most this many times what is too much: else single partitions
/// are cheaper, with all their replicas.
const MOST_TIMES: f64 = 3.0;

/// Brings nodes down to the limit as far as copysets and budgets allow. Whether the budgets kept something from
/// being done.
pub(super) fn run(work: &mut Work<'_>, limit: f64, grouped: &Grouped) -> bool {
    let mut sets = Sets::new(work, limit, grouped);
    for round in 0..MOST_ROUNDS {
        let before = work.moves.len();
        let times = if round == 0 { MOST_TIMES } else { f64::INFINITY };
        repeat(work, &mut sets, |work, sets, node| sets.substitute(work, node, times));
        repeat(work, &mut sets, |work, sets, node| sets.send_one(work, node));
        if work.moves.len() == before && round > 0 {
            break;
        }
    }
    sets.short
}

/// Takes a step for the most pressed node above the limit, until no step is left for any.
fn repeat<'a>(
    work: &mut Work<'a>,
    sets: &mut Sets,
    mut step: impl FnMut(&mut Work<'a>, &mut Sets, Node) -> bool,
) {
    let mut stuck = vec![false; work.up.len()];
    for _ in 0..MOST_STEPS {
        let over = (0..work.up.len())
            .filter(|at| work.up[*at] && !stuck[*at] && work.pressure(*at) > sets.limit + ROUNDING);
        let Some(at) = over.max_by(|a, b| work.pressure(*a).total_cmp(&work.pressure(*b)).then(b.cmp(a)))
        else {
            return;
        };
        stuck[at] = !step(work, sets, Node(at as u16));
    }
}

/// Copysets in use and what lies on them.
struct Sets {
    limit: f64,
    /// The nodes of each, ascending.
    nodes: Vec<Vec<Node>>,
    members: Vec<Vec<Partition>>,
    of_node: Vec<Vec<usize>>,
    find: BTreeMap<Vec<Node>, usize>,
    /// Copysets there may be more.
    left: i64,
    mean_per_byte: f64,
    /// Whether a budget kept something from being done.
    short: bool,
}

impl Sets {
    fn new(work: &Work<'_>, limit: f64, grouped: &Grouped) -> Self {
        let mut sets = Self {
            limit,
            nodes: Vec::new(),
            members: Vec::new(),
            of_node: vec![Vec::new(); work.up.len()],
            find: BTreeMap::new(),
            left: grouped.left,
            mean_per_byte: super::draft::mean(&work.per_byte),
            short: false,
        };
        for set in grouped.sets.all() {
            let at = sets.add(grouped.sets.nodes(set));
            sets.members[at] = grouped.groups.of(set).to_vec();
        }
        sets
    }

    fn add(&mut self, nodes: &[Node]) -> usize {
        let at = self.nodes.len();
        self.nodes.push(nodes.to_vec());
        self.members.push(Vec::new());
        self.find.insert(nodes.to_vec(), at);
        nodes.iter().for_each(|node| self.of_node[node.at()].push(at));
        at
    }

    fn item(work: &Work<'_>, partition: Partition) -> Item {
        Item {
            partition,
            bytes: work.size_of(partition),
            load: work.load_of(partition),
            draw: work.snapshot.partitions().key[partition.at()],
        }
    }

    /// The set with one node in the place of another.
    fn with(&self, set: usize, from: Node, to: Node) -> Vec<Node> {
        let mut nodes: Vec<Node> =
            self.nodes[set].iter().map(|node| if *node == from { to } else { *node }).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Squares of a node's excesses if it held so much more.
    fn pain(&self, work: &Work<'_>, node: Node, bytes: f64, load: f64) -> f64 {
        let (size, load) = pressures_with(work, node, bytes, load);
        let (size, load) = ((size - self.limit).max(0.0), (load - self.limit).max(0.0));
        size * size + load * load
    }

    fn excess(&self, work: &Work<'_>, node: Node) -> (f64, f64) {
        let excess = |pressure: f64, per: f64| {
            if pressure > self.limit + ROUNDING { (pressure - self.limit) / per } else { 0.0 }
        };
        let at = node.at();
        (excess(work.size_pressure(at), work.per_byte[at]), excess(work.load_pressure(at), work.per_load[at]))
    }

    /// Whether the budgets have that much left.
    fn affords(&mut self, work: &Work<'_>, bytes: u64, moves: usize) -> bool {
        let (left_bytes, left_moves) = left(work);
        let affords = bytes <= left_bytes && moves as u64 <= left_moves;
        self.short |= !affords;
        affords
    }
}

/// Size and load pressure of a node if it held so much more.
fn pressures_with(work: &Work<'_>, node: Node, bytes: f64, load: f64) -> (f64, f64) {
    let at = node.at();
    ((work.bytes[at] + bytes) * work.per_byte[at], (work.load[at] + load) * work.per_load[at])
}

/// Whether a partition may be moved by choice.
fn is_free(work: &Work<'_>, partition: Partition) -> bool {
    work.may_move(partition) && work.cooling_until_s(partition).is_none()
}

fn total(work: &Work<'_>, partitions: &[Partition]) -> u64 {
    partitions.iter().map(|partition| size(work, *partition)).sum()
}

fn draw(work: &Work<'_>, partition: Partition, node: Node) -> u64 {
    hash::draw(work.snapshot.partitions().key[partition.at()], work.snapshot.topology().node(node).key)
}
