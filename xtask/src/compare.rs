//! Comparisons of results with those of other programs. Unlike a benchmark, a difference fails.

mod forecast;

use anyhow::Result;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// What to compare.
#[derive(Subcommand)]
pub(crate) enum Compare {
    /// Forecasts: likelihoods, maxima, coefficients, forecasts, limits and automatic orders against R and
    /// statsmodels, on seeded series of many kinds.
    ///
    /// Installs the peers if they are missing, and says what it skips. Exits 1 if any case is out of tolerance;
    /// each is printed with the seed that makes it again.
    Forecast(Options),
}

/// Of what, and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Series.
    #[arg(long, default_value_t = 200)]
    series: usize,
    /// Of their generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    output: crate::doctor::Format,
}

pub(crate) fn run(compare: &Compare) -> Result<ExitCode> {
    match compare {
        Compare::Forecast(options) => forecast::run(options),
    }
}
