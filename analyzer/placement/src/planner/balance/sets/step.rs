//! The steps that relieve a node: a group or a piece of one to a substitute, or one partition to another copyset.

use super::super::cover::{Item, cover};
use super::super::decide::copy_one;
use super::{Sets, Whole, draw, is_free, pressures_with, total};
use crate::ids::{Level, Node, Partition};
use crate::planner::work::Work;
use crate::topology::NodeState;

/// Least gain of a step, in squares of pressure.
const LEAST_GAIN: f64 = 1e-7;
/// Least share of the squares that a change of two groups takes away.
const LEAST_SHARE: f64 = 0.2;
/// Share of a node's squares that sending single partitions must leave at most, to go on.
const LEFT_SHARE: f64 = 0.98;
/// Pressure above the limit from which on whole groups change places: it copies much for what it gains.
const TRADED_FROM: f64 = 0.05;
/// Share of a mean node that a new copyset counts beside the bytes.
const NEW_SHARE: f64 = 0.05;
/// Partitions that are tried in one step.
const MOST_ITEMS: usize = 256;

/// A group, or a piece of one.
struct Piece {
    set: usize,
    partitions: Vec<Partition>,
    bytes: f64,
    load: f64,
    whole: bool,
}

impl Sets {
    /// Sends a group or a piece of one to the substitute that gains most for the bytes. Whether there was one.
    pub(super) fn substitute(&mut self, work: &mut Work<'_>, from: Node, times: f64) -> bool {
        let (excess, _) = self.excess(work, from);
        let mut best: Option<(f64, f64, u64, usize, Node)> = None;
        let pieces = self.pieces(work, from, times, excess);
        for (at, piece) in pieces.iter().enumerate() {
            let now = self.pain(work, from, 0.0, 0.0) - self.pain(work, from, -piece.bytes, -piece.load);
            for to in self.substitutes(work, piece, from) {
                let gain = now + self.pain(work, to, 0.0, 0.0) - self.pain(work, to, piece.bytes, piece.load);
                if gain < LEAST_GAIN {
                    continue;
                }
                let is_new = !piece.whole && self.is_new(piece.set, from, to);
                if is_new && self.left < 1 {
                    continue;
                }
                let cost = piece.bytes * self.mean_per_byte + if is_new { NEW_SHARE } else { 0.001 };
                let worth = gain / cost;
                let (size, load) = pressures_with(work, to, piece.bytes, piece.load);
                let rank = (worth, -size.max(load), draw(work, piece.partitions[0], to));
                let beats = best.is_none_or(|best| {
                    rank.0
                        .total_cmp(&best.0)
                        .then(rank.1.total_cmp(&best.1))
                        .then(rank.2.cmp(&best.2))
                        .is_gt()
                });
                if beats {
                    best = Some((rank.0, rank.1, rank.2, at, to));
                }
            }
        }
        let Some((.., at, to)) = best else { return false };
        let piece = &pieces[at];
        if !self.affords(work, total(work, &piece.partitions), piece.partitions.len()) {
            return false;
        }
        self.go(work, piece, from, to);
        true
    }

    /// Groups that may go in one piece, and of each group what would be enough.
    fn pieces(&self, work: &Work<'_>, from: Node, times: f64, excess: f64) -> Vec<Piece> {
        let (bytes, load) = self.excess(work, from);
        let mut pieces = Vec::new();
        for set in self.of_node[from.at()].iter().copied() {
            let mut free: Vec<Item> = self.members[set]
                .iter()
                .filter(|partition| is_free(work, **partition))
                .map(|partition| Self::item(work, *partition))
                .collect();
            if free.is_empty() {
                continue;
            }
            let all = piece_of(set, &free, free.len() == self.members[set].len());
            let part = cover(&mut free, bytes, load);
            let is_worth = |piece: &Piece| piece.bytes <= times * excess || times.is_infinite();
            if all.whole && is_worth(&all) {
                pieces.push(all);
            }
            let part = part.map(|part| piece_of(set, &part, false));
            pieces.extend(part.filter(|part| !part.partitions.is_empty() && is_worth(part)));
        }
        pieces
    }

    fn is_new(&self, set: usize, from: Node, to: Node) -> bool {
        self.find.get(&self.with(set, from, to)).is_none_or(|there| self.members[*there].is_empty())
    }

