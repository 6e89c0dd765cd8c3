//! What an adapter says of its cluster, as checked values.
//!
//! A message is checked by itself here. What needs the messages before it (revisions, nodes that a partition names)
//! is checked by whoever keeps them.

pub(crate) mod parse;
mod render;

use isotherm_model::{NodeId, PartitionId, SystemId};
pub use parse::{capabilities_from_wire, topology_from_wire};
pub use render::locator_to_wire;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What an adapter is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Its system.
    pub system: SystemId,
    /// Its name and version, for people.
    pub adapter: String,
    /// How clients come to use a copy.
    pub switch: Switch,
    /// When writes to the source are stopped; `None` if partitions cannot be moved.
    pub fence: Option<Fence>,
    /// Whether a lost replica can be made again from one that survived.
    pub repair_from_replica: bool,
    /// How reads can be moved without data.
    pub shift_reads: ShiftReads,
    /// How a copy is compared with its source; each once.
    pub verify: Vec<VerifyMethod>,
    /// Whether a switch can be taken back.
    pub reverse: bool,
    /// Whether clients read and write during a copy.
    pub online_copy: bool,
    /// Whether the rate of copying can be bounded.
    pub throttle: bool,
    /// Migrations that may run at a time; 0 for none.
    pub max_concurrent: u32,
}

/// How clients come to use the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Partitions cannot be moved.
    None,
    /// When the caller says, after verification.
    Gated,
    /// By the system itself; verification follows.
    EngineAtomic,
}

/// When writes to the source are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// For the switch.
    AtSwitch,
    /// For all of the copy.
    BeforeCopy,
}

/// How reads can be moved without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShiftReads {
    /// Not at all.
    None,
    /// By another leader.
    LeaderSwitch,
    /// By draining a replica.
    DrainReplica,
}

/// How a copy is compared with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyMethod {
    /// Numbers of objects.
    Count,
    /// A checksum of everything.
    Checksum,
    /// Checksums of a sample.
    Sample,
    /// Bytes.
    Size,
}

/// One message about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyMessage {
    /// A part of a snapshot.
    Part(TopologyPart),
    /// What changed.
    Changes(TopologyChanges),
}

/// A part of a snapshot. Nothing occurs twice in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyPart {
    /// Of the cluster.
    pub revision: u64,
    /// Within what revisions can be compared; a name.
    pub incarnation: String,
    /// Nodes.
    pub nodes: BTreeMap<NodeId, NodeFacts>,
    /// Partitions. Their nodes may be in an earlier part.
    pub partitions: BTreeMap<PartitionId, PartitionFacts>,
    /// Whether another part follows.
    pub more: bool,
}

/// What changed. Nothing occurs twice in it, nor is removed and set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyChanges {
    /// Of the cluster with these changes.
    pub revision: u64,
    /// Partitions that are gone.
    pub removed_partitions: Vec<PartitionId>,
    /// Nodes that are gone.
    pub removed_nodes: Vec<NodeId>,
    /// Nodes that are new or other than before.
    pub nodes: BTreeMap<NodeId, NodeFacts>,
    /// Partitions that are new or other than before.
    pub partitions: BTreeMap<PartitionId, PartitionFacts>,
}

impl TopologyChanges {
    /// Whether it only says that nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed_partitions.is_empty()
            && self.removed_nodes.is_empty()
            && self.nodes.is_empty()
            && self.partitions.is_empty()
    }
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Where it serves.
    pub addresses: Vec<SocketAddr>,
    /// Failure domains, outermost first.
    pub domains: Vec<String>,
    /// Bytes it can hold, if known.
    pub capacity_bytes: Option<u64>,
    /// Client reads and writes per second it can serve, if known. Above 0.
    pub load_capacity_ops_per_s: Option<u64>,
    /// Hardware that fails alike, if known.
    pub class: Option<String>,
    /// Whether it serves.
    pub health: Health,
}

/// Whether a node serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody can tell.
    #[default]
    Unknown,
    /// It serves.
    Up,
    /// It does not.
    Down,
    /// It serves and is being emptied on purpose.
    Draining,
}

impl Health {
    /// The word used in tables and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// What is known of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Bytes on each node that holds it, if known.
    pub size_bytes: Option<u64>,
    /// The nodes that hold it, the leader first; never none, each once.
    pub nodes: Vec<NodeId>,
    /// Of the subset; 0 if the system has none.
    pub epoch: u64,
    /// Where it lies.
    pub locators: Vec<Locator>,
}

/// Where a partition lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    /// On this node of its subset; `None` for each of them.
    pub node: Option<NodeId>,
    /// Absolute paths of files.
    pub files: Vec<String>,
    /// Parts of block devices.
    pub devices: Vec<DeviceRange>,
    /// Local ports that serve nothing else.
    pub ports: Vec<u16>,
    /// Keys.
    pub key_ranges: Vec<KeyRange>,
    /// Tables of databases.
    pub relations: Vec<Relation>,
    /// Hash slots.
    pub slots: Vec<SlotRange>,
}

/// Sectors of 512 bytes of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRange {
    /// Absolute path of the device.
    pub device: String,
    /// The first sector.
    pub first_sector: u64,
    /// How many; at least 1, and none past 2^64.
    pub sectors: u64,
}

/// Keys from `first` on, without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub first: Vec<u8>,
    /// The first key after; `None` for no end. After `first`.
    pub end: Option<Vec<u8>>,
}

/// Hash slots of a cluster of Redis or Valkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    /// The first slot.
    pub first: u16,
    /// The last slot; not before the first, and below [`SLOTS`].
    pub last: u16,
}

/// How many hash slots a cluster of Redis or Valkey has.
pub const SLOTS: u16 = 16_384;

/// A table of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}
