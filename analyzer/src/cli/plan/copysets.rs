//! `isotherm plan copysets`: a placement from scratch.

use super::report::layout::{Laid, LayoutReport};
use super::report::{self, Seconds};
use super::simulate::Lap;
use super::{CopysetsArgs, cluster, write};
use crate::cli::Failure;
use anyhow::Context;
use isotherm_placement::{LayoutError, copyset};

pub(super) fn run(args: &CopysetsArgs) -> Result<(), Failure> {
    let mut seconds = Seconds::default();
    let mut lap = Lap::new();
    let (names, snapshot, _) = cluster::read(&args.input, "none")?;
    seconds.reading = lap.end();
    let layout = copyset::build(&snapshot, args.spread, args.seed)
        .map_err(|error: LayoutError| Failure::Refused(format!("{}: {error}", args.input.data.display())))?;
    seconds.planning = lap.end();
    write::placement(&args.output.out, &names.partitions, &names.nodes, &layout.assignment)
        .with_context(|| format!("cannot write {}", args.output.out.display()))?;
    seconds.writing = lap.end();
    let laid = Laid { spread: args.spread, seed: args.seed, fit: layout.fit, sets: layout.sets().count() };
    let mut report = LayoutReport::new(snapshot, layout.assignment, laid)
        .context("a bug: the placement that was built is none")?;
    report.data = args.input.data.display().to_string();
    report.out = args.output.out.display().to_string();
    seconds.reporting = lap.end();
    report.seconds = seconds;
    report.peak_rss_bytes = report::peak_rss_bytes();
    report.print(args.output.output)
}
