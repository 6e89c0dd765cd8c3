//! What is known of the future of partitions, as functions of a subset.

use crate::ids::{Node, Partition};

/// What a subset would mean for a partition. The functions are pure: the same arguments, the same answer.
///
/// They stand where the crate of risks will be. A loss that is no number
/// counts as unknown, and what is unknown moves nothing.
#[derive(Clone, Copy)]
pub struct Outlook<'a> {
    /// Expected loss per hour if the partition lay on that subset (leader first), in a unit of the caller's.
    pub loss_per_hour: &'a (dyn Fn(Partition, &[Node]) -> f64 + Sync),
    /// Exposure to hazards per hour on that subset.
    pub exposure_per_hour: &'a (dyn Fn(Partition, &[Node]) -> f64 + Sync),
    /// What copying that many bytes of the partition costs: pause, chance of an abort, latency added, in the unit of
    /// the loss.
    pub cost_of_copy: &'a (dyn Fn(Partition, u64) -> f64 + Sync),
    /// What a change of the leader or a drain of reads costs: its pause, in the unit of the loss.
    pub cost_of_shift: &'a (dyn Fn(Partition) -> f64 + Sync),
    /// How many times its class's hazard a node has. Absent: its risk over the median of the nodes that are up, as if
    /// they were all of one class, which is wrong where old and new hardware are mixed.
    pub hazard_over_class: Option<&'a (dyn Fn(Node) -> f64 + Sync)>,
    /// How the store can shift reads.
    pub shifts: Shifts<'a>,
}

/// How a store shifts reads without copying.
#[derive(Clone, Copy, Default)]
pub enum Shifts<'a> {
    /// It cannot.
    #[default]
    None,
    /// By another leader, which serves all reads.
    Lead,
    /// By draining a replica, at most one of each partition.
    Drain(Drains<'a>),
}

/// What draining replicas means. An assignment does not tell who is drained, and the loss of a subset does not tell
/// a replica that serves nothing from one that is not there; so a store that can drain says both.
#[derive(Clone, Copy)]
pub struct Drains<'a> {
    /// The holder of a partition that is drained already.
    pub drained: &'a (dyn Fn(Partition) -> Option<Node> + Sync),
    /// Expected loss per hour on that subset if one of its holders served no reads.
    pub loss_per_hour: &'a (dyn Fn(Partition, &[Node], Node) -> f64 + Sync),
}
