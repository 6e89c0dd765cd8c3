//! fio, a second generator of file accesses, and not ours.
//!
//! Its file is laid out before, so that the run does nothing but what its report says. The run is started
//! stopped, to let a test attach to it first; its worker is a thread, so
//! one process does everything.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use isotherm_tests::fio::Fio;
//! use isotherm_tests::io::Caching;
//! # let folder = std::path::Path::new("/tmp");
//! let fio = Fio::new(folder, "io_uring").caching(Caching::Direct).options(&["iodepth=8", "fixedbufs"]);
//! fio.lay_out()?;
//! let run = fio.start()?;
//! // ... attach to run.pid() ...
//! let truth = run.finish()?;
//! assert_eq!(truth.read.bytes, truth.read.ops * 4096);
//! # Ok(())
//! # }
//! ```

use crate::io::Caching;
use crate::pattern;
use crate::process::{self, Child, wait_for};
use anyhow::{Context, Result, ensure};
use isotherm_model::Counts;
use nix::sys::signal::Signal;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The file and its length.
const FILE: &str = "fio";
const SIZE_BYTES: u64 = 8 << 20;

/// A run of fio on one file of 8 MiB, each block of which it reads or writes once.
#[derive(Debug, Clone)]
pub struct Fio {
    folder: PathBuf,
    engine: String,
    pattern: String,
    block_bytes: u32,
    caching: Caching,
    options: Vec<String>,
}

/// What fio says it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FioTruth {
    /// Completed reads.
    pub read: Counts,
    /// Completed writes.
    pub write: Counts,
    /// Completed syncs; they have no bytes.
    pub sync: Counts,
    /// Length of the file.
    pub size_bytes: u64,
}

/// Why there is no fio on this machine, or `None`.
#[must_use]
pub fn lacking() -> Option<String> {
    let there = Command::new("fio").arg("--version").output().is_ok();
    (!there).then(|| "fio is not installed (Debian package fio)".to_owned())
}

impl Fio {
    /// Random reads and writes, half and half, of 4096 bytes through the page cache, by one of fio's engines:
    /// sync, psync, vsync, pvsync, pvsync2, libaio, io_uring, mmap.
    #[must_use]
    pub fn new(folder: &Path, engine: &str) -> Self {
        Self {
            folder: folder.to_path_buf(),
            engine: engine.to_owned(),
            pattern: "randrw".to_owned(),
            block_bytes: 4096,
            caching: Caching::Buffered,
            options: Vec::new(),
        }
    }

