//! What part of the data each copyset should take, so that every node gets its share.
//!
//! Iterative proportional fitting (Deming and Stephan 1940): node after node, the parts of its sets are scaled to
//! sum to its share, until all do. Tokens are whole and shares are not, so equal parts would leave a node of three
//! tokens a sixth off. Where sets are too few for all shares to be met at once, fitting does not settle; then the
//! nodes that stay above their share give a set to those that stay below, as long as that helps.

use super::share::Ground;
use super::tokens::Sets;
use crate::ids::{Level, Node};

/// How far the sum of parts may be off a node's share, as a part of the share.
const TOLERANCE: f64 = 1e-3;
const SWEEPS: usize = 400;
const REPAIRS: usize = 12;

/// Which sets each node lies in: those of the node at position i are `sets[from[i]..from[i + 1]]`.
pub(super) struct Memberships {
    from: Vec<u32>,
    sets: Vec<u32>,
}

impl Memberships {
    pub(super) fn new(sets: &Sets, nodes: usize) -> Self {
        let mut from = vec![0u32; nodes + 1];
        sets.nodes.iter().for_each(|node| from[node.at() + 1] += 1);
        for at in 0..nodes {
            from[at + 1] += from[at];
        }
        let mut next = from.clone();
        let mut of = vec![0; sets.nodes.len()];
        for (place, node) in sets.nodes.iter().enumerate() {
            of[next[node.at()] as usize] = (place / sets.replicas) as u32;
            next[node.at()] += 1;
        }
        Self { from, sets: of }
    }

    pub(super) fn of(&self, node: Node) -> &[u32] {
        &self.sets[self.from[node.at()] as usize..self.from[node.at() + 1] as usize]
    }
}

/// Parts of sets, which sum to 1. `shares` are by position in the topology.
pub(super) fn parts(ground: &Ground<'_>, sets: &Sets, shares: &[f64]) -> Vec<f64> {
    let of = Memberships::new(sets, shares.len());
    let mut parts = vec![1.0 / sets.len() as f64; sets.len()];
    for _ in 0..SWEEPS {
        let mut worst = 0.0f64;
        for node in &ground.nodes {
            let sum: f64 = of.of(*node).iter().map(|set| parts[*set as usize]).sum();
            if sum > 0.0 {
                let factor = shares[node.at()] / sum;
                of.of(*node).iter().for_each(|set| parts[*set as usize] *= factor);
                worst = worst.max((factor - 1.0).abs());
            }
        }
        if worst < TOLERANCE {
            break;
        }
    }
    let total: f64 = parts.iter().sum();
    parts.iter_mut().for_each(|part| *part /= total);
    parts
}

/// The highest sum of parts over share of any node: 1 is a perfect fit.
pub(super) fn worst(ground: &Ground<'_>, sets: &Sets, shares: &[f64], parts: &[f64]) -> f64 {
    let ratios = ratios(sets, shares, parts);
    ground.nodes.iter().map(|node| ratios[node.at()]).fold(0.0, f64::max)
}

fn ratios(sets: &Sets, shares: &[f64], parts: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; shares.len()];
    for (set, part) in sets.all().zip(parts) {
        set.iter().for_each(|node| sums[node.at()] += part);
    }
    sums.iter().zip(shares).map(|(sum, share)| if *share > 0.0 { sum / share } else { 0.0 }).collect()
}

/// Changes sets until parts fit the shares, or changing them does not help.
pub(super) fn repair(ground: &Ground<'_>, sets: Sets, shares: &[f64]) -> (Sets, Vec<f64>) {
    let mut best_parts = parts(ground, &sets, shares);
    let mut best = sets;
    let mut lowest = worst(ground, &best, shares, &best_parts);
    let mut since = 0;
    let (mut sets, mut now) = (best.clone(), best_parts.clone());
    for _ in 0..REPAIRS {
        if lowest < 1.0 + 2.0 * TOLERANCE || since == 4 || !hand_over(ground, &mut sets, shares, &now) {
            break;
        }
        now = parts(ground, &sets, shares);
        let reached = worst(ground, &sets, shares, &now);
        since += 1;
        if reached < lowest {
            (lowest, since) = (reached, 0);
            (best, best_parts) = (sets.clone(), now.clone());
        }
    }
    (best, best_parts)
}

/// Nodes above their share leave sets to nodes below theirs, the farthest off first. Whether any did.
fn hand_over(ground: &Ground<'_>, sets: &mut Sets, shares: &[f64], parts: &[f64]) -> bool {
    let ratios = ratios(sets, shares, parts);
    let mut off: Vec<f64> = ratios.iter().zip(shares).map(|(ratio, share)| (ratio - 1.0) * share).collect();
    let mut givers = ground.nodes.clone();
    givers.sort_by(|a, b| off[b.at()].total_cmp(&off[a.at()]));
    let of = Memberships::new(sets, shares.len());
    let mut times: Vec<usize> = (0..shares.len()).map(|at| of.of(Node(at as u16)).len()).collect();
    let mut known: std::collections::BTreeSet<Vec<Node>> = sets.all().map(<[Node]>::to_vec).collect();
    let mut any = false;
    for giver in givers {
        if off[giver.at()] <= TOLERANCE * shares[giver.at()] {
            break;
        }
        for set in of.of(giver) {
            let set = *set as usize;
            if times[giver.at()] < 2 || !sets.get(set).contains(&giver) {
                continue;
            }
            let part = parts[set];
            let gain = |taker: Node| {
                let before = off[giver.at()].abs() + off[taker.at()].abs();
                before - (off[giver.at()] - part).abs() - (off[taker.at()] + part).abs()
            };
            let taker = ground
                .nodes
                .iter()
                .copied()
                .filter(|taker| off[taker.at()] < 0.0 && may_replace(ground, sets.get(set), giver, *taker))
                .max_by(|a, b| gain(*a).total_cmp(&gain(*b)).then(b.cmp(a)));
            let Some(taker) = taker.filter(|taker| gain(*taker) > 0.0) else { continue };
            let mut replaced = sets.get(set).to_vec();
            replaced.iter_mut().filter(|node| **node == giver).for_each(|node| *node = taker);
            replaced.sort_unstable();
            if !known.insert(replaced.clone()) {
                continue;
            }
            known.remove(sets.get(set));
            sets.nodes[set * sets.replicas..][..sets.replicas].copy_from_slice(&replaced);
            times[giver.at()] -= 1;
            times[taker.at()] += 1;
            off[giver.at()] -= part;
            off[taker.at()] += part;
            any = true;
        }
    }
    any
}

/// Whether a set keeps the limits with one node in the place of another.
fn may_replace(ground: &Ground<'_>, set: &[Node], old: Node, new: Node) -> bool {
    let topology = ground.snapshot.topology();
    !set.contains(&new)
        && ground.snapshot.limits().iter().enumerate().all(|(level, limit)| {
            let Some(limit) = limit else { return true };
            let around = topology.domains_at(Level(level as u8));
            let there = set.iter().filter(|node| **node != old && around[node.at()] == around[new.at()]);
            there.count() < usize::from(*limit)
        })
}
