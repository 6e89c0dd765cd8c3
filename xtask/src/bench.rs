//! Benchmarks: each beside its peer in one run, as machines differ and are shared.
//!
//! A goal that is not met is reported as not met; nothing fails on a time.

mod cycle;
mod forecast;
mod placement;
mod probes;
mod store;

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
    /// What a forecast costs, and how good it is: series per CPU-second and errors beside statsforecast and R,
    /// on the same series in the same run.
    ///
    /// Installs the peers if they are missing, which takes minutes the first time, and says what it skips.
    /// About six minutes on two cores; see --quick.
    Forecast(forecast::Options),
    /// What a plan costs, and how good it is: all events on seeded clusters of three sizes, judged by a program of
    /// its own, beside Swift's ring builder on one of them.
    ///
    /// Needs python3, builds `isotherm` in release, and installs Swift (Debian's python3-swift) if it is missing, or
    /// says that it skips it. The largest clusters take the judge most of an hour; see --quick and --scale.
    Placement(placement::Options),
    /// What telemetry costs: rows per CPU-second from a decoded batch to a durable segment, and the entropy of ten
    /// million histogram rows beside DuckDB and pandas on the same file.
    ///
    /// Installs the peers if they are missing, or says that it skips them. Builds in release, and needs 300 MB of disk
    /// for the file; see --rows.
    Store(store::Options),
    /// What a cycle costs: the real server with ten and a hundred thousand partitions, fed over the wire at its real
    /// pace, its memory, and its restart with weeks of telemetry kept.
    ///
    /// Builds in release. About half an hour: a cycle takes place each minute, and the past is stored before. A million
    /// partitions, with --partitions 1000000, take another half hour, 16 GB of memory and 5 GB of disk.
    Cycle(cycle::Options),
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
    goal: f64,
    /// On which side of it.
    #[serde(skip)]
    bound: Bound,
    met: bool,
}

/// What a goal asks of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    AtMost,
    AtLeast,
}

/// What a goal is about: its row, and whether its ratio counts or its value.
struct Aim {
    name: &'static str,
    row: &'static str,
    ratio: bool,
    unit: &'static str,
    bound: Bound,
    goal: f64,
}

/// Holds rows against goals. What was not measured is not met.
fn goals(aims: &[Aim], rows: &[Row]) -> Vec<Goal> {
    let goal = |aim: &Aim| {
        let row = rows.iter().find(|row| row.name == aim.row);
        let value = row.and_then(|row| if aim.ratio { row.ratio } else { Some(row.value) });
        let met = value.is_some_and(|value| match aim.bound {
            Bound::AtMost => value <= aim.goal,
            Bound::AtLeast => value >= aim.goal,
        });
        Goal { name: aim.name, value, unit: aim.unit, goal: aim.goal, bound: aim.bound, met }
    };
    aims.iter().map(goal).collect()
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    let (report, output) = match bench {
        Bench::Probes(options) => (probes::measure(options.runs)?, options.output),
        Bench::Forecast(options) => (forecast::measure(options)?, options.output),
        Bench::Placement(options) => (placement::measure(options)?, options.output),
        Bench::Store(options) => (store::measure(options)?, options.output),
        Bench::Cycle(options) => (cycle::measure(options)?, options.output),
    };
    match output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Table => print(&report),
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
        let beside = row.beside.zip(row.of.as_ref()).map(|(beside, of)| format!("{} {of}", shown(beside)));
        table.add_row([
            row.name.clone(),
            shown(row.value),
            row.unit.clone(),
            beside.unwrap_or_default(),
            row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        ]);
    }
    println!("{table}\n");
    for goal in &report.goals {
        let value = goal.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
        let bound = match goal.bound {
            Bound::AtMost => "at most",
            Bound::AtLeast => "at least",
        };
        let met = if goal.met { "met" } else { "NOT MET" };
        println!("{}: {value} {} (goal: {bound} {}): {met}", goal.name, goal.unit, goal.goal);
    }
}

/// With the digits that say something.
fn shown(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}
