//! Seeded numbers, the same as those of the benchmark's generator: splitmix64 with a tag mixed into the seed.

/// A stream of numbers.
#[derive(Clone)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64, tag: &str) -> Self {
        Self(tag.bytes().fold(seed, |state, byte| state.wrapping_mul(0x100_0000_01B3) ^ u64::from(byte)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to 1, 1 excluded.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            let other = self.below(at + 1);
            values.swap(at, other);
        }
    }

    /// The position in running sums `upto` that a draw falls on.
    pub(crate) fn weighted(&mut self, upto: &[f64]) -> usize {
        let drawn = self.unit() * upto.last().expect("there is something to draw");
        upto.partition_point(|sum| *sum <= drawn).min(upto.len() - 1)
    }
}

/// Running sums.
pub(crate) fn sums(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut total = 0.0;
    values
        .map(|value| {
            total += value;
            total
        })
        .collect()
}
