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
mod spread;

use crate::planner::work::Work;
use draft::{Draft, ROUNDING};

/// Evens out what is uneven, within the budget.
pub(super) fn run(work: &mut Work<'_>) {
    let policy = work.snapshot.policy();
    let (starts_at, limit) = (1.0 + policy.dead_band, 1.0 + policy.balance);
    let is_pressed = |at: usize| work.up[at] && work.pressure(at) > starts_at + ROUNDING;
    if !(0..work.up.len()).any(is_pressed) {
        return;
    }
    let mut draft = Draft::new(work, limit);
    spread::run(&mut draft);
    exchange::run(&mut draft);
    let displaced = draft.end();
    decide::run(work, limit, displaced);
}
