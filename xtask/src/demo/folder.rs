//! The folder of a demo's data and logs: claimed by one demo at a time, emptied at the start.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Marks a folder as ours to empty.
const MARKER: &str = ".isotherm-demo";

/// A folder that no other demo uses while this value lives.
pub(super) struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Claims and empties it. Refuses one that another demo uses, and one that holds anything but a demo's
    /// data.
    pub(super) fn claim(path: PathBuf) -> Result<Self> {
        let path = std::path::absolute(&path).with_context(|| format!("resolve {}", path.display()))?;
        let lock = lock(&path)?;
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !path.join(MARKER).is_file() {
            bail!("{} holds something else than a demo's data; name another folder", path.display());
        }
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("empty {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::write(path.join(MARKER), "").with_context(|| format!("mark {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The lock lies beside the folder, which is emptied; the kernel frees it however we end.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let path = folder.with_added_extension("lock");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)
                .and_then(|()| write!(lock, "{}", std::process::id()))
                .context("write the lock")?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another demo (process {}) uses {}; stop it, or name another folder with --dir",
                holder.trim(),
                folder.display()
            )
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("isotherm-xtask-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_second_demo_learns_of_the_first() {
        let path = scratch("second");
        let first = Folder::claim(path.clone()).unwrap();
        let refused = Folder::claim(path.clone()).err().unwrap().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        let again = Folder::claim(path.clone()).unwrap();
        fs::remove_dir_all(again.path()).unwrap();
        fs::remove_file(path.with_added_extension("lock")).unwrap();
    }

    #[test]
    fn what_is_not_a_demo_is_not_emptied() {
        let path = scratch("precious");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("thesis.txt"), "years of work").unwrap();
        assert!(Folder::claim(path.clone()).is_err());
        assert!(path.join("thesis.txt").exists());
        fs::remove_dir_all(&path).unwrap();
        fs::remove_file(path.with_added_extension("lock")).unwrap();
    }
}
