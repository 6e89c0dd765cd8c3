//! The best node for what has to go somewhere: one scan of all nodes, each judged by the same rules, whoever asks.
//!
//! A candidate's score is its pressure after the move, in the dimension that is nearer to what is tolerable, plus
//! the policy's weights. Equals are told apart by rendezvous of the keys of partition and node, so that a choice
//! does not depend on the order of nodes.

use super::ways::Ways;
use super::work::Work;
use crate::hash;
use crate::ids::{Level, Node, Partition};
use crate::plan::{Constraint, Rejected};
use crate::topology::NodeState;

/// Scores closer than this are equal.
const EQUAL: f64 = 1e-9;

/// The best node for something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub(crate) node: Node,
    pub(crate) score: f64,
    pub(crate) runner_up: Option<(Node, f64)>,
    pub(crate) rejected: Rejected,
}

/// What has to go somewhere: a replica, or those of several partitions with the same other holders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// One of the partitions.
    pub(crate) partition: Partition,
    /// The holder it leaves.
    pub(crate) from: Option<Node>,
    /// Bytes and load of all.
    pub(crate) bytes: f64,
    pub(crate) load: f64,
    /// Whether nobody asked for it, so that it must not go back where it came from.
    pub(crate) by_choice: bool,
}

/// A load before all nodes.
pub(crate) struct Candidates<'w> {
    work: &'w Work<'w>,
    load: Load,
    /// Domains of which the other replicas leave no more: the domain of each node, and the one that is full.
    full: Vec<(Level, &'w [u16], u16)>,
    /// The node it must not return to.
    left: Option<Node>,
    /// What each node scores for links and locality; empty where neither matters.
    besides: Vec<f64>,
    /// The weight of slow nodes, and the slowness of the fastest source; absent where nodes are alike, or links say
    /// it already.
    slow: Option<(f64, f64)>,
}

impl<'w> Candidates<'w> {
    pub(crate) fn new(work: &'w Work<'w>, load: Load) -> Self {
        let left = work
            .snapshot
            .partitions()
            .last_left
            .get(load.partition)
            .filter(|left| load.by_choice && work.returned(load.partition, *left));
        let full = full(work, &load);
        let weight = work.snapshot.policy().weights.transfer;
        let sources = if weight > 0.0 { sources(work, &load) } else { Vec::new() };
        let besides = besides(work, &load, &sources);
        let nodes_only = !work.ways.of_node.is_empty() && !Ways::has_links(work.snapshot.topology());
        let slow = (nodes_only && !sources.is_empty()).then(|| {
            let of_sources = sources.iter().map(|from| work.ways.of_node[from.at()]);
            (weight, of_sources.fold(f64::INFINITY, f64::min))
        });
        Self { work, load, full, left, besides, slow }
    }

    /// What a node would score, or the first constraint that forbids it.
    #[inline]
    pub(crate) fn judge(&self, node: Node) -> Result<f64, Constraint> {
        let (work, at) = (self.work, node.at());
        if !work.target[at] {
            return Err(if work.snapshot.topology().node(node).takes() {
                Constraint::Risk
            } else {
                Constraint::NotATarget
            });
        }
        if work.assignment.holds(node, self.load.partition) {
            return Err(Constraint::Holds);
        }
        if let Some((level, ..)) = self.full.iter().find(|(_, domains, full)| domains[at] == *full) {
            return Err(Constraint::Domain(*level));
        }
        if self.load.bytes > work.room[at].max(0.0) {
            return Err(Constraint::Capacity);
        }
        if self.left == Some(node) {
            return Err(Constraint::Returned);
        }
        let size = (work.bytes[at] + self.load.bytes) * work.size_scale[at];
        let load = (work.load[at] + self.load.load) * work.load_scale[at];
        let slow = self.slow.map_or(0.0, |(weight, source)| weight * work.ways.of_node[at].max(source));
        Ok(size.max(load) + slow + self.besides.get(at).copied().unwrap_or(0.0))
    }

