//! Wire to model. Refuses what an agent of this project never sends, naming the field.

use crate::telemetry::v1 as wire;
use crate::{Gap, GapReason, Hello, MAX_PAYLOAD_BYTES, MAX_ROWS};
use isotherm_model::{
    AgentId, BUCKETS, BootId, Completeness, Counts, Interval, InvalidName, LatencyHistogram, Layer,
    LostReason, NodeId, NodeWindow, NotConserved, OffsetHistogram, Operation, OtherReason, PartitionId, Peer,
    Row, Seq, Subject, SystemId, Timestamp, UnattributedReason, Window,
};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Latest window end that is believed, the year 2262: later ones do not fit nanoseconds in 63 bits.
const MAX_TIME_MS: u64 = 9_223_372_036_854;

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// More bytes than are accepted.
    #[error("the payload has {len} bytes, more than the {MAX_PAYLOAD_BYTES} accepted")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// More rows than are accepted.
    #[error("the payload has more than the {MAX_ROWS} rows accepted")]
    TooManyRows,
    /// Compressed, but not as one whole zstd frame that states the length of its content.
    #[error("the payload is no zstd frame: {what}")]
    Frame {
        /// What is wrong with it.
        what: String,
    },
    /// Not an encoded message of the expected kind.
    #[error("the payload is not a WindowSet")]
    Encoding(#[source] prost::DecodeError),
    /// A name that cannot be one.
    #[error("{field}")]
    Name {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        #[source]
        source: InvalidName,
    },
    /// A value that is absent, out of range or of an unknown kind.
    #[error("{field} is {found}, expected {expected}")]
    Value {
        /// Path of the field.
        field: String,
        /// What was sent.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// More of something than is accepted.
    #[error("{field} has {len} entries, more than the {limit} accepted")]
    TooMany {
        /// Path of the field.
        field: String,
        /// How many were sent.
        len: usize,
        /// The most that are accepted.
        limit: usize,
    },
    /// Something occurs twice that may occur once.
    #[error("{field} occurs twice")]
    Repeated {
        /// Path of the second one.
        field: String,
    },
    /// The numbers contradict each other.
    #[error("{field}")]
    NotConserved {
        /// Path of the node's window.
        field: String,
        /// The identity that fails.
        #[source]
        source: Box<NotConserved>,
    },
}

type Result<T> = std::result::Result<T, Malformed>;

/// Decodes and checks the payload of a batch.
///
/// Checked: size, number of rows, encoding, at least one window, every name, every enum, window order and length, one entry
/// per node, one row per subject, histograms of 64 buckets whose sum is the row's operations, and
/// conservation.
pub fn window_set_from_payload(payload: &[u8]) -> Result<Vec<Window>> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Malformed::TooLarge { len: payload.len() });
    }
    rows_in_payload(payload)?;
    let set = wire::WindowSet::decode(payload).map_err(Malformed::Encoding)?;
    if set.windows.is_empty() {
        return Err(value("windows", "empty", "at least one window"));
    }
    set.windows.into_iter().enumerate().map(|(i, raw)| window(&format!("windows[{i}]"), raw)).collect()
}

/// Counts the rows of a payload, before memory is taken for any of them: its windows, and in them nodes, totals,
/// rows and losses. Fails by [`MAX_ROWS`], and where the encoding is so damaged that they cannot be found.
pub fn rows_in_payload(payload: &[u8]) -> Result<usize> {
    let mut rows = 0;
    for_each_message(payload, &mut |window, body| {
        if window != WINDOWS {
            return Ok(());
        }
        one_more(&mut rows)?;
        for_each_message(body, &mut |node, body| {
            if node != NODES {
                return Ok(());
            }
            one_more(&mut rows)?;
            for_each_message(body, &mut |part, _| {
                if PARTS.contains(&part) { one_more(&mut rows) } else { Ok(()) }
            })
        })
    })?;
    Ok(rows)
}

/// `WindowSet.windows`.
const WINDOWS: u32 = 1;
/// `Window.nodes`.
const NODES: u32 = 4;
/// `NodeWindow.totals`, `.rows`, `.lost`, `.peers` and `.listening`.
const PARTS: [u32; 5] = [4, 5, 6, 7, 8];

fn one_more(rows: &mut usize) -> Result<()> {
    *rows += 1;
    if *rows > MAX_ROWS { Err(Malformed::TooManyRows) } else { Ok(()) }
}

