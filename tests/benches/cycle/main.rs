//! What a cycle costs the real server, with so many partitions on the real wire.
//!
//! `cargo bench -p isotherm-tests --bench cycle -- --minutes M --partitions N,N --days D` prints a JSON array of rows.
//! The agents and the adapter are on the same machine, so what the server takes of its processors says more than how
//! long it took. Never fails on a time.

#![allow(clippy::unwrap_used, reason = "what supports tests fails by panicking")]

mod cluster;
mod feed;
mod kept;
mod live;
mod server;
#[path = "../../tests/support/mod.rs"]
mod support;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// A figure.
#[derive(Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (mut minutes, mut partitions, mut days) = (6, vec![10_000, 100_000], 30);
    for pair in arguments.chunks(2) {
        let [flag, value] = pair else { bail!("{} lacks a value", pair[0]) };
        let number = || value.parse::<u32>().with_context(|| format!("{flag} {value}"));
        match flag.as_str() {
            "--minutes" => minutes = number()?,
            "--days" => days = number()?,
            "--partitions" => {
                partitions =
                    value.split(',').map(str::parse).collect::<Result<_, _>>().context("--partitions")?;
            }
            _ => bail!("usage: cycle [--minutes M] [--partitions N,N] [--days D]"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for partitions in partitions {
        figures.extend(runtime.block_on(live::measure(partitions, minutes))?);
    }
    if days > 0 {
        figures.extend(runtime.block_on(kept::measure(days))?);
    }
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// The middle one; not a number of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
