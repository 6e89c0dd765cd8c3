//! What a proactive move must pass: which holders are worth leaving, and what a destination may bear.
//!
//! A destination's bytes and load after the move, copies under way counted, stay within two bounds. *Headroom*: with
//! one more node lost they stay within the policy's share of its capacity. The largest node counts as the one that
//! is lost; what it held goes to the others by their capacity, so what each has grows by the factor C / (C - c), C
//! the capacity of all and c that of the largest; where the policy has a spread factor S, a node's load falls on S
//! others, and the factor is at least 1 + 1/S. *Peak*: no dimension is above the mean by more than the policy says.
//! Without these bounds all flee to the same safe nodes and overload them.
//!
//! Holders worth leaving are those with a hazard far above their class's, or with more load than the headroom. As
//! the first are no destinations, and neither are the others while they are that, a destination's pressure hardly
//! falls while moves are decided, and planning the result again finds nothing that this plan did not.

use super::super::choose::{Candidates, Choice, Load};
use super::super::work::Work;
use super::copysets::{Around, Copysets, Step};
use super::reads::Reads;
use crate::ids::{Node, Partition};
use crate::partitions::MOST_REPLICAS;
use crate::plan::{Action, Constraint, Rejected};
use crate::policy::{Gate, Weights};
use crate::proactive::Outlook;
use crate::topology::NodeState;

/// What the score of a node (pressure, links, locality) counts against the share of the loss that is left: a node
/// at twice the mean pressure is as bad as one that leaves a twentieth more of the loss. Loss decides, and pressure
/// decides where losses are near.
const NODE_SCORE: f64 = 0.05;

/// The bounds of one stage of proactive moves, and what changes with each of them.
pub(crate) struct Judge<'o> {
    pub(super) outlook: &'o Outlook<'o>,
    pub(super) gate: Gate,
    weights: Weights,
    /// Hazard of each node over its class's; 1 where it is unknown.
    pub(super) hazard: Vec<f64>,
    /// Whether any hazard is known.
    hazards_known: bool,
    /// Most bytes and most load of each node as a destination.
    most_bytes: Vec<f64>,
    most_load: Vec<f64>,
    /// Most load of each node that headroom allows.
    pub(super) headroom_load: Vec<f64>,
    copysets: Option<Copysets>,
    pub(super) reads: Reads,
}

impl<'o> Judge<'o> {
    pub(crate) fn new(work: &Work<'_>, outlook: &'o Outlook<'o>) -> Self {
        let policy = work.snapshot.policy();
        let nodes = work.snapshot.topology().nodes();
        let gate = policy.gate.clone();
        let (hazard, hazards_known) = hazards(work, outlook);
        let bytes: Vec<f64> = nodes.iter().map(|node| node.capacity_bytes as f64).collect();
        let load: Vec<f64> = nodes.iter().map(|node| node.load_capacity.unwrap_or(f64::INFINITY)).collect();
        let headroom = |capacity: &[f64]| -> Vec<f64> {
            let growth = growth(work, capacity);
            capacity.iter().map(|own| own * gate.headroom / growth).collect()
        };
        let headroom_load = if work.snapshot.judges_load() { headroom(&load) } else { load };
        let peak = |most: &[f64], per: &[f64]| -> Vec<f64> {
            let bound = |per: f64| if per > 0.0 { gate.peak_over_mean / per } else { f64::INFINITY };
            most.iter().zip(per).map(|(most, per)| most.min(bound(*per))).collect()
        };
        let mut judge = Self {
            outlook,
            weights: policy.weights.clone(),
            hazard,
            hazards_known,
            most_bytes: peak(&headroom(&bytes), &work.per_byte),
            most_load: peak(&headroom_load, &work.per_load),
            headroom_load,
            copysets: None,
            reads: Reads::new(work, outlook),
            gate,
        };
        if judge.anything_to_leave(work) {
            judge.copysets = Copysets::new(work);
        }
        judge
    }

    /// Whether there is a holder worth leaving, or leading less.
    pub(super) fn anything_to_leave(&self, work: &Work<'_>) -> bool {
        let topology = work.snapshot.topology();
        topology.all().any(|node| {
            work.up[node.at()] && (self.worth_leaving(work, node) || self.reads.too_many(self, node))
        })
    }

    /// Expected loss per hour of a partition on a subset, of which a holder may be drained.
    pub(super) fn loss_per_hour(&self, partition: Partition, subset: &[Node]) -> f64 {
        match self.reads.drained(self.outlook, partition) {
            Some((drains, holder)) if subset.contains(&holder) => {
                (drains.loss_per_hour)(partition, subset, holder)
            }
            Some(_) | None => (self.outlook.loss_per_hour)(partition, subset),
        }
    }

