//! Which copysets an assignment uses, and which of them each partition lies on.
//!
//! Rows become keys of 64 bits that do not depend on the order of holders. Keys are dealt into buckets by a fixed
//! hash, and equal ones are found bucket by bucket, in tables that fit a core's own cache. A single table of all
//! sets would miss the cache at every one of a million different rows; sorting would look at every key twenty times.
//!
//! Sets are numbered in the order of their first partitions.

use crate::ids::{Node, Partition};
use crate::partitions::{Assignment, NONE};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

/// A copyset, by its position in [`Copysets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Copyset(pub u32);

impl Copyset {
    /// Its position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// The distinct sets of holders of an assignment. The order of holders makes no difference; a row with empty slots
/// is the smaller set of those it has, and a row without any lies on no copyset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copysets {
    /// Set s has the nodes `from[s]..from[s + 1]`, ascending.
    from: Vec<u32>,
    nodes: Vec<Node>,
    /// For each partition the position of its set, [`NOWHERE`] without holders.
    of: Vec<u32>,
    partitions: Vec<u32>,
    bytes: Vec<u64>,
}

/// Partitions sorted by the copyset they lie on, and ascending within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    from: Vec<u32>,
    partitions: Vec<Partition>,
}

const NOWHERE: u32 = u32::MAX;
/// Slots whose nodes a key can hold itself; the key of a wider row is a hash.
const PACKED: usize = 4;
/// With a million sets a bucket's table takes about 100 KB.
const BUCKET_BITS: u32 = 8;
const BUCKETS: usize = 1 << BUCKET_BITS;

impl Copysets {
    /// The copysets of an assignment. `size_bytes` is of one replica of each partition.
    ///
    /// # Panics
    /// If there is not one size for each partition.
    #[must_use]
    pub fn in_use(assignment: &Assignment, size_bytes: &[u64]) -> Self {
        assert_eq!(assignment.len(), size_bytes.len(), "a size for each partition");
        let width = assignment.width();
        let first = if width <= PACKED {
            let keys: Vec<u64> = assignment.slots().par_chunks_exact(width).map(pack).collect();
            first_alike(&keys, |_, _| true)
        } else {
            let mut rows = assignment.slots().to_vec();
            rows.par_chunks_exact_mut(width).for_each(<[u16]>::sort_unstable);
            let keys: Vec<u64> = rows.par_chunks_exact(width).map(digest).collect();
            let row = |at: u32| &rows[at as usize * width..][..width];
            first_alike(&keys, |a, b| row(a) == row(b))
        };
        Self::number(assignment, size_bytes, first)
    }

