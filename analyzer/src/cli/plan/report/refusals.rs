//! Refusals, grouped by cause, and whether they leave something undone that had to be done.

use super::Planned;
use isotherm_placement::{Cause, NodeState, Partition, Refusal};
use serde::Serialize;

/// Refusals of one cause.
#[derive(Debug, Serialize)]
pub(in crate::cli::plan) struct Refused {
    pub(super) cause: &'static str,
    pub(super) count: usize,
    /// Of these, what had to be done: the repair of a partition that has too few replicas still, or of all.
    pub(super) undone: usize,
    /// The first of them.
    pub(super) example: Example,
}

#[derive(Debug, Serialize)]
pub(super) struct Example {
    pub(super) partition: Option<String>,
    pub(super) node: Option<String>,
    pub(super) why: String,
}

/// Groups in the order of the first of each.
pub(super) fn group(planned: Planned<'_>) -> Vec<Refused> {
    let mut groups: Vec<Refused> = Vec::new();
    for refusal in &planned.plan.refusals {
        let cause = word(refusal.cause);
        let undone = usize::from(had_to_be_done(planned, refusal));
        match groups.iter_mut().find(|group| group.cause == cause) {
            Some(group) => {
                group.count += 1;
                group.undone += undone;
            }
            None => groups.push(Refused { cause, count: 1, undone, example: example(planned, refusal) }),
        }
    }
    groups
}

/// By the outcome, not by the cause: a cause can stand against a choice as well as against a repair. What is lost for
/// good and has a place to be restored to is as done as it can be.
fn had_to_be_done(planned: Planned<'_>, refusal: &Refusal) -> bool {
    match (refusal.partition, refusal.cause) {
        (Some(partition), _) => lacks_replicas(planned, partition),
        (None, Cause::Breaker { .. }) => true,
        (None, _) => false,
    }
}

fn lacks_replicas(Planned { snapshot, after, .. }: Planned<'_>, partition: Partition) -> bool {
    let up = |node: &_| snapshot.topology().node(*node).state == NodeState::Up;
    after.subset(partition).filter(up).count() < usize::from(snapshot.partitions().replicas.get(partition))
}

fn example(Planned { names, .. }: Planned<'_>, refusal: &Refusal) -> Example {
    Example {
        partition: refusal.partition.map(|partition| names.partitions.of(partition)),
        node: refusal.node.map(|node| names.nodes.of(node).to_owned()),
        why: refusal.cause.to_string(),
    }
}

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Capacity { .. } => "capacity",
        Cause::Domains { .. } => "domains",
        Cause::Nodes { .. } => "nodes",
        Cause::NoTarget { .. } => "no target",
        Cause::NoSurvivor => "no survivor",
        Cause::InFlight => "in flight",
        Cause::Pinned => "pinned",
        Cause::CoolDown { .. } => "cool-down",
        Cause::Budget { .. } => "budget",
        Cause::NoGain { .. } => "no gain",
        Cause::Exposure { .. } => "exposure",
        Cause::Breaker { .. } => "breaker",
        Cause::Pressure { .. } => "pressure",
    }
}
