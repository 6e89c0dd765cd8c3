//! Windows as payloads that an analyzer takes.

use isotherm_model::{Counts, Layer, NodeWindow, Operation, Peer, Row, Subject, Window};
use isotherm_proto::{MAX_PAYLOAD_BYTES, window_set_to_payload};
use std::collections::{BTreeMap, BTreeSet};

/// One payload; or several, of parts of the nodes or rows, where it would be refused as too large.
pub(super) fn payloads(window: Window) -> Vec<Vec<u8>> {
    let payload = window_set_to_payload(std::slice::from_ref(&window));
    if payload.len() <= MAX_PAYLOAD_BYTES {
        return vec![payload];
    }
    match halves(window) {
        Some(halves) => halves.into_iter().flat_map(payloads).collect(),
        // A single row is never that large.
        None => vec![payload],
    }
}

/// Logical reads of partitions.
pub(super) fn reads(window: &Window) -> u64 {
    let rows = window.nodes.iter().flat_map(|node| &node.rows);
    let counted = rows.filter(|row| {
        row.layer == Layer::Logical
            && row.operation == Operation::Read
            && matches!(row.subject, Subject::Partition(_))
    });
    counted.map(|row| row.counts.ops).sum()
}

/// The same window in two, each with totals of its own. `None` if there is but one row.
fn halves(window: Window) -> Option<[Window; 2]> {
    let Window { start, length_ms, completeness, mut nodes } = window;
    let with = |nodes| Window { start, length_ms, completeness, nodes };
    if nodes.len() > 1 {
        let rest = nodes.split_off(nodes.len() / 2);
        return Some([with(nodes), with(rest)]);
    }
    let NodeWindow { node, processes, listening, totals, mut rows, mut peers, lost } =
        nodes.pop().filter(|node| node.rows.len() > 1)?;
    let rest = rows.split_off(rows.len() / 2);
    let network = rest.iter().filter(|row| row.layer == Layer::Network);
    let in_rest: BTreeSet<_> = network.map(|row| (&row.subject, row.operation)).collect();
    let rest_peers: Vec<Peer> =
        peers.extract_if(.., |peer| in_rest.contains(&(&peer.subject, peer.operation))).collect();
    let part = |rows: Vec<Row>, peers, lost| {
        let mut sums: BTreeMap<_, Counts> = totals.keys().map(|key| (*key, Counts::default())).collect();
        for row in &rows {
            let sum = sums.entry((row.layer, row.operation)).or_default();
            *sum = sum.plus(row.counts);
        }
        let (node, listening) = (node.clone(), listening.clone());
        with(vec![NodeWindow { node, processes, listening, totals: sums, rows, peers, lost }])
    };
    Some([part(rows, peers, lost), part(rest, rest_peers, BTreeMap::new())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::{
        Completeness, NodeId, OffsetHistogram, Operation, OtherReason, PartitionId, Subject, SystemId,
        Timestamp,
    };
    use isotherm_proto::window_set_from_payload;

    fn window(partitions: usize) -> Window {
        let system = SystemId::new("s").unwrap();
        let counts = Counts { ops: u64::MAX >> 8, bytes: 1 };
        let mut offsets = [0; isotherm_model::BUCKETS];
        offsets[5] = counts.ops;
        let row = |n: usize| Row {
            // Long names, and counts of many bytes.
            subject: Subject::Partition(PartitionId::new(system.clone(), format!("{n:0>250}")).unwrap()),
            layer: Layer::Logical,
            operation: Operation::Read,
            counts: Counts { ops: 0, bytes: 1 },
            offsets: OffsetHistogram::EMPTY,
            latency: None,
        };
        let other = Row {
            subject: Subject::Other(OtherReason::NoRule),
            counts,
            offsets: OffsetHistogram::new(12, offsets).unwrap(),
            ..row(0)
        };
        let rows: Vec<Row> = (0..partitions).map(row).chain([other]).collect();
        let bytes = rows.len() as u64;
        let totals = BTreeMap::from([
            ((Layer::Logical, Operation::Read), Counts { ops: counts.ops, bytes }),
            ((Layer::Logical, Operation::Write), Counts::default()),
        ]);
        let lost = BTreeMap::from([(isotherm_model::LostReason::Compat, 7)]);
        let node = NodeId::new(system, "n").unwrap();
        let nodes = vec![NodeWindow {
            node,
            processes: 1,
            listening: Vec::new(),
            totals,
            rows,
            peers: Vec::new(),
            lost,
        }];
        Window { start: Timestamp::from_ms(0), length_ms: 1, completeness: Completeness::Complete, nodes }
    }

    #[test]
    fn a_window_that_is_too_large_travels_in_parts_that_sum_to_it() {
        let whole = window(60_000);
        let parts = payloads(whole.clone());
        assert!(parts.len() > 1);
        let parts: Vec<NodeWindow> = parts
            .iter()
            .flat_map(|payload| window_set_from_payload(payload).unwrap())
            .flat_map(|window| window.nodes)
            .collect();
        let rows: Vec<Row> = parts.iter().flat_map(|node| node.rows.clone()).collect();
        assert_eq!(rows, whole.nodes[0].rows);
        let lost: u64 = parts.iter().flat_map(|node| node.lost.values()).sum();
        assert_eq!(lost, 7);
        assert!(parts.iter().all(|node| node.totals.len() == 2 && node.processes == 1));
        assert_eq!(payloads(window(1)).len(), 1);
    }
}
