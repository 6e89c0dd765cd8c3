//! Forecasts against R and statsmodels. The comparing is done by a benchmark of the forecast crate, so that the
//! same series go to all.

use super::Options;
use crate::doctor::Format;
use crate::peers::Peers;
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// What was found.
#[derive(Serialize, Deserialize)]
struct Report {
    command: String,
    peers: Vec<String>,
    checks: Vec<Check>,
    /// Cases that are out of tolerance.
    failures: Vec<Failure>,
}

/// One kind of difference, over all cases it was looked for in.
#[derive(Serialize, Deserialize)]
struct Check {
    name: String,
    /// Absent for what is told and not judged.
    tolerance: Option<f64>,
    compared: usize,
    /// What the peer, or we, gave no answer to.
    unanswered: usize,
    median: Option<f64>,
    worst: Option<f64>,
    /// The case of the worst.
    case: Option<String>,
    failed: usize,
}

#[derive(Serialize, Deserialize)]
struct Failure {
    check: String,
    /// Kind, length, order, and the seed that makes the series again.
    case: String,
    /// The difference; absent if an answer is missing.
    difference: Option<f64>,
    explanation: String,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let peers = Peers::install()?;
    if peers.none() {
        bail!("there is no peer to compare with");
    }
    let (series, seed) = (options.series.to_string(), options.seed.to_string());
    let said = peers.run("compare", &["--series", &series, "--seed", &seed])?;
    let mut report: Report = serde_json::from_slice(&said).context("what the comparison says")?;
    report.command = format!("cargo xtask compare forecast --series {series} --seed {seed}");
    match options.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Table => print(&report),
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    println!("{}\nbeside {}\n", report.command, report.peers.join(" and "));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "DIFFERENCE",
        "CASES",
        "NO ANSWER",
        "MEDIAN",
        "WORST",
        "AT MOST",
        "FAILED",
        "WORST CASE",
    ]);
    let number = |value: Option<f64>| value.map(|value| format!("{value:.1e}")).unwrap_or_default();
    for check in &report.checks {
        table.add_row([
            check.name.clone(),
            check.compared.to_string(),
            check.unanswered.to_string(),
            number(check.median),
            number(check.worst),
            number(check.tolerance),
            check.failed.to_string(),
            check.case.clone().unwrap_or_default(),
        ]);
    }
    println!("{table}\n");
    for Failure { check, case, difference, explanation } in &report.failures {
        println!("FAILED {check}: {case}: {} {explanation}", number(*difference));
    }
    println!("{} out of tolerance", report.failures.len());
}
