//! Records as they lie in the spool's files, and how they are found again in files that were damaged.
//!
//! A record is a header of 52 bytes and its payload, little-endian:
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | `IsR1` |
//! | 4 | kind: 1 introduction, 2 batch, 3 gap |
//! | 5 | of a batch its encoding, of a gap its reason, as on the wire |
//! | 6..8 | 0 |
//! | 8..12 | CRC-32 of the boot id, so that a record of another run is none |
//! | 12..20, 20..28 | first and last sequence number; of an introduction both 1 |
//! | 28..36, 36..44 | start and end of its time, ms since 1970 |
//! | 44..48 | length of the payload |
//! | 48..52 | CRC-32 of the bytes before |
//! | then | payload, and its CRC-32 |
//!
//! Header and payload have sums of their own, so that a damaged payload still says which batch it was. Pure.

use isotherm_model::{Interval, Seq, Timestamp};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::{Gap, GapReason, MAX_PAYLOAD_BYTES};

const MAGIC: [u8; 4] = *b"IsR1";

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 52;

/// Bytes of a record beside its payload.
pub(super) const FRAME_BYTES: usize = HEADER_BYTES + 4;

/// The largest record. What compression adds to bytes that it cannot shrink is less than 64 KiB.
pub(super) const MAX_RECORD_BYTES: usize = FRAME_BYTES + MAX_PAYLOAD_BYTES + (1 << 16);

/// Sequence numbers that are believed: those that an analyzer takes.
const MAX_SEQ: u64 = i64::MAX.cast_unsigned();

/// A run, as far as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunTag(u32);

impl RunTag {
    pub(super) fn of(boot: &str) -> Self {
        Self(crc32fast::hash(boot.as_bytes()))
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The run introduces itself; its time is the moment it began.
    Hello,
    /// A batch, compressed.
    Batch,
    /// What was given up, and why.
    Gap(GapReason),
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) time: Interval,
    /// Bytes of the payload.
    pub(super) len: u32,
}

impl Header {
    pub(super) fn batch(seq: Seq, time: Interval, len: u32) -> Self {
        Self { kind: Kind::Batch, first: seq, last: seq, time, len }
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> usize {
        FRAME_BYTES + self.len as usize
    }

    /// As a gap; `None` of an introduction.
    pub(super) fn gap(&self, damaged: GapReason) -> Option<Gap> {
        let reason = match self.kind {
            Kind::Hello => return None,
            Kind::Batch => damaged,
            Kind::Gap(reason) => reason,
        };
        Some(Gap { first: self.first, last: self.last, time: self.time, reason })
    }
}

/// The record of a gap, which has no payload.
pub(super) fn gap_record(run: RunTag, gap: &Gap) -> Vec<u8> {
    let kind = Kind::Gap(gap.reason);
    encode(run, &Header { kind, first: gap.first, last: gap.last, time: gap.time, len: 0 }, &[])
}

/// The bytes of a record. `header.len` is the payload's length.
pub(super) fn encode(run: RunTag, header: &Header, payload: &[u8]) -> Vec<u8> {
    let (kind, detail) = match header.kind {
        Kind::Hello => (1, 0),
        Kind::Batch => (2, wire::Encoding::Zstd as u8),
        Kind::Gap(reason) => (3, reason_code(reason)),
    };
    let mut bytes = Vec::with_capacity(FRAME_BYTES + payload.len());
    bytes.extend(MAGIC);
    bytes.extend([kind, detail, 0, 0]);
    bytes.extend(run.0.to_le_bytes());
    for number in
        [header.first.get(), header.last.get(), header.time.start().as_ms(), header.time.end().as_ms()]
    {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(header.len.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(payload).to_le_bytes());
    bytes
}

fn reason_code(reason: GapReason) -> u8 {
    match reason {
        GapReason::QueueFull => 1,
        GapReason::Refused => 2,
        GapReason::AnalyzerLost => 3,
        GapReason::Damaged => 4,
    }
}

/// The header at the start of `bytes`; `None` if there is none of this run.
pub(super) fn header(run: RunTag, bytes: &[u8]) -> Option<Header> {
    let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let (said, sum) = bytes.split_at(HEADER_BYTES - 4);
    if bytes[..4] != MAGIC
        || sum != crc32fast::hash(said).to_le_bytes()
        || bytes[8..12] != run.0.to_le_bytes()
    {
        return None;
    }
    let number =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let kind = match (bytes[4], bytes[5]) {
        (1, 0) => Kind::Hello,
        (2, detail) if detail == wire::Encoding::Zstd as u8 => Kind::Batch,
        (3, 1) => Kind::Gap(GapReason::QueueFull),
        (3, 2) => Kind::Gap(GapReason::Refused),
        (3, 3) => Kind::Gap(GapReason::AnalyzerLost),
        (3, 4) => Kind::Gap(GapReason::Damaged),
        _ => return None,
    };
    let (first, last) = (Seq::new(number(12))?, Seq::new(number(20))?);
    let time = Interval::new(Timestamp::from_ms(number(28)), Timestamp::from_ms(number(36)))?;
    let len = u32::from_le_bytes(bytes[44..48].try_into().ok()?);
    let whole = len as usize + FRAME_BYTES <= MAX_RECORD_BYTES;
    (whole && first <= last && last.get() < MAX_SEQ).then_some(Header { kind, first, last, time, len })
}

/// The payload of the record at the start of `bytes`; `None` if it is cut short or damaged.
pub(super) fn payload<'a>(header: &Header, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let record = bytes.get(..header.record_bytes())?;
    let (payload, sum) = record.get(HEADER_BYTES..)?.split_last_chunk::<4>()?;
    (crc32fast::hash(payload).to_le_bytes() == *sum).then_some(payload)
}

/// What is found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A good record, and where it begins.
    Record(Header, usize),
    /// A record whose header is good and whose payload is not.
    Damaged(Header),
    /// So many bytes that are part of no record.
    Garbage(usize),
}

