//! One decision: which replicas of a partition are copied where, or why none is.
//!
//! Replicas are moved one by one, each from the holder and to the node that leave the least loss. A further replica
//! moves if it alone is worth its copy, or if the policy pays for keeping fewer of the present nodes. All of them
//! together must pass the gate, else none of them is moved.

use super::super::choose::Choice;
use super::super::work::Work;
use super::BEAM;
use super::copysets::Step;
use super::judge::{Judge, Row};
use crate::ids::{Node, Partition};
use crate::plan::{Gain, Reason, Rejected};
use crate::refusal::Cause;

/// Decides about a partition, and counts what it decides as done. Whether that made room on a node that others may
/// go to.
///
/// # Errors
/// Why it stays.
pub(super) fn decide(
    work: &mut Work<'_>,
    judge: &mut Judge<'_>,
    open: &mut Open,
    partition: Partition,
) -> Result<bool, Cause> {
    let start = Row::of(work, partition);
    if !start.nodes().iter().any(|holder| judge.worth_leaving(work, *holder)) {
        return Ok(false);
    }
    let bytes = work.snapshot.partitions().size_bytes[partition.at()];
    if moves_left(work) == 0 || bytes > bytes_left(work) {
        return Err(Cause::Budget { bytes, left_bytes: bytes_left(work) });
    }
    let moved = work.moved[partition.at()];
    let mut tried = Tried { work, judge, open: &open.nodes, done: Vec::new(), moved };
    match tried.all(partition, &start, bytes) {
        Err(cause) => {
            tried.undo(partition, &start);
            Err(cause)
        }
        Ok(()) => {
            let copies = tried.done.len() as u64;
            let ends: Vec<(Node, Node)> = tried.done.iter().map(|done| (done.from, done.to)).collect();
            work.chosen_bytes += copies * bytes;
            work.chosen_moves += copies as u32;
            for (from, to) in &ends {
                open.look_again(work, judge, *from);
                open.look_again(work, judge, *to);
            }
            Ok(ends.iter().any(|(from, _)| !judge.worth_leaving(work, *from)))
        }
    }
}

/// Nodes that can take something yet.
pub(super) struct Open {
    nodes: Vec<Node>,
    /// The least that there is to take.
    bytes: f64,
    load: f64,
}

impl Open {
    /// Those that can take the least of these partitions.
    pub(super) fn new(
        work: &Work<'_>,
        judge: &Judge<'_>,
        wanted: impl Iterator<Item = Partition> + Clone,
    ) -> Self {
        let bytes = wanted.clone().map(|partition| work.size_of(partition)).fold(f64::INFINITY, f64::min);
        let load = wanted.map(|partition| work.load_of(partition)).fold(f64::INFINITY, f64::min);
        let mut open = Self { nodes: Vec::new(), bytes, load };
        work.snapshot.topology().all().for_each(|node| open.look_again(work, judge, node));
        open
    }

    fn look_again(&mut self, work: &Work<'_>, judge: &Judge<'_>, node: Node) {
        let is = work.target[node.at()]
            && judge.safe(node)
            && judge.bears(work, node, self.bytes, self.load)
            && self.bytes <= work.room[node.at()];
        match (is, self.nodes.binary_search(&node)) {
            (true, Err(at)) => self.nodes.insert(at, node),
            (false, Ok(at)) => drop(self.nodes.remove(at)),
            (true, Ok(_)) | (false, Err(_)) => {}
        }
    }
}

/// Bytes that moves by choice may copy yet.
pub(super) fn bytes_left(work: &Work<'_>) -> u64 {
    work.snapshot.policy().byte_budget.map_or(u64::MAX, |budget| budget.saturating_sub(work.chosen_bytes))
}

/// Moves by choice that there may be yet.
pub(super) fn moves_left(work: &Work<'_>) -> u32 {
    work.snapshot.policy().move_budget.map_or(u32::MAX, |budget| budget.saturating_sub(work.chosen_moves))
}

/// Copies that are counted as done while it is not known whether they stay.
struct Tried<'t, 'a, 'o> {
    work: &'t mut Work<'a>,
    judge: &'t mut Judge<'o>,
    open: &'t [Node],
    done: Vec<Done>,
    moved: bool,
}

/// A copy, and what its two nodes had before.
struct Done {
    from: Node,
    to: Node,
    from_had: (f64, f64, f64),
    to_had: (f64, f64, f64),
    step: Step,
}

