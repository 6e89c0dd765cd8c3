//! Wire to model. Refuses what an agent of this project never sends, naming the field.

use crate::telemetry::v1 as wire;
use crate::{Gap, GapReason, Hello, MAX_PAYLOAD_BYTES, MAX_ROWS};
use isotherm_model::{
    AgentId, BUCKETS, BootId, Completeness, Counts, Interval, InvalidName, Layer, LostReason, NodeId,
    NodeWindow, NotConserved, OffsetHistogram, Operation, OtherReason, PartitionId, Row, Seq, Subject,
    SystemId, Timestamp, UnattributedReason, Window,
};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use std::collections::{BTreeMap, BTreeSet};

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
        source: NotConserved,
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
/// `NodeWindow.totals`, `.rows` and `.lost`.
const PARTS: [u32; 3] = [4, 5, 6];

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
        let key = (layer(&field, total.layer)?, operation(&field, total.operation)?);
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
            wire::LostReason::Unspecified => return Err(unspecified(&field)),
        };
        if lost.insert(reason, raw.events).is_some() {
            return Err(Malformed::Repeated { field });
        }
    }
    let window = NodeWindow { node, processes: raw.processes, totals, rows, lost };
    window.check_conserved().map_err(|source| Malformed::NotConserved { field: field.to_owned(), source })?;
    Ok(window)
}

