//! From frames of names to tables of numbers: who is eligible, who was watched, what was whose.

use super::load::{SystemCounts, system_load};
use super::names::Names;
use super::offsets::OffsetSums;
use super::part::{Detail, Part, Peers};
use super::scan::{Accesses, NOT_TOLD_APART, Sums};
use super::{KeptOut, NodeCounts, NodeReads, OffsetEntropy, PartitionCounts, ShareEntropy};
use super::{StepCounts, StepQuery, Watched};
use crate::activity::{numbers, text};
use crate::coverage::Coverage;
use crate::entropy::{EligibleSource, PeerEntropy, Step, Subsets};
use crate::error::QueryError;
use crate::estimate::{Estimate, estimates_by_group};
use crate::{latency, schema};
use isotherm_model::entropy::over_offsets;
use isotherm_model::{
    Counts, Interval, LatencyHistogram, Layer, NodeId, OffsetHistogram, PartitionId, SystemId,
};
use polars::prelude::DataFrame;
use std::collections::BTreeSet;

/// What a node did for a partition, both by number.
#[derive(Debug, Clone, Copy)]
struct Served {
    partition: u32,
    node: u32,
    clients: Accesses,
    kept_out: KeptOut,
    not_told_apart: u64,
}

/// Adds a system to the tables.
pub(super) fn add(
    system: &SystemId,
    part: &Part,
    query: &StepQuery<'_>,
    counts: &mut StepCounts,
) -> Result<(), QueryError> {
    let Part { partitions, totals, .. } = part;
    let (subsets, seen) = (of_system(query.subsets, system), of_system(query.seen, system));
    let eligible = subsets.clone().chain(seen.clone()).flat_map(|(_, nodes)| nodes).map(NodeId::name);
    let nodes =
        Names::of(eligible.chain(texts(partitions, schema::NODE)?).chain(texts(totals, schema::NODE)?));
    let called = subsets.clone().chain(seen.clone()).map(|(partition, _)| partition.name());
    let names = Names::of(called.chain(texts(partitions, schema::PARTITION)?));

    let mut served = served(partitions, &names, &nodes)?;
    let coverage = Coverage::of(&part.spans, Step::EachMs(query.length_ms))?;
    let mut node_counts = node_counts(part, nodes.ids(system, NodeId::new)?, &nodes, |node| {
        watched(&coverage, node, counts.time)
    })?;
    if let Detail::Peers(Peers { exchanged, .. }) = &part.detail {
        keep_out(exchanged, &names, &nodes, &mut served, &mut node_counts)?;
    }
    let mut table = Table { query, nodes: &nodes, node_counts: &node_counts, shares: Vec::new() };
    let ids = names.ids(system, PartitionId::new)?;
    let mut found = table.partitions(ids, &served, subsets, seen);
    let shares = table.shares;
    estimate(&mut found, &shares)?;
    match &part.detail {
        Detail::Offsets(offsets) => add_offsets(offsets, &names, &mut found, &shares),
        Detail::Peers(Peers { remotes, .. }) => add_peers(remotes, &names, &mut found, &shares)?,
    }
    let load =
        system_load(system, &SystemCounts { nodes: &node_counts, partitions: &found, shares: &shares });
    append(counts, node_counts, found, shares);
    counts.systems.push(load);
    Ok(())
}

/// Moves a system's tables to the end of all. Its places are counted from there.
fn append(
    counts: &mut StepCounts,
    nodes: Vec<NodeCounts>,
    partitions: Vec<PartitionCounts>,
    shares: Vec<NodeReads>,
) {
    let place = |length: usize| u32::try_from(length).expect("a step has fewer than 2^32 shares");
    let (first_node, first_share) = (place(counts.nodes.len()), place(counts.shares.len()));
    place(counts.shares.len() + shares.len());
    counts.nodes.extend(nodes);
    counts
        .shares
        .extend(shares.into_iter().map(|share| NodeReads { node: first_node + share.node, ..share }));
    counts.partitions.extend(partitions.into_iter().map(|mut partition| {
        partition.shares = first_share + partition.shares.start..first_share + partition.shares.end;
        partition
    }));
}

