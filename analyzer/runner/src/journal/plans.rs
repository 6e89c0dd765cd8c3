//! Plans and cordons in the journal: kept beside the migrations that plans become.
//!
//! A plan is a document of its owner's, which the journal does not read, and a few columns to find it by. Each writing
//! names the version that it was made from, so that of two who change a plan at a time only one does.

use super::read::{Reading, entries};
use super::{Entry, Journal, JournalError, Result};
use crate::diary::Line;
use rusqlite::{Row, params};

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS plans (
        id TEXT PRIMARY KEY,
        system TEXT NOT NULL,
        state TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        version INTEGER NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS cordons (
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        by TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (system, node)
    ) STRICT;
";

/// A plan as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlan {
    /// Its name. Those of its migrations begin with it and `-`.
    pub id: String,
    /// The system it is of.
    pub system: String,
    /// A word of its owner's, to find it by.
    pub state: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// How often it was written; 0 for one that was not yet.
    pub version: u64,
    /// All of it.
    pub document: String,
}

/// A node that takes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    /// Its system.
    pub system: String,
    /// Its name there.
    pub node: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Journal {
    /// Writes a plan: a new one if its version is 0, else in the place of that version.
    ///
    /// # Errors
    /// [`JournalError::PlanMoved`] if it has another version, or is there already, or no more.
    pub fn put_plan(&mut self, plan: &KeptPlan, lines: &[Line]) -> Result<()> {
        let id = plan.id.clone();
        let written = self.transact(lines, |transaction| {
            let changed = if plan.version == 0 {
                transaction.execute(
                    "INSERT OR IGNORE INTO plans (id, system, state, created_ms, version, document)
                     VALUES (?1, ?2, ?3, ?4, 1, ?5)",
                    params![plan.id, plan.system, plan.state, plan.created_ms as i64, plan.document],
                )?
            } else {
                transaction.execute(
                    "UPDATE plans SET state = ?3, version = version + 1, document = ?4
                     WHERE id = ?1 AND version = ?2",
                    params![plan.id, plan.version as i64, plan.state, plan.document],
                )?
            };
            one(changed)
        });
        moved(written, &id)
    }

    /// Removes that version of a plan. Migrations that it began stay.
    ///
    /// # Errors
    /// [`JournalError::PlanMoved`] if it has another version, or is not there.
    pub fn remove_plan(&mut self, id: &str, version: u64, lines: &[Line]) -> Result<()> {
        let removed = self.transact(lines, |transaction| {
            let delete = "DELETE FROM plans WHERE id = ?1 AND version = ?2";
            one(transaction.execute(delete, params![id, version as i64])?)
        });
        moved(removed, id)
    }

    /// Lets a node take nothing more. The last word stands.
    pub fn cordon(&mut self, cordon: &Cordon, lines: &[Line]) -> Result<()> {
        self.transact(lines, |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO cordons (system, node, since_ms, by, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![cordon.system, cordon.node, cordon.since_ms as i64, cordon.by, cordon.reason],
            )
        })
    }

    /// Ends that; nothing is changed where there is none.
    pub fn uncordon(&mut self, system: &str, node: &str, lines: &[Line]) -> Result<()> {
        self.transact(lines, |transaction| {
            transaction.execute("DELETE FROM cordons WHERE system = ?1 AND node = ?2", params![system, node])
        })
    }
}

impl Reading {
    /// Plans, the newest first; with `state` only those in it.
    pub fn plans(&self, state: Option<&str>, limit: u32) -> Result<Vec<KeptPlan>> {
        let sql = "SELECT id, system, state, created_ms, version, document FROM plans
                   WHERE ?1 IS NULL OR state = ?1 ORDER BY created_ms DESC, id DESC LIMIT ?2";
        self.rows(sql, params![state, limit], plan)
    }

    /// Plans whose id begins so, two at most: enough to know whether it means one.
    pub fn plans_called(&self, id: &str) -> Result<Vec<KeptPlan>> {
        let sql = "SELECT id, system, state, created_ms, version, document FROM plans
                   WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT 2";
        self.rows(sql, params![id], plan)
    }

    /// Migrations of a plan, ended ones too.
    pub fn migrations_of_plan(&self, id: &str) -> Result<Vec<Entry>> {
        // `.` follows `-` in the order of texts.
        let sql = "SELECT about, migration FROM migrations WHERE id > ?1 AND id < ?2";
        entries(&self.database()?, self.path(), sql, params![format!("{id}-"), format!("{id}.")])
    }

