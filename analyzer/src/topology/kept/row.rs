//! A topology in a row, or what differs from another one.

use super::super::{Partition, Source, Topology};
use anyhow::Result;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, NodeFacts, PartitionFacts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// System and name.
type Name = (String, String);

/// What is to be set and what is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    revision: u64,
    systems: Vec<String>,
    gone_partitions: Vec<Name>,
    gone_nodes: Vec<Name>,
    nodes: Vec<Node>,
    partitions: Vec<Held>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Node {
    name: Name,
    domains: Vec<String>,
    capacity_bytes: Option<u64>,
    load_capacity_ops_per_s: Option<u64>,
    class: Option<String>,
    health: Told,
}

/// Of a node, as it was judged then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Told {
    Unknown,
    Up,
    Down,
    Draining,
}

#[derive(Debug, Serialize, Deserialize)]
struct Held {
    name: Name,
    /// The leader first.
    nodes: Vec<String>,
    size_bytes: Option<u64>,
    epoch: u64,
}

/// The same topology with every node's health as it was judged, so that how fresh it was need not be known again,
/// and without what no decision looks at.
pub(super) fn judged(topology: &Topology) -> Topology {
    let nodes = topology.nodes.iter().map(|(id, facts)| {
        let health = topology.health(id).unwrap_or_default();
        (id.clone(), NodeFacts { health, addresses: Vec::new(), ..facts.clone() })
    });
    let sources = topology.sources.keys().map(|system| (system.clone(), Source::recorded()));
    Topology {
        revision: topology.revision,
        nodes: Arc::new(nodes.collect()),
        subsets: Arc::clone(&topology.subsets),
        partitions: Arc::clone(&topology.partitions),
        sources: sources.collect(),
    }
}

impl Row {
    /// What makes `before` (or nothing) `after`.
    pub(super) fn between(before: Option<&Topology>, after: &Topology) -> Self {
        let nothing = Topology::default();
        let before = before.unwrap_or(&nothing);
        let same = |id: &&PartitionId| {
            let (old, new) = (&before.partitions, &after.partitions);
            before.subsets.get(id) == after.subsets.get(id)
                && old.get(id).map(place) == new.get(id).map(place)
        };
        let shared = Arc::ptr_eq(&before.subsets, &after.subsets)
            && Arc::ptr_eq(&before.partitions, &after.partitions);
        let changed = after.partitions.keys().filter(|_| !shared).filter(|id| !same(id));
        let nodes = after.nodes.iter().filter(|(id, facts)| before.nodes.get(id) != Some(facts));
        Self {
            revision: after.revision,
            systems: after.sources.keys().map(ToString::to_string).collect(),
            gone_partitions: gone(&before.partitions, &after.partitions, |id| {
                (id.system().to_string(), id.name().to_owned())
            }),
            gone_nodes: gone(&before.nodes, &after.nodes, |id| {
                (id.system().to_string(), id.name().to_owned())
            }),
            nodes: nodes.map(|(id, facts)| Node::of(id, facts)).collect(),
            partitions: changed.filter_map(|id| Held::of(id, after)).collect(),
        }
    }

    /// Makes the topology before it the one after it. Fails where a name is none.
    pub(super) fn apply(self, topology: &mut Topology) -> Result<()> {
        topology.revision = self.revision;
        topology.sources.clear();
        for system in self.systems {
            topology.sources.insert(SystemId::new(system)?, Source::recorded());
        }
        for (system, name) in self.gone_partitions {
            let id = PartitionId::new(SystemId::new(system)?, name)?;
            Arc::make_mut(&mut topology.subsets).remove(&id);
            Arc::make_mut(&mut topology.partitions).remove(&id);
        }
        let nodes = Arc::make_mut(&mut topology.nodes);
        for (system, name) in self.gone_nodes {
            nodes.remove(&NodeId::new(SystemId::new(system)?, name)?);
        }
        for node in self.nodes {
            let (id, facts) = node.facts()?;
            nodes.insert(id, facts);
        }
        for held in self.partitions {
            let (id, facts) = held.facts()?;
            topology.set_partition(id, facts);
        }
        Ok(())
    }
}

/// What decisions look at, beside the subset.
fn place(partition: &Partition) -> (&NodeId, Option<u64>, u64) {
    (&partition.leader, partition.size_bytes, partition.epoch)
}

fn gone<K: Ord, V>(
    before: &Arc<BTreeMap<K, V>>,
    after: &Arc<BTreeMap<K, V>>,
    name: impl Fn(&K) -> Name,
) -> Vec<Name> {
    if Arc::ptr_eq(before, after) {
        return Vec::new();
    }
    before.keys().filter(|id| !after.contains_key(id)).map(name).collect()
}

impl Node {
    fn of(id: &NodeId, facts: &NodeFacts) -> Self {
        Self {
            name: (id.system().to_string(), id.name().to_owned()),
            domains: facts.domains.clone(),
            capacity_bytes: facts.capacity_bytes,
            load_capacity_ops_per_s: facts.load_capacity_ops_per_s,
            class: facts.class.clone(),
            health: match facts.health {
                Health::Unknown => Told::Unknown,
                Health::Up => Told::Up,
                Health::Down => Told::Down,
                Health::Draining => Told::Draining,
            },
        }
    }

    fn facts(self) -> Result<(NodeId, NodeFacts)> {
        let (system, name) = self.name;
        let facts = NodeFacts {
            addresses: Vec::new(),
            domains: self.domains,
            capacity_bytes: self.capacity_bytes,
            load_capacity_ops_per_s: self.load_capacity_ops_per_s,
            class: self.class,
            health: match self.health {
                Told::Unknown => Health::Unknown,
                Told::Up => Health::Up,
                Told::Down => Health::Down,
                Told::Draining => Health::Draining,
            },
        };
        Ok((NodeId::new(SystemId::new(system)?, name)?, facts))
    }
}

impl Held {
    /// `None` for a partition without a subset, of which there is none.
    fn of(id: &PartitionId, topology: &Topology) -> Option<Self> {
        let (subset, more) = (topology.subsets.get(id)?, topology.partitions.get(id)?);
        let others = subset.iter().filter(|node| **node != more.leader);
        let nodes = std::iter::once(&more.leader).chain(others).map(|node| node.name().to_owned());
        let name = (id.system().to_string(), id.name().to_owned());
        Some(Self { name, nodes: nodes.collect(), size_bytes: more.size_bytes, epoch: more.epoch })
    }

    fn facts(self) -> Result<(PartitionId, PartitionFacts)> {
        let (system, name) = self.name;
        let system = SystemId::new(system)?;
        let nodes = self.nodes.into_iter().map(|node| NodeId::new(system.clone(), node));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let facts =
            PartitionFacts { size_bytes: self.size_bytes, nodes, epoch: self.epoch, locators: Vec::new() };
        Ok((PartitionId::new(system, name)?, facts))
    }
}
