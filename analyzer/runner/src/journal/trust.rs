//! Why isotherm does not act by itself on a system: it has to earn it again, or somebody else is at work there.

use super::{Journal, Reading, Result};
use crate::diary::{Kind, Line};
use isotherm_model::SystemId;
use rusqlite::{Transaction, params};

/// Run whenever the journal is opened.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS distrust (
        system TEXT NOT NULL,
        cause TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (system, cause)
    ) STRICT;
";

/// Why isotherm holds itself back on a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A move was undone, or could not be judged: what it would do by itself waits for approval, until somebody promotes
    /// the system.
    Demoted,
    /// Somebody else moved something; it passes by itself.
    OtherMover,
}

impl Cause {
    /// The word used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Demoted => "demoted",
            Self::OtherMover => "other_mover",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Demoted, Self::OtherMover].into_iter().find(|cause| cause.as_str() == text)
    }
}

/// Why isotherm holds itself back on a system, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// The system, by name.
    pub system: String,
    /// What for.
    pub cause: Cause,
    /// Milliseconds since 1970: of a demotion the first, of another mover the last thing that was seen.
    pub at_ms: u64,
    /// What was seen.
    pub why: String,
}

/// What is to be kept of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Somebody else has moved something.
    OtherMover {
        /// When it was seen, milliseconds since 1970.
        at_ms: u64,
        /// What was seen.
        why: String,
    },
    /// Somebody ends a demotion.
    Promoted,
}

impl Journal {
    /// Keeps what is thought of a system, with its lines of the diary.
    pub fn trust(&mut self, system: &SystemId, trust: &Trust, lines: &[Line]) -> Result<()> {
        self.transact(lines, |transaction| match trust {
            Trust::OtherMover { at_ms, why } => transaction.execute(
                "INSERT OR REPLACE INTO distrust (system, cause, at_ms, why) VALUES (?1, ?2, ?3, ?4)",
                params![system.as_str(), Cause::OtherMover.as_str(), *at_ms as i64, why],
            ),
            Trust::Promoted => transaction.execute(
                "DELETE FROM distrust WHERE system = ?1 AND cause = ?2",
                params![system.as_str(), Cause::Demoted.as_str()],
            ),
        })
    }
}

/// From now on isotherm asks before it moves anything of a system. The first reason stays; the diary is told once.
pub(super) fn demote(
    transaction: &Transaction<'_>,
    system: &str,
    at_ms: u64,
    why: &str,
) -> rusqlite::Result<()> {
    let new = transaction.execute(
        "INSERT OR IGNORE INTO distrust (system, cause, at_ms, why) VALUES (?1, ?2, ?3, ?4)",
        params![system, Cause::Demoted.as_str(), at_ms as i64, why],
    )?;
    if new > 0 {
        let what = format!("what isotherm would begin by itself on {system} waits for approval from now on");
        super::insert(transaction, &Line::own(at_ms, Kind::Noticed, what).by("isotherm", why))?;
    }
    Ok(())
}

impl Reading {
    /// Why isotherm holds itself back, by system.
    pub fn distrust(&self) -> Result<Vec<Distrust>> {
        let rows: Vec<(String, String, i64, String)> = self.asked(|database| {
            let sql = "SELECT system, cause, at_ms, why FROM distrust ORDER BY system, cause";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            database.prepare(sql)?.query_map([], row)?.collect()
        })?;
        let distrust = |(system, cause, at_ms, why): (String, String, i64, String)| {
            // A word that nobody wrote holds isotherm back as the stronger of the two.
            let cause = Cause::from_text(&cause).unwrap_or(Cause::Demoted);
            Distrust { system, cause, at_ms: at_ms as u64, why }
        };
        Ok(rows.into_iter().map(distrust).collect())
    }
}

#[cfg(test)]
mod tests;
