//! What happens before the first commit: the folder is locked, and put right.

use crate::catalog;
use crate::error::OpenError;
use crate::place::{Found, Place};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

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

/// Removes segments that do not count and checks that those which do are there in full.
pub(super) fn segments(place: &Place, catalog: &Connection, found: &Found) -> Result<(), OpenError> {
    let mut counted = BTreeSet::new();
    for segment in catalog::segments(catalog)? {
        let (path, expected) = (place.local(&segment.written.path), segment.written.bytes);
        match place.size(&segment.written.path) {
            Ok(Some(size)) if size == expected => {}
            Ok(Some(found)) => return Err(OpenError::SegmentSize { path, expected, found }),
            Ok(None) => return Err(OpenError::SegmentMissing { path }),
            Err(source) => return Err(OpenError::Io { path, source }),
        }
        counted.insert(segment.written.path);
    }
    place.sweep(found, |path| counted.contains(path));
    Ok(())
}
