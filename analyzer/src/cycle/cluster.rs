//! The cluster as a cycle takes it: topology, failure history and operators' words put together.
//!
//! Nodes and partitions that only telemetry knows are part of it, without capacity, domains or size: a cluster that
//! nobody described has exposures, if no headroom.

use crate::topology::Topology;
use isotherm_cycle::Shifts;
use isotherm_cycle::cluster::{
    Cluster, DomainFacts, Hazard, HazardSource, Kept, NodeFacts, NodeState, PartitionFacts, Shift,
};
use isotherm_migration::Spec;
use isotherm_model::{NodeId, PartitionId, Timestamp};
use isotherm_proto::{Health, ShiftReads};
use isotherm_risk::{Basis, HazardError, HazardPolicy, Hazards, NodeClass, Override, OverrideRate, Tally};
use isotherm_runner::shift::What;
use isotherm_store::{Histories, NodeHistory, OutageCause, StepCounts, Watched, Word};
use std::collections::{BTreeMap, BTreeSet};

/// Failures of a whole domain per year that are assumed where nothing is known: a rack's switch or power every ten
/// years.
const DOMAIN_PRIOR_PER_YEAR: f64 = 0.1;

const HOUR_MS: f64 = 3_600_000.0;

/// What a cluster is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) histories: &'a Histories,
    /// Operators' words that stand.
    pub(crate) words: &'a [&'a isotherm_store::Override],
    /// The step that is judged.
    pub(crate) counts: &'a StepCounts,
    /// Shifts of reads that are in force, by partition.
    pub(crate) shifts: &'a [isotherm_runner::Shift],
    /// What was begun, and is in no count yet. Of a partition the first counts.
    pub(crate) coming: &'a [Coming],
    pub(crate) policy: &'a HazardPolicy,
    pub(crate) now: Timestamp,
}

/// Something that was begun of a partition, or waits to be.
#[derive(Debug, Clone)]
pub(crate) enum Coming {
    /// A replica of it is moved, or made again.
    Move(Spec),
    /// Its reads are shifted.
    Shift(isotherm_runner::Shift),
}

impl Coming {
    fn partition(&self) -> &PartitionId {
        match self {
            Self::Move(spec) => &spec.partition,
            Self::Shift(shift) => &shift.partition,
        }
    }

    /// As a cycle takes it. `None` of a move whose target is a holder already, so that its reads are counted, and where
    /// nobody knows the nodes.
    fn fact(
        &self,
        holders: &[u32],
        place: impl Fn(&NodeId) -> Option<u32>,
    ) -> Option<isotherm_cycle::cluster::Coming> {
        use isotherm_cycle::cluster::Coming as Fact;
        Some(match self {
            Self::Move(spec) => {
                let to = place(&spec.target).filter(|to| !holders.contains(to))?;
                Fact::Move { from: place(spec.origin.node())?, to }
            }
            Self::Shift(shift) => match &shift.what {
                What::Lead { to } => Fact::Lead { to: place(to)? },
                What::Drain { node } => Fact::Drain { from: place(node)? },
            },
        })
    }
}

