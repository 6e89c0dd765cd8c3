//! Telemetry as files to take away.
//!
//! Hive layout like the segments', but sorted, and cut by time so that a file is small enough to be made in
//! memory, however many rows an hour has.

use crate::catalog;
use crate::csv;
use crate::encode;
use crate::entropy::PartitionFilter;
use crate::error::QueryError;
use crate::peer::of_partition;
use crate::query::{Rows, View};
use crate::read::{Reader, Span};
use crate::schema;
use crate::segment::{hive_folder, hour_of, next_hour};
use crate::table::Table;
use isotherm_model::Timestamp;
use polars::prelude::{DataType, LazyFrame, SortMultipleOptions, col, len};

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

/// What to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportQuery {
    /// Of when; tables without a time are whole.
    pub span: Span,
    /// Which rows; `None` for all as they are stored, windows and peers in one.
    pub view: Option<View>,
    /// Of which partition.
    pub partition: PartitionFilter,
    /// As what.
    pub format: ExportFormat,
    /// Files of the hour that `span` begins in are numbered from this one.
    pub first_part: u32,
}

impl ExportQuery {
    /// All rows of a time as they are stored, as Parquet.
    #[must_use]
    pub fn everything(span: Span) -> Self {
        let (partition, format) = (PartitionFilter::All, ExportFormat::Parquet);
        Self { span, view: None, partition, format, first_part: 0 }
    }

    /// The table whose rows are taken, one by one; `None` if they are made of others'.
    fn table(&self) -> Option<Table> {
        self.view.map_or(Some(Table::Windows), View::table)
    }
}

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Parquet, compressed with zstd.
    Parquet,
    /// Comma-separated values with a header; nulls are empty, lists JSON.
    Csv,
}

impl ExportFormat {
    fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

/// A part of an export that is cut into files by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportPart {
    /// Rows that start in the hour which begins then.
    Hour(Timestamp),
    /// All rows of a table without a time.
    Whole,
}

/// What becomes one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSlice {
    path: String,
    /// `None` for a table without a time.
    time: Option<(Timestamp, Timestamp)>,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// `date=YYYY-MM-DD/hour=HH/part-NNNNN.parquet`, in UTC, by the start of its windows; without folders if the
    /// table has no time.
    pub path: String,
    /// Its content.
    pub data: Vec<u8>,
    /// Its rows, at least 1.
    pub rows: u64,
    /// No row of it starts at or after this, and none of a later file before; `None` if the table has no time.
    pub end: Option<Timestamp>,
}

impl Reader {
    /// The parts of an export, in order.
    ///
    /// # Errors
    /// [`QueryError::NoPartitions`] when a partition is asked of a table that has none.
    pub fn export_parts(&self, query: &ExportQuery) -> Result<Vec<ExportPart>, QueryError> {
        if query.partition != PartitionFilter::All && query.view == Some(View::Nodes) {
            return Err(QueryError::NoPartitions { table: View::Nodes.name() });
        }
        let Some(table) = query.table() else { return Ok(vec![ExportPart::Whole]) };
        let hours = catalog::hours(&self.catalog()?, table, query.span.start(), query.span.end())?;
        Ok(hours.into_iter().map(ExportPart::Hour).collect())
    }

    /// At most so many rows will come, by the catalog alone: those of the segments that overlap the time. 0
    /// for a table that is made of others.
    pub fn export_rows_at_most(&self, query: &ExportQuery) -> Result<u64, QueryError> {
        let Some(table) = query.table() else { return Ok(0) };
        Ok(catalog::rows_overlapping(&self.catalog()?, table, query.span.start(), query.span.end())?)
    }

