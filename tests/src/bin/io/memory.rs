//! Memory for the data of requests: slots of whole pages, so that direct I/O can use them.

use anyhow::{Context, Result, bail};
use isotherm_tests::io::Memory;
use std::ffi::c_void;
use std::io;

/// Of a page, and of what direct I/O on all file systems here is content with.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Slots of equal length in one mapping, which lasts as long as the process.
pub(crate) struct Slots {
    base: *mut u8,
    slot_bytes: usize,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone, and to no thread.
unsafe impl Send for Slots {}

impl Slots {
    /// So many, each of at least so many bytes.
    pub(crate) fn new(memory: Memory, count: usize, bytes: usize) -> Result<Self> {
        let slot_bytes = bytes.max(1).next_multiple_of(PAGE_BYTES);
        let len = slot_bytes.checked_mul(count).context("the requests are too long")?;
        let (flags, fd) = match memory {
            Memory::Private => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
            Memory::Shared => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
            Memory::Memfd => (libc::MAP_SHARED, memfd(len)?),
        };
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).with_context(|| format!("map {len} bytes"));
        }
        Ok(Self { base: base.cast(), slot_bytes, count })
    }

    pub(crate) fn address(&self, slot: usize) -> *mut u8 {
        assert!(slot < self.count, "slot {slot} of {}", self.count);
        self.base.wrapping_add(slot * self.slot_bytes)
    }

    /// The first bytes of a slot that no request is using.
    pub(crate) fn slot(&mut self, slot: usize, len: usize) -> &mut [u8] {
        assert!(len <= self.slot_bytes, "{len} bytes in a slot of {}", self.slot_bytes);
        // SAFETY: inside the mapping, which is readable, writable and borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.address(slot), len) }
    }

    /// All slots, for registering them.
    pub(crate) fn vectors(&self) -> Vec<libc::iovec> {
        (0..self.count)
            .map(|slot| libc::iovec {
                iov_base: self.address(slot).cast::<c_void>(),
                iov_len: self.slot_bytes,
            })
            .collect()
    }
}

/// A file in memory; the descriptor stays open.
fn memfd(len: usize) -> Result<i32> {
    // SAFETY: the name is a string that ends in zero.
    let fd = unsafe { libc::memfd_create(c"data".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("memfd_create");
    }
    let len = libc::off_t::try_from(len).context("the requests are too long")?;
    // SAFETY: a plain call on an open descriptor.
    if unsafe { libc::ftruncate(fd, len) } != 0 {
        bail!("a memfd of {len} bytes: {}", io::Error::last_os_error());
    }
    Ok(fd)
}
