//! The `[[topology]]` tables.
//!
//! ```toml
//! [[topology]]
//! system = "seaweedfs"
//! [[topology.node]]
//! name = "10.77.0.1:8080"
//! addresses = ["10.77.0.1:8080"]   # where it serves; default: its name, if that is an address
//! domains = ["dc1", "rackA"]       # failure domains, outermost first
//! capacity = "8TiB"                # bytes it can hold; default: unknown
//! load_capacity = 5000             # client reads and writes per second; default: unknown
//! class = "hdd-2019"               # hardware that fails alike; default: unknown
//! [[topology.partition]]
//! name = "1"
//! size = "30GiB"                   # bytes on each node; default: unknown
//! nodes = ["10.77.0.1:8080"]       # the first leads
//! ```

use super::{Problem, invalid, twice};
use crate::topology::{Source, Topology};
use bytesize::ByteSize;
use isotherm_model::{HOST_SYSTEM, NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, NodeFacts, PartitionFacts};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
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
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    domains: Vec<Spanned<String>>,
    capacity: Option<Spanned<String>>,
    load_capacity: Option<Spanned<u64>>,
    class: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPartition {
    name: Spanned<String>,
    size: Option<Spanned<String>>,
    nodes: Spanned<Vec<Spanned<String>>>,
}

const SYSTEM: &str = "topology.system";
const NODE: &str = "topology.node.name";
const PARTITION: &str = "topology.partition.name";
const SUBSET: &str = "topology.partition.nodes";

/// Bytes that are believed: what fits the signed numbers of databases, with room.
const MAX_BYTES: u64 = 1 << 62;

/// Checks that names are names, occur once, and that subsets are of known nodes and not empty.
pub(super) fn checked(raw: Vec<RawSystem>) -> Result<Topology, Problem> {
    let mut topology = Topology::default();
    for raw in raw {
        let system = SystemId::new(raw.system.get_ref()).map_err(invalid(SYSTEM, &raw.system))?;
        if system.as_str() == HOST_SYSTEM {
            let message = format!("{HOST_SYSTEM:?} stands for the hosts of agents, and has no topology");
            return Err(Problem::new(raw.system.span(), SYSTEM, message));
        }
        if topology.sources.insert(system.clone(), Source::configured()).is_some() {
            return Err(twice(SYSTEM, &raw.system));
        }
        for node in raw.node {
            let id = NodeId::new(system.clone(), node.name.get_ref()).map_err(invalid(NODE, &node.name))?;
            let name = node.name.clone();
            if Arc::make_mut(&mut topology.nodes).insert(id, facts(node)?).is_some() {
                return Err(twice(NODE, &name));
            }
        }
        for partition in raw.partition {
            let id = PartitionId::new(system.clone(), partition.name.get_ref())
                .map_err(invalid(PARTITION, &partition.name))?;
            let nodes = subset(&topology, &system, &partition.nodes)?;
            if topology.subsets.contains_key(&id) {
                return Err(twice(PARTITION, &partition.name));
            }
            let size_bytes = partition.size.map(|raw| bytes("topology.partition.size", &raw)).transpose()?;
            topology.set_partition(id, PartitionFacts { size_bytes, nodes, epoch: 0, locators: Vec::new() });
        }
    }
    Ok(topology)
}

fn facts(raw: RawNode) -> Result<NodeFacts, Problem> {
    const LOAD: &str = "topology.node.load_capacity";
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for raw in &raw.addresses {
        const KEY: &str = "topology.node.addresses";
        let address = raw.get_ref().parse().map_err(|_| {
            let message =
                format!("{:?} is not an address and port, such as \"10.0.0.1:8080\"", raw.get_ref());
            Problem::new(raw.span(), KEY, message)
        })?;
        if addresses.contains(&address) {
            return Err(twice(KEY, raw));
        }
        addresses.push(address);
    }
    Ok(NodeFacts {
        addresses,
        domains: raw
            .domains
            .iter()
            .map(|domain| name("topology.node.domains", domain))
            .collect::<Result<_, _>>()?,
        capacity_bytes: raw.capacity.map(|raw| bytes("topology.node.capacity", &raw)).transpose()?,
        load_capacity_ops_per_s: raw.load_capacity.map(|raw| rate(LOAD, &raw)).transpose()?,
        class: raw.class.map(|class| name("topology.node.class", &class)).transpose()?,
        health: Health::Unknown,
    })
}

/// Accesses per second.
pub(super) fn rate(key: &'static str, raw: &Spanned<u64>) -> Result<u64, Problem> {
    match *raw.get_ref() {
        0 => Err(Problem::new(raw.span(), key, "is 0; leave it out where it is not known")),
        ops => Ok(ops),
    }
}

/// A name that is not an id: it is bounded like one.
pub(super) fn name(key: &'static str, raw: &Spanned<String>) -> Result<String, Problem> {
    match SystemId::new(raw.get_ref()) {
        Ok(_) => Ok(raw.get_ref().clone()),
        Err(_) => {
            let message = format!("{:?} is no name of 1 to 256 bytes", raw.get_ref());
            Err(Problem::new(raw.span(), key, message))
        }
    }
}

fn bytes(key: &'static str, raw: &Spanned<String>) -> Result<u64, Problem> {
    match raw.get_ref().parse::<ByteSize>() {
        Ok(ByteSize(bytes)) if bytes <= MAX_BYTES => Ok(bytes),
        Ok(_) | Err(_) => {
            let message = format!("{:?} is not a size such as \"8TiB\"", raw.get_ref());
            Err(Problem::new(raw.span(), key, message))
        }
    }
}

/// The nodes in the order given.
fn subset(
    topology: &Topology,
    system: &SystemId,
    raw: &Spanned<Vec<Spanned<String>>>,
) -> Result<Vec<NodeId>, Problem> {
    if raw.get_ref().is_empty() {
        return Err(Problem::new(raw.span(), SUBSET, "is empty: a partition is held by at least one node"));
    }
    let mut seen = BTreeSet::new();
    let mut subset = Vec::new();
    for name in raw.get_ref() {
        let node = NodeId::new(system.clone(), name.get_ref()).map_err(invalid(SUBSET, name))?;
        if !topology.nodes.contains_key(&node) {
            let message = format!("{:?} is not a node of {system}", name.get_ref());
            return Err(Problem::new(name.span(), SUBSET, message));
        }
        if !seen.insert(node.clone()) {
            return Err(twice(SUBSET, name));
        }
        subset.push(node);
    }
    Ok(subset)
}
