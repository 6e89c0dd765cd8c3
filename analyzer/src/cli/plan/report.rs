//! What a plan comes to, for people and as JSON.

pub(super) mod layout;
mod moves;
mod order;
mod refusals;
mod table;

use super::cluster::Names;
use crate::cli::Failure;
use crate::cli::print::{self, Format};
use isotherm_placement::copyset::{self, Chance};
use isotherm_placement::{Assignment, Column, NodeState, Plan, Pressure, Schedule, Snapshot, Violation};
use moves::{Largest, Moved};
use order::Ordered;
use refusals::Refused;
use serde::Serialize;

/// All that is told. Names are those of the files; positions stay inside.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where the cluster is described.
    pub(super) data: String,
    pub(super) event: String,
    /// Revision of the state that the plan was made from.
    pub(super) parent: u64,
    /// Of what the plan decides.
    pub(super) hash: String,
    pub(super) out: String,
    pub(super) cluster: Size,
    pub(super) moves: Moved,
    pub(super) pressure: Evenness,
    pub(super) copysets: Spread,
    pub(super) refused: Vec<Refused>,
    /// Replicas of partitions that are lost, which the placement has where they should be restored to.
    pub(super) restores: usize,
    pub(super) schedule: Ordered,
    /// What the checker found: nothing, or a bug of the planner.
    pub(super) violations: Vec<String>,
    /// Why a partition moves or stays, a line each; absent if nobody asked.
    pub(super) explained: Option<Vec<String>>,
    /// Moves that were asked for, the largest first.
    pub(super) largest: Vec<Largest>,
    pub(super) seconds: Seconds,
    /// Most memory that the process had; absent where the system does not tell.
    pub(super) peak_rss_bytes: Option<u64>,
}

/// How large the cluster is.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    nodes: usize,
    up: usize,
    draining: usize,
    down: usize,
    /// Domains of each level, the outermost first.
    domains: Vec<Level>,
    partitions: usize,
    /// Wanted of each; absent where they differ.
    replicas: Option<u8>,
}

#[derive(Debug, Serialize)]
struct Level {
    level: String,
    domains: usize,
}

/// Pressure over the mean of the nodes that are up.
#[derive(Debug, Serialize)]
pub(super) struct Evenness {
    before: Pressure,
    after: Pressure,
    /// The least that the highest size pressure can be.
    feasible: f64,
}

/// Something before and after.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    before: Blast,
    after: Blast,
}

/// What failures can hit.
#[derive(Debug, Serialize)]
struct Blast {
    /// Distinct sets of nodes that serve and hold partitions together.
    copysets: usize,
    /// Peers of a node, on average; and weighted by what is shared with each.
    scatter_width: f64,
    scatter_effective: f64,
    /// The probability that some partition loses its last replica when three nodes fail together.
    loss_given_three: Probability,
    /// The probability that some partition loses its quorum when two nodes fail together.
    quorum_loss_given_two: f64,
    /// What the worst node and the worst domain of each level leave, if they fail.
    worst_node: Hit,
    worst_domains: Vec<HitOfLevel>,
}

/// A probability, and how far it may be off: half of what it lies between, or a standard error.
#[derive(Debug, Serialize)]
struct Probability {
    value: f64,
    within: f64,
}

/// What a failure hits.
#[derive(Debug, Default, Serialize)]
struct Hit {
    under_replicated: u32,
    without_quorum: u32,
    lost: u32,
}

#[derive(Debug, Serialize)]
struct HitOfLevel {
    level: String,
    #[serde(flatten)]
    hit: Hit,
}

/// Where the time went.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seconds {
    pub(super) reading: f64,
    pub(super) planning: f64,
    pub(super) scheduling: f64,
    pub(super) checking: f64,
    pub(super) writing: f64,
    /// For measuring what the report tells.
    pub(super) reporting: f64,
}

/// What was planned, and from what.
#[derive(Clone, Copy)]
pub(super) struct Planned<'a> {
    pub(super) names: &'a Names,
    pub(super) snapshot: &'a Snapshot,
    pub(super) plan: &'a Plan,
    pub(super) after: &'a Assignment,
    pub(super) schedule: &'a Schedule,
    pub(super) violations: &'a [Violation],
}

