//! What was shifted lately, who is distrusted, and what that forbids.

use super::ms;
use crate::migrate::{Config, Migrations, trust};
use crate::writer::{now, with_causes};
use isotherm_model::{PartitionId, SystemId};
use isotherm_runner::JournalError;
use isotherm_runner::journal::trust::Distrust;
use isotherm_runner::shift::{End, Stage, Why};
use isotherm_runner::{Shift, Trigger};

const DAY_MS: u64 = 86_400_000;

/// Shifts that are looked through.
const LOOKED_AT: u32 = 10_000;

/// Shifts that there were, the newest first, how many of a day isotherm has begun, and what is thought of systems.
pub(super) struct Lately {
    shifts: Vec<Shift>,
    distrust: Vec<Distrust>,
    today: usize,
    now_ms: u64,
}

impl Lately {
    pub(super) async fn read(migrations: &Migrations) -> Result<Self, String> {
        let reading = migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || {
            Ok::<_, JournalError>((reading.shifts(true, LOOKED_AT)?, reading.distrust()?))
        });
        let read = read.await.map_err(|error| error.to_string())?;
        let (shifts, distrust) = read.map_err(|error| with_causes(&error))?;
        Ok(Self::of(shifts, distrust, now().as_ms()))
    }

    pub(super) fn of(shifts: Vec<Shift>, distrust: Vec<Distrust>, now_ms: u64) -> Self {
        let own = |shift: &&Shift| shift.trigger != Trigger::Manual && shift.created_ms + DAY_MS > now_ms;
        let today = shifts.iter().filter(own).count();
        Self { shifts, distrust, today, now_ms }
    }

    /// Whether the partition has a shift that has not ended.
    pub(super) fn is_open(&self, partition: &PartitionId) -> bool {
        self.shifts.iter().any(|shift| shift.partition == *partition && shift.ended_ms.is_none())
    }

    /// One more was begun.
    pub(super) fn begun(&mut self) {
        self.today += 1;
    }

    /// Whether somebody has to agree to what isotherm would do by itself, whatever the mode.
    pub(super) fn demoted(&self, system: &SystemId) -> bool {
        trust::demoted(&self.distrust, system)
    }

    /// Whether a shift of the partition may begin, or why not.
    pub(super) fn permits(&self, partition: &PartitionId, config: &Config) -> Result<(), String> {
        let policy = &config.reads;
        if let Some(why) = trust::stands_back(&self.distrust, partition.system(), self.now_ms, &config.trust)
        {
            return Err(why);
        }
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
