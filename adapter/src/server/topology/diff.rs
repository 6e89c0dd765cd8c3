//! A cluster, and the difference of two, as messages of bounded size.

use crate::contract::{node_to_wire, partition_to_wire};
use crate::store::Cluster;
use isotherm_proto::adapter::v1 as wire;
use wire::watch_topology_response::Message;

/// Bytes of entries in a message. Many clients take no more than 4 MiB.
const MOST_BYTES: usize = 1 << 20;

/// Everything, in parts of one revision: all nodes come before the partitions.
pub(super) fn snapshot(
    revision: u64,
    incarnation: &str,
    cluster: &Cluster,
) -> Vec<wire::WatchTopologyResponse> {
    let part = |nodes, partitions| wire::Snapshot {
        incarnation: incarnation.to_owned(),
        nodes,
        partitions,
        more: true,
    };
    let nodes = cluster.nodes.iter().map(|(node, facts)| node_to_wire(node, facts));
    let partitions = cluster.partitions.iter().map(|(id, facts)| partition_to_wire(id, facts));
    let mut parts: Vec<wire::Snapshot> =
        chunks(nodes).into_iter().map(|nodes| part(nodes, Vec::new())).collect();
    parts.extend(chunks(partitions).into_iter().map(|partitions| part(Vec::new(), partitions)));
    if parts.is_empty() {
        parts.push(part(Vec::new(), Vec::new()));
    }
    if let Some(last) = parts.last_mut() {
        last.more = false;
    }
    let message = |part| wire::WatchTopologyResponse { revision, message: Some(Message::Snapshot(part)) };
    parts.into_iter().map(message).collect()
}

/// What changed, in messages whose revisions rise up to `revision`. After each, no partition names a node that is
/// not there: new nodes come first, and nodes go last.
pub(super) fn changes(revision: u64, before: &Cluster, after: &Cluster) -> Vec<wire::WatchTopologyResponse> {
    let gone = |(name, there): (String, bool)| (!there).then_some(name);
    let removed_partitions = before.partitions.keys();
    let removed_partitions: Vec<String> = removed_partitions
        .filter_map(|id| gone((id.name().to_owned(), after.partitions.contains_key(id))))
        .collect();
    let removed_nodes: Vec<String> = before
        .nodes
        .keys()
        .filter_map(|node| gone((node.name().to_owned(), after.nodes.contains_key(node))))
        .collect();
    let nodes = after.nodes.iter().filter(|(node, facts)| before.nodes.get(node) != Some(facts));
    let nodes = chunks(nodes.map(|(node, facts)| node_to_wire(node, facts)));
    let partitions = after.partitions.iter().filter(|(id, facts)| before.partitions.get(id) != Some(facts));
    let partitions = chunks(partitions.map(|(id, facts)| partition_to_wire(id, facts)));
    let mut parts: Vec<wire::Changes> = Vec::new();
    parts.extend(nodes.into_iter().map(|nodes| wire::Changes { nodes, ..wire::Changes::default() }));
    parts.extend(
        partitions.into_iter().map(|partitions| wire::Changes { partitions, ..wire::Changes::default() }),
    );
    let removals = wire::Changes { removed_partitions, removed_nodes, ..wire::Changes::default() };
    if !removals.removed_partitions.is_empty() || !removals.removed_nodes.is_empty() || parts.is_empty() {
        parts.push(removals);
    }
    let first = revision - (parts.len() as u64 - 1);
    let message =
        |(revision, part)| wire::WatchTopologyResponse { revision, message: Some(Message::Changes(part)) };
    (first..).zip(parts).map(message).collect()
}

/// Nothing has changed.
pub(super) fn empty(revision: u64) -> wire::WatchTopologyResponse {
    wire::WatchTopologyResponse { revision, message: Some(Message::Changes(wire::Changes::default())) }
}

fn chunks<T: prost::Message>(entries: impl Iterator<Item = T>) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let len = entry.encoded_len();
        if bytes.saturating_add(len) > MOST_BYTES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(last) = chunks.last_mut() {
            last.push(entry);
        }
    }
    chunks
}
