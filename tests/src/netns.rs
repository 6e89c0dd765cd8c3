//! A network namespace without a name.
//!
//! It belongs to one thread and to what that thread starts: nothing is in `/run/netns`, so nothing is left
//! even when everybody is killed. The price is that whatever needs the namespace must be started from its
//! thread, which is what [`Namespace::run`] is for.

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// Addresses that are local inside: the lab's nodes. Not 127.0.0.0/8, from which SeaweedFS refuses to copy.
const ADDRESSES: &str = "10.77.0.0/24";

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, alive as long as this value or a process started in it.
#[derive(Debug)]
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes one whose loopback is up and in which all of 10.77.0.0/24 is local. Needs CAP_SYS_ADMIN and
    /// CAP_NET_ADMIN, and `ip`.
    pub fn new() -> Result<Self> {
        let namespace = Self::bare()?;
        namespace.run(|| ip(&["route", "add", "local", ADDRESSES, "dev", "lo"]))??;
        Ok(namespace)
    }

    /// Makes one in which nothing but loopback is up.
    pub fn bare() -> Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))
            .context("start the thread of a network namespace")?;
        let namespace = Self { jobs: Some(jobs), thread: Some(thread) };
        namespace.run(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (needs CAP_SYS_ADMIN)")?;
            ip(&["link", "set", "lo", "up"])
        })??;
        Ok(namespace)
    }

    /// Where other processes find it, as long as it lives.
    pub(crate) fn path(&self) -> Result<String> {
        let thread = self.run(nix::unistd::gettid)?;
        Ok(format!("/proc/{}/task/{thread}/ns/net", std::process::id()))
    }

    /// Runs `job` inside and waits for it. Threads and processes that it starts stay inside; processes die
    /// with the namespace's thread.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, result) = channel();
        let jobs = self.jobs.as_ref().context("the namespace is being left")?;
        jobs.send(Box::new(move || {
            let _ = done.send(job());
        }))
        .map_err(|_| anyhow!("the thread of the namespace is gone"))?;
        result.recv().context("a job in the namespace panicked")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs `ip` where the calling thread is.
pub(crate) fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("start ip (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
