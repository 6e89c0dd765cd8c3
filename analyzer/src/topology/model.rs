//! Applies what adapters say. Pure: a message and the time in, a new topology or a reason to refuse it out.
//!
//! A message is applied as a whole or not at all. What contradicts what was said before (a revision that falls, a
//! partition on a node that is not there) means that the two sides have lost each other: nothing of it is believed,
//! what was known stays, and the caller connects anew, which begins with a snapshot.

use super::{Adapter, Freshness, Partition, Source, Topology};
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};
use isotherm_proto::{
    Capabilities, NodeFacts, PartitionFacts, TopologyChanges, TopologyMessage, TopologyPart,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// Nodes of a system. A plan counts them in two bytes.
pub(super) const MAX_NODES: usize = u16::MAX as usize;

/// Partitions of a system: twice the million that is aimed at.
pub(super) const MAX_PARTITIONS: usize = 2_000_000;

/// How often a source that says that nothing changed makes a new snapshot, for the sake of the time it was heard.
const HEARD_MS: u64 = 1_000;

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refused {
    #[error("changes came before a snapshot")]
    NoSnapshot,
    #[error("changes came before the last part of a snapshot")]
    Unfinished,
    #[error("parts of one snapshot have different revisions or incarnations")]
    PartsDiffer,
    #[error("revision {sent} is older than {seen}, which was seen already")]
    Back { sent: u64, seen: u64 },
    #[error("revision {revision} has come already, and says something else now")]
    Reused { revision: u64 },
    #[error("{what} occurs in two parts of one snapshot")]
    Repeated { what: String },
    #[error("partition {partition} lies on {node}, which is no node")]
    NoSuchNode { partition: PartitionId, node: NodeId },
    #[error("node {node} is removed while partition {partition} lies on it")]
    Holds { node: NodeId, partition: PartitionId },
    #[error("{what} is removed and is not there")]
    NotThere { what: String },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("{0} is not configured")]
    NoSuchSystem(SystemId),
}

/// The topology, and how far each adapter has come.
#[derive(Debug)]
pub(super) struct Model {
    topology: Topology,
    /// Whether it differs from what was taken last.
    news: bool,
    adapters: BTreeMap<SystemId, Progress>,
}

/// How far an adapter has come on its present connection.
#[derive(Debug)]
struct Progress {
    stale_after_ms: u64,
    stage: Stage,
    /// Parts of a snapshot that is not complete yet.
    parts: Option<TopologyPart>,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Snapshot,
    Changes,
}

impl Model {
    /// The configured topology, with nothing known yet of what adapters are to say.
    pub(super) fn new(mut topology: Topology, adapters: &[Adapter], now: Timestamp) -> Self {
        topology.revision = now.as_ms().max(1);
        let mut progress = BTreeMap::new();
        for adapter in adapters {
            topology.sources.insert(adapter.system.clone(), Source::awaited(&adapter.endpoint));
            let stale_after_ms = u64::try_from(adapter.stale_after.as_millis()).unwrap_or(u64::MAX);
            let fresh = Progress { stale_after_ms, stage: Stage::Snapshot, parts: None };
            progress.insert(adapter.system.clone(), fresh);
        }
        Self { topology, news: true, adapters: progress }
    }

    /// Whether there is something that was not taken yet.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// The topology of the moment. Later changes do not reach it.
    pub(super) fn take(&mut self) -> Arc<Topology> {
        self.news = false;
        Arc::new(self.topology.clone())
    }

    /// A new connection has begun: a snapshot comes next.
    pub(super) fn connected(&mut self, system: &SystemId, capabilities: Capabilities, now: Timestamp) {
        self.restart(system);
        if let Some(source) = self.topology.sources.get_mut(system) {
            source.shift_reads = capabilities.shift_reads;
            source.capabilities = Some(Arc::new(capabilities));
        }
        self.touch(now);
    }

    /// The connection has ended, or none came about.
    pub(super) fn lost(&mut self, system: &SystemId, problem: String, now: Timestamp) {
        self.restart(system);
        if let Some(source) = self.topology.sources.get_mut(system)
            && source.problem.as_ref() != Some(&problem)
        {
            source.problem = Some(problem);
            self.touch(now);
        }
    }

    fn restart(&mut self, system: &SystemId) {
        if let Some(progress) = self.adapters.get_mut(system) {
            progress.stage = Stage::Snapshot;
            progress.parts = None;
        }
    }

