//! What holds for every model and every series: nothing that is finite becomes anything else, and neither
//! where a series is counted from nor its unit matters.

use isotherm_forecast::{Coefficients, FitError, Fitted, Model, Order, Policy, SeriesError, Tracker};
use proptest::prelude::*;

/// Coefficients of partial autocorrelations (Barndorff-Nielsen and Schou 1973): stationary, however near the
/// edge they are.
fn stationary(partial: &[f64]) -> Vec<f64> {
    let mut coefficients: Vec<f64> = Vec::new();
    for &partial in partial {
        let reversed: Vec<f64> = coefficients.iter().rev().copied().collect();
        for (coefficient, reversed) in coefficients.iter_mut().zip(reversed) {
            *coefficient -= partial * reversed;
        }
        coefficients.push(partial);
    }
    coefficients
}

/// Anywhere between -1 and 1, often within 1e-9 of them.
fn partial() -> BoxedStrategy<f64> {
    prop_oneof![
        3 => -0.95..0.95_f64,
        1 => (1.0..9.0_f64, any::<bool>()).prop_map(|(digits, positive)| {
            let near = 1.0 - 10.0_f64.powf(-digits);
            if positive { near } else { -near }
        }),
    ]
    .boxed()
}

fn model(edge: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = Model> {
    let parts = (prop::collection::vec(edge.clone(), 0..=5), prop::collection::vec(edge, 0..=5));
    (parts, 0..=2_usize, prop::option::of(-2.0..2.0_f64)).prop_filter_map(
        "the digits of the coefficients are stationary as well",
        |((ar, ma), d, constant)| {
            let order = Order::new(ar.len(), d, ma.len()).expect("in range");
            let constant = constant.filter(|_| d < 2);
            let order = if constant.is_some() { order.with_constant().expect("d < 2") } else { order };
            let ma = stationary(&ma).iter().map(|coefficient| -coefficient).collect();
            Model::new(order, Coefficients { ar: stationary(&ar), ma, constant }).ok()
        },
    )
}

/// Noise, of which some is missing, on a level and a slope.
fn series() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![6 => -3.0..3.0_f64, 1 => Just(f64::NAN), 1 => Just(0.0)];
    (prop::collection::vec(value, 0..60), -1e3..1e3_f64, prop_oneof![Just(0.0), -2.0..2.0_f64]).prop_map(
        |(noise, level, slope)| {
            noise.iter().enumerate().map(|(at, noise)| noise + level + slope * at as f64).collect()
        },
    )
}

fn all_finite(fitted: &Fitted) -> bool {
    let forecast = fitted.forecast(30);
    let intervals = forecast.interval(0.99).expect("a level");
    let ends = intervals.iter().flat_map(|interval| [interval.low, interval.high]);
    let numbers = [fitted.sigma2(), fitted.log_likelihood(), fitted.aic(), fitted.bic()];
    numbers.into_iter().chain(ends).chain(forecast.mean().to_vec()).all(f64::is_finite)
        // A doubt about the state that passes can narrow what comes after it.
        && (forecast.standard_error().is_sorted() || !fitted.state().is_certain())
        && forecast.standard_error().iter().all(|error| *error > 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_finite_stays_finite(model in model(partial()), series in series()) {
        let d = model.order().d();
        let have = series.iter().filter(|value| !value.is_nan()).count();
        match model.apply(&series) {
            Ok(fitted) => {
                prop_assert!(all_finite(&fitted), "{fitted:?}");
                let residuals = fitted.residuals(&series);
                prop_assert_eq!(residuals.iter().flatten().count(), fitted.observations());
                prop_assert!(residuals.iter().flatten().all(|residual| residual.is_finite()));
                let mut tracker = Tracker::new(&fitted, Policy::default(), None);
                for &value in &series {
                    let innovation = tracker.update(value).expect("in range");
                    prop_assert!(innovation.predicted.is_finite() && innovation.standard_error > 0.0);
                    prop_assert_eq!(innovation.standardised().is_some_and(f64::is_finite), !value.is_nan());
                }
            }
            Err(FitError::Series(SeriesError::AllMissing { len })) => {
                prop_assert_eq!((len, have), (series.len(), 0));
            }
            Err(FitError::Series(SeriesError::TooShort { need, .. })) => {
                prop_assert!(have <= d && need == d + 1);
            }
            Err(FitError::NoNoise(line)) => prop_assert!(line.last.is_finite() && line.slope.is_finite()),
            // Partial autocorrelations this near the edge are lost in the digits of the coefficients.
            Err(FitError::NoLikelihood) => prop_assert!(model.order().p() > 1),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn neither_unit_nor_origin_matters(
        model in model(-0.95..0.95_f64),
        series in series(),
        unit in -40..40_i32,
        origin in -1e3..1e3_f64,
    ) {
        let unit = 2.0_f64.powi(unit);
        let moved: Vec<f64> = series.iter().map(|value| (value + origin) * unit).collect();
        let mut coefficients = model.coefficients().clone();
        let order = model.order();
        // A mean moves with the series; a model without one has its origin at zero.
        let origin_matters = order.d() == 0 && coefficients.constant.is_none();
        let moved = if origin_matters { series.iter().map(|value| value * unit).collect() } else { moved };
        let shift = if origin_matters { 0.0 } else { origin };
        coefficients.constant =
            coefficients.constant.map(|constant| if order.d() == 0 { (constant + origin) * unit } else { constant * unit });
        let other = Model::new(order, coefficients).expect("a model");
        if let (Ok(plain), Ok(moved)) = (model.apply(&series), other.apply(&moved)) {
            prop_assume!(plain.sigma2() > 1e-6);
            let want = plain.log_likelihood() - plain.observations() as f64 * unit.ln();
            prop_assert!((moved.log_likelihood() - want).abs() < 1e-6 * (1.0 + want.abs()));
            let (have, want) = (moved.forecast(5), plain.forecast(5));
            for step in 0..5 {
                let error = want.standard_error()[step];
                prop_assert!((have.mean()[step] / unit - shift - want.mean()[step]).abs() < 1e-6 * error);
                prop_assert!((have.standard_error()[step] / unit / error - 1.0).abs() < 1e-6);
            }
        }
    }
}
