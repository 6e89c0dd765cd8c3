//! Model to wire. Cannot fail: the model holds only what the wire can say.

use crate::telemetry::v1 as wire;
use crate::{Gap, GapReason, Hello};
use isotherm_model::{
    Completeness, Layer, LostReason, NodeWindow, OffsetHistogram, Operation, OtherReason, Peer, Row, Subject,
    UnattributedReason, Window,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, message};

/// Fields of the protocol that are written one element after the other.
const WINDOW_SET_WINDOWS: u32 = 1;
const WINDOW_NODES: u32 = 4;
const NODE_WINDOW_ROWS: u32 = 5;

/// Encodes windows as the payload of a batch.
///
/// Row by row: the rows of ten thousand partitions as messages would take some twenty times the room of their
/// encoding. A field that is repeated may stand anywhere in its message, so they follow the rest.
#[must_use]
pub fn window_set_to_payload(windows: &[Window]) -> Vec<u8> {
    let mut payload = Vec::new();
    for one in windows {
        let mut body = window(one).encode_to_vec();
        for node in &one.nodes {
            let mut rest = node_window(node).encode_to_vec();
            for one in &node.rows {
                message::encode(NODE_WINDOW_ROWS, &row(one), &mut rest);
            }
            append(WINDOW_NODES, &rest, &mut body);
        }
        append(WINDOW_SET_WINDOWS, &body, &mut payload);
    }
    payload
}

/// Adds an encoded message as a field.
fn append(field: u32, message: &[u8], to: &mut Vec<u8>) {
    to.reserve(message.len() + 2 * size_of::<u64>());
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(message.len() as u64, to);
    to.extend_from_slice(message);
}

/// An agent's introduction.
#[must_use]
pub fn hello_to_wire(hello: &Hello) -> wire::Hello {
    wire::Hello {
        agent: hello.agent.to_string(),
        boot: hello.boot.to_string(),
        version: hello.version.clone(),
        window_ms: hello.window_ms,
        targets: hello
            .targets
            .iter()
            .map(|node| wire::Target { system: node.system().to_string(), node: node.name().to_owned() })
            .collect(),
    }
}

/// A gap record.
#[must_use]
pub fn gap_to_wire(gap: &Gap) -> wire::Gap {
    let reason = match gap.reason {
        GapReason::QueueFull => wire::GapReason::QueueFull,
        GapReason::Refused => wire::GapReason::Refused,
        GapReason::AnalyzerLost => wire::GapReason::AnalyzerLost,
        GapReason::Damaged => wire::GapReason::Damaged,
    };
    wire::Gap {
        first_seq: gap.first.get(),
        last_seq: gap.last.get(),
        start_ms: gap.time.start().as_ms(),
        end_ms: gap.time.end().as_ms(),
        reason: reason.into(),
    }
}

/// Without its nodes.
fn window(window: &Window) -> wire::Window {
    let completeness = match window.completeness {
        Completeness::Complete => wire::Completeness::Complete,
        Completeness::Partial => wire::Completeness::Partial,
    };
    wire::Window {
        start_ms: window.start.as_ms(),
        length_ms: window.length_ms,
        completeness: completeness.into(),
        nodes: Vec::new(),
    }
}

/// Without its rows.
fn node_window(node: &NodeWindow) -> wire::NodeWindow {
    wire::NodeWindow {
        system: node.node.system().to_string(),
        node: node.node.name().to_owned(),
        processes: node.processes,
        totals: node
            .totals
            .iter()
            .map(|((layer, operation), counts)| wire::Total {
                layer: layer_to_wire(*layer).into(),
                operation: operation_to_wire(*operation).into(),
                ops: counts.ops,
                bytes: counts.bytes,
            })
            .collect(),
        rows: Vec::new(),
        lost: node
            .lost
            .iter()
            .map(|(reason, events)| {
                let reason = match reason {
                    LostReason::Recursion => wire::LostReason::Recursion,
                    LostReason::Compat => wire::LostReason::Compat,
                    LostReason::ClosedDescriptor => wire::LostReason::ClosedDescriptor,
                    LostReason::Miscounted => wire::LostReason::Miscounted,
                    LostReason::UnwatchedProcess => wire::LostReason::UnwatchedProcess,
                    LostReason::UnreadRequest => wire::LostReason::UnreadRequest,
                };
                wire::Lost { reason: reason.into(), events: *events }
            })
            .collect(),
        peers: node.peers.iter().map(peer).collect(),
        listening: node.listening.iter().map(ToString::to_string).collect(),
    }
}

