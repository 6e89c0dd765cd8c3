use super::*;
use crate::backtest::origin::Rolling;
use crate::backtest::synthetic::{self, Kind};
use proptest::prelude::*;
use rand_distr::{Cauchy, Distribution, Exp1, StandardNormal, StudentT};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;

const Z95: f64 = 1.959963984540054;

fn settings(sides: Sides, unit: Unit, window: usize) -> Settings {
    Settings { sides, unit, window: NonZeroUsize::new(window).expect("above 0") }
}

fn forecasted(step: usize, mean: f64, standard_error: f64) -> Forecasted {
    Forecasted { step, mean, standard_error }
}

/// Errors 1, -2, 3, ... at step 1 of forecasts of 0.
fn alternating(sides: Sides, count: usize) -> Conformal {
    let mut conformal = Conformal::new(settings(sides, Unit::Value, 1000), 1);
    for error in 1..=count {
        let sign = if error % 2 == 0 { -1.0 } else { 1.0 };
        conformal.observe(forecasted(1, 0.0, 0.0), sign * error as f64).expect("finite");
    }
    conformal
}

#[test]
fn ends_are_the_ranks_of_the_paper() {
    let at = forecasted(1, 10.0, 0.0);
    // ceil(20 x .95) = 19 and ceil(20 x .8) = 16 of 19 sizes.
    let same = alternating(Sides::Same, 19);
    assert_eq!(same.interval_at(at, 0.95), Ok(Interval { low: -9.0, high: 29.0 }));
    assert_eq!(same.interval_at(at, 0.8), Ok(Interval { low: -6.0, high: 26.0 }));
    // Both ends at .9: ceil(20 x .9) = 18 of -18 .. -2, 1 .. 19 from either side.
    let each = alternating(Sides::Each, 19);
    assert_eq!(each.interval_at(at, 0.8), Ok(Interval { low: -6.0, high: 27.0 }));
}

#[test]
fn too_few_errors_are_an_error_that_says_how_many_it_takes() {
    for (sides, level, need) in [
        (Sides::Same, 0.95, 19),
        (Sides::Same, 0.9, 9),
        (Sides::Same, 0.99, 99),
        (Sides::Same, 0.5, 1),
        (Sides::Each, 0.95, 39),
        (Sides::Each, 0.8, 9),
    ] {
        let at = forecasted(1, 0.0, 0.0);
        let too_few = ConformalError::TooFewErrors { step: 1, have: need - 1, need };
        assert_eq!(alternating(sides, need - 1).interval_at(at, level), Err(too_few), "{level}");
        assert!(alternating(sides, need).interval_at(at, level).is_ok(), "{sides:?} {level}");
    }
}

#[test]
fn what_has_no_interval_is_named() {
    let at = |step| forecasted(step, 0.0, 0.0);
    let mut conformal = alternating(Sides::Same, 30);
    assert_eq!(conformal.interval_at(at(1), 1.0), Err(ConformalError::Level(1.0)));
    assert!(matches!(conformal.interval_at(at(1), f64::NAN), Err(ConformalError::Level(_))));
    for step in [0, 2] {
        assert_eq!(conformal.interval_at(at(step), 0.5), Err(ConformalError::Step { step, horizon: 1 }));
        assert_eq!(conformal.observe(at(step), 1.0), Err(ConformalError::Step { step, horizon: 1 }));
    }
    let not_finite = Err(ConformalError::NotFinite { step: 1 });
    assert_eq!(conformal.observe(at(1), f64::INFINITY), not_finite);
    assert_eq!(conformal.observe(forecasted(1, f64::NAN, 0.0), 1.0), not_finite);
    assert_eq!(
        conformal.interval(&Forecast::new(vec![f64::NAN], vec![0.0]), 0.5),
        Err(ConformalError::NotFinite { step: 1 })
    );

    let mut scaled = Conformal::new(settings(Sides::Same, Unit::StandardError, 9), 1);
    let none = Err(ConformalError::NoStandardError { step: 1, value: 0.0 });
    assert_eq!(scaled.observe(at(1), 1.0), none);
    assert_eq!(scaled.interval_at(at(1), 0.5).map(|_| ()), none);
}

#[test]
fn missing_values_say_nothing_and_the_oldest_error_leaves() {
    let mut conformal = Conformal::new(settings(Sides::Same, Unit::Value, 3), 1);
    for actual in [9.0, f64::NAN, -1.0, 2.0, 3.0, f64::NAN] {
        conformal.observe(forecasted(1, 0.0, 0.0), actual).expect("finite or missing");
    }
    assert_eq!(conformal.errors(), [3]);
    assert_eq!(conformal.interval_at(forecasted(1, 0.0, 0.0), 0.75), Ok(Interval { low: -3.0, high: 3.0 }));
}

