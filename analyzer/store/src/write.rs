//! The store's one writer: what was sent becomes true in groups, each all at once.
//!
//! Order of a commit: segments are written, synced and renamed; then one catalog transaction makes the
//! segments, the high-water marks of the runs and the gaps true; only then does the caller learn it and may
//! acknowledge. A crash in between leaves files that no catalog names, and the next start removes them.

mod append;
pub(crate) mod compact;
mod group;
mod merge;
mod recover;
mod retire;
mod watermark;

use crate::catalog::{self, NodeReport, Segment};
use crate::encode;
use crate::error::{OpenError, WriteError};
use crate::place::{self, Place};
use crate::read::Reader;
use crate::segment;
use crate::table::Table;
use compact::Compaction;
use group::Group;
use isotherm_model::{AgentId, BootId, Interval, Seq, Timestamp, Window};
pub use merge::Merging;
use object_store::path::Path;
use polars::prelude::{DataFrame, PolarsResult};
pub use retire::{Limit, Retention};
use rusqlite::{Connection, Transaction};
use std::collections::VecDeque;
use std::fs::File;
use std::time::{Duration, Instant};
pub use watermark::LATENESS_MS;

/// One run of an agent: the space in which sequence numbers count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The agent.
    pub agent: AgentId,
    /// Its run.
    pub boot: BootId,
}

/// Batches `first ..= last` that will never come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first missing batch.
    pub first: Seq,
    /// The last missing batch, not before the first and below 2^63.
    pub last: Seq,
    /// The time that is missing.
    pub time: Interval,
    /// Why, in one word.
    pub reason: &'static str,
}

/// What takes a place in the sequence of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A batch of windows.
    Batch {
        /// Its place, below 2^63.
        seq: Seq,
        /// Its windows, checked to be conserved.
        windows: Vec<Window>,
    },
    /// Places that stay empty.
    Gap(Gap),
}

/// An entry and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The run.
    pub run: Run,
    /// What it sent.
    pub entry: Entry,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything of the run up to and including `through` is on the disk, whether by this commit or an
    /// earlier one.
    Committed {
        /// The submission's own (last) sequence number.
        through: Seq,
    },
    /// A batch before it is missing. Nothing was written.
    OutOfOrder {
        /// The one that must come next.
        expected: Seq,
    },
    /// It could not be written now. Nothing was kept of it.
    Retry,
}

/// What became of a group.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One verdict per submission, in their order.
    pub verdicts: Vec<Verdict>,
    /// Why some of them are [`Verdict::Retry`].
    pub failure: Option<WriteError>,
    /// Nodes of which two agents send windows of the same time, with both agents.
    pub contested: Vec<NodeContest>,
    /// Runs whose clock is wrong, or ours is.
    pub ahead: Vec<ClockAhead>,
    /// Windows that came late: they are kept and acknowledged, and change no answer.
    pub late: u64,
}

/// A run that sent windows which end well after now. They are kept and answered for like others, but say
/// nothing about what its nodes' newest windows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockAhead {
    /// The run.
    pub run: Run,
    /// How long after now the latest of the windows ends, in milliseconds.
    pub ahead_ms: u64,
}

/// A node that two agents report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeContest {
    /// `system/node`.
    pub node: String,
    /// The agents, in order of their names.
    pub agents: [String; 2],
}

/// How the store is kept in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep {
    /// How late windows may come, in milliseconds; see [`LATENESS_MS`].
    pub lateness_ms: u64,
    /// How much is kept.
    pub retention: Retention,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self { lateness_ms: LATENESS_MS, retention: Retention::default() }
    }
}

/// How often is looked for what is too old or too much.
const RETIRE_EVERY: Duration = Duration::from_secs(60);

/// The writer of a data folder. There is at most one per folder, over all processes.
#[derive(Debug)]
pub struct Store {
    place: Place,
    catalog: Connection,
    /// Held, never read: the lock ends with the file.
    _lock: File,
    /// Set when a commit ended without saying how. Whether its segments count is known after a restart.
    doubtful: bool,
    /// Hours that may have enough segments to merge, each once.
    touched: VecDeque<(Table, Timestamp)>,
    /// Files that merges replaced, since when, until no question can be reading them.
    replaced: Vec<(Instant, Path)>,
    upkeep: Upkeep,
    compaction: Compaction,
    /// When the first group came since the start.
    listening_since: Option<Timestamp>,
    /// When was last looked for what is too old or too much.
    retired_at: Option<Instant>,
}

