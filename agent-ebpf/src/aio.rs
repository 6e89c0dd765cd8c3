//! Asynchronous accesses of libaio, when their results are fetched.
//!
//! The kernel says only the result and the address of the request, which lies in the process's memory. Read
//! from it are operation, descriptor and position, never data. A process that reuses a request before it has
//! fetched its result, or fetches results without a system call, is not counted right.

use crate::access::{Seen, count};
use crate::call::appends;
use crate::field;
use crate::file::{self, File, Inode};
use crate::map::{Scratch, lose};
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use isotherm_agent_ebpf::{READ, SYNC, Slot, WRITE};

/// `struct io_event` (linux/aio_abi.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

/// `struct iocb`, up to the position, on a little-endian machine.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    data: u64,
    key: u32,
    flags: u32,
    code: u16,
    priority: u16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: u64,
}

/// What a call has fetched.
#[repr(C)]
struct Fetched {
    /// Address of the first result.
    events: u64,
    target: u32,
    /// Accesses that could not be looked at.
    unread: u32,
}

/// Counts the accesses whose results a call has fetched: `fetched` of them, from the address `events` on.
#[inline(always)]
pub(crate) fn count_events(target: u32, events: u64, fetched: u64) {
    if field::loop_helper() == 0 {
        return;
    }
    let mut all = Fetched { events, target, unread: 0 };
    // SAFETY: the callback has the form that the helper calls, and its context outlives the call.
    unsafe {
        bpf_loop(fetched as u32, count_event as *mut c_void, (&raw mut all).cast(), 0);
    }
    if all.unread > 0 {
        // SAFETY: a field of a map value.
        lose(target, u64::from(all.unread), |lost| unsafe { &raw mut (*lost).unread_request });
    }
}

/// Called once for each result; 0 goes on to the next.
extern "C" fn count_event(index: u32, all: *mut Fetched) -> i64 {
    // SAFETY: the context given to the helper.
    let (events, target) = unsafe { ((*all).events, (*all).target) };
    let event = events + u64::from(index) * size_of::<Event>() as u64;
    if !look_at(target, event) {
        // SAFETY: as above.
        unsafe { (*all).unread += 1 };
    }
    0
}

/// `false` if the access cannot be looked at.
#[inline(always)]
fn look_at(target: u32, event: u64) -> bool {
    // SAFETY: the helper checks the address.
    let Ok(event) = (unsafe { bpf_probe_read_user(event as *const Event) }) else { return false };
    if event.result < 0 {
        return true;
    }
    // SAFETY: as above.
    let Ok(request) = (unsafe { bpf_probe_read_user(event.request as *const Request) }) else { return false };
    let operation = match request.code {
        0 | 7 => READ,  // IOCB_CMD_PREAD, PREADV
        1 | 8 => WRITE, // IOCB_CMD_PWRITE, PWRITEV
        2 | 3 => SYNC,  // IOCB_CMD_FSYNC, FDSYNC
        _ => return true,
    };
    let at = file::current(request.descriptor);
    if at == 0 {
        return false;
    }
    let file = File::of(at);
    let Some(inode) = Inode::regular(file.inode) else { return true };
    let bytes = if operation == SYNC { 0 } else { event.result as u64 };
    let offset = if operation == WRITE && appends(&file, u64::from(request.flags)) {
        inode.size.wrapping_sub(bytes)
    } else {
        request.offset
    };
    let seen = Seen { target, slot: Slot::Calls, scratch: Scratch::Calls };
    count(seen, operation, &file, &inode, offset, bytes);
    true
}
