//! Mounts that only one thread, and what it starts, can see.

use crate::workspace::target_dir;
use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::cell::RefCell;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

thread_local! {
    /// The folder of mount points of the thread's own namespace.
    static ROOT: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Gives the calling thread a mount namespace of its own, unless it has one, in which a folder in memory
/// holds the mount points; returns that folder. Threads and processes that it starts afterwards share it.
/// Needs CAP_SYS_ADMIN.
pub fn enter_private_namespace() -> Result<PathBuf> {
    ROOT.with_borrow_mut(|root| match root {
        Some(root) => Ok(root.clone()),
        None => Ok(root.insert(enter()?).clone()),
    })
}

fn enter() -> Result<PathBuf> {
    const NONE: Option<&str> = None;
    // It stays, empty: others may be in namespaces of theirs with mounts on it.
    let root = target_dir().join("tmp/volumes");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace (needs CAP_SYS_ADMIN)")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("keep mounts from other namespaces")?;
    mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("size=64m"))
        .with_context(|| format!("mount a folder in memory on {}", root.display()))?;
    root.canonicalize().with_context(|| format!("find {}", root.display()))
}

/// Mounts a file system in memory, of so many bytes at most, on a folder, for as long as the thread's own namespace lives.
/// Everybody may write to it. Needs CAP_SYS_ADMIN.
pub fn mount_memory(point: &Path, size_bytes: u64) -> Result<()> {
    enter_private_namespace()?;
    let options = format!("size={size_bytes}");
    mount(Some("tmpfs"), point, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mount a file system in memory on {}", point.display()))
}

/// Something mounted in the thread's own namespace. Unmounted when dropped; while a process still uses it,
/// it is taken from sight and goes with its last user.
#[derive(Debug)]
pub struct Mount {
    /// Empty once it is unmounted.
    point: Option<TempDir>,
    path: PathBuf,
    /// Another thread is in another namespace.
    _thread: PhantomData<*const ()>,
}

impl Mount {
    /// A second place for a file system's files: `path` and what is below it.
    pub fn bind(path: &Path) -> Result<Self> {
        let root = enter_private_namespace()?;
        Self::new(Some(path), &root, "none", MsFlags::MS_BIND, "")
    }

    /// An overlay of `lower`, which stays as it is, and a new layer in the folder `upper`, which takes what is
    /// written. `upper` must not lie on an overlay itself.
    pub fn overlay(lower: &Path, upper: &Path) -> Result<Self> {
        let root = enter_private_namespace()?;
        let (changes, work) = (upper.join("changes"), upper.join("work"));
        for folder in [&changes, &work] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let (lower, changes, work) = (lower.display(), changes.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={changes},workdir={work}");
        Self::new(None, &root, "overlay", MsFlags::MS_NOATIME, &options)
    }

    pub(super) fn new(
        source: Option<&Path>,
        root: &Path,
        kind: &str,
        flags: MsFlags,
        options: &str,
    ) -> Result<Self> {
        let point = TempDir::with_prefix_in("", root);
        let point = point.with_context(|| format!("a mount point in {}", root.display()))?;
        let path = point.path().to_path_buf();
        let shown = source.unwrap_or(Path::new(kind));
        mount(Some(shown), &path, Some(kind), flags, Some(options)).with_context(|| {
            format!("mount {} ({kind}, {options:?}) on {}", shown.display(), path.display())
        })?;
        Ok(Self { point: Some(point), path, _thread: PhantomData })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts it; gives it back with the reason if that is not possible.
    pub(super) fn unmount(mut self) -> Result<(), (Self, anyhow::Error)> {
        match umount2(&self.path, MntFlags::empty()) {
            Ok(()) => {
                self.point = None;
                Ok(())
            }
            Err(errno) => {
                let error = anyhow::Error::new(errno).context(format!("unmount {}", self.path.display()));
                Err((self, error))
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.point.is_some() && umount2(&self.path, MntFlags::empty()).is_err() {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        }
    }
}
