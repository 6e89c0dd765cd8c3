//! Whatever windows say, in any layer, is what the store answers: before and after merging, and in an export.

use crate::activity::{counts, node_ids, places, text};
use crate::sample::{batch, commit, node, partition, run, window};
use crate::schema::{self, Class};
use crate::{
    Accesses, Ends, ExportQuery, Merging, NodeActivity, NodePeers, PartitionActivity, PartitionFilter, Place,
    Reader, Span, Store,
};
use isotherm_model::{
    BUCKETS, Counts, LATENCY_BUCKETS, LatencyHistogram, Layer, NodeId, NodeWindow, OffsetHistogram,
    Operation, OtherReason, PartitionId, Peer, Row, Subject, UnattributedReason, Window,
};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Instant;

/// As many batches as become one segment, and some.
const BATCHES: usize = 18;

fn subjects() -> [Subject; 5] {
    [
        Subject::Partition(partition("p")),
        Subject::Partition(partition("q")),
        Subject::Other(OtherReason::NoRule),
        Subject::Other(OtherReason::Journal),
        Subject::Unattributed(UnattributedReason::NoFile),
    ]
}

/// The parts of a row of the network layer: one per end.
type Parts = [Counts; 3];

fn peers(row: &Row, parts: Parts) -> Vec<Peer> {
    let remote = ["10.0.0.2:0", "10.0.0.3:0"].map(|text| Some(text.parse().unwrap()));
    let ends = [(remote[0], Some(node("b"))), (remote[1], None), (None, None)];
    let peer = |((remote, node), counts)| Peer {
        subject: row.subject.clone(),
        operation: row.operation,
        local: "10.0.0.1:80".parse().unwrap(),
        remote,
        node,
        counts,
    };
    ends.into_iter().zip(parts).map(peer).collect()
}

fn any_counts() -> impl Strategy<Value = Counts> {
    (0..1_000_000u64, 0..1u64 << 40).prop_map(|(ops, bytes)| Counts { ops, bytes })
}

/// A row, with its peers if it is of the network layer.
fn any_row(subject: Subject, (layer, operation): Place) -> impl Strategy<Value = (Row, Vec<Peer>)> {
    let latency = prop::option::of(prop::collection::vec(0..1_000u64, LATENCY_BUCKETS));
    let offsets = prop::option::of((12..57u8, prop::collection::vec(0..1_000u64, BUCKETS)));
    let parts = [any_counts(), any_counts(), any_counts()];
    (parts, offsets, latency).prop_map(move |(parts, offsets, latency)| {
        let offsets = offsets.filter(|_| layer != Layer::Network && operation != Operation::Sync);
        let offsets = offsets.map(|(shift, counts)| {
            OffsetHistogram::new(shift, counts.try_into().expect("the strategy makes 64")).unwrap()
        });
        let sum = parts.iter().fold(Counts::default(), |sum, part| sum.plus(*part));
        let ops = offsets.map_or(sum.ops, |offsets| offsets.total());
        let latency = latency.filter(|_| layer == Layer::Device);
        let row = Row {
            subject: subject.clone(),
            layer,
            operation,
            counts: Counts { ops, ..sum },
            offsets: offsets.unwrap_or(OffsetHistogram::EMPTY),
            latency: latency.map(|counts| {
                Box::new(LatencyHistogram::new(counts.try_into().expect("the strategy makes 40")))
            }),
        };
        let peers = if layer == Layer::Network { peers(&row, parts) } else { Vec::new() };
        (row, peers)
    })
}

/// What one layer and operation had, or that it was not watched.
fn any_place(place: Place) -> impl Strategy<Value = Option<Vec<(Row, Vec<Peer>)>>> {
    let row = |subject| prop::option::weighted(0.3, any_row(subject, place));
    prop::option::weighted(0.7, subjects().map(row))
        .prop_map(|rows| Some(rows?.into_iter().flatten().collect()))
}

