//! From a path inside a file system to the path that its process uses.

use procfs::process::{MountInfo, Process};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Mount tables of processes, each read once. Throw away after a round of names: mounts change.
#[derive(Default)]
pub struct Mounts {
    tables: HashMap<u32, Vec<MountInfo>>,
}

impl Mounts {
    /// The path as process `tgid` sees it, `/a/b` being the path from the root of the file system on
    /// device `dev` (kernel form). A file system that is mounted nowhere, such as that of anonymous memory
    /// files, gives the path without its leading slash, which no path of a process looks like.
    pub fn path_of(&mut self, tgid: u32, dev: u32, ino: u64, below_root: &Path) -> PathBuf {
        let table = self.tables.entry(tgid).or_insert_with(|| table_of(tgid));
        let device = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
        let mut candidates: Vec<(usize, PathBuf)> = table
            .iter()
            .filter(|mount| mount.majmin == device)
            .filter_map(|mount| {
                let rest = below_root.strip_prefix(&mount.root).ok()?;
                Some((mount.root.len(), mount.mount_point.join(rest)))
            })
            .collect();
        // The mount of the smallest part is the most telling one; among equals the latest covers the others.
        candidates.sort_by_key(|(specific, _)| *specific);
        let mut fallback = None;
        while let Some((_, path)) = candidates.pop() {
            if is_at(tgid, &path, ino) {
                return path;
            }
            fallback.get_or_insert(path);
        }
        fallback.unwrap_or_else(|| below_root.strip_prefix("/").unwrap_or(below_root).to_owned())
    }
}

/// Numbers, in kernel form, of the devices that hold a file system mounted in the agent's view, those that a
/// container sees alone not among them.
#[must_use]
pub fn mounted_devices() -> HashSet<u32> {
    let number = |text: &str| {
        let (major, minor) = text.split_once(':')?;
        Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
    };
    table_of(std::process::id()).iter().filter_map(|mount| number(&mount.majmin)).collect()
}

/// The number of a block device, in kernel form. `None` for what is no block device.
#[must_use]
pub fn device_number(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
    Some(libc::major(metadata.rdev()) << 20 | libc::minor(metadata.rdev()))
}

fn table_of(tgid: u32) -> Vec<MountInfo> {
    let mounts = |process: Process| process.mountinfo().map(|infos| infos.0);
    Process::new(tgid.cast_signed())
        .and_then(mounts)
        // The process may have ended; most share the agent's own mounts.
        .or_else(|_| Process::myself().and_then(mounts))
        .unwrap_or_default()
}

/// Whether a path, as a process sees it, leads to an inode now.
#[must_use]
pub fn is_at(tgid: u32, path: &Path, ino: u64) -> bool {
    let Ok(relative) = path.strip_prefix("/") else { return false };
    let seen = Path::new("/proc").join(tgid.to_string()).join("root").join(relative);
    std::fs::symlink_metadata(seen).is_ok_and(|metadata| metadata.ino() == ino)
}

/// What the kernel would send for a file of this process: its inode, its device, and its path from the root
/// of its file system.
#[cfg(test)]
pub(crate) fn below_root(path: &Path) -> (u64, u32, PathBuf) {
    let metadata = std::fs::metadata(path).unwrap();
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let mount = table_of(std::process::id())
        .into_iter()
        .filter(|mount| mount.majmin == format!("{major}:{minor}") && path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len())
        .unwrap();
    let below_root = Path::new(&mount.root).join(path.strip_prefix(&mount.mount_point).unwrap());
    (metadata.ino(), major << 20 | minor, below_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_through_its_mount() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let (ino, dev, below_root) = below_root(&path);
        let me = std::process::id();
        let found = Mounts::default().path_of(me, dev, ino, &below_root);
        assert_eq!(found, path);
        assert!(is_at(me, &found, ino));
        assert!(!is_at(me, &found, ino + 1));
    }

    #[test]
    fn a_file_system_that_is_mounted_nowhere_gives_a_relative_path() {
        let found = Mounts::default().path_of(std::process::id(), 0xfff << 20, 1, Path::new("/memfd:x"));
        assert_eq!(found, Path::new("memfd:x"));
    }
}
