//! Evens out size and load in the background, with the fewest bytes.
//!
//! It starts when a node is pressed more than the dead band above the mean, and then brings all nodes down to the
//! balance, which is lower: so it rests, and noise does not wake it. What nodes give away is chosen by bytes for
//! the excess they take away ([`cover`]) and dealt to nodes with room below the limit ([`spread`]). All is thought
//! out first ([`draft`]) and then decided in the order of use for its bytes, within the budget.

mod cover;
mod decide;
mod draft;
mod exchange;
mod sets;
mod spread;

use crate::ids::Partition;
use crate::planner::regime::Grouped;
use crate::planner::work::Work;
use draft::{Displaced, Draft, ROUNDING};
use std::collections::BTreeMap;

/// Passes of one plan: what one decided is not moved by the next.
const MOST_PASSES: usize = 8;
/// A pass must take away at least this share of the squares of all excesses, or it is not worth its bytes.
const LEAST_RELIEF: f64 = 0.05;

/// Evens out what is uneven, within the budget.
pub(super) fn run(work: &mut Work<'_>) {
    let limit = 1.0 + work.snapshot.policy().balance;
    if !is_uneven(work) {
        return;
    }
    if let Some(grouped) = Grouped::new(work) {
        let short = sets::run(work, limit, &grouped);
        decide::refuse(work, limit, |_| u64::from(short));
        return;
    }
    let mut waits = BTreeMap::new();
    for _ in 0..MOST_PASSES {
        if !is_uneven(work) {
            break;
        }
        let before = work.moves.len();
        waits = pass(work, limit);
        if work.moves.len() == before {
            break;
        }
    }
    let wanted = decide::wanted_bytes(work, &waits);
    decide::refuse(work, limit, |node| wanted[node]);
}

/// Whether a node is pressed more than the dead band above the mean.
fn is_uneven(work: &Work<'_>) -> bool {
    let starts_at = 1.0 + work.snapshot.policy().dead_band;
    (0..work.up.len()).any(|at| work.up[at] && work.pressure(at) > starts_at + ROUNDING)
}

/// Thinks out and decides; returns what the budget has nothing left for.
fn pass(work: &mut Work<'_>, limit: f64) -> BTreeMap<Partition, Displaced> {
    let mut draft = Draft::new(work, limit);
    let before = draft.pain_of_all();
    spread::run(&mut draft);
    exchange::run(&mut draft);
    exchange::withdraw(&mut draft);
    let worth_it = draft.pain_of_all() <= (1.0 - LEAST_RELIEF) * before;
    let displaced = draft.end();
    if worth_it { decide::run(work, limit, displaced) } else { BTreeMap::new() }
}
