//! Partitions: the slots of a cluster, cut into buckets of equal width.
//!
//! Slots themselves would be 16,384 partitions of which most clusters fill each a little; what a shard holds would
//! change its slots with every move. Buckets never change, so that the history of one means the same next month.

use isotherm_proto::{SLOTS, SlotRange};

/// How the slots are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    /// Slots of each.
    width: u16,
}

/// Slots that are moved together: one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    /// The first slot.
    pub(super) first: u16,
    /// The last slot.
    pub(super) last: u16,
}

/// Slots that cannot be cut into so many buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not divide the {SLOTS} slots; take a power of 2, such as 64")]
pub struct UnevenBuckets(u16);

impl Buckets {
    pub(super) fn new(count: u16) -> Result<Self, UnevenBuckets> {
        if count == 0 || !SLOTS.is_multiple_of(count) {
            return Err(UnevenBuckets(count));
        }
        Ok(Self { width: SLOTS / count })
    }

    /// All buckets, in the order of their slots.
    pub(super) fn all(self) -> impl Iterator<Item = Bucket> {
        (0..SLOTS).step_by(usize::from(self.width)).map(move |first| self.at(first))
    }

    /// The bucket of this name.
    pub(super) fn named(self, name: &str) -> Option<Bucket> {
        let first: u16 = name.strip_prefix("slots-")?.split('-').next()?.parse().ok()?;
        let bucket = (first < SLOTS && first.is_multiple_of(self.width)).then(|| self.at(first))?;
        (bucket.name() == name).then_some(bucket)
    }

    fn at(self, first: u16) -> Bucket {
        Bucket { first, last: first + (self.width - 1) }
    }
}

impl Bucket {
    /// Its name, which sorts as its slots do.
    pub(super) fn name(self) -> String {
        format!("slots-{:05}-{:05}", self.first, self.last)
    }

    /// Its slots.
    pub(super) fn slots(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// How many of its slots are in `ranges`.
    pub(super) fn within(self, ranges: &[SlotRange]) -> usize {
        let common = ranges.iter().map(|range| {
            let (first, last) = (self.first.max(range.first), self.last.min(range.last));
            if first > last { 0 } else { usize::from(last - first) + 1 }
        });
        common.sum()
    }

    /// How many slots it has.
    pub(super) fn width(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// As a locator has it.
    pub(super) fn range(self) -> SlotRange {
        SlotRange { first: self.first, last: self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_each_slot_once() {
        for count in [1, 2, 64, 16_384] {
            let buckets: Vec<Bucket> = Buckets::new(count).unwrap().all().collect();
            assert_eq!(buckets.len(), usize::from(count));
            let slots: Vec<u16> = buckets.iter().flat_map(|bucket| bucket.slots()).collect();
            assert!(slots.iter().copied().eq(0..SLOTS));
        }
    }

    #[test]
    fn slots_are_cut_evenly_or_not_at_all() {
        for count in [0, 3, 48, 16_383, 32_768] {
            assert_eq!(Buckets::new(count).unwrap_err(), UnevenBuckets(count));
        }
    }

    #[test]
    fn names_are_those_of_buckets_only() {
        let buckets = Buckets::new(64).unwrap();
        assert!(buckets.all().all(|bucket| buckets.named(&bucket.name()) == Some(bucket)));
        for name in ["slots-00000-00127", "slots-00001-00256", "slots-0-255", "slots-16384-16639", "x", ""] {
            assert_eq!(buckets.named(name), None, "{name}");
        }
    }

    #[test]
    fn common_slots_are_counted() {
        let bucket = Bucket { first: 256, last: 511 };
        let range = |first, last| SlotRange { first, last };
        assert_eq!(bucket.within(&[range(0, 16_383)]), 256);
        assert_eq!(bucket.within(&[range(0, 256), range(511, 600)]), 2);
        assert_eq!(bucket.within(&[range(0, 255), range(512, 600)]), 0);
    }
}
