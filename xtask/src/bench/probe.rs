//! What a read costs without a probe, with the agent's, and with bpftrace's answer to the same question:
//! how many reads of which inode, how many bytes, at which offsets.

use super::{Goal, Report, Row, machine, median};
use crate::{rights, shell};
use anyhow::{Context, Result, bail};
use isotherm_tests::process::{Child, die_with, spawn, wait_for};
use isotherm_tests::workspace::{program, target_dir};
use nix::unistd::getpid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Reads per run: some tenths of a second, long against the clock's grain.
const CALLS: u64 = 300_000;

/// How long a tool may take to attach.
const LIMIT: Duration = Duration::from_secs(60);

/// Longer than any run.
const WATCH: &str = "10m";

#[derive(Clone, Copy, PartialEq)]
enum Setting {
    Nothing,
    Agent,
    AgentElsewhere,
    Bpftrace,
}

impl Setting {
    const ALL: [Self; 4] = [Self::Nothing, Self::Agent, Self::AgentElsewhere, Self::Bpftrace];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no probe",
            Self::Agent => "isotherm-agent, process watched",
            Self::AgentElsewhere => "isotherm-agent, another process watched",
            Self::Bpftrace => "bpftrace: ops, bytes and offsets by inode",
        }
    }

    fn is_agent(self) -> bool {
        matches!(self, Self::Agent | Self::AgentElsewhere)
    }
}

