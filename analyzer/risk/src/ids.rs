//! What nodes and failure domains are called: their positions in the slices of facts about them.
//!
//! As in a placement's snapshot, but 32 bits wide; names live outside.

use serde::{Deserialize, Serialize};

/// A node, by its position in the slices that say something of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Node(pub u32);

/// A failure domain of any level, by its position in [`Domains`](crate::Domains). Levels share one numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(pub u32);

impl Node {
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