fn row(row: &Row) -> wire::Row {
    let subject = match &row.subject {
        Subject::Partition(id) => wire::row::Subject::Partition(id.name().to_owned()),
        Subject::Other(reason) => wire::row::Subject::Other(other_to_wire(*reason).into()),
        Subject::Unattributed(reason) => {
            wire::row::Subject::Unattributed(unattributed_to_wire(*reason).into())
        }
    };
    wire::Row {
        subject: Some(subject),
        layer: layer_to_wire(row.layer).into(),
        operation: operation_to_wire(row.operation).into(),
        ops: row.counts.ops,
        bytes: row.counts.bytes,
        offsets: (row.offsets != OffsetHistogram::EMPTY).then(|| wire::OffsetHistogram {
            shift: u32::from(row.offsets.shift()),
            counts: row.offsets.counts().to_vec(),
        }),
        latency: row
            .latency
            .as_ref()
            .map(|latency| wire::LatencyHistogram { counts: latency.counts().to_vec() }),
    }
}

fn peer(peer: &Peer) -> wire::Peer {
    let subject = match &peer.subject {
        Subject::Partition(id) => wire::peer::Subject::Partition(id.name().to_owned()),
        Subject::Other(reason) => wire::peer::Subject::Other(other_to_wire(*reason).into()),
        Subject::Unattributed(reason) => {
            wire::peer::Subject::Unattributed(unattributed_to_wire(*reason).into())
        }
    };
    let node = peer.node.as_ref();
    wire::Peer {
        subject: Some(subject),
        operation: operation_to_wire(peer.operation).into(),
        local: peer.local.to_string(),
        remote: peer.remote.map(|remote| remote.to_string()).unwrap_or_default(),
        node_system: node.map(|node| node.system().to_string()).unwrap_or_default(),
        node: node.map(|node| node.name().to_owned()).unwrap_or_default(),
        ops: peer.counts.ops,
        bytes: peer.counts.bytes,
    }
}

fn other_to_wire(reason: OtherReason) -> wire::OtherReason {
    match reason {
        OtherReason::NoRule => wire::OtherReason::NoRule,
        OtherReason::PartitionLimit => wire::OtherReason::PartitionLimit,
        OtherReason::Metadata => wire::OtherReason::Metadata,
        OtherReason::Journal => wire::OtherReason::Journal,
        OtherReason::NoTarget => wire::OtherReason::NoTarget,
    }
}

fn unattributed_to_wire(reason: UnattributedReason) -> wire::UnattributedReason {
    match reason {
        UnattributedReason::NoPath => wire::UnattributedReason::NoPath,
        UnattributedReason::FilesFull => wire::UnattributedReason::FilesFull,
        UnattributedReason::RulesDisagree => wire::UnattributedReason::RulesDisagree,
        UnattributedReason::NoFile => wire::UnattributedReason::NoFile,
        UnattributedReason::SeveralTargets => wire::UnattributedReason::SeveralTargets,
        UnattributedReason::PeersFull => wire::UnattributedReason::PeersFull,
    }
}

fn layer_to_wire(layer: Layer) -> wire::Layer {
    match layer {
        Layer::Logical => wire::Layer::Logical,
        Layer::Device => wire::Layer::Device,
        Layer::Network => wire::Layer::Network,
    }
}

fn operation_to_wire(operation: Operation) -> wire::Operation {
    match operation {
        Operation::Read => wire::Operation::Read,
        Operation::Write => wire::Operation::Write,
        Operation::Sync => wire::Operation::Sync,
        Operation::Discard => wire::Operation::Discard,
        Operation::Accept => wire::Operation::Accept,
        Operation::Connect => wire::Operation::Connect,
    }
}
