//! The device layer: what the block device under all of the cluster's files was given to do.
//!
//! The truth is the kernel's own account of the device. The counts are those of the nodes, none of which has
//! a file elsewhere, and those of what on the device is nobody's: the file system's metadata and journal,
//! files of the master, files that several nodes share.

use super::compared::Compared;
use crate::demo::answer::{Accesses, NodeAnswer};
use crate::demo::config::AGENT;
use crate::demo::phase::Counted;
use isotherm_tests::volume::DeviceStat;
use serde::Serialize;

const LAYER: &str = "device";

/// The layer's part of a phase.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Device {
    /// Whether the bytes of both directions are equal.
    pub(in crate::demo) equal: bool,
    /// The block device's name.
    pub(super) device: String,
    /// Bytes read.
    pub(in crate::demo) read: Direction,
    /// Bytes written.
    pub(in crate::demo) written: Direction,
    /// The volumes' share, by volume and node.
    pub(super) volumes: Vec<OfVolume>,
}

/// Bytes of one direction.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Direction {
    /// All of the device.
    pub(in crate::demo) bytes: Compared,
    /// Those counted for the volumes' files; this and the following are absent if a node was not watched.
    pub(super) volumes: Option<u64>,
    /// Those counted for other files of the nodes.
    pub(super) other: Option<u64>,
    /// Those counted for nodes, but for no file.
    pub(super) unattributed: Option<u64>,
    /// Those counted for the device itself, as they are no node's.
    pub(super) nobodys: Option<u64>,
}

/// What the device did for a volume's files on one node.
#[derive(Debug, Serialize)]
pub(super) struct OfVolume {
    pub(super) node: String,
    pub(super) volume: String,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Device {
    pub(super) fn of(device: &str, truth: &DeviceStat, counted: &Counted) -> Self {
        let read = Direction::of(device, truth.read_bytes, &counted.nodes, "read");
        let written = Direction::of(device, truth.write_bytes, &counted.nodes, "write");
        let mut volumes = Vec::new();
        for partition in &counted.partitions {
            for share in &partition.nodes {
                volumes.push(OfVolume {
                    node: share.node.clone(),
                    volume: partition.partition.clone(),
                    read_bytes: share.counts(LAYER, "read").bytes,
                    written_bytes: share.counts(LAYER, "write").bytes,
                });
            }
        }
        let equal = read.bytes.equal() && written.bytes.equal();
        Self { equal, device: device.to_owned(), read, written, volumes }
    }
}

impl Direction {
    /// `operation`: as the analyzer calls the direction.
    pub(in crate::demo) fn of(device: &str, truth: u64, nodes: &[NodeAnswer], operation: &str) -> Self {
        let sum = |of: fn(&Accesses) -> u64| -> Option<u64> {
            let of_store = nodes.iter().filter(|node| !node.host);
            of_store.map(|node| Some(of(&node.accesses(LAYER, operation)?))).sum()
        };
        let volumes = sum(|accesses| accesses.partitions.bytes);
        let other = sum(|accesses| accesses.other.bytes);
        let unattributed = sum(|accesses| accesses.unattributed.bytes);
        let nobodys = nobodys(device, nodes, operation);
        let counted = [volumes, other, unattributed, nobodys].into_iter().sum();
        Self { bytes: Compared { truth, counted }, volumes, other, unattributed, nobodys }
    }
}

/// What is counted for the device itself. An agent names a device when it first does something that is nobody's:
/// until then that is nothing, if the host was watched.
fn nobodys(device: &str, nodes: &[NodeAnswer], operation: &str) -> Option<u64> {
    let of = |name: &str| nodes.iter().find(|node| node.host && node.node == name);
    of(AGENT)?.accesses(LAYER, operation)?;
    of(&format!("{AGENT}:{device}"))
        .map_or(Some(0), |node| Some(node.accesses(LAYER, operation)?.total.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, host: bool, bytes: [u64; 3]) -> serde_json::Value {
        let [partitions, other, unattributed] = bytes;
        let counts = |bytes: u64| serde_json::json!({"ops": 1, "bytes": bytes});
        let read = serde_json::json!({
            "total": counts(partitions + other + unattributed), "partitions": counts(partitions),
            "other": counts(other), "unattributed": counts(unattributed)
        });
        serde_json::json!({"node": name, "host": host, "layers": {"device": {"read": read}}})
    }

    fn nodes(values: &[serde_json::Value]) -> Vec<NodeAnswer> {
        values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
    }

    #[test]
    fn all_nodes_and_the_device_itself_are_summed_but_no_other_device() {
        let watched = nodes(&[
            node("a", false, [1, 20, 300]),
            node("b", false, [4_000, 0, 0]),
            node("demo-host", true, [0, 0, 7]),
            node("demo-host:loop3", true, [0, 50_000, 0]),
            node("demo-host:loop4", true, [0, 9, 0]),
        ]);
        let read = Direction::of("loop3", 54_321, &watched, "read");
        assert!(read.bytes.equal(), "{read:?}");
        assert_eq!((read.volumes, read.nobodys), (Some(4_001), Some(50_000)));
        let without = Direction::of("loop5", 4_321, &watched, "read");
        assert!(without.bytes.equal(), "nothing on it was nobody's: {without:?}");
    }

    #[test]
    fn what_nobody_watched_is_unknown_and_equals_nothing() {
        let store_only = nodes(&[node("a", false, [0, 0, 0])]);
        assert_eq!(Direction::of("loop3", 0, &store_only, "read").bytes.counted, None);
        let no_writes = nodes(&[node("a", false, [0, 0, 0]), node("demo-host", true, [0, 0, 0])]);
        assert!(!Direction::of("loop3", 0, &no_writes, "write").bytes.equal());
        assert!(Direction::of("loop3", 0, &no_writes, "read").bytes.equal());
    }
}
