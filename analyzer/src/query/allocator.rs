//! Memory that runs out in a process that has a limit ends it by name.
//!
//! Without this the process would abort, and whoever started it could only guess why.

use nix::libc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process whose memory ran out.
pub(crate) const EXHAUSTED: i32 = 99;

static LIMITED: AtomicBool = AtomicBool::new(false);

/// From here on, memory that runs out ends this process with [`EXHAUSTED`].
pub(crate) fn end_when_exhausted() {
    LIMITED.store(true, Ordering::Relaxed);
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
