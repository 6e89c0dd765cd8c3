//! A volume's index: a log of where each object begins, and of what was removed.

use crate::contract::Refusal;
use fastrand::Rng;
use std::collections::BTreeMap;

/// What places in a volume's file are multiples of.
const ALIGNMENT_BYTES: i64 = 8;

/// Bytes of a key, and of a length.
const KEY_BYTES: usize = 8;
const SIZE_BYTES: usize = 4;

/// What stands before an object in a volume's file, and behind it, followed by the moment in which it was appended.
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// Where an object lies, as both copies know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needle {
    pub(super) key: u64,
    pub(super) offset: i64,
    pub(super) size: i32,
}

/// The objects of an index that are not removed, in order of their keys. `place_bytes` is the length of a place in it,
/// 4 or 5: four bytes from the highest to the lowest, then, in the build for large disks, what is above them.
pub(super) fn live(index: &[u8], place_bytes: u32) -> Result<Vec<Needle>, Refusal> {
    let place_bytes = match place_bytes {
        0 | 4 => 4,
        5 => 5,
        other => return Err(Refusal::unsupported(format!("an index with places of {other} bytes"))),
    };
    let entries = index.chunks_exact(KEY_BYTES + place_bytes + SIZE_BYTES);
    if !entries.remainder().is_empty() {
        return Err(Refusal::mismatch("the index does not consist of whole entries"));
    }
    let mut live = BTreeMap::new();
    for entry in entries {
        let (key, rest) = entry.split_at(KEY_BYTES);
        let (place, size) = rest.split_at(place_bytes);
        let (low, high) = place.split_at(4);
        let key = key.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let offset =
            high.iter().chain(low).fold(0, |sum, byte| sum << 8 | i64::from(*byte)) * ALIGNMENT_BYTES;
        let size = size.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)).cast_signed();
        if offset > 0 && size > 0 {
            live.insert(key, Needle { key, offset, size });
        } else {
            live.remove(&key);
        }
    }
    Ok(live.into_values().collect())
}

/// When an object was appended by its server's clock, in nanoseconds since 1970, as it lies in a volume's file: behind a
/// header of 16 bytes, what its length counts, and a checksum of 4. 0 in what is too short to say it.
pub(super) fn appended_ns(blob: &[u8], size: i32) -> u64 {
    let begin = usize::try_from(size).unwrap_or(0) + HEADER_BYTES + CHECKSUM_BYTES;
    let bytes = blob.get(begin..begin + size_of::<u64>()).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_be_bytes)
}

/// `count` of the objects, always the same for the same `seed`, in order of their places; all if there are no more.
pub(super) fn sample(mut needles: Vec<Needle>, count: usize, seed: u64) -> Vec<Needle> {
    if needles.len() > count {
        Rng::with_seed(seed).shuffle(&mut needles);
        needles.truncate(count);
    }
    needles.sort_by_key(|needle| needle.offset);
    needles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u64, place: u64, size: i32) -> Vec<u8> {
        let [.., fifth, a, b, c, d] = place.to_be_bytes();
        [key.to_be_bytes().as_slice(), &[a, b, c, d, fifth], &size.to_be_bytes()].concat()
    }

    #[test]
    fn the_moment_of_an_object_stands_behind_its_checksum() {
        let blob = [&[0; 16][..], b"abc", &[0; 4], &77u64.to_be_bytes(), &[0; 1]].concat();
        assert_eq!(appended_ns(&blob, 3), 77);
        assert_eq!(appended_ns(&blob[..28], 3), 0);
    }

    #[test]
    fn the_last_entry_of_an_object_counts_and_removed_ones_are_gone() {
        let log =
            [entry(7, 1, 50), entry(8, 9, 60), entry(7, 1 << 32 | 3, 70), entry(9, 30, 1), entry(8, 40, -1)];
        let found = live(&log.concat(), 5).unwrap();
        let large = Needle { key: 7, offset: ((1 << 32) + 3) * 8, size: 70 };
        assert_eq!(found, [large, Needle { key: 9, offset: 240, size: 1 }]);
    }

    #[test]
    fn a_torn_index_and_an_unknown_build_are_refused() {
        assert!(live(&entry(7, 1, 50)[1..], 5).is_err());
        assert!(live(&entry(7, 1, 50), 6).is_err());
    }

    #[test]
    fn a_seed_fixes_the_sample() {
        let needles: Vec<_> = (1..100).map(|key| Needle { key, offset: 8, size: 1 }).collect();
        let one = sample(needles.clone(), 10, 1);
        assert_eq!((one.len(), &one), (10, &sample(needles.clone(), 10, 1)));
        assert_ne!(one, sample(needles.clone(), 10, 2));
        assert_eq!(sample(needles.clone(), 99, 1), needles);
    }
}
