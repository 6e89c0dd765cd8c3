//! Series per CPU-second: the same series by ours and the peers, in turns.

use crate::measure::row::{Row, cpu_s, median};
use crate::peer::{HORIZON, LEVEL, Peer, Task};
use anyhow::{Context, Result, ensure};
use isotherm_forecast::backtest::synthetic;
use isotherm_forecast::{Fit, FitError, Fitted, Order, Policy, Select, Tracker, batch};
use std::hint::black_box;
use std::time::Instant;

/// Our series for one of the peer's, which are the first of ours: a peer takes a tenth of a second for one.
const OURS: usize = 50;

/// Series per request, so that a peer that is left alone soon sees it.
const REQUEST: usize = 5;

/// Every automatic selection is stepwise, with its own defaults, and without seasons.
const AUTOMATIC: &str = "series per CPU-second, stepwise, quick, p, q <= 5";
const FIXED: &str = "series per CPU-second, exact likelihood, one start as the peers";

/// What is fitted.
#[derive(Clone, Copy)]
enum What {
    Automatic,
    Fixed(Order),
}

pub(crate) fn measure(runs: usize, timed: usize, seed: u64, peers: &mut [Peer]) -> Result<Vec<Row>> {
    let fixed = What::Fixed(Order::new(1, 1, 1)?);
    let mut rows = Vec::new();
    for (n, timed) in [(120, timed), (500, timed.div_ceil(2))] {
        let series = series(OURS * timed, n, seed);
        rows.extend(beside("automatic", AUTOMATIC, What::Automatic, n, runs, &series, timed, peers)?);
        rows.extend(beside("(1,1,1)", FIXED, fixed, n, runs, &series, timed, peers)?);
    }
    rows.extend(between_windows(runs, seed)?);
    Ok(rows)
}

fn series(count: usize, n: usize, seed: u64) -> Vec<Vec<f64>> {
    synthetic::mixed(count, n, seed).into_iter().map(|(_, series)| series).collect()
}

#[expect(clippy::too_many_arguments, reason = "each is another kind of thing")]
fn beside(
    name: &str,
    unit: &'static str,
    what: What,
    n: usize,
    runs: usize,
    series: &[Vec<f64>],
    timed: usize,
    peers: &mut [Peer],
) -> Result<Vec<Row>> {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("start a thread")?;
    let mut ours = Vec::new();
    let [mut singly, mut at_once] = [const { Vec::new() }; 2];
    let mut theirs = vec![Vec::new(); peers.len()];
    for peer in peers.iter_mut() {
        // Compilation and first touches are nobody's speed.
        ask(peer, what, &series[..REQUEST.min(timed)])?;
    }
    for run in 0..runs {
        eprintln!("{name}, n = {n}: run {} of {runs}", run + 1);
        one.install(|| batched(what, &series[..series.len().min(200)]))?;
        let (start, count) = (cpu_s(), series.len() as f64);
        one.install(|| batched(what, series))?;
        ours.push(count / (cpu_s() - start));
        let some = &series[..series.len() / 4];
        let start = cpu_s();
        one_by_one(what, some)?;
        singly.push(some.len() as f64 / (cpu_s() - start));
        let start = Instant::now();
        batched(what, series)?;
        at_once.push(count / start.elapsed().as_secs_f64());
        for (peer, rates) in peers.iter_mut().zip(&mut theirs) {
            rates.push(timed as f64 / ask(peer, what, &series[..timed])?);
        }
    }
    let name = format!("{name} and {HORIZON} steps, n = {n}");
    let mut rows =
        Row::beside_peers(&name, median(&ours), unit, peers.iter().zip(&theirs), |rates| median(rates));
    let singly = Row::new(format!("{name}, in lanes"), median(&ours), unit)
        .beside(median(&singly), "one series after the other");
    let threads = rayon::current_num_threads();
    let of = "of one thread by its CPU time";
    let at_once = Row::new(format!("{name}, {threads} threads"), median(&at_once), "series per second")
        .beside(median(&ours), of);
    rows.extend([singly, at_once]);
    Ok(rows)
}

