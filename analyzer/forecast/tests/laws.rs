//! What must hold whatever the series: invariances, nested models, and that nothing finite breaks anything.

mod support;

use isotherm_forecast::{Coefficients, Fit, FitError, Fitted, Model, Order, Select, SeriesError};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::simulate::{Chance, coefficients};
use support::{Findings, flat, order};

/// Two ways to the same maximum.
const LIKELIHOOD: f64 = 1e-6;

/// A simulated series of an order, well inside the region.
fn simulated(seed: u64, p: usize, d: usize, q: usize, n: usize) -> Vec<f64> {
    let mut chance = Chance::new(seed);
    let (ar, ma) = (chance.stationary(p, 0.7), chance.invertible(q, 0.7));
    let constant = (d < 2).then(|| chance.uniform(-1.0, 1.0));
    chance.series(&coefficients(&ar, &ma, constant), d, n)
}

fn fit(order: Order, series: &[f64]) -> Fitted {
    Fit::new(order).fit(series).unwrap_or_else(|error| panic!("{order}: {error}"))
}

/// Models with one maximum on a series of their own.
fn shape() -> impl Strategy<Value = (usize, usize, usize)> {
    prop::sample::select(vec![
        (1, 0, 0),
        (0, 0, 1),
        (1, 0, 1),
        (2, 0, 0),
        (1, 1, 0),
        (0, 1, 1),
        (0, 2, 1),
        (1, 2, 0),
    ])
}

fn assert_near(what: &str, have: &[f64], want: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(have.len(), want.len());
    for (have, want) in have.iter().zip(want) {
        prop_assert!((have - want).abs() <= tolerance * (1.0 + want.abs()), "{what}: {have} is not {want}");
    }
    Ok(())
}