    /// Numbers sets in the order of their first partitions, which `of` has for every partition.
    fn number(assignment: &Assignment, size_bytes: &[u64], of: Vec<u32>) -> Self {
        let mut sets =
            Self { from: vec![0], nodes: Vec::new(), of, partitions: Vec::new(), bytes: Vec::new() };
        for (row, size) in size_bytes.iter().enumerate() {
            let first = sets.of[row];
            if first == NOWHERE {
                continue;
            }
            if first as usize != row {
                let set = sets.of[first as usize];
                sets.of[row] = set;
                sets.partitions[set as usize] += 1;
                sets.bytes[set as usize] += size;
                continue;
            }
            sets.of[row] = sets.partitions.len() as u32;
            let start = sets.nodes.len();
            sets.nodes.extend(assignment.subset(Partition(first)));
            sets.nodes[start..].sort_unstable();
            sets.from.push(sets.nodes.len() as u32);
            sets.partitions.push(1);
            sets.bytes.push(*size);
        }
        sets
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether no partition is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl ExactSizeIterator<Item = Copyset> + use<> {
        (0..self.partitions.len() as u32).map(Copyset)
    }

    /// The nodes of one, ascending.
    ///
    /// # Panics
    /// If there is no such copyset.
    #[must_use]
    #[inline]
    pub fn nodes(&self, copyset: Copyset) -> &[Node] {
        &self.nodes[self.from[copyset.at()] as usize..self.from[copyset.at() + 1] as usize]
    }

    /// The one that a partition lies on; absent if no node holds it.
    ///
    /// # Panics
    /// If there is no such partition.
    #[must_use]
    #[inline]
    pub fn of(&self, partition: Partition) -> Option<Copyset> {
        let at = self.of[partition.at()];
        (at != NOWHERE).then_some(Copyset(at))
    }

    /// How many partitions lie on one.
    ///
    /// # Panics
    /// If there is no such copyset.
    #[must_use]
    #[inline]
    pub fn partitions(&self, copyset: Copyset) -> u32 {
        self.partitions[copyset.at()]
    }

    /// Bytes of one replica of all that lies on one.
    ///
    /// # Panics
    /// If there is no such copyset.
    #[must_use]
    #[inline]
    pub fn bytes(&self, copyset: Copyset) -> u64 {
        self.bytes[copyset.at()]
    }

    /// The partitions of every copyset.
    #[must_use]
    pub fn groups(&self) -> Groups {
        let mut from = Vec::with_capacity(self.len() + 1);
        let mut total = 0;
        from.push(0);
        from.extend(self.partitions.iter().map(|count| {
            total += count;
            total
        }));
        let mut next = from.clone();
        let mut partitions = vec![Partition(0); total as usize];
        for (at, set) in self.of.iter().enumerate().filter(|(_, set)| **set != NOWHERE) {
            let slot = &mut next[*set as usize];
            partitions[*slot as usize] = Partition(at as u32);
            *slot += 1;
        }
        Groups { from, partitions }
    }
}

impl Groups {
    /// The partitions on one copyset, ascending.
    ///
    /// # Panics
    /// If there is no such copyset.
    #[must_use]
    #[inline]
    pub fn of(&self, copyset: Copyset) -> &[Partition] {
        &self.partitions[self.from[copyset.at()] as usize..self.from[copyset.at() + 1] as usize]
    }
}

/// For each row the first row of the same set, [`NOWHERE`] for [`EMPTY`]. Equal keys are of one set if `same` says
/// so of their rows.
fn first_alike(keys: &[u64], same: impl Fn(u32, u32) -> bool + Sync) -> Vec<u32> {
    let mut buckets = deal(keys);
    buckets.par_iter_mut().for_each_init(Table::new, |table, bucket| {
        table.clear();
        for (key, row) in bucket {
            let first = table.find_or_insert(*key, *row, |first| same(first, *row));
            *key = u64::from(first);
        }
    });
    let mut first = vec![NOWHERE; keys.len()];
    for (there, row) in buckets.iter().flatten() {
        first[*row as usize] = *there as u32;
    }
    first
}

/// Keys and their rows by bucket, in the order of rows within a bucket. Rows without holders are left out.
fn deal(keys: &[u64]) -> Vec<Vec<(u64, u32)>> {
    let mut counts = vec![0; BUCKETS];
    for key in keys.iter().filter(|key| **key != EMPTY) {
        counts[bucket(*key)] += 1;
    }
    let mut buckets: Vec<Vec<(u64, u32)>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (row, key) in keys.iter().enumerate().filter(|(_, key)| **key != EMPTY) {
        buckets[bucket(*key)].push((*key, row as u32));
    }
    buckets
}

/// The key of a row without holders.
const EMPTY: u64 = u64::MAX;

/// The nodes of a narrow row in ascending order.
fn pack(row: &[u16]) -> u64 {
    let mut slots = [NONE; PACKED];
    slots[..row.len()].copy_from_slice(row);
    // A sorting network of four: no branch depends on the nodes.
    for (low, high) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
        let (a, b) = (slots[low], slots[high]);
        (slots[low], slots[high]) = (a.min(b), a.max(b));
    }
    slots.iter().fold(0, |key, slot| key << 16 | u64::from(*slot))
}

/// A hash of a wide row, whose slots are in ascending order. The first slot is left as it is of a row of one node,
/// so that only a row of none has the key of none.
fn digest(row: &[u16]) -> u64 {
    if row[0] == NONE {
        return EMPTY;
    }
    let mut hash = 0;
    for chunk in row.chunks(PACKED) {
        hash = xxh3_64(&[hash, pack(chunk)].map(u64::to_le_bytes).concat());
    }
    hash.min(EMPTY - 1)
}

