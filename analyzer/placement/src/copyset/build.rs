//! Copysets and an assignment from scratch, to a spread factor.
//!
//! Every number of replicas that partitions want has copysets of its own: `N S / (R (R - 1))` of them, so that a
//! node of mean weight shares sets with S others. What each node should hold is `share`'s to say, the sets `tokens`',
//! how much of the data each takes `fit`'s, and which partitions `deal`'s.
//!
//! It is from scratch: nothing is spared a move but partitions that are pinned or on their way, which stay as they
//! are. Moves to a layout, and keeping copysets few in a cluster that changes, are the planner's.

use super::deal::{Deal, Family, Fill, NodeFill, Urn, Weight, deal};
use super::fit;
use super::share::{Ground, Shortage};
use super::tokens::{self, Sets};
use crate::hash;
use crate::ids::{Level, Node, Partition};
use crate::partitions::{Assignment, NONE};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use thiserror::Error;

/// Copysets, and the assignment that uses them.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Who holds which partition: holders that a partition has already come first, in their present order, so that
    /// a leader stays one where it can.
    pub assignment: Assignment,
    /// The highest share that the copysets alone, before any partition is dealt, give a node over what it should
    /// have: 1 is a perfect fit. More means that sets are too few or too alike for the capacities.
    pub fit: f64,
    families: Vec<Sets>,
}

impl Layout {
    /// The copysets that were built, those of fewer replicas first. Few partitions may leave some without use.
    pub fn sets(&self) -> impl Iterator<Item = &[Node]> {
        self.families.iter().flat_map(Sets::all)
    }
}

/// Why no layout can be built.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum LayoutError {
    /// Too few nodes for the replicas.
    #[error("{replicas} replicas, and {nodes} nodes that can hold one")]
    Nodes {
        /// Replicas wanted.
        replicas: u8,
        /// Nodes that are up, have capacity, and are not above the risk limit.
        nodes: u16,
    },
    /// Too few domains for the replicas.
    #[error(
        "{replicas} replicas of which at most {limit} may share a domain of level {}: {domains} such domains can \
         take one; the most that can be had is {feasible}", level.0
    )]
    Domains {
        /// Replicas wanted.
        replicas: u8,
        /// Most in one domain.
        limit: u8,
        /// The level.
        level: Level,
        /// Domains of that level with a node that can hold one.
        domains: u16,
        /// Replicas that are feasible.
        feasible: u8,
    },
    /// More data than room.
    #[error(
        "all replicas are {needs_bytes} bytes, and nodes that can hold them may be filled with {room_bytes}"
    )]
    Capacity {
        /// Bytes of all replicas.
        needs_bytes: u64,
        /// Capacities times the fill limit.
        room_bytes: u64,
    },
    /// A node that would hold more than it may: domains force too much on it, or the sets are too coarse.
    #[error(
        "node {} would hold {bytes} bytes and may hold {room_bytes}: domains are uneven, or the spread factor is \
         too low", node.0
    )]
    Overfull {
        /// The node.
        node: Node,
        /// Bytes it would hold.
        bytes: u64,
        /// Its capacity times the fill limit.
        room_bytes: u64,
    },
}

/// Builds copysets to a spread factor and deals all partitions to them. The same arguments give the same layout.
///
/// A spread factor of less than one replica's peers, or so low that a node would have no set, is taken for the least
/// that is possible; one above what nodes or partitions allow, for the most. Without partitions there are no sets.
/// A node that has no load capacity, where load is judged and there is any, holds nothing.
///
/// # Errors
/// If replicas, nodes, domains or capacity do not allow a layout; with what would be feasible.
pub fn build(snapshot: &Snapshot, spread: u32, seed: u64) -> Result<Layout, LayoutError> {
    let partitions = snapshot.partitions();
    let demand = Demand::new(snapshot);
    let ground = Ground::new(snapshot, targets(snapshot, &demand));
    check_capacity(&ground, &demand)?;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut fill = Fill { nodes: vec![NodeFill::default(); snapshot.topology().nodes().len()] };
    let (families, fit) = families(&ground, &demand, spread, &mut fill, &mut rng)?;
    let mut assignment = Assignment::empty(partitions.len(), snapshot.assignment().width());
    for partition in partitions.all().filter(|partition| demand.stays[partition.at()]) {
        let row: Vec<Node> = snapshot.assignment().subset(partition).collect();
        fill.add(&row, demand.weight(snapshot, partition));
        assignment.set(partition, &row);
    }
    let family = |partition: Partition| {
        let wanted = partitions.replicas.get(partition);
        let stays = demand.stays[partition.at()];
        if stays {
            None
        } else {
            families.iter().position(|family| family.sets.replicas == usize::from(wanted))
        }
    };
    let weight = |partition: Partition| demand.weight(snapshot, partition);
    let what = Deal { families: &families, family: &family, weight: &weight };
    let set_of = deal(&what, partitions.len(), &mut fill, &mut rng);
    for partition in partitions.all() {
        if let Some(family) = family(partition) {
            let set = families[family].sets.get(set_of[partition.at()] as usize);
            place(snapshot, &mut assignment, partition, set);
        }
    }
    check_room(snapshot, &assignment)?;
    Ok(Layout { assignment, fit, families: families.into_iter().map(|family| family.sets).collect() })
}