impl Store {
    /// Opens a data folder, creating it if needed, and puts right what a crash left: unfinished segments and
    /// those that no catalog names are removed. Segments that the catalog names must be there in full.
    pub fn open(dir: &std::path::Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: dir.to_owned(), source };
        place::create_root(dir).map_err(io_error)?;
        let lock = recover::lock(dir)?;
        let place = Place::open(dir).map_err(io_error)?;
        let found = place.found().map_err(io_error)?;
        let catalog = catalog::open(dir, found.finished())?;
        recover::segments(&place, &catalog, &found)?;
        place::sync_folder(dir).map_err(io_error)?;
        let touched = merge::unmerged(&catalog)?;
        Ok(Self {
            place,
            catalog,
            _lock: lock,
            doubtful: false,
            touched,
            replaced: Vec::new(),
            upkeep: Upkeep::default(),
            compaction: Compaction::default(),
            listening_since: None,
            retired_at: None,
        })
    }

    /// The same, kept in order in another way than by default.
    #[must_use]
    pub fn with_upkeep(self, upkeep: Upkeep) -> Self {
        Self { upkeep, ..self }
    }

    /// Takes one step of what keeps the store in order, when nobody waits for a commit: merges, compacts closed
    /// hours, retires old ones. `elapsed` is the time on a clock that is never set, `now` is what the catalog notes.
    ///
    /// After an error everything is as before, and a later call tries again.
    pub fn maintain(&mut self, now: Timestamp, elapsed: Instant) -> Result<Merging, WriteError> {
        if self.merge(now, elapsed)? == Merging::MoreToDo || self.compact(now, elapsed)? == Merging::MoreToDo
        {
            return Ok(Merging::MoreToDo);
        }
        let due = |at: Instant| elapsed.saturating_duration_since(at) >= RETIRE_EVERY;
        if self.retired_at.is_none_or(due) {
            if self.retire(elapsed)? == Merging::MoreToDo {
                return Ok(Merging::MoreToDo);
            }
            self.retired_at = Some(elapsed);
        }
        Ok(Merging::Done)
    }

    /// A reader of what is committed. It stays valid as long as the store.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.place.clone())
    }

    /// Commits a group: all of its new entries or none. Entries of a run must be in the order they came in.
    ///
    /// Entries at or below the run's high-water mark are committed already and change nothing. The memory
    /// used is proportional to the group's rows, about 1 KB each.
    pub fn commit(&mut self, submissions: &[Submission], now: Timestamp) -> Outcome {
        let mut outcome = Outcome::default();
        match self.try_commit(submissions, now, &mut outcome) {
            Ok(verdicts) => outcome.verdicts = verdicts,
            Err(failure) => {
                outcome.verdicts = self.after_failure(submissions);
                outcome.failure = Some(failure);
            }
        }
        outcome
    }

    fn try_commit(
        &mut self,
        submissions: &[Submission],
        now: Timestamp,
        outcome: &mut Outcome,
    ) -> Result<Vec<Verdict>, WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        let group = Group::gather(&self.catalog, submissions)?;
        if group.is_empty() {
            return Ok(group.verdicts);
        }
        outcome.ahead = group.ahead(now);
        outcome.late = group.late().values().sum();
        let mut segments = Vec::new();
        let written = write_segments(&self.place, &group, &mut segments);
        let result = written.and_then(|()| {
            fail::fail_point!("store::segment_written");
            self.commit_group(&group, &segments, now, &mut outcome.contested)
        });
        self.after_publishing(&segments, result)?;
        fail::fail_point!("store::committed");
        Ok(group.verdicts)
    }

    fn commit_group(
        &mut self,
        group: &Group<'_>,
        segments: &[Segment],
        now: Timestamp,
        contested: &mut Vec<NodeContest>,
    ) -> Result<(), WriteError> {
        let settled = self.settled_by(group, now);
        self.publish(segments, now, |transaction| {
            settled.map_or(Ok(()), |settled| catalog::settle(transaction, settled))?;
            for (agent, windows) in group.late() {
                catalog::count_late(transaction, agent, windows, now)?;
            }
            for (run, seq) in &group.marks {
                catalog::set_committed(transaction, run, *seq, now)?;
            }
            for (run, gap) in &group.gaps {
                catalog::add_gap(transaction, run, gap)?;
            }
            for report in group.reports(now) {
                contested.extend(contest(catalog::node(transaction, &report.node)?, &report));
                catalog::report_node(transaction, &report)?;
            }
            Ok(())
        })
    }

    /// Makes segments count, and `change` with them, in one transaction.
    fn publish(
        &mut self,
        segments: &[Segment],
        now: Timestamp,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), WriteError> {
        self.commit_to_catalog(|transaction| {
            segments.iter().try_for_each(|segment| catalog::add_segment(transaction, segment, now))?;
            change(transaction)
        })
    }

    /// Puts right what is left of segments that were to be published: their hours may have something to merge, or
    /// the files are in the way.
    fn after_publishing(
        &mut self,
        segments: &[Segment],
        result: Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if let Err(error) = result {
            // Files of a doubtful commit may count; only the next start can tell.
            if !self.doubtful {
                segments.iter().for_each(|segment| self.discard(segment));
            }
            return Err(error);
        }
        for segment in segments {
            let hour = (segment.table, segment::hour_of(segment.first_start));
            if !self.touched.contains(&hour) {
                self.touched.push_back(hour);
            }
        }
        Ok(())
    }

    fn discard(&self, segment: &Segment) {
        self.place.discard(&segment.written.path);
    }

    /// Keeps the files of segments that count no longer until no question can be reading them.
    fn replace(&mut self, segments: &[Segment], elapsed: Instant) {
        let replaced = segments.iter().map(|segment| (elapsed, segment.written.path.clone()));
        self.replaced.extend(replaced);
    }

    /// Runs `change` in a transaction. After a commit that does not tell its outcome the store is doubtful.
    fn commit_to_catalog(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), WriteError> {
        let transaction = self.catalog.transaction()?;
        change(&transaction)?;
        transaction.commit().map_err(|error| {
            // Without room the commit mark was not written; after a failed sync it may have been.
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
                return WriteError::Catalog(error);
            }
            self.doubtful = true;
            WriteError::Doubtful(Some(error))
        })
    }

    /// After a failure only what is on the disk counts, not what the group would have made of it.
    fn after_failure(&self, submissions: &[Submission]) -> Vec<Verdict> {
        let verdict = |submission: &Submission| {
            let committed = catalog::committed(&self.catalog, &submission.run).ok().flatten();
            let last = submission.entry.last();
            if committed.is_some_and(|mark| last <= mark) {
                Verdict::Committed { through: last }
            } else {
                Verdict::Retry
            }
        };
        submissions.iter().map(verdict).collect()
    }
}

