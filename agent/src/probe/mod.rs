//! The kernel programs, seen from user space: loaded, attached, fed with processes, and read.
//!
//! Decides nothing about partitions. Never clears a counter: they only grow, so a reading that comes late or
//! fails loses nothing. Detaches when dropped.

mod batch;
pub mod btf;
mod cast;
mod error;
mod events;
mod load;
mod name;
mod network;
pub mod part;
mod processes;
mod reading;
mod selftest;
mod sockettest;
mod stats;

pub use error::{ProbeError, TargetIndex};
pub use load::Access;
pub use name::PathBelowMount;
pub use network::{OpenedConnection, Remembered};
pub use reading::{Reading, Totals, Visit};
pub use stats::{MapStats, ProgramStats, count_runs};

use aya::maps::{Array, HashMap, MapData, MapError, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Ebpf, Pod};
use isotherm_agent_ebpf::{
    self as abi, BlockCounters, BlockKey, FileCounters, FileKey, HOST_TARGET, Part, PeerCounters, PeerKey,
    Stripes,
};
use isotherm_model::Layer;
use processes::Processes;
use reading::Readers;
use std::time::Duration;

/// Entries that the maps have room for, beside those that take what finds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Files that are counted apart, per operation and bucket width.
    pub files: u32,
    /// The same in the device layer, parts of devices included.
    pub blocks: u32,
    /// Peers that are counted apart, per port and operation.
    pub peers: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { files: abi::DEFAULT_FILES, blocks: abi::DEFAULT_BLOCKS, peers: abi::DEFAULT_PEERS }
    }
}

/// Makes an ABI type known to the loader.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Raw<T>(T);

// SAFETY: the ABI types are `#[repr(C)]`, `Copy`, without padding, and valid for every bit pattern.
unsafe impl<T: Copy + 'static> Pod for Raw<T> {}

/// Attached programs.
pub struct Probe {
    object: Ebpf,
    names: RingBuf<MapData>,
    processes: Processes,
    readers: Readers,
    naming_epoch: u64,
    capacity: Capacity,
    parts: Vec<Part>,
    degraded: Vec<String>,
}

impl Probe {
    /// Loads and attaches everything that this kernel has, and checks on a file and a socket of its own that the
    /// counts are right. Fails without [`Part::Calls`]; what else is missing is [`degraded`](Self::degraded).
    pub fn attach(capacity: Capacity) -> Result<Self, ProbeError> {
        Self::attach_with(capacity, Access::Typed)
    }

    /// As [`attach`](Self::attach), with a say in how kernel memory is read.
    pub fn attach_with(capacity: Capacity, access: Access) -> Result<Self, ProbeError> {
        load::attach(capacity, access)
    }

