//! The topologies of a system's last moments: what a node held before its source forgot it.

use crate::topology::Topology;
use std::collections::VecDeque;
use std::sync::Arc;

/// The time between two that are kept.
const APART_MS: u64 = 10_000;

/// How many are kept. A source may tell of its partitions some seconds before it tells of the node.
const KEPT: usize = 3;

/// Topologies, the oldest first.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(u64, Arc<Topology>)>);

impl Recent {
    /// Takes one over from the record of an earlier run.
    pub(super) fn from_record(topology: Option<Arc<Topology>>) -> Self {
        Self(topology.into_iter().map(|topology| (0, topology)).collect())
    }

    /// Takes the one of the moment, in which the system's source is fresh, if it is time.
    pub(super) fn take(&mut self, topology: &Arc<Topology>, now_ms: u64) {
        let due = self.0.back().is_none_or(|(at_ms, _)| at_ms.saturating_add(APART_MS) <= now_ms);
        if due {
            self.0.push_back((now_ms, Arc::clone(topology)));
            if self.0.len() > KEPT {
                self.0.pop_front();
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Topology>> {
        self.0.iter().map(|(_, topology)| Arc::clone(topology)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(revision: u64) -> Arc<Topology> {
        Arc::new(Topology { revision, ..Topology::default() })
    }

    #[test]
    fn a_few_are_kept_some_seconds_apart_and_the_record_goes_last() {
        let mut recent = Recent::from_record(Some(topology(1)));
        let kept = |recent: &Recent| recent.all().iter().map(|one| one.revision).collect::<Vec<_>>();
        for (revision, now_ms) in [(2, 20_000), (3, 29_999), (4, 30_000)] {
            recent.take(&topology(revision), now_ms);
        }
        assert_eq!(kept(&recent), [1, 2, 4]);
        recent.take(&topology(5), 40_000);
        assert_eq!(kept(&recent), [2, 4, 5]);
    }
}
