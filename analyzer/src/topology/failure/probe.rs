//! Whether nodes answer: a TCP connection to where they serve, opened and closed.
//!
//! Nodes are tried with the operator's leave only: those of unknown health, and those that no agent watches, for which
//! it is the second signal; also for a day after the topology has forgotten them. Whoever never answered says nothing by
//! not answering. A refused connection is an answer of the host: the process is gone. No answer at all could as well be the
//! analyzer's own network, so it counts only while at least half of the nodes that answered before still do.

use crate::topology::Topology;
use crate::topology::join::expected;
use futures::StreamExt;
use isotherm_model::NodeId;
use isotherm_proto::Health;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each node is tried.
const EVERY: Duration = Duration::from_secs(5);

/// Connections at a time.
const AT_A_TIME: usize = 128;

/// How long a node is tried that the topology does not name any more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Connected,
    Refused,
    Nothing,
}

/// What a node's answers say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers.
    Answered,
    /// It answered before and does not now; in words that follow "and".
    Failed(String),
}

/// The answers of all nodes that were tried.
#[derive(Debug, Clone)]
pub(super) struct Probes {
    allowed: bool,
    last: Option<Instant>,
    /// Nodes that answered once.
    nodes: BTreeMap<NodeId, Known>,
}

/// A node that answered once.
#[derive(Debug, Clone)]
struct Known {
    address: SocketAddr,
    /// What became of the last try.
    tried: Tried,
    /// When the topology named it last.
    named: Instant,
}

impl Probes {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, last: None, nodes: BTreeMap::new() }
    }

    /// Tries nodes that need it, if it is time. `watched`: those that an agent has reported.
    pub(super) async fn refresh(&mut self, topology: &Topology, watched: &BTreeSet<NodeId>) {
        let now = Instant::now();
        if !self.allowed || self.last.is_some_and(|last| last + EVERY > now) {
            return;
        }
        self.last = Some(now);
        let before = std::mem::take(&mut self.nodes);
        let named = topology
            .nodes
            .keys()
            .filter(|node| topology.health(node) == Some(Health::Unknown) || !watched.contains(*node));
        let named = named.filter_map(|node| Some((node.clone(), *expected(topology, node).first()?, now)));
        let forgotten = before.iter().filter(|(node, known)| {
            !topology.nodes.contains_key(*node) && now.duration_since(known.named) < FORGOTTEN
        });
        let forgotten = forgotten.map(|(node, known)| (node.clone(), known.address, known.named));
        let targets: Vec<_> = named.chain(forgotten).collect();
        let tries = futures::stream::iter(targets).map(|(node, address, named)| async move {
            let tried = connect(address).await;
            (node, Known { address, tried, named })
        });
        let tried: Vec<_> = tries.buffer_unordered(AT_A_TIME).collect().await;
        let answered =
            |(node, known): &(NodeId, Known)| known.tried == Tried::Connected || before.contains_key(node);
        self.nodes = tried.into_iter().filter(answered).collect();
    }

    /// Nodes that answered once.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// What is known of a node; `None` if it never answered, or nobody can tell.
    pub(super) fn of(&self, node: &NodeId) -> Option<Answer> {
        let Known { address, tried, .. } = self.nodes.get(node)?;
        match tried {
            Tried::Connected => Some(Answer::Answered),
            Tried::Refused => Some(Answer::Failed(format!("a connection to {address} is refused"))),
            Tried::Nothing => {
                let answering = self.nodes.values().filter(|known| known.tried != Tried::Nothing).count();
                let counts = answering * 2 >= self.nodes.len();
                counts.then(|| Answer::Failed(format!("nothing answers at {address}")))
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Tried {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Tried::Connected,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Tried::Refused,
        Ok(Err(_)) | Err(_) => Tried::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::SystemId;

    fn id(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn probes(nodes: &[(&str, Tried)]) -> Probes {
        let address = "10.0.0.1:80".parse().unwrap();
        let known = |tried: &Tried| Known { address, tried: *tried, named: Instant::now() };
        let nodes = nodes.iter().map(|(name, tried)| (id(name), known(tried))).collect();
        Probes { allowed: true, last: None, nodes }
    }

    #[test]
    fn silence_of_most_nodes_is_the_analyzers_own() {
        let alone = probes(&[("a", Tried::Nothing)]);
        assert_eq!(alone.of(&id("a")), None);
        let one_of_two = probes(&[("a", Tried::Nothing), ("b", Tried::Connected)]);
        let failed = Some(Answer::Failed("nothing answers at 10.0.0.1:80".to_owned()));
        assert_eq!(one_of_two.of(&id("a")), failed);
        let most = probes(&[("a", Tried::Nothing), ("b", Tried::Nothing), ("c", Tried::Connected)]);
        assert_eq!((most.of(&id("a")), most.of(&id("c"))), (None, Some(Answer::Answered)));
        let refused = probes(&[("a", Tried::Refused)]);
        let failed = Some(Answer::Failed("a connection to 10.0.0.1:80 is refused".to_owned()));
        assert_eq!(refused.of(&id("a")), failed, "a host that refuses is there");
        assert_eq!(refused.of(&id("never tried")), None);
    }
}
