//! Where every migration is, durably, and the diary beside it.
//!
//! One SQLite file in the data folder. Each opening is a new term: whoever wrote under an older one can write no more.
//! A migration is written together with the lines that tell of it, in one transaction. The file also keeps the clock
//! that migrations live by, which never falls and stands still while nobody runs.

mod plans;
mod read;
mod repairs;
pub mod score;
mod shifts;
pub mod trust;

use crate::diary::Line;
use isotherm_migration::{Epoch, Migration, MigrationId, Moment, Phase, Term};
pub use plans::{Cordon, KeptPlan};
pub use read::{Diary, Listed, Reading};
use rusqlite::{Connection, ErrorCode, params};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file within the data folder.
pub const FILE: &str = "migrations.sqlite";

/// "isom".
const APPLICATION_ID: i64 = 0x6973_6f6d;

/// Of the tables, and of the migrations that are written in them.
const VERSION: i64 = 1;

/// Lines of the diary that are kept. At a few hundred for each migration, those of thousands.
const MOST_LINES: i64 = 2_000_000;

const TABLES: &str = "
    CREATE TABLE controller (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        term INTEGER NOT NULL,
        clock_ms INTEGER NOT NULL,
        frozen TEXT
    ) STRICT;
    INSERT INTO controller VALUES (1, 0, 0, NULL);
    CREATE TABLE migrations (
        id TEXT PRIMARY KEY,
        system TEXT NOT NULL,
        partition TEXT NOT NULL,
        phase TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        about TEXT NOT NULL,
        migration TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX one_for_each_partition ON migrations (system, partition) WHERE ended_ms IS NULL;
    CREATE INDEX migrations_by_creation ON migrations (created_ms);
    CREATE TABLE diary (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        migration TEXT,
        partition TEXT,
        kind TEXT NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
    CREATE INDEX diary_by_migration ON diary (migration, number);
";

/// Why nothing was written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The partition is being moved already.
    #[error("{partition} is being moved already, by migration {by}")]
    Moving {
        /// The partition.
        partition: String,
        /// The other migration.
        by: String,
    },
    /// The plan was written by somebody else since it was read.
    #[error("plan {id} has changed meanwhile; look at it again")]
    PlanMoved {
        /// Its id.
        id: String,
    },
    /// Somebody else has opened the journal since.
    #[error("another controller has taken over: it has term {theirs}, this one {ours}")]
    Superseded {
        /// The newer term.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// The file is none of ours, or of another version.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be used.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

type Result<T> = std::result::Result<T, JournalError>;

/// A migration with what a machine need not know.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The migration.
    pub migration: Migration,
    /// The rest.
    pub about: About,
}

/// Why a migration was begun, and what is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// When it was created, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Who wanted it: a person, or "isotherm".
    pub by: String,
    /// Why.
    pub reason: String,
    /// What made it begin.
    pub trigger: Trigger,
    /// The last words of a refusal, or why nothing is known of a call; absent once a step has succeeded.
    pub words: Option<String>,
    /// What comparisons of copy and source found, the oldest first; the newest [`MOST_COMPARISONS`].
    #[serde(default)]
    pub compared: Vec<Compared>,
    /// Whether it ended with the start restored, after it had begun to have effects and without anybody's wish to give
    /// it up before the switch.
    #[serde(default)]
    pub rolled_back: bool,
}

/// Comparisons of one migration that are kept.
pub const MOST_COMPARISONS: usize = 16;

/// What a comparison of copy and source found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// When it was told, milliseconds since 1970.
    pub at_ms: u64,
    /// The request.
    pub request: String,
    /// The epoch that served.
    pub epoch: Epoch,
    /// Whether they are equal.
    pub equal: bool,
    /// What was compared and found, in the adapter's words.
    pub evidence: String,
}

impl About {
    /// Who goes first where limits are short, the lowest: what a failure took away is made again before anything else,
    /// then by creation.
    #[must_use]
    pub fn turn(&self) -> (bool, u64) {
        (self.trigger != Trigger::Failure, self.created_ms)
    }
}