/// Everything in a file, in its order, and where the last good record ends.
///
/// After damage, the next good header is looked for byte by byte; what lies before the damage is found whatever
/// comes after. Takes no memory but one entry for each record or stretch of garbage.
pub(super) fn scan(run: RunTag, bytes: &[u8]) -> (Vec<Found>, usize) {
    let (mut found, mut end, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match header(run, rest) {
            Some(header) if payload(&header, rest).is_some() => {
                found.push(Found::Record(header, at));
                at += header.record_bytes();
                end = at;
            }
            Some(header) => {
                found.push(Found::Damaged(header));
                at += HEADER_BYTES;
            }
            None => {
                let next =
                    1 + rest[1..].windows(4).position(|window| window == MAGIC).unwrap_or(rest.len() - 1);
                match found.last_mut() {
                    Some(Found::Garbage(bytes)) => *bytes += next,
                    Some(Found::Record(..) | Found::Damaged(_)) | None => found.push(Found::Garbage(next)),
                }
                at += next;
            }
        }
    }
    (found, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run() -> RunTag {
        RunTag::of("boot")
    }

    fn time(n: u64) -> Interval {
        Interval::new(Timestamp::from_ms(n * 1_000), Timestamp::from_ms(n * 1_000 + 1_000)).unwrap()
    }

    fn batch(n: u64, payload: &[u8]) -> (Header, Vec<u8>) {
        let header = Header::batch(Seq::new(n).unwrap(), time(n), payload.len() as u32);
        (header, encode(run(), &header, payload))
    }

    fn records(found: &[Found]) -> Vec<u64> {
        let seq = |found: &Found| match found {
            Found::Record(header, _) => Some(header.first.get()),
            Found::Damaged(_) | Found::Garbage(_) => None,
        };
        found.iter().filter_map(seq).collect()
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let (header, bytes) = batch(7, b"payload");
        assert_eq!(super::header(run(), &bytes), Some(header));
        assert_eq!(payload(&header, &bytes), Some(&b"payload"[..]));
        assert_eq!(super::header(RunTag::of("other"), &bytes), None, "a record of another run is none");
        for reason in [GapReason::QueueFull, GapReason::Refused, GapReason::AnalyzerLost, GapReason::Damaged]
        {
            let (first, last) = (Seq::new(3).unwrap(), Seq::new(9).unwrap());
            let gap = Gap { first, last, time: time(3), reason };
            let back = super::header(run(), &gap_record(run(), &gap)).unwrap();
            assert_eq!(back.gap(GapReason::Refused), Some(gap));
        }
    }

    #[test]
    fn a_damaged_payload_still_says_which_batch_it_was() {
        let mut bytes = [batch(1, b"one").1, batch(2, b"two").1, batch(3, b"three").1].concat();
        let second = batch(1, b"one").1.len();
        bytes[second + HEADER_BYTES] ^= 1;
        let (found, end) = scan(run(), &bytes);
        assert_eq!((records(&found), end), (vec![1, 3], bytes.len()));
        assert!(found.contains(&Found::Damaged(batch(2, b"two").0)));
    }

    #[test]
    fn a_torn_record_ends_at_the_last_good_one() {
        let bytes = [batch(1, b"one").1, batch(2, b"two").1].concat();
        let first = batch(1, b"one").1.len();
        for len in first..bytes.len() {
            let (found, end) = scan(run(), &bytes[..len]);
            assert_eq!((records(&found), end), (vec![1], first), "{len} of {}", bytes.len());
            let known = found.contains(&Found::Damaged(batch(2, b"two").0));
            assert_eq!(known, len >= first + HEADER_BYTES);
        }
        assert_eq!(scan(run(), &[bytes.clone(), vec![0; 4_096]].concat()).1, bytes.len());
    }

    fn file() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..12).prop_map(|payloads| {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for (n, payload) in payloads.iter().enumerate() {
                bytes.extend(batch(n as u64 + 1, payload).1);
                ends.push(bytes.len());
            }
            (bytes, ends)
        })
    }

    proptest! {
        #[test]
        fn everything_before_the_damage_is_found(
            (mut bytes, ends) in file(),
            at in any::<prop::sample::Index>(),
            damage in 0..4_u8,
            garbage in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let at = at.index(bytes.len());
            let whole = bytes.clone();
            match damage {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= garbage[0] | 1,
                2 => { bytes.splice(at..at, garbage.iter().copied()); }
                // A piece of the file itself, which holds whole records.
                _ => { bytes.splice(at..at, whole[at / 2..].iter().copied()); }
            }
            let (found, end) = scan(run(), &bytes);
            let before = ends.iter().filter(|end| **end <= at).count();
            prop_assert!(records(&found).len() >= before);
            let expected: Vec<u64> = (1..=before as u64).collect();
            prop_assert_eq!(&records(&found)[..before], &expected[..]);
            prop_assert!(end <= bytes.len());
            for found in found {
                if let Found::Record(header, at) = found {
                    // Nothing is believed that was not written.
                    let record = &bytes[at..at + header.record_bytes()];
                    prop_assert!(whole.windows(record.len()).any(|window| window == record));
                }
            }
        }

        #[test]
        fn any_bytes_are_scanned(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let (found, end) = scan(run(), &bytes);
            prop_assert_eq!(records(&found).len(), 0);
            prop_assert_eq!(end, 0);
        }
    }
}
