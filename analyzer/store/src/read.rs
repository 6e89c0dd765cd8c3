//! Asking what is committed.
//!
//! A question opens the catalog beside the writer, takes the segments that overlap the time asked for, and
//! scans only those, lazily: polars reads the columns and row groups that the question needs. A question sees
//! the catalog as it was when it began, and segments are never changed, so no commit can disturb it.

use crate::catalog::{self, Missing, NodeReport};
use crate::derived::{EntropyRow, ForecastRow, Record, RiskRow};
use crate::error::{OpenError, QueryError};
use crate::place::Place;
use crate::schema;
use crate::table::Table;
use crate::write::Run;
use isotherm_model::{Seq, Timestamp};
use polars::prelude::{
    DataFrame, DataType, Expr, HiveOptions, IntoLazy, LazyFrame, LiteralValue, PlRefPath, PolarsResult,
    Scalar, ScanArgsParquet, ScanSources, SortMultipleOptions, TimeUnit, TimeZone, UniqueKeepStrategy, col,
};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of time whose ends may be open. A window lies in it when it starts in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first moment inside; `None` for everything kept.
    pub since: Option<Timestamp>,
    /// The first moment after; `None` for no end.
    pub until: Option<Timestamp>,
}

impl Span {
    pub(crate) fn start(self) -> Timestamp {
        self.since.unwrap_or(Timestamp::from_ms(0))
    }

    pub(crate) fn end(self) -> Timestamp {
        self.until.unwrap_or(Timestamp::from_ms(i64::MAX.cast_unsigned()))
    }
}

/// Reads a data folder, whether or not its [`Store`](crate::Store) is open. Cheap to clone; every call blocks.
#[derive(Debug, Clone)]
pub struct Reader {
    place: Place,
}

impl Reader {
    pub(crate) fn new(place: Place) -> Self {
        Self { place }
    }

