//! Shifts of reads in the journal.

use super::{Journal, JournalError, Reading, Result, json};
use crate::diary::Line;
use crate::shift::{Shift, ShiftRefused};
use rusqlite::{Connection, ErrorCode, params};
use std::path::Path;

/// Made whenever the journal is opened. Times are milliseconds since 1970; `shift` has all of it.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS shifts (
        id TEXT PRIMARY KEY,
        system TEXT NOT NULL,
        partition TEXT NOT NULL,
        what TEXT NOT NULL,
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        since_ms INTEGER,
        ended_ms INTEGER,
        shift TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS one_shift_for_each_partition
        ON shifts (system, partition) WHERE ended_ms IS NULL;
    CREATE INDEX IF NOT EXISTS shifts_by_creation ON shifts (created_ms);
";

impl Journal {
    /// Writes a new shift.
    ///
    /// # Errors
    /// As all that is written here; the partition has another one, which the inner result says.
    pub fn begin_shift(
        &mut self,
        shift: &Shift,
        lines: &[Line],
    ) -> Result<std::result::Result<(), ShiftRefused>> {
        let (system, partition) = (shift.partition.system().to_string(), shift.partition.name().to_owned());
        let text = json(shift);
        let written = self.transact(lines, |transaction| {
            transaction.execute(
                "INSERT INTO shifts (id, system, partition, what, node, state, created_ms, since_ms, ended_ms, shift)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL, ?8)",
                params![
                    shift.id.as_str(),
                    system,
                    partition,
                    shift.what.as_str(),
                    shift.what.node().name(),
                    shift.state(),
                    shift.created_ms as i64,
                    text
                ],
            )
        });
        match written {
            Err(JournalError::Database { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
            {
                let by = self.database.query_row(
                    "SELECT id FROM shifts WHERE system = ?1 AND partition = ?2 AND ended_ms IS NULL",
                    params![system, partition],
                    |row| row.get(0),
                );
                let by = by.map_err(|source| self.failed(source))?;
                Ok(Err(ShiftRefused::Shifted { partition: shift.partition.to_string(), by }))
            }
            written => written.map(Ok),
        }
    }

    /// Writes what a shift has become.
    ///
    /// # Errors
    /// The journal cannot be written, or another controller has it.
    pub fn write_shift(&mut self, shift: &Shift, lines: &[Line]) -> Result<()> {
        let text = json(shift);
        self.transact(lines, |transaction| {
            transaction.execute(
                "UPDATE shifts SET state = ?2, since_ms = ?3, ended_ms = ?4, shift = ?5 WHERE id = ?1",
                params![
                    shift.id.as_str(),
                    shift.state(),
                    shift.since_ms.map(|ms| ms as i64),
                    shift.ended_ms.map(|ms| ms as i64),
                    text
                ],
            )
        })
    }

    /// All that have not ended, by creation.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn open_shifts(&self) -> Result<Vec<Shift>> {
        let sql = "SELECT shift FROM shifts WHERE ended_ms IS NULL ORDER BY created_ms, id";
        read(&self.database, &self.path, sql, params![])
    }
}

impl Reading {
    /// Shifts, the newest first: those that have not ended, and with `ended` the others too.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn shifts(&self, ended: bool, limit: u32) -> Result<Vec<Shift>> {
        let sql = "SELECT shift FROM shifts WHERE ?1 OR ended_ms IS NULL
                   ORDER BY created_ms DESC, id DESC LIMIT ?2";
        read(&self.database()?, &self.path, sql, params![ended, limit])
    }

    /// Shifts that were in force at a moment, milliseconds since 1970, as far as it is written. None where there is no
    /// journal, or one of before there were shifts.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn shifts_in_force(&self, at_ms: u64) -> Result<Vec<Shift>> {
        self.shifts_where("since_ms <= ?1", at_ms)
    }

    /// The same of those that were to come into force: called for, or waiting for somebody to agree.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn shifts_coming(&self, at_ms: u64) -> Result<Vec<Shift>> {
        self.shifts_where("created_ms <= ?1 AND (since_ms IS NULL OR since_ms > ?1)", at_ms)
    }

    /// Those that had not ended at a moment, by system and partition.
    fn shifts_where(&self, which: &'static str, at_ms: u64) -> Result<Vec<Shift>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let database = self.database()?;
        let table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'shifts')";
        let there = database.query_row(table, [], |row| row.get::<_, bool>(0));
        if !there.map_err(|source| JournalError::Database { path: self.path.clone(), source })? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT shift FROM shifts WHERE {which} AND (ended_ms IS NULL OR ended_ms > ?1)
             ORDER BY system, partition"
        );
        read(&database, &self.path, &sql, params![at_ms as i64])
    }
}

