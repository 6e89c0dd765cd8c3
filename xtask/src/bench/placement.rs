//! What a plan costs and how good it is, held against its goals.
//!
//! Plans are made by the release build of `isotherm`, as anyone makes them, in a process of its own each: it tells how
//! long reading and planning took, and how much memory it had. How good they are is the judge's to say, a program
//! that shares no code with the planner (analyzer/placement/benches/judge).

mod cluster;
mod events;
mod lasting;
mod swift;

use super::{Aim, Bound, Format, Report, Row, goals, machine};
use crate::shell;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use cluster::Bench;
use std::path::PathBuf;

/// How much to measure, and how to report.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs of each plan; medians of their times are reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seeds of the generator, from 1. Times are medians over them; everything else is the worst.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Sizes of clusters.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["s", "m", "l"])]
    scale: Vec<Scale>,
    /// One run of one seed, without rounds of noise: a look.
    #[arg(long)]
    quick: bool,
    /// Program to measure, instead of the release build of this tree.
    #[arg(long, value_name = "FILE")]
    isotherm: Option<PathBuf>,
    /// How to write the report.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Format,
}

/// Size of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// 30 nodes, 1,000 partitions.
    S,
    /// 300 nodes, 100,000 partitions.
    M,
    /// 1,000 nodes, 1,000,000 partitions.
    L,
}

impl Scale {
    fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::M => "M",
            Self::L => "L",
        }
    }

    fn nodes(self) -> f64 {
        match self {
            Self::S => 30.0,
            Self::M => 300.0,
            Self::L => 1_000.0,
        }
    }
}

/// Where the partitions lie before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Nearly every one on nodes of its own.
    Random,
    /// On the copysets of a spread factor of 10.
    Copysets,
}

impl Start {
    const ALL: [Self; 2] = [Self::Random, Self::Copysets];

    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Copysets => "copysets",
        }
    }

    /// What the generator calls it.
    fn argument(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Copysets => "copyset:10",
        }
    }
}

const fn most(name: &'static str, row: &'static str, unit: &'static str, goal: f64) -> Aim {
    Aim { name, row, ratio: false, unit, bound: Bound::AtMost, goal }
}

const LEAST: &str = "of the least";
const MEAN: &str = "times the mean";

/// The names of rows are those of the modules below. What is told for both starts is aimed at for both.
const AIMS: &[Aim] = &[
    most("fail1", "L random fail1: planning", "s", 0.15),
    most("fail1 copysets start", "L copysets fail1: planning", "s", 0.15),
    most("rss", "L random fail1: memory", "MiB", 150.0),
    most("rss copysets start", "L copysets fail1: memory", "MiB", 150.0),
    most("failrack", "L random failrack: planning", "s", 1.0),
    most("failrack copysets start", "L copysets failrack: planning", "s", 1.0),
    most("balance", "L random balance to 1 %: planning", "s", 5.0),
    most("balance copysets start", "L copysets balance to 1 %: planning", "s", 5.0),
    most("copysets time", "L copysets from scratch: planning", "s", 8.0),
    most("copysets fresh", "L copysets from scratch: copysets over N S / 6", "", 1.05),
    most("copysets size", "L copysets from scratch: size", MEAN, 1.01),
    most("copysets load", "L copysets from scratch: load", MEAN, 1.01),
    most("copysets 50 rounds", "M 50 rounds of fail and replace: most copysets over N S / 6", "", 1.10),
    most("moved fail and drain", "all fail and drain: moved", LEAST, 1.00005),
    most("moved add and reweight", "all add and reweight: moved", LEAST, 1.02),
    most("moved balance", "all balance to 2 %: moved", "of the knapsack bound", 1.25),
    most("fail1 evenness", "all fail1: size over what is allowed", "times", 1.0),
    most("violations", "all: violations", "", 0.0),
    most("moved again", "all: moves of a second run", "", 0.0),
    most("moved by noise", "M 100 rounds of noise: moved", "% of the bytes", 1.0),
];

pub(super) fn measure(options: &Options) -> Result<Report> {
    let Options { runs, seeds, ref scale, quick, ref isotherm, output: _ } = *options;
    let (runs, seeds) = if quick { (1, 1) } else { (runs.max(1), seeds.max(1)) };
    let Some(python) = shell::find("python3") else { bail!("the generator and the judge need python3") };
    let bench = Bench::new(python, isotherm.clone(), runs, seeds)?;
    let mut rows = Vec::new();
    let mut all = events::Worst::default();
    for scale in scale {
        rows.extend(events::measure(&bench, *scale, &mut all)?);
    }
    if scale.contains(&Scale::M) {
        rows.extend(lasting::measure(&bench, quick)?);
        rows.extend(swift::measure(&bench)?);
    }
    rows.extend(all.rows());
    let scales: Vec<&str> = scale.iter().map(|scale| scale.name()).collect();
    let command = format!(
        "cargo xtask bench placement --runs {runs} --seeds {seeds} --scale {}",
        scales.join(",").to_lowercase()
    );
    Ok(Report { bench: "placement", command, machine: machine()?, goals: goals(AIMS, &rows), rows })
}

fn row(name: String, value: f64, unit: &str) -> Row {
    Row { name, value, unit: unit.to_owned(), beside: None, of: None, ratio: None }
}
