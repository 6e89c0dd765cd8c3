//! Which segments count.

use super::{signed, time};
use crate::segment::{Written, hour_of, next_hour};
use crate::table::Table;
use isotherm_model::Timestamp;
use object_store::path::Path;
use rusqlite::{Connection, Row, Transaction, params};

/// A segment with the time it spans.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) table: Table,
    pub(crate) written: Written,
    /// How often its rows were merged.
    pub(crate) level: u32,
    pub(crate) first_start: Timestamp,
    pub(crate) last_end: Timestamp,
}

/// Columns of a [`Segment`], as [`segment`] reads them.
const COLUMNS: &str = "table_name, path, rows, bytes, checksum, level, first_start_ms, last_end_ms";

fn segment(row: &Row<'_>) -> Result<Segment, rusqlite::Error> {
    let name: String = row.get(0)?;
    let table = Table::from_name(&name).ok_or_else(|| {
        let message = format!("a segment of the unknown table {name:?}");
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, message.into())
    })?;
    let written = Written {
        path: path(&row.get::<_, String>(1)?)?,
        rows: row.get::<_, i64>(2)?.cast_unsigned(),
        bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        checksum: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
    };
    let (first_start, last_end) = (time(row.get(6)?), time(row.get(7)?));
    Ok(Segment { table, written, level: row.get(5)?, first_start, last_end })
}

fn path(text: &str) -> Result<Path, rusqlite::Error> {
    let invalid = |error: object_store::path::Error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
    };
    Path::parse(text).map_err(invalid)
}

/// Every segment that counts, of all tables, by path.
pub(crate) fn segments(connection: &Connection) -> Result<Vec<Segment>, rusqlite::Error> {
    connection
        .prepare(&format!("SELECT {COLUMNS} FROM segments ORDER BY path"))?
        .query_map([], segment)?
        .collect()
}

/// Whether a segment counts.
pub(crate) fn counts(connection: &Connection, segment: &Segment) -> Result<bool, rusqlite::Error> {
    connection
        .prepare_cached("SELECT count(*) FROM segments WHERE path = ?1")?
        .query_row([segment.written.path.as_ref()], |row| Ok(row.get::<_, i64>(0)? > 0))
}

/// Paths of the segments of a table with a row that overlaps `start .. end`.
pub(crate) fn segments_overlapping(
    connection: &Connection,
    table: Table,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<Path>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT path FROM segments WHERE table_name = ?1 AND last_end_ms > ?2 AND first_start_ms < ?3
             ORDER BY path",
        )?
        .query_map(params![table.as_str(), signed(start.as_ms()), signed(end.as_ms())], |row| {
            path(&row.get::<_, String>(0)?)
        })?
        .collect()
}

/// Rows of the segments of a table with a row that overlaps `start .. end`.
pub(crate) fn rows_overlapping(
    connection: &Connection,
    table: Table,
    start: Timestamp,
    end: Timestamp,
) -> Result<u64, rusqlite::Error> {
    let rows: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(rows), 0) FROM segments
             WHERE table_name = ?1 AND last_end_ms > ?2 AND first_start_ms < ?3",
        )?
        .query_row(params![table.as_str(), signed(start.as_ms()), signed(end.as_ms())], |row| row.get(0))?;
    Ok(rows.cast_unsigned())
}

/// Starts of the hours that have a segment of a table which overlaps `start .. end`, in order. A segment lies in one
/// hour.
pub(crate) fn hours(
    connection: &Connection,
    table: Table,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<Timestamp>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT DISTINCT first_start_ms / 3600000 AS hour FROM segments
             WHERE table_name = ?1 AND last_end_ms > ?2 AND first_start_ms < ?3 ORDER BY hour",
        )?
        .query_map(params![table.as_str(), signed(start.as_ms()), signed(end.as_ms())], |row| {
            Ok(time(row.get::<_, i64>(0)? * 3_600_000))
        })?
        .collect()
}

