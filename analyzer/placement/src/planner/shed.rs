//! Bringing a node down to its share: its capacity was lowered, or it was given too much.
//!
//! What leaves is chosen so that size and load come down together with no byte more than the excess: of the
//! partitions in the order of load per byte, a run whose bytes are the size excess and whose load is nearest to the
//! load excess. Where copysets are kept few, whole copysets leave first.

use super::deal::Quota;
use super::place::{Job, place};
use super::postings::Postings;
use super::regime::Grouped;
use super::work::Work;
use crate::ids::{Node, Partition};
use crate::plan::Reason;
use crate::refusal::{Cause, Refusal};

/// Of its excess, what a node may keep rather than split another copyset.
const NEAR_ENOUGH: f64 = 0.01;

/// Of its excess, what a node should not keep if one partition more would mend it.
const FAR: f64 = 0.02;

/// Plans what has to leave each of these nodes.
pub(crate) fn run(work: &mut Work<'_>, nodes: &[Node]) {
    for node in nodes.iter().copied() {
        if !work.up[node.at()] {
            continue;
        }
        let Some(excess) = excess(work, node) else { continue };
        work.least_bytes += excess.bytes as u64;
        let leaving = match Grouped::new(work) {
            Some(grouped) => whole_sets(work, node, excess, &grouped),
            None => dense_run(work, &movable(work, Postings::new(work).of(node)), excess),
        };
        let jobs: Vec<Job> = leaving.into_iter().map(|partition| job(work, partition, node)).collect();
        place(work, &jobs);
        let bounds = bounds(work, node);
        let (size, load) = (work.size_pressure(node.at()), work.load_pressure(node.at()));
        let none = work.snapshot.topology().node(node).capacity_bytes == 0 && work.bytes[node.at()] > 0.0;
        let (reached, wanted) = if none {
            (f64::INFINITY, 0.0)
        } else if size > bounds.0 {
            (size, bounds.0)
        } else {
            (load, bounds.1)
        };
        if reached > wanted {
            let cause = Cause::Pressure { reached, wanted };
            work.refusals.push(Refusal { partition: None, node: Some(node), cause });
        }
    }
}

/// What size and load pressure a node may keep: the dead band, and no more load than what others bear.
fn bounds(work: &Work<'_>, node: Node) -> (f64, f64) {
    let band = 1.0 + work.dead_band();
    let others = (0..work.up.len()).filter(|at| work.up[*at] && *at != node.at());
    (band, others.map(|at| work.load_pressure(at)).fold(band, f64::max))
}

fn job(work: &Work<'_>, partition: Partition, node: Node) -> Job {
    let staying = work.assignment.subset(partition).filter(|holder| work.up[holder.at()] && *holder != node);
    Job { partition, from: Some(node), staying: staying.count() as u8, reason: Reason::Overfull }
}

/// What a node holds beyond its share; absent if that is within the dead band.
fn excess(work: &Work<'_>, node: Node) -> Option<Quota> {
    let at = node.at();
    let bounds = bounds(work, node);
    let over = |pressure: f64, per: f64| if per > 0.0 { ((pressure - 1.0) / per).max(0.0) } else { 0.0 };
    let none_left = work.snapshot.topology().node(node).capacity_bytes == 0;
    if none_left {
        return (work.bytes[at] > 0.0).then(|| Quota { bytes: work.bytes[at], load: work.load[at] });
    }
    (work.size_pressure(at) > bounds.0 || work.load_pressure(at) > bounds.1).then(|| Quota {
        bytes: over(work.size_pressure(at), work.per_byte[at]),
        load: over(work.load_pressure(at), work.per_load[at]),
    })
}

fn movable(work: &Work<'_>, partitions: &[Partition]) -> Vec<Partition> {
    let free = |partition: &&Partition| work.may_move(**partition);
    partitions.iter().filter(free).copied().collect()
}

