//! Memory that runs out in a process that has a limit ends it by name, and large pieces go back to the system.
//!
//! Without the first the process would abort, and whoever started it could only guess why. Without the second glibc
//! keeps pieces of up to 32 MiB for whoever asks next, and lays small ones that last among them: what a cycle's columns
//! took once would never be the system's again.

use nix::libc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process whose memory ran out.
pub(crate) const EXHAUSTED: i32 = 99;

/// Bytes of a piece that is the system's again as soon as it is free. Smaller ones would cost more in pages that are
/// cleared anew than they are worth.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

static LIMITED: AtomicBool = AtomicBool::new(false);

/// From here on, memory that runs out ends this process with [`EXHAUSTED`].
pub(crate) fn end_when_exhausted() {
    LIMITED.store(true, Ordering::Relaxed);
}

/// From here on, large pieces of memory go back to the system as soon as they are free.
pub(crate) fn give_back_large() {
    #[cfg(target_env = "gnu")]
    // SAFETY: these set two numbers of the allocator's, which has a lock of its own.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

/// The system's allocator.
pub(crate) struct Allocator;

fn checked(memory: *mut u8) -> *mut u8 {
    if memory.is_null() && LIMITED.load(Ordering::Relaxed) {
        // SAFETY: it ends the process; nothing of ours runs after it.
        unsafe { libc::_exit(EXHAUSTED) }
    }
    memory
}

// SAFETY: everything is the system allocator's; what it returns is handed on as it is.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        checked(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(memory, layout) }
    }
}
