//! `isotherm plan simulate`.

use super::event::Asked;
use super::report::{self, Planned, Report, Seconds};
use super::{Reads, SimulateArgs, cluster, outlook, write};
use crate::cli::Failure;
use anyhow::Context;
use isotherm_placement::{Plan, Request, Snapshot, plan};
use std::time::Instant;

pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let mut seconds = Seconds::default();
    let mut lap = Lap(Instant::now());
    let (names, snapshot, asked) = cluster::read(&args.input, &args.event)?;
    seconds.reading = lap.end();
    let plan = decide(&snapshot, &asked, args.reads);
    seconds.planning = lap.end();
    let after = plan.result(&snapshot).context("a bug of the planner: its moves do not fit the placement")?;
    write::placement(&args.output.out, &names.partitions, &names.nodes, &after)
        .with_context(|| format!("cannot write {}", args.output.out.display()))?;
    seconds.writing = lap.end();
    let planned = Planned { names: &names, snapshot: &snapshot, plan: &plan, after: &after };
    let mut report = Report::new(planned, args.moves);
    report.data = args.input.data.display().to_string();
    report.event.clone_from(&args.event);
    report.out = args.output.out.display().to_string();
    seconds.reporting = lap.end();
    report.seconds = seconds;
    report.peak_rss_bytes = report::peak_rss_bytes();
    report.print(args.output.output)?;
    report.done()
}

fn decide(snapshot: &Snapshot, asked: &Asked, reads: Reads) -> Plan {
    let request = Request {
        repair: true,
        shed: asked.shed.clone(),
        fill: asked.fill.clone(),
        risk: None,
        balance: asked.balance,
    };
    match &asked.hazards {
        None => plan(snapshot, &request),
        Some(hazards) => outlook::with(hazards, &snapshot.partitions().load, reads, |outlook| {
            plan(snapshot, &Request { risk: Some(outlook), ..request })
        }),
    }
}

/// Seconds since the last lap.
struct Lap(Instant);

impl Lap {
    fn end(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        seconds
    }
}