impl Report {
    /// Measures a plan. `largest` moves are told one by one.
    pub(super) fn new(planned: Planned<'_>, largest: usize) -> Self {
        let Planned { names, snapshot, plan, after, schedule, violations } = planned;
        Self {
            data: String::new(),
            event: String::new(),
            parent: plan.parent,
            hash: plan.hash.to_string(),
            out: String::new(),
            cluster: Size::of(snapshot),
            moves: Moved::of(plan, names),
            pressure: Evenness {
                before: plan.totals.before,
                after: plan.totals.after,
                feasible: plan.totals.feasible,
            },
            copysets: Spread {
                before: Blast::of(snapshot, snapshot.assignment()),
                after: Blast::of(snapshot, after),
            },
            refused: refusals::group(planned),
            restores: plan.restores.len(),
            schedule: Ordered::of(schedule),
            violations: violations.iter().map(|found| order::violation(found, plan, names)).collect(),
            explained: None,
            largest: moves::largest(plan, names, largest),
            seconds: Seconds::default(),
            peak_rss_bytes: None,
        }
    }

    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print::json(self),
            Format::Table => table::print(self),
        }
    }

    /// Whether all that had to be done is done, and nothing that must not be; else what is wrong.
    pub(super) fn done(&self) -> Result<(), Failure> {
        if let Some(first) = self.violations.first() {
            let all = self.violations.len();
            return Err(anyhow::anyhow!(
                "a bug of the planner: the checker found {all} violations, first {first}"
            )
            .into());
        }
        let undone = self.refused.iter().map(|refused| refused.undone).sum::<usize>() + self.schedule.stuck;
        if undone == 0 {
            return Ok(());
        }
        let what = if undone == 1 {
            "1 thing that had to be done is".to_owned()
        } else {
            format!("{undone} things that had to be done are")
        };
        Err(Failure::Refused(format!("{what} refused; {} has the placement of the others", self.out)))
    }
}

impl Size {
    fn of(snapshot: &Snapshot) -> Self {
        let topology = snapshot.topology();
        let nodes = topology.nodes();
        let in_state = |state| nodes.iter().filter(|node| node.state == state).count();
        let levels = topology.levels().iter().enumerate();
        let domains = levels.map(|(at, level)| Level {
            level: level.clone(),
            domains: topology.domains().iter().filter(|domain| domain.level.at() == at).count(),
        });
        Self {
            nodes: nodes.len(),
            up: in_state(NodeState::Up),
            draining: in_state(NodeState::Draining),
            down: in_state(NodeState::Down),
            domains: domains.collect(),
            partitions: snapshot.partitions().len(),
            replicas: match snapshot.partitions().replicas {
                Column::Same(replicas) => Some(replicas),
                Column::Each(_) => None,
            },
        }
    }
}

impl Blast {
    fn of(snapshot: &Snapshot, assignment: &Assignment) -> Self {
        let found = copyset::measure(snapshot, assignment);
        let topology = snapshot.topology();
        let of_level = |at: usize| {
            let domains = topology.domains().iter().zip(&found.of_domains);
            worst(domains.filter(move |(domain, _)| domain.level.at() == at).map(|(_, blast)| blast))
        };
        let levels = topology.levels().iter().enumerate();
        Self {
            copysets: found.copysets.len(),
            scatter_width: found.scatter_mean,
            scatter_effective: found.scatter_effective_mean,
            loss_given_three: Probability::of(found.loss_given(3, 1)),
            quorum_loss_given_two: found.quorum_loss_given_two,
            worst_node: worst(found.of_nodes.iter()),
            worst_domains: levels
                .map(|(at, level)| HitOfLevel { level: level.clone(), hit: of_level(at) })
                .collect(),
        }
    }
}

/// The highest of each count.
fn worst<'a>(blasts: impl Iterator<Item = &'a copyset::Blast>) -> Hit {
    blasts.fold(Hit::default(), |worst, blast| Hit {
        under_replicated: worst.under_replicated.max(blast.under_replicated),
        without_quorum: worst.without_quorum.max(blast.without_quorum),
        lost: worst.lost.max(blast.lost),
    })
}

impl Probability {
    fn of(chance: Chance) -> Self {
        let (value, within) = match chance {
            Chance::Exact(value) => (value, 0.0),
            Chance::Between { low, high } => (f64::midpoint(low, high), (high - low) / 2.0),
            Chance::Sampled { mean, standard_error, .. } => (mean, standard_error),
        };
        Self { value, within }
    }
}

impl Seconds {
    pub(super) fn total(&self) -> f64 {
        let Self { reading, planning, scheduling, checking, writing, reporting } = self;
        reading + planning + scheduling + checking + writing + reporting
    }
}

/// The most memory that this process had, by the kernel's account.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