    /// All cordons, by node.
    pub fn cordons(&self) -> Result<Vec<Cordon>> {
        let sql = "SELECT system, node, since_ms, by, reason FROM cordons ORDER BY system, node";
        self.rows(sql, params![], cordon)
    }

    fn rows<T>(
        &self,
        sql: &str,
        asked: &[&dyn rusqlite::ToSql],
        row: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let database = self.database()?;
        let read = || -> rusqlite::Result<Vec<T>> { database.prepare(sql)?.query_map(asked, row)?.collect() };
        read().map_err(|source| JournalError::Database { path: self.path().to_owned(), source })
    }
}

fn plan(row: &Row<'_>) -> rusqlite::Result<KeptPlan> {
    Ok(KeptPlan {
        id: row.get(0)?,
        system: row.get(1)?,
        state: row.get(2)?,
        created_ms: row.get::<_, i64>(3)? as u64,
        version: row.get::<_, i64>(4)? as u64,
        document: row.get(5)?,
    })
}

fn cordon(row: &Row<'_>) -> rusqlite::Result<Cordon> {
    Ok(Cordon {
        system: row.get(0)?,
        node: row.get(1)?,
        since_ms: row.get::<_, i64>(2)? as u64,
        by: row.get(3)?,
        reason: row.get(4)?,
    })
}

/// Undoes the transaction where nothing was changed.
fn one(changed: usize) -> rusqlite::Result<usize> {
    if changed == 0 { Err(rusqlite::Error::StatementChangedRows(0)) } else { Ok(changed) }
}

fn moved(written: Result<()>, id: &str) -> Result<()> {
    match written {
        Err(JournalError::Database { source: rusqlite::Error::StatementChangedRows(0), .. }) => {
            Err(JournalError::PlanMoved { id: id.to_owned() })
        }
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diary::Kind;
    use crate::journal::Diary;

    fn kept(version: u64, state: &str) -> KeptPlan {
        KeptPlan {
            id: "abc".to_owned(),
            system: "s".to_owned(),
            state: state.to_owned(),
            created_ms: 3,
            version,
            document: format!("{{\"is\": \"{state}\"}}"),
        }
    }

    #[test]
    fn of_two_who_change_a_plan_at_a_time_only_one_does_and_only_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let line = |what: &str| [Line::own(1, Kind::Wanted, what)];
        journal.put_plan(&kept(0, "DRAFT"), &line("made")).unwrap();
        let again = journal.put_plan(&kept(0, "DRAFT"), &line("made twice")).unwrap_err();
        assert!(matches!(again, JournalError::PlanMoved { .. }), "{again}");
        journal.put_plan(&kept(1, "APPROVED"), &line("approved")).unwrap();
        assert!(journal.put_plan(&kept(1, "CANCELLED"), &line("late")).is_err());
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        let reading = journal.reading();
        assert_eq!(reading.plans_called("ab").unwrap(), [kept(2, "APPROVED")]);
        assert_eq!(reading.plans(Some("DRAFT"), 9).unwrap(), []);
        assert_eq!(reading.plans(None, 9).unwrap().len(), 1);
        assert!(journal.remove_plan("abc", 1, &[]).is_err());
        journal.remove_plan("abc", 2, &line("removed")).unwrap();
        assert_eq!(reading.plans_called("abc").unwrap(), []);
        let lines = reading.diary(&Diary { limit: 9, ..Diary::default() }).unwrap();
        let told: Vec<&str> = lines.iter().map(|line| line.what.as_str()).collect();
        assert_eq!(told, ["made", "approved", "removed"]);
    }

    #[test]
    fn the_last_word_on_a_node_stands_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let cordon = |since_ms: u64, by: &str| Cordon {
            system: "s".to_owned(),
            node: "n".to_owned(),
            since_ms,
            by: by.to_owned(),
            reason: "disk".to_owned(),
        };
        journal.cordon(&cordon(1, "ann"), &[]).unwrap();
        journal.cordon(&cordon(2, "bob"), &[]).unwrap();
        let reading = journal.reading();
        assert_eq!(reading.cordons().unwrap(), [cordon(2, "bob")]);
        journal.uncordon("s", "n", &[]).unwrap();
        assert_eq!(reading.cordons().unwrap(), []);
    }
}
