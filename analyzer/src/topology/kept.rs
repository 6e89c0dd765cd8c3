//! The topology as the cycles had it, kept beside the telemetry so that what was decided can be decided again.
//!
//! A database of its own in the data folder. A row has all of a topology, or what differs from the row before; the
//! first of each day and of each start has all of it. It is written before the cycle that it is of, and as old as the
//! oldest window at most. Locators and addresses are not in it: no decision looks at them.

mod row;

use super::{Source, Topology};
use anyhow::{Context, Result, ensure};
use isotherm_model::Timestamp;
use isotherm_proto::ShiftReads;
use row::Row;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file within the data folder.
pub(crate) const FILE: &str = "topology.sqlite";

/// "isot", as in the catalog.
const APPLICATION_ID: i64 = 0x6973_6f74;

/// Of the table below and of what is in it: whoever changes the types of rows counts it up.
const VERSION: i64 = 1;

const TABLE: &str = "
    CREATE TABLE topology (
        at_ms INTEGER PRIMARY KEY,
        whole INTEGER NOT NULL,
        content BLOB NOT NULL
    ) STRICT;
";

/// Fast, and a tenth of the size.
const LEVEL: i32 = 1;

const DAY_MS: u64 = 86_400_000;

/// More than a row of ours takes: two million partitions on three nodes each.
const MOST_BYTES: usize = 1 << 30;

/// Writes down topologies.
pub(crate) struct Log {
    path: PathBuf,
    database: Connection,
    last: Option<Last>,
}

struct Last {
    at: Timestamp,
    whole_day: u64,
    given: u64,
    judged: Topology,
}

impl Log {
    /// Opens the log of a data folder; it is made if there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let open = || -> Result<Connection> {
            let mut database = Connection::open(&path)?;
            database.busy_timeout(Duration::from_secs(10))?;
            let tables: i64 =
                database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if tables > 0 {
                check(&database)?;
                return Ok(database);
            }
            database.pragma_update(None, "journal_mode", "wal")?;
            let transaction = database.transaction()?;
            transaction.execute_batch(TABLE)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.commit()?;
            Ok(database)
        };
        let database = open().with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self { path, database, last: None })
    }

    /// Writes down what the cycle of `at` has, if it is another one than before; where nothing is on record, `oldest`
    /// says how far back somebody can ask.
    pub(crate) fn keep(
        &mut self,
        at: Timestamp,
        topology: &Topology,
        oldest: impl FnOnce() -> Option<Timestamp>,
    ) -> Result<()> {
        let day = at.as_ms() / DAY_MS;
        let before = self.last.as_ref().filter(|last| last.at < at && last.whole_day == day);
        if before.is_some_and(|last| last.given == topology.revision) {
            return Ok(());
        }
        let judged = row::judged(topology);
        let row = Row::between(before.map(|last| &last.judged), &judged);
        let whole = before.is_none();
        let write = || -> Result<()> {
            let content = zstd::bulk::compress(&row.encode()?, LEVEL)?;
            let insert = "INSERT OR REPLACE INTO topology (at_ms, whole, content) VALUES (?1, ?2, ?3)";
            self.database.execute(insert, params![at.as_ms() as i64, whole, content])?;
            if let Some(oldest) = whole.then(oldest).flatten() {
                let gone = "DELETE FROM topology WHERE at_ms < \
                            (SELECT max(at_ms) FROM topology WHERE whole AND at_ms <= ?1)";
                self.database.execute(gone, params![oldest.as_ms() as i64])?;
            }
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.last = Some(Last { at, whole_day: day, given: topology.revision, judged });
        Ok(())
    }
}

/// Reads them again, in the order of time.
pub(crate) struct Past {
    path: PathBuf,
    database: Connection,
    /// When the next row is of, and the topology before it.
    topology: Option<(Timestamp, Arc<Topology>)>,
}

impl Past {
    /// Opens the log of a data folder; `None` if it has none.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let open = || -> Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let database = Connection::open_with_flags(&path, flags)?;
            database.busy_timeout(Duration::from_secs(10))?;
            check(&database)?;
            Ok(database)
        };
        let database = open().with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Some(Self { path, database, topology: None }))
    }

    /// The newest topology on record that is not after `at`, and when it was written; it is written anew every day.
    pub(crate) fn newest(&mut self, at: Timestamp) -> Result<Option<(Timestamp, Arc<Topology>)>> {
        self.at(at)?;
        Ok(self.topology.clone())
    }

    /// The topology that the cycle of `at` had; `None` before the first on record. Asked in the order of time.
    pub(crate) fn at(&mut self, at: Timestamp) -> Result<Option<Arc<Topology>>> {
        let read = |past: &mut Self| -> Result<()> {
            let from = match &past.topology {
                Some((known, _)) => known.as_ms() as i64 + 1,
                None => past
                    .database
                    .query_row(
                        "SELECT max(at_ms) FROM topology WHERE whole AND at_ms <= ?1",
                        params![at.as_ms() as i64],
                        |row| row.get::<_, Option<i64>>(0),
                    )
                    .optional()?
                    .flatten()
                    .unwrap_or(i64::MAX),
            };
            let rows =
                "SELECT at_ms, whole, content FROM topology WHERE at_ms BETWEEN ?1 AND ?2 ORDER BY at_ms";
            let mut rows = past.database.prepare_cached(rows)?;
            let mut rows = rows.query(params![from, at.as_ms() as i64])?;
            while let Some(row) = rows.next()? {
                let (at_ms, whole): (i64, bool) = (row.get(0)?, row.get(1)?);
                let plain = zstd::bulk::decompress(row.get_ref(2)?.as_blob()?, MOST_BYTES)?;
                let content = Row::decode(&plain)?;
                let before = past.topology.take().filter(|_| !whole).map(|(_, topology)| topology);
                ensure!(whole || before.is_some(), "a change at {at_ms} follows nothing");
                let mut topology = before.map(Arc::unwrap_or_clone).unwrap_or_default();
                content.apply(&mut topology)?;
                past.topology = Some((Timestamp::from_ms(at_ms.try_into()?), Arc::new(topology)));
            }
            Ok(())
        };
        read(self).with_context(|| format!("cannot use {}", self.path.display()))?;
        Ok(self.topology.as_ref().map(|(_, topology)| Arc::clone(topology)))
    }
}

fn check(database: &Connection) -> Result<()> {
    let application: i64 = database.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    ensure!(application == APPLICATION_ID, "it is a database of another program");
    ensure!(version == VERSION, "it is of version {version}, and this isotherm knows {VERSION}");
    Ok(())
}

impl Source {
    /// The record of what a source said, which is as fresh as it was.
    fn recorded(shift_reads: ShiftReads) -> Self {
        Self { shift_reads, ..Self::configured() }
    }
}

#[cfg(test)]
mod tests;
