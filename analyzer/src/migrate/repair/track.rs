//! Which nodes are down, and what they held. Pure: a book and what is seen in, the next book out.
//!
//! A node is down when its source says so, and also when the source has forgotten it while something lay on it: some
//! systems tell nothing of a server that is gone, and nothing of what was there. What it held is therefore taken from the
//! topologies before, too. Only a source that is fresh is believed.

use super::book::{Book, Failure, Past};
use crate::topology::Topology;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::Health;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is seen of a system at one moment.
pub(super) struct Look<'a> {
    pub(super) system: &'a SystemId,
    /// Of the moment; its source is fresh.
    pub(super) topology: &'a Topology,
    /// Those before, the oldest first.
    pub(super) before: &'a [Arc<Topology>],
    /// Whether it is another topology than at the last look.
    pub(super) moved: bool,
    /// Where partitions that are being moved come from and go to: such a copy may be listed, and is no replica.
    pub(super) moving: &'a BTreeMap<PartitionId, (NodeId, NodeId)>,
    /// The same of all that were moved while those topologies were told.
    pub(super) lately: &'a BTreeMap<PartitionId, (NodeId, NodeId)>,
    /// How long a node must be back to be believed.
    pub(super) hold_ms: u64,
    pub(super) now_ms: u64,
}

/// What the topology says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It serves.
    Up,
    Down,
    /// It is not named any more.
    Gone,
    /// It is named, and nobody can tell.
    Unknown,
}

/// A partition that has fewer replicas than it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) partition: PartitionId,
    /// How many are missing, at least one.
    pub(super) missing: usize,
    /// Nodes that had one and failed: first those that the topology still lists.
    pub(super) dead: Vec<NodeId>,
    /// Nodes that have one.
    pub(super) survivors: Vec<NodeId>,
}

/// What a fresh topology says of a node.
pub(super) fn told(topology: &Topology, node: &NodeId) -> Told {
    match topology.nodes.get(node).map(|facts| facts.health) {
        None => Told::Gone,
        Some(Health::Down) => Told::Down,
        Some(Health::Up | Health::Draining) => Told::Up,
        Some(Health::Unknown) => Told::Unknown,
    }
}

/// The book after a look: failures that are new, nodes that are back, failures that are over.
pub(super) fn track(book: &Book, look: &Look<'_>) -> Book {
    let mut next = book.clone();
    if look.moved {
        add(&mut next, look);
        mend(&mut next, look);
    }
    let missing: BTreeSet<String> = lacks(&next, look.system, look.topology)
        .into_iter()
        .flat_map(|lack| lack.dead)
        .map(|node| node.name().to_owned())
        .collect();
    let failures = std::mem::take(&mut next.failures);
    for (name, mut failure) in failures {
        let Some(node) = id(look.system, &name) else { continue };
        failure.back_ms = match told(look.topology, &node) {
            Told::Up => failure.back_ms.or(Some(look.now_ms)),
            Told::Down | Told::Gone | Told::Unknown => None,
        };
        if !is_over(&failure, told(look.topology, &node), missing.contains(&name), look) {
            next.failures.insert(name, failure);
        } else if failure.begun && !failure.acknowledged {
            next.past.push(Past { node: name, since_ms: failure.since_ms });
        }
    }
    next
}

/// Whether nothing is left to be done about a failure, and nothing to remember.
fn is_over(failure: &Failure, told: Told, is_missed: bool, look: &Look<'_>) -> bool {
    let held = failure.back_ms.is_some_and(|back_ms| back_ms.saturating_add(look.hold_ms) <= look.now_ms);
    match told {
        Told::Up => held && !is_missed,
        Told::Gone => !is_missed,
        Told::Down | Told::Unknown => false,
    }
}

/// Adds nodes that are down or forgotten, with what they held.
fn add(book: &mut Book, look: &Look<'_>) {
    let of_system = |topology: &&Topology| {
        topology.nodes.keys().filter(|node| node.system() == look.system).cloned().collect::<BTreeSet<_>>()
    };
    let down: BTreeSet<NodeId> = of_system(&look.topology)
        .into_iter()
        .filter(|node| told(look.topology, node) == Told::Down)
        .collect();
    let gone: BTreeSet<NodeId> = look
        .before
        .iter()
        .flat_map(|before| of_system(&&**before))
        .filter(|node| told(look.topology, node) == Told::Gone)
        .collect();
    let known = |node: &NodeId| book.failures.contains_key(node.name());
    let new: BTreeSet<NodeId> = down.iter().chain(&gone).filter(|node| !known(node)).cloned().collect();
    let mut held: BTreeMap<NodeId, BTreeMap<String, u8>> = BTreeMap::new();
    for before in look.before {
        hold(&mut held, before, look, &new);
    }
    hold(&mut held, look.topology, look, &down);
    for node in new {
        let lost = held.remove(&node).unwrap_or_default();
        // One that held nothing and is forgotten was taken out.
        if down.contains(&node) || !lost.is_empty() {
            let domains = domains(look, &node);
            let failure = Failure { since_ms: look.now_ms, domains, lost, ..Failure::default() };
            book.failures.insert(node.name().to_owned(), failure);
        }
    }
    for (node, lost) in held {
        let Some(failure) = book.failures.get_mut(node.name()) else { continue };
        for (partition, replicas) in lost {
            failure.lost.entry(partition).or_insert(replicas);
        }
    }
}

