//! Chance that belongs to a place and a time, not to the order in which it is asked for.
//!
//! Why not one generator that runs along: two policies that differ in one move would draw in another order from then
//! on, and what is compared would be luck. A draw is a hash of the seed, what it is for, of whom and when, so that a
//! node fails at the same tick under all policies unless a policy changed its load.

use isotherm_placement::hash;
use rand_distr::Distribution;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// What a draw is for. The numbers are frozen: others are other clusters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Partition = 1,
    Shift = 2,
    Demand = 3,
    Layout = 4,
    Node = 5,
    Fail = 6,
    Outage = 7,
    FailRack = 8,
    RackOutage = 9,
    Gray = 10,
    GrayEnd = 11,
    Repair = 12,
    Reads = 13,
    Latency = 14,
    History = 15,
}

/// All chance of one cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in [0, 1), of an item at a tick.
    pub(crate) fn unit(self, stream: Stream, item: usize, tick: usize) -> f64 {
        (self.bits(stream, item, tick) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From a distribution, of an item at a tick.
    pub(crate) fn from<T, D: Distribution<T>>(
        self,
        distribution: &D,
        stream: Stream,
        item: usize,
        tick: usize,
    ) -> T {
        distribution.sample(&mut self.dice(stream, item, tick))
    }

    /// A generator of its own, of an item at a tick.
    pub(crate) fn dice(self, stream: Stream, item: usize, tick: usize) -> Pcg64Mcg {
        Pcg64Mcg::seed_from_u64(self.bits(stream, item, tick))
    }

    fn bits(self, stream: Stream, item: usize, tick: usize) -> u64 {
        hash::draw(hash::draw(self.0, stream as u64), (tick as u64) << 32 | item as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_differ_by_each_of_their_names() {
        let chance = Chance::new(7);
        let mean = (0..10_000).map(|at| chance.unit(Stream::Fail, at % 100, at / 100)).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let one = chance.unit(Stream::Fail, 3, 4);
        assert_eq!(one, chance.unit(Stream::Fail, 3, 4));
        for other in [
            chance.unit(Stream::Gray, 3, 4),
            chance.unit(Stream::Fail, 4, 3),
            Chance::new(8).unit(Stream::Fail, 3, 4),
        ] {
            assert_ne!(one, other);
        }
    }
}
