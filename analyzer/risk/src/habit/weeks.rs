//! What the hours of the week were like, four weeks back, in two bytes an hour.
//!
//! A cell holds the median of an hour's values in ten bits and their median absolute deviation in six, since the
//! noise of an entropy differs between night and day as its level does. The level is off by at most 1/2044, a
//! twentieth of the .01 that is added to every spread; the spread is stored logarithmically, so that what is
//! divided by in a z is off by at most 4 %.
//!
//! Hours are those of UTC since the epoch, Monday's first is 0: a week has 168 of them whatever clocks are set to.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Hours of a week.
pub(super) const HOURS: usize = 168;

/// Weeks that are kept.
pub(super) const WEEKS: usize = 4;

/// The epoch was a Thursday.
const HOURS_FROM_MONDAY_TO_EPOCH: u32 = 72;

/// Nothing known. Its level would be 1023, one more than the highest.
const UNKNOWN: u16 = u16::MAX;

/// The highest level, for 1.
const TOP_LEVEL: f64 = 1022.0;

/// The highest spread, for [`TOP_MAD`].
const TOP_SPREAD: f64 = 63.0;

/// No deviation from a median of values between 0 and 1 is larger in the median.
const TOP_MAD: f64 = 0.5;

/// Below this, spreads are told apart linearly.
const FINE_MAD: f64 = 0.005;

/// What a median absolute deviation of two, three and four values is multiplied by to be that of their
/// distribution: Croux and Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale", 1992.
const FEW: [f64; WEEKS + 1] = [1.0, 1.0, 1.196, 1.495, 1.363];

/// An hour's level and spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hour {
    pub(super) median: f64,
    pub(super) mad: f64,
}

impl Hour {
    fn packed(self) -> u16 {
        let level = (self.median.clamp(0.0, 1.0) * TOP_LEVEL).round() as u16;
        let mad = self.mad.clamp(0.0, TOP_MAD);
        let spread = TOP_SPREAD * (mad / FINE_MAD).ln_1p() / (TOP_MAD / FINE_MAD).ln_1p();
        level << 6 | spread.round() as u16
    }

    fn unpacked(cell: u16) -> Option<Self> {
        let median = f64::from(cell >> 6) / TOP_LEVEL;
        let mad = SPREADS.get(usize::from(cell & 63)).copied()?;
        (cell != UNKNOWN).then_some(Self { median, mad })
    }
}

/// `mad = .005 (101^(i / 63) - 1)`: what is read often is not computed.
static SPREADS: std::sync::LazyLock<[f64; 64]> = std::sync::LazyLock::new(|| {
    let per_code = (TOP_MAD / FINE_MAD).ln_1p() / TOP_SPREAD;
    std::array::from_fn(|code| FINE_MAD * (code as f64 * per_code).exp_m1())
});

/// The hour of the week of an hour since the epoch.
pub(super) fn hour_of_week(hour: u32) -> usize {
    (hour.wrapping_add(HOURS_FROM_MONDAY_TO_EPOCH)) as usize % HOURS
}

/// The last hours known of each hour of the week, newest first, side by side: a baseline is one line of the cache.
/// Grows by a week at a time.
#[derive(Clone, PartialEq, Default)]
pub(super) struct Weeks(Box<[u16]>);

impl Weeks {
    /// How the same hour of the week was: the median of its weeks and the deviation from it, with how many weeks
    /// that is. `None` if none is known.
    ///
    /// The deviation has two parts: within an hour, and between the weeks.
    pub(super) fn same_hour(&self, slot: usize) -> Option<(Hour, u8)> {
        let mut medians = [0.0; WEEKS];
        let mut mads = [0.0; WEEKS];
        let mut known = 0;
        for hour in self.of(slot).iter().map_while(|cell| Hour::unpacked(*cell)) {
            medians[known] = hour.median;
            mads[known] = hour.mad;
            known += 1;
        }
        let median = median(&mut medians[..known])?;
        let within = self::median(&mut mads[..known])?;
        medians[..known].iter_mut().for_each(|of_week| *of_week = (*of_week - median).abs());
        let between = FEW[known] * self::median(&mut medians[..known])?;
        Some((Hour { median, mad: (within * within + between * between).sqrt() }, known as u8))
    }

    /// Adds an hour; the oldest of five is dropped.
    pub(super) fn push(&mut self, slot: usize, hour: Hour) {
        let weeks = self.0.len() / HOURS;
        if weeks < WEEKS && self.of(slot).last() != Some(&UNKNOWN) {
            let mut longer = vec![UNKNOWN; (weeks + 1) * HOURS];
            for slot in 0..HOURS {
                longer[slot * (weeks + 1)..][..weeks].copy_from_slice(self.of(slot));
            }
            self.0 = longer.into_boxed_slice();
        }
        let weeks = self.0.len() / HOURS;
        let cells = &mut self.0[slot * weeks..][..weeks];
        cells.rotate_right(1);
        cells[0] = hour.packed();
    }

    /// Drops all but the newest of an hour of the week.
    pub(super) fn keep_newest(&mut self, slot: usize) {
        let weeks = self.0.len() / HOURS;
        self.0[slot * weeks..][..weeks].iter_mut().skip(1).for_each(|cell| *cell = UNKNOWN);
    }

