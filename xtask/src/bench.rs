//! Benchmarks: each beside its peer in one run, as machines differ and are shared.
//!
//! A goal that is not met is reported as not met; nothing fails on a time.

mod probes;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// What the agent costs: each kernel program beside an empty one, a read beside bpftrace with the same
    /// question, the reading of all counters, and the agent's own time and memory.
    ///
    /// As root, in about two minutes after the build. Turns the kernel's bpf_stats on while it needs them, for
    /// every program of the host. Without bpftrace (a Debian package) the peer is missing and its goal not met.
    Probes(Options),
}

/// How to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs of each setting; medians are reported.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A finished benchmark.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    command: String,
    machine: Machine,
    rows: Vec<Row>,
    goals: Vec<Goal>,
}

#[derive(Serialize)]
struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
}

/// A median, beside what it is compared with.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    value: f64,
    unit: String,
    /// The median of the peer, if there is one.
    beside: Option<f64>,
    /// What the peer is.
    of: Option<String>,
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct Goal {
    name: &'static str,
    /// Absent if it could not be measured.
    value: Option<f64>,
    unit: &'static str,
    /// At most this.
    goal: f64,
    met: bool,
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Probes(options) => {
            let report = probes::measure(options.runs)?;
            match options.output {
                Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
                Format::Table => print(&report),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn machine() -> Result<Machine> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo").context("the machine's processors")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    Ok(Machine {
        kernel: kernel.trim().to_owned(),
        cpu: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
        cores: std::thread::available_parallelism()?.get(),
    })
}

fn print(report: &Report) {
    let Machine { kernel, cpu, cores } = &report.machine;
    println!("{}: Linux {kernel}, {cores} x {cpu}\n{}\n", report.bench, report.command);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["WHAT", "MEDIAN", "UNIT", "BESIDE", "RATIO"]);
    for row in &report.rows {
        let beside = row.beside.zip(row.of.as_ref()).map(|(beside, of)| format!("{beside:.1} {of}"));
        table.add_row([
            row.name.clone(),
            format!("{:.1}", row.value),
            row.unit.clone(),
            beside.unwrap_or_default(),
            row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        ]);
    }
    println!("{table}\n");
    for goal in &report.goals {
        let value = goal.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
        let met = if goal.met { "met" } else { "NOT MET" };
        println!("{}: {value} {} (goal: at most {}): {met}", goal.name, goal.unit, goal.goal);
    }
}