impl Tried<'_, '_, '_> {
    fn all(&mut self, partition: Partition, start: &Row, bytes: u64) -> Result<(), Cause> {
        let gate = self.judge.gate.clone();
        let present = self.judge.loss_per_hour(partition, start.nodes());
        let overlap = self.work.snapshot.policy().weights.overlap;
        let pay = overlap * self.judge.benefit(present, 0.0) / start.nodes().len() as f64;
        let (mut benefit, mut cost) = (0.0, 0.0);
        for copies in 0..start.nodes().len() as u64 {
            let further = copies > 0;
            if further
                && (copies + 1 > u64::from(moves_left(self.work))
                    || (copies + 1) * bytes > bytes_left(self.work))
            {
                break;
            }
            let (from, choice) = match self.best(partition, start, further && overlap > 0.0) {
                Ok(best) => best,
                Err(_) if further => break,
                Err(rejected) => return Err(Cause::NoTarget { rejected }),
            };
            let (more, one) = self.judge.gain(self.work, partition, from, choice.node);
            let worth = more + if further { pay } else { 0.0 };
            let pays = worth > 0.0
                && worth >= gate.gain_over_cost * one
                && self.judge.pays(benefit + more, cost + one);
            if !pays && further {
                break;
            }
            if !pays {
                return Err(Cause::NoGain { benefit: more, cost: one });
            }
            self.copy(partition, from, choice, Gain::Loss { benefit: more, cost: one });
            (benefit, cost) = (benefit + more, cost + one);
        }
        self.check_exposure(partition, start)
    }

    /// A move for hazard must lower the exposure; one for headroom need not.
    fn check_exposure(&self, partition: Partition, start: &Row) -> Result<(), Cause> {
        let most = self.judge.gate.exposure_left;
        let hazardous = start.nodes().iter().any(|holder| self.judge.hazardous(*holder));
        let exposure = |row: &Row| (self.judge.outlook.exposure_per_hour)(partition, row.nodes());
        let (before, after) = (exposure(start), exposure(&Row::of(self.work, partition)));
        if !hazardous || after <= most * before {
            return Ok(());
        }
        Err(Cause::Exposure { left: after / before, most })
    }

    /// The holder of `start` to leave next and the node to go to; `any` of the holders, or those worth leaving.
    fn best(&self, partition: Partition, start: &Row, any: bool) -> Result<(Node, Choice), Rejected> {
        let (work, judge) = (&*self.work, &*self.judge);
        let mut froms: Vec<Node> = work
            .assignment
            .subset(partition)
            .filter(|holder| start.nodes().contains(holder))
            .filter(|holder| any || judge.worth_leaving(work, *holder))
            .collect();
        froms.sort_by(|a, b| judge.over(work, *b).total_cmp(&judge.over(work, *a)));
        let mut best: Result<(Node, Choice), Rejected> = Err(Rejected::default());
        for from in froms.into_iter().take(BEAM) {
            if !judge.anyone_of(self.open, work, partition, from) {
                continue;
            }
            match (judge.best(work, partition, from), &best) {
                (Ok(choice), Ok((_, held))) if choice.score >= held.score => {}
                (Ok(choice), Ok(_) | Err(_)) => best = Ok((from, choice)),
                (Err(rejected), Err(_)) => best = Err(rejected),
                (Err(_), Ok(_)) => {}
            }
        }
        best
    }

    fn copy(&mut self, partition: Partition, from: Node, choice: Choice, gain: Gain) {
        let to = choice.node;
        let (from_had, to_had) = (self.had(from), self.had(to));
        let step = self.judge.take(self.work, partition, from, to);
        self.work.copy(partition, Some(from), Reason::Risk, gain, choice);
        self.done.push(Done { from, to, from_had, to_had, step });
    }

    fn had(&self, node: Node) -> (f64, f64, f64) {
        (self.work.bytes[node.at()], self.work.load[node.at()], self.work.room[node.at()])
    }

    /// Puts back what was there, and does not subtract, so that nothing is left of it by rounding.
    fn undo(&mut self, partition: Partition, start: &Row) {
        while let Some(done) = self.done.pop() {
            for (node, (bytes, load, room)) in [(done.from, done.from_had), (done.to, done.to_had)] {
                self.work.bytes[node.at()] = bytes;
                self.work.load[node.at()] = load;
                self.work.room[node.at()] = room;
            }
            self.judge.undo(&done.step);
            self.work.moves.pop();
        }
        self.work.assignment.set(partition, start.nodes());
        self.work.moved[partition.at()] = self.moved;
    }
}
