//! When windows end, and what they are called.

use isotherm_model::{Completeness, Timestamp};

/// A stretch of time that a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start, a multiple of the window's length.
    pub start: Timestamp,
    /// Length in milliseconds.
    pub length_ms: u32,
    /// Whether all of it was watched.
    pub completeness: Completeness,
}

/// Says when windows end and what they are called.
///
/// Labels are wall clock, and aligned to the epoch; whether a label can be believed is judged by a
/// monotonic clock.
#[derive(Debug)]
pub struct WindowClock {
    length_ms: u64,
    /// End of the last window, and the monotonic time of its cut.
    last: (Timestamp, u64),
    /// No window has ended yet.
    fresh: bool,
}

/// Windows that one late cut may cover. More is a clock that was set, or a host that slept.
const MAX_LATE_WINDOWS: u64 = 10;

impl WindowClock {
    /// For windows of `length_ms`, which is not 0, when watching starts at the wall-clock moment `now`,
    /// `monotonic_ms` on a clock that is never set. The window that is open then will be partial.
    #[must_use]
    pub fn new(length_ms: u32, now: Timestamp, monotonic_ms: u64) -> Self {
        let length_ms = u64::from(length_ms);
        Self { length_ms, last: (now.align_down(length_ms), monotonic_ms), fresh: true }
    }

    /// Milliseconds from `now` to the end of the window that is open.
    #[must_use]
    pub fn until_end_ms(&self, now: Timestamp) -> u64 {
        self.length_ms - now.as_ms() % self.length_ms
    }

    /// The window that is open at wall-clock `now`, when watching ends.
    #[must_use]
    pub fn close(&self, now: Timestamp) -> Span {
        let start = now.align_down(self.length_ms);
        Span { start, length_ms: self.length_ms as u32, completeness: Completeness::Partial }
    }

    /// The window that ends with a cut at wall-clock `now`, `monotonic_ms` on a clock that is never set.
    /// `None` if no boundary has passed since the last cut.
    pub fn cut(&mut self, now: Timestamp, monotonic_ms: u64) -> Option<Span> {
        let end = now.align_down(self.length_ms);
        let one = |completeness| Span {
            start: Timestamp::from_ms(end.as_ms().saturating_sub(self.length_ms)),
            length_ms: self.length_ms as u32,
            completeness,
        };
        let (last, since) = self.last;
        if end == last {
            return None;
        }
        let labelled_ms = end.as_ms().saturating_sub(last.as_ms());
        let elapsed_ms = monotonic_ms.saturating_sub(since);
        let believable = labelled_ms.abs_diff(elapsed_ms) < self.length_ms;
        let span = if end > last && believable && labelled_ms <= MAX_LATE_WINDOWS * self.length_ms {
            let completeness = if self.fresh { Completeness::Partial } else { Completeness::Complete };
            Span { start: last, length_ms: labelled_ms as u32, completeness }
        } else {
            one(Completeness::Partial)
        };
        self.fresh = false;
        self.last = (end, monotonic_ms);
        Some(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn windows_are_aligned_and_a_late_cut_covers_several() {
        let mut clock = WindowClock::new(1_000, at(10_400), 4_400);
        assert_eq!(clock.until_end_ms(at(10_400)), 600);
        assert_eq!(clock.cut(at(10_600), 4_600), None);
        let first = clock.cut(at(11_003), 5_003).unwrap();
        assert_eq!((first.start, first.length_ms), (at(10_000), 1_000));
        assert_eq!(clock.cut(at(11_500), 5_500), None);
        let second = clock.cut(at(12_001), 6_001).unwrap();
        assert_eq!((second.start, second.length_ms), (at(11_000), 1_000));
        let late = clock.cut(at(15_100), 9_100).unwrap();
        assert_eq!(
            (late.start, late.length_ms, late.completeness),
            (at(12_000), 3_000, Completeness::Complete)
        );
    }

    #[test]
    fn only_a_window_that_was_watched_from_its_start_is_complete() {
        let mut clock = WindowClock::new(10_000, at(10_006), 0);
        // Polled several times before it ends, as the watching thread does.
        for now in [10_206, 10_406, 19_999] {
            assert_eq!(clock.cut(at(now), now - 10_006), None);
        }
        let first = clock.cut(at(20_000), 9_994).unwrap();
        assert_eq!((first.start, first.completeness), (at(10_000), Completeness::Partial));
        let second = clock.cut(at(30_000), 19_994).unwrap();
        assert_eq!((second.start, second.completeness), (at(20_000), Completeness::Complete));
    }

    #[test]
    fn a_clock_that_was_set_makes_a_partial_window() {
        for (wall, monotonic) in [(8_000, 2_000), (3_600_000, 2_000), (11_000, 60_000)] {
            let mut clock = WindowClock::new(1_000, at(9_000), 0);
            clock.cut(at(10_000), 1_000);
            let span = clock.cut(at(wall), monotonic).unwrap();
            assert_eq!(span.completeness, Completeness::Partial, "set to {wall}");
            assert_eq!(span.length_ms, 1_000);
            let next = clock.cut(at(wall + 1_000), monotonic + 1_000).unwrap();
            assert_eq!((next.start, next.completeness), (at(wall), Completeness::Complete));
        }
    }
}
