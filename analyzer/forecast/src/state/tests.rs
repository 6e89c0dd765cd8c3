//! The filter against a Gaussian likelihood of the whole covariance matrix, which knows nothing of states.

use super::{Filtered, State, System, deviance};
use crate::{Coefficients, FitError, Model, Order, SeriesError};

/// A series that is no model's: no value of it is like another.
fn rough(len: usize) -> Vec<f64> {
    (0..len).map(|at| (at as f64 * 1.7).sin() * 2.0 + ((at * at) % 13) as f64 * 0.31 - 1.2).collect()
}

fn without(mut series: Vec<f64>, missing: &[usize]) -> Vec<f64> {
    for &at in missing {
        series[at] = f64::NAN;
    }
    series
}

/// Autocovariances of an ARMA process by its moving average of a length that leaves nothing over.
fn autocovariances(ar: &[f64], ma: &[f64], lags: usize, terms: usize) -> Vec<f64> {
    let mut psi = vec![0.0; terms];
    for at in 0..terms {
        let own = if at == 0 { 1.0 } else { ma.get(at - 1).copied().unwrap_or(0.0) };
        psi[at] = own + ar.iter().enumerate().take(at).map(|(lag, phi)| phi * psi[at - 1 - lag]).sum::<f64>();
    }
    (0..lags).map(|lag| psi[lag..].iter().zip(&psi).map(|(one, two)| one * two).sum()).collect()
}

/// Lower factor of a covariance matrix.
fn cholesky(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut lower = vec![vec![0.0; n]; n];
    for row in 0..n {
        for column in 0..=row {
            let inner: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let left = matrix[row][column] - inner;
            lower[row][column] = if row == column { left.sqrt() } else { left / lower[column][column] };
        }
    }
    lower
}

fn solve(lower: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut solution: Vec<f64> = Vec::new();
    for (row, value) in lower.iter().zip(right) {
        let inner: f64 = row.iter().zip(&solution).map(|(one, two)| one * two).sum();
        solution.push((value - inner) / row[solution.len()]);
    }
    solution
}

fn dot(one: &[f64], two: &[f64]) -> f64 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}

/// Sum of squares and log-determinant by the covariance of the values that are there. With d = 1 it is that
/// of their steps, with d = 2 that of what each departs from the line through the two before it; both have a
/// determinant of 1 next to the values given the first d of them.
fn dense(ar: &[f64], ma: &[f64], d: usize, constant: f64, series: &[f64], terms: usize) -> Filtered {
    let there: Vec<usize> = (0..series.len()).filter(|&at| !series[at].is_nan()).collect();
    let gamma = autocovariances(ar, ma, series.len(), terms);
    let contrast = |row: usize, value: &dyn Fn(usize) -> f64| {
        let step = |row: usize| value(there[row]) - value(there[row - 1]);
        let gap = |row: usize| (there[row] - there[row - 1]) as f64;
        match d {
            0 => value(there[row]),
            1 => step(row),
            _ => step(row) - step(row - 1) * gap(row) / gap(row - 1),
        }
    };
    // How the value at t is made of w_s, but for what the contrasts take off.
    let weight = |t: usize, s: usize| match d {
        0 => f64::from(u8::from(t == s)),
        1 => f64::from(u8::from(s <= t)),
        _ => (t + 1).saturating_sub(s) as f64,
    };
    let rows = d..there.len();
    let weights: Vec<Vec<f64>> = rows
        .clone()
        .map(|row| (0..series.len()).map(|s| contrast(row, &|t| weight(t, s))).collect())
        .collect();
    let spread: Vec<Vec<f64>> = weights
        .iter()
        .map(|row| {
            let at = |u: usize| row.iter().enumerate().map(|(s, weight)| weight * gamma[s.abs_diff(u)]).sum();
            (0..series.len()).map(at).collect()
        })
        .collect();
    let matrix: Vec<Vec<f64>> =
        spread.iter().map(|one| weights.iter().map(|two| dot(one, two)).collect()).collect();
    let lower = cholesky(&matrix);
    let column = |t: usize| if d == 0 { 1.0 } else { t as f64 };
    let y: Vec<f64> = rows.clone().map(|row| contrast(row, &|t| series[t] - constant * column(t))).collect();
    let y = solve(&lower, &y);
    let x: Vec<f64> = rows.clone().map(|row| if d == 2 { 0.0 } else { contrast(row, &column) }).collect();
    let x = solve(&lower, &x);
    let log_det: f64 = (0..rows.len()).map(|row| 2.0 * lower[row][row].ln()).sum();
    Filtered { s_yy: dot(&y, &y), s_yx: dot(&y, &x), s_xx: dot(&x, &x), log_det, n: rows.len() }
}

fn assert_close(what: &str, have: f64, want: f64, relative: f64) {
    assert!((have - want).abs() <= relative * (1.0 + want.abs()), "{what}: {have} is not {want}");
}