    /// The node with the lowest score and the second; or what rejected all of them.
    ///
    /// The same as judging one node after the other, in an order that a processor likes: all scores first, as if
    /// nothing forbade anything but room, then the few that holders and their domains exclude.
    pub(crate) fn best(&self) -> Result<Choice, Rejected> {
        let mut scores = self.scores();
        let work = self.work;
        let mut rejected =
            Rejected { not_a_target: work.no_targets.0, risk: work.no_targets.1, ..Rejected::default() };
        let mut exclude = |node: Node, constraint: Constraint| {
            if work.target[node.at()] && !scores[node.at()].is_nan() {
                scores[node.at()] = f64::NAN;
                rejected.add(constraint);
            }
        };
        work.assignment.subset(self.load.partition).for_each(|holder| exclude(holder, Constraint::Holds));
        for (level, _, domain) in &self.full {
            work.inside[usize::from(*domain)]
                .iter()
                .for_each(|node| exclude(*node, Constraint::Domain(*level)));
        }
        if let Some(left) = self.left.filter(|left| scores[left.at()] < f64::INFINITY) {
            scores[left.at()] = f64::NAN;
            rejected.add(Constraint::Returned);
        }
        let (mut best, mut second) = ((Node(0), f64::INFINITY), (Node(0), f64::INFINITY));
        let mut no_room = 0;
        for (at, score) in scores.iter().enumerate() {
            if *score < second.1 + EQUAL {
                let found = (Node(at as u16), *score);
                if self.beats(found, best) {
                    second = best;
                    best = found;
                } else if self.beats(found, second) {
                    second = found;
                }
            }
            no_room += u16::from(*score == f64::INFINITY);
        }
        rejected.capacity = no_room - work.no_targets.0 - work.no_targets.1;
        if best.1 == f64::INFINITY {
            return Err(rejected);
        }
        let runner_up = (second.1 < f64::INFINITY).then_some(second);
        Ok(Choice { node: best.0, score: best.1, runner_up, rejected })
    }

    /// The score of every node; infinite where it is no target or has no room.
    fn scores(&self) -> Vec<f64> {
        let (work, bytes, load) = (self.work, self.load.bytes, self.load.load);
        let sizes = work.bytes.iter().zip(&work.size_scale);
        let loads = work.load.iter().zip(&work.load_scale);
        let open = work.room.iter().zip(&work.shut);
        let mut scores: Vec<f64> = sizes
            .zip(loads)
            .zip(open)
            .map(|(((held, by_size), (borne, by_load)), (room, shut))| {
                let pressure = ((held + bytes) * by_size).max((borne + load) * by_load);
                if bytes > room.max(0.0) { f64::INFINITY } else { pressure + shut }
            })
            .collect();
        if let Some((weight, source)) = self.slow {
            for (score, slow) in scores.iter_mut().zip(&work.ways.of_node) {
                *score += weight * slow.max(source);
            }
        }
        scores.iter_mut().zip(&self.besides).for_each(|(score, more)| *score += more);
        scores
    }

    /// As [`Self::best`], with a last word on each node that may take it and its score.
    pub(crate) fn best_with(
        &self,
        mut last_word: impl FnMut(Node, f64) -> Result<f64, Constraint>,
    ) -> Result<Choice, Rejected> {
        let mut rejected = Rejected::default();
        let mut best: Option<(Node, f64)> = None;
        let mut second = None;
        for at in 0..self.work.target.len() {
            let node = Node(at as u16);
            match self.judge(node).and_then(|score| last_word(node, score)) {
                Err(constraint) => rejected.add(constraint),
                Ok(score) => {
                    if best.is_none_or(|held| self.beats((node, score), held)) {
                        second = best.replace((node, score));
                    } else if second.is_none_or(|held: (Node, f64)| self.beats((node, score), held)) {
                        second = Some((node, score));
                    }
                }
            }
        }
        match best {
            Some((node, score)) => Ok(Choice { node, score, runner_up: second, rejected }),
            None => Err(rejected),
        }
    }

    fn beats(&self, (node, score): (Node, f64), (held, lowest): (Node, f64)) -> bool {
        if lowest == f64::INFINITY || (score - lowest).abs() > EQUAL {
            return score < lowest;
        }
        let key = self.work.snapshot.partitions().key[self.load.partition.at()];
        let draw = |node: Node| hash::draw(key, self.work.snapshot.topology().node(node).key);
        draw(node) > draw(held)
    }
}