fn of_system<'a>(
    subsets: &'a Subsets,
    system: &'a SystemId,
) -> impl Iterator<Item = (&'a PartitionId, &'a BTreeSet<NodeId>)> + Clone {
    subsets.iter().filter(move |(partition, _)| partition.system() == system)
}

fn texts<'a>(frame: &'a DataFrame, column: &str) -> Result<impl Iterator<Item = &'a str>, QueryError> {
    Ok(text(frame, column)?.iter().flatten())
}

/// Number of the name in every row, where it has one that is known.
fn numbered(frame: &DataFrame, column: &str, names: &Names<'_>) -> Result<Vec<Option<u32>>, QueryError> {
    Ok(text(frame, column)?.iter().map(|name| names.number(name?)).collect())
}

/// The rows of a frame by partition, then node.
fn served(frame: &DataFrame, names: &Names<'_>, nodes: &Names<'_>) -> Result<Vec<Served>, QueryError> {
    let sums = Sums::of(frame)?;
    let partitions = numbered(frame, schema::PARTITION, names)?;
    let places = partitions.into_iter().zip(numbered(frame, schema::NODE, nodes)?);
    let mut served: Vec<Served> = places
        .enumerate()
        .filter_map(|(row, (partition, node))| {
            let (partition, node, clients) = (partition?, node?, sums.at(row));
            Some(Served { partition, node, clients, kept_out: KeptOut::default(), not_told_apart: 0 })
        })
        .collect();
    served.sort_unstable_by_key(|served| (served.partition, served.node));
    Ok(served)
}

/// Takes what was exchanged with nodes of the system out of what clients did.
fn keep_out(
    frame: &DataFrame,
    names: &Names<'_>,
    nodes: &Names<'_>,
    served: &mut [Served],
    node_counts: &mut [NodeCounts],
) -> Result<(), QueryError> {
    let (sums, unknown) = (Sums::of(frame)?, numbers(frame, NOT_TOLD_APART)?);
    let partitions = numbered(frame, schema::PARTITION, names)?;
    let places = partitions.into_iter().zip(numbered(frame, schema::NODE, nodes)?);
    for (row, (partition, node)) in places.enumerate() {
        let Some(node) = node else { continue };
        let exchanged = sums.at(row);
        node_counts[node as usize].kept_out.add(exchanged);
        let Some(partition) = partition else { continue };
        let key = (partition, node);
        if let Ok(at) = served.binary_search_by_key(&key, |served| (served.partition, served.node)) {
            let served = &mut served[at];
            served.clients.reads = less(served.clients.reads, exchanged.reads);
            served.clients.writes = less(served.clients.writes, exchanged.writes);
            served.kept_out.add(exchanged);
            served.not_told_apart = unknown.get(row).unwrap_or(0);
        }
    }
    Ok(())
}

impl KeptOut {
    fn add(&mut self, exchanged: Accesses) {
        self.reads = self.reads.saturating_add(exchanged.reads.ops);
        self.writes = self.writes.saturating_add(exchanged.writes.ops);
    }
}

fn less(all: Counts, part: Counts) -> Counts {
    Counts { ops: all.ops.saturating_sub(part.ops), bytes: all.bytes.saturating_sub(part.bytes) }
}

