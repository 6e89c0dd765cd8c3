//! The catalog: which segments count, how far every run of an agent is committed, what is missing.
//!
//! An SQLite database in WAL mode with `synchronous = FULL`, so that a transaction that returned is on the
//! disk. Numbers are stored as signed 64 bits; callers hold sequence numbers below 2^63.

use crate::error::OpenError;
use crate::history;
use crate::segment::{Written, next_hour};
use crate::write::{Gap, Run};
use isotherm_model::{NodeId, Seq, SystemId, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the tables below, and of the columns of segments.
pub const SCHEMA_VERSION: i64 = 4;

/// File of the catalog within the data folder.
pub(crate) const FILE: &str = "catalog.db";

/// "isot": tells the catalog from databases of other programs.
const APPLICATION_ID: i64 = 0x6973_6f74;

const TABLES: &str = "
    CREATE TABLE segments (
        path TEXT PRIMARY KEY,
        rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        level INTEGER NOT NULL,
        first_start_ms INTEGER NOT NULL,
        last_end_ms INTEGER NOT NULL,
        created_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX segments_by_time ON segments (last_end_ms, first_start_ms);
    CREATE INDEX segments_by_start ON segments (first_start_ms, level);
    CREATE TABLE runs (
        agent TEXT NOT NULL,
        boot TEXT NOT NULL,
        committed_seq INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (agent, boot)
    ) STRICT;
    CREATE TABLE gaps (
        agent TEXT NOT NULL,
        boot TEXT NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (agent, boot, first_seq)
    ) STRICT;
    CREATE TABLE nodes (
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        agent TEXT NOT NULL,
        first_watched_ms INTEGER,
        last_end_ms INTEGER NOT NULL,
        window_ms INTEGER NOT NULL,
        processes INTEGER NOT NULL,
        last_watched_ms INTEGER,
        listening TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (system, node)
    ) STRICT;
";

/// What makes the tables of version 1 those of version 2. Version 1 did not tell the last window of a node from the
/// last that was watched; the next window puts that right.
const FROM_VERSION_1: &str = "
    ALTER TABLE segments DROP COLUMN last_start_ms;
    ALTER TABLE segments DROP COLUMN sha256;
    ALTER TABLE nodes RENAME COLUMN first_complete_ms TO first_watched_ms;
    ALTER TABLE nodes ADD COLUMN last_watched_ms INTEGER;
    UPDATE nodes SET last_watched_ms = last_end_ms WHERE first_watched_ms IS NOT NULL;
";

/// What makes the tables of version 2 those above. Its segments lack the columns of latency and peers, and are
/// read without them until a merge rewrites them.
const FROM_VERSION_2: &str = "ALTER TABLE nodes ADD COLUMN listening TEXT NOT NULL DEFAULT '';";

/// What is known of a node from all windows of it that were ever committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Which node.
    pub node: NodeId,
    /// The agent that sent its newest window.
    pub agent: String,
    /// Start of its first window that was watched: complete, and with a process. `None` if it has none.
    pub first_watched: Option<Timestamp>,
    /// End of its last window that was watched; present together with the first.
    pub last_watched: Option<Timestamp>,
    /// End of its newest window.
    pub last_end: Timestamp,
    /// Length of its newest window, in milliseconds.
    pub window_ms: u32,
    /// Processes of the node at the end of its newest window.
    pub processes: u32,
    /// Addresses that it listened on in its newest window, as far as its agent knew.
    pub listening: Vec<SocketAddr>,
}

/// Batches that will never come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub batches: u64,
    /// The time they were about, in milliseconds; where two gaps overlap it counts twice.
    pub ms: u64,
}

/// A segment with the time it spans.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) written: Written,
    /// How often its rows were merged.
    pub(crate) level: u32,
    pub(crate) first_start: Timestamp,
    pub(crate) last_end: Timestamp,
}

