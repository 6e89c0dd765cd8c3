use super::*;
use crate::ids::Node;
use crate::loss::Gain;

const ROOMY: Destination =
    Destination { peak_over_capacity: Some(0.5), peak_over_mean: Some(1.0), hazard_over_class: 1.0 };

const fn gain(per_hour: f64, sd_per_hour: f64) -> Gain {
    Gain { per_hour, gray_per_hour: 0.0, sd_per_hour }
}

/// A holder of eight times its class's hazard, and a move that passes everything.
fn situation() -> Situation {
    Situation {
        loss_per_hour: Some(10.0),
        risk: None,
        hazard_over_class: 8.0,
        exceeds_now: Some(0.0),
        exceeds_forecast: Some(0.0),
        replica_over_largest: Some(0.1),
        load_over_capacity: Some(0.5),
        drift_per_hour: Some(0.0),
        gray: false,
        shift: None,
        best_move: Some(best_move()),
        mode: Mode::Approve,
        frozen: false,
    }
}

fn best_move() -> Move {
    Move {
        from: Node(0),
        to: Node(1),
        bytes: 1_000,
        gain: gain(6.0, 1.0),
        loss_after_per_hour: 4.0,
        cost: 100.0,
        exposure_per_hour: Some(0.01),
        exposure_after_per_hour: Some(0.005),
        destination: ROOMY,
    }
}

fn shift() -> Shift {
    Shift {
        action: ShiftAction::Lead { to: Node(2) },
        gain: gain(5.0, 0.0),
        pause: 10.0,
        since_last_h: None,
        destination: ROOMY,
    }
}

fn verdict(situation: &Situation) -> Verdict {
    decide(situation, &GatePolicy::default()).verdict
}

fn failed(best: Move) -> Criterion {
    let verdict = verdict(&Situation { best_move: Some(best), ..situation() });
    let Verdict::MovingWillNotHelp(WhyNot::Failed(criterion, judged)) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(judged.failed(), Some(criterion));
    criterion
}

#[test]
fn without_a_cause_nothing_moves_however_much_it_would_gain() {
    let mut calm = Situation { hazard_over_class: 4.9, shift: Some(shift()), ..situation() };
    assert_eq!(verdict(&calm), Verdict::Nothing);
    calm.exceeds_now = None;
    assert_eq!(verdict(&calm), Verdict::Nothing, "unknown headroom is no cause");
}

#[test]
fn a_move_that_passes_says_by_how_much() {
    let decision = decide(&situation(), &GatePolicy::default());
    let Verdict::Move(_, judged) = decision.verdict else { panic!("{decision:?}") };
    // 336 h x 6, and 336 h x (6 - .841621): the quantile of 80 %.
    assert!((judged.benefit - 2016.0).abs() < 1e-9);
    assert!((judged.benefit_lower - 336.0 * (6.0 - 0.841_621_233_6)).abs() < 1e-6);
    assert!((decision.rank - judged.benefit_lower / 1000.0).abs() < 1e-12);
    assert_eq!(judged.checks.len(), 5);
    assert_eq!(decision.standing, Standing::AwaitsApproval);
    assert!(decision.hazard_is_cause && !decision.headroom_is_cause);
}

#[test]
fn each_check_fails_by_itself() {
    let best = best_move();
    let unsure = gain(6.0, 7.0);
    assert_eq!(failed(Move { gain: unsure, ..best }), Criterion::GainOverCost);
    assert_eq!(failed(Move { cost: 600.0, ..best }), Criterion::GainOverCost);
    assert_eq!(failed(Move { exposure_after_per_hour: Some(0.0071), ..best }), Criterion::ExposureLeft);
    assert_eq!(failed(Move { exposure_after_per_hour: None, ..best }), Criterion::ExposureLeft);
    let full = Destination { peak_over_capacity: Some(0.86), ..ROOMY };
    assert_eq!(failed(Move { destination: full, ..best }), Criterion::DestinationHeadroom);
    let unknown = Destination { peak_over_capacity: None, ..ROOMY };
    assert_eq!(failed(Move { destination: unknown, ..best }), Criterion::DestinationHeadroom);
    let peak = Destination { peak_over_mean: Some(1.06), ..ROOMY };
    assert_eq!(failed(Move { destination: peak, ..best }), Criterion::DestinationPeak);
    let flaky = Destination { hazard_over_class: 2.6, ..ROOMY };
    assert_eq!(failed(Move { destination: flaky, ..best }), Criterion::DestinationHazard);
}

#[test]
fn drift_shortens_what_a_move_is_good_for() {
    let policy = GatePolicy::default();
    assert_eq!(policy.useful_h(Some(0.0)), 336.0);
    // Half a week's meaning: (1 - e^-4) / (1/84).
    assert!((policy.useful_h(Some(1.0 / 84.0)) - 84.0 * (1.0 - (-4.0_f64).exp())).abs() < 1e-9);
    let drifting = Situation { drift_per_hour: Some(1.0), ..situation() };
    assert!(matches!(
        verdict(&drifting),
        Verdict::MovingWillNotHelp(WhyNot::Failed(Criterion::GainOverCost, _))
    ));
}

