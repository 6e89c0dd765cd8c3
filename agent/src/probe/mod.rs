//! The kernel programs, seen from user space: loaded, attached, fed with processes, and read.
//!
//! Decides nothing about partitions. Never clears a counter: they only grow, so a reading that comes late or
//! fails loses nothing. Detaches when dropped.

mod batch;
pub mod btf;
mod events;
mod name;
mod programs;
mod selftest;
mod stats;

pub use name::PathBelowMount;
pub use programs::{Need, ProgramSpec, SPECS};
pub use stats::{MapStats, ProgramStats, count_runs};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};
use batch::Batch;
use btf::{Btf, BtfError};
use isotherm_agent_ebpf::{
    self as abi, FIELDS, FileCounters, FileKey, MAX_PROCESSES, MAX_TARGETS, SELF_TEST_TARGET,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use tracing::{debug, warn};

/// The kernel object, built by `cargo xtask ebpf build` and committed.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/isotherm.bpf.o");

/// Room in the map of files for what finds none, beside the files that are asked for.
const OVERFLOW_ENTRIES: u32 = MAX_TARGETS * abi::OPERATIONS;

/// Entries read per system call.
const BATCH_ENTRIES: usize = 2048;

/// The programs, with the tracepoint each hangs on.
const PROGRAMS: [(&str, &str); 3] =
    [("iso_fork", "sched_process_fork"), ("iso_exit", "sched_process_exit"), ("iso_sys_exit", "sys_exit")];

/// Why the kernel cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The programs read registers of x86-64.
    #[error("the probes read system call arguments of x86-64; this machine is {arch}")]
    Architecture {
        /// What it is.
        arch: &'static str,
    },
    /// The kernel's type information does not serve.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object was not accepted.
    #[error("the kernel does not load the probe object")]
    Load(#[source] Box<EbpfError>),
    /// A program was not accepted, or its tracepoint is not there.
    #[error("the kernel does not accept program {program} on tracepoint {tracepoint}")]
    Program {
        /// Which program.
        program: &'static str,
        /// Where it was to be attached.
        tracepoint: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map could not be read or written.
    #[error("map {map}")]
    Map {
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<MapError>,
    },
    /// The file counters could not be read.
    #[error("cannot read the file counters")]
    Read(#[source] io::Error),
    /// A target index that is out of range.
    #[error("an agent watches {} targets at most", SELF_TEST_TARGET)]
    TooManyTargets,
    /// The programs were attached, and count something else than what happened.
    #[error("the probes do not count right on this kernel: {what}")]
    SelfTest {
        /// Expected and counted.
        what: String,
    },
}

/// Index of a target, as the kernel knows it: below [`SELF_TEST_TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetIndex(u32);

impl TargetIndex {
    /// `None` from [`SELF_TEST_TARGET`] on.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u32::try_from(index).ok().filter(|index| *index < SELF_TEST_TARGET).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// One reading of all counters.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Every file that was ever counted, and the overflow entries. Cumulative.
    pub files: Vec<(FileKey, FileCounters)>,
    /// Per target and direction ([`abi::tally_index`]), taken before the files: all of this is in them.
    pub before: Vec<abi::Tally>,
    /// The same, taken after the files: nothing but this is in them.
    pub after: Vec<abi::Tally>,
    /// Per target: what was not counted. Cumulative.
    pub lost: Vec<abi::Lost>,
    /// Runs that the kernel skipped because the program was already running; of no target in particular.
    pub recursion_misses: u64,
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
    logger: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    names: RingBuf<MapData>,
    batch: Batch,
    naming_epoch: u64,
    files: u32,
    /// As last read: what cannot be read is taken as unchanged.
    recursion_misses: u64,
}

impl Probe {
    /// Loads and attaches everything, and checks on a file of its own that the counts are right.
    ///
    /// `files` is the number of files (times direction) that are counted apart.
    pub fn attach(files: u32) -> Result<Self, ProbeError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(ProbeError::Architecture { arch: std::env::consts::ARCH });
        }
        let fields = Btf::of_running_kernel()?;
        let offsets = FIELDS
            .iter()
            .map(|(name, path)| Ok((*name, fields.offset(path, "logical")?)))
            .collect::<Result<Vec<_>, BtfError>>()?;
        debug!(?offsets, "kernel fields");
        let mut loader = EbpfLoader::new();
        for (name, offset) in &offsets {
            loader.override_global(name, offset, true);
        }
        let mut object = loader
            .map_max_entries("FILES", files + OVERFLOW_ENTRIES)
            .load(OBJECT)
            .map_err(|error| ProbeError::Load(Box::new(error)))?;
        let logger = aya_log::EbpfLogger::init(&mut object)
            .inspect_err(|error| warn!("messages of the kernel programs are not shown: {error}"))
            .ok();
        let names = map(&mut object, "NAMES", RingBuf::try_from)?;
        let mut probe = Self {
            object,
            logger,
            names,
            batch: Batch::new(BATCH_ENTRIES),
            naming_epoch: 0,
            files,
            recursion_misses: 0,
        };
        probe.renew_names()?;
        probe.attach_programs()?;
        selftest::run(&mut probe)?;
        Ok(probe)
    }

    fn attach_programs(&mut self) -> Result<(), ProbeError> {
        let btf = aya::Btf::from_sys_fs().map_err(|error| ProbeError::Load(Box::new(error.into())))?;
        for (program, tracepoint) in PROGRAMS {
            let failed = |source| ProbeError::Program { program, tracepoint, source: Box::new(source) };
            let loaded: &mut BtfTracePoint = self
                .object
                .program_mut(program)
                .expect("the object and this list of programs are built together")
                .try_into()
                .map_err(failed)?;
            loaded.load(tracepoint, &btf).map_err(failed)?;
            loaded.attach().map_err(failed)?;
        }
        Ok(())
    }

    /// Bytes of kernel memory that the counters take, whatever happens.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        // A hash element carries about 48 bytes beside key and value.
        let file = size_of::<FileKey>() + size_of::<FileCounters>() + 48;
        u64::from(self.files) * file as u64 + u64::from(abi::NAME_RING_BYTES) + u64::from(MAX_PROCESSES) * 64
    }

    /// Number of files that are counted apart.
    #[must_use]
    pub fn capacity_files(&self) -> u32 {
        self.files
    }

    /// Makes room for what finds none, so that it is counted for its target at least.
    pub fn add_target(&mut self, target: TargetIndex) -> Result<(), ProbeError> {
        self.add_overflow(target.0)
    }

    fn add_overflow(&mut self, target: u32) -> Result<(), ProbeError> {
        let mut files = self.files_map()?;
        for operation in [abi::READ, abi::WRITE] {
            let key = Raw(FileKey::overflow(target, operation));
            match files.insert(key, Raw(FileCounters::ZERO), BPF_NOEXIST) {
                Ok(()) => {}
                Err(error) if already_there(&error) => {}
                Err(source) => return Err(ProbeError::Map { map: "FILES", source: Box::new(source) }),
            }
        }
        Ok(())
    }

    /// Counts what a process does from now on for a target. Its children follow it by themselves. An error
    /// with ENOSPC or E2BIG is that of a full map: [`MAX_PROCESSES`] are watched already.
    pub fn watch(&mut self, pid: u32, target: TargetIndex) -> Result<(), ProbeError> {
        self.set_process(pid, target.0)
    }

    fn set_process(&mut self, pid: u32, target: u32) -> Result<(), ProbeError> {
        let mut processes = self.processes_map()?;
        processes
            .insert(pid, target, 0)
            .map_err(|source| ProbeError::Map { map: "PROCESSES", source: Box::new(source) })
    }

    /// Stops counting what a process does. One that is not watched is no error.
    pub fn forget(&mut self, pid: u32) -> Result<(), ProbeError> {
        match self.processes_map()?.remove(&pid) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(ProbeError::Map { map: "PROCESSES", source: Box::new(source) }),
        }
    }

    /// Every watched process with the index of its target, children included.
    pub fn watched(&mut self) -> Result<Vec<(u32, usize)>, ProbeError> {
        let processes = self.processes_map()?;
        // A process may end while the map is walked; the walk then starts over, so ids are made unique.
        let mut watched: Vec<(u32, usize)> = processes
            .iter()
            .filter_map(Result::ok)
            .take(2 * MAX_PROCESSES as usize)
            .map(|(pid, target)| (pid, target as usize))
            .collect();
        watched.sort_unstable();
        watched.dedup_by_key(|(pid, _)| *pid);
        Ok(watched)
    }

    /// Reads all counters.
    pub fn read(&mut self) -> Result<Reading, ProbeError> {
        let before = self.tallies()?;
        let mut files = Vec::new();
        let map = self.object.map("FILES").expect("the object has this map");
        self.batch
            .for_each(files_fd(map), |key, counters| files.push((*key, *counters)))
            .map_err(ProbeError::Read)?;
        let after = self.tallies()?;
        let lost = self.lost()?;
        if let Some(misses) = self.read_recursion_misses() {
            self.recursion_misses = misses;
        }
        Ok(Reading { files, before, after, lost, recursion_misses: self.recursion_misses })
    }

    /// Names of files that were touched for the first time in the present epoch. Bounded by the ring.
    pub fn take_names(&mut self) -> Vec<PathBelowMount> {
        let mut names = Vec::new();
        while let Some(item) = self.names.next() {
            names.extend(PathBelowMount::from_bytes(&item));
        }
        names
    }

    /// Shows what the kernel programs have to say.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
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
        batch::take(self.files_fd(), key).map_err(ProbeError::Read)
    }

    /// Total time and number of runs of the system call program since it was loaded, while the kernel's
    /// `bpf_stats` are on; (0, 0) otherwise.
    pub fn cost(&self) -> Result<(std::time::Duration, u64), ProbeError> {
        let program = self.object.program("iso_sys_exit").expect("the object has this program");
        let info = program.info().map_err(|source| ProbeError::Program {
            program: "iso_sys_exit",
            tracepoint: "sys_exit",
            source: Box::new(source),
        })?;
        Ok((info.run_time(), info.run_count()))
    }

    fn tallies(&self) -> Result<Vec<abi::Tally>, ProbeError> {
        let map: PerCpuArray<_, Raw<abi::Tally>> = self.map_ref("TALLIES", PerCpuArray::try_from)?;
        (0..MAX_TARGETS * abi::OPERATIONS)
            .map(|index| {
                let values = map
                    .get(&index, 0)
                    .map_err(|source| ProbeError::Map { map: "TALLIES", source: Box::new(source) })?;
                Ok(values.iter().fold(abi::Tally::default(), |sum, Raw(cpu)| abi::Tally {
                    seen_ops: sum.seen_ops + cpu.seen_ops,
                    seen_bytes: sum.seen_bytes + cpu.seen_bytes,
                    settled_ops: sum.settled_ops + cpu.settled_ops,
                    settled_bytes: sum.settled_bytes + cpu.settled_bytes,
                }))
            })
            .collect()
    }

    fn lost(&self) -> Result<Vec<abi::Lost>, ProbeError> {
        let map: PerCpuArray<_, Raw<abi::Lost>> = self.map_ref("LOST", PerCpuArray::try_from)?;
        (0..MAX_TARGETS)
            .map(|index| {
                let values = map
                    .get(&index, 0)
                    .map_err(|source| ProbeError::Map { map: "LOST", source: Box::new(source) })?;
                Ok(values.iter().fold(abi::Lost::default(), |sum, Raw(cpu)| abi::Lost {
                    compat: sum.compat + cpu.compat,
                    closed_descriptor: sum.closed_descriptor + cpu.closed_descriptor,
                    files_full: sum.files_full + cpu.files_full,
                    unwatched_processes: sum.unwatched_processes + cpu.unwatched_processes,
                }))
            })
            .collect()
    }

    /// From the program's entry in /proc, the only place that has it (Linux 5.12).
    fn read_recursion_misses(&self) -> Option<u64> {
        let program: &BtfTracePoint = self.object.program("iso_sys_exit")?.try_into().ok()?;
        let number = program.fd().ok()?.as_fd().as_raw_fd();
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
        count.trim().parse().ok()
    }

    fn files_fd(&self) -> BorrowedFd<'_> {
        files_fd(self.object.map("FILES").expect("the object has this map"))
    }

    fn files_map(&mut self) -> Result<HashMap<&mut MapData, Raw<FileKey>, Raw<FileCounters>>, ProbeError> {
        self.map_mut("FILES", HashMap::try_from)
    }

    fn processes_map(&mut self) -> Result<HashMap<&mut MapData, u32, u32>, ProbeError> {
        self.map_mut("PROCESSES", HashMap::try_from)
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

fn files_fd(map: &aya::maps::Map) -> BorrowedFd<'_> {
    let aya::maps::Map::HashMap(data) = map else { unreachable!("FILES is a hash map, not {map:?}") };
    data.fd().as_fd()
}

/// Do not replace an entry (linux/bpf.h).
const BPF_NOEXIST: u64 = 1;

fn already_there(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EEXIST))
}

fn map<T>(
    object: &mut Ebpf,
    name: &'static str,
    open: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, ProbeError> {
    let map = object.take_map(name).expect("the object and this name are built together");
    open(map).map_err(|source| ProbeError::Map { map: name, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_side_and_the_model_have_one_histogram_layout() {
        assert_eq!(abi::BUCKETS, isotherm_model::BUCKETS);
        for end in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]) {
            assert_eq!(abi::shift_for(end), u16::from(isotherm_model::shift_for(end)), "end {end}");
        }
    }

    #[test]
    fn keys_and_records_have_no_padding() {
        assert_eq!(size_of::<FileKey>(), 8 + 4 * 3 + 2 * 2);
        assert_eq!(size_of::<FileCounters>(), 8 * (3 + abi::BUCKETS));
        assert_eq!(abi::FILE_NAME_HEADER, 8 + 4 * 6);
    }
}
