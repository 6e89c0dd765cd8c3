//! Contents that tell where they belong, and whether they were written later.
//!
//! The byte at an offset is seven bits of the number of its eight-byte word; the eighth bit is the mark, which
//! is clear in a file as laid out and set in what is written afterwards. So what a read returned proves where
//! it came from, and a file proves what was written to it, whatever anybody counted.

use anyhow::{Context, Result, bail, ensure};
use isotherm_model::{BUCKETS, OffsetHistogram};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Whether contents were there before or were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Laid out.
    Clear,
    /// Written afterwards.
    Set,
}

const MARK: u8 = 0x80;
const CHUNK_BYTES: usize = 1 << 20;

fn byte_at(offset: u64) -> u8 {
    let (word, lane) = (offset / 8, offset % 8);
    ((word >> (7 * lane)) & 0x7f) as u8
}

/// Fills a buffer with the contents that belong at an offset.
pub fn fill(buffer: &mut [u8], offset: u64, mark: Mark) {
    let mark = if mark == Mark::Set { MARK } else { 0 };
    for (byte, at) in buffer.iter_mut().zip(offset..) {
        *byte = byte_at(at) | mark;
    }
}

/// Fails unless the contents belong at this offset, written or not.
pub fn check(buffer: &[u8], offset: u64) -> Result<()> {
    match buffer.iter().zip(offset..).find(|(byte, at)| **byte & !MARK != byte_at(*at)) {
        Some((byte, at)) => bail!("the contents at {at} are {byte:#04x}, not what belongs there"),
        None => Ok(()),
    }
}

/// Makes a file of so many unmarked bytes, on the disk and not in the page cache. One that has this length
/// already is left as it is.
pub fn lay_out(path: &Path, size_bytes: u64) -> Result<()> {
    if path.metadata().is_ok_and(|found| found.len() == size_bytes) {
        return Ok(());
    }
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    for start in (0..size_bytes).step_by(CHUNK_BYTES) {
        let len = (size_bytes - start).min(CHUNK_BYTES as u64) as usize;
        fill(&mut chunk[..len], start, Mark::Clear);
        file.write_all_at(&chunk[..len], start).with_context(|| format!("fill {}", path.display()))?;
    }
    file.sync_all().with_context(|| format!("sync {}", path.display()))?;
    // SAFETY: an advice on an open descriptor.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    ensure!(result == 0, "drop the pages of {}: error {result}", path.display());
    Ok(())
}

/// Number of marked bytes of a file, in 64 buckets of `1 << shift` bytes. Fails where the contents belong
/// elsewhere, except in holes.
pub fn marked(path: &Path, shift: u8) -> Result<OffsetHistogram> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut counts = [0u64; BUCKETS];
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut start = 0;
    loop {
        let len = file.read_at(&mut chunk, start).with_context(|| format!("read {}", path.display()))?;
        if len == 0 {
            break;
        }
        for (byte, at) in chunk[..len].iter().zip(start..) {
            ensure!(
                *byte == 0 || byte & !MARK == byte_at(at),
                "{}: the contents at {at} are {byte:#04x}, not what belongs there",
                path.display()
            );
            let bucket = usize::try_from(at >> shift).unwrap_or(usize::MAX);
            let count = counts.get_mut(bucket);
            let count = count.with_context(|| format!("{}: {at} is behind the buckets", path.display()))?;
            *count += u64::from(byte & MARK != 0);
        }
        start += len as u64;
    }
    OffsetHistogram::new(shift, counts).with_context(|| format!("no layout has shift {shift}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_belong_at_one_offset_only() {
        let mut buffer = [0; 100];
        fill(&mut buffer, 123_457, Mark::Clear);
        check(&buffer, 123_457).unwrap();
        assert!(check(&buffer, 123_456).is_err() && check(&buffer, 123_465).is_err());
        fill(&mut buffer[50..], 123_507, Mark::Set);
        check(&buffer, 123_457).unwrap();
    }

    #[test]
    fn a_file_tells_what_was_written_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        lay_out(&path, 20_000).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let mut buffer = [0; 500];
        for offset in [0, 5_000] {
            fill(&mut buffer, offset, Mark::Set);
            file.write_all_at(&buffer, offset).unwrap();
        }
        let marked_bytes = marked(&path, 12).unwrap();
        assert_eq!(&marked_bytes.counts()[..3], [500, 500, 0]);
        file.write_all_at(&buffer, 9_001).unwrap();
        assert!(marked(&path, 12).is_err());
    }
}