/// Hands out tag and body of every field of a message that has a length, and passes over the others.
fn for_each_message(mut message: &[u8], each: &mut dyn FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message).map_err(Malformed::Encoding)?;
        if wire_type == WireType::LengthDelimited {
            let len = prost::decode_length_delimiter(&mut message).map_err(Malformed::Encoding)?;
            let (body, rest) = message.split_at_checked(len).ok_or_else(cut_short)?;
            each(tag, body)?;
            message = rest;
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())
                .map_err(Malformed::Encoding)?;
        }
    }
    Ok(())
}

/// What prost says of a field that ends after its message; it lets nobody else make its errors.
fn cut_short() -> Malformed {
    let one_byte_missing: &[u8] = &[0x0a, 1];
    Malformed::Encoding(
        wire::WindowSet::decode(one_byte_missing).expect_err("a field of one byte without it"),
    )
}

/// Checks an agent's introduction.
pub fn hello_from_wire(raw: wire::Hello) -> Result<Hello> {
    if raw.window_ms == 0 {
        return Err(value("hello.window_ms", "0", "a length above 0"));
    }
    Ok(Hello {
        agent: AgentId::new(raw.agent).map_err(name("hello.agent"))?,
        boot: BootId::new(raw.boot).map_err(name("hello.boot"))?,
        version: raw.version,
        window_ms: raw.window_ms,
        targets: raw
            .targets
            .into_iter()
            .enumerate()
            .map(|(i, target)| node_id(&format!("hello.targets[{i}]"), target.system, target.node))
            .collect::<Result<_>>()?,
    })
}

/// Checks a gap record.
pub fn gap_from_wire(raw: wire::Gap) -> Result<Gap> {
    let seq = |field: &str, number| Seq::new(number).ok_or_else(|| value(field, "0", "a sequence number"));
    let (first, last) = (seq("gap.first_seq", raw.first_seq)?, seq("gap.last_seq", raw.last_seq)?);
    if last < first {
        return Err(value("gap.last_seq", &last.to_string(), "first_seq or more"));
    }
    let time = Interval::new(Timestamp::from_ms(raw.start_ms), Timestamp::from_ms(raw.end_ms))
        .filter(|time| time.end().as_ms() <= MAX_TIME_MS)
        .ok_or_else(|| value("gap.end_ms", &raw.end_ms.to_string(), "a moment after start_ms"))?;
    let reason = match known::<wire::GapReason>("gap.reason", raw.reason)? {
        wire::GapReason::QueueFull => GapReason::QueueFull,
        wire::GapReason::Refused => GapReason::Refused,
        wire::GapReason::AnalyzerLost => GapReason::AnalyzerLost,
        wire::GapReason::Damaged => GapReason::Damaged,
        wire::GapReason::Unspecified => return Err(unspecified("gap.reason")),
    };
    Ok(Gap { first, last, time, reason })
}

fn window(field: &str, raw: wire::Window) -> Result<Window> {
    let at = |name: &str| format!("{field}.{name}");
    let end_ms = raw.start_ms.saturating_add(u64::from(raw.length_ms));
    if raw.length_ms == 0 || end_ms > MAX_TIME_MS {
        return Err(value(
            &at("length_ms"),
            &raw.length_ms.to_string(),
            "a length above 0 that ends before the year 2262",
        ));
    }
    let completeness = match known::<wire::Completeness>(&at("completeness"), raw.completeness)? {
        wire::Completeness::Complete => Completeness::Complete,
        wire::Completeness::Partial => Completeness::Partial,
        wire::Completeness::Unspecified => return Err(unspecified(&at("completeness"))),
    };
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::with_capacity(raw.nodes.len());
    for (i, raw) in raw.nodes.into_iter().enumerate() {
        let field = at(&format!("nodes[{i}]"));
        let node = node_window(&field, raw)?;
        if !seen.insert(node.node.clone()) {
            return Err(Malformed::Repeated { field: format!("{field} ({})", node.node) });
        }
        nodes.push(node);
    }
    Ok(Window { start: Timestamp::from_ms(raw.start_ms), length_ms: raw.length_ms, completeness, nodes })
}

