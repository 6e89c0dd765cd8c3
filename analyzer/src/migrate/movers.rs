//! Others who move partitions: a balancer of the store, an operator with the store's own tools.
//!
//! Two movers undo each other's work, and neither knows why. So isotherm looks at every change of a subset or a leader
//! that the topology tells, and asks whether something of its own explains it. What nothing explains is somebody else's,
//! and for as long as that somebody is at work isotherm begins nothing by itself on that system. [`Movers`] is pure; the
//! task around it reads the journal and has told what was found.

use super::{Migrations, trust};
use crate::topology::{Topologies, Topology};
use crate::writer::{now, with_causes};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, ShiftReads};
use isotherm_runner::journal::trust::Trust;
use isotherm_runner::journal::{Diary, JournalError, Listed, Reading};
use isotherm_runner::{Entry, Kind, Line};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// For so long after its end something of isotherm's own still explains a change: an adapter may be slow to tell of it.
const EXPLAINS: Duration = Duration::from_secs(600);

/// Migrations that are looked through for an explanation; more than can have ended within [`EXPLAINS`].
const LOOKED_AT: u32 = 1_000;

/// Lines of the diary about one partition that are looked through.
const LINES: u32 = 500;

/// What changed about who holds a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    partition: PartitionId,
    /// Who holds it no more, though they are up.
    left: BTreeSet<NodeId>,
    /// Who holds it now, and did not before.
    came: BTreeSet<NodeId>,
    /// Who leads now, where that changed though who led is up and holds it still.
    leads: Option<NodeId>,
}

impl Change {
    /// For people: "p went from n1 to n2".
    fn words(&self) -> String {
        let list = |nodes: &BTreeSet<NodeId>| nodes.iter().map(NodeId::name).collect::<Vec<_>>().join(", ");
        let name = &self.partition;
        match (self.left.is_empty(), self.came.is_empty(), &self.leads) {
            (false, false, _) => format!("{name} went from {} to {}", list(&self.left), list(&self.came)),
            (true, false, _) => format!("{name} came to {}", list(&self.came)),
            (false, true, _) => format!("{name} left {}", list(&self.left)),
            (true, true, Some(leader)) => format!("{} leads {name}", leader.name()),
            (true, true, None) => format!("{name} changed"),
        }
    }
}

/// What isotherm did itself about a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    /// A migration from or in the place of one node to another.
    Moved([NodeId; 2]),
    /// Something else, such as a shift of reads.
    Touched,
}

impl Own {
    /// Whether it accounts for all of a change.
    fn explains(&self, change: &Change) -> bool {
        match self {
            Self::Moved(nodes) => change.left.iter().chain(&change.came).all(|node| nodes.contains(node)),
            Self::Touched => true,
        }
    }
}

/// What the topology told last.
#[derive(Debug, Default)]
pub(super) struct Movers {
    before: Option<Arc<Topology>>,
    /// Replicas that went away with their nodes, and may come back with them.
    gone: BTreeSet<(PartitionId, NodeId)>,
}

impl Movers {
    /// Takes in the topology of the moment. Returns changes of partitions that are known from before, but for those that
    /// come of a node's failure or return.
    pub(super) fn look(&mut self, topology: &Arc<Topology>) -> Vec<Change> {
        let Some(before) = self.before.replace(Arc::clone(topology)) else { return Vec::new() };
        let same_subsets = Arc::ptr_eq(&before.subsets, &topology.subsets);
        if same_subsets && Arc::ptr_eq(&before.partitions, &topology.partitions) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (partition, subset) in topology.subsets.iter() {
            let Some(held) = before.subsets.get(partition) else { continue };
            let left = self.leaving(topology, partition, held.difference(subset));
            let came = self.coming(partition, subset.difference(held));
            let leads = new_leader(&before, topology, partition);
            if !(left.is_empty() && came.is_empty() && leads.is_none()) {
                changes.push(Change { partition: partition.clone(), left, came, leads });
            }
        }
        self.gone.retain(|(partition, _)| topology.subsets.contains_key(partition));
        changes
    }

    fn leaving<'a>(
        &mut self,
        topology: &Topology,
        partition: &PartitionId,
        nodes: impl Iterator<Item = &'a NodeId>,
    ) -> BTreeSet<NodeId> {
        let (up, down): (Vec<&NodeId>, Vec<&NodeId>) = nodes.partition(|node| is_up(topology, node));
        self.gone.extend(down.into_iter().map(|node| (partition.clone(), node.clone())));
        up.into_iter().cloned().collect()
    }

    fn coming<'a>(
        &mut self,
        partition: &PartitionId,
        nodes: impl Iterator<Item = &'a NodeId>,
    ) -> BTreeSet<NodeId> {
        nodes.filter(|node| !self.gone.remove(&(partition.clone(), (*node).clone()))).cloned().collect()
    }
}

