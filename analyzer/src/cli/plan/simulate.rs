//! `isotherm plan simulate`.

use super::cluster::Names;
use super::event::Asked;
use super::report::{self, Planned, Report, Seconds};
use super::{Reads, SimulateArgs, cluster, outlook, write};
use crate::cli::Failure;
use anyhow::Context;
use isotherm_placement::explain::{ExplainError, Standing, of_move, of_partition};
use isotherm_placement::{
    Outlook, Partition, Plan, Request, Snapshot, check, check_schedule, plan, schedule,
};
use std::time::Instant;

pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let mut seconds = Seconds::default();
    let mut lap = Lap::new();
    let (names, snapshot, asked) = cluster::read(&args.input, &args.event)?;
    let explained = args.explain.as_ref().map(|name| find(&names, name)).transpose()?;
    seconds.reading = lap.end();
    let plan = with_outlook(&snapshot, &asked, args.reads, |risk| {
        let (shed, fill) = (asked.shed.clone(), asked.fill.clone());
        plan(&snapshot, &Request { repair: true, drain: true, shed, fill, risk, balance: asked.balance })
    });
    seconds.planning = lap.end();
    let after =
        plan.restored(&snapshot).context("a bug of the planner: its moves do not fit the placement")?;
    write::placement(&args.output.out, &names.partitions, &names.nodes, &after)
        .with_context(|| format!("cannot write {}", args.output.out.display()))?;
    seconds.writing = lap.end();
    let schedule = schedule(&snapshot, &plan);
    seconds.scheduling = lap.end();
    let mut violations = check(&snapshot, &plan);
    violations.extend(check_schedule(&snapshot, &plan, &schedule));
    seconds.checking = lap.end();
    let planned = Planned {
        names: &names,
        snapshot: &snapshot,
        plan: &plan,
        after: &after,
        schedule: &schedule,
        violations: &violations,
    };
    let mut report = Report::new(planned, args.moves);
    report.data = args.input.data.display().to_string();
    report.event.clone_from(&args.event);
    report.out = args.output.out.display().to_string();
    if let Some(partition) = explained {
        let told = with_outlook(&snapshot, &asked, args.reads, |outlook| {
            explain(&snapshot, &plan, partition, outlook.as_ref())
        });
        report.explained = Some(told.context("a bug of the planner: it cannot explain its plan")?);
    }
    seconds.reporting = lap.end();
    report.seconds = seconds;
    report.peak_rss_bytes = report::peak_rss_bytes();
    report.print(args.output.output)?;
    if !plan.restores.is_empty() {
        let mut lost: Vec<_> = plan.restores.iter().map(|restore| restore.partition).collect();
        lost.sort_unstable();
        lost.dedup();
        eprintln!(
            "isotherm: partitions of which no replica is left: {}; restore them from a backup, to where {} says",
            lost.len(),
            args.output.out.display()
        );
    }
    report.done()
}

fn find(names: &Names, partition: &str) -> Result<Partition, Failure> {
    let found = names.partitions.find(partition.as_bytes(), usize::MAX);
    found.ok_or_else(|| Failure::NotFound(format!("parts.csv has no partition {partition:?}")))
}

/// Asks with the outlook of the event's hazards, if it names any.
fn with_outlook<T>(
    snapshot: &Snapshot,
    asked: &Asked,
    reads: Reads,
    ask: impl FnOnce(Option<Outlook<'_>>) -> T,
) -> T {
    match &asked.hazards {
        None => ask(None),
        Some(hazards) => outlook::with(hazards, &snapshot.partitions().load, reads, |known| ask(Some(known))),
    }
}

/// Every move of a partition node by node, or why it stays.
fn explain(
    snapshot: &Snapshot,
    plan: &Plan,
    partition: Partition,
    outlook: Option<&Outlook<'_>>,
) -> Result<Vec<String>, ExplainError> {
    let topology = snapshot.topology();
    let text = match of_partition(snapshot, plan, partition, outlook)? {
        Standing::Moves(moves) => {
            let told = moves.into_iter().map(|at| of_move(snapshot, plan, at, outlook));
            told.map(|told| told.map(|told| told.in_words(topology).to_string()))
                .collect::<Result<String, _>>()?
        }
        stays @ Standing::Stays(_) => stays.in_words(topology).to_string(),
    };
    Ok(text.lines().map(str::to_owned).collect())
}

/// Seconds since the last lap.
pub(super) struct Lap(Instant);

impl Lap {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn end(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        seconds
    }
}