#[test]
fn errors_in_standard_errors_are_scaled_by_the_forecast() {
    let mut conformal = Conformal::new(settings(Sides::Each, Unit::StandardError, 100), 2);
    for error in [-1.0, 0.0, 4.0] {
        conformal.observe(forecasted(2, 5.0, 2.0), 5.0 + error).expect("finite");
    }
    let interval = conformal.interval_at(forecasted(2, 0.0, 10.0), 0.5).expect("three errors");
    assert_eq!(interval, Interval { low: -5.0, high: 20.0 });
    let forecast = Forecast::new(vec![0.0, 0.0], vec![1.0, 10.0]);
    assert_eq!(
        conformal.interval(&forecast, 0.5),
        Err(ConformalError::TooFewErrors { step: 1, have: 0, need: 3 })
    );
}

/// Share of 4000 trials in which a value lies in the interval from m others of the same distribution.
fn covered(sides: Sides, m: usize, seed: u64, draw: impl Fn(&mut Pcg64) -> f64) -> f64 {
    let mut rng = Pcg64::seed_from_u64(seed);
    let trials = 4000;
    let hits = (0..trials).filter(|_| {
        let mut conformal = Conformal::new(settings(sides, Unit::Value, 1000), 1);
        for _ in 0..m {
            conformal.observe(forecasted(1, 0.0, 0.0), draw(&mut rng)).expect("finite");
        }
        let interval = conformal.interval_at(forecasted(1, 0.0, 0.0), 0.95).expect("enough errors");
        let actual = draw(&mut rng);
        interval.low <= actual && actual <= interval.high
    });
    hits.count() as f64 / f64::from(trials)
}

#[test]
fn exchangeable_errors_are_covered_at_the_level_whatever_their_distribution() {
    type Draw = fn(&mut Pcg64) -> f64;
    let draws: [(&str, Draw); 4] = [
        ("normal", |rng| StandardNormal.sample(rng)),
        ("three degrees of freedom", |rng| StudentT::new(3.0).expect("above 0").sample(rng)),
        ("no mean", |rng| Cauchy::new(0.0, 1.0).expect("above 0").sample(rng)),
        ("skewed", |rng| Exp1.sample(rng)),
    ];
    for (seed, (name, draw)) in draws.into_iter().enumerate() {
        for (sides, m) in [(Sides::Same, 19), (Sides::Same, 99), (Sides::Each, 39), (Sides::Each, 199)] {
            let share = covered(sides, m, seed as u64, draw);
            // Four standard deviations of a share of 4000 are .014.
            assert!((share - 0.95).abs() < 0.014, "{name}, {sides:?} of {m}: {share}");
        }
    }
}

/// An AR(1) about the mean, by the first autocorrelation: what a model without differences makes of a ramp.
fn autoregression(past: &[f64], horizon: usize) -> Forecast {
    let n = past.len() as f64;
    let mean = past.iter().sum::<f64>() / n;
    let deviations: Vec<f64> = past.iter().map(|value| value - mean).collect();
    let variance = deviations.iter().map(|value| value * value).sum::<f64>() / n;
    let coefficient = deviations.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / n / variance;
    let last = deviations[deviations.len() - 1];
    let weight = |step: usize| coefficient.powi(step as i32);
    let means = (1..=horizon).map(|step| mean + weight(step) * last).collect();
    let deviation = |step: usize| (variance * (1.0 - weight(step) * weight(step))).sqrt();
    Forecast::new(means, (1..=horizon).map(deviation).collect())
}

/// Hits and cases.
#[derive(Clone, Copy, Default)]
struct Share(u32, u32);

impl Share {
    fn add(&mut self, hit: bool) {
        self.0 += u32::from(hit);
        self.1 += 1;
    }

    fn value(self) -> f64 {
        f64::from(self.0) / f64::from(self.1)
    }
}

const HORIZON: usize = 12;

/// The last origin of a series of 132.
fn last_origin(kind: Kind, seed: u64) -> Origin {
    let [first, horizon] = [120, HORIZON].map(|value| NonZeroUsize::new(value).expect("above 0"));
    let rolling = Rolling { first, step: NonZeroUsize::MIN, horizon };
    let series = synthetic::series(kind, seed, 120 + HORIZON);
    let backtest = rolling.run(&series, |past, horizon| Some(autoregression(past, horizon))).expect("finite");
    backtest.origins.into_iter().next().expect("one origin")
}

