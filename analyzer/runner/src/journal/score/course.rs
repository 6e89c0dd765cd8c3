//! How a migration went, as the diary tells it.

use crate::diary::{Kind, Line};

/// Moments of a migration, milliseconds since 1970 by the clock of the analyzer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// When it had room and was looked at; absent if it never was.
    pub began_ms: Option<u64>,
    /// When the target served; absent if it never did.
    pub switched_ms: Option<u64>,
    /// How long writes were stopped, over all attempts: from the intent to stop them until it was known that they go on,
    /// so an upper bound. Absent where nobody saw both ends, as where an engine hands over by itself unseen.
    pub stopped_ms: Option<u64>,
}

impl Course {
    /// Reads it from the lines of one migration, by their order.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut course = Self::default();
        let mut since = None;
        let phases = lines.iter().filter(|line| line.kind == Kind::Phase);
        for Line { at_ms, what, .. } in phases {
            match what.as_str() {
                "PREFLIGHT" => course.began_ms = course.began_ms.or(Some(*at_ms)),
                // An engine that hands over is told so; elsewhere writes are stopped already.
                "FENCING" | "COMMITTING" => since = since.or(Some(*at_ms)),
                "SWITCHED" | "READY" | "ABORTING" => {
                    if let Some(since) = since.take() {
                        let stopped = at_ms.saturating_sub(since);
                        course.stopped_ms = Some(course.stopped_ms.unwrap_or(0) + stopped);
                    }
                    if what == "SWITCHED" {
                        course.switched_ms = course.switched_ms.or(Some(*at_ms));
                    }
                }
                _ => {}
            }
        }
        course
    }

    /// From its beginning to the switch; absent unless it has switched.
    #[must_use]
    pub fn duration_ms(&self) -> Option<u64> {
        Some(self.switched_ms?.saturating_sub(self.began_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(phases: &[(u64, &str)]) -> Course {
        let lines: Vec<Line> =
            phases.iter().map(|(at_ms, what)| Line::own(*at_ms, Kind::Phase, *what)).collect();
        Course::of(&lines)
    }

    #[test]
    fn writes_are_stopped_from_each_fence_to_the_moment_they_go_on() {
        let once = [(10, "PREFLIGHT"), (20, "READY"), (30, "FENCING"), (34, "COMMITTING"), (37, "SWITCHED")];
        let told = course(&once);
        assert_eq!((told.stopped_ms, told.duration_ms()), (Some(7), Some(27)));
        let twice = [(0, "PREFLIGHT"), (30, "FENCING"), (40, "UNFENCING"), (41, "READY"), (50, "FENCING")];
        let told = course(&[&twice[..], &[(53, "COMMITTING"), (55, "SWITCHED")]].concat());
        assert_eq!(told.stopped_ms, Some(11 + 5));
    }

    #[test]
    fn a_fence_before_the_copy_stops_writes_for_all_of_it() {
        let told = course(&[(0, "FENCING"), (5, "REPLICATING"), (90, "VERIFYING"), (95, "SWITCHED")]);
        assert_eq!(told.stopped_ms, Some(95));
    }

    #[test]
    fn what_nobody_saw_is_unknown() {
        let engine = course(&[(0, "PREFLIGHT"), (5, "REPLICATING"), (90, "SWITCHED")]);
        assert_eq!((engine.stopped_ms, engine.duration_ms()), (None, Some(90)));
        assert_eq!(course(&[(0, "PREFLIGHT"), (5, "FAILED")]).duration_ms(), None);
    }
}
