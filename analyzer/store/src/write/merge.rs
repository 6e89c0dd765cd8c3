//! Small segments become larger ones.
//!
//! A commit makes at least one segment, however small, and every question opens all segments of its time: at
//! one commit a second an hour would have 3,600. So whenever [`FAN_IN`] segments of an hour have the same
//! level, they are merged into one of the next; a row is rewritten at most once per level, and an hour keeps
//! a few dozen segments. The rows do not change.
//!
//! The catalog swaps the segments in one transaction. The replaced files stay for [`READERS_MS`], for questions
//! that were asked before the swap; after a crash the next start finds that no catalog names them.

use super::Store;
use crate::catalog::{self, Segment};
use crate::encode;
use crate::error::WriteError;
use crate::read::scan;
use crate::segment;
use isotherm_model::Timestamp;
use polars::prelude::LazyFrame;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Segments that become one.
const FAN_IN: usize = 16;

/// Segments of this level are final.
const LAST_LEVEL: u32 = 3;

/// Larger segments are final too, so that merging takes at most [`FAN_IN`] times as many rows of memory
/// (80 MB).
const MAX_ROWS: u64 = 1 << 13;

/// How long a question may read replaced files, in milliseconds.
const READERS_MS: u64 = 600_000;

impl Store {
    /// Merges segments of the hours that were written to since the last call, where there are enough of them.
    /// After an error everything is as before, and it is tried again after the next commit to that hour.
    pub fn merge(&mut self, now: Timestamp) -> Result<(), WriteError> {
        self.bury(now);
        for hour in std::mem::take(&mut self.touched) {
            for level in 0..LAST_LEVEL {
                if self.doubtful {
                    return Err(WriteError::Doubtful(None));
                }
                let small = catalog::mergeable(&self.catalog, hour, level, MAX_ROWS, FAN_IN)?;
                if small.len() < FAN_IN {
                    break;
                }
                self.merge_into_one(hour, level + 1, &small, now)?;
            }
        }
        Ok(())
    }

    fn merge_into_one(
        &mut self,
        hour: Timestamp,
        level: u32,
        small: &[Segment],
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let merged = merged(&self.dir, hour, level, small)?;
        let result = self.commit_to_catalog(|transaction| {
            small.iter().try_for_each(|segment| catalog::remove_segment(transaction, segment))?;
            catalog::add_segment(transaction, &merged, now)
        });
        match result {
            Ok(()) => {
                let replaced = small.iter().map(|segment| (now, self.dir.join(&segment.written.path)));
                self.replaced.extend(replaced);
                Ok(())
            }
            Err(error) => {
                if !self.doubtful {
                    segment::discard(&self.dir.join(&merged.written.path));
                }
                Err(error)
            }
        }
    }

    /// Removes replaced files that no question can still be reading.
    fn bury(&mut self, now: Timestamp) {
        self.replaced.retain(|(since, path)| {
            let read = since.plus_ms(READERS_MS) > now;
            if !read {
                segment::discard(path);
            }
            read
        });
    }
}

fn merged(dir: &Path, hour: Timestamp, level: u32, small: &[Segment]) -> Result<Segment, WriteError> {
    let path = segment_path(hour);
    let encode_error = |source| WriteError::Encode { path: dir.join(&path), source };
    let paths: Vec<PathBuf> = small.iter().map(|segment| dir.join(&segment.written.path)).collect();
    let frame = scan(&paths).and_then(LazyFrame::collect).map_err(encode_error)?;
    let rows = frame.height() as u64;
    let data = encode::parquet(frame).map_err(encode_error)?;
    let bounds = |of: fn(&Segment) -> Timestamp| small.iter().map(of);
    Ok(Segment {
        written: segment::write(dir, path.clone(), rows, &data)?,
        level,
        first_start: bounds(|segment| segment.first_start).min().unwrap_or(hour),
        last_end: bounds(|segment| segment.last_end).max().unwrap_or(hour),
    })
}

/// A new segment's place within the data folder.
pub(super) fn segment_path(hour: Timestamp) -> PathBuf {
    let name = format!("{}.{}", Uuid::new_v4(), segment::ENDING);
    Path::new(segment::FOLDER).join(segment::hive_folder(hour)).join(name)
}
