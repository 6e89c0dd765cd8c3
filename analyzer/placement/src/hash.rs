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

#[cfg(test)]
mod tests {
    use super::*;

    /// The multiplier of the XXH64 algorithm that xxHash's own self-test fills its buffer with and takes as a seed.
    const PRIME64: u64 = 11_400_714_785_074_694_797;

    /// The buffer of xxHash's self-test (`xxhsum -b`, XSUM_fillTestBuffer).
    fn buffer(len: usize) -> Vec<u8> {
        let mut state = 2_654_435_761u64;
        (0..len)
            .map(|_| {
                let byte = (state >> 56) as u8;
                state = state.wrapping_mul(PRIME64);
                byte
            })
            .collect()
    }

    #[test]
    fn keys_are_those_of_the_reference_implementation() {
        // Lengths and results of xxHash 0.8's XSUM_XXH3_testdata, seed 0: they reach every path for short and long
        // inputs.
        let vectors = [
            (0, 0x2d06_8005_38d3_94c2),
            (1, 0xc44b_dff4_074e_ecdb),
            (6, 0x27b5_6a84_cd2d_7325),
            (12, 0xa713_daf0_dfbb_77e7),
            (24, 0xa3fe_70bf_9d35_10eb),
            (48, 0x397d_a259_ecba_1f11),
            (80, 0xbcde_fbbb_2c47_c90a),
            (195, 0xcd94_217e_e362_ec3a),
            (256, 0x55de_574a_d89d_0ac5),
        ];
        for (len, expected) in vectors {
            assert_eq!(key(&buffer(len)), expected, "{len} bytes");
        }
        assert_eq!(key(b"abc"), 0x78af_5f94_892f_3950);
    }

    #[test]
    fn draws_are_frozen() {
        // From the C library by way of python-xxhash 3: xxh3_64 of the first key's bytes, little end first, with
        // the second as the seed.
        let vectors = [
            (0, 0, 0xc77b_3abb_6f87_acd9),
            (1, 0, 0x2fbc_5935_64db_792e),
            (0, 1, 0x9e51_ad6d_2f3e_695c),
            (1, 2, 0x40ec_3339_838d_6d11),
            (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0xa18b_e6cb_2d16_bcca),
            (u64::MAX, u64::MAX, 0xda8f_77a4_d5c3_99ea),
        ];
        for (one, other, expected) in vectors {
            assert_eq!(draw(one, other), expected, "{one:x} {other:x}");
        }
    }
}
