//! What the programs cost and how full their maps are, for the agent's own metrics.

use super::Probe;
use aya::maps::Map;
use aya::sys::{Stats, enable_stats};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A program of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// Runs, and the time that they took; `None` while the kernel does not count them.
    pub runs: Option<(u64, Duration)>,
    /// Runs that the kernel skipped; `None` where it does not tell.
    pub missed_runs: Option<u64>,
}

/// A map of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapStats {
    /// Its name.
    pub name: String,
    /// Entries that it has room for; bytes for a ring.
    pub capacity: u64,
    /// Bytes of kernel memory, copies per CPU included; `None` where the kernel does not tell.
    pub memory_bytes: Option<u64>,
    /// Entries in use, where they are known without reading the map.
    pub entries: Option<u64>,
}

/// Makes the kernel count runs and their time for all its eBPF programs, until what is returned is dropped.
/// Costs each run some 20 ns; needs CAP_SYS_ADMIN.
pub fn count_runs() -> io::Result<OwnedFd> {
    enable_stats(Stats::RunTime).map_err(|error| error.io_error)
}

impl Probe {
    /// Every program that is loaded.
    #[must_use]
    pub fn program_stats(&self) -> Vec<ProgramStats> {
        let counted =
            std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|on| on.trim() == "1");
        let programs = self.object.programs().filter_map(|(name, program)| {
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let info = program.info().ok()?;
            // A process that holds them on by a descriptor, such as this one, does not show in the setting.
            let runs = (counted || info.run_count() > 0).then(|| (info.run_count(), info.run_time()));
            Some(ProgramStats {
                name: name.to_owned(),
                runs,
                missed_runs: of_descriptor(fd, "recursion_misses"),
            })
        });
        let mut programs: Vec<ProgramStats> = programs.collect();
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        programs
    }

    /// Every map of the programs. `entries` says how many are in use, by the map's name.
    #[must_use]
    pub fn map_stats(&self, entries: impl Fn(&str) -> Option<u64>) -> Vec<MapStats> {
        let stats = |name: &str, fd: RawFd| {
            Some(MapStats {
                name: name.to_owned(),
                capacity: of_descriptor(fd, "max_entries")?,
                memory_bytes: of_descriptor(fd, "memlock"),
                entries: entries(name),
            })
        };
        let maps = self.object.maps().filter_map(|(name, map)| stats(name, descriptor(map)?));
        let mut maps: Vec<MapStats> = maps.chain(stats("NAMES", self.names.as_raw_fd())).collect();
        maps.sort_by(|one, other| one.name.cmp(&other.name));
        maps
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the agent has no maps of the other twenty kinds")]
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data)
        | Map::Unsupported(data) => Some(data.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

/// A number that the kernel tells of one of this process's descriptors. `memlock` is the memory really used
/// from Linux 6.4 on, and an estimate before.
pub(super) fn of_descriptor(fd: RawFd, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}