/// Puts a cluster together.
///
/// # Errors
/// A policy or an operator's word that cannot be.
pub(crate) fn assemble(sources: &Sources<'_>) -> Result<Cluster, HazardError> {
    let seen = sources.counts.nodes.iter().map(|counts| &counts.node).filter(|node| !node.is_host());
    let ids: BTreeSet<&NodeId> = sources.topology.nodes.keys().chain(seen).collect();
    let ids: Vec<&NodeId> = ids.into_iter().collect();
    let (domains, of_node) = domains(sources.topology, &ids);
    let (hazards, tallies) = node_hazards(sources, &ids)?;
    let domain_hazards = domain_hazards(sources, &domains, &of_node, &tallies)?;
    let facts = |(at, id): (usize, &&NodeId)| {
        let facts = sources.topology.nodes.get(*id);
        NodeFacts {
            system: id.system().to_string(),
            name: id.name().to_owned(),
            class: facts.and_then(|facts| facts.class.clone()).unwrap_or_default(),
            domains: of_node[at].clone(),
            capacity_per_s: facts
                .and_then(|facts| facts.load_capacity_ops_per_s)
                .map(|capacity| capacity as f64),
            capacity_bytes: facts.and_then(|facts| facts.capacity_bytes),
            state: state(sources, id),
            shifts: shifts(sources.topology, id),
            hazard: hazard(&hazards.of[at]),
            failures: failures(sources.histories.nodes.get(*id)),
            observed_h: sources.histories.nodes.get(*id).map_or(0.0, NodeHistory::observed_h),
        }
    };
    Ok(Cluster {
        revision: sources.topology.revision,
        nodes: ids.iter().enumerate().map(facts).collect(),
        partitions: partitions(sources, &ids),
        domains: domains
            .into_iter()
            .zip(&domain_hazards.of)
            .map(|(name, own)| DomainFacts { name, hazard: hazard(own) })
            .collect(),
    })
}

fn shifts(topology: &Topology, node: &NodeId) -> Shifts {
    match topology.sources.get(node.system()).map(|source| source.shift_reads) {
        Some(ShiftReads::LeaderSwitch) => Shifts::Lead,
        Some(ShiftReads::DrainReplica) => Shifts::Drain,
        Some(ShiftReads::None) | None => Shifts::None,
    }
}

/// Where the topology does not say, a node is up that had processes and was watched for all of the step.
fn state(sources: &Sources<'_>, id: &NodeId) -> NodeState {
    let counts = sources.counts.nodes.binary_search_by(|counts| counts.node.cmp(id)).ok();
    let counts = counts.map(|at| &sources.counts.nodes[at]);
    let works = counts.is_some_and(|counts| {
        counts.watched == Watched::Whole && counts.processes.is_some_and(|processes| processes > 0)
    });
    match sources.topology.health(id) {
        Some(Health::Up) => NodeState::Up,
        Some(Health::Draining) => NodeState::Draining,
        Some(Health::Down) => NodeState::Down,
        Some(Health::Unknown) | None if works => NodeState::Up,
        Some(Health::Unknown) | None => NodeState::Unknown,
    }
}

/// All failure domains by their whole names, and those of each node, outermost first.
fn domains(topology: &Topology, ids: &[&NodeId]) -> (Vec<String>, Vec<Vec<u32>>) {
    let name = |id: &NodeId, path: &[String]| format!("{}:{}", id.system(), path.join("/"));
    let of = |id: &&NodeId| -> Vec<String> {
        let Some(facts) = topology.nodes.get(*id) else { return Vec::new() };
        (1..=facts.domains.len()).map(|depth| name(id, &facts.domains[..depth])).collect()
    };
    let names: Vec<Vec<String>> = ids.iter().map(of).collect();
    let all: BTreeSet<&String> = names.iter().flatten().collect();
    let places: BTreeMap<&String, u32> = all.iter().copied().zip(0..).collect();
    let of_node = names.iter().map(|names| names.iter().map(|name| places[name]).collect()).collect();
    (all.into_iter().cloned().collect(), of_node)
}

/// A weight that halves with age.
fn weight(sources: &Sources<'_>, at: Timestamp) -> f64 {
    let age_h = sources.now.as_ms().saturating_sub(at.as_ms()) as f64 / HOUR_MS;
    (-age_h / (24.0 * sources.policy.half_life_days)).exp2()
}

