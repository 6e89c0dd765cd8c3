//! Where partitions lie at first: on few sets of nodes in different racks, the heaviest first where the load is least.
//!
//! As a store does that places by load once, when it is filled, and not by hazards, which nobody knows then.

use super::REPLICAS;
use super::chance::{Chance, Stream};
use super::demand::{Hours, below, unit};
use rand_pcg::Pcg64Mcg;

/// How many times every node is dealt into a set.
const ROUNDS: usize = 5;

/// Holders of each partition, leader first.
pub(super) fn layout(racks: usize, capacity: &[f64], hours: &Hours, chance: Chance) -> Vec<[u16; REPLICAS]> {
    let mut dice = chance.dice(Stream::Layout, 0, 0);
    let sets = sets(racks, capacity.len(), &mut dice);
    let mut order: Vec<usize> = (0..hours.start.len()).collect();
    order.sort_by(|a, b| hours.start[*b].1.total_cmp(&hours.start[*a].1));
    let mut load = vec![0.0; capacity.len()];
    let mut holders = vec![[0; REPLICAS]; order.len()];
    for partition in order {
        let filled = |node: u16| load[usize::from(node)] / capacity[usize::from(node)];
        let scored = sets.iter().map(|set| {
            let sum: f64 = set.iter().map(|node| filled(*node)).sum();
            (sum + 0.5 * unit(&mut dice), *set)
        });
        let (_, mut set) = scored.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are sets");
        set.sort_by(|a, b| filled(*a).total_cmp(&filled(*b)));
        let (shares, mean) = hours.start[partition];
        for (node, share) in set.iter().zip(shares) {
            load[usize::from(*node)] += share * mean;
        }
        holders[partition] = set;
    }
    holders
}

/// Sets of nodes in different racks. Racks that are left over in a round are dealt in another one.
fn sets(racks: usize, nodes: usize, dice: &mut Pcg64Mcg) -> Vec<[u16; REPLICAS]> {
    let mut sets = Vec::new();
    for _ in 0..ROUNDS {
        let order = shuffled((0..racks).collect(), dice);
        let of_rack: Vec<Vec<usize>> =
            (0..racks).map(|rack| shuffled((rack..nodes).step_by(racks).collect(), dice)).collect();
        for group in order.chunks_exact(REPLICAS) {
            let set = |at: usize| std::array::from_fn(|slot| of_rack[group[slot]][at] as u16);
            sets.extend((0..nodes / racks).map(set));
        }
    }
    sets
}

pub(super) fn shuffled(mut items: Vec<usize>, dice: &mut Pcg64Mcg) -> Vec<usize> {
    for at in (1..items.len()).rev() {
        items.swap(at, below(dice, at + 1));
    }
    items
}
