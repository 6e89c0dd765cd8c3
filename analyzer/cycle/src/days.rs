//! What is remembered of a partition by the day: how much is read of it in each hour, and how its shares change.
//!
//! A day ahead, load is what it was at the same hour of the days before (the latest of them counts half): the rhythm
//! of a day is most of what there is to know of it, and 24 numbers hold it. Whether a node will have headroom at the
//! busiest hour follows from that.
//!
//! Shares *drift* if the reads of a day are served by others than those of the day before. Whole days are compared,
//! as within them shares have a rhythm that is no drift; and of what differs (half the sum of the differences, the
//! share of reads that changed its node) as much is left out as counts of that size differ by chance. Hours of
//! incidents and moves are left out too: what they do to shares passes. A change of the subset starts anew.

use crate::input::PartitionStep;
use isotherm_model::Timestamp;
use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;

/// Hours of a day.
pub(crate) const HOURS: usize = 24;

/// Hours of a day that must be known for its shares to stand for it.
const ENOUGH: u8 = 18;

/// Weight of the latest day, of loads and of drifts.
const LATEST: f64 = 0.5;

/// Days as they went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Days {
    /// Reads per second in each hour of the day, by UTC; `None` before it was known once.
    pub(crate) by_hour: [Option<f32>; HOURS],
    today: Day,
    before: Option<Day>,
    /// Share of the reads that changes its node from a day to the next.
    changed_per_day: Option<f32>,
}

/// Reads of one day.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Day {
    /// Days since 1970.
    number: u64,
    /// Hours of it that are known.
    hours: u8,
    /// By the state's number of the node, ascending.
    reads: Vec<(u32, f64)>,
}

impl Days {
    /// Takes in an hour that began at `start`. `steady`: nothing was wrong in it.
    pub(crate) fn hour(&mut self, start: Timestamp, step: &PartitionStep, numbers: &[u32], steady: bool) {
        let served: Option<Vec<(u32, u64)>> =
            step.served.iter().map(|(node, reads)| Some((numbers[*node as usize], (*reads)?))).collect();
        let Some(mut served) = served.filter(|served| !served.is_empty()) else { return };
        served.sort_unstable_by_key(|(node, _)| *node);
        let hour = start.as_ms() / HOUR_MS;
        let per_s = served.iter().map(|(_, reads)| *reads).sum::<u64>() as f64 / 3_600.0;
        let kept = &mut self.by_hour[(hour % HOURS as u64) as usize];
        let latest = kept.map_or(per_s, |kept| f64::from(kept) + LATEST * (per_s - f64::from(kept)));
        *kept = Some(latest as f32);
        self.end_before(hour / HOURS as u64);
        if steady {
            self.today.count(&served);
        }
    }

    /// Starts shares anew: others hold the partition.
    pub(crate) fn held_by_others(&mut self) {
        self.before = None;
        self.today = Day { number: self.today.number, ..Day::default() };
    }

    /// Rate per hour at which shares lose their meaning; `None` before two days in a row were known.
    pub(crate) fn drift_per_hour(&self) -> Option<f64> {
        let changed = f64::from(self.changed_per_day?).min(MOST_CHANGED);
        Some(-(-changed).ln_1p() / HOURS as f64)
    }

    /// Ends the day if another one has begun.
    fn end_before(&mut self, number: u64) {
        if self.today.number == number {
            return;
        }
        let ended = std::mem::replace(&mut self.today, Day { number, ..Day::default() });
        if let Some(changed) = self.before.as_ref().and_then(|before| ended.changed_since(before)) {
            let kept = self.changed_per_day.map_or(changed, |kept| {
                let kept = f64::from(kept);
                kept + LATEST * (changed - kept)
            });
            self.changed_per_day = Some(kept as f32);
        }
        self.before = (ended.hours >= ENOUGH).then_some(ended);
    }
}

/// Shares that change altogether within a day would have no meaning at all the next moment; this is as good as that.
const MOST_CHANGED: f64 = 0.999;

impl Day {
    fn count(&mut self, served: &[(u32, u64)]) {
        self.hours += 1;
        for (node, reads) in served {
            match self.reads.binary_search_by_key(node, |(node, _)| *node) {
                Ok(at) => self.reads[at].1 += *reads as f64,
                Err(at) => self.reads.insert(at, (*node, *reads as f64)),
            }
        }
    }

