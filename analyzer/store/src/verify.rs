//! Whether what the catalog names is what is on the disk, segment by segment.
//!
//! Reads only, beside a writer if there is one: a segment that a merge replaced in the meantime is skipped. Nothing is
//! repaired.

use crate::activity::sums;
use crate::catalog::{self, Segment};
use crate::error::QueryError;
use crate::read::{Reader, scan};
use crate::risk_columns::not_following;
use crate::schema::{self, Class};
use crate::segment;
use crate::table::Table;
use polars::prelude::{DataType, Expr, ParquetReader, SerReader, col, len, lit, when};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A segment that the catalog names.
#[derive(Debug, Clone)]
pub struct SegmentFile(Segment);

impl SegmentFile {
    /// Its place within the data folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(self.0.written.path.as_ref())
    }

    /// Its size by the catalog.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.written.bytes
    }
}

/// What is wrong with a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no such file.
    #[error("is missing")]
    Missing,
    /// It has another size.
    #[error("has {found} bytes, the catalog says {expected}")]
    Size {
        /// By the catalog.
        expected: u64,
        /// On the disk.
        found: u64,
    },
    /// Its content is another one.
    #[error("has the checksum {found:016x}, the catalog says {expected:016x}")]
    Checksum {
        /// By the catalog.
        expected: u64,
        /// Of what is on the disk.
        found: u64,
    },
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It has another number of rows.
    #[error("has {found} rows, the catalog says {expected}")]
    Rows {
        /// By the catalog.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// A column has another type than its table's.
    #[error("has a column {column} of another type than the table's")]
    Column {
        /// Which.
        column: String,
    },
    /// Rows lie outside of the time that the catalog says.
    #[error("has {rows} rows outside of the time that the catalog says")]
    Time {
        /// How many.
        rows: u64,
    },
    /// Totals that are not the sum of their parts.
    #[error("has {totals} totals that are not the sum of their parts")]
    NotConserved {
        /// Of how many windows, nodes, layers and operations.
        totals: u64,
    },
    /// Decision records whose results are not those of their factors.
    #[error("has {rows} rows whose risk or loss does not follow from what they say it is made of")]
    NotFollowing {
        /// How many.
        rows: u64,
    },
}

impl Reader {
    /// The segments that count now, by path.
    pub fn segment_files(&self) -> Result<Vec<SegmentFile>, QueryError> {
        Ok(catalog::segments(&self.catalog()?)?.into_iter().map(SegmentFile).collect())
    }

    /// What the catalog's own check finds wrong with it.
    pub fn verify_catalog(&self) -> Result<Vec<String>, QueryError> {
        let catalog = self.catalog()?;
        let mut statement = catalog.prepare("PRAGMA quick_check")?;
        let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// What is wrong with a segment; nothing when it counts no longer. What follows from an earlier flaw is not told.
    /// Takes the memory of the file and of the columns that are summed.
    pub fn verify(&self, file: &SegmentFile) -> Result<Vec<Flaw>, QueryError> {
        let flaws = self.flaws(&file.0);
        if flaws.is_empty() || catalog::counts(&self.catalog()?, &file.0)? {
            Ok(flaws)
        } else {
            Ok(Vec::new())
        }
    }

    fn flaws(&self, segment: &Segment) -> Vec<Flaw> {
        if let Err(flaw) = segment::flaw(self.place(), &segment.written) {
            return vec![flaw];
        }
        let path = self.place().local(&segment.written.path);
        match content_flaws(&path, segment) {
            Ok(flaws) => flaws,
            Err(error) => vec![Flaw::Unreadable(error.to_string())],
        }
    }
}

fn content_flaws(path: &PathBuf, segment: &Segment) -> Result<Vec<Flaw>, QueryError> {
    let unreadable = |error: std::io::Error| polars::error::PolarsError::from(error);
    let mut file = ParquetReader::new(File::open(path).map_err(unreadable)?).with_slice(Some((0, 0)));
    let mut flaws = Vec::new();
    let (expected, found) = (segment.written.rows, file.num_rows()? as u64);
    if expected != found {
        flaws.push(Flaw::Rows { expected, found });
    }
    let columns = file.finish()?;
    let columns = columns.schema();
    for (column, data_type) in segment.table.schema().iter() {
        // Columns that came with later versions are missing in older segments.
        if columns.get(column).is_some_and(|found| found != data_type) {
            flaws.push(Flaw::Column { column: column.to_string() });
        }
    }
    if !flaws.is_empty() {
        return Ok(flaws);
    }
    let rows = || scan(segment.table, std::slice::from_ref(path));
    let time = || col(segment.table.time());
    let outside = time()
        .lt(crate::read::moment(segment.first_start))
        .or(time().gt_eq(crate::read::moment(segment.last_end)));
    let outside = rows()?.filter(outside).select([len().cast(DataType::UInt64)]).collect()?;
    let outside = outside.columns()[0].u64()?.get(0).unwrap_or(0);
    if outside > 0 {
        flaws.push(Flaw::Time { rows: outside });
    }
    match segment.table {
        Table::Windows | Table::Late => {
            let totals = unbalanced(path)?;
            flaws.extend((totals > 0).then_some(Flaw::NotConserved { totals }));
        }
        Table::Risks => {
            let rows = not_following(rows()?)?;
            flaws.extend((rows > 0).then_some(Flaw::NotFollowing { rows }));
        }
        Table::Entropy | Table::Forecasts => {}
    }
    Ok(flaws)
}

/// Windows, nodes, layers and operations whose total is not the sum of partitions, other and unattributed.
fn unbalanced(path: &PathBuf) -> Result<u64, QueryError> {
    const KEYS: [&str; 8] = [
        schema::WINDOW_START,
        schema::AGENT,
        schema::BOOT,
        schema::SEQ,
        schema::SYSTEM,
        schema::NODE,
        schema::LAYER,
        schema::OPERATION,
    ];
    let class = |class: Class| col(schema::CLASS).eq(lit(class.as_str()));
    let parts = || class(Class::Partition).or(class(Class::Other)).or(class(Class::Unattributed));
    let signed = |name: &str| -> Expr {
        let value = || col(name).cast(DataType::Int64);
        when(class(Class::Total)).then(value()).otherwise(lit(0i64) - value())
    };
    let balance = scan(Table::Windows, std::slice::from_ref(path))?
        .filter(class(Class::Total).or(parts()))
        .with_columns([signed(schema::OPS).alias(schema::OPS), signed(schema::BYTES).alias(schema::BYTES)])
        .group_by(KEYS.map(col))
        .agg(sums())
        .filter(col(schema::OPS).neq(lit(0i64)).or(col(schema::BYTES).neq(lit(0i64))))
        .select([len().cast(DataType::UInt64)])
        .collect()?;
    Ok(balance.columns()[0].u64()?.get(0).unwrap_or(0))
}
