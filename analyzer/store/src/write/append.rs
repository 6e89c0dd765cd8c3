//! Derived rows become true the way windows do: segments first, then one catalog transaction.
//!
//! All rows of an append count together or not at all, over all tables. A caller that died before it was told, or
//! before it wrote down how far it was, computes the same steps again: what is kept of a step stays as it was found
//! first, and no step is there twice.

use super::{Store, write_segment};
use crate::catalog::Segment;
use crate::derived::{Derived, Record, by_hour};
use crate::error::{QueryError, WriteError};
use crate::place::Place;
use crate::read::{Reader, moment};
use crate::table::Table;
use isotherm_model::Timestamp;
use polars::prelude::{Expr, col};
use std::collections::BTreeSet;

impl Store {
    /// Keeps what a cycle computed: all of it, once this returns, or nothing after an error. Rows of a step, or of a
    /// moment, of which the table has some already are left out; without others nothing is written. Takes the memory
    /// of one table's columns beside the rows, which are let go of table by table.
    pub fn append(&mut self, derived: Derived, now: Timestamp) -> Result<(), WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        if derived.is_empty() {
            return Ok(());
        }
        let mut segments = Vec::new();
        let reader = self.reader();
        let written = write_derived(&self.place, &reader, derived, &mut segments);
        let result = written.and_then(|()| {
            fail::fail_point!("store::append_written");
            self.publish(&segments, now, |_| Ok(()))
        });
        self.after_publishing(&segments, result)?;
        fail::fail_point!("store::appended");
        Ok(())
    }
}

fn write_derived(
    place: &Place,
    reader: &Reader,
    derived: Derived,
    segments: &mut Vec<Segment>,
) -> Result<(), WriteError> {
    write_table(place, reader, Table::Entropy, derived.entropy, segments)?;
    write_table(place, reader, Table::Forecasts, derived.forecasts, segments)?;
    write_table(place, reader, Table::Risks, derived.risks, segments)
}

fn write_table<R: Record>(
    place: &Place,
    reader: &Reader,
    table: Table,
    rows: Vec<R>,
    segments: &mut Vec<Segment>,
) -> Result<(), WriteError> {
    let kept = kept(reader, table, &rows)
        .map_err(|source| WriteError::Kept { what: format!("rows of {table}"), source })?;
    let by_hour = by_hour(rows.iter().filter(|row| !kept.contains(&(row.at(), row.end()))));
    let columns = |(hour, rows): (Timestamp, Vec<&R>)| {
        let time = (
            rows.iter().map(|row| row.at()).min().unwrap_or(hour),
            rows.iter().map(|row| row.end()).max().unwrap_or(hour),
        );
        (hour, time, R::frame(&rows))
    };
    let hours: Vec<_> = by_hour.into_iter().map(columns).collect();
    drop(rows);
    for (hour, time, frame) in hours {
        segments.push(write_segment(place, (table, hour), time, || frame)?);
    }
    Ok(())
}

/// The times that rows are about, as `(start, end)`, of which the table has some already. For steps that are new the
/// catalog alone says that there are none.
fn kept<R: Record>(
    reader: &Reader,
    table: Table,
    rows: &[R],
) -> Result<BTreeSet<(Timestamp, Timestamp)>, QueryError> {
    let starts: BTreeSet<Timestamp> = rows.iter().map(Record::at).collect();
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return Ok(BTreeSet::new()) };
    let same = starts.iter().map(|start| col(table.time()).eq(moment(*start)));
    let same = same.reduce(Expr::or).expect("there is a first start");
    let found = reader.rows_of(&reader.catalog()?, table, *first, last.plus_ms(1))?.filter(same).collect()?;
    Ok(R::rows(&found)?.iter().map(|row| (row.at(), row.end())).collect())
}