    /// Whether a holder's hazard is far above its class's, or no hazard is known to judge by.
    pub(super) fn hazardous(&self, node: Node) -> bool {
        !self.hazards_known || self.hazard[node.at()] >= self.gate.hazard_trigger
    }

    /// Whether a holder is worth leaving.
    pub(super) fn worth_leaving(&self, work: &Work<'_>, node: Node) -> bool {
        self.hazardous(node) || work.load[node.at()] > self.headroom_load[node.at()]
    }

    /// Whether a node's hazard is low enough for a destination.
    pub(super) fn safe(&self, node: Node) -> bool {
        self.hazard[node.at()] <= self.gate.hazard_ratio
    }

    /// Whether a node can bear so much more.
    pub(super) fn bears(&self, work: &Work<'_>, node: Node, bytes: f64, load: f64) -> bool {
        let at = node.at();
        work.bytes[at] + bytes <= self.most_bytes[at] && work.load[at] + load <= self.most_load[at]
    }

    /// Whether any of some nodes, that are safe and may take something, may take a replica in the place of `from`.
    /// Far cheaper than a look for the best, where it is often none.
    pub(super) fn anyone_of(
        &self,
        nodes: &[Node],
        work: &Work<'_>,
        partition: Partition,
        from: Node,
    ) -> bool {
        let around = self.around(work, partition, from);
        let (size, weight) = (work.size_of(partition), work.load_of(partition));
        let candidates = Candidates::new(work, load(work, partition, from));
        nodes.iter().any(|node| {
            self.bears(work, *node, size, weight)
                && !work.snapshot.assignment().holds(*node, partition)
                && around.is_none_or(|around| around.may_add || around.known.contains(&node.0))
                && candidates.judge(*node).is_ok()
        })
    }

    fn around(&self, work: &Work<'_>, partition: Partition, from: Node) -> Option<Around<'_>> {
        self.copysets.as_ref().map(|copysets| copysets.around(&work.assignment, partition, from))
    }

    /// Loss that would be saved over the residence, at its lower bound.
    pub(super) fn benefit(&self, before_per_hour: f64, after_per_hour: f64) -> f64 {
        (before_per_hour - after_per_hour) * self.gate.residence_h * self.gate.certainty
    }

    /// The best node for a replica in the place of `from`.
    pub(crate) fn best(&self, work: &Work<'_>, partition: Partition, from: Node) -> Result<Choice, Rejected> {
        Candidates::new(work, load(work, partition, from)).best_with(self.word(work, partition, from))
    }

    /// The holder of a partition that is most worth leaving.
    pub(crate) fn worst(&self, work: &Work<'_>, partition: Partition) -> Option<Node> {
        let over = |node: Node| self.over(work, node);
        let holders = work.assignment.subset(partition).filter(|holder| self.worth_leaving(work, *holder));
        holders.max_by(|a, b| over(*a).total_cmp(&over(*b)).then(b.cmp(a)))
    }

    /// How much worth leaving a node is: its hazard over its class's, or its load over the headroom.
    pub(super) fn over(&self, work: &Work<'_>, node: Node) -> f64 {
        self.hazard[node.at()].max(work.load[node.at()] / self.headroom_load[node.at()])
    }

    /// What a copy would save over the residence, and what it costs.
    pub(crate) fn gain(&self, work: &Work<'_>, partition: Partition, from: Node, to: Node) -> (f64, f64) {
        let mut row = Row::of(work, partition);
        let before = self.loss_per_hour(partition, row.nodes());
        row.nodes_mut().iter_mut().filter(|holder| **holder == from).for_each(|holder| *holder = to);
        let after = self.loss_per_hour(partition, row.nodes());
        let bytes = work.snapshot.partitions().size_bytes[partition.at()];
        (self.benefit(before, after), (self.outlook.cost_of_copy)(partition, bytes))
    }

    /// Whether a benefit is worth a cost.
    pub(crate) fn pays(&self, benefit: f64, cost: f64) -> bool {
        benefit > 0.0 && benefit >= self.gate.gain_over_cost * cost
    }

    /// What is said last of a node that may take a replica in the place of `from`: its score, which is the share of
    /// the present loss that would be left and some of the node's own score, or the constraint that forbids it.
    pub(crate) fn word<'j>(
        &'j self,
        work: &'j Work<'_>,
        partition: Partition,
        from: Node,
    ) -> impl FnMut(Node, f64) -> Result<f64, Constraint> + 'j {
        let mut row = Row::of(work, partition);
        let present = self.loss_per_hour(partition, row.nodes());
        let slot = row.nodes().iter().position(|holder| *holder == from).expect("it is a holder");
        let (size, weight) = (work.size_of(partition), work.load_of(partition));
        let around = self.around(work, partition, from);
        move |node, score| {
            if !self.safe(node) {
                return Err(Constraint::Risk);
            }
            // A further replica must not take the place that the one before it left.
            if work.snapshot.assignment().holds(node, partition) {
                return Err(Constraint::Returned);
            }
            if !self.bears(work, node, size, weight) {
                return Err(Constraint::Headroom);
            }
            let mut score = score;
            if let Some(around) = around
                && !around.known.contains(&node.0)
            {
                if !around.may_add {
                    return Err(Constraint::Copysets);
                }
                score += self.weights.copyset;
            }
            row.nodes_mut()[slot] = node;
            Ok(share_left(self.loss_per_hour(partition, row.nodes()), present) + NODE_SCORE * score)
        }
    }

    /// Counts a copy as done, before it is: copysets follow. What is needed to undo it.
    pub(crate) fn take(&mut self, work: &Work<'_>, partition: Partition, from: Node, to: Node) -> Step {
        let step = Step::new(&work.assignment, partition, from, to);
        if let Some(copysets) = &mut self.copysets {
            copysets.take(&step);
        }
        step
    }

    /// Counts a shift as done, before it is.
    pub(crate) fn take_shift(&mut self, work: &Work<'_>, partition: Partition, action: Action) {
        self.reads.take(work, partition, action);
    }

    /// Undoes the last copy that was counted.
    pub(super) fn undo(&mut self, step: &Step) {
        if let Some(copysets) = &mut self.copysets {
            copysets.undo(step);
        }
    }
}

