//! The network layer: what the volume servers exchanged with the load's clients, and with each other.
//!
//! The truth is what the clients counted at their own sockets. Bytes and connections have to be equal;
//! operations need not be, as one side may send at once what the other takes in pieces. What nodes send to
//! each other is known from below only: each PUT's object goes from the node that got it to the other one.

use super::compared::Compared;
use crate::demo::answer::{PeerAnswer, PeersAnswer};
use crate::demo::phase::Happened;
use isotherm_tests::client::Traffic;
use isotherm_tests::load::TrueRequests;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// What the report says of that.
pub(super) const NOT_COMPARED: &str = "operations: one side may send at once what the other takes in pieces";

/// The layer's part of a phase.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Network {
    /// Whether every client's line is equal, and no replication is missing.
    pub(in crate::demo) equal: bool,
    not_compared: &'static str,
    /// By node and client.
    pub(super) clients: Vec<OfClient>,
    /// By the node that sent and the one that it sent to.
    pub(super) replication: Vec<Replication>,
}

/// What a node exchanged with a client, as the node has it.
#[derive(Debug, Serialize)]
pub(super) struct OfClient {
    pub(super) node: String,
    /// Its address, or why there is none.
    pub(super) client: String,
    pub(super) received_bytes: Compared,
    pub(super) sent_bytes: Compared,
    pub(super) accepts: Compared,
}

impl OfClient {
    fn all(&self) -> [&Compared; 3] {
        [&self.received_bytes, &self.sent_bytes, &self.accepts]
    }
}

/// What a node sent to another on the connections that it opened to it.
#[derive(Debug, Serialize)]
pub(super) struct Replication {
    pub(super) node: String,
    pub(super) peer: String,
    /// The objects that went this way, without what HTTP adds.
    pub(super) at_least_bytes: u64,
    pub(super) sent_bytes: u64,
    /// What the peer has of the same.
    pub(super) received_bytes: u64,
}

impl Replication {
    fn plausible(&self) -> bool {
        self.sent_bytes >= self.at_least_bytes && self.sent_bytes == self.received_bytes
    }
}

impl Network {
    pub(super) fn of(truth: &Happened, counted: &[PeersAnswer]) -> Self {
        let clients = clients(&truth.traffic, counted);
        let replication = replication(&truth.requests, truth.object_bytes, counted);
        let equal = clients.iter().flat_map(OfClient::all).all(Compared::equal)
            && replication.iter().all(Replication::plausible);
        Self { equal, not_compared: NOT_COMPARED, clients, replication }
    }

    /// Sums over nodes and clients: bytes received, bytes sent, connections accepted.
    pub(super) fn sums(&self) -> [Compared; 3] {
        sums(&self.clients)
    }
}

/// What all nodes exchanged with clients: bytes received, bytes sent, connections accepted.
pub(in crate::demo) fn with_clients(truth: &[Traffic], counted: &[PeersAnswer]) -> [Compared; 3] {
    sums(&clients(truth, counted))
}

fn sums(clients: &[OfClient]) -> [Compared; 3] {
    [0, 1, 2].map(|which| {
        let parts = || clients.iter().map(|line| line.all()[which]);
        let counted = parts().map(|part| part.counted).sum();
        Compared { truth: parts().map(|part| part.truth).sum(), counted }
    })
}

/// Received, sent, connections.
type Exchanged = [u64; 3];

/// One line per node and client that the truth or the counts name; who is not named has 0. Counted is what came
/// to the node's own port and from no node.
fn clients(truth: &[Traffic], counted: &[PeersAnswer]) -> Vec<OfClient> {
    let mut pairs: BTreeMap<(String, String), [Exchanged; 2]> = BTreeMap::new();
    for traffic in truth {
        let place = (traffic.server.clone(), traffic.client.to_string());
        // What the client sent is what the node received.
        pairs.entry(place).or_default()[0] =
            [traffic.sent_bytes, traffic.received_bytes, traffic.connections];
    }
    for node in counted {
        for peer in node.peers.iter().filter(|peer| peer.local == node.node && peer.is != "node") {
            let line = pairs.entry((node.node.clone(), client(peer))).or_default();
            line[1][0] += peer.received.bytes;
            line[1][1] += peer.sent.bytes;
            line[1][2] += peer.accepts;
        }
    }
    let line = |((node, client), [truth, counted]): (_, [Exchanged; 2])| {
        let [received_bytes, sent_bytes, accepts] =
            [0, 1, 2].map(|which| Compared::known(truth[which], counted[which]));
        OfClient { node, client, received_bytes, sent_bytes, accepts }
    };
    pairs.into_iter().map(line).collect()
}

