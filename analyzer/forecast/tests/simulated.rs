//! What holds on average over simulated series: estimates are unbiased, standard errors are those of the estimates,
//! intervals hold what they say, and the chosen order is a good one.

mod support;

use isotherm_forecast::{Coefficients, Fit, Interval, Select};
use support::simulate::{Chance, coefficients};
use support::{Findings, flat, order};

/// A process, and the bias of its estimates that is to be expected for series of length n, times n: none for what
/// the literature has no value for.
struct Process {
    d: usize,
    truth: Coefficients,
    bias: Vec<Option<f64>>,
}

fn process(d: usize, ar: &[f64], ma: &[f64], constant: Option<f64>, bias: &[Option<f64>]) -> Process {
    Process { d, truth: coefficients(ar, ma, constant), bias: bias.to_vec() }
}

fn processes() -> Vec<Process> {
    vec![
        // With an estimated mean -(1 + 3 phi) / n: Marriott and Pope (1954), Kendall (1954).
        process(0, &[0.6], &[], Some(2.0), &[Some(-2.8), Some(0.0)]),
        process(0, &[-0.4], &[], Some(-1.0), &[Some(0.2), Some(0.0)]),
        // Without one -2 phi / n: White (1961).
        process(1, &[0.5], &[], None, &[Some(-1.0)]),
        process(0, &[1.2, -0.5], &[], Some(1.0), &[None, None, Some(0.0)]),
        process(0, &[], &[0.5], Some(3.0), &[None, Some(0.0)]),
        process(0, &[0.7], &[0.3], Some(0.0), &[None, None, Some(0.0)]),
        process(1, &[0.4], &[0.3], Some(0.2), &[None, None, Some(0.0)]),
        process(2, &[], &[-0.5], None, &[None]),
    ]
}

const COUNT: usize = 200;
const LEN: usize = 500;

#[test]
fn estimates_are_unbiased_and_their_errors_are_known() {
    let mut findings = Findings::default();
    for (number, process) in processes().iter().enumerate() {
        let Process { d, truth, bias } = process;
        let order = order(truth.ar.len(), *d, truth.ma.len(), truth.constant.is_some());
        let want = flat(truth);
        let mut errors: Vec<Vec<f64>> = vec![Vec::new(); want.len()];
        let mut stated: Vec<Vec<f64>> = vec![Vec::new(); want.len()];
        let mut variance = 0.0;
        for at in 0..COUNT {
            let mut chance = Chance::new((1_000 * number + at) as u64);
            // The sums start at zero, so that d more values leave as many differences.
            let series = chance.series(truth, *d, LEN + d);
            let name = format!("{order} number {at}");
            let Some(fitted) = findings.value(&name, Fit::new(order).fit(&series)) else { continue };
            variance += fitted.sigma2_unbiased() / COUNT as f64;
            let known = findings.value(&name, fitted.standard_errors(&series)).unwrap_or_default();
            for (index, (have, want)) in flat(fitted.coefficients()).iter().zip(&want).enumerate() {
                errors[index].push(have - want);
                stated[index].extend(known.get(index).copied().flatten());
            }
        }
        // Its own variance is 2 / n, over so many series; what is left over is of the order of 1 / n.
        let tolerance = 4.0 * (2.0 / LEN as f64 / COUNT as f64).sqrt() + 2.0 / LEN as f64;
        findings.near(&format!("{order} variance"), variance, 1.0, tolerance);
        for index in 0..want.len() {
            let (mean, deviation) = moments(&errors[index]);
            let expected = bias[index].unwrap_or(0.0) / LEN as f64;
            let higher_order = if bias[index].is_some() { 1.0 } else { 4.0 } / LEN as f64;
            let tolerance = 4.0 * deviation / (COUNT as f64).sqrt() + higher_order;
            findings.near(&format!("{order} bias of coefficient {index}"), mean, expected, tolerance);
            // The deviation of so many estimates is itself known to 5 %.
            let (stated, _) = moments(&stated[index]);
            let what = format!("{order} standard error of coefficient {index}");
            findings.near(&what, stated / deviation, 1.0, 0.2);
        }
    }
    findings.conclude(8 * COUNT);
}