fn places_of_model() -> Vec<Place> {
    Layer::ALL
        .iter()
        .flat_map(|layer| layer.operations().iter().map(|operation| (*layer, *operation)))
        .collect()
}

fn any_node(name: &'static str) -> impl Strategy<Value = NodeWindow> {
    let places: Vec<_> = places_of_model().into_iter().map(any_place).collect();
    places.prop_map(move |found| {
        let mut window = crate::sample::node_window(name, Vec::new());
        window.totals.clear();
        for (place, rows) in places_of_model().into_iter().zip(found) {
            let Some(rows) = rows else { continue };
            let total = rows.iter().fold(Counts::default(), |sum, (row, _)| sum.plus(row.counts));
            window.totals.insert(place, total);
            for (row, peers) in rows {
                window.rows.push(row);
                window.peers.extend(peers);
            }
        }
        window.check_conserved().expect("totals are sums");
        window
    })
}

/// What the windows say, worked out without the store.
#[derive(Debug, Default, PartialEq)]
struct Said {
    nodes: BTreeMap<NodeId, NodeActivity>,
    partitions: BTreeMap<PartitionId, PartitionActivity>,
    peers: BTreeMap<NodeId, NodePeers>,
}

impl Said {
    fn by(windows: &[Window]) -> Self {
        let mut said = Self::default();
        windows.iter().flat_map(|window| &window.nodes).for_each(|node| said.add_node(node));
        for node in said.nodes.values_mut() {
            for place in node.total.keys() {
                for part in [&mut node.partitions, &mut node.other, &mut node.unattributed] {
                    part.entry(*place).or_default();
                }
            }
        }
        for (node, share) in said.partitions.values_mut().flatten() {
            for place in said.nodes[node].total.keys() {
                share.accesses.entry(*place).or_default();
            }
        }
        said
    }

    fn add_node(&mut self, window: &NodeWindow) {
        if window.totals.is_empty() {
            return;
        }
        let node = self.nodes.entry(window.node.clone()).or_default();
        node.agents.insert("agent".into());
        window.totals.iter().for_each(|(place, counts)| add(&mut node.total, *place, *counts));
        for row in &window.rows {
            let place = (row.layer, row.operation);
            match &row.subject {
                Subject::Other(_) => add(&mut node.other, place, row.counts),
                Subject::Unattributed(_) => add(&mut node.unattributed, place, row.counts),
                Subject::Partition(id) => {
                    add(&mut node.partitions, place, row.counts);
                    let nodes = self.partitions.entry(id.clone()).or_default();
                    if row.counts == Counts::default() {
                        continue;
                    }
                    let share = nodes.entry(window.node.clone()).or_default();
                    add(&mut share.accesses, place, row.counts);
                    if let Some(latency) = &row.latency {
                        let sum = share.latency.entry(place).or_insert(LatencyHistogram::EMPTY);
                        *sum = sum.merge(latency);
                    }
                }
            }
        }
        if window.totals.keys().any(|(layer, _)| *layer == Layer::Network) {
            let peers = self.peers.entry(window.node.clone()).or_default();
            for peer in &window.peers {
                let ends = Ends { local: peer.local, remote: peer.remote, node: peer.node.clone() };
                let sum = peers.entry(ends).or_default().entry(peer.operation).or_default();
                *sum = sum.plus(peer.counts);
            }
        }
    }

    fn answered(reader: &Reader) -> Self {
        let all = Span::default();
        Self {
            nodes: reader.node_activity(all).unwrap(),
            partitions: reader.partition_activity(all, None).unwrap(),
            peers: reader.peer_activity(all, &PartitionFilter::All).unwrap(),
        }
    }
}

fn add(sums: &mut Accesses, place: Place, counts: Counts) {
    let sum = sums.entry(place).or_default();
    *sum = sum.plus(counts);
}

