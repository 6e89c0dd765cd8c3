//! A child that does what it is told and then says what it really did: the truth that counts are held
//! against.
//!
//! The conversation is by lines. The generator prepares everything, prints `ready` (with details behind it,
//! if there are any) and waits for a line on stdin; so a test can attach to a process that has its files and
//! sockets open already. At `go` it works, prints its truth as one line of JSON, and waits again, with all
//! still open, until its stdin ends or it is killed. Its truth comes from what calls returned, never from
//! what it was asked to do.

use crate::process::{die_with, wait_for};
use anyhow::{Context, Result, bail};
use nix::unistd::getpid;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long one step of a generator may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the caller's own work is done while a generator is at its.
const TURN: Duration = Duration::from_millis(20);

/// A generator whose truth is a `T`, prepared and waiting. It is killed when dropped.
#[derive(Debug)]
pub struct Generator<T> {
    name: String,
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    details: String,
    truth: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Generator<T> {
    /// Starts the program, gives it the plan as its first line, if there is one, and waits until it is ready.
    /// Call it from a thread that outlives the generator: it dies with the thread.
    pub fn spawn(command: &mut Command, plan: Option<&str>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let parent = getpid();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdin = child.stdin.take().context("its stdin")?;
        let answers = lines(child.stdout.take().context("its stdout")?);
        let details = String::new();
        let mut generator = Self { name, child, stdin, answers, details, truth: PhantomData };
        if let Some(plan) = plan {
            generator.tell(plan)?;
        }
        let line = generator.answer("to be ready", || Ok(()))?;
        let details = line.strip_prefix("ready").with_context(|| format!("it is not ready: {line:?}"))?;
        generator.details = details.trim_start().to_owned();
        Ok(generator)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said when it was ready: empty, or JSON.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        self.tell("go")
    }

    /// Waits until it is done, calling `meanwhile` often. It stays alive, with its files open, until dropped
    /// or [left](Self::leave).
    pub fn done(&mut self, meanwhile: impl FnMut() -> Result<()>) -> Result<T> {
        let line = self.answer("to be done", meanwhile)?;
        serde_json::from_str(&line).with_context(|| format!("the truth of {}", self.name))
    }

    /// [`go`](Self::go), then [`done`](Self::done).
    pub fn run(&mut self) -> Result<T> {
        self.go()?;
        self.done(|| Ok(()))
    }

    /// Says a word that the generator understands, and waits for it to be repeated.
    pub fn say(&mut self, word: &str) -> Result<()> {
        self.tell(word)?;
        let answer = self.answer(word, || Ok(()))?;
        if answer != word { bail!("{} answered {answer:?} to {word:?}", self.name) } else { Ok(()) }
    }

    /// Ends it by SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name)).map(drop)
    }

    /// Lets it end by itself, closing what it has open, and waits for its end.
    pub fn leave(mut self) -> Result<()> {
        self.tell("leave")?;
        let status = wait_for("the generator to end", LIMIT, || {
            self.child.try_wait().with_context(|| format!("wait for {}", self.name))
        })?;
        if status.success() { Ok(()) } else { bail!("{} ended: {status}", self.name) }
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}").with_context(|| format!("tell {} to {line}", self.name))
    }

    fn answer(&mut self, what: &str, mut meanwhile: impl FnMut() -> Result<()>) -> Result<String> {
        for _ in 0..LIMIT.as_millis() / TURN.as_millis() {
            meanwhile()?;
            match self.answers.recv_timeout(TURN) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before it came {what}; its message is on stderr", self.name)
                }
            }
        }
        bail!("waited {} s in vain for {} {what}", LIMIT.as_secs(), self.name)
    }
}

impl<T> Drop for Generator<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a child's stdout as they come. The channel needs no bound: a generator says a handful.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}

/// The generator's side: says that it is ready, with details, and waits for a line.
///
/// `None` when the caller is gone.
pub fn ready(details: &impl serde::Serialize) -> Result<Option<String>> {
    println!("ready {}", serde_json::to_string(details).context("write the details")?);
    next_line()
}

/// The generator's side: the next line that it is told, without its end. `None` when the caller is gone.
pub fn next_line() -> Result<Option<String>> {
    let mut line = String::new();
    let len = std::io::stdin().read_line(&mut line).context("read stdin")?;
    Ok((len > 0).then(|| line.trim_end().to_owned()))
}

/// The generator's side: says its truth, and waits to be let go.
pub fn finish(truth: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(truth).context("write the truth")?);
    next_line().map(drop)
}

/// A program by its name, for [`Generator::spawn`]: it has to lie beside the running one.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Result<Command> {
    let path = crate::workspace::program(&name.as_ref().to_string_lossy());
    if !path.is_file() {
        bail!("{} is not built: cargo build -p isotherm-tests --bins", path.display());
    }
    Ok(Command::new(path))
}
