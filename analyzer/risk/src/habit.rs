//! What an entropy habitually is at a moment of the week, and how far from it a value lies.
//!
//! An entropy says nothing by itself: a partition whose reads go to one node by design is at 0 for ever, and one
//! that is balanced is at 1. So a value is held against its own partition's habit: the median of the same hour of
//! the week, since loads have days and weekends, once two weeks of that hour are known; until then a mean that
//! forgets by half in a day. [`Baseline::mad`] is the median absolute deviation of single values from the
//! baseline, and `z = (h - b) / (1.4826 mad + .01)`: standard deviations, if noise is normal, and a floor below
//! which no difference of entropies is worth a word.
//!
//! The spread of one hour in two weeks is known badly: with it alone, restless healthy partitions surged .064 times
//! a day, and .018 times as it is. So `mad` is the larger of two: that of the hour (within it, and between its
//! weeks), and that of all values lately, each from its own baseline. In the first two weeks the latter has the
//! whole day in it: a shift that is smaller than the partition's day is not found then (14 of 100 in
//! tests/habit.rs; none is missed later).
//!
//! **A habit is not taught by what it is there to find.** Values with `|z| >= 3`, and those during incidents and
//! moves, teach nothing. That must end some time, or a new normal would be called a surge for ever. There are
//! three ways out, all of them bounded:
//! - a level that has been unusual for a day, net (an hour of usual values takes back an hour of unusual ones),
//!   becomes the forgetting mean, with a spread that covers the old level too, because it has been both;
//! - after two days beyond the *same hours of other weeks* those weeks are forgotten as well: a holiday is
//!   shorter, and what else lasts as long is no event. Incidents and moves that were told may last a week;
//! - an hour of the week that was mostly unusual, and is again the week after, is learned the second time: what
//!   comes every Sunday is a habit. With two of the older hours left out its baseline is halfway after two
//!   weeks and there after three.
//!
//! During its first day a habit has seen no night or no morning, so nothing is unusual to it. A gap teaches
//! nothing, and four weeks without a value are a new beginning.
//!
//! **Memory.** One `Habit` with four weeks is 1.5 kB: hours are two bytes each (their quantisation: at most 1/2044
//! in the level and 4 % in what z divides by), and room for a week is allocated when its first hour is learned.

mod hour;
mod running;
mod settings;
mod weeks;
mod written;

pub use settings::{Rule, Settings};

use crate::class::Normalised;
use hour::Sample;
use isotherm_model::Timestamp;
use running::Running;
use serde::{Deserialize, Serialize};
use weeks::{HOURS, WEEKS, Weeks, hour_of_week};

const HOUR_MS: u64 = 3_600_000;

/// A median absolute deviation of normal noise times this is its standard deviation.
const SIGMA_PER_MAD: f64 = 1.4826;

/// Differences of this size are of no interest however little noise there is.
const SPREAD_FLOOR: f64 = 0.01;

/// Weeks of an hour that make it a habit.
const ENOUGH_WEEKS: u8 = 2;

/// Why a value does not teach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frozen {
    /// Something is wrong with the nodes; told by the caller.
    Incident,
    /// The partition is being moved; told by the caller.
    Moving,
    /// The value itself is too far from the habit.
    Unusual,
}

/// What a baseline was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The same hour of so many weeks, 2 to 4.
    HourOfWeek {
        /// Weeks of which this hour is known.
        weeks: u8,
    },
    /// The mean of what was observed lately.
    Recent,
}

/// What is habitual at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The habitual value, `0 ..= 1`.
    pub value: f64,
    /// Median absolute deviation of single values from it; at least 0.
    pub mad: f64,
    /// What it was made from.
    pub source: Source,
}

