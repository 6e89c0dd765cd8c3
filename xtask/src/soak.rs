//! `cargo xtask soak`: what takes many minutes, and is no part of `test`.

use crate::{setup, shell};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use isotherm_tests::workspace;
use std::fs;
use std::process::{ExitCode, Stdio};

/// What to run.
#[derive(Subcommand)]
pub(crate) enum Soak {
    /// The whole check against PostgreSQL, and figures of moves by adapters alone; what runs if nothing is named.
    Adapters,
    /// Migrations of real stores through the real programs: every fault in every phase, store by store.
    ///
    /// Shows a line for each row as it ends: the phase it ended in, the phase the fault struck in, how often it stopped
    /// for its operator, the longest that a client waited for a write and for a read, failed attempts of clients, and
    /// seconds. A row that went wrong is followed by the command that runs it again; exits 1 then. What has ended is kept
    /// in soak-migration.json in the target folder, with what programs said in rows that went wrong.
    Migration(Migration),
}

/// Which rows, and how they are told.
#[derive(Args)]
pub(crate) struct Migration {
    /// Only rows whose names contain this, such as valkey/ or /kill-target/; `sample` for those of `test`
    #[arg(long, value_name = "TEXT", default_value = "whole")]
    only: String,
    /// Chooses the moments within phases
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How to write the report
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines on stderr, as rows end.
    Table,
    /// One object on stdout, beside them.
    Json,
}

/// Runs what was named, or the adapters.
pub(crate) fn run(soak: Option<&Soak>) -> Result<ExitCode> {
    setup::run(setup::Purpose::Tests)?;
    match soak {
        None | Some(Soak::Adapters) => adapters(),
        Some(Soak::Migration(asked)) => migration(asked),
    }
}

fn adapters() -> Result<ExitCode> {
    let arguments =
        ["test", "--no-fail-fast", "-p", "isotherm-adapter", "--features", "soak", "--", "--nocapture"];
    shell::run(shell::cargo().args(arguments))?;
    Ok(ExitCode::SUCCESS)
}

fn migration(asked: &Migration) -> Result<ExitCode> {
    let features = ["--workspace", "--features", "isotherm/failpoints"];
    shell::run(shell::cargo().args(["build", "--bins"]).args(features))?;
    let report = workspace::target_dir().join("soak-migration.json");
    let mut cargo = shell::cargo();
    cargo.arg("test").args(features).args(["--test", "matrix", "--", "rows"]);
    cargo.env("ISOTHERM_MATRIX", &asked.only).env("ISOTHERM_MATRIX_SEED", asked.seed.to_string());
    cargo.env("ISOTHERM_MATRIX_REPORT", &report).stdout(Stdio::null());
    let status = cargo.status().context("start cargo test")?;
    if asked.output == Format::Json {
        println!("{}", fs::read_to_string(&report).with_context(|| format!("read {}", report.display()))?);
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
