//! How far time is settled, what came too late for that, and what retention removed.

use super::{signed, time};
use crate::table::Table;
use isotherm_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;

/// How far the time of windows is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The end of the newest window that is believed.
    pub(crate) newest_end: Timestamp,
    /// Windows that start before it are late.
    pub(crate) watermark: Timestamp,
}

/// `None` before the first window.
pub(crate) fn settled(connection: &Connection) -> Result<Option<Settled>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT newest_end_ms, watermark_ms FROM watermark")?
        .query_row([], |row| Ok(Settled { newest_end: time(row.get(0)?), watermark: time(row.get(1)?) }))
        .optional()
}

/// Notes how far time is settled. Neither part ever falls.
pub(crate) fn settle(transaction: &Transaction<'_>, settled: Settled) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO watermark VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE
             SET newest_end_ms = max(newest_end_ms, excluded.newest_end_ms),
                 watermark_ms = max(watermark_ms, excluded.watermark_ms)",
        )?
        .execute(params![signed(settled.newest_end.as_ms()), signed(settled.watermark.as_ms())])
        .map(drop)
}

/// Counts windows of an agent that came late.
pub(crate) fn count_late(
    transaction: &Transaction<'_>,
    agent: &str,
    windows: u64,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO late VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE
             SET windows = windows + excluded.windows, arrived_ms = excluded.arrived_ms",
        )?
        .execute(params![agent, signed(windows), signed(now.as_ms())])
        .map(drop)
}

/// Windows of an agent that came late, in all the time of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWindows {
    /// The agent.
    pub agent: String,
    /// How many.
    pub windows: u64,
    /// When the last of them came.
    pub arrived: Timestamp,
}

/// Late windows by agent.
pub(crate) fn late(connection: &Connection) -> Result<Vec<LateWindows>, rusqlite::Error> {
    connection
        .prepare("SELECT agent, windows, arrived_ms FROM late ORDER BY agent")?
        .query_map([], |row| {
            let windows = row.get::<_, i64>(1)?.cast_unsigned();
            Ok(LateWindows { agent: row.get(0)?, windows, arrived: time(row.get(2)?) })
        })?
        .collect()
}

/// What was removed of a table because it was too old or too much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retired {
    /// Hours.
    pub hours: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their segments.
    pub bytes: u64,
}

/// Counts what is removed.
pub(crate) fn count_retired(
    transaction: &Transaction<'_>,
    table: Table,
    more: Retired,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO retired VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
             SET hours = hours + excluded.hours, rows = rows + excluded.rows, bytes = bytes + excluded.bytes",
        )?
        .execute(params![table.as_str(), signed(more.hours), signed(more.rows), signed(more.bytes)])
        .map(drop)
}

/// What was removed of every table of which something was.
pub(crate) fn retired(connection: &Connection) -> Result<BTreeMap<Table, Retired>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT table_name, hours, rows, bytes FROM retired")?;
    let rows = statement.query_map([], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let retired = Retired { hours: number(1)?, rows: number(2)?, bytes: number(3)? };
        Ok(Table::from_name(&row.get::<_, String>(0)?).map(|table| (table, retired)))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// After everything before `start` was removed of the windows: no node was watched before it, as far as anybody can
/// say, and gaps that ended before it are of no interest.
pub(crate) fn forget_before(transaction: &Transaction<'_>, start: Timestamp) -> Result<(), rusqlite::Error> {
    let start = signed(start.as_ms());
    transaction.execute(
        "UPDATE nodes SET first_watched_ms = NULL, last_watched_ms = NULL WHERE last_watched_ms <= ?1",
        [start],
    )?;
    transaction.execute(
        "UPDATE nodes SET first_watched_ms = max(first_watched_ms, ?1) WHERE first_watched_ms IS NOT NULL",
        [start],
    )?;
    transaction.execute("DELETE FROM gaps WHERE end_ms <= ?1", [start]).map(drop)
}

/// Hours of a table and the bytes of each, oldest first, as far as they end at or before `until`.
pub(crate) fn hour_sizes(
    connection: &Connection,
    table: Table,
    until: Timestamp,
) -> Result<Vec<(Timestamp, u64)>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT first_start_ms / 3600000 AS hour, sum(bytes) FROM segments
             WHERE table_name = ?1 AND first_start_ms < ?2 GROUP BY hour ORDER BY hour",
        )?
        .query_map(params![table.as_str(), signed(crate::segment::hour_of(until).as_ms())], |row| {
            Ok((time(row.get::<_, i64>(0)? * 3_600_000), row.get::<_, i64>(1)?.cast_unsigned()))
        })?
        .collect()
}
