//! Proactive moves: what is expected to hurt where it lies is shifted, or copied to where it is expected to hurt
//! less, if that is worth it.
//!
//! Method: the gate and the order of action of docs/placement.md. One parallel look at all partitions finds those with a
//! holder worth leaving ([`judge`]) and what leaving it could save at best. First reads are shifted without bytes
//! ([`reads`]); then what would save the most per byte is copied first, until a budget binds. Each decision is made
//! anew on the cluster as it is by then, so that what was decided before is counted.
//!
//! Work for a partition is bounded: the look takes [`REFERENCES`] evaluations of the loss for each holder; a
//! decision scans all nodes for [`BEAM`] holders at most, once for each replica that it moves.
//!
//! It never moves what is pinned, cooling or under way, never what has a holder that does not serve (repair comes
//! first), and nothing at all where no holder is worth leaving.

mod copysets;
mod judge;
pub(crate) mod reads;
mod step;

use super::work::Work;
use crate::ids::{Node, Partition};
use crate::plan::{Action, Gain, Move, Reason};
use crate::proactive::{Outlook, Shifts};
use crate::refusal::{Cause, Refusal};
use judge::Row;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

pub(crate) use judge::Judge;

/// Nodes of low hazard, in different domains, that stand for a good destination when partitions are looked over.
const REFERENCES: usize = 8;

/// Holders for which all nodes are scanned in a decision.
const BEAM: usize = 2;

/// Looks at what found no node, while moves free nodes that could be destinations.
const PASSES: usize = 4;

/// Refusals that a plan tells of, those of the largest present loss.
const MOST_REFUSALS: usize = 10_000;

/// A partition with a holder worth leaving, and what leaving it could be good for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    partition: Partition,
    /// Present loss per hour.
    loss: f64,
    benefit: f64,
    cost: f64,
}

/// Plans proactive moves.
pub(crate) fn run(work: &mut Work<'_>, outlook: &Outlook<'_>) {
    let mut judge = Judge::new(work, outlook);
    if !judge.anything_to_leave(work) {
        return;
    }
    let in_flight = in_flight(work);
    let shifted = shift(work, &mut judge, &in_flight);
    let mut refused: Vec<(f64, Refusal)> = Vec::new();
    let mut wishes = Vec::new();
    for wish in look(work, &judge, &shifted, &in_flight) {
        match still(work, &in_flight, wish.partition).or_else(|| gains_too_little(&judge, &wish)) {
            Some(cause) => refused.push((wish.loss, refusal(wish.partition, cause))),
            None => wishes.push(wish),
        }
    }
    sort(work, &mut wishes);
    let mut open = step::Open::new(work, &judge, wishes.iter().map(|wish| wish.partition));
    for _ in 0..PASSES {
        let mut freed = false;
        let mut left = Vec::new();
        for wish in wishes {
            match step::decide(work, &mut judge, &mut open, wish.partition) {
                Ok(some) => freed |= some,
                Err(Cause::NoTarget { .. }) => left.push(wish),
                Err(cause) => refused.push((wish.loss, refusal(wish.partition, cause))),
            }
        }
        wishes = left;
        if !freed {
            break;
        }
    }
    let no_target = |wish: &Wish| {
        let cause = Cause::NoTarget { rejected: crate::plan::Rejected::default() };
        (wish.loss, refusal(wish.partition, cause))
    };
    refused.extend(wishes.iter().map(no_target));
    refuse(work, &judge, refused);
}

/// Shifts reads where that gains many times its pause, the largest gain first. What was shifted, by partition.
fn shift(work: &mut Work<'_>, judge: &mut Judge<'_>, in_flight: &[Partition]) -> Vec<Partition> {
    if matches!(judge.outlook.shifts, Shifts::None) {
        return Vec::new();
    }
    let gain = |judge: &Judge<'_>, work: &Work<'_>, partition: Partition| {
        let best = reads::best(judge, work, partition)?;
        let gain = judge.benefit(best.before, best.after);
        let cost = (judge.outlook.cost_of_shift)(partition);
        (gain > 0.0 && gain >= judge.gate.shift_gain_over_pause * cost).then_some((best, gain, cost))
    };
    let of = |at: u32| {
        let partition = Partition(at);
        if work.moved[partition.at()] || still(work, in_flight, partition).is_some() {
            return None;
        }
        gain(judge, work, partition).map(|(_, gain, _)| (gain, partition))
    };
    let mut wishes: Vec<(f64, Partition)> =
        (0..work.moved.len() as u32).into_par_iter().filter_map(of).collect();
    let key = |partition: &Partition| work.snapshot.partitions().key[partition.at()];
    wishes.sort_by(|a, b| b.0.total_cmp(&a.0).then(key(&a.1).cmp(&key(&b.1))).then(a.1.cmp(&b.1)));
    let mut shifted = Vec::new();
    for (_, partition) in wishes {
        let Some((best, benefit, cost)) = gain(judge, work, partition) else { continue };
        if step::moves_left(work) == 0 {
            let cause = Cause::Budget { bytes: 0, left_bytes: step::bytes_left(work) };
            work.refusals.push(refusal(partition, cause));
            continue;
        }
        judge.take_shift(work, partition, best.action);
        if let Action::Lead { to, .. } = best.action {
            work.assignment.lead(partition, to);
        }
        work.moves.push(Move {
            partition,
            action: best.action,
            bytes: 0,
            epoch: work.snapshot.partitions().epoch.get(partition),
            reason: Reason::Risk,
            gain: Gain::Loss { benefit, cost },
            score: best.score,
            runner_up: best.runner_up,
            rejected: best.rejected,
        });
        work.chosen_moves += 1;
        work.moved[partition.at()] = true;
        shifted.push(partition);
    }
    shifted.sort_unstable();
    shifted
}

