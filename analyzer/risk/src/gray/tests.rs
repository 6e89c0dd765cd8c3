use super::*;
use proptest::prelude::*;

const SLOW: Option<LatencyRatio> = Some(LatencyRatio { median: 3.0, p99: 5.0 });
const USUAL: Option<LatencyRatio> = Some(LatencyRatio { median: 1.1, p99: 0.9 });

fn partition(share: f64, reads: u64) -> OnNode {
    OnNode { share, habitual: Some(0.4), reads }
}

fn fallen(n: usize) -> Vec<OnNode> {
    vec![partition(0.1, 1000); n]
}

#[test]
fn shares_and_latency_together_are_a_suspicion() {
    let rule = Rule::default();
    let Verdict::Suspected(evidence) = rule.judge(fallen(10), SLOW) else { panic!("both signs are there") };
    assert_eq!((evidence.judged, evidence.fallen, evidence.left_out), (10, 10, 0));
    assert!((evidence.median_ratio - 0.25).abs() < 1e-12 && evidence.fallen_weight == 1.0);
    assert_eq!(evidence.latency, SLOW);
    assert!(matches!(rule.judge(fallen(10), USUAL), Verdict::Relieved(_)));
    assert!(matches!(rule.judge(vec![partition(0.4, 1000); 10], SLOW), Verdict::Clear(_)));
    // Either latency is enough.
    for (median, p99) in [(1.5, 1.0), (1.0, 2.0)] {
        assert!(rule.judge(fallen(10), Some(LatencyRatio { median, p99 })).is_suspicion());
    }
    assert!(!rule.judge(fallen(10), Some(LatencyRatio { median: 1.49, p99: 1.99 })).is_suspicion());
}

#[test]
fn without_a_latency_there_is_something_to_show_and_no_suspicion() {
    let verdict = Rule::default().judge(fallen(10), None);
    assert!(matches!(verdict, Verdict::SharesOnly(_)) && !verdict.is_suspicion());
}

#[test]
fn few_partitions_say_nothing() {
    let rule = Rule::default();
    assert_eq!(rule.judge(fallen(4), SLOW), Verdict::Unknown { have: 4, need: 5 });
    assert_eq!(rule.judge([], SLOW), Verdict::Unknown { have: 0, need: 5 });
    // A partition of hardly any reads, one without a habit, and one whose share is no number, cannot be judged.
    let mut some = fallen(4);
    some.extend([partition(0.1, 70), OnNode { habitual: None, ..some[0] }, partition(f64::NAN, 1000)]);
    assert_eq!(rule.judge(some.clone(), SLOW), Verdict::Unknown { have: 4, need: 5 });
    some.push(partition(0.1, 75));
    let Verdict::Suspected(evidence) = rule.judge(some, SLOW) else { panic!("five can be judged") };
    assert_eq!((evidence.judged, evidence.left_out), (5, 3));
}

#[test]
fn most_is_most_of_the_habitual_reads() {
    let rule = Rule::default();
    let many_small: Vec<OnNode> = fallen(9).into_iter().chain([partition(0.4, 9_000)]).collect();
    let Verdict::Clear(evidence) = rule.judge(many_small, SLOW) else {
        panic!("half of the reads are as ever")
    };
    assert!((evidence.fallen_weight - 0.5).abs() < 1e-12);
    let one_large: Vec<OnNode> =
        vec![partition(0.4, 1000); 9].into_iter().chain([partition(0.1, 9_100)]).collect();
    assert!(rule.judge(one_large, SLOW).is_suspicion());
}

#[test]
fn a_share_at_the_ratio_has_fallen() {
    let rule = Rule::default();
    let at = OnNode { share: 0.3, habitual: Some(0.5), reads: 1000 };
    assert!(rule.judge([at; 5], SLOW).is_suspicion());
    assert!(!rule.judge([OnNode { share: 0.301, ..at }; 5], SLOW).is_suspicion());
}

#[test]
fn settings_name_the_field_that_is_wrong() {
    type Change = fn(&mut Settings);
    let changes: [(&str, Change); 6] = [
        ("share_ratio", |settings| settings.share_ratio = 1.0),
        ("most", |settings| settings.most = 0.4),
        ("min_partitions", |settings| settings.min_partitions = 0),
        ("min_reads", |settings| settings.min_reads = f64::NAN),
        ("median_ratio", |settings| settings.median_ratio = 0.9),
        ("tail_ratio", |settings| settings.tail_ratio = f64::INFINITY),
    ];
    for (field, change) in changes {
        let mut settings = Settings::default();
        change(&mut settings);
        assert_eq!(Rule::new(settings).unwrap_err().field, field);
    }
    assert_eq!(serde_json::from_str::<Rule>("{}").unwrap(), Rule::default());
    assert_eq!(serde_json::from_str::<HabitRule>("{}").unwrap(), HabitRule::default());
    type ChangeHabit = fn(&mut HabitSettings);
    let changes: [(&str, ChangeHabit); 4] = [
        ("step_s", |settings| settings.step_s = f64::NAN),
        ("half_life_h", |settings| settings.half_life_h = 0.5),
        ("minimum_min", |settings| settings.minimum_min = 0.0),
        ("frozen_h", |settings| settings.frozen_h = 0.0),
    ];
    for (field, change) in changes {
        let mut settings = HabitSettings::default();
        change(&mut settings);
        assert_eq!(HabitRule::new(settings).unwrap_err().field, field);
    }
}

