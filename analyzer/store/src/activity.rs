//! How much was done, by node and by partition.

use crate::error::QueryError;
use crate::latency;
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use isotherm_model::{Counts, LatencyHistogram, Layer, NodeId, Operation, PartitionId, SystemId};
use polars::prelude::{DataFrame, Expr, LazyFrame, PolarsResult, StringChunked, UInt64Chunked, col, lit};
use std::collections::{BTreeMap, BTreeSet};

/// Where an access was observed, and what it did.
pub type Place = (Layer, Operation);

/// Accesses by layer and operation. Absent is what was not watched in that time; 0 what was, and did not happen.
/// Sums are exact below 2^64.
pub type Accesses = BTreeMap<Place, Counts>;

/// What a node did in the time asked for. All four have the same layers and operations: those that were watched
/// in at least one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeActivity {
    /// Agents that sent its windows.
    pub agents: BTreeSet<String>,
    /// Everything: the sum of the three below.
    pub total: Accesses,
    /// Of partitions.
    pub partitions: Accesses,
    /// Understood, of no partition.
    pub other: Accesses,
    /// Not understood.
    pub unattributed: Accesses,
    /// Events that were missed, not in the total.
    pub lost: u64,
}

/// What a node did for a partition in the time asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionShare {
    /// In every layer and operation that was watched at the node.
    pub accesses: Accesses,
    /// How long accesses took, of those windows that know it. In the device layer these are requests, into which
    /// the kernel merges neighbouring operations.
    pub latency: BTreeMap<Place, LatencyHistogram>,
}

/// What was done for a partition in the time asked for, by node. Nodes that did nothing for it are absent.
pub type PartitionActivity = BTreeMap<NodeId, PartitionShare>;

const PLACE_KEYS: [&str; 4] = [schema::SYSTEM, schema::NODE, schema::LAYER, schema::OPERATION];

impl Reader {
    /// Every node with a window in the time asked for in which something was watched or lost.
    pub fn node_activity(&self, span: Span) -> Result<BTreeMap<NodeId, NodeActivity>, QueryError> {
        let keys = [PLACE_KEYS.as_slice(), &[schema::AGENT, schema::CLASS]].concat();
        let frame = self
            .starting_in(&self.catalog()?, span.start(), span.end())?
            .filter(col(schema::CLASS).neq(lit(Class::Peer.as_str())))
            .group_by(keys.into_iter().map(col).collect::<Vec<_>>())
            .agg(sums())
            .collect()?;
        let (agents, classes) = (text(&frame, schema::AGENT)?, text(&frame, schema::CLASS)?);
        let (places, counts) = (places(&frame)?, counts(&frame)?);
        let mut found: BTreeMap<NodeId, NodeActivity> = BTreeMap::new();
        for (row, node) in node_ids(&frame)?.into_iter().enumerate() {
            let node = found.entry(node).or_default();
            node.agents.extend(agents.get(row).map(str::to_owned));
            let part = match classes.get(row).and_then(Class::from_word) {
                Some(Class::Total) => &mut node.total,
                Some(Class::Partition) => &mut node.partitions,
                Some(Class::Other) => &mut node.other,
                Some(Class::Unattributed) => &mut node.unattributed,
                Some(Class::Lost) => {
                    node.lost = node.lost.saturating_add(counts[row].ops);
                    continue;
                }
                Some(Class::Peer) | None => continue,
            };
            if let Some(place) = places[row] {
                add(part, place, counts[row]);
            }
        }
        for node in found.values_mut() {
            for part in [&mut node.partitions, &mut node.other, &mut node.unattributed] {
                node.total.keys().for_each(|place| add(part, *place, Counts::default()));
            }
        }
        Ok(found)
    }

