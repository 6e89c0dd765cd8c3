//! Which system calls move data of files, in which direction, and where in the file.

use crate::field::{self, load_u32, load_u64};
use crate::file::{File, Inode};
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use isotherm_agent_ebpf::{READ, SYNC, WRITE};

/// Where a call says its position is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Position {
    /// The file's own, which the call has moved on.
    File,
    /// The fourth argument.
    Argument,
    /// The fourth argument, or the file's own if that is -1; flags in the sixth.
    ArgumentOrFile,
    /// There is none.
    None,
}

/// What a system call does that is looked at.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// An access to the file of the descriptor.
    File(u16, Position),
    /// It fetches the results of asynchronous accesses.
    Events,
    /// It takes a connection.
    Accept,
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
        Some(match nr {
            0 | 19 => Self::File(READ, Position::File),         // read, readv
            1 | 20 => Self::File(WRITE, Position::File),        // write, writev
            17 | 295 => Self::File(READ, Position::Argument),   // pread64, preadv
            18 | 296 => Self::File(WRITE, Position::Argument),  // pwrite64, pwritev
            327 => Self::File(READ, Position::ArgumentOrFile),  // preadv2
            328 => Self::File(WRITE, Position::ArgumentOrFile), // pwritev2
            74 | 75 => Self::File(SYNC, Position::None),        // fsync, fdatasync
            208 | 333 => Self::Events,                          // io_getevents, io_pgetevents
            43 | 288 => Self::Accept,                           // accept, accept4
            _ => return None,
        })
    }
}

/// Where a call that moved `bytes` did so.
///
/// A positioned write to a file opened for appending goes to its end, whatever the position says; its end is
/// then right behind the data. A concurrent append can move it further: bytes and operations stay exact, the
/// bucket may be a neighbour.
#[inline(always)]
pub(crate) fn offset_of(
    regs: u64,
    file: &File,
    inode: &Inode,
    operation: u16,
    position: Position,
    bytes: u64,
) -> u64 {
    match position {
        Position::File => file.position.wrapping_sub(bytes),
        Position::Argument => {
            let append = operation == WRITE && file.flags & O_APPEND != 0;
            if append { inode.size.wrapping_sub(bytes) } else { load_u64(regs, field::regs_pos()) }
        }
        Position::ArgumentOrFile => {
            let argument = load_u64(regs, field::regs_pos());
            let flags = load_u64(regs, field::regs_flags());
            if argument as i64 == -1 {
                file.position.wrapping_sub(bytes)
            } else if operation == WRITE && appends(file, flags) {
                inode.size.wrapping_sub(bytes)
            } else {
                argument
            }
        }
        Position::None => 0,
    }
}

/// Whether a positioned write appends, by the descriptor's flags and its own.
#[inline(always)]
pub(crate) fn appends(file: &File, flags: u64) -> bool {
    flags & RWF_APPEND != 0 || (file.flags & O_APPEND != 0 && flags & RWF_NOAPPEND == 0)
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