fn node_hazards(sources: &Sources<'_>, ids: &[&NodeId]) -> Result<(Hazards, Vec<Tally>), HazardError> {
    let tally = |id: &&NodeId| {
        let Some(history) = sources.histories.nodes.get(*id) else {
            return Tally { failures: 0.0, exposure_h: 0.0 };
        };
        let failed = |outage: &&isotherm_store::Outage| {
            outage.cause == OutageCause::Failure && outage.observed_before && outage.domain.is_none()
        };
        let days = history.observed_h_by_day();
        Tally {
            failures: history.outages.iter().filter(failed).map(|outage| weight(sources, outage.from)).sum(),
            exposure_h: days.iter().map(|(day, hours)| hours * weight(sources, *day)).sum(),
        }
    };
    let tallies: Vec<Tally> = ids.iter().map(tally).collect();
    let names: Vec<(&str, &str)> = ids.iter().map(|id| class(sources.topology, id)).collect();
    let distinct: BTreeSet<_> = names.iter().copied().collect();
    let numbers: BTreeMap<_, _> = distinct.into_iter().zip((0..).map(NodeClass)).collect();
    let classes: Vec<NodeClass> = names.iter().map(|name| numbers[name]).collect();
    let overrides: Vec<Override> = sources
        .words
        .iter()
        .filter_map(|word| {
            let subject = ids.binary_search(&&word.node).ok()?;
            Some(Override {
                subject: subject as u32,
                rate: match word.word {
                    Word::PerHour(rate) => OverrideRate::PerHour(rate),
                    Word::Factor(factor) => OverrideRate::Factor(factor),
                },
                reason: word.reason.clone(),
                until: Some(word.until),
            })
        })
        .collect();
    let hazards = Hazards::estimate(&tallies, &classes, &overrides, sources.now, sources.policy)?;
    Ok((hazards, tallies))
}

/// Hardware that fails alike: of one system and class. Nodes of which no class is known are one.
fn class<'a>(topology: &'a Topology, id: &'a NodeId) -> (&'a str, &'a str) {
    let class = topology.nodes.get(id).and_then(|facts| facts.class.as_deref());
    (id.system().as_str(), class.unwrap_or_default())
}

/// Failures of whole domains, by their depth as a class. A domain was exposed as long as its nodes were on average.
fn domain_hazards(
    sources: &Sources<'_>,
    domains: &[String],
    of_node: &[Vec<u32>],
    nodes: &[Tally],
) -> Result<Hazards, HazardError> {
    let mut tallies = vec![Tally { failures: 0.0, exposure_h: 0.0 }; domains.len()];
    let mut members = vec![0_u32; domains.len()];
    for (own, node) in of_node.iter().zip(nodes) {
        for domain in own {
            tallies[*domain as usize].exposure_h += node.exposure_h;
            members[*domain as usize] += 1;
        }
    }
    for (tally, members) in tallies.iter_mut().zip(&members) {
        tally.exposure_h /= f64::from((*members).max(1));
    }
    for event in &sources.histories.domain_events {
        let name = format!("{}:{}", event.system, event.domain.join("/"));
        if let Ok(at) = domains.binary_search(&name) {
            tallies[at].failures += weight(sources, event.from);
        }
    }
    let depth = |name: &String| NodeClass(name.matches('/').count() as u32);
    let classes: Vec<NodeClass> = domains.iter().map(depth).collect();
    let policy = HazardPolicy { prior_per_year: DOMAIN_PRIOR_PER_YEAR, ..sources.policy.clone() };
    Hazards::estimate(&tallies, &classes, &[], sources.now, &policy)
}

fn hazard(estimated: &isotherm_risk::Hazard) -> Hazard {
    Hazard {
        per_hour: estimated.per_hour(),
        sd_per_hour: estimated.sd_per_hour(),
        over_class: estimated.over_class(),
        source: match estimated.basis {
            Basis::Prior => HazardSource::Prior,
            Basis::Class | Basis::Own => HazardSource::Observed,
            Basis::Override(_) => HazardSource::Override,
        },
    }
}

fn failures(history: Option<&NodeHistory>) -> u64 {
    let failed = |outage: &&isotherm_store::Outage| outage.cause == OutageCause::Failure;
    history.map_or(0, |history| history.outages.iter().filter(failed).count() as u64)
}

