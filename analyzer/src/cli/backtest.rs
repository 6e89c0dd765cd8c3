//! `isotherm backtest`: policies compared and predictions judged on made-up clusters, or predictions on what was
//! recorded. It asks no analyzer.

mod goals;
mod judged;
mod recorded;
mod report;
mod select;

use super::Failure;
use super::print::Format;
use super::simulate::progress::Progress;
use super::simulate::world::WorldArgs;
use clap::Args;
use isotherm_simulate::compare::{Compared, compare_telling};
use isotherm_simulate::policy::{Limits, Policy};
use isotherm_simulate::world::{Spec, SpecError};
use select::{Named, Seeds};

/// Compare policies, and judge predictions, on made-up clusters; or judge them on what was recorded
///
/// With --from, the pipeline rolls through a recording or a data folder, minute by minute, knowing what was known then,
/// and what it said is judged by what followed: surges called per healthy partition-day, and with --shifts how long they
/// took; the forecast of surges, of partitions that do not surge, and the risk of incidents, beside the last value, the
/// level and a random walk, learned on the first half of the time and judged on the second.
///
/// Without it, three parts. The policies: what clients lose under each, as a ratio to a cluster that is only repaired (reactive
/// only), the geometric mean over seeds of pairs of runs of the same cluster, with a 95 % bootstrap interval. The
/// healthy month: what the policies do where nothing is wrong, which should be nothing. The predictions: of incidents
/// within 24 hours by the risk, and of surges within 12 hours by the forecast of entropy, beside the last value, the
/// level and a random walk; learned on the first half of the days, judged on the second.
///
/// What is simulated: 60 nodes in 6 racks, 1000 partitions of three replicas, 30 days in ticks of 15 minutes;
/// partitions that are skewed, follow days and weeks and change who serves their reads; nodes that fail by
/// themselves, by too much load, with their rack, and that go gray. Failures are never made from entropy, so that no
/// policy is right by construction. All policies have the same limit of bytes, and go by what could be measured:
/// counts, noisy latencies, capacities known to 5 %. Numbers of the policies were tuned on seeds 1 to 4; the default
/// seeds were not used for that. It is a simulation: it says which policy is better in such a world, and not how much
/// a real cluster gains.
///
/// Exit code 0 means that it was computed, whether or not the goals are met. The same arguments give the same
/// answer. A seed of the default cluster takes about 1.5 minutes of CPU time; all cores are used, a seed each for the
/// predictions.
#[derive(Args)]
pub(super) struct BacktestArgs {
    /// Seeds, FROM..TO with both ends, or how many from 1000 on
    #[arg(long, value_name = "FROM..TO|N", default_value = "5")]
    seeds: Seeds,
    #[command(flatten)]
    world: WorldArgs,
    /// Policies beside reactive-only, separated by commas, of: entropy-over-a-level, hazard-only, headroom-only, full-model, and the full model with a
    /// part left out, no-entropy-forecast, no-shifting, no-headroom, no-hazard, no-gray-reaction, no-copies [default:
    /// all]
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = select::policy)]
    policies: Vec<Named>,
    /// The healthy month only
    #[arg(long)]
    healthy: bool,
    #[command(flatten)]
    recorded: recorded::RecordedArgs,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// All that was found.
struct Found {
    seeds: Vec<u64>,
    spec: Spec,
    /// Absent if only the healthy month was asked for, as are the predictions.
    compared: Option<Vec<Compared>>,
    healthy: Vec<Compared>,
    judged: Option<judged::Judged>,
}

pub(super) fn run(args: &BacktestArgs) -> Result<(), Failure> {
    if let Some(from) = &args.recorded.from {
        return recorded::run(from, &args.recorded, args.output);
    }
    args.recorded.refuse()?;
    let spec = args.world.spec(false)?;
    let seeds = args.seeds.all();
    let all = select::with_reactive(&args.policies);
    let refused = |error: SpecError| Failure::Usage(error.to_string());
    let compare = |what, spec: &Spec, policies: &[(&'static str, Policy)]| {
        let progress = Progress::new(what, seeds.len() * policies.len());
        let compared =
            compare_telling(spec, &Limits::default(), &seeds, policies, || progress.ended()).map_err(refused);
        progress.clear();
        compared
    };
    let whole = !args.healthy;
    let compared = whole.then(|| compare("policies, runs", &spec, &all)).transpose()?;
    // A part of the model does no more than all of it where nothing is wrong, unless it was named.
    let beside = if args.policies.is_empty() { select::whole(&all) } else { all };
    let healthy = compare("healthy month, runs", &spec.clone().healthy(), &beside)?;
    let judged = whole.then(|| judged::judge(&spec, &seeds)).transpose().map_err(refused)?;
    let found = Found { seeds, spec, compared, healthy, judged };
    match args.output {
        Format::Json => report::json(&found),
        Format::Table => report::table(&found),
    }
}