#[test]
fn reads_are_shifted_before_bytes_are_copied() {
    let both = Situation { shift: Some(shift()), ..situation() };
    assert!(matches!(verdict(&both), Verdict::ShiftReads(..)));
    let again = Shift { since_last_h: Some(47.0), ..shift() };
    let decision = decide(&Situation { shift: Some(again), ..situation() }, &GatePolicy::default());
    assert!(matches!(decision.verdict, Verdict::Move(..)), "it cools down");
    assert_eq!(decision.shift_failed.unwrap().failed(), Some(Criterion::CoolDown));
    let costly = Shift { pause: 57.0, ..shift() };
    let decision = decide(&Situation { shift: Some(costly), ..situation() }, &GatePolicy::default());
    assert_eq!(
        decision.shift_failed.unwrap().failed(),
        Some(Criterion::GainOverCost),
        "29.5 times its pause"
    );
}

#[test]
fn what_is_unknown_moves_nothing_and_says_so() {
    let unknown = Situation { loss_per_hour: None, ..situation() };
    assert_eq!(verdict(&unknown), Verdict::MovingWillNotHelp(WhyNot::LossUnknown));
    let nowhere = Situation { best_move: None, ..situation() };
    assert_eq!(verdict(&nowhere), Verdict::MovingWillNotHelp(WhyNot::NoDestination));
    let nan = Move { gain: gain(f64::NAN, 0.0), ..best_move() };
    assert_eq!(failed(nan), Criterion::GainOverCost);
    let worse = Move { loss_after_per_hour: 11.0, gain: gain(-1.0, 0.0), ..best_move() };
    let stays = Situation { best_move: Some(worse), ..situation() };
    assert_eq!(verdict(&stays), Verdict::MovingWillNotHelp(WhyNot::NoLess { now: 10.0, after: 11.0 }));
}

#[test]
fn what_is_too_large_is_split_and_what_is_too_full_slows_down() {
    let full = Situation { hazard_over_class: 1.0, exceeds_now: Some(0.6), best_move: None, ..situation() };
    assert_eq!(verdict(&full), Verdict::MovingWillNotHelp(WhyNot::NoDestination));
    let large = Situation { replica_over_largest: Some(0.9), ..full.clone() };
    assert_eq!(verdict(&large), Verdict::SplitIt { replica_over_largest: 0.9 });
    let everywhere = Situation { load_over_capacity: Some(0.95), ..full };
    assert_eq!(verdict(&everywhere), Verdict::SlowDownClients { load_over_capacity: 0.95 });
    let hazard = Situation { best_move: None, replica_over_largest: Some(0.9), ..situation() };
    assert_eq!(
        verdict(&hazard),
        Verdict::MovingWillNotHelp(WhyNot::NoDestination),
        "splitting does not help against a hazard"
    );
}

#[test]
fn a_factor_that_is_off_neither_causes_nor_forbids() {
    let with = |change: fn(&mut Factors)| {
        let mut policy = GatePolicy::default();
        change(&mut policy.factors);
        policy
    };
    let no_hazard = with(|factors| factors.hazard = false);
    assert_eq!(decide(&situation(), &no_hazard).verdict, Verdict::Nothing);
    let forecast = Situation { hazard_over_class: 1.0, exceeds_forecast: Some(0.9), ..situation() };
    assert!(matches!(verdict(&forecast), Verdict::Move(..)));
    assert_eq!(decide(&forecast, &with(|factors| factors.forecast = false)).verdict, Verdict::Nothing);
    assert_eq!(decide(&forecast, &with(|factors| factors.headroom = false)).verdict, Verdict::Nothing);
    let shiftable = Situation { shift: Some(shift()), ..situation() };
    let no_shift = with(|factors| factors.shifting = false);
    assert!(matches!(decide(&shiftable, &no_shift).verdict, Verdict::Move(..)));
    let nothing_known = Destination { peak_over_capacity: None, peak_over_mean: None, ..ROOMY };
    let best = Move { destination: nothing_known, ..best_move() };
    let blind = Situation { best_move: Some(best), ..situation() };
    assert!(matches!(decide(&blind, &with(|factors| factors.headroom = false)).verdict, Verdict::Move(..)));
}

#[test]
fn a_mode_says_how_far_a_verdict_goes_and_a_freeze_stops_it() {
    let standing =
        |mode, frozen| decide(&Situation { mode, frozen, ..situation() }, &GatePolicy::default()).standing;
    assert_eq!(standing(Mode::Observe, false), Standing::Recorded);
    assert_eq!(standing(Mode::Recommend, false), Standing::Recommended);
    assert_eq!(standing(Mode::Auto, false), Standing::Carried);
    assert_eq!(standing(Mode::Auto, true), Standing::Recorded);
    assert_eq!(Mode::default(), Mode::Observe);
}

