//! What a forecast costs and how good it is, beside statsforecast and R, as a JSON array of rows.

mod accuracy;
mod row;
mod speed;

use crate::peer::Interpreters;
use anyhow::Result;
use clap::Args;

/// How much to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs of each measurement of time; medians are told.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Synthetic series on which errors are compared.
    #[arg(long, default_value_t = 300)]
    series: usize,
    /// Series that a peer is timed on at n = 120; half of them at n = 500.
    #[arg(long, default_value_t = 40)]
    timed: usize,
    /// Origins per real series on which errors are compared.
    #[arg(long, default_value_t = 20)]
    origins: usize,
    /// Of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    interpreters: Interpreters,
}

pub(crate) fn run(options: &Options) -> Result<String> {
    let interpreters = &options.interpreters;
    let mut peers: Vec<_> =
        [interpreters.statsforecast()?, interpreters.r()?].into_iter().flatten().collect();
    let mut rows = speed::measure(options.runs.max(1), options.timed.max(1), options.seed, &mut peers)?;
    rows.extend(accuracy::measure(options.series.max(5), options.origins.max(2), options.seed, &mut peers)?);
    Ok(serde_json::to_string(&rows)?)
}
