//! Telemetry in, and entropy out beside DuckDB and pandas: `cargo xtask bench store` runs this and reads the JSON it
//! prints.
//!
//! Every run of an engine is a process of its own, which says how much CPU time it took from its start to its result.

mod entropy;
mod generate;
mod ingest;
#[path = "../../src/plug_in.rs"]
mod plug_in;
mod row;
mod steps;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use std::path::PathBuf;

/// What to do.
#[derive(Parser)]
enum Command {
    /// Measures everything and prints rows of a report.
    Measure(Options),
    /// Measures the reading of steps alone, of as many partitions as asked for.
    Steps(steps::Scale),
    /// Reads the steps of a folder, as one run, and prints what that took.
    ReadSteps {
        /// The data folder.
        folder: PathBuf,
        #[command(flatten)]
        scale: steps::Scale,
        /// From windows, or from the sums of minutes.
        #[arg(long)]
        running: bool,
    },
    /// Computes the entropies of a file, as one run, and prints what it found.
    Entropy {
        /// The file of histogram rows.
        file: PathBuf,
        /// Where to write every entropy.
        #[arg(long)]
        results: Option<PathBuf>,
    },
}

/// How much to measure.
#[derive(Args)]
struct Options {
    /// Histogram rows.
    #[arg(long, default_value_t = 10_000_000)]
    rows: usize,
    /// Rows that are ingested.
    #[arg(long, default_value_t = 400_000)]
    ingested: usize,
    /// Runs of each; medians are reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    steps: steps::Scale,
    /// An interpreter that has duckdb, pandas and pyarrow.
    #[arg(long)]
    python: Option<PathBuf>,
}

fn main() -> Result<()> {
    // cargo adds --bench.
    let command = Command::parse_from(std::env::args().filter(|word| word != "--bench"));
    // Killed with whoever started us; the peers end with us.
    set_pdeathsig(Signal::SIGKILL).context("ask for the parent's signal")?;
    match command {
        Command::Measure(options) => {
            let mut rows = ingest::measure(&options)?;
            rows.extend(entropy::measure(&options)?);
            rows.extend(steps::measure(&options.steps)?);
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        Command::Steps(scale) => println!("{}", serde_json::to_string_pretty(&steps::measure(&scale)?)?),
        Command::ReadSteps { folder, scale, running } => {
            println!("{}", serde_json::to_string(&steps::read(&folder, &scale, running)?)?);
        }
        Command::Entropy { file, results } => {
            println!("{}", serde_json::to_string(&entropy::run(&file, results.as_deref())?)?);
        }
    }
    Ok(())
}

/// CPU seconds of this process and all its threads since its start.
fn cpu_s() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("the process's CPU time")?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
