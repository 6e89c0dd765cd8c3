//! Telemetry as Parquet segments and a catalog, and the questions asked of them.
//!
//! One [`Store`] writes: windows become segments first, then one catalog transaction makes the segments, the
//! runs' high-water marks and the gaps true together, and only then may anybody acknowledge anything. Any
//! number of [`Reader`]s ask beside it; they see what is in the catalog and nothing else.
//!
//! The only crate that names polars: past it there are model types and plain numbers. It never reads a clock
//! (callers say what time it is) and starts no task; every call blocks. SQL runs on a thread that ends with the
//! call.

mod activity;
mod catalog;
mod columns;
mod coverage;
mod csv;
mod derived;
mod encode;
mod entropy;
mod error;
mod estimate;
mod export;
mod history;
mod latency;
mod offset;
mod peer;
mod place;
mod plug_in;
mod query;
mod read;
mod risk_columns;
mod schema;
mod segment;
mod stats;
mod steps;
mod table;
mod verify;
mod write;

#[cfg(test)]
mod conservation;
#[cfg(test)]
mod earlier;
#[cfg(test)]
mod sample;

pub use activity::{Accesses, NodeActivity, PartitionActivity, PartitionShare, Place};
pub use catalog::{LateWindows, Missing, NodeReport, Retired, SCHEMA_VERSION};
pub use coverage::SILENT_WINDOWS;
pub use csv::{write_csv, write_csv_header};
pub use derived::{Derived, EntropyRow, EntropyStatus, ForecastKind, ForecastRow, IntervalSource, RiskRow};
pub use entropy::{
    EligibleSource, EntropyQuery, MAX_ANSWERS, PartitionEntropy, PartitionFilter, PeerEntropy, Share, Step,
    Subsets,
};
pub use error::{OpenError, QueryError, SqlError, WriteError};
pub use export::{ExportFile, ExportFormat, ExportPart, ExportQuery, ExportSlice};
pub use history::{
    Cause, Changed, DomainEvent, DomainSize, DownInterval, Histories, History, HistoryError, Keep, MAX_WORDS,
    NodeHistory, Outage, OutageCause, Override, Recorder, Recording, Records, Witness, Word,
};
pub use peer::{Ends, Exchanged, NodePeers};
pub use query::{ColumnHead, Prepared, Rows, VIEWS, Value, View};
pub use read::{Reader, Span};
pub use risk_columns::{RiskColumns, RiskWeights};
pub use segment::hours_of;
pub use stats::{StoreStats, TableStats};
pub use steps::{
    Excluded, KeptOut, NodeCounts, NodeReads, OffsetEntropy, PartitionCounts, RunningSteps, ShareEntropy,
    StepCounts, StepQuery, SystemLoad, Watched,
};
pub use table::Table;
pub use verify::{Flaw, SegmentFile};
pub use write::{
    ClockAhead, Entry, Gap, LATENESS_MS, Limit, Merging, NodeContest, Outcome, Retention, Run, Store,
    Submission, Upkeep, Verdict,
};
