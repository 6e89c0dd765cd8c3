//! Where segments lie: in an object store, which is a folder of this host.
//!
//! Segments are named by their path in that store, in the catalog and in code: relative, and the same on every
//! system. This room alone makes files of them. Another store would be another room; polars' scans need a local path
//! so far.
//!
//! What [`Place::put`] and [`Upload::finish`] return from is durable: the file is synced, renamed, and its folder
//! synced, and so are folders that were made for it. Before that it has another name, which nobody looks for. A
//! folder that is made is synced before a file is in it, so one that may not be durable is empty, and
//! [`Place::sweep`] removes those.

use crate::error::WriteError;
use crate::segment::{ENDING, FOLDER};
use futures::executor::block_on;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of an upload that are in memory.
const PIECE: usize = 4 << 20;

/// The store that segments of a data folder lie in. Cheap to clone; every call blocks.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    store: Arc<LocalFileSystem>,
}

/// What is below the folder of segments, whether it counts or not.
#[derive(Debug)]
pub(crate) struct Found {
    files: Vec<PathBuf>,
    /// Those that are within others come first.
    folders: Vec<PathBuf>,
}

impl Place {
    /// The store of a data folder that is there.
    pub(crate) fn open(root: &std::path::Path) -> io::Result<Self> {
        let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
        Ok(Self { root: root.to_owned(), store: Arc::new(store) })
    }

    /// The data folder.
    pub(crate) fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// The file that a path leads to.
    pub(crate) fn local(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    /// Makes data durable under its path. After an error nothing is left, as far as the file system lets it be removed.
    pub(crate) fn put(&self, path: &Path, data: Vec<u8>) -> Result<(), WriteError> {
        let put = refused().and_then(|()| Ok(block_on(self.store.put(path, data.into()))?));
        put.map(drop).map_err(|source| {
            // It may have its name already, and only the folder not be synced.
            self.discard(path);
            WriteError::Io { path: self.local(path), source }
        })
    }

    /// Begins what is written piece by piece. Dropped before it is finished, it is removed.
    pub(crate) fn upload(&self, path: &Path) -> Result<Upload, WriteError> {
        let upload = block_on(self.store.put_multipart(path));
        let upload =
            upload.map_err(|error| WriteError::Io { path: self.local(path), source: error.into() })?;
        Ok(Upload { upload: Some(upload), pending: Vec::new(), local: self.local(path) })
    }

    /// Its size; `None` if it is not there.
    pub(crate) fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match block_on(self.store.head(path)) {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what does not count. What cannot be removed is removed at the next start.
    pub(crate) fn discard(&self, path: &Path) {
        match block_on(self.store.delete(path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "cannot remove a file that does not count"),
        }
    }

    /// What is there. Unlike the store's own list it has what was never finished.
    pub(crate) fn found(&self) -> io::Result<Found> {
        let mut found = Found { files: Vec::new(), folders: Vec::new() };
        let top = self.root.join(FOLDER);
        if top.try_exists()? {
            found.add(&top)?;
        }
        Ok(found)
    }

    /// Removes files of segments that do not count, and folders without files.
    pub(crate) fn sweep(&self, found: &Found, counts: impl Fn(&Path) -> bool) {
        for file in found.files.iter().filter(|file| is_ours(file)) {
            if self.path(file).is_some_and(|path| counts(&path)) {
                continue;
            }
            tracing::info!(path = %file.display(), "removing a segment that was never committed");
            remove(file);
        }
        for folder in &found.folders {
            // One with files stays: that is the error.
            let _ = fs::remove_dir(folder);
        }
    }

    /// The path of a finished file.
    fn path(&self, file: &std::path::Path) -> Option<Path> {
        Path::parse(file.strip_prefix(&self.root).ok()?.to_str()?).ok()
    }
}

impl Found {
    /// A segment that was finished, if there is one.
    pub(crate) fn finished(&self) -> Option<&std::path::Path> {
        let finished = |file: &&PathBuf| file.extension().is_some_and(|ending| ending == ENDING);
        self.files.iter().find(finished).map(PathBuf::as_path)
    }

    fn add(&mut self, folder: &std::path::Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.add(&entry.path())?;
            } else {
                self.files.push(entry.path());
            }
        }
        self.folders.push(folder.to_owned());
        Ok(())
    }
}

/// A segment, also one that is not finished: its name goes on behind a `#`. Before catalogs of version 4 it ended
/// with `tmp`.
fn is_ours(file: &std::path::Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ending.split('#').next() == Some(ENDING) || ending == "tmp"
}