/// Makes a segment count.
pub(crate) fn add_segment(
    transaction: &Transaction<'_>,
    segment: &Segment,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO segments (path, table_name, rows, bytes, level, first_start_ms, last_end_ms,
                                   created_ms, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            segment.written.path.as_ref(),
            segment.table.as_str(),
            signed(segment.written.rows),
            signed(segment.written.bytes),
            segment.level,
            signed(segment.first_start.as_ms()),
            signed(segment.last_end.as_ms()),
            signed(now.as_ms()),
            segment.written.checksum.map(u64::cast_signed),
        ])
        .map(drop)
}

/// Makes a segment count no longer. It is an error if it did not.
pub(crate) fn remove_segment(
    transaction: &Transaction<'_>,
    segment: &Segment,
) -> Result<(), rusqlite::Error> {
    let removed = transaction
        .prepare_cached("DELETE FROM segments WHERE path = ?1")?
        .execute([segment.written.path.as_ref()])?;
    if removed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(removed)) }
}

/// The oldest segments of an hour of a table that have a level and at most so many rows.
pub(crate) fn mergeable(
    connection: &Connection,
    (table, hour): (Table, Timestamp),
    level: u32,
    max_rows: u64,
    limit: usize,
) -> Result<Vec<Segment>, rusqlite::Error> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM segments
             WHERE table_name = ?1 AND first_start_ms >= ?2 AND first_start_ms < ?3 AND level = ?4
             AND rows <= ?5 ORDER BY created_ms, path LIMIT ?6"
        ))?
        .query_map(
            params![
                table.as_str(),
                signed(hour.as_ms()),
                signed(next_hour(hour).as_ms()),
                level,
                signed(max_rows),
                signed(limit as u64)
            ],
            segment,
        )?
        .collect()
}

/// The hours with a level below `levels` of which they have at least `enough` segments with at most so many rows.
pub(crate) fn mergeable_hours(
    connection: &Connection,
    levels: u32,
    max_rows: u64,
    enough: usize,
) -> Result<Vec<(Table, Timestamp)>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT DISTINCT table_name, first_start_ms / 3600000 AS hour FROM segments
         WHERE level < ?1 AND rows <= ?2
         GROUP BY table_name, hour, level HAVING count(*) >= ?3 ORDER BY hour, table_name",
    )?;
    let rows = statement.query_map(params![levels, signed(max_rows), signed(enough as u64)], |row| {
        let hour = time(row.get::<_, i64>(1)? * 3_600_000);
        Ok(Table::from_name(&row.get::<_, String>(0)?).map(|table| (table, hour)))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Every segment of an hour of a table, oldest rows first.
pub(crate) fn of_hour(
    connection: &Connection,
    (table, hour): (Table, Timestamp),
) -> Result<Vec<Segment>, rusqlite::Error> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM segments
             WHERE table_name = ?1 AND first_start_ms >= ?2 AND first_start_ms < ?3
             ORDER BY first_start_ms, path"
        ))?
        .query_map(params![table.as_str(), signed(hour.as_ms()), signed(next_hour(hour).as_ms())], segment)?
        .collect()
}

/// The oldest hours of a table that end at or before `until` and have a segment of a level below `level`.
pub(crate) fn uncompacted(
    connection: &Connection,
    table: Table,
    until: Timestamp,
    level: u32,
    limit: u64,
) -> Result<Vec<Timestamp>, rusqlite::Error> {
    let end = hour_of(until);
    connection
        .prepare_cached(
            "SELECT DISTINCT first_start_ms / 3600000 AS hour FROM segments
             WHERE table_name = ?1 AND first_start_ms < ?2 AND level < ?3 ORDER BY hour LIMIT ?4",
        )?
        .query_map(params![table.as_str(), signed(end.as_ms()), level, signed(limit)], |row| {
            Ok(time(row.get::<_, i64>(0)? * 3_600_000))
        })?
        .collect()
}
