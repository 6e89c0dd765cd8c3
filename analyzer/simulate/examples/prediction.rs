//! How well incidents and surges are foretold on made-up clusters that are only repaired.
//!
//! `cargo run --release -p isotherm-simulate --example prediction -- [FIRST_SEED] [SEEDS]`

use isotherm_simulate::evaluate::{EvaluateError, Predicted, Rule, measure};
use isotherm_simulate::policy::Limits;
use isotherm_simulate::predict::predict;
use isotherm_simulate::world::{Spec, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let first = arguments.first().copied().unwrap_or(1000);
    let count = arguments.get(1).copied().unwrap_or(1);
    for seed in first..first + count {
        let found = predict(&World::new(Spec::default(), seed)?, &Limits::default());
        println!("seed {seed}: incidents within a day");
        print(&found.incidents)?;
        println!("seed {seed}: surges within half a day, of partitions that do not surge");
        print(&found.surges)?;
        println!("seed {seed}: {:?}", found.called);
    }
    Ok(())
}

fn print(all: &[Predicted]) -> Result<(), EvaluateError> {
    for one in all {
        let m = measure(&one.cases, one.scores, &Rule::default())?;
        let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        println!(
            "  {:<24} base {:.4} of {} | Brier raw {} calibrated {:.5} base {:.5} | error {:.4} | PR-AUC {} | lead {:?} \
             ticks of {} of events",
            one.name,
            m.base_rate,
            m.cases,
            text(m.brier_raw),
            m.brier,
            m.brier_of_base,
            m.calibration_error,
            text(m.precision_recall),
            m.lead_steps,
            text(m.alerted),
        );
    }
    Ok(())
}
