//! How good forecasts are: errors, and how much of what came lies within the limits, on the same pasts for all.
//!
//! All scores are ours, for all forecasts alike. Everybody gets the raw series; what we make of a transformed one
//! is told apart.

mod calibrated;
mod pasts;
mod transformed;

use crate::measure::row::Row;
use crate::peer::{Answer, HORIZON, LEVEL, Peer, Said, Task};
use anyhow::{Context, Result};
use isotherm_forecast::backtest::baseline;
use isotherm_forecast::backtest::origin::{Backtest, Origin, Scores, Summary};
use isotherm_forecast::backtest::score::naive_scale;
use isotherm_forecast::backtest::synthetic::Kind;
use isotherm_forecast::{FitError, Forecast, Select, batch};
use pasts::Past;
use statrs::distribution::{ContinuousCDF, Normal};

/// Pasts per request.
const REQUEST: usize = 5;

/// Errors are over those of a forecast of no change within the past (MASE), or so is the CRPS.
const SCALED: &str = "of the past's mean step; 12 steps, automatic";
const SHARE: &str = "of the values within 95 %";

pub(crate) fn measure(series: usize, origins: usize, seed: u64, peers: &mut [Peer]) -> Result<Vec<Row>> {
    let synthetic = pasts::synthetic(series, seed);
    let mut rows = compare("synthetic", &synthetic, peers)?;
    rows.extend(transformed::measure(&synthetic)?);
    rows.extend(compare("real", &pasts::real(origins)?, peers)?);
    rows.extend(calibrated::measure(seed)?);
    Ok(rows)
}

