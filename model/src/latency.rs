//! How long accesses took: 40 buckets, one for each power of two of nanoseconds.

/// Number of buckets in every latency histogram.
pub const LATENCY_BUCKETS: usize = 40;

/// Accesses by latency. Bucket `i` counts `2^i .. 2^(i + 1)` nanoseconds, bucket 0 also 0 ns; the last one
/// everything from 2^39 ns (9 minutes) on. Merging is exact, associative and commutative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyHistogram([u64; LATENCY_BUCKETS]);

impl LatencyHistogram {
    /// Nothing measured: the neutral element of [`merge`](Self::merge).
    pub const EMPTY: Self = Self([0; LATENCY_BUCKETS]);

    /// From counts per bucket, shortest first.
    #[must_use]
    pub fn new(counts: [u64; LATENCY_BUCKETS]) -> Self {
        Self(counts)
    }

    /// Accesses per bucket, shortest first.
    #[must_use]
    pub fn counts(&self) -> &[u64; LATENCY_BUCKETS] {
        &self.0
    }

    /// All accesses that were measured (saturating).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Both sets of accesses. Counts saturate.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut counts = self.0;
        for (count, more) in counts.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
        Self(counts)
    }

    /// An upper bound, in nanoseconds, of the latency that a share `q` (0 to 1) of the accesses did not
    /// exceed: the end of the bucket in which the q-th access lies. `None` without accesses or for a `q`
    /// outside 0 to 1.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let total = self.total();
        if total == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let mut below = 0u64;
        self.0.iter().enumerate().find_map(|(bucket, count)| {
            below = below.saturating_add(*count);
            (below >= rank).then(|| 1 << (bucket + 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram() -> impl Strategy<Value = LatencyHistogram> {
        prop::collection::vec(0..1_000_000u64, LATENCY_BUCKETS)
            .prop_map(|counts| LatencyHistogram::new(counts.try_into().expect("the strategy makes 40")))
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let mut counts = [0; LATENCY_BUCKETS];
        counts[10] = 90;
        counts[20] = 10;
        let histogram = LatencyHistogram::new(counts);
        assert_eq!(histogram.quantile_ns(0.5), Some(1 << 11));
        assert_eq!(histogram.quantile_ns(0.9), Some(1 << 11));
        assert_eq!(histogram.quantile_ns(0.99), Some(1 << 21));
        assert_eq!(LatencyHistogram::EMPTY.quantile_ns(0.5), None);
        assert_eq!(histogram.quantile_ns(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn merge_is_exact_associative_and_commutative(a in histogram(), b in histogram(), c in histogram()) {
            prop_assert_eq!(a.merge(&b).total(), a.total() + b.total());
            prop_assert_eq!(a.merge(&b), b.merge(&a));
            prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
            prop_assert_eq!(a.merge(&LatencyHistogram::EMPTY), a);
        }
    }
}
