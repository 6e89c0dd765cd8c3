//! The kernel programs of isotherm-agent.
//!
//! One program looks at system calls, at their exit only: on x86-64 the registers still hold number and
//! arguments there, and the result tells the bytes that were really moved, so no state is carried from the
//! entry. Two small ones keep the set of watched processes right between the agent's looks at /proc.
//! Nothing here reads what is in a file or a socket.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "the macros make public functions that only the kernel calls"
)]
#![allow(internal_features, reason = "the stable atomics have no read-modify-write on this target")]

mod call;
mod field;
mod file;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::warn;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use isotherm_agent_ebpf::{
    DEFAULT_FILES, FileCounters, FileKey, FileName, Lost, MAX_PROCESSES, MAX_TARGETS, NAME_RING_BYTES,
    OPERATIONS, Settings, Tally, tally_index,
};

/// Watched processes (thread group ids) and the target each belongs to.
#[map]
static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Counters per file. Shared between CPUs, because a histogram per CPU would be too much memory.
#[map]
static FILES: HashMap<FileKey, FileCounters> = HashMap::with_max_entries(DEFAULT_FILES, 0);

/// See [`Tally`]; one per target and direction.
#[map]
static TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(MAX_TARGETS * OPERATIONS, 0);

/// See [`Lost`]; one per target.
#[map]
static LOST: PerCpuArray<Lost> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// Names of files, sent at first sight.
#[map]
static NAMES: RingBuf = RingBuf::with_byte_size(NAME_RING_BYTES, 0);

/// Where a name is put together, as it does not fit the stack.
#[map]
static NAME_SCRATCH: PerCpuArray<FileName> = PerCpuArray::with_max_entries(1, 0);

/// One entry.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Lies in .rodata, as the value does not fit the stack.
#[unsafe(no_mangle)]
static ZERO: FileCounters = FileCounters::ZERO;

/// Do not overwrite an entry that another CPU has just made (BPF_NOEXIST).
const NO_EXIST: u64 = 1;

#[inline(always)]
fn add(counter: *mut u64, by: u64) {
    // SAFETY: the pointer comes from a map value that lives as long as the program, and is 8-byte aligned.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by) };
}

/// Counts one finished call on a regular file.
#[btf_tracepoint(function = "sys_exit")]
pub fn iso_sys_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments of sys_exit are (struct pt_regs *regs, long ret) on every kernel that has it.
    let (regs, ret): (u64, i64) = (ctx.arg(0), ctx.arg(1));
    let nr = field::load_u64(regs, field::regs_nr());
    let Some(call) = call::Call::of(nr) else {
        if ret >= 0 && call::is_compat_file_call(nr) && call::in_compat() {
            if let Some(lost) = watched().and_then(|target| LOST.get_ptr_mut(target)) {
                // SAFETY: a value of this CPU's copy of the array.
                unsafe { (*lost).compat += 1 };
            }
        }
        return 0;
    };
    if ret < 0 {
        return 0;
    }
    let Some(target) = watched() else { return 0 };
    if call::in_compat() {
        return 0;
    }
    let file = file::current(field::load_u64(regs, field::regs_fd()) as u32);
    if file == 0 {
        if let Some(lost) = LOST.get_ptr_mut(target) {
            // SAFETY: a value of this CPU's copy of the array.
            unsafe { (*lost).closed_descriptor += 1 };
        }
        return 0;
    }
    let Some(inode) = file::Inode::regular(file) else { return 0 };
    let access = call.access(regs, file, &inode, ret as u64);
    let operation = call.operation();
    if let Some(tally) = TALLIES.get_ptr_mut(tally_index(target, operation)) {
        // SAFETY: a value of this CPU's copy of the array; the program is not preempted by itself.
        unsafe {
            (*tally).seen_ops += 1;
            (*tally).seen_bytes += ret as u64;
        }
        count(
            &ctx,
            &inode,
            file,
            &access,
            FileKey {
                ino: inode.ino,
                dev: inode.dev,
                generation: inode.generation,
                target,
                operation,
                shift: access.shift,
            },
        );
        // SAFETY: as above.
        unsafe {
            (*tally).settled_ops += 1;
            (*tally).settled_bytes += ret as u64;
        }
    }
    0
}