fn is_up(topology: &Topology, node: &NodeId) -> bool {
    matches!(topology.health(node), Some(Health::Up | Health::Draining))
}

/// Who leads now, if another one did before that could still; only where somebody leads at all.
fn new_leader(before: &Topology, topology: &Topology, partition: &PartitionId) -> Option<NodeId> {
    let capabilities = topology.sources.get(partition.system())?.capabilities.as_ref()?;
    let led = &before.partitions.get(partition)?.leader;
    let leads = &topology.partitions.get(partition)?.leader;
    let could = is_up(topology, led) && topology.subsets.get(partition)?.contains(led);
    (capabilities.shift_reads == ShiftReads::LeaderSwitch && led != leads && could).then(|| leads.clone())
}

/// What isotherm did about some partitions lately, from its journal.
fn own(
    reading: &Reading,
    changes: &[Change],
    now_ms: u64,
) -> Result<BTreeMap<PartitionId, Vec<Own>>, JournalError> {
    let since_ms = now_ms.saturating_sub(u64::try_from(EXPLAINS.as_millis()).unwrap_or(u64::MAX));
    let entries = reading.migrations(&Listed { ended: true, limit: LOOKED_AT })?;
    let lately = |entry: &&Entry| entry.about.ended_ms.is_none_or(|ended_ms| ended_ms >= since_ms);
    let mut found: BTreeMap<PartitionId, Vec<Own>> = BTreeMap::new();
    for entry in entries.iter().filter(lately) {
        let spec = entry.migration.spec();
        let nodes = [spec.origin.node().clone(), spec.target.clone()];
        found.entry(spec.partition.clone()).or_default().push(Own::Moved(nodes));
    }
    for Change { partition, .. } in changes {
        let of_it = Some(partition.to_string());
        let lines = reading.diary(&Diary { partition: of_it, since_ms, limit: LINES, ..Diary::default() })?;
        let did = |line: &Line| line.migration.is_none() && matches!(line.kind, Kind::Call | Kind::Outcome);
        if lines.iter().any(did) {
            found.entry(partition.clone()).or_default().push(Own::Touched);
        }
    }
    Ok(found)
}

fn unexplained(changes: Vec<Change>, own: &BTreeMap<PartitionId, Vec<Own>>) -> Vec<Change> {
    let explained =
        |change: &Change| own.get(&change.partition).into_iter().flatten().any(|own| own.explains(change));
    changes.into_iter().filter(|change| !explained(change)).collect()
}

/// Watches the topology until `stop`.
pub(super) async fn watch(migrations: Migrations, mut topologies: Topologies, stop: CancellationToken) {
    let mut movers = Movers::default();
    while let Some(Ok(())) = stop.run_until_cancelled(topologies.changed()).await {
        let topology = topologies.borrow_and_update().clone();
        let changes = movers.look(&topology);
        if changes.is_empty() {
            continue;
        }
        let reading = migrations.reading.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let own = own(&reading, &changes, now().as_ms())?;
            Ok::<_, JournalError>((unexplained(changes, &own), reading.distrust()?))
        });
        match asked.await {
            Ok(Ok((changes, known))) => tell(&migrations, &changes, &known).await,
            Ok(Err(error)) => {
                tracing::warn!(error = %with_causes(&error), "nobody knows whether somebody else moves partitions");
            }
            Err(_) => return,
        }
    }
}

/// Keeps what was seen, system by system. The diary is told when somebody begins to be at work.
async fn tell(
    migrations: &Migrations,
    changes: &[Change],
    known: &[isotherm_runner::journal::trust::Distrust],
) {
    let mut systems: BTreeMap<&SystemId, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        systems.entry(change.partition.system()).or_default().push(change);
    }
    let at_ms = now().as_ms();
    for (system, changes) in systems {
        let more = changes.len() - 1;
        let why = match more {
            0 => changes[0].words(),
            more => format!("{} and {more} more", changes[0].words()),
        };
        let quiet = migrations.config.trust.other_movers_quiet;
        let new = trust::other_mover(known, system, at_ms, quiet).is_none();
        let line = new.then(|| {
            let what = format!(
                "somebody else moves partitions of {system}: isotherm begins nothing there by itself"
            );
            Line::own(at_ms, Kind::Noticed, what).by("isotherm", &why)
        });
        let kept = Trust::OtherMover { at_ms, why };
        if let Err(error) = migrations.handle.trust(system.clone(), kept, line).await {
            tracing::warn!(%system, %error, "that somebody else moves partitions is not on record");
        }
    }
}

#[cfg(test)]
mod tests;
