//! Ours beside other programs that forecast: `cargo xtask bench forecast` and `cargo xtask compare forecast` run this
//! and read the JSON it prints.

mod compare;
mod measure;
mod peer;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Ours beside statsforecast, statsmodels and R.
#[derive(Parser)]
enum Command {
    /// What a forecast costs and how good it is. Never fails on a time.
    Measure(measure::Options),
    /// How far likelihoods, estimates and forecasts differ.
    Compare(compare::Options),
}

fn main() -> Result<()> {
    // cargo adds --bench.
    let command = Command::parse_from(std::env::args().filter(|word| word != "--bench"));
    // Killed with whoever started us; the peers end with us.
    set_pdeathsig(Signal::SIGKILL).context("ask for the parent's signal")?;
    let said = match command {
        Command::Measure(options) => measure::run(&options)?,
        Command::Compare(options) => compare::run(&options)?,
    };
    println!("{said}");
    Ok(())
}
