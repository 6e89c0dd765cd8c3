//! Payloads on the wire: compressed once by the agent, unpacked with a bound by the analyzer.

use crate::telemetry::v1 as wire;
use crate::{MAX_PAYLOAD_BYTES, Malformed};
use std::borrow::Cow;
use zstd::zstd_safe::{find_frame_compressed_size, get_error_name, get_frame_content_size};

/// zstd's own default: histograms become a fifth, at some hundred MB a second.
const LEVEL: i32 = 3;

/// A payload as one zstd frame that states the length of its content, for `ENCODING_ZSTD`.
#[must_use]
pub fn compressed(payload: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(payload, LEVEL).expect("the output has room for what cannot be compressed")
}

/// How many bytes [`unpacked`] will take, from the first bytes of a payload: 0 for one that is not compressed.
/// Never more than [`MAX_PAYLOAD_BYTES`].
///
/// Fails on an encoding that is not known, on a payload that is not one zstd frame stating its length, and on
/// one that is too large, compressed or not.
pub fn unpacked_bytes(encoding: i32, payload: &[u8]) -> Result<usize, Malformed> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Malformed::TooLarge { len: payload.len() });
    }
    match wire::Encoding::try_from(encoding) {
        Ok(wire::Encoding::Unspecified) => Ok(0),
        Ok(wire::Encoding::Zstd) => frame_content_bytes(payload),
        Err(_) => Err(Malformed::Value {
            field: "batch.encoding".to_owned(),
            found: encoding.to_string(),
            expected: "a value of its enum",
        }),
    }
}

/// The payload without its compression, as [`window_set_from_payload`](crate::window_set_from_payload) takes it.
/// Takes the memory that [`unpacked_bytes`] says and no more, whatever the payload holds, and fails as it does
/// and on a frame that is damaged.
pub fn unpacked(encoding: i32, payload: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let content = unpacked_bytes(encoding, payload)?;
    match wire::Encoding::try_from(encoding) {
        Ok(wire::Encoding::Zstd) => {
            let bytes = zstd::bulk::decompress(payload, content)
                .map_err(|error| Malformed::Frame { what: error.to_string() })?;
            Ok(Cow::Owned(bytes))
        }
        Ok(wire::Encoding::Unspecified) | Err(_) => Ok(Cow::Borrowed(payload)),
    }
}

fn frame_content_bytes(payload: &[u8]) -> Result<usize, Malformed> {
    let frame = |what: &str| Malformed::Frame { what: what.to_owned() };
    let content = get_frame_content_size(payload)
        .map_err(|_| frame("it has no zstd header"))?
        .ok_or_else(|| frame("it does not state the length of its content"))?;
    if content > MAX_PAYLOAD_BYTES as u64 {
        return Err(Malformed::TooLarge { len: usize::try_from(content).unwrap_or(usize::MAX) });
    }
    let len = find_frame_compressed_size(payload).map_err(|code| frame(get_error_name(code)))?;
    if len != payload.len() {
        return Err(frame("bytes follow it"));
    }
    // Cannot be cut off: it was compared with a usize.
    Ok(content as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window_set_from_payload;
    use proptest::prelude::*;

    const ZSTD: i32 = wire::Encoding::Zstd as i32;

    fn what(payload: &[u8]) -> String {
        unpacked(ZSTD, payload).unwrap_err().to_string()
    }

    #[test]
    fn what_was_compressed_comes_back_and_is_smaller() {
        let payload: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 1_000).to_le_bytes()).collect();
        let small = compressed(&payload);
        assert!(small.len() < payload.len() / 10, "{}", small.len());
        assert_eq!(unpacked(ZSTD, &small).unwrap(), payload);
        assert_eq!(unpacked_bytes(ZSTD, &small).unwrap(), payload.len());
        assert_eq!(unpacked(0, &payload).unwrap(), payload);
        assert_eq!(unpacked(ZSTD, &compressed(&[])).unwrap(), &[] as &[u8]);
    }

    #[test]
    fn a_bomb_is_refused_by_its_header_or_by_the_length_it_states() {
        let bomb = compressed(&vec![0; MAX_PAYLOAD_BYTES + 1]);
        assert!(bomb.len() < 10_000);
        assert!(matches!(unpacked(ZSTD, &bomb), Err(Malformed::TooLarge { len }) if len > MAX_PAYLOAD_BYTES));
        // One that says less than it holds. The length lies after magic and descriptor, in four bytes.
        let mut liar = compressed(&vec![0; 1 << 20]);
        liar[5..9].copy_from_slice(&1_000_u32.to_le_bytes());
        assert_eq!(unpacked_bytes(ZSTD, &liar).unwrap(), 1_000);
        assert!(what(&liar).contains("is no zstd frame: "), "{}", what(&liar));
    }

    #[test]
    fn only_one_whole_frame_with_a_length_is_taken() {
        let good = compressed(b"something to say");
        assert!(what(&[good.clone(), good.clone()].concat()).ends_with("bytes follow it"));
        assert!(what(b"something").ends_with("it has no zstd header"));
        assert!(what(&[]).contains("is no zstd frame"));
        assert!(what(&good[..good.len() - 1]).contains("is no zstd frame"));
        let unstated = zstd::stream::encode_all(&b"something to say"[..], 3).unwrap();
        assert!(what(&unstated).ends_with("does not state the length of its content"), "{}", what(&unstated));
        let unknown = unpacked(7, &good).unwrap_err().to_string();
        assert_eq!(unknown, "batch.encoding is 7, expected a value of its enum");
    }

    proptest! {
        #[test]
        fn damage_is_refused_and_takes_no_more_memory_than_stated(
            content in prop::collection::vec(any::<u8>(), 0..2_000),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..6),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut payload = compressed(&content);
            for (at, bits) in flips {
                let at = at.index(payload.len());
                payload[at] ^= bits;
            }
            payload.truncate(keep.index(payload.len() + 1));
            if let Ok(bytes) = unpacked(ZSTD, &payload) {
                prop_assert_eq!(bytes.len(), unpacked_bytes(ZSTD, &payload).unwrap());
                // Neither may the next parser fall over what came out.
                let _ = window_set_from_payload(&bytes);
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(payload in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = unpacked(ZSTD, &payload);
            let _ = window_set_from_payload(&payload);
        }
    }
}