/// Takes out what was made again: the node is not listed with it any more, and the partition has all its replicas without
/// it. If another node of the partition fails later, this one is not what it lacks.
fn mend(book: &mut Book, look: &Look<'_>) {
    for (name, failure) in &mut book.failures {
        let Some(node) = id(look.system, name) else { continue };
        let before = failure.lost.len();
        failure.lost.retain(|partition, replicas| {
            let Ok(partition) = PartitionId::new(look.system.clone(), partition.as_str()) else {
                return false;
            };
            let Some(subset) = look.topology.subsets.get(&partition) else { return true };
            let live = subset.iter().filter(|node| told(look.topology, node) != Told::Down).count();
            subset.contains(&node) || look.moving.contains_key(&partition) || live < usize::from(*replicas)
        });
        failure.mended += before - failure.lost.len();
    }
}

/// Where a node lies, as it was told last.
fn domains(look: &Look<'_>, node: &NodeId) -> Vec<String> {
    let before = look.before.iter().rev().map(|topology| &**topology);
    let facts = std::iter::once(look.topology).chain(before).find_map(|topology| topology.nodes.get(node));
    facts.map(|facts| facts.domains.clone()).unwrap_or_default()
}

/// Adds what a topology has on these nodes, with how many replicas it has.
fn hold(
    held: &mut BTreeMap<NodeId, BTreeMap<String, u8>>,
    topology: &Topology,
    look: &Look<'_>,
    nodes: &BTreeSet<NodeId>,
) {
    if nodes.is_empty() {
        return;
    }
    let of_system = |partition: &PartitionId| partition.system() == look.system;
    for (partition, subset) in topology.subsets.iter().filter(|(partition, _)| of_system(partition)) {
        let copy = look.lately.get(partition).or_else(|| look.moving.get(partition));
        let copies = copy.is_some_and(|(from, to)| subset.contains(from) && subset.contains(to));
        let replicas = u8::try_from(subset.len() - usize::from(copies)).unwrap_or(u8::MAX);
        for node in subset.intersection(nodes) {
            held.entry(node.clone()).or_default().insert(partition.name().to_owned(), replicas);
        }
    }
}

/// Partitions of which failures took replicas that nobody has made again, by name.
pub(super) fn lacks(book: &Book, system: &SystemId, topology: &Topology) -> Vec<Lack> {
    let mut wanted: BTreeMap<&str, (u8, Vec<&str>)> = BTreeMap::new();
    for (node, failure) in &book.failures {
        for (partition, replicas) in &failure.lost {
            let (most, dead) = wanted.entry(partition).or_default();
            *most = (*most).max(*replicas);
            dead.push(node);
        }
    }
    let lack = |(name, (replicas, dead)): (&str, (u8, Vec<&str>))| {
        let partition = PartitionId::new(system.clone(), name).ok()?;
        let subset = topology.subsets.get(&partition);
        let live = |node: &&NodeId| matches!(told(topology, node), Told::Up | Told::Unknown);
        let survivors: Vec<NodeId> = subset.into_iter().flatten().filter(live).cloned().collect();
        let missing = usize::from(replicas).saturating_sub(survivors.len());
        let mut dead: Vec<NodeId> = dead.into_iter().filter_map(|name| id(system, name)).collect();
        dead.retain(|node| !survivors.contains(node));
        dead.sort_by_key(|node| !subset.is_some_and(|subset| subset.contains(node)));
        (missing > 0 && !dead.is_empty()).then_some(Lack { partition, missing, dead, survivors })
    };
    wanted.into_iter().filter_map(lack).collect()
}

/// A node of a system by its name, which was one when it was written down.
pub(super) fn id(system: &SystemId, name: &str) -> Option<NodeId> {
    NodeId::new(system.clone(), name).ok()
}

#[cfg(test)]
mod tests;
