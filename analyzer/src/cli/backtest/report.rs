//! What was found, as tables and as JSON.

use super::Found;
use super::goals::{Goal, goals, most_moves};
use super::judged::{Judged, Predictor};
use super::select::TUNED;
use crate::cli::Failure;
use crate::cli::print::{self, Column};
use isotherm_simulate::cluster::Toll;
use isotherm_simulate::compare::{Compared, FEWEST_SEEDS, Interval, Ratio};
use isotherm_simulate::policy::Policy;
use isotherm_simulate::predict::{INCIDENT_H, SURGE_H};
use isotherm_simulate::run::Outcome;
use isotherm_simulate::world::{Spec, TICK_MIN};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    seeds: &'a [u64],
    /// Of them, those that the policies' numbers were tuned on.
    tuned_seeds: Vec<u64>,
    tick_minutes: f64,
    spec: &'a Spec,
    policies: Option<Vec<Row<'a>>>,
    healthy: Vec<HealthyRow<'a>>,
    predictions: Option<&'a Judged>,
    goals: Vec<Goal>,
}

/// A policy; numbers without a unit are ratios to reactive only, others means over seeds.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    policy: Policy,
    total: Ratio,
    failover: Ratio,
    of_sums: f64,
    copied_percent: f64,
    moves: f64,
    shifts: f64,
    lost_client_minutes: Toll,
    failures: f64,
    incidents: f64,
    gray_found: f64,
    gray_spells: f64,
    gray_false_alarms: f64,
}

/// A policy where nothing is wrong.
#[derive(Serialize)]
struct HealthyRow<'a> {
    name: &'a str,
    moves: f64,
    moves_most: u32,
    shifts: f64,
    copied_percent: f64,
    lost_client_minutes: f64,
}

fn mean(row: &Compared, of: impl Fn(&Outcome) -> f64) -> f64 {
    row.outcomes.iter().map(of).sum::<f64>() / row.outcomes.len() as f64
}

fn row(of: &Compared) -> Row<'_> {
    Row {
        name: &of.name,
        policy: of.policy,
        total: of.total,
        failover: of.failover,
        of_sums: of.of_sums,
        copied_percent: of.copied_percent,
        moves: of.moves,
        shifts: of.shifts,
        lost_client_minutes: Toll {
            failover: mean(of, |one| one.toll.failover),
            overload: mean(of, |one| one.toll.overload),
            gray: mean(of, |one| one.toll.gray),
            copy: mean(of, |one| one.toll.copy),
        },
        failures: mean(of, |one| one.record.failures.len() as f64),
        incidents: mean(of, |one| one.record.incidents.len() as f64),
        gray_found: mean(of, |one| f64::from(one.gray.found)),
        gray_spells: mean(of, |one| f64::from(one.gray.spells)),
        gray_false_alarms: mean(of, |one| f64::from(one.gray.false_alarms)),
    }
}

fn healthy_row(of: &Compared) -> HealthyRow<'_> {
    HealthyRow {
        name: &of.name,
        moves: of.moves,
        moves_most: most_moves(of),
        shifts: of.shifts,
        copied_percent: of.copied_percent,
        lost_client_minutes: mean(of, |one| one.toll.total()),
    }
}

fn document(found: &Found) -> Document<'_> {
    Document {
        seeds: &found.seeds,
        tuned_seeds: found.seeds.iter().copied().filter(|seed| TUNED.contains(seed)).collect(),
        tick_minutes: TICK_MIN,
        spec: &found.spec,
        policies: found.compared.as_ref().map(|rows| rows.iter().map(row).collect()),
        healthy: found.healthy.iter().map(healthy_row).collect(),
        predictions: found.judged.as_ref(),
        goals: goals(found),
    }
}

pub(super) fn json(found: &Found) -> Result<(), Failure> {
    print::json(&document(found))
}

pub(super) fn table(found: &Found) -> Result<(), Failure> {
    let told = document(found);
    let (spec, seeds) = (told.spec, told.seeds);
    let ends = match seeds {
        [one] => format!("Seed {one}"),
        [first, .., last] => format!("Seeds {first} to {last}"),
        [] => "No seed".to_owned(),
    };
    print::out(&format!(
        "{ends}: {} nodes, {} partitions, {} days; failures are never made from entropy\n",
        spec.nodes, spec.partitions, spec.days
    ))?;
    if !told.tuned_seeds.is_empty() {
        print::out("Policies were tuned on seeds 1 to 4, which flatters them here.\n")?;
    }
    if let Some(rows) = &told.policies {
        policies(rows)?;
    }
    healthy(&told)?;
    if let Some(judged) = told.predictions {
        predictions(judged)?;
    }
    print::out("\nGoals\n")?;
    for goal in &told.goals {
        let value = goal.found.map_or_else(|| "not measured".to_owned(), |value| format!("found {value:.2}"));
        print::out(&format!("  {}: {value}: {}\n", goal.goal, goal.verdict.words()))?;
    }
    Ok(())
}