/// The address of a peer that is a client, or what it is.
fn client(peer: &PeerAnswer) -> String {
    let address = peer.remote.as_ref().and_then(|remote| remote.parse::<SocketAddr>().ok());
    match address {
        Some(address) if peer.is == "client" => address.ip().to_string(),
        Some(address) => format!("{} ({})", address.ip(), peer.is),
        None => peer.is.clone(),
    }
}

/// One line per way that an object took, or that the counts name.
fn replication(truth: &[TrueRequests], object_bytes: u64, counted: &[PeersAnswer]) -> Vec<Replication> {
    let mut ways: BTreeMap<(String, String), u64> = BTreeMap::new();
    for given in truth.iter().filter(|row| row.puts > 0) {
        for other in truth.iter().filter(|row| row.volume == given.volume && row.node != given.node) {
            *ways.entry((given.node.clone(), other.node.clone())).or_default() += given.puts * object_bytes;
        }
    }
    let between = |node: &str, peer: &str, inbound: bool| {
        let of_node = counted.iter().filter(|answer| answer.node == node).flat_map(|answer| &answer.peers);
        let port = if inbound { node } else { peer };
        let to_port = of_node.filter(|row| {
            row.is == "node"
                && row.peer_node.as_deref() == Some(peer)
                && if inbound { row.local == port } else { row.remote.as_deref() == Some(port) }
        });
        to_port.map(|row| if inbound { row.received.bytes } else { row.sent.bytes }).sum::<u64>()
    };
    let nodes: BTreeSet<&String> = counted.iter().map(|answer| &answer.node).collect();
    for node in &nodes {
        for peer in nodes.iter().filter(|peer| **peer != *node && between(node, peer, false) > 0) {
            ways.entry(((*node).clone(), (*peer).clone())).or_default();
        }
    }
    let line = |((node, peer), at_least_bytes): ((String, String), u64)| Replication {
        at_least_bytes,
        sent_bytes: between(&node, &peer, false),
        received_bytes: between(&peer, &node, true),
        node,
        peer,
    };
    ways.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn answers() -> Vec<PeersAnswer> {
        let counted = serde_json::json!([
            {"node": "10.0.0.1:80", "peers": [
                {"local": "10.0.0.1:80", "remote": "10.0.0.9:0", "is": "client", "peer_node": null,
                 "received": {"ops": 1, "bytes": 5}, "sent": {"ops": 2, "bytes": 70}, "accepts": 1},
                {"local": "10.0.0.1:0", "remote": "10.0.0.2:80", "is": "node", "peer_node": "10.0.0.2:80",
                 "received": {"ops": 1, "bytes": 3}, "sent": {"ops": 2, "bytes": 1_100}, "accepts": 0}
            ]},
            {"node": "10.0.0.2:80", "peers": [
                {"local": "10.0.0.2:80", "remote": "10.0.0.1:0", "is": "node", "peer_node": "10.0.0.1:80",
                 "received": {"ops": 1, "bytes": 1_100}, "sent": {"ops": 2, "bytes": 3}, "accepts": 1}
            ]}
        ]);
        serde_json::from_value(counted).unwrap()
    }

    #[test]
    fn what_the_client_sent_is_what_the_node_received() {
        let mut traffic = Traffic {
            server: "10.0.0.1:80".to_owned(),
            client: Ipv4Addr::new(10, 0, 0, 9),
            sent_bytes: 5,
            received_bytes: 70,
            connections: 1,
        };
        let lines = clients(std::slice::from_ref(&traffic), &answers());
        assert_eq!(lines.len(), 1, "replication is no client's: {lines:?}");
        assert!(lines[0].all().into_iter().all(Compared::equal), "{lines:?}");
        traffic.connections = 2;
        assert!(!clients(&[traffic], &answers())[0].accepts.equal());
        assert!(!clients(&[], &answers())[0].sent_bytes.equal(), "nobody sent that");
    }

    #[test]
    fn replication_that_is_less_than_the_objects_is_missing() {
        let row = |node: &str, puts| TrueRequests {
            volume: 1,
            node: node.to_owned(),
            gets: 0,
            get_bytes: 0,
            puts,
            writes: 2,
        };
        let rows = |first, second| [row("10.0.0.1:80", first), row("10.0.0.2:80", second)];
        let whole = replication(&rows(2, 0), 500, &answers());
        assert!(whole.len() == 1 && whole[0].plausible(), "{whole:?}");
        assert!(!replication(&rows(3, 0), 500, &answers())[0].plausible());
        assert!(!replication(&rows(2, 1), 500, &answers()).iter().all(Replication::plausible));
    }
}
