//! What scores say together, and whether isotherm has earned to act by itself.

use super::Scored;
use crate::journal::Trigger;
use isotherm_migration::{Approval, End};
use isotherm_model::SystemId;
use std::collections::BTreeMap;

/// Approved moves in a row, each with what it saved in its interval, after which "auto" is suggested.
pub const ENOUGH: usize = 20;

/// What the migrations of a system come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Completed.
    pub moves: usize,
    /// Of these, whose score says whether the benefit lies in its interval.
    pub judged: usize,
    /// Of these, where it does.
    pub within: usize,
    /// Undone after they had begun to have effects.
    pub rollbacks: usize,
    /// Moves that isotherm proposed and somebody approved, completed with the benefit in its interval, since the last
    /// rollback and the last one outside. One that could not be judged is not counted and ends nothing.
    pub earned: usize,
}

impl Summary {
    /// Share of the judged ones whose benefit lies in its interval; absent without any.
    #[must_use]
    pub fn share_within(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.within as f64 / self.judged as f64)
    }

    /// Whether "auto" can be suggested.
    #[must_use]
    pub fn suggests_auto(&self) -> bool {
        self.earned >= ENOUGH
    }

    fn count(&mut self, scored: &Scored) {
        let about = &scored.entry.about;
        if about.rolled_back {
            self.rollbacks += 1;
            self.earned = 0;
        }
        if scored.entry.migration.end() != Some(&End::Completed) {
            return;
        }
        self.moves += 1;
        let within = scored.card.as_ref().and_then(super::Scorecard::within);
        let proposed = about.trigger != Trigger::Manual;
        let approved = matches!(scored.entry.migration.spec().policy.approval, Approval::Within { .. });
        match within {
            None => {}
            Some(true) => {
                self.judged += 1;
                self.within += 1;
                self.earned += usize::from(proposed && approved);
            }
            Some(false) => {
                self.judged += 1;
                self.earned = 0;
            }
        }
    }
}

/// Of each system, from its migrations, the newest first.
#[must_use]
pub fn summaries(newest_first: &[Scored]) -> BTreeMap<SystemId, Summary> {
    let mut systems: BTreeMap<SystemId, Summary> = BTreeMap::new();
    for scored in newest_first.iter().rev() {
        let system = scored.entry.migration.spec().partition.system().clone();
        systems.entry(system).or_default().count(scored);
    }
    systems
}
