//! The kernel programs of isotherm-agent.
//!
//! Logical layer: one program looks at system calls, at their exit only: on x86-64 the registers still hold
//! number and arguments there, and the result tells the bytes that were really moved, so no state is carried
//! from the entry. One more looks at what io_uring completes. Device layer: `device`. Network layer: `socket`.
//! Three small ones keep the set of watched processes right between the agent's looks at /proc. Nothing here
//! reads what is in a file or a message.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "the macros make public functions that only the kernel calls"
)]
#![allow(internal_features, reason = "the stable atomics have no read-modify-write on this target")]

mod access;
mod aio;
mod call;
mod device;
mod field;
mod file;
mod map;
mod socket;
mod uring;

use access::Seen;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use call::{Call, Kind, in_compat, offset_of};
use field::{current_task, load_u32, load_u64};
use file::Opened;
use isotherm_agent_ebpf::{SYNC, Slot};
use map::{Scratch, event, lose, set_target, target_of, target_of_task};

/// Looks at one finished call.
#[btf_tracepoint(function = "sys_exit")]
pub fn iso_sys_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments of sys_exit are (struct pt_regs *regs, long ret) on every kernel that has it.
    let (regs, ret): (u64, i64) = (ctx.arg(0), ctx.arg(1));
    // The number first: most calls are of no interest.
    let call = Call::of(load_u64(regs, field::regs_nr()));
    if call.is(Kind::Other) {
        return 0;
    }
    let task = current_task();
    let Some(target) = target_of_task(task) else { return 0 };
    if ret < 0 {
        return 0;
    }
    if in_compat(task) {
        if call.is(Kind::Compat) {
            // SAFETY: a field of a map value.
            lose(target, 1, |lost| unsafe { &raw mut (*lost).compat });
        }
    } else if call.is(Kind::File) {
        accessed(regs, task, call, target, ret as u64);
    } else if call.is(Kind::Events) {
        aio::count_events(target, load_u64(regs, field::regs_pos()), ret as u64);
    } else if call.is(Kind::Accept) {
        socket::accepted(target, ret as u32);
    }
    0
}

/// A call has accessed the file of its descriptor.
#[inline(always)]
fn accessed(regs: u64, task: u64, call: Call, target: u32, result: u64) {
    match file::opened(task, load_u64(regs, field::regs_fd()) as u32, call.needs()) {
        Opened::Regular(file, inode) => {
            let operation = call.operation();
            let bytes = if operation == SYNC { 0 } else { result };
            let offset = offset_of(regs, &file, &inode, call, bytes);
            let seen = Seen { target, slot: Slot::Calls, scratch: Scratch::Calls };
            access::count(seen, operation, &file, &inode, offset, bytes);
        }
        Opened::Other => {}
        // SAFETY: a field of a map value.
        Opened::Closed => lose(target, 1, |lost| unsafe { &raw mut (*lost).closed_descriptor }),
    }
}

/// The children of a watched process are watched from their first call on.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn iso_fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (struct task_struct *parent, struct task_struct *child, ..).
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let parent = load_u32(parent, field::task_tgid());
    let child = load_u32(child, field::task_tgid());
    if parent != child {
        let target = target_of(parent);
        // Also for one that is not watched: whoever had its number before may have left something.
        set_target(child, target);
        if target.is_some() {
            event();
        }
    }
    0
}

/// A process that runs another program may have become one that a target selects.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn iso_exec(_ctx: BtfTracePointContext) -> i32 {
    event();
    0
}

/// A process that has ended is forgotten at once, so that its number can be used again.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn iso_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the first argument is (struct task_struct *task) on every kernel.
    let task: u64 = ctx.arg(0);
    let tgid = load_u32(task, field::task_tgid());
    if target_of(tgid).is_none() {
        return 0;
    }
    let signal = load_u64(task, field::task_signal());
    // Threads of the group that are still alive; the one that ends has been taken off already.
    if signal != 0 && load_u32(signal, field::signal_live()) == 0 {
        set_target(tgid, None);
        event();
    }
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
