//! What is handed to block devices, and which file it is for.
//!
//! Counted where an operation (bio) enters a device's queue: before it is merged with its neighbours, and also
//! when a kernel thread writes back what a process wrote long ago. The file is found through the memory pages
//! that the operation moves; for direct I/O, whose pages are the process's, through the request itself.

use crate::access::NO_EXIST;
use crate::field::{self, Head, load_u16, load_u32, load_u64, probe};
use crate::file::{File, Inode, send_name};
use crate::map::{BLOCKS, STRIPES, Scratch, add, lose, naming_epoch, tallied};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use isotherm_agent_ebpf::{
    BUCKETS, BlockCounters, BlockKey, BlockKind, DISCARD, HOST_TARGET, MIN_SHIFT, READ, Slot, WRITE,
    latency_bucket, shift_for,
};

/// Lies in .rodata, as the value does not fit the stack.
#[unsafe(no_mangle)]
static ZERO_BLOCK: BlockCounters = BlockCounters::ZERO;

/// Bytes of `struct page`; the agent checks it.
const PAGE_STRUCT: u64 = 64;
/// log2 of the page size of x86-64.
const PAGE_SHIFT: u64 = 12;
/// log2 of the bytes of a sector.
const SECTOR_SHIFT: u64 = 9;
/// log2 of [`BUCKETS`].
const BUCKETS_SHIFT: u32 = BUCKETS.trailing_zeros();
/// The part of a device number that is its minor.
const MINOR_BITS: u32 = 20;
/// Marks of a page's mapping that is none of a file.
const NO_FILE_BITS: u64 = 3;

/// What an operation is about.
struct Origin {
    key: BlockKey,
    offset: u64,
    /// A directory entry of the file; 0 if there is none.
    dentry: u64,
    /// It is in no directory: the file has no name yet, or not any more.
    nameless: bool,
}

/// Beside the naming epoch: the file had no name yet. It is named again when it has one.
const NAMELESS: u64 = 1 << 63;

/// Counts one operation.
#[btf_tracepoint(function = "block_bio_queue")]
pub fn iso_bio(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the argument is (struct bio *) where the agent loads this program.
    let bio: u64 = ctx.arg(0);
    let bytes = u64::from(load_u32(bio, field::bio_size()));
    if bytes == 0 {
        return 0;
    }
    let Some(origin) = origin_of(bio, bytes, Stage::Queue) else { return 0 };
    let key = origin.key;
    tallied(key.target, Slot::Block, u16::from(key.operation), bytes, || {
        let mut counters = BLOCKS.get_ptr_mut(&key);
        if counters.is_none() {
            // A second CPU may have been faster; the look-up that follows tells.
            let _lost_race_is_fine = BLOCKS.insert(&key, &ZERO_BLOCK, NO_EXIST);
            counters = BLOCKS.get_ptr_mut(&key);
        }
        let Some(counters) = counters else {
            overflow(&key, bytes);
            return;
        };
        let epoch = naming_epoch();
        // SAFETY: a live map value; single words of it are read, and counters are only added to atomically.
        unsafe {
            let (named, mark) = ((*counters).named, if origin.nameless { epoch | NAMELESS } else { epoch });
            if origin.dentry != 0 && named != epoch && named != mark {
                let identity = u64::from(key.dev) << 32 | u64::from(key.generation);
                if send_name(key.number, identity, origin.dentry, Scratch::Block) {
                    (*counters).named = mark;
                }
            }
            add(&raw mut (*counters).bytes, bytes);
            if has_offset(key.kind) {
                let bucket = ((origin.offset >> (key.shift & 63)) & 63) as usize;
                add(&raw mut (*counters).offsets[bucket], 1);
            } else {
                add(&raw mut (*counters).unplaced_ops, 1);
            }
        }
    });
    0
}

