//! What an adapter keeps durably, so that the contract holds whatever dies: the highest term, epochs and holders of
//! partitions, migrations with their notes, and for each request what it asked for and what came of it.
//!
//! One SQLite file in the folder of the adapter, which one process has at a time. Every call is one transaction and on
//! the disk when it returns, so it blocks for a few milliseconds. What is refused and why is decided in [`rules`],
//! without any of this.

mod error;
mod file;
mod notes;
pub mod record;
mod requests;
pub mod rules;
mod shifts;

pub use error::LedgerError;
pub use notes::LedgerNotes;
pub use requests::{Admitted, Terms};

use crate::contract::{Answer, Asked, Refusal};
use isotherm_migration::{MigrationId, Term};
use isotherm_model::{NodeId, PartitionId, SystemId};
use record::{Begun, Content, Heard, Partition};
use rules::Leaders;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Result<T> = std::result::Result<T, LedgerError>;

/// How long an ended migration still explains that holders change: stores tell of it some time later.
const ECHO_MS: i64 = 60_000;

/// The ledger. Calls block, see above.
pub struct Ledger {
    inner: Mutex<Inner>,
    leaders: Leaders,
    /// Held, never read: the lock ends with the file.
    _lock: File,
}

struct Inner {
    sql: Connection,
    /// All partitions, as the file has them.
    partitions: HashMap<String, Kept>,
    /// Counts changes, so that an older look at the store can be told from a newer one.
    moment: Moment,
}

struct Kept {
    partition: Partition,
    /// When a request of it began or ended last.
    touched: Moment,
}

/// When, by the ledger's own count of what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Who held a partition at some moment, as the store told it.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// Before the store was asked.
    pub moment: Moment,
    /// The leader first.
    pub holders: &'a [NodeId],
}

/// What is so of a migration, as far as the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its partition.
    pub partition: Partition,
    /// The migration, if it was begun.
    pub begun: Option<Begun>,
}

impl Ledger {
    /// Opens the ledger in a folder, making both if needed, for the only process that may.
    pub fn open(folder: &Path, system: &SystemId, leaders: Leaders) -> Result<Self> {
        let lock = file::lock(folder)?;
        let sql = file::open(folder, system)?;
        let mut partitions = HashMap::new();
        {
            let mut all = sql.prepare("SELECT name, kept FROM partitions")?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                let kept = Kept { partition: read(&row.get::<_, String>(1)?)?, touched: Moment(0) };
                partitions.insert(row.get(0)?, kept);
            }
        }
        let inner = Mutex::new(Inner { sql, partitions, moment: Moment(0) });
        Ok(Self { inner, leaders, _lock: lock })
    }

    /// Removes the ledger of a folder, and with it everything that was promised.
    pub fn forget(folder: &Path) -> std::io::Result<()> {
        file::remove(folder)
    }

    /// Counts a start, and names it: revisions of the topology can be compared within it.
    pub fn incarnation(&self) -> Result<String> {
        let mut inner = self.lock();
        let changes = inner.sql.transaction()?;
        let id = text(&changes, "id")?.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let starts: u64 = text(&changes, "starts")?.and_then(|raw| raw.parse().ok()).unwrap_or(0) + 1;
        set_text(&changes, "id", &id)?;
        set_text(&changes, "starts", &starts.to_string())?;
        changes.commit()?;
        Ok(format!("{id}-{starts}"))
    }

    /// Hears a term: kept if it is the highest, refused if it is lower.
    pub fn hear(&self, term: Term) -> Result<std::result::Result<(), Refusal>> {
        let mut inner = self.lock();
        let changes = inner.sql.transaction()?;
        let heard = hear(&changes, term)?;
        changes.commit()?;
        Ok(heard)
    }

    /// A request that was heard.
    pub fn find(&self, request: &str) -> Result<Option<Heard>> {
        find(&self.lock().sql, request)
    }

    /// What happened so far, to be noted before the store is looked at.
    pub fn moment(&self) -> Moment {
        self.lock().moment
    }

    /// The partition after a look, with nothing written down: what a validation tells.
    pub fn preview(&self, partition: &PartitionId, look: &Look<'_>, now_ms: i64) -> Result<Partition> {
        let inner = self.lock();
        let explains = explains(&inner.sql, partition.name(), now_ms)?;
        Ok(inner.looked(partition.name(), look, self.leaders, &explains))
    }

    /// Takes looks at partitions, and returns the epochs that serve, in the same order.
    pub fn observe(&self, looks: &[(&PartitionId, Look<'_>)], now_ms: i64) -> Result<Vec<Partition>> {
        let mut inner = self.lock();
        let explaining = explaining(&inner.sql, now_ms)?;
        let none = BTreeSet::new();
        let mut found = Vec::with_capacity(looks.len());
        for (partition, look) in looks {
            let explains = explaining.get(partition.name()).unwrap_or(&none);
            found.push(inner.looked(partition.name(), look, self.leaders, explains));
        }
        let news: Vec<_> = looks
            .iter()
            .zip(&found)
            .map(|((id, _), partition)| (id.name(), partition))
            .filter(|(name, partition)| {
                inner.partitions.get(*name).is_none_or(|kept| kept.partition != **partition)
            })
            .collect();
        if !news.is_empty() {
            let changes = inner.sql.transaction()?;
            for (name, partition) in &news {
                put_partition(&changes, name, partition)?;
            }
            changes.commit()?;
            for (name, partition) in news {
                inner.remember(name, partition.clone());
            }
        }
        Ok(found)
    }

    /// What is so of a migration; `look` is what the store says, if it says anything.
    pub fn known(
        &self,
        partition: &PartitionId,
        migration: &MigrationId,
        look: Option<&Look<'_>>,
        now_ms: i64,
    ) -> Result<Option<Known>> {
        if let Some(look) = look {
            self.observe(&[(partition, look.clone())], now_ms)?;
        }
        let inner = self.lock();
        let Some(kept) = inner.partitions.get(partition.name()) else { return Ok(None) };
        Ok(Some(Known { partition: kept.partition.clone(), begun: begun(&inner.sql, migration)? }))
    }

    /// A migration that was begun.
    pub fn begun(&self, migration: &MigrationId) -> Result<Option<Begun>> {
        begun(&self.lock().sql, migration)
    }

    /// Every migration that was begun and has not ended, and those that ended since `since_ms`.
    pub fn migrations(&self, since_ms: i64) -> Result<Vec<Begun>> {
        let inner = self.lock();
        let mut all =
            inner.sql.prepare("SELECT kept FROM migrations WHERE ended_ms IS NULL OR ended_ms >= ?1")?;
        let rows = all.query_map([since_ms], |row| row.get::<_, String>(0))?;
        rows.map(|row| read(&row?)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A transaction that a panic interrupted was rolled back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn looked(
        &self,
        name: &str,
        look: &Look<'_>,
        leaders: Leaders,
        explains: &BTreeSet<String>,
    ) -> Partition {
        match self.partitions.get(name) {
            // What is older than the last request says nothing of what came of it.
            Some(kept) if kept.touched > look.moment => kept.partition.clone(),
            kept => rules::looked(kept.map(|kept| &kept.partition), look.holders, leaders, explains),
        }
    }

    fn remember(&mut self, name: &str, partition: Partition) {
        let touched = self.partitions.get(name).map_or(Moment(0), |kept| kept.touched);
        self.partitions.insert(name.to_owned(), Kept { partition, touched });
    }

    /// A request of the partition began or ended.
    fn touch(&mut self, name: &str) {
        self.moment.0 += 1;
        if let Some(kept) = self.partitions.get_mut(name) {
            kept.touched = self.moment;
        }
    }
}

fn hear(changes: &Transaction<'_>, term: Term) -> Result<std::result::Result<(), Refusal>> {
    let seen = text(changes, "term")?.and_then(|raw| raw.parse().ok()).map_or(Term(0), Term);
    if let Err(refusal) = rules::term(seen, term) {
        return Ok(Err(refusal));
    }
    if term > seen {
        set_text(changes, "term", &term.to_string())?;
    }
    Ok(Ok(()))
}

fn text(sql: &Connection, name: &str) -> Result<Option<String>> {
    let found = sql.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0));
    Ok(found.optional()?)
}

fn set_text(sql: &Connection, name: &str, value: &str) -> Result<()> {
    sql.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)", [name, value])?;
    Ok(())
}