/// Opens the catalog of a data folder for writing. It is created if it is not there, unless there is a
/// `segment` already: under an empty catalog that would count for nothing, and be removed.
pub(crate) fn open(dir: &Path, segment: Option<&Path>) -> Result<Connection, OpenError> {
    let path = dir.join(FILE);
    let mut connection = Connection::open(&path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = tables == 0 && version == 0 && application == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    if version > SCHEMA_VERSION {
        return Err(OpenError::Newer { path, found: version, known: SCHEMA_VERSION });
    }
    if fresh && let Some(segment) = segment {
        return Err(OpenError::CatalogMissing { dir: dir.to_owned(), segment: segment.to_owned() });
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    if version == SCHEMA_VERSION {
        return Ok(connection);
    }
    let transaction = connection.transaction()?;
    if fresh {
        transaction.execute_batch(TABLES)?;
    }
    if version < 4 {
        transaction.execute_batch(history::TABLES)?;
    }
    if !fresh && version < 2 {
        transaction.execute_batch(FROM_VERSION_1)?;
    }
    if !fresh && version < 3 {
        transaction.execute_batch(FROM_VERSION_2)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    Ok(connection)
}

/// Opens the catalog beside its writer. It cannot be changed through this connection, and what is read through
/// it is of one moment, that of the first question.
pub(crate) fn open_to_read(dir: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(
        dir.join(FILE),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch("BEGIN")?;
    Ok(connection)
}

/// Path and size of every segment that counts.
pub(crate) fn segment_sizes(connection: &Connection) -> Result<Vec<(PathBuf, u64)>, rusqlite::Error> {
    connection
        .prepare("SELECT path, bytes FROM segments ORDER BY path")?
        .query_map([], |row| {
            Ok((PathBuf::from(row.get::<_, String>(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
        })?
        .collect()
}

/// Paths of the segments with a window that overlaps `start .. end`.
pub(crate) fn segments_overlapping(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT path FROM segments WHERE last_end_ms > ?1 AND first_start_ms < ?2 ORDER BY path",
        )?
        .query_map(params![signed(start.as_ms()), signed(end.as_ms())], |row| row.get(0))?
        .collect()
}

/// Starts of the hours that have a segment which overlaps `start .. end`, in order. A segment lies in one hour.
pub(crate) fn hours(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<Timestamp>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT DISTINCT first_start_ms / 3600000 AS hour FROM segments
             WHERE last_end_ms > ?1 AND first_start_ms < ?2 ORDER BY hour",
        )?
        .query_map(params![signed(start.as_ms()), signed(end.as_ms())], |row| {
            Ok(time(row.get::<_, i64>(0)? * 3_600_000))
        })?
        .collect()
}

/// The last committed sequence number of a run; `None` before the first.
pub(crate) fn committed(connection: &Connection, run: &Run) -> Result<Option<Seq>, rusqlite::Error> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT committed_seq FROM runs WHERE agent = ?1 AND boot = ?2")?
        .query_row([run.agent.as_str(), run.boot.as_str()], |row| row.get(0))
        .optional()?;
    Ok(number.and_then(|number| Seq::new(number.cast_unsigned())))
}

/// Every node that was ever reported, by name. Names that are none are skipped: only this store writes them.
pub(crate) fn nodes(connection: &Connection) -> Result<Vec<NodeReport>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT system, node, agent, first_watched_ms, last_watched_ms, last_end_ms, window_ms, processes,
                listening
         FROM nodes ORDER BY system, node",
    )?;
    let rows = statement.query_map([], |row| {
        let system = SystemId::new(row.get::<_, String>(0)?);
        let name: String = row.get(1)?;
        let Some(node) = system.and_then(|system| NodeId::new(system, name)).ok() else {
            return Ok(None);
        };
        Ok(Some(NodeReport {
            node,
            agent: row.get(2)?,
            first_watched: row.get::<_, Option<i64>>(3)?.map(time),
            last_watched: row.get::<_, Option<i64>>(4)?.map(time),
            last_end: time(row.get(5)?),
            window_ms: row.get(6)?,
            processes: row.get(7)?,
            listening: addresses(&row.get::<_, String>(8)?),
        }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// What is known of one node.
pub(crate) fn node(
    connection: &Connection,
    node: &NodeId,
) -> Result<Option<(String, Timestamp)>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT agent, last_end_ms FROM nodes WHERE system = ?1 AND node = ?2")?
        .query_row([node.system().as_str(), node.name()], |row| Ok((row.get(0)?, time(row.get(1)?))))
        .optional()
}

/// Makes a segment count.
pub(crate) fn add_segment(
    transaction: &Transaction<'_>,
    segment: &Segment,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached("INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            segment.written.path.to_string_lossy(),
            signed(segment.written.rows),
            signed(segment.written.bytes),
            segment.level,
            signed(segment.first_start.as_ms()),
            signed(segment.last_end.as_ms()),
            signed(now.as_ms()),
        ])
        .map(drop)
}

/// Makes a segment count no longer.
pub(crate) fn remove_segment(
    transaction: &Transaction<'_>,
    segment: &Segment,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached("DELETE FROM segments WHERE path = ?1")?
        .execute([segment.written.path.to_string_lossy()])
        .map(drop)
}

/// The oldest segments of an hour that have a level and at most so many rows.
pub(crate) fn mergeable(
    connection: &Connection,
    hour: Timestamp,
    level: u32,
    max_rows: u64,
    limit: usize,
) -> Result<Vec<Segment>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT path, rows, bytes, first_start_ms, last_end_ms FROM segments
             WHERE first_start_ms >= ?1 AND first_start_ms < ?2 AND level = ?3 AND rows <= ?4
             ORDER BY created_ms, path LIMIT ?5",
        )?
        .query_map(
            params![
                signed(hour.as_ms()),
                signed(next_hour(hour).as_ms()),
                level,
                signed(max_rows),
                signed(limit as u64)
            ],
            |row| {
                let written = Written {
                    path: PathBuf::from(row.get::<_, String>(0)?),
                    rows: row.get::<_, i64>(1)?.cast_unsigned(),
                    bytes: row.get::<_, i64>(2)?.cast_unsigned(),
                };
                let (first_start, last_end) = (time(row.get(3)?), time(row.get(4)?));
                Ok(Segment { written, level, first_start, last_end })
            },
        )?
        .collect()
}

/// The hours with a level below `levels` of which they have at least `enough` segments with at most so many rows.
pub(crate) fn mergeable_hours(
    connection: &Connection,
    levels: u32,
    max_rows: u64,
    enough: usize,
) -> Result<Vec<Timestamp>, rusqlite::Error> {
    connection
        .prepare(
            "SELECT DISTINCT first_start_ms / 3600000 AS hour FROM segments WHERE level < ?1 AND rows <= ?2
             GROUP BY hour, level HAVING count(*) >= ?3 ORDER BY hour",
        )?
        .query_map(params![levels, signed(max_rows), signed(enough as u64)], |row| {
            Ok(time(row.get::<_, i64>(0)? * 3_600_000))
        })?
        .collect()
}

/// What the gaps of each agent that overlap `start .. end` make up.
pub(crate) fn gaps(
    connection: &Connection,
    start: Timestamp,
    end: Timestamp,
) -> Result<BTreeMap<String, Missing>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT agent, last_seq - first_seq, min(end_ms, ?2) - max(start_ms, ?1) FROM gaps
         WHERE end_ms > ?1 AND start_ms < ?2",
    )?;
    let mut rows = statement.query(params![signed(start.as_ms()), signed(end.as_ms())])?;
    let mut missing: BTreeMap<String, Missing> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (after_first, ms): (i64, i64) = (row.get(1)?, row.get(2)?);
        let sum = missing.entry(row.get(0)?).or_default();
        sum.batches = sum.batches.saturating_add(after_first.cast_unsigned() + 1);
        sum.ms = sum.ms.saturating_add(ms.cast_unsigned());
    }
    Ok(missing)
}

/// Raises the high-water mark of a run.
pub(crate) fn set_committed(
    transaction: &Transaction<'_>,
    run: &Run,
    seq: Seq,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO runs VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
             SET committed_seq = excluded.committed_seq, updated_ms = excluded.updated_ms",
        )?
        .execute(params![run.agent.as_str(), run.boot.as_str(), signed(seq.get()), signed(now.as_ms())])
        .map(drop)
}

