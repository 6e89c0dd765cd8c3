//! Which partitions a node gives away: those of the fewest bytes that cover what it has too much of.
//!
//! Too much load is a knapsack turned round: the least bytes whose load is enough. The densest partitions (load per
//! byte) come first; a bounded branch and bound over them finds the best set, and the fractional solution is its
//! bound. What is too much of size beyond that is filled with partitions whose sizes sum to the rest with the least
//! overshoot. It never looks at where they go.

use crate::ids::Partition;
use std::cmp::Ordering;

/// What a node could give away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Item {
    pub(super) partition: Partition,
    pub(super) bytes: f64,
    pub(super) load: f64,
    /// Tells equals apart.
    pub(super) draw: u64,
}

/// Partitions that are looked at beyond those a greedy choice takes.
const MORE_ITEMS: usize = 96;
/// Steps of one search; the best found until then is taken.
const MOST_STEPS: usize = 20_000;

/// Partitions of at least so many bytes and so much load together, of few bytes; absent if all together are not
/// enough. Reorders the items.
pub(super) fn cover(items: &mut [Item], bytes: f64, load: f64) -> Option<Vec<Item>> {
    let mut chosen = if load > 0.0 { lightest(items, load)? } else { Vec::new() };
    let rest = bytes - chosen.iter().map(|item| item.bytes).sum::<f64>();
    if rest > 0.0 {
        let mut held: Vec<Partition> = chosen.iter().map(|item| item.partition).collect();
        held.sort_unstable();
        let mut others: Vec<Item> = items
            .iter()
            .filter(|item| item.bytes > 0.0 && held.binary_search(&item.partition).is_err())
            .copied()
            .collect();
        // The sparse half: it takes the least load from where there may be none to spare.
        if others.len() > 2 * MORE_ITEMS {
            let half = others.len() / 2;
            others.select_nth_unstable_by(half, |a, b| by_density(b, a));
            let sparse: f64 = others[..half].iter().map(|item| item.bytes).sum();
            if sparse >= rest {
                others.truncate(half);
            }
        }
        fill(&mut others, rest, &mut chosen)?;
    }
    Some(chosen)
}

/// The fewest bytes whose load is at least `need`.
fn lightest(items: &mut [Item], need: f64) -> Option<Vec<Item>> {
    let mut known = (2 * MORE_ITEMS).min(items.len());
    let densest = loop {
        if known < items.len() {
            items.select_nth_unstable_by(known, by_density);
        }
        let densest = &mut items[..known];
        densest.sort_unstable_by(by_density);
        let taken = prefix(densest, need);
        let enough = taken.map_or(known, |taken| taken + MORE_ITEMS);
        if known == items.len() || (taken.is_some() && enough <= known) {
            taken?;
            break &items[..enough.min(known)];
        }
        known = (2 * known).max(enough).min(items.len());
    };
    let mut search =
        Search { items: densest, taken: Vec::new(), best: Vec::new(), least: f64::INFINITY, steps: 0 };
    search.run(0, need, 0.0);
    Some(search.best.into_iter().map(|at| densest[at]).collect())
}

fn by_density(a: &Item, b: &Item) -> Ordering {
    (b.load * a.bytes)
        .total_cmp(&(a.load * b.bytes))
        .then(b.load.total_cmp(&a.load))
        .then(a.bytes.total_cmp(&b.bytes))
        .then(b.draw.cmp(&a.draw))
        .then(a.partition.cmp(&b.partition))
}

/// How many of the first items have enough load.
fn prefix(items: &[Item], need: f64) -> Option<usize> {
    let mut load = 0.0;
    items
        .iter()
        .position(|item| {
            load += item.load;
            load >= need
        })
        .map(|at| at + 1)
}

/// A search in depth: with an item first, then without it.
struct Search<'i> {
    items: &'i [Item],
    taken: Vec<usize>,
    best: Vec<usize>,
    least: f64,
    steps: usize,
}

impl Search<'_> {
    fn run(&mut self, from: usize, need: f64, bytes: f64) {
        for at in from..self.items.len() {
            let item = self.items[at];
            // No item from here on has more load per byte, so the rest costs at least this.
            let bound = bytes + if item.load > 0.0 { need * item.bytes / item.load } else { f64::INFINITY };
            if bound >= self.least || self.steps >= MOST_STEPS {
                return;
            }
            self.steps += 1;
            self.taken.push(at);
            let (need, bytes) = (need - item.load, bytes + item.bytes);
            if need <= 0.0 {
                if bytes < self.least {
                    self.least = bytes;
                    self.best.clone_from(&self.taken);
                }
            } else if bytes < self.least {
                self.run(at + 1, need, bytes);
            }
            self.taken.pop();
        }
    }
}

/// Adds items whose bytes sum to at least `need`, with little more: the largest that fit, and for what is left then
/// the smallest other one, or a larger one in the place of one of them.
fn fill(items: &mut [Item], need: f64, chosen: &mut Vec<Item>) -> Option<()> {
    items.sort_unstable_by(|a, b| {
        b.bytes
            .total_cmp(&a.bytes)
            .then(a.load.total_cmp(&b.load))
            .then(b.draw.cmp(&a.draw))
            .then(a.partition.cmp(&b.partition))
    });
    let mut rest = need;
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for item in items.iter() {
        if item.bytes <= rest {
            rest -= item.bytes;
            taken.push(*item);
        } else {
            left.push(*item);
        }
    }
    if rest > 0.0 {
        // What was left is larger than the rest, in falling order.
        let mut best = left.last().map(|item| (item.bytes - rest, None, *item));
        for (at, item) in taken.iter().enumerate() {
            let larger = left.partition_point(|other| other.bytes >= item.bytes + rest);
            let Some(other) = larger.checked_sub(1).map(|larger| left[larger]) else { continue };
            let over = other.bytes - item.bytes - rest;
            if best.is_none_or(|(least, ..)| over < least) {
                best = Some((over, Some(at), other));
            }
        }
        let (_, instead, other) = best?;
        if let Some(at) = instead {
            taken.swap_remove(at);
        }
        taken.push(other);
    }
    chosen.append(&mut taken);
    Some(())
}