fn node_counts(
    part: &Part,
    ids: Vec<NodeId>,
    nodes: &Names<'_>,
    watched: impl Fn(&NodeId) -> Watched,
) -> Result<Vec<NodeCounts>, QueryError> {
    let totals = &part.totals;
    let mut found: Vec<NodeCounts> = ids
        .into_iter()
        .map(|node| NodeCounts {
            watched: watched(&node),
            node,
            layer: part.layer,
            reads: None,
            writes: None,
            kept_out: KeptOut::default(),
            latency: None,
            device_latency: None,
            processes: None,
        })
        .collect();
    let (sums, processes) = (Sums::of(totals)?, totals.column(schema::PROCESSES)?.u32()?);
    for (row, node) in numbered(totals, schema::NODE, nodes)?.into_iter().enumerate() {
        if let Some(node) = node.and_then(|node| found.get_mut(node as usize)) {
            let Accesses { reads, writes } = sums.at(row);
            (node.reads, node.writes, node.processes) = (Some(reads), Some(writes), processes.get(row));
        }
    }
    let frame = &part.latencies;
    let (layers, histograms) = (text(frame, schema::LAYER)?, latency::histograms(frame)?);
    for (row, node) in numbered(frame, schema::NODE, nodes)?.into_iter().enumerate() {
        let Some(node) = node.and_then(|node| found.get_mut(node as usize)) else { continue };
        let histogram: LatencyHistogram = histograms[row];
        if layers.get(row) == Some(part.layer.as_str()) {
            node.latency = Some(histogram);
        }
        if layers.get(row) == Some(Layer::Device.as_str()) {
            node.device_latency = Some(histogram);
        }
    }
    Ok(found)
}

fn watched(coverage: &Coverage, node: &NodeId, time: Interval) -> Watched {
    if coverage.covers(node, time) {
        Watched::Whole
    } else if coverage.touches(node, time) {
        Watched::Part
    } else {
        Watched::No
    }
}

/// What is needed to say who may serve a partition.
struct Table<'a> {
    query: &'a StepQuery<'a>,
    nodes: &'a Names<'a>,
    node_counts: &'a [NodeCounts],
    shares: Vec<NodeReads>,
}

impl Table<'_> {
    /// All partitions, whose entropy is not estimated yet. `served`, `subsets` and `seen` are in the order of `ids`.
    fn partitions<'a>(
        &mut self,
        ids: Vec<PartitionId>,
        mut served: &[Served],
        subsets: impl Iterator<Item = (&'a PartitionId, &'a BTreeSet<NodeId>)>,
        seen: impl Iterator<Item = (&'a PartitionId, &'a BTreeSet<NodeId>)>,
    ) -> Vec<PartitionCounts> {
        let (mut subsets, mut seen) = (subsets.peekable(), seen.peekable());
        let excluded = &self.query.excluded.nodes;
        let excluded: Vec<bool> =
            self.node_counts.iter().map(|counts| excluded.contains(&counts.node)).collect();
        let mut found = Vec::with_capacity(ids.len());
        let mut eligible: Vec<u32> = Vec::new();
        for (number, id) in (0..).zip(ids) {
            let (of_it, after) = served.split_at(served.partition_point(|row| row.partition == number));
            served = after;
            let subset = subsets.next_if(|(partition, _)| **partition == id);
            let earlier = seen.next_if(|(partition, _)| **partition == id);
            let source = subset.map_or(EligibleSource::Observed, |_| EligibleSource::Topology);
            eligible.clear();
            let named = subset.or(earlier).into_iter().flat_map(|(_, nodes)| nodes);
            eligible.extend(named.filter_map(|node| self.nodes.number(node.name())));
            if source == EligibleSource::Observed {
                let busy = |row: &&Served| row.clients.reads.ops > 0 || row.clients.writes.ops > 0;
                eligible.extend(of_it.iter().filter(busy).map(|row| row.node));
                eligible.sort_unstable();
                eligible.dedup();
            }
            let without = self.query.excluded.of.get(&id);
            eligible.retain(|node| {
                let of_it =
                    without.is_some_and(|nodes| nodes.contains(&self.node_counts[*node as usize].node));
                !excluded[*node as usize] && !of_it
            });
            found.push(self.partition(id, source, &eligible, of_it));
        }
        found
    }

    fn partition(
        &mut self,
        partition: PartitionId,
        source: EligibleSource,
        eligible: &[u32],
        served: &[Served],
    ) -> PartitionCounts {
        let first = self.shares.len();
        let (mut touched, mut silent, mut have) = (false, false, 0u64);
        for node in eligible {
            let watched = self.node_counts[*node as usize].watched;
            let reads = served.iter().find(|row| row.node == *node).map_or(0, |row| row.clients.reads.ops);
            (touched, silent) = (touched || watched != Watched::No, silent || watched != Watched::Whole);
            have = have.saturating_add(reads);
            self.shares.push(NodeReads { node: *node, reads: (watched == Watched::Whole).then_some(reads) });
        }
        let mut sum = Accesses::default();
        let (mut kept_out, mut not_told_apart) = (KeptOut::default(), 0u64);
        for row in served {
            sum = Accesses {
                reads: sum.reads.plus(row.clients.reads),
                writes: sum.writes.plus(row.clients.writes),
            };
            kept_out.reads = kept_out.reads.saturating_add(row.kept_out.reads);
            kept_out.writes = kept_out.writes.saturating_add(row.kept_out.writes);
            not_told_apart = not_told_apart.saturating_add(row.not_told_apart);
        }
        let looked = touched || sum.reads.ops > 0;
        let entropy = if eligible.len() < 2 {
            ShareEntropy::NotApplicable
        } else if silent {
            ShareEntropy::Unknown
        } else {
            ShareEntropy::Insufficient { have }
        };
        let place = |length: usize| u32::try_from(length).expect("a step has fewer than 2^32 shares");
        PartitionCounts {
            moving: self.query.excluded.moving.contains(&partition),
            partition,
            source,
            reads: looked.then_some(sum.reads),
            writes: (looked || sum.writes.ops > 0).then_some(sum.writes),
            kept_out,
            not_told_apart,
            entropy,
            offset: None,
            peer: None,
            shares: place(first)..place(self.shares.len()),
        }
    }
}

