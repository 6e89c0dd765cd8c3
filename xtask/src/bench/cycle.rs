//! What a cycle of the analyzer costs, held against its goals. The measuring is done by a benchmark of the tests'
//! crate: the real server, fed over the real wire.

use super::{Aim, Bound, Format, Report, Row, goals, machine};
use crate::shell;
use anyhow::{Context, Result, bail};
use clap::Args;
use isotherm_tests::process::die_with;
use isotherm_tests::workspace;
use nix::unistd::getpid;
use serde::Deserialize;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// How much to measure, and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Partitions, three replicas each, a run for each number.
    #[arg(long, default_value = "10000,100000")]
    partitions: String,
    /// Cycles that are watched in each run: one a minute.
    #[arg(long, default_value_t = 6)]
    minutes: u32,
    /// Days of telemetry that a restart finds; 0 leaves that out.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Format,
}

const AIMS: &[Aim] = &[
    Aim {
        name: "cycle of 100,000 partitions",
        row: "100000 partitions: cycle",
        ratio: false,
        unit: "s",
        bound: Bound::AtMost,
        goal: 5.0,
    },
    Aim {
        name: "slowest cycle of 100,000 partitions",
        row: "100000 partitions: slowest cycle",
        ratio: false,
        unit: "s",
        bound: Bound::AtMost,
        goal: 5.0,
    },
    Aim {
        name: "memory with 100,000 partitions",
        row: "100000 partitions: most rss",
        ratio: false,
        unit: "MiB",
        bound: Bound::AtMost,
        goal: 2_048.0,
    },
    Aim {
        name: "growth from 10,000 to 100,000",
        row: GROWTH,
        ratio: true,
        unit: "times the cycle",
        bound: Bound::AtMost,
        goal: 10.0,
    },
];

const GROWTH: &str = "growth: cycle of 100000 partitions beside that of 10000";

/// As the benchmark says it.
#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

pub(super) fn measure(options: &Options) -> Result<Report> {
    let (minutes, days) = (options.minutes.to_string(), options.days.to_string());
    let arguments = ["--partitions", &options.partitions, "--minutes", &minutes, "--days", &days];
    shell::run(shell::cargo().args(["build", "--release"]).current_dir(workspace::root()))?;
    let mut cargo = shell::cargo();
    cargo.args(["bench", "--quiet", "--package", "isotherm-tests", "--bench", "cycle", "--"]).args(arguments);
    let us = getpid();
    // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
    unsafe { cargo.pre_exec(move || die_with(us)) };
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start cargo bench")?;
    if !output.status.success() {
        bail!("the benchmark failed: {}", output.status);
    }
    let figures: Vec<Figure> = serde_json::from_slice(&output.stdout).context("what the benchmark says")?;
    let rows = rows(figures);
    let command = format!("cargo xtask bench cycle {}", arguments.join(" "));
    Ok(Report { bench: "cycle", command, machine: machine()?, goals: goals(AIMS, &rows), rows })
}

/// Figures as rows, and how the cycle grows.
fn rows(figures: Vec<Figure>) -> Vec<Row> {
    let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
    let growth = value("100000 partitions: cycle").zip(value("10000 partitions: cycle"));
    let growth = growth.map(|(large, small)| Row {
        name: GROWTH.to_owned(),
        value: large,
        unit: "s".to_owned(),
        beside: Some(small),
        of: Some("a tenth of the partitions".to_owned()),
        ratio: Some(large / small),
    });
    let row = |Figure { name, value, unit }| Row { name, value, unit, beside: None, of: None, ratio: None };
    figures.into_iter().map(row).chain(growth).collect()
}