/// Ours beside each peer and some baselines.
fn compare(name: &str, pasts: &[Past], peers: &mut [Peer]) -> Result<Vec<Row>> {
    eprintln!("errors: {} pasts of {name} series", pasts.len());
    let ours = forecasts(pasts)?;
    let mut theirs = Vec::new();
    for peer in peers.iter_mut() {
        eprintln!("errors of {}", peer.name());
        theirs.push(of_peer(peer, pasts)?);
    }
    let all = |_: &Past| true;
    // What somebody has no forecast of is left out for everybody.
    let judged: Vec<bool> = (0..pasts.len())
        .map(|at| ours[at].is_some() && theirs.iter().all(|forecasts| forecasts[at].is_some()))
        .collect();
    let left_out = judged.iter().filter(|judged| !**judged).count();
    let score = |forecasts: &[Option<Forecast>], which: &dyn Fn(&Past) -> bool| -> Result<Scores> {
        let chosen =
            pasts.iter().zip(forecasts).zip(&judged).filter(|((past, _), judged)| **judged && which(past));
        scores(chosen.map(|((past, forecast), _)| (past, forecast)))
    };
    let mine = score(&ours, &all)?;
    let others: Vec<Scores> = theirs.iter().map(|forecasts| score(forecasts, &all)).collect::<Result<_>>()?;
    let beside = |what: &str, unit, number: fn(&Scores) -> f64| {
        let with = peers.iter().zip(&others);
        Row::beside_peers(&format!("{what}, {name}"), number(&mine), unit, with, number)
    };
    let mut rows = beside("MASE", SCALED, mase);
    rows.extend(beside("CRPS", SCALED, crps));
    rows.extend(beside("coverage of the Gaussian limits", SHARE, |scores| scores.coverage));
    for kind in Kind::ALL.into_iter().filter(|kind| pasts.iter().any(|past| past.kind == Some(*kind))) {
        let of_kind = |past: &Past| past.kind == Some(kind);
        let (mine, others) = (score(&ours, &of_kind)?, theirs.iter().map(|theirs| score(theirs, &of_kind)));
        let others: Vec<Scores> = others.collect::<Result<_>>()?;
        let measures: [(&str, &'static str, Number); 2] =
            [("MASE", SCALED, mase), ("coverage of the Gaussian limits", SHARE, |scores| scores.coverage)];
        for (what, unit, number) in measures {
            let name = format!("{what}, {name}, {kind:?}");
            let with = peers.iter().zip(&others);
            rows.extend(Row::beside_peers(&name, number(&mine), unit, with, number));
        }
    }
    for (baseline, forecast) in BASELINES {
        let forecasts: Vec<Option<Forecast>> = pasts.iter().map(|past| forecast(&past.known)).collect();
        // A baseline has a forecast of each past, or its row would be of others than ours.
        if let Ok(other) = score(&forecasts, &all) {
            for (what, number) in [("MASE", mase as Number), ("CRPS", crps)] {
                let name = format!("{what}, {name}, beside {baseline}");
                rows.push(Row::new(name, number(&mine), SCALED).beside(number(&other), baseline));
            }
        }
    }
    rows.push(Row::new(format!("pasts judged, {name}"), (pasts.len() - left_out) as f64, "pasts"));
    rows.push(Row::new(format!("pasts without somebody's forecast, {name}"), left_out as f64, "pasts"));
    Ok(rows)
}

/// One of the scores.
type Number = fn(&Scores) -> f64;

type Baseline = fn(&[f64]) -> Option<Forecast>;

const BASELINES: [(&str, Baseline); 3] = [
    ("naive", |known| baseline::naive(known, HORIZON).ok()),
    ("drift", |known| baseline::drift(known, HORIZON).ok()),
    ("Theta", |known| baseline::theta(known, HORIZON).ok()),
];

fn mase(scores: &Scores) -> f64 {
    scores.mase.unwrap_or(f64::NAN)
}

fn crps(scores: &Scores) -> f64 {
    scores.scaled_crps.unwrap_or(f64::NAN)
}

/// Ours, by the order that is found; a series without noise has a forecast without width.
fn forecasts(pasts: &[Past]) -> Result<Vec<Option<Forecast>>> {
    let known: Vec<&[f64]> = pasts.iter().map(|past| past.known.as_slice()).collect();
    let selected = batch::select(&known, &Select::new().quick());
    let forecast = |selection: Result<_, FitError>| match selection {
        Ok(isotherm_forecast::Selection { fitted, .. }) => Some(fitted.forecast(HORIZON)),
        Err(FitError::NoNoise(line)) => Forecast::new(line.forecast(HORIZON), vec![0.0; HORIZON]).into(),
        Err(_) => None,
    };
    Ok(selected.into_iter().map(forecast).collect())
}

fn of_peer(peer: &mut Peer, pasts: &[Past]) -> Result<Vec<Option<Forecast>>> {
    let width = 2.0 * Normal::standard().inverse_cdf(0.5 + LEVEL / 2.0);
    let forecast = |answer| match answer {
        Answer::Said(Said { mean, low, high, .. }) => {
            let errors = low.iter().zip(&high).map(|(low, high)| (high - low) / width).collect();
            Some(Forecast::new(mean, errors))
        }
        Answer::Refused { error } => {
            eprintln!("no forecast of a past: {error}");
            None
        }
    };
    let mut forecasts = Vec::new();
    for some in pasts.chunks(REQUEST) {
        let known: Vec<&[f64]> = some.iter().map(|past| past.known.as_slice()).collect();
        forecasts.extend(peer.ask(Task::Auto, None, &known)?.1.into_iter().map(forecast));
    }
    Ok(forecasts)
}

fn scores<'a>(chosen: impl Iterator<Item = (&'a Past, &'a Option<Forecast>)>) -> Result<Scores> {
    let backtest = |(past, forecast): (&Past, &Option<Forecast>)| {
        let origin = origin(past, forecast.clone().context("a forecast of each past")?);
        Ok(Backtest { origins: vec![origin], refused: Vec::new() })
    };
    let backtests: Vec<Backtest> = chosen.map(backtest).collect::<Result<_>>()?;
    Summary::new(&backtests, LEVEL)?.overall.context("there is no past to judge")
}

fn origin(past: &Past, forecast: Forecast) -> Origin {
    Origin { known: past.known.len(), forecast, actual: past.actual.clone(), scale: naive_scale(&past.known) }
}
