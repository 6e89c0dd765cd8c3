//! What is known of the future of partitions, as functions of a subset.

use crate::ids::{Node, Partition};

/// What a subset would mean for a partition. The functions are pure: the same arguments, the same answer.
///
/// They stand where the crate of risks will be; its definitions are those of docs/risk.md.
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
    /// Partitions whose reads can be shifted: the store can change a leader, or drain a replica.
    pub shifts: Shifts,
}

/// How a store shifts reads without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shifts {
    /// It cannot.
    #[default]
    None,
    /// By another leader, which serves the reads.
    Lead,
    /// By draining a replica.
    Drain,
}
