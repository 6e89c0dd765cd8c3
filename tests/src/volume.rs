//! A real file system on a block device of its own, whose traffic nobody else adds to.
//!
//! A loop device over a sparse image that has no name, mounted in a mount namespace of the calling thread:
//! processes that the thread starts see it, nobody else does. So nothing has to be cleaned up by anyone: when
//! the last process of the namespace ends, however it ends, the mount goes, with it the loop device
//! (LO_FLAGS_AUTOCLEAR), and with that the image.
//!
//! A volume cannot leave its thread, since another one could neither see nor unmount it.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use isotherm_tests::volume::{FileSystem, Volume};
//! if let Some(why) = FileSystem::Ext4.lacking() {
//!     println!("skipped: {why}");
//!     return Ok(());
//! }
//! let volume = Volume::ext4(256 << 20)?;
//! let before = volume.stat()?;
//! std::fs::write(volume.path().join("file"), vec![1; 1 << 20])?;
//! volume.sync()?;
//! let written = volume.stat()?.since(&before).write_bytes;
//! assert!(written >= 1 << 20, "the data, and the file system's own blocks");
//! # Ok(())
//! # }
//! ```

mod loop_device;
mod mount;
mod stat;

pub use loop_device::{Backing, LoopDevice};
pub use mount::{Mount, enter_private_namespace, mount_memory};
pub use stat::DeviceStat;

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use nix::unistd::{geteuid, syncfs};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that volumes can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileSystem {
    /// Metadata and journal go through the block device's own inode.
    Ext4,
    /// A log of its own; not below 300 MiB.
    Xfs,
    /// Copies on write; the files' device number is no block device's. Not below 110 MiB.
    Btrfs,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// As mount calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Why there can be no such volume on this machine, or `None`. What else goes wrong is an error of
    /// [`Spec::make`], not a reason to skip a test.
    #[must_use]
    pub fn lacking(self) -> Option<String> {
        if !geteuid().is_root() {
            return Some("loop devices and mounts need root".to_owned());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("the kernel has no loop devices (/dev/loop-control)".to_owned());
        }
        if !self.known() {
            // A kernel with modules loads one at the first mount only.
            let _ = administration("modprobe").arg(self.name()).output();
            if !self.known() {
                return Some(format!("the kernel has no {} (/proc/filesystems)", self.name()));
            }
        }
        let (program, package) = self.maker();
        let installed = administration(program).arg("-V").output().is_ok();
        (!installed).then(|| format!("{program} is not installed (Debian package {package})"))
    }

    fn known(self) -> bool {
        let all = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        all.lines().any(|line| line.trim_start_matches("nodev").trim() == self.name())
    }

    /// The program that makes one, and its Debian package.
    fn maker(self) -> (&'static str, &'static str) {
        match self {
            Self::Ext4 => ("mkfs.ext4", "e2fsprogs"),
            Self::Xfs => ("mkfs.xfs", "xfsprogs"),
            Self::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        }
    }

    /// Makes one that has nothing left to do later, and discards nothing.
    fn make_on(self, device: &Path) -> Result<()> {
        let options: &[&str] = match self {
            Self::Ext4 => &["-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
            Self::Xfs | Self::Btrfs => &["-q", "-f", "-K"],
        };
        let (program, package) = self.maker();
        let output = administration(program).args(options).arg(device).output();
        let output = output.with_context(|| format!("start {program} (Debian package {package})"))?;
        if !output.status.success() {
            bail!("{program} {}: {}", device.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// What a volume is to be.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its file system.
    pub file_system: FileSystem,
    /// Its length. The image is sparse: it takes what is written.
    pub size_bytes: u64,
    /// How the loop device accesses the image.
    pub backing: Backing,
    /// The file system's own mount options, as `mount -o` takes them. It is mounted with noatime, so that
    /// reading writes nothing.
    pub options: String,
}

impl Spec {
    /// With a cached image and no options.
    #[must_use]
    pub fn new(file_system: FileSystem, size_bytes: u64) -> Self {
        Self { file_system, size_bytes, backing: Backing::Cached, options: String::new() }
    }

    /// Makes the volume. Enters a mount namespace, if this thread has none of its own yet.
    pub fn make(self) -> Result<Volume> {
        let name = self.file_system.name();
        let root = enter_private_namespace()?;
        let device = LoopDevice::new(self.size_bytes, self.backing)?;
        self.file_system.make_on(device.path())?;
        let mount = Mount::new(Some(device.path()), &root, name, MsFlags::MS_NOATIME, &self.options)
            .with_context(|| format!("a volume of {name}"))?;
        Ok(Volume { mount: Some(mount), device, spec: self, root })
    }
}

/// A mounted file system on a loop device. Unmounted when dropped, at the latest when its last user ends.
#[derive(Debug)]
pub struct Volume {
    // Before the device, so that it is dropped first. `None` only while it is being remounted.
    mount: Option<Mount>,
    device: LoopDevice,
    spec: Spec,
    root: PathBuf,
}

impl Volume {
    /// ext4 of so many bytes.
    pub fn ext4(size_bytes: u64) -> Result<Self> {
        Spec::new(FileSystem::Ext4, size_bytes).make()
    }

    /// xfs of so many bytes, at least 300 MiB.
    pub fn xfs(size_bytes: u64) -> Result<Self> {
        Spec::new(FileSystem::Xfs, size_bytes).make()
    }

    /// btrfs of so many bytes, at least 110 MiB.
    pub fn btrfs(size_bytes: u64) -> Result<Self> {
        Spec::new(FileSystem::Btrfs, size_bytes).make()
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.mount.as_ref().map_or(&self.root, Mount::path)
    }

    /// Its block device, such as `/dev/loop3`.
    #[must_use]
    pub fn device_path(&self) -> &Path {
        self.device.path()
    }

    /// The block device's name, such as `loop3`.
    #[must_use]
    pub fn device_name(&self) -> &str {
        self.device.name()
    }

    /// The block device's number, as `st_rdev` has it.
    #[must_use]
    pub fn block_device(&self) -> u64 {
        self.device.number()
    }

    /// The number that its files report as `st_dev`. On btrfs, one of no block device.
    pub fn file_device(&self) -> Result<u64> {
        let path = self.path();
        Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.dev())
    }

    /// What the block device has done since it exists, maybe also for earlier volumes: take differences.
    pub fn stat(&self) -> Result<DeviceStat> {
        DeviceStat::read(self.device.name())
    }

    /// Writes all that is dirty in it, and waits until that is done.
    pub fn sync(&self) -> Result<()> {
        let path = self.path();
        let root = File::open(path).with_context(|| format!("open {}", path.display()))?;
        syncfs(&root).with_context(|| format!("sync {}", path.display()))
    }

    /// Writes what is dirty, and drops the data of all its files from the page cache, so that reads reach the
    /// device. Open files stay open; pages that a process has mapped stay, too. The file system's own blocks
    /// stay cached; to drop them as well, [`remount`](Self::remount).
    pub fn drop_caches(&self) -> Result<()> {
        self.sync()?;
        drop_pages(self.path())
    }

    /// Unmounts it and mounts it again: nothing of it is cached then. Fails while a file of it is open.
    pub fn remount(&mut self) -> Result<()> {
        if let Some(mount) = self.mount.take() {
            match mount.unmount() {
                Ok(()) => {}
                Err((mount, error)) => {
                    self.mount = Some(mount);
                    return Err(error);
                }
            }
        }
        let (device, name) = (self.device.path(), self.spec.file_system.name());
        let mount = Mount::new(Some(device), &self.root, name, MsFlags::MS_NOATIME, &self.spec.options)?;
        self.mount = Some(mount);
        Ok(())
    }
}

/// A program for root, whose folder is not in everybody's PATH.
fn administration(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Drops clean pages of all files below a folder.
fn drop_pages(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let path = entry.path();
        let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() {
            drop_pages(&path)?;
        } else if kind.is_file() {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            // SAFETY: an advice on an open descriptor.
            let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            if result != 0 {
                let error = std::io::Error::from_raw_os_error(result);
                return Err(error).with_context(|| format!("drop the pages of {}", path.display()));
            }
        }
    }
    Ok(())
}