fn row(field: &str, system: &SystemId, raw: wire::Row) -> Result<Row> {
    let at = |name: &str| format!("{field}.{name}");
    let subject = match raw.subject {
        Some(wire::row::Subject::Partition(id)) => {
            Subject::Partition(PartitionId::new(system.clone(), id).map_err(name(&at("partition")))?)
        }
        Some(wire::row::Subject::Other(reason)) => {
            Subject::Other(match known::<wire::OtherReason>(&at("other"), reason)? {
                wire::OtherReason::NoRule => OtherReason::NoRule,
                wire::OtherReason::PartitionLimit => OtherReason::PartitionLimit,
                wire::OtherReason::Unspecified => return Err(unspecified(&at("other"))),
            })
        }
        Some(wire::row::Subject::Unattributed(reason)) => {
            Subject::Unattributed(match known::<wire::UnattributedReason>(&at("unattributed"), reason)? {
                wire::UnattributedReason::NoPath => UnattributedReason::NoPath,
                wire::UnattributedReason::FilesFull => UnattributedReason::FilesFull,
                wire::UnattributedReason::RulesDisagree => UnattributedReason::RulesDisagree,
                wire::UnattributedReason::Unspecified => return Err(unspecified(&at("unattributed"))),
            })
        }
        None => return Err(value(&at("subject"), "absent", "partition, other or unattributed")),
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
    Ok(Row {
        subject,
        layer: layer(field, raw.layer)?,
        operation: operation(field, raw.operation)?,
        counts: Counts { ops: raw.ops, bytes: raw.bytes },
        offsets,
    })
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

fn layer(field: &str, raw: i32) -> Result<Layer> {
    let field = format!("{field}.layer");
    match known::<wire::Layer>(&field, raw)? {
        wire::Layer::Logical => Ok(Layer::Logical),
        wire::Layer::Unspecified => Err(unspecified(&field)),
    }
}

fn operation(field: &str, raw: i32) -> Result<Operation> {
    let field = format!("{field}.operation");
    match known::<wire::Operation>(&field, raw)? {
        wire::Operation::Read => Ok(Operation::Read),
        wire::Operation::Write => Ok(Operation::Write),
        wire::Operation::Unspecified => Err(unspecified(&field)),
    }
}

fn node_id(field: &str, system: String, node: String) -> Result<NodeId> {
    let system = SystemId::new(system).map_err(name(&format!("{field}.system")))?;
    NodeId::new(system, node).map_err(name(&format!("{field}.node")))
}

fn known<E: TryFrom<i32>>(field: &str, raw: i32) -> Result<E> {
    E::try_from(raw).map_err(|_| value(field, &raw.to_string(), "a value of its enum"))
}

fn unspecified(field: &str) -> Malformed {
    value(field, "unspecified", "a value of its enum")
}

fn value(field: &str, found: &str, expected: &'static str) -> Malformed {
    Malformed::Value { field: field.to_owned(), found: found.to_owned(), expected }
}

fn name(field: &str) -> impl FnOnce(InvalidName) -> Malformed {
    let field = field.to_owned();
    move |source| Malformed::Name { field, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gap_to_wire, hello_to_wire, window_set_to_payload};

    fn sample() -> Vec<Window> {
        let system = SystemId::new("seaweedfs").unwrap();
        let counts = Counts { ops: 3, bytes: 300 };
        let mut buckets = [0; BUCKETS];
        buckets[7] = 3;
        let row = |subject| Row {
            subject,
            layer: Layer::Logical,
            operation: Operation::Read,
            counts,
            offsets: OffsetHistogram::new(14, buckets).unwrap(),
        };
        vec![Window {
            start: Timestamp::from_ms(10_000),
            length_ms: 1_000,
            completeness: Completeness::Complete,
            nodes: vec![NodeWindow {
                node: NodeId::new(system.clone(), "10.0.0.1:8080").unwrap(),
                processes: 1,
                totals: BTreeMap::from([
                    ((Layer::Logical, Operation::Read), Counts { ops: 9, bytes: 900 }),
                    ((Layer::Logical, Operation::Write), Counts::default()),
                ]),
                rows: vec![
                    row(Subject::Partition(PartitionId::new(system, "7").unwrap())),
                    row(Subject::Other(OtherReason::PartitionLimit)),
                    row(Subject::Unattributed(UnattributedReason::NoPath)),
                ],
                lost: BTreeMap::from([(LostReason::Compat, 2)]),
            }],
        }]
    }

    fn refused(change: impl FnOnce(&mut wire::Window)) -> String {
        let mut set = wire::WindowSet::decode(window_set_to_payload(&sample()).as_slice()).unwrap();
        change(&mut set.windows[0]);
        let error = window_set_from_payload(&set.encode_to_vec()).unwrap_err();
        match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn windows_survive_the_wire() {
        assert_eq!(window_set_from_payload(&window_set_to_payload(&sample())).unwrap(), sample());
    }

    #[test]
    fn malformed_windows_are_refused_with_the_field() {
        let node = |window: &mut wire::Window| window.nodes[0].clone();
        for (got, want) in [
            (
                refused(|w| w.length_ms = 0),
                "windows[0].length_ms is 0, expected a length above 0 that ends before the year 2262",
            ),
            (refused(|w| w.completeness = 9), "windows[0].completeness is 9, expected a value of its enum"),
            (refused(|w| w.nodes[0].node.clear()), "windows[0].nodes[0].node: node is empty"),
            (
                refused(|w| {
                    let twin = node(w);
                    w.nodes.push(twin);
                }),
                "windows[0].nodes[1] (seaweedfs/10.0.0.1:8080) occurs twice",
            ),
            (
                refused(|w| {
                    let twin = w.nodes[0].rows[0].clone();
                    w.nodes[0].rows.push(twin);
                }),
                "windows[0].nodes[0].rows[3] occurs twice",
            ),
            (
                refused(|w| w.nodes[0].rows[0].subject = None),
                "windows[0].nodes[0].rows[0].subject is absent, expected partition, other or unattributed",
            ),
            (
                refused(|w| {
                    w.nodes[0].rows[0].offsets.as_mut().unwrap().counts.pop();
                }),
                "windows[0].nodes[0].rows[0].offsets.counts is 63 buckets, expected 64 buckets",
            ),
            (
                refused(|w| w.nodes[0].rows[0].offsets.as_mut().unwrap().shift = 58),
                "windows[0].nodes[0].rows[0].offsets.shift is 58, expected 12 to 57",
            ),
            (
                refused(|w| w.nodes[0].rows[0].offsets.as_mut().unwrap().counts[0] = 1),
                "windows[0].nodes[0].rows[0].offsets.counts is a sum of 4, expected a sum equal to ops",
            ),
            (
                refused(|w| w.nodes[0].rows[1].operation = 0),
                "windows[0].nodes[0].rows[1].operation is unspecified, expected a value of its enum",
            ),
            (
                refused(|w| w.nodes[0].totals[0].bytes = 901),
                "windows[0].nodes[0]: seaweedfs/10.0.0.1:8080: logical read: the total is 9 operations and 901 bytes, its rows sum to 9 operations and 900 bytes",
            ),
            (
                refused(|w| w.nodes[0].lost[0].reason = 0),
                "windows[0].nodes[0].lost[0] is unspecified, expected a value of its enum",
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn damaged_empty_and_oversized_payloads_are_refused() {
        let message = |payload: &[u8]| window_set_from_payload(payload).unwrap_err().to_string();
        assert_eq!(message(&[0xff; 40]), "the payload is not a WindowSet");
        assert_eq!(message(&[]), "windows is empty, expected at least one window");
        assert_eq!(
            message(&vec![0; MAX_PAYLOAD_BYTES + 1]),
            "the payload has 8388609 bytes, more than the 8388608 accepted"
        );
    }

    #[test]
    fn rows_are_counted_before_they_are_parsed() {
        let rows = |nodes: usize, rows: usize| {
            let node = wire::NodeWindow { rows: vec![wire::Row::default(); rows], ..Default::default() };
            let window = wire::Window { nodes: vec![node; nodes], ..Default::default() };
            wire::WindowSet { windows: vec![window] }.encode_to_vec()
        };
        assert_eq!(rows_in_payload(&rows(3, 5)).unwrap(), 1 + 3 * (1 + 5));
        assert_eq!(rows_in_payload(&window_set_to_payload(&sample())).unwrap(), 8);
        assert_eq!(rows_in_payload(&rows(1, MAX_ROWS - 2)).unwrap(), MAX_ROWS);
        for payload in [rows(1, MAX_ROWS - 1), rows(MAX_ROWS, 0)] {
            let error = window_set_from_payload(&payload).unwrap_err().to_string();
            assert_eq!(error, "the payload has more than the 262144 rows accepted");
        }
        let whole = window_set_to_payload(&sample());
        for end in 1..whole.len() {
            let error = window_set_from_payload(&whole[..end]).unwrap_err();
            assert!(matches!(error, Malformed::Encoding(_)), "{end}: {error}");
        }
    }

    #[test]
    fn hello_and_gap_survive_the_wire_and_refuse_nonsense() {
        let hello = Hello {
            agent: AgentId::new("host-1").unwrap(),
            boot: BootId::new("b").unwrap(),
            version: "0.1.0".into(),
            window_ms: 1_000,
            targets: vec![NodeId::new(SystemId::new("s").unwrap(), "n").unwrap()],
        };
        assert_eq!(hello_from_wire(hello_to_wire(&hello)).unwrap(), hello);
        assert!(hello_from_wire(wire::Hello { window_ms: 0, ..hello_to_wire(&hello) }).is_err());

        let time = Interval::new(Timestamp::from_ms(1), Timestamp::from_ms(2)).unwrap();
        let gap = Gap { first: Seq::FIRST, last: Seq::FIRST.next(), time, reason: GapReason::QueueFull };
        assert_eq!(gap_from_wire(gap_to_wire(&gap)).unwrap(), gap);
        assert!(gap_from_wire(wire::Gap { last_seq: 0, ..gap_to_wire(&gap) }).is_err());
        assert!(gap_from_wire(wire::Gap { end_ms: 1, ..gap_to_wire(&gap) }).is_err());
    }
}
