//! The table of processes: a byte for each process id there can be, shared with the kernel programs.

use aya::maps::Map;
use isotherm_agent_ebpf::MAX_PIDS;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// The table, in this process's memory. Unmapped when dropped.
pub(super) struct Processes {
    table: *mut libc::c_void,
}

// SAFETY: the table is plain shared memory that is only touched atomically.
unsafe impl Send for Processes {}

impl Processes {
    /// Maps the kernel's table.
    pub(super) fn map(map: &Map) -> io::Result<Self> {
        let Map::Array(data) = map else { unreachable!("PROCESSES is an array, not {map:?}") };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let number = data.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping of the whole map, at an address that the kernel chooses.
        let table = unsafe {
            libc::mmap(std::ptr::null_mut(), MAX_PIDS as usize, protection, libc::MAP_SHARED, number, 0)
        };
        if table == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { table })
    }

    /// `None` for a number that no process can have.
    fn entry(&self, pid: u32) -> Option<&AtomicU8> {
        if pid >= MAX_PIDS {
            return None;
        }
        // SAFETY: inside the mapping, which lives as long as `self`; the kernel side reads and writes bytes whole.
        Some(unsafe { AtomicU8::from_ptr(self.table.cast::<u8>().add(pid as usize)) })
    }

    /// The target of a process.
    pub(super) fn get(&self, pid: u32) -> Option<u32> {
        let code = self.entry(pid)?.load(Ordering::Relaxed);
        u32::from(code).checked_sub(1)
    }

    /// Sets, or with `None` clears, the target of a process.
    pub(super) fn set(&self, pid: u32, target: Option<u32>) {
        if let Some(entry) = self.entry(pid) {
            entry.store(target.map_or(0, |target| target as u8 + 1), Ordering::Relaxed);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, which nobody else has.
        let result = unsafe { libc::munmap(self.table, MAX_PIDS as usize) };
        debug_assert_eq!(result, 0);
    }
}
