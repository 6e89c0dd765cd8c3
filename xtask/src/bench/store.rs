//! What telemetry costs on its way in, and entropy on its way out, held against their goals. The measuring is done by
//! a benchmark of the store.

use super::{Aim, Bound, Format, Report, Row, goals, machine};
use crate::setup::{self, install_wheels, python_of};
use crate::shell;
use anyhow::{Context, Result, bail};
use clap::Args;
use isotherm_tests::process::die_with;
use isotherm_tests::tools::Tools;
use nix::unistd::getpid;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

/// The peers, at the versions that were measured before.
const WHEELS: [&str; 3] = ["duckdb==2.0.0", "pandas==2.3.3", "pyarrow==26.0.1"];

/// The packages that `cargo build --release` builds, and the store's own: what they ask of their dependencies together
/// is what that build asked, so polars is not built once more.
const BUILT_WITH: [&str; 3] = ["isotherm", "isotherm-agent", "isotherm-store"];

/// How much to measure, and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs of each measurement; medians are reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Histogram rows that entropy is computed from.
    #[arg(long, default_value_t = 10_000_000)]
    rows: usize,
    /// Rows that are ingested.
    #[arg(long, default_value_t = 400_000)]
    ingested: usize,
    /// Of the generators.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Format,
}

/// The names of rows are those of analyzer/store/benches/store.
const AIMS: &[Aim] = &[
    Aim {
        name: "ingest",
        row: "ingest: full-width rows per CPU-second",
        ratio: false,
        unit: "rows",
        bound: Bound::AtLeast,
        goal: 250_000.0,
    },
    Aim {
        name: "entropy",
        row: "entropy: CPU beside duckdb",
        ratio: true,
        unit: "times DuckDB's CPU",
        bound: Bound::AtMost,
        goal: 1.0,
    },
    Aim {
        name: "entropy equals DuckDB's",
        row: "entropy: furthest from duckdb's",
        ratio: false,
        unit: "bits",
        bound: Bound::AtMost,
        goal: 1e-9,
    },
    Aim {
        name: "entropy equals pandas'",
        row: "entropy: furthest from pandas's",
        ratio: false,
        unit: "bits",
        bound: Bound::AtMost,
        goal: 1e-9,
    },
];

pub(super) fn measure(options: &Options) -> Result<Report> {
    let Options { runs, rows, ingested, seed, output: _ } = *options;
    let numbers = [
        ("--runs", runs.to_string()),
        ("--rows", rows.to_string()),
        ("--ingested", ingested.to_string()),
        ("--seed", seed.to_string()),
    ];
    let arguments: Vec<String> =
        numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number]).collect();
    let mut cargo = shell::cargo();
    cargo.args(["bench", "--quiet"]).args(BUILT_WITH.map(|package| ["--package", package]).as_flattened());
    cargo.args(["--bench", "store", "--", "measure"]).args(&arguments);
    let python = python().inspect_err(|error| eprintln!("SKIPPED: DuckDB and pandas: {error:#}")).ok();
    python.iter().for_each(|python| {
        cargo.arg("--python").arg(python);
    });
    let us = getpid();
    // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
    unsafe { cargo.pre_exec(move || die_with(us)) };
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start cargo bench")?;
    if !output.status.success() {
        bail!("the benchmark failed: {}", output.status);
    }
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout).context("what the benchmark says")?;
    let command = format!("cargo xtask bench store {}", arguments.join(" "));
    Ok(Report { bench: "store", command, machine: machine()?, goals: goals(AIMS, &rows), rows })
}

/// An interpreter with the peers, installed if they are missing.
fn python() -> Result<PathBuf> {
    let tools = Tools::locate();
    let _lock = setup::lock(&tools)?;
    let venv = tools.root().join("store-peers");
    install_wheels(&venv, &WHEELS)?;
    Ok(python_of(&venv))
}
