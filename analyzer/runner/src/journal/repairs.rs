//! What is remembered of repairs: which nodes failed and what they held, and whether repairs may begin.
//!
//! One text for each system. What is in it is the caller's to know; it is written like everything else here, with the
//! lines of the diary that tell of it and under the controller's term.

use super::read::entries;
use super::{Entry, Journal, JournalError, Reading, Result};
use crate::diary::Line;
use isotherm_model::SystemId;
use rusqlite::params;

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS repairs (
        system TEXT PRIMARY KEY,
        state TEXT NOT NULL
    ) STRICT;
";

impl Journal {
    /// Writes what is remembered of a system's repairs, in the place of what was.
    pub fn keep_repairs(&mut self, system: &SystemId, state: &str, lines: &[Line]) -> Result<()> {
        self.transact(lines, |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO repairs (system, state) VALUES (?1, ?2)",
                params![system.as_str(), state],
            )
        })
    }
}

impl Reading {
    /// What is remembered of repairs, by system.
    ///
    /// # Errors
    /// Also before the journal was first opened.
    pub fn repairs(&self) -> Result<Vec<(String, String)>> {
        let database = self.database()?;
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = database.prepare("SELECT system, state FROM repairs ORDER BY system")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    /// Migrations that were begun since because a node had failed, the newest first.
    pub fn repaired_since(&self, since_ms: u64) -> Result<Vec<Entry>> {
        let sql = "SELECT about, migration FROM migrations
                   WHERE created_ms >= ?1 AND json_extract(about, '$.trigger') = 'failure'
                   ORDER BY created_ms DESC, id DESC";
        entries(&self.database()?, &self.path, sql, params![since_ms as i64])
    }
}
