//! How long a node was exposed to failures: the time in which somebody saw it to be up.
//!
//! Wall time is no exposure. A node that nobody watched may have failed unseen, so neither that time nor that failure
//! counts; a node that was down could not fail. Stretches of all witnesses are united, so that what two saw counts once,
//! and what is on record as down is taken out.

use super::outage::Outage;
use isotherm_model::Timestamp;
use std::collections::BTreeMap;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// An hour, in milliseconds.
const HOUR_MS: f64 = 3_600_000.0;

/// Stretches of time, `from .. to`, in milliseconds.
pub(super) type Stretch = (u64, u64);

/// What is on record of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeHistory {
    /// When it was seen to be up; in order, apart from each other, and in no outage.
    pub(super) observed: Vec<Stretch>,
    /// Its outages, by beginning, apart from each other. A failure counts against exposure only if it was observed before.
    pub outages: Vec<Outage>,
}

impl NodeHistory {
    /// Hours in which it was seen to be up.
    #[must_use]
    pub fn observed_h(&self) -> f64 {
        self.observed.iter().map(|(from, to)| to - from).sum::<u64>() as f64 / HOUR_MS
    }

    /// The same by the start of the day, UTC, so that old exposure can be discounted. Days without are left out.
    #[must_use]
    pub fn observed_h_by_day(&self) -> BTreeMap<Timestamp, f64> {
        let mut days: BTreeMap<Timestamp, u64> = BTreeMap::new();
        for &(mut from, to) in &self.observed {
            while from < to {
                let day = Timestamp::from_ms(from).align_down(DAY_MS);
                let end = day.plus_ms(DAY_MS).as_ms().min(to);
                *days.entry(day).or_default() += end - from;
                from = end;
            }
        }
        days.into_iter().map(|(day, ms)| (day, ms as f64 / HOUR_MS)).collect()
    }

    /// Whether it was seen to be up in any of `from .. to`.
    pub(super) fn saw(observed: &[Stretch], from: u64, to: u64) -> bool {
        let after = observed.partition_point(|(start, _)| *start < to);
        after > 0 && observed[after - 1].1 > from
    }
}

/// Unites stretches that come in any order.
pub(super) fn united(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_unstable();
    let mut all: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for (from, to) in stretches.into_iter().filter(|(from, to)| from < to) {
        match all.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            Some(_) | None => all.push((from, to)),
        }
    }
    all
}

/// What of `stretches` is not in `holes`; both in order and apart.
pub(super) fn without(stretches: &[Stretch], holes: &[Stretch]) -> Vec<Stretch> {
    let mut left = Vec::with_capacity(stretches.len());
    let mut hole = 0;
    for &(mut from, to) in stretches {
        while hole < holes.len() && holes[hole].1 <= from {
            hole += 1;
        }
        let mut at = hole;
        while from < to {
            match holes.get(at) {
                Some(&(start, end)) if start < to => {
                    if from < start {
                        left.push((from, start));
                    }
                    from = end.max(from);
                    at += 1;
                }
                Some(_) | None => {
                    left.push((from, to));
                    break;
                }
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(stretches: &[Stretch]) -> Vec<bool> {
        (0..60).map(|at| stretches.iter().any(|(from, to)| (*from..*to).contains(&at))).collect()
    }

    fn any_stretches() -> impl Strategy<Value = Vec<Stretch>> {
        prop::collection::vec((0u64..50, 0u64..10).prop_map(|(from, len)| (from, from + len)), 0..8)
    }

    proptest! {
        #[test]
        fn sets_of_moments_are_united_and_subtracted(a in any_stretches(), b in any_stretches()) {
            let (one, other) = (united(a.clone()), united(b.clone()));
            prop_assert_eq!(members(&one), members(&a));
            prop_assert!(one.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", one);
            let want: Vec<bool> =
                members(&a).into_iter().zip(members(&b)).map(|(a, b)| a && !b).collect();
            prop_assert_eq!(members(&without(&one, &other)), want);
        }
    }

    #[test]
    fn days_share_what_was_observed() {
        let hour = 3_600_000;
        let observed = vec![(22 * hour, 27 * hour), (80 * hour, 81 * hour)];
        let history = NodeHistory { observed, outages: Vec::new() };
        assert!((history.observed_h() - 6.0).abs() < 1e-12);
        let day = |number: u64| Timestamp::from_ms(number * DAY_MS);
        let want = BTreeMap::from([(day(0), 2.0), (day(1), 3.0), (day(3), 1.0)]);
        assert_eq!(history.observed_h_by_day(), want);
    }
}