/// What is to be placed.
struct Demand {
    /// Bytes and load of all replicas; not 0, for they divide.
    bytes: f64,
    load: f64,
    judges_load: bool,
    /// By the number of replicas wanted: partitions, bytes and load of one replica of each.
    by_replicas: Vec<(usize, f64, f64)>,
    /// Partitions that keep their holders.
    stays: Vec<bool>,
}

impl Demand {
    fn new(snapshot: &Snapshot) -> Self {
        let partitions = snapshot.partitions();
        let mut by_replicas = vec![(0, 0.0, 0.0); usize::from(u8::MAX) + 1];
        for partition in partitions.all() {
            let of: &mut (usize, f64, f64) =
                &mut by_replicas[usize::from(partitions.replicas.get(partition))];
            of.0 += 1;
            of.1 += partitions.size_bytes[partition.at()] as f64;
            of.2 += partitions.load[partition.at()];
        }
        let all = |of: &dyn Fn(&(usize, f64, f64)) -> f64| -> f64 {
            by_replicas.iter().enumerate().map(|(replicas, sums)| replicas as f64 * of(sums)).sum()
        };
        let (bytes, load) = (all(&|of| of.1), all(&|of| of.2));
        let mut stays: Vec<bool> =
            partitions.all().map(|partition| partitions.pinned.get(partition)).collect();
        snapshot.in_flight().iter().for_each(|copy| stays[copy.partition.at()] = true);
        let divisor = |sum: f64| if sum > 0.0 { sum } else { f64::MIN_POSITIVE };
        Self {
            bytes: divisor(bytes),
            load: divisor(load),
            judges_load: snapshot.judges_load() && load > 0.0,
            by_replicas,
            stays,
        }
    }

    fn weight(&self, snapshot: &Snapshot, partition: Partition) -> Weight {
        let partitions = snapshot.partitions();
        let load = if self.judges_load { partitions.load[partition.at()] / self.load } else { 0.0 };
        Weight { size: partitions.size_bytes[partition.at()] as f64 / self.bytes, load }
    }
}

/// Nodes that may hold something.
fn targets(snapshot: &Snapshot, demand: &Demand) -> Vec<Node> {
    let may_hold = |node: &Node| {
        let facts = snapshot.topology().node(*node);
        let limit = snapshot.policy().risk_limit;
        let safe = limit.is_none_or(|limit| facts.risk.is_none_or(|risk| risk <= limit));
        let bears = !demand.judges_load || facts.load_capacity.is_some_and(|capacity| capacity > 0.0);
        facts.state == NodeState::Up && facts.capacity_bytes > 0 && safe && bears
    };
    snapshot.topology().all().filter(may_hold).collect()
}

