//! What the analyzer takes in, and what that costs: a fleet against the real server.
//!
//! `cargo bench -p isotherm-tests --bench fleet -- AGENTS BATCHES ROWS [CONNECTIONS]` prints a JSON array of rows. The
//! fleet makes its batches while it sends them, on the same machine, so that only CPU time says something of the
//! server. Never fails on a time.

#![allow(clippy::unwrap_used, reason = "what supports tests fails by panicking")]

#[path = "../../tests/support/mod.rs"]
mod support;

use anyhow::Result;
use isotherm_tests::usage::{cpu_s, memory_kib};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use support::analyzer::{Analyzer, serve};
use support::fleet::{self, Plan, Role};

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let [agents, batches, rows, ref more @ ..] = numbers[..] else {
        anyhow::bail!("usage: fleet AGENTS BATCHES ROWS [CONNECTIONS]");
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let (data, scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut command = serve(data.path())?;
    command.env("RUST_LOG", "warn");
    let analyzer = Analyzer::from_command(command, scratch.path())?;
    let pid = analyzer.child.pid();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let connections = more.first().copied().unwrap_or(0);
    let greet = Plan { agents, batches: 0, connections, ..Plan::default() };
    let before_kib = memory_kib(pid, "VmRSS")? as f64;
    let idle = runtime.block_on(fleet::run(&analyzer.url, &greet))?;
    let idle_kib = memory_kib(pid, "VmRSS")? as f64 - before_kib;
    drop(idle);
    let cpu_before = cpu_s(pid)?;
    let roles = match more.get(1) {
        Some(_) => |_| Role::Greedy { rows: 10_000, batches: 20 },
        None => |_| Role::Ordinary,
    };
    let plan = Plan { batches: batches as u64, rows, roles, ..greet };
    let fleet = runtime.block_on(fleet::run(&analyzer.url, &plan))?;
    let (wall_s, used_s) = (fleet.took.as_secs_f64(), cpu_s(pid)? - cpu_before);
    let (acks, stored) = (fleet.acknowledged() as f64, fleet.rows() as f64);
    let ms = |percent| fleet.wait(percent, |_| true).as_secs_f64() * 1e3;
    let figures = [
        ("acknowledgements", acks, ""),
        ("rows", stored, ""),
        ("wall time", wall_s, "s"),
        ("server's CPU", used_s, "s"),
        ("server's CPU", 100.0 * used_s / wall_s, "% of a core"),
        ("acknowledgements per second", acks / wall_s, "1/s"),
        ("rows per second", stored / wall_s, "1/s"),
        ("acknowledgements per CPU-second of the server", acks / used_s, "1/s"),
        ("rows per CPU-second of the server", stored / used_s, "1/s"),
        ("wait for an acknowledgement, median", ms(50), "ms"),
        ("wait for an acknowledgement, 99 of 100", ms(99), "ms"),
        ("idle stream: VmRSS", idle_kib / agents as f64, "KiB"),
        ("VmHWM", memory_kib(pid, "VmHWM")? as f64 / 1024.0, "MiB"),
    ];
    let figures = figures.map(|(name, value, unit)| Figure { name, value, unit });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