impl Baseline {
    /// Deviations that `h` lies over the baseline: `(h - value) / (1.4826 mad + .01)`. Finite, below 0 where `h`
    /// is below the baseline.
    #[must_use]
    pub fn z(&self, h: Normalised) -> f64 {
        (h.get() - self.value) / (SIGMA_PER_MAD * self.mad + SPREAD_FLOOR)
    }
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taught {
    /// It is part of the habit now.
    Learned,
    /// There was none.
    Gap,
    /// It is not later than what was observed before, so it was not used.
    Late,
    /// It was not learned.
    Frozen(Frozen),
    /// It was the last of so many frozen ones that the habit gave in, and took their level.
    GaveIn(Frozen),
}

/// What a value was, seen from the habit as it was before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// What was habitual; `None` while too little is known.
    pub baseline: Option<Baseline>,
    /// How far off the value was; `None` without a value or a baseline.
    pub z: Option<f64>,
    /// Whether it taught something.
    pub taught: Taught,
}

/// One entropy's habit. It starts knowing nothing; one rule should go with it all its life.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "written::Written", into = "written::Written")]
pub struct Habit {
    /// The first moment that is not late, in milliseconds.
    next_ms: u64,
    /// Hours since the epoch of the last value.
    hour: u32,
    /// Values of that hour that were usual, and that were not.
    usual: u16,
    unusual: u16,
    /// Those of them that may be learned.
    sample: Sample,
    recent: Running,
    /// What frozen values are like; empty where none are.
    elsewhere: Running,
    /// Values that were unusual, less those that were usual since.
    away: u32,
    /// Values in a row that were told to be frozen.
    told: u32,
    weeks: Weeks,
    /// One bit for each hour of the week: mostly unusual, the last time.
    unusual_hours: [u8; HOURS / 8],
}

impl Habit {
    /// Judges a value by what was habitual before it, and learns it unless it is frozen. `at`: the start of its
    /// window. A value stands for one step of the rule; time without values does not count as observed.
    pub fn observe(
        &mut self,
        rule: &Rule,
        at: Timestamp,
        h: Option<Normalised>,
        frozen: Option<Frozen>,
    ) -> Seen {
        let late = at.as_ms() < self.next_ms;
        if !late {
            self.next_ms = at.as_ms().saturating_add(1);
            if h.is_some() {
                self.turn_to(rule, at);
            }
        }
        let baseline = self.baseline(rule, at);
        let z = h.zip(baseline).map(|(h, baseline)| baseline.z(h));
        let taught = match h {
            None => Taught::Gap,
            Some(_) if late => Taught::Late,
            Some(h) => {
                let unusual = || self.is_unusual(rule, baseline, z).then_some(Frozen::Unusual);
                match frozen.or_else(unusual) {
                    Some(why) => self.freeze(rule, h.get(), why, baseline),
                    None => self.learn(rule, h.get(), baseline),
                }
            }
        };
        Seen { baseline, z, taught }
    }

    /// What is habitual at a moment, also one to come. `None` while less than the rule's minimum was observed, and
    /// more than four weeks after the last value.
    #[must_use]
    pub fn baseline(&self, rule: &Rule, at: Timestamp) -> Option<Baseline> {
        let hour = hour_of(at);
        if self.is_over(hour) {
            return None;
        }
        match self.weeks.same_hour(hour_of_week(hour)) {
            Some((same, weeks)) if weeks >= ENOUGH_WEEKS => {
                let mad = same.mad.max(self.recent.mad());
                Some(Baseline { value: same.median, mad, source: Source::HourOfWeek { weeks } })
            }
            Some(_) | None => {
                let value = self.recent.mean().filter(|_| self.recent.weight() >= rule.minimum_weight())?;
                Some(Baseline { value, mad: self.recent.mad(), source: Source::Recent })
            }
        }
    }

    /// Deviations that `h` would lie over what is habitual at a moment; see [`Baseline::z`].
    #[must_use]
    pub fn z(&self, rule: &Rule, at: Timestamp, h: Normalised) -> Option<f64> {
        self.baseline(rule, at).map(|baseline| baseline.z(h))
    }

