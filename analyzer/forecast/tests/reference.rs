//! Fits against R 4.2.2 and, for differenced series, the maximum of the exact likelihood.

mod support;

use isotherm_forecast::{Coefficients, Fit, FitError, Fitted, Method, Model};
use support::dense::log_likelihood;
use support::fixtures::{ExactDifferenced, MaximumLikelihood, exact_differenced, reference};
use support::{Findings, flat, on_the_circle};

/// A maximum that is lower than the reference's by more than this was not found.
const LIKELIHOOD: f64 = 1e-4;
/// In standard errors. Where the likelihood is flat to within 2e-6, the coefficients are to within `sqrt(4e-6)`.
const COEFFICIENT: f64 = 2e-3;
/// Relative. R takes second differences of the likelihood in steps of 1e-3.
const STANDARD_ERROR: f64 = 0.02;
/// Relative, R's diffuse prior included: of forecasts, and of the width of their limits.
const DIFFERENCED_FORECAST: f64 = 3e-4;
const DIFFERENCED_WIDTH: f64 = 2.8e-3;

/// Where our maximum is higher than R's, and by how much at least: another model, whose coefficients and forecasts
/// are not R's.
const HIGHER: &[(&str, f64)] = &[("gen_arma21 ARIMA(3,0,3) with mean", 0.1)];

fn is_another(fit: &MaximumLikelihood) -> bool {
    HIGHER.iter().any(|(name, _)| *name == fit.name())
}

/// What is to be reached: of R, or for a differenced series without missing values the exact one.
struct Target {
    log_likelihood: f64,
    coefficients: Vec<f64>,
    sigma2: f64,
    /// Relative, of the variance.
    sigma2_tolerance: f64,
    /// In standard errors.
    coefficient_tolerance: f64,
}

fn target(fit: &MaximumLikelihood, exact: &[ExactDifferenced], series: &[f64]) -> Target {
    let of_exact = exact.iter().find(|other| other.series == fit.series && other.order() == fit.order());
    match (of_exact, fit.order().d()) {
        (Some(other), _) => Target {
            log_likelihood: other.llf,
            coefficients: flat(&other.coefficients()),
            sigma2: other.sigma2(),
            sigma2_tolerance: 1e-5,
            coefficient_tolerance: COEFFICIENT,
        },
        (None, 0) => Target {
            log_likelihood: fit.loglik,
            coefficients: flat(&fit.coefficients()),
            sigma2: fit.sigma2,
            sigma2_tolerance: 1e-5,
            coefficient_tolerance: COEFFICIENT,
        },
        // Missing values: R's likelihood is off by its prior, so its own coefficients are judged exactly.
        (None, _) => Target {
            log_likelihood: worth(&fit.coefficients(), fit.order().d(), series),
            coefficients: flat(&fit.coefficients()),
            sigma2: fit.sigma2,
            sigma2_tolerance: 1e-3,
            coefficient_tolerance: 0.03,
        },
    }
}

fn worth(coefficients: &Coefficients, d: usize, series: &[f64]) -> f64 {
    log_likelihood(coefficients, d, series).expect("stationary")
}

/// Each fit of R, what is to be reached, and what is.
fn each(mut check: impl FnMut(&mut Findings, &MaximumLikelihood, &[f64], Target, Fitted)) -> Findings {
    let (reference, exact) = (reference(), exact_differenced());
    let mut findings = Findings::default();
    for fit in reference.fits() {
        let series = reference.series(&fit.series);
        let target = target(fit, &exact, &series);
        if let Some(fitted) = findings.value(&fit.name(), Fit::new(fit.order()).fit(&series)) {
            check(&mut findings, fit, &series, target, fitted);
        }
    }
    findings
}

#[test]
fn the_maximum_is_not_below_that_of_r() {
    let findings = each(|findings, fit, series, target, fitted| {
        let (have, want) = (fitted.log_likelihood(), target.log_likelihood);
        findings.check(have >= want - LIKELIHOOD, || format!("{}: {have} is below {want}", fit.name()));
        if let Some((name, least)) = HIGHER.iter().find(|(name, _)| *name == fit.name()) {
            findings.check(have >= want + least, || format!("{name}: {have} is not above {want} by {least}"));
        }
        // It is the likelihood of what was found, by another way.
        let again = worth(fitted.coefficients(), fit.order().d(), series);
        findings.near(&format!("{} at its own coefficients", fit.name()), have, again, 1e-6);
    });
    findings.conclude(36);
}

#[test]
fn coefficients_variance_and_criterion_are_those_of_r() {
    let findings = each(|findings, fit, _, target, fitted| {
        if is_another(fit) {
            return;
        }
        let name = fit.name();
        let coefficients = flat(fitted.coefficients());
        assert_eq!(coefficients.len(), fit.se.len());
        for (at, want) in target.coefficients.iter().enumerate() {
            let tolerance = target.coefficient_tolerance * fit.se[at];
            findings.near(&format!("{name} coefficient {at}"), coefficients[at], *want, tolerance);
        }
        findings.near(
            &format!("{name} sigma2"),
            fitted.sigma2() / target.sigma2,
            1.0,
            target.sigma2_tolerance,
        );
        findings.check(fitted.observations() == fit.nobs, || format!("{name}: {}", fitted.observations()));
        let aicc = fit.aicc + 2.0 * (fit.loglik - target.log_likelihood);
        findings.near(&format!("{name} AICc"), fitted.aicc(), aicc, 2.0 * LIKELIHOOD);
        findings.check(fitted.method() == Method::Exact, || format!("{name}: {:?}", fitted.method()));
    });
    findings.conclude(60);
}

