//! Whose turn it is.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): every item gets a start tag, the later of the virtual
//! time and the end of its agent's item before it, which lies its cost after that one's start; the earliest start
//! goes first, and is the virtual time. So agents that wait share by cost, whatever they have queued; one that comes
//! after a rest goes at once, and rest gives no claim; items of one agent keep their order. Round robin by item
//! would give an agent whose batches are a thousand times as large a thousand times as much. Pure.

use isotherm_model::AgentId;
use std::collections::BTreeMap;

/// Items that wait, by agent.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// By start tag, and in order of arrival where tags are equal.
    waiting: BTreeMap<(u64, u64), (AgentId, T)>,
    /// Where the last item of each agent ends. Those that lie in the past say nothing and go when all have gone.
    ends: BTreeMap<AgentId, u64>,
    virtual_time: u64,
    arrived: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), ends: BTreeMap::new(), virtual_time: 0, arrived: 0 }
    }
}

impl<T> Turns<T> {
    /// Takes an item. A cost of 0 counts as 1, so that nothing is free.
    pub(super) fn push(&mut self, agent: &AgentId, cost: usize, item: T) {
        let end = self.ends.get(agent).copied().unwrap_or(0);
        let start = end.max(self.virtual_time);
        self.ends.insert(agent.clone(), start.saturating_add(cost.max(1) as u64));
        self.waiting.insert((start, self.arrived), (agent.clone(), item));
        self.arrived += 1;
    }

    /// Gives the item whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let Some(((start, _), (_, item))) = self.waiting.pop_first() else {
            // Nobody has a claim any more, and tags never come near their end.
            (self.virtual_time, self.arrived) = (0, 0);
            self.ends.clear();
            return None;
        };
        self.virtual_time = start;
        // Under steady load this is what keeps agents that are gone from being remembered.
        if self.ends.len() > 2 * self.waiting.len() + 64 {
            self.ends.retain(|_, end| *end > start);
        }
        Some(item)
    }

    /// Items that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).unwrap()
    }

    fn all<T>(turns: &mut Turns<T>) -> Vec<T> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn one_that_comes_late_does_not_wait_for_what_a_greedy_one_has_queued() {
        let mut turns = Turns::default();
        for item in 0..100 {
            turns.push(&agent("greedy"), 1_000, item);
        }
        assert_eq!(turns.pop(), Some(0));
        turns.push(&agent("modest"), 10, 1_000);
        turns.push(&agent("modest"), 10, 1_001);
        assert_eq!([turns.pop(), turns.pop(), turns.pop()], [Some(1_000), Some(1_001), Some(1)]);
    }

    #[test]
    fn rest_gives_no_claim() {
        let mut turns = Turns::default();
        for item in 0..10 {
            turns.push(&agent("a"), 10, item);
        }
        for _ in 0..5 {
            turns.pop();
        }
        // It waited for nothing until now, and gets no more than every other turn.
        for item in 100..105 {
            turns.push(&agent("b"), 10, item);
        }
        assert_eq!(all(&mut turns), [100, 5, 101, 6, 102, 7, 103, 8, 104, 9]);
    }

    #[test]
    fn agents_that_are_gone_are_not_remembered() {
        let mut turns = Turns::default();
        turns.push(&agent("stays"), 1, 0);
        for item in 0..10_000 {
            turns.push(&agent(&format!("{item}")), 1, item);
            turns.push(&agent("stays"), 1, item);
            turns.pop();
            turns.pop();
        }
        assert!(turns.len() <= 2 && turns.ends.len() <= 200, "{} {}", turns.len(), turns.ends.len());
        assert_eq!((all(&mut turns).len(), turns.pop(), turns.ends.len()), (1, None, 0));
    }

    proptest! {
        #[test]
        fn items_of_an_agent_keep_their_order_and_none_is_lost(
            pushes in proptest::collection::vec((0_u8..5, 0_usize..5_000, any::<bool>()), 0..300)
        ) {
            let mut turns = Turns::default();
            let mut seen: Vec<(u8, usize)> = Vec::new();
            for (number, (name, cost, pop)) in pushes.iter().enumerate() {
                turns.push(&agent(&name.to_string()), *cost, (*name, number));
                if *pop {
                    seen.extend(turns.pop());
                }
            }
            seen.extend(all(&mut turns));
            prop_assert_eq!(seen.len(), pushes.len());
            for name in 0..5 {
                let of: Vec<usize> = seen.iter().filter(|(by, _)| *by == name).map(|(_, n)| *n).collect();
                prop_assert!(of.is_sorted(), "{of:?}");
            }
        }

        /// The bound of the method: between two agents that both wait, what they got by their cost differs by no
        /// more than the largest item of each.
        #[test]
        fn agents_that_wait_get_equal_parts(costs in proptest::collection::vec((1_usize..900, 1_usize..90), 20..100)) {
            let mut turns = Turns::default();
            for (large, small) in &costs {
                turns.push(&agent("large"), *large, (true, *large));
                turns.push(&agent("small"), *small, (false, *small));
            }
            let (mut got, mut left) = ([0_i64; 2], [costs.len(); 2]);
            while let Some((is_large, cost)) = turns.pop() {
                got[usize::from(is_large)] += cost as i64;
                left[usize::from(is_large)] -= 1;
                if left[0] == 0 || left[1] == 0 {
                    break;
                }
                prop_assert!((got[0] - got[1]).abs() <= 900 + 90, "{got:?}");
            }
        }
    }
}