    /// A reader of a data folder that another process may be writing to.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        catalog::check_readable(dir)?;
        let place = Place::open(dir).map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        Ok(Self::new(place))
    }

    /// The data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.root()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The last committed sequence number of a run; `None` before its first.
    pub fn committed(&self, run: &Run) -> Result<Option<Seq>, QueryError> {
        Ok(catalog::committed(&self.catalog()?, run)?)
    }

    /// Every node that was ever reported, by name.
    pub fn nodes(&self) -> Result<Vec<NodeReport>, QueryError> {
        Ok(catalog::nodes(&self.catalog()?)?)
    }

    /// What agents said will never come, by agent, of the time asked for. Batches of gaps that lie in it in
    /// part count in full, their time does not.
    pub fn missing(&self, span: Span) -> Result<BTreeMap<String, Missing>, QueryError> {
        Ok(catalog::gaps(&self.catalog()?, span.start(), span.end())?)
    }

    pub(crate) fn catalog(&self) -> Result<Connection, QueryError> {
        Ok(catalog::open_to_read(self.dir())?)
    }

    /// Rows of the windows that start in `start .. end`.
    pub(crate) fn starting_in(
        &self,
        catalog: &Connection,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<LazyFrame, QueryError> {
        Ok(self.overlapping(catalog, start, end)?.filter(start_from(start).and(start_before(end))))
    }

    /// Rows of the windows that overlap `start .. end`, and perhaps of others.
    pub(crate) fn overlapping(
        &self,
        catalog: &Connection,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<LazyFrame, QueryError> {
        self.segments(catalog, Table::Windows, start, end)
    }

    /// Rows of a table that overlap `start .. end`, and perhaps others.
    pub(crate) fn segments(
        &self,
        catalog: &Connection,
        table: Table,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<LazyFrame, QueryError> {
        let segments = catalog::segments_overlapping(catalog, table, start, end)?;
        let paths: Vec<PathBuf> = segments.iter().map(|path| self.place.local(path)).collect();
        Ok(scan(table, &paths)?)
    }

    /// Rows of a table whose time lies in `start .. end`.
    pub(crate) fn rows_of(
        &self,
        catalog: &Connection,
        table: Table,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<LazyFrame, QueryError> {
        let time = || col(table.time());
        let rows = self.segments(catalog, table, start, end)?;
        Ok(rows.filter(time().gt_eq(moment(start)).and(time().lt(moment(end)))))
    }

    /// Rows of a table whose time lies in `span`, in the order of the table.
    fn derived<R: Record>(&self, table: Table, span: Span) -> Result<Vec<R>, QueryError> {
        let frame = self
            .rows_of(&self.catalog()?, table, span.start(), span.end())?
            .sort(table.order().iter().copied(), SortMultipleOptions::default())
            .collect()?;
        Ok(R::rows(&frame)?)
    }

    /// Steps of entropy that start in `span`, by start, length and partition.
    pub fn entropy_rows(&self, span: Span) -> Result<Vec<EntropyRow>, QueryError> {
        self.derived(Table::Entropy, span)
    }

    /// Forecasts that were made in `span`, by then.
    pub fn forecast_rows(&self, span: Span) -> Result<Vec<ForecastRow>, QueryError> {
        self.derived(Table::Forecasts, span)
    }

    /// When there were cycles in `span`, as far as their records are kept; in order, each once.
    pub fn cycles(&self, span: Span) -> Result<Vec<Timestamp>, QueryError> {
        let time = Table::Risks.time();
        let rows = self.rows_of(&self.catalog()?, Table::Risks, span.start(), span.end())?;
        let frame = rows
            .select([col(time).cast(DataType::Int64)])
            .unique(None, UniqueKeepStrategy::Any)
            .sort([time], SortMultipleOptions::default())
            .collect()?;
        let times = frame.column(time)?.i64()?.iter().flatten();
        Ok(times.map(|ms| Timestamp::from_ms(ms.cast_unsigned())).collect())
    }

    /// Decision records of cycles in `span`, by time and partition.
    pub fn risk_rows(&self, span: Span) -> Result<Vec<RiskRow>, QueryError> {
        self.derived(Table::Risks, span)
    }
}

/// The rows of segments, read when they are asked for. No segments have no rows. Columns that segments of
/// earlier versions do not have are null there, or 0 for counts of latency.
pub(crate) fn scan(table: Table, segments: &[PathBuf]) -> PolarsResult<LazyFrame> {
    let schema = table.schema();
    if segments.is_empty() {
        return Ok(DataFrame::empty_with_schema(&schema).lazy());
    }
    let paths = segments.iter().map(|path| PlRefPath::try_from_path(path)).collect::<PolarsResult<_>>()?;
    let args = ScanArgsParquet {
        schema: Some(Arc::new(schema)),
        hive_options: HiveOptions::new_disabled(),
        glob: false,
        cache: false,
        allow_missing_columns: true,
        ..ScanArgsParquet::default()
    };
    let rows = LazyFrame::scan_parquet_sources(ScanSources::Paths(paths), args)?;
    Ok(match table {
        Table::Windows | Table::Late => rows.with_columns(schema::latencies_or_zero()),
        Table::Entropy | Table::Forecasts | Table::Risks => rows,
    })
}

fn start_from(at: Timestamp) -> Expr {
    col(schema::WINDOW_START).gt_eq(moment(at))
}

pub(crate) fn start_before(at: Timestamp) -> Expr {
    col(schema::WINDOW_START).lt(moment(at))
}

/// A literal of the column's own type: a cast one loses its time zone where row groups are skipped.
pub(crate) fn moment(at: Timestamp) -> Expr {
    let ms = i64::try_from(at.as_ms()).unwrap_or(i64::MAX);
    let moment = Scalar::new_datetime(ms, TimeUnit::Milliseconds, Some(TimeZone::UTC));
    Expr::Literal(LiteralValue::Scalar(moment))
}
