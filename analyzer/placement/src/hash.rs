//! The hash that names and choices are made with. Frozen: another one would move partitions.
//!
//! XXH3 of 64 bits, whose specification does not change; the vectors below are held by a test.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The key that stands for a name.
#[must_use]
pub fn key(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// A draw that belongs to a pair of keys.
#[must_use]
#[inline]
pub fn draw(key: u64, of: u64) -> u64 {
    xxh3_64_with_seed(&key.to_le_bytes(), of)
}
