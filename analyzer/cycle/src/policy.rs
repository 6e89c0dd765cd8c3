//! What an operator may set of the cycle, with defaults and the reason of each; checked once.

use isotherm_risk::class::Thresholds;
use isotherm_risk::habit::Rule as HabitRule;
use isotherm_risk::surge::Rule as SurgeRule;
use isotherm_risk::{FieldPolicy, GatePolicy, Mode, OutOfRange, RiskPolicy, gray};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Settings of the cycle, as they are written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Milliseconds of the shortest step, and from a cycle to the next. 60,000: a few hundred reads of a quiet
    /// partition. Where a minute is spoken of below, this is meant.
    pub step_ms: u64,
    /// What is called low, medium and high.
    pub class: Thresholds,
    /// How habits are formed.
    pub habit: HabitRule,
    /// What a surge is.
    pub surge: SurgeRule,
    /// What counts as an incident, and what failures and actions cost.
    pub risk: RiskPolicy,
    /// Headroom.
    pub field: FieldPolicy,
    /// Hours ahead that a risk is of, at the least: a day, so that all of its rhythm is in it. 24.
    pub horizon_h: f64,
    /// Times the expected time of a move that the horizon is at the least: what cannot be moved in time is to be
    /// seen in time. 4.
    pub move_times: f64,
    /// Minutes ahead that a surge is forecast for: as long as an operator needs to look. 15.
    pub lead_min: u32,
    /// Minutes after which a read counts half in the shares of the present. 15: a few hundred reads of a quiet
    /// partition.
    pub share_half_life_min: f64,
    /// Minutes after which shares that could not be measured any more are unknown. 60.
    pub share_expires_min: u32,
    /// Orders that are selected in a cycle at most; the others keep theirs for longer. 4000: a second of a core.
    pub selections: usize,
    /// What an action has to pass.
    pub gate: GatePolicy,
    /// How far the system goes by itself. To observe, until an operator says more.
    pub mode: Mode,
    /// How all stores shift reads without copying. Where it is not said, each does as its adapter says, and not at all
    /// without one.
    pub shifts: Option<Shifts>,
    /// Share of the reads that fail at a node that answers badly. .03, unidentified; fit.
    pub gray_failing: f64,
    /// When a node is suspected of answering badly.
    pub gray: gray::Rule,
    /// How habitual latencies are formed.
    pub gray_habit: gray::HabitRule,
    /// Holders that reads can do without, where nobody says more: with majorities 1 of 3; where any replica serves,
    /// all but one. By default any serves.
    pub reads_need: ReadsNeed,
}

/// How a store shifts reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shifts {
    /// It cannot.
    #[default]
    None,
    /// By another leader, which serves what the leader so far did.
    Lead,
    /// By draining a holder, whose reads the others serve.
    Drain,
}

/// How many holders a read needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadsNeed {
    /// More than half of them.
    Majority,
    /// One.
    Any,
}

impl ReadsNeed {
    /// Holders that may be away.
    #[must_use]
    pub fn bears(self, replicas: u8) -> u8 {
        match self {
            Self::Majority => replicas.saturating_sub(replicas / 2 + 1),
            Self::Any => replicas.saturating_sub(1),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            step_ms: 60_000,
            class: Thresholds::default(),
            habit: HabitRule::default(),
            surge: SurgeRule::default(),
            risk: RiskPolicy::default(),
            field: FieldPolicy::default(),
            horizon_h: 24.0,
            move_times: 4.0,
            lead_min: 15,
            share_half_life_min: 15.0,
            share_expires_min: 60,
            selections: 4_000,
            gate: GatePolicy::default(),
            mode: Mode::default(),
            shifts: None,
            gray_failing: 0.03,
            gray: gray::Rule::default(),
            gray_habit: gray::HabitRule::default(),
            reads_need: ReadsNeed::Any,
        }
    }
}

/// Why settings are none.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SettingsError {
    /// Of the risk.
    #[error(transparent)]
    Risk(#[from] OutOfRange),
    /// Of the cycle.
    #[error("{field} is {value}, not {must}")]
    Cycle {
        /// Which field.
        field: &'static str,
        /// What it is.
        value: f64,
        /// What it has to be.
        must: &'static str,
    },
}

/// Minutes ahead that can be forecast at most.
pub const LONGEST_LEAD: u32 = 30;

/// Hours ahead that a risk can be of at most: a week, which is what series of hours remember.
pub const LONGEST_HORIZON_H: f64 = 168.0;

impl Settings {
    /// Checks all numbers.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.risk.check()?;
        self.field.check()?;
        self.gate.check()?;
        let lead = f64::from(self.lead_min);
        let expires = f64::from(self.share_expires_min);
        for (field, value, from, to, must) in [
            ("step_ms", self.step_ms as f64, 1_000.0, 60_000.0, "1000 to 60000"),
            ("horizon_h", self.horizon_h, 1.0, LONGEST_HORIZON_H, "1 to 168"),
            ("move_times", self.move_times, 0.0, 100.0, "0 to 100"),
            ("lead_min", lead, 1.0, f64::from(LONGEST_LEAD), "1 to 30"),
            ("share_half_life_min", self.share_half_life_min, 1.0, 1_440.0, "1 to 1440"),
            ("share_expires_min", expires, 1.0, 10_080.0, "1 to 10080"),
            ("gray_failing", self.gray_failing, 0.0, 1.0, "0 to 1"),
            ("selections", self.selections as f64, 1.0, 1e6, "1 to 1000000"),
        ] {
            if !(from..=to).contains(&value) {
                return Err(SettingsError::Cycle { field, value, must });
            }
        }
        Ok(())
    }

    /// Hours that a risk of a partition of that size is of.
    #[must_use]
    pub fn horizon_of(&self, size_bytes: Option<u64>) -> f64 {
        let copy_h = size_bytes.map_or(0.0, |bytes| self.risk.cost.copy_h(bytes));
        self.horizon_h.max(self.move_times * copy_h).min(LONGEST_HORIZON_H)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right_and_a_wrong_number_is_named() {
        Settings::default().check().expect("defaults are right");
        let wrong = Settings { horizon_h: f64::NAN, ..Settings::default() };
        assert!(wrong.check().expect_err("it is none").to_string().starts_with("horizon_h is NaN"));
        let wrong = Settings { lead_min: 31, ..Settings::default() };
        assert_eq!(wrong.check().expect_err("too long").to_string(), "lead_min is 31, not 1 to 30");
    }

    #[test]
    fn a_large_partition_is_looked_at_farther_ahead_up_to_a_week() {
        let settings = Settings::default();
        assert_eq!(settings.horizon_of(None), 24.0);
        let ten_hours = (settings.risk.cost.copy_bytes_per_s * 36_000.0) as u64;
        assert!((settings.horizon_of(Some(ten_hours)) - 40.0).abs() < 1e-6);
        assert_eq!(settings.horizon_of(Some(u64::MAX)), LONGEST_HORIZON_H);
    }

    #[test]
    fn majorities_bear_less_than_readers_of_any() {
        assert_eq!([1, 2, 3, 5].map(|k| ReadsNeed::Majority.bears(k)), [0, 0, 1, 2]);
        assert_eq!([0, 1, 3].map(|k| ReadsNeed::Any.bears(k)), [0, 0, 2]);
    }
}