#[test]
fn intervals_of_the_next_step_hold_what_they_say() {
    let mut findings = Findings::default();
    for (number, process) in processes().iter().enumerate() {
        let Process { d, truth, .. } = process;
        let order = order(truth.ar.len(), *d, truth.ma.len(), truth.constant.is_some());
        let (count, n) = (1_200, 300);
        let mut held = 0;
        for at in 0..count {
            let mut chance = Chance::new((1_000_000 + 10_000 * number + at) as u64);
            let series = chance.series(truth, *d, n + 1);
            let (next, known) = series.split_last().expect("values");
            let name = format!("{order} number {at}");
            let Some(fitted) = findings.value(&name, Fit::new(order).starts(1).fit(known)) else { continue };
            let Interval { low, high } = fitted.forecast(1).interval(0.95).expect("a level")[0];
            held += usize::from((low..=high).contains(next));
        }
        // The deviation of the share is .0063.
        findings.near(&format!("{order} coverage"), held as f64 / count as f64, 0.95, 0.02);
    }
    findings.conclude(8 * 1_200);
}

#[test]
fn intervals_of_ten_steps_hold_what_they_say() {
    let mut findings = Findings::default();
    for (number, process) in processes().iter().enumerate() {
        let Process { d, truth, .. } = process;
        let order = order(truth.ar.len(), *d, truth.ma.len(), truth.constant.is_some());
        let (count, n) = (600, 300);
        let mut held = 0;
        for at in 0..count {
            let mut chance = Chance::new((2_000_000 + 10_000 * number + at) as u64);
            let series = chance.series(truth, *d, n + 10);
            let name = format!("{order} number {at}");
            let Some(fitted) = findings.value(&name, Fit::new(order).starts(1).fit(&series[..n])) else {
                continue;
            };
            let Interval { low, high } = fitted.forecast(10).interval(0.95).expect("a level")[9];
            held += usize::from((low..=high).contains(&series[n + 9]));
        }
        // Their width leaves out that the coefficients are estimates, which costs up to a percent; the deviation of the share is .009.
        findings.near(&format!("{order} coverage"), held as f64 / count as f64, 0.945, 0.03);
    }
    findings.conclude(8 * 600);
}

#[test]
fn the_chosen_order_is_almost_always_no_worse_than_the_true_one() {
    let mut findings = Findings::default();
    for (number, process) in processes().iter().enumerate() {
        let Process { d, truth, .. } = process;
        let order = order(truth.ar.len(), *d, truth.ma.len(), truth.constant.is_some());
        for (name, select, count, least) in
            [("stepwise", Select::new(), 100, 90), ("exhaustive", Select::new().exhaustive(), 20, 20)]
        {
            let mut good = 0;
            for at in 0..count {
                let mut chance = Chance::new((3_000_000 + 10_000 * number + at) as u64);
                let series = chance.series(truth, *d, 200);
                let what = format!("{order} {name} number {at}");
                let chosen = findings.value(&what, select.differences(*d).select(&series));
                let of_truth = findings.value(&what, Fit::new(order).fit(&series));
                let (Some(chosen), Some(of_truth)) = (chosen, of_truth) else { continue };
                good += usize::from(chosen.fitted.aicc() <= of_truth.aicc() + 1e-4);
            }
            println!("{order} {name}: {good} of {count}");
            findings.check(good >= least, || format!("{order} {name}: only {good} of {count}"));
        }
    }
    findings.conclude(16);
}

#[test]
fn estimates_of_missing_values_are_unbiased_too() {
    let mut findings = Findings::default();
    let truth = coefficients(&[0.6], &[0.3], Some(1.0));
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); 3];
    for at in 0..COUNT {
        let mut chance = Chance::new((4_000_000 + at) as u64);
        let series = chance.series(&truth, 0, LEN);
        let series = chance.with_gaps(&series, 0, 100);
        let fitted = findings.value("missing", Fit::new(order(1, 0, 1, true)).starts(1).fit(&series));
        let Some(fitted) = fitted else { continue };
        for (index, (have, want)) in flat(fitted.coefficients()).iter().zip(flat(&truth)).enumerate() {
            errors[index].push(have - want);
        }
    }
    for (index, errors) in errors.iter().enumerate() {
        let (mean, deviation) = moments(errors);
        let tolerance = 4.0 * deviation / (COUNT as f64).sqrt() + 5.0 / LEN as f64;
        findings.near(&format!("coefficient {index}"), mean, 0.0, tolerance);
    }
    findings.conclude(COUNT);
}

/// Mean and standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}
