//! The logical layer: what the volume servers asked of the volumes' files.
//!
//! The truth is the load's: one read of a stored object for each GET, one write for each PUT on each of the
//! volume's nodes. The bytes of the writes are those by which the files grew.

use super::compared::Compared;
use crate::demo::answer::{Counts, PartitionAnswer};
use crate::demo::phase::{Counted, Happened};
use serde::Serialize;
use std::collections::BTreeMap;

const LAYER: &str = "logical";

/// The layer's part of a phase.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Logical {
    /// Whether every line is equal.
    pub(in crate::demo) equal: bool,
    /// By node and volume.
    pub(super) volumes: Vec<OfVolume>,
    /// Accesses of files that are no volume's; absent if a node was not watched.
    pub(super) other: Option<Sum>,
    /// Accesses of files that nobody could name; likewise.
    pub(super) unattributed: Option<Sum>,
}

/// Accesses that are not compared.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sum {
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
}

/// Accesses of one volume on one node.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct OfVolume {
    pub(super) node: String,
    pub(super) volume: String,
    pub(super) reads: Compared,
    pub(super) read_bytes: Compared,
    pub(super) writes: Compared,
    pub(super) written_bytes: Compared,
}

impl OfVolume {
    fn all(&self) -> [&Compared; 4] {
        [&self.reads, &self.read_bytes, &self.writes, &self.written_bytes]
    }
}

/// Reads and writes.
#[derive(Debug, Clone, Copy, Default)]
struct Accesses {
    reads: Counts,
    writes: Counts,
}

impl Logical {
    pub(super) fn of(truth: &Happened, counted: &Counted) -> Self {
        let volumes = lines(&accesses(truth), &counted.partitions);
        let parts = |of: fn(&crate::demo::answer::Accesses) -> Counts| {
            let mut sum = Sum::default();
            for node in counted.nodes.iter().filter(|node| !node.host) {
                let ops = |operation| Some(of(&node.accesses(LAYER, operation)?).ops);
                sum.reads += ops("read")?;
                sum.writes += ops("write")?;
                sum.syncs += ops("sync")?;
            }
            Some(sum)
        };
        let equal = volumes.iter().flat_map(OfVolume::all).all(Compared::equal);
        Self {
            equal,
            volumes,
            other: parts(|accesses| accesses.other),
            unattributed: parts(|accesses| accesses.unattributed),
        }
    }

    /// Sums over the volumes: reads, their bytes, writes, their bytes.
    pub(in crate::demo) fn sums(&self) -> [Compared; 4] {
        [0, 1, 2, 3].map(|which| {
            let parts = || self.volumes.iter().map(move |line| line.all()[which]);
            Compared {
                truth: parts().map(|part| part.truth).sum(),
                counted: parts().map(|part| part.counted).sum(),
            }
        })
    }
}

/// What really happened, by node and volume.
fn accesses(truth: &Happened) -> BTreeMap<(String, String), Accesses> {
    let mut lines: BTreeMap<(String, String), Accesses> = BTreeMap::new();
    for row in &truth.requests {
        let line = lines.entry((row.node.clone(), row.volume.to_string())).or_default();
        line.reads = Counts { ops: row.gets, bytes: row.get_bytes };
        line.writes.ops = row.writes;
    }
    for ((volume, node), bytes) in &truth.grown_bytes {
        lines.entry((node.clone(), volume.to_string())).or_default().writes.bytes = *bytes;
    }
    lines
}

/// One line per node and volume that the truth or the counts name; who is not named has 0.
fn lines(truth: &BTreeMap<(String, String), Accesses>, counted: &[PartitionAnswer]) -> Vec<OfVolume> {
    let mut pairs: BTreeMap<(String, String), [Accesses; 2]> = BTreeMap::new();
    for (place, accesses) in truth {
        pairs.entry(place.clone()).or_default()[0] = *accesses;
    }
    for partition in counted {
        for share in &partition.nodes {
            let of = |operation| share.counts(LAYER, operation);
            let accesses = Accesses { reads: of("read"), writes: of("write") };
            pairs.entry((share.node.clone(), partition.partition.clone())).or_default()[1] = accesses;
        }
    }
    let line = |((node, volume), [truth, counted]): (_, [Accesses; 2])| OfVolume {
        node,
        volume,
        reads: Compared::known(truth.reads.ops, counted.reads.ops),
        read_bytes: Compared::known(truth.reads.bytes, counted.reads.bytes),
        writes: Compared::known(truth.writes.ops, counted.writes.ops),
        written_bytes: Compared::known(truth.writes.bytes, counted.writes.bytes),
    };
    pairs.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_the_truth_does_not_know_is_a_difference() {
        let reads = Counts { ops: 5, bytes: 50 };
        let place = |node: &str| (node.to_owned(), "1".to_owned());
        let truth =
            [(place("a"), Accesses { reads, ..Accesses::default() }), (place("b"), Accesses::default())];
        let counted = r#"[
            {"partition": "1", "nodes": [{"node": "a", "layers": {"logical": {"read": {"ops": 5, "bytes": 50}}}}]},
            {"partition": "9", "nodes": [{"node": "b", "layers": {"logical": {"read": {"ops": 1, "bytes": 7}}}}]}
        ]"#;
        let counted: Vec<PartitionAnswer> = serde_json::from_str(counted).unwrap();
        let lines = lines(&truth.into(), &counted);
        let differing: Vec<_> =
            lines.iter().filter(|line| !line.all().into_iter().all(Compared::equal)).collect();
        assert_eq!(lines.len(), 3);
        let [line] = differing[..] else { panic!("{differing:?}") };
        assert_eq!((line.node.as_str(), line.volume.as_str()), ("b", "9"));
        assert_eq!((line.reads, line.read_bytes), (Compared::known(0, 1), Compared::known(0, 7)));
    }
}
