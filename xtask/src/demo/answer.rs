//! What `isotherm` answers, as far as the demo reads it. Asked through the program itself: the demo shows
//! what a user would see.

use crate::shell;
use anyhow::{Context, Result};
use isotherm_tests::workspace;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A time to ask about, in milliseconds since the epoch: start, and the first moment after.
pub(super) type Span = (u64, u64);

/// A node, and what was counted there.
#[derive(Debug, Deserialize)]
pub(super) struct NodeAnswer {
    /// The store's own name of it.
    pub(super) name: String,
    /// Alive at the end of its newest window; absent if it never reported.
    pub(super) processes: Option<u32>,
    /// End of its newest window; absent if it never reported.
    pub(super) last_window_end_ms: Option<u64>,
    /// Accesses of files that are no volume's.
    pub(super) other: Activity,
    /// Accesses of files that nobody could name.
    pub(super) unattributed: Activity,
    /// Events that were missed.
    pub(super) lost: u64,
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
    pub(super) name: String,
    /// Nodes that touched it.
    pub(super) nodes: Vec<NodeActivity>,
}

/// A node's part in a partition.
#[derive(Debug, Deserialize)]
pub(super) struct NodeActivity {
    /// Its name.
    pub(super) node: String,
    /// What it did.
    pub(super) activity: Activity,
}

/// A partition's entropy over a step.
#[derive(Debug, Deserialize)]
pub(super) struct EntropyAnswer {
    /// The volume's number.
    pub(super) partition: String,
    /// Reads by node, zeros included.
    pub(super) shares: Vec<Share>,
    /// The entropy, or why there is none.
    pub(super) node_entropy: serde_json::Value,
}

impl EntropyAnswer {
    /// The entropy in bits, if it is known.
    pub(super) fn bits(&self) -> Option<f64> {
        self.node_entropy.get("known")?.get("bits")?.as_f64()
    }

    /// Bits over the most that is possible, if known.
    pub(super) fn normalised(&self) -> Option<f64> {
        self.node_entropy.get("known")?.get("normalised")?.as_f64()
    }
}

/// Reads of one node.
#[derive(Debug, Deserialize)]
pub(super) struct Share {
    /// Its name.
    pub(super) node: String,
    /// Reads.
    pub(super) reads: u64,
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

/// `isotherm get nodes`, over all that is kept or a span.
pub(super) fn nodes(endpoint: &str, span: Option<Span>) -> Result<Vec<NodeAnswer>> {
    let answer: Nodes = ask(endpoint, &["get", "nodes"], span)?;
    Ok(answer.nodes)
}

/// `isotherm get partitions`.
pub(super) fn partitions(endpoint: &str, span: Span) -> Result<Vec<PartitionAnswer>> {
    let answer: Partitions = ask(endpoint, &["get", "partitions"], Some(span))?;
    Ok(answer.partitions)
}

/// `isotherm analyze entropy`, the whole span as one step.
pub(super) fn entropies(endpoint: &str, span: Span) -> Result<Vec<EntropyAnswer>> {
    let answer: Entropies = ask(endpoint, &["analyze", "entropy", "--step", "all"], Some(span))?;
    Ok(answer.entropies)
}

fn ask<T: DeserializeOwned>(endpoint: &str, question: &[&str], span: Option<Span>) -> Result<T> {
    let mut isotherm = shell::clean(workspace::program("isotherm"));
    isotherm.args(question).args(["--server", endpoint, "-o", "json"]);
    if let Some((since_ms, until_ms)) = span {
        isotherm.arg("--since").arg(format!("@{since_ms}")).arg("--until").arg(format!("@{until_ms}"));
    }
    let said = shell::read(&mut isotherm)?;
    serde_json::from_str(&said).with_context(|| format!("parse the answer to {question:?}: {said}"))
}