fn spread(key: u64) -> u64 {
    // The finalizer of MurmurHash3, 64 bits: nodes of one domain are neighbours and their keys alike.
    let key = (key ^ key >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (key ^ key >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

fn bucket(key: u64) -> usize {
    (spread(key) >> (64 - BUCKET_BITS)) as usize
}

/// First rows by key, open addressing with linear probing, at most half full.
struct Table {
    slots: Vec<(u64, u32)>,
    filled: usize,
}

impl Table {
    const LEAST: usize = 64;

    fn new() -> Self {
        Self { slots: vec![(EMPTY, NOWHERE); Self::LEAST], filled: 0 }
    }

    fn clear(&mut self) {
        self.slots.fill((EMPTY, NOWHERE));
        self.filled = 0;
    }

    fn place(&self, key: u64) -> usize {
        // The upper bits are the same for a whole bucket.
        spread(key) as usize >> 8 & (self.slots.len() - 1)
    }

    /// The first row of the set of a key, which is this row if there was none.
    fn find_or_insert(&mut self, key: u64, row: u32, is_it: impl Fn(u32) -> bool) -> u32 {
        let mut at = self.place(key);
        loop {
            let (there, first) = self.slots[at];
            if there == EMPTY {
                break;
            }
            if there == key && is_it(first) {
                return first;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key, row);
        self.filled += 1;
        if self.filled * 2 > self.slots.len() {
            let larger = vec![(EMPTY, NOWHERE); self.slots.len() * 4];
            let old = std::mem::replace(&mut self.slots, larger);
            old.into_iter().filter(|(key, _)| *key != EMPTY).for_each(|(key, row)| self.put(key, row));
        }
        row
    }

    fn put(&mut self, key: u64, row: u32) {
        let mut at = self.place(key);
        while self.slots[at].0 != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn table(width: usize, rows: &[&[u16]]) -> Assignment {
        let mut assignment = Assignment::empty(rows.len(), width);
        for (at, row) in rows.iter().enumerate() {
            let nodes: Vec<Node> = row.iter().copied().map(Node).collect();
            assignment.set(Partition(at as u32), &nodes);
        }
        assignment
    }

    #[test]
    fn order_of_holders_makes_no_difference() {
        for width in [3, 4, 5, 8] {
            let assignment = table(width, &[&[7, 1, 3], &[3, 7, 1], &[1, 3], &[], &[1, 3, 7]]);
            let sets = Copysets::in_use(&assignment, &[10, 20, 40, 80, 160]);
            assert_eq!(sets.len(), 2, "width {width}");
            let three = sets.of(Partition(0)).unwrap();
            let two = sets.of(Partition(2)).unwrap();
            assert_eq!(sets.of(Partition(1)), Some(three));
            assert_eq!(sets.of(Partition(3)), None);
            assert_eq!(sets.nodes(three), [Node(1), Node(3), Node(7)]);
            assert_eq!(sets.nodes(two), [Node(1), Node(3)]);
            assert_eq!((sets.partitions(three), sets.bytes(three)), (3, 190));
            assert_eq!((sets.partitions(two), sets.bytes(two)), (1, 40));
            let groups = sets.groups();
            assert_eq!(groups.of(three), [Partition(0), Partition(1), Partition(4)]);
            assert_eq!(groups.of(two), [Partition(2)]);
        }
    }

    #[test]
    fn no_partitions_have_no_copysets() {
        let sets = Copysets::in_use(&Assignment::empty(0, 3), &[]);
        assert!(sets.is_empty());
        assert_eq!(sets.all().len(), 0);
    }

    #[test]
    fn the_largest_node_is_told_from_an_empty_slot() {
        let assignment = table(4, &[&[65534], &[65534, 65533, 65532, 65531], &[]]);
        let sets = Copysets::in_use(&assignment, &[1, 1, 1]);
        assert_eq!(sets.len(), 2);
        assert_eq!(sets.of(Partition(2)), None);
    }

    proptest! {
        #[test]
        fn as_many_as_a_sorted_map_finds(
            width in 1usize..=8,
            rows in prop::collection::vec(prop::collection::btree_set(0u16..12, 0..=8), 0..400),
        ) {
            let rows: Vec<Vec<u16>> =
                rows.into_iter().map(|row| row.into_iter().rev().take(width).collect()).collect();
            let borrowed: Vec<&[u16]> = rows.iter().map(Vec::as_slice).collect();
            let assignment = table(width, &borrowed);
            let sizes: Vec<u64> = (0..rows.len() as u64).map(|at| at + 1).collect();
            let mut expected: BTreeMap<Vec<u16>, (u32, u64)> = BTreeMap::new();
            for (row, size) in rows.iter().zip(&sizes) {
                let mut row = row.clone();
                row.sort_unstable();
                if !row.is_empty() {
                    let entry = expected.entry(row).or_default();
                    *entry = (entry.0 + 1, entry.1 + size);
                }
            }
            let sets = Copysets::in_use(&assignment, &sizes);
            let found: BTreeMap<Vec<u16>, (u32, u64)> = sets
                .all()
                .map(|set| {
                    let nodes = sets.nodes(set).iter().map(|node| node.0).collect();
                    (nodes, (sets.partitions(set), sets.bytes(set)))
                })
                .collect();
            prop_assert_eq!(found.len(), sets.len());
            prop_assert_eq!(found, expected);
            for (at, row) in rows.iter().enumerate() {
                let set = sets.of(Partition(at as u32));
                prop_assert_eq!(set.is_none(), row.is_empty());
                if let Some(set) = set {
                    prop_assert!(sets.nodes(set).iter().all(|node| row.contains(&node.0)));
                    prop_assert_eq!(sets.nodes(set).len(), row.len());
                }
            }
        }
    }
}
