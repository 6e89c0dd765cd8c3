//! Plans for people.

use crate::cli::Failure;
use crate::cli::print::{self, Column};
use crate::cli::time::rfc3339;
use isotherm_proto::control::v1::{Plan, PlanRequest, PlannedMove};
use std::fmt::Write;

pub(in crate::cli) fn all(plans: &[Plan]) -> Result<(), Failure> {
    let header = [
        Column::Text("ID"),
        Column::Text("SYSTEM"),
        Column::Text("STATE"),
        Column::Number("MOVES"),
        Column::Number("DONE"),
        Column::Number("FAILED"),
        Column::Number("BYTES"),
        Column::Text("CREATED"),
        Column::Text("BY"),
        Column::Text("WHAT"),
    ];
    let row = |plan: &Plan| {
        vec![
            plan.id.clone(),
            plan.system.clone(),
            plan.state.clone(),
            plan.move_count.to_string(),
            plan.done.to_string(),
            plan.failed.to_string(),
            print::bytes(plan.bytes),
            rfc3339(plan.created_ms),
            plan.who.clone(),
            plan.request.as_ref().map(asked).unwrap_or_default(),
        ]
    };
    print::table(&header, plans.iter().map(row).collect(), "there are no plans")
}

/// What a plan is to do, in a few words.
fn asked(request: &PlanRequest) -> String {
    let names = |verb: &str, names: &[String]| format!("{verb} {}", names.join(", "));
    let relieved: Vec<String> =
        request.relieve.iter().map(|one| format!("{} to {}", one.node, one.share)).collect();
    let words = [
        (!request.drain.is_empty(), names("drain", &request.drain)),
        (!relieved.is_empty(), names("relieve", &relieved)),
        (!request.fill.is_empty(), names("fill", &request.fill)),
        (request.repair, "repair".to_owned()),
        (request.proactive, "proactive".to_owned()),
        (request.balance, "balance".to_owned()),
    ];
    let words: Vec<String> = words.into_iter().filter(|(said, _)| *said).map(|(_, word)| word).collect();
    words.join("; ")
}

/// All about one.
pub(in crate::cli) fn plan(plan: &Plan) -> Result<(), Failure> {
    print::out(&facts(plan))?;
    let header = [
        Column::Number("MOVE"),
        Column::Text("PARTITION"),
        Column::Text("FROM"),
        Column::Text("TO"),
        Column::Number("BYTES"),
        Column::Number("WAVE"),
        Column::Text("REASON"),
        Column::Text("GAIN"),
        Column::Text("RUNNER-UP"),
        Column::Text("REJECTED"),
        Column::Text("STANDING"),
    ];
    print::table(&header, plan.moves.iter().map(row).collect(), "nothing is to be moved")
}

fn facts(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {value}");
        }
    };
    let state = if plan.id.is_empty() { "not kept" } else { &plan.state };
    line("plan:", &plan.id);
    line("state:", state);
    line("system:", &plan.system);
    line("asked for:", &plan.request.as_ref().map(asked).unwrap_or_default());
    line("by:", &format!("{}, {}", plan.who, rfc3339(plan.created_ms)));
    line("reason:", &plan.reason);
    if let Some(approval) = &plan.approval {
        let until = rfc3339(approval.until_ms);
        line("approved:", &format!("{}, {}, until {until}", approval.who, rfc3339(approval.at_ms)));
        line("", &approval.reason);
    }
    line("ended:", &plan.ended_ms.map(rfc3339).unwrap_or_default());
    line("why:", &plan.why);
    let (moves, waves) = (plan.move_count, plan.waves);
    line(
        "moves:",
        &format!(
            "{moves}, {}, in {waves} wave{}",
            print::bytes(plan.bytes),
            if waves == 1 { "" } else { "s" }
        ),
    );
    line("size:", &over_mean(plan.size_before, plan.size_after));
    line(
        "load:",
        &if plan.no_load.is_empty() {
            over_mean(plan.load_before, plan.load_after)
        } else {
            format!("no objective: {}", plan.no_load)
        },
    );
    for (name, values) in [("refused:", &plan.refusals), ("left out:", &plan.left_out)] {
        values.iter().for_each(|value| line(name, value));
    }
    plan.closed.iter().for_each(|value| line("no target:", value));
    text + "\n"
}

fn over_mean(before: Option<f64>, after: Option<f64>) -> String {
    let told = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.3}"));
    match (before, after) {
        (None, None) => String::new(),
        (before, after) => format!("{} of the mean at most, before {}", told(after), told(before)),
    }
}

fn row(one: &PlannedMove) -> Vec<String> {
    let rejected: Vec<String> =
        one.rejected.iter().map(|rejected| format!("{} {}", rejected.nodes, rejected.constraint)).collect();
    vec![
        one.number.to_string(),
        one.partition.clone(),
        one.source.clone(),
        one.target.clone(),
        print::bytes(one.bytes),
        one.wave.to_string(),
        one.reason.clone(),
        one.gain.clone(),
        if one.runner_up.is_empty() { "-".to_owned() } else { one.runner_up.clone() },
        if rejected.is_empty() { "-".to_owned() } else { rejected.join(", ") },
        standing(one),
    ]
}

/// Where a move is, with what matters about it.
pub(super) fn standing(one: &PlannedMove) -> String {
    let mut text = one.standing.clone();
    if one.standing == "under_way" {
        text.clone_from(&one.phase);
    }
    if !one.why.is_empty() {
        let _ = write!(text, ": {}", one.why);
    }
    text
}
