//! Ours against R and statsmodels on seeded series.
//!
//! R is asked for the maximum of the exact likelihood, statsmodels for an estimate, which it then judges by the
//! exact likelihood given the first d values, as ours is. So with d = 0 all three are the same number; with
//! d >= 1 R's is not, because of the variance of its prior (1e6 instead of infinite), and is told but not judged.

mod case;
mod check;
mod differences;

use crate::peer::{Answer, Interpreters, Peer, Task};
use anyhow::{Context, Result};
use case::Case;
use check::{Check, Failure, Summary};
use clap::Args;
use differences::Differences;
use serde::Serialize;
use std::thread;

/// What to compare.
#[derive(Args)]
pub(crate) struct Options {
    /// Series.
    #[arg(long, default_value_t = 200)]
    series: u64,
    /// Of the first series; each further one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    interpreters: Interpreters,
}

#[derive(Serialize)]
struct Report {
    command: String,
    peers: Vec<String>,
    checks: Vec<Summary>,
    failures: Vec<Failure>,
}

pub(crate) fn run(options: &Options) -> Result<String> {
    let mut r = options.interpreters.r()?;
    let mut statsmodels = options.interpreters.statsmodels()?;
    let mut differences = Differences::new();
    for number in 0..options.series {
        let case = Case::new(options.seed.wrapping_add(number));
        if number % 10 == 0 {
            eprintln!("series {} of {}", number + 1, options.series);
        }
        compare(&case, r.as_mut(), statsmodels.as_mut(), &mut differences)?;
    }
    let peers = [&r, &statsmodels].into_iter().flatten().map(|peer| peer.name().to_owned()).collect();
    let mut checks = differences.checks();
    let failures = checks.iter().flat_map(Check::failures).cloned().collect();
    let checks = checks.iter_mut().map(Check::summary).collect();
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Ok(serde_json::to_string(&Report { command, peers, checks, failures })?)
}

/// All orders of a case, and the automatic one, with both peers at once.
fn compare(
    case: &Case,
    mut r: Option<&mut Peer>,
    mut statsmodels: Option<&mut Peer>,
    differences: &mut Differences,
) -> Result<()> {
    let one = [case.series.as_slice()];
    let from_r = |r: &mut Peer| -> Result<(Vec<Answer>, Answer)> {
        let maxima = case.orders.iter().map(|order| only(r.ask(Task::Maximum, Some(*order), &one)?.1));
        Ok((maxima.collect::<Result<_>>()?, only(r.ask(Task::Auto, None, &one)?.1)?))
    };
    let from_statsmodels = |peer: &mut Peer| -> Result<Vec<Answer>> {
        case.orders.iter().map(|order| only(peer.ask(Task::Arima, Some(*order), &one)?.1)).collect()
    };
    let (of_r, of_statsmodels) = thread::scope(|scope| {
        let r = scope.spawn(|| r.as_mut().map(|r| from_r(r)).transpose());
        let statsmodels = statsmodels.as_mut().map(|peer| from_statsmodels(peer)).transpose();
        (r.join(), statsmodels)
    });
    let of_r = of_r.map_err(|_| anyhow::anyhow!("the thread that asks R panicked"))??;
    let of_statsmodels = of_statsmodels?;
    for (number, order) in case.orders.iter().enumerate() {
        let (r, said) = (of_r.as_ref().map(|(maxima, _)| &maxima[number]), of_statsmodels.as_ref());
        let said = said.map(|answers| &answers[number]);
        differences.order(case, *order, r, said, statsmodels.as_deref_mut())?;
    }
    if let Some((_, auto)) = &of_r {
        differences.automatic(case, auto);
    }
    Ok(())
}

fn only(answers: Vec<Answer>) -> Result<Answer> {
    answers.into_iter().next().context("an answer for the one series")
}