/// The children of a watched process are watched from their first call on.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn iso_fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (struct task_struct *parent, struct task_struct *child, ..).
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let parent = field::load_u32(parent, field::task_tgid());
    let child = field::load_u32(child, field::task_tgid());
    if parent != child {
        if let Some(target) = PROCESSES.get_ptr(&parent) {
            // SAFETY: a map value; entries of this map are only replaced whole.
            let target = unsafe { *target };
            if PROCESSES.insert(&child, &target, 0).is_err() {
                warn!(&ctx, "no room to watch process {}, child of {}", child, parent);
                if let Some(lost) = LOST.get_ptr_mut(target) {
                    // SAFETY: a value of this CPU's copy of the array.
                    unsafe { (*lost).unwatched_processes += 1 };
                }
            }
        }
    }
    0
}

/// A process that has ended is forgotten at once, so that its number can be used again.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn iso_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the first argument is (struct task_struct *task) on every kernel.
    let task: u64 = ctx.arg(0);
    let signal = field::load_u64(task, field::task_signal());
    // Threads of the group that are still alive; the one that ends has been taken off already.
    if signal != 0 && field::load_u32(signal, field::signal_live()) == 0 {
        // Most processes that end were never watched: an absent entry is no error.
        let _absent_is_fine = PROCESSES.remove(&field::load_u32(task, field::task_tgid()));
    }
    0
}

/// The target of the current process.
#[inline(always)]
fn watched() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a map value; entries of this map are only replaced whole.
    PROCESSES.get_ptr(&tgid).map(|target| unsafe { *target })
}

#[inline(always)]
fn count(ctx: &BtfTracePointContext, inode: &file::Inode, file: u64, access: &call::Access, key: FileKey) {
    let mut counters = FILES.get_ptr_mut(&key);
    if counters.is_none() {
        // A second CPU may have been faster; the look-up that follows tells.
        let _lost_race_is_fine = FILES.insert(&key, &ZERO, NO_EXIST);
        counters = FILES.get_ptr_mut(&key);
    }
    let Some(counters) = counters else {
        overflow(ctx, access, key);
        return;
    };
    let epoch = match SETTINGS.get_ptr(0) {
        // SAFETY: a map value of one word, written whole.
        Some(settings) => unsafe { (*settings).naming_epoch },
        None => 0,
    };
    // SAFETY: a live map value; single words of it are read, and counters are only added to atomically.
    unsafe {
        if (*counters).named != epoch && inode.send_name(file) {
            (*counters).named = epoch;
        }
        add(&raw mut (*counters).bytes, access.bytes);
        let bucket = ((access.offset >> access.shift) & 63) as usize;
        add(&raw mut (*counters).offsets[bucket], 1);
    }
}

/// The map of files is full: the access is counted for its target and direction only.
#[inline(never)]
fn overflow(ctx: &BtfTracePointContext, access: &call::Access, key: FileKey) {
    if let Some(lost) = LOST.get_ptr_mut(key.target) {
        // SAFETY: a value of this CPU's copy of the array.
        unsafe {
            if (*lost).files_full == 0 {
                warn!(ctx, "the map of files is full; accesses of target {} go to `files_full`", key.target);
            }
            (*lost).files_full += 1;
        }
    }
    if let Some(counters) = FILES.get_ptr_mut(&FileKey::overflow(key.target, key.operation)) {
        // SAFETY: a live map value, only added to atomically.
        unsafe {
            add(&raw mut (*counters).overflow_ops, 1);
            add(&raw mut (*counters).bytes, access.bytes);
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
