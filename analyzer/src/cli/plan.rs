//! `isotherm plan`: where partitions should lie, worked out from files, where no analyzer is asked and nothing is moved; or
//! by the analyzer from its own cluster, where a plan can be approved and carried out.

mod cluster;
mod copysets;
pub(super) mod csv;
mod event;
pub(super) mod kept;
mod names;
mod nodes;
mod outlook;
mod partitions;
mod policy;
mod report;
mod simulate;
mod spread;
mod write;

use super::print::Format;
use super::{Failure, client};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What to plan.
#[derive(Subcommand)]
pub(super) enum PlanCommand {
    Create(kept::CreateArgs),
    /// List plans, the newest first
    List(kept::ListArgs),
    Show(kept::ShowArgs),
    Diff(kept::DiffArgs),
    Approve(kept::ApproveArgs),
    Execute(kept::ExecuteArgs),
    Watch(kept::WatchArgs),
    /// Begin nothing more of a plan, and give up what is not switched yet
    ///
    /// What has switched stays where it is.
    Cancel(kept::ActArgs),
    Retry(kept::RetryArgs),
    /// Forget a plan
    ///
    /// Not while it is carried out. Migrations that it began stay on record.
    Rm(kept::ActArgs),
    Simulate(SimulateArgs),
    Copysets(CopysetsArgs),
    Spread(SpreadArgs),
}

/// Say what would move if something happened, and write the placement after it
///
/// The folder has nodes.csv (node, rack, capacity_mib; optional: zone, load_cap, nic_mbit, risk, weight, state), parts.csv (pid,
/// size_mib; optional: load, risk, impact, pinned, replicas), assign.csv (pid, n0, n1, ...: one node a column, an
/// empty cell is no replica) and events.json. Columns are found by name; others are ignored. A state is up, draining
/// or down; a rack is told apart by its zone.
///
/// An event is an object with an id and any of: fail, drain, fill (lists of nodes; fill brings up to its share what is
/// back or empty), add (list of {rack, capacity, zone}: new nodes, called by the number of nodes), set_capacity
/// ({node: weight}), balance (true), risk ({node: hazard per hour}), links (list of {a, b, mbit} between racks).
/// Capacities of events are weights: the weight column of the first node says what 1 is. The events none and balance
/// need no entry. Every event also repairs: lost and missing replicas are made again, nodes that drain are emptied.
///
/// Exit code 4: something that had to be done is refused, by the policy or because it is impossible. The plan is
/// written all the same; what could not be placed keeps its row, and is told with its cause. What has no live replica
/// left is lost; its row says where to restore it from a backup, and a warning how many there are.
#[derive(Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    input: Input,
    /// The event, by its id in events.json, or none, or balance
    #[arg(long, value_name = "ID")]
    event: String,
    #[command(flatten)]
    output: Output,
    /// Show the N moves of the most bytes, each with its reason, gain, runner-up, and the nodes that were rejected
    #[arg(long, value_name = "N", default_value_t = 0)]
    moves: usize,
    /// Say why this partition moves, or why it stays, node by node
    #[arg(long, value_name = "PID")]
    explain: Option<String>,
    /// Whether reads can go to another replica without a copy, for events with a risk
    #[arg(long, value_enum, default_value_t = Reads::Spread)]
    reads: Reads,
}

/// Lay out all partitions anew, on few copysets
///
/// Every node shares partitions with about SPREAD others, in proportion to its capacity: few sets of nodes can lose
/// data together, and repair has that many sources. Nothing of the present placement is kept but what is pinned; the
/// report says how much would have to be copied. `isotherm plan spread` recommends a factor.
#[derive(Args)]
pub(super) struct CopysetsArgs {
    #[command(flatten)]
    input: Input,
    /// With how many others a node of mean capacity shares partitions
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    spread: u32,
    #[command(flatten)]
    output: Output,
    /// Of the permutations that sets are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Recommend a spread factor
///
/// With few peers a node is made again slowly, and another may fail meanwhile; with many peers there are many sets
/// of nodes, and several failures at once are likely to be one of them. docs/placement.md has the formula.
#[derive(Args)]
pub(super) struct SpreadArgs {
    /// Nodes of the cluster
    #[arg(long)]
    nodes: u32,
    /// Replicas of a partition
    #[arg(long, default_value_t = 3)]
    replicas: u8,
    /// GiB that a node holds
    #[arg(long, value_name = "GIB")]
    node_gib: f64,
    /// MiB per second that a node may spend on repair, read and written together
    #[arg(long, value_name = "MIB")]
    repair_mib_per_s: f64,
    /// Failures of one node per year whose data is lost
    #[arg(long, value_name = "RATE", default_value_t = 0.04)]
    failures_per_year: f64,
    /// Events per year in which several nodes fail at once, such as a power loss, and do not all come back
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    correlated_per_year: f64,
    /// Nodes that do not come back from such an event
    #[arg(long, value_name = "NODES")]
    correlated_nodes: u32,
    /// Time in which a node should be made again, such as 30min [default: it does not matter]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    repair_within: Option<Duration>,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Where a cluster is described.
#[derive(Args)]
struct Input {
    /// Folder with nodes.csv, parts.csv, assign.csv and events.json
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Limits and weights (TOML); docs/placement.md has the fields and their defaults
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Where the plan goes.
#[derive(Args)]
struct Output {
    /// File to write the placement after the plan to, in the form of assign.csv
    #[arg(long, value_name = "PLAN.csv")]
    out: PathBuf,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Which replicas serve reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reads {
    /// All alike; a change needs a copy
    Spread,
    /// The first of the row, which another holder can replace without a copy
    Leader,
}

pub(super) fn run(command: PlanCommand) -> Result<(), Failure> {
    use isotherm_proto::control::v1::PlanAction as Action;
    match command {
        PlanCommand::Create(args) => client(kept::create(args)),
        PlanCommand::List(args) => client(kept::list(args)),
        PlanCommand::Show(args) => client(kept::show(args)),
        PlanCommand::Diff(args) => client(kept::diff(args)),
        PlanCommand::Approve(args) => client(kept::approve(args)),
        PlanCommand::Execute(args) => client(kept::execute(args)),
        PlanCommand::Watch(args) => client(kept::watch(args)),
        PlanCommand::Cancel(args) => client(kept::act(args, Action::Cancel)),
        PlanCommand::Retry(args) => client(kept::retry(args)),
        PlanCommand::Rm(args) => client(kept::act(args, Action::Remove)),
        PlanCommand::Simulate(args) => simulate::run(&args),
        PlanCommand::Copysets(args) => copysets::run(&args),
        PlanCommand::Spread(args) => spread::run(&args),
    }
}
