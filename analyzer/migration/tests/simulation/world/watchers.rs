//! Who follows the progress: streams that are opened, break, are opened again, and tell what is late.
//!
//! They have a chance of their own and are told last of all in a tick, so that the same seed with other watchers is the
//! same in all else.

use super::World;
use crate::chance::Chance;
use crate::flaw::RunnerFlaw;
use isotherm_migration::{Event, Outcome, Progress, Reason, RequestId, Term};

/// How a world is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watching {
    /// By who asked for it; now and then the stream breaks.
    Usual,
    /// Every stream breaks before it has told anything.
    Nobody,
    /// Several times at once, by streams that break and are opened again.
    Crowd,
}

pub(crate) struct Watchers {
    watching: Watching,
    chance: Chance,
    /// Open streams, by the term of who opened them.
    open: Vec<Term>,
    /// What has been told and has not come.
    told: Vec<(u64, Term, Progress)>,
    /// The copy that they are about, as the runner knows it.
    pub(super) copying: Option<RequestId>,
}

impl Watchers {
    pub(crate) fn new(watching: Watching, seed: u64) -> Self {
        let chance = Chance::new(!seed);
        Self { watching, chance, open: Vec::new(), told: Vec::new(), copying: None }
    }
}

impl World<'_> {
    /// A stream is opened.
    pub(super) fn watch(&mut self, term: Term) {
        match self.watchers.watching {
            Watching::Usual => self.watchers.open.push(term),
            Watching::Nobody => self.breaks(term),
            Watching::Crowd => self.watchers.open.extend([term; 3]),
        }
    }

    /// A stream is over.
    fn breaks(&mut self, term: Term) {
        if self.watchers.open.is_empty() {
            self.adapter.unwatched();
        }
        if self.flaw == RunnerFlaw::EndOfWatchIsFailure
            && let Some(request) = self.watchers.copying.clone()
        {
            let outcome = Outcome::Refused(Reason::Transient { retry_after_ms: None });
            self.event(term, Event::Answered { request, outcome });
        }
    }

    /// Some streams break, some tell something, and some of that comes.
    pub(super) fn follow(&mut self) {
        let (breaks, tells, opens) = match self.watchers.watching {
            Watching::Usual => (1, 10, 0),
            Watching::Nobody => (100, 0, 0),
            Watching::Crowd => (20, 60, 20),
        };
        for term in std::mem::take(&mut self.watchers.open) {
            if self.adapter.down || self.watchers.chance.percent(breaks) {
                self.breaks(term);
                if self.watchers.chance.percent(opens) {
                    self.watchers.open.push(term);
                }
                continue;
            }
            self.watchers.open.push(term);
            if self.watchers.chance.percent(tells)
                && let Some(progress) = self.adapter.progress()
            {
                // Late by a tick, by a phase, or by all there was.
                let most_ms = [10, 60, 400, 2_500][self.watchers.chance.below(4) as usize];
                let at_ms = self.now_ms + self.watchers.chance.below(most_ms);
                self.watchers.told.push((at_ms, term, progress));
            }
        }
        let due = |(at_ms, _, _): &(u64, Term, Progress)| *at_ms <= self.now_ms;
        let (come, late) = std::mem::take(&mut self.watchers.told).into_iter().partition(due);
        self.watchers.told = late;
        for (_, term, progress) in come {
            self.event(term, Event::Progressed(progress));
        }
    }
}
