//! The likelihood, the innovations and the forecast of given coefficients, against the covariance matrix of all
//! values at once.

mod support;

use isotherm_forecast::{Coefficients, Fitted, Model};
use support::dense::{autocovariances, dense};
use support::fixtures::reference;
use support::simulate::{Chance, coefficients};
use support::{Findings, order};

/// What is left of a double after the conditioning of the covariance matrix.
const TOLERANCE: f64 = 1e-7;

/// Each p, q, d at some coefficients, with a constant where there is one, and their own simulated series.
fn each(n: usize, limit: f64, mut check: impl FnMut(&mut Chance, usize, &Coefficients, &[f64])) {
    for p in 0..=5_usize {
        for q in 0..=5_usize {
            for d in 0..=2_usize {
                let mut chance = Chance::new((100 * p + 10 * q + d) as u64);
                let constant = (d < 2 && (p + q) % 2 == 0).then(|| chance.uniform(-3.0, 3.0));
                let (ar, ma) = (chance.stationary(p, limit), chance.invertible(q, limit));
                let coefficients = coefficients(&ar, &ma, constant);
                let series = chance.series(&coefficients, d, n);
                check(&mut chance, d, &coefficients, &series);
            }
        }
    }
}

fn compare(findings: &mut Findings, coefficients: &Coefficients, d: usize, series: &[f64], horizon: usize) {
    let order = order(coefficients.ar.len(), d, coefficients.ma.len(), coefficients.constant.is_some());
    let missing = series.iter().filter(|value| value.is_nan()).count();
    let what = format!("{order} {coefficients:?}, {missing} of {} missing", series.len());
    let Some(model) = findings.value(&what, Model::new(order, coefficients.clone())) else { return };
    let Some(fitted) = findings.value(&what, model.apply(series)) else { return };
    let truth = dense(coefficients, d, series, horizon);
    assert_eq!(fitted.observations(), truth.n);
    findings.near(
        &format!("{what}: log-likelihood"),
        fitted.log_likelihood(),
        truth.log_likelihood,
        TOLERANCE * truth.n as f64,
    );
    findings.near(&format!("{what}: sigma2"), fitted.sigma2() / truth.sigma2, 1.0, TOLERANCE);
    let forecast = fitted.forecast_with_variance(horizon, fitted.sigma2()).expect("a variance");
    for step in 0..horizon {
        let (mean, error) = (truth.mean[step], truth.standard_error[step]);
        let step_of = format!("{what}: step {}", step + 1);
        findings.near(&format!("{step_of} mean"), forecast.mean()[step], mean, 10.0 * TOLERANCE * error);
        let ratio = forecast.standard_error()[step] / error;
        findings.near(&format!("{step_of} standard error"), ratio, 1.0, 10.0 * TOLERANCE);
    }
    compare_innovations(findings, &what, &fitted, series, &truth.innovations);
}

fn compare_innovations(
    findings: &mut Findings,
    what: &str,
    fitted: &Fitted,
    series: &[f64],
    truth: &[(usize, f64, f64)],
) {
    let residuals = fitted.residuals(series);
    assert_eq!(residuals.len(), series.len());
    let known = residuals.iter().filter(|residual| residual.is_some()).count();
    findings.check(known == truth.len(), || format!("{what}: {known} residuals for {}", truth.len()));
    for &(at, error, variance) in truth {
        let residual = residuals[at].unwrap_or(f64::NAN);
        let scaled = error / variance.sqrt();
        let tolerance = 10.0 * TOLERANCE * fitted.sigma2().sqrt();
        findings.near(&format!("{what}: residual {at}"), residual, scaled, tolerance);
    }
}

#[test]
fn the_oracle_agrees_with_r_where_nothing_is_differenced() {
    let reference = reference();
    let mut findings = Findings::default();
    for fit in reference.fits().filter(|fit| fit.order().d() == 0) {
        let truth = dense(&fit.coefficients(), 0, &reference.series(&fit.series), 12);
        findings.near(&fit.name(), truth.log_likelihood, fit.loglik, 1e-6);
        findings.near(&fit.name(), truth.sigma2 / fit.sigma2, 1.0, 1e-7);
        for step in 0..12 {
            findings.near(&fit.name(), truth.mean[step], fit.forecast[step], 1e-6 * fit.fse[step]);
            findings.near(&fit.name(), truth.standard_error[step] / fit.fse[step], 1.0, 1e-6);
        }
    }
    findings.conclude(6 * 26);
}

