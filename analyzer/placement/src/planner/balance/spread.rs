//! Brings nodes down to the limit where it is no matter which subsets there are: what each node gives away is
//! chosen first, of the fewest bytes; then all of it is dealt, the heaviest first, each to the node that is least
//! pressed with it.
//!
//! What no node can take below the limit stays where it is, and its node chooses again without it.

use super::cover::{Item, cover};
use super::draft::Draft;
use crate::hash;
use crate::ids::{Node, Partition};
use crate::plan::Rejected;
use crate::planner::choose::Choice;
use std::collections::BTreeSet;

/// Rounds of choosing and dealing.
const MOST_ROUNDS: usize = 64;

/// Thinks of displacements until no node is above the limit, or none helps that leaves its receiver below.
pub(super) fn run(draft: &mut Draft<'_, '_>) {
    let mut nobody_takes = BTreeSet::new();
    // What is offered is at most this share of what the widest receiver takes: smaller where much was not taken.
    let mut share = 1.0;
    for _ in 0..MOST_ROUNDS {
        let mut offered = offers(draft, share, &nobody_takes);
        if offered.is_empty() {
            return;
        }
        offered.sort_unstable_by(|a, b| {
            b.weight.total_cmp(&a.weight).then(b.item.draw.cmp(&a.item.draw)).then(a.from.cmp(&b.from))
        });
        // All leave before any arrives, so that who gives something away can take something else.
        for offer in &offered {
            draft.lift(offer.item.partition, offer.from);
        }
        let before = nobody_takes.len();
        for offer in &offered {
            let choice = receiver(draft, offer.item, offer.from);
            if choice.is_none() {
                nobody_takes.insert(offer.item.partition);
            }
            draft.land(offer.item.partition, offer.from, choice);
        }
        if 2 * (nobody_takes.len() - before) > offered.len() {
            share *= 0.7;
        }
    }
}

/// A partition that its node would give away.
struct Offer {
    item: Item,
    from: Node,
    /// Pressure it would put on a mean node.
    weight: f64,
}

/// What all nodes above the limit would give away.
fn offers(draft: &Draft<'_, '_>, share: f64, nobody_takes: &BTreeSet<Partition>) -> Vec<Offer> {
    let widest = widest(draft);
    let (mut offered, mut items) = (Vec::new(), Vec::new());
    let mut twice = BTreeSet::new();
    for from in draft.nodes().filter(|node| draft.is_over(*node)) {
        items.clear();
        items.extend(draft.items(from).filter(|item| {
            item.bytes <= share * widest.0
                && item.load <= share * widest.1
                && !nobody_takes.contains(&item.partition)
                && !twice.contains(&item.partition)
        }));
        let (bytes, load) = draft.excess(from);
        for item in cover(&mut items, bytes, load).unwrap_or_default() {
            twice.insert(item.partition);
            let weight = (item.bytes * draft.mean_per_byte).max(item.load * draft.mean_per_load);
            offered.push(Offer { item, from, weight });
        }
    }
    offered
}

/// The most bytes and the most load that a node can take below the limit.
fn widest(draft: &Draft<'_, '_>) -> (f64, f64) {
    let mut widest: (f64, f64) = (0.0, 0.0);
    for at in (0..draft.work.target.len()).filter(|at| draft.work.target[*at]) {
        let below =
            |pressure: f64, per: f64| if per > 0.0 { (draft.limit - pressure) / per } else { f64::INFINITY };
        widest.0 = widest.0.max(below(draft.work.size_pressure(at), draft.work.per_byte[at]));
        widest.1 = widest.1.max(below(draft.work.load_pressure(at), draft.work.per_load[at]));
    }
    widest
}

/// The node that stays below the limit with a partition and is least pressed with it.
fn receiver(draft: &Draft<'_, '_>, item: Item, from: Node) -> Option<Choice> {
    let mut best: Option<Choice> = None;
    let key = draft.work.snapshot.partitions().key[item.partition.at()];
    let draw = |node: Node| hash::draw(key, draft.work.snapshot.topology().node(node).key);
    for to in draft.nodes().filter(|node| draft.work.target[node.at()] && *node != from) {
        let score = draft.pressure_with(to, item.bytes, item.load);
        if score > draft.limit {
            continue;
        }
        let better =
            best.is_none_or(|best| score < best.score || (score == best.score && draw(to) > draw(best.node)));
        if better && draft.admits(item.partition, from, to) {
            let runner_up = best.map(|best| (best.node, best.score));
            best = Some(Choice { node: to, score, runner_up, rejected: Rejected::default() });
        }
    }
    best
}