fn read(database: &Connection, path: &Path, sql: &str, asked: &[&dyn rusqlite::ToSql]) -> Result<Vec<Shift>> {
    let failed = |source| JournalError::Database { path: path.to_owned(), source };
    let mut statement = database.prepare(sql).map_err(failed)?;
    let rows = statement.query_map(asked, |row| row.get::<_, String>(0)).map_err(failed)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
    rows.iter().map(|text| super::read::parsed(path, "a shift of reads", text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diary::Kind;
    use crate::journal::{Diary, Trigger};
    use crate::shift::{End, Outcome, Wanted, What};
    use isotherm_migration::{Epoch, MigrationId};
    use isotherm_model::{NodeId, PartitionId, SystemId};

    fn shift(id: &str, partition: &str) -> Shift {
        let system = SystemId::new("s").unwrap();
        let wanted = Wanted {
            partition: PartitionId::new(system.clone(), partition).unwrap(),
            what: What::Drain { node: NodeId::new(system, "a").unwrap() },
            by: "ann".to_owned(),
            reason: "smoke".to_owned(),
            trigger: Trigger::Manual,
            gray: false,
            approval_until_ms: None,
        };
        Shift::new(MigrationId::new(id).unwrap(), wanted, 5)
    }

    #[test]
    fn a_shift_is_there_after_a_start_and_one_partition_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let mut one = shift("s1", "p");
        journal.begin_shift(&one, &[Line::own(5, Kind::Wanted, "drain")]).unwrap().unwrap();
        let refused = journal.begin_shift(&shift("s2", "p"), &[Line::own(5, Kind::Wanted, "no")]).unwrap();
        assert_eq!(refused, Err(ShiftRefused::Shifted { partition: "s/p".to_owned(), by: "s1".to_owned() }));
        one.propose(Epoch(3), Epoch(4));
        journal.write_shift(&one, &[]).unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.open_shifts().unwrap(), [one.clone()]);
        let lines = journal.reading().diary(&Diary { limit: 9, ..Diary::default() }).unwrap();
        assert_eq!(lines.len(), 1, "what was refused is not told as done");
        one.end(End::Forgotten, 9);
        journal.write_shift(&one, &[]).unwrap();
        journal.begin_shift(&shift("s2", "p"), &[]).unwrap().unwrap();
        let ids = |ended| -> Vec<String> {
            let all = journal.reading().shifts(ended, 9).unwrap();
            all.into_iter().map(|shift| shift.id.to_string()).collect()
        };
        assert_eq!((ids(false), ids(true)), (vec!["s2".to_owned()], vec!["s2".to_owned(), "s1".to_owned()]));
    }

    #[test]
    fn the_past_is_told_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Reading::new(dir.path().join("none")).shifts_in_force(7).unwrap().is_empty());
        let mut journal = Journal::open(dir.path()).unwrap();
        let mut one = shift("s1", "p");
        journal.begin_shift(&one, &[]).unwrap().unwrap();
        one.propose(Epoch(1), Epoch(1));
        one.hear(Outcome::Done(Some(one.what.node().clone())), 0, 10);
        one.end(End::Forgotten, 20);
        journal.write_shift(&one, &[]).unwrap();
        let at = |ms| journal.reading().shifts_in_force(ms).unwrap().len();
        assert_eq!([9, 10, 19, 20].map(at), [0, 1, 1, 0]);
        let coming = |ms| journal.reading().shifts_coming(ms).unwrap().len();
        assert_eq!([4, 5, 9, 10, 20].map(coming), [0, 1, 1, 0, 0]);
        // A journal of before there were shifts.
        journal.database.execute_batch("DROP TABLE shifts").unwrap();
        assert_eq!(at(15), 0);
    }

    #[test]
    fn whoever_has_an_older_term_shifts_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = Journal::open(dir.path()).unwrap();
        let one = shift("s1", "p");
        old.begin_shift(&one, &[]).unwrap().unwrap();
        let _new = Journal::open(dir.path()).unwrap();
        assert!(matches!(old.write_shift(&one, &[]), Err(JournalError::Superseded { theirs: 2, ours: 1 })));
    }
}