/// Each series has one origin, so none could have an interval of its own.
#[test]
fn pooled_errors_of_a_kind_hold_their_level_on_ramps_where_the_model_does_not() {
    let mut pooled =
        Pooled::new(settings(Sides::Same, Unit::StandardError, 10_000), HORIZON, Kind::ALL.len());
    for kind in Kind::ALL {
        for seed in 0..400 {
            pooled.observe_origin(Some(kind), &last_origin(kind, seed)).expect("finite");
        }
    }
    let [mut model, mut whole, mut own] = [Share::default(); 3];
    for seed in 400..800 {
        let origin = last_origin(Kind::Ramp, seed);
        let intervals = |group| pooled.interval(group, &origin.forecast, 0.95).expect("enough errors");
        let (of_whole, of_own) = (intervals(None), intervals(Some(&Kind::Ramp)));
        assert_eq!((of_whole.1, of_own.1), (Source::Whole, Source::Group));
        for (at, actual) in origin.actual.iter().enumerate() {
            let inside = |interval: Interval| interval.low <= *actual && *actual <= interval.high;
            model.add(origin.errors()[at].abs() <= Z95 * origin.forecast.standard_error()[at]);
            whole.add(inside(of_whole.0[at]));
            own.add(inside(of_own.0[at]));
        }
    }
    let [model, whole, own] = [model, whole, own].map(Share::value);
    assert!(model < 0.8 && (own - 0.95).abs() < 0.02, "{model} {whole} {own}");
    assert!(model < whole && whole < own, "{model} {whole} {own}");
}

#[test]
fn a_group_with_too_few_errors_has_those_of_all() {
    let mut pooled = Pooled::new(settings(Sides::Same, Unit::StandardError, 100), HORIZON, 2);
    for seed in 0..30 {
        let group = if seed < 10 { "few" } else { "many" };
        pooled.observe_origin(Some(group), &last_origin(Kind::Level, seed)).expect("finite");
    }
    pooled.observe_origin(Some("third of two"), &last_origin(Kind::Level, 30)).expect("finite");
    assert!(pooled.group(&"third of two").is_none());
    assert_eq!(pooled.whole().errors(), [31; HORIZON]);
    assert_eq!(pooled.group(&"few").map(Conformal::errors), Some(vec![10; HORIZON]));
    let json = serde_json::to_value(&pooled).expect("groups are strings");
    assert_eq!(json["groups"]["few"]["steps"][HORIZON - 1].as_array().map(Vec::len), Some(10));
    assert!(serde_json::from_value::<Pooled<String>>(json).is_ok());
    let forecast = last_origin(Kind::Level, 99).forecast;
    for (group, expected) in [("few", Source::Whole), ("many", Source::Group), ("unknown", Source::Whole)] {
        let (intervals, source) = pooled.interval(Some(&group), &forecast, 0.95).expect("enough errors");
        assert_eq!((intervals.len(), source), (HORIZON, expected));
    }
    let empty: Pooled<u8> = Pooled::new(pooled.whole().settings(), HORIZON, 2);
    let too_few = ConformalError::TooFewErrors { step: 1, have: 0, need: 19 };
    assert_eq!(empty.interval(Some(&1), &forecast, 0.95), Err(too_few));
}

#[test]
fn an_origin_without_width_is_left_out() {
    let mut conformal = Conformal::new(settings(Sides::Same, Unit::StandardError, 100), 3);
    let forecast = Forecast::new(vec![0.0; 3], vec![0.0, 1.0, 1.0]);
    let origin = Origin { known: 9, forecast, actual: vec![1.0, f64::NAN, 1.0], scale: None };
    assert_eq!(conformal.observe_origin(&origin), Ok(1));
    assert_eq!(conformal.errors(), [0, 0, 1]);
}

/// A range that was given out, for which forecast, in the order of time.
type Given = Vec<(Forecasted, Option<Range>)>;

/// A ramp begins at half of each series. Of forecasts from then on: the share that the model covers, that
/// adaptive ranges cover, and that are without bounds.
fn on_ramps(rate: f64) -> [f64; 3] {
    let [mut model, mut adapted, mut unbounded] = [Share::default(); 3];
    for seed in 0..40 {
        let mut series = synthetic::series(Kind::Level, seed, 600);
        (300..600).for_each(|at| series[at] += 0.01 * (at - 300) as f64);
        let conformal = Conformal::new(settings(Sides::Same, Unit::StandardError, 200), HORIZON);
        let mut adaptive = Adaptive::new(conformal, 0.95, rate).expect("in range");
        let mut given: Vec<Given> = Vec::new();
        for known in 60..600 {
            for step in 1..=HORIZON.min(given.len()) {
                let (forecasted, range) = given[given.len() - step][step - 1];
                adaptive.observe(forecasted, range, series[known - 1]).expect("finite");
            }
            let forecast = autoregression(&series[known.saturating_sub(120)..known], HORIZON);
            given.push(
                Forecasted::steps(&forecast).map(|step| (step, adaptive.range_at(step).ok())).collect(),
            );
        }
        for (known, given) in (60..).zip(&given).skip(240) {
            for (forecasted, range) in given {
                let (Some(actual), Some(range)) = (series.get(known + forecasted.step - 1), range) else {
                    continue;
                };
                model.add((actual - forecasted.mean).abs() <= Z95 * forecasted.standard_error);
                adapted.add(range.contains(*actual));
                unbounded.add(*range == Range::Unbounded);
            }
        }
    }
    [model, adapted, unbounded].map(Share::value)
}