/// Records batches that will never come.
pub(crate) fn add_gap(transaction: &Transaction<'_>, run: &Run, gap: &Gap) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            run.agent.as_str(),
            run.boot.as_str(),
            signed(gap.first.get()),
            signed(gap.last.get()),
            signed(gap.time.start().as_ms()),
            signed(gap.time.end().as_ms()),
            gap.reason,
        ])
        .map(drop)
}

/// Records that a node was reported. An older window changes neither the newest end nor what goes with it.
pub(crate) fn report_node(transaction: &Transaction<'_>, report: &NodeReport) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO nodes (system, node, agent, first_watched_ms, last_watched_ms, last_end_ms,
                                window_ms, processes, listening)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET
             first_watched_ms = coalesce(min(first_watched_ms, excluded.first_watched_ms),
                                         first_watched_ms, excluded.first_watched_ms),
             last_watched_ms = coalesce(max(last_watched_ms, excluded.last_watched_ms),
                                        last_watched_ms, excluded.last_watched_ms),
             agent = iif(excluded.last_end_ms >= last_end_ms, excluded.agent, agent),
             window_ms = iif(excluded.last_end_ms >= last_end_ms, excluded.window_ms, window_ms),
             processes = iif(excluded.last_end_ms >= last_end_ms, excluded.processes, processes),
             listening = iif(excluded.last_end_ms >= last_end_ms, excluded.listening, listening),
             last_end_ms = max(last_end_ms, excluded.last_end_ms)",
        )?
        .execute(params![
            report.node.system().as_str(),
            report.node.name(),
            report.agent,
            report.first_watched.map(|at| signed(at.as_ms())),
            report.last_watched.map(|at| signed(at.as_ms())),
            signed(report.last_end.as_ms()),
            report.window_ms,
            report.processes,
            report.listening.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "),
        ])
        .map(drop)
}

/// Addresses as [`report_node`] writes them.
fn addresses(text: &str) -> Vec<SocketAddr> {
    text.split(' ').filter_map(|address| address.parse().ok()).collect()
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn time(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms.cast_unsigned())
}
