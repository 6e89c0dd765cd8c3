//! Which copyset each partition lies on: an even pressure of nodes in size and load at once.
//!
//! The largest partitions are dealt first. Each goes to the best of a few sets drawn by their parts: that which
//! raises the sum of squares of its nodes' fill, in both dimensions, the least. Drawing by parts keeps sets near what
//! was fitted, and looking at nodes instead of sets lets one set make good what its neighbours got too much of. Then
//! partitions are gone through again from the smallest on, and change sets where that lowers the same sum, until the
//! highest pressure is near enough to the mean.

use super::tokens::{Sets, below};
use crate::ids::{Node, Partition};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;

/// Sets looked at for each partition; all where there are hardly more.
const LOOKED_AT: usize = 8;
const ALL: usize = 64;
const PASSES: usize = 8;
/// Excess of the highest pressure over what was aimed at with which dealing ends.
const EVEN: f64 = 1e-3;

/// The copysets of partitions that want the same number of replicas.
pub(super) struct Family {
    pub(super) sets: Sets,
    pub(super) urn: Urn,
}

/// Positions, drawn by their parts in constant time: the alias method of Walker (1977) as Vose (1991) builds it.
pub(super) struct Urn {
    keep: Vec<u64>,
    alias: Vec<u32>,
}

impl Urn {
    /// `parts` sum to 1.
    pub(super) fn new(parts: &[f64]) -> Self {
        let len = parts.len();
        let mut scaled: Vec<f64> = parts.iter().map(|part| part * len as f64).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..len).partition(|at| scaled[*at] < 1.0);
        let mut urn = Self { keep: vec![u64::MAX; len], alias: (0..len as u32).collect() };
        while let (Some(low), Some(high)) = (small.pop(), large.last().copied()) {
            urn.keep[low] = (scaled[low] * u64::MAX as f64) as u64;
            urn.alias[low] = high as u32;
            scaled[high] -= 1.0 - scaled[low];
            if scaled[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        urn
    }

    fn draw(&self, rng: &mut Pcg64Mcg) -> usize {
        let at = below(rng, self.keep.len() as u64) as usize;
        if below(rng, u64::MAX) < self.keep[at] { at } else { self.alias[at] as usize }
    }
}

/// What each node holds, and should hold, as parts of all replicas' size and load.
pub(super) struct Fill {
    pub(super) nodes: Vec<NodeFill>,
}

/// One node's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeFill {
    pub(super) size: f64,
    pub(super) load: f64,
    /// One over what it should hold, 0 where that is nothing.
    pub(super) per_size: f64,
    pub(super) per_load: f64,
}

/// A partition's part of all replicas' size and load, for one replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) size: f64,
    pub(super) load: f64,
}

impl Fill {
    /// By how much half the sum of squares would rise.
    #[inline]
    fn rise(&self, set: &[Node], weight: Weight) -> f64 {
        let of = |node: &Node| {
            let fill = &self.nodes[node.at()];
            weight.size * (fill.size + weight.size / 2.0) * fill.per_size
                + weight.load * (fill.load + weight.load / 2.0) * fill.per_load
        };
        set.iter().map(of).sum()
    }

    #[inline]
    pub(super) fn add(&mut self, set: &[Node], weight: Weight) {
        for node in set {
            self.nodes[node.at()].size += weight.size;
            self.nodes[node.at()].load += weight.load;
        }
    }

    /// The highest of all nodes in the worse dimension.
    fn highest(&self) -> f64 {
        let of = |fill: &NodeFill| (fill.size * fill.per_size).max(fill.load * fill.per_load);
        self.nodes.iter().map(of).fold(0.0, f64::max)
    }
}

/// What is to be dealt.
pub(super) struct Deal<'a> {
    pub(super) families: &'a [Family],
    /// For each partition its family; absent where it is not dealt.
    pub(super) family: &'a (dyn Fn(Partition) -> Option<usize> + Sync),
    /// For each partition its weight.
    pub(super) weight: &'a (dyn Fn(Partition) -> Weight + Sync),
}

/// The set of each partition in its family, by partition; of no meaning for those that are not dealt.
pub(super) fn deal(what: &Deal<'_>, partitions: usize, fill: &mut Fill, rng: &mut Pcg64Mcg) -> Vec<u32> {
    let order = largest_first(what, partitions);
    let mut set_of = vec![0u32; partitions];
    for partition in &order {
        let (family, weight) = what.of(*partition);
        let set = family.best(fill, weight, None, rng);
        set_of[partition.at()] = set as u32;
        fill.add(family.sets.get(set), weight);
    }
    let mut highest = fill.highest();
    let mut before = f64::INFINITY;
    for _ in 0..PASSES {
        if highest <= 1.0 + EVEN || highest > before - EVEN {
            break;
        }
        before = highest;
        for partition in order.iter().rev() {
            let (family, weight) = what.of(*partition);
            let old = set_of[partition.at()] as usize;
            fill.add(family.sets.get(old), Weight { size: -weight.size, load: -weight.load });
            let set = family.best(fill, weight, Some(old), rng);
            set_of[partition.at()] = set as u32;
            fill.add(family.sets.get(set), weight);
        }
        highest = fill.highest();
    }
    set_of
}

impl Deal<'_> {
    #[inline]
    fn of(&self, partition: Partition) -> (&Family, Weight) {
        let family = (self.family)(partition).expect("only partitions of a family are in the order");
        (&self.families[family], (self.weight)(partition))
    }
}

impl Family {
    /// The set that raises the sum of squares least, of those looked at and the one it lies on so far, if any.
    #[inline]
    fn best(&self, fill: &Fill, weight: Weight, so_far: Option<usize>, rng: &mut Pcg64Mcg) -> usize {
        let mut best = so_far.map_or((f64::INFINITY, 0), |set| (fill.rise(self.sets.get(set), weight), set));
        let mut look = |set: usize| {
            let rise = fill.rise(self.sets.get(set), weight);
            if rise < best.0 {
                best = (rise, set);
            }
        };
        if self.sets.len() <= ALL {
            (0..self.sets.len()).for_each(&mut look);
        } else {
            (0..LOOKED_AT).for_each(|_| look(self.urn.draw(rng)));
        }
        best.1
    }
}

fn largest_first(what: &Deal<'_>, partitions: usize) -> Vec<Partition> {
    let mut keys: Vec<u64> = (0..partitions as u32)
        .into_par_iter()
        .filter(|at| (what.family)(Partition(*at)).is_some())
        .map(|at| {
            let weight = (what.weight)(Partition(at));
            // The bits of numbers that are not negative are in their order.
            let larger = weight.size.max(weight.load) as f32;
            u64::from(!larger.to_bits()) << 32 | u64::from(at)
        })
        .collect();
    keys.par_sort_unstable();
    keys.into_iter().map(|key| Partition(key as u32)).collect()
}
