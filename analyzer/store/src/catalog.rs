//! The catalog: which segments count, how far every run of an agent is committed, what is missing.
//!
//! An SQLite database in WAL mode with `synchronous = FULL`, so that a transaction that returned is on the
//! disk. Numbers are stored as signed 64 bits; callers hold sequence numbers below 2^63.

mod segments;
mod upkeep;
mod version;

use crate::write::{Gap, Run};
use isotherm_model::{AgentId, BootId, NodeId, Seq, SystemId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
pub(crate) use segments::{
    Segment, add_segment, counts, hours, mergeable, mergeable_hours, of_hour, remove_segment,
    rows_overlapping, segments, segments_overlapping, uncompacted,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
pub use upkeep::{LateWindows, Retired};
pub(crate) use upkeep::{
    Settled, count_late, count_retired, forget_before, hour_sizes, late, retired, settle, settled,
};
pub use version::SCHEMA_VERSION;
pub(crate) use version::{check_readable, open, open_to_read};

/// File of the catalog within the data folder.
pub(crate) const FILE: &str = "catalog.db";

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

/// The last committed sequence number of a run; `None` before the first.
pub(crate) fn committed(connection: &Connection, run: &Run) -> Result<Option<Seq>, rusqlite::Error> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT committed_seq FROM runs WHERE agent = ?1 AND boot = ?2")?
        .query_row([run.agent.as_str(), run.boot.as_str()], |row| row.get(0))
        .optional()?;
    Ok(number.and_then(|number| Seq::new(number.cast_unsigned())))
}

/// How far every run is committed.
pub(crate) fn runs(connection: &Connection) -> Result<Vec<(Run, Seq)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT agent, boot, committed_seq FROM runs")?;
    let rows = statement.query_map([], |row| {
        let agent = AgentId::new(row.get::<_, String>(0)?);
        let boot = BootId::new(row.get::<_, String>(1)?);
        let seq = Seq::new(row.get::<_, i64>(2)?.cast_unsigned());
        Ok(agent.ok().zip(boot.ok()).zip(seq).map(|((agent, boot), seq)| (Run { agent, boot }, seq)))
    })?;
    rows.filter_map(Result::transpose).collect()
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
