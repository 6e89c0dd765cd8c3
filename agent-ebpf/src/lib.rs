//! What the kernel programs and the agent must agree on: keys, counters, records and sizes.
//!
//! Every type is `#[repr(C)]` without padding, because the kernel hashes and copies raw bytes.
#![no_std]

mod block;
mod fields;
mod peer;

pub use block::{
    BlockCounters, BlockKey, BlockKind, LATENCY_BUCKETS, MAX_STRIPE_SHIFT, MIN_STRIPE_SHIFT, Stripes,
    latency_bucket,
};
pub use fields::{CAST, CAST_CALL, FIELDS, Field, NUMBERS, Part, SLOT_FILE, SLOT_TYPE, SYMBOLS, Symbol};
pub use peer::{Address, End, LISTENED, Opener, PeerCounters, PeerKey, Port, SHARED};

/// Buckets of the offset histogram. Bucket `i` counts offsets `i << shift .. (i + 1) << shift`.
pub const BUCKETS: usize = 64;

/// Smallest and largest log2 of a bucket's width.
pub const MIN_SHIFT: u16 = 12;
/// See [`MIN_SHIFT`].
pub const MAX_SHIFT: u16 = 57;

/// Targets that can be told apart at once, the host and the self-test's among them.
pub const MAX_TARGETS: u32 = 64;

/// The target that the agent uses to check, at start, that the programs count what they should.
pub const SELF_TEST_TARGET: u32 = MAX_TARGETS - 1;

/// What is counted on block devices without knowing whose it is: the agent finds out.
pub const HOST_TARGET: u32 = MAX_TARGETS - 2;

/// Process ids there can be: PID_MAX_LIMIT of 64-bit kernels.
pub const MAX_PIDS: u32 = 1 << 22;

/// Processes per entry of the table of processes, a power of two.
pub const PIDS_PER_PAGE: u32 = 4096;

/// The targets of [`PIDS_PER_PAGE`] neighbouring process ids: 0 for one that is not watched, else the target's
/// index + 1. A byte for each makes the question cheap, which every call of every process on the host asks.
pub type PidPage = [u8; PIDS_PER_PAGE as usize];

/// Files that are counted apart unless the agent says otherwise, per direction and bucket width.
pub const DEFAULT_FILES: u32 = 32_768;

/// Bytes of names on their way to the agent: about 1,500 files between two reads, at six directories each.
pub const NAME_RING_BYTES: u32 = 1 << 21;

/// Directory levels of a path below its mount point that are read.
pub const MAX_DEPTH: usize = 16;

/// Bytes of a name in a directory, the terminating zero included (NAME_MAX + 1).
pub const NAME_LEN: usize = 256;

/// Files (and parts of devices) that are counted apart in the device layer unless the agent says otherwise,
/// per operation and bucket width.
pub const DEFAULT_BLOCKS: u32 = 16_384;

/// Peers that are counted apart unless the agent says otherwise, per port and operation.
pub const DEFAULT_PEERS: u32 = 16_384;

/// Ports that are known to be listened on at once, of all targets.
pub const MAX_PORTS: u32 = 4_096;

/// Connections that watched processes are about to open at once.
pub const MAX_OPENING: u32 = 4_096;

/// Open connections of watched processes whose opener is remembered, so that the other end can be told who it is.
pub const MAX_CONNECTIONS: u32 = 16_384;

/// Data came from the file, the device, the peer.
pub const READ: u16 = 0;
/// Data went there.
pub const WRITE: u16 = 1;
/// fsync, fdatasync: logical layer.
pub const SYNC: u16 = 2;
/// Device layer.
pub const DISCARD: u16 = 2;
/// A connection came: network layer.
pub const ACCEPT: u16 = 2;
/// A connection was opened: network layer.
pub const CONNECT: u16 = 3;

/// Who counts into a [`Tally`], and what. Each program has slots of its own, because the additions are not
/// atomic and one program can interrupt another.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// System calls on files, by operation from here on.
    Calls = 0,
    /// io_uring on files, by operation from here on.
    Uring = 3,
    /// Block devices, by operation from here on.
    Block = 6,
    /// Sockets: received.
    Received = 9,
    /// Sockets: sent.
    Sent = 10,
    /// Sockets: connections that came.
    Accepted = 11,
    /// Sockets: connections that were opened.
    Connected = 12,
}

/// Slots per target; a power of two.
pub const SLOTS: u32 = 16;

