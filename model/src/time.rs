//! Wall-clock labels. Durations are measured elsewhere, on a monotonic clock.

use std::fmt;

/// A moment, in milliseconds since the Unix epoch (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The last multiple of `step_ms` since the epoch at or before this moment. `step_ms` must not be 0.
    #[must_use]
    pub fn align_down(self, step_ms: u64) -> Self {
        assert!(step_ms > 0, "a step has a length");
        Self(self.0 - self.0 % step_ms)
    }

    /// This moment moved by `ms`, saturating at the end of time.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A half-open stretch of time, `start <= t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    start: Timestamp,
    end: Timestamp,
}

impl Interval {
    /// `None` unless `start < end`.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The first moment inside.
    #[must_use]
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// The first moment after.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Its length in milliseconds; never 0.
    #[must_use]
    pub fn length_ms(self) -> u64 {
        self.end.0 - self.start.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_is_to_the_epoch() {
        assert_eq!(Timestamp::from_ms(10_999).align_down(1_000), Timestamp::from_ms(10_000));
        assert_eq!(Timestamp::from_ms(10_000).align_down(1_000), Timestamp::from_ms(10_000));
    }

    #[test]
    fn an_interval_has_a_length() {
        let at = Timestamp::from_ms;
        assert_eq!(Interval::new(at(5), at(5)), None);
        assert_eq!(Interval::new(at(5), at(8)).map(Interval::length_ms), Some(3));
    }
}