/// The same cases each time.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_shift_moves_the_mean_and_nothing_else(seed: u64, (p, d, q) in shape(), shift in -1e4..1e4_f64) {
        let order = order(p, d, q, d < 2);
        let series = simulated(seed, p, d, q, 80);
        let shifted: Vec<f64> = series.iter().map(|value| value + shift).collect();
        let (before, after) = (fit(order, &series), fit(order, &shifted));
        assert_near("likelihood", &[after.log_likelihood()], &[before.log_likelihood()], LIKELIHOOD)?;
        assert_near("variance", &[after.sigma2()], &[before.sigma2()], 1e-4)?;
        assert_near("ar", &after.coefficients().ar, &before.coefficients().ar, 1e-3)?;
        assert_near("ma", &after.coefficients().ma, &before.coefficients().ma, 1e-3)?;
        let moved = before.coefficients().constant.map(|c| if d == 0 { c + shift } else { c });
        let scale = before.sigma2().sqrt();
        let apart = after.coefficients().constant.zip(moved).map_or(0.0, |(have, want)| (have - want).abs());
        prop_assert!(apart <= 1e-3 * scale, "the constant is {apart} off");
        let (next, next_of_shifted) = (before.forecast(5), after.forecast(5));
        for (have, want) in next_of_shifted.mean().iter().zip(next.mean()) {
            prop_assert!((have - shift - want).abs() <= 1e-2 * scale);
        }
    }

    #[test]
    fn a_scale_scales_and_nothing_else(
        seed: u64,
        (p, d, q) in shape(),
        scale in prop::sample::select(vec![1e-100, 1e-6, 0.37, -1.0, 3.0, 1e8, 1e100]),
    ) {
        let order = order(p, d, q, d < 2);
        let series = simulated(seed, p, d, q, 80);
        let scaled: Vec<f64> = series.iter().map(|value| value * scale).collect();
        let (before, after) = (fit(order, &series), fit(order, &scaled));
        let unscaled = after.log_likelihood() + after.observations() as f64 * scale.abs().ln();
        assert_near("likelihood", &[unscaled], &[before.log_likelihood()], LIKELIHOOD)?;
        assert_near("variance", &[after.sigma2() / scale / scale], &[before.sigma2()], 1e-4)?;
        assert_near("ar", &after.coefficients().ar, &before.coefficients().ar, 1e-3)?;
        assert_near("ma", &after.coefficients().ma, &before.coefficients().ma, 1e-3)?;
        let (next, next_of_scaled) = (before.forecast(5), after.forecast(5));
        for step in 0..5 {
            let (mean, error) = (next.mean()[step], next.standard_error()[step]);
            prop_assert!((next_of_scaled.mean()[step] / scale - mean).abs() <= 1e-2 * error);
            let ratio = next_of_scaled.standard_error()[step] / scale.abs() / error;
            prop_assert!((ratio - 1.0).abs() <= 1e-2, "{ratio}");
        }
    }

    #[test]
    fn the_likelihood_does_not_know_the_direction_of_time(seed: u64, p in 0..=5_usize, q in 0..=5_usize) {
        let mut chance = Chance::new(seed);
        let (ar, ma) = (chance.stationary(p, 0.9), chance.invertible(q, 0.9));
        let coefficients = coefficients(&ar, &ma, Some(1.0));
        let with_gaps = |chance: &mut Chance, series: &[f64]| chance.with_gaps(series, 0, 6);
        let series = chance.series(&coefficients, 0, 60);
        let gaps = with_gaps(&mut chance, &series);
        let model = Model::new(order(p, 0, q, true), coefficients).expect("a model");
        for series in [series, gaps] {
            let reversed: Vec<f64> = series.iter().rev().copied().collect();
            let (there, back) = (model.apply(&series).expect("a fit"), model.apply(&reversed).expect("a fit"));
            assert_near("likelihood", &[back.log_likelihood()], &[there.log_likelihood()], 1e-8)?;
            assert_near("variance", &[back.sigma2()], &[there.sigma2()], 1e-8)?;
        }
    }

    #[test]
    fn missing_values_at_the_end_only_move_the_horizon(seed: u64, (p, d, q) in shape(), count in 1..6_usize) {
        let order = order(p, d, q, d < 2);
        let series = simulated(seed, p, d, q, 70);
        let later: Vec<f64> = series.iter().copied().chain(vec![f64::NAN; count]).collect();
        let earlier: Vec<f64> = vec![f64::NAN; count].into_iter().chain(series.iter().copied()).collect();
        let before = fit(order, &series);
        for (with, skipped) in [(later, count), (earlier, 0)] {
            let after = fit(order, &with);
            prop_assert_eq!(after.observations(), before.observations());
            assert_near("likelihood", &[after.log_likelihood()], &[before.log_likelihood()], LIKELIHOOD)?;
            assert_near("coefficients", &flat(after.coefficients()), &flat(before.coefficients()), 1e-3)?;
            let again = before.model().apply(&with).expect("a fit");
            let (want, have) = (before.forecast(skipped + 4), again.forecast(4));
            let scale = before.sigma2().sqrt();
            for step in 0..4 {
                prop_assert!((have.mean()[step] - want.mean()[skipped + step]).abs() <= 1e-8 * scale);
                let ratio = have.standard_error()[step] / want.standard_error()[skipped + step];
                prop_assert!((ratio - 1.0).abs() <= 1e-8);
            }
        }
    }

    #[test]
    fn a_fit_is_where_no_small_step_leads_up(seed: u64, p in 0..=3_usize, d in 0..=2_usize, q in 0..=3_usize) {
        let series = simulated(seed, p.min(2), d, q.min(2), 60);
        let order = order(p, d, q, d < 2);
        let fitted = fit(order, &series);
        let at = flat(fitted.coefficients());
        for index in 0..at.len() {
            for step in [-1e-3, 1e-3] {
                let mut moved = at.clone();
                moved[index] += if index < p + q { step } else { step * fitted.sigma2().sqrt() };
                let coefficients = Coefficients {
                    ar: moved[..p].to_vec(),
                    ma: moved[p..p + q].to_vec(),
                    constant: (d < 2).then(|| moved[p + q]),
                };
                // Out of the region is no step.
                let Ok(model) = Model::new(order, coefficients) else { continue };
                let there = model.apply(&series).expect("a likelihood").log_likelihood();
                prop_assert!(there <= fitted.log_likelihood() + 1e-4, "{order} {at:?}: {there} at {moved:?}");
            }
        }
    }

    #[test]
    fn what_was_written_down_forecasts_the_same_to_the_bit(seed: u64, p in 0..=3_usize, d in 0..=2_usize, q in 0..=3_usize) {
        let mut chance = Chance::new(seed);
        let series = simulated(seed, p.min(1), d, q.min(1), 60);
        for series in [chance.with_gaps(&series, 0, 3), series] {
            let fitted = fit(order(p, d, q, d < 2), &series);
            let text = serde_json::to_string(&fitted).expect("it can be written");
            let read: Fitted = serde_json::from_str(&text).expect("it can be read");
            prop_assert_eq!(&read, &fitted);
            prop_assert_eq!(read.forecast(20), fitted.forecast(20));
        }
    }
}

