//! What a node's share of a partition, and a node's latency, habitually are.
//!
//! Exponentially weighted means over observed time, in a few bytes, since there is one for every replica. Latencies
//! are averaged as logarithms, because what matters is how many times the habit they are. While the caller says
//! that something is wrong nothing is learned, or a node that stays gray would become the habit; but not for
//! ever: after as long as the rule says in a row, what there is becomes the habit.

use super::{Latency, LatencyRatio};
use crate::bounds::{OutOfRange, require, written_as};
use serde::{Deserialize, Serialize};

/// How habits of shares and latencies are formed, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HabitSettings {
    /// Seconds that a value stands for: the length of a window. 60.
    pub step_s: f64,
    /// Observed hours after which a value weighs half. 24.
    pub half_life_h: f64,
    /// Observed minutes before anything is called habitual. 60.
    pub minimum_min: f64,
    /// Hours in a row in which nothing is learned, at most. 168.
    pub frozen_h: f64,
}

impl Default for HabitSettings {
    fn default() -> Self {
        Self { step_s: 60.0, half_life_h: 24.0, minimum_min: 60.0, frozen_h: 168.0 }
    }
}

/// Settings that were checked. One for all habits of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HabitSettings", into = "HabitSettings")]
pub struct HabitRule {
    settings: HabitSettings,
    kept: f32,
    minimum_weight: f32,
    frozen_steps: u32,
}

impl HabitRule {
    /// # Errors
    /// The field that is out of its range.
    pub fn new(settings: HabitSettings) -> Result<Self, OutOfRange> {
        let HabitSettings { step_s, half_life_h, minimum_min, frozen_h } = settings;
        require((10.0..=3600.0).contains(&step_s), "step_s", step_s, "10 to 3600")?;
        let is_half_life = (1.0..=168.0).contains(&half_life_h);
        require(is_half_life, "half_life_h", half_life_h, "1 to 168")?;
        let is_minimum = (1.0..=1440.0).contains(&minimum_min);
        require(is_minimum, "minimum_min", minimum_min, "1 to 1440")?;
        require((1.0..=8760.0).contains(&frozen_h), "frozen_h", frozen_h, "1 to 8760")?;
        let kept = (-step_s / (half_life_h * 3600.0)).exp2();
        let values = (60.0 * minimum_min / step_s).ceil();
        Ok(Self {
            settings,
            kept: kept as f32,
            // A little less than exactly, so that rounding to single precision does not keep it from being reached.
            minimum_weight: (0.999 * (1.0 - kept.powf(values)) / (1.0 - kept)) as f32,
            frozen_steps: (3600.0 * frozen_h / step_s).ceil() as u32,
        })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &HabitSettings {
        &self.settings
    }
}

impl Default for HabitRule {
    fn default() -> Self {
        Self::new(HabitSettings::default()).expect("the defaults are in their ranges, as a test says")
    }
}

written_as!(HabitRule, HabitSettings);

/// A mean that forgets, and how long it has not been taught.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mean {
    mean: f32,
    weight: f32,
    frozen: u32,
}

impl Mean {
    fn observe(&mut self, rule: &HabitRule, value: f64, frozen: bool) {
        if frozen {
            self.frozen = self.frozen.saturating_add(1);
            if self.frozen <= rule.frozen_steps {
                return;
            }
            // The habit is old; what was refused for so long is what there is.
            self.weight = 0.0;
        }
        self.frozen = 0;
        self.weight = self.weight * rule.kept + 1.0;
        self.mean += (value as f32 - self.mean) / self.weight;
    }

    fn get(&self, rule: &HabitRule) -> Option<f64> {
        (self.weight >= rule.minimum_weight).then(|| f64::from(self.mean))
    }
}

/// The habitual share of one node in one partition's reads, in 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShareHabit(Mean);

impl ShareHabit {
    /// Learns a window's share, unless `frozen`. `None`, or what is no share, teaches nothing: give `None` where
    /// too few reads were seen.
    pub fn observe(&mut self, rule: &HabitRule, share: Option<f64>, frozen: bool) {
        if let Some(share) = share.filter(|share| (0.0..=1.0).contains(share)) {
            self.0.observe(rule, share, frozen);
        }
    }

    /// The habitual share, 0 to 1; `None` while less than the rule's minimum was observed.
    #[must_use]
    pub fn share(&self, rule: &HabitRule) -> Option<f64> {
        self.0.get(rule)
    }
}

/// A node's habitual latency, in 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyHabit {
    /// Of logarithms to the base of 2.
    median: Mean,
    p99: Mean,
}

impl LatencyHabit {
    /// Learns a window's latency, unless `frozen`. `None`, or what is no latency (above 0, finite), teaches nothing.
    pub fn observe(&mut self, rule: &HabitRule, latency: Option<Latency>, frozen: bool) {
        if let Some(latency) = latency.filter(Latency::is_possible) {
            self.median.observe(rule, latency.median_ns.log2(), frozen);
            self.p99.observe(rule, latency.p99_ns.log2(), frozen);
        }
    }

    /// The habitual latency; `None` while less than the rule's minimum was observed.
    #[must_use]
    pub fn latency(&self, rule: &HabitRule) -> Option<Latency> {
        Some(Latency { median_ns: self.median.get(rule)?.exp2(), p99_ns: self.p99.get(rule)?.exp2() })
    }

    /// How many times the habit a latency is; `None` if either is not known.
    #[must_use]
    pub fn ratio(&self, rule: &HabitRule, latency: Option<Latency>) -> Option<LatencyRatio> {
        let (now, habitual) = (latency.filter(Latency::is_possible)?, self.latency(rule)?);
        Some(LatencyRatio { median: now.median_ns / habitual.median_ns, p99: now.p99_ns / habitual.p99_ns })
    }
}

impl Latency {
    fn is_possible(&self) -> bool {
        [self.median_ns, self.p99_ns].iter().all(|ns| *ns > 0.0 && ns.is_finite())
    }
}