/// What made a migration begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Somebody.
    Manual,
    /// The gate of the risk model.
    Gate,
    /// A risk above the policy's threshold.
    Threshold,
    /// A node that failed.
    Failure,
    /// A plan that somebody approved.
    Plan,
}

impl Trigger {
    /// The word used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gate => "gate",
            Self::Threshold => "threshold",
            Self::Failure => "failure",
            Self::Plan => "plan",
        }
    }

    /// Whether isotherm began it by itself, and not by somebody's word.
    #[must_use]
    pub fn is_own(self) -> bool {
        match self {
            Self::Gate | Self::Threshold | Self::Failure => true,
            Self::Manual | Self::Plan => false,
        }
    }
}

/// Nothing new is begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// The journal of the controller of one term.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    database: Connection,
    term: Term,
    base: Moment,
    opened: Instant,
}

impl Journal {
    /// Opens the journal of a data folder under a new term; it is made if there is none.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let failed = |source| JournalError::Database { path: path.clone(), source };
        let mut database = Connection::open(&path).map_err(failed)?;
        let (term, clock) = prepare(&mut database, &path)?;
        Ok(Self { path, database, term: Term(term), base: Moment(clock), opened: Instant::now() })
    }

    /// The term that this opening has.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The moment on the clock of migrations.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.base.after_ms(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Someone who only reads.
    pub fn reading(&self) -> Reading {
        Reading::new(self.path.clone())
    }

    /// Writes a new migration.
    pub fn begin(&mut self, entry: &Entry, lines: &[Line]) -> Result<()> {
        let spec = entry.migration.spec();
        let (system, partition) = (spec.partition.system().to_string(), spec.partition.name().to_owned());
        let (about, migration) = (json(&entry.about), json(&entry.migration));
        let written = self.transact(lines, |transaction| {
            transaction.execute(
                "INSERT INTO migrations (id, system, partition, phase, created_ms, ended_ms, about, migration)
                 VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7)",
                params![
                    spec.id.as_str(),
                    system,
                    partition,
                    name_of(entry.migration.phase()),
                    entry.about.created_ms as i64,
                    about,
                    migration
                ],
            )
        });
        match written {
            Err(JournalError::Database { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
            {
                let by = self.database.query_row(
                    "SELECT id FROM migrations WHERE system = ?1 AND partition = ?2 AND ended_ms IS NULL",
                    params![system, partition],
                    |row| row.get(0),
                );
                let by = by.map_err(|source| self.failed(source))?;
                Err(JournalError::Moving { partition: spec.partition.to_string(), by })
            }
            written => written,
        }
    }

    /// Writes what a migration has become.
    pub fn write(&mut self, entry: &Entry, lines: &[Line]) -> Result<()> {
        let (about, migration) = (json(&entry.about), json(&entry.migration));
        self.transact(lines, |transaction| {
            if let Some(at_ms) = entry.about.ended_ms.filter(|_| entry.about.rolled_back) {
                let spec = entry.migration.spec();
                let why = format!("migration {} of {} was undone", spec.id, spec.partition);
                trust::demote(transaction, spec.partition.system().as_str(), at_ms, &why)?;
            }
            transaction.execute(
                "UPDATE migrations SET phase = ?2, ended_ms = ?3, about = ?4, migration = ?5 WHERE id = ?1",
                params![
                    entry.migration.spec().id.as_str(),
                    name_of(entry.migration.phase()),
                    entry.about.ended_ms.map(|ms| ms as i64),
                    about,
                    migration
                ],
            )
        })
    }

    /// Writes lines that belong to no change of a migration.
    pub fn note(&mut self, lines: &[Line]) -> Result<()> {
        self.transact(lines, |_| Ok(0))
    }

    /// Freezes, or with `None` ends it.
    pub fn freeze(&mut self, freeze: Option<&Freeze>, line: Line) -> Result<()> {
        let frozen = freeze.map(json);
        self.transact(&[line], |transaction| {
            transaction.execute("UPDATE controller SET frozen = ?1 WHERE id = 1", params![frozen])
        })
    }

    /// All that have not ended, by creation.
    pub fn unfinished(&self) -> Result<Vec<Entry>> {
        read::unfinished(&self.database, &self.path)
    }

    /// The freeze that stands.
    pub fn frozen(&self) -> Result<Option<Freeze>> {
        read::frozen(&self.database, &self.path)
    }

    /// Whether a migration of this id was ever written.
    pub fn knows(&self, id: &MigrationId) -> Result<bool> {
        let known = "SELECT EXISTS (SELECT 1 FROM migrations WHERE id = ?1)";
        self.database
            .query_row(known, params![id.as_str()], |row| row.get(0))
            .map_err(|source| self.failed(source))
    }

    fn transact(
        &mut self,
        lines: &[Line],
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        let (ours, now) = (self.term.0, self.now());
        let write = || -> rusqlite::Result<Option<u64>> {
            let transaction =
                self.database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let theirs: i64 =
                transaction.query_row("SELECT term FROM controller WHERE id = 1", [], |row| row.get(0))?;
            if theirs as u64 != ours {
                return Ok(Some(theirs as u64));
            }
            work(&transaction)?;
            transaction.execute(
                "UPDATE controller SET clock_ms = max(clock_ms, ?1) WHERE id = 1",
                params![now.0 as i64],
            )?;
            for line in lines {
                insert(&transaction, line)?;
            }
            if !lines.is_empty() {
                let last = transaction.last_insert_rowid();
                transaction.execute("DELETE FROM diary WHERE number <= ?1", params![last - MOST_LINES])?;
            }
            transaction.commit()?;
            Ok(None)
        };
        match write() {
            Ok(None) => Ok(()),
            Ok(Some(theirs)) => Err(JournalError::Superseded { theirs, ours }),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> JournalError {
        JournalError::Database { path: self.path.clone(), source }
    }
}

/// Writes a line of the diary.
fn insert(transaction: &rusqlite::Transaction<'_>, line: &Line) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT INTO diary (at_ms, migration, partition, kind, who, what, why)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            line.at_ms as i64,
            line.migration,
            line.partition,
            line.kind.as_str(),
            line.who,
            line.what,
            line.why
        ],
    )
}

