//! Orders that are chosen, against those R chooses.

mod support;

use isotherm_forecast::{Fitted, Model, Order, Select, kpss};
use support::Findings;
use support::fixtures::{Automatic, reference};

/// An AICc that is higher by more than this is a worse model.
const CRITERION: f64 = 1e-4;

/// Series and mode where R's order is better, and why that is accepted. An entry that is none any longer fails.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// R's choice, judged by the exact likelihood at R's coefficients: R's own AICc is that of its diffuse prior, and
/// for more than 150 values of an approximation.
fn of_r(choice: &Automatic, series: &[f64]) -> f64 {
    let model = Model::new(choice.order(), choice.coefficients()).expect("R's model");
    model.apply(series).expect("R's series").aicc()
}

fn compare(mode: &str, select: impl Fn(&[f64]) -> Fitted) {
    let reference = reference();
    let mut findings = Findings::default();
    for choice in reference.auto_arima.iter().filter(|choice| choice.mode == mode) {
        let series = reference.series(&choice.series);
        let chosen = select(&series);
        let (have, want) = (chosen.aicc(), of_r(choice, &series));
        let fine = chosen.order() == choice.order() || have <= want + CRITERION;
        let accepted = EXCEPTIONS.iter().find(|(name, of, _)| *name == choice.series && *of == mode);
        println!("{} {mode}: {} {have:.4}, R {} {want:.4}", choice.series, chosen.order(), choice.order());
        match accepted {
            Some((_, _, why)) => {
                println!("  accepted: {why}");
                findings.check(!fine, || format!("{} {mode} is no exception", choice.series));
            }
            None => findings.check(fine, || {
                let (ours, theirs) = (chosen.order(), choice.order());
                format!("{} {mode}: {ours} {have:.4} is worse than {theirs} {want:.4}", choice.series)
            }),
        }
    }
    findings.conclude(8);
}

fn selected(select: &Select, series: &[f64]) -> Fitted {
    select.select(series).expect("a model").fitted
}

#[test]
fn differences_are_those_of_r() {
    let reference = reference();
    let mut findings = Findings::default();
    for choice in &reference.auto_arima {
        let d = kpss::differences(&reference.series(&choice.series), Order::MAX_D);
        findings.check(d == choice.ndiffs["kpss"], || format!("{}: {d}", choice.series));
    }
    findings.conclude(16);
}

#[test]
fn stepwise_orders_are_those_of_r_or_no_worse() {
    compare("default_stepwise", |series| selected(&Select::new(), series));
}

#[test]
fn exhaustive_orders_are_those_of_r_or_no_worse() {
    compare("exhaustive_exact", |series| selected(&Select::new().exhaustive(), series));
}

#[test]
fn the_exhaustive_choice_is_no_worse_than_the_stepwise_one() {
    let mut findings = Findings::default();
    for (name, series) in reference().all() {
        let stepwise = selected(&Select::new(), &series);
        let exhaustive = selected(&Select::new().exhaustive(), &series);
        findings.check(exhaustive.aicc() <= stepwise.aicc() + CRITERION, || {
            let (one, other) = (exhaustive.order(), stepwise.order());
            format!("{name}: {one} {} is worse than {other} {}", exhaustive.aicc(), stepwise.aicc())
        });
    }
    findings.conclude(8);
}

#[test]
fn the_chosen_is_the_best_of_what_was_tried() {
    let mut findings = Findings::default();
    for (name, series) in reference().all() {
        for select in [Select::new(), Select::new().exhaustive()] {
            let selection = select.select(&series).expect("a model");
            let chosen = selection.fitted;
            let mine = selection.tried.iter().find(|tried| tried.order == chosen.order());
            findings.check(mine.is_some(), || format!("{name}: {} was not tried", chosen.order()));
            let best = selection.tried.iter().filter_map(|tried| tried.aicc).fold(f64::INFINITY, f64::min);
            findings.check(chosen.aicc() <= best + CRITERION, || format!("{name}: {best} was tried"));
            let d = kpss::differences(&series, Order::MAX_D);
            findings.check(chosen.order().d() == d, || format!("{name}: {}", chosen.order()));
        }
    }
    findings.conclude(48);
}

#[test]
fn bounds_of_the_search_are_kept() {
    let mut findings = Findings::default();
    for (name, series) in reference().all() {
        for base in [Select::new(), Select::new().exhaustive()] {
            let selection = base.max_p(2).max_q(1).differences(1).without_constant().select(&series);
            let Some(selection) = findings.value(name, selection) else { continue };
            for tried in &selection.tried {
                let order = tried.order;
                let kept = order.p() <= 2 && order.q() <= 1 && order.d() == 1 && !order.has_constant();
                findings.check(kept, || format!("{name}: {order} was tried"));
            }
        }
    }
    findings.conclude(100);
}
