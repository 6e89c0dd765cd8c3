//! A habit as it is written down: its fields, short-named because there are many, and checked when read.

use super::Habit;
use super::hour::Sample;
use super::running::Running;
use super::weeks::{HOURS, Weeks};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why what was read is no habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a habit's {0} cannot be what values of an entropy lead to")]
pub struct Impossible(&'static str);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    next: u64,
    hour: u32,
    usual: u16,
    unusual: u16,
    sample: Sample,
    recent: Running,
    elsewhere: Running,
    away: u32,
    told: u32,
    weeks: Weeks,
    hours: [u8; HOURS / 8],
}

impl From<Habit> for Written {
    fn from(habit: Habit) -> Self {
        Self {
            next: habit.next_ms,
            hour: habit.hour,
            usual: habit.usual,
            unusual: habit.unusual,
            sample: habit.sample,
            recent: habit.recent,
            elsewhere: habit.elsewhere,
            away: habit.away,
            told: habit.told,
            weeks: habit.weeks,
            hours: habit.unusual_hours,
        }
    }
}

impl TryFrom<Written> for Habit {
    type Error = Impossible;

    fn try_from(written: Written) -> Result<Self, Impossible> {
        if !written.sample.is_possible() {
            return Err(Impossible("sample of an hour"));
        }
        if ![written.recent, written.elsewhere].iter().all(|running| running.is_possible()) {
            return Err(Impossible("running mean"));
        }
        Ok(Self {
            next_ms: written.next,
            hour: written.hour,
            usual: written.usual,
            unusual: written.unusual,
            sample: written.sample,
            recent: written.recent,
            elsewhere: written.elsewhere,
            away: written.away,
            told: written.told,
            weeks: written.weeks,
            unusual_hours: written.hours,
        })
    }
}
