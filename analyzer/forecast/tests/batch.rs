//! A batch is as many single calls, to the bit, however many threads there are and whatever lies beside a series.

use isotherm_forecast::backtest::synthetic;
use isotherm_forecast::{Fit, FitError, Fitted, Order, Select, Selection, batch};

/// Series of many lengths, some with gaps, some that have no model.
fn series() -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for (at, (_, mut series)) in synthetic::mixed(90, 120, 5).into_iter().enumerate() {
        series.truncate([120, 120, 61, 33][at % 4]);
        if at % 11 == 3 {
            series[7] = f64::NAN;
            series[19] = f64::NAN;
        }
        all.push(series);
    }
    all.insert(40, vec![0.5; 30]);
    all.insert(20, vec![f64::NAN; 12]);
    all.insert(10, vec![0.25, 0.5]);
    all
}

fn in_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
    pool.install(work)
}

/// What a fit says, in bits.
fn bits(fitted: &Fitted) -> Vec<u64> {
    let coefficients = fitted.coefficients();
    let mut all: Vec<f64> =
        [coefficients.ar.as_slice(), &coefficients.ma, coefficients.constant.as_slice()].concat();
    all.extend([fitted.sigma2(), fitted.log_likelihood()]);
    all.extend(fitted.forecast(6).mean());
    all.into_iter().map(f64::to_bits).collect()
}

type Bits = Result<(String, Vec<u64>), FitError>;

fn selected(results: Vec<Result<Selection, FitError>>) -> Vec<Bits> {
    let told = |selection: Selection| (selection.fitted.order().to_string(), bits(&selection.fitted));
    results.into_iter().map(|result| result.map(told)).collect()
}

fn fitted(results: Vec<Result<Fitted, FitError>>) -> Vec<Bits> {
    results
        .into_iter()
        .map(|result| result.map(|fitted| (fitted.order().to_string(), bits(&fitted))))
        .collect()
}

#[test]
fn orders_do_not_depend_on_threads_or_neighbours() {
    let series = series();
    for select in [Select::new().quick(), Select::new()] {
        let one = in_threads(1, || selected(batch::select(&series, &select)));
        assert!(one.iter().filter(|result| result.is_ok()).count() >= 90);
        for threads in [2, 5] {
            assert_eq!(in_threads(threads, || selected(batch::select(&series, &select))), one);
        }
        let alone = selected(series.iter().map(|series| select.select(series)).collect());
        assert_eq!(alone, one);
        let mut backwards = series.clone();
        backwards.reverse();
        let mut turned = selected(batch::select(&backwards, &select));
        turned.reverse();
        assert_eq!(turned, one);
    }
}

#[test]
fn fits_do_not_depend_on_threads_or_neighbours() {
    let series = series();
    for (p, d, q) in [(1, 1, 1), (2, 0, 2), (0, 1, 3)] {
        let fit = Fit::new(Order::new(p, d, q).expect("in range")).starts(2);
        let one = in_threads(1, || fitted(batch::fit(&series, &fit)));
        assert_eq!(in_threads(3, || fitted(batch::fit(&series, &fit))), one);
        assert_eq!(fitted(series.iter().map(|series| fit.fit(series)).collect()), one);
    }
}