    /// Marks sources as stale that have said nothing for too long.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let mut changed = false;
        for (system, progress) in &self.adapters {
            let Some(source) = self.topology.sources.get_mut(system) else { continue };
            let old = source.heard.is_some_and(|heard| heard.plus_ms(progress.stale_after_ms) <= now);
            if old && source.freshness == Freshness::Fresh {
                source.freshness = Freshness::Stale;
                changed = true;
            }
        }
        if changed {
            self.touch(now);
        }
    }

    /// Applies a message, all of it or nothing.
    pub(super) fn apply(
        &mut self,
        system: &SystemId,
        message: TopologyMessage,
        now: Timestamp,
    ) -> Result<(), Refused> {
        match message {
            TopologyMessage::Part(part) => self.part(system, part, now),
            TopologyMessage::Changes(changes) => self.changes(system, changes, now),
        }
    }

    fn part(&mut self, system: &SystemId, part: TopologyPart, now: Timestamp) -> Result<(), Refused> {
        let progress = self.adapters.get_mut(system).ok_or_else(|| Refused::NoSuchSystem(system.clone()))?;
        let whole = match progress.parts.take() {
            None => part,
            Some(parts) => joined(parts, part)?,
        };
        bounded(whole.nodes.len(), whole.partitions.len())?;
        if whole.more {
            progress.parts = Some(whole);
            return Ok(());
        }
        let source = &self.topology.sources[system];
        let same_count = source.heard.is_some() && source.incarnation == whole.incarnation;
        if same_count && whole.revision < source.revision {
            return Err(Refused::Back { sent: whole.revision, seen: source.revision });
        }
        for (id, partition) in &whole.partitions {
            on_nodes(id, partition, |node| whole.nodes.contains_key(node))?;
        }
        progress.stage = Stage::Changes;
        let TopologyPart { revision, incarnation, nodes, partitions, .. } = whole;
        self.replace(system, nodes, partitions);
        self.heard(system, revision, Some(incarnation), true, now);
        Ok(())
    }

    /// Puts a snapshot in the place of all that was known of a system.
    fn replace(
        &mut self,
        system: &SystemId,
        nodes: BTreeMap<NodeId, NodeFacts>,
        partitions: BTreeMap<PartitionId, PartitionFacts>,
    ) {
        let all = Arc::make_mut(&mut self.topology.nodes);
        all.retain(|node, _| node.system() != system);
        all.extend(nodes);
        Arc::make_mut(&mut self.topology.subsets).retain(|partition, _| partition.system() != system);
        Arc::make_mut(&mut self.topology.partitions).retain(|partition, _| partition.system() != system);
        for (id, facts) in partitions {
            self.topology.set_partition(id, facts);
        }
    }

    fn changes(
        &mut self,
        system: &SystemId,
        changes: TopologyChanges,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let progress = self.adapters.get(system).ok_or_else(|| Refused::NoSuchSystem(system.clone()))?;
        if progress.parts.is_some() {
            return Err(Refused::Unfinished);
        }
        match progress.stage {
            Stage::Snapshot => return Err(Refused::NoSnapshot),
            Stage::Changes => {}
        }
        let seen = self.topology.sources[system].revision;
        if changes.revision < seen {
            return Err(Refused::Back { sent: changes.revision, seen });
        }
        let empty = changes.is_empty();
        if changes.revision == seen && !empty {
            return Err(Refused::Reused { revision: seen });
        }
        self.check(system, &changes)?;
        let revision = changes.revision;
        if !empty {
            self.change(changes);
        }
        self.heard(system, revision, None, !empty, now);
        Ok(())
    }

    fn check(&self, system: &SystemId, changes: &TopologyChanges) -> Result<(), Refused> {
        let known = &self.topology;
        let missing = |what: String| Refused::NotThere { what };
        if let Some(id) = changes.removed_partitions.iter().find(|id| !known.partitions.contains_key(id)) {
            return Err(missing(format!("partition {id}")));
        }
        if let Some(id) = changes.removed_nodes.iter().find(|id| !known.nodes.contains_key(id)) {
            return Err(missing(format!("node {id}")));
        }
        let removed: BTreeSet<&NodeId> = changes.removed_nodes.iter().collect();
        let is_node = |id: &NodeId| {
            changes.nodes.contains_key(id) || known.nodes.contains_key(id) && !removed.contains(id)
        };
        for (id, partition) in &changes.partitions {
            on_nodes(id, partition, is_node)?;
        }
        if !removed.is_empty() {
            let gone: BTreeSet<&PartitionId> = changes.removed_partitions.iter().collect();
            let stays = |id: &PartitionId| !gone.contains(id) && !changes.partitions.contains_key(id);
            for (partition, subset) in
                known.subsets.iter().filter(|(id, _)| id.system() == system && stays(id))
            {
                if let Some(node) = subset.iter().find(|node| removed.contains(node)) {
                    return Err(Refused::Holds { node: node.clone(), partition: partition.clone() });
                }
            }
        }
        let count = |known: usize, new: usize, removed: usize| (known + new).saturating_sub(removed);
        let new_nodes = changes.nodes.keys().filter(|id| !known.nodes.contains_key(id)).count();
        let new_partitions =
            changes.partitions.keys().filter(|id| !known.partitions.contains_key(id)).count();
        if new_nodes + new_partitions == 0 {
            return Ok(());
        }
        let nodes = known.nodes.keys().filter(|id| id.system() == system).count();
        let partitions = known.partitions.keys().filter(|id| id.system() == system).count();
        bounded(
            count(nodes, new_nodes, changes.removed_nodes.len()),
            count(partitions, new_partitions, changes.removed_partitions.len()),
        )
    }

    fn change(&mut self, changes: TopologyChanges) {
        if !changes.removed_partitions.is_empty() {
            let subsets = Arc::make_mut(&mut self.topology.subsets);
            changes.removed_partitions.iter().for_each(|id| drop(subsets.remove(id)));
            let partitions = Arc::make_mut(&mut self.topology.partitions);
            changes.removed_partitions.iter().for_each(|id| drop(partitions.remove(id)));
        }
        if !changes.nodes.is_empty() || !changes.removed_nodes.is_empty() {
            let nodes = Arc::make_mut(&mut self.topology.nodes);
            changes.removed_nodes.iter().for_each(|id| drop(nodes.remove(id)));
            nodes.extend(changes.nodes);
        }
        for (id, facts) in changes.partitions {
            self.topology.set_partition(id, facts);
        }
    }

    fn heard(
        &mut self,
        system: &SystemId,
        revision: u64,
        incarnation: Option<String>,
        changed: bool,
        now: Timestamp,
    ) {
        let Some(source) = self.topology.sources.get_mut(system) else { return };
        let due = source.heard.is_none_or(|heard| heard.plus_ms(HEARD_MS) <= now);
        let news = changed || source.problem.is_some() || source.freshness != Freshness::Fresh;
        if due || news {
            source.heard = Some(now);
            self.news = true;
        }
        source.revision = revision;
        source.incarnation = incarnation.unwrap_or_else(|| std::mem::take(&mut source.incarnation));
        source.freshness = Freshness::Fresh;
        source.problem = None;
        // That something was heard is told, but it is no change.
        if news {
            self.touch(now);
        }
    }

    fn touch(&mut self, now: Timestamp) {
        self.news = true;
        self.topology.revision = (self.topology.revision + 1).max(now.as_ms());
    }
}

