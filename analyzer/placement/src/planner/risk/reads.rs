//! Shifts of reads without bytes: another holder leads, or a holder is drained.
//!
//! They come before copies, as they cost a pause and no bytes. A node's reads are those of the partitions it serves:
//! all of them where it leads, an equal share where every holder that is not drained serves. The load that each
//! replica of a partition bears, times its replicas, stands for the partition's reads. Who gets more must stay
//! within the headroom for load, with one more node lost.

use super::super::work::Work;
use super::judge::{Judge, Row, share_left};
use crate::hash;
use crate::ids::{Node, Partition};
use crate::plan::{Action, Constraint, Rejected};
use crate::proactive::{Drains, Outlook, Shifts};
use std::collections::BTreeMap;

/// Reads of each node, and what was drained by this plan.
pub(super) struct Reads {
    of_node: Vec<f64>,
    drained: BTreeMap<Partition, Node>,
}

/// A shift that is allowed, with its place among those that are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shift {
    pub(crate) action: Action,
    /// Loss per hour before and after.
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) score: f64,
    pub(crate) runner_up: Option<(Node, f64)>,
    pub(crate) rejected: Rejected,
}

impl Reads {
    pub(super) fn new(work: &Work<'_>, outlook: &Outlook<'_>) -> Self {
        let mut reads = Self { of_node: vec![0.0; work.up.len()], drained: BTreeMap::new() };
        for partition in work.snapshot.partitions().all() {
            let holders = work.assignment.subset(partition);
            let all = work.load_of(partition) * holders.len() as f64;
            match outlook.shifts {
                Shifts::None => break,
                Shifts::Lead => {
                    if let Some(leader) = holders.clone().next() {
                        reads.of_node[leader.at()] += all;
                    }
                }
                Shifts::Drain(drains) => {
                    let drained = (drains.drained)(partition);
                    let serve = || holders.clone().filter(|holder| Some(*holder) != drained);
                    let share = all / serve().count().max(1) as f64;
                    serve().for_each(|holder| reads.of_node[holder.at()] += share);
                }
            }
        }
        reads
    }

    /// The holder of a partition that is drained, and what drains mean.
    pub(super) fn drained<'o>(
        &self,
        outlook: &Outlook<'o>,
        partition: Partition,
    ) -> Option<(Drains<'o>, Node)> {
        match outlook.shifts {
            Shifts::None | Shifts::Lead => None,
            Shifts::Drain(drains) => {
                let by_plan = self.drained.get(&partition).copied();
                Some((drains, by_plan.or_else(|| (drains.drained)(partition))?))
            }
        }
    }

    /// Whether a node serves more reads than its headroom.
    pub(super) fn too_many(&self, judge: &Judge<'_>, node: Node) -> bool {
        self.of_node[node.at()] > judge.headroom_load[node.at()]
    }

    /// Counts a shift as done.
    pub(super) fn take(&mut self, work: &Work<'_>, partition: Partition, action: Action) {
        let holders = work.assignment.subset(partition).len() as f64;
        let all = work.load_of(partition) * holders;
        match action {
            Action::Copy { .. } => {}
            Action::Lead { from, to } => {
                self.of_node[from.at()] -= all;
                self.of_node[to.at()] += all;
            }
            Action::DrainReads { from } => {
                let (share, more) = (all / holders, all / (holders - 1.0) - all / holders);
                for holder in work.assignment.subset(partition) {
                    self.of_node[holder.at()] += if holder == from { -share } else { more };
                }
                self.drained.insert(partition, from);
            }
        }
    }
}

