use super::*;
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;
const DAY: u64 = 24 * 60;
const WEEK: u64 = 7 * DAY;

/// 2024-02-26 00:00 UTC, a Monday.
const MONDAY: Timestamp = Timestamp::from_ms(1_708_905_600_000);

fn at(minute: u64) -> Timestamp {
    MONDAY.plus_ms(minute * MINUTE_MS)
}

fn h(value: f64) -> Option<Normalised> {
    Some(Normalised::new(value.clamp(0.0, 1.0)).unwrap())
}

/// Noise of mean 0, the same for the same minute: its median deviation is .01.
fn noise(minute: u64) -> f64 {
    0.01 * ((minute * 7 % 5) as f64 - 2.0)
}

/// Feeds `level` with noise over minutes, and says what the last one was.
fn feed(habit: &mut Habit, minutes: std::ops::Range<u64>, level: impl Fn(u64) -> f64) -> Option<Seen> {
    let rule = Rule::default();
    minutes.map(|minute| habit.observe(&rule, at(minute), h(level(minute) + noise(minute)), None)).last()
}

fn value(habit: &Habit, minute: u64) -> f64 {
    habit.baseline(&Rule::default(), at(minute)).unwrap().value
}

fn source(habit: &Habit, minute: u64) -> Source {
    habit.baseline(&Rule::default(), at(minute)).unwrap().source
}

#[test]
fn half_an_hour_of_values_makes_a_habit_and_gaps_do_not() {
    let (rule, mut habit) = (Rule::default(), Habit::default());
    assert_eq!(habit.baseline(&rule, at(0)), None);
    feed(&mut habit, 0..29, |_| 0.5);
    let gap = habit.observe(&rule, at(29), None, None);
    assert_eq!((gap.baseline, gap.z, gap.taught), (None, None, Taught::Gap));
    let before = habit.clone();
    for minute in 30..50 {
        habit.observe(&rule, at(minute), None, None);
    }
    assert_eq!(Habit { next_ms: before.next_ms, ..habit.clone() }, before, "gaps teach nothing");
    feed(&mut habit, 50..51, |_| 0.5);
    let baseline = habit.baseline(&rule, at(51)).unwrap();
    assert!((baseline.value - 0.5).abs() < 2e-3 && baseline.source == Source::Recent, "{baseline:?}");
    assert!(habit.z(&rule, at(51), Normalised::new(0.9).unwrap()).unwrap() > 3.0);
}

#[test]
fn z_is_deviations_with_a_floor() {
    let baseline = Baseline { value: 0.5, mad: 0.02, source: Source::Recent };
    let z = |value| baseline.z(Normalised::new(value).unwrap());
    assert!((z(0.6) - 0.1 / (1.4826 * 0.02 + 0.01)).abs() < 1e-12 && z(0.4) < 0.0);
    let silent = Baseline { mad: 0.0, ..baseline };
    assert!((silent.z(Normalised::new(0.53).unwrap()) - 3.0).abs() < 1e-12);
}

#[test]
fn a_value_that_is_not_later_is_not_used() {
    let (rule, mut habit) = (Rule::default(), Habit::default());
    feed(&mut habit, 0..100, |_| 0.5);
    let before = habit.clone();
    let seen = habit.observe(&rule, at(99), h(0.9), None);
    assert_eq!(seen.taught, Taught::Late);
    assert!(seen.z.is_some());
    assert_eq!(habit, before);
}

#[test]
fn after_two_weeks_the_hour_of_the_week_counts() {
    let mut habit = Habit::default();
    let daily = |minute: u64| if minute % DAY < DAY / 2 { 0.4 } else { 0.5 };
    feed(&mut habit, 0..2 * WEEK, daily);
    for (hour, level) in [(3, 0.4), (11, 0.4), (12, 0.5), (22, 0.5)] {
        let minute = 2 * WEEK + hour * 60;
        assert_eq!(source(&habit, minute), Source::HourOfWeek { weeks: 2 });
        assert!((value(&habit, minute) - level).abs() < 0.002, "{hour}: {}", value(&habit, minute));
    }
    // The last hour is under way until the next value.
    assert_eq!(source(&habit, 2 * WEEK + WEEK - 1), Source::Recent);
    feed(&mut habit, 2 * WEEK..6 * WEEK, daily);
    assert_eq!(source(&habit, 6 * WEEK), Source::HourOfWeek { weeks: 4 });
}

#[test]
fn weeks_roll_over_to_the_latest_four() {
    let mut habit = Habit::default();
    // A level that rises by .02 a week, which no window calls unusual: in week 6 it is .40 + .12.
    feed(&mut habit, 0..6 * WEEK, |minute| 0.4 + 0.02 * (minute / WEEK) as f64);
    let median_of_weeks_2_to_5 = 0.4 + 0.02 * 3.5;
    assert!((value(&habit, 6 * WEEK + 100) - median_of_weeks_2_to_5).abs() < 0.002);
}

