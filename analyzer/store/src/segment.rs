//! Segments: Parquet files that appear whole or not at all.
//!
//! A segment is written under a name nobody looks for, synced, renamed, and its folder synced. That makes the
//! file durable; only the catalog makes it count.

use crate::error::WriteError;
use crate::verify::Flaw;
use chrono::{DateTime, Timelike, Utc};
use isotherm_model::{Timestamp, Window};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

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
    /// XXH3 of its content, 64 bits; `None` for files that were written before there were checksums.
    pub(crate) checksum: Option<u64>,
}

/// Writes an encoded segment to `path` below the root and makes it durable. After an error neither the file nor
/// its temporary twin is left, as far as the file system lets them be removed.
pub(crate) fn write(
    folders: &mut Folders,
    path: PathBuf,
    rows: u64,
    data: &[u8],
) -> Result<Written, WriteError> {
    let whole = folders.root.join(&path);
    let unfinished = whole.with_extension(UNFINISHED);
    let folder = whole.parent().expect("segments lie in folders of their own");
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    folders.make(path.parent().unwrap_or(&path)).map_err(at(folder))?;
    let written = fill(&unfinished, data).map_err(at(&unfinished)).and_then(|()| {
        fs::rename(&unfinished, &whole).map_err(at(&whole))?;
        sync_folder(folder).map_err(at(folder))
    });
    if let Err(error) = written {
        discard(&unfinished);
        discard(&whole);
        return Err(error);
    }
    Ok(Written { path, rows, bytes: data.len() as u64, checksum: Some(xxh3_64(data)) })
}

/// A segment that is written piece by piece. Dropped before it is finished, it is removed.
pub(crate) struct Unfinished {
    file: BufWriter<File>,
    hash: Xxh3,
    bytes: u64,
    root: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Unfinished {
    /// Creates a segment at `path` below the root.
    pub(crate) fn create(folders: &mut Folders, path: PathBuf) -> Result<Self, WriteError> {
        let root = folders.root.clone();
        let whole = root.join(&path);
        let unfinished = whole.with_extension(UNFINISHED);
        let made = folders.make(path.parent().unwrap_or(&path));
        let file = made.and_then(|()| File::create_new(&unfinished));
        let file = file.map_err(|source| WriteError::Io { path: unfinished, source })?;
        Ok(Self { file: BufWriter::new(file), hash: Xxh3::new(), bytes: 0, root, path, done: false })
    }

    /// Its place within the data folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable under its name.
    pub(crate) fn finish(mut self, rows: u64) -> Result<Written, WriteError> {
        let whole = self.root.join(&self.path);
        let result = self.publish(&whole);
        if let Err(source) = result {
            discard(&whole);
            return Err(WriteError::Io { path: whole, source });
        }
        self.done = true;
        let checksum = Some(self.hash.digest());
        Ok(Written { path: self.path.clone(), rows, bytes: self.bytes, checksum })
    }

    fn publish(&mut self, whole: &Path) -> io::Result<()> {
        fail::fail_point!("store::write", |_| {
            Err(io::Error::new(io::ErrorKind::StorageFull, "failpoint store::write"))
        });
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(whole.with_extension(UNFINISHED), whole)?;
        sync_folder(whole.parent().unwrap_or(&self.root))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            discard(&self.root.join(&self.path).with_extension(UNFINISHED));
        }
    }
}

impl Write for Unfinished {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What is wrong with a segment's file, before its content is looked at.
pub(crate) fn flaw(dir: &Path, written: &Written) -> Result<(), Flaw> {
    let unreadable = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Flaw::Missing
        } else {
            Flaw::Unreadable(error.to_string())
        }
    };
    let mut file = File::open(dir.join(&written.path)).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?.len();
    if found != written.bytes {
        return Err(Flaw::Size { expected: written.bytes, found });
    }
    let Some(expected) = written.checksum else { return Ok(()) };
    let mut hash = Xxh3::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece).map_err(unreadable)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    let found = hash.digest();
    if found == expected { Ok(()) } else { Err(Flaw::Checksum { expected, found }) }
}

/// Makes sure that a segment is what was committed, before what is read from it is written as good.
pub(crate) fn check(dir: &Path, written: &Written) -> Result<(), WriteError> {
    flaw(dir, written).map_err(|source| WriteError::Damaged { path: dir.join(&written.path), source })
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

/// The folders below a data folder: created when they are needed, and their entries made durable once by every
/// process. That a folder is there does not say that its entry is on the disk: who created it may have been
/// killed in between.
#[derive(Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    /// Relative to the root.
    durable: BTreeSet<PathBuf>,
}

/// Folders that are remembered. Past that all are forgotten, which costs a sync each.
const REMEMBERED: usize = 1_024;

impl Folders {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), durable: BTreeSet::new() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes sure that a folder below the root, and those between them, are there and stay there.
    fn make(&mut self, folder: &Path) -> io::Result<()> {
        for folder in self.doubtful(folder) {
            let whole = self.root.join(&folder);
            match fs::create_dir(&whole) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && whole.is_dir() => {}
                created => created?,
            }
            sync_folder(whole.parent().unwrap_or(&self.root))?;
            if self.durable.len() >= REMEMBERED {
                self.durable.clear();
            }
            self.durable.insert(folder);
        }
        Ok(())
    }

    /// The folders on the way to `folder`, outermost first, that may not be durable.
    fn doubtful(&self, folder: &Path) -> Vec<PathBuf> {
        let mut way: Vec<PathBuf> = folder
            .ancestors()
            .filter(|folder| !folder.as_os_str().is_empty() && !self.durable.contains(*folder))
            .map(Path::to_owned)
            .collect();
        way.reverse();
        way
    }
}

/// Creates a data folder, and makes the entries of it and of the folders that it lies in durable: a start that
/// was killed may have created any of them. Those that were there before and may not be synced are left alone.
pub(crate) fn create_root(root: &Path) -> io::Result<()> {
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
    fn folders_are_durable_once_this_process_has_seen_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Path::new("a/b");
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        let mut folders = Folders::new(dir.path());
        assert_eq!(
            folders.doubtful(folder),
            [Path::new("a"), folder],
            "who created them may not have synced"
        );
        folders.make(folder).unwrap();
        assert!(folders.doubtful(folder).is_empty());
        folders.make(Path::new("a/c")).unwrap();
        assert!(dir.path().join("a/c").is_dir());
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