    /// Cuts a part of an export into files, without reading more than the starts of its windows and what they
    /// are chosen by. Empty when there are none.
    pub fn export_slices(
        &self,
        query: &ExportQuery,
        part: ExportPart,
    ) -> Result<Vec<ExportSlice>, QueryError> {
        const STARTS: &str = "start_ms";
        const ROWS: &str = "rows";
        let ending = query.format.ending();
        let (hour, time) = match (part, query.table()) {
            (ExportPart::Hour(hour), Some(table)) => (hour, table.time()),
            (ExportPart::Whole, _) | (_, None) => {
                return Ok(vec![ExportSlice { path: format!("part-{:05}.{ending}", 0), time: None }]);
            }
        };
        let (start, end) = (query.span.start().max(hour), query.span.end().min(next_hour(hour)));
        let frame = self
            .exported(query, start, end)?
            .group_by([col(time).cast(DataType::Int64).alias(STARTS)])
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
        let first = if hour_of(query.span.start()) == hour { query.first_part as usize } else { 0 };
        let slice = |(index, (first_ms, after_ms)): (usize, (u64, u64))| ExportSlice {
            path: format!("{folder}/part-{:05}.{ending}", first + index),
            time: Some((Timestamp::from_ms(first_ms), Timestamp::from_ms(after_ms))),
        };
        Ok(cuts(&counts, FILE_ROWS).into_iter().enumerate().map(slice).collect())
    }

    /// Makes a file. `None` when it would be empty.
    pub fn export_file(
        &self,
        query: &ExportQuery,
        slice: &ExportSlice,
    ) -> Result<Option<ExportFile>, QueryError> {
        let (start, end) = slice.time.unwrap_or((query.span.start(), query.span.end()));
        let mut rows = self.exported(query, start, end)?;
        let columns = rows.collect_schema()?;
        let order: Vec<&str> = match query.table() {
            Some(Table::Windows | Table::Late) | None => {
                ORDER.into_iter().filter(|name| columns.contains(name)).collect()
            }
            Some(table @ (Table::Entropy | Table::Forecasts | Table::Risks)) => table.order().to_vec(),
        };
        let frame = rows.sort(order, SortMultipleOptions::default()).collect()?;
        if frame.height() == 0 {
            return Ok(None);
        }
        let rows = frame.height() as u64;
        let data = match query.format {
            ExportFormat::Parquet => encode::parquet(frame)?,
            ExportFormat::Csv => csv::file(&Rows::new(frame)),
        };
        Ok(Some(ExportFile { path: slice.path.clone(), data, rows, end: slice.time.map(|(_, end)| end) }))
    }

