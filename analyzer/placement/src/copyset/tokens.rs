//! How many copysets each node is to lie in, and the copysets: tokens are dealt into sets at random.
//!
//! A node gets tokens in proportion to its share, rounded by largest remainders from the outermost domain in, so
//! that no domain gets more than its limit allows. Sets are then drawn one by one, in the manner of Cidon and
//! others, "Copysets: Reducing the Frequency of Data Loss in Cloud Storage" (2013), with tokens in the place of
//! permutations: a node is drawn by the tokens it has left, pairs that share a set already are avoided, and a domain
//! that must be in all sets to come is drawn first. Tokens are what sets aim at, not what they are bound to: shares
//! are fitted afterwards.

use super::share::Ground;
use crate::ids::{Level, Node};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// Sets of the same number of nodes, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) replicas: usize,
    pub(super) nodes: Vec<Node>,
}

impl Sets {
    pub(super) fn len(&self) -> usize {
        self.nodes.len() / self.replicas
    }

    pub(super) fn all(&self) -> std::slice::ChunksExact<'_, Node> {
        self.nodes.chunks_exact(self.replicas)
    }

    pub(super) fn get(&self, set: usize) -> &[Node] {
        &self.nodes[set * self.replicas..][..self.replicas]
    }
}

/// Draws before all nodes are looked at.
const DRAWS: usize = 32;
/// How many times as much one token may stand for as another before sets are made of nodes that are alike; and with
/// how many tokens to a node fitting makes good any difference.
const COARSE: f64 = 1.1;
const PLENTY: usize = 4;
/// One set in as many is added where tokens are coarse, so that fitting has something to work with: 4 %.
const SPARE: usize = 25;

/// As many different sets as `wanted`, or fewer if there are not so many. `shares` are replicas by position in the
/// topology, as [`Ground::shares`] has them.
pub(super) fn sets(
    ground: &Ground<'_>,
    shares: &[f64],
    replicas: u8,
    wanted: usize,
    rng: &mut Pcg64Mcg,
) -> Sets {
    let wanted = wanted.max(least(ground, replicas));
    let wanted = if is_coarse(ground, shares, replicas, wanted) { wanted + wanted / SPARE } else { wanted };
    let mut draw = Draw::new(ground, shares, usize::from(replicas), wanted);
    for set in 0..wanted {
        draw.set(wanted - set - 1, rng);
    }
    draw.include_all();
    draw.finish()
}

/// Whether a token stands for so different shares that sets of mixed nodes could not be fitted.
fn is_coarse(ground: &Ground<'_>, shares: &[f64], replicas: u8, wanted: usize) -> bool {
    let tokens = tokens(ground, shares, usize::from(replicas), wanted);
    let values = ground.nodes.iter().map(|node| shares[node.at()] / f64::from(tokens[node.at()]));
    let (lowest, highest) =
        values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    highest > COARSE * lowest && wanted * usize::from(replicas) < PLENTY * ground.nodes.len()
}

/// Fewest sets in which every node can be once.
fn least(ground: &Ground<'_>, replicas: u8) -> usize {
    let mut least = ground.nodes.len().div_ceil(usize::from(replicas));
    for (level, limit) in ground.snapshot.limits().iter().enumerate() {
        let Some(limit) = limit else { continue };
        let largest = ground.domains(&ground.nodes, level).map(<[Node]>::len).max().unwrap_or(0);
        least = least.max(largest.div_ceil(usize::from(*limit)));
    }
    least
}

/// Tokens for each node, by position in the topology: one at least, `replicas * sets` in all.
pub(super) fn tokens(ground: &Ground<'_>, shares: &[f64], replicas: usize, sets: usize) -> Vec<u32> {
    let mut tokens = vec![0; shares.len()];
    apportion(ground, &ground.nodes, 0, shares, replicas * sets, sets, &mut tokens);
    tokens
}

fn apportion(
    ground: &Ground<'_>,
    nodes: &[Node],
    level: usize,
    shares: &[f64],
    total: usize,
    sets: usize,
    tokens: &mut [u32],
) {
    let inside: Vec<&[Node]> = if level == ground.levels() {
        nodes.chunks(1).collect()
    } else {
        ground.domains(nodes, level).collect()
    };
    let limit = if level == ground.levels() { 1.0 } else { ground.limit(level) };
    let parts: Vec<Part> = inside
        .iter()
        .map(|nodes| Part {
            wanted: nodes.iter().map(|node| shares[node.at()]).sum::<f64>() * sets as f64,
            least: nodes.len(),
            most: (limit.min(nodes.len() as f64) * sets as f64) as usize,
        })
        .collect();
    for (nodes, count) in inside.iter().zip(round(&parts, total)) {
        if level == ground.levels() {
            tokens[nodes[0].at()] = count as u32;
        } else {
            apportion(ground, nodes, level + 1, shares, count, sets, tokens);
        }
    }
}