/// The shift that leaves the least loss, if a holder is worth relieving and there is an allowed one.
pub(crate) fn best(judge: &Judge<'_>, work: &Work<'_>, partition: Partition) -> Option<Shift> {
    let row = Row::of(work, partition);
    let before = judge.loss_per_hour(partition, row.nodes());
    let mut candidates: Vec<(Node, Action, f64)> = Vec::new();
    let mut rejected = Rejected::default();
    for holder in row.nodes() {
        let Some(action) = action(judge, work, partition, *holder) else { continue };
        match after(judge, work, partition, action) {
            Ok(loss) => candidates.push((*holder, action, loss)),
            Err(constraint) => rejected.add(constraint),
        }
    }
    let key = work.snapshot.partitions().key[partition.at()];
    let draw = |node: Node| hash::draw(key, work.snapshot.topology().node(node).key);
    candidates.sort_by(|a, b| a.2.total_cmp(&b.2).then(draw(b.0).cmp(&draw(a.0))));
    let (_, action, after) = *candidates.first()?;
    let runner_up = candidates.get(1).map(|(node, _, loss)| (*node, share_left(*loss, before)));
    Some(Shift { action, before, after, score: share_left(after, before), runner_up, rejected })
}

/// What a shift scores: the share of the present loss that it leaves.
pub(crate) fn score(after: f64, before: f64) -> f64 {
    share_left(after, before)
}

/// The holder that a shift is about: the leader to be, or who is drained.
pub(crate) fn holder(action: Action) -> Node {
    match action {
        Action::Copy { to, .. } | Action::Lead { to, .. } => to,
        Action::DrainReads { from } => from,
    }
}

/// The shift that a holder stands for: it leads instead of the leader, or it is drained. Absent where that relieves
/// nobody who should be relieved.
pub(crate) fn action(
    judge: &Judge<'_>,
    work: &Work<'_>,
    partition: Partition,
    holder: Node,
) -> Option<Action> {
    let relieve = |node: Node| judge.hazardous(node) || judge.reads.too_many(judge, node);
    match judge.outlook.shifts {
        Shifts::None => None,
        Shifts::Lead => {
            let leader = work.assignment.subset(partition).next()?;
            (leader != holder && relieve(leader)).then_some(Action::Lead { from: leader, to: holder })
        }
        Shifts::Drain(_) => {
            let several = work.assignment.subset(partition).len() > 1;
            let served = judge.reads.drained(judge.outlook, partition).is_none();
            (several && served && relieve(holder)).then_some(Action::DrainReads { from: holder })
        }
    }
}

/// The loss per hour after a shift, or why it must not be: somebody who would serve more is not up, too hazardous, or
/// would have no headroom left.
pub(crate) fn after(
    judge: &Judge<'_>,
    work: &Work<'_>,
    partition: Partition,
    action: Action,
) -> Result<f64, Constraint> {
    let mut row = Row::of(work, partition);
    let holders = row.nodes().len() as f64;
    let all = work.load_of(partition) * holders;
    let takes = |node: Node, more: f64| {
        if !work.up[node.at()] {
            Err(Constraint::NotATarget)
        } else if !judge.safe(node) {
            Err(Constraint::Risk)
        } else if judge.reads.of_node[node.at()] + more > judge.headroom_load[node.at()] {
            Err(Constraint::Headroom)
        } else {
            Ok(())
        }
    };
    match action {
        Action::Copy { .. } => Err(Constraint::Holds),
        Action::Lead { to, .. } => {
            takes(to, all)?;
            let at = row.nodes().iter().position(|holder| *holder == to).ok_or(Constraint::Holds)?;
            row.nodes_mut().swap(0, at);
            Ok(judge.loss_per_hour(partition, row.nodes()))
        }
        Action::DrainReads { from } => {
            let more = all / (holders - 1.0) - all / holders;
            row.nodes()
                .iter()
                .filter(|holder| **holder != from)
                .try_for_each(|holder| takes(*holder, more))?;
            match judge.outlook.shifts {
                Shifts::Drain(drains) => Ok((drains.loss_per_hour)(partition, row.nodes(), from)),
                Shifts::None | Shifts::Lead => Err(Constraint::NotATarget),
            }
        }
    }
}
