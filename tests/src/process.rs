//! A child process that cannot outlive us.
//!
//! Three things see to it: `stop` on drop (SIGTERM, a deadline, SIGKILL), a process group of its own, so
//! that Ctrl-C reaches us alone and we stop the children in order, and PR_SET_PDEATHSIG, which works even
//! when we are killed ourselves. The last is tied to the *thread* that spawned, so spawn from threads that
//! live as long as the child is needed.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Inner, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Lines of a child's log that an error shows.
const TAIL_LINES: usize = 15;

/// A running child, its output in a log file.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: Inner,
    log: PathBuf,
}

/// Starts `command` with stdout and stderr in `log`, and no stdin.
pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let copy = file.try_clone().with_context(|| format!("share {}", log.display()))?;
    start(name, command.stdout(file).stderr(copy), log)
}

/// As [`spawn`], but a thread of ours writes the log: the child itself writes to no file for it, so nothing of
/// it is on the child's account.
pub fn spawn_relayed(name: &str, command: &mut Command, log: &Path) -> Result<Child> {
    let mut file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let (mut reader, writer) = io::pipe().context("make a pipe")?;
    let copy = writer.try_clone().context("share a pipe")?;
    let child = start(name, command.stdout(writer).stderr(copy), log);
    // The command holds our ends of the pipe, which would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = child?;
    thread::Builder::new()
        .name(format!("log of {name}"))
        .spawn(move || io::copy(&mut reader, &mut file))
        .with_context(|| format!("start the thread that writes {}", log.display()))?;
    Ok(child)
}

fn start(name: &str, command: &mut Command, log: &Path) -> Result<Child> {
    let parent = getpid();
    command.stdin(Stdio::null()).process_group(0);
    // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
    unsafe { command.pre_exec(move || die_with(parent)) };
    let inner = command.spawn().with_context(|| format!("start {name} ({:?})", command.get_program()))?;
    Ok(Child { name: name.to_owned(), inner, log: log.to_path_buf() })
}

/// Asks the kernel for SIGKILL when the spawning thread ends. A parent that ended before we asked is seen
/// by its changed id.
///
/// For `pre_exec`: it makes nothing but two system calls.
pub fn die_with(parent: Pid) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// Its exit status, if it ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.inner.try_wait().with_context(|| format!("look at {}", self.name))
    }

    /// Fails with the end of its log if it ended.
    pub fn ensure_alive(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!("--- {}\n{}", self.log.display(), lines[from..].join("\n"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.inner.id()).context("process ids fit i32")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Ends it: SIGTERM, and SIGKILL if it has not ended within the grace period.
    pub fn stop(&mut self) {
        if matches!(self.inner.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if matches!(self.inner.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(POLL);
        }
        self.kill();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Polls `condition` until it gives a value; fails by `what` at the deadline.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}
