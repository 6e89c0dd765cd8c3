//! Reading the journal, also beside whoever writes it.

use super::{About, Entry, Freeze, JournalError, Result};
use crate::diary::{Kind, Line};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which lines of the diary.
#[derive(Debug, Clone, Default)]
pub struct Diary {
    /// Only of this migration.
    pub migration: Option<String>,
    /// Only of this partition, `system/name`.
    pub partition: Option<String>,
    /// Only lines from then on.
    pub since_ms: u64,
    /// Only lines with a higher number.
    pub after: u64,
    /// The newest so many, or with `after` the oldest.
    pub limit: u32,
}

/// Which migrations.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Ended ones too.
    pub ended: bool,
    /// The newest so many.
    pub limit: u32,
}

/// Reads a journal.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(super) path: PathBuf,
}

impl Reading {
    /// Reads the journal at this path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn database(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Connection> {
            let database = Connection::open_with_flags(&self.path, flags)?;
            database.busy_timeout(Duration::from_secs(10))?;
            Ok(database)
        };
        open().map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the database.
    pub(super) fn asked<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        question(&self.database()?)
            .map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    /// Lines of the diary, by number.
    pub fn diary(&self, asked: &Diary) -> Result<Vec<Line>> {
        let order = if asked.after > 0 { "ASC" } else { "DESC" };
        let sql = format!(
            "SELECT number, at_ms, migration, partition, kind, who, what, why FROM diary
             WHERE (?1 IS NULL OR migration = ?1) AND (?2 IS NULL OR partition = ?2) AND at_ms >= ?3 AND number > ?4
             ORDER BY number {order} LIMIT ?5"
        );
        let database = self.database()?;
        let read = || -> rusqlite::Result<Vec<Line>> {
            let mut statement = database.prepare(&sql)?;
            let asked = params![
                asked.migration,
                asked.partition,
                asked.since_ms as i64,
                asked.after as i64,
                asked.limit
            ];
            let mut lines: Vec<Line> =
                statement.query_map(asked, line)?.collect::<rusqlite::Result<Vec<_>>>()?;
            lines.sort_by_key(|line| line.number);
            Ok(lines)
        };
        read().map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    /// Migrations, the newest first.
    pub fn migrations(&self, asked: &Listed) -> Result<Vec<Entry>> {
        let sql = "SELECT about, migration FROM migrations WHERE ?1 OR ended_ms IS NULL
                   ORDER BY created_ms DESC, id DESC LIMIT ?2";
        entries(&self.database()?, &self.path, sql, params![asked.ended, asked.limit])
    }

    /// Those that were begun at a moment, milliseconds since 1970, or waited to be, and had not ended, as far as it is
    /// written; by system and partition. None where there is no journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn migrations_open(&self, at_ms: u64) -> Result<Vec<Entry>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let sql = "SELECT about, migration FROM migrations
                   WHERE created_ms <= ?1 AND (ended_ms IS NULL OR ended_ms > ?1) ORDER BY system, partition";
        entries(&self.database()?, &self.path, sql, params![at_ms as i64])
    }

    /// One of them.
    pub fn migration(&self, id: &str) -> Result<Option<Entry>> {
        let sql = "SELECT about, migration FROM migrations WHERE id = ?1";
        Ok(entries(&self.database()?, &self.path, sql, params![id])?.pop())
    }

    /// The freeze that stands.
    pub fn frozen(&self) -> Result<Option<Freeze>> {
        frozen(&self.database()?, &self.path)
    }
}

pub(super) fn unfinished(database: &Connection, path: &Path) -> Result<Vec<Entry>> {
    let sql = "SELECT about, migration FROM migrations WHERE ended_ms IS NULL ORDER BY created_ms, id";
    entries(database, path, sql, params![])
}

pub(super) fn frozen(database: &Connection, path: &Path) -> Result<Option<Freeze>> {
    let frozen = database
        .query_row("SELECT frozen FROM controller WHERE id = 1", [], |row| row.get::<_, Option<String>>(0))
        .optional()
        .map_err(|source| JournalError::Database { path: path.to_owned(), source })?;
    frozen.flatten().map(|text| parsed(path, "the freeze", &text)).transpose()
}

pub(super) fn entries(
    database: &Connection,
    path: &Path,
    sql: &str,
    asked: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Entry>> {
    let failed = |source| JournalError::Database { path: path.to_owned(), source };
    let mut statement = database.prepare(sql).map_err(failed)?;
    let rows = statement.query_map(asked, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let rows = rows.map_err(failed)?.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
    let entry = |(about, migration): (String, String)| {
        let about: About = parsed(path, "what is told of a migration", &about)?;
        Ok(Entry { about, migration: parsed(path, "a migration", &migration)? })
    };
    rows.into_iter().map(entry).collect()
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let kind: String = row.get(4)?;
    Ok(Line {
        number: row.get::<_, i64>(0)? as u64,
        at_ms: row.get::<_, i64>(1)? as u64,
        migration: row.get(2)?,
        partition: row.get(3)?,
        // A word that nobody wrote is told, and no more.
        kind: Kind::from_text(&kind).unwrap_or(Kind::Noticed),
        who: row.get(5)?,
        what: row.get(6)?,
        why: row.get(7)?,
    })
}

pub(super) fn parsed<T: serde::de::DeserializeOwned>(path: &Path, what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| JournalError::Foreign {
        path: path.to_owned(),
        what: format!("{what} cannot be read: {error}"),
    })
}
