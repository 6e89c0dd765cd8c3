//! What a forecast costs and how good it is, held against its goals. The measuring is done by a benchmark of the
//! forecast crate.

use super::{Aim, Bound, Format, Report, Row, goals, machine};
use crate::peers::Peers;
use anyhow::{Context, Result};
use clap::Args;

/// How much to measure, and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs of each measurement of time; medians are reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Synthetic series on which errors are compared.
    #[arg(long, default_value_t = 300)]
    series: usize,
    /// Series that a peer is timed on, at n = 120; half of them at n = 500.
    #[arg(long, default_value_t = 40)]
    timed: usize,
    /// Origins per real series on which errors are compared.
    #[arg(long, default_value_t = 20)]
    origins: usize,
    /// Of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One run, a quarter of the series: a look, in about a minute.
    #[arg(long)]
    quick: bool,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Format,
}

const fn aim(
    name: &'static str,
    row: &'static str,
    ratio: bool,
    unit: &'static str,
    bound: Bound,
    goal: f64,
) -> Aim {
    Aim { name, row, ratio, unit, bound, goal }
}

const FASTER: &str = "times statsforecast's series per CPU-second";
const ERROR: &str = "times statsforecast's";
const SHARE: &str = "of the values within";

/// The names of rows are those of analyzer/forecast/benches/peers/measure.
const AIMS: &[Aim] = &[
    aim("auto", "automatic and 12 steps, n = 120", true, FASTER, Bound::AtLeast, 1000.0),
    aim("auto n=500", "automatic and 12 steps, n = 500", true, FASTER, Bound::AtLeast, 600.0),
    aim("fixed", "(1,1,1) and 12 steps, n = 120", true, FASTER, Bound::AtLeast, 400.0),
    aim("fixed n=500", "(1,1,1) and 12 steps, n = 500", true, FASTER, Bound::AtLeast, 400.0),
    aim("online", "online update and 12 steps", false, "us", Bound::AtMost, 1.0),
    aim("mase", "MASE, synthetic", true, ERROR, Bound::AtMost, 1.01),
    aim("mase crps", "CRPS, synthetic", true, ERROR, Bound::AtMost, 1.01),
    aim("mase real", "MASE, real", true, ERROR, Bound::AtMost, 1.01),
    aim("mase real crps", "CRPS, real", true, ERROR, Bound::AtMost, 1.01),
    aim("coverage", "coverage, conformal", false, SHARE, Bound::AtLeast, 0.93),
    aim("coverage at most", "coverage, conformal", false, SHARE, Bound::AtMost, 0.97),
    aim("coverage ramps", "coverage, conformal, ramps", false, SHARE, Bound::AtLeast, 0.90),
];

pub(super) fn measure(options: &Options) -> Result<Report> {
    let Options { runs, series, timed, origins, seed, quick, output: _ } = *options;
    let runs = if quick { 1 } else { runs };
    let some = |number: usize| if quick { number.div_ceil(4) } else { number };
    let numbers = [
        ("--runs", runs),
        ("--series", some(series)),
        ("--timed", some(timed)),
        ("--origins", some(origins)),
    ];
    let mut arguments: Vec<String> =
        numbers.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]).collect();
    arguments.extend(["--seed".to_owned(), seed.to_string()]);
    let said = Peers::install()?.run("measure", &arguments)?;
    let rows: Vec<Row> = serde_json::from_slice(&said).context("what the benchmark says")?;
    let command = format!("cargo xtask bench forecast {}", arguments.join(" "));
    Ok(Report { bench: "forecast", command, machine: machine()?, goals: goals(AIMS, &rows), rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_floor_or_a_ceiling() {
        let row = |name: &str, value, ratio| Row {
            name: name.to_owned(),
            value,
            unit: String::new(),
            beside: None,
            of: None,
            ratio,
        };
        let rows = [
            row("automatic and 12 steps, n = 120", 5.0, Some(1000.0)),
            row("(1,1,1) and 12 steps, n = 120", 5000.0, Some(399.0)),
            row("MASE, synthetic", 1.4, Some(1.02)),
            row("CRPS, synthetic", 1.4, Some(0.99)),
            row("coverage, conformal", 0.98, None),
        ];
        let goals = goals(AIMS, &rows);
        let met: Vec<&str> = goals.iter().filter(|goal| goal.met).map(|goal| goal.name).collect();
        assert_eq!(met, ["auto", "mase crps", "coverage"]);
    }
}