    /// Every partition with a row in the time asked for, in one layer or in all of them. A partition whose rows
    /// count nothing has no nodes.
    pub fn partition_activity(
        &self,
        span: Span,
        layer: Option<Layer>,
    ) -> Result<BTreeMap<PartitionId, PartitionActivity>, QueryError> {
        let catalog = self.catalog()?;
        let mut rows = self.starting_in(&catalog, span.start(), span.end())?;
        if let Some(layer) = layer {
            rows = rows.filter(in_layer(layer));
        }
        let watched = watched(rows.clone())?;
        let partitions = rows.filter(col(schema::CLASS).eq(lit(Class::Partition.as_str())));
        let keys = [PLACE_KEYS.as_slice(), &[schema::PARTITION]].concat();
        let keys: Vec<Expr> = keys.into_iter().map(col).collect();
        let frame = partitions.clone().group_by(keys.clone()).agg(sums()).collect()?;
        let (places_found, counts) = (places(&frame)?, counts(&frame)?);
        let mut found: BTreeMap<PartitionId, PartitionActivity> = BTreeMap::new();
        for (row, (partition, node)) in partition_ids(&frame)?.into_iter().zip(node_ids(&frame)?).enumerate()
        {
            let nodes = found.entry(partition).or_default();
            if let Some(place) = places_found[row]
                && counts[row] != Counts::default()
            {
                let share = nodes.entry(node).or_default();
                add(&mut share.accesses, place, counts[row]);
            }
        }
        for (node, share) in found.values_mut().flatten() {
            for place in watched.get(node).into_iter().flatten() {
                add(&mut share.accesses, *place, Counts::default());
            }
        }

        let frame = latency::summed(partitions, &keys).collect()?;
        let (places, histograms) = (places(&frame)?, latency::histograms(&frame)?);
        for (row, (partition, node)) in partition_ids(&frame)?.into_iter().zip(node_ids(&frame)?).enumerate()
        {
            if let Some(share) = found.get_mut(&partition).and_then(|nodes| nodes.get_mut(&node))
                && let Some(place) = places[row]
            {
                share.latency.insert(place, histograms[row]);
            }
        }
        Ok(found)
    }
}

/// What was watched at each node, in at least one window of `rows`.
fn watched(rows: LazyFrame) -> Result<BTreeMap<NodeId, BTreeSet<Place>>, QueryError> {
    let frame = rows
        .filter(col(schema::CLASS).eq(lit(Class::Total.as_str())))
        .group_by(PLACE_KEYS.map(col))
        .agg(sums())
        .collect()?;
    let mut watched: BTreeMap<NodeId, BTreeSet<Place>> = BTreeMap::new();
    for (node, place) in node_ids(&frame)?.into_iter().zip(places(&frame)?) {
        watched.entry(node).or_default().extend(place);
    }
    Ok(watched)
}

fn add(accesses: &mut Accesses, place: Place, counts: Counts) {
    let sum = accesses.entry(place).or_default();
    *sum = sum.plus(counts);
}

/// Rows of one layer.
pub(crate) fn in_layer(layer: Layer) -> Expr {
    col(schema::LAYER).eq(lit(layer.as_str()))
}

pub(crate) fn sums() -> [Expr; 2] {
    [schema::OPS, schema::BYTES].map(|name| col(name).sum())
}

/// Operations and bytes of every row of a frame.
pub(crate) fn counts(frame: &DataFrame) -> PolarsResult<Vec<Counts>> {
    let (ops, bytes) = (numbers(frame, schema::OPS)?, numbers(frame, schema::BYTES)?);
    let at = |column: &UInt64Chunked, row| column.get(row).unwrap_or(0);
    Ok((0..frame.height()).map(|row| Counts { ops: at(ops, row), bytes: at(bytes, row) }).collect())
}

/// Layer and operation of every row of a frame; `None` where a row has none.
pub(crate) fn places(frame: &DataFrame) -> PolarsResult<Vec<Option<Place>>> {
    let (layers, operations) = (text(frame, schema::LAYER)?, text(frame, schema::OPERATION)?);
    Ok(layers.iter().zip(operations.iter()).map(|(layer, operation)| place(layer?, operation?)).collect())
}

fn place(layer: &str, operation: &str) -> Option<Place> {
    let layer = Layer::ALL.iter().find(|known| known.as_str() == layer)?;
    let operation = Operation::ALL.iter().find(|known| known.as_str() == operation)?;
    Some((*layer, *operation))
}

pub(crate) fn text<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a StringChunked> {
    frame.column(name)?.str()
}

pub(crate) fn numbers<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a UInt64Chunked> {
    frame.column(name)?.u64()
}

pub(crate) fn node_ids(frame: &DataFrame) -> Result<Vec<NodeId>, QueryError> {
    members(frame, schema::NODE, NodeId::new)
}

pub(crate) fn partition_ids(frame: &DataFrame) -> Result<Vec<PartitionId>, QueryError> {
    members(frame, schema::PARTITION, PartitionId::new)
}

fn members<T>(
    frame: &DataFrame,
    column: &str,
    make: impl Fn(SystemId, String) -> Result<T, isotherm_model::InvalidName>,
) -> Result<Vec<T>, QueryError> {
    let (systems, names) = (text(frame, schema::SYSTEM)?, text(frame, column)?);
    systems
        .iter()
        .zip(names.iter())
        .map(|(system, name)| {
            let system = SystemId::new(system.unwrap_or_default())?;
            Ok(make(system, name.unwrap_or_default().to_owned())?)
        })
        .collect()
}
