use super::*;
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;

fn settings() -> Settings {
    Settings { horizon_h: 1.0, ..Settings::default() }
}

fn name(number: u32) -> Name {
    ("made-up".to_owned(), format!("p{number}"))
}

const SHARES: [(u32, f64); 3] = [(0, 0.15), (1, 0.15), (2, 0.7)];

/// One prediction of an hour, made at 0.
fn one() -> Calibrator {
    let mut calibrator = Calibrator::default();
    calibrator.define(&settings());
    predict(&mut calibrator, 0, 0);
    calibrator
}

fn predict(calibrator: &mut Calibrator, partition: u32, at_ms: u64) {
    let made = Prediction::new(name(partition), at_ms, HOUR_MS, 0.1, None);
    calibrator.remember(made, &SHARES, at_ms, at_ms, &settings());
}

/// Minutes `from + 1 ..= to`.
fn pass(calibrator: &mut Calibrator, minutes: std::ops::Range<u64>, seen: &Seen) {
    for minute in minutes {
        calibrator.follow((minute + 1) * MINUTE_MS, MINUTE_MS, &settings(), |_| seen.clone());
    }
}

fn shares() -> Seen {
    Seen::Shares(SHARES.to_vec())
}

fn incidents(calibrator: &mut Calibrator, nodes: &[u32], at_ms: u64, now_ms: u64) -> usize {
    calibrator.strike(nodes.to_vec(), at_ms, now_ms, &settings()).incidents
}

#[test]
fn an_incident_is_after_the_prediction_and_not_after_its_horizon() {
    for (at_ms, expected) in [(0, 0), (1, 1), (HOUR_MS, 1), (HOUR_MS + 1, 0)] {
        let mut calibrator = one();
        pass(&mut calibrator, 0..60, &shares());
        assert_eq!(incidents(&mut calibrator, &[2], at_ms, HOUR_MS), expected, "{at_ms}");
        pass(&mut calibrator, 60..120, &shares());
        assert_eq!((calibrator.standing().labels, calibrator.standing().positive), (1, expected));
        assert_eq!(calibrator.pending(), 0);
    }
}

#[test]
fn nodes_that_serve_too_little_are_an_incident_if_they_fail_together() {
    let mut calibrator = one();
    assert_eq!(incidents(&mut calibrator, &[0], 5, 0), 0);
    assert_eq!(incidents(&mut calibrator, &[7], 5, 0), 0, "it does not serve it");
    assert_eq!(incidents(&mut calibrator, &[0, 1], 6, 0), 1);
    assert_eq!(incidents(&mut calibrator, &[2], 7, 0), 0, "it had its incident");
}

#[test]
fn what_a_node_served_is_known_for_an_hour_after_it_left() {
    let without = Seen::Shares(vec![(0, 0.5), (1, 0.5)]);
    let mut calibrator = one();
    pass(&mut calibrator, 0..50, &without);
    assert_eq!(incidents(&mut calibrator, &[2], 1, 50 * MINUTE_MS), 1);
    let mut day = Calibrator::default();
    day.define(&settings());
    let made = Prediction::new(name(0), 0, 24 * HOUR_MS, 0.1, None);
    day.remember(made, &SHARES, 0, 0, &settings());
    pass(&mut day, 0..62, &without);
    let gone = day.strike(vec![2], 62 * MINUTE_MS, 62 * MINUTE_MS, &settings());
    assert_eq!(gone, Marked::default(), "it was emptied before it failed");
}

#[test]
fn who_was_not_watched_for_most_of_the_time_comes_to_no_label() {
    for (unknown, labels) in [(30, 1), (31, 0)] {
        let mut calibrator = one();
        pass(&mut calibrator, 0..unknown, &Seen::Nothing);
        pass(&mut calibrator, unknown..120, &shares());
        assert_eq!((calibrator.standing().labels, calibrator.pending()), (labels, 0), "{unknown}");
    }
    let mut gap = one();
    pass(&mut gap, 200..201, &shares());
    assert_eq!((gap.standing().labels, gap.pending()), (0, 0), "nobody was there");
}

#[test]
fn a_failure_is_unclear_if_shares_are_unknown_or_it_is_told_of_too_late() {
    let unclear = Marked { incidents: 0, unclear: 1 };
    let mut blind = one();
    pass(&mut blind, 0..1, &Seen::Nothing);
    assert_eq!(blind.strike(vec![2], MINUTE_MS, MINUTE_MS, &settings()), unclear);
    let mut late = one();
    pass(&mut late, 0..62, &shares());
    assert_eq!(late.strike(vec![2], MINUTE_MS, 62 * MINUTE_MS, &settings()), unclear);
    assert_eq!((late.pending(), late.standing().labels), (0, 0));
}

#[test]
fn a_move_ends_a_prediction_that_had_no_incident() {
    let mut moved = one();
    pass(&mut moved, 0..1, &Seen::Moving);
    assert_eq!(moved.pending(), 0);
    let mut repaired = one();
    assert_eq!(incidents(&mut repaired, &[2], 5, 0), 1);
    pass(&mut repaired, 0..120, &Seen::Moving);
    assert_eq!(repaired.standing().positive, 1);
}

