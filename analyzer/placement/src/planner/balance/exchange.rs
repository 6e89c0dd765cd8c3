//! For nodes that stay above the limit when all that fits below it is dealt: one replica moves, or two change
//! places, wherever that makes the excesses less, until nothing does.
//!
//! What is tried is bounded: of large nodes, the partitions that relieve most for their bytes and those that relieve
//! most; and changes of places with the nodes that could best take one. What has been displaced can go on at no
//! cost. A step must be worth something, so that nothing is moved for crumbs.

use super::cover::Item;
use super::draft::Draft;
use crate::hash;
use crate::ids::Node;
use crate::plan::Rejected;
use crate::planner::choose::Choice;

/// Least gain of a step, in squares of pressure.
const LEAST_GAIN: f64 = 1e-6;
/// Share of a mean node that a copy counts beside its bytes.
const STEP_SHARE: f64 = 0.01;
/// Partitions of one node that are tried, for each of the two reasons.
const MOST_ITEMS: usize = 32;
/// Nodes with which places are changed.
const MOST_PARTNERS: usize = 12;
/// Steps tried in all; what is not found by then is not looked for.
const MOST_TRIES: usize = 5_000_000;

/// One replica to a node, and perhaps one of that node's back.
#[derive(Clone, Copy)]
struct Step {
    item: Item,
    to: Node,
    back: Option<Item>,
    gain: f64,
    /// Gain for the bytes.
    worth: f64,
    draw: u64,
}

/// Thinks of steps until none makes the excesses less.
pub(super) fn run(draft: &mut Draft<'_, '_>) {
    let mut tries = 0;
    let mut stuck = vec![false; draft.work.up.len()];
    while tries < MOST_TRIES {
        let over = draft.nodes().filter(|node| draft.is_over(*node) && !stuck[node.at()]);
        let pressure = |node: Node| draft.work.pressure(node.at());
        let Some(from) = over.max_by(|a, b| pressure(*a).total_cmp(&pressure(*b)).then(b.cmp(a))) else {
            return;
        };
        match best(draft, from, &mut tries) {
            None => stuck[from.at()] = true,
            Some(step) => {
                let choice =
                    |node| Choice { node, score: 0.0, runner_up: None, rejected: Rejected::default() };
                draft.displace(step.item.partition, from, choice(step.to));
                if let Some(back) = step.back {
                    draft.displace(back.partition, step.to, choice(from));
                }
                stuck.fill(false);
            }
        }
    }
}

/// Sends home what is no use where it is, the largest first.
pub(super) fn withdraw(draft: &mut Draft<'_, '_>) {
    let mut displaced: Vec<(Item, Node, Choice)> = draft
        .displaced
        .iter()
        .map(|(partition, displaced)| {
            (draft.item(*partition, displaced.from), displaced.from, displaced.choice)
        })
        .collect();
    displaced.sort_unstable_by(|a, b| {
        b.0.bytes.total_cmp(&a.0.bytes).then(b.0.draw.cmp(&a.0.draw)).then(a.0.partition.cmp(&b.0.partition))
    });
    for (item, home, choice) in displaced {
        let at = choice.node;
        let stays = draft.pain(home, 0.0, 0.0) + draft.pain(at, 0.0, 0.0);
        let goes = draft.pain(home, item.bytes, item.load) + draft.pain(at, -item.bytes, -item.load);
        if goes <= stays {
            draft.displace(item.partition, at, Choice { node: home, ..choice });
        }
    }
}

/// The step of the most gain for its bytes.
fn best(draft: &Draft<'_, '_>, from: Node, tries: &mut usize) -> Option<Step> {
    let mut best: Option<Step> = None;
    let mut partners: Vec<(f64, Node)> = Vec::new();
    for item in promising(draft, from) {
        partners.clear();
        for to in draft.nodes().filter(|to| draft.work.target[to.at()]) {
            *tries += 1;
            if !draft.admits(item.partition, from, to) {
                continue;
            }
            let step = judge(draft, from, to, item, None);
            partners.push((step.gain, to));
            keep(&mut best, step);
        }
        partners.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        partners.truncate(MOST_PARTNERS);
        for (_, to) in &partners {
            for back in draft.items(*to) {
                *tries += 1;
                let step = judge(draft, from, *to, item, Some(back));
                if beats(&best, &step) && draft.admits(back.partition, *to, from) {
                    best = Some(step);
                }
            }
        }
    }
    best
}

fn keep(best: &mut Option<Step>, step: Step) {
    if beats(best, &step) {
        *best = Some(step);
    }
}

fn beats(best: &Option<Step>, step: &Step) -> bool {
    step.gain >= LEAST_GAIN
        && best
            .is_none_or(|best| step.worth > best.worth || (step.worth == best.worth && step.draw > best.draw))
}

fn judge(draft: &Draft<'_, '_>, from: Node, to: Node, item: Item, back: Option<Item>) -> Step {
    let bytes = item.bytes - back.map_or(0.0, |back| back.bytes);
    let load = item.load - back.map_or(0.0, |back| back.load);
    let gain = draft.pain(from, 0.0, 0.0) + draft.pain(to, 0.0, 0.0)
        - draft.pain(from, -bytes, -load)
        - draft.pain(to, bytes, load);
    let copied = draft.copied(item, from, to) + back.map_or(0.0, |back| draft.copied(back, to, from));
    let copies = 1.0 + f64::from(u8::from(back.is_some()));
    let worth = gain / (copied.max(0.0) * draft.mean_per_byte + copies * STEP_SHARE);
    let key = draft.work.snapshot.topology().node(to).key;
    Step { item, to, back, gain, worth, draw: hash::draw(item.draw, key) }
}

/// What a node could give away with most effect.
fn promising(draft: &Draft<'_, '_>, from: Node) -> Vec<Item> {
    let mut items: Vec<Item> = draft.items(from).filter(|item| item.bytes > 0.0 || item.load > 0.0).collect();
    if items.len() <= 2 * MOST_ITEMS {
        return items;
    }
    let (bytes, load) = draft.excess(from);
    let at = from.at();
    let relief = |item: &Item| {
        item.bytes.min(bytes) * draft.work.per_byte[at] + item.load.min(load) * draft.work.per_load[at]
    };
    let order = |a: &Item, b: &Item, value: &dyn Fn(&Item) -> f64| {
        value(b).total_cmp(&value(a)).then(b.draw.cmp(&a.draw)).then(a.partition.cmp(&b.partition))
    };
    let for_bytes = |item: &Item| relief(item) / (item.bytes * draft.mean_per_byte + STEP_SHARE);
    items.select_nth_unstable_by(MOST_ITEMS, |a, b| order(a, b, &for_bytes));
    items[MOST_ITEMS..].select_nth_unstable_by(MOST_ITEMS - 1, |a, b| order(a, b, &relief));
    items.truncate(2 * MOST_ITEMS);
    items
}
