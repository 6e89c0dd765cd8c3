//! What the arcsine of the square root, which keeps forecasts between 0 and 1, does to the errors of ours.

use super::pasts::Past;
use super::{SCALED, SHARE, forecasts};
use crate::measure::row::Row;
use crate::peer::LEVEL;
use anyhow::{Context, Result};
use isotherm_forecast::Forecast;
use isotherm_forecast::backtest::score::{self, Sample, naive_scale};
use isotherm_forecast::transform::{Bounded, forward};

/// Quantiles that stand for a forecast in its CRPS.
const QUANTILES: usize = 200;

/// Errors over those of a forecast of no change, and how much lies within the limits.
struct Errors {
    mase: f64,
    crps: f64,
    coverage: f64,
}

/// Ours of the transformed series beside ours of the raw one. Both CRPS are of as many quantiles.
pub(super) fn measure(pasts: &[Past]) -> Result<Vec<Row>> {
    let transformed: Vec<Past> = pasts
        .iter()
        .map(|past| Ok(Past { known: forward(&past.known)?, actual: past.actual.clone(), kind: past.kind }))
        .collect::<Result<_>>()?;
    let (raw, transformed) = (forecasts(pasts)?, forecasts(&transformed)?);
    let both: Vec<(&Past, Forecast, Bounded)> = pasts
        .iter()
        .zip(raw.into_iter().zip(transformed))
        .filter_map(|(past, (raw, transformed))| Some((past, raw?, Bounded::new(transformed?))))
        .collect();
    let ours = errors(&both, |_, bounded| bounded.mean(), |_, bounded, p| Ok(bounded.quantile(p)?))?;
    let raw = errors(&both, |raw, _| raw.mean().to_vec(), |raw, _, p| Ok(raw.quantile(p)?))?;
    let of = "ours of the raw series";
    Ok(vec![
        Row::new("MASE, synthetic, by the arcsine", ours.mase, SCALED).beside(raw.mase, of),
        Row::new("CRPS, synthetic, by the arcsine", ours.crps, SCALED).beside(raw.crps, of),
        Row::new("coverage, synthetic, by the arcsine", ours.coverage, SHARE).beside(raw.coverage, of),
    ])
}

fn errors(
    all: &[(&Past, Forecast, Bounded)],
    mean: impl Fn(&Forecast, &Bounded) -> Vec<f64>,
    quantile: impl Fn(&Forecast, &Bounded, f64) -> Result<Vec<f64>>,
) -> Result<Errors> {
    let mut sum = Errors { mase: 0.0, crps: 0.0, coverage: 0.0 };
    let mut count = 0.0;
    for (past, raw, bounded) in all {
        let Some(scale) = naive_scale(&past.known) else { continue };
        let error = score::mase(&past.actual, &mean(raw, bounded), &past.known)?;
        sum.mase += error.context("a past with a scale has an error")?.value;
        let at = |i: usize| (i as f64 + 0.5) / QUANTILES as f64;
        let quantiles: Vec<Vec<f64>> =
            (0..QUANTILES).map(|i| quantile(raw, bounded, at(i))).collect::<Result<_>>()?;
        let low = quantile(raw, bounded, 0.5 - LEVEL / 2.0)?;
        let high = quantile(raw, bounded, 0.5 + LEVEL / 2.0)?;
        for (step, actual) in past.actual.iter().enumerate() {
            let sample: Vec<f64> = quantiles.iter().map(|quantiles| quantiles[step]).collect();
            let crps = score::sample_crps(*actual, &sample, Sample::Plain)?;
            let steps = past.actual.len() as f64;
            sum.crps += crps.context("a sample has a score")? / scale / steps;
            sum.coverage += f64::from(u8::from((low[step]..=high[step]).contains(actual))) / steps;
        }
        count += 1.0;
    }
    Ok(Errors { mase: sum.mase / count, crps: sum.crps / count, coverage: sum.coverage / count })
}
