//! Derived rows become true the way windows do: segments first, then one catalog transaction.
//!
//! All rows of an append count together or not at all, over all tables. A caller that died before it was told finds
//! out by reading; the store does not know which cycle would have been the same again.

use super::{Store, write_segment};
use crate::catalog::Segment;
use crate::derived::{Derived, Record, by_hour};
use crate::error::WriteError;
use crate::segment::Folders;
use crate::table::Table;
use isotherm_model::Timestamp;

impl Store {
    /// Keeps what a cycle computed: all of it, once this returns, or nothing after an error. Without rows nothing is
    /// written. Takes the memory of the largest hour of one table, as columns, beside the rows.
    pub fn append(&mut self, derived: &Derived, now: Timestamp) -> Result<(), WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        if derived.is_empty() {
            return Ok(());
        }
        let mut segments = Vec::new();
        let written = write_derived(&mut self.folders, derived, &mut segments);
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
    folders: &mut Folders,
    derived: &Derived,
    segments: &mut Vec<Segment>,
) -> Result<(), WriteError> {
    write_table(folders, Table::Entropy, &derived.entropy, segments)?;
    write_table(folders, Table::Forecasts, &derived.forecasts, segments)?;
    write_table(folders, Table::Risks, &derived.risks, segments)
}

fn write_table<R: Record>(
    folders: &mut Folders,
    table: Table,
    rows: &[R],
    segments: &mut Vec<Segment>,
) -> Result<(), WriteError> {
    for (hour, rows) in by_hour(rows) {
        let time = (
            rows.iter().map(|row| row.at()).min().unwrap_or(hour),
            rows.iter().map(|row| row.end()).max().unwrap_or(hour),
        );
        segments.push(write_segment(folders, (table, hour), time, || R::frame(&rows))?);
    }
    Ok(())
}
