//! How much of what comes lies within intervals whose width was learnt on other series of the same generator.

use super::pasts::{Past, synthetic};
use super::{SHARE, forecasts, origin};
use crate::measure::row::Row;
use crate::peer::{HORIZON, LEVEL};
use anyhow::{Context, Result};
use isotherm_forecast::Interval;
use isotherm_forecast::backtest::origin::Origin;
use isotherm_forecast::backtest::score;
use isotherm_forecast::backtest::synthetic::Kind;
use isotherm_forecast::conformal::{Conformal, Settings, Sides, Unit};
use std::num::NonZeroUsize;

/// Series to learn from, and as many to be judged. Only ours are asked, so there can be many.
const SERIES: usize = 2000;

/// Pooled split-conformal intervals per step.
pub(super) fn measure(seed: u64) -> Result<Vec<Row>> {
    eprintln!("coverage of conformal intervals: {SERIES} series to learn from, {SERIES} to be judged");
    let pasts = synthetic(2 * SERIES, seed);
    let origins: Vec<Option<Origin>> = pasts
        .iter()
        .zip(forecasts(&pasts)?)
        .map(|(past, forecast)| forecast.map(|forecast| origin(past, forecast)))
        .collect();
    // Kinds come in turn, so both halves have their share of each.
    let (learnt, judged) = origins.split_at(SERIES);
    let settings = Settings {
        sides: Sides::Same,
        unit: Unit::StandardError,
        window: NonZeroUsize::new(SERIES).context("there are series to learn from")?,
    };
    let mut conformal = Conformal::new(settings, HORIZON);
    for origin in learnt.iter().flatten() {
        conformal.observe_origin(origin)?;
    }
    let judged: Vec<(&Past, &Origin)> = pasts[SERIES..]
        .iter()
        .zip(judged)
        .filter_map(|(past, origin)| Some((past, origin.as_ref()?)))
        .filter(|(_, origin)| origin.forecast.standard_error().iter().all(|error| *error > 0.0))
        .collect();
    let mut rows = Vec::new();
    for (name, which) in
        [("", (|_| true) as fn(&Past) -> bool), (", ramps", |past| past.kind == Some(Kind::Ramp))]
    {
        let chosen: Vec<&Origin> =
            judged.iter().filter(|(past, _)| which(past)).map(|(_, origin)| *origin).collect();
        let ours = share(&chosen, |origin| Ok(conformal.interval(&origin.forecast, LEVEL)?))?;
        let gaussian = share(&chosen, |origin| Ok(origin.forecast.interval(LEVEL)?))?;
        let row = Row::new(format!("coverage, conformal{name}"), ours, SHARE);
        rows.push(row.beside(gaussian, "of the Gaussian limits"));
    }
    Ok(rows)
}

/// Share of what came that lies within.
fn share(origins: &[&Origin], interval: impl Fn(&Origin) -> Result<Vec<Interval>>) -> Result<f64> {
    let mut actual = Vec::new();
    let mut intervals = Vec::new();
    for origin in origins {
        actual.extend_from_slice(&origin.actual);
        intervals.extend(interval(origin)?);
    }
    Ok(score::coverage(&actual, &intervals)?.value)
}
