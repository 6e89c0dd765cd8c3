//! An adapter's messages as values. What cannot be is refused with the path of the field.
//!
//! The size of a message is bounded by [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES); the limits here keep each
//! entry small, so that what is kept is about as large as what was sent.

use super::{
    Capabilities, DeviceRange, Fence, Health, KeyRange, Locator, NodeFacts, PartitionFacts, Relation, SLOTS,
    ShiftReads, SlotRange, Switch, TopologyChanges, TopologyMessage, TopologyPart, VerifyMethod,
};
use crate::adapter::v1 as wire;
use crate::parse::{Malformed, known, name, unspecified, value};
use isotherm_model::{HOST_SYSTEM, NodeId, PartitionId, SystemId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

type Result<T> = std::result::Result<T, Malformed>;

/// Addresses of a node: a few networks, IPv4 and IPv6.
const MAX_ADDRESSES: usize = 16;
/// Levels of failure domains: region, zone, hall, rack, host are five.
const MAX_DOMAINS: usize = 8;
/// Nodes that hold a partition; erasure codes take a few dozen.
pub(crate) const MAX_SUBSET: usize = 256;
/// Places where a partition lies on all its nodes together, of each kind.
const MAX_PLACES: usize = 1_024;
/// Bytes of a path or a key.
const MAX_TEXT: usize = 4_096;
/// Bytes and rates that are believed: what fits the signed numbers of databases, with room.
const MAX_NUMBER: u64 = 1 << 62;

/// Checks what an adapter says of itself.
pub fn capabilities_from_wire(raw: wire::GetCapabilitiesResponse) -> Result<Capabilities> {
    let switch = match known::<wire::Switch>("capabilities.switch", raw.switch)? {
        wire::Switch::None => Switch::None,
        wire::Switch::Gated => Switch::Gated,
        wire::Switch::EngineAtomic => Switch::EngineAtomic,
        wire::Switch::Unspecified => return Err(unspecified("capabilities.switch")),
    };
    let fence = match (known::<wire::Fence>("capabilities.fence", raw.fence)?, switch) {
        (wire::Fence::AtSwitch, _) => Some(Fence::AtSwitch),
        (wire::Fence::BeforeCopy, _) => Some(Fence::BeforeCopy),
        (wire::Fence::Unspecified, Switch::None) => None,
        (wire::Fence::Unspecified, Switch::Gated | Switch::EngineAtomic) => {
            return Err(unspecified("capabilities.fence"));
        }
    };
    let shift_reads = match known::<wire::ShiftReads>("capabilities.shift_reads", raw.shift_reads)? {
        wire::ShiftReads::None => ShiftReads::None,
        wire::ShiftReads::LeaderSwitch => ShiftReads::LeaderSwitch,
        wire::ShiftReads::DrainReplica => ShiftReads::DrainReplica,
        wire::ShiftReads::Unspecified => return Err(unspecified("capabilities.shift_reads")),
    };
    let mut verify = BTreeSet::new();
    for (i, method) in raw.verify.into_iter().enumerate() {
        let at = format!("capabilities.verify[{i}]");
        let method = match known::<wire::VerifyMethod>(&at, method)? {
            wire::VerifyMethod::Count => VerifyMethod::Count,
            wire::VerifyMethod::Checksum => VerifyMethod::Checksum,
            wire::VerifyMethod::Sample => VerifyMethod::Sample,
            wire::VerifyMethod::Size => VerifyMethod::Size,
            wire::VerifyMethod::Unspecified => return Err(unspecified(&at)),
        };
        if !verify.insert(method) {
            return Err(Malformed::Repeated { field: at });
        }
    }
    Ok(Capabilities {
        system: SystemId::new(raw.system).map_err(name("capabilities.system"))?,
        adapter: text("capabilities.adapter", raw.adapter)?,
        switch,
        fence,
        repair_from_replica: raw.repair_from_replica,
        shift_reads,
        verify: verify.into_iter().collect(),
        reverse: raw.reverse,
        online_copy: raw.online_copy,
        throttle: raw.throttle,
        max_concurrent: raw.max_concurrent,
    })
}

/// Checks one message about the cluster of `system`: names, enums, addresses, bounds, and that nothing occurs twice.
pub fn topology_from_wire(system: &SystemId, raw: wire::WatchTopologyResponse) -> Result<TopologyMessage> {
    let revision = raw.revision;
    match raw.message {
        Some(wire::watch_topology_response::Message::Snapshot(raw)) => {
            Ok(TopologyMessage::Part(TopologyPart {
                revision,
                incarnation: text("snapshot.incarnation", raw.incarnation)?,
                nodes: nodes("snapshot", system, raw.nodes)?,
                partitions: partitions("snapshot", system, raw.partitions)?,
                more: raw.more,
            }))
        }
        Some(wire::watch_topology_response::Message::Changes(raw)) => {
            changes(system, revision, raw).map(TopologyMessage::Changes)
        }
        None => Err(value("message", "absent", "a snapshot or changes")),
    }
}

fn changes(system: &SystemId, revision: u64, raw: wire::Changes) -> Result<TopologyChanges> {
    let nodes = nodes("changes", system, raw.nodes)?;
    let partitions = partitions("changes", system, raw.partitions)?;
    let mut removed_nodes = BTreeSet::new();
    for (i, raw) in raw.removed_nodes.into_iter().enumerate() {
        let at = format!("changes.removed_nodes[{i}]");
        let id = NodeId::new(system.clone(), raw).map_err(name(&at))?;
        if nodes.contains_key(&id) || !removed_nodes.insert(id) {
            return Err(Malformed::Repeated { field: at });
        }
    }
    let mut removed_partitions = BTreeSet::new();
    for (i, raw) in raw.removed_partitions.into_iter().enumerate() {
        let at = format!("changes.removed_partitions[{i}]");
        let id = PartitionId::new(system.clone(), raw).map_err(name(&at))?;
        if partitions.contains_key(&id) || !removed_partitions.insert(id) {
            return Err(Malformed::Repeated { field: at });
        }
    }
    Ok(TopologyChanges {
        revision,
        removed_partitions: removed_partitions.into_iter().collect(),
        removed_nodes: removed_nodes.into_iter().collect(),
        nodes,
        partitions,
    })
}

fn nodes(field: &str, system: &SystemId, raw: Vec<wire::Node>) -> Result<BTreeMap<NodeId, NodeFacts>> {
    let mut nodes = BTreeMap::new();
    for (i, mut raw) in raw.into_iter().enumerate() {
        let at = format!("{field}.nodes[{i}]");
        let id = NodeId::new(system.clone(), std::mem::take(&mut raw.node))
            .map_err(name(&format!("{at}.node")))?;
        if id.is_host() {
            return Err(value(&format!("{at}.node"), HOST_SYSTEM, "a node of a storage system"));
        }
        if nodes.insert(id, node(&at, raw)?).is_some() {
            return Err(Malformed::Repeated { field: format!("{at}.node") });
        }
    }
    Ok(nodes)
}

fn node(at: &str, raw: wire::Node) -> Result<NodeFacts> {
    let class = if raw.class.is_empty() { None } else { Some(text(&format!("{at}.class"), raw.class)?) };
    let health = format!("{at}.health");
    let health = match known::<wire::Health>(&health, raw.health)? {
        wire::Health::Unknown => Health::Unknown,
        wire::Health::Up => Health::Up,
        wire::Health::Down => Health::Down,
        wire::Health::Draining => Health::Draining,
        wire::Health::Unspecified => return Err(unspecified(&health)),
    };
    if raw.load_capacity_ops_per_s == Some(0) {
        return Err(value(&format!("{at}.load_capacity_ops_per_s"), "0", "a rate above 0, or nothing"));
    }
    Ok(NodeFacts {
        addresses: addresses(&format!("{at}.addresses"), &raw.addresses)?,
        domains: domains(&format!("{at}.domains"), raw.domains)?,
        capacity_bytes: bounded(&format!("{at}.capacity_bytes"), raw.capacity_bytes)?,
        load_capacity_ops_per_s: bounded(
            &format!("{at}.load_capacity_ops_per_s"),
            raw.load_capacity_ops_per_s,
        )?,
        class,
        health,
    })
}

fn addresses(field: &str, raw: &[String]) -> Result<Vec<SocketAddr>> {
    few(field, raw.len(), MAX_ADDRESSES)?;
    let mut addresses = Vec::with_capacity(raw.len());
    for (i, text) in raw.iter().enumerate() {
        let at = || format!("{field}[{i}]");
        let address: SocketAddr =
            text.parse().map_err(|_| value(&at(), &format!("{text:?}"), "an address and port"))?;
        if addresses.contains(&address) {
            return Err(Malformed::Repeated { field: at() });
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn domains(field: &str, raw: Vec<String>) -> Result<Vec<String>> {
    few(field, raw.len(), MAX_DOMAINS)?;
    let named = raw.into_iter().enumerate();
    named.map(|(i, domain)| text(&format!("{field}[{i}]"), domain)).collect()
}

fn partitions(
    field: &str,
    system: &SystemId,
    raw: Vec<wire::Partition>,
) -> Result<BTreeMap<PartitionId, PartitionFacts>> {
    let mut partitions = BTreeMap::new();
    for (i, mut raw) in raw.into_iter().enumerate() {
        let at = format!("{field}.partitions[{i}]");
        let id = PartitionId::new(system.clone(), std::mem::take(&mut raw.partition))
            .map_err(name(&format!("{at}.partition")))?;
        if partitions.insert(id, partition(&at, system, raw)?).is_some() {
            return Err(Malformed::Repeated { field: format!("{at}.partition") });
        }
    }
    Ok(partitions)
}

fn partition(at: &str, system: &SystemId, raw: wire::Partition) -> Result<PartitionFacts> {
    let field = format!("{at}.nodes");
    if raw.nodes.is_empty() {
        return Err(value(&field, "empty", "at least one node"));
    }
    few(&field, raw.nodes.len(), MAX_SUBSET)?;
    let mut nodes = Vec::with_capacity(raw.nodes.len());
    for (i, raw) in raw.nodes.into_iter().enumerate() {
        let at = format!("{field}[{i}]");
        let id = NodeId::new(system.clone(), raw).map_err(name(&at))?;
        if nodes.contains(&id) {
            return Err(Malformed::Repeated { field: at });
        }
        nodes.push(id);
    }
    few(&format!("{at}.locators"), raw.locators.len(), MAX_SUBSET)?;
    let locators = raw.locators.into_iter().enumerate();
    let locators = locators
        .map(|(i, raw)| locator(&format!("{at}.locators[{i}]"), system, &nodes, raw))
        .collect::<Result<_>>()?;
    let size_bytes = bounded(&format!("{at}.size_bytes"), raw.size_bytes)?;
    Ok(PartitionFacts { size_bytes, nodes, epoch: raw.epoch, locators })
}

/// Checks a locator of a partition that lies on these nodes. With none, it may name none.
pub(crate) fn locator(at: &str, system: &SystemId, subset: &[NodeId], raw: wire::Locator) -> Result<Locator> {
    let node = if raw.node.is_empty() {
        None
    } else {
        let field = format!("{at}.node");
        let shown = format!("{:?}", raw.node);
        let id = NodeId::new(system.clone(), raw.node).map_err(name(&field))?;
        if !subset.contains(&id) {
            return Err(value(&field, &shown, "a node of the partition"));
        }
        Some(id)
    };
    let places = [
        ("files", raw.files.len()),
        ("devices", raw.devices.len()),
        ("ports", raw.ports.len()),
        ("key_ranges", raw.key_ranges.len()),
        ("relations", raw.relations.len()),
        ("slots", raw.slots.len()),
    ];
    for (field, len) in places {
        few(&format!("{at}.{field}"), len, MAX_PLACES)?;
    }
    let each = |field: &'static str| move |i: usize| format!("{at}.{field}[{i}]");
    Ok(Locator {
        node,
        files: mapped(raw.files, each("files"), path)?,
        devices: mapped(raw.devices, each("devices"), device)?,
        ports: mapped(raw.ports, each("ports"), |at, raw| match u16::try_from(raw) {
            Ok(port @ 1..) => Ok(port),
            Ok(0) | Err(_) => Err(value(at, &raw.to_string(), "a port of 1 to 65535")),
        })?,
        key_ranges: mapped(raw.key_ranges, each("key_ranges"), key_range)?,
        relations: mapped(raw.relations, each("relations"), |at, raw| {
            Ok(Relation {
                database: text(&format!("{at}.database"), raw.database)?,
                schema: text(&format!("{at}.schema"), raw.schema)?,
                name: text(&format!("{at}.name"), raw.name)?,
            })
        })?,
        slots: mapped(raw.slots, each("slots"), slot_range)?,
    })
}

fn mapped<T, U>(
    raw: Vec<T>,
    at: impl Fn(usize) -> String,
    of: impl Fn(&str, T) -> Result<U>,
) -> Result<Vec<U>> {
    raw.into_iter().enumerate().map(|(i, raw)| of(&at(i), raw)).collect()
}

fn device(at: &str, raw: wire::DeviceRange) -> Result<DeviceRange> {
    let field = format!("{at}.sectors");
    if raw.sectors == 0 {
        return Err(value(&field, "0", "at least one sector"));
    }
    if raw.first_sector.checked_add(raw.sectors).is_none() {
        return Err(value(&field, &raw.sectors.to_string(), "an end below 2^64"));
    }
    let device = path(&format!("{at}.device"), raw.device)?;
    Ok(DeviceRange { device, first_sector: raw.first_sector, sectors: raw.sectors })
}

fn key_range(at: &str, raw: wire::KeyRange) -> Result<KeyRange> {
    few(&format!("{at}.first"), raw.first.len(), MAX_TEXT)?;
    few(&format!("{at}.end"), raw.end.len(), MAX_TEXT)?;
    if !raw.end.is_empty() && raw.end <= raw.first {
        return Err(value(&format!("{at}.end"), "not after first", "a key after first, or nothing"));
    }
    Ok(KeyRange { first: raw.first, end: (!raw.end.is_empty()).then_some(raw.end) })
}

fn slot_range(at: &str, raw: wire::SlotRange) -> Result<SlotRange> {
    let last = u16::try_from(raw.last).ok().filter(|last| *last < SLOTS);
    let last =
        last.ok_or_else(|| value(&format!("{at}.last"), &raw.last.to_string(), "a slot below 16384"))?;
    let first = u16::try_from(raw.first).ok().filter(|first| *first <= last);
    let first = first
        .ok_or_else(|| value(&format!("{at}.first"), &raw.first.to_string(), "a slot not after the last"))?;
    Ok(SlotRange { first, last })
}

fn path(at: &str, raw: String) -> Result<String> {
    if raw.len() > MAX_TEXT || !raw.starts_with('/') || raw.contains('\0') {
        return Err(value(at, &format!("{:?}", shortened(&raw)), "an absolute path"));
    }
    Ok(raw)
}

/// A name that is not an id: it is bounded like one.
fn text(at: &str, raw: String) -> Result<String> {
    // The words of an id's error would be of a system; the bounds are the same.
    match SystemId::new(raw.as_str()) {
        Ok(_) => Ok(raw),
        Err(_) => Err(value(at, &format!("{:?}", shortened(&raw)), "a name of 1 to 256 bytes")),
    }
}

fn shortened(raw: &str) -> String {
    raw.chars().take(64).collect()
}

fn bounded(at: &str, raw: Option<u64>) -> Result<Option<u64>> {
    match raw {
        Some(number) if number > MAX_NUMBER => Err(value(at, &number.to_string(), "at most 2^62")),
        Some(_) | None => Ok(raw),
    }
}

pub(crate) fn few(field: &str, len: usize, limit: usize) -> Result<()> {
    if len > limit {
        return Err(Malformed::TooMany { field: field.to_owned(), len, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
