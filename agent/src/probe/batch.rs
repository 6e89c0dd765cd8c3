//! Reading a whole kernel map in a few system calls.
//!
//! The loader's iterator takes two calls per entry: 578 ms for 100,000 entries where BPF_MAP_LOOKUP_BATCH
//! (Linux 5.6) takes 75 to 93 ms. Looked up only, never deleted: counters that grow lose nothing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `enum bpf_cmd` of linux/bpf.h.
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
/// See above.
const MAP_LOOKUP_BATCH: libc::c_long = 24;

/// `struct { .. } batch` of `union bpf_attr`.
#[repr(C)]
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
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Takes an entry out of the map, with the counters that it had at that moment (hash maps: Linux 5.14).
/// `None` if it is not there. `K` and `V` are the key and value of the map.
pub(super) fn take<K, V: Copy>(map: BorrowedFd<'_>, key: &K, zero: V) -> io::Result<Option<V>> {
    let mut value = zero;
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        value: (&raw mut value) as u64,
        flags: 0,
    };
    // SAFETY: the attribute is laid out as the kernel has it; key and value have the map's sizes and outlive
    // the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, MAP_LOOKUP_AND_DELETE_ELEM, &raw mut attr, size_of::<ElementAttr>())
    };
    if result == 0 {
        return Ok(Some(value));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) }
}

/// Buffers for one call, kept between readings.
pub(super) struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    /// Values per key: one, or in a map per CPU one for each.
    width: usize,
    zero: (K, V),
}

impl<K: Copy, V: Copy> Batch<K, V> {
    /// Room for `entries` per call. The kernel returns whole hash chains, so it must not be tiny. `zero` is any
    /// key and value.
    pub(super) fn new(entries: usize, zero: (K, V)) -> Self {
        Self::wide(entries, 1, zero)
    }

    /// For a map with `width` values per key, one for each CPU that there can be.
    pub(super) fn wide(entries: usize, width: usize, zero: (K, V)) -> Self {
        Self { keys: vec![zero.0; entries], values: vec![zero.1; entries * width], width, zero }
    }

    /// Calls `visit` with every key of a map and its values. `K` and `V` are those of the map.
    pub(super) fn for_each(
        &mut self,
        map: BorrowedFd<'_>,
        mut visit: impl FnMut(&K, &[V]),
    ) -> io::Result<()> {
        // The position is opaque; the kernel uses four bytes of it.
        let mut position = [0u64; 2];
        let mut first = true;
        loop {
            let mut next = [0u64; 2];
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { position.as_ptr() as u64 },
                out_batch: next.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: self.keys.len() as u32,
                map_fd: map.as_raw_fd() as u32,
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the attribute is laid out as the kernel has it, the buffers hold `count` entries of the
            // map's key and value size, and all of them outlive the call.
            let result = unsafe {
                libc::syscall(libc::SYS_bpf, MAP_LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>())
            };
            let error = (result < 0).then(io::Error::last_os_error);
            if let Some(error) = &error
                && error.raw_os_error() != Some(libc::ENOENT)
            {
                if error.raw_os_error() == Some(libc::ENOSPC) && attr.count == 0 {
                    // One chain is longer than the buffers.
                    *self = Self::wide(self.keys.len() * 2, self.width, self.zero);
                    continue;
                }
                return Err(io::Error::new(error.kind(), format!("BPF_MAP_LOOKUP_BATCH: {error}")));
            }
            let count = attr.count as usize;
            for (key, values) in self.keys.iter().zip(self.values.chunks(self.width)).take(count) {
                visit(key, values);
            }
            if error.is_some() {
                return Ok(());
            }
            position = next;
            first = false;
        }
    }
}