#[test]
fn a_shift_is_undone_when_its_cause_is_gone() {
    let undone = |with, without, since| undo_shift(with, without, since, &GatePolicy::default());
    assert!(undone(Some(10.0), Some(14.0), 48.0));
    assert!(!undone(Some(10.0), Some(15.0), 48.0), "half as much again is worth it");
    assert!(!undone(Some(10.0), Some(5.0), 47.0), "it cools down");
    assert!(!undone(Some(10.0), None, 90.0));
    assert!(undone(Some(0.0), Some(0.0), 90.0));
}

#[test]
fn policies_that_cannot_be_are_named() {
    assert_eq!(GatePolicy::default().check(), Ok(()));
    let certain = GatePolicy { confidence: 1.0, ..GatePolicy::default() };
    assert_eq!(certain.check().unwrap_err().field, "gate.confidence less than 1");
}

#[test]
fn what_gray_nodes_fail_is_a_cause_and_is_saved_only_while_they_do() {
    let policy = GatePolicy::default();
    let fails = Gain { per_hour: 0.0, gray_per_hour: 100.0, sd_per_hour: 0.0 };
    assert_eq!(policy.saved(fails, None), 400.0);
    let calm = Situation { hazard_over_class: 1.0, gray: true, best_move: None, ..situation() };
    let shift = Shift { gain: fails, pause: 13.0, ..shift() };
    let gray = Situation { shift: Some(shift), ..calm };
    assert!(matches!(verdict(&gray), Verdict::ShiftReads(..)));
    let well = Situation { gray: false, ..gray.clone() };
    assert_eq!(verdict(&well), Verdict::Nothing);
    let dear = Situation { shift: Some(Shift { pause: 14.0, ..shift }), ..gray.clone() };
    assert!(matches!(verdict(&dear), Verdict::MovingWillNotHelp(_)));
    let without = GatePolicy { factors: Factors { gray: false, ..Factors::default() }, ..policy };
    assert_eq!(decide(&gray, &without).verdict, Verdict::Nothing);
}

#[test]
fn a_drift_that_was_not_measured_is_the_one_that_the_policy_takes_for_it() {
    let policy = GatePolicy { drift_per_day: 0.5, ..GatePolicy::default() };
    assert_eq!(policy.useful_h(None), policy.useful_h(Some(0.5 / 24.0)));
    assert!(policy.useful_h(None) < policy.useful_h(Some(0.0)));
}

#[test]
fn a_headroom_that_is_only_foreseen_must_be_exceeded_even_at_the_lower_bound() {
    let foreseen = |exceeds: f64| {
        let calm = Situation { hazard_over_class: 1.0, exceeds_forecast: Some(exceeds), ..situation() };
        verdict(&calm)
    };
    assert_eq!(foreseen(0.79), Verdict::Nothing);
    assert!(matches!(foreseen(0.8), Verdict::Move(..)));
    let now = Situation { hazard_over_class: 1.0, exceeds_now: Some(0.5), ..situation() };
    assert!(matches!(verdict(&now), Verdict::Move(..)));
}

#[test]
fn the_threshold_asks_for_the_risk_alone_and_for_less_loss() {
    let policy = GatePolicy { trigger: Trigger::Threshold, risk_threshold: 0.1, ..GatePolicy::default() };
    // Neither a cause nor a gain that pays: only the risk counts.
    let calm = Situation { hazard_over_class: 1.0, ..situation() };
    let dear = Situation { best_move: Some(Move { cost: 1e9, ..best_move() }), ..calm };
    let verdict = |situation: Situation| decide(&situation, &policy).verdict;
    assert!(matches!(verdict(Situation { risk: Some(0.2), ..dear.clone() }), Verdict::Move(..)));
    assert_eq!(verdict(Situation { risk: Some(0.1), ..dear.clone() }), Verdict::Nothing);
    assert_eq!(verdict(Situation { risk: None, ..dear.clone() }), Verdict::Nothing);
    let worse = Some(Move { loss_after_per_hour: 11.0, ..best_move() });
    let no_less = verdict(Situation { risk: Some(0.2), best_move: worse, ..dear.clone() });
    assert!(matches!(no_less, Verdict::MovingWillNotHelp(WhyNot::NoLess { .. })));
    let nowhere = verdict(Situation { risk: Some(0.2), best_move: None, ..dear.clone() });
    assert_eq!(nowhere, Verdict::MovingWillNotHelp(WhyNot::NoDestination));
    let decision = decide(&Situation { risk: Some(0.2), ..dear }, &policy);
    assert!(decision.has_cause() && decision.standing == Standing::AwaitsApproval);
}