fn node_window(field: &str, raw: wire::NodeWindow) -> Result<NodeWindow> {
    let node = node_id(field, raw.system, raw.node)?;
    let mut totals = BTreeMap::new();
    for (i, total) in raw.totals.into_iter().enumerate() {
        let field = format!("{field}.totals[{i}]");
        let key = place(&field, total.layer, total.operation)?;
        if totals.insert(key, Counts { ops: total.ops, bytes: total.bytes }).is_some() {
            return Err(Malformed::Repeated { field });
        }
    }
    let mut seen = BTreeSet::new();
    let mut rows = Vec::with_capacity(raw.rows.len());
    for (i, raw) in raw.rows.into_iter().enumerate() {
        let field = format!("{field}.rows[{i}]");
        let row = row(&field, node.system(), raw)?;
        if !seen.insert((row.subject.clone(), row.layer, row.operation)) {
            return Err(Malformed::Repeated { field });
        }
        rows.push(row);
    }
    let mut lost = BTreeMap::new();
    for (i, raw) in raw.lost.into_iter().enumerate() {
        let field = format!("{field}.lost[{i}]");
        let reason = match known::<wire::LostReason>(&field, raw.reason)? {
            wire::LostReason::Recursion => LostReason::Recursion,
            wire::LostReason::Compat => LostReason::Compat,
            wire::LostReason::ClosedDescriptor => LostReason::ClosedDescriptor,
            wire::LostReason::Miscounted => LostReason::Miscounted,
            wire::LostReason::UnwatchedProcess => LostReason::UnwatchedProcess,
            wire::LostReason::UnreadRequest => LostReason::UnreadRequest,
            wire::LostReason::Unspecified => return Err(unspecified(&field)),
        };
        if lost.insert(reason, raw.events).is_some() {
            return Err(Malformed::Repeated { field });
        }
    }
    let listening = raw.listening.iter().enumerate();
    let listening = listening.map(|(i, text)| address(&format!("{field}.listening[{i}]"), text));
    let listening = listening.collect::<Result<_>>()?;
    let peers = raw.peers.into_iter().enumerate();
    let peers = peers.map(|(i, raw)| peer(&format!("{field}.peers[{i}]"), node.system(), raw));
    let peers = peers.collect::<Result<_>>()?;
    let window = NodeWindow { node, processes: raw.processes, listening, totals, rows, peers, lost };
    window
        .check_conserved()
        .map_err(|source| Malformed::NotConserved { field: field.to_owned(), source: Box::new(source) })?;
    Ok(window)
}

fn row(field: &str, system: &SystemId, raw: wire::Row) -> Result<Row> {
    let at = |name: &str| format!("{field}.{name}");
    let subject = match raw.subject {
        Some(wire::row::Subject::Partition(id)) => partition(&at("partition"), system, id)?,
        Some(wire::row::Subject::Other(reason)) => other(&at("other"), reason)?,
        Some(wire::row::Subject::Unattributed(reason)) => unattributed(&at("unattributed"), reason)?,
        None => return Err(no_subject(field)),
    };
    let offsets = match raw.offsets {
        None => OffsetHistogram::EMPTY,
        Some(raw_offsets) => {
            let offsets = histogram(&at("offsets"), raw_offsets)?;
            if offsets.total() != raw.ops {
                return Err(value(
                    &at("offsets.counts"),
                    &format!("a sum of {}", offsets.total()),
                    "a sum equal to ops",
                ));
            }
            offsets
        }
    };
    let latency = raw.latency.map(|raw| latency(&at("latency"), raw)).transpose()?;
    let (layer, operation) = place(field, raw.layer, raw.operation)?;
    let counts = Counts { ops: raw.ops, bytes: raw.bytes };
    Ok(Row { subject, layer, operation, counts, offsets, latency })
}

fn peer(field: &str, system: &SystemId, raw: wire::Peer) -> Result<Peer> {
    let at = |name: &str| format!("{field}.{name}");
    let subject = match raw.subject {
        Some(wire::peer::Subject::Partition(id)) => partition(&at("partition"), system, id)?,
        Some(wire::peer::Subject::Other(reason)) => other(&at("other"), reason)?,
        Some(wire::peer::Subject::Unattributed(reason)) => unattributed(&at("unattributed"), reason)?,
        None => return Err(no_subject(field)),
    };
    let remote = (!raw.remote.is_empty()).then(|| address(&at("remote"), &raw.remote)).transpose()?;
    let is_node = !(raw.node.is_empty() && raw.node_system.is_empty());
    Ok(Peer {
        subject,
        operation: place(field, wire::Layer::Network.into(), raw.operation)?.1,
        local: address(&at("local"), &raw.local)?,
        remote,
        node: is_node.then(|| node_id(field, raw.node_system, raw.node)).transpose()?,
        counts: Counts { ops: raw.ops, bytes: raw.bytes },
    })
}

fn partition(field: &str, system: &SystemId, id: String) -> Result<Subject> {
    Ok(Subject::Partition(PartitionId::new(system.clone(), id).map_err(name(field))?))
}

