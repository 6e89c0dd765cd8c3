//! Peers of nodes, and what can be told of who they are.
//!
//! An address says who a peer is only if it is known to be one other node's and nobody else's. What is known are
//! addresses in the topology and names there that are addresses, addresses that nodes listen on, and their own side of connections;
//! never loopback, which every host has. A peer is a client (or a server, if the node opened the connection) only
//! if the addresses of all nodes of the system are known and its is none of them.

use super::partition_filter;
use super::place::counts_to_wire;
use crate::topology::Topology;
use isotherm_model::{NodeId, Operation};
use isotherm_proto::control::v1 as wire;
use isotherm_store::{Ends, Exchanged, NodePeers, NodeReport, QueryError, Reader, Span};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The most peers of an answer, over all its nodes: about 15 MB on the wire. Others are summed.
const MAX_PEERS: usize = 100_000;

/// Answers a question about peers.
pub(super) fn list(
    reader: &Reader,
    topology: &Topology,
    span: Span,
    request: &wire::ListPeersRequest,
) -> Result<Vec<wire::NodePeers>, QueryError> {
    let reports = reader.nodes()?;
    let accepts = |node: &NodeId| {
        request.node.is_empty() || node.name() == request.node || node.to_string() == request.node
    };
    if !request.node.is_empty()
        && !topology.nodes.keys().chain(reports.iter().map(|report| &report.node)).any(accepts)
    {
        return Err(QueryError::NoSuchNode { name: request.node.clone() });
    }
    let filter = partition_filter(&request.partition);
    let mut activity = reader.peer_activity(span, &filter)?;
    let addresses = Addresses::known(topology, &reports, &activity);
    activity.retain(|node, peers| accepts(node) && (request.partition.is_empty() || !peers.is_empty()));
    if activity.is_empty() && !request.partition.is_empty() {
        let named = topology.subsets.keys();
        let name = &request.partition;
        let in_topology = named.into_iter().any(|id| id.name() == name || id.to_string() == *name);
        if !in_topology && !reader.saw_partition(span, name)? {
            return Err(QueryError::NoSuchPartition { name: name.clone() });
        }
    }
    let limit = MAX_PEERS / activity.len().max(1);
    let top = usize::try_from(request.top).ok().filter(|top| *top > 0).map_or(limit, |top| top.min(limit));
    Ok(activity.into_iter().map(|(node, peers)| node_peers(&node, peers, top, &addresses)).collect())
}

fn node_peers(node: &NodeId, peers: NodePeers, top: usize, addresses: &Addresses) -> wire::NodePeers {
    let mut peers: Vec<(Ends, Exchanged)> = peers.into_iter().collect();
    peers.sort_by_cached_key(|(ends, exchanged)| {
        let bytes = exchanged.values().fold(0u64, |sum, counts| sum.saturating_add(counts.bytes));
        (Reverse(bytes), ends.clone())
    });
    let rest = peers.split_off(top.min(peers.len()));
    let mut sum = Exchanged::new();
    for (operation, counts) in rest.iter().flat_map(|(_, exchanged)| exchanged) {
        let all = sum.entry(*operation).or_default();
        *all = all.plus(*counts);
    }
    wire::NodePeers {
        system: node.system().to_string(),
        node: node.name().to_owned(),
        peers: peers.into_iter().map(|(ends, exchanged)| peer(node, ends, &exchanged, addresses)).collect(),
        rest: (!rest.is_empty()).then(|| exchanged_to_wire(&sum)),
        rest_peers: rest.len() as u64,
    }
}

fn peer(node: &NodeId, ends: Ends, exchanged: &Exchanged, addresses: &Addresses) -> wire::Peer {
    let direction = direction(&ends);
    let (kind, who) = match (ends.node, ends.remote) {
        (Some(who), _) => (wire::PeerKind::Node, Some(who)),
        (None, None) => (wire::PeerKind::Others, None),
        (None, Some(remote)) => match (addresses.who(node, remote), direction) {
            (Who::Node(who), _) => (wire::PeerKind::Node, Some(who.clone())),
            (Who::NoNode, wire::Direction::Inbound) => (wire::PeerKind::Client, None),
            (Who::NoNode, wire::Direction::Outbound) => (wire::PeerKind::Server, None),
            (Who::NoNode, wire::Direction::Unspecified) | (Who::Unknown, _) => {
                (wire::PeerKind::Unknown, None)
            }
        },
    };
    wire::Peer {
        local: ends.local.to_string(),
        remote: ends.remote.map(|remote| remote.to_string()).unwrap_or_default(),
        direction: direction.into(),
        kind: kind.into(),
        node_system: who.as_ref().map(|who| who.system().to_string()).unwrap_or_default(),
        node: who.map(|who| who.name().to_owned()).unwrap_or_default(),
        exchanged: Some(exchanged_to_wire(exchanged)),
    }
}

