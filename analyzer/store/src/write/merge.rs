//! Small segments become larger ones.
//!
//! A commit makes at least one segment, however small, and every question opens all segments of its time: at
//! one commit a second an hour would have 3,600. So whenever [`FAN_IN`] segments of an hour have the same
//! level, they are merged into one of the next; a row is rewritten at most once per level. The rows do not
//! change. Of small segments an hour so keeps a few dozen; those with more than [`MAX_ROWS`] rows from the start
//! stay as they are, however many.
//!
//! The catalog swaps the segments in one transaction. The replaced files stay for [`READERS`], for questions
//! that were asked before the swap; after a crash the next start finds that no catalog names them.

use super::Store;
use crate::catalog::{self, Segment};
use crate::encode;
use crate::error::WriteError;
use crate::place::Place;
use crate::read::scan;
use crate::segment;
use crate::table::Table;
use isotherm_model::Timestamp;
use object_store::path::Path;
use polars::prelude::LazyFrame;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Segments that become one.
const FAN_IN: usize = 16;

/// Segments of this level are final.
pub(super) const LAST_LEVEL: u32 = 3;

/// Larger segments are final too, so that merging takes at most [`FAN_IN`] times as many rows of memory
/// (130 MB).
const MAX_ROWS: u64 = 1 << 13;

/// How long a question may read replaced files. One that takes longer fails, and can be asked again.
const READERS: Duration = Duration::from_secs(600);

/// Whether there may be more to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// Perhaps.
    MoreToDo,
    /// Not before the next commit.
    Done,
}

/// The hours that a start finds with enough segments to merge, as after errors or a crash.
pub(super) fn unmerged(catalog: &Connection) -> Result<VecDeque<(Table, Timestamp)>, rusqlite::Error> {
    Ok(catalog::mergeable_hours(catalog, LAST_LEVEL, MAX_ROWS, FAN_IN)?.into())
}

impl Store {
    /// Merges the segments of one hour and level, if there is one with enough of them, and removes the files
    /// of earlier merges that no question can still be reading. `elapsed` is the time on a clock that is
    /// never set, which says how long a file has been replaced; `now` is what the catalog notes.
    ///
    /// After an error everything is as before, and the next call tries again.
    pub fn merge(&mut self, now: Timestamp, elapsed: Instant) -> Result<Merging, WriteError> {
        self.bury(elapsed);
        while let Some(hour) = self.touched.pop_front() {
            match self.merge_hour(hour, now, elapsed) {
                Ok(Merging::Done) => {}
                result @ (Ok(Merging::MoreToDo) | Err(_)) => {
                    // Last, so that an hour that cannot be merged holds up no other.
                    self.touched.push_back(hour);
                    return result;
                }
            }
        }
        Ok(Merging::Done)
    }

    fn merge_hour(
        &mut self,
        hour: (Table, Timestamp),
        now: Timestamp,
        elapsed: Instant,
    ) -> Result<Merging, WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        if self.compaction.is_at(hour) {
            return Ok(Merging::Done);
        }
        for level in 0..LAST_LEVEL {
            let small = catalog::mergeable(&self.catalog, hour, level, MAX_ROWS, FAN_IN)?;
            if small.len() == FAN_IN {
                self.merge_into_one(hour, level + 1, &small, now, elapsed)?;
                return Ok(Merging::MoreToDo);
            }
        }
        Ok(Merging::Done)
    }

    fn merge_into_one(
        &mut self,
        hour: (Table, Timestamp),
        level: u32,
        small: &[Segment],
        now: Timestamp,
        elapsed: Instant,
    ) -> Result<(), WriteError> {
        let merged = merged(&self.place, hour, level, small)?;
        fail::fail_point!("store::merge_written");
        let result = self.commit_to_catalog(|transaction| {
            small.iter().try_for_each(|segment| catalog::remove_segment(transaction, segment))?;
            catalog::add_segment(transaction, &merged, now)
        });
        match result {
            Ok(()) => {
                fail::fail_point!("store::merged");
                self.replace(small, elapsed);
                Ok(())
            }
            Err(error) => {
                if !self.doubtful {
                    self.discard(&merged);
                }
                Err(error)
            }
        }
    }

    /// Removes replaced files that no question can still be reading.
    pub(super) fn bury(&mut self, elapsed: Instant) {
        let place = &self.place;
        self.replaced.retain(|(since, path)| {
            let read = elapsed.saturating_duration_since(*since) < READERS;
            if !read {
                place.discard(path);
            }
            read
        });
    }
}

fn merged(
    place: &Place,
    (table, hour): (Table, Timestamp),
    level: u32,
    small: &[Segment],
) -> Result<Segment, WriteError> {
    let path = segment_path(table, hour);
    let encode_error = |source| WriteError::Encode { path: place.local(&path), source };
    small.iter().try_for_each(|segment| segment::check(place, &segment.written))?;
    let paths: Vec<PathBuf> = small.iter().map(|segment| place.local(&segment.written.path)).collect();
    let frame = scan(table, &paths).and_then(LazyFrame::collect).map_err(encode_error)?;
    let rows = frame.height() as u64;
    let data = encode::parquet(frame).map_err(encode_error)?;
    let bounds = |of: fn(&Segment) -> Timestamp| small.iter().map(of);
    Ok(Segment {
        table,
        written: segment::write(place, path.clone(), rows, data)?,
        level,
        first_start: bounds(|segment| segment.first_start).min().unwrap_or(hour),
        last_end: bounds(|segment| segment.last_end).max().unwrap_or(hour),
    })
}

/// A new segment's place within the data folder.
pub(super) fn segment_path(table: Table, hour: Timestamp) -> Path {
    let (folder, name, ending) = (table.folder(hour), Uuid::new_v4(), segment::ENDING);
    Path::from(format!("{}/{folder}/{name}.{ending}", segment::FOLDER))
}