fn assert_same(what: &str, have: &Filtered, want: &Filtered, relative: f64) {
    assert_eq!(have.n, want.n, "{what}");
    assert_close(&format!("{what}: s_yy"), have.s_yy, want.s_yy, relative);
    assert_close(&format!("{what}: s_yx"), have.s_yx, want.s_yx, relative);
    assert_close(&format!("{what}: s_xx"), have.s_xx, want.s_xx, relative);
    assert_close(&format!("{what}: log_det"), have.log_det, want.log_det, relative);
}

type Case = (&'static [f64], &'static [f64]);

/// Autoregressive and moving-average parts: none, each alone, one longer than the other, complex and negative
/// roots, a root near the unit circle, parts that nearly cancel, moving-average roots on the circle and
/// inside it.
const CASES: [Case; 15] = [
    (&[], &[]),
    (&[0.6], &[]),
    (&[], &[-0.4]),
    (&[-0.7], &[0.5]),
    (&[0.5, -0.3], &[0.2]),
    (&[0.3], &[0.4, 0.25, -0.2]),
    (&[1.2, -0.5, 0.1, 0.05, -0.04], &[]),
    (&[], &[0.5, 0.3, -0.2, 0.1, 0.3]),
    (&[0.2, 0.1, -0.1, 0.15, 0.1], &[0.4, -0.3, 0.2, 0.1, -0.15]),
    (&[0.2, 0.1], &[0.4, -0.3, 0.2, 0.1, -0.15]),
    (&[0.99], &[-0.9]),
    (&[1.79, -0.801], &[0.3]),
    (&[0.5], &[-1.0]),
    (&[], &[0.0, -1.0]),
    (&[0.3], &[2.5]),
];

/// Which values are missing, of 30.
const MISSING: [&[usize]; 8] = [
    &[],
    &[0],
    &[1],
    &[0, 1, 2, 4, 5],
    &[29],
    &[10, 11, 12, 13, 14, 15, 16, 17],
    &[1, 2, 3, 7, 9, 20, 22, 24, 28, 29],
    &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28],
];

#[test]
fn the_likelihood_is_that_of_the_whole_covariance_matrix() {
    for (ar, ma) in CASES {
        for missing in MISSING {
            let series = without(rough(30), missing);
            for d in 0..=2 {
                let constant = if d < 2 { 0.7 } else { 0.0 };
                let have = deviance(ar, ma, d, (d < 2).then_some(constant), &series).expect("a likelihood");
                let want = dense(ar, ma, d, constant, &series, 3000);
                assert_same(&format!("{ar:?} {d} {ma:?} {missing:?}"), &have, &want, 1e-8);
            }
        }
    }
}

#[test]
fn a_root_next_to_the_unit_circle_loses_no_digits() {
    // (1 - 0.9995 B)(1 + 0.5 B): the variance is a thousand times that of an innovation.
    let ar = [0.4995, 0.49975];
    for missing in MISSING {
        let series = without(rough(30), missing);
        let have = deviance(&ar, &[0.3], 0, Some(2.0), &series).expect("a likelihood");
        let want = dense(&ar, &[0.3], 0, 2.0, &series, 60_000);
        assert_same(&format!("{missing:?}"), &have, &want, 1e-8);
    }
}

/// AR(1) has its likelihood in closed form, also where no moving average is long enough.
#[test]
fn an_autoregression_at_the_edge_has_the_likelihood_of_its_closed_form() {
    let series = rough(40);
    for edge in [1e-6, 1e-9, 1e-12] {
        let phi = 1.0 - edge;
        let have = deviance(&[phi], &[], 0, None, &series).expect("a likelihood");
        let left = edge * (1.0 + phi);
        let steps: f64 = series.windows(2).map(|pair| (pair[1] - phi * pair[0]).powi(2)).sum();
        assert_close("squares", have.s_yy, series[0] * series[0] * left + steps, 1e-10);
        assert_close("determinant", have.log_det, -left.ln(), 1e-4 * edge.sqrt() + 1e-5);
    }
}

#[test]
fn without_missing_values_it_is_the_likelihood_of_the_differences() {
    let series = rough(60);
    let once: Vec<f64> = series.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let twice: Vec<f64> = once.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (ar, ma) in CASES {
        let drift = deviance(ar, ma, 1, Some(0.7), &series).expect("a likelihood");
        let mean = deviance(ar, ma, 0, Some(0.7), &once).expect("a likelihood");
        assert_same(&format!("{ar:?} 1 {ma:?}"), &drift, &mean, 1e-9);
        let level = deviance(ar, ma, 2, None, &series).expect("a likelihood");
        let bare = deviance(ar, ma, 0, None, &twice).expect("a likelihood");
        assert_same(&format!("{ar:?} 2 {ma:?}"), &level, &bare, 1e-9);
    }
}

#[test]
fn the_sum_of_squares_is_a_parabola_of_the_constant() {
    let series = without(rough(30), MISSING[6]);
    for d in 0..2 {
        let at = |constant| deviance(&[0.5], &[0.3, -0.2], d, Some(constant), &series).expect("a likelihood");
        let centre = at(0.4);
        for shift in [-3.0, -0.1, 2.5] {
            let want = centre.s_yy - 2.0 * shift * centre.s_yx + shift * shift * centre.s_xx;
            assert_close("squares", at(0.4 + shift).s_yy, want, 1e-11);
        }
    }
}