/// A file as one target sees it, in one direction and one bucket width.
///
/// Device, inode number and generation together are unique for the life of a file system, also when an
/// inode number is used again; not so on btrfs, whose subvolumes share all three. The overflow key of a target and direction, which takes the accesses of files
/// that found no room, has `ino`, `dev` and `generation` 0 and `shift` [`MIN_SHIFT`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// Device of the file system as the kernel holds it: major << 20 | minor.
    pub dev: u32,
    /// Generation of the inode.
    pub generation: u32,
    /// The target whose process did it.
    pub target: u32,
    /// [`READ`], [`WRITE`] or [`SYNC`].
    pub operation: u16,
    /// log2 of the bucket width.
    pub shift: u16,
}

impl FileKey {
    /// Takes what finds no room.
    #[must_use]
    pub const fn overflow(target: u32, operation: u16) -> Self {
        Self { ino: 0, dev: 0, generation: 0, target, operation, shift: MIN_SHIFT }
    }

    /// Whether this is an overflow key.
    #[must_use]
    pub const fn is_overflow(&self) -> bool {
        self.ino == 0 && self.dev == 0 && self.generation == 0
    }
}

/// Counters of a file. They only grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileCounters {
    /// Completed calls that have no offset: [`SYNC`], and all of an overflow key. Elsewhere 0, as the calls are
    /// the sum of `offsets`, so that a reading in the middle of an update cannot contradict itself.
    pub unplaced_ops: u64,
    /// Bytes that the calls returned.
    pub bytes: u64,
    /// The naming epoch in which the file's name was last sent to the agent; 0 is never.
    pub named: u64,
    /// Calls by offset. All zero for an overflow key.
    pub offsets: [u64; BUCKETS],
}

impl FileCounters {
    /// Nothing counted.
    pub const ZERO: Self = Self { unplaced_ops: 0, bytes: 0, named: 0, offsets: [0; BUCKETS] };

    /// Completed calls.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.offsets.iter().fold(self.unplaced_ops, |sum, count| sum.wrapping_add(*count))
    }
}

/// Counts of a target and operation that are kept beside the maps, per CPU, to hold the maps against:
/// what was `settled` before a reading of the files is in it, and nothing is in it that was not `seen` by
/// its end.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls, counted before their file is.
    pub seen_ops: u64,
    /// Bytes, counted before their file is.
    pub seen_bytes: u64,
    /// Calls, counted after their file is.
    pub settled_ops: u64,
    /// Bytes, counted after their file is.
    pub settled_bytes: u64,
}

/// Calls of a target that were not counted.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// 32-bit system calls.
    pub compat: u64,
    /// Calls whose descriptor was closed before they could be looked at.
    pub closed_descriptor: u64,
    /// Calls that went to the overflow key, because the map of files was full. These are counted.
    pub files_full: u64,
    /// Operations of the device layer that went to the overflow key. These are counted.
    pub blocks_full: u64,
    /// Operations of the network layer that went to the overflow key. These are counted.
    pub peers_full: u64,
    /// Asynchronous accesses whose request could not be read again when they had ended.
    pub unread_request: u64,
}

/// What the agent can change while the programs run.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// A file sends its name once in each epoch. Starts at 1.
    pub naming_epoch: u64,
}

/// Where a file lies, from its name up to the root of its file system.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FileName {
    /// Inode number.
    pub ino: u64,
    /// Device, as in [`FileKey`].
    pub dev: u32,
    /// Generation of the inode.
    pub generation: u32,
    /// The process that touched it, whose mounts the path lies in.
    pub tgid: u32,
    /// Components that follow, 1 to [`MAX_DEPTH`].
    pub depth: u32,
    /// 1 if the walk arrived at the root, 0 if the path is deeper than [`MAX_DEPTH`].
    pub complete: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
    /// Zero-terminated names; the file's own first. Only the first `depth` are sent.
    pub components: [[u8; NAME_LEN]; MAX_DEPTH],
}

/// Bytes of a [`FileName`] before its components.
pub const FILE_NAME_HEADER: usize = size_of::<FileName>() - NAME_LEN * MAX_DEPTH;

/// The smallest shift whose buckets cover offsets below `end_bytes`.
#[inline(always)]
#[must_use]
pub const fn shift_for(end_bytes: u64) -> u16 {
    let bits = 64 - end_bytes.saturating_sub(1).leading_zeros() as u16;
    let shift = bits.saturating_sub(6);
    if shift < MIN_SHIFT {
        MIN_SHIFT
    } else if shift > MAX_SHIFT {
        MAX_SHIFT
    } else {
        shift
    }
}

/// Index of a target's slot in the array of [`Tally`]; the operation is counted on from the slot.
#[inline(always)]
#[must_use]
pub const fn tally_index(target: u32, slot: Slot, operation: u16) -> u32 {
    target * SLOTS + slot as u32 + operation as u32
}