/// The side that opened the connection has no port of its own.
fn direction(ends: &Ends) -> wire::Direction {
    match (ends.local.port(), ends.remote.map(|remote| remote.port())) {
        (1.., None | Some(0)) => wire::Direction::Inbound,
        (0, None | Some(1..)) => wire::Direction::Outbound,
        (0, Some(0)) | (1.., Some(1..)) => wire::Direction::Unspecified,
    }
}

fn exchanged_to_wire(exchanged: &Exchanged) -> wire::Exchanged {
    let of = |operation| exchanged.get(&operation).copied().unwrap_or_default();
    wire::Exchanged {
        received: Some(counts_to_wire(of(Operation::Read))),
        sent: Some(counts_to_wire(of(Operation::Write))),
        accepts: of(Operation::Accept).ops,
        connects: of(Operation::Connect).ops,
    }
}

/// What is known of the nodes' addresses.
#[derive(Debug, Default)]
struct Addresses {
    /// Every node that the topology names or that reported, hosts aside; those without an address are there too.
    ips: BTreeMap<NodeId, BTreeSet<IpAddr>>,
    /// Where nodes listen.
    sockets: BTreeMap<SocketAddr, BTreeSet<NodeId>>,
}

/// Whose an address is.
#[derive(Debug, PartialEq, Eq)]
enum Who<'a> {
    Node(&'a NodeId),
    NoNode,
    Unknown,
}

impl Addresses {
    fn known(topology: &Topology, reports: &[NodeReport], activity: &BTreeMap<NodeId, NodePeers>) -> Self {
        let mut known = Self::default();
        let named = topology.nodes.keys().chain(reports.iter().map(|report| &report.node));
        for node in named.filter(|node| !node.is_host()) {
            known.ips.entry(node.clone()).or_default();
            if let Ok(socket) = node.name().parse() {
                known.add_socket(node, socket);
            } else if let Ok(ip) = node.name().parse() {
                known.add(node, ip);
            }
        }
        for (node, facts) in topology.nodes.iter() {
            facts.addresses.iter().for_each(|socket| known.add_socket(node, *socket));
        }
        for report in reports {
            report.listening.iter().for_each(|socket| known.add_socket(&report.node, *socket));
        }
        for (node, peers) in activity {
            peers.keys().for_each(|ends| known.add(node, ends.local.ip()));
        }
        known
    }

    fn add_socket(&mut self, node: &NodeId, socket: SocketAddr) {
        let ip = socket.ip().to_canonical();
        if tells(ip) {
            self.sockets.entry(SocketAddr::new(ip, socket.port())).or_default().insert(node.clone());
        }
        self.add(node, ip);
    }

    fn add(&mut self, node: &NodeId, ip: IpAddr) {
        let ip = ip.to_canonical();
        if tells(ip) {
            self.ips.entry(node.clone()).or_default().insert(ip);
        }
    }

    /// Who is at the other end of a node's connection.
    fn who(&self, node: &NodeId, remote: SocketAddr) -> Who<'_> {
        let ip = remote.ip().to_canonical();
        let own = self.ips.get(node).is_some_and(|ips| ips.contains(&ip));
        if own || !tells(ip) {
            return Who::Unknown;
        }
        let listening = self.sockets.get(&SocketAddr::new(ip, remote.port()));
        if let Some(who) = listening.filter(|_| remote.port() > 0).and_then(|nodes| only(nodes.iter(), node))
        {
            return who;
        }
        let mut of_system = self.ips.iter().filter(|(other, _)| other.system() == node.system());
        let at_ip = of_system.clone().filter(|(_, ips)| ips.contains(&ip)).map(|(other, _)| other);
        match only(at_ip, node) {
            Some(who) => who,
            None if of_system.all(|(other, ips)| other == node || !ips.is_empty()) => Who::NoNode,
            None => Who::Unknown,
        }
    }
}

/// The one node of `node`'s system among those; unknown if there are several; `None` if there is none.
fn only<'a>(nodes: impl Iterator<Item = &'a NodeId>, node: &NodeId) -> Option<Who<'a>> {
    let mut nodes = nodes.filter(|other| other.system() == node.system());
    let first = nodes.next()?;
    Some(if nodes.next().is_none() { Who::Node(first) } else { Who::Unknown })
}