fn other(field: &str, reason: i32) -> Result<Subject> {
    Ok(Subject::Other(match known::<wire::OtherReason>(field, reason)? {
        wire::OtherReason::NoRule => OtherReason::NoRule,
        wire::OtherReason::PartitionLimit => OtherReason::PartitionLimit,
        wire::OtherReason::Metadata => OtherReason::Metadata,
        wire::OtherReason::Journal => OtherReason::Journal,
        wire::OtherReason::NoTarget => OtherReason::NoTarget,
        wire::OtherReason::Unspecified => return Err(unspecified(field)),
    }))
}

fn unattributed(field: &str, reason: i32) -> Result<Subject> {
    Ok(Subject::Unattributed(match known::<wire::UnattributedReason>(field, reason)? {
        wire::UnattributedReason::NoPath => UnattributedReason::NoPath,
        wire::UnattributedReason::FilesFull => UnattributedReason::FilesFull,
        wire::UnattributedReason::RulesDisagree => UnattributedReason::RulesDisagree,
        wire::UnattributedReason::NoFile => UnattributedReason::NoFile,
        wire::UnattributedReason::SeveralTargets => UnattributedReason::SeveralTargets,
        wire::UnattributedReason::PeersFull => UnattributedReason::PeersFull,
        wire::UnattributedReason::Unspecified => return Err(unspecified(field)),
    }))
}

fn no_subject(field: &str) -> Malformed {
    value(&format!("{field}.subject"), "absent", "partition, other or unattributed")
}

fn address(field: &str, text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| value(field, &format!("{text:?}"), "an address such as 10.0.0.1:8080"))
}

fn latency(field: &str, raw: wire::LatencyHistogram) -> Result<Box<LatencyHistogram>> {
    let len = raw.counts.len();
    let counts = raw
        .counts
        .try_into()
        .map_err(|_| value(&format!("{field}.counts"), &format!("{len} buckets"), "40 buckets"))?;
    Ok(Box::new(LatencyHistogram::new(counts)))
}

fn histogram(field: &str, raw: wire::OffsetHistogram) -> Result<OffsetHistogram> {
    let len = raw.counts.len();
    let counts: [u64; BUCKETS] = raw
        .counts
        .try_into()
        .map_err(|_| value(&format!("{field}.counts"), &format!("{len} buckets"), "64 buckets"))?;
    u8::try_from(raw.shift)
        .ok()
        .and_then(|shift| OffsetHistogram::new(shift, counts))
        .ok_or_else(|| value(&format!("{field}.shift"), &raw.shift.to_string(), "12 to 57"))
}

/// A layer, and an operation that it has.
fn place(field: &str, layer: i32, operation: i32) -> Result<(Layer, Operation)> {
    let at = format!("{field}.layer");
    let layer = match known::<wire::Layer>(&at, layer)? {
        wire::Layer::Logical => Layer::Logical,
        wire::Layer::Device => Layer::Device,
        wire::Layer::Network => Layer::Network,
        wire::Layer::Unspecified => return Err(unspecified(&at)),
    };
    let at = format!("{field}.operation");
    let operation = match known::<wire::Operation>(&at, operation)? {
        wire::Operation::Read => Operation::Read,
        wire::Operation::Write => Operation::Write,
        wire::Operation::Sync => Operation::Sync,
        wire::Operation::Discard => Operation::Discard,
        wire::Operation::Accept => Operation::Accept,
        wire::Operation::Connect => Operation::Connect,
        wire::Operation::Unspecified => return Err(unspecified(&at)),
    };
    if !layer.operations().contains(&operation) {
        return Err(value(&at, operation.as_str(), "an operation of its layer"));
    }
    Ok((layer, operation))
}

pub(crate) fn node_id(field: &str, system: String, node: String) -> Result<NodeId> {
    let system = SystemId::new(system).map_err(name(&format!("{field}.system")))?;
    NodeId::new(system, node).map_err(name(&format!("{field}.node")))
}

pub(crate) fn known<E: TryFrom<i32>>(field: &str, raw: i32) -> Result<E> {
    E::try_from(raw).map_err(|_| value(field, &raw.to_string(), "a value of its enum"))
}

pub(crate) fn unspecified(field: &str) -> Malformed {
    value(field, "unspecified", "a value of its enum")
}

pub(crate) fn value(field: &str, found: &str, expected: &'static str) -> Malformed {
    Malformed::Value { field: field.to_owned(), found: found.to_owned(), expected }
}

pub(crate) fn name(field: &str) -> impl FnOnce(InvalidName) -> Malformed {
    let field = field.to_owned();
    move |source| Malformed::Name { field, source }
}

#[cfg(test)]
mod tests;
