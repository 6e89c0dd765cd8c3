//! What is to be done, in the order of its urgency, with who can feed it.

use super::network::{Network, UNBOUNDED};
use super::{Stuck, StuckCause};
use crate::hash::draw;
use crate::ids::{Node, Partition};
use crate::plan::{Action, Move, Plan};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;
use std::cmp::Reverse;
use std::ops::Range;

/// A move that fits.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// In the plan.
    pub(super) position: u32,
    pub(super) partition: Partition,
    pub(super) bytes: u64,
    /// Absent for a move without bytes.
    pub(super) copy: Option<Ends>,
    /// The next move of the same partition, by its rank.
    pub(super) next: Option<u32>,
    /// Whether no move of the same partition comes before it.
    pub(super) first: bool,
}

/// Where a copy comes from and goes to.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) from: Option<Node>,
    pub(super) to: Node,
    /// Live holders when its turn comes, in [`Jobs::sources`].
    sources: Range<u32>,
    /// The slowest rate it starts at.
    pub(super) least_rate: u64,
}

/// All moves that fit, most urgent first: a job's position is its rank.
pub(super) struct Jobs {
    pub(super) all: Vec<Job>,
    sources: Vec<Node>,
    pub(super) stuck: Vec<Stuck>,
    /// Whether every way is bounded by something, so that times are known.
    pub(super) timed: bool,
    pub(super) moves: usize,
}

/// What urgency is judged by, most urgent first.
type Urgency = (bool, usize, Reverse<u64>, Reverse<u64>, u64, u32);

impl Jobs {
    pub(super) fn new(snapshot: &Snapshot, plan: &Plan, network: &Network<'_>) -> Self {
        let mut jobs = Self {
            all: Vec::with_capacity(plan.moves.len()),
            sources: Vec::with_capacity(plan.moves.len() * snapshot.assignment().width()),
            stuck: Vec::new(),
            timed: true,
            moves: plan.moves.len(),
        };
        let mut in_flight: Vec<Partition> = snapshot.in_flight().iter().map(|copy| copy.partition).collect();
        in_flight.sort_unstable();
        let mut order: Vec<u32> = (0..plan.moves.len() as u32).collect();
        order.sort_unstable_by_key(|position| (plan.moves[*position as usize].partition, *position));
        let mut urgency = Vec::with_capacity(plan.moves.len());
        let mut row = Vec::new();
        for chain in
            order.chunk_by(|a, b| plan.moves[*a as usize].partition == plan.moves[*b as usize].partition)
        {
            let partition = plan.moves[chain[0] as usize].partition;
            row.clear();
            if partition.at() < snapshot.partitions().len() {
                row.extend(snapshot.assignment().subset(partition));
            }
            let mut stands = in_flight.binary_search(&partition).ok().map(|_| StuckCause::InFlight);
            for (place, position) in chain.iter().copied().enumerate() {
                let decided = &plan.moves[position as usize];
                let live = jobs.add(snapshot, network, position, decided, &mut row, stands, place == 0);
                match live {
                    Ok(live) => urgency.push(of(snapshot, decided, live, position)),
                    Err(cause) => {
                        jobs.stuck.push(Stuck { position, cause });
                        stands = Some(StuckCause::After { position });
                    }
                }
            }
        }
        jobs.rank(&urgency);
        jobs
    }

    /// Who can feed a copy.
    pub(super) fn sources(&self, ends: &Ends) -> &[Node] {
        &self.sources[ends.sources.start as usize..ends.sources.end as usize]
    }

    /// Adds a move, and gives the live replicas before it; or says why it cannot be done.
    #[expect(clippy::too_many_arguments, reason = "what a move is judged by")]
    fn add(
        &mut self,
        snapshot: &Snapshot,
        network: &Network<'_>,
        position: u32,
        decided: &Move,
        row: &mut Vec<Node>,
        stands: Option<StuckCause>,
        first: bool,
    ) -> Result<usize, StuckCause> {
        if let Some(cause) = stands {
            return Err(cause);
        }
        if decided.partition.at() >= snapshot.partitions().len() {
            return Err(StuckCause::DoesNotFit);
        }
        let live = |node: &Node| snapshot.topology().node(*node).state != NodeState::Down;
        let start = self.sources.len() as u32;
        self.sources.extend(row.iter().copied().filter(live));
        let sources = start..self.sources.len() as u32;
        let replicas = sources.len();
        let fits = match decided.action {
            Action::Copy { from, to } => {
                let exists = to.at() < snapshot.topology().nodes().len() && !row.contains(&to);
                let slot = match from {
                    None if row.len() < snapshot.assignment().width() => {
                        row.push(to);
                        true
                    }
                    None => false,
                    Some(from) => {
                        row.iter_mut().find(|holder| **holder == from).map(|holder| *holder = to).is_some()
                    }
                };
                exists && slot
            }
            Action::Lead { to, .. } => {
                row.iter().position(|holder| *holder == to).map(|at| row.swap(0, at)).is_some()
            }
            Action::DrainReads { from } => row.contains(&from),
        };
        if !fits {
            return Err(StuckCause::DoesNotFit);
        }
        let copy = match decided.action {
            Action::Copy { from, to } => {
                if replicas == 0 {
                    return Err(StuckCause::NoSource);
                }
                let holders = &self.sources[start as usize..];
                let ways = || holders.iter().map(|source| network.way(*source, to));
                self.timed &= ways().all(|way| way != UNBOUNDED);
                let fastest = ways().max().unwrap_or(1);
                Some(Ends { from, to, sources, least_rate: fastest.div_ceil(2) })
            }
            Action::Lead { .. } | Action::DrainReads { .. } => None,
        };
        let bytes = if copy.is_some() { decided.bytes } else { 0 };
        self.all.push(Job { position, partition: decided.partition, bytes, copy, next: None, first });
        Ok(replicas)
    }

    /// Sorts by urgency, and ties the moves of a partition to each other.
    fn rank(&mut self, urgency: &[Urgency]) {
        let mut order: Vec<u32> = (0..self.all.len() as u32).collect();
        order.sort_unstable_by_key(|job| urgency[*job as usize]);
        let mut rank = vec![0u32; order.len()];
        for (at, job) in order.iter().enumerate() {
            rank[*job as usize] = at as u32;
        }
        // Jobs were added partition by partition, in the plan's order.
        let mut before: Option<&mut Job> = None;
        for (job, rank) in self.all.iter_mut().zip(&rank) {
            if let (false, Some(before)) = (job.first, before) {
                before.next = Some(*rank);
            }
            before = Some(job);
        }
        self.all = order.iter().map(|job| self.all[*job as usize].clone()).collect();
    }
}

fn of(snapshot: &Snapshot, decided: &Move, live: usize, position: u32) -> Urgency {
    let partitions = snapshot.partitions();
    let weight = f64::from(partitions.risk.get(decided.partition))
        * f64::from(partitions.impact.get(decided.partition));
    // Bits of numbers that are not negative are in their order; what is unknown comes after what is 0.
    let weight = if weight.is_nan() { 0 } else { weight.max(0.0).to_bits() + 1 };
    let node = match decided.action {
        Action::Copy { to, .. } | Action::Lead { to, .. } => to,
        Action::DrainReads { from } => from,
    };
    let tie = snapshot.topology().nodes().get(node.at()).map_or(0, |node| node.key);
    let tie = draw(partitions.key[decided.partition.at()], tie);
    (!decided.reason.repairs(), live, Reverse(weight), Reverse(decided.bytes), tie, position)
}