fn find(sql: &Connection, request: &str) -> Result<Option<Heard>> {
    let row = sql.query_row("SELECT content, outcome FROM requests WHERE id = ?1", [request], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    row.optional()?.map(|(content, outcome)| heard(&content, &outcome)).transpose()
}

fn heard(content: &str, outcome: &str) -> Result<Heard> {
    Ok(Heard { content: read(content)?, outcome: read(outcome)? })
}

fn begun(sql: &Connection, migration: &MigrationId) -> Result<Option<Begun>> {
    let found = sql.query_row("SELECT kept FROM migrations WHERE id = ?1", [migration.as_str()], |row| {
        row.get::<_, String>(0)
    });
    found.optional()?.map(|kept| read(&kept)).transpose()
}

fn put_begun(sql: &Connection, begun: &Begun) -> Result<()> {
    sql.execute(
        "INSERT OR REPLACE INTO migrations (id, partition, ended_ms, kept) VALUES (?1, ?2, ?3, ?4)",
        params![
            begun.migration.id.as_str(),
            begun.migration.partition.name(),
            begun.ended_ms,
            written(begun)?
        ],
    )?;
    Ok(())
}

fn put_partition(sql: &Connection, name: &str, partition: &Partition) -> Result<()> {
    sql.execute(
        "INSERT OR REPLACE INTO partitions (name, kept) VALUES (?1, ?2)",
        [name, &written(partition)?],
    )?;
    Ok(())
}

/// Nodes of the partition's migrations that are under way or have just ended.
fn explains(sql: &Connection, partition: &str, now_ms: i64) -> Result<BTreeSet<String>> {
    Ok(explaining(sql, now_ms)?.remove(partition).unwrap_or_default())
}

fn explaining(sql: &Connection, now_ms: i64) -> Result<HashMap<String, BTreeSet<String>>> {
    let mut all =
        sql.prepare_cached("SELECT kept FROM migrations WHERE ended_ms IS NULL OR ended_ms >= ?1")?;
    let rows = all.query_map([now_ms - ECHO_MS], |row| row.get::<_, String>(0))?;
    let mut nodes: HashMap<String, BTreeSet<String>> = HashMap::new();
    for row in rows {
        let Begun { migration, .. } = read(&row?)?;
        let of = nodes.entry(migration.partition.name().to_owned()).or_default();
        of.extend([migration.origin.node().name().to_owned(), migration.target.name().to_owned()]);
    }
    Ok(nodes)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(LedgerError::Damaged)
}

fn written<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(LedgerError::Damaged)
}

/// Steps among requests, whose running ones are to go on.
fn steps(rows: Vec<Heard>) -> Vec<(Asked, Answer)> {
    let step = |heard: Heard| match (heard.content, heard.outcome) {
        (Content::Step(asked), record::Outcome::Step(answer)) => Some((asked, answer)),
        (Content::Step(_) | Content::Shift(_), _) => None,
    };
    rows.into_iter().filter_map(step).collect()
}
