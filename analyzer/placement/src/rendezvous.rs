//! Weighted rendezvous hashing: which node, partition or subset a key goes to, without a table.
//!
//! Every candidate of weight w gets the score `-ln(u) / w`, u drawn in (0, 1) from the keys of both, and the lowest
//! score wins (Thaler and Ravishankar 1998; the weights as in Schindelhauer and Schomaker 2005). The scores of others
//! do not enter a candidate's, so a key moves only to a candidate that is new or heavier, and only from one that is
//! gone or lighter: no other key moves. The draw is [`crate::hash::draw`], which is frozen.
//!
//! Every candidate is scored for every key: about 15 ns each, 2 ns for partitions, whose weights are equal. It sees
//! no sizes or loads, so it balances keys and not bytes; assignments are planned, and this is for choices among
//! equals and for keys that have no table. It never looks at who holds what.

use crate::hash;
use crate::ids::{Node, Partition};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;

/// Something that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Stands for its name, see [`hash::key`].
    pub key: u64,
    /// Its share of keys is in proportion to it. Never chosen if it is not above 0.
    pub weight: f64,
}

/// What a candidate scores for a key: exponentially distributed with the weight as its rate, so that the lowest of
/// several is each with the probability of its share. Infinite if the weight is not above 0.
#[must_use]
#[inline]
pub fn score(key: u64, candidate: Candidate) -> f64 {
    if candidate.weight > 0.0 {
        -libm::log(unit(hash::draw(key, candidate.key))) / candidate.weight
    } else {
        f64::INFINITY
    }
}

/// The position of the candidate that a key goes to; absent if none has a weight. Equal scores fall to the lower
/// key, then to the earlier.
#[must_use]
pub fn choose(key: u64, candidates: impl IntoIterator<Item = Candidate>) -> Option<usize> {
    let scored =
        candidates.into_iter().enumerate().map(|(at, candidate)| (score(key, candidate), candidate.key, at));
    let scored = scored.filter(|(score, ..)| score.is_finite());
    scored.min_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)))).map(|(.., at)| at)
}

/// The positions of the candidates with a weight, in the order in which a key goes to them: the second is where it
/// goes if the first is gone.
#[must_use]
pub fn rank(key: u64, candidates: &[Candidate]) -> Vec<usize> {
    let mut order: Vec<(f64, u64, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| (score(key, *candidate), candidate.key, at))
        .collect();
    order.retain(|(score, ..)| score.is_finite());
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    order.into_iter().map(|(.., at)| at).collect()
}

/// The partition that a key goes to, all with the same weight: that of the highest draw. Absent if there is none.
/// Takes about 2 ns for each partition; [`Halls`] takes a part of it.
#[must_use]
pub fn partition(key: u64, partitions: &[u64]) -> Option<Partition> {
    // Less a draw is less its unit, and the lowest score is that of the highest unit.
    let drawn = partitions.iter().enumerate().map(|(at, of)| (hash::draw(key, *of), !*of, !(at as u32)));
    drawn.max().map(|(.., at)| Partition(!at))
}

/// Partitions in a fixed number of halls, by the draw of their keys: a key first goes to a hall, then to a partition
/// in it, so that only the partitions of one hall are scored.
///
/// A partition that comes takes keys from those of its own hall alone, and what it leaves goes to those alone: no
/// other key moves. The price is evenness: halls get the same share of keys and do not have the same number of
/// partitions, so with h partitions to a hall shares differ by about `1 / sqrt(h)`. A hall without partitions passes
/// its keys on to other halls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halls {
    /// Hall h has `members[from[h]..from[h + 1]]`: keys and positions.
    from: Vec<u32>,
    members: Vec<(u64, Partition)>,
    occupied: bool,
}

/// What the keys of halls are drawn with: a constant beside the keys of partitions.
const HALL: u64 = 0x6861_6c6c_735f_7631;

