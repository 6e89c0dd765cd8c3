//! The `[[topology]]` tables.

use super::Problem;
use crate::topology::Topology;
use isotherm_model::{InvalidName, NodeId, PartitionId, SystemId};
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSystem {
    system: Spanned<String>,
    #[serde(default)]
    node: Vec<RawNode>,
    #[serde(default)]
    partition: Vec<RawPartition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    #[serde(default)]
    domains: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPartition {
    name: Spanned<String>,
    nodes: Spanned<Vec<Spanned<String>>>,
}

const SYSTEM: &str = "topology.system";
const NODE: &str = "topology.node.name";
const PARTITION: &str = "topology.partition.name";
const SUBSET: &str = "topology.partition.nodes";

/// Checks that names are names, occur once, and that subsets are of known nodes and not empty.
pub(super) fn checked(raw: Vec<RawSystem>) -> Result<Topology, Problem> {
    let mut topology = Topology::default();
    let mut systems = BTreeSet::new();
    for raw in raw {
        let system = SystemId::new(raw.system.get_ref()).map_err(invalid(SYSTEM, &raw.system))?;
        if !systems.insert(system.clone()) {
            return Err(twice(SYSTEM, &raw.system));
        }
        for node in raw.node {
            let id = NodeId::new(system.clone(), node.name.get_ref()).map_err(invalid(NODE, &node.name))?;
            if topology.nodes.insert(id, node.domains).is_some() {
                return Err(twice(NODE, &node.name));
            }
        }
        for partition in raw.partition {
            let id = PartitionId::new(system.clone(), partition.name.get_ref())
                .map_err(invalid(PARTITION, &partition.name))?;
            let subset = subset(&topology, &system, &partition.nodes)?;
            if topology.subsets.insert(id, subset).is_some() {
                return Err(twice(PARTITION, &partition.name));
            }
        }
    }
    Ok(topology)
}

fn subset(
    topology: &Topology,
    system: &SystemId,
    raw: &Spanned<Vec<Spanned<String>>>,
) -> Result<BTreeSet<NodeId>, Problem> {
    if raw.get_ref().is_empty() {
        return Err(Problem::new(raw.span(), SUBSET, "is empty: a partition is held by at least one node"));
    }
    let mut subset = BTreeSet::new();
    for name in raw.get_ref() {
        let node = NodeId::new(system.clone(), name.get_ref()).map_err(invalid(SUBSET, name))?;
        if !topology.nodes.contains_key(&node) {
            let message = format!("{:?} is not a node of {system}", name.get_ref());
            return Err(Problem::new(name.span(), SUBSET, message));
        }
        if !subset.insert(node) {
            return Err(twice(SUBSET, name));
        }
    }
    Ok(subset)
}

fn invalid(key: &'static str, raw: &Spanned<String>) -> impl FnOnce(InvalidName) -> Problem {
    let span = raw.span();
    move |error| Problem::new(span, key, error.to_string())
}

fn twice(key: &'static str, raw: &Spanned<String>) -> Problem {
    Problem::new(raw.span(), key, format!("{:?} occurs twice", raw.get_ref()))
}
