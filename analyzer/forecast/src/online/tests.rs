use super::*;
use crate::{Coefficients, Order};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// ARMA(1,1) summed up once: the model of the tests below.
fn series(len: usize, seed: u64) -> Vec<f64> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut level, mut step, mut last) = (50.0, 0.0, 0.0);
    let next = |_| {
        let error: f64 = StandardNormal.sample(&mut random);
        step = 0.5 * step + error + 0.3 * last;
        last = error;
        level += step;
        level
    };
    (0..len).map(next).collect()
}

fn fitted(series: &[f64]) -> Fitted {
    let order = Order::new(1, 1, 1).expect("in range");
    let coefficients = Coefficients { ar: vec![0.5], ma: vec![0.3], constant: None };
    Model::new(order, coefficients).expect("a model").apply(series).expect("a likelihood")
}

#[test]
fn updates_leave_the_forecast_that_the_whole_series_would() {
    let mut series = series(200, 1);
    for at in [120, 150, 151, 152, 199] {
        series[at] = f64::NAN;
    }
    let first = fitted(&series[..100]);
    let mut tracker = Tracker::new(&first, Policy::default(), None);
    let residuals = fitted(&series).residuals(&series);
    for (at, &value) in series.iter().enumerate().skip(100) {
        let innovation = tracker.update(value).expect("in range");
        // A residual is scaled to the spread of an innovation, a standardised error to 1.
        match (residuals[at], innovation.standardised()) {
            (Some(residual), Some(standardised)) => {
                let want = residual / first.sigma2_unbiased().sqrt();
                assert!((standardised - want).abs() < 1e-12, "{at}: {standardised} is not {want}");
            }
            (None, None) => assert!(value.is_nan()),
            (residual, error) => panic!("{at}: {residual:?} and {error:?}"),
        }
    }
    let whole = fitted(&series).forecast_with_variance(12, first.sigma2_unbiased()).expect("a variance");
    assert_eq!(tracker.forecast(12), whole);
    assert_eq!(tracker.missing_share(), Some(0.05));
}

#[test]
fn a_tracker_that_was_written_down_goes_on_as_if_it_was_not() {
    let series = series(160, 2);
    let mut tracker = Tracker::new(&fitted(&series[..100]), Policy::default(), Some(1.5));
    for value in series[100..130].iter().chain(&[f64::NAN, f64::NAN]) {
        tracker.update(*value).expect("in range");
    }
    let written = serde_json::to_string(&tracker).expect("written");
    let mut read: Tracker = serde_json::from_str(&written).expect("read");
    assert_eq!(read, tracker);
    for &value in &series[132..] {
        assert_eq!(read.update(value), tracker.update(value));
    }
    assert_eq!(read, tracker);
    assert_eq!(read.paths(5, 10, 1), tracker.paths(5, 10, 1));
    let broken = written.replace("\"sigma2\":", "\"sigma2\":-");
    assert!(serde_json::from_str::<Tracker>(&broken).is_err());
    let broken = written.replace("\"origin\":", "\"origin\":9e299,\"origin_was\":");
    assert!(serde_json::from_str::<Tracker>(&broken).is_err());
}

#[test]
fn a_value_that_cannot_be_changes_nothing() {
    let mut tracker = Tracker::new(&fitted(&series(50, 3)), Policy::default(), None);
    let before = tracker.clone();
    assert_eq!(tracker.update(f64::INFINITY), Err(SeriesError::Infinite { at: 0 }));
    assert_eq!(tracker.update(-1e151), Err(SeriesError::OutOfRange));
    assert_eq!(tracker, before);
    tracker.update(1e150).expect("in range");
    let forecast = tracker.forecast(12);
    assert!(forecast.mean().iter().chain(forecast.standard_error()).all(|value| value.is_finite()));
    assert!(tracker.tracked_variance().is_finite());
}

fn policy(refit_every: u32, reselect_every: u32, offset: u32) -> Policy {
    let steps = |steps| NonZeroU32::new(steps).expect("some steps");
    Policy {
        refit_every: steps(refit_every),
        reselect_every: steps(reselect_every),
        offset,
        ..Policy::default()
    }
}

