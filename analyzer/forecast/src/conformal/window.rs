//! The last errors, in the order they came and in the order of their size.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// At most so many errors; none is `NaN`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    most: NonZeroUsize,
    /// Oldest first.
    arrivals: VecDeque<f64>,
    /// The same, smallest first.
    sorted: Vec<f64>,
}

impl Window {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self { most, arrivals: VecDeque::new(), sorted: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn arrivals(&self) -> Vec<f64> {
        self.arrivals.iter().copied().collect()
    }

    /// One more; the oldest leaves if there are too many.
    pub(super) fn push(&mut self, error: f64) {
        if self.arrivals.len() == self.most.get()
            && let Some(oldest) = self.arrivals.pop_front()
        {
            self.sorted.remove(self.place(oldest));
        }
        self.arrivals.push_back(error);
        self.sorted.insert(self.place(error), error);
    }

    /// The `ceil((m + 1) level)`-th smallest; if there are not as many, how many the level needs.
    pub(super) fn upper(&self, level: f64) -> Result<f64, usize> {
        self.rank(level).map(|rank| self.sorted[rank - 1])
    }

    /// As far from the smallest as [`Self::upper`] is from the largest.
    pub(super) fn lower(&self, level: f64) -> Result<f64, usize> {
        self.rank(level).map(|rank| self.sorted[self.len() - rank])
    }

    fn rank(&self, level: f64) -> Result<usize, usize> {
        let rank = rounded_up((self.len() + 1) as f64 * level).max(1);
        if rank <= self.len() { Ok(rank) } else { Err(needed(level)) }
    }

    fn place(&self, error: f64) -> usize {
        self.sorted.partition_point(|value| value.total_cmp(&error).is_lt())
    }
}

/// The fewest errors with a rank for the level: `(m + 1) level <= m`.
pub(super) fn needed(level: f64) -> usize {
    rounded_up(level / (1.0 - level)).max(1)
}

/// A product that would be a whole number without rounding is taken as it.
fn rounded_up(value: f64) -> usize {
    (value * (1.0 - 1e-12)).ceil() as usize
}
