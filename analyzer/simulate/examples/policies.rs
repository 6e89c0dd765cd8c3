//! Compares the policies and prints the table of docs/risk.md.
//!
//! `cargo run --release -p isotherm-simulate --example policies -- [FIRST_SEED] [SEEDS] [healthy] [ONLY...]`

use isotherm_simulate::compare::{Interval, Ratio, compare};
use isotherm_simulate::policy::{Limits, Policy};
use isotherm_simulate::world::{Spec, SpecError};

fn main() -> Result<(), SpecError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| {
        arguments.get(at).and_then(|argument| argument.parse().ok()).unwrap_or(default)
    };
    let (first, count) = (number(0, 1000), number(1, 10));
    let healthy = arguments.iter().any(|argument| argument == "healthy");
    let only: Vec<&String> = arguments.iter().skip(2).filter(|argument| *argument != "healthy").collect();
    let spec = if healthy { Spec::default().healthy() } else { Spec::default() };
    let seeds: Vec<u64> = (first..first + count).collect();
    let policies: Vec<(&str, Policy)> = Policy::table()
        .into_iter()
        .filter(|(name, policy)| {
            *policy == Policy::Reactive || only.is_empty() || only.iter().any(|only| *only == name)
        })
        .collect();
    println!("seeds {first} to {}", first + count - 1);
    println!(
        "{:<26} {:>18} {:>5} {:>18} {:>7} {:>6} {:>6} | {:>7} {:>7} {:>7} {:>6} {:>6} | fails incid found false",
        "policy",
        "total",
        "sums",
        "failover part",
        "copied%",
        "moves",
        "shifts",
        "failov",
        "overl",
        "gray",
        "copy",
        "grayov"
    );
    for row in compare(&spec, &Limits::default(), &seeds, &policies)? {
        let mean = |part: &dyn Fn(&isotherm_simulate::run::Outcome) -> f64| {
            row.outcomes.iter().map(part).sum::<f64>() / row.outcomes.len() as f64
        };
        println!(
            "{:<26} {:>18} {:>5.2} {:>18} {:>7.2} {:>6.1} {:>6.0} | {:>7.0} {:>7.0} {:>7.0} {:>6.0} {:>6.0} | {:>5.1} \
             {:>5.0} {:>2.0}/{:<2.0} {:>5.1}",
            row.name,
            told(row.total),
            row.of_sums,
            told(row.failover),
            row.copied_percent,
            row.moves,
            row.shifts,
            mean(&|o| o.toll.failover),
            mean(&|o| o.toll.overload),
            mean(&|o| o.toll.gray),
            mean(&|o| o.toll.copy),
            mean(&|o| o.record.overload_of_gray),
            mean(&|o| o.record.failures.len() as f64),
            mean(&|o| o.record.incidents.len() as f64),
            mean(&|o| f64::from(o.gray.found)),
            mean(&|o| f64::from(o.gray.spells)),
            mean(&|o| f64::from(o.gray.false_alarms)),
        );
    }
    Ok(())
}

/// A ratio with its interval, if there are seeds enough for one.
fn told(ratio: Ratio) -> String {
    let mean = ratio.mean;
    ratio.interval.map_or_else(
        || format!("{mean:.2} [few seeds]"),
        |Interval { low, high }| format!("{mean:.2} [{low:.2}, {high:.2}]"),
    )
}
