//! What is counted at block devices.

use crate::{BUCKETS, MIN_SHIFT};

/// Buckets of the latency histogram: bucket `i` counts `2^i .. 2^(i + 1)` nanoseconds, the last one all longer.
pub const LATENCY_BUCKETS: usize = 40;

/// Smallest and largest log2 of a stripe's bytes. 64 buckets of at least 4 KiB make 256 KiB.
pub const MIN_STRIPE_SHIFT: u8 = 18;
/// See [`MIN_STRIPE_SHIFT`].
pub const MAX_STRIPE_SHIFT: u8 = 48;

/// What blocks hold.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// A file's content: `number` is the inode.
    File = 0,
    /// The file system itself, or what was written to the device through its page cache.
    Metadata = 1,
    /// The file system's journal.
    Journal = 2,
    /// A part of a device that is claimed as such: `number` is the stripe.
    Stripe = 3,
    /// None of these can be told.
    Unknown = 4,
    /// All of these, when the map is full.
    Overflow = 5,
}

impl BlockKind {
    /// By its number.
    #[must_use]
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::File),
            1 => Some(Self::Metadata),
            2 => Some(Self::Journal),
            3 => Some(Self::Stripe),
            4 => Some(Self::Unknown),
            5 => Some(Self::Overflow),
            _ => None,
        }
    }
}

/// A file, or a part of a device, in one operation and bucket width.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockKey {
    /// Inode or stripe number; 0 for the other kinds.
    pub number: u64,
    /// Device of the file system for a file, else the block device: major << 20 | minor.
    pub dev: u32,
    /// Generation of the inode; 0 for the other kinds.
    pub generation: u32,
    /// The target that claims the device, else [`crate::HOST_TARGET`].
    pub target: u32,
    /// [`BlockKind`].
    pub kind: u8,
    /// [`crate::READ`], [`crate::WRITE`] or [`crate::DISCARD`].
    pub operation: u8,
    /// log2 of the bucket width.
    pub shift: u8,
    /// 0.
    pub reserved: u8,
}

impl BlockKey {
    /// Takes what finds no room.
    #[must_use]
    pub const fn overflow(target: u32, operation: u16) -> Self {
        let (operation, shift) = (operation as u8, MIN_SHIFT as u8);
        Self {
            number: 0,
            dev: 0,
            generation: 0,
            target,
            kind: BlockKind::Overflow as u8,
            operation,
            shift,
            reserved: 0,
        }
    }

    /// Whether this is an overflow key.
    #[must_use]
    pub const fn is_overflow(&self) -> bool {
        self.kind == BlockKind::Overflow as u8
    }
}

/// Counters of a [`BlockKey`]. They only grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCounters {
    /// Operations that have no offset: all but those of files and stripes.
    pub unplaced_ops: u64,
    /// Bytes handed to the device.
    pub bytes: u64,
    /// As in [`crate::FileCounters`]; with the highest bit, the file had no name then.
    pub named: u64,
    /// Operations by offset in the file or stripe, each where it begins, however large it is. They are counted as
    /// they are handed over, before the kernel merges or divides them.
    pub offsets: [u64; BUCKETS],
    /// Requests by latency. A request is made of one or more neighbouring operations, and counts for the first.
    pub latency: [u64; LATENCY_BUCKETS],
}

impl BlockCounters {
    /// Nothing counted.
    pub const ZERO: Self =
        Self { unplaced_ops: 0, bytes: 0, named: 0, offsets: [0; BUCKETS], latency: [0; LATENCY_BUCKETS] };

    /// Operations.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.offsets.iter().fold(self.unplaced_ops, |sum, count| sum.wrapping_add(*count))
    }
}

/// How a device is divided that a target claims as such. An operation belongs, whole, to the stripe where it begins.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripes {
    /// The target.
    pub target: u32,
    /// log2 of a stripe's bytes, from [`MIN_STRIPE_SHIFT`] to [`MAX_STRIPE_SHIFT`].
    pub shift: u32,
}

/// The bucket of a latency.
#[inline(always)]
#[must_use]
pub const fn latency_bucket(ns: u64) -> usize {
    let bucket = 63 - (ns | 1).leading_zeros() as usize;
    if bucket < LATENCY_BUCKETS { bucket } else { LATENCY_BUCKETS - 1 }
}