    /// Whether a part is attached.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The layers that are counted.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let part = |layer| match layer {
            Layer::Logical => Part::Calls,
            Layer::Device => Part::Block,
            Layer::Network => Part::Socket,
        };
        Layer::ALL.iter().copied().filter(|layer| self.has(part(*layer))).collect()
    }

    /// What this kernel, or these rights, do not admit: a sentence each.
    #[must_use]
    pub fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// Entries that are counted apart.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Makes room for what finds none, so that it is counted for its target at least.
    pub fn add_target(&mut self, target: TargetIndex) -> Result<(), ProbeError> {
        self.add_overflow(target.get() as u32)
    }

    fn add_overflow(&mut self, target: u32) -> Result<(), ProbeError> {
        let mut files: HashMap<_, Raw<FileKey>, Raw<FileCounters>> =
            self.map_mut("FILES", HashMap::try_from)?;
        for operation in [abi::READ, abi::WRITE, abi::SYNC] {
            insert_new(
                "FILES",
                files.insert(Raw(FileKey::overflow(target, operation)), Raw(FileCounters::ZERO), NEW),
            )?;
        }
        let mut blocks: HashMap<_, Raw<BlockKey>, Raw<BlockCounters>> =
            self.map_mut("BLOCKS", HashMap::try_from)?;
        for operation in [abi::READ, abi::WRITE, abi::DISCARD] {
            let key = Raw(BlockKey::overflow(target, operation));
            insert_new("BLOCKS", blocks.insert(key, Raw(BlockCounters::ZERO), NEW))?;
        }
        let mut peers: HashMap<_, Raw<PeerKey>, Raw<PeerCounters>> =
            self.map_mut("PEERS", HashMap::try_from)?;
        for operation in [abi::READ, abi::WRITE, abi::ACCEPT, abi::CONNECT] {
            let key = Raw(PeerKey::overflow(target, operation));
            insert_new("PEERS", peers.insert(key, Raw(PeerCounters::default()), NEW))?;
        }
        Ok(())
    }

    /// Counts what a process does from now on for a target. Its children follow it by themselves.
    pub fn watch(&mut self, pid: u32, target: TargetIndex) -> Result<(), ProbeError> {
        self.processes.set(pid, Some(target.get() as u32));
        Ok(())
    }

    /// Stops counting what a process does. One that is not watched is no error.
    pub fn forget(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.processes.set(pid, None);
        Ok(())
    }

    /// Every watched process with the index of its target, children included.
    pub fn watched(&mut self) -> Result<Vec<(u32, usize)>, ProbeError> {
        let alive = std::fs::read_dir("/proc").map_err(|source| ProbeError::Read { map: "/proc", source })?;
        let pids = alive.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let target = |pid| self.processes.get(pid).filter(|target| *target < HOST_TARGET);
        let mut watched: Vec<(u32, usize)> =
            pids.filter_map(|pid| Some((pid, target(pid)? as usize))).collect();
        watched.sort_unstable();
        Ok(watched)
    }

    /// Counts a device, by its kernel number, for a target in stripes instead of by file. Replaces what was said
    /// of the device before.
    pub fn claim_device(&mut self, dev: u32, stripes: Stripes) -> Result<(), ProbeError> {
        let mut map: HashMap<_, u32, Raw<Stripes>> = self.map_mut("STRIPES", HashMap::try_from)?;
        map.insert(dev, Raw(stripes), 0)
            .map_err(|source| ProbeError::Map { map: "STRIPES", source: Box::new(source) })
    }

    /// Undoes [`claim_device`](Self::claim_device). A device that is not claimed is no error.
    pub fn release_device(&mut self, dev: u32) -> Result<(), ProbeError> {
        let mut map: HashMap<_, u32, Raw<Stripes>> = self.map_mut("STRIPES", HashMap::try_from)?;
        match map.remove(&dev) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(ProbeError::Map { map: "STRIPES", source: Box::new(source) }),
        }
    }

    /// Reads all counters, and keeps them.
    pub fn read(&mut self) -> Result<Reading, ProbeError> {
        let mut reading = Reading::default();
        reading.totals = self.visit(&mut reading)?;
        Ok(reading)
    }

    /// Reads all counters, entry by entry.
    pub fn visit(&mut self, visit: &mut dyn Visit) -> Result<Totals, ProbeError> {
        self.readers.visit(&self.object, &self.parts, visit)
    }

    /// Names of files that were touched for the first time in the present epoch. Bounded by the ring.
    pub fn take_names(&mut self) -> Vec<PathBelowMount> {
        let mut names = Vec::new();
        while let Some(item) = self.names.next() {
            names.extend(PathBelowMount::from_bytes(&item));
        }
        names
    }

    /// Asks for every name again: each file sends its own at its next access.
    pub fn renew_names(&mut self) -> Result<(), ProbeError> {
        self.naming_epoch += 1;
        let settings = Raw(abi::Settings { naming_epoch: self.naming_epoch });
        let mut map: Array<_, Raw<abi::Settings>> = self.map_mut("SETTINGS", Array::try_from)?;
        map.set(0, settings, 0)
            .map_err(|source| ProbeError::Map { map: "SETTINGS", source: Box::new(source) })
    }

    /// Stops counting a file, to make room. Returns its last counters; `None` if it was not counted.
    ///
    /// For files that nobody has touched for long: a call that finished its look-up on another CPU, and has
    /// not added yet, would add to an entry that may be another file's by then.
    pub fn evict(&mut self, key: &FileKey) -> Result<Option<FileCounters>, ProbeError> {
        reading::take(&self.object, "FILES", key, FileCounters::ZERO)
    }

    /// As [`evict`](Self::evict), in the device layer.
    pub fn evict_block(&mut self, key: &BlockKey) -> Result<Option<BlockCounters>, ProbeError> {
        reading::take(&self.object, "BLOCKS", key, BlockCounters::ZERO)
    }

    /// As [`evict`](Self::evict), for a peer.
    pub fn evict_peer(&mut self, key: &PeerKey) -> Result<Option<PeerCounters>, ProbeError> {
        reading::take(&self.object, "PEERS", key, PeerCounters::default())
    }

    /// Total time and number of runs of the system call program since it was loaded, while the kernel's
    /// `bpf_stats` are on; (0, 0) otherwise.
    pub fn cost(&self) -> Result<(Duration, u64), ProbeError> {
        self.cost_of("iso_sys_exit")
    }

    /// As [`cost`](Self::cost), of any program of [`part::PROGRAMS`]. (0, 0) for one that is not attached.
    pub fn cost_of(&self, name: &'static str) -> Result<(Duration, u64), ProbeError> {
        let Some(program) = part::PROGRAMS.iter().find(|program| program.name == name) else {
            return Ok((Duration::ZERO, 0));
        };
        if !self.has(program.part) {
            return Ok((Duration::ZERO, 0));
        }
        let loaded: &BtfTracePoint = self
            .object
            .program(name)
            .expect("the object and the list are built together")
            .try_into()
            .map_err(|source| ProbeError::Program {
                program: name,
                tracepoint: program.tracepoint,
                source: Box::new(source),
            })?;
        let info = loaded.info().map_err(|source| ProbeError::Program {
            program: name,
            tracepoint: program.tracepoint,
            source: Box::new(source),
        })?;
        Ok((info.run_time(), info.run_count()))
    }

    fn map_mut<'a, T>(
        &'a mut self,
        name: &'static str,
        open: impl FnOnce(&'a mut aya::maps::Map) -> Result<T, MapError>,
    ) -> Result<T, ProbeError> {
        let map = self.object.map_mut(name).expect("the object and this name are built together");
        open(map).map_err(|source| ProbeError::Map { map: name, source: Box::new(source) })
    }

    fn map_ref<'a, T>(
        &'a self,
        name: &'static str,
        open: impl FnOnce(&'a aya::maps::Map) -> Result<T, MapError>,
    ) -> Result<T, ProbeError> {
        let map = self.object.map(name).expect("the object and this name are built together");
        open(map).map_err(|source| ProbeError::Map { map: name, source: Box::new(source) })
    }
}