impl Halls {
    /// Deals partitions, by their keys, into `halls`, which must stay the same for as long as keys should. The root
    /// of the number of partitions makes both steps as fast.
    ///
    /// # Panics
    /// If there are no halls.
    #[must_use]
    pub fn new(partitions: &[u64], halls: u32) -> Self {
        assert!(halls > 0, "at least one hall");
        let hall = |key: u64| (u128::from(hash::draw(key, HALL)) * u128::from(halls) >> 64) as usize;
        let mut from = vec![0u32; halls as usize + 1];
        partitions.iter().for_each(|key| from[hall(*key) + 1] += 1);
        for at in 0..halls as usize {
            from[at + 1] += from[at];
        }
        let mut next = from.clone();
        let mut members = vec![(0, Partition(0)); partitions.len()];
        for (at, key) in partitions.iter().enumerate() {
            let slot = &mut next[hall(*key)];
            members[*slot as usize] = (*key, Partition(at as u32));
            *slot += 1;
        }
        Self { from, members, occupied: !partitions.is_empty() }
    }

    /// The partition that a key goes to; absent if there is none.
    #[must_use]
    pub fn partition(&self, key: u64) -> Option<Partition> {
        if !self.occupied {
            return None;
        }
        let halls = self.from.len() as u64 - 1;
        let mut step = HALL;
        loop {
            step = step.wrapping_add(1);
            let hall = (u128::from(hash::draw(key, step)) * u128::from(halls) >> 64) as usize;
            let members = &self.members[self.from[hall] as usize..self.from[hall + 1] as usize];
            let drawn = members.iter().map(|(of, at)| (hash::draw(key, *of), !*of, *at));
            if let Some((.., at)) = drawn.max() {
                return Some(at);
            }
        }
    }
}

/// The nodes that `replicas` replicas of a key go to, best first: the nodes by score, without those whose domain has
/// its most already ([`Snapshot::limits`]). Fewer where the domains do not allow as many. Weights are by node;
/// [`weights`] has those of capacity.
///
/// Limits of nested domains make the subsets that are allowed a matroid, and taking the best that fits is the best
/// base of one: when one node comes, goes or changes its weight, at most one node of a subset is another, and none
/// if that node is in neither. Shares of keys are in proportion to weights for one replica; for more, domains and
/// the rule that a node holds one replica flatten them.
///
/// # Panics
/// If there is not one weight for each node.
#[must_use]
pub fn subset(snapshot: &Snapshot, weights: &[f64], key: u64, replicas: u8) -> Vec<Node> {
    let topology = snapshot.topology();
    let nodes = topology.nodes();
    assert_eq!(nodes.len(), weights.len(), "a weight for each node");
    let candidates: Vec<Candidate> = nodes
        .iter()
        .zip(weights)
        .map(|(node, weight)| Candidate { key: node.key, weight: *weight })
        .collect();
    let mut chosen: Vec<Node> = Vec::with_capacity(usize::from(replicas));
    for at in rank(key, &candidates) {
        if chosen.len() == usize::from(replicas) {
            break;
        }
        let node = Node(at as u16);
        let has_room = snapshot.limits().iter().enumerate().all(|(level, limit)| {
            let Some(limit) = limit else { return true };
            let around = topology.domains_at(crate::Level(level as u8));
            chosen.iter().filter(|other| around[other.at()] == around[at]).count() < usize::from(*limit)
        });
        if has_room {
            chosen.push(node);
        }
    }
    chosen
}

/// Weights of nodes by capacity: 0 for those that are not up.
#[must_use]
pub fn weights(snapshot: &Snapshot) -> Vec<f64> {
    let weight = |node: &crate::NodeFacts| {
        if node.state == NodeState::Up { node.capacity_bytes as f64 } else { 0.0 }
    };
    snapshot.topology().nodes().iter().map(weight).collect()
}

/// A number in (0, 1): the middle of one of 2^53 equal parts, by the upper bits of a draw.
#[inline]
fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}
