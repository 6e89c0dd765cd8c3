//! How much may move at a time.

use isotherm_migration::Spec;
use isotherm_model::NodeId;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Bounds of what is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Migrations at a time. Default 4.
    pub migrations: u32,
    /// Of these, migrations that a node is source or target of. Default 1.
    pub per_node: u32,
    /// Bytes per second that all of them copy together; absent for no bound.
    pub bytes_per_s: Option<u64>,
    /// Bytes per second that are copied from or to a node; absent for no bound.
    pub node_bytes_per_s: Option<u64>,
    /// Migrations that isotherm begins by itself in 24 hours. Default 50. What people begin is not counted.
    pub per_day: u32,
    /// Share of a system's bytes, of all replicas, that isotherm begins to copy by itself in 24 hours; more than 0, and
    /// infinite for no bound. Default .01: at that, most of a cluster stays where it is for months, and copying is
    /// nothing beside what clients read.
    pub bytes_share_per_day: f64,
}

/// A limit that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be more than 0")]
pub struct LimitsError {
    /// The field.
    pub field: &'static str,
}

/// What a migration waits for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Waits {
    /// So many are under way.
    #[error("{0} migrations are under way, as many as may be")]
    Migrations(u32),
    /// A node has enough to do.
    #[error("{node} is part of {count} migrations, as many as may be")]
    Node {
        /// The node.
        node: NodeId,
        /// In how many migrations it is.
        count: u32,
    },
    /// The adapter does not take more.
    #[error("the adapter of {system} takes {most} migrations at a time")]
    Adapter {
        /// Its system.
        system: String,
        /// What it takes.
        most: u32,
    },
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            migrations: 4,
            per_node: 1,
            bytes_per_s: None,
            node_bytes_per_s: None,
            per_day: 50,
            bytes_share_per_day: 0.01,
        }
    }
}

impl Limits {
    /// Checks that something can move at all.
    pub fn check(&self) -> Result<(), LimitsError> {
        let numbers = [
            ("migrations", u64::from(self.migrations)),
            ("per_node", u64::from(self.per_node)),
            ("bytes_per_s", self.bytes_per_s.unwrap_or(1)),
            ("node_bytes_per_s", self.node_bytes_per_s.unwrap_or(1)),
        ];
        let zero = numbers.into_iter().find(|(_, value)| *value == 0);
        let zero = zero.map(|(field, _)| field);
        // What is no number is not more than 0 either.
        let none = !matches!(self.bytes_share_per_day.partial_cmp(&0.0), Some(Ordering::Greater));
        let zero = zero.or(none.then_some("bytes_share_per_day"));
        zero.map_or(Ok(()), |field| Err(LimitsError { field }))
    }

    /// The rate of one migration, so that as many as may be keep the budgets together; `None` for no bound.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let shared = self.bytes_per_s.map(|all| all / u64::from(self.migrations));
        let node = self.node_bytes_per_s.map(|all| all / u64::from(self.per_node));
        shared.into_iter().chain(node).min().map(|rate| rate.max(1))
    }

    /// Whether one more may begin beside those under way.
    pub fn admit<'a>(
        &self,
        candidate: &Spec,
        under_way: impl Iterator<Item = &'a Spec> + Clone,
        adapter_takes: u32,
    ) -> Result<(), Waits> {
        let count = |which: &dyn Fn(&Spec) -> bool| {
            u32::try_from(under_way.clone().filter(|spec| which(spec)).count()).unwrap_or(u32::MAX)
        };
        let all = count(&|_| true);
        if all >= self.migrations {
            return Err(Waits::Migrations(all));
        }
        let system = candidate.partition.system();
        if count(&|spec| spec.partition.system() == system) >= adapter_takes {
            return Err(Waits::Adapter { system: system.to_string(), most: adapter_takes });
        }
        for node in [candidate.origin.node(), &candidate.target] {
            let count = count(&|spec| spec.origin.node() == node || spec.target == *node);
            if count >= self.per_node {
                return Err(Waits::Node { node: node.clone(), count });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_migration::{Capabilities, Fence, MigrationId, Origin, Policy, Revision, Switch};
    use isotherm_model::{PartitionId, SystemId};

    fn spec(partition: &str, source: &str, target: &str) -> Spec {
        let system = || SystemId::new("s").unwrap();
        let node = |name: &str| NodeId::new(system(), name).unwrap();
        Spec {
            id: MigrationId::new(partition).unwrap(),
            partition: PartitionId::new(system(), partition).unwrap(),
            origin: Origin::Move { source: node(source) },
            target: node(target),
            revision: Revision(1),
            capabilities: Capabilities {
                switch: Switch::Gated,
                fence: Fence::AtSwitch,
                repair_from_replica: false,
                reverse: false,
            },
            policy: Policy::default(),
        }
    }

    #[test]
    fn a_node_is_part_of_so_many_in_either_role() {
        let limits = Limits { migrations: 3, per_node: 1, ..Limits::default() };
        let under_way = [spec("1", "a", "b")];
        let admit = |candidate: &Spec| limits.admit(candidate, under_way.iter(), 9);
        assert_eq!(admit(&spec("2", "c", "d")), Ok(()));
        for busy in [spec("2", "a", "c"), spec("2", "c", "a"), spec("2", "b", "c"), spec("2", "c", "b")] {
            assert!(matches!(admit(&busy), Err(Waits::Node { count: 1, .. })), "{busy:?}");
        }
    }

    #[test]
    fn all_together_and_the_adapter_have_bounds() {
        let under_way = [spec("1", "a", "b"), spec("2", "c", "d")];
        let candidate = spec("3", "e", "f");
        let admit = |most, takes| {
            Limits { migrations: most, ..Limits::default() }.admit(&candidate, under_way.iter(), takes)
        };
        assert_eq!(admit(2, 9), Err(Waits::Migrations(2)));
        assert_eq!(admit(3, 2), Err(Waits::Adapter { system: "s".to_owned(), most: 2 }));
        assert_eq!(admit(3, 3), Ok(()));
    }

    #[test]
    fn as_many_as_may_be_keep_the_budgets_together() {
        let limits = Limits { migrations: 4, per_node: 2, ..Limits::default() };
        assert_eq!(limits.rate(), None);
        let all = Limits { bytes_per_s: Some(100), ..limits.clone() };
        assert_eq!(all.rate(), Some(25));
        assert_eq!(Limits { node_bytes_per_s: Some(30), ..all }.rate(), Some(15));
        assert_eq!(
            Limits { bytes_per_s: Some(0), ..limits.clone() }.check(),
            Err(LimitsError { field: "bytes_per_s" })
        );
        for (share, right) in
            [(0.01, true), (f64::INFINITY, true), (0.0, false), (-0.1, false), (f64::NAN, false)]
        {
            let checked = Limits { bytes_share_per_day: share, ..limits.clone() }.check();
            assert_eq!(checked.is_ok(), right, "{share}");
        }
    }
}
