//! A file's name as the kernel walked it: from the root of its file system down.

use isotherm_agent_ebpf::{FileName, MAX_DEPTH};
use std::ffi::OsStr;
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
    pub(super) fn from_record(record: &FileName) -> Self {
        let depth = (record.depth as usize).min(MAX_DEPTH);
        let path = (record.complete == 1).then(|| {
            // The last component is the root's own name, "/".
            let names = record.components[..depth].iter().rev().map(|component| until_zero(component));
            let mut path = PathBuf::from("/");
            path.extend(names.filter(|name| *name != b"/").map(OsStr::from_bytes));
            path
        });
        Self { ino: record.ino, dev: record.dev, generation: record.generation, tgid: record.tgid, path }
    }
}

fn until_zero(component: &[u8]) -> &[u8] {
    component.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_agent_ebpf::NAME_LEN;

    fn record(names: &[&str], complete: u32) -> FileName {
        let mut record = FileName {
            ino: 7,
            dev: 1,
            generation: 2,
            tgid: 3,
            depth: names.len() as u32,
            complete,
            reserved: 0,
            components: [[0xaa; NAME_LEN]; MAX_DEPTH],
        };
        for (component, name) in record.components.iter_mut().zip(names) {
            component[..name.len()].copy_from_slice(name.as_bytes());
            component[name.len()] = 0;
        }
        record
    }

    #[test]
    fn components_come_from_the_file_up() {
        let path = |names: &[&str]| PathBelowMount::from_record(&record(names, 1)).path;
        assert_eq!(path(&["7.dat", "v1", "data", "/"]), Some("/data/v1/7.dat".into()));
        assert_eq!(path(&["7.dat", "/"]), Some("/7.dat".into()));
    }

    #[test]
    fn a_path_that_is_too_deep_is_unknown() {
        assert_eq!(PathBelowMount::from_record(&record(&["x"; MAX_DEPTH], 0)).path, None);
    }
}
