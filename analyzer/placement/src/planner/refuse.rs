//! What stands in the way, said so that it can be acted on.

use super::place::Job;
use super::work::Work;
use crate::ids::Node;
use crate::plan::Rejected;
use crate::refusal::{Cause, Refusal};

/// No node can take a replica: why.
pub(crate) fn no_target(work: &mut Work<'_>, job: &Job, rejected: Rejected) {
    let cause = cause(work, job, rejected);
    work.refusals.push(Refusal { partition: Some(job.partition), node: job.from, cause });
}

/// Refuses a job for a cause that is known.
pub(crate) fn job(work: &mut Work<'_>, job: &Job, cause: Cause) {
    work.refusals.push(Refusal { partition: Some(job.partition), node: job.from, cause });
}

/// The first of: too few nodes, too little room, too few domains, else the count of what rejected them. Of what was
/// not needed, it is not nodes or domains that are too few.
fn cause(work: &Work<'_>, job: &Job, rejected: Rejected) -> Cause {
    let replicas = work.snapshot.partitions().replicas.get(job.partition);
    let targets = || (0..work.target.len()).filter(|at| work.target[*at]).map(|at| Node(at as u16));
    let staying = work.assignment.subset(job.partition).filter(|node| work.up[node.at()]).count();
    let nodes = targets().filter(|node| !work.assignment.holds(*node, job.partition)).count();
    if nodes == 0 && job.reason.repairs() {
        let nodes = staying as u16;
        return Cause::Nodes { replicas, nodes };
    }
    if rejected.capacity > 0 {
        let room = targets()
            .filter(|node| {
                !work.assignment.holds(*node, job.partition)
                    && work.crowded(job.partition, job.from, *node).is_none()
            })
            .map(|node| work.room[node.at()].max(0.0))
            .fold(0.0, f64::max);
        let needs_bytes = work.snapshot.partitions().size_bytes[job.partition.at()];
        return Cause::Capacity { needs_bytes, room_bytes: room as u64 };
    }
    let first = targets().find_map(|node| work.crowded(job.partition, job.from, node));
    if let Some(level) = first.filter(|_| rejected.domain > 0 && job.reason.repairs()) {
        let limit = work.snapshot.limits()[level.at()].unwrap_or(u8::MAX);
        let mut domains: Vec<u16> =
            targets().map(|node| work.snapshot.topology().domain_of(node, level).0).collect();
        domains.sort_unstable();
        domains.dedup();
        return Cause::Domains {
            replicas,
            limit,
            level,
            domains: domains.len() as u16,
            feasible: staying as u8,
        };
    }
    Cause::NoTarget { rejected }
}
