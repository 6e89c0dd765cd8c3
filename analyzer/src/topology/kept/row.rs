//! A topology in a row, or what differs from another one.

use super::super::{Partition, Source, Topology};
use anyhow::Result;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, NodeFacts, PartitionFacts, ShiftReads};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// System and name.
type Name = (String, String);

/// What is to be set and what is gone.
#[derive(Debug)]
pub(super) struct Row {
    first: First,
    /// `None` in rows that were written before there was such a thing.
    more: Option<More>,
}

/// What follows the first part of a row.
#[derive(Debug, Serialize, Deserialize)]
struct More {
    /// Of each system, in the order of the first part.
    shifting: Vec<Shifting>,
}

/// How a system shifts reads.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Shifting {
    None,
    LeaderSwitch,
    DrainReplica,
}

#[derive(Debug, Serialize, Deserialize)]
struct First {
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
    let recorded = |source: &Source| Source::recorded(source.shift_reads);
    let sources = topology.sources.iter().map(|(system, source)| (system.clone(), recorded(source)));
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
        let shifting = after.sources.values().map(|source| Shifting::of(source.shift_reads)).collect();
        let first = First {
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
        };
        Self { first, more: Some(More { shifting }) }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = postcard::to_stdvec(&self.first)?;
        if let Some(more) = &self.more {
            bytes = postcard::to_extend(more, bytes)?;
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (first, rest): (First, &[u8]) = postcard::take_from_bytes(bytes)?;
        let more = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest)?) };
        Ok(Self { first, more })
    }

    /// Makes the topology before it the one after it. Fails where a name is none.
    pub(super) fn apply(self, topology: &mut Topology) -> Result<()> {
        let First { revision, systems, gone_partitions, gone_nodes, nodes, partitions } = self.first;
        topology.revision = revision;
        topology.sources.clear();
        let shifting = self.more.map(|more| more.shifting);
        for (number, system) in systems.into_iter().enumerate() {
            let told = shifting.as_ref().and_then(|all| all.get(number).copied());
            let source = Source::recorded(told.unwrap_or(Shifting::None).into());
            topology.sources.insert(SystemId::new(system)?, source);
        }
        for (system, name) in gone_partitions {
            let id = PartitionId::new(SystemId::new(system)?, name)?;
            Arc::make_mut(&mut topology.subsets).remove(&id);
            Arc::make_mut(&mut topology.partitions).remove(&id);
        }
        let known = Arc::make_mut(&mut topology.nodes);
        for (system, name) in gone_nodes {
            known.remove(&NodeId::new(SystemId::new(system)?, name)?);
        }
        for node in nodes {
            let (id, facts) = node.facts()?;
            known.insert(id, facts);
        }
        for held in partitions {
            let (id, facts) = held.facts()?;
            topology.set_partition(id, facts);
        }
        Ok(())
    }
}

impl Shifting {
    fn of(told: ShiftReads) -> Self {
        match told {
            ShiftReads::None => Self::None,
            ShiftReads::LeaderSwitch => Self::LeaderSwitch,
            ShiftReads::DrainReplica => Self::DrainReplica,
        }
    }
}

impl From<Shifting> for ShiftReads {
    fn from(kept: Shifting) -> Self {
        match kept {
            Shifting::None => Self::None,
            Shifting::LeaderSwitch => Self::LeaderSwitch,
            Shifting::DrainReplica => Self::DrainReplica,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_from_before_shifts_were_kept_can_be_read() {
        let system = SystemId::new("s").unwrap();
        let source = Source::recorded(ShiftReads::LeaderSwitch);
        let told = Topology { sources: [(system.clone(), source)].into(), ..Topology::default() };
        let shifts = |row: &Row| {
            let mut topology = Topology::default();
            Row::decode(&row.encode().unwrap()).unwrap().apply(&mut topology).unwrap();
            topology.sources[&system].shift_reads
        };
        let mut row = Row::between(None, &told);
        assert_eq!(shifts(&row), ShiftReads::LeaderSwitch);
        row.more = None;
        assert_eq!(shifts(&row), ShiftReads::None);
    }
}
