//! Which system calls move data of files, in which direction, and where in the file.

use crate::field::{self, load_u32, load_u64};
use crate::file::{File, Inode, Needs};
use core::ptr::read_volatile;
use isotherm_agent_ebpf::{READ, SYNC, WRITE};

/// What a system call does that is looked at, in a byte: what kind it is in bits 4 to 6, for an access to the file
/// of its descriptor the operation in bits 0 and 1, and where it says its position is in bits 2 and 3.
#[derive(Clone, Copy)]
pub(crate) struct Call(u8);

/// What kind of call it is.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// None that is looked at.
    Other = 0,
    /// An access to the file of the descriptor.
    File = 1 << 4,
    /// It fetches the results of asynchronous accesses.
    Events = 2 << 4,
    /// It takes a connection.
    Accept = 3 << 4,
    /// An access if it is a 32-bit call, else another.
    Compat = 4 << 4,
}

const KIND: u8 = 7 << 4;
const OPERATION: u8 = 3;

/// Where a call says its position is: its file's own, which the call has moved on.
const FILE: u8 = 0;
/// In the fourth argument.
const ARGUMENT: u8 = 1 << 2;
/// In the fourth argument, or the file's own if that is -1; flags in the sixth.
const ARGUMENT_OR_FILE: u8 = 2 << 2;
/// There is none.
const NOWHERE: u8 = 3 << 2;
const POSITION: u8 = 3 << 2;

const NUMBERS: usize = 384;

/// By the x86-64 number. A table, because every call of every process on the host asks.
#[unsafe(no_mangle)]
static CALLS: [u8; NUMBERS] = calls();

const fn access(operation: u16, position: u8) -> u8 {
    operation as u8 | position | Kind::File as u8
}

const fn calls() -> [u8; NUMBERS] {
    let mut calls = [Kind::Other as u8; NUMBERS];
    // As 32-bit calls: read, write, readv, writev, pread64, pwrite64, preadv, pwritev, preadv2, pwritev2.
    let compat = [3, 4, 145, 146, 180, 181, 333, 334, 378, 379];
    let mut index = 0;
    while index < compat.len() {
        calls[compat[index]] = Kind::Compat as u8;
        index += 1;
    }
    // read, readv; write, writev
    calls[0] = access(READ, FILE);
    calls[19] = access(READ, FILE);
    calls[1] = access(WRITE, FILE);
    calls[20] = access(WRITE, FILE);
    // pread64, preadv; pwrite64, pwritev
    calls[17] = access(READ, ARGUMENT);
    calls[295] = access(READ, ARGUMENT);
    calls[18] = access(WRITE, ARGUMENT);
    calls[296] = access(WRITE, ARGUMENT);
    // preadv2; pwritev2
    calls[327] = access(READ, ARGUMENT_OR_FILE);
    calls[328] = access(WRITE, ARGUMENT_OR_FILE);
    // fsync, fdatasync
    calls[74] = access(SYNC, NOWHERE);
    calls[75] = access(SYNC, NOWHERE);
    // io_getevents, io_pgetevents
    calls[208] = Kind::Events as u8;
    calls[333] = Kind::Events as u8;
    // accept, accept4
    calls[43] = Kind::Accept as u8;
    calls[288] = Kind::Accept as u8;
    calls
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
    pub(crate) fn of(nr: u64) -> Self {
        if nr >= NUMBERS as u64 {
            return Self(Kind::Other as u8);
        }
        // SAFETY: inside the table; volatile, so that the compiler does not make it a tree of comparisons.
        Self(unsafe { read_volatile((&raw const CALLS).cast::<u8>().add(nr as usize)) })
    }

    #[inline(always)]
    pub(crate) fn is(self, kind: Kind) -> bool {
        self.0 & KIND == kind as u8
    }

    /// What [`offset_of`] looks at.
    #[inline(always)]
    pub(crate) fn needs(self) -> Needs {
        let position = self.0 & POSITION;
        Needs { position: position == FILE || position == ARGUMENT_OR_FILE, flags: self.operation() == WRITE }
    }

    /// Of an access.
    #[inline(always)]
    pub(crate) fn operation(self) -> u16 {
        u16::from(self.0 & OPERATION)
    }
}

/// Where a call that moved `bytes` did so.
///
/// A positioned write to a file opened for appending goes to its end, whatever the position says; its end is
/// then right behind the data. A concurrent append can move it further: bytes and operations stay exact, the
/// bucket may be a neighbour.
#[inline(always)]
pub(crate) fn offset_of(regs: u64, file: &File, inode: &Inode, call: Call, bytes: u64) -> u64 {
    let operation = call.operation();
    match call.0 & POSITION {
        FILE => file.position.wrapping_sub(bytes),
        ARGUMENT => {
            let append = operation == WRITE && file.flags & O_APPEND != 0;
            if append { inode.size.wrapping_sub(bytes) } else { load_u64(regs, field::regs_pos()) }
        }
        ARGUMENT_OR_FILE => {
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
        _ => 0,
    }
}

/// Whether a positioned write appends, by the descriptor's flags and its own.
#[inline(always)]
pub(crate) fn appends(file: &File, flags: u64) -> bool {
    flags & RWF_APPEND != 0 || (file.flags & O_APPEND != 0 && flags & RWF_NOAPPEND == 0)
}

/// Whether the current thread, `task`, is in a 32-bit system call, whose numbers and registers mean something else.
#[inline(always)]
pub(crate) fn in_compat(task: u64) -> bool {
    load_u32(task, field::task_status()) & TS_COMPAT != 0
}