#[test]
fn autocovariances_are_those_of_the_books() {
    let mut findings = Findings::default();
    for (lag, value) in autocovariances(&[0.8], &[], 6).into_iter().enumerate() {
        findings.near("AR(1)", value, 0.8_f64.powi(lag as i32) / (1.0 - 0.64), 1e-12);
    }
    for (lag, want) in [1.25, 0.5, 0.0, 0.0].into_iter().enumerate() {
        findings.near("MA(1)", autocovariances(&[], &[0.5], 4)[lag], want, 1e-12);
    }
    // Box and Jenkins: gamma_0 = (1 + 2 phi theta + theta^2) / (1 - phi^2), theta with a plus.
    let mixed = autocovariances(&[0.7], &[0.4], 3);
    findings.near("ARMA(1,1)", mixed[0], (1.0 + 0.56 + 0.16) / 0.51, 1e-12);
    findings.near("ARMA(1,1)", mixed[1], (1.0 + 0.28) * (0.7 + 0.4) / 0.51, 1e-12);
    findings.conclude(12);
}

#[test]
fn the_likelihood_is_that_of_all_values_at_once() {
    let mut findings = Findings::default();
    each(40, 0.9, |_, d, coefficients, series| compare(&mut findings, coefficients, d, series, 5));
    findings.conclude(5_000);
}

#[test]
fn missing_values_are_left_out_and_nothing_else() {
    let mut findings = Findings::default();
    each(40, 0.9, |chance, d, coefficients, series| {
        // Some at random, then half, a run, and both ends.
        for count in [4, 25] {
            let with_gaps = chance.with_gaps(series, 0, count);
            if with_gaps.iter().filter(|value| !value.is_nan()).count() > d + 1 {
                compare(&mut findings, coefficients, d, &with_gaps, 3);
            }
        }
        let mut run = series.to_vec();
        run[10..22].fill(f64::NAN);
        run[..2].fill(f64::NAN);
        run[37..].fill(f64::NAN);
        compare(&mut findings, coefficients, d, &run, 3);
    });
    findings.conclude(5_000);
}

#[test]
fn a_gap_before_the_differences_are_known_is_allowed_for() {
    let mut findings = Findings::default();
    each(30, 0.9, |_, d, coefficients, series| {
        let mut late = series.to_vec();
        late[1..7].fill(f64::NAN);
        compare(&mut findings, coefficients, d, &late, 3);
        late[8..12].fill(f64::NAN);
        compare(&mut findings, coefficients, d, &late, 3);
    });
    findings.conclude(2_000);
}

#[test]
fn series_of_a_few_values_have_the_likelihood_of_a_few_values() {
    let mut findings = Findings::default();
    each(8, 0.9, |_, d, coefficients, series| {
        for n in d + 2..=8 {
            compare(&mut findings, coefficients, d, &series[..n], 2);
        }
    });
    findings.conclude(2_000);
}

#[test]
fn long_series_close_to_the_unit_circle_have_their_likelihood() {
    let mut findings = Findings::default();
    for (seed, ar, ma) in [
        (1, vec![0.99], vec![]),
        (2, vec![1.5, -0.9], vec![0.3]),
        (3, vec![], vec![-0.99]),
        (4, vec![0.6], vec![-0.55]),
        (5, vec![0.4, 0.0, 0.0, 0.5], vec![0.0, 0.0, 0.0, 0.0, 0.8]),
        (6, vec![], vec![-1.0]),
        (7, vec![0.5], vec![0.0, -1.0]),
    ] {
        let mut chance = Chance::new(seed);
        let coefficients = coefficients(&ar, &ma, Some(2.0));
        let series = chance.series(&coefficients, 0, 200);
        compare(&mut findings, &coefficients, 0, &series, 5);
        compare(&mut findings, &coefficients, 0, &chance.with_gaps(&series, 0, 40), 5);
    }
    findings.conclude(500);
}