/// All that comes out is finite, within its range, and a model.
fn check(what: &str, fitted: &Fitted, series: &[f64]) -> Result<(), TestCaseError> {
    let model = Model::new(fitted.order(), fitted.coefficients().clone());
    prop_assert!(model.is_ok(), "{what}: {model:?}");
    prop_assert!(
        fitted.sigma2() > 0.0 && fitted.sigma2().is_finite(),
        "{what}: variance {}",
        fitted.sigma2()
    );
    prop_assert!(fitted.sigma2_unbiased().is_finite(), "{what}");
    for value in [fitted.log_likelihood(), fitted.aic(), fitted.bic()] {
        prop_assert!(value.is_finite(), "{what}: {value}");
    }
    prop_assert!(!fitted.aicc().is_nan(), "{what}");
    let residuals = fitted.residuals(series);
    prop_assert_eq!(residuals.len(), series.len());
    prop_assert!(residuals.iter().flatten().all(|residual| residual.is_finite()), "{what}: {residuals:?}");
    if let Ok(errors) = fitted.standard_errors(series) {
        prop_assert_eq!(errors.len(), fitted.order().coefficients());
        let fine = errors.iter().flatten().all(|error| error.is_finite() && *error > 0.0);
        prop_assert!(fine, "{what}: {errors:?}");
    }
    let forecast = fitted.forecast(30);
    prop_assert!(forecast.mean().iter().all(|mean| mean.is_finite()), "{what}: {forecast:?}");
    let errors = forecast.standard_error();
    prop_assert!(errors.iter().all(|error| error.is_finite() && *error >= 0.0), "{what}: {errors:?}");
    for interval in forecast.interval(0.95).expect("a level") {
        prop_assert!(interval.low.is_finite() && interval.high.is_finite(), "{what}: {interval:?}");
        prop_assert!(interval.low <= interval.high, "{what}: {interval:?}");
    }
    Ok(())
}

/// A reason, with finite numbers in it, that can be told.
fn check_refusal(what: &str, error: &FitError) -> Result<(), TestCaseError> {
    prop_assert!(!error.to_string().is_empty());
    if let FitError::NoNoise(line) = error {
        prop_assert!(line.last.is_finite() && line.slope.is_finite(), "{what}: {line:?}");
        prop_assert!(line.forecast(5).iter().all(|value| value.is_finite()), "{what}: {line:?}");
    }
    Ok(())
}

fn order_any() -> impl Strategy<Value = Order> {
    (0..=5_usize, 0..=2_usize, 0..=5_usize, any::<bool>())
        .prop_map(|(p, d, q, constant)| order(p, d, q, constant && d < 2))
}

/// One value: of a usual size, or of one that breaks arithmetic, or missing.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -10.0..10.0_f64,
        1 => Just(0.0),
        1 => Just(f64::NAN),
        1 => prop::sample::select(vec![1e300, -1e300, f64::MAX, f64::MIN, 1e154, -1e154]),
        1 => prop::sample::select(vec![5e-324, -5e-324, 1e-308, f64::MIN_POSITIVE, 1e-160]),
    ]
}