/// Holds an export to the identity, row by row and without the store's own sums.
fn check_export(reader: &Reader, said: &Said) {
    let mut totals: BTreeMap<(NodeId, Place), [Counts; 3]> = BTreeMap::new();
    let query = ExportQuery::everything(Span::default());
    for part in reader.export_parts(&query).unwrap() {
        for slice in reader.export_slices(&query, part).unwrap() {
            let file = reader.export_file(&query, &slice).unwrap().unwrap();
            let frame = ParquetReader::new(Cursor::new(file.data)).finish().unwrap();
            add_rows(&frame, &mut totals);
        }
    }
    for ((node, (layer, operation)), [total, rows, peers]) in &totals {
        assert_eq!(total, rows, "{node} {layer} {operation}");
        assert_eq!(*total, said.nodes[node].total[&(*layer, *operation)]);
        let parts = if *layer == Layer::Network { *rows } else { Counts::default() };
        assert_eq!(*peers, parts, "{node} {layer} {operation}");
    }
    let watched: usize = said.nodes.values().map(|node| node.total.len()).sum();
    assert_eq!(totals.len(), watched);
}

fn add_rows(frame: &DataFrame, totals: &mut BTreeMap<(NodeId, Place), [Counts; 3]>) {
    let (places, counts) = (places(frame).unwrap(), counts(frame).unwrap());
    let classes = text(frame, schema::CLASS).unwrap();
    for (row, node) in node_ids(frame).unwrap().into_iter().enumerate() {
        let [total, rows, peers] = totals.entry((node, places[row].unwrap())).or_default();
        let sum = match Class::from_word(classes.get(row).unwrap()).unwrap() {
            Class::Total => total,
            Class::Partition | Class::Other | Class::Unattributed => rows,
            Class::Peer => peers,
            Class::Lost => continue,
        };
        *sum = sum.plus(counts[row]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 8, ..ProptestConfig::with_cases(6) })]
    #[test]
    fn what_windows_say_is_answered_before_and_after_merging_and_exported(
        nodes in prop::collection::vec((any_node("a"), any_node("b")), BATCHES)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let windows: Vec<Window> =
            (1..).zip(nodes).map(|(second, (a, b))| window(second * 1_000, vec![a, b])).collect();
        let said = Said::by(&windows);
        for node in said.nodes.values() {
            for (place, total) in &node.total {
                let parts = [&node.partitions, &node.other, &node.unattributed].map(|part| part[place]);
                let sum = parts.into_iter().fold(Counts::default(), Counts::plus);
                prop_assert_eq!(*total, sum);
            }
        }
        for (seq, window) in (1..).zip(&windows) {
            commit(&mut store, &[batch(&run("agent"), seq, vec![window.clone()])]);
        }
        let reader = store.reader();
        prop_assert_eq!(&Said::answered(&reader), &said);
        prop_assert_eq!(store.merge(crate::sample::at(0), Instant::now()).unwrap(), Merging::MoreToDo);
        prop_assert_eq!(&Said::answered(&reader), &said);
        check_export(&reader, &said);
    }
}

#[test]
fn one_layer_is_answered_as_all_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let rows = vec![crate::sample::reads("p", 5), crate::sample::device_reads("p", 3)];
    let window = window(1_000, vec![crate::sample::node_window("n", rows)]);
    commit(&mut store, &[batch(&run("agent"), 1, vec![window])]);
    let reader = store.reader();
    let share = |layer| -> Vec<(Place, u64)> {
        let found = reader.partition_activity(Span::default(), layer).unwrap();
        let share = found[&partition("p")].get(&node("n")).cloned().unwrap_or_default();
        share.accesses.into_iter().map(|(place, counts)| (place, counts.ops)).collect()
    };
    let (read, write) = (Operation::Read, Operation::Write);
    let logical = [((Layer::Logical, read), 5), ((Layer::Logical, write), 0)];
    assert_eq!(share(Some(Layer::Logical)), logical);
    assert_eq!(share(Some(Layer::Device)), [((Layer::Device, read), 3)], "writes were not watched");
    assert_eq!(share(None).len(), 3);
    let none = reader.partition_activity(Span::default(), Some(Layer::Network)).unwrap();
    assert!(none.is_empty());
}
