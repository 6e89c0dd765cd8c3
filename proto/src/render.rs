//! Model to wire. Cannot fail: the model holds only what the wire can say.

use crate::telemetry::v1 as wire;
use crate::{Gap, GapReason, Hello};
use isotherm_model::{
    Completeness, Layer, LostReason, NodeWindow, OffsetHistogram, Operation, OtherReason, Peer, Row, Subject,
    UnattributedReason, Window,
};
use prost::Message;

/// Encodes windows as the payload of a batch.
#[must_use]
pub fn window_set_to_payload(windows: &[Window]) -> Vec<u8> {
    wire::WindowSet { windows: windows.iter().map(window).collect() }.encode_to_vec()
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

fn window(window: &Window) -> wire::Window {
    let completeness = match window.completeness {
        Completeness::Complete => wire::Completeness::Complete,
        Completeness::Partial => wire::Completeness::Partial,
    };
    wire::Window {
        start_ms: window.start.as_ms(),
        length_ms: window.length_ms,
        completeness: completeness.into(),
        nodes: window.nodes.iter().map(node_window).collect(),
    }
}

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
        rows: node.rows.iter().map(row).collect(),
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