    /// Nodes that may take all of a piece.
    fn substitutes<'s>(
        &'s self,
        work: &'s Work<'_>,
        piece: &'s Piece,
        from: Node,
    ) -> impl Iterator<Item = Node> + 's {
        let nodes = (0..work.up.len()).map(|at| Node(at as u16));
        nodes.filter(move |to| {
            let first = piece.partitions[0];
            let (size, load) = pressures_with(work, *to, piece.bytes, piece.load);
            size.max(load) <= self.limit
                && piece.bytes <= work.room[to.at()]
                && work.admits(first, Some(from), *to).is_ok()
                && piece.partitions.iter().all(|partition| !work.returned(*partition, *to))
        })
    }

    fn go(&mut self, work: &mut Work<'_>, piece: &Piece, from: Node, to: Node) {
        for partition in &piece.partitions {
            copy_one(work, *partition, from, to);
        }
        let nodes = self.with(piece.set, from, to);
        let target = self.find.get(&nodes).copied();
        let target = target.unwrap_or_else(|| self.add(&nodes));
        self.transfer(work, piece.set, target, &piece.partitions);
    }

    /// Bookkeeping of partitions that changed their copyset.
    fn transfer(&mut self, work: &Work<'_>, from: usize, to: usize, partitions: &[Partition]) {
        if self.members[to].is_empty() {
            self.left -= 1;
        }
        self.members[to].extend_from_slice(partitions);
        self.wholes[to] = None;
        let mut gone = partitions.to_vec();
        gone.sort_unstable();
        self.members[from].retain(|partition| gone.binary_search(partition).is_err());
        self.wholes[from] = self.whole(work, from);
        if self.members[from].is_empty() {
            self.left += 1;
            for node in self.nodes[from].clone() {
                self.of_node[node.at()].retain(|set| *set != from);
            }
            self.find.remove(&self.nodes[from]);
        }
    }

    /// Sends single partitions to other copysets in use. Whether there was one that gains.
    pub(super) fn send_some(&mut self, work: &mut Work<'_>, from: Node) -> bool {
        let (bytes, load) = self.excess(work, from);
        let mut items: Vec<(Partition, usize)> = Vec::new();
        for set in &self.of_node[from.at()] {
            let free = self.members[*set].iter().filter(|partition| is_free(work, **partition));
            items.extend(free.map(|partition| (*partition, *set)));
        }
        items.sort_unstable();
        let set_of = |partition: Partition| {
            items.binary_search_by_key(&partition, |item| item.0).map(|at| items[at].1).ok()
        };
        let mut free: Vec<Item> = items.iter().map(|(partition, _)| Self::item(work, *partition)).collect();
        // What covers the excess first, then what has most of it.
        let mut tried = cover(&mut free, bytes, load).unwrap_or_default();
        tried.sort_unstable_by(|a, b| by_weight(work, from, a, b));
        tried.truncate(MOST_ITEMS);
        let before = work.moves.len();
        let was = self.pain(work, from, 0.0, 0.0);
        let open: Vec<usize> = (0..self.nodes.len()).filter(|set| self.is_open(work, *set)).collect();
        for item in &tried {
            let (bytes, load) = self.excess(work, from);
            if bytes == 0.0 && load == 0.0 {
                break;
            }
            if let Some(set) = set_of(item.partition) {
                self.send(work, item, set, &open);
            }
        }
        work.moves.len() > before && self.pain(work, from, 0.0, 0.0) < LEFT_SHARE * was
    }

    /// Whether something lies on a copyset and at most one of its nodes is at the limit.
    fn is_open(&self, work: &Work<'_>, set: usize) -> bool {
        let takes = |node: &Node| work.target[node.at()] && work.pressure(node.at()) < self.limit;
        !self.members[set].is_empty()
            && self.nodes[set].iter().filter(|node| takes(node)).count() + 1 >= self.nodes[set].len()
    }

    /// Sends a partition to the copyset where that gains most for the bytes, if it gains.
    fn send(&mut self, work: &mut Work<'_>, item: &Item, set: usize, open: &[usize]) {
        let mut best: Option<(f64, usize)> = None;
        for to in open.iter().copied() {
            if to == set || self.nodes[to].len() != self.nodes[set].len() {
                continue;
            }
            let Some(worth) = self.worth(work, item, set, to) else { continue };
            if best.is_none_or(|best| worth > best.0)
                && pairs(work, item.partition, &self.nodes[to]).is_some()
            {
                best = Some((worth, to));
            }
        }
        let Some((_, to)) = best else { return };
        let Some(pairs) = pairs(work, item.partition, &self.nodes[to]) else { return };
        if !self.affords(work, total(work, &[item.partition]) * pairs.len() as u64, pairs.len()) {
            return;
        }
        for (from, to) in pairs {
            copy_one(work, item.partition, from, to);
        }
        self.transfer(work, set, to, &[item.partition]);
    }

    /// Two whole groups change one node each. Whether there were two whose change gains.
    pub(super) fn trade(&mut self, work: &mut Work<'_>, from: Node) -> bool {
        if work.pressure(from.at()) < self.limit + TRADED_FROM {
            return false;
        }
        let mut best: Option<(f64, Whole, Whole, Node)> = None;
        let own: Vec<Whole> = self.of_node[from.at()].iter().filter_map(|set| self.wholes[*set]).collect();
        for to in
            (0..work.up.len()).map(|at| Node(at as u16)).filter(|to| work.target[to.at()] && *to != from)
        {
            let theirs = self.of_node[to.at()].iter().filter_map(|set| self.wholes[*set]);
            let now = self.pain(work, from, 0.0, 0.0) + self.pain(work, to, 0.0, 0.0);
            for back in theirs.filter(|back| !self.nodes[back.set].contains(&from)) {
                for piece in own.iter().filter(|piece| !self.nodes[piece.set].contains(&to)) {
                    let (bytes, load) = (piece.bytes - back.bytes, piece.load - back.load);
                    let then = self.pain(work, from, -bytes, -load) + self.pain(work, to, bytes, load);
                    let worth = (now - then) / ((piece.bytes + back.bytes) * self.mean_per_byte + 0.001);
                    if now - then < LEAST_GAIN.max(LEAST_SHARE * now)
                        || best.is_some_and(|best| worth <= best.0)
                    {
                        continue;
                    }
                    let fits = |piece: Whole, from: Node, to: Node| {
                        let members = &self.members[piece.set];
                        piece.bytes <= work.room[to.at()]
                            && work.admits(members[0], Some(from), to).is_ok()
                            && members.iter().all(|partition| !work.returned(*partition, to))
                    };
                    if fits(*piece, from, to) && fits(back, to, from) {
                        best = Some((worth, *piece, back, to));
                    }
                }
            }
        }
        let Some((_, piece, back, to)) = best else { return false };
        let [piece, back] = [piece, back].map(|whole| Piece {
            set: whole.set,
            partitions: self.members[whole.set].clone(),
            bytes: whole.bytes,
            load: whole.load,
            whole: true,
        });
        let bytes = total(work, &piece.partitions) + total(work, &back.partitions);
        if !self.affords(work, bytes, piece.partitions.len() + back.partitions.len()) {
            return false;
        }
        self.go(work, &piece, from, to);
        self.go(work, &back, to, from);
        true
    }

    /// Gain for the bytes of sending a partition from one set to another; absent if too little, or if a node of the
    /// other would come above the limit.
    fn worth(&self, work: &Work<'_>, item: &Item, set: usize, to: usize) -> Option<f64> {
        let (mut gain, mut copies) = (0.0, 0.0);
        let mut pressed: f64 = 0.0;
        for node in self.nodes[to].iter().filter(|node| !self.nodes[set].contains(node)) {
            let (size, load) = pressures_with(work, *node, item.bytes, item.load);
            if size.max(load) > self.limit || !work.target[node.at()] {
                return None;
            }
            pressed = pressed.max(size).max(load);
            copies += 1.0;
        }
        for node in self.nodes[set].iter().filter(|node| !self.nodes[to].contains(node)) {
            gain += self.pain(work, *node, 0.0, 0.0) - self.pain(work, *node, -item.bytes, -item.load);
        }
        // Among equals the least pressed set.
        (gain >= LEAST_GAIN * LEAST_GAIN).then(|| gain / copies * (2.0 - pressed))
    }
}