    /// In this order and direction, as fio calls it: read, randwrite, rw ...
    #[must_use]
    pub fn pattern(self, pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), ..self }
    }

    /// In blocks of so many bytes.
    #[must_use]
    pub fn block_bytes(self, block_bytes: u32) -> Self {
        Self { block_bytes, ..self }
    }

    /// Through the page cache or past it.
    #[must_use]
    pub fn caching(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    /// With options of fio's, without the dashes in front: `iodepth=8`, `sqthread_poll`.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Makes the file, whose data is on the disk then and not in the page cache.
    pub fn lay_out(&self) -> Result<()> {
        pattern::lay_out(&self.file(), SIZE_BYTES)
    }

    /// Starts the run, stopped before its first instruction. Call it from a thread that outlives it.
    pub fn start(&self) -> Result<FioRun> {
        self.size_bytes().context("lay out first")?;
        // Not beside the file, where writing them would be seen.
        let reports = TempDir::new().context("a folder for reports")?;
        let report = reports.path().join("fio.json");
        let mut command = Command::new("sh");
        // The shell stops itself and becomes fio when it is continued.
        command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
        let fio = self.command();
        command.arg(fio.get_program()).args(fio.get_args());
        command.args(["--output-format=json", "--output"]).arg(&report).current_dir(reports.path());
        let child = process::spawn("fio", &mut command, &reports.path().join("fio.log"))?;
        let stat = format!("/proc/{}/stat", child.pid());
        wait_for("fio to be stopped", LIMIT, || {
            let text = fs::read_to_string(&stat).with_context(|| format!("read {stat}"))?;
            Ok(text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')).then_some(()))
        })?;
        Ok(FioRun { fio: self.clone(), child, report, _reports: reports })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("fio");
        command.arg("--name=truth").arg(format!("--filename={}", self.file().display()));
        command.arg(format!("--size={SIZE_BYTES}")).arg(format!("--bs={}", self.block_bytes));
        command.arg(format!("--ioengine={}", self.engine)).arg(format!("--rw={}", self.pattern));
        command.arg(format!("--direct={}", u8::from(self.caching == Caching::Direct)));
        // By a thread; without dropping caches, which would sync the file; without files of state.
        command.args(["--thread", "--invalidate=0", "--fallocate=none", "--randseed=7"]);
        command.args(self.options.iter().map(|option| format!("--{option}")));
        command
    }

    fn size_bytes(&self) -> Result<u64> {
        let path = self.file();
        Ok(path.metadata().with_context(|| format!("look at {}", path.display()))?.len())
    }
}

/// A run that waits to be let go. Ended when dropped.
#[derive(Debug)]
pub struct FioRun {
    fio: Fio,
    child: Child,
    report: PathBuf,
    _reports: TempDir,
}

impl FioRun {
    /// The process that will do it all.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lets it go, waits for its end, and reads its report.
    pub fn finish(mut self) -> Result<FioTruth> {
        self.child.signal(Signal::SIGCONT)?;
        let status = wait_for("fio to end", LIMIT, || self.child.ended())?;
        ensure!(status.success(), "fio: {status}\n{}", self.child.log_tail());
        let text = fs::read_to_string(&self.report);
        let text = text.with_context(|| format!("read {}", self.report.display()))?;
        let truth = parse(&text, self.fio.size_bytes()?);
        truth.with_context(|| format!("{}: {}", self.report.display(), self.child.log_tail()))
    }
}

#[derive(Deserialize)]
struct Report {
    jobs: Vec<JobReport>,
}

#[derive(Deserialize)]
struct JobReport {
    error: i64,
    read: Direction,
    write: Direction,
    trim: Direction,
    sync: Syncs,
}

#[derive(Deserialize)]
struct Direction {
    io_bytes: u64,
    total_ios: u64,
    short_ios: u64,
    drop_ios: u64,
}

#[derive(Deserialize)]
struct Syncs {
    total_ios: u64,
}

fn parse(text: &str, size_bytes: u64) -> Result<FioTruth> {
    let report: Report = serde_json::from_str(text).context("fio's report")?;
    let [job] = report.jobs.as_slice() else { anyhow::bail!("{} jobs reported", report.jobs.len()) };
    ensure!(job.error == 0, "fio failed with error {}", job.error);
    for direction in [&job.read, &job.write, &job.trim] {
        let Direction { short_ios, drop_ios, .. } = direction;
        ensure!(short_ios + drop_ios == 0, "{short_ios} operations fell short, {drop_ios} were dropped");
    }
    ensure!(job.trim.total_ios == 0, "{} trims", job.trim.total_ios);
    let counts = |direction: &Direction| Counts { ops: direction.total_ios, bytes: direction.io_bytes };
    let sync = Counts { ops: job.sync.total_ios, bytes: 0 };
    Ok(FioTruth { read: counts(&job.read), write: counts(&job.write), sync, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shortened from a report of fio 3.33.
    const REPORT: &str = r#"{"fio version": "fio-3.33", "jobs": [{"jobname": "truth", "error": 0,
        "read": {"io_bytes": 4202496, "total_ios": 1026, "short_ios": 0, "drop_ios": 0},
        "write": {"io_bytes": 4186112, "total_ios": 1022, "short_ios": 0, "drop_ios": 0},
        "trim": {"io_bytes": 0, "total_ios": 0, "short_ios": 0, "drop_ios": 0},
        "sync": {"lat_ns": {"min": 0}, "total_ios": 3}}]}"#;

    #[test]
    fn a_report_says_operations_and_bytes() {
        let truth = parse(REPORT, 7).unwrap();
        assert_eq!(truth.read, Counts { ops: 1026, bytes: 4_202_496 });
        assert_eq!(truth.write, Counts { ops: 1022, bytes: 4_186_112 });
        assert_eq!((truth.sync.ops, truth.size_bytes), (3, 7));
    }

    #[test]
    fn a_run_that_failed_is_no_truth() {
        assert!(parse(&REPORT.replace("\"error\": 0", "\"error\": 22"), 7).is_err());
        assert!(parse(&REPORT.replacen("\"short_ios\": 0", "\"short_ios\": 1", 1), 7).is_err());
        assert!(parse("{}", 7).is_err());
    }
}
