//! Which partitions each node holds.

use super::work::Work;
use crate::ids::{Node, Partition};
use crate::partitions::NONE;

/// Partitions by node, ascending, of the moment it was made.
pub(crate) struct Postings {
    from: Vec<u32>,
    partitions: Vec<Partition>,
}

impl Postings {
    pub(crate) fn new(work: &Work<'_>) -> Self {
        let slots = work.assignment.slots();
        let mut from = vec![0u32; work.target.len() + 1];
        slots.iter().filter(|slot| **slot != NONE).for_each(|slot| from[usize::from(*slot) + 1] += 1);
        for at in 1..from.len() {
            from[at] += from[at - 1];
        }
        let mut next = from.clone();
        let mut partitions = vec![Partition(0); from.last().map_or(0, |total| *total as usize)];
        for (at, row) in slots.chunks_exact(work.assignment.width()).enumerate() {
            for slot in row.iter().filter(|slot| **slot != NONE) {
                let place = &mut next[usize::from(*slot)];
                partitions[*place as usize] = Partition(at as u32);
                *place += 1;
            }
        }
        Self { from, partitions }
    }

    pub(crate) fn of(&self, node: Node) -> &[Partition] {
        &self.partitions[self.from[node.at()] as usize..self.from[node.at() + 1] as usize]
    }
}
