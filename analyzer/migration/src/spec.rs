//! What is to be done, on what kind of store, within which limits. Fixed for the life of a migration.

use crate::ids::{MigrationId, Revision};
use crate::names;
use crate::policy::{Policy, PolicyError};
use isotherm_model::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// One migration: one replica of one partition gets another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The migration.
    pub id: MigrationId,
    /// What is moved.
    #[serde(with = "names::partition")]
    pub partition: PartitionId,
    /// From where, and why from there.
    pub origin: Origin,
    /// The node that gets the copy.
    #[serde(with = "names::node")]
    pub target: NodeId,
    /// The topology that this was decided on.
    pub revision: Revision,
    /// What the store's adapter said it can do.
    pub capabilities: Capabilities,
    /// Limits and waiting times.
    pub policy: Policy,
}

/// Where the data comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The source serves; it gives the replica up once the target has it.
    Move {
        /// The node that is to be left.
        #[serde(with = "names::node")]
        source: NodeId,
    },
    /// The source is dead; the adapter copies from any replica that survives.
    Repair {
        /// The node that died, whose place the target takes.
        #[serde(with = "names::node")]
        dead: NodeId,
    },
}

impl Origin {
    /// The node that the target takes the place of.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        match self {
            Self::Move { source } => source,
            Self::Repair { dead } => dead,
        }
    }
}

/// What an adapter can do, as far as a migration depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Who switches.
    pub switch: Switch,
    /// When writes stop. Of no meaning where the engine switches: it does both.
    pub fence: Fence,
    /// A lost replica can be made again from one that survives.
    pub repair_from_replica: bool,
    /// A switch can be taken back during probation.
    pub reverse: bool,
}

/// How clients come to use the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// The machine says when, after it has a passing verification.
    Gated,
    /// The engine copies and switches by itself; verification follows the switch.
    EngineAtomic,
}

/// When writes to the source are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fence {
    /// For the switch only.
    AtSwitch,
    /// For all of the copy.
    BeforeCopy,
}

/// The order of phases that a migration takes; it follows from its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Copy, catch up, verify, wait, fence, switch.
    FenceAtSwitch,
    /// Wait, fence, copy, verify, switch.
    FenceBeforeCopy,
    /// Wait, then one step of the engine, then verify.
    Engine,
    /// Copy from a survivor, catch up, verify, switch; without a fence, and without waiting.
    Repair,
}

/// Why there can be no such migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Source and target are one node.
    #[error("{node} is source and target")]
    SameNode {
        /// The node.
        node: NodeId,
    },
    /// Partition and nodes must belong to one system.
    #[error("{node} is no node of the partition's system {system:?}")]
    OtherSystem {
        /// The node.
        node: NodeId,
        /// The partition's system.
        system: String,
    },
    /// The adapter makes no replica from a survivor.
    #[error("the adapter of {system:?} cannot repair from a surviving replica")]
    NoRepair {
        /// The system.
        system: String,
    },
    /// A limit that would never let it end, or never begin.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Spec {
    /// The order of phases.
    #[must_use]
    pub fn path(&self) -> Path {
        match (&self.origin, self.capabilities.switch, self.capabilities.fence) {
            (
                Origin::Repair { .. },
                Switch::Gated | Switch::EngineAtomic,
                Fence::AtSwitch | Fence::BeforeCopy,
            ) => Path::Repair,
            (Origin::Move { .. }, Switch::EngineAtomic, Fence::AtSwitch | Fence::BeforeCopy) => Path::Engine,
            (Origin::Move { .. }, Switch::Gated, Fence::AtSwitch) => Path::FenceAtSwitch,
            (Origin::Move { .. }, Switch::Gated, Fence::BeforeCopy) => Path::FenceBeforeCopy,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let system = self.partition.system();
        let origin = self.origin.node();
        for node in [origin, &self.target] {
            if node.system() != system {
                return Err(SpecError::OtherSystem { node: node.clone(), system: system.to_string() });
            }
        }
        if *origin == self.target {
            return Err(SpecError::SameNode { node: origin.clone() });
        }
        if self.path() == Path::Repair && !self.capabilities.repair_from_replica {
            return Err(SpecError::NoRepair { system: system.to_string() });
        }
        Ok(self.policy.check()?)
    }
}