#[test]
fn overlapping_labels_and_repeated_failures_of_a_node_are_counted_once() {
    let day = settings();
    let mut calibrator = Calibrator::default();
    calibrator.define(&day);
    for minute in 0..360 {
        // Every ten minutes, which the node does not survive once.
        if minute % 10 == 0 {
            predict(&mut calibrator, 0, minute * MINUTE_MS);
            let _ = incidents(&mut calibrator, &[2], minute * MINUTE_MS + 1, minute * MINUTE_MS);
        }
        pass(&mut calibrator, minute..minute + 1, &shares());
    }
    let standing = calibrator.standing();
    let expected = Standing { labels: 25, independent: 5, positive: 25, incidents: 1 };
    assert_eq!(standing, expected);
}

#[test]
fn another_definition_of_an_incident_forgets_what_was_learned() {
    let mut calibrator = one();
    calibrator.labels = labels(20, |_| 0.1);
    calibrator.learned = fit::fit(&calibrator.labels);
    assert!(calibrator.calibrated(0.1, &settings()).is_some());
    let mut other = settings();
    other.risk.exposure.incident_share = 0.3;
    assert_eq!(calibrator.calibrated(0.1, &other), None, "at once");
    calibrator.follow(MINUTE_MS, MINUTE_MS, &other, |_| shares());
    assert_eq!((calibrator.standing().labels, calibrator.pending()), (0, 0));
    assert_eq!(calibrator.calibrated(0.1, &settings()), None, "and for good");
}

#[test]
fn the_oldest_labels_leave() {
    let mut calibrator = one();
    let label = Label { risk: 0.5, calibrated: None, event: None, independent: true };
    calibrator.labels = std::iter::repeat_n(label, WINDOW).collect();
    pass(&mut calibrator, 0..120, &shares());
    assert_eq!(calibrator.labels.len(), WINDOW);
    assert_eq!(calibrator.labels.back().map(|label| label.risk), Some(0.1));
}

/// Ten labels to every one of so many incidents.
fn labels(incidents: u32, risk: impl Fn(u32) -> f32) -> VecDeque<Label> {
    let of = |at: u32| Label {
        risk: risk(at),
        calibrated: None,
        event: at.is_multiple_of(10).then_some(at / 10),
        independent: true,
    };
    (0..incidents * 10).map(of).collect()
}

#[test]
fn nothing_is_said_before_there_are_enough_failures_and_labels_that_do_not_overlap() {
    let risk = |at: u32| 0.01 + 0.0001 * (at % 7) as f32;
    assert!(fit::fit(&labels(19, risk)).is_none());
    assert!(fit::fit(&labels(20, risk)).is_some());
    let mut overlapping = labels(20, risk);
    overlapping[3].independent = false;
    assert!(fit::fit(&overlapping).is_none());
    let mut of_one = labels(20, risk);
    of_one.iter_mut().filter(|label| label.event.is_some()).for_each(|label| label.event = Some(1));
    assert!(fit::fit(&of_one).is_none(), "one failure, however many labels");
    assert!(fit::fit(&labels(20, |_| 0.0)).is_none());
}

#[test]
fn what_was_never_seen_to_fail_is_not_called_safe_nor_the_opposite_certain() {
    // All incidents are among the tenth with the highest risks, and nothing else is there.
    let labels = labels(40, |at| if at.is_multiple_of(10) { 0.2 } else { 0.01 });
    let learned = fit::fit(&labels).expect("enough");
    let (low, high) = (learned.apply(0.01), learned.apply(0.2));
    assert!(low > 0.0 && low < 0.001, "{low}");
    assert!(high > 0.9 && high <= 1.0, "{high}");
    assert!((learned.apply(0.005) - low / 2.0).abs() < 1e-3 * low, "below, the ratio goes on");
}

proptest! {
    #[test]
    fn a_higher_risk_never_means_less(
        risks in prop::collection::vec((0.0..1.0_f32, any::<bool>()), 400..600),
        queries in prop::collection::vec(0.0..=1.0_f64, 2..30),
    ) {
        let label = |(at, (risk, came)): (u32, &(f32, bool))| Label {
            risk: *risk, calibrated: None, event: came.then_some(at), independent: true,
        };
        let labels: VecDeque<Label> = (0..).zip(&risks).map(label).collect();
        let learned = fit::fit(&labels).expect("half of them came");
        let mut queries = queries;
        queries.sort_by(f64::total_cmp);
        let found: Vec<f64> = queries.iter().map(|query| learned.apply(*query)).collect();
        prop_assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(found.iter().all(|value| (0.0..=1.0).contains(value)));
        let reversed: VecDeque<Label> = labels.iter().rev().copied().collect();
        prop_assert_eq!(fit::fit(&reversed).map(|one| one.knots().to_vec()), Some(learned.knots().to_vec()));
    }
}
