//! Reading the counters, all at once and none twice.

use super::ProbeError;
use super::batch::{self, Batch};
use super::part::PROGRAMS;
use super::stats::of_descriptor;
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::BtfTracePoint;
use isotherm_agent_ebpf::{
    BlockCounters, BlockKey, FileCounters, FileKey, Lost, Part, PeerCounters, PeerKey, Tally,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Entries read per system call.
const BATCH_ENTRIES: usize = 1024;

/// Takes the counters, entry by entry: all files, then all blocks, then all peers. Cumulative.
pub trait Visit {
    /// A file that was ever counted, or an overflow entry.
    fn file(&mut self, key: &FileKey, counters: &FileCounters);
    /// The same in the device layer.
    fn block(&mut self, key: &BlockKey, counters: &BlockCounters);
    /// The same in the network layer.
    fn peer(&mut self, key: &PeerKey, counters: &PeerCounters);
}

/// What is counted beside the entries. Cumulative.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Per target and slot ([`isotherm_agent_ebpf::tally_index`]), taken before the entries: all of this is in
    /// them.
    pub before: Vec<Tally>,
    /// The same, taken after the entries: nothing but this is in them.
    pub after: Vec<Tally>,
    /// Per target: what was not counted.
    pub lost: Vec<Lost>,
    /// Runs that the kernel skipped because the program was already running; of no target in particular.
    pub recursion_misses: u64,
}

/// One reading of all counters, kept.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Every file.
    pub files: Vec<(FileKey, FileCounters)>,
    /// Every file or part of a device, in the device layer.
    pub blocks: Vec<(BlockKey, BlockCounters)>,
    /// Every peer.
    pub peers: Vec<(PeerKey, PeerCounters)>,
    /// What is counted beside them.
    pub totals: Totals,
}

impl Visit for Reading {
    fn file(&mut self, key: &FileKey, counters: &FileCounters) {
        self.files.push((*key, *counters));
    }

    fn block(&mut self, key: &BlockKey, counters: &BlockCounters) {
        self.blocks.push((*key, *counters));
    }

    fn peer(&mut self, key: &PeerKey, counters: &PeerCounters) {
        self.peers.push((*key, *counters));
    }
}

impl Reading {
    /// Shows it as it was read.
    pub fn visit(&self, visit: &mut dyn Visit) {
        self.files.iter().for_each(|(key, counters)| visit.file(key, counters));
        self.blocks.iter().for_each(|(key, counters)| visit.block(key, counters));
        self.peers.iter().for_each(|(key, counters)| visit.peer(key, counters));
    }
}

/// Buffers, kept between readings.
pub(super) struct Readers {
    files: Batch<FileKey, FileCounters>,
    blocks: Batch<BlockKey, BlockCounters>,
    peers: Batch<PeerKey, PeerCounters>,
    tallies: Batch<u32, Tally>,
    lost: Batch<u32, Lost>,
    /// As last read: what cannot be read is taken as unchanged.
    recursion_misses: u64,
}

impl Readers {
    /// For `cpus` processors at most.
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            files: Batch::new(BATCH_ENTRIES, (FileKey::overflow(0, 0), FileCounters::ZERO)),
            blocks: Batch::new(BATCH_ENTRIES, (BlockKey::overflow(0, 0), BlockCounters::ZERO)),
            peers: Batch::new(BATCH_ENTRIES, (PeerKey::overflow(0, 0), PeerCounters::default())),
            tallies: Batch::wide(BATCH_ENTRIES, cpus, (0, Tally::default())),
            lost: Batch::wide(64, cpus, (0, Lost::default())),
            recursion_misses: 0,
        }
    }

    pub(super) fn visit(
        &mut self,
        object: &Ebpf,
        parts: &[Part],
        visit: &mut dyn Visit,
    ) -> Result<Totals, ProbeError> {
        let before = self.read_tallies(object)?;
        let failed = |map| move |source| ProbeError::Read { map, source };
        let files = descriptor(object, "FILES");
        self.files.for_each(files, |key, values| visit.file(key, &values[0])).map_err(failed("FILES"))?;
        if parts.contains(&Part::Block) {
            let blocks = descriptor(object, "BLOCKS");
            self.blocks
                .for_each(blocks, |key, values| visit.block(key, &values[0]))
                .map_err(failed("BLOCKS"))?;
        }
        if parts.contains(&Part::Socket) {
            let peers = descriptor(object, "PEERS");
            self.peers.for_each(peers, |key, values| visit.peer(key, &values[0])).map_err(failed("PEERS"))?;
        }
        let after = self.read_tallies(object)?;
        let mut lost = Vec::new();
        let sum = |sum: Lost, cpu: &Lost| Lost {
            compat: sum.compat + cpu.compat,
            closed_descriptor: sum.closed_descriptor + cpu.closed_descriptor,
            files_full: sum.files_full + cpu.files_full,
            blocks_full: sum.blocks_full + cpu.blocks_full,
            peers_full: sum.peers_full + cpu.peers_full,
            unread_request: sum.unread_request + cpu.unread_request,
        };
        self.lost
            .for_each(descriptor(object, "LOST"), |_, cpus| lost.push(cpus.iter().fold(Lost::default(), sum)))
            .map_err(failed("LOST"))?;
        if let Some(misses) = recursion_misses(object, parts) {
            self.recursion_misses = misses;
        }
        Ok(Totals { before, after, lost, recursion_misses: self.recursion_misses })
    }

    fn read_tallies(&mut self, object: &Ebpf) -> Result<Vec<Tally>, ProbeError> {
        let mut tallies = Vec::new();
        let sum = |sum: Tally, cpu: &Tally| Tally {
            seen_ops: sum.seen_ops + cpu.seen_ops,
            seen_bytes: sum.seen_bytes + cpu.seen_bytes,
            settled_ops: sum.settled_ops + cpu.settled_ops,
            settled_bytes: sum.settled_bytes + cpu.settled_bytes,
        };
        self.tallies
            .for_each(descriptor(object, "TALLIES"), |_, cpus| {
                tallies.push(cpus.iter().fold(Tally::default(), sum));
            })
            .map_err(|source| ProbeError::Read { map: "TALLIES", source })?;
        Ok(tallies)
    }
}

/// Takes an entry out of a map of the object.
pub(super) fn take<K, V: Copy>(
    object: &Ebpf,
    map: &'static str,
    key: &K,
    zero: V,
) -> Result<Option<V>, ProbeError> {
    batch::take(descriptor(object, map), key, zero).map_err(|source| ProbeError::Read { map, source })
}

/// The map's own descriptor, for calls that the loader does not know.
fn descriptor<'a>(object: &'a Ebpf, name: &'static str) -> BorrowedFd<'a> {
    let map = object.map(name).expect("the object and this name are built together");
    let (Map::HashMap(data) | Map::PerCpuArray(data) | Map::Array(data)) = map else {
        unreachable!("{name} is read, but is {map:?}")
    };
    data.fd().as_fd()
}

/// From the programs' entries in /proc, the only place that has it (Linux 5.12).
fn recursion_misses(object: &Ebpf, parts: &[Part]) -> Option<u64> {
    PROGRAMS
        .iter()
        .filter(|program| parts.contains(&program.part))
        .map(|program| {
            let loaded: &BtfTracePoint = object.program(program.name)?.try_into().ok()?;
            let number = loaded.fd().ok()?.as_fd().as_raw_fd();
            of_descriptor(number, "recursion_misses")
        })
        .sum()
}
