//! Who may serve what: systems, their nodes with failure domains, and the subset of nodes that holds each partition.
//!
//! For each system one source says so: the operator, in the configuration, or an adapter that is [watched](watch).
//! One task [owns](owner) the topology and applies what adapters say to its [model]; everybody else holds a
//! [`Topologies`] and takes the snapshot of the moment, which never changes. Agents' reports are [joined](join) with it by
//! name, and what does not fit is said, never guessed away. What it says of nodes' health, together with what agents
//! say, becomes their [failure history](failure).

mod assumed;
pub(crate) mod failure;
pub(crate) mod join;
pub(crate) mod kept;
mod model;
mod owner;
mod watch;

pub(crate) use assumed::{Assumed, AssumedNode};
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};
use isotherm_proto::tls::ClientFiles;
use isotherm_proto::{Capabilities, Health, Locator, NodeFacts, ShiftReads};
use isotherm_store::Subsets;
pub(crate) use owner::start;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use watch::connect;

/// Where readers take the topology of the moment: `borrow().clone()`, and `changed()` to wait for the next.
pub(crate) type Topologies = tokio::sync::watch::Receiver<Arc<Topology>>;

/// A topology whose references hold: every node of a subset is a node of it. May be empty. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// Rises with every change of anything below, also over restarts: it is not below the milliseconds since the
    /// epoch at the last change. What is decided from a snapshot names it.
    pub(crate) revision: u64,
    /// Every node. Its health is as its source said last; [`Topology::health`] knows how old that is.
    pub(crate) nodes: Arc<BTreeMap<NodeId, NodeFacts>>,
    /// The nodes that hold each partition; never none.
    pub(crate) subsets: Arc<Subsets>,
    /// What else is known of the same partitions.
    pub(crate) partitions: Arc<BTreeMap<PartitionId, Partition>>,
    /// Who says so, by system.
    pub(crate) sources: BTreeMap<SystemId, Source>,
}

/// What is known of a partition beside its subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The node of the subset that leads.
    pub(crate) leader: NodeId,
    /// Bytes on each node that holds it, if known.
    pub(crate) size_bytes: Option<u64>,
    /// Of the subset; 0 if the system has none.
    pub(crate) epoch: u64,
    /// Where it lies; empty if its source does not say. Shared as long as it stays the same.
    pub(crate) locators: Arc<[Locator]>,
}

/// Who says what the topology of a system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// What kind of source.
    pub(crate) origin: Origin,
    /// Whether it can be believed to be of this moment.
    pub(crate) freshness: Freshness,
    /// When it last said something; `None` for the configuration, and before it ever did. Accurate to a second.
    pub(crate) heard: Option<Timestamp>,
    /// Why nothing is heard, or the last message was refused.
    pub(crate) problem: Option<String>,
    /// The source's own revision; 0 for the configuration.
    pub(crate) revision: u64,
    /// Within what that counts.
    pub(crate) incarnation: String,
    /// What an adapter can do, once it has said so.
    pub(crate) capabilities: Option<Arc<Capabilities>>,
    /// How reads can be shifted; not at all before an adapter has said so.
    pub(crate) shift_reads: ShiftReads,
}

/// What kind of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `[[topology]]`.
    Configuration,
    /// An adapter at this address.
    Adapter { endpoint: String },
}

/// Whether a source can be believed to be of this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The configuration, or an adapter that was heard lately.
    Fresh,
    /// Nothing was heard for too long.
    Stale,
    /// Nothing was heard yet.
    Never,
}

/// An adapter to watch, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// Whose topology it knows.
    pub(crate) system: SystemId,
    /// Its address, `http://` or `https://`.
    pub(crate) endpoint: String,
    /// Certificates; `None` for `http://`.
    pub(crate) tls: Option<ClientFiles>,
    /// The longest it may say nothing, whole milliseconds. Default 5 s.
    pub(crate) heartbeat: Duration,
    /// What it said is stale after this time without a word. Default 60 s.
    pub(crate) stale_after: Duration,
    /// What it cannot know of its nodes.
    pub(crate) assumed: Assumed,
}

impl Topology {
    /// What is known of a node's health at this moment; `None` if the topology does not name it. Unknown while its
    /// source is stale, and where the source never says.
    pub(crate) fn health(&self, node: &NodeId) -> Option<Health> {
        let facts = self.nodes.get(node)?;
        match self.sources.get(node.system()).map(|source| source.freshness) {
            Some(Freshness::Fresh) => Some(facts.health),
            Some(Freshness::Stale | Freshness::Never) | None => Some(Health::Unknown),
        }
    }

    /// Nodes that lie in each failure domain, by its path from the outermost one.
    pub(crate) fn domain_sizes(&self, system: &SystemId) -> BTreeMap<&[String], u64> {
        let mut sizes = BTreeMap::new();
        for facts in self.nodes.iter().filter(|(node, _)| node.system() == system).map(|(_, facts)| facts) {
            for depth in 1..=facts.domains.len() {
                *sizes.entry(&facts.domains[..depth]).or_insert(0) += 1;
            }
        }
        sizes
    }
}

impl Source {
    /// The configuration.
    pub(crate) fn configured() -> Self {
        Self {
            origin: Origin::Configuration,
            freshness: Freshness::Fresh,
            heard: None,
            problem: None,
            revision: 0,
            incarnation: String::new(),
            capabilities: None,
            shift_reads: ShiftReads::None,
        }
    }

    /// An adapter that has said nothing yet.
    fn awaited(endpoint: &str) -> Self {
        Self {
            origin: Origin::Adapter { endpoint: endpoint.to_owned() },
            freshness: Freshness::Never,
            ..Self::configured()
        }
    }
}