/// Estimates the entropies that can be, in columns.
fn estimate(found: &mut [PartitionCounts], shares: &[NodeReads]) -> Result<(), QueryError> {
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    for (key, partition) in (0..).zip(&*found) {
        if let ShareEntropy::Insufficient { .. } = partition.entropy {
            let shares = partition.places(shares);
            keys.extend(std::iter::repeat_n(key, shares.len()));
            counts.extend(shares.iter().map(|share| share.reads.unwrap_or(0)));
        }
    }
    let estimates = estimates_by_group(keys, counts, found.len())?;
    for (partition, estimate) in found.iter_mut().zip(estimates) {
        if let Some(known) = estimate.and_then(Estimate::measured) {
            partition.entropy = ShareEntropy::Known(known);
        }
    }
    Ok(())
}

fn add_offsets(offsets: &OffsetSums, names: &Names<'_>, found: &mut [PartitionCounts], shares: &[NodeReads]) {
    let mut places: Vec<(u32, usize)> = offsets
        .partitions()
        .enumerate()
        .filter_map(|(place, partition)| Some((names.number(partition)?, place)))
        .collect();
    places.sort_unstable();
    for places in places.chunk_by(|(partition, _), (next, _)| partition == next) {
        let partition = &mut found[places[0].0 as usize];
        if partition.has_silent(shares) {
            continue;
        }
        let sum = places
            .iter()
            .filter_map(|(_, place)| offsets.at(*place))
            .reduce(|sum, histogram| sum.merge(&histogram))
            .unwrap_or(OffsetHistogram::EMPTY);
        partition.offset = over_offsets(&sum).map(|bits| OffsetEntropy { bits, accesses: sum.total() });
    }
}

fn add_peers(
    frame: &DataFrame,
    names: &Names<'_>,
    found: &mut [PartitionCounts],
    shares: &[NodeReads],
) -> Result<(), QueryError> {
    let (ops, remotes) = (numbers(frame, schema::OPS)?, text(frame, schema::REMOTE)?);
    let mut rows: Vec<(u32, u64)> = numbered(frame, schema::PARTITION, names)?
        .into_iter()
        .enumerate()
        .filter_map(|(row, partition)| remotes.get(row).and(Some((partition?, ops.get(row)?))))
        .collect();
    rows.sort_unstable();
    let mut rows = rows.as_slice();
    for (number, partition) in (0..).zip(found.iter_mut()) {
        let (of_it, after) = rows.split_at(rows.partition_point(|(of, _)| *of == number));
        rows = after;
        if !partition.has_silent(shares) {
            let received = of_it.iter().map(|(_, ops)| *ops).collect();
            partition.peer = PeerEntropy::of(received, partition.not_told_apart);
        }
    }
    Ok(())
}
