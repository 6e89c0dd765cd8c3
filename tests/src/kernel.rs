//! The kernel programs that are loaded, and whether a process holds them. Needs CAP_SYS_ADMIN.

use anyhow::{Context, Result};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// Commands of bpf(2) and the layout of its answers, stable since Linux 4.15.
const PROG_GET_NEXT_ID: libc::c_int = 11;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `union bpf_attr` as these commands use it: three words, or a descriptor, a length and an address.
#[repr(C, align(8))]
#[derive(Default)]
struct Attributes {
    words: [u32; 2],
    address: u64,
}

/// The start of `struct bpf_prog_info`, up to the name.
#[repr(C, align(8))]
#[derive(Default)]
struct ProgramInfo {
    before_name: [u64; 8],
    name: [u8; 16],
}

/// A loaded program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Loaded programs whose name begins with `prefix` and that no process holds by a descriptor: pinned, or
/// kept by something that outlived its owner.
pub fn orphaned_programs(prefix: &str) -> Result<Vec<Program>> {
    let loaded = programs()?;
    // Held is looked at after loaded, so a program that is loaded in between cannot look orphaned.
    let held = held_programs()?;
    Ok(loaded
        .into_iter()
        .filter(|program| program.name.starts_with(prefix) && !held.contains(&program.id))
        .collect())
}

/// All loaded programs.
pub fn programs() -> Result<Vec<Program>> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        let mut attributes = Attributes { words: [id, 0], address: 0 };
        match bpf(PROG_GET_NEXT_ID, &mut attributes) {
            Ok(_) => id = attributes.words[1],
            Err(Errno::ENOENT) => return Ok(found),
            Err(error) => return Err(error).context("list kernel programs"),
        }
        match name_of(id) {
            Ok(name) => found.push(Program { id, name }),
            // It was unloaded meanwhile.
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("look at kernel program {id}")),
        }
    }
}

fn name_of(id: u32) -> nix::Result<String> {
    let fd = bpf(PROG_GET_FD_BY_ID, &mut Attributes { words: [id, 0], address: 0 })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = ProgramInfo::default();
    let len = size_of::<ProgramInfo>() as u32;
    let words = [program.as_raw_fd() as u32, len];
    bpf(OBJ_GET_INFO_BY_FD, &mut Attributes { words, address: (&raw mut info) as u64 })?;
    Ok(String::from_utf8_lossy(&info.name).trim_end_matches('\0').to_owned())
}

fn bpf(command: libc::c_int, attributes: &mut Attributes) -> nix::Result<i32> {
    let pointer: *mut Attributes = attributes;
    // SAFETY: the attributes are valid for their length, and an address in them points to a buffer of the
    // length beside it that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<Attributes>()) };
    Errno::result(result).map(|value| value as i32)
}

/// The programs that processes hold, themselves or by a link, as `/proc/PID/fdinfo` tells.
fn held_programs() -> Result<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    let processes = fs::read_dir("/proc").context("list processes")?.flatten();
    for process in processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
        // A process may end while we look at it, and then holds nothing.
        for descriptor in fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten() {
            let told = File::open(descriptor.path()).and_then(io::read_to_string).unwrap_or_default();
            let ids = told.lines().filter_map(|line| line.strip_prefix("prog_id:"));
            held.extend(ids.filter_map(|id| id.trim().parse::<u32>().ok()));
        }
    }
    Ok(held)
}
