use super::*;
use isotherm_model::Interval;

const DAY_MS: u64 = 24 * 3_600_000;

fn span(subject: u32, from_day: u64, to_day: u64, state: SpanState) -> Span {
    let at = |day: u64| Timestamp::from_ms(day * DAY_MS);
    Span { subject, when: Interval::new(at(from_day), at(to_day)).unwrap(), state }
}

fn day(day: u64) -> Timestamp {
    Timestamp::from_ms(day * DAY_MS)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn tally(failures: f64, exposure_h: f64) -> Tally {
    Tally { failures, exposure_h }
}

fn estimate(tallies: &[Tally], overrides: &[Override]) -> Hazards {
    let classes = vec![NodeClass(0); tallies.len()];
    Hazards::estimate(tallies, &classes, overrides, day(100), &HazardPolicy::default()).unwrap()
}

#[test]
fn only_failures_count_and_only_hours_seen_up_are_exposure() {
    let mut history = History::new(2);
    history.record(span(0, 0, 10, SpanState::Up)).unwrap();
    history.record(span(0, 10, 11, SpanState::Down(DownCause::Failure))).unwrap();
    history.record(span(0, 11, 20, SpanState::Up)).unwrap();
    history.record(span(0, 20, 30, SpanState::Down(DownCause::Maintenance))).unwrap();
    history.record(span(0, 30, 40, SpanState::Down(DownCause::AgentLoss))).unwrap();
    let tallies = history.tally(day(40), 1e12);
    assert!(near(tallies[0].failures, 1.0) && (tallies[0].exposure_h - 19.0 * 24.0).abs() < 1e-6);
    assert_eq!(tallies[1], Tally::default(), "of node 1 nobody told anything");
}

#[test]
fn what_is_a_half_life_old_counts_half() {
    let mut history = History::new(1);
    history.record(span(0, 40, 41, SpanState::Down(DownCause::Failure))).unwrap();
    history.record(span(0, 0, 40, SpanState::Up)).unwrap();
    let tally = history.tally(day(100), 60.0)[0];
    assert!(near(tally.failures, 0.5));
    // 60 days / ln 2 x (2^-1 - 2^(-100/60)), in hours.
    let hours = 1440.0 / std::f64::consts::LN_2 * (0.5 - (-100.0_f64 / 60.0).exp2());
    assert!(near(tally.exposure_h, hours));
}

#[test]
fn what_is_told_twice_happened_once() {
    let mut history = History::new(1);
    for (from, to) in [(5, 9), (0, 6), (20, 30), (9, 12)] {
        history.record(span(0, from, to, SpanState::Up)).unwrap();
    }
    for (from, to) in [(12, 13), (13, 14), (12, 14), (16, 17)] {
        history.record(span(0, from, to, SpanState::Down(DownCause::Failure))).unwrap();
    }
    let tally = history.tally(day(30), 1e12)[0];
    assert!((tally.exposure_h - 22.0 * 24.0).abs() < 1e-6 && near(tally.failures, 2.0), "{tally:?}");
}

#[test]
fn the_future_and_the_forgotten_do_not_count() {
    let mut history = History::new(1);
    history.record(span(0, 0, 10, SpanState::Up)).unwrap();
    history.record(span(0, 5, 6, SpanState::Down(DownCause::Failure))).unwrap();
    let early = history.tally(day(4), 1e12)[0];
    assert!(early.failures == 0.0 && (early.exposure_h - 96.0).abs() < 1e-6);
    history.forget_before(day(10));
    assert_eq!(history.tally(day(20), 60.0)[0], Tally::default());
    assert!(matches!(
        history.record(span(3, 0, 1, SpanState::Up)),
        Err(HistoryError::NoSuchSubject { subject: 3, subjects: 1 })
    ));
}

#[test]
fn without_records_a_node_fails_once_a_year_and_says_that_this_is_assumed() {
    let hazards = estimate(&[tally(0.0, 0.0), tally(0.0, 24.0)], &[]);
    let hazard = &hazards.of[0];
    assert_eq!(hazard.basis, Basis::Prior);
    // 24 hours without a failure weigh little: once, over 8,760 hours and once that day more for each level.
    assert!((hazard.per_hour() * 8760.0 - 1.0).abs() < 0.01, "{}", hazard.per_hour() * 8760.0);
    assert!((hazard.over_class() - 1.0).abs() < 0.01);
    let many = vec![tally(0.0, 1000.0); 10];
    assert_eq!(estimate(&many, &[]).of[0].basis, Basis::Class, "a node-year without a failure is a record");
}

#[test]
fn the_posterior_is_the_prior_and_the_record() {
    // One node of ten failed five times in 60 days, the others never.
    let mut tallies = vec![tally(0.0, 1440.0); 9];
    tallies.push(tally(5.0, 1440.0));
    let hazards = estimate(&tallies, &[]);
    let prior = hazards.classes[0];
    let all = 6.0 / (8760.0 + 14_400.0);
    let mean = 6.0 / (1.0 / all + 14_400.0);
    assert!(near(prior.mean_per_hour(), mean), "its own failures, and one at the rate of all");
    assert!((prior.pseudo_count - 0.1).abs() < 1e-6, "one of ten fails: as uneven as is allowed");
    let bad = &hazards.of[9];
    assert!(near(bad.per_hour(), (prior.pseudo_count + 5.0) / (prior.pseudo_hours + 1440.0)));
    assert!(near(bad.sd_per_hour(), (prior.pseudo_count + 5.0).sqrt() / (prior.pseudo_hours + 1440.0)));
    assert_eq!(bad.basis, Basis::Own);
    assert!(bad.over_class() > 5.0, "{}", bad.over_class());
    assert!(hazards.of[0].over_class() < 1.0);
}

#[test]
fn a_class_whose_members_fail_alike_keeps_the_highest_pseudo_count() {
    let hazards = estimate(&[tally(3.0, 1000.0); 20], &[]);
    assert!((hazards.classes[0].pseudo_count - 1.0).abs() < 1e-6);
    assert!((hazards.of[0].over_class() - 1.0).abs() < 0.1);
}

#[test]
fn a_member_of_a_small_class_is_not_held_against_itself() {
    let hazards = estimate(&[tally(20.0, 1000.0), tally(0.0, 1000.0), tally(0.0, 1000.0)], &[]);
    assert!(hazards.of[0].over_class() > 5.0, "{}", hazards.of[0].over_class());
}

#[test]
fn a_class_without_records_borrows_from_the_others() {
    let tallies = [tally(0.0, 0.0), tally(10.0, 1000.0), tally(10.0, 1000.0)];
    let classes = [NodeClass(1), NodeClass(0), NodeClass(0)];
    let hazards = Hazards::estimate(&tallies, &classes, &[], day(0), &HazardPolicy::default()).unwrap();
    // All: 21 failures in 8,760 + 2,000 hours.
    assert!(near(hazards.of[0].per_hour(), 21.0 / 10_760.0));
    assert_eq!(hazards.of[0].basis, Basis::Class);
}

#[test]
fn the_median_of_an_exponential_is_the_logarithm_of_two() {
    // With a pseudo-count of 1 and no failures the posterior is exponential.
    let hazard = &estimate(&[tally(0.0, 1000.0); 10], &[]).of[0];
    let mean = hazard.per_hour();
    assert!(near(hazard.quantile_per_hour(0.5), mean * std::f64::consts::LN_2));
    assert!(near(hazard.quantile_per_hour(0.9), mean * 10.0_f64.ln()));
    assert_eq!((hazard.quantile_per_hour(0.0), hazard.quantile_per_hour(1.0)), (0.0, f64::INFINITY));
    assert!(hazard.quantile_per_hour(1.5).is_nan());
}

#[test]
fn an_operators_word_holds_until_it_runs_out() {
    let tallies = vec![tally(1.0, 1000.0); 4];
    let held = |subject, rate, until: Option<u64>| Override {
        subject,
        rate,
        reason: "its fan is dying".to_owned(),
        until: until.map(day),
    };
    let overrides = [
        held(0, OverrideRate::PerHour(0.05), None),
        held(1, OverrideRate::Factor(10.0), Some(101)),
        held(2, OverrideRate::Factor(10.0), Some(100)),
    ];
    let hazards = estimate(&tallies, &overrides);
    let plain = hazards.of[3].per_hour();
    assert_eq!((hazards.of[0].per_hour(), hazards.of[0].sd_per_hour()), (0.05, 0.0));
    assert!(near(hazards.of[1].per_hour(), 10.0 * plain));
    assert!(near(hazards.of[2].per_hour(), plain), "it ran out at this very moment");
    assert!(matches!(hazards.of[0].basis, Basis::Override(_)));
    let classes = [NodeClass(0); 4];
    for wrong in [held(9, OverrideRate::PerHour(1.0), None), held(0, OverrideRate::Factor(-1.0), None)] {
        let refused = Hazards::estimate(&tallies, &classes, &[wrong], day(0), &HazardPolicy::default());
        assert!(matches!(refused, Err(HazardError::Override { .. })));
    }
}

#[test]
fn records_that_are_none_are_named() {
    let refused = |tallies: &[Tally], classes: &[NodeClass]| {
        Hazards::estimate(tallies, classes, &[], day(0), &HazardPolicy::default()).unwrap_err()
    };
    let wrong = tally(0.0, f64::NAN);
    assert!(matches!(
        refused(&[tally(0.0, 1.0), wrong], &[NodeClass(0); 2]),
        HazardError::Tally { subject: 1, .. }
    ));
    assert_eq!(refused(&[], &[NodeClass(0)]), HazardError::Count { tallies: 0, classes: 1 });
}

proptest::proptest! {
    #[test]
    fn one_more_failure_is_more_hazard_and_more_hours_are_less(
        others in proptest::collection::vec((0.0..4.0_f64, 10.0..3000.0_f64), 1..8),
        failures in 0.0..5.0_f64,
        hours in 10.0..3000.0_f64,
    ) {
        let rate = |failures: f64, hours: f64| {
            let mut tallies: Vec<Tally> = others.iter().map(|(f, h)| tally(*f, *h)).collect();
            tallies.push(tally(failures, hours));
            // The pseudo-count is held: it is fitted, and may fall as one member stands out more.
            let policy = HazardPolicy { least_pseudo_count: 1.0, ..HazardPolicy::default() };
            let classes = vec![NodeClass(0); tallies.len()];
            let hazards = Hazards::estimate(&tallies, &classes, &[], day(0), &policy).unwrap();
            hazards.of[others.len()].per_hour()
        };
        proptest::prop_assert!(rate(failures + 1.0, hours) > rate(failures, hours));
        proptest::prop_assert!(rate(failures, hours + 100.0) < rate(failures, hours));
    }
}
