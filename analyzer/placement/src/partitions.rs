//! Partitions by columns, and the table of who holds them.

use crate::ids::{Node, Partition};

/// A column of one value for each partition, or one value for all of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Column<T> {
    /// The same for all.
    Same(T),
    /// One for each.
    Each(Vec<T>),
}

impl<T: Copy> Column<T> {
    /// The value of a partition.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    #[inline]
    pub fn get(&self, partition: Partition) -> T {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[partition.at()],
        }
    }

    /// One value for each of `partitions`, to write to.
    pub(crate) fn each(&mut self, partitions: usize) -> &mut [T] {
        if let Self::Same(value) = self {
            *self = Self::Each(vec![*value; partitions]);
        }
        match self {
            Self::Each(values) => values,
            Self::Same(_) => unreachable!("made one for each above"),
        }
    }

    pub(crate) fn fits(&self, partitions: usize) -> bool {
        match self {
            Self::Same(_) => true,
            Self::Each(values) => values.len() == partitions,
        }
    }
}

/// What is known of partitions. Columns have one entry for each, in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct Partitions {
    /// Stands for the partition's name in choices among equals, see [`crate::hash::key`].
    pub key: Vec<u64>,
    /// Bytes of one replica.
    pub size_bytes: Vec<u64>,
    /// Load that each replica bears, in the unit of the nodes' load capacity. Finite, not negative.
    pub load: Vec<f64>,
    /// Replicas it should have, at least one.
    pub replicas: Column<u8>,
    /// Probability of an incident, 0 to 1; NaN where it is unknown. What has none comes after what has one.
    pub risk: Column<f32>,
    /// What an incident would cost, in a unit of the caller's; NaN where it is unknown.
    pub impact: Column<f32>,
    /// Whether it must never be moved by its own choice. It is repaired all the same.
    pub pinned: Column<bool>,
    /// The epoch of its subset, which a move names so that it cannot be done twice.
    pub epoch: Column<u64>,
    /// When it last moved, in seconds of the snapshot's clock; absent if it never did.
    pub moved_at_s: Column<Option<u32>>,
    /// The node it last left, which it is not sent back to within the policy's window.
    pub last_left: Column<Option<Node>>,
    /// Share of its accesses whose peers lie in a domain of the innermost level; sorted by partition, then domain.
    /// Partitions without an entry have no preference.
    pub peers: Vec<PeerShare>,
}

/// How much of a partition's accesses come from a domain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerShare {
    /// Whose accesses.
    pub partition: Partition,
    /// Where from: a domain of the innermost level.
    pub domain: crate::Domain,
    /// 0 to 1; those of a partition sum to at most 1.
    pub share: f32,
}

impl Partitions {
    /// Partitions of which only name, size and load are known.
    #[must_use]
    pub fn new(key: Vec<u64>, size_bytes: Vec<u64>, load: Vec<f64>, replicas: u8) -> Self {
        Self {
            key,
            size_bytes,
            load,
            replicas: Column::Same(replicas),
            risk: Column::Same(f32::NAN),
            impact: Column::Same(f32::NAN),
            pinned: Column::Same(false),
            epoch: Column::Same(0),
            moved_at_s: Column::Same(None),
            last_left: Column::Same(None),
            peers: Vec::new(),
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.key.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.key.is_empty()
    }

    /// The positions of all.
    pub fn all(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.key.len()).map(|at| Partition(at as u32))
    }

    /// Where the accesses of a partition come from.
    #[must_use]
    pub fn peers_of(&self, partition: Partition) -> &[PeerShare] {
        let from = self.peers.partition_point(|peer| peer.partition < partition);
        let len = self.peers[from..].partition_point(|peer| peer.partition == partition);
        &self.peers[from..from + len]
    }
}

/// Who holds which partition: a table with a row for each partition and `width` slots in a row.
///
/// The holders of a row come first, in the order of the store (the first is its leader, where it has one); what is
/// left of the row is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    width: usize,
    slots: Vec<u16>,
}

/// Most replicas of a partition.
pub const MOST_REPLICAS: usize = 8;

/// An empty slot.
pub(crate) const NONE: u16 = u16::MAX;

impl Assignment {
    /// A table of empty rows.
    ///
    /// # Panics
    /// If the width is 0 or more than [`MOST_REPLICAS`].
    #[must_use]
    pub fn empty(partitions: usize, width: usize) -> Self {
        assert!((1..=MOST_REPLICAS).contains(&width), "a row has 1 to {MOST_REPLICAS} slots, not {width}");
        Self { width, slots: vec![NONE; partitions * width] }
    }

    /// Most replicas a row can have.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() / self.width
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The nodes that hold a partition, leader first.
    #[inline]
    pub fn subset(&self, partition: Partition) -> impl ExactSizeIterator<Item = Node> + Clone + '_ {
        let row = self.row(partition);
        let len = row.iter().position(|slot| *slot == NONE).unwrap_or(row.len());
        row[..len].iter().map(|slot| Node(*slot))
    }

    /// Whether a node holds a partition.
    #[must_use]
    #[inline]
    pub fn holds(&self, node: Node, partition: Partition) -> bool {
        self.row(partition).contains(&node.0)
    }

    /// Sets the row of a partition.
    ///
    /// # Panics
    /// If there are more nodes than slots, or the row does not exist.
    pub fn set(&mut self, partition: Partition, nodes: &[Node]) {
        let width = self.width;
        let row = &mut self.slots[partition.at() * width..][..width];
        assert!(nodes.len() <= width, "{} nodes in a row of {width}", nodes.len());
        row.fill(NONE);
        for (slot, node) in row.iter_mut().zip(nodes) {
            *slot = node.0;
        }
    }

    /// Puts `to` where `from` was, or into the first empty slot. Whether that was possible.
    pub fn replace(&mut self, partition: Partition, from: Option<Node>, to: Node) -> bool {
        let wanted = from.map_or(NONE, |node| node.0);
        let width = self.width;
        let row = &mut self.slots[partition.at() * width..][..width];
        let slot = row.iter_mut().find(|slot| **slot == wanted);
        slot.map(|slot| *slot = to.0).is_some()
    }

    /// Makes a holder the leader: it and the first of the row change places. Whether it held the partition.
    pub fn lead(&mut self, partition: Partition, node: Node) -> bool {
        let width = self.width;
        let row = &mut self.slots[partition.at() * width..][..width];
        let at = row.iter().position(|slot| *slot == node.0);
        at.map(|at| row.swap(0, at)).is_some()
    }

    /// A row with its empty slots.
    #[inline]
    pub(crate) fn row(&self, partition: Partition) -> &[u16] {
        &self.slots[partition.at() * self.width..][..self.width]
    }

    /// All rows with their empty slots, one after the other.
    pub(crate) fn slots(&self) -> &[u16] {
        &self.slots
    }
}
