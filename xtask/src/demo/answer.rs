//! What `isotherm` answers, as far as the demo reads it. Asked through the program itself: the demo shows
//! what a user would see.

use super::command;
use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A time to ask about, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The first moment.
    pub(super) since_ms: u64,
    /// The first moment after; without it, the newest that all nodes have reported of.
    pub(super) until_ms: Option<u64>,
}

/// A node, and what was counted there. What is absent nobody watched.
#[derive(Debug, Deserialize)]
pub(super) struct NodeAnswer {
    /// The store's own name of it; of a host's device, `AGENT:DEVICE`.
    pub(super) node: String,
    /// It stands for a host or a device of one, not for a node of the store.
    pub(super) host: bool,
    /// Alive at the end of its newest window.
    pub(super) processes: Option<u32>,
    /// End of its newest window.
    pub(super) last_window_end_ms: Option<u64>,
    /// Events that were missed.
    pub(super) lost: Option<u64>,
    layers: BTreeMap<String, BTreeMap<String, Accesses>>,
}

/// Accesses of a node, in parts that sum up to the total.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Accesses {
    /// All.
    pub(super) total: Counts,
    /// Of volumes.
    pub(super) partitions: Counts,
    /// Of files that are no volume's.
    pub(super) other: Counts,
    /// Of files that nobody could name.
    pub(super) unattributed: Counts,
}

/// How often, and how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    /// Completed operations.
    pub(super) ops: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl NodeAnswer {
    /// What was counted in a layer of an operation; `None` if that layer was not watched.
    pub(super) fn accesses(&self, layer: &str, operation: &str) -> Option<Accesses> {
        self.layers.get(layer)?.get(operation).copied()
    }
}

/// A partition, and who accessed it.
#[derive(Debug, Deserialize)]
pub(super) struct PartitionAnswer {
    /// The store's own name of it: the volume's number.
    pub(super) partition: String,
    /// Nodes that touched it.
    pub(super) nodes: Vec<ShareAnswer>,
}

/// A node's accesses of a partition.
#[derive(Debug, Deserialize)]
pub(super) struct ShareAnswer {
    /// Its name.
    pub(super) node: String,
    layers: BTreeMap<String, BTreeMap<String, Counts>>,
}

impl ShareAnswer {
    /// What was counted; nothing if the answer does not name it, as then no window had a row of it.
    pub(super) fn counts(&self, layer: &str, operation: &str) -> Counts {
        self.layers.get(layer).and_then(|layer| layer.get(operation)).copied().unwrap_or_default()
    }
}

/// A node and its peers.
#[derive(Debug, Deserialize)]
pub(super) struct PeersAnswer {
    /// Its name.
    pub(super) node: String,
    /// By local and remote address.
    pub(super) peers: Vec<PeerAnswer>,
}

/// What a node exchanged with a peer.
#[derive(Debug, Deserialize)]
pub(super) struct PeerAnswer {
    /// The node's own address; port 0 if it opened the connections.
    pub(super) local: String,
    /// The peer's address, port 0 if that opened them; `None` for all that are not told apart.
    pub(super) remote: Option<String>,
    /// `node`, `client` and so on.
    pub(super) is: String,
    /// Which node, if it is one.
    pub(super) peer_node: Option<String>,
    /// What the node got.
    pub(super) received: Counts,
    /// What it gave.
    pub(super) sent: Counts,
    /// Connections that it accepted.
    pub(super) accepts: u64,
}

/// A partition's entropy over a step.
#[derive(Debug, Deserialize)]
pub(super) struct EntropyAnswer {
    /// The volume's number.
    pub(super) partition: String,
    /// By eligible node, zeros included.
    pub(super) shares: Vec<Share>,
    /// The entropy, or why there is none.
    pub(super) node_entropy: NodeEntropyAnswer,
}

/// What an eligible node read.
#[derive(Debug, Deserialize)]
pub(super) struct Share {
    /// Its name.
    pub(super) node: String,
    /// Reads; `None` if it was not watched.
    pub(super) reads: Option<u64>,
}

/// A node entropy, or why there is none.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum NodeEntropyAnswer {
    /// Measured.
    Known {
        /// Bits.
        bits: f64,
        /// Bits over the most that is possible, 0..1.
        normalised: f64,
    },
    /// A node was not watched for all of the time.
    Unknown {},
    /// Fewer than two nodes may serve.
    NotApplicable {},
    /// Too few reads.
    Insufficient {},
}

impl NodeEntropyAnswer {
    /// The entropy in bits, if it is known.
    pub(super) fn bits(&self) -> Option<f64> {
        match self {
            Self::Known { bits, .. } => Some(*bits),
            Self::Unknown {} | Self::NotApplicable {} | Self::Insufficient {} => None,
        }
    }

    /// The word for it.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Known { .. } => "known",
            Self::Unknown {} => "unknown",
            Self::NotApplicable {} => "not_applicable",
            Self::Insufficient {} => "insufficient",
        }
    }
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<NodeAnswer>,
}

#[derive(Deserialize)]
struct Partitions {
    partitions: Vec<PartitionAnswer>,
}

#[derive(Deserialize)]
struct Peers {
    nodes: Vec<PeersAnswer>,
}

#[derive(Deserialize)]
struct Entropies {
    entropies: Vec<EntropyAnswer>,
}

/// `isotherm get nodes`, hosts and their devices included.
pub(super) fn nodes(endpoint: &str, span: Span) -> Result<Vec<NodeAnswer>> {
    let answer: Nodes = ask(endpoint, &["get", "nodes"], span)?;
    Ok(answer.nodes)
}

/// `isotherm get partitions`.
pub(super) fn partitions(endpoint: &str, span: Span) -> Result<Vec<PartitionAnswer>> {
    let answer: Partitions = ask(endpoint, &["get", "partitions"], span)?;
    Ok(answer.partitions)
}

/// `isotherm get peers`.
pub(super) fn peers(endpoint: &str, span: Span) -> Result<Vec<PeersAnswer>> {
    let answer: Peers = ask(endpoint, &["get", "peers"], span)?;
    Ok(answer.nodes)
}

/// `isotherm analyze entropy`, the whole span as one step.
pub(super) fn entropies(endpoint: &str, span: Span) -> Result<Vec<EntropyAnswer>> {
    let answer: Entropies = ask(endpoint, &["analyze", "entropy", "--step", "all"], span)?;
    Ok(answer.entropies)
}

fn ask<T: DeserializeOwned>(endpoint: &str, question: &[&str], span: Span) -> Result<T> {
    let since = format!("--since=@{}", span.since_ms);
    let until = span.until_ms.map(|until_ms| format!("--until=@{until_ms}"));
    let of_span = [since.as_str()].into_iter().chain(until.as_deref());
    command::ask(endpoint, &question.iter().copied().chain(of_span).collect::<Vec<_>>())
}
