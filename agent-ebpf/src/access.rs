//! Counting an access of the logical layer, whoever saw it.

use crate::file::{File, Inode, send_name};
use crate::map::{FILES, Scratch, add, lose, naming_epoch, tallied};
use isotherm_agent_ebpf::{FileCounters, FileKey, MIN_SHIFT, SYNC, Slot, shift_for};

/// Do not overwrite an entry that another CPU has just made (BPF_NOEXIST).
pub(crate) const NO_EXIST: u64 = 1;

/// Lies in .rodata, as the value does not fit the stack.
#[unsafe(no_mangle)]
static ZERO: FileCounters = FileCounters::ZERO;

/// Who saw the access.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) target: u32,
    pub(crate) slot: Slot,
    pub(crate) scratch: Scratch,
}

/// Counts a finished access of `bytes` at `offset`; a [`SYNC`] has neither.
#[inline(always)]
pub(crate) fn count(seen: Seen, operation: u16, file: &File, inode: &Inode, offset: u64, bytes: u64) {
    // A read at or behind the end returns nothing; it counts at the end, not at a place that the file does not
    // have, which would make all its buckets wide.
    let (offset, end) = if bytes == 0 {
        let last = inode.size.saturating_sub(1);
        (if offset > last { last } else { offset }, inode.size)
    } else {
        let end = offset.wrapping_add(bytes);
        (offset, if end > inode.size { end } else { inode.size })
    };
    let shift = if operation == SYNC { MIN_SHIFT } else { shift_for(end) };
    let (ino, dev, generation) = (inode.ino, inode.dev, inode.generation);
    let key = FileKey { ino, dev, generation, target: seen.target, operation, shift };
    tallied(seen.target, seen.slot, operation, bytes, || {
        let mut counters = FILES.get_ptr_mut(&key);
        if counters.is_none() {
            // A second CPU may have been faster; the look-up that follows tells.
            let _lost_race_is_fine = FILES.insert(&key, &ZERO, NO_EXIST);
            counters = FILES.get_ptr_mut(&key);
        }
        let Some(counters) = counters else {
            overflow(seen.target, operation, bytes);
            return;
        };
        let epoch = naming_epoch();
        // SAFETY: a live map value; single words of it are read, and counters are only added to atomically.
        unsafe {
            if (*counters).named != epoch {
                let identity = u64::from(dev) << 32 | u64::from(generation);
                if send_name(ino, identity, file.dentry(), seen.scratch) {
                    (*counters).named = epoch;
                }
            }
            if operation == SYNC {
                add(&raw mut (*counters).unplaced_ops, 1);
            } else {
                add(&raw mut (*counters).bytes, bytes);
                let bucket = ((offset >> shift) & 63) as usize;
                add(&raw mut (*counters).offsets[bucket], 1);
            }
        }
    });
}

/// The map of files is full: the access is counted for its target and operation only.
#[inline(never)]
fn overflow(target: u32, operation: u16, bytes: u64) {
    // SAFETY: a field of a map value.
    lose(target, 1, |lost| unsafe { &raw mut (*lost).files_full });
    if let Some(counters) = FILES.get_ptr_mut(&FileKey::overflow(target, operation)) {
        // SAFETY: a live map value, only added to atomically.
        unsafe {
            add(&raw mut (*counters).unplaced_ops, 1);
            add(&raw mut (*counters).bytes, bytes);
        }
    }
}
