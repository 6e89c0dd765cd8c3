//! A mean that forgets, and how far values lie from what they were held against.

use serde::{Deserialize, Serialize};

/// The spread that a habit is taken to have before it showed one. Node entropy of some hundred accesses a minute,
/// under a load that has a day and a night, lies about this far from its mean of a day.
const FIRST_SPREAD: f32 = 0.03;

/// How many values that guess counts for.
const FIRST_WEIGHT: f32 = 60.0;

/// Median absolute deviation over mean absolute deviation of a normal distribution: `.67449 / sqrt(2 / pi)`.
const MEDIAN_OVER_MEAN: f64 = 0.8453;

/// An exponentially weighted mean in 12 bytes. Starts as the plain mean of what it was given, so that its first
/// values do not count for more than the others.
///
/// Single precision loses at most 2e-4 of the mean at a weight of 6,000 values (the shortest step allowed), and
/// 6e-5 at the usual 2,000.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Running {
    mean: f32,
    /// Mean absolute deviation from what each value was held against.
    deviation: f32,
    /// Values that the mean is worth, at most `1 / (1 - kept)`.
    weight: f32,
}

impl Running {
    /// `kept`: what is left of an old value's weight after one more. `against`: what the value is held against, if it
    /// is not the mean before it.
    pub(super) fn add(&mut self, value: f64, against: Option<f64>, kept: f64) {
        let value = value as f32;
        let before = if self.weight > 0.0 {
            self.deviation
        } else {
            self.mean = value;
            FIRST_SPREAD
        };
        let away = (value - against.map_or(self.mean, |against| against as f32)).abs();
        self.weight = self.weight * kept as f32 + 1.0;
        self.deviation = before + (away - before) / (self.weight + FIRST_WEIGHT);
        self.mean += (value - self.mean) / self.weight;
    }

    /// Takes the level of `other`, in the knowledge that the level can be either.
    pub(super) fn adopt(&mut self, other: Self) {
        let apart = if self.weight > 0.0 { (other.mean - self.mean).abs() } else { 0.0 };
        let deviation = other.deviation.max(apart);
        *self = Self { deviation, ..other };
    }

    /// `None` before the first value.
    pub(super) fn mean(self) -> Option<f64> {
        (self.weight > 0.0).then(|| f64::from(self.mean))
    }

    /// Median absolute deviation, as the mean one says it of normal noise.
    pub(super) fn mad(self) -> f64 {
        f64::from(self.deviation) * MEDIAN_OVER_MEAN
    }

    /// Values that the mean is worth.
    pub(super) fn weight(self) -> f64 {
        f64::from(self.weight)
    }

    /// Whether values of entropies could have led here.
    pub(super) fn is_possible(self) -> bool {
        [self.mean, self.deviation].iter().all(|value| (0.0..=1.0).contains(value))
            && self.weight.is_finite()
            && self.weight >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_as_a_plain_mean_and_then_forgets_by_half() {
        let mut running = Running::default();
        assert_eq!(running.mean(), None);
        for value in [0.2, 0.4, 0.6] {
            running.add(value, None, 1.0);
        }
        assert!((running.mean().unwrap() - 0.4).abs() < 1e-6);

        let kept = 0.5f64.powf(1.0 / 100.0);
        let mut running = Running::default();
        (0..2000).for_each(|_| running.add(0.0, None, kept));
        (0..100).for_each(|_| running.add(1.0, None, kept));
        assert!((running.mean().unwrap() - 0.5).abs() < 1e-3, "{running:?}");
    }

    #[test]
    fn single_precision_does_not_stop_a_mean_from_moving() {
        // Ten-second windows, a half-life of a day: the longest weight there is.
        let kept = 0.5f64.powf(10.0 / 86_400.0);
        let (mut running, mut exact, mut weight) = (Running::default(), 0.0f64, 0.0f64);
        for i in 0..200_000u32 {
            let value = 0.3 + 0.4 * f64::from(i) / 200_000.0 + 0.05 * f64::from(i % 7) / 7.0;
            running.add(value, None, kept);
            weight = weight * kept + 1.0;
            exact += (value - exact) / weight;
        }
        assert!((running.mean().unwrap() - exact).abs() < 2e-4, "{running:?} {exact}");
    }
}
