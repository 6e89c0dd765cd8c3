//! The cluster as it is known to a cycle: nodes with their hazards, domains, and who holds what.
//!
//! Made once for each revision by whoever knows the topology and the failures; positions in it stand for names.

use crate::policy::Shifts;
use isotherm_model::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whether a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It does, and may take more.
    Up,
    /// It does, and is to be emptied.
    Draining,
    /// It does not.
    Down,
    /// Nobody says.
    Unknown,
    /// It does, keeps what it has, and takes nothing more.
    Cordoned,
}

/// How a hazard is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HazardSource {
    /// Of nothing that was observed: what is assumed of any node.
    Prior,
    /// Of failures of its class, and its own.
    Observed,
    /// An operator says so.
    Override,
}

/// Failures to be expected of a node or a domain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hazard {
    /// Per hour; finite, not negative.
    pub per_hour: f64,
    /// Standard deviation of what is believed of that.
    pub sd_per_hour: f64,
    /// The same over the mean of its class.
    pub over_class: f64,
    /// How it is known.
    pub source: HazardSource,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// System and name.
    pub system: String,
    /// Its name in the system.
    pub name: String,
    /// Its class of hardware.
    pub class: String,
    /// Failure domains it lies in, as positions in [`Cluster::domains`], outermost first.
    pub domains: Vec<u32>,
    /// Reads per second that it can bear; `None` if nobody has measured or said it.
    pub capacity_per_s: Option<f64>,
    /// Bytes it can hold; `None` if unknown.
    pub capacity_bytes: Option<u64>,
    /// Whether it serves.
    pub state: NodeState,
    /// How its system shifts reads, as its adapter says.
    pub shifts: Shifts,
    /// Failures to be expected.
    pub hazard: Hazard,
    /// Failures that were observed, and the hours in which they would have been.
    pub failures: u64,
    /// See `failures`.
    pub observed_h: f64,
}

/// A failure domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainFacts {
    /// Its name and those around it, outermost first, such as `dc1/rackA`.
    pub name: String,
    /// Failures of the whole domain to be expected.
    pub hazard: Hazard,
}

/// How reads are kept off a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is drained: it serves none.
    Drained,
    /// Another one leads.
    Led,
}

/// A shift of reads that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// The node that reads are kept off, as a position in [`Cluster::nodes`].
    pub node: u32,
    /// How.
    pub kept: Kept,
    /// Since when, milliseconds.
    pub since_ms: u64,
    /// A suspicion that it answers badly was what for.
    pub gray: bool,
}

/// What is begun of a partition, or waits to be, and will have nodes serve what they do not serve yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coming {
    /// A replica gets another node; positions in [`Cluster::nodes`].
    Move {
        /// Who gives it up, or has lost it.
        from: u32,
        /// Who gets it, and is no holder yet.
        to: u32,
    },
    /// A holder is to serve no reads.
    Drain {
        /// It.
        from: u32,
    },
    /// Another holder is to lead.
    Lead {
        /// It.
        to: u32,
    },
}

