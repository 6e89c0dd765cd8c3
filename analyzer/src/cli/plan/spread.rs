//! `isotherm plan spread`: which spread factor to choose.

use super::SpreadArgs;
use crate::cli::Failure;
use crate::cli::print::{self, Column, Format};
use isotherm_placement::copyset::{Spread, SpreadError, SpreadInputs, SpreadTerm, recommend};
use serde::Serialize;

#[derive(Serialize)]
struct SpreadJson {
    spread_factor: u32,
    decided_by: &'static str,
    least: u32,
    /// Absent where no failure of several nodes at once can lose data: the rarest losses are at the highest spread.
    rarest_loss: Option<f64>,
    repair: f64,
    most: u32,
    copysets: f64,
    repair_s: f64,
    independent_losses_per_year: f64,
    correlated_losses_per_year: f64,
}

pub(super) fn run(args: &SpreadArgs) -> Result<(), Failure> {
    let inputs = SpreadInputs {
        nodes: args.nodes,
        replicas: args.replicas,
        node_bytes: args.node_gib * 1_073_741_824.0,
        repair_bytes_per_s: args.repair_mib_per_s * 1_048_576.0,
        failures_per_year: args.failures_per_year,
        correlated_per_year: args.correlated_per_year,
        correlated_nodes: args.correlated_nodes,
        repair_s: args.repair_within.map(|limit| limit.as_secs_f64()),
    };
    let spread = recommend(&inputs).map_err(|error: SpreadError| Failure::Usage(error.to_string()))?;
    let replicas = f64::from(args.replicas);
    let pairs = (replicas * (replicas - 1.0)).max(1.0);
    let copysets = f64::from(args.nodes) * f64::from(spread.factor) / pairs;
    match args.output {
        Format::Json => json(&spread, copysets),
        Format::Table => table(&spread, copysets),
    }
}

fn json(spread: &Spread, copysets: f64) -> Result<(), Failure> {
    print::json(&SpreadJson {
        spread_factor: spread.factor,
        decided_by: term(spread.decided_by),
        least: spread.least,
        rarest_loss: Some(spread.loss).filter(|loss| loss.is_finite()),
        repair: spread.repair,
        most: spread.most,
        copysets,
        repair_s: spread.repair_s,
        independent_losses_per_year: spread.independent_per_year,
        correlated_losses_per_year: spread.correlated_per_year,
    })
}

fn term(term: SpreadTerm) -> &'static str {
    match term {
        SpreadTerm::Least => "peers within one copyset",
        SpreadTerm::Loss => "rarest losses",
        SpreadTerm::Repair => "repair time",
        SpreadTerm::Most => "number of nodes",
    }
}

fn table(spread: &Spread, copysets: f64) -> Result<(), Failure> {
    let loss = if spread.loss.is_finite() { format!("{:.2}", spread.loss) } else { "all".to_owned() };
    print::out(&format!("spread factor {}, by the {}\n\n", spread.factor, term(spread.decided_by)))?;
    let rows = [
        ("peers within one copyset", spread.least.to_string()),
        ("peers for the rarest losses", loss),
        ("peers for the repair time", format!("{:.2}", spread.repair)),
        ("other nodes", spread.most.to_string()),
        ("copysets", format!("{copysets:.0}")),
        ("repair of a node", format!("{:.0} s", spread.repair_s)),
        ("losses a year, of independent failures", format!("{:.2e}", spread.independent_per_year)),
        ("losses a year, of failures at once", format!("{:.2e}", spread.correlated_per_year)),
    ];
    let rows = rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect();
    print::table(&[Column::Text("WHAT"), Column::Number("VALUE")], rows, "")
}
