//! Telemetry as Parquet files to take away.
//!
//! Hive layout like the segments', but sorted, and cut by time so that a file is small enough to be made in
//! memory, however many rows an hour has.

use crate::catalog;
use crate::encode;
use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::schema;
use crate::segment::{hive_folder, next_hour};
use crate::table::Table;
use isotherm_model::Timestamp;
use polars::prelude::{DataType, SortMultipleOptions, col, len};

/// Rows that a file is cut at: about 70 MB while it is made. A window is never cut.
const FILE_ROWS: u64 = 1 << 16;

const ORDER: [&str; 13] = [
    schema::WINDOW_START,
    schema::SYSTEM,
    schema::NODE,
    schema::CLASS,
    schema::PARTITION,
    schema::REASON,
    schema::LAYER,
    schema::OPERATION,
    schema::LOCAL,
    schema::REMOTE,
    schema::AGENT,
    schema::BOOT,
    schema::SEQ,
];

/// A stretch of time within an hour that becomes one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSlice {
    path: String,
    start: Timestamp,
    end: Timestamp,
}

/// A finished Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// `date=YYYY-MM-DD/hour=HH/part-NNNNN.parquet`, in UTC, by the start of its windows.
    pub path: String,
    /// Its content.
    pub data: Vec<u8>,
    /// Its rows, at least 1.
    pub rows: u64,
}

impl Reader {
    /// Starts of the hours, in order, in which windows of `span` may start.
    pub fn export_hours(&self, span: Span) -> Result<Vec<Timestamp>, QueryError> {
        Ok(catalog::hours(&self.catalog()?, Table::Windows, span.start(), span.end())?)
    }

    /// Cuts the part of an hour that lies in `span` into files, without reading more than the starts of its
    /// windows. Empty when there are none.
    pub fn export_slices(&self, span: Span, hour: Timestamp) -> Result<Vec<ExportSlice>, QueryError> {
        const STARTS: &str = "start_ms";
        const ROWS: &str = "rows";
        let (start, end) = (span.start().max(hour), span.end().min(next_hour(hour)));
        let frame = self
            .starting_in(&self.catalog()?, start, end)?
            .group_by([col(schema::WINDOW_START).cast(DataType::Int64).alias(STARTS)])
            .agg([len().cast(DataType::UInt64).alias(ROWS)])
            .sort([STARTS], SortMultipleOptions::default())
            .collect()?;
        let starts = frame.column(STARTS)?.i64()?;
        let rows = frame.column(ROWS)?.u64()?;
        let counts: Vec<(u64, u64)> = starts
            .iter()
            .zip(rows.iter())
            .filter_map(|(start, rows)| Some((start?.cast_unsigned(), rows?)))
            .collect();
        let folder = hive_folder(hour);
        let slice = |(index, (first_ms, after_ms)): (usize, (u64, u64))| ExportSlice {
            path: folder.join(format!("part-{index:05}.parquet")).to_string_lossy().into_owned(),
            start: Timestamp::from_ms(first_ms),
            end: Timestamp::from_ms(after_ms),
        };
        Ok(cuts(&counts, FILE_ROWS).into_iter().enumerate().map(slice).collect())
    }

    /// Makes a file. `None` when it would be empty.
    pub fn export_file(&self, slice: &ExportSlice) -> Result<Option<ExportFile>, QueryError> {
        let frame = self
            .starting_in(&self.catalog()?, slice.start, slice.end)?
            .sort(ORDER, SortMultipleOptions::default())
            .collect()?;
        if frame.height() == 0 {
            return Ok(None);
        }
        let rows = frame.height() as u64;
        Ok(Some(ExportFile { path: slice.path.clone(), data: encode::parquet(frame)?, rows }))
    }
}

/// Cuts `(start, rows)`, ordered by start, into stretches `first .. after` of at most `limit` rows, or of one
/// start that alone has more.
fn cuts(counts: &[(u64, u64)], limit: u64) -> Vec<(u64, u64)> {
    let mut cuts: Vec<(u64, u64)> = Vec::new();
    let mut sum = 0u64;
    for (start, rows) in counts {
        sum = sum.saturating_add(*rows);
        match cuts.last_mut() {
            Some((_, after)) if sum <= limit => *after = start + 1,
            Some(_) | None => {
                cuts.push((*start, start + 1));
                sum = *rows;
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, sample};
    use polars::prelude::{ParquetReader, SerReader};
    use std::io::Cursor;

    #[test]
    fn files_are_cut_between_windows() {
        assert_eq!(cuts(&[], 10), []);
        assert_eq!(cuts(&[(0, 4), (5, 6), (9, 1)], 10), [(0, 6), (9, 10)]);
        assert_eq!(cuts(&[(0, 40), (5, 40), (7, 1)], 10), [(0, 1), (5, 6), (7, 8)]);
    }

    #[test]
    fn an_export_has_every_row_of_the_span_once_and_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let run = sample::run("agent");
        let late = |start: u64| {
            let rows = vec![sample::reads("p", 10), sample::writes("p", 1), sample::other_reads(2)];
            sample::window(start, vec![sample::node_window("n", rows)])
        };
        for (seq, start) in [(1, 3_601_000), (2, 1_000), (3, 2_000), (4, 9_000_000)] {
            sample::commit(&mut store, &[sample::batch(&run, seq, vec![late(start)])]);
        }
        let reader = store.reader();
        let span = Span { since: None, until: Some(sample::at(7_200_000)) };
        let hours = reader.export_hours(span).unwrap();
        assert_eq!(hours, [sample::at(0), sample::at(3_600_000)]);
        let mut files = Vec::new();
        for hour in hours {
            for slice in reader.export_slices(span, hour).unwrap() {
                files.push(reader.export_file(&slice).unwrap().unwrap());
            }
        }
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["date=1970-01-01/hour=00/part-00000.parquet", "date=1970-01-01/hour=01/part-00000.parquet"]
        );
        let frame = ParquetReader::new(Cursor::new(&files[0].data)).finish().unwrap();
        assert_eq!((frame.height(), files[0].rows), (10, 10), "two totals and three rows per window");
        assert_eq!(frame.schema().as_ref(), &schema::windows());
        let starts = frame.column(schema::WINDOW_START).unwrap().cast(&DataType::Int64).unwrap();
        assert_eq!((starts.i64().unwrap().get(0), starts.i64().unwrap().get(9)), (Some(1_000), Some(2_000)));
    }
}
