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
/// Rounds in which nodes give away more than they must, so that others find room.
const MOST_CLEARINGS: usize = 8;
/// How much more of it than was asked for.
const CLEARED: f64 = 1.25;
/// By which what is offered becomes smaller after a round in which most of it was not taken.
const SMALLER: f64 = 0.7;

/// Thinks of displacements until no node is above the limit, or none helps that leaves its receiver below.
pub(super) fn run(draft: &mut Draft<'_, '_>) {
    let mut nobody_takes = BTreeSet::new();
    let nothing = vec![(0.0, 0.0); draft.work.up.len()];
    let mut clearing = nothing.clone();
    let mut clearings = 0;
    // What is offered is at most this share of what the widest receiver takes: smaller where much was not taken.
    let mut share = 1.0;
    for _ in 0..MOST_ROUNDS {
        let mut offered = offers(draft, share, &clearing, &nobody_takes);
        if offered.is_empty() {
            return;
        }
        offered.sort_unstable_by(|a, b| {
            b.weight.total_cmp(&a.weight).then(b.item.draw.cmp(&a.item.draw)).then(a.from.cmp(&b.from))
        });
        let failed = deal(draft, &offered);
        clearing.clone_from(&nothing);
        if failed.is_empty() {
            continue;
        }
        if clearings < MOST_CLEARINGS {
            clearings += 1;
            clearing = clear(draft, &failed);
            continue;
        }
        nobody_takes.extend(failed.iter().map(|item| item.partition));
        if 2 * failed.len() > offered.len() {
            share *= SMALLER;
        }
    }
}

/// Sends each offer to the node that is least pressed with it; returns what no node takes.
fn deal(draft: &mut Draft<'_, '_>, offered: &[Offer]) -> Vec<Item> {
    // All leave before any arrives, so that who gives something away can take something else.
    for offer in offered {
        draft.lift(offer.item.partition, offer.from);
    }
    let mut failed = Vec::new();
    for offer in offered {
        let choice = receiver(draft, offer.item, offer.from);
        if choice.is_none() {
            failed.push(offer.item);
        }
        draft.land(offer.item.partition, offer.from, choice);
    }
    failed
}

/// Bytes and load that nodes should give away besides, so that what failed finds nodes with room in both: those
/// with room for its load and none for its bytes give away bytes, and the other way round.
fn clear(draft: &Draft<'_, '_>, failed: &[Item]) -> Vec<(f64, f64)> {
    let bytes: f64 = failed.iter().map(|item| item.bytes).sum();
    let load: f64 = failed.iter().map(|item| item.load).sum();
    let room: Vec<(f64, f64)> = draft.nodes().map(|node| below(draft, node)).collect();
    let all = room.iter().fold((0.0, 0.0), |sum, room| (sum.0 + room.0, sum.1 + room.1));
    let for_load = load * draft.mean_per_load > bytes * draft.mean_per_byte;
    let missing = |wanted: f64, has: f64| if has < wanted { CLEARED * wanted - has } else { 0.0 };
    let share = |part: f64, all: f64| if all > 0.0 { part / all } else { 0.0 };
    room.into_iter()
        .map(|room| {
            if for_load {
                (missing(bytes * share(room.1, all.1), room.0), 0.0)
            } else {
                (0.0, missing(load * share(room.0, all.0), room.1))
            }
        })
        .collect()
}

/// Bytes and load that a node can take below the limit; of what is not judged, as much as there is.
fn below(draft: &Draft<'_, '_>, node: Node) -> (f64, f64) {
    let at = node.at();
    if !draft.work.target[at] {
        return (0.0, 0.0);
    }
    let below = |pressure: f64, per: f64| {
        if per > 0.0 { ((draft.limit - pressure) / per).max(0.0) } else { f64::MAX }
    };
    (
        below(draft.work.size_pressure(at), draft.work.per_byte[at]),
        below(draft.work.load_pressure(at), draft.work.per_load[at]),
    )
}

/// A partition that its node would give away.
struct Offer {
    item: Item,
    from: Node,
    /// Pressure it would put on a mean node.
    weight: f64,
}

/// What all nodes above the limit would give away.
fn offers(
    draft: &Draft<'_, '_>,
    share: f64,
    clearing: &[(f64, f64)],
    nobody_takes: &BTreeSet<Partition>,
) -> Vec<Offer> {
    let widest = widest(draft);
    let (mut offered, mut items) = (Vec::new(), Vec::new());
    let mut twice = BTreeSet::new();
    let gives = |node: &Node| draft.is_over(*node) || clearing[node.at()] != (0.0, 0.0);
    for from in draft.nodes().filter(gives) {
        items.clear();
        items.extend(draft.items(from).filter(|item| {
            item.bytes <= share * widest.0
                && item.load <= share * widest.1
                && !nobody_takes.contains(&item.partition)
                && !twice.contains(&item.partition)
        }));
        let (bytes, load) = draft.excess(from);
        let (bytes, load) = (bytes + clearing[from.at()].0, load + clearing[from.at()].1);
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
    draft
        .nodes()
        .map(|node| below(draft, node))
        .fold((0.0, 0.0), |widest: (f64, f64), room| (widest.0.max(room.0), widest.1.max(room.1)))
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