/// Do not replace an entry (BPF_NOEXIST of linux/bpf.h).
const NEW: u64 = 1;

/// An entry that is there already is no error.
fn insert_new(map: &'static str, result: Result<(), MapError>) -> Result<(), ProbeError> {
    match result {
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result.map_err(|source| ProbeError::Map { map, source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_side_and_the_model_have_one_histogram_layout() {
        assert_eq!(abi::BUCKETS, isotherm_model::BUCKETS);
        assert_eq!(abi::LATENCY_BUCKETS, isotherm_model::LATENCY_BUCKETS);
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(abi::latency_bucket), [0, 0, 1, 1, 2, 39]);
        for end in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]) {
            assert_eq!(abi::shift_for(end), u16::from(isotherm_model::shift_for(end)), "end {end}");
        }
    }

    #[test]
    fn keys_and_records_have_no_padding() {
        assert_eq!(size_of::<FileKey>(), 8 + 4 * 3 + 2 * 2);
        assert_eq!(size_of::<FileCounters>(), 8 * (3 + abi::BUCKETS));
        assert_eq!(abi::FILE_NAME_HEADER, 8 + 4 * 6);
        assert_eq!(size_of::<BlockKey>(), 8 + 4 * 3 + 4);
        assert_eq!(size_of::<BlockCounters>(), 8 * (3 + abi::BUCKETS + abi::LATENCY_BUCKETS));
        assert_eq!(size_of::<PeerKey>(), 4 + 2 * 2 + 2 * (16 + 2 * 2));
        assert_eq!(size_of::<PeerCounters>(), 8 * 2);
        assert_eq!(size_of::<abi::End>(), 8 + 2 * (16 + 2 * 2));
    }
}
