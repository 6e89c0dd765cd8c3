//! Benchmarks: each beside its peer in one run, as machines differ and are shared.
//!
//! A goal that is not met is reported as not met; nothing fails on a time.

mod load;
mod probe;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::process::ExitCode;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// What the agent's probe costs a process per read, beside bpftrace with the same question.
    ///
    /// As root. Turns the kernel's bpf_stats on for its duration, for every program of the host. Without
    /// bpftrace (a Debian package) the peer is missing and the goal is not met.
    Probe(Options),
    /// The load that is measured: not for people.
    #[command(hide = true)]
    Load {
        /// Reads to make.
        calls: u64,
    },
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

/// One setting, by medians.
#[derive(Serialize)]
struct Row {
    name: String,
    /// CPU time of the process per read, in nanoseconds.
    ns_per_read: f64,
    /// The same, above the setting without any probe.
    added_ns: f64,
    /// Mean time of one run of the kernel program by bpf_stats, where it was asked.
    bpf_stats_ns_per_run: Option<f64>,
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
        Bench::Probe(options) => {
            let report = probe::measure(options.runs)?;
            match options.output {
                Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
                Format::Table => print(&report),
            }
        }
        Bench::Load { calls } => load::run(*calls)?,
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

fn print(report: &Report) {
    let Machine { kernel, cpu, cores } = &report.machine;
    println!("{}: Linux {kernel}, {cores} x {cpu}\n{}\n", report.bench, report.command);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["SETTING", "CPU ns/READ", "ADDED ns", "bpf_stats ns/RUN"]);
    for row in &report.rows {
        let stats = row.bpf_stats_ns_per_run.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
        table.add_row([
            row.name.clone(),
            format!("{:.0}", row.ns_per_read),
            format!("{:+.0}", row.added_ns),
            stats,
        ]);
    }
    println!("{table}\n");
    for goal in &report.goals {
        let value = goal.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
        let met = if goal.met { "met" } else { "NOT MET" };
        println!("{}: {value} {} (goal: at most {}): {met}", goal.name, goal.unit, goal.goal);
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
