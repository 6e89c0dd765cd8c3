//! What the last cycle expects of partitions, as the planner asks it: losses, exposures and costs on any subset.
//!
//! The same functions judge the verdicts of a cycle. What it does not know of a partition or a node is no number, and the
//! planner moves nothing for it. Reads are not shifted by plans: a plan's moves become migrations.

use super::snapshot::Chart;
use crate::cycle::Cycled;
use isotherm_cycle::Placed;
use isotherm_placement::{Node, Outlook, Partition, Policy, Shifts};
use isotherm_risk::{Holding, Inherit, Surroundings, inherit};

/// A cycle's landscape, with the snapshot's positions in it.
struct Expected<'a> {
    cycled: &'a Cycled,
    surroundings: Surroundings<'a>,
    /// By position in the snapshot; `None` where the cycle knew no such node.
    nodes: Vec<Option<isotherm_risk::Node>>,
    /// By position in the snapshot; `None` where the cycle knew no such partition.
    placed: Vec<Option<&'a Placed>>,
}

/// The gate of the cycle's settings, in the planner's policy: both call a holder worth leaving for the same reasons.
pub(super) fn gate(policy: &mut Policy, cycled: &Cycled) {
    let (own, theirs) = (&mut policy.gate, &cycled.settings.gate);
    own.hazard_trigger = theirs.hazard_trigger;
    own.hazard_ratio = theirs.hazard_ratio.max(1.0);
}

/// Gives the outlook to whoever asks with it, as it borrows what it is made of.
pub(super) fn with<T>(chart: &Chart, cycled: &Cycled, ask: impl FnOnce(Outlook<'_>) -> T) -> T {
    let expected = Expected::new(chart, cycled);
    let loss_per_hour = |partition: Partition, subset: &[Node]| {
        let loss = expected.with(partition, subset, |placed, own, there| {
            let risk = &expected.cycled.settings.risk;
            expected.surroundings.loss_parts(Some(own), &there, placed.redundancy, risk).per_hour()
        });
        loss.flatten().unwrap_or(f64::NAN)
    };
    let exposure_per_hour = |partition: Partition, subset: &[Node]| {
        let exposure = expected.with(partition, subset, |_, own, there| {
            let exposure = &expected.cycled.settings.risk.exposure;
            expected.surroundings.exposure_per_hour(Some(own), &there, exposure)
        });
        exposure.flatten().unwrap_or(f64::NAN)
    };
    let cost_of_copy = |partition: Partition, bytes: u64| expected.cost_of_copy(partition, bytes);
    let cost_of_shift = |_: Partition| f64::NAN;
    let hazard_over_class = |node: Node| {
        let at = expected.nodes[node.at()].map(isotherm_risk::Node::at);
        at.map_or(1.0, |at| expected.cycled.cluster.nodes[at].hazard.over_class)
    };
    ask(Outlook {
        loss_per_hour: &loss_per_hour,
        exposure_per_hour: &exposure_per_hour,
        cost_of_copy: &cost_of_copy,
        cost_of_shift: &cost_of_shift,
        hazard_over_class: Some(&hazard_over_class),
        shifts: Shifts::None,
    })
}

impl<'a> Expected<'a> {
    fn new(chart: &Chart, cycled: &'a Cycled) -> Self {
        let node = |at: usize| u32::try_from(at).ok().map(isotherm_risk::Node);
        let placed = |id: &isotherm_model::PartitionId| {
            let key = (id.system().as_str(), id.name());
            let find = |one: &isotherm_cycle::record::Record| {
                (one.system.as_str(), one.partition.as_str()).cmp(&key)
            };
            let at = cycled.records.binary_search_by(find).ok()?;
            cycled.landscape.placed.get(at)
        };
        Self {
            cycled,
            surroundings: cycled.landscape.surroundings(),
            nodes: chart.nodes.iter().map(|id| cycled.cluster.node(id).and_then(node)).collect(),
            placed: chart.partitions.iter().map(placed).collect(),
        }
    }

    /// What is known of a partition on a subset: a holder that is new serves what the one that leaves did. `None` where
    /// something is not known.
    fn with<T>(
        &self,
        partition: Partition,
        subset: &[Node],
        look: impl FnOnce(&Placed, Holding<'_>, Holding<'_>) -> T,
    ) -> Option<T> {
        let placed = self.placed[partition.at()]?;
        let own = placed.holding()?;
        let nodes: Option<Vec<isotherm_risk::Node>> =
            subset.iter().map(|node| self.nodes[node.at()]).collect();
        let (nodes, mut shares) = (nodes?, Vec::new());
        inherit(own.subset, own.shares, &nodes, Inherit::ByNode, &mut shares);
        Some(look(placed, own, Holding { subset: &nodes, shares: &shares, ..own }))
    }

    /// Of the replica that serves the most, as it is not said which one moves.
    fn cost_of_copy(&self, partition: Partition, bytes: u64) -> f64 {
        let cost = || {
            let placed = self.placed[partition.at()]?;
            let held = placed.holding()?;
            let most = held.shares.iter().copied().fold(0.0, f64::max);
            let risk = &self.cycled.settings.risk;
            Some(self.surroundings.cost_of_copy(&held, most, bytes, placed.redundancy, risk).total())
        };
        cost().unwrap_or(f64::NAN)
    }
}
