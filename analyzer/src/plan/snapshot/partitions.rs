//! Rows of a snapshot: who holds what, what is on its way, and what is left out.

use super::{ChartError, LeftOut, Sources, place, seconds};
use crate::cycle::Cycled;
use isotherm_cycle::record::Record;
use isotherm_migration::{End, Spec};
use isotherm_model::{NodeId, PartitionId};
use isotherm_placement::{Column, InFlight, MOST_REPLICAS, Node, Partition, Partitions, hash};
use std::collections::BTreeMap;

/// A partition that is planned for.
pub(super) struct Row {
    pub(super) id: PartitionId,
    /// Leader first.
    pub(super) holders: Vec<Node>,
    size_bytes: u64,
    epoch: u64,
    copy: Option<Copied>,
}

/// A copy under way. Its row is as it was before.
struct Copied {
    from: Option<Node>,
    to: Node,
}

/// What partitions that are left out take of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    /// Some of them have no known size.
    pub(super) unknown: bool,
}

pub(super) struct Sorted {
    pub(super) rows: Vec<Row>,
    pub(super) left_out: Vec<LeftOut>,
    /// By position of the node.
    pub(super) taken: Vec<Taken>,
}

impl Row {
    /// Slots that its row needs.
    pub(super) fn slots(&self) -> usize {
        let added = self.copy.as_ref().is_some_and(|copy| copy.from.is_none());
        self.holders.len() + usize::from(added)
    }

    pub(super) fn in_flight(&self, partition: Partition) -> Option<InFlight> {
        self.copy.as_ref().map(|copy| InFlight { partition, from: copy.from, to: copy.to })
    }
}

/// Tells what is planned for from what is left out.
pub(super) fn sort_out(sources: &Sources<'_>, nodes: &[NodeId]) -> Result<Sorted, ChartError> {
    let moving = moving(sources);
    let mut sorted =
        Sorted { rows: Vec::new(), left_out: Vec::new(), taken: vec![Taken::default(); nodes.len()] };
    let of_system =
        sources.topology.subsets.iter().filter(|(partition, _)| partition.system() == sources.system);
    for (id, subset) in of_system {
        let facts = sources.topology.partitions.get(id);
        let leader = facts.map(|facts| &facts.leader);
        let others = subset.iter().filter(|node| Some(*node) != leader);
        let holders: Vec<Node> =
            leader.into_iter().chain(others).filter_map(|node| place(nodes, node)).collect();
        let size_bytes = facts.and_then(|facts| facts.size_bytes);
        let moving = moving.get(id).copied();
        let target = moving.map(|spec| place(nodes, &spec.target));
        let untouchable = (sources.untouchable)(id);
        let why = if untouchable.is_some() {
            untouchable
        } else if size_bytes.is_none() {
            Some("its size is not known".to_owned())
        } else {
            moving.filter(|_| target == Some(None)).map(|spec| {
                format!("it is being moved to {}, which is no node of the topology", spec.target.name())
            })
        };
        if let Some(why) = why {
            let takers = holders.iter().copied().chain(target.flatten().filter(|to| !holders.contains(to)));
            for node in takers {
                let taken = &mut sorted.taken[node.at()];
                taken.bytes = taken.bytes.saturating_add(size_bytes.unwrap_or(0));
                taken.unknown |= size_bytes.is_none();
            }
            let holders = holders.iter().map(|node| nodes[node.at()].clone()).collect();
            sorted.left_out.push(LeftOut { partition: id.clone(), holders, why });
            continue;
        }
        let (holders, copy) = before(nodes, holders, moving.zip(target.flatten()));
        if holders.len() + usize::from(copy.as_ref().is_some_and(|copy| copy.from.is_none())) > MOST_REPLICAS
        {
            return Err(ChartError::TooManyHolders { partition: id.clone(), holders: subset.len() });
        }
        let (size_bytes, epoch) = (size_bytes.unwrap_or(0), facts.map_or(0, |facts| facts.epoch));
        sorted.rows.push(Row { id: id.clone(), holders, size_bytes, epoch, copy });
    }
    Ok(sorted)
}

/// Migrations that have not ended, by what they move.
fn moving<'a>(sources: &Sources<'a>) -> BTreeMap<&'a PartitionId, &'a Spec> {
    let open = sources.migrations.iter().filter(|entry| entry.migration.end().is_none());
    open.map(|entry| entry.migration.spec()).map(|spec| (&spec.partition, spec)).collect()
}

