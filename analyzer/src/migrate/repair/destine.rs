//! Where lost replicas are made again: the planner's word on the cluster as it would be told if nothing of the failed
//! nodes had been forgotten.
//!
//! What a system demands of the domains of a partition's replicas is not told by adapters: some want them in one rack,
//! some never. So the new replica lies to those that are left as the lost one did, in as many common domains; where no
//! node does, farther from them, and never nearer.

mod relation;

use super::track::{Lack, Told, told};
use crate::cycle::Cycled;
use crate::plan::snapshot::{Chart, ChartError, Sources, chart};
use crate::topology::{Partition, Topology};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_placement::{Action, Plan, Policy, Request, Snapshot, plan};
use isotherm_proto::{Health, NodeFacts};
use isotherm_runner::Entry;
use relation::candidates;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repair {
    pub(super) lack: Lack,
    /// The node whose replica it stands for.
    pub(super) dead: NodeId,
    /// Its failure domains, outermost first; empty where they are not known.
    pub(super) domains: Vec<String>,
}

/// What is asked of the planner.
pub(super) struct Asked<'a> {
    pub(super) system: &'a SystemId,
    pub(super) topology: &'a Topology,
    /// The last cycle, if there was one.
    pub(super) cycled: Option<&'a Cycled>,
    pub(super) repairs: &'a [Repair],
    /// Migrations that have not ended, and those that ended lately.
    pub(super) migrations: &'a [Entry],
    pub(super) now_ms: u64,
}

/// A target for each repair, or why there is none.
pub(super) type Destinations = BTreeMap<PartitionId, Result<NodeId, String>>;

/// Finds a target for each repair. Those that may go to the same nodes are planned together, and each plan counts what
/// those before it decided.
pub(super) fn destinations(asked: &Asked<'_>) -> Destinations {
    let mut groups: BTreeMap<BTreeSet<NodeId>, Vec<&Repair>> = BTreeMap::new();
    for repair in asked.repairs {
        groups.entry(candidates(asked.topology, repair)).or_default().push(repair);
    }
    let mut found = Destinations::new();
    for (targets, repairs) in groups {
        if targets.is_empty() {
            let why = "no node that is up lies as far from the replicas that are left as the lost one did";
            found.extend(repairs.iter().map(|repair| (repair.lack.partition.clone(), Err(why.to_owned()))));
            continue;
        }
        let planned = together(asked, &targets, &repairs, &found);
        match planned {
            Ok((chart, plan)) => read(&chart, &plan, &repairs, &mut found),
            Err(error) => {
                let error = error.to_string();
                found
                    .extend(repairs.iter().map(|repair| (repair.lack.partition.clone(), Err(error.clone()))));
            }
        }
    }
    found
}

/// Plans repairs that may all go to the same nodes.
fn together(
    asked: &Asked<'_>,
    targets: &BTreeSet<NodeId>,
    repairs: &[&Repair],
    decided: &Destinations,
) -> Result<(Chart, Plan), ChartError> {
    let dead: BTreeSet<NodeId> = repairs.iter().map(|repair| repair.dead.clone()).collect();
    let topology = as_it_was(asked, &dead, repairs, decided);
    let nodes = topology.nodes.keys().filter(|node| node.system() == asked.system);
    let cordoned = nodes.filter(|node| !targets.contains(*node)).cloned().collect();
    let sources = Sources {
        down: &dead,
        cordoned: &cordoned,
        migrations: asked.migrations,
        // How much may fail at once is decided by the breaker of repairs.
        policy: Policy { breaker: 1.0, ..Policy::default() },
        now_ms: asked.now_ms,
        ..Sources::new(asked.system, &topology, asked.cycled)
    };
    let mut chart = chart(&sources)?;
    chart.snapshot = without_limits(chart.snapshot)?;
    let plan = plan(&chart.snapshot, &Request { repair: true, ..Request::default() });
    Ok((chart, plan))
}

/// The same without limits of domains: the targets keep them.
fn without_limits(snapshot: Snapshot) -> Result<Snapshot, ChartError> {
    let mut cluster = snapshot.into_cluster();
    let levels = cluster.topology.levels().iter().cloned();
    cluster.policy.replicas_per_domain = levels.map(|level| (level, u8::MAX)).collect();
    Ok(Snapshot::new(cluster)?)
}

/// Takes the answers out of a plan.
fn read(chart: &Chart, plan: &Plan, repairs: &[&Repair], found: &mut Destinations) {
    for repair in repairs {
        found.insert(repair.lack.partition.clone(), Err("the planner does not place it".to_owned()));
    }
    let mut put = |partition: Option<&PartitionId>, answer: Result<NodeId, String>| {
        if let Some(slot) = partition.and_then(|partition| found.get_mut(partition)) {
            *slot = answer;
        }
    };
    let name = |partition: isotherm_placement::Partition| chart.partitions.get(partition.at());
    for refusal in &plan.refusals {
        put(refusal.partition.and_then(name), Err(refusal.cause.to_string()));
    }
    for left_out in &chart.left_out {
        put(Some(&left_out.partition), Err(left_out.why.clone()));
    }
    for decided in &plan.moves {
        if let (Action::Copy { to, .. }, partition) = (decided.action, name(decided.partition))
            && let Some(target) = chart.nodes.get(to.at())
        {
            put(partition, Ok(target.clone()));
        }
    }
}

/// The topology in which the dead nodes hold exactly what is to be made again, and what was decided before is done. Other
/// nodes that are down are told as up, so that nothing of theirs is planned.
fn as_it_was(
    asked: &Asked<'_>,
    dead: &BTreeSet<NodeId>,
    repairs: &[&Repair],
    decided: &Destinations,
) -> Topology {
    let mut topology = asked.topology.clone();
    let nodes = Arc::make_mut(&mut topology.nodes);
    for (node, facts) in nodes.iter_mut().filter(|(node, _)| node.system() == asked.system) {
        if told(asked.topology, node) == Told::Down && !dead.contains(node) {
            facts.health = Health::Up;
        }
    }
    for node in dead {
        nodes
            .entry(node.clone())
            .or_insert_with(|| NodeFacts { health: Health::Down, ..NodeFacts::default() });
    }
    let wanted: BTreeMap<&PartitionId, &Repair> =
        repairs.iter().map(|repair| (&repair.lack.partition, *repair)).collect();
    let subsets = Arc::make_mut(&mut topology.subsets);
    let partitions = Arc::make_mut(&mut topology.partitions);
    subsets.retain(|partition, subset| {
        subset.retain(|node| !dead.contains(node));
        if let Some(repair) = wanted.get(partition) {
            *subset = repair.lack.survivors.iter().chain([&repair.dead]).cloned().collect();
        }
        subset.extend(decided.get(partition).and_then(|target| target.as_ref().ok()).cloned());
        lead(partitions.get_mut(partition), subset);
        !subset.is_empty()
    });
    partitions.retain(|partition, _| subsets.contains_key(partition));
    topology
}

/// Somebody who holds a partition leads it.
fn lead(partition: Option<&mut Partition>, subset: &BTreeSet<NodeId>) {
    if let (Some(partition), Some(first)) = (partition, subset.first())
        && !subset.contains(&partition.leader)
    {
        partition.leader = first.clone();
    }
}

#[cfg(test)]
mod tests;
