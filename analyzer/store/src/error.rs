//! Why the store could not do something, by what the caller can do about it.

use crate::query::{VIEWS, View};
use crate::verify::Flaw;
use polars::error::PolarsError;
use sqlparser::parser::ParserError;
use std::io;
use std::path::PathBuf;

/// Why a data folder was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another isotherm serve ({holder})", dir.display())]
    InUse {
        /// The data folder.
        dir: PathBuf,
        /// What the other process says of itself.
        holder: String,
    },
    /// The catalog was written by a newer version.
    #[error(
        "the catalog {} has schema version {found}, this isotherm knows versions up to {known}; \
         use a newer isotherm", path.display()
    )]
    Newer {
        /// The catalog's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// There is no catalog, so nothing was ever kept here.
    #[error("{} has no catalog: it is not the data folder of isotherm serve", dir.display())]
    NoCatalog {
        /// The folder.
        dir: PathBuf,
    },
    /// The catalog was written by an older version, and this is not the one who may change it.
    #[error(
        "the catalog {} has schema version {found} and not {known}; start isotherm serve once, which brings it \
         up to date", path.display()
    )]
    Older {
        /// The catalog's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is read.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{} is not a catalog of isotherm", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There are segments, and no catalog to say which of them count.
    #[error(
        "{} holds segments such as {}, but its catalog is missing; restore catalog.db from a backup, or move \
         the segments away", dir.display(), segment.display()
    )]
    CatalogMissing {
        /// The data folder.
        dir: PathBuf,
        /// One of the segments.
        segment: PathBuf,
    },
    /// A segment that the catalog names is gone.
    #[error("the catalog names the segment {}, which is missing", path.display())]
    SegmentMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A segment is not what was committed.
    #[error("the segment {} has {found} bytes, the catalog says {expected}", path.display())]
    SegmentSize {
        /// The segment.
        path: PathBuf,
        /// Bytes by the catalog.
        expected: u64,
        /// Bytes on the disk.
        found: u64,
    },
    /// The file system refused something.
    #[error("cannot use {}", path.display())]
    Io {
        /// What was being used.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The catalog refused something.
    #[error("cannot use the catalog")]
    Catalog(#[from] rusqlite::Error),
}

/// Why a group was not committed. Nothing of it was kept: it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused something; a full disk is here.
    #[error("cannot write {}", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Encoding a segment failed.
    #[error("cannot encode {}", path.display())]
    Encode {
        /// What was being written.
        path: PathBuf,
        /// The cause.
        #[source]
        source: PolarsError,
    },
    /// A segment that was to be merged cannot be decoded.
    #[error("cannot read {what}")]
    Read {
        /// What was being read.
        what: String,
        /// The cause.
        #[source]
        source: PolarsError,
    },
    /// A segment that was to be merged is not what was committed. It stays as it is.
    #[error("the segment {} is damaged", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// How.
        #[source]
        source: Flaw,
    },
    /// What is kept already, and must not be kept twice, cannot be read.
    #[error("cannot look up the {what} that are kept already")]
    Kept {
        /// What was looked for.
        what: String,
        /// The cause.
        #[source]
        source: QueryError,
    },
    /// A merge would have lost or made rows. Nothing was changed.
    #[error("{} has {found} rows when it is read, the catalog says {expected}", path.display())]
    RowsChanged {
        /// Folder of the hour.
        path: PathBuf,
        /// Rows by the catalog.
        expected: u64,
        /// Rows that were found.
        found: u64,
    },
    /// The catalog refused the transaction.
    #[error("cannot commit to the catalog")]
    Catalog(#[from] rusqlite::Error),
    /// The catalog does not say whether it committed, as when a sync fails. Only a restart can tell: the
    /// store writes nothing more.
    #[error("cannot tell whether the catalog committed; restart isotherm serve")]
    Doubtful(#[source] Option<rusqlite::Error>),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Nobody has heard of that partition in the time asked.
    #[error("no partition {name} is named by the topology or was seen in that time")]
    NoSuchPartition {
        /// As it was asked for.
        name: String,
    },
    /// Nobody has heard of that node.
    #[error("no node {name} is named by the topology or has ever reported")]
    NoSuchNode {
        /// As it was asked for.
        name: String,
    },
    /// A table whose rows are of no partition.
    #[error("the rows of {table} are of no partition")]
    NoPartitions {
        /// The table.
        table: &'static str,
    },
    /// The answer would not be bounded.
    #[error(
        "{answers} answers, one per partition and step, are more than the {limit} allowed; \
         ask for less time, longer steps or fewer partitions"
    )]
    TooMany {
        /// Partitions times steps, over all systems.
        answers: u64,
        /// The most that are given.
        limit: u64,
    },
    /// A segment or column is not readable.
    #[error("cannot read the segments")]
    Segments(#[from] PolarsError),
    /// A name in a segment is none: the segment was not written by this store.
    #[error("the segments hold an impossible name")]
    Name(#[from] isotherm_model::InvalidName),
    /// The catalog is not readable.
    #[error("cannot read the catalog")]
    Catalog(#[from] rusqlite::Error),
}

/// Why a statement has no answer. All but the last three are the statement's own.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It is not SQL; the message says where.
    #[error("{0}")]
    Syntax(#[from] ParserError),
    /// It would do something else than read.
    #[error("only a single SELECT can be asked, this is {found}")]
    OnlySelect {
        /// What it begins with.
        found: String,
    },
    /// It reads something else than tables.
    #[error("{function} cannot stand in FROM; the tables are {}", table_names())]
    Function {
        /// The function.
        function: String,
    },
    /// It names a table that is not there.
    #[error("there is no table {name}; the tables are {}", table_names())]
    UnknownTable {
        /// As it was asked for.
        name: String,
    },
    /// A text that a column of time is compared with is no moment.
    #[error(
        "{text:?} is compared with {column} and is no moment; write 2026-01-31T12:00:00Z, 2026-01-31 12:00:00 \
         or 2026-01-31, all in UTC unless they say otherwise"
    )]
    Moment {
        /// The text.
        text: String,
        /// The column.
        column: String,
    },
    /// polars refuses it.
    #[error("{}{}{columns}", without_plan(refusal), if columns.is_empty() { "" } else { "\n" })]
    Invalid {
        /// Why. Part of the message, as it is for whoever wrote the statement.
        refusal: PolarsError,
        /// What may be named.
        columns: String,
    },
    /// The catalog or a segment cannot be read.
    #[error(transparent)]
    Read(QueryError),
    /// No thread could be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// polars panicked.
    #[error("the engine failed; what it said stands above")]
    Panicked,
}

impl SqlError {
    pub(crate) fn unknown_table(name: &str) -> Self {
        Self::UnknownTable { name: name.to_owned() }
    }

    /// Whether another statement could be answered.
    #[must_use]
    pub fn is_of_the_statement(&self) -> bool {
        match self {
            Self::Syntax(_)
            | Self::OnlySelect { .. }
            | Self::Function { .. }
            | Self::UnknownTable { .. }
            | Self::Moment { .. }
            | Self::Invalid { .. } => true,
            Self::Read(_) | Self::Thread(_) | Self::Panicked => false,
        }
    }
}

/// What polars says, without the plan that it had made until then: pages, of our tables' columns.
fn without_plan(refusal: &PolarsError) -> String {
    let text = refusal.to_string();
    text.split("\n\nResolved plan until failure").next().unwrap_or_default().trim_end().to_owned()
}

fn table_names() -> String {
    VIEWS.map(View::name).join(", ")
}