    /// Share of the reads that others served than on the day before, without what chance explains. `None` if one of
    /// the two days is not known well enough, or they do not follow each other.
    fn changed_since(&self, before: &Self) -> Option<f64> {
        let (own, other) = (self.total(), before.total());
        let follows = self.number == before.number + 1 && self.hours >= ENOUGH;
        if !follows || own <= 0.0 || other <= 0.0 {
            return None;
        }
        let gone = before.reads.iter().filter(|(node, _)| self.of(*node) == 0.0).map(|(node, _)| *node);
        let nodes = self.reads.iter().map(|(node, _)| *node).chain(gone);
        let (mut differs, mut chance) = (0.0, 0.0);
        for node in nodes {
            let (now, then) = (self.of(node) / own, before.of(node) / other);
            let both = 0.5 * (now + then);
            differs += 0.5 * (now - then).abs();
            // The mean distance of two shares of so many counts: sqrt(2 / pi) standard deviations.
            let variance = both * (1.0 - both) * (1.0 / own + 1.0 / other);
            chance += 0.5 * (std::f64::consts::FRAC_2_PI * variance).sqrt();
        }
        Some((differs - chance).max(0.0))
    }

    fn total(&self) -> f64 {
        self.reads.iter().map(|(_, reads)| reads).sum()
    }

    fn of(&self, node: u32) -> f64 {
        self.reads.binary_search_by_key(&node, |(node, _)| *node).map_or(0.0, |at| self.reads[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::entropy::over_nodes;
    use isotherm_model::{PartitionId, SystemId};

    fn served(reads: &[u64]) -> PartitionStep {
        PartitionStep {
            partition: PartitionId::new(SystemId::new("made-up").unwrap(), "p").unwrap(),
            reads: Some(reads.iter().sum()),
            served: (0_u32..).zip(reads).map(|(node, reads)| (node, Some(*reads))).collect(),
            entropy: over_nodes(reads),
            offset_h: None,
            peer_h: None,
        }
    }

    /// So many hours from midnight on, each with what the closure says.
    fn after(days: &mut Days, hours: std::ops::Range<u64>, reads: impl Fn(u64) -> [u64; 3]) {
        for hour in hours {
            days.hour(Timestamp::from_ms(hour * HOUR_MS), &served(&reads(hour)), &[7, 8, 9], true);
        }
    }

    #[test]
    fn the_load_of_an_hour_is_that_of_the_same_hour_of_the_days_before() {
        let mut days = Days::default();
        after(&mut days, 0..24, |hour| [3_600 * (hour + 1), 0, 0]);
        assert_eq!((days.by_hour[0], days.by_hour[23]), (Some(1.0), Some(24.0)));
        after(&mut days, 24..25, |_| [3 * 3_600, 0, 0]);
        assert_eq!((days.by_hour[0], days.by_hour[1]), (Some(2.0), Some(2.0)));
        let mut unwatched = served(&[10, 10, 10]);
        unwatched.served[1].1 = None;
        days.hour(Timestamp::from_ms(25 * HOUR_MS), &unwatched, &[7, 8, 9], true);
        assert_eq!(days.by_hour[1], Some(2.0), "what is not known changes nothing");
    }

    #[test]
    fn shares_with_a_daily_rhythm_do_not_drift_and_those_that_move_do() {
        let mut steady = Days::default();
        let rhythm =
            |hour: u64| if hour % 24 < 8 { [90_000, 5_000, 5_000] } else { [40_000, 30_000, 30_000] };
        after(&mut steady, 0..24, rhythm);
        assert_eq!(steady.drift_per_hour(), None, "one day is no change");
        after(&mut steady, 24..49, rhythm);
        assert_eq!(steady.drift_per_hour(), Some(0.0));
        // A tenth of the reads goes elsewhere in 23 of the 24 hours; half of it is the latest day's part.
        after(&mut steady, 49..73, |hour| {
            let [a, b, c] = rhythm(hour);
            [a - 10_000, b + 10_000, c]
        });
        let drift = steady.drift_per_hour().unwrap();
        let expected = -(1.0_f64 - 0.05).ln() / 24.0;
        assert!((drift / expected - 1.0).abs() < 0.1, "{drift} and {expected}");
    }

    #[test]
    fn few_reads_that_differ_by_chance_are_no_drift() {
        let mut days = Days::default();
        let noise = |hour: u64| hour.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
        after(&mut days, 0..24 * 8, |hour| [1 + noise(hour) % 2, 1 + noise(hour + 900) % 2, 1]);
        assert!(days.drift_per_hour().unwrap() < 0.0015, "{:?}", days.drift_per_hour());
    }

    #[test]
    fn another_subset_and_a_day_with_gaps_have_no_drift() {
        let mut days = Days::default();
        after(&mut days, 0..24, |_| [900, 50, 50]);
        days.held_by_others();
        after(&mut days, 24..49, |_| [50, 900, 50]);
        assert_eq!(days.drift_per_hour(), None);
        let mut gapped = Days::default();
        after(&mut gapped, 0..24, |_| [900, 50, 50]);
        after(&mut gapped, 40..49, |_| [50, 900, 50]);
        assert_eq!(gapped.drift_per_hour(), None);
    }
}
