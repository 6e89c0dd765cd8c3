//! The numbers behind a habit, checked once and turned into steps.

use crate::bounds::{OutOfRange, require, written_as};
use serde::{Deserialize, Serialize};

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// How habits are formed, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seconds that a value stands for: the length of a window. 60.
    pub step_s: f64,
    /// Observed hours after which a value weighs half in the mean that is used before the same hour of two weeks
    /// is known. A day: shorter ones follow day and night, and call neither unusual. 24.
    pub half_life_h: f64,
    /// Observed minutes before anything is called habitual. A mean of 30 values is known to a fifth of their
    /// standard deviation. How the rest of the day will be it cannot know, but neither could it after half a day;
    /// until then the guess that a spread starts from is what keeps z small. 30.
    pub minimum_min: f64,
    /// Deviations from which on a value teaches nothing. 3.
    pub unusual_z: f64,
    /// Hours, net, after which an unusual level becomes the forgetting mean. 24.
    pub recent_gives_in_h: f64,
    /// Hours, net, beyond the same hours of other weeks, after which those weeks are forgotten. 48.
    pub weeks_give_in_h: f64,
    /// Hours in a row of an incident or a move after which both happens. 168.
    pub told_gives_in_h: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            step_s: 60.0,
            half_life_h: 24.0,
            minimum_min: 30.0,
            unusual_z: 3.0,
            recent_gives_in_h: 24.0,
            weeks_give_in_h: 48.0,
            told_gives_in_h: 168.0,
        }
    }
}

/// Settings that were checked. One for all habits of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Rule {
    settings: Settings,
    /// What is left of a value's weight after a step.
    kept: f64,
    minimum_weight: f64,
    day_weight: f64,
}

impl Rule {
    /// # Errors
    /// The field that is out of its range.
    pub fn new(settings: Settings) -> Result<Self, OutOfRange> {
        let Settings { step_s, half_life_h, minimum_min, unusual_z, .. } = settings;
        require((10.0..=3600.0).contains(&step_s), "step_s", step_s, "10 to 3600")?;
        let is_half_life = (1.0..=168.0).contains(&half_life_h);
        require(is_half_life, "half_life_h", half_life_h, "1 to 168")?;
        let is_minimum = (1.0..=1440.0).contains(&minimum_min);
        require(is_minimum, "minimum_min", minimum_min, "1 to 1440")?;
        require((1.0..=100.0).contains(&unusual_z), "unusual_z", unusual_z, "1 to 100")?;
        for (field, hours) in [
            ("recent_gives_in_h", settings.recent_gives_in_h),
            ("weeks_give_in_h", settings.weeks_give_in_h),
            ("told_gives_in_h", settings.told_gives_in_h),
        ] {
            require((1.0..=24.0 * 365.0).contains(&hours), field, hours, "1 to 8760")?;
        }
        let kept = (-step_s / (half_life_h * 3600.0)).exp2();
        let weight_after = |seconds: f64| weight_after(kept, (seconds / step_s).ceil());
        Ok(Self {
            settings,
            kept,
            minimum_weight: weight_after(60.0 * minimum_min),
            day_weight: weight_after(DAY_S),
        })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn kept(&self) -> f64 {
        self.kept
    }

    pub(super) fn minimum_weight(&self) -> f64 {
        self.minimum_weight
    }

    pub(super) fn day_weight(&self) -> f64 {
        self.day_weight
    }

    pub(super) fn unusual_z(&self) -> f64 {
        self.settings.unusual_z
    }

    pub(super) fn unusual_steps(&self, by_weeks: bool) -> u32 {
        self.steps(if by_weeks { self.settings.weeks_give_in_h } else { self.settings.recent_gives_in_h })
    }

    pub(super) fn told_steps(&self) -> u32 {
        self.steps(self.settings.told_gives_in_h)
    }

    /// Values that stand for an hour of the week.
    pub(super) fn quarter_hour_steps(&self) -> u32 {
        self.steps(0.25)
    }

    fn steps(&self, hours: f64) -> u32 {
        (hours * 3600.0 / self.settings.step_s).ceil() as u32
    }
}

/// Weight of a running mean after so many values, a little less than exactly so that rounding to single precision
/// does not keep it from being reached.
fn weight_after(kept: f64, values: f64) -> f64 {
    0.999 * (1.0 - kept.powf(values)) / (1.0 - kept)
}

impl Default for Rule {
    fn default() -> Self {
        Self::new(Settings::default()).expect("the defaults are in their ranges, as a test says")
    }
}

written_as!(Rule, Settings);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_rule() {
        assert_eq!(Rule::default().settings(), &Settings::default());
        assert_eq!(Rule::default().quarter_hour_steps(), 15);
    }

    #[test]
    fn settings_name_the_field_that_is_wrong() {
        type Change = fn(&mut Settings);
        let changes: [(&str, Change); 7] = [
            ("step_s", |settings| settings.step_s = 1.0),
            ("half_life_h", |settings| settings.half_life_h = f64::NAN),
            ("minimum_min", |settings| settings.minimum_min = 0.0),
            ("unusual_z", |settings| settings.unusual_z = 0.0),
            ("recent_gives_in_h", |settings| settings.recent_gives_in_h = 0.0),
            ("weeks_give_in_h", |settings| settings.weeks_give_in_h = f64::INFINITY),
            ("told_gives_in_h", |settings| settings.told_gives_in_h = -1.0),
        ];
        for (field, change) in changes {
            let mut settings = Settings::default();
            change(&mut settings);
            assert_eq!(Rule::new(settings).unwrap_err().field, field);
            let text = serde_json::to_string(&settings).unwrap();
            assert!(serde_json::from_str::<Rule>(&text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"half_life_d": 1}"#).is_err());
    }
}