#[test]
fn what_is_not_stationary_has_no_likelihood() {
    for ar in [[1.0, 0.0], [1.5, -0.3], [0.0, 1.0], [f64::NAN, 0.1]] {
        assert_eq!(deviance(&ar, &[], 0, None, &rough(20)), None, "{ar:?}");
    }
}

#[test]
fn the_state_is_certain_after_the_past_it_is_made_of_and_not_after_a_missing_value() {
    let model = model(&[0.5, 0.2], 1, &[], None);
    let system = System::of(&model);
    let mut state = model.apply(&rough(20)).expect("a likelihood").state;
    assert!(state.is_certain());
    state.skip(&system);
    assert!(!state.is_certain());
    for _ in 0..3 {
        state.observe(&system, 1.0);
    }
    assert!(state.is_certain());
}

#[test]
fn a_root_on_the_circle_is_never_certain() {
    let fitted = model(&[], 0, &[-1.0], Some(0.0)).apply(&rough(300)).expect("a likelihood");
    let column = fitted.state.columns[0][0];
    // The variance of what is not known after n values is 1 / (n + 1).
    assert_close("variance", column * column, 1.0 / 301.0, 1e-10);
}

#[test]
fn tiny_and_huge_values_work_or_are_out_of_range() {
    let model = model(&[0.5], 1, &[0.3], None);
    let plain = model.apply(&rough(50)).expect("a likelihood");
    for scale in [1e150, 1e-140] {
        let scaled: Vec<f64> = rough(50).iter().map(|value| value * scale).collect();
        let fitted = model.apply(&scaled).expect("a likelihood");
        assert_close("sigma", fitted.sigma2.sqrt() / scale, plain.sigma2.sqrt(), 1e-12);
    }
    for scale in [1e160, 1e307, 1e-160, 1e-300] {
        let scaled: Vec<f64> = rough(50).iter().map(|value| value * scale).collect();
        assert_eq!(model.apply(&scaled), Err(SeriesError::OutOfRange.into()), "{scale}");
    }
}

#[test]
fn what_cannot_be_filtered_says_why() {
    let model = model(&[], 2, &[0.3], None);
    assert_eq!(model.apply(&[]), Err(SeriesError::AllMissing { len: 0 }.into()));
    assert_eq!(model.apply(&[f64::NAN; 3]), Err(SeriesError::AllMissing { len: 3 }.into()));
    assert_eq!(model.apply(&[1.0, f64::NEG_INFINITY]), Err(SeriesError::Infinite { at: 1 }.into()));
    assert_eq!(model.apply(&[1.0, f64::NAN, 3.0]), Err(SeriesError::TooShort { have: 2, need: 3 }.into()));
    let line: Vec<f64> = (0..9).map(|at| 0.1 * f64::from(at) + 5.0).collect();
    let Err(FitError::NoNoise(line)) = model.apply(&without(line, &[3, 8])) else {
        panic!("a line has no noise")
    };
    assert_close("slope", line.slope, 0.1, 1e-14);
    assert_close("last", line.last, 5.8, 1e-14);
}

#[test]
fn residuals_have_the_variance_of_the_innovations() {
    let series = without(rough(40), &[0, 7, 8, 20]);
    let fitted = model(&[0.4], 1, &[0.6], Some(0.1)).apply(&series).expect("a likelihood");
    let residuals = fitted.residuals(&series);
    assert_eq!(residuals.len(), 40);
    let there: Vec<usize> = (0..40).filter(|&at| residuals[at].is_some()).collect();
    // The first value that is there begins the differences.
    assert_eq!(there, (2..40).filter(|at| ![7, 8, 20].contains(at)).collect::<Vec<_>>());
    let squares: f64 = residuals.iter().flatten().map(|residual| residual * residual).sum();
    assert_close("variance", squares / 35.0, fitted.sigma2, 1e-12);
}

#[test]
fn a_state_goes_on_where_the_series_would_have() {
    let series = without(rough(40), &[5, 30]);
    let model = model(&[0.4, 0.1], 1, &[0.6], Some(0.1));
    let system = System::of(&model);
    let mut state: State = model.apply(&series[..25]).expect("a likelihood").state;
    for &value in &series[25..] {
        if value.is_nan() {
            state.skip(&system);
        } else {
            state.observe(&system, value);
        }
    }
    assert_eq!(state, model.apply(&series).expect("a likelihood").state);
}

fn model(ar: &[f64], d: usize, ma: &[f64], constant: Option<f64>) -> Model {
    let order = Order::new(ar.len(), d, ma.len()).expect("in range");
    let order = if constant.is_some() { order.with_constant().expect("d < 2") } else { order };
    Model::new(order, Coefficients { ar: ar.to_vec(), ma: ma.to_vec(), constant }).expect("a model")
}