    fn exported(
        &self,
        query: &ExportQuery,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<LazyFrame, QueryError> {
        let catalog = self.catalog()?;
        let rows = match query.view {
            None => self.starting_in(&catalog, start, end)?,
            Some(view) => view.rows(self, &catalog, Span { since: Some(start), until: Some(end) })?,
        };
        Ok(of_partition(rows, &query.partition))
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
    use crate::derived::tests::entropy_row;
    use crate::{Derived, Store, sample};
    use polars::prelude::{ParquetReader, SerReader};
    use std::io::Cursor;

    fn files(reader: &Reader, query: &ExportQuery) -> Vec<ExportFile> {
        let parts = reader.export_parts(query).unwrap().into_iter();
        let slices = parts.flat_map(|part| reader.export_slices(query, part).unwrap());
        slices.filter_map(|slice| reader.export_file(query, &slice).unwrap()).collect()
    }

    fn text(file: &ExportFile) -> &str {
        std::str::from_utf8(&file.data).unwrap()
    }

    #[test]
    fn tables_partitions_and_formats_are_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let node = sample::node_window("n", vec![sample::reads("p", 10), sample::reads("q", 3)]);
        let node = sample::receiving(node, "p", &[(Some("10.0.0.2:0"), 5), (None, 2)]);
        let window = sample::window(3_601_000, vec![node]);
        sample::commit(&mut store, &[sample::batch(&sample::run("agent"), 1, vec![window])]);
        let reader = store.reader();
        let csv = ExportQuery { format: ExportFormat::Csv, ..ExportQuery::everything(Span::default()) };
        let found = |query: &ExportQuery| files(&reader, query);

        let peers = found(&ExportQuery { view: Some(View::Peers), ..csv.clone() });
        assert_eq!((peers.len(), peers[0].rows, peers[0].end), (1, 2, Some(sample::at(3_601_001))));
        assert_eq!(peers[0].path, "date=1970-01-01/hour=01/part-00000.csv");
        let lines: Vec<&str> = text(&peers[0]).lines().collect();
        assert!(
            lines[0].starts_with("window_start,window_ms,")
                && lines[0].ends_with(",local,remote,peer_system,peer_node")
        );
        assert!(lines[1].starts_with("1970-01-01T01:00:01Z,1000,complete,"), "{}", lines[1]);
        assert!(lines[1].ends_with(",p,,network,read,2,200,10.0.0.1:80,,,"), "{}", lines[1]);

        let windows = ExportQuery { view: Some(View::Windows), ..csv.clone() };
        let all: u64 = found(&csv).iter().map(|file| file.rows).sum();
        assert_eq!(found(&windows)[0].rows + 2, all);
        let of_q = ExportQuery { partition: PartitionFilter::Named("s/q".into()), ..windows.clone() };
        assert_eq!(found(&of_q)[0].rows, 1);
        let nodes = ExportQuery { view: Some(View::Nodes), ..csv.clone() };
        assert_eq!((found(&nodes)[0].path.as_str(), found(&nodes)[0].end), ("part-00000.csv", None));
        let of_nodes = ExportQuery { partition: PartitionFilter::Named("q".into()), ..nodes };
        assert!(matches!(reader.export_parts(&of_nodes), Err(QueryError::NoPartitions { table: "nodes" })));
        let partitions = ExportQuery { view: Some(View::Partitions), ..csv };
        assert_eq!(text(&found(&partitions)[0]).lines().count(), 3);

        // What an export that goes on asks for: the rest, under names that are free.
        let after = Span { since: peers[0].end, until: None };
        assert!(found(&ExportQuery { span: after, ..windows.clone() }).is_empty());
        let rest = Span { since: Some(sample::at(3_600_500)), until: None };
        let rest = found(&ExportQuery { span: rest, first_part: 7, ..windows });
        assert_eq!(rest[0].path, "date=1970-01-01/hour=01/part-00007.csv");
    }

    #[test]
    fn what_cycles_computed_is_exported_by_its_own_time_with_lists_as_json() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let entropy = [3_700_000, 10, 20].map(|start| entropy_row(start, "p"));
        let derived = Derived { entropy: entropy.to_vec(), ..Derived::default() };
        store.append(derived, sample::at(7_200_000)).unwrap();
        let csv = ExportQuery {
            view: Some(View::Entropy),
            format: ExportFormat::Csv,
            ..ExportQuery::everything(Span { since: Some(sample::at(15)), until: None })
        };
        let files = files(&store.reader(), &csv);
        let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let names_want = ["date=1970-01-01/hour=00/part-00000.csv", "date=1970-01-01/hour=01/part-00000.csv"];
        assert_eq!((names.as_slice(), files[0].end), (&names_want[..], Some(sample::at(21))));
        let line = text(&files[0]).lines().nth(1).unwrap();
        assert!(line.starts_with("1970-01-01T00:00:00.020Z,60000,s,p,logical,100,,2,known,1,"), "{line}");
        assert!(line.ends_with(",\"[\"\"a\"\",\"\"b\"\"]\",\"[50,null]\""), "{line}");
    }

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
        let query = ExportQuery::everything(span);
        let parts = reader.export_parts(&query).unwrap();
        assert_eq!(parts, [0, 3_600_000].map(|ms| ExportPart::Hour(sample::at(ms))));
        assert_eq!(reader.export_rows_at_most(&query).unwrap(), 15);
        let files = files(&reader, &query);
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