struct Part {
    wanted: f64,
    least: usize,
    most: usize,
}

/// Whole numbers that sum to `total`, as near to what is wanted as their bounds allow: largest remainders first.
fn round(parts: &[Part], total: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = parts
        .iter()
        .map(|part| (part.wanted as usize).clamp(part.least, part.most.max(part.least)))
        .collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    loop {
        let sum: usize = counts.iter().sum();
        if sum == total {
            return counts;
        }
        let over = |at: &usize| counts[*at] as f64 - parts[*at].wanted;
        let changes: Vec<usize> = if sum < total {
            order.sort_by(|a, b| over(a).total_cmp(&over(b)));
            order.iter().copied().filter(|at| counts[*at] < parts[*at].most).take(total - sum).collect()
        } else {
            order.sort_by(|a, b| over(b).total_cmp(&over(a)));
            order.iter().copied().filter(|at| counts[*at] > parts[*at].least).take(sum - total).collect()
        };
        if changes.is_empty() {
            return counts;
        }
        for at in changes {
            counts[at] = if sum < total { counts[at] + 1 } else { counts[at] - 1 };
        }
    }
}

/// Sets being drawn.
struct Draw<'g> {
    ground: &'g Ground<'g>,
    limited: Vec<Limited<'g>>,
    sets: Sets,
    /// Tokens left, by position in the topology.
    left: Vec<u32>,
    /// A node for each token that was left when the urn was last filled, and how many of each.
    urn: Vec<Node>,
    filled: Vec<u32>,
    drawn: usize,
    /// Who shares a set with each node.
    peers: Vec<Vec<Node>>,
    /// What a token of each node stands for, in eighths of a doubling; empty where tokens are not coarse.
    worth: Vec<i32>,
}

/// A level with a limit.
struct Limited<'g> {
    around: &'g [u16],
    limit: usize,
    /// Tokens left in each domain, by position in the topology.
    left: Vec<usize>,
    /// The domains of the level.
    domains: Vec<u16>,
}

impl<'g> Draw<'g> {
    fn new(ground: &'g Ground<'g>, shares: &[f64], replicas: usize, wanted: usize) -> Self {
        let topology = ground.snapshot.topology();
        let left = tokens(ground, shares, replicas, wanted);
        let limited = ground.snapshot.limits().iter().enumerate().filter_map(|(level, limit)| {
            let around = topology.domains_at(Level(level as u8));
            let mut of_domain = vec![0; topology.domains().len()];
            for node in &ground.nodes {
                of_domain[usize::from(around[node.at()])] += left[node.at()] as usize;
            }
            let domains = ground.domains(&ground.nodes, level).map(|inside| around[inside[0].at()]).collect();
            Some(Limited { around, limit: usize::from((*limit)?), left: of_domain, domains })
        });
        let mut draw = Self {
            ground,
            limited: limited.collect(),
            sets: Sets { replicas, nodes: Vec::with_capacity(replicas * wanted) },
            filled: left.clone(),
            peers: vec![Vec::new(); left.len()],
            worth: Vec::new(),
            left,
            urn: Vec::new(),
            drawn: 0,
        };
        if is_coarse(ground, shares, replicas as u8, wanted) {
            let worth = |(share, tokens): (&f64, &u32)| {
                if *tokens > 0 { (8.0 * libm::log2(share / f64::from(*tokens))) as i32 } else { 0 }
            };
            draw.worth = shares.iter().zip(&draw.left).map(worth).collect();
        }
        draw.fill();
        draw
    }

    fn fill(&mut self) {
        self.filled.copy_from_slice(&self.left);
        self.drawn = 0;
        self.urn.clear();
        for node in &self.ground.nodes {
            self.urn.extend(std::iter::repeat_n(*node, self.left[node.at()] as usize));
        }
    }

    fn set(&mut self, sets_after: usize, rng: &mut Pcg64Mcg) {
        let start = self.sets.nodes.len();
        for _ in 0..self.sets.replicas {
            let node = self.node(start, sets_after, rng);
            for peer in &self.sets.nodes[start..] {
                if !self.peers[node.at()].contains(peer) {
                    self.peers[node.at()].push(*peer);
                    self.peers[peer.at()].push(node);
                }
            }
            self.sets.nodes.push(node);
            if self.left[node.at()] > 0 {
                self.left[node.at()] -= 1;
                self.drawn += 1;
                for level in &mut self.limited {
                    level.left[usize::from(level.around[node.at()])] -= 1;
                }
            }
        }
        if self.drawn * 2 > self.urn.len() {
            self.fill();
        }
    }

