//! The agent as it runs on a host: its own processor time, memory and start with 10,000 active partitions.

use crate::load::{Kind, Load, folder};
use anyhow::{Context, Result, ensure};
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::workspace::target_dir;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Partitions that are read and written in each window.
const PARTITIONS: u64 = 10_000;

const WINDOW: Duration = Duration::from_secs(10);

/// Windows that are measured, after the first.
const WINDOWS: u32 = 3;

const LIMIT: Duration = Duration::from_secs(120);

/// What was seen of it.
pub(crate) struct Seen {
    /// Processor time by part of a core.
    pub(crate) cpu_share: f64,
    /// The part of it that is not in the kernel.
    pub(crate) user_share: f64,
    pub(crate) rss_kib: f64,
    /// The most since it watches.
    pub(crate) peak_kib: f64,
    pub(crate) map_bytes: f64,
    /// From its start until it watches.
    pub(crate) start_ms: f64,
    /// The most memory until then.
    pub(crate) start_kib: f64,
}

pub(crate) fn measure() -> Result<Seen> {
    let mut load = Load::start(Kind::Partitions, PARTITIONS)?;
    load.go()?;
    let folder = folder()?;
    let config = folder.join("agent.toml");
    // Nobody listens there: what is not delivered is kept, as in an analyzer's absence.
    let text = format!(
        "[agent]\nid = \"bench\"\nwindow = \"{}s\"\n[analyzer]\nendpoint = \"http://127.0.0.1:9\"\n\
         [limits]\nfiles = 32768\n[[target]]\nsystem = \"bench\"\nnode = \"bench\"\nselect = {{ pid = {} }}\n\
         [[target.rule]]\npath = '/partitions/(?P<number>[0-9]+)\\.dat$'\npartition = \"$number\"\n",
        WINDOW.as_secs(),
        load.pid()
    );
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let program = target_dir().join("release/isotherm-agent");
    let log = folder.join("agent.log");
    let started = Instant::now();
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(&config);
    let mut agent = spawn("isotherm-agent", &mut command, &log)?;
    wait_for("the agent to watch", LIMIT, || {
        agent.ensure_alive()?;
        Ok(fs::read_to_string(&log)?.contains("watching 1 processes").then_some(()))
    })?;
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    let start_kib = number(&fs::read_to_string(format!("/proc/{}/status", agent.pid()))?, "VmHWM:")?;
    // From here on VmHWM is the most that it takes while it runs (Linux 4.0).
    fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").context("reset the agent's VmHWM")?;
    // The first window, in which every file is named, and a part of the second.
    sleep(WINDOW + WINDOW / 2);
    let before = Times::of(&agent)?;
    sleep(WINDOW * WINDOWS);
    let after = Times::of(&agent)?;
    agent.ensure_alive()?;
    let text = fs::read_to_string(&log)?;
    ensure!(!text.contains("not complete"), "{}", agent.log_tail());
    let elapsed = (after.at - before.at).as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    Ok(Seen {
        cpu_share: (after.cpu_s - before.cpu_s) / elapsed,
        user_share: (after.user_s - before.user_s) / elapsed,
        rss_kib: number(&status, "VmRSS:")?,
        peak_kib: number(&status, "VmHWM:")?,
        map_bytes: map_bytes(agent.pid())?,
        start_ms,
        start_kib,
    })
}

/// Processor time so far.
struct Times {
    at: Instant,
    cpu_s: f64,
    user_s: f64,
}

impl Times {
    fn of(child: &Child) -> Result<Self> {
        let pid = child.pid();
        let clock: ClockId = clock_getcpuclockid(Pid::from_raw(pid as i32))?;
        let cpu_s = clock_gettime(clock)?.num_nanoseconds() as f64 / 1e9;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which may hold anything, utime is the twelfth.
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let user: f64 = fields.split_whitespace().nth(11).context("no utime")?.parse()?;
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")? as f64;
        Ok(Self { at: Instant::now(), cpu_s, user_s: user / ticks })
    }
}

/// Kernel memory of the maps that a process holds.
fn map_bytes(pid: u32) -> Result<f64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if text.contains("map_type:") {
            maps.insert(number(&text, "map_id:")? as u64, number(&text, "memlock:")?);
        }
    }
    ensure!(!maps.is_empty(), "the agent holds no maps");
    Ok(maps.values().sum())
}

fn number(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    line.split_whitespace().next().context("no number")?.parse().with_context(|| format!("{key} {line}"))
}
