//! Holding the counters against the kernel's own totals.
//!
//! What had settled before the counters were read must be in them, and nothing may be in them that had not
//! been seen when they had been read.

use super::operation;
use crate::probe::Totals;
use isotherm_agent_ebpf::{Slot, Tally, tally_index};
use isotherm_model::{Counts, Layer, Operation};
use std::collections::BTreeMap;

/// The kernel's own totals contradict the counters'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "target {target}, {layer} {operation}: the counters sum to {counted} {unit}, but {settled} were settled before \
     and {seen} seen after they were read"
)]
pub struct Unbalanced {
    /// Index of the target.
    pub target: usize,
    /// Layer.
    pub layer: Layer,
    /// Operation.
    pub operation: Operation,
    /// What is counted.
    pub unit: &'static str,
    /// Lower bound.
    pub settled: i128,
    /// Sum over the counters, with what was found missing before.
    pub counted: i128,
    /// Upper bound.
    pub seen: i128,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Balance {
    /// What the kernel's totals have more (or less) than the counters, found and told once: accesses, bytes.
    absorbed: BTreeMap<(u32, Layer, u16), [i128; 2]>,
    /// Accesses among them that were found in the present reading, by target.
    miscounted: BTreeMap<u32, u64>,
}

impl Balance {
    /// Begins a reading.
    pub(super) fn begin(&mut self) {
        self.miscounted.clear();
    }

    /// Compares one target's operation. What disagrees is not found again by later readings.
    pub(super) fn compare(
        &mut self,
        target: u32,
        layer: Layer,
        code: u16,
        totals: &Totals,
        sum: Counts,
    ) -> Vec<Unbalanced> {
        let (before, after) =
            (tally(&totals.before, target, layer, code), tally(&totals.after, target, layer, code));
        let absorbed = self.absorbed.entry((target, layer, code)).or_default();
        let mut found = Vec::new();
        for (index, unit, settled, counted, seen) in [
            (0, "accesses", before.settled_ops, sum.ops, after.seen_ops),
            (1, "bytes", before.settled_bytes, sum.bytes, after.seen_bytes),
        ] {
            let (settled, seen) = (i128::from(settled), i128::from(seen));
            let counted = i128::from(counted) + absorbed[index];
            let missing = (settled - counted).max(0) - (counted - seen).max(0);
            if missing == 0 {
                continue;
            }
            absorbed[index] += missing;
            if index == 0 {
                let accesses = u64::try_from(missing.unsigned_abs()).unwrap_or(u64::MAX);
                *self.miscounted.entry(target).or_default() += accesses;
            }
            let operation = operation(layer, code);
            found.push(Unbalanced {
                target: target as usize,
                layer,
                operation,
                unit,
                settled,
                counted,
                seen,
            });
        }
        found
    }

    /// Accesses of a target that the present reading could not explain.
    #[must_use]
    pub(super) fn miscounted(&self, target: u32) -> u64 {
        self.miscounted.get(&target).copied().unwrap_or_default()
    }
}

/// All slots of an operation together.
fn tally(tallies: &[Tally], target: u32, layer: Layer, code: u16) -> Tally {
    let at = |slot, code| tallies.get(tally_index(target, slot, code) as usize).copied().unwrap_or_default();
    match layer {
        Layer::Logical => {
            let (calls, uring) = (at(Slot::Calls, code), at(Slot::Uring, code));
            Tally {
                seen_ops: calls.seen_ops + uring.seen_ops,
                seen_bytes: calls.seen_bytes + uring.seen_bytes,
                settled_ops: calls.settled_ops + uring.settled_ops,
                settled_bytes: calls.settled_bytes + uring.settled_bytes,
            }
        }
        Layer::Device => at(Slot::Block, code),
        // Received, sent, accepted and connected follow each other, as their codes do.
        Layer::Network => at(Slot::Received, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_agent_ebpf::{ACCEPT, CONNECT, READ, SLOTS, WRITE};

    fn totals(settled: u64, seen: u64) -> Totals {
        let mut before = vec![Tally::default(); SLOTS as usize];
        before[tally_index(0, Slot::Calls, READ) as usize].settled_ops = settled - 1;
        before[tally_index(0, Slot::Uring, READ) as usize].settled_ops = 1;
        let mut after = before.clone();
        after[tally_index(0, Slot::Calls, READ) as usize].seen_ops = seen;
        Totals { before, after, ..Totals::default() }
    }

    #[test]
    fn what_disagrees_is_found_once() {
        let mut balance = Balance::default();
        let counted = Counts { ops: 5, bytes: 0 };
        let mut compare =
            |totals: &Totals, counted| balance.compare(0, Layer::Logical, READ, totals, counted);
        // One under way: seen, not settled, perhaps counted.
        assert_eq!(compare(&totals(5, 6), counted), []);
        let found = compare(&totals(7, 8), counted);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "target 0, logical read: the counters sum to 5 accesses, but 7 were settled before and 8 seen after \
                 they were read"
            ]
        );
        assert_eq!(compare(&totals(7, 8), counted), []);
        assert_eq!(compare(&totals(8, 8), Counts { ops: 9, bytes: 0 }).len(), 1, "more than was seen");
        assert_eq!(balance.miscounted(0), 2 + 3);
        balance.begin();
        assert_eq!(balance.miscounted(0), 0);
    }

    #[test]
    fn the_slots_of_sockets_follow_their_operations() {
        assert_eq!(Slot::Received as u16 + WRITE, Slot::Sent as u16);
        assert_eq!(Slot::Received as u16 + ACCEPT, Slot::Accepted as u16);
        assert_eq!(Slot::Received as u16 + CONNECT, Slot::Connected as u16);
        assert_eq!(READ, 0);
    }
}
