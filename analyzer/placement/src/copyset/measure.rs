//! What failures would do to an assignment: chances of loss, scatter widths, and the blast radius of each node and
//! domain.
//!
//! Only nodes that serve count: what a node that is down held is gone already, and a draining node counts for as
//! long as it holds something. Chances are over sets of nodes that fail together, all equally likely; failures that
//! take whole domains are what the blast radius of domains is for.

use super::index::{Copyset, Copysets};
use super::tokens::below;
use crate::ids::{Domain, Level, Node, Partition};
use crate::partitions::{Assignment, NONE};
use crate::plan::{ApplyError, Plan};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use rayon::prelude::*;

/// What failures would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The copysets in use, of nodes that serve.
    pub copysets: Copysets,
    /// Nodes that serve and are not drained empty: those that can fail.
    pub nodes: u32,
    /// Peers of each node, by position.
    pub scatter: Vec<Scatter>,
    /// Means over the nodes that can fail.
    pub scatter_mean: f64,
    /// See [`Scatter::effective`].
    pub scatter_effective_mean: f64,
    /// The probability that two failures leave some partition without a quorum that has one: exact.
    pub quorum_loss_given_two: f64,
    /// If a node fails, by position.
    pub of_nodes: Vec<Blast>,
    /// If all of a domain fails, by position.
    pub of_domains: Vec<Blast>,
    /// Pairs of sets of three that share one node, and two; absent if there are sets of another size.
    overlaps: Option<(f64, f64)>,
}

/// With whom a node shares partitions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scatter {
    /// Distinct peers.
    pub width: u32,
    /// `(sum b)^2 / sum b^2` over the bytes b shared with each peer: as many peers that share alike would spread a
    /// repair as far. 0 where nothing is shared.
    pub effective: f64,
}

/// What a failure would hit. Partitions of each kind also count for those before: what is lost has no quorum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Blast {
    /// Partitions with a replica there.
    pub partitions: u32,
    /// Bytes of all replicas there.
    pub bytes: u64,
    /// Load of all replicas there.
    pub load: f64,
    /// Partitions that would have fewer replicas than they should.
    pub under_replicated: u32,
    /// Partitions that would lose their quorum, a majority of the replicas they should have.
    pub without_quorum: u32,
    /// Partitions that would lose their last replica.
    pub lost: u32,
}

/// The probability of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Chance {
    /// Counted.
    Exact(f64),
    /// Between the bounds of Bonferroni of the second and first order, less than 1 % apart.
    Between {
        /// It is at least this.
        low: f64,
        /// And at most this.
        high: f64,
    },
    /// Sampled by a seed.
    Sampled {
        /// Share of samples.
        mean: f64,
        /// Of the mean, at least one over the samples.
        standard_error: f64,
        /// How many.
        samples: u32,
    },
}

/// Bounds that are as near as this, as a part of the higher, are good enough.
const NEAR: f64 = 0.01;
/// Sets looked at in sampling, at most about.
const LOOKS: f64 = 2e8;
const SAMPLES: (f64, f64) = (256.0, 20_000.0);

/// Measures an assignment of the snapshot's partitions: its own or another one.
///
/// # Panics
/// If the assignment is not of as many partitions.
#[must_use]
pub fn measure(snapshot: &Snapshot, assignment: &Assignment) -> Report {
    let serving = serving(snapshot, assignment);
    let assignment = &serving;
    let copysets = Copysets::in_use(assignment, &snapshot.partitions().size_bytes);
    let (of_nodes, of_domains) = blasts(snapshot, assignment);
    let nodes = snapshot.topology().nodes();
    let can_fail = |node: &Node| {
        let held = of_nodes[node.at()].partitions > 0;
        nodes[node.at()].state == NodeState::Up || held
    };
    let failing: Vec<Node> = snapshot.topology().all().filter(can_fail).collect();
    let margins = margins(snapshot, &copysets);
    let reach = reach(&copysets, nodes.len(), &margins);
    let scatter: Vec<Scatter> = reach.iter().map(|reach| reach.scatter).collect();
    let count = failing.len() as f64;
    let mean = |sum: f64| if count > 0.0 { sum / count } else { 0.0 };
    let critical = reach.iter().filter(|reach| reach.critical).count() as f64;
    let among_others: f64 = reach.iter().map(|reach| f64::from(reach.fatal)).sum::<f64>() / 2.0;
    let pairs = count * (count - 1.0) / 2.0;
    let left = (count - critical) * (count - critical - 1.0) / 2.0;
    let threes = copysets.all().all(|set| copysets.nodes(set).len() == 3);
    let overlaps = threes.then(|| {
        let two = reach.iter().map(|reach| reach.pairs_of_two).sum::<f64>() / 2.0;
        (reach.iter().map(|reach| reach.pairs_of_sets).sum::<f64>() - 2.0 * two, two)
    });
    Report {
        nodes: failing.len() as u32,
        scatter_mean: mean(scatter.iter().map(|of| f64::from(of.width)).sum()),
        scatter_effective_mean: mean(scatter.iter().map(|of| of.effective).sum()),
        quorum_loss_given_two: if pairs > 0.0 { (pairs - left + among_others) / pairs } else { 0.0 },
        scatter,
        of_nodes,
        of_domains,
        overlaps,
        copysets,
    }
}