    fn node(&self, start: usize, sets_after: usize, rng: &mut Pcg64Mcg) -> Node {
        let set = &self.sets.nodes[start..];
        if let Some((around, domain)) = self.forced(set, sets_after) {
            let within = |node: Node| around[node.at()] == domain && self.left[node.at()] > 0;
            if let Some(node) = self.least_against(set, within, rng) {
                return node;
            }
        }
        for _ in 0..DRAWS.min(self.urn.len()) {
            let node = self.urn[below(rng, self.urn.len() as u64) as usize];
            let (left, filled) = (self.left[node.at()], self.filled[node.at()]);
            let there = left > 0 && below(rng, u64::from(filled)) < u64::from(left);
            if there && self.admits(set, node) && self.against(set, node) == 0 {
                return node;
            }
        }
        self.least_against(set, |node| self.left[node.at()] > 0, rng)
            .or_else(|| self.least_against(set, |_| true, rng))
            .expect("the limits were checked to allow as many replicas, and nested limits have no dead ends")
    }

    /// A domain that has more tokens left than the sets after this one can take.
    fn forced(&self, set: &[Node], sets_after: usize) -> Option<(&'g [u16], u16)> {
        let mut most = (0, None);
        for level in &self.limited {
            for domain in &level.domains {
                let over = level.left[usize::from(*domain)].saturating_sub(level.limit * sets_after);
                let there = || set.iter().filter(|node| level.around[node.at()] == *domain).count();
                if over > most.0 && there() < level.limit {
                    most = (over, Some((level.around, *domain)));
                }
            }
        }
        most.1
    }

    fn admits(&self, set: &[Node], node: Node) -> bool {
        admits(&self.limited, set, node)
    }

    /// What speaks against a node in a set: that it is unlike the first one, and, as much as half a doubling each,
    /// nodes that share a set with it already.
    fn against(&self, set: &[Node], node: Node) -> u32 {
        let unlike = match (self.worth.get(node.at()), set.first()) {
            (Some(worth), Some(first)) => worth.abs_diff(self.worth[first.at()]),
            (None, _) | (_, None) => 0,
        };
        let peers = &self.peers[node.at()];
        unlike + 4 * set.iter().filter(|other| peers.contains(other)).count() as u32
    }

    /// Of the nodes that a set admits, one that the least speaks against, drawn by the tokens left.
    fn least_against(&self, set: &[Node], filter: impl Fn(Node) -> bool, rng: &mut Pcg64Mcg) -> Option<Node> {
        let (mut best, mut least, mut tickets) = (None, u32::MAX, 0);
        for node in self.ground.nodes.iter().copied().filter(|node| filter(*node) && self.admits(set, *node))
        {
            let against = self.against(set, node);
            if against > least {
                continue;
            }
            let own = u64::from(self.left[node.at()].max(1));
            tickets = if against < least { own } else { tickets + own };
            least = against;
            if below(rng, tickets) < own {
                best = Some(node);
            }
        }
        best
    }

    /// Gives nodes that no set has the place of one that lies in several.
    fn include_all(&mut self) {
        let mut times = vec![0u32; self.left.len()];
        self.sets.nodes.iter().for_each(|node| times[node.at()] += 1);
        for node in &self.ground.nodes {
            if times[node.at()] > 0 {
                continue;
            }
            let replicas = self.sets.replicas;
            let place = (0..self.sets.nodes.len())
                .filter(|place| times[self.sets.nodes[*place].at()] > 1)
                .find(|place| {
                    let set = &self.sets.nodes[place / replicas * replicas..][..replicas];
                    let others: Vec<Node> =
                        set.iter().copied().filter(|other| *other != self.sets.nodes[*place]).collect();
                    admits(&self.limited, &others, *node)
                });
            if let Some(place) = place {
                times[self.sets.nodes[place].at()] -= 1;
                times[node.at()] += 1;
                self.sets.nodes[place] = *node;
            }
        }
    }

    /// The sets without repetitions, each ascending.
    fn finish(mut self) -> Sets {
        let replicas = self.sets.replicas;
        self.sets.nodes.chunks_exact_mut(replicas).for_each(<[Node]>::sort_unstable);
        let mut sets: Vec<&[Node]> = self.sets.all().collect();
        sets.sort_unstable();
        sets.dedup();
        Sets { replicas, nodes: sets.concat() }
    }
}

/// Whether a node may join a set: it is not in it, and its domains have room.
fn admits(limited: &[Limited<'_>], set: &[Node], node: Node) -> bool {
    !set.contains(&node)
        && limited.iter().all(|level| {
            let domain = level.around[node.at()];
            set.iter().filter(|other| level.around[other.at()] == domain).count() < level.limit
        })
}

/// A number below `bound`, which is above 0.
pub(super) fn below(rng: &mut Pcg64Mcg, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}