    /// Bytes that it takes, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.weeks.heap_bytes()
    }

    /// Whether the last value is too long ago to say anything of `hour`.
    fn is_over(&self, hour: u32) -> bool {
        hour.saturating_sub(self.hour) > (WEEKS * HOURS) as u32
    }

    /// Closes the hour of the last value if `at` is in another.
    fn turn_to(&mut self, rule: &Rule, at: Timestamp) {
        let hour = hour_of(at);
        if self.is_over(hour) {
            *self = Self { next_ms: self.next_ms, ..Self::default() };
        } else if hour != self.hour {
            self.close_hour(rule);
        }
        self.hour = hour;
    }

    fn close_hour(&mut self, rule: &Rule) {
        let slot = hour_of_week(self.hour);
        let (sample, usual, unusual) = (
            std::mem::take(&mut self.sample),
            std::mem::take(&mut self.usual),
            std::mem::take(&mut self.unusual),
        );
        let mostly_unusual = unusual > usual;
        if let Some(hour) = sample.summary().filter(|_| sample.offered() >= rule.quarter_hour_steps()) {
            if mostly_unusual && self.was_unusual(slot) {
                self.weeks.keep_newest(slot);
            }
            self.weeks.push(slot, hour);
        }
        if u32::from(usual) + u32::from(unusual) >= rule.quarter_hour_steps() {
            let bit = 1 << (slot % 8);
            let byte = &mut self.unusual_hours[slot / 8];
            *byte = if mostly_unusual { *byte | bit } else { *byte & !bit };
        }
    }

    fn was_unusual(&self, slot: usize) -> bool {
        self.unusual_hours[slot / 8] >> (slot % 8) & 1 == 1
    }

    /// A mean that has not seen a day cannot tell what is unusual from what it has not seen.
    fn is_unusual(&self, rule: &Rule, baseline: Option<Baseline>, z: Option<f64>) -> bool {
        let ripe = baseline.is_some_and(|baseline| match baseline.source {
            Source::HourOfWeek { .. } => true,
            Source::Recent => self.recent.weight() >= rule.day_weight(),
        });
        ripe && z.is_some_and(|z| z.abs() >= rule.unusual_z())
    }

    fn learn(&mut self, rule: &Rule, h: f64, baseline: Option<Baseline>) -> Taught {
        self.usual = self.usual.saturating_add(1);
        self.sample.push(h);
        self.recent.add(h, baseline.map(|baseline| baseline.value), rule.kept());
        self.told = 0;
        self.away = self.away.saturating_sub(1);
        if self.away == 0 {
            self.elsewhere = Running::default();
        }
        Taught::Learned
    }

    fn freeze(&mut self, rule: &Rule, h: f64, why: Frozen, baseline: Option<Baseline>) -> Taught {
        self.elsewhere.add(h, None, rule.kept());
        let by_weeks = baseline.is_some_and(|baseline| baseline.source != Source::Recent);
        let (gives_in, weeks_too) = match why {
            Frozen::Unusual => {
                self.unusual = self.unusual.saturating_add(1);
                if self.was_unusual(hour_of_week(self.hour)) {
                    self.sample.push(h);
                }
                self.told = 0;
                self.away = self.away.saturating_add(1);
                (self.away >= rule.unusual_steps(by_weeks), by_weeks)
            }
            Frozen::Incident | Frozen::Moving => {
                self.told = self.told.saturating_add(1);
                (self.told >= rule.told_steps(), true)
            }
        };
        if !gives_in {
            return Taught::Frozen(why);
        }
        self.recent.adopt(std::mem::take(&mut self.elsewhere));
        (self.away, self.told) = (0, 0);
        if weeks_too {
            self.weeks = Weeks::default();
            self.unusual_hours = [0; HOURS / 8];
        }
        Taught::GaveIn(why)
    }
}

/// Hours since the epoch. Saturates after the year 490,000.
fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_ms() / HOUR_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
