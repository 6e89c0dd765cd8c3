//! How far an agent's clock is from the analyzer's, as far as batches tell.
//!
//! What is seen is the *lag*: arrival of a batch minus the end of its newest window, each by the clock of its own
//! host. It is the delay of delivery plus the difference of the clocks, and nothing tells the two apart, so no time
//! is ever corrected by it. Three things can be said. A lag below zero is a clock that is ahead, or ours that is
//! behind: no delivery takes less than nothing. A lag that stays the same, batch after batch, above what delivery
//! takes is late: a clock that is behind, or a way that holds everything up for as long. A lag that changes from
//! batch to batch is a spool that empties, or a link that comes and goes, and says nothing of clocks. Pure.

use isotherm_store::Run;
use std::collections::VecDeque;

/// Batches that are looked at.
const RECENT: usize = 8;

/// Batches in a row that must agree before anything is said, or taken back.
const AGREEING: usize = 3;

/// Clocks that are kept by NTP differ by less than a second.
const AHEAD_MS: i64 = 1_000;

/// What is not called ahead any more.
const NOT_AHEAD_MS: i64 = AHEAD_MS / 2;

/// Delivery takes less: windows are sent when they end, and a commit takes some milliseconds, under load a second.
const LATE_MS: i64 = 5_000;

/// What the last batches say of an agent's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ClockState {
    /// Too few batches, or lags that change too much.
    #[default]
    Unknown,
    /// What clocks in step and a short way look like.
    InStep,
    /// Windows end in the future.
    Ahead,
    /// Every batch is late by about as much.
    Late,
}

impl ClockState {
    /// Says in the log what an operator should know.
    pub(super) fn tell(self, run: &Run, lag_ms: i64) {
        let Run { agent, boot } = run;
        match self {
            Self::Ahead => tracing::warn!(
                %agent, %boot, ahead_ms = -lag_ms,
                "this agent's windows end in the future: its clock is ahead, or this host's is behind"
            ),
            Self::Late => tracing::warn!(
                %agent, %boot, late_ms = lag_ms,
                "each of this agent's batches comes late by about as much: its clock is behind, or something on the \
                 way holds them up"
            ),
            Self::InStep | Self::Unknown => tracing::debug!(%agent, %boot, lag_ms, "clock: {self:?}"),
        }
    }
}

/// The lags of one agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    lags_ms: VecDeque<i64>,
    state: ClockState,
}

impl Clock {
    /// Takes the lag of a batch and the length of its windows. Says whether the state is another one now.
    pub(super) fn observe(&mut self, lag_ms: i64, window_ms: u32) -> Option<ClockState> {
        if self.lags_ms.len() == RECENT {
            self.lags_ms.pop_front();
        }
        self.lags_ms.push_back(lag_ms);
        let next = self.judged(i64::from(window_ms));
        let changed = next != self.state;
        self.state = next;
        changed.then_some(next)
    }

    /// The least lag of the last batches, in milliseconds: the one with the least delay in it. `None` before the
    /// first.
    pub(crate) fn lag_ms(&self) -> Option<i64> {
        self.lags_ms.iter().min().copied()
    }

    pub(crate) fn state(&self) -> ClockState {
        self.state
    }

    fn judged(&self, window_ms: i64) -> ClockState {
        let last = || self.lags_ms.iter().rev().take(AGREEING);
        let (Some(least), Some(most)) = (last().min(), last().max()) else { return ClockState::Unknown };
        if self.lags_ms.len() < AGREEING {
            return ClockState::Unknown;
        }
        let is_ahead = self.state == ClockState::Ahead;
        if *most < -AHEAD_MS || (is_ahead && *least < -NOT_AHEAD_MS) {
            return ClockState::Ahead;
        }
        // A window is late by what it waits for others: twice its length is still no wonder.
        let late_ms = LATE_MS.max(2 * window_ms);
        if self.state == ClockState::Late && *least > late_ms / 2 && most - least <= window_ms {
            return ClockState::Late;
        }
        if *most < late_ms {
            return ClockState::InStep;
        }
        let (all_least, all_most) = (self.lags_ms.iter().min(), self.lags_ms.iter().max());
        let spread_ms = all_most.zip(all_least).map_or(0, |(most, least)| most - least);
        let steady = self.lags_ms.len() == RECENT && spread_ms <= window_ms;
        if steady && *least > late_ms { ClockState::Late } else { ClockState::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(lags_ms: impl IntoIterator<Item = i64>) -> Vec<ClockState> {
        let mut clock = Clock::default();
        lags_ms.into_iter().map(|lag| clock.observe(lag, 10_000).unwrap_or(clock.state())).collect()
    }

    #[test]
    fn nothing_is_said_before_some_batches_agree() {
        assert_eq!(states([]), []);
        assert_eq!(
            states([-9_000, -9_000, -9_000]),
            [ClockState::Unknown, ClockState::Unknown, ClockState::Ahead]
        );
        assert_eq!(states([40, 50, -9_000, 60, 50]).last(), Some(&ClockState::InStep));
        assert_eq!(Clock::default().lag_ms(), None);
    }

    #[test]
    fn a_clock_around_the_limit_is_not_told_again_and_again() {
        let lags = [-1_100; 3]
            .into_iter()
            .chain([-900, -1_050, -700, -980, -1_200, -600].into_iter().cycle().take(60));
        let mut clock = Clock::default();
        assert_eq!(lags.filter_map(|lag| clock.observe(lag, 1_000)).collect::<Vec<_>>(), [ClockState::Ahead]);
        let back: Vec<_> = [-400; 5].into_iter().filter_map(|lag| clock.observe(lag, 1_000)).collect();
        assert_eq!(back, [ClockState::InStep]);
    }

    #[test]
    fn a_spool_that_empties_is_no_clock_that_is_behind() {
        // Windows of ten seconds, an hour of them, four a second.
        let emptying = (0..360).map(|batch| 3_600_000 - batch * 10_000 + batch * 250);
        assert!(states(emptying.clone()).iter().all(|state| *state != ClockState::Late));
        let caught_up = emptying.chain([80; 8]);
        assert_eq!(states(caught_up).last(), Some(&ClockState::InStep));
    }

    #[test]
    fn what_is_late_by_the_same_again_and_again_is_told() {
        let told = states((0..12).map(|batch| 60_000 + batch % 3 * 40));
        assert_eq!(told[RECENT - 2..RECENT], [ClockState::Unknown, ClockState::Late]);
        assert_eq!(told.last(), Some(&ClockState::Late));
    }
}
