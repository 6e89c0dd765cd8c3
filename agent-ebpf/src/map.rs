//! The maps, and the one way in which they are added to.

use crate::field::{self, current_task, load_u32};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::{read_volatile, write_volatile};
use isotherm_agent_ebpf::{
    BlockCounters, BlockKey, DEFAULT_BLOCKS, DEFAULT_FILES, DEFAULT_PEERS, End, FileCounters, FileKey,
    FileName, Lost, MAX_CONNECTIONS, MAX_OPENING, MAX_PIDS, MAX_PORTS, MAX_TARGETS, NAME_RING_BYTES, Opener,
    PIDS_PER_PAGE, PeerCounters, PeerKey, PidPage, Port, SLOTS, Settings, Slot, Stripes, Tally, tally_index,
};

/// The agent may map the memory (BPF_F_MMAPABLE).
const MAPPABLE: u32 = 1 << 10;

/// The target of every process (thread group).
#[map]
static PROCESSES: Array<PidPage> = Array::with_max_entries(MAX_PIDS / PIDS_PER_PAGE, MAPPABLE);

/// Counters per file. Shared between CPUs, because a histogram per CPU would be too much memory.
#[map]
pub(crate) static FILES: HashMap<FileKey, FileCounters> = HashMap::with_max_entries(DEFAULT_FILES, 0);

/// Counters per file and operation of the device layer.
#[map]
pub(crate) static BLOCKS: HashMap<BlockKey, BlockCounters> = HashMap::with_max_entries(DEFAULT_BLOCKS, 0);

/// Devices that targets claim as such.
#[map]
pub(crate) static STRIPES: HashMap<u32, Stripes> = HashMap::with_max_entries(MAX_TARGETS, 0);

/// Counters per peer.
#[map]
pub(crate) static PEERS: HashMap<PeerKey, PeerCounters> = HashMap::with_max_entries(DEFAULT_PEERS, 0);

/// Ports that targets listen on, as [`LISTENED`](isotherm_agent_ebpf::LISTENED) or
/// [`SHARED`](isotherm_agent_ebpf::SHARED).
#[map]
pub(crate) static PORTS: HashMap<Port, u32> = HashMap::with_max_entries(MAX_PORTS, 0);

/// Connections that watched processes are about to open: the target, by socket.
#[map]
pub(crate) static OPENING: HashMap<u64, u32> = HashMap::with_max_entries(MAX_OPENING, 0);

/// Whose connection it is, by the end that has opened it.
#[map]
pub(crate) static ENDS: HashMap<End, Opener> = HashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// See [`Tally`]; one per target and slot.
#[map]
static TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(MAX_TARGETS * SLOTS, 0);

/// See [`Lost`]; one per target.
#[map]
static LOST: PerCpuArray<Lost> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// One entry: how often something happened that is a reason to look at the processes again.
#[map]
static EVENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Names of files, sent at first sight.
#[map]
pub(crate) static NAMES: RingBuf = RingBuf::with_byte_size(NAME_RING_BYTES, 0);

/// Where a name is put together, as it does not fit the stack. One for each [`Scratch`], because one program
/// can interrupt another.
#[map]
static NAME_SCRATCH: PerCpuArray<FileName> = PerCpuArray::with_max_entries(3, 0);

/// One entry.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Whose scratch memory.
#[derive(Clone, Copy)]
pub(crate) enum Scratch {
    Calls = 0,
    Uring = 1,
    Block = 2,
}

impl Scratch {
    #[inline(always)]
    pub(crate) fn get(self) -> Option<*mut FileName> {
        NAME_SCRATCH.get_ptr_mut(self as u32)
    }
}

#[inline(always)]
pub(crate) fn add(counter: *mut u64, by: u64) {
    // SAFETY: the pointer comes from a map value that lives as long as the program, and is 8-byte aligned.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by) };
}

/// The target of a process.
#[inline(always)]
pub(crate) fn target_of(tgid: u32) -> Option<u32> {
    let page = PROCESSES.get_ptr(tgid / PIDS_PER_PAGE)?;
    // SAFETY: inside the page; bytes are read and written whole.
    let target = unsafe { read_volatile(page.cast::<u8>().add((tgid % PIDS_PER_PAGE) as usize)) };
    if target == 0 { None } else { Some(u32::from(target) - 1) }
}

/// The target of a task's process.
#[inline(always)]
pub(crate) fn target_of_task(task: u64) -> Option<u32> {
    target_of(load_u32(task, field::task_tgid()))
}

/// The target of the current process.
#[inline(always)]
pub(crate) fn watched() -> Option<u32> {
    target_of_task(current_task())
}

/// Sets, or with `None` clears, the target of a process.
#[inline(always)]
pub(crate) fn set_target(tgid: u32, target: Option<u32>) {
    if let Some(page) = PROCESSES.get_ptr_mut(tgid / PIDS_PER_PAGE) {
        let code = match target {
            Some(target) => target as u8 + 1,
            None => 0,
        };
        // SAFETY: as in `target_of`.
        unsafe { write_volatile(page.cast::<u8>().add((tgid % PIDS_PER_PAGE) as usize), code) };
    }
}

/// Counts `count`'s accesses as seen before it, and as settled after it.
#[inline(always)]
pub(crate) fn tallied(target: u32, slot: Slot, operation: u16, bytes: u64, count: impl FnOnce()) {
    let Some(tally) = TALLIES.get_ptr_mut(tally_index(target, slot, operation)) else { return };
    // SAFETY: a value of this CPU's copy of the array, in a slot that only this program writes.
    unsafe {
        (*tally).seen_ops += 1;
        (*tally).seen_bytes += bytes;
    }
    count();
    // SAFETY: as above.
    unsafe {
        (*tally).settled_ops += 1;
        (*tally).settled_bytes += bytes;
    }
}

/// Counts something as lost, or as without room. Several programs do so, hence atomically.
#[inline(always)]
pub(crate) fn lose(target: u32, by: u64, which: impl FnOnce(*mut Lost) -> *mut u64) {
    if let Some(lost) = LOST.get_ptr_mut(target) {
        add(which(lost), by);
    }
}

/// The naming epoch.
#[inline(always)]
pub(crate) fn naming_epoch() -> u64 {
    match SETTINGS.get_ptr(0) {
        // SAFETY: a map value of one word, written whole.
        Some(settings) => unsafe { (*settings).naming_epoch },
        None => 0,
    }
}

/// A reason to look at the processes again.
#[inline(always)]
pub(crate) fn event() {
    if let Some(events) = EVENTS.get_ptr_mut(0) {
        add(events, 1);
    }
}
