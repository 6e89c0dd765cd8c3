//! When to look at the processes: not when nothing has happened.

use super::process::Depth;
use std::time::Duration;

/// Between two looks, at least.
const LEAST: Duration = Duration::from_secs(1);

/// Between two full looks, at most: for what no event tells, such as a process that moves to another control
/// group or is handed a listening socket.
const MOST: Duration = Duration::from_secs(30);

/// Remembers the last looks. Time is counted from any fixed moment.
#[derive(Debug, Default)]
pub struct Cadence {
    short: Option<Duration>,
    full: Option<Duration>,
    events: Option<u64>,
}

impl Cadence {
    /// Whether to look at `now`, and how. `events` counts what may change who is watched (programs started,
    /// sockets listened on, children of watched processes); `None` where nobody counts, which is as if
    /// something always happened. It must have been read before the look, so that what happens meanwhile
    /// causes the next one.
    pub fn look(&mut self, now: Duration, events: Option<u64>) -> Option<Depth> {
        let since = |last: Option<Duration>| last.map(|last| now.saturating_sub(last));
        let depth = if since(self.full).is_none_or(|since| since >= MOST) {
            Depth::Full
        } else if since(self.short).is_none_or(|since| since >= LEAST)
            && (events.is_none() || events != self.events)
        {
            Depth::Short
        } else {
            return None;
        };
        self.short = Some(now);
        self.events = events;
        if depth == Depth::Full {
            self.full = Some(now);
        }
        Some(depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_while_nothing_happens() {
        let mut cadence = Cadence::default();
        let mut at = |ms: u64, events| cadence.look(Duration::from_millis(ms), events);
        assert_eq!(at(0, Some(5)), Some(Depth::Full));
        assert_eq!(at(2_000, Some(5)), None);
        assert_eq!(at(2_100, Some(6)), Some(Depth::Short));
        // At most once a second; what happened meanwhile is not forgotten.
        assert_eq!(at(2_300, Some(7)), None);
        assert_eq!(at(3_100, Some(7)), Some(Depth::Short));
        assert_eq!(at(29_900, Some(7)), None);
        assert_eq!(at(30_000, Some(7)), Some(Depth::Full));
    }

    #[test]
    fn without_a_count_of_events_every_second_is_looked_at() {
        let mut cadence = Cadence::default();
        let looks = (0..300).filter(|tenth| cadence.look(Duration::from_millis(tenth * 100), None).is_some());
        assert_eq!(looks.count(), 30);
    }
}
