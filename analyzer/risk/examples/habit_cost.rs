//! What a habit costs: bytes with four weeks of history, and nanoseconds of a value.
//!
//! `cargo run -p isotherm-risk --example habit_cost`; the crate is optimised in every profile.

use isotherm_model::Timestamp;
use isotherm_risk::class::Normalised;
use isotherm_risk::habit::{Habit, Rule};
use std::hint::black_box;
use std::time::Instant;

const HABITS: u64 = 2000;
const WEEKS: u64 = 5;
const MINUTES: u64 = WEEKS * 7 * 24 * 60;

fn main() {
    let rule = Rule::default();
    let mut habits = vec![Habit::default(); HABITS as usize];
    let start = Instant::now();
    let mut far = 0u64;
    // Minute by minute, as a cycle does: a habit is not in the cache when its turn comes.
    for minute in 0..MINUTES {
        let at = Timestamp::from_ms(60_000 * minute);
        for (i, habit) in habits.iter_mut().enumerate() {
            let noise = (minute.wrapping_mul(6_364_136_223_846_793_005) >> 40) % 64;
            let h = Normalised::new(0.5 + 0.001 * noise as f64 + 1e-5 * i as f64);
            let seen = habit.observe(&rule, at, h, None);
            far += u64::from(seen.z.is_some_and(|z| z.abs() > 2.0));
        }
    }
    let ns = start.elapsed().as_nanos() as f64 / (HABITS * MINUTES) as f64;
    let bytes = habits.iter().map(Habit::bytes).sum::<usize>() / habits.len();
    println!("{bytes} bytes a habit, {ns:.0} ns a value with its baseline and z ({far} far off)");

    let start = Instant::now();
    let last = Timestamp::from_ms(60_000 * MINUTES);
    for habit in &habits {
        for hour in 0..168 {
            black_box(habit.baseline(&rule, last.plus_ms(3_600_000 * hour)));
        }
    }
    println!("{:.0} ns a baseline alone", start.elapsed().as_nanos() as f64 / (HABITS * 168) as f64);
}
