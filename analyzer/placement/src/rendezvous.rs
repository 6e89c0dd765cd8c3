//! Weighted rendezvous hashing: which node, partition or subset a key goes to, without a table.
//!
//! Every candidate of weight w gets the score `-ln(u) / w`, u drawn in (0, 1) from the keys of both, and the lowest
//! score wins (Thaler and Ravishankar 1998; the weights as in Schindelhauer and Schomaker 2005). The scores of others
//! do not enter a candidate's, so a key moves only to a candidate that is new or heavier, and only from one that is
//! gone or lighter: no other key moves. The draw is [`crate::hash::draw`], which is frozen.
//!
//! Every candidate is scored for every key: about 25 ns each, 3 ns for partitions, whose weights are equal. It sees
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
/// Takes about 3 ns for each partition; [`Halls`] takes a part of it.
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
        let hall = |key: u64| below(hash::draw(key, HALL), halls);
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
        let halls = self.from.len() as u32 - 1;
        let mut step = HALL;
        loop {
            step = step.wrapping_add(1);
            let hall = below(hash::draw(key, step), halls);
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

/// A whole number below `bound`, by the upper bits of a draw.
fn below(draw: u64, bound: u32) -> usize {
    ((u128::from(draw) * u128::from(bound)) >> 64) as usize
}

/// A number in (0, 1): the middle of one of 2^53 equal parts, by the upper bits of a draw.
#[inline]
fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Assignment, Cluster, Domain, DomainFacts, Level, NodeFacts, Partitions, Policy, Topology};
    use proptest::prelude::*;

    const WEIGHTS: [f64; 10] = [1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 0.0];

    fn named(prefix: &str, count: usize) -> Vec<u64> {
        (0..count).map(|at| hash::key(format!("{prefix}-{at}").as_bytes())).collect()
    }

    fn candidates(weights: &[f64]) -> Vec<Candidate> {
        let keys = named("node", weights.len()).into_iter();
        keys.zip(weights).map(|(key, weight)| Candidate { key, weight: *weight }).collect()
    }

    /// Nodes `node-0`... in racks of three, racks in zones of three, with a limit for both.
    fn cluster(nodes: usize, limits: &[(&str, u8)]) -> Snapshot {
        let racks = nodes.div_ceil(3);
        let zones = racks.div_ceil(3);
        let zone = |at: usize| DomainFacts { name: format!("z{at}"), level: Level(0), parent: None };
        let rack = |at: usize| DomainFacts {
            name: format!("r{at}"),
            level: Level(1),
            parent: Some(Domain((at / 3) as u16)),
        };
        let domains: Vec<DomainFacts> = (0..zones).map(zone).chain((0..racks).map(rack)).collect();
        let facts = named("node", nodes).into_iter().enumerate().map(|(at, key)| NodeFacts {
            name: format!("node-{at}"),
            key,
            domain: Some(Domain((zones + at / 3) as u16)),
            capacity_bytes: 1,
            load_capacity: None,
            network_bytes_per_s: None,
            cordoned: false,
            state: NodeState::Up,
            risk: None,
        });
        let levels = vec!["zone".to_owned(), "rack".to_owned()];
        let limits = limits.iter().map(|(level, limit)| ((*level).to_owned(), *limit)).collect();
        Snapshot::new(Cluster {
            revision: 0,
            now_s: 0,
            topology: Topology::new(levels, domains, facts.collect(), Vec::new()).unwrap(),
            partitions: Partitions::new(Vec::new(), Vec::new(), Vec::new(), 1),
            assignment: Assignment::empty(0, 3),
            in_flight: Vec::new(),
            policy: Policy { replicas_per_domain: limits, ..Policy::default() },
        })
        .unwrap()
    }

    /// From the definition in Python, with python-xxhash 3 and math.log.
    #[test]
    fn choices_are_frozen() {
        let nodes = candidates(&WEIGHTS);
        let partitions = named("part", 100);
        let snapshot = cluster(10, &[]);
        let halls = Halls::new(&partitions, 16);
        let vectors = [
            ("p0", [5, 2, 8, 1, 7, 4, 3, 6, 0], 2.842_621_068_295_526, 27, [5, 2, 8], 37),
            ("p1", [8, 4, 7, 2, 5, 0, 1, 3, 6], 0.839_182_537_881_594_9, 91, [8, 4, 2], 73),
            ("p2", [2, 6, 1, 8, 7, 0, 3, 4, 5], 0.281_528_545_300_313_4, 69, [2, 6, 3], 99),
            ("orders", [4, 8, 6, 5, 2, 7, 3, 1, 0], 1.250_100_147_707_425_4, 18, [4, 8, 2], 20),
            ("käse", [7, 5, 4, 8, 0, 6, 2, 1, 3], 0.236_704_151_585_135_58, 17, [7, 5, 0], 20),
        ];
        for (name, order, of_first, at, nodes_of, in_hall) in vectors {
            let key = hash::key(name.as_bytes());
            assert_eq!(rank(key, &nodes), order, "{name}");
            assert_eq!(choose(key, nodes.iter().copied()), Some(order[0]), "{name}");
            assert!(f64::abs(score(key, nodes[0]) - of_first) < 1e-14, "{name}");
            assert_eq!(partition(key, &partitions), Some(Partition(at)), "{name}");
            assert_eq!(subset(&snapshot, &WEIGHTS, key, 3), nodes_of.map(|at: u16| Node(at)), "{name}");
            assert_eq!(halls.partition(key), Some(Partition(in_hall)), "{name}");
        }
    }

    #[test]
    fn shares_of_keys_are_in_proportion_to_weights() {
        let nodes = candidates(&WEIGHTS);
        let mut counts = [0u32; 10];
        for key in 0..210_000u64 {
            counts[choose(key, nodes.iter().copied()).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(WEIGHTS) {
            let expected = weight * 10_000.0;
            // Five standard deviations of a count that is Poisson, or less.
            assert!((f64::from(*count) - expected).abs() <= 5.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn nothing_of_a_weight_goes_nowhere() {
        assert_eq!(choose(1, []), None);
        assert_eq!(choose(1, candidates(&[0.0, -1.0, f64::NAN])), None);
        assert!(rank(1, &candidates(&[0.0])).is_empty());
        assert_eq!(partition(1, &[]), None);
        assert_eq!(Halls::new(&[], 4).partition(1), None);
        assert!(subset(&cluster(3, &[]), &[0.0; 3], 1, 3).is_empty());
    }

    #[test]
    fn halls_are_as_even_as_they_are_said_to_be() {
        let partitions = named("part", 2_000);
        let halls = Halls::new(&partitions, 20);
        let mut counts = vec![0u32; 2_000];
        for key in 0..400_000u64 {
            counts[halls.partition(key).unwrap().at()] += 1;
        }
        let spread: f64 =
            counts.iter().map(|count| (f64::from(*count) / 200.0 - 1.0).powi(2)).sum::<f64>() / 2_000.0;
        // A hundred to a hall: 1 / 10 of halls, and 1 / sqrt(200) of counting.
        assert!(spread.sqrt() < 0.15, "{}", spread.sqrt());
        assert!(counts.iter().all(|count| *count > 0));
    }

    proptest! {
        #[test]
        fn a_partition_that_comes_takes_keys_and_moves_no_other(
            count in 1usize..60, halls in 1u32..12, keys in prop::collection::vec(any::<u64>(), 200),
        ) {
            let all = named("part", count + 1);
            let before = &all[..count];
            let (fewer, more) = (Halls::new(before, halls), Halls::new(&all, halls));
            for key in keys {
                let came = Some(Partition(count as u32));
                let now = partition(key, &all);
                prop_assert!(now == came || now == partition(key, before));
                // A hall that was empty takes back keys that it passed on, and all of them go to the partition.
                let now = more.partition(key);
                prop_assert!(now == came || now == fewer.partition(key));
            }
        }

        #[test]
        fn a_heavier_node_only_gains_and_no_other_pair_moves(
            weights in prop::collection::vec(0.0f64..4.0, 12), changed in 0usize..12, factor in 1.0f64..9.0,
            limits in prop::sample::select(vec![
                vec![], vec![("rack", 2)], vec![("zone", 1)], vec![("zone", 2), ("rack", 1)],
            ]),
            keys in prop::collection::vec(any::<u64>(), 100), replicas in 1u8..5,
        ) {
            let snapshot = cluster(12, &limits);
            let mut heavier = weights.clone();
            heavier[changed] = heavier[changed] * factor + 0.1;
            let changed = Node(changed as u16);
            for key in keys {
                let before = subset(&snapshot, &weights, key, replicas);
                let after = subset(&snapshot, &heavier, key, replicas);
                let came: Vec<&Node> = after.iter().filter(|node| !before.contains(node)).collect();
                let gone = before.iter().filter(|node| !after.contains(node)).count();
                prop_assert!(came.is_empty() || came == [&changed], "{before:?} {after:?}");
                prop_assert!(gone <= came.len());
                prop_assert!(!before.contains(&changed) || after.contains(&changed));
            }
        }

        #[test]
        fn limits_hold_and_weightless_nodes_are_not_chosen(
            weights in prop::collection::vec(prop::sample::select(vec![0.0, 1.0, 4.0]), 27), key: u64,
        ) {
            let snapshot = cluster(27, &[("zone", 2), ("rack", 1)]);
            let chosen = subset(&snapshot, &weights, key, 5);
            prop_assert!(chosen.iter().all(|node| weights[node.at()] > 0.0));
            for node in &chosen {
                prop_assert_eq!(chosen.iter().filter(|other| other.at() / 3 == node.at() / 3).count(), 1);
                prop_assert!(chosen.iter().filter(|other| other.at() / 9 == node.at() / 9).count() <= 2);
            }
            // As many as the domains allow: two racks of each zone with a weight.
            let racks = |zone: usize| (0..3).filter(|rack| {
                weights[zone * 9 + rack * 3..][..3].iter().any(|weight| *weight > 0.0)
            }).count();
            let feasible: usize = (0..3).map(|zone| racks(zone).min(2)).sum();
            prop_assert_eq!(chosen.len(), feasible.min(5));
        }
    }
}
