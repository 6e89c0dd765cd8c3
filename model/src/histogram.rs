//! Where in its file an access went: 64 buckets of equal, power-of-two width.
//!
//! Why power-of-two widths: a file grows, and a histogram in fractions of its length would change its
//! meaning with every append. Here bucket `i` holds the offsets `i << shift .. (i + 1) << shift`, with the
//! smallest `shift` that lets 64 buckets reach the end of the file. Two histograms with different shifts
//! merge *exactly*: buckets of the finer one fold, `2^d` at a time, into the coarser one.
//!
//! A partition with several files overlays them: a bucket counts offsets within whichever file was touched.

/// Number of buckets in every offset histogram.
pub const BUCKETS: usize = 64;

/// Smallest bucket width: 4 KiB (a page), so files up to 256 KiB share one layout.
pub const MIN_SHIFT: u8 = 12;

/// Largest bucket width: 2^57 bytes. 64 of them reach 2^63, the largest file offset there is.
pub const MAX_SHIFT: u8 = 57;

/// The smallest shift whose 64 buckets cover offsets below `end_bytes`.
#[must_use]
pub fn shift_for(end_bytes: u64) -> u8 {
    let needed = 64 - end_bytes.saturating_sub(1).leading_zeros() as u8;
    needed.saturating_sub(6).clamp(MIN_SHIFT, MAX_SHIFT)
}

/// Accesses by offset within the file. Merging is exact, associative and commutative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetHistogram {
    shift: u8,
    counts: [u64; BUCKETS],
}

impl OffsetHistogram {
    /// No accesses, finest layout: the neutral element of [`merge`](Self::merge).
    pub const EMPTY: Self = Self { shift: MIN_SHIFT, counts: [0; BUCKETS] };

    /// `None` when `shift` is outside [`MIN_SHIFT`]`..=`[`MAX_SHIFT`].
    #[must_use]
    pub fn new(shift: u8, counts: [u64; BUCKETS]) -> Option<Self> {
        (MIN_SHIFT..=MAX_SHIFT).contains(&shift).then_some(Self { shift, counts })
    }

    /// log2 of the bucket width in bytes.
    #[must_use]
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// Accesses per bucket, lowest offsets first.
    #[must_use]
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// All accesses (saturating).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The same accesses in wider buckets. A `shift` at or below the present one changes nothing.
    #[must_use]
    pub fn coarsened(&self, shift: u8) -> Self {
        let shift = shift.clamp(self.shift, MAX_SHIFT);
        let by = shift - self.shift;
        let mut counts = [0u64; BUCKETS];
        for (bucket, count) in self.counts.iter().enumerate() {
            // Folding by 6 or more leaves only bucket 0; the shift itself stays below 64.
            let target = &mut counts[bucket >> by.min(6)];
            *target = target.saturating_add(*count);
        }
        Self { shift, counts }
    }

    /// Both sets of accesses, in the coarser of the two layouts. Counts saturate.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut sum = self.coarsened(other.shift);
        let other = other.coarsened(self.shift);
        for (count, more) in sum.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram() -> impl Strategy<Value = OffsetHistogram> {
        (MIN_SHIFT..=MAX_SHIFT, prop::collection::vec(0..1_000_000u64, BUCKETS)).prop_map(
            |(shift, counts)| {
                OffsetHistogram::new(shift, counts.try_into().expect("the strategy makes 64")).unwrap()
            },
        )
    }

    #[test]
    fn the_layout_is_the_finest_that_reaches_the_end() {
        for (end, shift) in
            [(0, 12), (1, 12), (256 << 10, 12), ((256 << 10) + 1, 13), (30 << 30, 29), (u64::MAX, 57)]
        {
            assert_eq!(shift_for(end), shift, "end {end}");
            if end > 0 && end < u64::MAX {
                assert!((end - 1) >> shift < 64);
            }
        }
    }

    #[test]
    fn folding_keeps_an_offset_in_the_bucket_that_covers_it() {
        let mut counts = [0; BUCKETS];
        counts[63] = 5;
        counts[2] = 1;
        let fine = OffsetHistogram::new(12, counts).unwrap();
        let coarse = fine.coarsened(13);
        assert_eq!((coarse.counts()[31], coarse.counts()[1]), (5, 1));
        assert_eq!(fine.coarsened(40).counts()[0], 6);
    }

    proptest! {
        #[test]
        fn merge_is_exact_associative_and_commutative(a in histogram(), b in histogram(), c in histogram()) {
            prop_assert_eq!(a.merge(&b).total(), a.total() + b.total());
            prop_assert_eq!(a.merge(&b), b.merge(&a));
            prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
            prop_assert_eq!(a.merge(&OffsetHistogram::EMPTY), a);
        }

        #[test]
        fn every_offset_lies_in_the_layout_of_its_file(end in 1..=(i64::MAX as u64)) {
            prop_assert!((end - 1) >> shift_for(end) < BUCKETS as u64);
        }
    }
}
