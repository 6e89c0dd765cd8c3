//! How even a normalised entropy is, in three words: low, medium, high.
//!
//! The bounds are the ones the project began with, and are the operator's to change. A class is information: by
//! itself it alerts nobody and moves nothing, since the healthiest partitions are the most even ones. What it is
//! good for is to be read, so it must not flicker: a class is entered at its bound and left `hysteresis` below
//! it. The other way round, a value of .86 could be called medium for days, against what the bound says.

use crate::bounds::{OutOfRange, require, written_as};
use serde::{Deserialize, Serialize};

/// What rounding may add to an entropy over its maximum, and to a difference of two of them.
pub(crate) const ROUNDING: f64 = 1e-9;

/// An entropy as a share of the most there could be: `0 ..= 1`, never NaN.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Normalised(f64);

impl Normalised {
    /// `None` for what no normalised entropy is: NaN, or outside `0 ..= 1` by more than rounding explains.
    #[must_use]
    pub fn new(h: f64) -> Option<Self> {
        (-ROUNDING..=1.0 + ROUNDING).contains(&h).then(|| Self(h.clamp(0.0, 1.0)))
    }

    /// The number, `0 ..= 1`.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Normalised {
    type Error = OutOfRange;

    fn try_from(h: f64) -> Result<Self, OutOfRange> {
        Self::new(h).ok_or(OutOfRange { field: "normalised entropy", value: h, must: "0 to 1" })
    }
}

impl From<Normalised> for f64 {
    fn from(h: Normalised) -> Self {
        h.get()
    }
}

/// How even accesses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// One place, or few of them, serve most accesses.
    Low,
    /// Between.
    Medium,
    /// Nearly all places serve about the same.
    High,
}

impl Class {
    /// As it is written: `low`, `medium` or `high`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Bounds between the classes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Thresholds(Settings);

/// [`Thresholds`] as they are written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// From here on medium. .50.
    pub low: f64,
    /// From here on high. .85.
    pub high: f64,
    /// How far below its bound a class is left: three standard errors of the entropy of some hundred accesses
    /// over three nodes. .03.
    pub hysteresis: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { low: 0.50, high: 0.85, hysteresis: 0.03 }
    }
}

written_as!(Thresholds, Settings);

impl Thresholds {
    /// # Errors
    /// The field that is no bound of a share, is out of order, or whose hysteresis would swallow a class.
    pub fn new(settings: Settings) -> Result<Self, OutOfRange> {
        let Settings { low, high, hysteresis } = settings;
        require(low > 0.0 && low < 1.0, "low", low, "above 0 and below 1")?;
        require(high > low && high <= 1.0, "high", high, "above low and at most 1")?;
        let room = low.min(high - low);
        require(
            (0.0..room).contains(&hysteresis),
            "hysteresis",
            hysteresis,
            "at least 0, and less than low and than what is between the bounds",
        )?;
        Ok(Self(settings))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// The class of `h`, where it was `before` (`None`: was unknown, then the bounds alone say).
    #[must_use]
    pub fn class(&self, h: Normalised, before: Option<Class>) -> Class {
        let kept = |class: Class| if before >= Some(class) { self.0.hysteresis } else { 0.0 };
        if h.get() >= self.0.high - kept(Class::High) {
            Class::High
        } else if h.get() >= self.0.low - kept(Class::Medium) {
            Class::Medium
        } else {
            Class::Low
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLASSES: [Option<Class>; 4] = [None, Some(Class::Low), Some(Class::Medium), Some(Class::High)];

    fn class(h: f64, before: Option<Class>) -> Class {
        Thresholds::default().class(Normalised::new(h).unwrap(), before)
    }

    #[test]
    fn a_class_is_entered_at_its_bound_and_left_below_it() {
        assert_eq!([0.4999, 0.5, 0.8499, 0.85].map(|h| class(h, None)), {
            use Class::{High, Low, Medium};
            [Low, Medium, Medium, High]
        });
        assert_eq!(class(0.821, Some(Class::High)), Class::High);
        assert_eq!(class(0.819, Some(Class::High)), Class::Medium);
        assert_eq!(class(0.471, Some(Class::High)), Class::Medium);
        assert_eq!(class(0.471, Some(Class::Medium)), Class::Medium);
        assert_eq!(class(0.469, Some(Class::Medium)), Class::Low);
        assert_eq!(class(0.471, Some(Class::Low)), Class::Low);
    }

    #[test]
    fn what_is_no_share_is_no_entropy() {
        for h in [f64::NAN, f64::INFINITY, -0.01, 1.01] {
            assert_eq!(Normalised::new(h), None);
            assert!(Normalised::try_from(h).unwrap_err().to_string().contains("must be 0 to 1"));
        }
        assert_eq!(Normalised::new(1.0 + 1e-12).map(Normalised::get), Some(1.0));
    }

    #[test]
    fn thresholds_name_the_field_that_is_wrong() {
        let with = |low, high, hysteresis| Settings { low, high, hysteresis };
        for (settings, field) in [
            (with(0.0, 0.85, 0.03), "low"),
            (with(f64::NAN, 0.85, 0.03), "low"),
            (with(0.5, 0.5, 0.03), "high"),
            (with(0.5, 1.1, 0.03), "high"),
            (with(0.5, 0.85, 0.35), "hysteresis"),
            (with(0.02, 0.85, 0.03), "hysteresis"),
            (with(0.5, 0.85, -0.1), "hysteresis"),
        ] {
            assert_eq!(Thresholds::new(settings).unwrap_err().field, field);
        }
    }

    #[test]
    fn thresholds_are_checked_when_they_are_read() {
        let read = serde_json::from_str::<Thresholds>;
        assert_eq!(read(r#"{"low": 0.4}"#).unwrap().class(Normalised(0.4), None), Class::Medium);
        assert!(read(r#"{"low": 0.9}"#).unwrap_err().to_string().contains("high is 0.85"));
        assert!(read(r#"{"lo": 0.4}"#).is_err());
        let written = serde_json::to_string(&Thresholds::default()).unwrap();
        assert_eq!(read(&written).unwrap(), Thresholds::default());
    }

    proptest! {
        #[test]
        fn hysteresis_delays_leaving_and_nothing_else(h in 0.0..=1.0) {
            let plain = class(h, None);
            let nearly = class((h + 0.03).min(1.0), None);
            for before in CLASSES {
                let with = class(h, before);
                // Never below what the bounds say, never above what they would say of `hysteresis` more.
                prop_assert!(plain <= with && with <= nearly);
                // What was kept was there before, and a class that was given is kept.
                prop_assert!(with == plain || Some(with) <= before);
                prop_assert_eq!(class(h, Some(with)), with);
            }
        }

        #[test]
        fn noise_within_the_hysteresis_changes_a_class_once_at_most(
            level in 0.0..=0.97,
            noise in prop::collection::vec(0.0..0.03, 1..50),
        ) {
            let mut before = None;
            let mut changes = 0;
            for up in noise {
                let now = Some(class(level + up, before));
                changes += u32::from(before.is_some() && now != before);
                before = now;
            }
            prop_assert!(changes <= 1, "{} changes", changes);
        }
    }
}