impl Topology {
    /// Adds a partition, or puts it in the place of what was known of it. Its nodes are nodes of the topology.
    pub(crate) fn set_partition(&mut self, id: PartitionId, facts: PartitionFacts) {
        let PartitionFacts { size_bytes, nodes, epoch, locators } = facts;
        let Some(leader) = nodes.first().cloned() else { return };
        let subset: BTreeSet<NodeId> = nodes.into_iter().collect();
        if self.subsets.get(&id) != Some(&subset) {
            Arc::make_mut(&mut self.subsets).insert(id.clone(), subset);
        }
        let known =
            self.partitions.get(&id).map(|known| &known.locators).filter(|known| ***known == *locators);
        let locators = known.cloned().unwrap_or_else(|| locators.into());
        let partition = Partition { leader, size_bytes, epoch, locators };
        Arc::make_mut(&mut self.partitions).insert(id, partition);
    }
}

fn joined(mut parts: TopologyPart, part: TopologyPart) -> Result<TopologyPart, Refused> {
    if parts.revision != part.revision || parts.incarnation != part.incarnation {
        return Err(Refused::PartsDiffer);
    }
    for (id, facts) in part.nodes {
        let what = id.to_string();
        if parts.nodes.insert(id, facts).is_some() {
            return Err(Refused::Repeated { what });
        }
    }
    for (id, facts) in part.partitions {
        let what = id.to_string();
        if parts.partitions.insert(id, facts).is_some() {
            return Err(Refused::Repeated { what });
        }
    }
    parts.more = part.more;
    Ok(parts)
}

fn on_nodes(
    id: &PartitionId,
    facts: &PartitionFacts,
    is_node: impl Fn(&NodeId) -> bool,
) -> Result<(), Refused> {
    match facts.nodes.iter().find(|node| !is_node(node)) {
        Some(node) => Err(Refused::NoSuchNode { partition: id.clone(), node: node.clone() }),
        None => Ok(()),
    }
}

fn bounded(nodes: usize, partitions: usize) -> Result<(), Refused> {
    if nodes > MAX_NODES {
        return Err(Refused::TooMany { what: "nodes", limit: MAX_NODES });
    }
    if partitions > MAX_PARTITIONS {
        return Err(Refused::TooMany { what: "partitions", limit: MAX_PARTITIONS });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