/// Lengths 0 to 40, of kinds that have something special about them.
fn series_any() -> impl Strategy<Value = Vec<f64>> {
    let len = 0..40_usize;
    let some = prop::sample::select(vec![0.0, 1.0, -3.7, 1e-300, 5e-324, 1e150, 1e300, f64::MAX, 0.1]);
    let usual = prop::collection::vec(-10.0..10.0_f64, 0..40);
    prop_oneof![
        3 => prop::collection::vec(value(), 0..40),
        2 => usual.clone(),
        1 => (usual, prop::sample::select(vec![1e-300, 1e-310, 1e-150, 1e150, 1e300, 1e307]))
            .prop_map(|(values, scale)| values.into_iter().map(|value| value * scale).collect()),
        1 => (len.clone(), some.clone()).prop_map(|(n, value)| vec![value; n]),
        1 => (len.clone(), some.clone())
            .prop_map(|(n, value)| (0..n).map(|at| if at % 2 == 0 { value } else { -value }).collect()),
        1 => (len.clone(), some.clone(), 0..40_usize)
            .prop_map(|(n, value, when)| (0..n).map(|at| if at < when { 1.0 } else { value }).collect()),
        1 => (len.clone(), -5.0..5.0_f64, -1.0..1.0_f64, 0..40_usize).prop_map(|(n, from, slope, missing)| {
            let line = |at: usize| if at == missing { f64::NAN } else { from + slope * at as f64 };
            (0..n).map(line).collect()
        }),
        1 => (len.clone(), 0..40_usize, 0..40_usize).prop_map(|(n, one, other)| {
            let there = |at: usize| if at == one || at == other { at as f64 } else { f64::NAN };
            (0..n).map(there).collect()
        }),
        1 => (len, any::<u64>()).prop_map(|(n, seed)| {
            // A value far larger than the others, which are noise.
            let mut chance = Chance::new(seed);
            let mut values: Vec<f64> = (0..n).map(|_| chance.normal()).collect();
            if let Some(last) = values.last_mut() {
                *last = 1e12;
            }
            values
        }),
    ]
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn no_series_breaks_a_fit(series in series_any(), order in order_any()) {
        for fit in [Fit::new(order), Fit::new(order).conditional(), Fit::new(order).starts(1)] {
            let what = format!("{order} {fit:?} of {series:?}");
            match fit.fit(&series) {
                Ok(fitted) => check(&what, &fitted, &series)?,
                Err(error) => check_refusal(&what, &error)?,
            }
        }
    }

    #[test]
    fn no_series_breaks_given_coefficients(series in series_any(), order in order_any(), seed: u64, near in 0.0..1.0_f64) {
        let mut chance = Chance::new(seed);
        // Up to the unit circle.
        let limit = 1.0 - near.powi(12);
        let (ar, ma) = (chance.stationary(order.p(), limit), chance.invertible(order.q(), limit));
        let constant = order.has_constant().then_some(0.5);
        let Ok(model) = Model::new(order, coefficients(&ar, &ma, constant)) else { return Ok(()) };
        let what = format!("{model:?} of {series:?}");
        match model.apply(&series) {
            Ok(fitted) => check(&what, &fitted, &series)?,
            Err(error) => check_refusal(&what, &error)?,
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_series_breaks_the_choice_of_an_order(series in series_any()) {
        let what = format!("{series:?}");
        match Select::new().select(&series) {
            Ok(selection) => {
                check(&what, &selection.fitted, &series)?;
                prop_assert!(selection.tried.iter().filter_map(|tried| tried.aicc).all(f64::is_finite), "{what}");
            }
            Err(error) => check_refusal(&what, &error)?,
        }
    }

    #[test]
    fn an_infinite_value_is_named(values in prop::collection::vec(-5.0..5.0_f64, 1..30), at in 0..30_usize, order in order_any()) {
        let mut series = values;
        let at = at % series.len();
        series[at] = if at % 2 == 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        let expected = FitError::Series(SeriesError::Infinite { at });
        prop_assert_eq!(Fit::new(order).fit(&series).expect_err("infinite"), expected.clone());
        prop_assert_eq!(Select::new().select(&series).expect_err("infinite"), expected);
    }
}

/// A likelihood can have several maxima, so this is a share and no law; that of orders with more terms is larger.
#[test]
fn a_larger_model_is_hardly_ever_less_likely() {
    let (mut pairs, mut lower) = (0, Vec::new());
    for seed in 0..30 {
        for d in 0..=2 {
            let series = simulated(seed, 1, d, 1, 60);
            for (p, q) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2)] {
                let small = fit(order(p, d, q, false), &series).log_likelihood();
                let constant = (d < 2).then(|| order(p, d, q, true));
                for larger in
                    [order(p + 1, d, q, false), order(p, d, q + 1, false)].into_iter().chain(constant)
                {
                    let large = fit(larger, &series).log_likelihood();
                    pairs += 1;
                    if large < small - 1e-4 {
                        lower
                            .push(format!("seed {seed} {larger}: {large} is below {small} of ({p},{d},{q})"));
                    }
                }
            }
        }
    }
    println!("{} of {pairs}: {lower:#?}", lower.len());
    assert!(pairs > 1_000 && 200 * lower.len() <= pairs, "{} of {pairs}: {lower:#?}", lower.len());
}

