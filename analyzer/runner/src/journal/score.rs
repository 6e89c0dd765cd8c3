//! Scorecards: what a migration was expected to bring, and what it brought.
//!
//! What was predicted is kept when a migration begins, as the record of the cycle that it was decided by is gone a minute
//! later; what was measured is put beside it some time after the end. Between the two there is no judgement but
//! [`Scorecard::saved`], and whether that lies where it was said to. Whatever nobody knew, or could measure, is absent.

mod course;
mod summary;

use super::{About, Entry, Journal, Reading, Result, json, read};
use crate::diary::Line;
pub use course::Course;
use isotherm_migration::MigrationId;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
pub use summary::{ENOUGH, Summary, summaries};

/// Run whenever the journal is opened.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS scorecards (
        migration TEXT PRIMARY KEY,
        predicted TEXT NOT NULL,
        measured TEXT
    ) STRICT;
";

/// What was expected when a migration began. Absent is what nobody knew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// When it was noted, milliseconds since 1970.
    pub at_ms: u64,
    /// End of the step that the cycle judged.
    pub judged_ms: Option<u64>,
    /// Probability of an incident where it lies.
    pub risk: Option<f64>,
    /// What it loses where it lies.
    pub loss: Option<Loss>,
    /// What it would lose there, client-minutes per hour.
    pub loss_there_per_hour: Option<f64>,
    /// What the move would save; of a move that no verdict asked for nobody said it.
    pub benefit: Option<Benefit>,
    /// Client-minutes that it would cost.
    pub cost: Option<f64>,
    /// How long writes would be stopped.
    pub pause_ms: Option<u64>,
    /// Bytes to copy.
    pub bytes: Option<u64>,
    /// How long the copy would take.
    pub duration_ms: Option<u64>,
}

/// Client-minutes per hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// All of it.
    pub per_hour: f64,
    /// The part of it that is due to reads failing at gray nodes.
    pub gray_per_hour: f64,
}

/// Client-minutes that a move saves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benefit {
    /// Expected.
    pub expected: f64,
    /// Not less than that, with the confidence of the gate.
    pub lower: f64,
    /// Not more than that, with the same confidence.
    pub upper: f64,
    /// Hours for which it is counted.
    pub lasting_h: f64,
    /// Hours for which what gray nodes fail is counted.
    pub gray_h: f64,
}

/// What was found some time after the end. Absent is what could not be measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// When it was looked, milliseconds since 1970.
    pub at_ms: u64,
    /// End of the step that the cycle judged.
    pub judged_ms: Option<u64>,
    /// Probability of an incident where it lies now.
    pub risk: Option<f64>,
    /// What it loses where it lies now.
    pub loss: Option<Loss>,
    /// Of reads, over the time before it began that is as long as the time after its end.
    pub p99_before: Option<P99>,
    /// The same of the time after its end, in the same layer.
    pub p99_after: Option<P99>,
    /// How long writes were stopped.
    pub pause_ms: Option<u64>,
    /// Bytes of the partition as they lie on a node now.
    pub bytes: Option<u64>,
    /// From its beginning to the switch.
    pub duration_ms: Option<u64>,
    /// What could not be measured though it was predicted, and why.
    pub gap: Option<String>,
}

/// The time that 99 of 100 reads did not exceed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct P99 {
    /// Where it was measured: "logical" for calls of programs, "device" for requests to the disks.
    pub layer: String,
    /// Nanoseconds, as an upper bound: the end of the bucket.
    pub ns: u64,
    /// Of so many reads.
    pub reads: u64,
}

/// Both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    /// What was expected.
    pub predicted: Predicted,
    /// What was found; absent before it was looked.
    pub measured: Option<Measured>,
}

impl Scorecard {
    /// Client-minutes that it saves by what is lost now, counted for the hours that the benefit was counted for. Absent
    /// unless both losses are known, and a benefit was predicted. Loads that changed in between are in it.
    #[must_use]
    pub fn saved(&self) -> Option<f64> {
        let Benefit { lasting_h, gray_h, .. } = self.predicted.benefit?;
        let (before, after) = (self.predicted.loss?, self.measured.as_ref()?.loss?);
        let lasting = |loss: Loss| loss.per_hour - loss.gray_per_hour;
        Some(
            (lasting(before) - lasting(after)) * lasting_h
                + (before.gray_per_hour - after.gray_per_hour) * gray_h,
        )
    }

    /// Whether what it saves lies in the interval that was predicted, bounds included. Absent where that cannot be said.
    #[must_use]
    pub fn within(&self) -> Option<bool> {
        let Benefit { lower, upper, .. } = self.predicted.benefit?;
        self.saved().map(|saved| (lower..=upper).contains(&saved))
    }

