//! What is known of where partitions lie, and how a message changes it. Pure.

use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Locator, Locators, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions that are remembered, counted once for each node: three times what an agent can be told to tell apart.
pub(crate) const MAX_PLACES: usize = 65_536;

/// Bytes that one of them may take on average, with names and paths of some hundred bytes.
pub(crate) const PLACE_MEAN_BYTES: usize = 512;

/// Bytes that they may take together.
const MAX_BYTES: usize = MAX_PLACES * PLACE_MEAN_BYTES;

/// What a partition takes beside its locators.
const PLACE_BYTES: usize = 256;

/// Where partitions lie, by node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    revision: u64,
    nodes: BTreeMap<NodeId, BTreeMap<PartitionId, Vec<Locator>>>,
}

/// More than is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{places} partitions of {bytes} bytes are more than the {MAX_PLACES} of {MAX_BYTES} that an agent takes"
)]
pub struct TooMuch {
    /// Partitions, counted once for each node.
    pub places: usize,
    /// Bytes of their names and locators.
    pub bytes: usize,
}

impl Known {
    /// Of the last message; 0 if there was none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What lies on a node.
    pub fn of(&self, node: &NodeId) -> impl Iterator<Item = (&PartitionId, &[Locator])> {
        let partitions = self.nodes.get(node).into_iter().flatten();
        partitions.map(|(partition, locators)| (partition, locators.as_slice()))
    }

    /// Everything, by node and partition.
    pub fn all(&self) -> impl Iterator<Item = (&NodeId, &PartitionId, &[Locator])> {
        self.nodes.iter().flat_map(|(node, partitions)| {
            partitions.iter().map(move |(partition, locators)| (node, partition, locators.as_slice()))
        })
    }

    /// What is known after a message, of these nodes; other nodes are forgotten, whatever is said of them. A
    /// partition of which only its name is said keeps its locators.
    pub fn with(&self, message: Locators, targets: &BTreeSet<NodeId>) -> Result<Self, TooMuch> {
        let Locators { revision, whole, located, removed, more: _ } = message;
        let mut nodes = self.nodes.clone();
        nodes.retain(|node, _| targets.contains(node) && !whole.contains(node));
        for Place { node, partition } in removed {
            if let Some(partitions) = nodes.get_mut(&node) {
                partitions.remove(&partition);
            }
        }
        for (Place { node, partition }, mut locators) in located {
            if !targets.contains(&node) {
                continue;
            }
            if locators.is_empty() {
                let before = self.nodes.get(&node).and_then(|partitions| partitions.get(&partition));
                locators = before.cloned().unwrap_or_default();
            }
            nodes.entry(node).or_default().insert(partition, locators);
        }
        nodes.retain(|_, partitions| !partitions.is_empty());
        let known = Self { revision, nodes };
        let places = known.nodes.values().map(BTreeMap::len).sum();
        let bytes = known.all().map(|(_, partition, at)| weight(partition, at)).sum();
        if places > MAX_PLACES || bytes > MAX_BYTES { Err(TooMuch { places, bytes }) } else { Ok(known) }
    }
}

fn weight(partition: &PartitionId, at: &[Locator]) -> usize {
    let of = |locator: &Locator| -> usize {
        let Locator { node: _, files, devices, ports, key_ranges, relations, slots } = locator;
        let files: usize = files.iter().map(|file| file.len() + size_of::<String>()).sum();
        let devices: usize = devices.iter().map(|range| range.device.len() + 48).sum();
        let keys: usize = key_ranges
            .iter()
            .map(|range| range.first.len() + range.end.as_ref().map_or(0, Vec::len) + 48)
            .sum();
        let relations: usize = relations
            .iter()
            .map(|relation| relation.database.len() + relation.schema.len() + relation.name.len() + 72)
            .sum();
        size_of::<Locator>() + files + devices + ports.len() * 2 + keys + relations + slots.len() * 4
    };
    PLACE_BYTES + partition.name().len() + at.iter().map(of).sum::<usize>()
}