#[test]
fn near_the_edge_of_the_region_all_is_finite() {
    let mut chance = Chance::new(1);
    let white: Vec<f64> = (0..80).map(|_| chance.normal()).collect();
    let overdifferenced: Vec<f64> = white.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let twice: Vec<f64> = overdifferenced.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let near_unit = chance.series(&coefficients(&[0.9999], &[], Some(100.0)), 0, 120);
    let cycle: Vec<f64> = (0..90).map(|t| (f64::from(t) * 0.7).sin()).collect();
    let ramp: Vec<f64> = (0..60).map(|t| f64::from(t) + 1e-9 * chance.normal()).collect();
    let step: Vec<f64> = (0..60).map(|t| if t < 30 { 0.0 } else { 1.0 }).collect();
    let spike: Vec<f64> = (0..60).map(|t| if t == 30 { 1.0 } else { 0.0 }).collect();
    let alternating: Vec<f64> = (0..50).map(|t| if t % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let explosive: Vec<f64> = (0..60).map(|t| 1.2_f64.powi(t)).collect();
    let all = [white, overdifferenced, twice, near_unit, cycle, ramp, step, spike, alternating, explosive];
    let mut findings = Findings::default();
    for (number, series) in all.iter().enumerate() {
        for (p, d, q) in [
            (5, 0, 5),
            (5, 1, 5),
            (5, 2, 5),
            (1, 0, 0),
            (0, 0, 1),
            (0, 1, 1),
            (0, 2, 2),
            (1, 0, 1),
            (3, 0, 3),
        ] {
            for constant in [false, true] {
                let order = order(p, d, q, constant && d < 2);
                let what = format!("series {number} {order}");
                let checked = match Fit::new(order).fit(series) {
                    Ok(fitted) => check(&what, &fitted, series),
                    Err(error) => check_refusal(&what, &error),
                };
                findings.check(checked.is_ok(), || format!("{checked:?}"));
            }
        }
    }
    findings.conclude(180);
}

#[test]
fn the_models_of_overdifferenced_noise_are_on_the_edge() {
    let mut chance = Chance::new(5);
    let white: Vec<f64> = (0..200).map(|_| chance.normal()).collect();
    let difference: Vec<f64> = white.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let moving = fit(order(0, 0, 1, false), &difference);
    // The estimate of a moving-average unit root piles up there (Sargan and Bhargava 1983).
    assert!(moving.coefficients().ma[0] < -0.95, "{:?}", moving.coefficients());
    let over = fit(order(5, 1, 5, false), &white);
    let plain = fit(order(0, 1, 1, false), &white);
    assert!(over.log_likelihood() >= plain.log_likelihood() - 1e-4);
}
