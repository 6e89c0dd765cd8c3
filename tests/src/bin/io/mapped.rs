//! Accesses through memory that is mapped from the file: no calls, so nobody can count them as such.

use anyhow::{Context, Result, ensure};
use isotherm_tests::pattern::{self, Mark};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A whole file, mapped for as long as the process lasts.
pub(crate) struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(crate) fn new(file: &File) -> Result<Self> {
        let len =
            usize::try_from(file.metadata().context("look at the file")?.len()).context("its length")?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        ensure!(base != libc::MAP_FAILED, "map {len} bytes: {}", io::Error::last_os_error());
        Ok(Self { base: base.cast(), len })
    }

    /// Reads so many bytes, and checks that they belong there.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Result<()> {
        pattern::check(self.part(offset, len)?, offset)
    }

    /// Writes so many bytes.
    pub(crate) fn write(&mut self, offset: u64, len: usize) -> Result<()> {
        pattern::fill(self.part(offset, len)?, offset, Mark::Set);
        Ok(())
    }

    fn part(&mut self, offset: u64, len: usize) -> Result<&mut [u8]> {
        let start = usize::try_from(offset).ok().filter(|start| start.saturating_add(len) <= self.len);
        let start = start.with_context(|| format!("{len} bytes at {offset} are not all in the mapping"))?;
        // SAFETY: inside the mapping; actors of one file may write the same bytes there, but the same values.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.base.add(start), len) })
    }
}