impl Coming {
    fn nodes(&self) -> impl Iterator<Item = &u32> {
        let (one, other) = match self {
            Self::Move { from, to } => (from, Some(to)),
            Self::Drain { from: node } | Self::Lead { to: node } => (node, None),
        };
        std::iter::once(one).chain(other)
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionFacts {
    /// System.
    pub system: String,
    /// Its name in the system.
    pub name: String,
    /// Who holds it, as positions in [`Cluster::nodes`], the leader first where there is one.
    pub holders: Vec<u32>,
    /// Bytes of one replica; `None` if unknown.
    pub size_bytes: Option<u64>,
    /// Replicas it should have.
    pub replicas: u8,
    /// Whether a move of it is under way.
    pub moving: bool,
    /// Whether it must not be moved.
    pub pinned: bool,
    /// The shift of its reads that is in force, if one is.
    pub shift: Option<Shift>,
    /// What is on its way.
    pub coming: Option<Coming>,
}

impl PartitionFacts {
    /// The node that serves none of its reads because of a shift.
    #[must_use]
    pub fn drained(&self) -> Option<u32> {
        self.shift.filter(|shift| shift.kept == Kept::Drained).map(|shift| shift.node)
    }
}

/// All of it. Nodes and partitions are sorted by system and name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// Counts changes of the topology.
    pub revision: u64,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// The failure domains, of all systems.
    pub domains: Vec<DomainFacts>,
    /// The partitions.
    pub partitions: Vec<PartitionFacts>,
}

/// Why a cluster cannot be one.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ClusterError {
    /// Two entries of one name, or not in their order.
    #[error("{what} {name} is out of order or there twice")]
    Order {
        /// `node` or `partition`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A position that is none.
    #[error("{what} {name} names {of} number {position}, and there is none")]
    Position {
        /// `node` or `partition`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What it names.
        of: &'static str,
        /// The position.
        position: u32,
    },
    /// A number that is none, or negative.
    #[error("{what} {name}: {field} is {value}")]
    Number {
        /// `node` or `domain`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Which number.
        field: &'static str,
        /// The number.
        value: f64,
    },
}

impl Cluster {
    /// Checks order, positions and numbers.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn check(&self) -> Result<(), ClusterError> {
        in_order("node", self.nodes.iter().map(|node| (node.system.as_str(), node.name.as_str())))?;
        in_order("partition", self.partitions.iter().map(|one| (one.system.as_str(), one.name.as_str())))?;
        for node in &self.nodes {
            hazard("node", &node.name, node.hazard)?;
            let position = |position: &&u32| **position as usize >= self.domains.len();
            if let Some(position) = node.domains.iter().find(position) {
                return Err(nowhere("node", &node.name, "domain", *position));
            }
            for (field, value) in
                [("capacity", node.capacity_per_s), ("observed hours", Some(node.observed_h))]
            {
                number("node", &node.name, field, value.unwrap_or(0.0))?;
            }
        }
        for domain in &self.domains {
            hazard("domain", &domain.name, domain.hazard)?;
        }
        for partition in &self.partitions {
            let position = |position: &&u32| **position as usize >= self.nodes.len();
            let shift = partition.shift.as_ref().map(|shift| &shift.node);
            let coming = partition.coming.iter().flat_map(Coming::nodes);
            if let Some(position) = partition.holders.iter().chain(shift).chain(coming).find(position) {
                return Err(nowhere("partition", &partition.name, "node", *position));
            }
        }
        Ok(())
    }

    /// Where a node is among the nodes.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<usize> {
        let key = (id.system().as_str(), id.name());
        self.nodes.binary_search_by(|node| (node.system.as_str(), node.name.as_str()).cmp(&key)).ok()
    }

    /// Where a partition is among the partitions.
    #[must_use]
    pub fn partition(&self, id: &PartitionId) -> Option<usize> {
        let key = (id.system().as_str(), id.name());
        self.partitions.binary_search_by(|one| (one.system.as_str(), one.name.as_str()).cmp(&key)).ok()
    }
}

fn in_order<'a>(
    what: &'static str,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), ClusterError> {
    let mut before = None;
    for name in names {
        if before.is_some_and(|before| before >= name) {
            return Err(ClusterError::Order { what, name: format!("{}/{}", name.0, name.1) });
        }
        before = Some(name);
    }
    Ok(())
}

fn nowhere(what: &'static str, name: &str, of: &'static str, position: u32) -> ClusterError {
    ClusterError::Position { what, name: name.to_owned(), of, position }
}

fn hazard(what: &'static str, name: &str, hazard: Hazard) -> Result<(), ClusterError> {
    number(what, name, "hazard", hazard.per_hour)?;
    number(what, name, "deviation of the hazard", hazard.sd_per_hour)?;
    number(what, name, "hazard over its class's", hazard.over_class)
}

fn number(what: &'static str, name: &str, field: &'static str, value: f64) -> Result<(), ClusterError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(ClusterError::Number { what, name: name.to_owned(), field, value })
    }
}
