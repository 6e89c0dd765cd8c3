//! How much memory the agent can take, at most, from its limits alone. Pure.
//!
//! Kernel memory is taken at the start and does not change. Memory of the process grows with what there is to
//! remember, up to the bound; what a bound is made of is named, so that a limit that is too large is seen.

use crate::config::Limits;
use crate::locator::{MAX_PLACES, PLACE_MEAN_BYTES};
use crate::probe::Capacity;
use isotherm_agent_ebpf::{self as abi, PIDS_PER_PAGE, SLOTS};
use std::fmt;

/// Bytes that a hash element takes beside key and value: list node, hash, and rounding (kernel/bpf/hashtab.c,
/// `struct htab_elem`, 48 bytes on Linux 6.18).
const HASH_ELEMENT_BYTES: u64 = 48;

/// Bytes of a hash bucket (`struct bucket`).
const HASH_BUCKET_BYTES: u64 = 16;

/// Bytes of a ring beside its data: a page for each position and one of bookkeeping.
const RING_PAGES_BYTES: u64 = 3 * 4096;

/// Kinds of kernel maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value an index.
    Array,
    /// One value an index and CPU.
    PerCpuArray,
    /// Elements taken in advance.
    Hash,
    /// The same, with one value a CPU.
    PerCpuHash,
    /// As many bytes as entries.
    Ring,
}

/// A kernel map, by its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSize {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a key; not counted for arrays and rings.
    pub key_bytes: u64,
    /// Bytes of a value; not counted for rings.
    pub value_bytes: u64,
    /// Entries; bytes for a ring.
    pub entries: u64,
}

impl MapSize {
    /// Kernel memory, whatever the map holds, on a machine that can have `cpus` CPUs.
    #[must_use]
    pub fn bytes(&self, cpus: u64) -> u64 {
        // Values are kept at multiples of eight.
        let value = self.value_bytes.next_multiple_of(8);
        let key = self.key_bytes.next_multiple_of(8);
        let buckets = self.entries.next_power_of_two() * HASH_BUCKET_BYTES;
        match self.kind {
            Kind::Array => value * self.entries,
            Kind::PerCpuArray => (value * cpus + size_of::<usize>() as u64) * self.entries,
            // Each CPU has a spare element, so that an update never waits for one.
            Kind::Hash => (key + value + HASH_ELEMENT_BYTES) * (self.entries + cpus) + buckets,
            Kind::PerCpuHash => {
                (key + size_of::<usize>() as u64 + value * cpus + HASH_ELEMENT_BYTES) * (self.entries + cpus)
                    + buckets
            }
            Kind::Ring => self.entries + RING_PAGES_BYTES,
        }
    }
}

/// One part of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What is remembered.
    pub what: &'static str,
    /// How many, at most.
    pub count: u64,
    /// Bytes of one.
    pub each_bytes: u64,
}

/// What the agent takes at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Kernel memory of each map, by name.
    pub kernel: Vec<(&'static str, u64)>,
    /// Parts of the process's memory.
    pub process: Vec<Part>,
}

/// The bound for these maps and parts on a machine that can have `cpus` CPUs.
#[must_use]
pub fn memory(maps: &[MapSize], parts: &[Part], cpus: u64) -> Memory {
    Memory { kernel: maps.iter().map(|map| (map.name, map.bytes(cpus))).collect(), process: parts.to_vec() }
}

/// Every map of the object, as large as the limits make it.
#[must_use]
pub fn maps(capacity: Capacity) -> Vec<MapSize> {
    // One for each target and operation, which take what finds no room.
    let beside = abi::MAX_TARGETS * 4;
    let map = |name, kind, (key, value): (usize, usize), entries: u32| MapSize {
        name,
        kind,
        key_bytes: key as u64,
        value_bytes: value as u64,
        entries: entries.into(),
    };
    let file = (size_of::<abi::FileKey>(), size_of::<abi::FileCounters>());
    let block = (size_of::<abi::BlockKey>(), size_of::<abi::BlockCounters>());
    let peer = (size_of::<abi::PeerKey>(), size_of::<abi::PeerCounters>());
    vec![
        map("FILES", Kind::Hash, file, capacity.files + beside),
        map("BLOCKS", Kind::Hash, block, capacity.blocks + beside),
        map("PEERS", Kind::Hash, peer, capacity.peers + beside),
        map("OPENING", Kind::Hash, (8, 4), abi::MAX_OPENING),
        map("ENDS", Kind::Hash, (size_of::<abi::End>(), size_of::<abi::Opener>()), abi::MAX_CONNECTIONS),
        map("PORTS", Kind::Hash, (size_of::<abi::Port>(), 4), abi::MAX_PORTS),
        map("STRIPES", Kind::Hash, (4, size_of::<abi::Stripes>()), abi::MAX_TARGETS),
        map("PROCESSES", Kind::Array, (4, PIDS_PER_PAGE as usize), abi::MAX_PIDS / PIDS_PER_PAGE),
        map("TALLIES", Kind::PerCpuArray, (4, size_of::<abi::Tally>()), abi::MAX_TARGETS * SLOTS),
        map("LOST", Kind::PerCpuArray, (4, size_of::<abi::Lost>()), abi::MAX_TARGETS),
        map("NAME_SCRATCH", Kind::PerCpuArray, (4, size_of::<abi::FileName>()), 3),
        map("NAMES", Kind::Ring, (0, 0), abi::NAME_RING_BYTES),
    ]
}