fn policies(rows: &[Row<'_>]) -> Result<(), Failure> {
    print::out("\nClient-minutes lost, over those of reactive only, with 95 % intervals\n")?;
    if rows.iter().any(|row| row.total.interval.is_none()) {
        print::out(&format!("Intervals are unknown: they take {FEWEST_SEEDS} seeds (--seeds)\n"))?;
    }
    let ratio = |of: Ratio| match of.interval {
        Some(Interval { low, high }) => format!("{:.2} [{low:.2}, {high:.2}]", of.mean),
        None => format!("{:.2} [unknown]", of.mean),
    };
    let columns = [
        Column::Text("POLICY"),
        Column::Number("TOTAL"),
        Column::Number("FAILOVER PART"),
        Column::Number("BYTES %"),
        Column::Number("MOVES"),
        Column::Number("SHIFTS"),
        Column::Number("GRAY FOUND"),
        Column::Number("FALSE"),
    ];
    let cells = |row: &Row<'_>| {
        let looked = row.policy != Policy::Reactive;
        vec![
            row.name.to_owned(),
            ratio(row.total),
            ratio(row.failover),
            format!("{:.2}", row.copied_percent),
            format!("{:.1}", row.moves),
            format!("{:.1}", row.shifts),
            if looked { format!("{:.1} of {:.1}", row.gray_found, row.gray_spells) } else { "-".to_owned() },
            if looked { format!("{:.1}", row.gray_false_alarms) } else { "-".to_owned() },
        ]
    };
    print::table(&columns, rows.iter().map(cells).collect(), "")
}

fn healthy(told: &Document<'_>) -> Result<(), Failure> {
    print::out(&format!("\nA healthy cluster over {} days: nothing should be done\n", told.spec.days))?;
    let columns = [
        Column::Text("POLICY"),
        Column::Number("MOVES"),
        Column::Number("MOST OF A SEED"),
        Column::Number("SHIFTS"),
        Column::Number("BYTES %"),
        Column::Number("CLIENT-MINUTES LOST"),
    ];
    let cells = |row: &HealthyRow<'_>| {
        vec![
            row.name.to_owned(),
            format!("{:.1}", row.moves),
            row.moves_most.to_string(),
            format!("{:.1}", row.shifts),
            format!("{:.2}", row.copied_percent),
            format!("{:.1}", row.lost_client_minutes),
        ]
    };
    print::table(&columns, told.healthy.iter().map(cells).collect(), "")
}

fn predictions(judged: &Judged) -> Result<(), Failure> {
    print::out(&format!("\nIncidents within {INCIDENT_H} hours\n"))?;
    predictors(&judged.incidents, judged.alert_rate, TICK_MIN)?;
    print::out(&format!("\nSurges within {SURGE_H} hours, of partitions that do not surge\n"))?;
    predictors(&judged.surges, judged.alert_rate, TICK_MIN)?;
    let called = judged.called;
    let text = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.digits$}"))
    };
    print::out(&format!(
        "\nSurges called: {} per healthy partition-day; of injected rises, a share of {} within a day, {} after \
         their start in the median\n",
        text(called.per_healthy_day, 4),
        text(called.found, 2),
        called.delay_steps.map_or_else(|| "none".to_owned(), |steps| hours(steps, TICK_MIN)),
    ))
}

/// Steps of so many minutes.
pub(super) fn hours(steps: u64, step_min: f64) -> String {
    format!("{:.2} h", steps as f64 * step_min / 60.0)
}

pub(super) fn predictors(all: &[Predictor], alerts: f64, step_min: f64) -> Result<(), Failure> {
    if let Some(measured) = all.iter().find_map(|one| one.measured.as_ref()) {
        print::out(&format!(
            "{} cases judged, an event followed {:.2} % of them; Brier score of always saying that share {:.5}; \
             {:.0} % may alert\n",
            measured.cases,
            100.0 * measured.base_rate,
            measured.brier_of_base,
            100.0 * alerts
        ))?;
    }
    let columns = [
        Column::Text("BY"),
        Column::Number("BRIER RAW"),
        Column::Number("CALIBRATED"),
        Column::Number("PR-AUC"),
        Column::Number("LEAD"),
        Column::Number("EVENTS ALERTED"),
    ];
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let cells = |one: &Predictor| {
        let mut cells = vec![one.name.to_owned()];
        if let Some(m) = &one.measured {
            cells.extend([
                number(m.brier_raw, 5),
                number(Some(m.brier), 5),
                number(m.precision_recall, 4),
                m.lead_steps.map_or_else(|| "-".to_owned(), |steps| hours(steps, step_min)),
                m.alerted.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
            ]);
        } else {
            cells.resize(columns.len(), "-".to_owned());
        }
        cells
    };
    print::table(&columns, all.iter().map(cells).collect(), "")?;
    let reason = all.iter().find_map(|one| one.not_judged.as_ref());
    reason.map_or(Ok(()), |reason| print::out(&format!("Not judged: {reason}\n")))
}
