//! A machine of the lab: an address, and a network and mounts that only what runs on it sees.
//!
//! Tests of one process on loopback and tests of a whole network start the same servers the same way.

use crate::netns::Namespace;
use crate::process::{self, Child};
use crate::volume::mount_memory;
use anyhow::{Context, Result};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A machine. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Host {
    address: Ipv4Addr,
    /// `None` where the caller itself is.
    inside: Option<Arc<Namespace>>,
}

impl Host {
    /// The machine that the caller is on, by one of its addresses.
    #[must_use]
    pub fn here(address: Ipv4Addr) -> Self {
        Self { address, inside: None }
    }

    pub(crate) fn of(address: Ipv4Addr, namespace: Namespace) -> Self {
        Self { address, inside: Some(Arc::new(namespace)) }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(crate) fn namespace(&self) -> Result<&Namespace> {
        self.inside.as_deref().with_context(|| format!("{} is no machine of its own", self.address))
    }

    /// Runs `job` there and waits for it. Threads that it starts stay there.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        match &self.inside {
            Some(namespace) => namespace.run(job),
            None => Ok(job()),
        }
    }

    /// Starts a process there, with its output in `log`; it ends with the machine, or with the calling thread where there
    /// is none of its own.
    pub fn spawn(&self, name: &str, mut command: Command, log: &Path) -> Result<Child> {
        let (name, log) = (name.to_owned(), log.to_path_buf());
        self.run(move || process::spawn(&name, &mut command, &log))?
    }

    /// Makes a folder, whose files are in memory and so many bytes at most. Only what runs on the machine sees them.
    pub fn memory(&self, folder: &Path, size_bytes: u64) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let folder = folder.to_path_buf();
        self.namespace()?.run(move || mount_memory(&folder, size_bytes))?
    }
}
