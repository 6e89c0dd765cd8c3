//! A file's name as the kernel walked it: from the root of its file system down.

use isotherm_agent_ebpf::{FILE_NAME_HEADER, FileName, MAX_DEPTH, NAME_LEN};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Identity and path of a file, the path relative to the root of its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathBelowMount {
    /// Inode number.
    pub ino: u64,
    /// Device, as the kernel holds it: major << 20 | minor.
    pub dev: u32,
    /// Generation of the inode.
    pub generation: u32,
    /// The process that touched it.
    pub tgid: u32,
    /// `/a/b`; `None` if it lies deeper than [`MAX_DEPTH`] directories.
    pub path: Option<PathBuf>,
}

impl PathBelowMount {
    /// From what the kernel sent: a [`FileName`] that ends with its last component. `None` if it is shorter.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, components) = bytes.split_at_checked(FILE_NAME_HEADER)?;
        let mut record = MaybeUninit::<FileName>::zeroed();
        // SAFETY: the header of the record is as long as `header`, and all-zero components are valid.
        let record = unsafe {
            record.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(header.as_ptr(), FILE_NAME_HEADER);
            record.assume_init()
        };
        let depth = (record.depth as usize).min(MAX_DEPTH);
        let components = components.get(..depth * NAME_LEN)?;
        let path = (record.complete == 1).then(|| {
            // The last component is the root's own name, "/".
            let names = components.chunks(NAME_LEN).rev().map(until_zero);
            let mut path = PathBuf::from("/");
            path.extend(names.filter(|name| *name != b"/").map(OsStr::from_bytes));
            path
        });
        Some(Self {
            ino: record.ino,
            dev: record.dev,
            generation: record.generation,
            tgid: record.tgid,
            path,
        })
    }
}

fn until_zero(component: &[u8]) -> &[u8] {
    component.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[&str], complete: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7u64.to_ne_bytes());
        for word in [1, 2, 3, names.len() as u32, complete, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        for name in names {
            // Behind the end of a name lies what was there before.
            let mut component = [0xaa; NAME_LEN];
            component[..name.len()].copy_from_slice(name.as_bytes());
            component[name.len()] = 0;
            bytes.extend(component);
        }
        bytes
    }

    #[test]
    fn components_come_from_the_file_up() {
        let name = |names: &[&str]| PathBelowMount::from_bytes(&record(names, 1)).unwrap();
        assert_eq!(name(&["7.dat", "v1", "data", "/"]).path, Some("/data/v1/7.dat".into()));
        let top = name(&["7.dat", "/"]);
        assert_eq!((top.ino, top.dev, top.generation, top.tgid), (7, 1, 2, 3));
        assert_eq!(top.path, Some("/7.dat".into()));
    }

    #[test]
    fn a_path_that_is_too_deep_is_unknown() {
        let name = PathBelowMount::from_bytes(&record(&["x"; MAX_DEPTH], 0)).unwrap();
        assert_eq!(name.path, None);
    }

    #[test]
    fn a_record_that_is_cut_short_is_no_name() {
        let whole = record(&["7.dat", "/"], 1);
        for len in [0, FILE_NAME_HEADER - 1, FILE_NAME_HEADER, whole.len() - 1] {
            assert_eq!(PathBelowMount::from_bytes(&whole[..len]), None, "{len} bytes");
        }
    }
}
