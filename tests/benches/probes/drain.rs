//! Reading all counters of 100,000 partitions.

use crate::load::cpu_ns;
use anyhow::{Context, Result, ensure};
use isotherm_agent::probe::{Capacity, Probe, TargetIndex, Visit};
use isotherm_agent_ebpf::{BlockCounters, BlockKey, FileCounters, FileKey, PeerCounters, PeerKey};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

/// Files that are read and written: two entries each.
const FILES: u32 = 50_000;

/// What only counts what it is shown.
#[derive(Default)]
struct Counted {
    entries: u64,
    bytes: u64,
}

impl Visit for Counted {
    fn file(&mut self, _key: &FileKey, counters: &FileCounters) {
        self.entries += u64::from(counters.bytes > 0);
        self.bytes += counters.bytes;
    }

    fn block(&mut self, _key: &BlockKey, _counters: &BlockCounters) {}

    fn peer(&mut self, _key: &PeerKey, _counters: &PeerCounters) {}
}

/// CPU milliseconds of each of `runs` readings.
pub(crate) fn measure(runs: usize) -> Result<Vec<f64>> {
    let capacity = Capacity { files: FILES * 2 + 1_000, ..Capacity::default() };
    let mut probe = Probe::attach(capacity)?;
    let target = TargetIndex::new(0).context("the first target")?;
    probe.add_target(target)?;
    probe.watch(std::process::id(), target)?;
    for _ in 0..FILES {
        let file = memory_file()?;
        file.write_all_at(&[1], 0)?;
        file.read_exact_at(&mut [0], 0)?;
    }
    probe.forget(std::process::id())?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut counted = Counted::default();
        let before = cpu_ns()?;
        probe.visit(&mut counted)?;
        times.push((cpu_ns()? - before) as f64 / 1e6);
        ensure!(counted.entries >= u64::from(FILES) * 2, "{} entries", counted.entries);
    }
    Ok(times)
}

fn memory_file() -> Result<File> {
    // SAFETY: a plain system call with a valid string; the descriptor returned is ours alone.
    unsafe {
        let fd = libc::memfd_create(c"isotherm-bench".as_ptr(), libc::MFD_CLOEXEC);
        ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        Ok(File::from_raw_fd(fd))
    }
}
