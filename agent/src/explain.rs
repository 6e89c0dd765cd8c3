//! `isotherm-agent explain`: why a process, a file or a block device counts for whom.
//!
//! Looks at the configuration and at /proc and /sys, with the same code as the running agent; attaches
//! nothing. What cannot be read is said to be unknown.

mod device;
mod file;
mod process;

pub use device::DeviceStory;
pub use file::FileStory;
pub use process::ProcessStory;

use crate::config::Config;
use crate::discovery::{self, Candidate, Listeners};
use isotherm_model::{NodeId, Subject};
use procfs::ProcError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Story {
    /// About a process.
    Process(ProcessStory),
    /// About a file.
    File(FileStory),
    /// About a block device.
    Device(DeviceStory),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No such process, or one that runs no program.
    #[error("no process {pid} runs a program here")]
    NoProcess {
        /// The id.
        pid: u32,
    },
    /// No such file.
    #[error("{path}")]
    Path {
        /// As given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not a thing that is counted.
    #[error("{path} is neither a regular file nor a block device; only these are counted")]
    NotCounted {
        /// As given.
        path: PathBuf,
    },
    /// /proc cannot be read.
    #[error("cannot list processes")]
    Processes(#[source] ProcError),
    /// The system does not describe the device.
    #[error("the kernel does not describe block device {number} in {path}")]
    Device {
        /// major:minor.
        number: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Answers for a process id, a path, or the name of a block device such as `sda1`. `revision` is that of the locators
/// in the configuration's targets; 0 for none.
pub fn explain(config: &Config, revision: u64, what: &str) -> Result<Story, ExplainError> {
    let view = View { revision, ..View::new(config)? };
    if let Ok(pid) = what.parse() {
        return process::explain(view, pid).map(Story::Process);
    }
    let named = Path::new("/sys/class/block").join(what);
    if !what.contains('/') && named.exists() && !Path::new(what).exists() {
        return device::explain(&view, &device::number_of(&named)?).map(Story::Device);
    }
    let path = PathBuf::from(what);
    let metadata =
        std::fs::metadata(&path).map_err(|source| ExplainError::Path { path: path.clone(), source })?;
    if metadata.file_type().is_block_device() {
        return device::explain(&view, &number(metadata.rdev())).map(Story::Device);
    }
    if !metadata.is_file() {
        return Err(ExplainError::NotCounted { path });
    }
    file::explain(&view, &path, &metadata).map(Story::File)
}

/// The host as the configuration sees it.
struct View<'a> {
    config: &'a Config,
    /// Of the locators.
    revision: u64,
    candidates: Vec<Candidate>,
    listeners: Listeners,
    /// Index of the target of each process, children included.
    owners: BTreeMap<u32, usize>,
    /// Those that were chosen themselves.
    selected: BTreeMap<u32, usize>,
}

impl<'a> View<'a> {
    fn new(config: &'a Config) -> Result<Self, ExplainError> {
        let candidates = discovery::candidates().map_err(ExplainError::Processes)?;
        let mut listeners = Listeners::of_all(&candidates);
        let selectors = config.targets.iter().map(|target| &target.select).enumerate();
        let selection = discovery::select_with(&candidates, selectors, &mut listeners);
        let selected: BTreeMap<u32, usize> = selection.processes.into_iter().collect();
        let owners = discovery::with_children(&candidates, selected.clone());
        Ok(Self { config, revision: 0, candidates, listeners, owners, selected })
    }

    fn node(&self, index: usize) -> &NodeId {
        &self.config.targets[index].node
    }

    fn candidate(&self, pid: u32) -> Option<&Candidate> {
        self.candidates.iter().find(|process| process.pid == pid)
    }

    /// Calls `visit` with every file that a process of a target has open: process, target, metadata, path as
    /// the process sees it. Returns the processes whose descriptors cannot be read.
    fn open_files(&self, mut visit: impl FnMut(u32, usize, &std::fs::Metadata, PathBuf)) -> Vec<u32> {
        let mut unread = Vec::new();
        for (pid, index) in &self.owners {
            let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
                unread.push(*pid);
                continue;
            };
            for descriptor in descriptors.filter_map(Result::ok) {
                let link = descriptor.path();
                // Both fail when the descriptor was closed meanwhile.
                if let (Ok(metadata), Ok(path)) = (std::fs::metadata(&link), std::fs::read_link(&link)) {
                    visit(*pid, *index, &metadata, path);
                }
            }
        }
        unread
    }
}

/// `major:minor` of a device number in stat's form.
fn number(dev: u64) -> String {
    format!("{}:{}", libc::major(dev), libc::minor(dev))
}

/// Whom accesses would count for, in words.
fn verdict(subject: &Subject) -> String {
    match subject {
        Subject::Partition(id) => format!("partition {}", id.name()),
        Subject::Other(reason) => format!("other: {reason}"),
        Subject::Unattributed(reason) => format!("unattributed: {reason}"),
    }
}

/// For people.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(story) => story.fmt(f),
            Self::File(story) => story.fmt(f),
            Self::Device(story) => story.fmt(f),
        }
    }
}

/// A line on what could not be looked at.
fn unread_line(f: &mut fmt::Formatter<'_>, unread: &[u32]) -> fmt::Result {
    if unread.is_empty() {
        Ok(())
    } else {
        writeln!(f, "unknown: the open files of processes {unread:?} (no right)")
    }
}

#[cfg(test)]
mod tests;
