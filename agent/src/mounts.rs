//! From a path inside a file system to the path that a process uses.
//!
//! A file system can be mounted at several places, also parts of it (bind mounts), and each container sees its
//! own. A file's path is the one that the process sees which accessed it, through the mount of the smallest
//! part of the file system, and among equals the one mounted last.

use procfs::process::{MountInfo, Process};
use std::collections::HashSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a process sees mounted.
#[derive(Debug, Clone)]
pub struct View {
    tgid: u32,
    table: Vec<MountInfo>,
}

/// Where a file is in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It is there.
    There(PathBuf),
    /// Its file system is mounted, but the path leads to something else or nowhere: the file was deleted, or the
    /// process whose view it is has ended.
    Perhaps(PathBuf),
    /// Its file system is not to be seen.
    Nowhere,
}

impl View {
    /// `None` if there is no such process.
    #[must_use]
    pub fn of(tgid: u32) -> Option<Self> {
        let mounts = Process::new(tgid.cast_signed()).and_then(|process| process.mountinfo());
        Some(Self { tgid, table: mounts.ok()?.0 })
    }

    /// The process's id.
    #[must_use]
    pub fn tgid(&self) -> u32 {
        self.tgid
    }

    /// The path as the process sees it, `/a/b` being the path from the root of the file system on
    /// device `dev` (kernel form).
    #[must_use]
    pub fn place(&self, dev: u32, ino: u64, below_root: &Path) -> Place {
        let device = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
        let mut candidates: Vec<(usize, PathBuf)> = self
            .table
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
            if is_at(self.tgid, &path, ino) {
                return Place::There(path);
            }
            fallback.get_or_insert(path);
        }
        fallback.map_or(Place::Nowhere, Place::Perhaps)
    }
}

/// What tells the mount namespace of a process. `None` if there is no such process.
#[must_use]
pub fn namespace_of(tgid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{tgid}/ns/mnt")).ok().map(|metadata| metadata.ino())
}

/// Numbers, in kernel form, of the devices that hold a file system mounted in the agent's view, those that a
/// container sees alone not among them.
#[must_use]
pub fn mounted_devices() -> HashSet<u32> {
    let number = |text: &str| {
        let (major, minor) = text.split_once(':')?;
        Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
    };
    let own = View::of(std::process::id());
    own.iter().flat_map(|view| &view.table).filter_map(|mount| number(&mount.majmin)).collect()
}

/// The name of a block device, such as `sdb1`, by its number in kernel form; `8:17` if the system has none of
/// the number, as for file systems on devices of their own making.
#[must_use]
pub fn device_name(dev: u32) -> String {
    let number = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
    let link = std::fs::read_link(format!("/sys/dev/block/{number}")).ok();
    let name = link.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or(number)
}

/// The number, in kernel form, of a block device. `None` if the path leads to nothing, or to something else.
#[must_use]
pub fn block_device(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
    Some(libc::major(metadata.rdev()) << 20 | libc::minor(metadata.rdev()))
}

/// The numbers, in kernel form, of the block devices that a process has open; none if it cannot be looked at.
pub fn open_block_devices(tgid: u32) -> impl Iterator<Item = u32> {
    let descriptors = std::fs::read_dir(format!("/proc/{tgid}/fd"));
    descriptors.into_iter().flatten().filter_map(|entry| block_device(&entry.ok()?.path()))
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
    let mount = View::of(std::process::id())
        .unwrap()
        .table
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
        let view = View::of(me).unwrap();
        assert_eq!(view.place(dev, ino, &below_root), Place::There(path.clone()));
        assert_eq!(view.place(dev, ino + 1, &below_root), Place::Perhaps(path));
    }

    #[test]
    fn a_file_system_that_is_mounted_nowhere_has_no_place() {
        let view = View::of(std::process::id()).unwrap();
        assert_eq!(view.place(0xfff << 20, 1, Path::new("/memfd:x")), Place::Nowhere);
    }

    #[test]
    fn only_block_devices_have_a_number() {
        assert_eq!(block_device(Path::new("/dev/null")), None);
        assert_eq!(block_device(Path::new("/no such device")), None);
    }
}
