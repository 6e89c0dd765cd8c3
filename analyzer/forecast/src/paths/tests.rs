//! Simulated paths against intervals in closed form, and first passages against numeric integration.

use super::*;
use crate::{Coefficients, Model, Order};

fn fitted(ar: &[f64], d: usize, ma: &[f64], series: &[f64]) -> Fitted {
    let order = Order::new(ar.len(), d, ma.len()).expect("in range");
    let coefficients = Coefficients { ar: ar.to_vec(), ma: ma.to_vec(), constant: None };
    Model::new(order, coefficients).expect("a model").apply(series).expect("a likelihood")
}

const SERIES: [f64; 12] = [0.4, -0.3, 0.9, 1.4, 0.2, -0.8, -1.1, 0.1, 0.6, 1.2, 0.3, 0.0];

/// Of a random walk from 0 with standard normal steps: the density of those that stayed below `barrier`,
/// step by step on a fine grid, and what of it is lost.
fn passage_of_a_walk(barrier: f64, steps: usize) -> Vec<f64> {
    const WIDTH: f64 = 0.02;
    let cells = (14.0 / WIDTH) as usize;
    let density: Vec<f64> = (0..2 * cells)
        .map(|apart| (-0.5 * (apart as f64 * WIDTH).powi(2)).exp() * WIDTH / 2.506_628_274_631)
        .collect();
    let at = |cell: usize| barrier - (cell as f64 + 0.5) * WIDTH;
    let mut inside: Vec<f64> =
        (0..cells).map(|cell| (-0.5 * at(cell).powi(2)).exp() * WIDTH / 2.506_628_274_631).collect();
    let mut passed = vec![1.0 - inside.iter().sum::<f64>()];
    for _ in 1..steps {
        inside = (0..cells)
            .map(|to| inside.iter().enumerate().map(|(from, mass)| mass * density[from.abs_diff(to)]).sum())
            .collect();
        passed.push(1.0 - inside.iter().sum::<f64>());
    }
    passed
}

#[test]
fn first_passage_of_a_random_walk_is_that_of_its_density() {
    let fitted = fitted(&[], 1, &[], &SERIES);
    let sigma = fitted.sigma2_unbiased().sqrt();
    let paths = fitted.paths(8, 40_000, 3).expect("paths");
    let want = passage_of_a_walk(1.5, 8);
    // By the reflection principle a walk in continuous time, which passes more often, is at .596 by then.
    assert!(want[7] < 0.596 && want[7] > 0.4, "{want:?}");
    for (side, sign) in [(Side::Above, 1.0), (Side::Below, -1.0)] {
        let have = paths.first_passage(sign * 1.5 * sigma, side).expect("a threshold");
        assert!(have.is_sorted());
        for (have, want) in have.iter().zip(&want) {
            // Four standard errors of a share of 40,000 paths are at most .01.
            assert!((have - want).abs() < 0.01, "{have} is not {want}");
        }
    }
}

#[test]
fn the_shares_below_gaussian_quantiles_are_theirs() {
    let mut missing = SERIES.to_vec();
    missing.extend([f64::NAN, f64::NAN, 0.5, f64::NAN]);
    for (ar, d, ma) in [(&[0.7][..], 0, &[0.4][..]), (&[0.3, 0.2], 1, &[-0.5]), (&[], 2, &[-0.6, 0.1])] {
        for series in [&SERIES[..], &missing] {
            let fitted = fitted(ar, d, ma, series);
            let paths = fitted.paths(6, 20_000, 11).expect("paths");
            for p in [0.025, 0.2, 0.5, 0.9] {
                let quantiles = fitted.forecast(6).quantile(p).expect("a probability");
                for (step, quantile) in quantiles.iter().enumerate() {
                    let values = paths.step(step).expect("a step");
                    let share = values.iter().filter(|value| *value <= quantile).count() as f64 / 20_000.0;
                    let error = (p * (1.0 - p) / 20_000.0_f64).sqrt();
                    assert!((share - p).abs() < 4.5 * error, "{ar:?} {d} {ma:?} {step}: {share} is not {p}");
                }
            }
        }
    }
}

#[test]
fn a_bootstrap_draws_only_what_it_was_given() {
    let fitted = fitted(&[], 1, &[], &SERIES);
    let residuals = [Some(3.0), None, Some(-1.0), Some(f64::INFINITY), Some(-1.0), Some(3.0)];
    let paths = fitted.bootstrap(&residuals, 2, 1000, 5).expect("paths");
    // Less their mean they are 2 and -2, and the walk stands at 0.
    let first = paths.step(0).expect("a step");
    let near = |value: f64, want: f64| (value - want).abs() < 1e-12;
    assert!(first.iter().all(|value| near(value.abs(), 2.0)));
    let up = first.iter().filter(|value| **value > 0.0).count();
    assert!((430..570).contains(&up), "{up}");
    assert!(paths.step(1).expect("a step").iter().all(|&value| near(value.abs(), 4.0) || near(value, 0.0)));
    assert_eq!(fitted.bootstrap(&[None, Some(f64::NAN)], 2, 10, 5), Err(PathsError::NoResiduals));
}

#[test]
fn quantiles_are_values_of_the_step() {
    let paths = Paths { horizon: 2, count: 4, values: vec![4.0, 1.0, 3.0, 2.0, 8.0, 8.0, 5.0, 6.0] };
    assert_eq!(paths.quantile(0, 0.25), Ok(1.0));
    assert_eq!(paths.quantile(0, 0.26), Ok(2.0));
    assert_eq!(paths.quantile(0, 0.99), Ok(4.0));
    assert_eq!(paths.quantile(1, 0.5), Ok(6.0));
    assert_eq!(paths.quantile(2, 0.5), Err(PathsError::Step { step: 2, horizon: 2 }));
    assert_eq!(paths.quantile(0, 1.0), Err(PathsError::Probability(1.0)));
    assert_eq!(paths.first_passage(3.0, Side::Above), Ok(vec![0.5, 1.0]));
    assert_eq!(paths.first_passage(1.0, Side::Below), Ok(vec![0.25, 0.25]));
    assert_eq!(paths.first_passage(f64::INFINITY, Side::Above), Ok(vec![0.0, 0.0]));
    assert_eq!(paths.first_passage(f64::NAN, Side::Above), Err(PathsError::Threshold));
}

#[test]
fn the_seed_decides_and_the_size_is_bounded() {
    let fitted = fitted(&[0.5], 1, &[], &SERIES);
    let paths = fitted.paths(3, 10, 1);
    assert_eq!(paths, fitted.paths(3, 10, 1));
    assert_ne!(paths, fitted.paths(3, 10, 2));
    assert_eq!(fitted.paths(0, 10, 1).expect("no steps").first_passage(0.0, Side::Above), Ok(vec![]));
    assert_eq!(fitted.paths(3, 0, 1), Err(PathsError::None));
    for (horizon, count) in [(12, 1_000_000), (usize::MAX, 2)] {
        assert_eq!(fitted.paths(horizon, count, 1), Err(PathsError::TooMany { count, horizon }));
    }
}
