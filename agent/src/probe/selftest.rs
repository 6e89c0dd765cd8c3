//! "Attached" does not mean "counts right": offsets could be wrong, a tracepoint could pass other arguments.
//! So the agent reads and writes a small file of its own at start, and compares.

use super::{Probe, ProbeError};
use isotherm_agent_ebpf::{FileCounters, FileKey, READ, SELF_TEST_TARGET, WRITE};
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

const NAME: &str = "isotherm-self-test";
const WRITES: u64 = 3;
const WRITE_BYTES: usize = 5_000;
const READ_BYTES: usize = 100;
const READ_AT: u64 = 9_000;

pub(super) fn run(probe: &mut Probe) -> Result<(), ProbeError> {
    let failed = |what: String| ProbeError::SelfTest { what };
    probe.add_overflow(SELF_TEST_TARGET)?;
    let mut file = memory_file().map_err(|error| failed(format!("no file to try them on: {error}")))?;
    probe.processes.set(std::process::id(), Some(SELF_TEST_TARGET));
    let result = exercise(&mut file);
    probe.processes.set(std::process::id(), None);
    result.map_err(|error| failed(format!("the file to try them on does not work: {error}")))?;

    // Other threads of this process may use files too; only this one counts.
    let ino = file.metadata().map_err(|error| failed(format!("the file has no identity: {error}")))?.ino();
    let reading = probe.read()?;
    let counted = |operation| -> Vec<&(FileKey, FileCounters)> {
        reading
            .files
            .iter()
            .filter(|(key, _)| key.target == SELF_TEST_TARGET && key.operation == operation && key.ino == ino)
            .collect()
    };
    for (operation, word, ops, bytes, bucket) in [
        (WRITE, "writes", WRITES, WRITES * WRITE_BYTES as u64, None),
        (READ, "reads", 1, READ_BYTES as u64, Some((READ_AT >> 12) as usize)),
    ] {
        let counters = counted(operation).iter().fold(FileCounters::ZERO, |mut sum, (_, counters)| {
            sum.bytes += counters.bytes;
            sum.offsets.iter_mut().zip(counters.offsets).for_each(|(sum, count)| *sum += count);
            sum
        });
        if (counters.ops(), counters.bytes) != (ops, bytes) {
            let hint = if counters.ops() == 0 {
                "; the agent must run among the host's processes, not in a process namespace of its own"
            } else {
                ""
            };
            return Err(failed(format!(
                "{ops} {word} of {bytes} bytes were counted as {} of {}{hint}",
                counters.ops(),
                counters.bytes
            )));
        }
        if let Some(bucket) = bucket
            && counters.offsets[bucket] != ops
        {
            return Err(failed(format!(
                "{word} at byte {READ_AT} are in another bucket: {:?}",
                counters.offsets
            )));
        }
    }
    let names = probe.take_names();
    let named = names.iter().any(|name| {
        name.path.as_ref().is_some_and(|path| path.to_string_lossy().contains(NAME)) && name.ino == ino
    });
    if !named {
        return Err(failed(format!("the file {NAME} came with the names {names:?}")));
    }
    let keys: Vec<FileKey> =
        reading.files.iter().map(|(key, _)| *key).filter(|key| key.target == SELF_TEST_TARGET).collect();
    for key in keys {
        probe.evict(&key)?;
    }
    Ok(())
}

fn memory_file() -> std::io::Result<File> {
    let name = CString::new(NAME).expect("the name has no zero byte");
    // SAFETY: a plain system call with a valid string; the descriptor returned is ours alone.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

fn exercise(file: &mut File) -> std::io::Result<()> {
    for _ in 0..WRITES {
        file.write_all(&[1; WRITE_BYTES])?;
    }
    file.read_exact_at(&mut [0; READ_BYTES], READ_AT)
}