/// Where the tracker would send the next value if nothing happened.
fn expected(tracker: &Tracker) -> f64 {
    tracker.forecast(1).mean()[0]
}

#[test]
fn a_fit_is_due_by_age_and_a_selection_if_another_order_was_close() {
    let fitted = fitted(&series(60, 4));
    for (runner_up, want) in [
        (None, Advice::Refit(Reason::Age)),
        (Some(2.5), Advice::Refit(Reason::Age)),
        (Some(0.5), Advice::Reselect(Reason::RunnerUp)),
    ] {
        let mut tracker = Tracker::new(&fitted, policy(4, 1000, 0), runner_up);
        // Off by one standard error to either side, as nothing at all would be too little spread.
        for sign in [1.0, -1.0, 1.0] {
            let next = expected(&tracker) + sign * fitted.sigma2().sqrt();
            tracker.update(next).expect("in range");
            assert_eq!(tracker.advice(), Advice::Keep);
        }
        tracker.update(expected(&tracker)).expect("in range");
        assert_eq!(tracker.advice(), want);
        assert_eq!(tracker.refitted(&fitted, runner_up).advice(), Advice::Keep);
    }
}

#[test]
fn turns_come_round_and_are_spread_over_a_fleet() {
    let fitted = fitted(&series(60, 5));
    let mut due = [0; 7];
    for offset in 0..14 {
        let mut tracker = Tracker::new(&fitted, policy(1000, 7, offset), None);
        let mut turns = 0;
        for (step, slot) in (0..21).zip((0..7).cycle()) {
            let sign = if step % 2 == 0 { 1.0 } else { -1.0 };
            let next = expected(&tracker) + sign * fitted.sigma2().sqrt();
            tracker.update(next).expect("in range");
            if tracker.advice() == Advice::Reselect(Reason::Turn) {
                due[slot] += 1;
                turns += 1;
                tracker = tracker.refitted(&fitted, None);
            }
        }
        assert_eq!(turns, 3, "one turn in 7 steps");
    }
    assert_eq!(due, [6; 7], "as many in each slot");
}

#[test]
fn a_shift_is_seen_and_named() {
    let fitted = fitted(&series(100, 6));
    let sigma = fitted.sigma2_unbiased().sqrt();
    let run = |errors: &[f64]| {
        let mut tracker = Tracker::new(&fitted, policy(1000, 1000, 0), None);
        for error in errors {
            tracker.update(expected(&tracker) + error * sigma).expect("in range");
        }
        tracker
    };
    assert_eq!(run(&[-1.5; 8]).advice(), Advice::Reselect(Reason::Level(Side::Below)));
    let wild = run(&[4.0, -4.0, 4.0, -4.0]);
    assert_eq!(wild.advice(), Advice::Refit(Reason::Spread(Side::Above)));
    assert!(wild.tracked_variance() > 3.0 * sigma * sigma);
    let calm = run(&[0.1; 15]);
    assert_eq!(calm.advice(), Advice::Refit(Reason::Spread(Side::Below)));
    // sigma^2 (.94^15 + (1 - .94^15) .01)
    let want = sigma * sigma * (0.94_f64.powi(15) * 0.99 + 0.01);
    assert!((calm.tracked_variance() / want - 1.0).abs() < 1e-9);
}

#[test]
fn what_is_due_by_time_waits_for_values() {
    let fitted = fitted(&series(60, 7));
    let mut tracker = Tracker::new(&fitted, policy(4, 1000, 0), None);
    for _ in 0..4 {
        let innovation = tracker.update(f64::NAN).expect("in range");
        assert_eq!(innovation.error, None);
    }
    assert_eq!(tracker.advice(), Advice::Wait(Reason::Age));
    for sign in [1.0, -1.0, 1.0, -1.0] {
        tracker.update(expected(&tracker) + sign * fitted.sigma2().sqrt()).expect("in range");
    }
    assert_eq!(tracker.advice(), Advice::Refit(Reason::Age));
}