#[test]
fn adaptive_ranges_hold_their_level_on_ramps_where_the_model_does_not() {
    let [model, adapted, unbounded] = on_ramps(0.005);
    assert!(model < 0.9 && (adapted - 0.95).abs() < 0.02, "{model} {adapted}");
    // The price, which a faster rate does not lower.
    assert!(unbounded < 0.35, "{unbounded}");
}

#[test]
fn the_risk_moves_with_what_was_missed() {
    let mut adaptive = Adaptive::new(alternating(Sides::Same, 50), 0.9, 0.1).expect("in range");
    let at = forecasted(1, 0.0, 0.0);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    let range = adaptive.range_at(at).expect("enough errors");
    assert_eq!(range, Range::Bounded(Interval { low: -46.0, high: 46.0 }));
    adaptive.observe(at, Some(range), 1.0).expect("finite");
    near(adaptive.risks()[0], 0.11);
    adaptive.observe(at, Some(range), 99.0).expect("finite");
    near(adaptive.risks()[0], 0.02);
    adaptive.observe(at, None, 99.0).expect("finite");
    adaptive.observe(at, Some(range), f64::NAN).expect("missing");
    near(adaptive.risks()[0], 0.02);
    assert_eq!(adaptive.conformal().errors(), [53]);
    adaptive.observe(at, Some(range), -99.0).expect("finite");
    assert_eq!(adaptive.range_at(at), Ok(Range::Unbounded));
    assert!(Range::Unbounded.contains(1e300));
    // A risk of 1 and more: the smallest error there is.
    for _ in 0..1000 {
        adaptive.observe(at, Some(Range::Unbounded), 1.0).expect("finite");
    }
    assert!(adaptive.risks()[0] > 1.0);
    assert_eq!(adaptive.range_at(at), Ok(Range::Bounded(Interval { low: -1.0, high: 1.0 })));

    let few = Adaptive::new(alternating(Sides::Same, 8), 0.9, 0.1).expect("in range");
    assert_eq!(few.range_at(at), Err(ConformalError::TooFewErrors { step: 1, have: 8, need: 9 }));
    assert_eq!(Adaptive::new(alternating(Sides::Same, 8), 0.9, 0.0), Err(ConformalError::Rate(0.0)));
    assert_eq!(Adaptive::new(alternating(Sides::Same, 8), 1.9, 0.1), Err(ConformalError::Level(1.9)));
}

#[test]
fn what_is_written_goes_on_where_it_was() {
    let mut adaptive = Adaptive::new(alternating(Sides::Each, 60), 0.875, 0.125).expect("in range");
    let json = serde_json::to_string(&adaptive).expect("plain numbers");
    let mut read: Adaptive = serde_json::from_str(&json).expect("as written");
    assert_eq!(read, adaptive);
    for each in [&mut adaptive, &mut read] {
        each.observe(forecasted(1, 0.0, 0.0), Some(Range::Unbounded), 0.5).expect("finite");
    }
    assert_eq!(read, adaptive);
    for wrong in [json.replace("0.875", "1.875"), json.replace("\"risks\":[", "\"risks\":[0.5,")] {
        assert!(wrong != json && serde_json::from_str::<Adaptive>(&wrong).is_err());
    }
}

proptest! {
    #[test]
    fn a_window_holds_the_last_errors_in_order(errors in prop::collection::vec(-4..4i8, 0..60), most in 1..20usize) {
        let mut conformal = Conformal::new(settings(Sides::Each, Unit::Value, most), 1);
        for error in &errors {
            conformal.observe(forecasted(1, 0.0, 0.0), f64::from(*error)).expect("finite");
        }
        let mut last: Vec<f64> = errors.iter().rev().take(most).map(|error| f64::from(*error)).collect();
        last.sort_by(f64::total_cmp);
        // At the level of the outermost ranks the ends are the smallest and the largest.
        let m = last.len() as f64;
        if m > 1.0 {
            let level = 1.0 - 2.0 / (m + 1.0);
            let interval = conformal.interval_at(forecasted(1, 0.0, 0.0), level).expect("just enough");
            prop_assert_eq!((interval.low, interval.high), (last[0], last[last.len() - 1]));
        } else {
            prop_assert!(conformal.interval_at(forecasted(1, 0.0, 0.0), 0.1).is_err());
        }
    }
}