/// Copysets for each number of replicas that is wanted, and the worst fit. What nodes should hold goes to `fill`.
fn families(
    ground: &Ground<'_>,
    demand: &Demand,
    spread: u32,
    fill: &mut Fill,
    rng: &mut Pcg64Mcg,
) -> Result<(Vec<Family>, f64), LayoutError> {
    let snapshot = ground.snapshot;
    let nodes = snapshot.topology().nodes();
    let size_weights: Vec<f64> = nodes.iter().map(|node| node.capacity_bytes as f64).collect();
    let load_weights: Vec<f64> = if demand.judges_load {
        nodes.iter().map(|node| node.load_capacity.unwrap_or(0.0)).collect()
    } else {
        size_weights.clone()
    };
    let (mut families, mut worst) = (Vec::new(), 1.0f64);
    let wanted = demand.by_replicas.iter().enumerate().filter(|(_, of)| of.0 > 0);
    for (replicas, (partitions, bytes, load)) in wanted {
        let replicas = replicas as u8;
        let shares = |weights: &[f64]| {
            ground.shares(weights, replicas).map_err(|shortage| infeasible(ground, replicas, shortage))
        };
        let (of_size, of_load) = (shares(&size_weights)?, shares(&load_weights)?);
        for (node, (size, load_share)) in fill.nodes.iter_mut().zip(of_size.iter().zip(&of_load)) {
            node.per_size += size * bytes / demand.bytes;
            node.per_load += load_share * load / demand.load;
        }
        let both: Vec<f64> = of_size.iter().zip(&of_load).map(|(size, load)| (size + load) / 2.0).collect();
        let count = sets_of(ground.nodes.len(), spread, replicas).min(*partitions);
        let (sets, parts) = fit::repair(ground, tokens::sets(ground, &both, replicas, count, rng), &both);
        worst = worst.max(fit::worst(ground, &sets, &both, &parts));
        families.push(Family { urn: Urn::new(&parts), sets });
    }
    for node in &mut fill.nodes {
        let inverse = |part: f64| if part > 0.0 { 1.0 / part } else { 0.0 };
        (node.per_size, node.per_load) = (inverse(node.per_size), inverse(node.per_load));
    }
    Ok((families, worst))
}

/// Sets with which a node of mean weight shares sets with as many others as the spread factor says, and not with
/// more than there are.
fn sets_of(nodes: usize, spread: u32, replicas: u8) -> usize {
    let (nodes, replicas) = (nodes as u64, u64::from(replicas));
    if replicas < 2 {
        return nodes as usize;
    }
    let spread = u64::from(spread).clamp(replicas - 1, nodes.saturating_sub(1).max(replicas - 1));
    (nodes * spread / (replicas * (replicas - 1))) as usize
}

fn infeasible(ground: &Ground<'_>, replicas: u8, shortage: Shortage) -> LayoutError {
    match shortage.level {
        None => LayoutError::Nodes { replicas, nodes: ground.nodes.len() as u16 },
        Some(level) => LayoutError::Domains {
            replicas,
            limit: shortage.limit,
            level,
            domains: shortage.domains,
            feasible: shortage.feasible,
        },
    }
}

/// Writes a set into the row of a partition: nodes that hold it come first as they are, the others by the draw of
/// their keys.
fn place(snapshot: &Snapshot, assignment: &mut Assignment, partition: Partition, set: &[Node]) {
    let mut row: Vec<Node> =
        snapshot.assignment().subset(partition).filter(|holder| set.contains(holder)).collect();
    let kept = row.len();
    row.extend(set.iter().filter(|node| !snapshot.assignment().holds(**node, partition)));
    let key = snapshot.partitions().key[partition.at()];
    row[kept..].sort_unstable_by_key(|node| (hash::draw(key, snapshot.topology().node(*node).key), *node));
    assignment.set(partition, &row);
}

/// Whether all nodes together have room. Too few nodes are left for [`families`] to tell.
fn check_capacity(ground: &Ground<'_>, demand: &Demand) -> Result<(), LayoutError> {
    let topology = ground.snapshot.topology();
    let capacity: f64 = ground.nodes.iter().map(|node| topology.node(*node).capacity_bytes as f64).sum();
    let room = capacity * ground.snapshot.policy().fill_limit;
    if ground.nodes.is_empty() || demand.bytes <= room {
        return Ok(());
    }
    Err(LayoutError::Capacity { needs_bytes: demand.bytes as u64, room_bytes: room as u64 })
}

/// Whether every node has room for what it holds, and for what is on its way to it.
fn check_room(snapshot: &Snapshot, assignment: &Assignment) -> Result<(), LayoutError> {
    let (partitions, nodes) = (snapshot.partitions(), snapshot.topology().nodes());
    let mut bytes = vec![0u64; nodes.len()];
    for (row, size) in assignment.slots().chunks_exact(assignment.width()).zip(&partitions.size_bytes) {
        row.iter().filter(|slot| **slot != NONE).for_each(|slot| bytes[usize::from(*slot)] += size);
    }
    for copy in snapshot.in_flight() {
        bytes[copy.to.at()] += partitions.size_bytes[copy.partition.at()];
    }
    let room = |at: usize| (nodes[at].capacity_bytes as f64 * snapshot.policy().fill_limit) as u64;
    let overfull =
        (0..nodes.len()).filter(|at| bytes[*at] > room(*at)).max_by_key(|at| bytes[*at] - room(*at));
    overfull.map_or(Ok(()), |at| {
        Err(LayoutError::Overfull { node: Node(at as u16), bytes: bytes[at], room_bytes: room(at) })
    })
}