/// Whether an address tells hosts apart.
fn tells(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::SystemId;
    use isotherm_proto::NodeFacts;
    use std::sync::Arc;

    fn id(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn report(name: &str, listening: &[&str]) -> NodeReport {
        NodeReport {
            node: id(name),
            agent: "a".into(),
            first_watched: None,
            last_watched: None,
            last_end: isotherm_model::Timestamp::from_ms(1),
            window_ms: 1,
            processes: 1,
            listening: listening.iter().map(|text| address(text)).collect(),
        }
    }

    fn topology(names: &[&str]) -> Topology {
        let nodes = names.iter().map(|name| (id(name), NodeFacts::default())).collect();
        Topology { nodes: Arc::new(nodes), ..Topology::default() }
    }

    #[test]
    fn an_address_that_is_one_other_nodes_says_who_the_peer_is() {
        let topology = topology(&["10.0.0.1:80", "10.0.0.2", "c"]);
        let reports = [report("c", &["0.0.0.0:90", "10.0.0.3:90"])];
        let known = Addresses::known(&topology, &reports, &BTreeMap::new());
        let from = id("10.0.0.1:80");
        assert_eq!(known.who(&from, address("10.0.0.2:0")), Who::Node(&id("10.0.0.2")));
        assert_eq!(known.who(&from, address("[::ffff:10.0.0.3]:0")), Who::Node(&id("c")));
        assert_eq!(known.who(&from, address("10.0.0.9:0")), Who::NoNode);
        assert_eq!(known.who(&from, address("10.0.0.1:5000")), Who::Unknown, "the node's own address");
        assert_eq!(known.who(&from, address("127.0.0.1:80")), Who::Unknown, "every host has it");
    }

    #[test]
    fn an_address_that_nodes_share_is_told_by_the_port_alone() {
        let reports =
            [report("a", &["10.0.0.1:80"]), report("b", &["10.0.0.2:1"]), report("c", &["10.0.0.2:2"])];
        let known = Addresses::known(&Topology::default(), &reports, &BTreeMap::new());
        assert_eq!(known.who(&id("a"), address("10.0.0.2:2")), Who::Node(&id("c")));
        assert_eq!(known.who(&id("a"), address("10.0.0.2:0")), Who::Unknown);
        assert_eq!(known.who(&id("b"), address("10.0.0.2:2")), Who::Unknown, "b shares it");
    }

    #[test]
    fn nobody_is_a_client_while_a_nodes_address_is_not_known() {
        let topology = topology(&["10.0.0.1:80", "b"]);
        let remote = address("10.0.0.9:0");
        let from = id("10.0.0.1:80");
        let reports = [report("b", &["0.0.0.0:80"])];
        let known = Addresses::known(&topology, &reports, &BTreeMap::new());
        assert_eq!(known.who(&from, remote), Who::Unknown);
        let seen = Ends { local: address("10.0.0.2:80"), remote: None, node: None };
        let activity = BTreeMap::from([(id("b"), BTreeMap::from([(seen, Exchanged::new())]))]);
        let known = Addresses::known(&topology, &reports, &activity);
        assert_eq!(known.who(&from, remote), Who::NoNode);
        assert_eq!(known.who(&from, address("10.0.0.2:0")), Who::Node(&id("b")));
    }

    #[test]
    fn peers_past_the_limit_are_summed() {
        let counts = |bytes| Exchanged::from([(Operation::Read, isotherm_model::Counts { ops: 1, bytes })]);
        let ends = |ip: &str| Ends { local: address("10.0.0.1:80"), remote: Some(address(ip)), node: None };
        let peers = NodePeers::from([
            (ends("10.0.0.7:0"), counts(5)),
            (ends("10.0.0.8:0"), counts(50)),
            (ends("10.0.0.9:0"), counts(7)),
        ]);
        let found = node_peers(&id("a"), peers, 1, &Addresses::default());
        assert_eq!((found.peers.len(), found.peers[0].remote.as_str()), (1, "10.0.0.8:0"));
        assert_eq!((found.rest_peers, found.rest.unwrap().received.unwrap().bytes), (2, 12));
    }

    #[test]
    fn what_the_agent_says_of_a_peer_wins() {
        let other = NodeId::new(SystemId::new("t").unwrap(), "x").unwrap();
        let ends = |remote: Option<&str>, node| Ends {
            local: address("10.0.0.1:80"),
            remote: remote.map(address),
            node,
        };
        let told = |ends| {
            let found = peer(&id("a"), ends, &Exchanged::new(), &Addresses::default());
            (found.kind(), found.node_system, found.node)
        };
        let own = ends(Some("10.0.0.1:0"), Some(other));
        assert_eq!(told(own), (wire::PeerKind::Node, "t".to_owned(), "x".to_owned()));
        assert_eq!(told(ends(None, None)).0, wire::PeerKind::Others);
        assert_eq!(told(ends(Some("10.0.0.9:0"), None)).0, wire::PeerKind::Client);
    }

    #[test]
    fn the_side_without_a_port_opened_the_connection() {
        let of = |local: &str, remote: Option<&str>| {
            direction(&Ends { local: address(local), remote: remote.map(address), node: None })
        };
        assert_eq!(of("10.0.0.1:80", Some("10.0.0.2:0")), wire::Direction::Inbound);
        assert_eq!(of("10.0.0.1:80", None), wire::Direction::Inbound);
        assert_eq!(of("10.0.0.1:0", Some("10.0.0.2:80")), wire::Direction::Outbound);
        assert_eq!(of("10.0.0.1:0", None), wire::Direction::Outbound);
        assert_eq!(of("10.0.0.1:0", Some("10.0.0.2:0")), wire::Direction::Unspecified);
    }
}
