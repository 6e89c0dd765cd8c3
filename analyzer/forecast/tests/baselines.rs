//! The baselines against each other, and against exponential smoothing by another crate, on entropy-like series.

use augurs::ets::AutoETS;
use augurs::prelude::*;
use isotherm_forecast::Forecast;
use isotherm_forecast::backtest::baseline::{drift, naive, theta};
use isotherm_forecast::backtest::origin::{Rolling, Scores, Summary};
use isotherm_forecast::backtest::synthetic::mixed;
use std::num::NonZeroUsize;

const Z95: f64 = 1.959963984540054;

/// Automatic exponential smoothing without season, by augurs.
fn ets(past: &[f64], horizon: usize) -> Option<Forecast> {
    let fitted = AutoETS::new(1, "ZZN").ok()?.fit(past).ok()?;
    let found = fitted.predict(horizon, 0.95).ok()?;
    let upper = found.intervals?.upper;
    let deviation = upper.iter().zip(&found.point).map(|(upper, mean)| (upper - mean) / Z95).collect();
    Some(Forecast::new(found.point, deviation))
}

/// Twelve steps from the 120th value of 50 series.
fn scores(forecaster: impl Fn(&[f64], usize) -> Option<Forecast>) -> Scores {
    let [first, horizon] = [120, 12].map(|value| NonZeroUsize::new(value).expect("above 0"));
    let rolling = Rolling { first, step: NonZeroUsize::MIN, horizon };
    let backtests: Vec<_> = mixed(50, 132, 1)
        .iter()
        .map(|(_, series)| rolling.run(series, &forecaster).expect("finite forecasts"))
        .collect();
    assert!(backtests.iter().all(|backtest| backtest.refused.is_empty()));
    Summary::new(&backtests, 0.95).expect("a level").overall.expect("values")
}

#[test]
fn smoothing_beats_no_change_and_no_change_beats_a_line() {
    let [ets, naive, theta, drift] = [
        scores(ets),
        scores(|past, horizon| naive(past, horizon).ok()),
        scores(|past, horizon| theta(past, horizon).ok()),
        scores(|past, horizon| drift(past, horizon).ok()),
    ];
    let crps = |scores: Scores| scores.scaled_crps.expect("scales");
    for (name, scores) in [("ets", ets), ("naive", naive), ("theta", theta), ("drift", drift)] {
        println!("{name}: {scores:?}");
        assert_eq!((scores.count, scores.scaled), (600, 600), "{name}");
    }
    assert!(crps(ets) < crps(naive) && crps(theta) < crps(naive) && crps(naive) < crps(drift));
}
