//! What happens before the first commit: the folder is locked, and put right.

use crate::catalog;
use crate::error::OpenError;
use crate::segment::{self, ENDING, FOLDER, UNFINISHED};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// Takes the folder for this process. The lock is the kernel's, so it ends with the process however that ends;
/// the text in the file is for people.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "unknown process".into() } else { holder };
            return Err(OpenError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(source)),
    }
    // A full disk must not keep the analyzer from starting for that.
    if let Err(error) = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id())) {
        tracing::debug!(path = %path.display(), %error, "cannot note who has the data folder");
    }
    Ok(file)
}

/// The files in the folder of segments, whether they count or not.
pub(super) struct Found(Vec<PathBuf>);

/// Looks what is in the folder of segments. A folder that is not there has no files.
pub(super) fn files(dir: &Path) -> Result<Found, OpenError> {
    let root = dir.join(FOLDER);
    files_below(&root).map(Found).map_err(|source| OpenError::Io { path: root, source })
}

impl Found {
    /// A segment that was finished, if there is one.
    pub(super) fn finished(&self) -> Option<&Path> {
        let finished = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == ENDING);
        self.0.iter().find(finished).map(PathBuf::as_path)
    }
}

/// Removes segments that do not count and checks that those which do are there in full.
pub(super) fn segments(dir: &Path, catalog: &Connection, found: Found) -> Result<(), OpenError> {
    let mut counted = BTreeSet::new();
    for segment in catalog::segments(catalog)? {
        let (path, expected) = (dir.join(&segment.written.path), segment.written.bytes);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::SegmentMissing { path });
            }
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        if size != expected {
            return Err(OpenError::SegmentSize { path, expected, found: size });
        }
        counted.insert(path);
    }
    for path in found.0 {
        let ours = path.extension().is_some_and(|ending| ending == ENDING || ending == UNFINISHED);
        if ours && !counted.contains(&path) {
            tracing::info!(path = %path.display(), "removing a segment that was never committed");
            segment::discard(&path);
        }
    }
    Ok(())
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