impl Work<'_> {
    /// Whether a node may take a partition by choice, in the place of `from`; else the first constraint that forbids
    /// it. For a single node cheaper than [`Candidates`].
    pub(crate) fn admits(
        &self,
        partition: Partition,
        from: Option<Node>,
        to: Node,
    ) -> Result<(), Constraint> {
        if !self.target[to.at()] {
            return Err(if self.snapshot.topology().node(to).takes() {
                Constraint::Risk
            } else {
                Constraint::NotATarget
            });
        }
        if self.assignment.holds(to, partition) {
            return Err(Constraint::Holds);
        }
        if let Some(level) = self.crowded(partition, from, to) {
            return Err(Constraint::Domain(level));
        }
        if self.size_of(partition) > self.room[to.at()].max(0.0) {
            return Err(Constraint::Capacity);
        }
        if self.returned(partition, to) {
            return Err(Constraint::Returned);
        }
        Ok(())
    }

    /// The holders of a partition but one, and but those that are down: what is lost crowds no domain.
    pub(crate) fn others(&self, partition: Partition, from: Option<Node>) -> impl Iterator<Item = Node> {
        let nodes = self.snapshot.topology().nodes();
        let holders = self.assignment.subset(partition);
        holders.filter(move |holder| Some(*holder) != from && nodes[holder.at()].state != NodeState::Down)
    }

    /// The outermost level at which the other replicas leave no more in the node's domain.
    pub(crate) fn crowded(&self, partition: Partition, from: Option<Node>, to: Node) -> Option<Level> {
        self.crowded_by(|| self.others(partition, from), to)
    }

    /// The outermost level at which these others leave no more in the node's domain.
    pub(crate) fn crowded_by<I: Iterator<Item = Node>>(
        &self,
        others: impl Fn() -> I,
        to: Node,
    ) -> Option<Level> {
        let limits = self.snapshot.limits().iter().enumerate();
        limits.filter_map(|(level, limit)| Some((Level(level as u8), (*limit)?))).find_map(
            |(level, limit)| {
                let domains = self.snapshot.topology().domains_at(level);
                let there = others().filter(|holder| domains[holder.at()] == domains[to.at()]).count();
                (there >= usize::from(limit)).then_some(level)
            },
        )
    }
}

/// The domains that can take no more replicas of the partition.
fn full<'w>(work: &'w Work<'_>, load: &Load) -> Vec<(Level, &'w [u16], u16)> {
    let topology = work.snapshot.topology();
    let others = || work.others(load.partition, load.from);
    let mut full = Vec::new();
    for (level, limit) in work.snapshot.limits().iter().enumerate() {
        let Some(limit) = limit else { continue };
        let level = Level(level as u8);
        let domains = topology.domains_at(level);
        for holder in others() {
            let domain = domains[holder.at()];
            let there = others().filter(|other| domains[other.at()] == domain).count();
            if there >= usize::from(*limit) && !full.contains(&(level, domains, domain)) {
                full.push((level, domains, domain));
            }
        }
    }
    full
}

/// What nodes score for links and for accesses that come from elsewhere; empty where neither tells them apart.
fn besides(work: &Work<'_>, load: &Load, sources: &[Node]) -> Vec<f64> {
    let weights = &work.snapshot.policy().weights;
    let topology = work.snapshot.topology();
    let peers =
        if weights.locality > 0.0 { work.snapshot.partitions().peers_of(load.partition) } else { &[] };
    let links = weights.transfer > 0.0 && Ways::has_links(topology) && !sources.is_empty();
    if peers.is_empty() && !links {
        return Vec::new();
    }
    let mut besides = vec![0.0; work.target.len()];
    if links {
        for (at, score) in besides.iter_mut().enumerate() {
            let ways = sources.iter().map(|from| work.ways.slowness(topology, *from, Node(at as u16)));
            *score += weights.transfer * ways.fold(f64::INFINITY, f64::min);
        }
    }
    if let (false, Some(innermost)) = (peers.is_empty(), topology.levels().len().checked_sub(1)) {
        let domains = topology.domains_at(Level(innermost as u8));
        for (score, domain) in besides.iter_mut().zip(domains) {
            let near =
                peers.iter().find(|peer| peer.domain.0 == *domain).map_or(0.0, |peer| f64::from(peer.share));
            *score += weights.locality * (1.0 - near);
        }
    }
    besides
}

/// Holders that it can be copied from.
fn sources(work: &Work<'_>, load: &Load) -> Vec<Node> {
    let topology = work.snapshot.topology();
    let holders = work.assignment.subset(load.partition);
    holders.filter(|holder| topology.node(*holder).state != NodeState::Down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::work::tests::clusters;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scanning_all_is_judging_one_by_one(snapshot in clusters(), by_choice: bool) {
            let work = Work::new(&snapshot);
            for partition in snapshot.partitions().all() {
                for from in work.assignment.subset(partition).map(Some).chain([None]) {
                    let (bytes, load) = (work.size_of(partition), work.load_of(partition));
                    let candidates = Candidates::new(&work, Load { partition, from, bytes, load, by_choice });
                    prop_assert_eq!(candidates.best(), candidates.best_with(|_, score| Ok(score)));
                }
            }
        }
    }
}
