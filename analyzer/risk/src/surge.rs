//! Whether a partition leans on more nodes than it used to, and for long enough to be believed.
//!
//! A window confirms a surge if its entropy is not small, is clearly more than habitual, and is so by more than its
//! noise; three of five make one, so that neither a single window nor a gap among them decides. It ends
//! when three of five windows do not even reach half of that, so it cannot flap: a level that hovers around the
//! bounds begins at most one surge.
//!
//! **An unknown window neither confirms nor denies, and takes no place among the five.** If it took one, an agent
//! that restarts would delay every surge by as long, or end one that goes on; an unknown value must not act as
//! a low one. But what was seen before a gap says less the longer the gap is: after as many unknown windows in a
//! row as windows are looked at, everything is forgotten, and the answer is "unknown" until there is evidence
//! again.
//!
//! A surge raises priority, sampling and confidence. Alone it moves nothing.

use crate::bounds::{OutOfRange, require, written_as};
use crate::class::{Normalised, ROUNDING};
use crate::habit::Seen;
use isotherm_model::Timestamp;
use serde::{Deserialize, Serialize};

/// When a window confirms a surge and how many do, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Normalised entropy that a surge has at least: below it most reads still go to few nodes. .60.
    pub level: f64,
    /// Rise over the baseline that it has at least. .10.
    pub rise: f64,
    /// Deviations over the baseline that it has at least. 3.
    pub z: f64,
    /// Windows that must confirm it, 3 ...
    pub need: u8,
    /// ... of so many known ones, at most 8. 5.
    pub of: u8,
    /// Part of `rise` and `z` that a window needs for the surge to go on. .5.
    pub release: f64,
    /// How far below `level` it may go on. .03.
    pub hysteresis: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: 0.60, rise: 0.10, z: 3.0, need: 3, of: 5, release: 0.5, hysteresis: 0.03 }
    }
}

/// Settings that were checked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Rule(Settings);

written_as!(Rule, Settings);

impl Rule {
    /// # Errors
    /// The field that is out of its range. `need` is more than half of `of`, or a surge could begin and end on the
    /// same windows.
    pub fn new(settings: Settings) -> Result<Self, OutOfRange> {
        let Settings { level, rise, z, need, of, release, hysteresis } = settings;
        require((0.0..=1.0).contains(&level), "level", level, "0 to 1")?;
        require(rise > 0.0 && rise <= 1.0, "rise", rise, "above 0 and at most 1")?;
        require((0.0..=100.0).contains(&z), "z", z, "0 to 100")?;
        require((1..=8).contains(&of), "of", f64::from(of), "1 to 8")?;
        let most = need <= of && 2 * need > of;
        require(most, "need", f64::from(need), "more than half of `of` and at most all")?;
        require((0.0..=1.0).contains(&release), "release", release, "0 to 1")?;
        require((0.0..=level).contains(&hysteresis), "hysteresis", hysteresis, "0 to level")?;
        Ok(Self(settings))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// Whether a window says that there is a surge.
    #[must_use]
    pub fn confirms(&self, window: Window) -> bool {
        self.reaches(window, 1.0, 0.0)
    }

    /// Whether a window says that the surge there was goes on.
    #[must_use]
    pub fn sustains(&self, window: Window) -> bool {
        self.reaches(window, self.0.release, self.0.hysteresis)
    }

    fn reaches(&self, window: Window, part: f64, below: f64) -> bool {
        let Settings { level, rise, z, .. } = self.0;
        window.h.get() >= level - below
            && window.h.get() - window.baseline >= part * rise - ROUNDING
            && window.z >= part * z
    }

    /// Whether a forecast says that there will be a surge: the lower end of its 80 % interval is over the baseline
    /// of the moment forecast by the rise of a surge. Of NaN it says nothing: `false`.
    #[must_use]
    pub fn forecast_surge(&self, lower_80: f64, baseline: f64) -> bool {
        lower_80 - baseline >= self.0.rise - ROUNDING
    }
}

/// A window of which all is known: its entropy, what is habitual, and how many deviations lie between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The entropy.
    pub h: Normalised,
    /// The habitual value.
    pub baseline: f64,
    /// Deviations over it. A z that is NaN confirms nothing.
    pub z: f64,
}

impl Window {
    /// What a habit said of an entropy; `None` if one of them is not known.
    #[must_use]
    pub fn of(h: Option<Normalised>, seen: &Seen) -> Option<Self> {
        Some(Self { h: h?, baseline: seen.baseline?.value, z: seen.z? })
    }
}

/// What the last windows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is a surge.
    Surging {
        /// The first window that confirmed it, from which on there were never five known windows (`of`) in a row
        /// without one that confirmed. Not the window that completed the three.
        since: Timestamp,
        /// Known windows from then on.
        windows: u32,
    },
    /// There is none.
    Quiet,
    /// Too few windows are known to say either.
    Unknown,
}