    /// What was predicted and cannot be measured, if anything: of a score that has it nobody knows what the move was good
    /// for.
    #[must_use]
    pub fn unmeasured(predicted: &Predicted, measured: &Measured) -> Option<&'static str> {
        match (predicted.loss.is_some(), measured.loss.is_some()) {
            (true, false) if measured.judged_ms.is_none() => {
                Some("no cycle has judged the partition since the end")
            }
            (true, false) => Some("its loss is not known any more, as a node was not watched"),
            (true, true) | (false, _) => None,
        }
    }
}

/// A migration that has ended, with its score if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The migration.
    pub entry: Entry,
    /// Absent of one that was not seen before its switch.
    pub card: Option<Scorecard>,
}

/// Something to be kept of a score.
#[derive(Debug, Clone, PartialEq)]
pub enum Score {
    /// Kept once: what is noted first stays.
    Predicted(Predicted),
    /// Kept beside it.
    Measured(Measured),
}

impl Journal {
    /// Keeps a part of the score of a migration, with its lines of the diary. A gap in what was measured makes isotherm
    /// ask before it moves anything of that system.
    pub fn score(&mut self, of: &MigrationId, score: &Score, lines: &[Line]) -> Result<()> {
        self.transact(lines, |transaction| match score {
            Score::Predicted(predicted) => transaction.execute(
                "INSERT OR IGNORE INTO scorecards (migration, predicted) VALUES (?1, ?2)",
                params![of.as_str(), json(predicted)],
            ),
            Score::Measured(measured) => {
                gap(transaction, of, measured)?;
                transaction.execute(
                    "UPDATE scorecards SET measured = ?2 WHERE migration = ?1",
                    params![of.as_str(), json(measured)],
                )
            }
        })
    }
}

fn gap(transaction: &Transaction<'_>, of: &MigrationId, measured: &Measured) -> rusqlite::Result<()> {
    let Some(gap) = &measured.gap else { return Ok(()) };
    let system: Option<String> = transaction
        .query_row("SELECT system FROM migrations WHERE id = ?1", [of.as_str()], |row| row.get(0))
        .optional()?;
    let Some(system) = system else { return Ok(()) };
    let why = format!("what {of} brought cannot be measured: {gap}");
    super::trust::demote(transaction, &system, measured.at_ms, &why)
}

impl Reading {
    /// The score of a migration.
    pub fn scorecard(&self, id: &str) -> Result<Option<Scorecard>> {
        let row: Option<(String, Option<String>)> = self.asked(|database| {
            let row = "SELECT predicted, measured FROM scorecards WHERE migration = ?1";
            database.query_row(row, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        row.map(|(predicted, measured)| self.card(&predicted, measured)).transpose()
    }

    /// Migrations that have ended, the newest first, with their scores.
    pub fn scored(&self, limit: u32) -> Result<Vec<Scored>> {
        self.joined("m.ended_ms IS NOT NULL ORDER BY m.ended_ms DESC, m.id", limit)
    }

    /// Those that were completed, of which something was predicted and nothing is measured yet, the oldest first.
    pub fn unscored(&self, limit: u32) -> Result<Vec<Scored>> {
        let which = "m.phase = 'COMPLETED' AND s.predicted IS NOT NULL AND s.measured IS NULL
                     ORDER BY m.ended_ms, m.id";
        self.joined(which, limit)
    }

    fn joined(&self, which: &str, limit: u32) -> Result<Vec<Scored>> {
        let sql = format!(
            "SELECT m.about, m.migration, s.predicted, s.measured
             FROM migrations m LEFT JOIN scorecards s ON s.migration = m.id WHERE {which} LIMIT ?1"
        );
        let rows: Vec<(String, String, Option<String>, Option<String>)> = self.asked(|database| {
            let mut statement = database.prepare(&sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            statement.query_map([limit], row)?.collect()
        })?;
        let scored = |(about, migration, predicted, measured): (String, String, Option<String>, _)| {
            let about: About = read::parsed(self.path(), "what is told of a migration", &about)?;
            let entry = Entry { about, migration: read::parsed(self.path(), "a migration", &migration)? };
            let card = predicted.map(|predicted| self.card(&predicted, measured)).transpose()?;
            Ok(Scored { entry, card })
        };
        rows.into_iter().map(scored).collect()
    }

    fn card(&self, predicted: &str, measured: Option<String>) -> Result<Scorecard> {
        let measured = measured.map(|text| read::parsed(self.path(), "what was measured", &text));
        Ok(Scorecard {
            predicted: read::parsed(self.path(), "what was predicted", predicted)?,
            measured: measured.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