/// Before a plan, and after it.
///
/// # Errors
/// If the plan is not of that snapshot.
pub fn before_and_after(snapshot: &Snapshot, plan: &Plan) -> Result<(Report, Report), ApplyError> {
    let after = plan.result(snapshot)?;
    Ok((measure(snapshot, snapshot.assignment()), measure(snapshot, &after)))
}

impl Report {
    /// The probability that some partition loses its last replica when that many nodes fail together, any as likely.
    ///
    /// Exact up to the size of the smallest copyset: for three replicas and three failures, copysets over
    /// `C(N, 3)`. For more, the bounds of Bonferroni if all sets are of three and the bounds are less than 1 % apart;
    /// otherwise sampled.
    #[must_use]
    pub fn loss_given(&self, failures: u32, seed: u64) -> Chance {
        let sets = &self.copysets;
        let sizes = || sets.all().map(|set| sets.nodes(set).len() as u32);
        let Some(smallest) = sizes().min() else { return Chance::Exact(0.0) };
        if failures < smallest {
            return Chance::Exact(0.0);
        }
        if failures >= self.nodes {
            return Chance::Exact(1.0);
        }
        let all_of = |size: u32| -> f64 {
            (0..size).map(|at| f64::from(failures.saturating_sub(at)) / f64::from(self.nodes - at)).product()
        };
        let high: f64 = sizes().map(all_of).sum();
        if failures == smallest {
            return Chance::Exact(high);
        }
        if let (Some((one, two)), true) = (self.overlaps, self.nodes >= 6) {
            let count = sets.len() as f64;
            let none = count * (count - 1.0) / 2.0 - one - two;
            let both = none * all_of(6) + one * all_of(5) + two * all_of(4);
            if both <= NEAR * high {
                return Chance::Between { low: high - both, high };
            }
        }
        self.sampled(failures, seed)
    }

    fn sampled(&self, failures: u32, seed: u64) -> Chance {
        let sets = &self.copysets;
        let mut nodes: Vec<Node> = sets.all().flat_map(|set| sets.nodes(set).iter().copied()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        // Nodes that hold nothing can fail too; they take the place of positions that no set has.
        let mut pool: Vec<Option<Node>> = nodes.iter().copied().map(Some).collect();
        pool.resize((self.nodes as usize).max(pool.len()), None);
        let most = nodes.last().map_or(0, |node| node.at() + 1);
        let mut by_lowest: Vec<Vec<Copyset>> = vec![Vec::new(); most];
        sets.all().for_each(|set| by_lowest[sets.nodes(set)[0].at()].push(set));
        let looks = f64::from(failures) * sets.len() as f64 / pool.len() as f64;
        let samples = (LOOKS / looks).clamp(SAMPLES.0, SAMPLES.1) as u32;
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut failed = vec![false; most];
        let mut losses = 0u32;
        for _ in 0..samples {
            for at in 0..failures as usize {
                let other = at + below(&mut rng, (pool.len() - at) as u64) as usize;
                pool.swap(at, other);
            }
            let gone = || pool[..failures as usize].iter().flatten();
            gone().for_each(|node| failed[node.at()] = true);
            let dead = |set: &Copyset| sets.nodes(*set).iter().all(|node| failed[node.at()]);
            losses += u32::from(gone().any(|node| by_lowest[node.at()].iter().any(dead)));
            gone().for_each(|node| failed[node.at()] = false);
        }
        let of = f64::from(samples);
        let mean = f64::from(losses) / of;
        Chance::Sampled { mean, standard_error: libm::sqrt(mean * (1.0 - mean) / of).max(1.0 / of), samples }
    }
}

/// The assignment without nodes that are down.
fn serving(snapshot: &Snapshot, assignment: &Assignment) -> Assignment {
    let mut serving = assignment.clone();
    let down: Vec<bool> =
        snapshot.topology().nodes().iter().map(|node| node.state == NodeState::Down).collect();
    if !down.contains(&true) {
        return serving;
    }
    let mut row: Vec<Node> = Vec::with_capacity(assignment.width());
    for partition in snapshot.partitions().all() {
        row.clear();
        row.extend(assignment.subset(partition).filter(|node| !down[node.at()]));
        serving.set(partition, &row);
    }
    serving
}

/// A majority of the replicas that are wanted.
fn quorum(wanted: u8) -> usize {
    usize::from(wanted) / 2 + 1
}

/// For each copyset, how many of its nodes can fail until the first of its partitions that has a quorum loses it;
/// absent where none has one.
fn margins(snapshot: &Snapshot, copysets: &Copysets) -> Vec<Option<usize>> {
    let mut margins: Vec<Option<usize>> = vec![None; copysets.len()];
    let partitions = snapshot.partitions();
    for partition in partitions.all() {
        let Some(set) = copysets.of(partition) else { continue };
        let live = copysets.nodes(set).len();
        if let Some(margin) = live.checked_sub(quorum(partitions.replicas.get(partition))) {
            let lowest = margins[set.at()].map_or(margin, |known| known.min(margin));
            margins[set.at()] = Some(lowest);
        }
    }
    margins
}

/// What a node has to do with others.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    scatter: Scatter,
    /// Whether its failure alone takes a quorum.
    critical: bool,
    /// Peers whose failure with it takes a quorum, neither being critical.
    fatal: u32,
    /// Pairs of its sets; and over its peers, pairs of sets that have both.
    pairs_of_sets: f64,
    pairs_of_two: f64,
}