impl Entry {
    /// The first place that it takes.
    #[must_use]
    pub fn first(&self) -> Seq {
        match self {
            Self::Batch { seq, .. } => *seq,
            Self::Gap(gap) => gap.first,
        }
    }

    /// The last place that it takes.
    #[must_use]
    pub fn last(&self) -> Seq {
        match self {
            Self::Batch { seq, .. } => *seq,
            Self::Gap(gap) => gap.last,
        }
    }
}

/// Writes one segment per hour of the group. What was written before an error is removed by the caller.
fn write_segments(place: &Place, group: &Group<'_>, segments: &mut Vec<Segment>) -> Result<(), WriteError> {
    for (hour, windows) in group.by_hour() {
        let time = (windows.first_start(), windows.last_end());
        segments.push(write_segment(place, hour, time, || windows.frame())?);
    }
    Ok(())
}

/// Writes rows of an hour of a table as a segment that does not count yet. They span `(first_start, last_end)`.
fn write_segment(
    place: &Place,
    (table, hour): (Table, Timestamp),
    (first_start, last_end): (Timestamp, Timestamp),
    frame: impl FnOnce() -> PolarsResult<DataFrame>,
) -> Result<Segment, WriteError> {
    let path = merge::segment_path(table, hour);
    let encode_error = |source| WriteError::Encode { path: place.local(&path), source };
    let frame = frame().map_err(encode_error)?;
    let rows = frame.height() as u64;
    let data = encode::parquet(frame).map_err(encode_error)?;
    let written = segment::write(place, path.clone(), rows, data)?;
    Ok(Segment { table, written, level: 0, first_start, last_end })
}

fn contest(known: Option<(String, Timestamp)>, report: &NodeReport) -> Option<NodeContest> {
    let (agent, last_end) = known?;
    let start_ms = report.last_end.as_ms().saturating_sub(u64::from(report.window_ms));
    let both_look = agent != report.agent && last_end.as_ms() > start_ms;
    both_look.then(|| {
        let mut agents = [agent, report.agent.clone()];
        agents.sort();
        NodeContest { node: report.node.to_string(), agents }
    })
}

#[cfg(test)]
mod tests;