/// Measures one request that a device has finished, for the operation that it begins with: from the moment when
/// the request was made, as the kernel's own statistics do.
#[btf_tracepoint(function = "block_rq_complete")]
pub fn iso_request(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (struct request *, blk_status_t, unsigned int) on every kernel that has them.
    let (request, done): (u64, u32) = (ctx.arg(0), ctx.arg(2));
    let started = load_u64(request, field::rq_start());
    // A part of a request, what remains of it completes later; or the end of a flush, whose data has been.
    if started == 0 || done == 0 || load_u32(request, field::rq_len()) != done {
        return 0;
    }
    let bio = load_u64(request, field::rq_bio());
    if bio == 0 {
        return 0;
    }
    let Some(origin) = origin_of(bio, u64::from(load_u32(bio, field::bio_size())), Stage::Request) else {
        return 0;
    };
    let key = origin.key;
    // SAFETY: no arguments.
    let ns = unsafe { bpf_ktime_get_ns() }.saturating_sub(started);
    // The file may have grown since, to wider buckets.
    let mut counters = BLOCKS.get_ptr_mut(&key);
    if counters.is_none() {
        let _lost_race_is_fine = BLOCKS.insert(&key, &ZERO_BLOCK, NO_EXIST);
        counters = BLOCKS.get_ptr_mut(&key);
    }
    if counters.is_none() {
        counters = BLOCKS.get_ptr_mut(&BlockKey::overflow(key.target, u16::from(key.operation)));
    }
    if let Some(counters) = counters {
        // SAFETY: a live map value, only added to atomically.
        unsafe { add(&raw mut (*counters).latency[latency_bucket(ns)], 1) };
    }
    0
}

/// Whether an operation is a copy that a stacked device made. The mark alone does not tell: direct I/O from memory
/// that the kernel holds already (registered buffers, a loop device's own) shares that memory's description, and
/// is marked like a copy. What btrfs writes twice is an operation for each device, or place on it.
#[inline(always)]
fn is_copy(bio: u64, end: u64) -> bool {
    let marked = u32::from(load_u16(bio, field::bio_flags())) >> (field::cloned_bit() & 15) & 1 != 0;
    let own = [
        field::direct_end(),
        field::raw_end(),
        field::raw_async_end(),
        field::wait_end(),
        field::mirror_end(),
    ];
    marked && !own.into_iter().any(|known| is(end, known))
}

/// Whether a function is the one at an address; the address of an unknown one is 0.
#[inline(always)]
fn is(function: u64, known: u64) -> bool {
    known != 0 && function == known
}

fn has_offset(kind: u8) -> bool {
    kind == BlockKind::File as u8 || kind == BlockKind::Stripe as u8
}

/// When an operation is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It enters a device's queue. A copy that a stacked device (dm, md) makes has been counted as what it is a
    /// copy of, when that entered the stacked device.
    Queue,
    /// It is the first one of a request that has ended. Only the lowest device has requests, and it may have
    /// divided an operation that is too large for it: what it has then is a copy.
    Request,
}

/// `None` for what is not counted: operations that move no data, and copies in the queue.
#[inline(always)]
fn origin_of(bio: u64, bytes: u64, stage: Stage) -> Option<Origin> {
    let flags = load_u32(bio, field::bio_opf());
    let operation = match flags & 0xff {
        0 => READ,
        3 | 5 => DISCARD,   // REQ_OP_DISCARD, REQ_OP_SECURE_ERASE
        1 | 7 | 9 => WRITE, // REQ_OP_WRITE, REQ_OP_ZONE_APPEND, REQ_OP_WRITE_ZEROES
        _ => return None,
    };
    let device = load_u64(bio, field::bio_bdev());
    if device == 0 {
        return None;
    }
    let dev = load_u32(device, field::bdev_dev());
    let mut end = load_u64(bio, field::bio_end());
    let mut private = load_u64(bio, field::bio_private());
    if is(end, field::chain_end()) {
        // A part of a divided operation, which leads to the rest of it.
        let rest = private;
        end = probe(rest, field::bio_end());
        private = probe(rest, field::bio_private());
    }
    let block = Block { dev, operation: operation as u8, copied: stage == Stage::Queue && is_copy(bio, end) };
    if let Some(stripes) = STRIPES.get_ptr(&dev) {
        // SAFETY: a map value that is only replaced whole.
        let (target, shift) = unsafe { ((*stripes).target, (*stripes).shift & 63) };
        // The kernel has made an address on a partition one on the whole disk by now.
        let start = load_u64(device, field::bdev_start());
        let address = load_u64(bio, field::bio_sector()).wrapping_sub(start) << SECTOR_SHIFT;
        let bucket = (shift - BUCKETS_SHIFT) as u8 & 63;
        let mut origin = block.whole(BlockKind::Stripe)?;
        origin.key.number = address >> shift;
        origin.key.target = target;
        origin.key.shift = bucket;
        origin.offset = address & ((1 << shift) - 1);
        return Some(origin);
    }
    if is(end, field::direct_end()) {
        let request: u64 = probe(private, field::dio_iocb());
        let file = File::of(probe(request, field::kiocb_file()));
        return match Inode::regular(file.inode) {
            Some(inode) => {
                // What was submitted so far, this operation included, counts from the request's position on.
                let submitted: u64 = probe(private, field::dio_size());
                let start: u64 = probe(request, field::kiocb_pos());
                let offset = start.wrapping_add(submitted).wrapping_sub(bytes);
                block.of_file(&inode, offset, bytes, file.dentry())
            }
            None => block.whole(BlockKind::Unknown),
        };
    }
    let is_journal = is(end, field::xlog_end())
        || (is(end, field::buffer_end()) && is(probe(private, field::bh_end()), field::jbd2_end()));
    if is_journal {
        return block.whole(BlockKind::Journal);
    }
    if flags >> (field::meta_bit() & 31) & 1 != 0 || operation == DISCARD || flags & 0xff == 9 {
        return block.whole(BlockKind::Metadata);
    }
    let vector = load_u64(bio, field::bio_vec());
    if vector == 0 {
        return block.whole(BlockKind::Unknown);
    }
    block.of_page(probe(vector, field::bvec_page()), probe(vector, field::bvec_offset()), bytes)
}