/// What the agent takes at most with these limits, on this machine.
#[must_use]
pub fn bound(limits: &Limits) -> Memory {
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok();
    let cpus = cpus.and_then(|list| possible_cpus(&list)).unwrap_or(1);
    let part = |what, count: usize, each_bytes| Part { what, count: count as u64, each_bytes };
    let Capacity { files, blocks, peers } = limits.capacity;
    // What is remembered of a key, and for a file its name; then a window of rows on its way.
    let parts = [
        part("files", files as usize, 330 + 150),
        part("files on devices", blocks as usize, 500 + 150),
        part("peers", peers as usize, 80),
        part("rows of a window", 4 * limits.partitions, 700),
        // Those known, those that take their place, and the rules that they make.
        part("locators", MAX_PLACES, 3 * PLACE_MEAN_BYTES as u64),
    ];
    memory(&maps(limits.capacity), &parts, cpus)
}

impl Memory {
    /// Bytes in the kernel.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        self.kernel.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes in the process.
    #[must_use]
    pub fn process_bytes(&self) -> u64 {
        self.process.iter().map(|part| part.count.saturating_mul(part.each_bytes)).sum()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of kernel memory (", Size(self.kernel_bytes()))?;
        list(f, self.kernel.iter().copied())?;
        write!(f, "); at most {} in the process (", Size(self.process_bytes()))?;
        let parts = self.process.iter().map(|part| (part.what, part.count.saturating_mul(part.each_bytes)));
        list(f, parts)?;
        f.write_str(")")
    }
}

/// The largest first.
fn list(f: &mut fmt::Formatter<'_>, parts: impl Iterator<Item = (&'static str, u64)>) -> fmt::Result {
    let mut parts: Vec<(&str, u64)> = parts.collect();
    parts.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
    for (index, (name, bytes)) in parts.into_iter().enumerate() {
        write!(f, "{}{name} {}", if index == 0 { "" } else { ", " }, Size(bytes))?;
    }
    Ok(())
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 10 << 20 => write!(f, "{} KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{} MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

/// CPUs that this machine can have, which is how many copies the kernel keeps of a value per CPU; from
/// /sys/devices/system/cpu/possible, such as `0-63` or `0,2-3`. `None` if that cannot be read.
#[must_use]
pub fn possible_cpus(list: &str) -> Option<u64> {
    // Copies are made up to the highest number.
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<u64>().ok().map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(kind: Kind, key_bytes: u64, value_bytes: u64, entries: u64) -> MapSize {
        MapSize { name: "M", kind, key_bytes, value_bytes, entries }
    }

    /// Reference: `memlock` in /proc/PID/fdinfo of the agent's maps on Linux 6.18 with 2 CPUs.
    #[test]
    fn the_kernels_own_numbers_are_met_within_a_tenth() {
        for (map, kernel) in [
            // FILES, PROCESSES, LOST, TALLIES, NAMES.
            (map(Kind::Hash, 24, 536, 16_512), 10_565_712),
            (map(Kind::Hash, 4, 4, 16_384), 1_311_760),
            (map(Kind::PerCpuArray, 4, 32, 64), 4_920),
            (map(Kind::PerCpuArray, 4, 32, 128), 9_528),
            (map(Kind::Ring, 0, 0, 1 << 21), 2_117_960),
        ] {
            let bytes = map.bytes(2);
            assert!(bytes.abs_diff(kernel) * 10 <= kernel, "{map:?}: {bytes}, the kernel has {kernel}");
        }
    }

    #[test]
    fn only_copies_per_cpu_grow_with_the_cpus() {
        let grows = |kind, factor: u64| {
            let map = map(kind, 8, 4096, 1000);
            let (two, many) = (map.bytes(2), map.bytes(128));
            assert_eq!(many > two * factor, factor > 1, "{kind:?}: {two}, {many}");
        };
        grows(Kind::PerCpuArray, 60);
        grows(Kind::PerCpuHash, 60);
        for kind in [Kind::Array, Kind::Ring] {
            assert_eq!(map(kind, 8, 4096, 1000).bytes(2), map(kind, 8, 4096, 1000).bytes(128));
        }
        // One spare element each.
        assert!(
            map(Kind::Hash, 8, 4096, 1000).bytes(128) < map(Kind::Hash, 8, 4096, 1000).bytes(2) * 12 / 10
        );
    }

    #[test]
    fn the_statement_names_the_largest_first_and_sums() {
        let maps = [map(Kind::Array, 4, 8, 10), MapSize { name: "R", ..map(Kind::Ring, 0, 0, 1 << 20) }];
        let parts = [Part { what: "files", count: 16_384, each_bytes: 1_000 }];
        let memory = memory(&maps, &parts, 4);
        assert_eq!(memory.kernel_bytes(), 80 + (1 << 20) + RING_PAGES_BYTES);
        assert_eq!(
            memory.to_string(),
            "1037 KiB of kernel memory (R 1036 KiB, M 80 B); at most 16 MiB in the process (files 16 MiB)"
        );
    }

    #[test]
    fn possible_cpus_are_counted_to_the_highest() {
        assert_eq!(possible_cpus("0-63\n"), Some(64));
        assert_eq!(possible_cpus("0"), Some(1));
        assert_eq!(possible_cpus("0,2-3"), Some(4));
        assert_eq!(possible_cpus(""), None);
    }
}
