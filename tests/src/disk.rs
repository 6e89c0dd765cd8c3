//! The volume of a namespace's thread, for those who are not that thread.
//!
//! A [`Volume`] cannot leave its thread, and only what is started there sees it. So the thread itself keeps
//! it, and it goes when the thread ends, which is after the processes that the thread started.

use crate::netns::Namespace;
use crate::volume::{DeviceStat, Volume};
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

thread_local! {
    static MOUNTED: RefCell<Option<Volume>> = const { RefCell::new(None) };
}

/// A file system on a block device, in a namespace.
#[derive(Debug)]
pub struct Disk {
    device: String,
    path: PathBuf,
}

impl Disk {
    /// Gives the namespace an ext4 of so many bytes; one that it had before is unmounted.
    pub fn mount(namespace: &Namespace, size_bytes: u64) -> Result<Self> {
        namespace.run(move || {
            let volume = Volume::ext4(size_bytes)?;
            let disk = Self { device: volume.device_name().to_owned(), path: volume.path().to_path_buf() };
            MOUNTED.replace(Some(volume));
            Ok(disk)
        })?
    }

    /// The block device's name, such as `loop3`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where it is mounted, for whoever is in the namespace.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all that is dirty in it, waits until that is done, and looks what the block device has done since
    /// it exists.
    pub fn sync(&self, namespace: &Namespace) -> Result<DeviceStat> {
        with_volume(namespace, |volume| {
            volume.sync()?;
            volume.stat()
        })
    }

    /// Writes what is dirty and drops the files' data from the page cache, so that reads reach the device.
    pub fn drop_caches(&self, namespace: &Namespace) -> Result<()> {
        with_volume(namespace, Volume::drop_caches)
    }

    /// What the block device has done since it exists, without waiting for anything.
    pub fn stat(&self, namespace: &Namespace) -> Result<DeviceStat> {
        with_volume(namespace, Volume::stat)
    }
}

fn with_volume<T: Send + 'static>(
    namespace: &Namespace,
    job: impl FnOnce(&Volume) -> Result<T> + Send + 'static,
) -> Result<T> {
    let job = || MOUNTED.with_borrow(|volume| job(volume.as_ref().context("nothing is mounted there")?));
    namespace.run(job)?
}