/// The copysets of a node from the smallest on, as long as they fit into the excess, and a part of the one that
/// does not.
fn whole_sets(work: &Work<'_>, node: Node, excess: Quota, grouped: &Grouped) -> Vec<Partition> {
    let mut sets: Vec<Vec<Partition>> = grouped
        .sets
        .all()
        .filter(|set| grouped.sets.nodes(*set).contains(&node))
        .map(|set| movable(work, grouped.groups.of(set)))
        .collect();
    let bytes = |partitions: &[Partition]| partitions.iter().map(|p| work.size_of(*p)).sum::<f64>();
    let load = |partitions: &[Partition]| partitions.iter().map(|p| work.load_of(*p)).sum::<f64>();
    sets.sort_by(|a, b| bytes(a).total_cmp(&bytes(b)).then(a.cmp(b)));
    let (mut leaving, mut left) = (Vec::new(), excess);
    for set in sets {
        let all = Quota { bytes: bytes(&set), load: load(&set) };
        let fits = if excess.bytes > 0.0 { all.bytes <= left.bytes } else { all.load <= left.load };
        if fits {
            left = Quota { bytes: (left.bytes - all.bytes).max(0.0), load: (left.load - all.load).max(0.0) };
            leaving.extend(set);
        } else {
            let part = dense_run(work, &set, left);
            let taken = part.iter().map(|partition| work.size_of(*partition)).sum::<f64>();
            let load = part.iter().map(|partition| work.load_of(*partition)).sum::<f64>();
            left = Quota { bytes: (left.bytes - taken).max(0.0), load: (left.load - load).max(0.0) };
            leaving.extend(part);
            if left.bytes <= excess.bytes * NEAR_ENOUGH {
                break;
            }
        }
    }
    leaving
}

/// The run, in the order of load per byte, of at most so many bytes whose load is the nearest to the excess, and what
/// still fits; where only load is over, the densest.
fn dense_run(work: &Work<'_>, partitions: &[Partition], excess: Quota) -> Vec<Partition> {
    let mut dense = partitions.to_vec();
    let density = |partition: Partition| work.load_of(partition) / work.size_of(partition).max(1.0);
    dense.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
    let mut best = (f64::INFINITY, 0..0);
    let (mut end, mut bytes, mut load) = (0, 0.0, 0.0);
    for start in 0..dense.len() {
        while end < dense.len() && bytes + work.size_of(dense[end]) <= excess.bytes {
            bytes += work.size_of(dense[end]);
            load += work.load_of(dense[end]);
            end += 1;
        }
        let missed: f64 = (load - excess.load).abs();
        if missed < best.0 {
            best = (missed, start..end);
        }
        if end == dense.len() {
            break;
        }
        if end > start {
            bytes -= work.size_of(dense[start]);
            load -= work.load_of(dense[start]);
        } else {
            end = start + 1;
        }
    }
    let chosen = best.1;
    let mut leaving = dense[chosen.clone()].to_vec();
    let sum = |partitions: &[Partition]| {
        partitions.iter().fold((0.0, 0.0), |sum, p| (sum.0 + work.size_of(*p), sum.1 + work.load_of(*p)))
    };
    let (mut bytes, mut load) = sum(&leaving);
    let only_load = excess.bytes == 0.0;
    for partition in dense[..chosen.start].iter().chain(&dense[chosen.end..]) {
        let (size, weight) = (work.size_of(*partition), work.load_of(*partition));
        let fits = bytes + size <= excess.bytes;
        if fits || only_load && weight > 0.0 && load + weight <= excess.load {
            bytes += size;
            load += weight;
            leaving.push(*partition);
        }
    }
    // One that is a little too large is better than much that stays.
    let left = excess.bytes - bytes;
    if left > excess.bytes * FAR {
        let fits = |partition: &&Partition| work.size_of(**partition) <= left + excess.bytes * NEAR_ENOUGH;
        let others = dense.iter().filter(|partition| !leaving.contains(partition)).filter(fits);
        leaving.extend(others.max_by(|a, b| work.size_of(**a).total_cmp(&work.size_of(**b))).copied());
    }
    leaving
}
