//! Starts a worker, hands on what it writes, and sees that it ends.
//!
//! The worker ends with the thread that started it, however that ends, so this runs on a thread that lives as
//! long as the answer is wanted.

use super::worker::{COMMAND, Job, REFUSED};
use super::{QueryFailure, allocator};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// This very program, even after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";

/// Bytes handed on at once.
const PIECE_BYTES: usize = 1 << 18;

/// Bytes of the reason for a failure that are told.
const REASON_BYTES: usize = 4 << 10;

/// Between two looks at whether the answer is still wanted.
const TICK: Duration = Duration::from_millis(50);

/// A worker that does not outlive this value.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a job done within `time`, from the start until the last piece was taken. `wanted` is asked now and then;
/// an answer that is no longer wanted is no failure.
pub(crate) fn run(
    job: &Job,
    time: Duration,
    wanted: impl Fn() -> bool,
    mut take: impl FnMut(Vec<u8>) -> ControlFlow<()>,
) -> Result<(), QueryFailure> {
    let began = Instant::now();
    let failed = |what: &str, error: &dyn std::fmt::Display| QueryFailure::Failed(format!("{what}: {error}"));
    let mut command = Command::new(PROGRAM);
    command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| failed("cannot start a process for the query", &error))?;
    let mut worker = Worker(child);
    let text = serde_json::to_vec(job).map_err(|error| failed("cannot describe the query", &error))?;
    if let Some(mut stdin) = worker.0.stdin.take() {
        // A worker that ended without reading says why by its end.
        let _ = stdin.write_all(&text);
    }
    let (Some(mut out), Some(mut err)) = (worker.0.stdout.take(), worker.0.stderr.take()) else {
        return Err(QueryFailure::Failed("the process for the query has no output".to_owned()));
    };
    let mut reason = Vec::new();
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        if began.elapsed() > time {
            return Err(QueryFailure::Time { limit: time });
        }
        if !wanted() {
            return Ok(());
        }
        let (out_ready, err_ready) = ready(&out, &err, out_open, err_open)
            .map_err(|errno| failed("cannot wait for the query", &errno))?;
        if out_ready {
            let piece = piece(&mut out).map_err(|error| failed("cannot read the answer", &error))?;
            out_open = !piece.is_empty();
            if out_open && take(piece).is_break() {
                return Ok(());
            }
        }
        if err_ready {
            let piece = piece(&mut err).map_err(|error| failed("cannot read the answer", &error))?;
            err_open = !piece.is_empty();
            reason.extend_from_slice(&piece[..piece.len().min(REASON_BYTES - reason.len())]);
        }
    }
    let status = worker.0.wait().map_err(|error| failed("cannot wait for the query", &error))?;
    ended(status, &String::from_utf8_lossy(&reason), job, time)
}

fn ready(out: &ChildStdout, err: &ChildStderr, out_open: bool, err_open: bool) -> nix::Result<(bool, bool)> {
    let asked = |open: bool| if open { PollFlags::POLLIN } else { PollFlags::empty() };
    let mut ends = [PollFd::new(out.as_fd(), asked(out_open)), PollFd::new(err.as_fd(), asked(err_open))];
    let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    match poll(&mut ends, tick) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    // The end of a pipe is told without having been asked for; once is enough.
    let happened = |end: &PollFd<'_>| end.any().unwrap_or(false);
    Ok((out_open && happened(&ends[0]), err_open && happened(&ends[1])))
}

/// What can be read at once; empty at the end.
fn piece(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => {
                piece.truncate(read?);
                return Ok(piece);
            }
        }
    }
}

/// What the end of a worker says.
fn ended(status: ExitStatus, reason: &str, job: &Job, time: Duration) -> Result<(), QueryFailure> {
    let reason = reason.trim_end();
    // What is allocated by C libraries, and threads, run out in their own words.
    let exhausted = ["memory allocation of", "Cannot allocate memory", "out of memory", "not enough memory"];
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(allocator::EXHAUSTED), _) => Err(QueryFailure::Memory { limit_bytes: job.memory_bytes }),
        (Some(code), _) if code == i32::from(REFUSED) => Err(QueryFailure::Statement(reason.to_owned())),
        (_, Some(nix::libc::SIGXCPU)) => Err(QueryFailure::Time { limit: time }),
        _ if exhausted.iter().any(|words| reason.contains(words)) => {
            Err(QueryFailure::Memory { limit_bytes: job.memory_bytes })
        }
        (Some(1), _) => Err(QueryFailure::Failed(reason.to_owned())),
        _ => Err(QueryFailure::Failed(format!("the query's process ended early ({status}): {reason}"))),
    }
}