/// All partitions with a holder worth leaving that would lose less elsewhere.
fn look(work: &Work<'_>, judge: &Judge<'_>, shifted: &[Partition], in_flight: &[Partition]) -> Vec<Wish> {
    let references = references(work, judge);
    let worth: Vec<bool> = (0..work.up.len()).map(|at| judge.worth_leaving(work, Node(at as u16))).collect();
    let of = |at: u32| {
        let partition = Partition(at);
        let mut holders = work.assignment.subset(partition);
        if !holders.any(|holder| worth[holder.at()]) {
            return None;
        }
        let mine = !work.moved[partition.at()]
            || shifted.binary_search(&partition).is_ok()
            || in_flight.binary_search(&partition).is_ok();
        if !mine || !work.assignment.subset(partition).all(|holder| work.up[holder.at()]) {
            return None;
        }
        let row = Row::of(work, partition);
        let loss = judge.loss_per_hour(partition, row.nodes());
        let mut least = if references.is_empty() { 0.0 } else { f64::INFINITY };
        for (slot, _) in row.nodes().iter().enumerate().filter(|(_, holder)| worth[holder.at()]) {
            let mut there = row;
            for node in references.iter().filter(|node| !row.nodes().contains(node)) {
                there.nodes_mut()[slot] = *node;
                least = least.min(judge.loss_per_hour(partition, there.nodes()));
            }
        }
        let benefit = judge.benefit(loss, least.min(loss));
        let cost =
            (judge.outlook.cost_of_copy)(partition, work.snapshot.partitions().size_bytes[at as usize]);
        (loss > 0.0 && benefit > 0.0).then_some(Wish { partition, loss, benefit, cost })
    };
    (0..work.moved.len() as u32).into_par_iter().filter_map(of).collect()
}

/// The safest nodes that can take something, one of each innermost domain.
fn references(work: &Work<'_>, judge: &Judge<'_>) -> Vec<Node> {
    let topology = work.snapshot.topology();
    let mut nodes: Vec<Node> = topology
        .all()
        .filter(|node| work.target[node.at()] && judge.safe(*node) && judge.bears(work, *node, 0.0, 0.0))
        .collect();
    let hazard = |node: &Node| judge.hazard[node.at()];
    nodes.sort_by(|a, b| {
        let key = |node: &Node| topology.node(*node).key;
        hazard(a).total_cmp(&hazard(b)).then(key(a).cmp(&key(b))).then(a.cmp(b))
    });
    let mut references: Vec<Node> = Vec::new();
    for node in nodes {
        let domain = topology.node(node).domain;
        let apart = references.iter().all(|other| domain.is_none() || topology.node(*other).domain != domain);
        if apart && references.len() < REFERENCES {
            references.push(node);
        }
    }
    references
}

/// The most saved for each byte first.
fn sort(work: &Work<'_>, wishes: &mut [Wish]) {
    let partitions = work.snapshot.partitions();
    let per_byte = |wish: &Wish| wish.benefit / partitions.size_bytes[wish.partition.at()].max(1) as f64;
    wishes.sort_by(|a, b| {
        let key = |wish: &Wish| partitions.key[wish.partition.at()];
        per_byte(b).total_cmp(&per_byte(a)).then(key(a).cmp(&key(b))).then(a.partition.cmp(&b.partition))
    });
}

/// Why a partition must stay where it is, whatever it would gain.
fn still(work: &Work<'_>, in_flight: &[Partition], partition: Partition) -> Option<Cause> {
    if in_flight.binary_search(&partition).is_ok() {
        return Some(Cause::InFlight);
    }
    if work.snapshot.partitions().pinned.get(partition) {
        return Some(Cause::Pinned);
    }
    work.cooling_until_s(partition).map(|until_s| Cause::CoolDown { until_s })
}

fn gains_too_little(judge: &Judge<'_>, wish: &Wish) -> Option<Cause> {
    let enough = wish.benefit >= judge.gate.gain_over_cost * wish.cost;
    (!enough).then_some(Cause::NoGain { benefit: wish.benefit, cost: wish.cost })
}

fn in_flight(work: &Work<'_>) -> Vec<Partition> {
    let mut partitions: Vec<Partition> =
        work.snapshot.in_flight().iter().map(|copy| copy.partition).collect();
    partitions.sort_unstable();
    partitions
}

fn refusal(partition: Partition, cause: Cause) -> Refusal {
    Refusal { partition: Some(partition), node: None, cause }
}

/// Tells of the refusals of the largest present loss, and of what rejected nodes on the cluster as it will be.
fn refuse(work: &mut Work<'_>, judge: &Judge<'_>, mut refused: Vec<(f64, Refusal)>) {
    refused.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.partition.cmp(&b.1.partition)));
    for (_, mut refusal) in refused.into_iter().take(MOST_REFUSALS) {
        if let (Cause::NoTarget { rejected }, Some(partition)) = (&mut refusal.cause, refusal.partition) {
            let from = judge.worst(work, partition);
            if let Some(Err(by)) = from.map(|from| judge.best(work, partition, from)) {
                *rejected = by;
            }
        }
        work.refusals.push(refusal);
    }
}
