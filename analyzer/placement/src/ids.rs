//! What nodes, partitions and domains are called inside a snapshot: their positions.
//!
//! Names live outside; a key (see [`crate::hash`]) stands for the name where a choice must not depend on positions.

use serde::{Deserialize, Serialize};

/// A node, by its position in [`crate::Topology`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node(pub u16);

/// A partition, by its position in [`crate::Partitions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u32);

/// A failure domain (a zone, a rack), by its position in [`crate::Topology`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain(pub u16);

/// A level of failure domains, 0 the outermost: zone 0, rack 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Level(pub u8);

impl Node {
    /// Its position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Partition {
    /// Its position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Domain {
    /// Its position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Level {
    /// Its position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}
