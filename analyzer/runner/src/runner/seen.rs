//! What is told of migrations under way.

use crate::journal::{Entry, Freeze};
use crate::shift::Shift;
use isotherm_migration::{Action, MigrationId, Progress, Term};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over how long the present rate is measured.
const RECENT: Duration = Duration::from_secs(30);

/// Observations that are kept of that time.
const KEPT: usize = 120;

/// All that is under way.
#[derive(Debug, Clone)]
pub struct Board {
    /// By id.
    pub migrations: Vec<Seen>,
    /// Shifts of reads that have not ended, by id.
    pub shifts: Vec<Shift>,
    /// The freeze that stands.
    pub frozen: Option<Freeze>,
    /// The controller's; 0 before there is one.
    pub term: Term,
}

impl Default for Board {
    fn default() -> Self {
        Self { migrations: Vec::new(), shifts: Vec::new(), frozen: None, term: Term(0) }
    }
}

/// One that is under way.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As it is written, or a little newer.
    pub entry: Entry,
    /// How far the step that runs is.
    pub progress: Option<Progress>,
    /// When that step may end.
    pub eta: Option<Eta>,
    /// What it waits for before it begins.
    pub waits: Option<String>,
}

/// When a step may end, by the slower and the faster of its average and its present rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// At the earliest.
    pub least: Duration,
    /// At the latest.
    pub most: Duration,
}

/// How a step goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    first: Option<(Instant, u64)>,
    recent: VecDeque<(Instant, u64)>,
    last: Option<Progress>,
}

impl Pace {
    pub(super) fn told(&mut self, progress: Progress) {
        let now = Instant::now();
        if self.last.as_ref().is_some_and(|last| progress.done < last.done) {
            *self = Self::default();
        }
        self.first.get_or_insert((now, progress.done));
        self.recent.push_back((now, progress.done));
        while self.recent.len() > KEPT || self.recent.front().is_some_and(|(at, _)| now - *at > RECENT) {
            self.recent.pop_front();
        }
        self.last = Some(progress);
    }

    pub(super) fn seen(&self, entry: Entry) -> Seen {
        Seen { entry, progress: self.last.clone(), eta: self.eta(), waits: None }
    }

    fn eta(&self) -> Option<Eta> {
        let last = self.last.as_ref()?;
        let left = last.total?.checked_sub(last.done)?;
        let now = *self.recent.back()?;
        let rates = [self.first?, *self.recent.front()?].map(|from| rate(from, now));
        let slow = rates.into_iter().flatten().min_by(f64::total_cmp)?;
        let fast = rates.into_iter().flatten().max_by(f64::total_cmp)?;
        let at = |rate: f64| Duration::try_from_secs_f64(left as f64 / rate).ok();
        Some(Eta { least: at(fast)?, most: at(slow)? })
    }
}

/// Units per second; `None` where nothing has moved yet.
fn rate((from, done): (Instant, u64), (to, more): (Instant, u64)) -> Option<f64> {
    let (units, seconds) = (more.saturating_sub(done) as f64, (to - from).as_secs_f64());
    (units > 0.0 && seconds > 0.0).then(|| units / seconds)
}

/// Enough of an id to tell it from others, nearly always.
pub(super) fn short(id: &MigrationId) -> &str {
    id.as_str().get(..8).unwrap_or(id.as_str())
}

/// What an action is called.
pub(super) fn name_of_action(action: &Action) -> &'static str {
    match action {
        Action::Approve { .. } => "approve",
        Action::Pause => "pause",
        Action::Unpause => "resume",
        Action::Cancel => "cancel",
        Action::Verify => "verify",
        Action::Switch => "switch",
        Action::Complete => "complete",
        Action::Reverse => "reverse",
        Action::AcceptDataLoss(_) => "accept data loss",
        Action::Retry => "retry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, total: Option<u64>) -> Progress {
        Progress { done, total, lag_bytes: None, throttled_by: None, resume: None, handing_over: false }
    }

    #[test]
    fn an_end_is_foretold_between_the_average_and_the_present_rate() {
        let mut pace = Pace::default();
        pace.told(progress(0, Some(100)));
        assert_eq!(pace.eta(), None, "nothing has moved yet");
        std::thread::sleep(Duration::from_millis(20));
        pace.told(progress(50, Some(100)));
        let eta = pace.eta().unwrap();
        assert!(eta.least <= eta.most && eta.most > Duration::from_millis(5), "{eta:?}");
        pace.told(progress(10, Some(100)));
        assert_eq!(pace.eta(), None, "another attempt begins anew");
    }

    #[test]
    fn without_a_total_no_end_is_foretold() {
        let mut pace = Pace::default();
        pace.told(progress(0, None));
        std::thread::sleep(Duration::from_millis(5));
        pace.told(progress(5, None));
        assert_eq!(pace.eta(), None);
    }
}
