//! What a plan's jobs came to.

use anyhow::{Context, Result};
use isotherm_model::{BUCKETS, Counts, MIN_SHIFT, OffsetHistogram, Operation, shift_for};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the program `io` did, by the name of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoTruth {
    /// Every file of the plan, also one that nothing was done to.
    pub files: BTreeMap<String, FileTruth>,
}

/// What was done to one file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTruth {
    /// Its `st_dev`.
    pub device: u64,
    /// Its `st_ino`.
    pub inode: u64,
    /// Its length in the end.
    pub size_bytes: u64,
    /// Completed reads.
    pub read: OperationTruth,
    /// Completed writes.
    pub write: OperationTruth,
    /// Completed syncs; they have no bytes and no offsets.
    pub sync: OperationTruth,
    /// Requests that failed, by errno. They are in no other count.
    pub failed: BTreeMap<i32, u64>,
    /// Bytes that were read through a mapping, by no call.
    pub mapped_read_bytes: u64,
    /// Bytes that were written through a mapping, by no call.
    pub mapped_write_bytes: u64,
}

/// Completed requests of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationTruth {
    /// How many, those that moved nothing included.
    pub ops: u64,
    /// How many of them moved nothing: reads at the end of the file.
    pub empty_ops: u64,
    /// The bytes that they returned.
    pub bytes: u64,
    /// log2 of the width of the buckets, by the length of the file in the end.
    pub shift: u8,
    /// The operations by offset, 64 of them; those that moved nothing at the last byte that the file had
    /// then. All zero for syncs.
    pub buckets: Vec<u64>,
}

impl Default for OperationTruth {
    fn default() -> Self {
        Self { ops: 0, empty_ops: 0, bytes: 0, shift: MIN_SHIFT, buckets: vec![0; BUCKETS] }
    }
}

impl OperationTruth {
    /// Nothing yet, in the layout for a file of this length.
    #[must_use]
    pub fn for_size(size_bytes: u64) -> Self {
        Self { shift: shift_for(size_bytes), ..Self::default() }
    }

    /// One more that moved so many bytes from this offset on. Behind the last bucket, it is in the last.
    pub fn add(&mut self, offset: u64, bytes: u64) {
        self.add_sync();
        self.empty_ops += u64::from(bytes == 0);
        self.bytes += bytes;
        let bucket = usize::try_from(offset >> self.shift).unwrap_or(usize::MAX);
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    /// One more that has neither bytes nor offset.
    pub fn add_sync(&mut self) {
        self.ops += 1;
    }

    /// Operations and bytes.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { ops: self.ops, bytes: self.bytes }
    }

    /// The operations by offset.
    ///
    /// # Panics
    ///
    /// If the truth was not made by the program `io`.
    #[must_use]
    pub fn offsets(&self) -> OffsetHistogram {
        let counts = <[u64; BUCKETS]>::try_from(self.buckets.as_slice()).expect("64 buckets");
        OffsetHistogram::new(self.shift, counts).expect("a shift of the model's")
    }

    /// Whether a histogram has the same operations at the same offsets, in the coarser of both layouts. A
    /// file that grew has been counted in finer ones, one that shrank in a coarser one.
    #[must_use]
    pub fn same_offsets(&self, other: &OffsetHistogram) -> bool {
        self.offsets().coarsened(other.shift()) == other.coarsened(self.shift)
    }
}

impl FileTruth {
    /// The completed requests of this kind. `None` for operations that files do not have.
    #[must_use]
    pub fn operation(&self, operation: Operation) -> Option<&OperationTruth> {
        match operation {
            Operation::Read => Some(&self.read),
            Operation::Write => Some(&self.write),
            Operation::Sync => Some(&self.sync),
            Operation::Discard | Operation::Accept | Operation::Connect => None,
        }
    }
}

impl IoTruth {
    /// What was done to a file of the plan.
    pub fn file(&self, name: &str) -> Result<&FileTruth> {
        self.files.get(name).with_context(|| format!("the plan has no file {name:?}"))
    }

    /// Operations and bytes of one kind, of all files.
    #[must_use]
    pub fn counts(&self, operation: Operation) -> Counts {
        let files = self.files.values().filter_map(|file| file.operation(operation));
        files.fold(Counts::default(), |sum, truth| sum.plus(truth.counts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_compared_in_the_coarser_layout() {
        let mut truth = OperationTruth::for_size(1 << 20);
        truth.add(0, 10);
        truth.add((1 << 20) - 1, 0);
        assert_eq!((truth.ops, truth.empty_ops, truth.bytes, truth.shift), (2, 1, 10, 14));
        let coarse = truth.offsets().coarsened(17);
        assert!(truth.same_offsets(&truth.offsets()) && truth.same_offsets(&coarse));
        let mut counts = [0; BUCKETS];
        (counts[0], counts[1]) = (1, 1);
        let elsewhere = OffsetHistogram::new(MIN_SHIFT, counts).unwrap();
        assert!(!truth.same_offsets(&elsewhere));
    }
}
