//! A loop device over an image without a name, which goes with its last user.
//!
//! The crate loopdev needs libclang to build, and `losetup` cannot set LO_FLAGS_AUTOCLEAR; it is one ioctl.

use super::stat::DeviceStat;
use crate::workspace::target_dir;
use anyhow::{Context, Result, bail, ensure};
use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LO_FLAGS_PARTSCAN, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config,
};
use nix::errno::Errno;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// linux/blkpg.h.
const BLKPG: u32 = 0x1269;
const BLKPG_ADD_PARTITION: i32 = 1;

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct PartitionRequest {
    operation: i32,
    flags: i32,
    length: i32,
    partition: *mut Partition,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// How often another process may take the device that was free a moment ago.
const ATTEMPTS: usize = 64;

/// How a loop device accesses its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Through the page cache of the file system that holds the image.
    Cached,
    /// By direct I/O, as a real disk would.
    Direct,
}

/// A loop device with a file behind it.
#[derive(Debug)]
pub struct LoopDevice {
    name: String,
    path: PathBuf,
    number: u64,
    /// Keeps it from being cleared before it is mounted.
    device: File,
}

impl LoopDevice {
    /// Of so many bytes, with nothing on it.
    pub fn new(size_bytes: u64, backing: Backing) -> Result<Self> {
        Self::with_image(&image(size_bytes)?, backing, LO_FLAGS_AUTOCLEAR as u32)
    }

    /// With one partition, `loop3p1`, from a multiple of 512 bytes to the end. The kernel is told of it, no table is
    /// written, as not every kernel reads them; nor does every machine make a node for it.
    pub fn partitioned(size_bytes: u64, from_bytes: u64, backing: Backing) -> Result<Self> {
        let flags = LO_FLAGS_AUTOCLEAR as u32 | LO_FLAGS_PARTSCAN as u32;
        let disk = Self::with_image(&image(size_bytes)?, backing, flags)?;
        let signed = |bytes: u64| i64::try_from(bytes).context("a partition of less than 2^63 bytes");
        let mut partition = Partition {
            start: signed(from_bytes)?,
            length: signed(size_bytes - from_bytes)?,
            number: 1,
            names: [0; 128],
        };
        let request = PartitionRequest {
            operation: BLKPG_ADD_PARTITION,
            flags: 0,
            length: size_of::<Partition>() as i32,
            partition: &raw mut partition,
        };
        // SAFETY: both structures are those that the request reads, and outlive the call.
        let result = unsafe { libc::ioctl(disk.device.as_raw_fd(), u64::from(BLKPG), &raw const request) };
        Errno::result(result).with_context(|| format!("add a partition to {}", disk.name))?;
        Ok(disk)
    }

    fn with_image(image: &File, backing: Backing, flags: u32) -> Result<Self> {
        let control = File::options().read(true).write(true).open("/dev/loop-control");
        let control = control.context("open /dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: the request takes no argument.
            let free = unsafe { libc::ioctl(control.as_raw_fd(), u64::from(LOOP_CTL_GET_FREE)) };
            let number = Errno::result(free).context("find a free loop device")?;
            let name = format!("loop{number}");
            let path = Path::new("/dev").join(&name);
            let device = File::options().read(true).write(true).open(&path);
            let device = device.with_context(|| format!("open {}", path.display()))?;
            match configure(&device, image, backing, flags) {
                Ok(()) => {}
                Err(Errno::EBUSY) => continue,
                Err(error) => return Err(error).with_context(|| format!("set up {name}")),
            }
            ensure_backing(&name, backing)?;
            let number = device.metadata().with_context(|| format!("look at {}", path.display()))?.rdev();
            return Ok(Self { name, path, number, device });
        }
        bail!("others took {ATTEMPTS} loop devices before we could")
    }

    /// Such as `loop3`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Such as `/dev/loop3`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As `st_rdev` has it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it has done since it exists.
    pub fn stat(&self) -> Result<DeviceStat> {
        DeviceStat::read(&self.name)
    }
}

/// A sparse file without a name, on a disk, as direct I/O is not possible on every memory file system.
fn image(size_bytes: u64) -> Result<File> {
    let folder = target_dir().join("tmp");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let image = tempfile::tempfile_in(&folder);
    let image = image.with_context(|| format!("create an image in {}", folder.display()))?;
    image.set_len(size_bytes).with_context(|| format!("an image of {size_bytes} bytes"))?;
    Ok(image)
}

fn configure(device: &File, image: &File, backing: Backing, flags: u32) -> nix::Result<()> {
    // SAFETY: the structure is made of integers and arrays of them, for which zeros are values.
    let mut config: loop_config = unsafe { std::mem::zeroed() };
    config.fd = image.as_raw_fd().cast_unsigned();
    config.block_size = 512;
    config.info.lo_flags = flags;
    if backing == Backing::Direct {
        config.info.lo_flags |= LO_FLAGS_DIRECT_IO as u32;
    }
    // SAFETY: the structure is the one that the request reads, and outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), u64::from(LOOP_CONFIGURE), &raw const config) };
    Errno::result(result).map(drop)
}

/// The kernel drops a wish for direct I/O in silence where the image's file system cannot do it.
fn ensure_backing(name: &str, backing: Backing) -> Result<()> {
    let path = format!("/sys/block/{name}/loop/dio");
    let direct = fs::read_to_string(&path).with_context(|| format!("read {path}"))?.trim() == "1";
    ensure!(
        direct == (backing == Backing::Direct),
        "{name}: {path} says {direct}, asked for {backing:?}; the image is in {}",
        target_dir().display()
    );
    Ok(())
}
