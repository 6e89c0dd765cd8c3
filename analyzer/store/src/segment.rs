//! Segments: Parquet files that appear whole or not at all.
//!
//! A segment is written under a name nobody looks for, synced, renamed, and its folder synced. That makes the
//! file durable; only the catalog makes it count.

use crate::error::WriteError;
use chrono::{DateTime, Timelike, Utc};
use isotherm_model::{Timestamp, Window};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Folder of the segments within the data folder.
pub(crate) const FOLDER: &str = "segments";
/// Ending of a finished segment.
pub(crate) const ENDING: &str = "parquet";
/// Ending of a segment that is being written.
pub(crate) const UNFINISHED: &str = "tmp";

const HOUR_MS: u64 = 3_600_000;

/// Start of the hour that a moment lies in.
pub(crate) fn hour_of(at: Timestamp) -> Timestamp {
    at.align_down(HOUR_MS)
}

/// First moment of the next hour.
pub(crate) fn next_hour(hour: Timestamp) -> Timestamp {
    hour_of(hour).plus_ms(HOUR_MS)
}

/// In how many different hours windows start: each takes a segment of its own.
#[must_use]
pub fn hours_of(windows: &[Window]) -> usize {
    windows.iter().map(|window| hour_of(window.start).as_ms()).collect::<BTreeSet<_>>().len()
}

/// `date=YYYY-MM-DD/hour=HH` of an hour, in UTC.
pub(crate) fn hive_folder(hour: Timestamp) -> PathBuf {
    let at = DateTime::<Utc>::from_timestamp_millis(hour.as_ms().cast_signed())
        .expect("window starts are checked to lie before the year 2262");
    PathBuf::from(format!("date={}", at.format("%Y-%m-%d"))).join(format!("hour={:02}", at.hour()))
}

/// What a file holds, as the catalog records it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Relative to the data folder.
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Writes an encoded segment to `root/path` and makes it durable. After an error neither the file nor its
/// temporary twin is left, as far as the file system lets them be removed.
pub(crate) fn write(root: &Path, path: PathBuf, rows: u64, data: &[u8]) -> Result<Written, WriteError> {
    let whole = root.join(&path);
    let unfinished = whole.with_extension(UNFINISHED);
    let folder = whole.parent().expect("segments lie in folders of their own");
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    create_folder(folder).map_err(at(folder))?;
    let written = fill(&unfinished, data).map_err(at(&unfinished)).and_then(|()| {
        fs::rename(&unfinished, &whole).map_err(at(&whole))?;
        sync_folder(folder).map_err(at(folder))
    });
    if let Err(error) = written {
        discard(&unfinished);
        discard(&whole);
        return Err(error);
    }
    Ok(Written { path, rows, bytes: data.len() as u64 })
}

/// Removes a file that does not count. What cannot be removed is removed at the next start.
pub(crate) fn discard(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file that does not count");
        }
        Ok(()) | Err(_) => {}
    }
}

fn fill(path: &Path, data: &[u8]) -> io::Result<()> {
    fail::fail_point!("store::write", |_| {
        Err(io::Error::new(io::ErrorKind::StorageFull, "failpoint store::write"))
    });
    let mut file = File::create_new(path)?;
    file.write_all(data)?;
    file.sync_all()
}

/// Creates a folder and makes its own entry durable, up to the first folder that was already there.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        sync_folder(parent)?;
    }
    Ok(())
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_the_hour_in_utc() {
        let at = Timestamp::from_ms(1_767_263_400_000);
        assert_eq!(hive_folder(hour_of(at)), Path::new("date=2026-01-01/hour=10"));
        assert_eq!(hive_folder(Timestamp::from_ms(0)), Path::new("date=1970-01-01/hour=00"));
        assert_eq!(next_hour(at).as_ms() - hour_of(at).as_ms(), HOUR_MS);
    }

    #[test]
    fn nested_folders_are_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_folder(&folder).unwrap();
        create_folder(&folder).unwrap();
        assert!(folder.is_dir());
    }
}