/// CPU time of a peer for all of these, in seconds.
fn ask(peer: &mut Peer, what: What, series: &[Vec<f64>]) -> Result<f64> {
    let (task, order) = match what {
        What::Automatic => (Task::Auto, None),
        What::Fixed(order) => (Task::Arima, Some(order)),
    };
    series.chunks(REQUEST).map(|some| Ok(peer.ask(task, order, some)?.0)).sum()
}

fn batched(what: What, series: &[Vec<f64>]) -> Result<()> {
    let fitted: Vec<Result<Fitted, FitError>> = match what {
        What::Automatic => {
            let selected = batch::select(series, &Select::new().quick());
            selected.into_iter().map(|selection| Ok(selection?.fitted)).collect()
        }
        What::Fixed(order) => batch::fit(series, &Fit::new(order).starts(1)),
    };
    ensure!(forecasts(fitted)? > 0, "there was no fit to measure");
    Ok(())
}

fn one_by_one(what: What, series: &[Vec<f64>]) -> Result<()> {
    let fitted = series.iter().map(|series| match what {
        What::Automatic => Ok(Select::new().quick().select(series)?.fitted),
        What::Fixed(order) => Fit::new(order).starts(1).fit(series),
    });
    ensure!(forecasts(fitted)? > 0, "there was no fit to measure");
    Ok(())
}

/// Means and limits of each; how many.
fn forecasts(fitted: impl IntoIterator<Item = Result<Fitted, FitError>>) -> Result<usize> {
    let mut count = 0;
    for fitted in fitted.into_iter().flatten() {
        black_box(fitted.forecast(HORIZON).interval(LEVEL)?);
        count += 1;
    }
    Ok(count)
}

/// What one more value costs.
fn between_windows(runs: usize, seed: u64) -> Result<Vec<Row>> {
    const N: usize = 120;
    const LATER: usize = 24;
    let series = series(1000, N + LATER, seed);
    let known: Vec<&[f64]> = series.iter().map(|series| &series[..N]).collect();
    let fitted: Vec<Option<Fitted>> = batch::select(&known, &Select::new().quick())
        .into_iter()
        .map(|found| Some(found.ok()?.fitted))
        .collect();
    let [mut warm, mut cold, mut online, mut update] = [const { Vec::new() }; 4];
    for run in 0..runs {
        eprintln!("one more value: run {} of {runs}", run + 1);
        let all =
            || series.iter().zip(&fitted).filter_map(|(series, fitted)| Some((series, fitted.as_ref()?)));
        let count = all().count() as f64;
        let start = cpu_s();
        for (series, fitted) in all() {
            let fit = Fit::new(fitted.order()).starting_from(fitted.model());
            let _ = black_box(fit.fit(&series[1..=N]));
        }
        warm.push((cpu_s() - start) / count * 1e6);
        let start = cpu_s();
        for (series, fitted) in all() {
            let _ = black_box(Fit::new(fitted.order()).fit(&series[1..=N]));
        }
        cold.push((cpu_s() - start) / count * 1e6);
        for (ahead, times) in [(HORIZON, &mut online), (0, &mut update)] {
            let mut trackers: Vec<(&[f64], Tracker)> = all()
                .map(|(series, fitted)| (&series[N..], Tracker::new(fitted, Policy::default(), None)))
                .collect();
            let start = cpu_s();
            for (later, tracker) in &mut trackers {
                for value in *later {
                    black_box(tracker.update(*value)?);
                    if ahead > 0 {
                        black_box(tracker.forecast(ahead));
                    }
                }
            }
            times.push((cpu_s() - start) / (count * LATER as f64) * 1e6);
        }
    }
    Ok(vec![
        Row::new("warm refit of the order that was selected, n = 120", median(&warm), "us")
            .beside(median(&cold), "without its coefficients"),
        Row::new(format!("online update and {HORIZON} steps"), median(&online), "us"),
        Row::new("online update alone", median(&update), "us"),
    ])
}
