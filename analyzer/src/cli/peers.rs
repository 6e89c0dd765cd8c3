//! `isotherm get peers`.

use super::Failure;
use super::client::ClientArgs;
use super::layer::CountsJson;
use super::print::{self, Column, Format};
use super::time::SpanArgs;
use clap::Args;
use isotherm_proto::control::v1::{
    Counts, Direction, Exchanged, ListPeersRequest, NodePeers, Peer, PeerKind,
};
use serde::Serialize;

/// Peers of nodes: with whom they exchanged how much over the network in the time asked for
///
/// One row per local and remote address; the port of the side that opened the connection is 0. The rows of a node
/// sum to its network layer. IS says who the peer is: `node NAME` if the agent says so, or if the address is known
/// to be that of one other node of the system; `client` or `server` (by who opened the connection) if it is no
/// node's; `unknown` if several share the address, or not all nodes' addresses are known; `others` for peers that
/// the agent does not tell apart.
#[derive(Args)]
pub(super) struct PeersArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
    /// Only this node, by name or system/name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only what was exchanged for this partition, by name or system/name
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Only so many peers of each node, those with the most bytes, and the sum of the rest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: u32,
}

#[derive(Serialize)]
struct PeersJson {
    nodes: Vec<NodeJson>,
}

#[derive(Serialize)]
struct NodeJson {
    system: String,
    node: String,
    peers: Vec<PeerJson>,
    rest: Option<RestJson>,
}

#[derive(Serialize)]
struct PeerJson {
    local: String,
    /// `null`: all that are not told apart.
    remote: Option<String>,
    direction: Option<&'static str>,
    is: &'static str,
    peer_system: Option<String>,
    peer_node: Option<String>,
    #[serde(flatten)]
    exchanged: ExchangedJson,
}

#[derive(Serialize)]
struct RestJson {
    peers: u64,
    #[serde(flatten)]
    exchanged: ExchangedJson,
}

#[derive(Serialize)]
struct ExchangedJson {
    received: CountsJson,
    sent: CountsJson,
    accepts: u64,
    connects: u64,
}

impl From<Exchanged> for ExchangedJson {
    fn from(exchanged: Exchanged) -> Self {
        Self {
            received: exchanged.received.unwrap_or_default().into(),
            sent: exchanged.sent.unwrap_or_default().into(),
            accepts: exchanged.accepts,
            connects: exchanged.connects,
        }
    }
}

pub(super) async fn run(args: PeersArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let mut client = args.client.connect().await?;
    let request = ListPeersRequest {
        since_ms: span.since,
        until_ms: span.until,
        node: args.node.unwrap_or_default(),
        partition: args.partition.unwrap_or_default(),
        top: args.top,
    };
    let answer = client.control.list_peers(request).await.map_err(|status| client.failure(&status))?;
    let nodes = answer.into_inner().nodes;
    match args.client.output {
        Format::Json => print::json(&PeersJson { nodes: nodes.into_iter().map(json).collect() }),
        Format::Table => table(&nodes),
    }
}

fn json(node: NodePeers) -> NodeJson {
    let peer = |peer: Peer| PeerJson {
        direction: direction(peer.direction()),
        is: word(peer.kind()),
        local: peer.local,
        remote: some(peer.remote),
        peer_system: some(peer.node_system),
        peer_node: some(peer.node),
        exchanged: peer.exchanged.unwrap_or_default().into(),
    };
    NodeJson {
        system: node.system,
        node: node.node,
        peers: node.peers.into_iter().map(peer).collect(),
        rest: node.rest.map(|rest| RestJson { peers: node.rest_peers, exchanged: rest.into() }),
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn direction(direction: Direction) -> Option<&'static str> {
    match direction {
        Direction::Inbound => Some("inbound"),
        Direction::Outbound => Some("outbound"),
        Direction::Unspecified => None,
    }
}

fn word(kind: PeerKind) -> &'static str {
    match kind {
        PeerKind::Node => "node",
        PeerKind::Client => "client",
        PeerKind::Server => "server",
        PeerKind::Others => "others",
        // A newer analyzer may know a kind that this command does not.
        PeerKind::Unknown | PeerKind::Unspecified => "unknown",
    }
}

fn table(nodes: &[NodePeers]) -> Result<(), Failure> {
    let columns = [
        Column::Text("SYSTEM"),
        Column::Text("NODE"),
        Column::Text("LOCAL"),
        Column::Text("DIRECTION"),
        Column::Text("REMOTE"),
        Column::Text("IS"),
        Column::Number("RECEIVES"),
        Column::Number("RECEIVED"),
        Column::Number("SENDS"),
        Column::Number("SENT"),
        Column::Number("ACCEPTS"),
        Column::Number("CONNECTS"),
    ];
    let mut rows = Vec::new();
    for node in nodes {
        let mut add = |what: [String; 4], exchanged: Exchanged| {
            let named = [node.system.clone(), node.node.clone()];
            rows.push([named.as_slice(), &what, &cells(exchanged)].concat());
        };
        for peer in &node.peers {
            let remote = if peer.remote.is_empty() { "-" } else { &peer.remote };
            let direction = direction(peer.direction()).unwrap_or("-");
            let is = is(peer, &node.system);
            let what = [peer.local.clone(), direction.to_owned(), remote.to_owned(), is];
            add(what, peer.exchanged.unwrap_or_default());
        }
        if let Some(rest) = node.rest {
            let more = format!("({} more)", node.rest_peers);
            add(["-".to_owned(), "-".to_owned(), more, "-".to_owned()], rest);
        }
    }
    let empty = if nodes.is_empty() {
        "no peers are known: the network layer of no such node was watched in that time"
    } else {
        "no peers: nothing was exchanged in that time"
    };
    print::table(&columns, rows, empty)
}

/// Who a peer is, with the system where that is another than the node's.
fn is(peer: &Peer, system: &str) -> String {
    match peer.kind() {
        PeerKind::Node if peer.node_system == system => format!("node {}", peer.node),
        PeerKind::Node => format!("node {}/{}", peer.node_system, peer.node),
        kind @ (PeerKind::Client
        | PeerKind::Server
        | PeerKind::Others
        | PeerKind::Unknown
        | PeerKind::Unspecified) => word(kind).to_owned(),
    }
}

fn cells(exchanged: Exchanged) -> [String; 6] {
    let counts = |counts: Option<Counts>| counts.unwrap_or_default();
    let (received, sent) = (counts(exchanged.received), counts(exchanged.sent));
    [
        received.ops.to_string(),
        print::bytes(received.bytes),
        sent.ops.to_string(),
        print::bytes(sent.bytes),
        exchanged.accepts.to_string(),
        exchanged.connects.to_string(),
    ]
}
