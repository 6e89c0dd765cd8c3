//! When a cycle is due, and for which step.
//!
//! A step is judged once windows that reach to its end have had time to arrive. Cycles are never piled up: one that
//! takes too long makes those after it be left out, and what was left out is counted. The counts of the steps between
//! still enter the series, as far as [`CATCH_UP`]; beyond that they are gaps.

use isotherm_cycle::input::StepLength;
use isotherm_model::Timestamp;
use std::time::Duration;

/// Steps of a minute that are read again after a pause, such as a restart. Two hours: what a series of minutes keeps.
pub(crate) const CATCH_UP: u64 = 120;

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing before that much time has passed.
    Wait(Duration),
    /// A cycle for the step that ends at `end`.
    Run {
        /// The step to decide by.
        end: Timestamp,
        /// Ends of earlier steps whose counts are still to be read, oldest first.
        behind: Vec<Timestamp>,
        /// Steps before those that are given up, and are gaps.
        gaps: u64,
    },
}

/// Says what is due at `now`, if the last step that was read ended at `last`, and windows arrive within `settle`.
pub(crate) fn next(last: Option<Timestamp>, now: Timestamp, settle: Duration, step_ms: u64) -> Next {
    let minute = StepLength::Minute.ms(step_ms);
    let settle_ms = u64::try_from(settle.as_millis()).unwrap_or(u64::MAX);
    let closed = now.as_ms().saturating_sub(settle_ms) / minute * minute;
    let last = last.map_or_else(|| closed.saturating_sub(minute), Timestamp::as_ms);
    if closed <= last || closed == 0 {
        let due = last.max(closed).saturating_add(minute).saturating_add(settle_ms);
        return Next::Wait(Duration::from_millis(due.saturating_sub(now.as_ms())));
    }
    let missed = (closed - last) / minute - 1;
    let read = missed.min(CATCH_UP);
    let behind = (1..=read).rev().map(|steps| Timestamp::from_ms(closed - steps * minute)).collect();
    Next::Run { end: Timestamp::from_ms(closed), behind, gaps: missed - read }
}

/// The longer steps that end with a step of a minute.
pub(crate) fn longer(end: Timestamp, step_ms: u64) -> impl Iterator<Item = StepLength> {
    [StepLength::Quarter, StepLength::Hour]
        .into_iter()
        .filter(move |length| end.as_ms().is_multiple_of(length.ms(step_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(20);

    fn at(s: u64) -> Timestamp {
        Timestamp::from_ms(s * 1_000)
    }

    #[test]
    fn a_step_is_judged_once_its_windows_have_had_time() {
        assert_eq!(next(Some(at(600)), at(679), SETTLE, 60_000), Next::Wait(Duration::from_secs(1)));
        let run = Next::Run { end: at(660), behind: Vec::new(), gaps: 0 };
        assert_eq!(next(Some(at(600)), at(680), SETTLE, 60_000), run);
        assert_eq!(next(Some(at(660)), at(681), SETTLE, 60_000), Next::Wait(Duration::from_secs(59)));
    }

    #[test]
    fn the_first_cycle_judges_the_last_closed_step() {
        let run = Next::Run { end: at(660), behind: Vec::new(), gaps: 0 };
        assert_eq!(next(None, at(690), SETTLE, 60_000), run);
    }

    #[test]
    fn a_cycle_that_took_too_long_leaves_out_those_after_it_but_not_their_counts() {
        let run = Next::Run { end: at(840), behind: vec![at(720), at(780)], gaps: 0 };
        assert_eq!(next(Some(at(660)), at(870), SETTLE, 60_000), run);
    }

    #[test]
    fn after_a_long_pause_only_so_much_is_read_again() {
        let Next::Run { end, behind, gaps } = next(Some(at(60_000)), at(120_030), SETTLE, 60_000) else {
            panic!("a cycle is due");
        };
        assert_eq!((end, behind.len(), gaps), (at(120_000), 120, 999 - 120));
        assert_eq!(behind[0], at(120_000 - 120 * 60));
        assert_eq!(behind[119], at(120_000 - 60));
    }

    #[test]
    fn a_clock_that_went_back_waits_and_asks_for_nothing() {
        assert!(matches!(next(Some(at(6_000)), at(660), SETTLE, 60_000), Next::Wait(_)));
    }

    #[test]
    fn longer_steps_end_with_the_minutes_that_end_them() {
        let lengths = |s| longer(at(s), 60_000).collect::<Vec<_>>();
        assert_eq!(lengths(7_200), [StepLength::Quarter, StepLength::Hour]);
        assert_eq!(lengths(900), [StepLength::Quarter]);
        assert_eq!(lengths(960), []);
    }
}
