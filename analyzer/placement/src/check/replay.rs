//! The cluster while moves are done: the rows that a plan touches, and the bytes of every node.

use super::facts::Facts;
use super::{Fault, Moment, Violation};
use crate::ids::{Node, Partition};
use crate::plan::{Action, Move, Plan};

/// A plan's rows as they are, and what was found.
pub(super) struct Replay<'a> {
    pub(super) facts: &'a Facts<'a>,
    /// Partitions that are touched, sorted, with their rows.
    rows: Vec<(Partition, Vec<Node>)>,
    has: Vec<i128>,
    pub(super) found: Vec<Violation>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, plan: &Plan) -> Self {
        let mut touched: Vec<Partition> = plan.moves.iter().map(|decided| decided.partition).collect();
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|partition| partition.at() < facts.snapshot.partitions().len());
        let row = |partition: Partition| (partition, facts.snapshot.assignment().subset(partition).collect());
        Self {
            facts,
            rows: touched.into_iter().map(row).collect(),
            has: facts.has.clone(),
            found: Vec::new(),
        }
    }

    /// Where a partition's row is; absent for one that does not exist.
    pub(super) fn place(&self, partition: Partition) -> Option<usize> {
        self.rows.binary_search_by_key(&partition, |(partition, _)| *partition).ok()
    }

    pub(super) fn row(&self, place: usize) -> &[Node] {
        &self.rows[place].1
    }

    /// The first node that a move names and that does not exist.
    pub(super) fn unknown_node(&self, action: Action) -> Option<Node> {
        let named = match action {
            Action::Copy { from, to } => [from, Some(to)],
            Action::Lead { from, to } => [Some(from), Some(to)],
            Action::DrainReads { from } => [Some(from), None],
        };
        named.into_iter().flatten().find(|node| node.at() >= self.facts.nodes())
    }

    /// Whether a move fits its row as it is; says why not.
    pub(super) fn fits(&mut self, place: usize, action: Action, at: (Option<u32>, Moment)) -> bool {
        let row = &self.rows[place].1;
        let width = self.facts.snapshot.assignment().width();
        let live = |node: Node| row.contains(&node) && self.facts.live(node);
        let fault = match action {
            Action::Copy { to, .. } if row.contains(&to) => Fault::HoldsAlready { to },
            Action::Copy { from: Some(from), .. } if !row.contains(&from) => Fault::FromDoesNotHold { from },
            Action::Copy { from: None, .. } if row.len() >= width => Fault::NoSlot,
            Action::Lead { from, .. } if row.first() != Some(&from) => Fault::DoesNotLead { from },
            Action::Lead { to: node, .. } | Action::DrainReads { from: node } if !live(node) => {
                Fault::NotALiveHolder { node }
            }
            Action::Copy { .. } | Action::Lead { .. } | Action::DrainReads { .. } => return true,
        };
        self.add(at, fault);
        false
    }

    /// A copy begins: its target has its bytes.
    pub(super) fn begin(&mut self, decided: &Move, to: Node, at: (Option<u32>, Moment)) {
        let (has, more) = (&mut self.has[to.at()], i128::from(self.facts.size(decided.partition)));
        *has += more;
        let (bytes, limit_bytes) = (*has, self.facts.may_have[to.at()]);
        if more > 0 && bytes > limit_bytes {
            self.add(at, Fault::Capacity { node: to, bytes, limit_bytes });
        }
    }

    /// A copy ends: its target holds the partition, and what it replaces is gone.
    pub(super) fn end(&mut self, place: usize, decided: &Move, at: (Option<u32>, Moment)) {
        let Action::Copy { from, to } = decided.action else { return };
        let before = self.live(place);
        let row = &mut self.rows[place].1;
        match from {
            None => row.push(to),
            Some(from) => {
                let Some(slot) = row.iter().position(|holder| *holder == from) else { return };
                row[slot] = to;
                self.has[from.at()] -= i128::from(self.facts.size(decided.partition));
            }
        }
        let (live, wanted) =
            (self.live(place), self.facts.snapshot.partitions().replicas.get(decided.partition));
        if live < before {
            self.add(at, Fault::LosesReplica { before, after: live });
            if u32::from(live) * 2 <= u32::from(wanted) {
                self.add(at, Fault::BelowQuorum { live, wanted });
            }
        }
        self.check_domains(place, to, at);
    }

    /// The leader changes.
    pub(super) fn lead(&mut self, place: usize, to: Node) {
        let row = &mut self.rows[place].1;
        if let Some(slot) = row.iter().position(|holder| *holder == to) {
            row.swap(0, slot);
        }
    }

    pub(super) fn add(&mut self, (position, moment): (Option<u32>, Moment), fault: Fault) {
        self.found.push(Violation { position, moment, fault });
    }

    fn live(&self, place: usize) -> u8 {
        self.rows[place].1.iter().filter(|holder| self.facts.live(**holder)).count() as u8
    }

    fn check_domains(&mut self, place: usize, to: Node, at: (Option<u32>, Moment)) {
        for limited in &self.facts.limits {
            let Some(domain) = limited.domains[to.at()] else { continue };
            // What a node that is down held is lost, and crowds nothing.
            let standing = self.rows[place].1.iter().filter(|holder| self.facts.live(**holder));
            let here = standing.filter(|holder| limited.domains[holder.at()] == Some(domain));
            let (level, replicas, limit) = (limited.level, here.count() as u8, limited.limit);
            if replicas > limit {
                let (position, moment) = at;
                let fault = Fault::Domain { level, domain, replicas, limit };
                self.found.push(Violation { position, moment, fault });
            }
        }
    }
}
