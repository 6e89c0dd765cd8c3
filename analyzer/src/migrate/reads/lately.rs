//! What was shifted lately, and what that forbids.

use super::{Policy, ms};
use crate::migrate::Migrations;
use crate::writer::{now, with_causes};
use isotherm_model::PartitionId;
use isotherm_runner::shift::{End, Stage, Why};
use isotherm_runner::{Shift, Trigger};

const DAY_MS: u64 = 86_400_000;

/// Shifts that are looked through.
const LOOKED_AT: u32 = 10_000;

/// Shifts that there were, the newest first, and how many of a day isotherm has begun.
pub(super) struct Lately {
    shifts: Vec<Shift>,
    today: usize,
    now_ms: u64,
}

impl Lately {
    pub(super) async fn read(migrations: &Migrations) -> Result<Self, String> {
        let reading = migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || reading.shifts(true, LOOKED_AT)).await;
        let shifts = read.map_err(|error| error.to_string())?.map_err(|error| with_causes(&error))?;
        Ok(Self::of(shifts, now().as_ms()))
    }

    pub(super) fn of(shifts: Vec<Shift>, now_ms: u64) -> Self {
        let own = |shift: &&Shift| shift.trigger != Trigger::Manual && shift.created_ms + DAY_MS > now_ms;
        let today = shifts.iter().filter(own).count();
        Self { shifts, today, now_ms }
    }

    /// Whether the partition has a shift that has not ended.
    pub(super) fn is_open(&self, partition: &PartitionId) -> bool {
        self.shifts.iter().any(|shift| shift.partition == *partition && shift.ended_ms.is_none())
    }

    /// One more was begun.
    pub(super) fn begun(&mut self) {
        self.today += 1;
    }

    /// Whether a shift of the partition may begin, or why not.
    pub(super) fn permits(&self, partition: &PartitionId, policy: &Policy) -> Result<(), String> {
        let most = policy.per_day as usize;
        if self.today >= most {
            let today = self.today;
            return Err(format!(
                "isotherm has begun {today} shifts of reads within a day, as many as it may"
            ));
        }
        // One that was undone for a move says nothing against another.
        let counts = |shift: &&Shift| shift.stage != Stage::Ended(End::Undone(Why::Move));
        let of_it = self.shifts.iter().filter(|shift| shift.partition == *partition).filter(counts);
        let last = of_it.map(|shift| shift.ended_ms.unwrap_or(shift.created_ms)).max();
        let until = last.map(|last| last.saturating_add(ms(policy.cool_down)));
        match until.filter(|until| *until > self.now_ms) {
            Some(_) => Err(format!(
                "its reads were shifted within {}, migrate.reads.cool_down",
                humantime::format_duration(policy.cool_down)
            )),
            None => Ok(()),
        }
    }
}