fn piece_of(set: usize, items: &[Item], whole: bool) -> Piece {
    Piece {
        set,
        partitions: items.iter().map(|item| item.partition).collect(),
        bytes: items.iter().map(|item| item.bytes).sum(),
        load: items.iter().map(|item| item.load).sum(),
        whole,
    }
}

fn by_weight(work: &Work<'_>, node: Node, a: &Item, b: &Item) -> std::cmp::Ordering {
    let weight =
        |item: &Item| (item.bytes * work.per_byte[node.at()]).max(item.load * work.per_load[node.at()]);
    weight(b).total_cmp(&weight(a)).then(b.draw.cmp(&a.draw)).then(a.partition.cmp(&b.partition))
}

/// Which holder each node of another set replaces, so that each copy is allowed whether the others are done or not;
/// absent if there is no such way.
fn pairs(work: &Work<'_>, partition: Partition, to: &[Node]) -> Option<Vec<(Node, Node)>> {
    let holders: Vec<Node> = work.assignment.subset(partition).collect();
    let mut leaving: Vec<Node> = holders.iter().filter(|node| !to.contains(node)).copied().collect();
    let mut arriving: Vec<Node> = to.iter().filter(|node| !holders.contains(node)).copied().collect();
    // What a node held that does not serve is for repair to make again, if somebody asks for that.
    if leaving.iter().any(|node| !work.up[node.at()]) {
        return None;
    }
    // Nor may those that arrive crowd each other: a copyset in use need not be one that domains allow.
    let stands = |node: &Node| work.snapshot.topology().node(*node).state != NodeState::Down;
    let beside = |node: Node| to.iter().copied().filter(move |other| *other != node && stands(other));
    if arriving.iter().any(|node| work.crowded_by(|| beside(*node), *node).is_some()) {
        return None;
    }
    let topology = work.snapshot.topology();
    let mut pairs = Vec::with_capacity(arriving.len());
    // Who lies in the same domain as a node that leaves takes its place, from the innermost level out.
    for level in (0..topology.levels().len()).rev() {
        let domains = topology.domains_at(Level(level as u8));
        arriving.retain(|to| {
            let place = leaving.iter().position(|from| domains[from.at()] == domains[to.at()]);
            place.inspect(|place| pairs.push((leaving.swap_remove(*place), *to))).is_none()
        });
    }
    pairs.extend(leaving.into_iter().zip(arriving));
    pairs.iter().all(|(from, to)| work.admits(partition, Some(*from), *to).is_ok()).then_some(pairs)
}