/// A file that is written piece by piece.
pub(crate) struct Upload {
    upload: Option<Box<dyn MultipartUpload>>,
    pending: Vec<u8>,
    local: PathBuf,
}

impl Upload {
    /// Makes it durable under its path.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        let finished = refused().and_then(|()| {
            self.send()?;
            let upload = self.upload.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(block_on(upload.complete())?)
        });
        match finished {
            Ok(_) => {
                self.upload = None;
                Ok(())
            }
            Err(source) => {
                remove(&self.local);
                Err(WriteError::Io { path: self.local.clone(), source })
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.pending);
        let upload = self.upload.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(block_on(upload.put_part(piece.into()))?)
    }
}

impl Write for Upload {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(data);
        if self.pending.len() >= PIECE {
            self.send()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // An upload that failed at its very end has given up its file.
        if let Some(mut upload) = self.upload.take()
            && block_on(upload.abort()).is_err()
        {
            let mut unfinished = self.local.clone().into_os_string();
            unfinished.push("#1");
            remove(unfinished.as_ref());
        }
    }
}

/// Removes a file that does not count. What cannot be removed is removed at the next start.
fn remove(file: &std::path::Path) {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %file.display(), %error, "cannot remove a file that does not count");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Where tests have the disk be full.
fn refused() -> io::Result<()> {
    fail::fail_point!("store::write", |_| {
        Err(io::Error::new(io::ErrorKind::StorageFull, "failpoint store::write"))
    });
    Ok(())
}

/// Creates a data folder, and makes the entries of it and of the folders that it lies in durable: a start that
/// was killed may have created any of them. Those that were there before and may not be synced are left alone.
pub(crate) fn create_root(root: &std::path::Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for folder in root.canonicalize()?.ancestors().skip(1) {
        match sync_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot sync a folder"),
            Ok(()) => {}
        }
    }
    Ok(())
}

pub(crate) fn sync_folder(folder: &std::path::Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str) -> Path {
        Path::from(format!("{FOLDER}/date=2026-01-01/hour=09/{name}.{ENDING}"))
    }

    #[test]
    fn a_path_is_the_same_in_the_catalog_and_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path()).unwrap();
        place.put(&segment("a"), b"abc".to_vec()).unwrap();
        let file = dir.path().join("segments/date=2026-01-01/hour=09/a.parquet");
        assert_eq!((place.local(&segment("a")), fs::read(&file).unwrap()), (file.clone(), b"abc".to_vec()));
        assert_eq!(place.path(&file), Some(segment("a")));
        assert_eq!((place.size(&segment("a")).unwrap(), place.size(&segment("b")).unwrap()), (Some(3), None));
        place.discard(&segment("a"));
        place.discard(&segment("a"));
        assert!(!file.exists());
    }

    #[test]
    fn pieces_are_a_file_only_when_they_are_finished() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path()).unwrap();
        let written = |name: &str| {
            let mut upload = place.upload(&segment(name)).unwrap();
            (0..3).for_each(|piece| upload.write_all(&vec![piece; PIECE / 2 + 1]).unwrap());
            upload
        };
        let upload = written("whole");
        assert_eq!(place.found().unwrap().finished(), None);
        upload.finish().unwrap();
        let data = fs::read(place.local(&segment("whole"))).unwrap();
        assert!(data.len() == 3 * (PIECE / 2 + 1) && data.is_sorted());
        drop(written("dropped"));
        assert_eq!(place.found().unwrap().files.len(), 1);
    }

    #[test]
    fn a_start_removes_what_does_not_count_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path()).unwrap();
        ["counts", "orphan"].iter().for_each(|name| place.put(&segment(name), Vec::new()).unwrap());
        let folder = dir.path().join("segments/date=2026-01-01/hour=09");
        for name in ["killed.parquet#1", "old.tmp", "notes.txt"] {
            fs::write(folder.join(name), "").unwrap();
        }
        fs::create_dir_all(dir.path().join("segments/risks/date=2026-01-01/hour=10")).unwrap();
        place.sweep(&place.found().unwrap(), |path| *path == segment("counts"));
        let mut left: Vec<String> = place
            .found()
            .unwrap()
            .files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["counts.parquet", "notes.txt"]);
        assert!(!dir.path().join("segments/risks").exists(), "folders without files go");
    }

    #[test]
    fn a_data_folder_is_created_with_those_it_lies_in() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            create_root(&dir.path().join("x/y")).unwrap();
        }
        assert!(dir.path().join("x/y").is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_root(&dir.path().join("file")).is_err());
    }
}
