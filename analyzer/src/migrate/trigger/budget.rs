//! How many bytes isotherm may copy by itself in a day: a share of what a system has.
//!
//! Moves are for what is to come, so they must not take what clients need now, and a policy that is wrong must not turn
//! a cluster over. What is begun counts, whatever becomes of it, with the size that the partition has at present. The
//! first of a day may always be begun: in a small cluster one replica is more than the share of all.

use crate::topology::Topology;
use isotherm_model::{PartitionId, SystemId};
use std::collections::BTreeMap;

/// The bytes of a day, by system.
#[derive(Debug)]
pub(super) struct Budget {
    share: f64,
    days: BTreeMap<SystemId, Day>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Day {
    /// Of all replicas whose size is known.
    all: u64,
    /// Of the largest replica.
    largest: u64,
    begun: u64,
}

/// Bytes of a replica; `None` if nobody says.
pub(super) fn size_bytes(topology: &Topology, partition: &PartitionId) -> Option<u64> {
    topology.partitions.get(partition)?.size_bytes
}

impl Budget {
    /// `share` of a system's bytes may be begun. `begun` of the last day count, those without a size as the largest.
    pub(super) fn new<'a>(
        topology: &Topology,
        share: f64,
        begun: impl IntoIterator<Item = &'a PartitionId>,
    ) -> Self {
        let mut days: BTreeMap<SystemId, Day> = BTreeMap::new();
        for (partition, holders) in topology.subsets.iter() {
            let Some(bytes) = size_bytes(topology, partition) else { continue };
            let day = days.entry(partition.system().clone()).or_default();
            day.all = day.all.saturating_add(bytes.saturating_mul(holders.len() as u64));
            day.largest = day.largest.max(bytes);
        }
        let mut budget = Self { share, days };
        for partition in begun {
            budget.begin(partition.system(), size_bytes(topology, partition));
        }
        budget
    }

    /// So many bytes were begun.
    pub(super) fn begin(&mut self, system: &SystemId, bytes: Option<u64>) {
        let day = self.days.entry(system.clone()).or_default();
        day.begun = day.begun.saturating_add(bytes.unwrap_or(day.largest));
    }

    /// Whether so many more may be begun, or why not.
    pub(super) fn permits(&self, system: &SystemId, bytes: Option<u64>) -> Result<(), String> {
        let Some(bytes) = bytes else {
            return Err(
                "nobody says how large it is, so it cannot be counted to the bytes of a day".to_owned()
            );
        };
        let Day { all, begun, .. } = self.days.get(system).copied().unwrap_or_default();
        let most = self.share * all as f64;
        if begun == 0 || begun.saturating_add(bytes) as f64 <= most {
            return Ok(());
        }
        Err(format!(
            "the bytes of a day bind: isotherm has begun {begun} of {most:.0}, migrate.limits.bytes_share_per_day, and \
             it has {bytes}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::NodeId;
    use isotherm_proto::PartitionFacts;

    fn system() -> SystemId {
        SystemId::new("s").unwrap()
    }

    fn partition(name: &str) -> PartitionId {
        PartitionId::new(system(), name).unwrap()
    }

    /// Partitions of 100, 40 and 10 bytes, and one of which no size is known, with two replicas each: 300 bytes.
    fn topology() -> Topology {
        let mut topology = Topology::default();
        for (name, size_bytes) in [("a", Some(100)), ("b", Some(40)), ("c", Some(10)), ("d", None)] {
            let nodes = ["1", "2"].map(|name| NodeId::new(system(), name).unwrap()).to_vec();
            let facts = PartitionFacts { size_bytes, nodes, epoch: 0, locators: Vec::new() };
            topology.set_partition(partition(name), facts);
        }
        topology
    }

    fn permits(share: f64, begun: &[&str], bytes: Option<u64>) -> Result<(), String> {
        let begun: Vec<PartitionId> = begun.iter().map(|name| partition(name)).collect();
        Budget::new(&topology(), share, &begun).permits(&system(), bytes)
    }

    #[test]
    fn what_is_begun_stays_within_the_share_of_all_replicas() {
        assert_eq!(permits(0.2, &["b"], Some(20)), Ok(()), "60 bytes may be begun");
        let why = permits(0.2, &["b"], Some(21)).unwrap_err();
        assert!(why.contains("begun 40 of 60, migrate.limits.bytes_share_per_day, and it has 21"), "{why}");
        assert!(permits(0.2, &["b", "c", "c"], Some(1)).is_err());
        assert_eq!(permits(f64::INFINITY, &["a", "a", "a"], Some(100)), Ok(()));
    }

    #[test]
    fn the_first_of_a_day_may_be_larger() {
        assert_eq!(permits(0.01, &[], Some(100)), Ok(()));
        assert!(permits(0.01, &["c"], Some(10)).is_err());
    }

    #[test]
    fn what_has_no_size_is_not_begun_and_counts_as_the_largest_if_it_was() {
        assert!(permits(1.0, &[], None).unwrap_err().contains("nobody says how large it is"));
        assert!(permits(0.5, &["d"], Some(51)).is_err());
        assert_eq!(permits(0.5, &["d"], Some(50)), Ok(()));
        assert!(permits(0.5, &["gone"], Some(51)).is_err());
    }

    #[test]
    fn what_is_begun_in_a_cycle_counts_for_the_next_of_it() {
        let mut budget = Budget::new(&topology(), 0.2, []);
        budget.begin(&system(), Some(40));
        assert_eq!(budget.permits(&system(), Some(20)), Ok(()));
        budget.begin(&system(), Some(20));
        assert!(budget.permits(&system(), Some(1)).is_err());
    }
}