    /// Cells of an hour of the week.
    fn of(&self, slot: usize) -> &[u16] {
        let weeks = self.0.len() / HOURS;
        &self.0[slot * weeks..][..weeks]
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// The median, sorting in place; `None` of nothing. There must be no NaN.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { 0.5 * (values[middle - 1] + upper) })
}

impl fmt::Debug for Weeks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.iter().filter(|cell| **cell != UNKNOWN).count();
        write!(f, "Weeks({known} hours)")
    }
}

impl Serialize for Weeks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|cell| cell.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Weeks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Bytes, or a list of numbers where a format has no bytes.
struct Bytes;

impl Bytes {
    fn weeks<E: de::Error>(bytes: &[u8]) -> Result<Weeks, E> {
        let week = 2 * HOURS;
        if !bytes.len().is_multiple_of(week) || bytes.len() > WEEKS * week {
            return Err(E::invalid_length(bytes.len(), &"up to four weeks of 336 bytes"));
        }
        let cells: Vec<u16> =
            bytes.chunks_exact(2).map(|cell| u16::from_le_bytes([cell[0], cell[1]])).collect();
        if let Some(cell) = cells.iter().find(|cell| (**cell >> 6) > TOP_LEVEL as u16 && **cell != UNKNOWN) {
            return Err(E::invalid_value(
                de::Unexpected::Unsigned(u64::from(*cell)),
                &"an hour's level of at most 1022 of 1022",
            ));
        }
        Ok(Weeks(cells.into()))
    }
}

impl<'de> de::Visitor<'de> for Bytes {
    type Value = Weeks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("up to four weeks of hours, two bytes each")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Weeks, E> {
        Self::weeks(bytes)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Weeks, A::Error> {
        let mut bytes = Vec::with_capacity(list.size_hint().unwrap_or(0).min(2 * HOURS * WEEKS));
        while let Some(byte) = list.next_element::<u8>()? {
            bytes.push(byte);
        }
        Self::weeks(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hour(median: f64) -> Hour {
        Hour { median, mad: 0.01 }
    }

    #[test]
    fn hours_of_the_week_are_utc_and_start_on_monday() {
        // 1970-01-01 was a Thursday, 2024-02-26 00:00 UTC a Monday (date -u -d @1708905600).
        assert_eq!(hour_of_week(0), 3 * 24);
        assert_eq!(hour_of_week(1_708_905_600 / 3600), 0);
        // Europe's clocks were set on 2024-03-31 at 01:00 UTC (@1711846800), a Sunday: the week has no gap there.
        let change = 1_711_846_800 / 3600;
        assert_eq!([change - 1, change, change + 1].map(hour_of_week), [6 * 24, 6 * 24 + 1, 6 * 24 + 2]);
    }

    #[test]
    fn the_last_four_weeks_of_an_hour_count() {
        let mut weeks = Weeks::default();
        assert_eq!(weeks.same_hour(5), None);
        for (n, level) in [0.1, 0.2, 0.4, 0.8, 0.9].into_iter().enumerate() {
            weeks.push(5, hour(level));
            assert_eq!(weeks.heap_bytes(), 336 * (n + 1).min(4));
        }
        let (same, known) = weeks.same_hour(5).unwrap();
        assert_eq!(known, 4);
        assert!((same.median - 0.6).abs() < 1e-3, "of .2 .4 .8 .9: {same:?}");
        // Deviations .4 .2 .2 .3 of which the median is .25.
        let expected = ((1.363f64 * 0.25).powi(2) + 0.01f64.powi(2)).sqrt();
        assert!((same.mad / expected - 1.0).abs() < 0.02, "{same:?} {expected}");
        assert_eq!(weeks.same_hour(6), None, "the neighbour learned nothing");

        weeks.keep_newest(5);
        assert_eq!(weeks.same_hour(5).unwrap().1, 1);
        weeks.push(5, hour(0.5));
        assert!((weeks.same_hour(5).unwrap().0.median - 0.7).abs() < 1e-3);
    }

    #[test]
    fn what_is_read_back_must_be_hours() {
        let read = |cells: &[u8]| serde_json::from_str::<Weeks>(&serde_json::to_string(cells).unwrap());
        assert!(read(&[0; 336]).is_ok());
        assert!(read(&[0; 335]).unwrap_err().to_string().contains("four weeks"));
        assert!(read(&[0; 5 * 336]).is_err());
        let mut damaged = [0; 336];
        damaged[0..2].copy_from_slice(&(UNKNOWN - 1).to_le_bytes());
        assert!(read(&damaged).unwrap_err().to_string().contains("1022"));
    }

    proptest! {
        #[test]
        fn quantisation_is_as_fine_as_stated(median in 0.0..=1.0, mad in 0.0..=0.5) {
            let there = Hour { median, mad };
            let back = Hour::unpacked(there.packed()).unwrap();
            prop_assert!((back.median - median).abs() <= 1.0 / 2044.0 + 1e-12);
            let divisor = |mad: f64| 1.4826 * mad + 0.01;
            prop_assert!((divisor(back.mad) / divisor(mad) - 1.0).abs() <= 0.04);
            prop_assert_eq!(back.packed(), there.packed(), "a second time changes nothing");
        }

        #[test]
        fn weeks_are_the_same_after_writing(pushes in prop::collection::vec((0..HOURS, 0.0..=1.0), 0..400)) {
            let mut weeks = Weeks::default();
            for (slot, level) in pushes {
                weeks.push(slot, hour(level));
            }
            let text = serde_json::to_string(&weeks).unwrap();
            prop_assert_eq!(serde_json::from_str::<Weeks>(&text).unwrap(), weeks);
        }
    }
}