#[test]
fn standard_errors_are_those_of_r() {
    let findings = each(|findings, fit, series, _, fitted| {
        if is_another(fit) {
            return;
        }
        let name = fit.name();
        let Some(errors) = findings.value(&name, fitted.standard_errors(series)) else { return };
        assert_eq!(errors.len(), fit.se.len());
        for (at, (have, want)) in errors.iter().zip(&fit.se).enumerate() {
            // R goes on beyond the unit circle, where the likelihood is that of the inverted roots.
            if have.is_none() && on_the_circle(&fitted.coefficients().ma) {
                continue;
            }
            let ratio = have.unwrap_or(f64::NAN) / want;
            findings.near(&format!("{name} standard error {at}"), ratio, 1.0, STANDARD_ERROR);
        }
    });
    findings.conclude(40);
}

#[test]
fn twelve_steps_and_their_limits_are_those_of_r() {
    let findings = each(|findings, fit, _, _, fitted| {
        if is_another(fit) {
            return;
        }
        let forecast = fitted.forecast_with_variance(12, fitted.sigma2()).expect("a variance");
        let limits = forecast.interval(0.95).expect("a level");
        for (step, (&mean, &error)) in fit.forecast.iter().zip(&fit.fse).enumerate() {
            let what = format!("{} step {}", fit.name(), step + 1);
            let (of_mean, of_width) = match fit.order().d() {
                0 => (2e-3 * error, 1e-4),
                _ => ((DIFFERENCED_FORECAST * mean.abs()).max(2e-3 * error), DIFFERENCED_WIDTH),
            };
            findings.near(&format!("{what} mean"), forecast.mean()[step], mean, of_mean);
            let ratio = forecast.standard_error()[step] / error;
            findings.near(&format!("{what} standard error"), ratio, 1.0, of_width);
            let limit_tolerance = 2.0 * of_width * error + of_mean;
            findings.near(&format!("{what} low"), limits[step].low, fit.lo95[step], limit_tolerance);
            findings.near(&format!("{what} high"), limits[step].high, fit.hi95[step], limit_tolerance);
        }
    });
    findings.conclude(12 * 44);
}

#[test]
fn limits_of_the_unbiased_variance_are_those_of_auto_arima() {
    let reference = reference();
    let mut findings = Findings::default();
    for choice in &reference.auto_arima {
        let name = format!("{} {} {}", choice.series, choice.mode, choice.order());
        let series = reference.series(&choice.series);
        // R stops short of the maximum, so its coefficients are taken as they are.
        let model = Model::new(choice.order(), choice.coefficients());
        let Some(model) = findings.value(&name, model) else { continue };
        let Some(fitted) = findings.value(&name, model.apply(&series)) else { continue };
        let relative = match choice.order().d() {
            0 => 1e-6,
            d => DIFFERENCED_WIDTH + share_of_the_prior(d, &series, &fitted),
        };
        findings.near(&name, fitted.sigma2_unbiased() / choice.sigma2_unbiased, 1.0, relative);
        let forecast = fitted.forecast(12);
        let limits = forecast.interval(0.95).expect("a level");
        for (step, &mean) in choice.forecast.iter().enumerate() {
            let width = choice.hi95[step] - choice.lo95[step];
            let what = format!("{name} step {}", step + 1);
            findings.near(&what, forecast.mean()[step], mean, relative * width);
            findings.near(&what, limits[step].low, choice.lo95[step], 2.0 * relative * width);
            findings.near(&what, limits[step].high, choice.hi95[step], 2.0 * relative * width);
        }
    }
    findings.conclude(16 * 39);
}

/// R's prior for the first d values has the variance 1e6 around zero, so that their squares over 1e6 are among its
/// squares of innovations: relative to all of them.
fn share_of_the_prior(d: usize, series: &[f64], fitted: &Fitted) -> f64 {
    let first: f64 = series.iter().filter(|value| !value.is_nan()).take(d).map(|value| value * value).sum();
    first / 1e6 / (fitted.sigma2() * fitted.observations() as f64)
}

#[test]
fn the_conditional_fit_is_near_the_exact_one() {
    let findings = each(|findings, fit, series, _, fitted| {
        let name = fit.name();
        if let Some(at) = series.iter().position(|value| value.is_nan()) {
            let refused = Fit::new(fit.order()).conditional().fit(series);
            findings.check(refused == Err(FitError::Gap { at }), || format!("{name}: {refused:?}"));
            return;
        }
        let Some(conditional) = findings.value(&name, Fit::new(fit.order()).conditional().fit(series)) else {
            return;
        };
        findings.check(conditional.method() == Method::Conditional, || {
            format!("{name}: {:?}", conditional.method())
        });
        let below = fitted.log_likelihood() - conditional.log_likelihood();
        // Its likelihood is the exact one at what it found, so it is no higher, and asymptotically no lower: of
        // the order of the first few values out of n.
        findings.check((-LIKELIHOOD..4.0).contains(&below), || format!("{name}: {below} below"));
    });
    findings.conclude(24);
}