#[test]
fn unusual_values_teach_nothing_for_a_day() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..3 * DAY, |_| 0.5);
    let before = value(&habit, 3 * DAY);
    let last = feed(&mut habit, 3 * DAY..4 * DAY - 1, |_| 0.8).unwrap();
    assert_eq!(last.taught, Taught::Frozen(Frozen::Unusual));
    assert_eq!(value(&habit, 4 * DAY), before);
    let last = feed(&mut habit, 4 * DAY - 1..4 * DAY, |_| 0.8).unwrap();
    assert_eq!(last.taught, Taught::GaveIn(Frozen::Unusual));
    assert!((value(&habit, 4 * DAY) - 0.8).abs() < 0.002, "the new normal is the habit");
    // Nor is the old level unusual now: it has been both.
    let last = feed(&mut habit, 4 * DAY..4 * DAY + 1, |_| 0.5).unwrap();
    assert_eq!(last.taught, Taught::Learned);
}

#[test]
fn the_first_day_takes_what_comes() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..DAY / 2, |_| 0.2);
    let seen = feed(&mut habit, DAY / 2..DAY / 2 + 1, |_| 0.8).unwrap();
    assert!(seen.z.unwrap() > 3.0);
    assert_eq!(seen.taught, Taught::Learned);
}

#[test]
fn weeks_give_in_after_two_days_and_no_sooner() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..3 * WEEK, |_| 0.5);
    let start = 3 * WEEK;
    feed(&mut habit, start..start + 2 * DAY - 1, |_| 0.8);
    assert_eq!(source(&habit, start + 2 * DAY), Source::HourOfWeek { weeks: 3 });
    let last = feed(&mut habit, start + 2 * DAY - 1..start + 2 * DAY, |_| 0.8).unwrap();
    assert_eq!(last.taught, Taught::GaveIn(Frozen::Unusual));
    assert_eq!(source(&habit, start + 2 * DAY), Source::Recent);
    assert!((value(&habit, start + 2 * DAY) - 0.8).abs() < 0.01);
}

#[test]
fn an_unusual_stretch_is_taken_back_by_as_much_usual_time() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..3 * WEEK, |_| 0.5);
    // Twenty hours a day of neither are ten hours of each: weeks never give in.
    let start = 3 * WEEK;
    let last = feed(&mut habit, start..start + 6 * DAY, |minute| if minute % 1200 < 600 { 0.8 } else { 0.5 });
    assert_ne!(last.unwrap().taught, Taught::GaveIn(Frozen::Unusual));
    assert!(matches!(source(&habit, start + 6 * DAY), Source::HourOfWeek { .. }));
}

#[test]
fn what_comes_every_week_becomes_a_habit() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..4 * WEEK, |_| 0.5);
    let job = |minute: u64| if minute % WEEK / 60 == 50 { 0.8 } else { 0.5 };
    let hour = |week: u64| week * WEEK + 50 * 60 + 30;
    let after = |habit: &mut Habit, week: u64| {
        feed(habit, week * WEEK..(week + 1) * WEEK, job);
        value(habit, hour(week + 1))
    };
    assert!((after(&mut habit, 4) - 0.5).abs() < 0.002, "once is an event");
    assert!((after(&mut habit, 5) - 0.65).abs() < 0.002, "twice is halfway");
    assert!((after(&mut habit, 6) - 0.8).abs() < 0.002, "three times is a habit");
    assert!((value(&habit, hour(7) + 60) - 0.5).abs() < 0.002, "of that hour alone");
}

#[test]
fn what_was_told_is_frozen_for_a_week_at_most() {
    let (rule, mut habit) = (Rule::default(), Habit::default());
    feed(&mut habit, 0..3 * WEEK, |_| 0.5);
    let mut tell = |minutes: std::ops::Range<u64>, why| {
        let each = |minute| habit.observe(&rule, at(minute), h(0.52 + noise(minute)), Some(why)).taught;
        let last = minutes.map(each).last().unwrap();
        (last, value(&habit, 4 * WEEK))
    };
    let (last, baseline) = tell(3 * WEEK..4 * WEEK - 1, Frozen::Incident);
    assert_eq!(last, Taught::Frozen(Frozen::Incident));
    assert!((baseline - 0.5).abs() < 0.002);
    let (last, baseline) = tell(4 * WEEK - 1..4 * WEEK, Frozen::Moving);
    assert_eq!(last, Taught::GaveIn(Frozen::Moving));
    assert!((baseline - 0.52).abs() < 0.002, "{baseline}");
}

#[test]
fn four_weeks_of_silence_are_a_new_beginning() {
    let (rule, mut habit) = (Rule::default(), Habit::default());
    feed(&mut habit, 0..3 * WEEK, |_| 0.5);
    assert!(habit.baseline(&rule, at(7 * WEEK - 1)).is_some());
    assert_eq!(habit.baseline(&rule, at(7 * WEEK + 60)), None);
    let seen = habit.observe(&rule, at(7 * WEEK + 60), h(0.9), None);
    assert_eq!((seen.baseline, seen.taught), (None, Taught::Learned));
    assert_eq!(habit.bytes(), size_of::<Habit>(), "weeks are forgotten");
}