/// Share of the present loss that is left; none of nothing is all of it, and what is unknown is the worst.
pub(super) fn share_left(loss: f64, present: f64) -> f64 {
    if loss.is_nan() || (loss > 0.0 && present <= 0.0) {
        f64::INFINITY
    } else if present <= 0.0 {
        1.0
    } else {
        loss / present
    }
}

/// What a copy of a replica brings to a node.
fn load(work: &Work<'_>, partition: Partition, from: Node) -> Load {
    Load {
        partition,
        from: Some(from),
        bytes: work.size_of(partition),
        load: work.load_of(partition),
        by_choice: true,
    }
}

/// The holders of a partition, leader first, without an allocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    nodes: [Node; MOST_REPLICAS],
    len: usize,
}

impl Row {
    pub(super) fn of(work: &Work<'_>, partition: Partition) -> Self {
        let mut row = Self { nodes: [Node(0); MOST_REPLICAS], len: 0 };
        for holder in work.assignment.subset(partition) {
            row.nodes[row.len] = holder;
            row.len += 1;
        }
        row
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes[..self.len]
    }

    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes[..self.len]
    }
}

/// By how much what a node has grows when the largest other one is lost. Infinite if there is no other.
fn growth(work: &Work<'_>, capacity: &[f64]) -> f64 {
    let up = || capacity.iter().zip(&work.up).filter(|(_, up)| **up).map(|(own, _)| *own);
    let (all, largest) = (up().sum::<f64>(), up().fold(0.0, f64::max));
    let evenly = if all > largest { all / (all - largest) } else { f64::INFINITY };
    let spread = work.snapshot.policy().spread_factor.map_or(1.0, |spread| 1.0 + 1.0 / f64::from(spread));
    evenly.max(spread)
}

/// Hazard of each node over its class's, and whether any is known. What is unknown counts as its class's.
fn hazards(work: &Work<'_>, outlook: &Outlook<'_>) -> (Vec<f64>, bool) {
    let topology = work.snapshot.topology();
    if let Some(over_class) = outlook.hazard_over_class {
        return (
            topology.all().map(over_class).map(|over| if over.is_nan() { 1.0 } else { over }).collect(),
            true,
        );
    }
    let up = topology.nodes().iter().filter(|node| node.state == NodeState::Up);
    let mut known: Vec<f64> = up.filter_map(|node| node.risk).collect();
    known.sort_unstable_by(f64::total_cmp);
    let median = known.get(known.len() / 2).copied().unwrap_or(0.0);
    let over = |risk: f64| match (risk > 0.0, median > 0.0) {
        (true, true) => risk / median,
        (true, false) => f64::INFINITY,
        (false, _) => 0.0,
    };
    let hazard = topology.nodes().iter().map(|node| node.risk.map_or(1.0, over)).collect();
    (hazard, !known.is_empty())
}