/// A row as it was before the copy that is under way: after a switch the target is a holder already.
fn before(
    nodes: &[NodeId],
    mut holders: Vec<Node>,
    moving: Option<(&Spec, Node)>,
) -> (Vec<Node>, Option<Copied>) {
    let Some((spec, to)) = moving else { return (holders, None) };
    let from = place(nodes, spec.origin.node());
    let gone = from.is_none_or(|from| !holders.contains(&from));
    match (holders.iter().position(|holder| *holder == to), from) {
        (Some(at), Some(from)) if gone => holders[at] = from,
        (Some(at), _) => {
            holders.remove(at);
        }
        (None, _) => {}
    }
    let from = from.filter(|from| holders.contains(from));
    (holders, Some(Copied { from, to }))
}

/// Load of each replica, reads per second: an even part of what the partition's clients read. Or why it is not known.
pub(super) fn loads(sources: &Sources<'_>, rows: &[Row]) -> Result<Vec<f64>, String> {
    let cycled = sources.cycled.ok_or("no cycle has measured it yet")?;
    let load = |row: &Row| {
        let reads_per_s = record(cycled, &row.id).and_then(|record| record.reads_per_s);
        let reads_per_s = reads_per_s.ok_or_else(|| format!("the reads of {} are not known", row.id))?;
        Ok(reads_per_s / row.holders.len().max(1) as f64)
    };
    rows.iter().map(load).collect()
}

/// What the last cycle decided of a partition.
pub(super) fn record<'a>(cycled: &'a Cycled, id: &PartitionId) -> Option<&'a Record> {
    let key = (id.system().as_str(), id.name());
    let found =
        cycled.records.binary_search_by(|one| (one.system.as_str(), one.partition.as_str()).cmp(&key)).ok();
    found.map(|at| &cycled.records[at])
}

/// Columns of the partitions, in the order of the rows.
pub(super) fn columns(sources: &Sources<'_>, nodes: &[NodeId], rows: &[Row], load: Vec<f64>) -> Partitions {
    let each = |risk: &dyn Fn(&Record) -> Option<f64>| {
        let of = |row: &Row| {
            let record = sources.cycled.and_then(|cycled| record(cycled, &row.id));
            record.and_then(risk).map_or(f32::NAN, |value| value as f32)
        };
        Column::Each(rows.iter().map(of).collect())
    };
    let moved = moved(sources);
    let lately = |row: &Row| moved.get(&row.id);
    Partitions {
        key: rows.iter().map(|row| hash::key(row.id.name().as_bytes())).collect(),
        size_bytes: rows.iter().map(|row| row.size_bytes).collect(),
        load,
        replicas: Column::Each(
            rows.iter().map(|row| u8::try_from(row.slots()).unwrap_or(u8::MAX).max(1)).collect(),
        ),
        risk: each(&|record| record.calibrated.or(record.exposure.map(|exposure| exposure.risk))),
        impact: each(&|record| record.loss.and_then(|loss| loss.per_hour())),
        pinned: Column::Same(false),
        epoch: Column::Each(rows.iter().map(|row| row.epoch).collect()),
        moved_at_s: Column::Each(rows.iter().map(|row| lately(row).map(|(at_s, _)| *at_s)).collect()),
        last_left: Column::Each(
            rows.iter().map(|row| lately(row).and_then(|(_, from)| place(nodes, from))).collect(),
        ),
        peers: Vec::new(),
    }
}

/// When each partition last moved, in seconds since 1970, and the node it left.
fn moved<'a>(sources: &Sources<'a>) -> BTreeMap<&'a PartitionId, (u32, &'a NodeId)> {
    let mut moved: BTreeMap<&PartitionId, (u32, &NodeId)> = BTreeMap::new();
    for entry in sources.migrations.iter().filter(|entry| entry.migration.end() == Some(&End::Completed)) {
        let spec = entry.migration.spec();
        let at_s = entry.about.ended_ms.map_or(0, seconds);
        let last = moved.entry(&spec.partition).or_insert((at_s, spec.origin.node()));
        if at_s >= last.0 {
            *last = (at_s, spec.origin.node());
        }
    }
    moved
}