#[derive(Clone, Copy)]
struct Block {
    dev: u32,
    operation: u8,
    copied: bool,
}

impl Block {
    /// Something that has no offset.
    #[inline(always)]
    fn whole(self, kind: BlockKind) -> Option<Origin> {
        if self.copied {
            return None;
        }
        let key = BlockKey {
            number: 0,
            dev: self.dev,
            generation: 0,
            target: HOST_TARGET,
            kind: kind as u8,
            operation: self.operation,
            shift: MIN_SHIFT as u8,
            reserved: 0,
        };
        Some(Origin { key, offset: 0, dentry: 0, nameless: false })
    }

    #[inline(always)]
    fn of_file(self, inode: &Inode, offset: u64, bytes: u64, dentry: u64) -> Option<Origin> {
        // A file system without a device of its own number (btrfs) copies its operations itself.
        if self.copied && inode.dev >> MINOR_BITS != 0 {
            return None;
        }
        let end = offset.wrapping_add(bytes);
        let shift = shift_for(if end > inode.size { end } else { inode.size });
        let key = BlockKey {
            number: inode.ino,
            dev: inode.dev,
            generation: inode.generation,
            target: HOST_TARGET,
            kind: BlockKind::File as u8,
            operation: self.operation,
            shift: shift as u8,
            reserved: 0,
        };
        Some(Origin { key, offset, dentry, nameless: false })
    }

    /// By the memory page that is moved: its folio belongs to a mapping, and that to an inode. That the inode
    /// points back to the mapping tells page cache from memory that only looks like it.
    #[inline(always)]
    fn of_page(self, page: u64, inside: u32, bytes: u64) -> Option<Origin> {
        let head: u64 = probe(page, field::page_head());
        let first = if head & 1 == 1 { head - 1 } else { page };
        let mut folio = Head::<8>::new();
        folio.read(first);
        let mapping: u64 = folio.get(field::folio_mapping());
        if mapping == 0 || mapping & NO_FILE_BITS != 0 {
            return self.whole(BlockKind::Unknown);
        }
        let Some(mut inode) = Inode::of(probe(mapping, field::mapping_host())) else {
            return self.whole(BlockKind::Unknown);
        };
        if inode.mapping() != mapping {
            return self.whole(BlockKind::Unknown);
        }
        if inode.is_block_device() {
            return self.whole(BlockKind::Metadata);
        }
        let superblock = inode.superblock;
        // Memory of no device, that something else than a file system moves to one.
        if probe::<u64>(superblock, field::sb_bdev()) == 0 {
            return self.whole(BlockKind::Unknown);
        }
        if !inode.is_regular() {
            return self.whole(BlockKind::Metadata);
        }
        inode.dev = probe(superblock, field::sb_dev());
        let pages = folio.get::<u64>(field::folio_index()) + (page - first) / PAGE_STRUCT;
        let offset = (pages << PAGE_SHIFT) + u64::from(inside);
        let alias = inode.alias();
        let mut origin = self.of_file(&inode, offset, bytes, alias)?;
        origin.nameless = probe::<u64>(alias, field::dentry_hashed()) == 0;
        Some(origin)
    }
}

/// The map is full: the operation is counted for its target only.
#[inline(never)]
fn overflow(key: &BlockKey, bytes: u64) {
    // SAFETY: a field of a map value.
    lose(key.target, 1, |lost| unsafe { &raw mut (*lost).blocks_full });
    if let Some(counters) = BLOCKS.get_ptr_mut(&BlockKey::overflow(key.target, u16::from(key.operation))) {
        // SAFETY: a live map value, only added to atomically.
        unsafe {
            add(&raw mut (*counters).unplaced_ops, 1);
            add(&raw mut (*counters).bytes, bytes);
        }
    }
}
