//! What the truth generator did, and how a test drives it.

use crate::process::{die_with, wait_for};
use anyhow::{Context, Result};
use nix::unistd::getpid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// One completed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whether data went to the file.
    pub write: bool,
    /// Where in the file.
    pub offset: u64,
    /// How much really moved.
    pub bytes: u64,
}

impl Access {
    /// Data came from the file.
    #[must_use]
    pub fn read(offset: u64, bytes: u64) -> Self {
        Self { write: false, offset, bytes }
    }

    /// Data went to the file.
    #[must_use]
    pub fn write(offset: u64, bytes: u64) -> Self {
        Self { write: true, offset, bytes }
    }
}

/// Everything that was done, by the name of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// In order.
    pub files: BTreeMap<String, Vec<Access>>,
    /// 32-bit calls, which cannot be counted by file.
    pub compat_calls: u64,
}

impl Truth {
    /// Number and bytes of a file's accesses in one direction.
    #[must_use]
    pub fn counts(&self, file: &str, write: bool) -> (u64, u64) {
        let accesses = self.files.get(file).into_iter().flatten().filter(|access| access.write == write);
        accesses.fold((0, 0), |(ops, bytes), access| (ops + 1, bytes + access.bytes))
    }
}

/// The generator, prepared and waiting.
pub struct Generator {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(60);

impl Generator {
    /// Starts the program and waits until its files are prepared. Call it from a thread that outlives it.
    pub fn start(program: &Path, folder: &Path, scenario: &str) -> Result<Self> {
        let parent = getpid();
        let mut command = Command::new(program);
        command.arg(folder).arg(scenario).stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let stdin = child.stdin.take().context("its stdin")?;
        let answers = lines(child.stdout.take().context("its stdout")?);
        let mut generator = Self { child, stdin, answers };
        generator.answer("it to be ready", || Ok(()))?;
        Ok(generator)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        writeln!(self.stdin, "go").context("tell the generator to go")
    }

    /// Waits until it is done, calling `meanwhile` often. It stays alive, with its files open, until dropped.
    pub fn done(&mut self, meanwhile: impl FnMut() -> Result<()>) -> Result<Truth> {
        let line = self.answer("it to be done", meanwhile)?;
        serde_json::from_str(&line).context("its truth")
    }

    fn answer(&mut self, what: &str, mut meanwhile: impl FnMut() -> Result<()>) -> Result<String> {
        let answers = &self.answers;
        wait_for(what, LIMIT, || {
            meanwhile()?;
            match answers.try_recv() {
                Ok(line) => Ok(Some(line)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => {
                    anyhow::bail!("the generator ended; its message is on stderr")
                }
            }
        })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}
