//! The timer of no progress: how long a step has run without getting anywhere.
//!
//! Never a limit on the whole step: a copy of 10 TiB may take days, as long as it moves. Throttling is no lack of
//! progress, so the timer stands still while the adapter says that something slows it down on purpose.

use crate::answer::Progress;
use crate::ids::Moment;
use serde::{Deserialize, Serialize};

/// The shortest time between two questions.
const SOONEST_MS: u64 = 100;

/// The timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watchdog {
    /// The last progress, or the beginning.
    since: Moment,
    /// When it was first known to run. Absent in what was written before this was noted: then it has run for long.
    #[serde(default)]
    begun: Option<Moment>,
    /// The most that was done. Only more is progress: a store that copies in circles gets nowhere.
    done: u64,
    /// The least lag that was told.
    lag_bytes: Option<u64>,
    throttled: bool,
    /// Where another attempt can go on.
    pub(crate) resume: Option<String>,
}

impl Watchdog {
    pub(crate) fn new(now: Moment) -> Self {
        Self { since: now, begun: Some(now), done: 0, lag_bytes: None, throttled: false, resume: None }
    }

    /// Waits anew, from now on.
    pub(crate) fn restart(&mut self, now: Moment) {
        self.since = now;
    }

    /// After how long it is asked about again: a quarter of the time that it has run, in bounds. What is over soon is heard
    /// of soon, since writes may wait for it.
    pub(crate) fn poll_ms(&self, now: Moment, longest_ms: u64) -> u64 {
        let ran_ms = self.begun.map_or(u64::MAX, |begun| now.0.saturating_sub(begun.0));
        (ran_ms / 4).clamp(SOONEST_MS.min(longest_ms), longest_ms)
    }

    /// Looks at how far the step is.
    pub(crate) fn look(&mut self, progress: &Progress, now: Moment) {
        let nearer = progress.lag_bytes.is_some_and(|lag| self.lag_bytes.is_none_or(|least| lag < least));
        if progress.done > self.done || nearer || self.throttled {
            self.since = now;
        }
        self.done = self.done.max(progress.done);
        if nearer {
            self.lag_bytes = progress.lag_bytes;
        }
        self.throttled = progress.throttled_by.is_some();
        if progress.resume.is_some() {
            self.resume.clone_from(&progress.resume);
        }
    }

    /// When it is stuck, unless something moves; absent while it is throttled.
    pub(crate) fn stalls_at(&self, no_progress_ms: u64) -> Option<Moment> {
        (!self.throttled).then(|| self.since.after_ms(no_progress_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, lag_bytes: Option<u64>, throttled: bool) -> Progress {
        Progress {
            done,
            total: None,
            lag_bytes,
            throttled_by: throttled.then(|| "rate".to_owned()),
            resume: None,
            handing_over: false,
        }
    }

    #[test]
    fn only_more_bytes_or_less_lag_is_progress() {
        let mut watchdog = Watchdog::new(Moment(0));
        watchdog.look(&progress(10, Some(50), false), Moment(5));
        assert_eq!(watchdog.stalls_at(100), Some(Moment(105)));
        watchdog.look(&progress(4, Some(60), false), Moment(9));
        watchdog.look(&progress(10, None, false), Moment(10));
        assert_eq!(watchdog.stalls_at(100), Some(Moment(105)), "done fell, then rose to where it was");
        watchdog.look(&progress(10, Some(49), false), Moment(20));
        assert_eq!(watchdog.stalls_at(100), Some(Moment(120)));
    }

    #[test]
    fn what_is_over_soon_is_asked_about_soon() {
        let watchdog = Watchdog::new(Moment(1_000));
        let polls = [1_000, 1_400, 3_000, 60_000].map(|now| watchdog.poll_ms(Moment(now), 2_000));
        assert_eq!(polls, [100, 100, 500, 2_000]);
        assert_eq!(watchdog.poll_ms(Moment(1_000), 10), 10, "the policy's bound is one");
        let before = Watchdog { begun: None, ..watchdog };
        assert_eq!(before.poll_ms(Moment(1_000), 2_000), 2_000);
    }

    #[test]
    fn throttled_time_is_not_counted() {
        let mut watchdog = Watchdog::new(Moment(0));
        watchdog.look(&progress(1, None, true), Moment(50));
        assert_eq!(watchdog.stalls_at(100), None);
        watchdog.look(&progress(1, None, false), Moment(10_000));
        assert_eq!(watchdog.stalls_at(100), Some(Moment(10_100)));
    }
}