#[test]
fn a_latency_is_interpolated_within_its_bucket() {
    let with = |bucket: usize, count| {
        let mut counts = [0; isotherm_model::LATENCY_BUCKETS];
        counts[bucket] = count;
        counts
    };
    assert_eq!(Latency::of(&LatencyHistogram::new(with(10, 999))), None);
    let all = Latency::of(&LatencyHistogram::new(with(10, 1000))).unwrap();
    assert!((all.median_ns - 10.5f64.exp2()).abs() < 1e-6 && (all.p99_ns - 10.99f64.exp2()).abs() < 1e-6);
    // From 49 % to 51 % in the lower of two buckets, the median moves by two hundredths of a doubling.
    let split = |lower| {
        let mut counts = with(10, lower);
        counts[11] = 1000 - lower;
        Latency::of(&LatencyHistogram::new(counts)).unwrap().median_ns
    };
    let step = split(490) / split(510);
    assert!((1.0..1.04).contains(&step), "{step}");
}

#[test]
fn a_share_is_a_habit_after_an_hour_and_forgotten_by_half_in_a_day() {
    let rule = HabitRule::default();
    let mut habit = ShareHabit::default();
    (0..59).for_each(|_| habit.observe(&rule, Some(0.25), false));
    habit.observe(&rule, None, false);
    habit.observe(&rule, Some(f64::NAN), false);
    assert_eq!(habit.share(&rule), None);
    habit.observe(&rule, Some(0.25), false);
    assert_eq!(habit.share(&rule), Some(0.25));
    (0..60 * 24 * 14).for_each(|_| habit.observe(&rule, Some(0.25), false));
    (0..60 * 24).for_each(|_| habit.observe(&rule, Some(0.75), false));
    assert!((habit.share(&rule).unwrap() - 0.5).abs() < 1e-3);
}

#[test]
fn a_share_is_frozen_for_a_week_at_most() {
    let rule = HabitRule::default();
    let mut habit = ShareHabit::default();
    (0..100).for_each(|_| habit.observe(&rule, Some(0.5), false));
    (0..60 * 168).for_each(|_| habit.observe(&rule, Some(0.1), true));
    assert_eq!(habit.share(&rule), Some(0.5));
    habit.observe(&rule, Some(0.1), true);
    assert_eq!(habit.share(&rule), None, "what was is not known any more");
    (0..60).for_each(|_| habit.observe(&rule, Some(0.1), false));
    assert!((habit.share(&rule).unwrap() - 0.1).abs() < 1e-6);
    let mut released = habit;
    released.observe(&rule, Some(0.9), true);
    assert_eq!(released.share(&rule), habit.share(&rule));
}

#[test]
fn a_latency_is_so_many_times_its_habit() {
    let rule = HabitRule::default();
    let mut habit = LatencyHabit::default();
    let of = |median_ns, p99_ns| Some(Latency { median_ns, p99_ns });
    assert_eq!(habit.ratio(&rule, of(1e5, 1e6)), None);
    for i in 0..1000 {
        // Half and double: the geometric mean is between.
        let times = if i % 2 == 0 { 0.5 } else { 2.0 };
        habit.observe(&rule, of(1e5 * times, 1e6 * times), false);
    }
    habit.observe(&rule, of(0.0, 1e6), false);
    habit.observe(&rule, of(1e9, 1e9), true);
    let ratio = habit.ratio(&rule, of(2e5, 5e6)).unwrap();
    assert!((ratio.median - 2.0).abs() < 0.02 && (ratio.p99 - 5.0).abs() < 0.05, "{ratio:?}");
    assert_eq!(habit.ratio(&rule, None), None);
    let read: LatencyHabit = serde_json::from_str(&serde_json::to_string(&habit).unwrap()).unwrap();
    assert_eq!(read, habit);
}

#[test]
fn habits_are_small() {
    assert_eq!((size_of::<ShareHabit>(), size_of::<LatencyHabit>()), (12, 24));
}

proptest! {
    #[test]
    fn the_order_of_partitions_does_not_matter(
        shares in prop::collection::vec((0.0..=1.0, 0.0..=1.0, 0..5000u64), 0..40),
    ) {
        let rule = Rule::default();
        let mut partitions: Vec<OnNode> = shares
            .into_iter()
            .map(|(share, habitual, reads)| OnNode { share, habitual: Some(habitual), reads })
            .collect();
        let forward = rule.judge(partitions.clone(), SLOW);
        partitions.reverse();
        prop_assert_eq!(forward, rule.judge(partitions, SLOW));
    }

    #[test]
    fn the_weighted_median_tells_whether_most_have_fallen(
        shares in prop::collection::vec((0.0..=1.0, 0.1..=1.0, 500..5000u64), 5..40),
    ) {
        let rule = Rule::default();
        let partitions =
            shares.into_iter().map(|(share, habitual, reads)| OnNode { share, habitual: Some(habitual), reads });
        match rule.judge(partitions, SLOW) {
            Verdict::Suspected(evidence) => prop_assert!(evidence.median_ratio <= 0.6),
            Verdict::Clear(evidence) => prop_assert!(evidence.median_ratio > 0.6 || evidence.fallen_weight == 0.5),
            verdict @ (Verdict::SharesOnly(_) | Verdict::Relieved(_) | Verdict::Unknown { .. }) => {
                prop_assert!(false, "{verdict:?}");
            }
        }
    }
}
