//! How many different names were seen lately, within bounds.
//!
//! A rule that takes the names of temporary files for partitions would fill every table that has a row for each.
//! Only hashes are kept, keyed by chance, so that nobody can make up names that collide; among four million the
//! chance that two do is one in two million, and then one name too many is let in.

use isotherm_model::{NodeId, PartitionId, Subject, Window};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// A name that was not seen for one to two of these is forgotten.
const AGE: Duration = Duration::from_secs(3_600);

/// Names of one kind.
#[derive(Debug)]
pub(super) struct Recent {
    /// Seen since `since`.
    current: HashSet<u64>,
    /// Seen in the age before, and not since.
    previous: HashSet<u64>,
    since: Instant,
}

/// The names in a batch, as sorted hashes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) nodes: Vec<u64>,
    /// Once for each node.
    pub(super) partitions: Vec<u64>,
}

impl Names {
    /// The names of some windows.
    pub(super) fn of(windows: &[Window], keys: &RandomState) -> Self {
        let mut names = Self::default();
        for node in windows.iter().flat_map(|window| &window.nodes) {
            names.nodes.push(keys.hash_one(&node.node));
            names.partitions.extend(node.rows.iter().filter_map(|row| match &row.subject {
                Subject::Partition(partition) => Some(at(keys, &node.node, partition)),
                Subject::Other(_) | Subject::Unattributed(_) => None,
            }));
        }
        for hashes in [&mut names.nodes, &mut names.partitions] {
            hashes.sort_unstable();
            hashes.dedup();
        }
        names
    }
}

fn at(keys: &RandomState, node: &NodeId, partition: &PartitionId) -> u64 {
    keys.hash_one((node, partition))
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self { current: HashSet::new(), previous: HashSet::new(), since: now }
    }

    /// Names that are remembered.
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Forgets what is old, and says how many of these names are new.
    pub(super) fn new_among(&mut self, now: Instant, hashes: &[u64]) -> usize {
        let age = now.saturating_duration_since(self.since);
        if age >= AGE {
            self.previous = std::mem::take(&mut self.current);
            self.since = now;
        }
        if age >= 2 * AGE {
            self.previous = HashSet::new();
        }
        hashes.iter().filter(|hash| !self.current.contains(hash) && !self.previous.contains(hash)).count()
    }

    /// Remembers these names.
    pub(super) fn remember(&mut self, hashes: &[u64]) {
        for hash in hashes {
            if self.current.insert(*hash) {
                self.previous.remove(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_forgotten_when_it_was_not_seen_for_two_ages() {
        let start = Instant::now();
        let mut names = Recent::new(start);
        assert_eq!(names.new_among(start, &[1, 2]), 2);
        names.remember(&[1, 2]);
        assert_eq!(names.new_among(start + AGE, &[1, 2, 3]), 1);
        names.remember(&[2, 3]);
        assert_eq!(names.len(), 3, "what was seen again counts once");
        assert_eq!(names.new_among(start + 2 * AGE, &[1, 2, 3]), 1);
        assert_eq!((names.len(), names.new_among(start + 9 * AGE, &[2]), names.len()), (2, 1, 0));
    }
}
