//! How long a step of a tracked series takes. Not run by default: a time says nothing in a debug build or on
//! a busy machine. `cargo test --release -p isotherm-forecast --test speed -- --ignored --nocapture`

use isotherm_forecast::{Coefficients, Model, Order, Policy, Tracker};
use std::hint::black_box;
use std::time::Instant;

fn series(len: usize) -> Vec<f64> {
    (0..len).map(|at| (at as f64 * 1.7).sin() * 2.0 + ((at * at) % 13) as f64 * 0.31 - 1.2).collect()
}

fn model(ar: &[f64], d: usize, ma: &[f64]) -> Model {
    let order = Order::new(ar.len(), d, ma.len()).expect("in range");
    Model::new(order, Coefficients { ar: ar.to_vec(), ma: ma.to_vec(), constant: None }).expect("a model")
}

/// Nanoseconds of one of `count` calls, the best of five runs.
fn nanoseconds(count: usize, mut call: impl FnMut(usize)) -> f64 {
    let once = |call: &mut dyn FnMut(usize)| {
        let start = Instant::now();
        (0..count).for_each(call);
        start.elapsed().as_nanos() as f64 / count as f64
    };
    (0..5).map(|_| once(&mut call)).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement"]
fn an_update_and_a_forecast_of_twelve_steps_take_a_microsecond() {
    let values = series(1000);
    let mut gaps = values.clone();
    (0..1000).filter(|at| at % 10 == 3).for_each(|at| gaps[at] = f64::NAN);
    for model in [model(&[0.5], 1, &[0.3]), model(&[0.4, 0.1, -0.1], 1, &[0.3, 0.2, 0.1])] {
        let fitted = model.apply(&values).expect("a likelihood");
        let mut tracker = Tracker::new(&fitted, Policy::default(), None);
        let update = nanoseconds(100_000, |at| {
            black_box(tracker.update(values[at % 1000])).expect("in range");
        });
        let forecast = nanoseconds(100_000, |_| {
            black_box(tracker.forecast(12));
        });
        let missing = nanoseconds(100_000, |at| {
            black_box(tracker.update(gaps[at % 1000])).expect("in range");
        });
        let filter = nanoseconds(1000, |_| {
            black_box(model.apply(&values)).expect("a likelihood");
        });
        let filter_of_gaps = nanoseconds(1000, |_| {
            black_box(model.apply(&gaps)).expect("a likelihood");
        });
        let paths = nanoseconds(10, |seed| {
            black_box(fitted.paths(12, 10_000, seed as u64)).expect("paths");
        });
        println!(
            "{}: update {update:.0} ns, with a tenth missing {missing:.0} ns, forecast {forecast:.0} ns, filter \
             {:.1} ns per value, with a tenth missing {:.1} ns, 10,000 paths of 12 steps {:.2} ms",
            model.order(),
            filter / 1000.0,
            filter_of_gaps / 1000.0,
            paths / 1e6,
        );
        assert!(update + forecast < 1000.0);
    }
}