/// Follows one entropy of one partition, in 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surge {
    /// When the first of the windows that confirm was; 0 if none does.
    since_ms: u64,
    /// Known windows since then.
    windows: u32,
    /// Of the last eight known windows, the newest in the lowest bit: which confirmed, which did not sustain.
    confirmed: u8,
    denied: u8,
    /// Windows that are known, up to eight.
    known: u8,
    /// Unknown windows in a row.
    unknown: u8,
    surging: bool,
}

impl Surge {
    /// Adds a window; `None` is one of which something is unknown. Windows come in the order of time.
    pub fn observe(&mut self, rule: &Rule, at: Timestamp, window: Option<Window>) -> Verdict {
        match window {
            Some(window) => self.add(rule, at, window),
            None => {
                self.unknown = self.unknown.saturating_add(1);
                if self.unknown >= rule.0.of {
                    *self = Self { unknown: self.unknown, ..Self::default() };
                }
            }
        }
        self.verdict(rule)
    }

    /// What the windows up to now say.
    #[must_use]
    pub fn verdict(&self, rule: &Rule) -> Verdict {
        let Settings { need, of, .. } = rule.0;
        let confirmed = (self.confirmed & last(of)).count_ones();
        let not_known = u32::from(of.saturating_sub(self.known));
        if self.surging {
            Verdict::Surging { since: Timestamp::from_ms(self.since_ms), windows: self.windows }
        } else if confirmed + not_known < u32::from(need) {
            Verdict::Quiet
        } else {
            Verdict::Unknown
        }
    }

    fn add(&mut self, rule: &Rule, at: Timestamp, window: Window) {
        let Settings { need, of, .. } = rule.0;
        let confirms = rule.confirms(window);
        self.unknown = 0;
        self.known = self.known.saturating_add(1).min(8);
        self.confirmed = self.confirmed << 1 | u8::from(confirms);
        self.denied = self.denied << 1 | u8::from(!rule.sustains(window));
        let confirmed = self.confirmed & last(of);
        if !self.surging {
            if confirmed == 0 {
                (self.since_ms, self.windows) = (0, 0);
                return;
            }
            if confirmed == 1 {
                (self.since_ms, self.windows) = (at.as_ms(), 0);
            }
            self.surging = confirmed.count_ones() >= u32::from(need);
        }
        self.windows = self.windows.saturating_add(1);
        let denied = (self.denied & last(of)).count_ones() >= u32::from(need);
        if self.surging && denied {
            *self = Self { known: self.known, denied: self.denied, ..Self::default() };
        }
    }
}