fn reach(copysets: &Copysets, nodes: usize, margins: &[Option<usize>]) -> Vec<Reach> {
    let mut critical = vec![false; nodes];
    let mut of: Vec<Vec<Copyset>> = vec![Vec::new(); nodes];
    for set in copysets.all() {
        for node in copysets.nodes(set) {
            of[node.at()].push(set);
            critical[node.at()] |= margins[set.at()] == Some(0);
        }
    }
    // Bytes and sets shared with each peer, and whether both failures take a quorum.
    let scratch = || (vec![(0u64, 0u32, false); nodes], Vec::<Node>::new());
    (0..nodes)
        .into_par_iter()
        .map_init(scratch, |(shared, peers), at| {
            for set in &of[at] {
                for peer in copysets.nodes(*set).iter().filter(|peer| peer.at() != at) {
                    let entry = &mut shared[peer.at()];
                    if entry.1 == 0 {
                        peers.push(*peer);
                    }
                    entry.0 += copysets.bytes(*set);
                    entry.1 += 1;
                    entry.2 |= margins[set.at()] == Some(1);
                }
            }
            let two = |count: f64| count * (count - 1.0) / 2.0;
            let mut reach = Reach { critical: critical[at], ..Reach::default() };
            let (mut sum, mut squares) = (0.0, 0.0);
            for peer in peers.drain(..) {
                let (bytes, sets, fatal) = std::mem::take(&mut shared[peer.at()]);
                reach.fatal += u32::from(fatal && !critical[at] && !critical[peer.at()]);
                reach.pairs_of_two += two(f64::from(sets));
                reach.scatter.width += 1;
                sum += bytes as f64;
                squares += bytes as f64 * bytes as f64;
            }
            reach.pairs_of_sets = two(of[at].len() as f64);
            reach.scatter.effective = if squares > 0.0 { sum * sum / squares } else { 0.0 };
            reach
        })
        .collect()
}

/// What the failure of each node and of each domain hits.
fn blasts(snapshot: &Snapshot, assignment: &Assignment) -> (Vec<Blast>, Vec<Blast>) {
    let (topology, partitions) = (snapshot.topology(), snapshot.partitions());
    let mut of_nodes = vec![Blast::default(); topology.nodes().len()];
    let mut of_domains = vec![Blast::default(); topology.domains().len()];
    let around: Vec<&[u16]> =
        (0..topology.levels().len()).map(|level| topology.domains_at(Level(level as u8))).collect();
    for (at, row) in assignment.slots().chunks_exact(assignment.width()).enumerate() {
        let partition = Partition(at as u32);
        let live = row.iter().position(|slot| *slot == NONE).unwrap_or(row.len());
        let wanted = partitions.replicas.get(partition);
        let (bytes, load) = (partitions.size_bytes[at], partitions.load[at]);
        let hit = |blast: &mut Blast, replicas: usize| {
            blast.partitions += 1;
            blast.bytes += bytes * replicas as u64;
            blast.load += load * replicas as f64;
            blast.under_replicated += u32::from(live - replicas < usize::from(wanted));
            blast.without_quorum += u32::from(live >= quorum(wanted) && live - replicas < quorum(wanted));
            blast.lost += u32::from(live == replicas);
        };
        for (slot, node) in row[..live].iter().enumerate() {
            hit(&mut of_nodes[usize::from(*node)], 1);
            for domains in &around {
                let domain = domains[usize::from(*node)];
                let there =
                    |nodes: &[u16]| nodes.iter().filter(|n| domains[usize::from(**n)] == domain).count();
                if there(&row[..slot]) == 0 {
                    hit(&mut of_domains[Domain(domain).at()], there(&row[..live]));
                }
            }
        }
    }
    (of_nodes, of_domains)
}
