//! The hour that is under way: some of its values, evenly spaced, for its median.

use super::weeks::{Hour, median};
use serde::{Deserialize, Serialize};

/// Values that are kept. A median of 12 to 24 values lies within a third of their standard deviation of that of
/// all, and the medians of the weeks are taken once more.
const KEPT: usize = 24;

/// What stands for 1. A value is off by at most 8e-6.
const TOP: f64 = 65_535.0;

/// Values of one hour. When it is full, every other is dropped, and from then on every other is taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sample {
    values: [u16; KEPT],
    filled: u8,
    /// Doublings of the distance between values that are taken.
    thinned: u8,
    /// Values offered.
    offered: u16,
}

impl Sample {
    pub(super) fn push(&mut self, value: f64) {
        let taken = self.offered.trailing_zeros() >= u32::from(self.thinned);
        self.offered = self.offered.saturating_add(1);
        if !taken {
            return;
        }
        if usize::from(self.filled) == KEPT {
            for i in 0..KEPT / 2 {
                self.values[i] = self.values[2 * i];
            }
            self.filled = (KEPT / 2) as u8;
            self.thinned = self.thinned.saturating_add(1);
        }
        self.values[usize::from(self.filled)] = (value.clamp(0.0, 1.0) * TOP).round() as u16;
        self.filled += 1;
    }

    /// Values offered.
    pub(super) fn offered(&self) -> u32 {
        u32::from(self.offered)
    }

    /// Median and deviation; `None` without a value.
    pub(super) fn summary(&self) -> Option<Hour> {
        let mut values: Vec<f64> =
            self.values.iter().take(usize::from(self.filled)).map(|value| f64::from(*value) / TOP).collect();
        let median = median(&mut values)?;
        values.iter_mut().for_each(|value| *value = (*value - median).abs());
        Some(Hour { median, mad: self::median(&mut values)? })
    }

    /// Whether pushing could have led here.
    pub(super) fn is_possible(&self) -> bool {
        usize::from(self.filled) <= KEPT && u16::from(self.filled) <= self.offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_hour_without_values_has_no_median() {
        assert_eq!(Sample::default().summary(), None);
    }

    #[test]
    fn what_is_kept_is_spread_over_the_hour() {
        let mut sample = Sample::default();
        (0..360).for_each(|i| sample.push(f64::from(i) / 360.0));
        let hour = sample.summary().unwrap();
        assert_eq!(sample.offered(), 360);
        assert!((hour.median - 0.5).abs() < 0.05 && (hour.mad - 0.25).abs() < 0.03, "{hour:?}");
    }

    proptest! {
        #[test]
        fn while_all_are_kept_the_median_is_theirs(values in prop::collection::vec(0.0..=1.0, 1..=KEPT)) {
            let mut sample = Sample::default();
            values.iter().for_each(|value| sample.push(*value));
            let mut sorted = values.clone();
            let exact = median(&mut sorted).unwrap();
            prop_assert!((sample.summary().unwrap().median - exact).abs() <= 0.5 / TOP + 1e-12);
        }

        #[test]
        fn any_number_of_values_leaves_a_possible_sample(count in 0..70_000u32) {
            let mut sample = Sample::default();
            (0..count).for_each(|_| sample.push(0.5));
            prop_assert!(sample.is_possible());
            prop_assert_eq!(sample.offered(), count.min(u32::from(u16::MAX)));
        }
    }
}