/// The bits of the last `of` windows.
fn last(of: u8) -> u8 {
    u8::MAX >> (8 - of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(h: f64, baseline: f64, z: f64) -> Window {
        Window { h: Normalised::new(h).unwrap(), baseline, z }
    }

    fn high() -> Option<Window> {
        Some(window(0.8, 0.5, 6.0))
    }

    fn low() -> Option<Window> {
        Some(window(0.5, 0.5, 0.0))
    }

    /// Feeds windows a minute apart, from minute 1 on, and says what each led to.
    fn verdicts(surge: &mut Surge, windows: &[Option<Window>]) -> Vec<Verdict> {
        let rule = Rule::default();
        let feed = |(i, window): (usize, &Option<Window>)| {
            surge.observe(&rule, Timestamp::from_ms(60_000 * (i as u64 + 1)), *window)
        };
        windows.iter().enumerate().map(feed).collect()
    }

    fn surging(minute: u64, windows: u32) -> Verdict {
        Verdict::Surging { since: Timestamp::from_ms(60_000 * minute), windows }
    }

    #[test]
    fn a_window_confirms_by_level_rise_and_deviations_together() {
        let rule = Rule::default();
        assert!(rule.confirms(window(0.6, 0.5, 3.0)), "at all three bounds");
        assert!(!rule.confirms(window(0.599, 0.4, 5.0)));
        assert!(!rule.confirms(window(0.7, 0.601, 5.0)));
        assert!(!rule.confirms(window(0.8, 0.5, 2.9)));
        assert!(!rule.confirms(window(0.8, 0.5, f64::NAN)));
        assert!(rule.sustains(window(0.575, 0.52, 1.5)) && !rule.sustains(window(0.575, 0.53, 1.5)));
    }

    #[test]
    fn three_of_five_windows_make_a_surge_and_three_end_it() {
        let mut surge = Surge::default();
        let got = verdicts(&mut surge, &[low(), low(), low(), high(), low(), high(), high(), high()]);
        assert_eq!(got[..3], [Verdict::Unknown, Verdict::Unknown, Verdict::Quiet]);
        assert_eq!(got[3..6], [Verdict::Quiet; 3]);
        assert_eq!(got[6..], [surging(4, 4), surging(4, 5)]);

        let got = verdicts(&mut surge, &[low(), high(), low(), low(), low(), high()]);
        assert_eq!(got[..3], [surging(4, 6), surging(4, 7), surging(4, 8)]);
        assert_eq!(got[3..], [Verdict::Quiet; 3]);
    }

    #[test]
    fn unknown_windows_take_no_place() {
        let got =
            verdicts(&mut Surge::default(), &[high(), None, None, high(), None, None, None, None, high()]);
        assert_eq!(got[..8], [Verdict::Unknown; 8]);
        assert_eq!(got[8], surging(1, 3));
    }

    #[test]
    fn after_a_long_gap_nothing_is_claimed() {
        let mut surge = Surge::default();
        let got = verdicts(&mut surge, &[high(), high(), high(), None, None, None, None, None, None, high()]);
        assert_eq!(got[6], surging(1, 3), "four unknown windows end nothing");
        assert_eq!(got[7..], [Verdict::Unknown; 3]);
        let got = verdicts(&mut Surge::default(), &[low(), low(), low(), None, None, None, None, None]);
        assert_eq!((got[6], got[7]), (Verdict::Quiet, Verdict::Unknown));
    }

    #[test]
    fn a_forecast_is_a_surge_if_even_its_lower_end_rises() {
        let rule = Rule::default();
        assert!(rule.forecast_surge(0.7, 0.6), "whose difference is a bit below .1");
        assert!(!rule.forecast_surge(0.69, 0.6));
        assert!(!rule.forecast_surge(f64::NAN, 0.6) && !rule.forecast_surge(0.7, f64::NAN));
    }

    #[test]
    fn rules_name_the_field_that_is_wrong() {
        type Change = fn(&mut Settings);
        let changes: [(&str, Change); 7] = [
            ("level", |settings| settings.level = f64::NAN),
            ("rise", |settings| settings.rise = 0.0),
            ("z", |settings| settings.z = -1.0),
            ("of", |settings| settings.of = 9),
            ("need", |settings| settings.need = 2),
            ("release", |settings| settings.release = 1.1),
            ("hysteresis", |settings| settings.hysteresis = 0.7),
        ];
        for (field, change) in changes {
            let mut settings = Settings::default();
            change(&mut settings);
            assert_eq!(Rule::new(settings).unwrap_err().field, field);
        }
        assert_eq!(serde_json::from_str::<Rule>("{}").unwrap(), Rule::default());
        assert!(
            serde_json::from_str::<Rule>(r#"{"need": 6}"#).unwrap_err().to_string().contains("need is 6")
        );
    }

    fn any_window() -> impl Strategy<Value = Option<Window>> {
        prop_oneof![
            1 => Just(None),
            6 => (0.4..=0.9, 0.4..=0.7, -1.0..6.0).prop_map(|(h, baseline, z)| Some(window(h, baseline, z))),
        ]
    }

    proptest! {
        #[test]
        fn a_surge_needs_its_windows(windows in prop::collection::vec(any_window(), 1..60)) {
            let rule = Rule::default();
            let got = verdicts(&mut Surge::default(), &windows);
            for (i, pair) in got.windows(2).enumerate() {
                let known: Vec<Window> = windows[..i + 2].iter().rev().filter_map(|window| *window).take(5).collect();
                let confirming = known.iter().filter(|window| rule.confirms(**window)).count();
                let denying = known.iter().filter(|window| !rule.sustains(**window)).count();
                match (pair[0], pair[1]) {
                    (Verdict::Surging { .. }, Verdict::Quiet) => prop_assert!(denying >= 3),
                    (Verdict::Quiet | Verdict::Unknown, Verdict::Surging { since, .. }) => {
                        prop_assert!(confirming >= 3);
                        let first = windows[(since.as_ms() / 60_000 - 1) as usize];
                        prop_assert!(rule.confirms(first.unwrap()), "since is a window that confirms");
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn a_level_within_the_hysteresis_begins_one_surge_at_most(
            levels in prop::collection::vec(0.59..0.72, 1..100),
        ) {
            // From .56 over a baseline of .5 on windows sustain; they confirm from .60 on.
            let windows: Vec<_> = levels.iter().map(|h| Some(window(*h, 0.5, (h - 0.5) / 0.03))).collect();
            let got = verdicts(&mut Surge::default(), &windows);
            let surging = |verdict: &Verdict| matches!(verdict, Verdict::Surging { .. });
            let begun = got.windows(2).filter(|pair| !surging(&pair[0]) && surging(&pair[1])).count();
            prop_assert!(begun + usize::from(surging(&got[0])) <= 1);
        }

        #[test]
        fn a_surge_goes_on_after_a_restart(
            before in prop::collection::vec(any_window(), 0..12),
            after in prop::collection::vec(any_window(), 1..12),
        ) {
            let mut surge = Surge::default();
            verdicts(&mut surge, &before);
            let mut read: Surge = serde_json::from_str(&serde_json::to_string(&surge).unwrap()).unwrap();
            prop_assert_eq!(verdicts(&mut read, &after), verdicts(&mut surge, &after));
        }
    }
}
