//! Operations on maps, tried on a small one.

use super::Tried;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `enum bpf_cmd` and `enum bpf_map_type` of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const TYPE_HASH: u32 = 1;

/// The head of `union bpf_attr` for a new map.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// `struct { .. } batch` of `union bpf_attr`; its head fits what is for one element, too.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for one element.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// What the agent does with its maps, and whether it may.
pub(super) fn try_maps() -> Vec<Tried> {
    let names = [
        "create a map",
        "BPF_MAP_LOOKUP_BATCH on a hash map",
        "BPF_MAP_LOOKUP_AND_DELETE_ELEM on a hash map",
    ];
    let map = match create() {
        Ok(map) => map,
        Err(error) => return vec![Tried { name: names[0], error: Some(error.to_string()) }],
    };
    // An empty map has nothing to say, and says so with ENOENT.
    let nothing = |result: io::Result<()>| match result {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Some(error.to_string()),
        Ok(()) | Err(_) => None,
    };
    vec![
        Tried { name: names[0], error: None },
        Tried { name: names[1], error: nothing(read_all(&map)) },
        Tried { name: names[2], error: nothing(take_one(&map)) },
    ]
}

fn create() -> io::Result<OwnedFd> {
    let mut attr =
        CreateAttr { map_type: TYPE_HASH, key_size: 4, value_size: 8, max_entries: 8, map_flags: 0 };
    let fd = call(MAP_CREATE, &mut attr)?;
    // SAFETY: the kernel has just given us this descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn read_all(map: &OwnedFd) -> io::Result<()> {
    let (mut keys, mut values, mut next) = ([0u32; 8], [0u64; 8], [0u64; 2]);
    let mut attr = BatchAttr {
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: 8,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    call(MAP_LOOKUP_BATCH, &mut attr).map(drop)
}

fn take_one(map: &OwnedFd) -> io::Result<()> {
    let (mut key, mut value) = (0u32, 0u64);
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw mut key) as u64,
        value: (&raw mut value) as u64,
        ..ElementAttr::default()
    };
    call(MAP_LOOKUP_AND_DELETE_ELEM, &mut attr).map(drop)
}

fn call<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is laid out as the kernel has it for the command, and it and the buffers that it
    // names outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The limit of locked memory: `Some(None)` if there is none, `None` if it cannot be read.
pub(super) fn locked_memory_limit() -> Option<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to a structure that outlives it.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (result == 0).then(|| Some(limit.rlim_cur).filter(|bytes| *bytes != libc::RLIM_INFINITY))
}
