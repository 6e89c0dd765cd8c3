//! Segments: Parquet files that appear whole or not at all.
//!
//! [`crate::place`] makes them durable; only the catalog makes them count.

use crate::error::WriteError;
use crate::place::{Place, Upload};
use crate::verify::Flaw;
use chrono::{DateTime, Timelike, Utc};
use isotherm_model::{Timestamp, Window};
use object_store::path::Path;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Folder of the segments within the data folder.
pub(crate) const FOLDER: &str = "segments";
/// Ending of a finished segment.
pub(crate) const ENDING: &str = "parquet";

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
pub(crate) fn hive_folder(hour: Timestamp) -> Path {
    let at = DateTime::<Utc>::from_timestamp_millis(hour.as_ms().cast_signed())
        .expect("window starts are checked to lie before the year 2262");
    Path::from(format!("date={}/hour={:02}", at.format("%Y-%m-%d"), at.hour()))
}

/// What a file holds, as the catalog records it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) path: Path,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// XXH3 of its content, 64 bits; `None` for files that were written before there were checksums.
    pub(crate) checksum: Option<u64>,
}

/// Writes an encoded segment and makes it durable. After an error nothing of it is left, as far as the file system
/// lets it be removed.
pub(crate) fn write(place: &Place, path: Path, rows: u64, data: Vec<u8>) -> Result<Written, WriteError> {
    let (bytes, checksum) = (data.len() as u64, Some(xxh3_64(&data)));
    place.put(&path, data)?;
    Ok(Written { path, rows, bytes, checksum })
}

/// A segment that is written piece by piece. Dropped before it is finished, it is removed.
pub(crate) struct Unfinished {
    upload: Upload,
    hash: Xxh3,
    bytes: u64,
    path: Path,
}

impl Unfinished {
    /// Begins a segment.
    pub(crate) fn create(place: &Place, path: Path) -> Result<Self, WriteError> {
        Ok(Self { upload: place.upload(&path)?, hash: Xxh3::new(), bytes: 0, path })
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable under its name.
    pub(crate) fn finish(self, rows: u64) -> Result<Written, WriteError> {
        let (path, bytes, checksum) = (self.path, self.bytes, Some(self.hash.digest()));
        self.upload.finish()?;
        Ok(Written { path, rows, bytes, checksum })
    }
}

impl Write for Unfinished {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.upload.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

/// What is wrong with a segment's file, before its content is looked at.
pub(crate) fn flaw(place: &Place, written: &Written) -> Result<(), Flaw> {
    let unreadable = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Flaw::Missing
        } else {
            Flaw::Unreadable(error.to_string())
        }
    };
    let mut file = File::open(place.local(&written.path)).map_err(unreadable)?;
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
pub(crate) fn check(place: &Place, written: &Written) -> Result<(), WriteError> {
    flaw(place, written).map_err(|source| WriteError::Damaged { path: place.local(&written.path), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_the_hour_in_utc() {
        let at = Timestamp::from_ms(1_767_263_400_000);
        assert_eq!(hive_folder(hour_of(at)).as_ref(), "date=2026-01-01/hour=10");
        assert_eq!(hive_folder(Timestamp::from_ms(0)).as_ref(), "date=1970-01-01/hour=00");
        assert_eq!(next_hour(at).as_ms() - hour_of(at).as_ms(), HOUR_MS);
    }
}
