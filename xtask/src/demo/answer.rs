//! What `isotherm` answers, as far as the demo reads it. Asked through the program itself: the demo shows
//! what a user would see.

use crate::shell;
use anyhow::{Context, Result};
use isotherm_tests::workspace;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
    /// The store's own name of it.
    pub(super) node: String,
    /// It stands for a host, not for a node of the store.
    host: bool,
    /// Alive at the end of its newest window.
    pub(super) processes: Option<u32>,
    /// End of its newest window.
    pub(super) last_window_end_ms: Option<u64>,
    /// Accesses of files that are no volume's.
    pub(super) other: Option<Activity>,
    /// Accesses of files that nobody could name.
    pub(super) unattributed: Option<Activity>,
    /// Events that were missed.
    pub(super) lost: Option<u64>,
}

/// Accesses.
#[derive(Debug, Deserialize)]
pub(super) struct Activity {
    /// Reads.
    pub(super) reads: u64,
}

/// A partition, and who read it.
#[derive(Debug, Deserialize)]
pub(super) struct PartitionAnswer {
    /// The store's own name of it: the volume's number.
    pub(super) partition: String,
    /// Nodes that touched it.
    pub(super) nodes: Vec<NodeReads>,
}

/// Reads of one node.
#[derive(Debug, Deserialize)]
pub(super) struct NodeReads {
    /// Its name.
    pub(super) node: String,
    /// Reads.
    pub(super) reads: u64,
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
struct Entropies {
    entropies: Vec<EntropyAnswer>,
}

/// `isotherm get nodes`, without the hosts.
pub(super) fn nodes(endpoint: &str, span: Span) -> Result<Vec<NodeAnswer>> {
    let answer: Nodes = ask(endpoint, &["get", "nodes"], span)?;
    Ok(answer.nodes.into_iter().filter(|node| !node.host).collect())
}

/// `isotherm get partitions`.
pub(super) fn partitions(endpoint: &str, span: Span) -> Result<Vec<PartitionAnswer>> {
    let answer: Partitions = ask(endpoint, &["get", "partitions"], span)?;
    Ok(answer.partitions)
}

/// `isotherm analyze entropy`, the whole span as one step.
pub(super) fn entropies(endpoint: &str, span: Span) -> Result<Vec<EntropyAnswer>> {
    let answer: Entropies = ask(endpoint, &["analyze", "entropy", "--step", "all"], span)?;
    Ok(answer.entropies)
}

fn ask<T: DeserializeOwned>(endpoint: &str, question: &[&str], span: Span) -> Result<T> {
    let mut isotherm = shell::clean(workspace::program("isotherm"));
    isotherm.args(question).args(["--server", endpoint, "-o", "json"]);
    isotherm.arg("--since").arg(format!("@{}", span.since_ms));
    isotherm.args(span.until_ms.map(|until_ms| format!("--until=@{until_ms}")));
    let said = shell::read(&mut isotherm)?;
    serde_json::from_str(&said).with_context(|| format!("parse the answer to {question:?}: {said}"))
}
