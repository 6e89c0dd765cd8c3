//! "Attached" does not mean "counts right": offsets could be wrong, a tracepoint could pass other arguments.
//! So the agent accesses small files of its own at start, by calls and through io_uring, and compares.
//!
//! Of the device layer nothing can be checked so: the files are in memory, and a write to a device whose traffic
//! is known takes a device of one's own.

use super::part::without;
use super::{Probe, ProbeError, Reading};
use crate::probe::part::PROGRAMS;
use aya::programs::BtfTracePoint;
use io_uring::{IoUring, opcode, types};
use isotherm_agent_ebpf::{FileCounters, FileKey, Part, READ, SELF_TEST_TARGET, SYNC, WRITE};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

const NAME: &str = "isotherm-self-test";
const WRITES: u64 = 3;
const WRITE_BYTES: usize = 5_000;
const READ_BYTES: usize = 100;
const READ_AT: u64 = 9_000;

/// What a file should be counted with: operation, its name, accesses, bytes, and their bucket if it is one.
type Expected = (u16, &'static str, u64, u64, Option<usize>);

/// Fails if system calls are not counted right. A part that is not is taken out of use, and told as degraded.
pub(super) fn run(probe: &mut Probe) -> Result<(), ProbeError> {
    let failed = |what: String| ProbeError::SelfTest { what };
    let mut file = memory_file().map_err(|error| failed(format!("no file to try them on: {error}")))?;
    let ring = memory_file().map_err(|error| failed(format!("no file to try them on: {error}")))?;
    probe.processes.set(std::process::id(), Some(SELF_TEST_TARGET));
    let result = by_calls(&mut file);
    let ring_result = if probe.has(Part::Uring) { by_ring(&ring) } else { Ok(()) };
    probe.processes.set(std::process::id(), None);
    result.map_err(|error| failed(format!("the file to try them on does not work: {error}")))?;

    let reading = probe.read()?;
    let called = [
        (WRITE, "writes", WRITES, WRITES * WRITE_BYTES as u64, None),
        (READ, "reads", 1, READ_BYTES as u64, Some((READ_AT >> 12) as usize)),
        (SYNC, "syncs", 1, 0, None),
    ];
    check(&reading, &file, &called).map_err(failed)?;
    check_name(probe, &file).map_err(failed)?;
    if probe.has(Part::Uring) {
        let bucket = Some((READ_AT >> 12) as usize);
        let queued = [
            (WRITE, "writes through io_uring", 1, WRITE_BYTES as u64, bucket),
            (READ, "reads through io_uring", 1, READ_BYTES as u64, bucket),
            (SYNC, "syncs through io_uring", 1, 0, None),
        ];
        let result = ring_result.map_err(|error| format!("io_uring cannot be tried: {error}"));
        if let Err(what) = result.and_then(|()| check(&reading, &ring, &queued)) {
            give_up(probe, Part::Uring, &what)?;
        }
    }
    let keys: Vec<FileKey> =
        reading.files.iter().map(|(key, _)| *key).filter(|key| key.target == SELF_TEST_TARGET).collect();
    for key in keys {
        probe.evict(&key)?;
    }
    Ok(())
}

/// Other threads of this process may use files too; only this one counts.
fn check(reading: &Reading, file: &File, expected: &[Expected]) -> Result<(), String> {
    let ino = file.metadata().map_err(|error| format!("the file has no identity: {error}"))?.ino();
    for (operation, word, ops, bytes, bucket) in expected {
        let of_file = reading.files.iter().filter(|(key, _)| {
            key.target == SELF_TEST_TARGET && key.operation == *operation && key.ino == ino
        });
        let counters = of_file.fold(FileCounters::ZERO, |mut sum, (_, counters)| {
            sum.bytes += counters.bytes;
            sum.unplaced_ops += counters.unplaced_ops;
            sum.offsets.iter_mut().zip(counters.offsets).for_each(|(sum, count)| *sum += count);
            sum
        });
        if (counters.ops(), counters.bytes) != (*ops, *bytes) {
            let hint = if counters.ops() == 0 {
                "; the agent must run among the host's processes, not in a process namespace of its own"
            } else {
                ""
            };
            let (counted, counted_bytes) = (counters.ops(), counters.bytes);
            return Err(format!(
                "{ops} {word} of {bytes} bytes were counted as {counted} of {counted_bytes}{hint}"
            ));
        }
        if bucket.is_some_and(|bucket| counters.offsets[bucket] != *ops) {
            return Err(format!("{word} at byte {READ_AT} are in another bucket: {:?}", counters.offsets));
        }
    }
    Ok(())
}

fn check_name(probe: &mut Probe, file: &File) -> Result<(), String> {
    let ino = file.metadata().map_err(|error| format!("the file has no identity: {error}"))?.ino();
    let names = probe.take_names();
    let named = names.iter().any(|name| {
        name.path.as_ref().is_some_and(|path| path.to_string_lossy().contains(NAME)) && name.ino == ino
    });
    if named { Ok(()) } else { Err(format!("the file {NAME} came with the names {names:?}")) }
}

/// Detaches a part's programs: no numbers are better than wrong ones.
fn give_up(probe: &mut Probe, part: Part, what: &str) -> Result<(), ProbeError> {
    for program in PROGRAMS.iter().filter(|program| program.part == part) {
        let (name, tracepoint) = (program.name, program.tracepoint);
        let failed = |source| ProbeError::Program { program: name, tracepoint, source: Box::new(source) };
        let loaded: &mut BtfTracePoint = probe
            .object
            .program_mut(name)
            .expect("the object and the list of programs are built together")
            .try_into()
            .map_err(failed)?;
        loaded.unload().map_err(failed)?;
    }
    probe.parts.retain(|attached| *attached != part);
    probe.degraded.push(format!("{what}: {}", without(part)));
    Ok(())
}

fn memory_file() -> io::Result<File> {
    let name = CString::new(NAME).expect("the name has no zero byte");
    // SAFETY: a plain system call with a valid string; the descriptor returned is ours alone.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

fn by_calls(file: &mut File) -> io::Result<()> {
    for _ in 0..WRITES {
        file.write_all(&[1; WRITE_BYTES])?;
    }
    file.read_exact_at(&mut [0; READ_BYTES], READ_AT)?;
    file.sync_all()
}

fn by_ring(file: &File) -> io::Result<()> {
    let mut ring = IoUring::new(2)?;
    let fd = types::Fd(file.as_raw_fd());
    let data = [1u8; WRITE_BYTES];
    let mut room = [0u8; READ_BYTES];
    let requests = [
        (opcode::Write::new(fd, data.as_ptr(), data.len() as u32).offset(READ_AT).build(), WRITE_BYTES),
        (opcode::Read::new(fd, room.as_mut_ptr(), room.len() as u32).offset(READ_AT).build(), READ_BYTES),
        (opcode::Fsync::new(fd).build(), 0),
    ];
    for (request, bytes) in requests {
        // SAFETY: descriptor and buffers live until the request has ended, which is waited for.
        unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
        while let Err(error) = ring.submit_and_wait(1) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let result = ring.completion().next().map(|completion| completion.result());
        match result {
            Some(moved) if moved < 0 => return Err(io::Error::from_raw_os_error(-moved)),
            Some(moved) if moved as usize == bytes => {}
            other => return Err(io::Error::other(format!("a request of {bytes} bytes gave {other:?}"))),
        }
    }
    Ok(())
}