#[test]
fn an_hour_of_a_few_values_is_not_learned() {
    let (rule, mut habit) = (Rule::default(), Habit::default());
    // Ten minutes of every hour are known: less than the quarter that stands for an hour.
    for minute in (0..3 * WEEK).filter(|minute| minute % 60 < 10) {
        habit.observe(&rule, at(minute), h(0.5), None);
    }
    assert_eq!(source(&habit, 3 * WEEK), Source::Recent);
    assert_eq!(habit.bytes(), size_of::<Habit>());
}

#[test]
fn a_hundred_thousand_habits_fit_into_150_megabytes() {
    let mut habit = Habit::default();
    assert!(habit.bytes() <= 160, "{}", habit.bytes());
    for (week, bytes) in [336, 672, 1008, 1344, 1344].into_iter().enumerate() {
        let week = week as u64;
        feed(&mut habit, week * WEEK..(week + 1) * WEEK + 1, |_| 0.5);
        assert_eq!(habit.bytes(), size_of::<Habit>() + bytes, "after week {week}");
    }
    println!("{} bytes, {} of them on the heap", habit.bytes(), habit.weeks.heap_bytes());
    assert!(habit.bytes() <= 1500, "{}", habit.bytes());
}

#[test]
fn other_steps_make_the_same_habit() {
    for step_s in [10.0, 300.0, 3600.0] {
        let rule = Rule::new(Settings { step_s, ..Settings::default() }).unwrap();
        let mut habit = Habit::default();
        let step_ms = (step_s * 1000.0) as u64;
        for i in 0..WEEK * MINUTE_MS * 5 / 2 / step_ms {
            habit.observe(&rule, MONDAY.plus_ms(i * step_ms), h(0.5 + noise(i)), None);
        }
        let baseline = habit.baseline(&rule, at(5 * WEEK / 2 + 600)).unwrap();
        assert_eq!(baseline.source, Source::HourOfWeek { weeks: 2 }, "{step_s}");
        assert!((baseline.value - 0.5).abs() < 0.02, "{step_s}: {baseline:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let mut habit = Habit::default();
    feed(&mut habit, 0..100, |_| 0.5);
    let text = serde_json::to_string(&habit).unwrap();
    let read = |text: &str| serde_json::from_str::<Habit>(text);
    for (from, to, what) in
        [("\"mean\":0.5", "\"mean\":1.5", "running mean"), ("\"filled\":", "\"filled\":1", "sample")]
    {
        assert!(text.contains(from), "{text}");
        assert!(read(&text.replacen(from, to, 1)).unwrap_err().to_string().contains(what));
    }
}

/// Minutes to skip, a value (one in eight is a gap), and one in ten frozen.
fn stream() -> impl Strategy<Value = Vec<(u64, Option<f64>, Option<Frozen>)>> {
    let frozen = prop_oneof![
        18 => Just(None),
        1 => Just(Some(Frozen::Incident)),
        1 => Just(Some(Frozen::Moving)),
    ];
    prop::collection::vec((1..500u64, prop::option::weighted(0.875, 0.0..=1.0), frozen), 1..600)
}

proptest! {
    #[test]
    fn whatever_comes_a_baseline_is_a_share_and_a_z_is_finite(values in stream()) {
        let (rule, mut habit, mut minute) = (Rule::default(), Habit::default(), 0);
        for (skip, value, frozen) in values {
            minute += skip;
            let seen = habit.observe(&rule, at(minute), value.and_then(Normalised::new), frozen);
            if let Some(baseline) = seen.baseline {
                prop_assert!((0.0..=1.0).contains(&baseline.value), "{:?}", baseline);
                prop_assert!((0.0..=1.0).contains(&baseline.mad), "{:?}", baseline);
            }
            prop_assert_eq!(seen.z.is_some(), value.is_some() && seen.baseline.is_some());
            prop_assert!(seen.z.is_none_or(f64::is_finite));
        }
    }

    #[test]
    fn a_habit_goes_on_after_a_restart(values in stream(), cut in 0..600usize) {
        let (rule, mut habit, mut minute) = (Rule::default(), Habit::default(), 0);
        let mut read = habit.clone();
        for (i, (skip, value, frozen)) in values.into_iter().enumerate() {
            minute += skip;
            if i == cut {
                read = serde_json::from_str(&serde_json::to_string(&habit).unwrap()).unwrap();
                prop_assert_eq!(&read, &habit);
            }
            let value = value.and_then(Normalised::new);
            let seen = habit.observe(&rule, at(minute), value, frozen);
            if i >= cut {
                prop_assert_eq!(read.observe(&rule, at(minute), value, frozen), seen);
            }
        }
    }

    #[test]
    fn a_constant_is_its_own_habit(level in 0.0..=1.0, minutes in 30..5000u64) {
        let (rule, mut habit) = (Rule::default(), Habit::default());
        for minute in 0..minutes {
            let seen = habit.observe(&rule, at(minute), h(level), None);
            prop_assert_eq!(seen.taught, Taught::Learned);
        }
        let baseline = habit.baseline(&rule, at(minutes)).unwrap();
        prop_assert!((baseline.value - level).abs() < 1e-3);
        prop_assert!(baseline.z(Normalised::new(level).unwrap()).abs() < 0.1);
    }
}
