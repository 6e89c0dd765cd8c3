//! Which system calls move data of files, in which direction, and where in the file.

use crate::field::{self, load_u32, load_u64, probe};
use crate::file::Inode;
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use isotherm_agent_ebpf::{READ, WRITE, shift_for};

/// Where a call says its position is.
#[derive(Clone, Copy, PartialEq)]
enum Position {
    /// The file's own, which the call has moved on.
    File,
    /// The fourth argument.
    Argument,
    /// The fourth argument, or the file's own if that is -1; flags in the sixth.
    ArgumentOrFile,
}

/// A system call that is counted.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    operation: u16,
    position: Position,
}

/// What a finished call did.
pub(crate) struct Access {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// log2 of the bucket width for a file of this size.
    pub(crate) shift: u16,
}

/// RWF_APPEND of pwritev2: append whatever the descriptor's flags are.
const RWF_APPEND: u64 = 0x10;
/// RWF_NOAPPEND of pwritev2 (Linux 6.9): honour the position whatever the descriptor's flags are.
const RWF_NOAPPEND: u64 = 0x20;
/// O_APPEND of the descriptor.
const O_APPEND: u32 = 0o2000;
/// TS_COMPAT: the thread is in a 32-bit system call.
const TS_COMPAT: u32 = 2;

impl Call {
    /// By its x86-64 number.
    #[inline(always)]
    pub(crate) fn of(nr: u64) -> Option<Self> {
        let (operation, position) = match nr {
            0 | 19 => (READ, Position::File),         // read, readv
            1 | 20 => (WRITE, Position::File),        // write, writev
            17 | 295 => (READ, Position::Argument),   // pread64, preadv
            18 | 296 => (WRITE, Position::Argument),  // pwrite64, pwritev
            327 => (READ, Position::ArgumentOrFile),  // preadv2
            328 => (WRITE, Position::ArgumentOrFile), // pwritev2
            _ => return None,
        };
        Some(Self { operation, position })
    }

    #[inline(always)]
    pub(crate) fn operation(self) -> u16 {
        self.operation
    }

    /// Where a call that moved `bytes` did so.
    ///
    /// A positioned write to a file opened for appending goes to its end, whatever the position says; its
    /// end is then right behind the data. A concurrent append can move it further: bytes and operations
    /// stay exact, the bucket may be a neighbour.
    #[inline(always)]
    pub(crate) fn access(self, regs: u64, file: u64, inode: &Inode, bytes: u64) -> Access {
        let argument = load_u64(regs, field::regs_pos());
        let use_file = match self.position {
            Position::File => true,
            Position::Argument => false,
            Position::ArgumentOrFile => argument as i64 == -1,
        };
        let offset = if use_file {
            probe::<u64>(file, field::file_pos()).wrapping_sub(bytes)
        } else if self.operation == WRITE && self.appends(regs, file) {
            inode.size.wrapping_sub(bytes)
        } else {
            argument
        };
        // A read at or behind the end returns nothing; it counts at the end, not at a place that the file
        // does not have, which would make all its buckets wide.
        let (offset, end) = if bytes == 0 {
            let last = inode.size.saturating_sub(1);
            (if offset > last { last } else { offset }, inode.size)
        } else {
            let end = offset.wrapping_add(bytes);
            (offset, if end > inode.size { end } else { inode.size })
        };
        Access { offset, bytes, shift: shift_for(end) }
    }

    #[inline(always)]
    fn appends(self, regs: u64, file: u64) -> bool {
        let descriptor = probe::<u32>(file, field::file_flags()) & O_APPEND != 0;
        if self.position == Position::ArgumentOrFile {
            let flags = load_u64(regs, field::regs_flags());
            flags & RWF_APPEND != 0 || (descriptor && flags & RWF_NOAPPEND == 0)
        } else {
            descriptor
        }
    }
}

/// Whether a number is a 32-bit call that would be counted if 32-bit calls were: read, write, readv, writev,
/// pread64, pwrite64, preadv, pwritev, preadv2, pwritev2.
#[inline(always)]
pub(crate) fn is_compat_file_call(nr: u64) -> bool {
    matches!(nr, 3 | 4 | 145 | 146 | 180 | 181 | 333 | 334 | 378 | 379)
}

/// Whether the current thread is in a 32-bit system call, whose numbers and registers mean something else.
#[inline(always)]
pub(crate) fn in_compat() -> bool {
    // SAFETY: always the current task.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    load_u32(task, field::task_status()) & TS_COMPAT != 0
}
