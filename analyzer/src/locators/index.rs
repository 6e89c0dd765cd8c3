//! The topology by node: which partitions lie there, and where. Pure.
//!
//! What did not change is shared with the index before, so that a stream sees at a glance that it has nothing to tell.

use crate::topology::{Freshness, Origin, Partition, Topology};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::Locator;
use isotherm_store::Subsets;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// What lies on a node: each partition with its locators, of which some may be of other nodes.
pub(crate) type Held = BTreeMap<PartitionId, Arc<[Locator]>>;

/// The locators of a partition that hold on a node.
pub(super) fn on<'a>(node: &'a NodeId, locators: &'a [Locator]) -> impl Iterator<Item = &'a Locator> {
    locators.iter().filter(move |locator| locator.node.as_ref().is_none_or(|of| of == node))
}

/// Where partitions lie, by node.
#[derive(Debug, Default)]
pub(crate) struct Index {
    revision: u64,
    nodes: BTreeMap<NodeId, Arc<Held>>,
    /// Systems of whose adapter nothing was heard since the analyzer's start: nobody can say what is so.
    silent: BTreeSet<SystemId>,
    nothing: Arc<Held>,
    /// What it was made from, without keeping it: a topology that nobody holds is changed in place.
    of: (Weak<Subsets>, Weak<BTreeMap<PartitionId, Partition>>),
}

impl Index {
    /// Of the topology with the last change of anything here.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What lies on a node: nothing on one that nobody names. `None` if nobody can say so far.
    pub(super) fn held(&self, node: &NodeId) -> Option<&Arc<Held>> {
        if self.silent.contains(node.system()) {
            return None;
        }
        Some(self.nodes.get(node).unwrap_or(&self.nothing))
    }

    /// Whether it was made from the same: what is heard again and again changes nothing.
    pub(super) fn is_of(&self, topology: &Topology) -> bool {
        let (subsets, partitions) = &self.of;
        subsets.as_ptr() == Arc::as_ptr(&topology.subsets)
            && partitions.as_ptr() == Arc::as_ptr(&topology.partitions)
            && self.silent == silent(topology)
    }

    /// The index of a topology.
    pub(super) fn next(&self, topology: &Topology) -> Self {
        let mut fresh: BTreeMap<NodeId, Held> = BTreeMap::new();
        for (id, partition) in topology.partitions.iter().filter(|(id, _)| is_adapters(topology, id.system()))
        {
            for node in topology.subsets.get(id).into_iter().flatten() {
                // Looked up first: most nodes are there, and a name is not made for nothing.
                match fresh.get_mut(node) {
                    Some(held) => drop(held.insert(id.clone(), Arc::clone(&partition.locators))),
                    None => {
                        let held = Held::from([(id.clone(), Arc::clone(&partition.locators))]);
                        fresh.insert(node.clone(), held);
                    }
                }
            }
        }
        let shared = fresh.into_iter().map(|(node, held)| match self.nodes.get(&node) {
            Some(before) if same(&node, before, &held) => (node, Arc::clone(before)),
            Some(_) | None => (node, Arc::new(held)),
        });
        let nodes: BTreeMap<NodeId, Arc<Held>> = shared.collect();
        let silent = silent(topology);
        let unchanged = silent == self.silent
            && nodes.len() == self.nodes.len()
            && nodes
                .iter()
                .zip(&self.nodes)
                .all(|((a, now), (b, before))| a == b && Arc::ptr_eq(now, before));
        Self {
            revision: if unchanged && self.revision > 0 { self.revision } else { topology.revision },
            nodes,
            silent,
            nothing: Arc::clone(&self.nothing),
            of: (Arc::downgrade(&topology.subsets), Arc::downgrade(&topology.partitions)),
        }
    }
}

/// The configuration names no places.
fn is_adapters(topology: &Topology, system: &SystemId) -> bool {
    topology.sources.get(system).is_some_and(|source| match source.origin {
        Origin::Adapter { .. } => true,
        Origin::Configuration => false,
    })
}

fn silent(topology: &Topology) -> BTreeSet<SystemId> {
    let never = topology.sources.iter().filter(|(_, source)| source.freshness == Freshness::Never);
    never.map(|(system, _)| system.clone()).collect()
}

fn same(node: &NodeId, before: &Held, now: &Held) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|((a, before), (b, now))| a == b && same_on(node, before, now))
}

/// Whether locators of a partition say the same of a node.
pub(super) fn same_on(node: &NodeId, before: &Arc<[Locator]>, now: &Arc<[Locator]>) -> bool {
    Arc::ptr_eq(before, now) || on(node, before).eq(on(node, now))
}
