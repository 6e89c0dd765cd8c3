//! The programs count the same whichever way they read kernel memory.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use isotherm_agent::probe::{Access, Capacity, Probe, TargetIndex};
use isotherm_agent::rights;
use isotherm_agent_ebpf::{FileCounters, READ, WRITE};
use isotherm_tests::skip::skipped;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

/// Accesses of every kind of position, and what they add up to: calls, bytes, and calls in bucket 2.
fn exercise(file: &mut File) -> [(u16, u64, u64, u64); 2] {
    file.write_all(&[1; 4096]).unwrap();
    file.write_all_at(&[2; 100], 2 << 12).unwrap();
    file.rewind().unwrap();
    file.read_exact(&mut [0; 4096]).unwrap();
    file.read_exact_at(&mut [0; 10], 2 << 12).unwrap();
    let mut appending = File::options().append(true).open(format!("/proc/self/fd/{}", fd(file))).unwrap();
    appending.write_all(&[3; 50]).unwrap();
    [(READ, 2, 4106, 1), (WRITE, 3, 4246, 2)]
}

fn fd(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

#[test]
fn accesses_are_counted_alike_with_types_and_without() {
    if let Err(missing) = rights::check() {
        skipped("accesses_are_counted_alike_with_types_and_without", &missing.to_string());
        return;
    }
    for access in [Access::Typed, Access::Helper] {
        // It checks itself, too.
        let mut probe = Probe::attach_with(Capacity::default(), access).unwrap();
        let target = TargetIndex::new(0).unwrap();
        probe.add_target(target).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let ino = file.metadata().unwrap().ino();
        probe.watch(std::process::id(), target).unwrap();
        let expected = exercise(&mut file);
        probe.forget(std::process::id()).unwrap();
        let reading = probe.read().unwrap();
        for (operation, ops, bytes, in_bucket) in expected {
            let counted: Vec<&FileCounters> = reading
                .files
                .iter()
                .filter(|(key, _)| key.ino == ino && key.operation == operation && key.target == 0)
                .map(|(_, counters)| counters)
                .collect();
            let [counters] = counted.as_slice() else { panic!("{access:?}: {counted:?}") };
            assert_eq!(
                (counters.ops(), counters.bytes, counters.offsets[2]),
                (ops, bytes, in_bucket),
                "{access:?}, operation {operation}"
            );
        }
    }
}
