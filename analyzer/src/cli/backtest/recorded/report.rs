//! What was found of a recording, as tables and as JSON.

use super::Course;
use crate::cli::Failure;
use crate::cli::backtest::judged::{Predictor, measured};
use crate::cli::backtest::report::{hours, predictors};
use crate::cli::print::{self, Column, Format};
use crate::cli::time::rfc3339;
use isotherm_cycle::Settings;
use isotherm_simulate::evaluate::{Predicted, Rule};
use isotherm_simulate::recorded::{CalledOver, Found, Over};
use serde::Serialize;
use std::time::Duration;

/// All of it. What could not be judged says why.
#[derive(Serialize)]
pub(super) struct Judged {
    since_ms: u64,
    until_ms: u64,
    step_ms: u64,
    cycles: u64,
    partitions: usize,
    alert_rate: f64,
    /// Known shifts that were given, and those whose partition there is.
    shifts_given: usize,
    shifts: usize,
    called: Vec<CalledOver>,
    /// Surges that began.
    surged: usize,
    surge_horizon_steps: u64,
    surges: Answer,
    /// Failures on record, those of which nobody knows who felt them, and partitions that felt one.
    failures: usize,
    unclear_failures: usize,
    incidents_felt: usize,
    incident_horizon_steps: u64,
    incidents: Answer,
}

/// Judgements, or why there are none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Judged(Vec<Predictor>),
    NotJudged(String),
}

impl Judged {
    pub(super) fn new(course: &Course, settings: &Settings) -> Self {
        let (found, rule) = (&course.found, Rule::default());
        let called = found.called.iter().filter(|called| called.partition_days > 0.0);
        Self {
            since_ms: course.since_ms,
            until_ms: course.until_ms,
            step_ms: settings.step_ms,
            cycles: found.cycles,
            partitions: found.partitions,
            alert_rate: rule.alerts,
            shifts_given: course.shifts,
            shifts: found.shifts,
            called: called.cloned().collect(),
            surged: found.surged,
            surge_horizon_steps: found.surge_horizon,
            surges: surges(found, &rule),
            failures: found.failures,
            unclear_failures: found.unclear,
            incidents_felt: found.felt,
            incident_horizon_steps: found.incident_horizon,
            incidents: incidents(found, &rule),
        }
    }
}

fn surges(found: &Found, rule: &Rule) -> Answer {
    if found.surged == 0 {
        let why = "no surge began, so nothing can be said of how well they are foretold";
        return Answer::NotJudged(why.to_owned());
    }
    judged(&found.surges, found.surge_horizon, rule)
}

fn incidents(found: &Found, rule: &Rule) -> Answer {
    let why = match (found.failures, found.felt) {
        (0, _) => "no incidents were recorded, so nothing can be said of the risk".to_owned(),
        (failures, 0) => format!(
            "{failures} failures are on record and no partition is known to have felt one, so nothing can be said of \
             the risk"
        ),
        (..) => return judged(&found.incidents, found.incident_horizon, rule),
    };
    Answer::NotJudged(why)
}

/// A base rate of zero, or a half without an event, would be numbers that say nothing.
fn judged(predicted: &[Predicted], horizon: u64, rule: &Rule) -> Answer {
    let cases = predicted.first().map_or(&[][..], |one| &one.cases);
    if cases.is_empty() {
        return Answer::NotJudged(format!(
            "no prediction's horizon of {horizon} steps ended within the recording, or too little was known to predict"
        ));
    }
    if cases.iter().all(|case| case.came_after.is_none()) {
        return Answer::NotJudged(format!("none of {} predictions was followed by an event", cases.len()));
    }
    Answer::Judged(predicted.iter().map(|one| measured(one, rule)).collect())
}

pub(super) fn tell(judged: &Judged, frames: u64, took: Duration, output: Format) -> Result<(), Failure> {
    match output {
        Format::Json => print::json(judged),
        Format::Table => {
            tables(judged)?;
            let per_s = frames as f64 / took.as_secs_f64().max(1e-9);
            print::out(&format!("\n{frames} minutes in {:.1} s: {per_s:.0} a second\n", took.as_secs_f64()))
        }
    }
}

fn tables(judged: &Judged) -> Result<(), Failure> {
    let step_min = judged.step_ms as f64 / 60_000.0;
    print::out(&format!(
        "{} cycles from {} to {}, {} partitions; at each only what was known then\n",
        judged.cycles,
        rfc3339(judged.since_ms),
        rfc3339(judged.until_ms),
        judged.partitions
    ))?;
    calls(judged, step_min)?;
    print::out(&format!(
        "\nSurges within {}, of partitions that do not surge; {} began\n",
        hours(judged.surge_horizon_steps, step_min),
        judged.surged
    ))?;
    answer(&judged.surges, judged.alert_rate, step_min)?;
    print::out(&format!(
        "\nIncidents within {}; {} failures on record, felt {} times by a partition\n",
        hours(judged.incident_horizon_steps, step_min),
        judged.failures,
        judged.incidents_felt
    ))?;
    if judged.unclear_failures > 0 {
        print::out(&format!(
            "Of {} failures it is not known who felt them: they came before anything was known of shares\n",
            judged.unclear_failures
        ))?;
    }
    answer(&judged.incidents, judged.alert_rate, step_min)
}

fn answer(answer: &Answer, alerts: f64, step_min: f64) -> Result<(), Failure> {
    match answer {
        Answer::Judged(all) => predictors(all, alerts, step_min),
        Answer::NotJudged(why) => print::out(&format!("Not judged: {why}\n")),
    }
}

fn calls(judged: &Judged, step_min: f64) -> Result<(), Failure> {
    print::out("\nSurges called\n")?;
    let columns = [
        Column::Text("ENTROPY OVER"),
        Column::Number("PARTITION-DAYS"),
        Column::Number("HEALTHY"),
        Column::Number("CALLS"),
        Column::Number("PER HEALTHY DAY"),
        Column::Number("SHIFTS FOUND"),
        Column::Number("DELAY"),
    ];
    let text = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let cells = |called: &CalledOver| {
        vec![
            match called.over {
                Over::Nodes => "nodes",
                Over::Offsets => "offsets",
                Over::Peers => "peers",
            }
            .to_owned(),
            format!("{:.2}", called.partition_days),
            format!("{:.2}", called.healthy_days),
            called.calls.to_string(),
            text(called.per_healthy_day, 4),
            text(called.found, 2),
            called.delay_steps.map_or_else(|| "-".to_owned(), |steps| hours(steps, step_min)),
        ]
    };
    let empty = "It was never known whether a partition surges: a habit needs a day first.";
    print::table(&columns, judged.called.iter().map(cells).collect(), empty)?;
    let unknown = judged.shifts_given - judged.shifts;
    match (judged.shifts_given, unknown) {
        (0, _) => {
            print::out("No shifts are known (--shifts), so delays are not, nor which calls were false.\n")
        }
        (_, 0) => Ok(()),
        (given, unknown) => {
            print::out(&format!("{unknown} of {given} shifts are of partitions that there are not.\n"))
        }
    }
}
