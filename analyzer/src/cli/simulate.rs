//! `isotherm simulate`: one made-up cluster, and what became of it with and without the model. It asks no analyzer.

mod load;
pub(super) mod progress;
mod report;
pub(super) mod world;

use super::Failure;
use super::print::Format;
use clap::Args;
use isotherm_simulate::policy::{Limits, Parts, Policy};
use isotherm_simulate::run::{Outcome, watch};
use isotherm_simulate::world::World;
use load::{Load, Loads};
use progress::Progress;
use world::WorldArgs;

/// Make up a cluster and say what became of it
///
/// A cluster of nodes in racks serves reads of partitions of three replicas, in ticks of 15 minutes: partitions are
/// skewed, follow days and weeks, and change who serves their reads and how many there are; nodes fail by themselves,
/// by too much load, with their rack, and go gray, that is answer badly. Failures are never made from entropy. Two
/// runs of the same cluster are told side by side: one that is only repaired, and one in which the full model shifts
/// reads and copies replicas, going by what could be measured alone.
///
/// What clients lose is told in client-minutes: the reads of a mean partition for a minute. The same arguments give
/// the same answer, to the last digit. 60 nodes, 1000 partitions and 30 days take a few seconds.
#[derive(Args)]
pub(super) struct SimulateArgs {
    /// Decides all that is left to chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    world: WorldArgs,
    /// Nothing fails, goes gray or changes; days, weeks, noise and errors of measurement stay
    #[arg(long)]
    healthy: bool,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// A policy's run of a cluster.
struct Ran {
    outcome: Outcome,
    loads: Loads,
}

pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let spec = args.world.spec(args.healthy)?;
    let world = World::new(spec, args.seed).map_err(|error| Failure::Usage(error.to_string()))?;
    let progress = Progress::new("runs", 2);
    let run = |policy| {
        let mut load = Load::new(&world);
        let outcome = watch(&world, policy, &Limits::default(), |step| load.see(step));
        progress.ended();
        Ran { outcome, loads: load.end() }
    };
    let (reactive, full) = rayon::join(|| run(Policy::Reactive), || run(Policy::Model(Parts::FULL)));
    progress.clear();
    match args.output {
        Format::Json => report::json(&world, &reactive, &full),
        Format::Table => report::table(&world, &reactive, &full),
    }
}