/// Makes the tables where there are none, and takes the next term. Returns it and the clock.
fn prepare(database: &mut Connection, path: &Path) -> Result<(u64, u64)> {
    let failed = |source| JournalError::Database { path: path.to_owned(), source };
    database.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    let mut work = || -> rusqlite::Result<std::result::Result<(u64, u64), String>> {
        let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let application: i64 = database.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if tables > 0 && application != APPLICATION_ID {
            return Ok(Err("it is a database of another program".to_owned()));
        }
        if tables > 0 && version != VERSION {
            let what = format!("it is of version {version}, and this isotherm knows {VERSION}");
            return Ok(Err(what));
        }
        database.pragma_update(None, "journal_mode", "wal")?;
        database.pragma_update(None, "synchronous", "full")?;
        let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if tables == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        transaction.execute_batch(repairs::TABLE)?;
        transaction.execute_batch(shifts::TABLE)?;
        transaction.execute_batch(plans::TABLES)?;
        transaction.execute_batch(score::TABLES)?;
        transaction.execute_batch(trust::TABLES)?;
        transaction.execute("UPDATE controller SET term = term + 1 WHERE id = 1", [])?;
        let taken =
            transaction.query_row("SELECT term, clock_ms FROM controller WHERE id = 1", [], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
            })?;
        transaction.commit()?;
        Ok(Ok(taken))
    };
    work().map_err(failed)?.map_err(|what| JournalError::Foreign { path: path.to_owned(), what })
}

/// The name of a phase, as it is kept and told: `NEEDS_OPERATOR`.
#[must_use]
pub fn name_of(phase: Phase) -> String {
    let name = serde_json::to_value(phase).ok().and_then(|name| name.as_str().map(str::to_owned));
    let mut told = String::new();
    for (at, letter) in name.unwrap_or_default().char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            told.push('_');
        }
        told.push(letter.to_ascii_uppercase());
    }
    told
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("states have no keys but text")
}

#[cfg(test)]
mod tests;