/// Partitions of the topology, and those that were counted without being named by it.
fn partitions(sources: &Sources<'_>, ids: &[&NodeId]) -> Vec<PartitionFacts> {
    let place = |id: &NodeId| ids.binary_search(&id).ok().map(|at| at as u32);
    let counted = sources.counts.partitions.iter().map(|counts| (&counts.partition, Some(counts)));
    let named = sources.topology.subsets.keys().map(|id| (id, None));
    let mut all: BTreeMap<_, Option<_>> = named.collect();
    for (id, counts) in counted {
        all.insert(id, counts);
    }
    let mut coming: BTreeMap<&PartitionId, &Coming> = BTreeMap::new();
    for one in sources.coming {
        coming.entry(one.partition()).or_insert(one);
    }
    let facts = |(id, counts): (&PartitionId, Option<&isotherm_store::PartitionCounts>)| {
        let more = sources.topology.partitions.get(id);
        let holders: Vec<u32> = match sources.topology.subsets.get(id) {
            Some(subset) => {
                let leader = more.map(|more| &more.leader);
                let first = leader.and_then(place);
                let others = subset.iter().filter(|node| Some(*node) != leader).filter_map(place);
                first.into_iter().chain(others).collect()
            }
            None => counts.map_or_else(Vec::new, |counts| {
                let shares = sources.counts.shares_of(counts);
                shares
                    .iter()
                    .filter_map(|share| place(&sources.counts.nodes[share.node as usize].node))
                    .collect()
            }),
        };
        PartitionFacts {
            system: id.system().to_string(),
            name: id.name().to_owned(),
            replicas: u8::try_from(holders.len()).unwrap_or(u8::MAX),
            coming: coming.get(id).and_then(|coming| coming.fact(&holders, place)),
            holders,
            size_bytes: more.and_then(|more| more.size_bytes),
            moving: counts.is_some_and(|counts| counts.moving),
            pinned: false,
            shift: sources
                .shifts
                .binary_search_by(|shift| shift.partition.cmp(id))
                .ok()
                .and_then(|at| shift(&sources.shifts[at], place)),
        }
    };
    all.into_iter().map(facts).collect()
}

/// A shift as a cycle takes it; `None` where nobody knows the node that reads are kept off.
fn shift(shift: &isotherm_runner::Shift, place: impl Fn(&NodeId) -> Option<u32>) -> Option<Shift> {
    let kept = match shift.what {
        What::Lead { .. } => Kept::Led,
        What::Drain { .. } => Kept::Drained,
    };
    Some(Shift { node: place(&shift.undo.as_ref()?.0)?, kept, since_ms: shift.since_ms?, gray: shift.gray })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_cycle::cluster::Coming as Fact;
    use isotherm_migration::{Capabilities, Fence, MigrationId, Origin, Policy, Revision, Switch};
    use isotherm_model::SystemId;

    #[test]
    fn a_move_is_on_its_way_until_its_target_is_a_holder() {
        let system = SystemId::new("s").unwrap();
        let node = |name: &str| NodeId::new(system.clone(), name).unwrap();
        let place =
            |id: &NodeId| ["a", "b", "c"].iter().position(|name| *name == id.name()).map(|at| at as u32);
        let coming = |target: &str| {
            Coming::Move(Spec {
                id: MigrationId::new("m").unwrap(),
                partition: PartitionId::new(system.clone(), "p").unwrap(),
                origin: Origin::Repair { dead: node("a") },
                target: node(target),
                revision: Revision(1),
                capabilities: Capabilities {
                    switch: Switch::Gated,
                    fence: Fence::AtSwitch,
                    repair_from_replica: true,
                    reverse: false,
                },
                policy: Policy::default(),
            })
        };
        assert_eq!(coming("c").fact(&[0, 1], place), Some(Fact::Move { from: 0, to: 2 }));
        assert_eq!(coming("c").fact(&[1, 2], place), None);
        assert_eq!(coming("elsewhere").fact(&[0, 1], place), None);
    }
}
