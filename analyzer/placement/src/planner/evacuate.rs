//! Repair: what lies on nodes that are down is made again from the replicas that are left, what lies on draining
//! nodes goes elsewhere, and what has too few replicas gets more. Exactly those bytes move.

use super::place::{Job, place};
use super::refuse;
use super::work::Work;
use crate::ids::{Node, Partition};
use crate::partitions::NONE;
use crate::plan::Reason;
use crate::refusal::{Cause, Refusal};
use crate::topology::NodeState;

/// Whether so much is lost at once that nothing should be done by itself; then the plan says so. One node is not so
/// much, however few there are.
pub(crate) fn breaks(work: &mut Work<'_>) -> bool {
    let nodes = work.snapshot.topology().nodes();
    let down = |at: usize| nodes[at].state == NodeState::Down && work.held[at];
    let used = |at: usize| nodes[at].state != NodeState::Down || work.held[at];
    let sum = |of: &dyn Fn(usize) -> bool| -> f64 {
        (0..nodes.len()).filter(|at| of(*at)).map(|at| nodes[at].capacity_bytes as f64).sum()
    };
    let (lost, all) = (sum(&down), sum(&used));
    let limit = work.snapshot.policy().breaker;
    let lost = if all > 0.0 { lost / all } else { 0.0 };
    let several = (0..nodes.len()).filter(|at| down(*at)).count() > 1;
    if lost <= limit || !several {
        return false;
    }
    work.refusals.push(Refusal { partition: None, node: None, cause: Cause::Breaker { lost, limit } });
    true
}

/// Plans the repair: what has the fewest live replicas first. Without `all` only nodes that drain are emptied.
pub(crate) fn run(work: &mut Work<'_>, all: bool) {
    let mut jobs = lost(work);
    jobs.retain(|job| all || job.reason == Reason::Draining);
    let size = |job: &Job| work.snapshot.partitions().size_bytes[job.partition.at()];
    work.least_bytes += jobs.iter().map(size).sum::<u64>();
    jobs.retain(|job| possible(work, job));
    by_urgency(work, jobs);
}

/// Where what is lost should be restored to, with the room that is left.
pub(crate) fn restore(work: &mut Work<'_>) {
    let refusals = work.refusals.clone();
    let lost = |refusal: &&Refusal| matches!(refusal.cause, Cause::NoSurvivor);
    let jobs: Vec<Job> = refusals
        .iter()
        .filter(lost)
        .filter_map(|refusal| {
            Some(Job { partition: refusal.partition?, from: refusal.node, staying: 0, reason: Reason::Lost })
        })
        .collect();
    work.restoring = true;
    by_urgency(work, jobs);
    work.restoring = false;
    work.refusals = refusals;
}

/// Places jobs, sorted by partition: one of each partition at a time, those of the fewest replicas first.
fn by_urgency(work: &mut Work<'_>, mut jobs: Vec<Job>) {
    while let Some(fewest) = jobs.iter().map(|job| job.staying).min() {
        let mut tier: Vec<Job> = Vec::new();
        let mut later = Vec::new();
        for job in jobs {
            if tier.last().is_some_and(|last| last.partition == job.partition) {
                later.push(Job { staying: job.staying + 1, ..job });
            } else if job.staying == fewest {
                tier.push(job);
            } else {
                later.push(job);
            }
        }
        place(work, &tier);
        jobs = later;
    }
}

/// Every replica that is not where it can stay, by partition.
fn lost(work: &Work<'_>) -> Vec<Job> {
    let nodes = work.snapshot.topology().nodes();
    let width = work.assignment.width();
    let mut jobs = Vec::new();
    for (at, row) in work.assignment.slots().chunks_exact(width).enumerate() {
        let partition = Partition(at as u32);
        let wanted = usize::from(work.snapshot.partitions().replicas.get(partition));
        if row.iter().all(|slot| *slot != NONE && work.up[usize::from(*slot)]) {
            continue;
        }
        let held = row.iter().filter(|slot| **slot != NONE);
        let staying = held.clone().filter(|slot| work.up[usize::from(**slot)]).count();
        let leaving = held.clone().filter(|slot| !work.up[usize::from(**slot)]).map(|slot| Node(*slot));
        let leaving = leaving.map(|node| match nodes[node.at()].state {
            NodeState::Down => (Some(node), Reason::Lost),
            NodeState::Draining | NodeState::Up => (Some(node), Reason::Draining),
        });
        let missing = (held.clone().count()..wanted).map(|_| (None, Reason::Missing));
        // A replica that is lost and was one too many is not made again.
        let needed = |job: &(Option<Node>, Reason)| staying < wanted || job.1 != Reason::Lost;
        jobs.extend(leaving.chain(missing).filter(needed).map(|(from, reason)| Job {
            partition,
            from,
            staying: staying as u8,
            reason,
        }));
    }
    jobs
}

/// Whether there is something to copy from and nothing under way; else it is refused.
fn possible(work: &mut Work<'_>, job: &Job) -> bool {
    let nodes = work.snapshot.topology().nodes();
    let live = work
        .snapshot
        .assignment()
        .subset(job.partition)
        .any(|holder| nodes[holder.at()].state != NodeState::Down);
    if work.moved[job.partition.at()] {
        refuse::job(work, job, Cause::InFlight);
        false
    } else if !live {
        refuse::job(work, job, Cause::NoSurvivor);
        false
    } else {
        true
    }
}