pub(super) fn measure(runs: usize) -> Result<Report> {
    if let Some(right) = rights::missing().first() {
        bail!("this benchmark needs {} for {}", right.capability, right.needed_for);
    }
    let mut build = shell::cargo();
    // What is measured runs in the kernel and in the load, so the agent's own build profile does not matter.
    shell::run(build.args(["build", "--package", "isotherm-agent"]))?;
    let folder = target_dir().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let settings: Vec<Setting> = Setting::ALL
        .into_iter()
        .filter(|setting| *setting != Setting::Bpftrace || shell::find("bpftrace").is_some())
        .collect();
    let mut times = vec![Vec::new(); settings.len()];
    let mut stats = vec![Vec::new(); settings.len()];
    // Interleaved, so that a busy minute of the machine meets every setting.
    for run in 0..runs.max(1) {
        for (index, setting) in settings.iter().enumerate() {
            eprintln!("run {} of {runs}: {}", run + 1, setting.name());
            times[index].push(one(*setting, &folder)?.0);
            if setting.is_agent() {
                // Apart from the times, because the statistics cost time themselves.
                let _stats = Stats::on()?;
                stats[index].extend(one(*setting, &folder)?.1);
            }
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let rows: Vec<Row> = settings
        .iter()
        .zip(&medians)
        .zip(&mut stats)
        .map(|((setting, ns), stats)| Row {
            name: setting.name().to_owned(),
            ns_per_read: *ns,
            added_ns: ns - medians[0],
            bpf_stats_ns_per_run: (!stats.is_empty()).then(|| median(stats)),
        })
        .collect();
    let added = |setting| {
        let index = settings.iter().position(|other| *other == setting)?;
        Some(rows[index].added_ns)
    };
    let ratio = added(Setting::Bpftrace).zip(added(Setting::Agent)).map(|(peer, ours)| ours / peer);
    let goals = vec![Goal {
        name: "added per watched read, against bpftrace",
        value: ratio,
        unit: "times",
        goal: 0.5,
        met: ratio.is_some_and(|ratio| ratio <= 0.5),
    }];
    let command = format!("cargo xtask bench probe --runs {runs} ({CALLS} cached reads of 4 KiB a run)");
    Ok(Report { bench: "probe", command, machine: machine()?, rows, goals })
}

/// CPU nanoseconds per read, and the time of the agent's kernel program per run.
fn one(setting: Setting, folder: &Path) -> Result<(f64, Option<f64>)> {
    let mut load = Load::start()?;
    let bystander = Load::start()?;
    let log = folder.join("tool.log");
    let (tool, before) = match setting {
        Setting::Nothing => (None, None),
        Setting::Agent => (Some(agent(load.inner.id(), &log)?), program_stats()?),
        Setting::AgentElsewhere => (Some(agent(bystander.inner.id(), &log)?), program_stats()?),
        Setting::Bpftrace => (Some(bpftrace(load.inner.id(), &log)?), None),
    };
    let ns = load.measure()?;
    let after = if before.is_some() { program_stats()? } else { None };
    drop(tool);
    let per_run = before.zip(after).and_then(|((ns_before, runs_before), (ns_after, runs_after))| {
        let runs = runs_after.checked_sub(runs_before).filter(|runs| *runs > 0)?;
        Some(ns_after.saturating_sub(ns_before) as f64 / runs as f64)
    });
    Ok((ns, per_run))
}

fn agent(pid: u32, log: &Path) -> Result<Child> {
    let mut command = Command::new(program("isotherm-agent"));
    command.args(["top", "--once", "--for", WATCH, "--pid", &pid.to_string()]);
    attached("isotherm-agent", &mut command, log, &format!("watching process {pid} "))
}

fn bpftrace(pid: u32, log: &Path) -> Result<Child> {
    let script = format!(
        "BEGIN {{ printf(\"attached\\n\"); }} \
         tracepoint:syscalls:sys_enter_pread64 /pid == {pid}/ {{ \
           $table = (uint64)((struct task_struct *)curtask)->files->fdt->fd; \
           $file = (struct file *)*(uint64 *)($table + args->fd * 8); \
           $ino = $file->f_inode->i_ino; \
           @ops[$ino] = count(); @bytes[$ino] = sum(args->count); @offsets[$ino] = hist(args->pos); }}"
    );
    // The tracing file systems are mounted for it alone.
    let mount = "mount -t debugfs none /sys/kernel/debug 2>/dev/null; \
                 mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null; exec bpftrace -B line -e \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount, &script]);
    attached("bpftrace", &mut command, log, "attached")
}

fn attached(name: &str, command: &mut Command, log: &Path, said: &str) -> Result<Child> {
    let mut child = spawn(name, command, log)?;
    wait_for(&format!("{name} to be attached"), LIMIT, || {
        child.ensure_alive()?;
        Ok(fs::read_to_string(log)?.contains(said).then_some(()))
    })?;
    Ok(child)
}

/// Time in nanoseconds and number of runs of the agent's system call program, from the descriptors of the
/// process that holds it.
fn program_stats() -> Result<Option<(u64, u64)>> {
    for process in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let exe = fs::read_link(process.path().join("exe")).unwrap_or_default();
        if exe != fs::canonicalize(program("isotherm-agent"))? {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fdinfo")) else { continue };
        let infos =
            descriptors.filter_map(Result::ok).filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let stats = infos.filter_map(|info| {
            let number = |key: &str| {
                info.lines()
                    .find_map(|line| line.strip_prefix(key))
                    .and_then(|text| text.trim().parse::<u64>().ok())
            };
            Some((number("run_time_ns:")?, number("run_cnt:")?))
        });
        // The program on system calls runs more often than those on forks and exits.
        return Ok(stats.max_by_key(|(_, runs)| *runs));
    }
    Ok(None)
}

/// The load, in a process of its own.
struct Load {
    inner: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Load {
    fn start() -> Result<Self> {
        let parent = getpid();
        let mut command = Command::new(program("xtask"));
        command.args(["bench", "load", &CALLS.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let mut inner = command.spawn().context("start the load")?;
        let answers = BufReader::new(inner.stdout.take().context("its stdout")?);
        let mut load = Self { inner, answers };
        load.line()?;
        Ok(load)
    }

    fn measure(&mut self) -> Result<f64> {
        let stdin = self.inner.stdin.as_mut().context("its stdin")?;
        writeln!(stdin, "go").context("tell the load to go")?;
        self.line()?.trim().parse().context("nanoseconds per read")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("what the load says")?;
        if line.is_empty() { bail!("the load ended") } else { Ok(line) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

/// The kernel's statistics of eBPF programs, on while this lives.
struct Stats {
    before: String,
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Stats {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(STATS).context(STATS)?;
        fs::write(STATS, "1").context(STATS)?;
        Ok(Self { before })
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS, &self.before) {
            eprintln!("{STATS} could not be set back to {}: {error}", self.before.trim());
        }
    }
}
