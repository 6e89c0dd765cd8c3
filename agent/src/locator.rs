//! Where adapters say partitions lie: taken from the analyzer, kept over restarts, made into rules of the targets.
//!
//! The way of the data: [`Follower`] (messages of a stream, into what is [`Known`]) -> [`Kept`] (on the disk) ->
//! [`locate`] (rules of each target, as [`Located`]). A rule of the configuration always wins over a locator.
//!
//! Locators name partitions and nothing else. What is watched is what the configuration selects: a path is compared
//! with the names that the kernel gives to files of watched processes and is never opened, and a device counts only
//! if a process of the target has it open.

mod findings;
mod follower;
mod kept;
mod known;
mod located;

pub use findings::{Findings, Kind};
pub use follower::{Follower, Refused, Ways, ways};
pub use kept::{Kept, KeptError};
pub use known::Known;
pub(crate) use known::{MAX_PLACES, PLACE_MEAN_BYTES};
pub use located::Located;

use crate::config::Target;
use crate::rule::Rules;
use isotherm_proto::Watching;

/// Gives each target the rules that follow from what is known. Pure.
#[must_use]
pub fn locate(targets: &[Target], known: &Known) -> (Vec<Target>, Findings) {
    let mut findings = Findings { revision: known.revision(), ..Findings::default() };
    let located = targets.iter().map(|target| {
        let rules = Rules::new(&target.rules);
        let located = Located::new(&target.node, &rules, known.of(&target.node), &mut findings);
        Target { located, ..target.clone() }
    });
    (located.collect(), findings)
}

/// What the analyzer is told: what is watched, and what became of its locators.
#[must_use]
pub fn watching(targets: &[Target], findings: &Findings) -> Watching {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Watching {
        targets: targets.iter().map(|target| target.node.clone()).collect(),
        revision: findings.revision,
        partitions: count(findings.partitions),
        unused: count(findings.unused.values().sum()),
        overruled: count(findings.overruled.count),
        problem: String::new(),
    }
}
