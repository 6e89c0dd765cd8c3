//! What became of the two runs, as a table and as JSON.

use super::super::Failure;
use super::super::print::{self, Column};
use super::{Loads, Ran};
use isotherm_simulate::cluster::{Failed, Fault, Incident, Toll};
use isotherm_simulate::run::GrayFound;
use isotherm_simulate::world::{Spec, TICK_MIN, TICKS_PER_DAY, World};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    seed: u64,
    tick_minutes: f64,
    spec: &'a Spec,
    /// Lasting changes of who serves a partition's reads.
    changes: usize,
    reactive: Told<'a>,
    full: Told<'a>,
    /// What the full model lost over what was lost without it; absent if nothing was.
    ratio: Option<f64>,
}

/// A run, with ticks counted from the first of the learning.
#[derive(Serialize)]
struct Told<'a> {
    lost_client_minutes: Lost,
    failures_by_kind: Kinds,
    failures: &'a [Failed],
    incidents: &'a [Incident],
    loads: &'a Loads,
    moves: u32,
    aborted_moves: u32,
    shifts: u32,
    copied_percent: f64,
    repaired_percent: f64,
    under_replicated_partition_hours: f64,
    /// Absent of the run in which nobody looks.
    gray: Option<GrayFound>,
}

#[derive(Serialize)]
struct Lost {
    total: f64,
    #[serde(flatten)]
    toll: Toll,
}

#[derive(Serialize)]
struct Kinds {
    alone: usize,
    overloaded: usize,
    gray: usize,
    rack: usize,
}

impl Kinds {
    fn of(failures: &[Failed]) -> Self {
        let of = |fault| failures.iter().filter(|failed| failed.fault == fault).count();
        Self {
            alone: of(Fault::Alone),
            overloaded: of(Fault::Overloaded),
            gray: of(Fault::Gray),
            rack: of(Fault::Rack),
        }
    }
}

impl Ran {
    fn told(&self, gray: Option<GrayFound>) -> Told<'_> {
        let (record, toll) = (&self.outcome.record, self.outcome.toll);
        Told {
            lost_client_minutes: Lost { total: toll.total(), toll },
            failures_by_kind: Kinds::of(&record.failures),
            failures: &record.failures,
            incidents: &record.incidents,
            loads: &self.loads,
            moves: record.moves,
            aborted_moves: record.aborted,
            shifts: record.shifts,
            copied_percent: 100.0 * record.bytes / self.outcome.all_bytes,
            repaired_percent: 100.0 * record.repaired / self.outcome.all_bytes,
            under_replicated_partition_hours: record.under_replicated_h,
            gray,
        }
    }
}

fn document<'a>(world: &'a World, reactive: &'a Ran, full: &'a Ran) -> Document<'a> {
    let (without, with) = (reactive.outcome.toll.total(), full.outcome.toll.total());
    Document {
        seed: world.seed(),
        tick_minutes: TICK_MIN,
        spec: world.spec(),
        changes: world.shifts().len(),
        reactive: reactive.told(None),
        full: full.told(Some(full.outcome.gray)),
        ratio: (without > 0.0).then(|| with / without),
    }
}

pub(super) fn json(world: &World, reactive: &Ran, full: &Ran) -> Result<(), Failure> {
    print::json(&document(world, reactive, full))
}

pub(super) fn table(world: &World, reactive: &Ran, full: &Ran) -> Result<(), Failure> {
    let told = document(world, reactive, full);
    let spec = told.spec;
    print::out(&format!(
        "Seed {}: {} nodes in {} racks, {} partitions of 3 replicas, {} days after {} of learning\n\
         {} lasting changes of who serves a partition's reads; failures are never made from entropy\n\n",
        told.seed, spec.nodes, spec.racks, spec.partitions, spec.days, spec.learning_days, told.changes
    ))?;
    let columns = [Column::Text(""), Column::Number("REPAIRED ONLY"), Column::Number("FULL MODEL")];
    print::table(&columns, rows(&told), "")?;
    let gray = full.outcome.gray;
    let ratio = told.ratio.map_or_else(
        || "Nothing was lost without the model.".to_owned(),
        |ratio| format!("The full model lost {ratio:.2} times what was lost without it."),
    );
    print::out(&format!(
        "\nGray nodes under the full model: {} of {} found, {} false alarms\n\
         {ratio}\n\
         One seed says little: `isotherm backtest` compares policies over several.\n",
        gray.found, gray.spells, gray.false_alarms
    ))
}

fn rows(told: &Document<'_>) -> Vec<Vec<String>> {
    let row = |name: &str, of: &dyn Fn(&Told<'_>) -> String| {
        vec![name.to_owned(), of(&told.reactive), of(&told.full)]
    };
    let lost = |of: fn(&Lost) -> f64| move |one: &Told<'_>| format!("{:.0}", of(&one.lost_client_minutes));
    let kind = |of: fn(&Kinds) -> usize| move |one: &Told<'_>| of(&one.failures_by_kind).to_string();
    let percent = |of: fn(&Loads) -> f64| move |one: &Told<'_>| format!("{:.1} %", 100.0 * of(one.loads));
    vec![
        row("client-minutes lost", &lost(|lost| lost.total)),
        row("  until others served", &lost(|lost| lost.toll.failover)),
        row("  on overloaded nodes", &lost(|lost| lost.toll.overload)),
        row("  on gray nodes", &lost(|lost| lost.toll.gray)),
        row("  by copies and shifts", &lost(|lost| lost.toll.copy)),
        row("nodes failed", &|one| one.failures.len().to_string()),
        row("  by themselves", &kind(|kinds| kinds.alone)),
        row("  by too much load", &kind(|kinds| kinds.overloaded)),
        row("  after being gray", &kind(|kinds| kinds.gray)),
        row("  with their rack", &kind(|kinds| kinds.rack)),
        row("incidents of partitions", &|one| one.incidents.len().to_string()),
        row("partition-hours short of replicas", &|one| {
            format!("{:.0}", one.under_replicated_partition_hours)
        }),
        row("load over capacity, mean", &percent(|loads| loads.mean)),
        row("  of the busiest node", &percent(|loads| loads.busiest_mean)),
        row("  peak of any node", &percent(|loads| loads.peak)),
        row("  node and time of it", &|one| {
            let (day, tick) = (one.loads.peak_tick / TICKS_PER_DAY, one.loads.peak_tick % TICKS_PER_DAY);
            let minute = tick * TICK_MIN as usize;
            format!("{}, day {} {:02}:{:02}", one.loads.peak_node, day + 1, minute / 60, minute % 60)
        }),
        row("moves", &|one| one.moves.to_string()),
        row("shifts of reads", &|one| one.shifts.to_string()),
        row("bytes copied", &|one| format!("{:.2} %", one.copied_percent)),
    ]
}
