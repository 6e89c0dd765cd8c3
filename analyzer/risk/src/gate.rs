//! Whether anything should be done about one partition.
//!
//! A move needs a cause (a holder far more hazardous than its class, or one that will not have headroom), and must
//! pay: its benefit, at the lower bound of what is believed, is several times its cost. And it must not make another
//! partition's life worse: its destination keeps headroom. A class of entropy or a surge is no cause; a surge says
//! where to look first. Reads are shifted before bytes are copied, as that costs a pause alone.
//!
//! If there is a cause and nothing that helps, the gate says which of it failed, with the numbers, or what would help
//! instead: a partition too large for any node has to be split, a cluster too full for its load needs more nodes or
//! fewer reads.
//!
//! What is unknown passes no check. Each factor can be switched off, so that policies with and without it can be
//! compared; off means that it neither causes nor forbids.

mod candidate;
mod decide;
mod threshold;
mod verdict;

pub use candidate::{Candidates, Shifted};
pub use decide::{Destination, Move, Shift, ShiftAction, Situation, decide, undo_shift};
pub use verdict::{Check, Criterion, Decision, Judged, Standing, Verdict, WhyNot};

use crate::bounds::{self, Must, OutOfRange};
use crate::loss::Gain;
use serde::{Deserialize, Serialize};

/// What an action must pass. Defaults: docs/risk.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatePolicy {
    /// Hours that a move is expected to be of use. 336: two weeks.
    pub residence_h: f64,
    /// Share of the meaning of a partition's shares that is taken to be lost in a day, where it was not measured yet.
    /// 1/30: who serves changes for good once a month.
    pub drift_per_day: f64,
    /// Hours that a gray node goes on to fail reads. 4.
    pub gray_h: f64,
    /// Probability with which the benefit is at least its lower bound. .80.
    pub confidence: f64,
    /// How many times its cost a move must gain. 3.
    pub gain_over_cost: f64,
    /// How many times its pause a shift must gain. 30: nobody should feel shifts.
    pub shift_gain_over_pause: f64,
    /// Hours after a shift in which the partition's reads are not shifted again. 48.
    pub shift_cool_down_h: f64,
    /// How many times its class's hazard a holder has that is a cause. 5.
    pub hazard_trigger: f64,
    /// How many times its class's hazard a destination may have. 2.5.
    pub hazard_ratio: f64,
    /// Probability that a holder exceeds its headroom at present, from which on that is a cause. .5. One that is only
    /// foreseen is a cause from `confidence` on: even the lower bound of the load is too much then.
    pub headroom_trigger: f64,
    /// Share of its capacity that a destination may reach. .85.
    pub headroom: f64,
    /// How many times the mean load over capacity a destination may reach. 1.05.
    pub peak_over_mean: f64,
    /// What a move for hazard must leave of the exposure at most. .7.
    pub exposure_left: f64,
    /// How many times the loss with a shift that without it must be, for the shift to stay. 1.5.
    pub shift_keeps: f64,
    /// What counts.
    pub factors: Factors,
    /// What makes somebody act.
    pub trigger: Trigger,
    /// The risk above which `threshold` acts, 0 to 1. .05.
    pub risk_threshold: f64,
}

/// What makes somebody act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A cause, and an action that pays.
    #[default]
    Gate,
    /// A risk above the threshold, and a place where less is lost. What it costs is not asked.
    Threshold,
}

/// What a gate takes into account: all of it, but in comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Factors {
    /// Hazards of nodes' own: as a cause, of destinations, and in exposures.
    pub hazard: bool,
    /// Forecasts: a headroom that is only forecast to be exceeded is a cause. Who makes the numbers leaves forecasts
    /// out of them too.
    pub forecast: bool,
    /// Shifts of reads.
    pub shifting: bool,
    /// Headroom: as a cause and of destinations.
    pub headroom: bool,
    /// Suspicions that a node answers badly, as a cause.
    pub gray: bool,
}

impl Default for Factors {
    fn default() -> Self {
        Self { hazard: true, forecast: true, shifting: true, headroom: true, gray: true }
    }
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            residence_h: 14.0 * 24.0,
            drift_per_day: 1.0 / 30.0,
            gray_h: 4.0,
            confidence: 0.8,
            gain_over_cost: 3.0,
            shift_gain_over_pause: 30.0,
            shift_cool_down_h: 48.0,
            hazard_trigger: 5.0,
            hazard_ratio: 2.5,
            headroom_trigger: 0.5,
            headroom: 0.85,
            peak_over_mean: 1.05,
            exposure_left: 0.7,
            shift_keeps: 1.5,
            factors: Factors::default(),
            trigger: Trigger::Gate,
            risk_threshold: 0.05,
        }
    }
}

impl GatePolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("gate.residence_h", self.residence_h, Must::Positive),
            ("gate.drift_per_day", self.drift_per_day, Must::NotNegative),
            ("gate.gray_h", self.gray_h, Must::NotNegative),
            ("gate.confidence", self.confidence, Must::Share),
            ("gate.confidence less than 1", 1.0 - self.confidence, Must::Share),
            ("gate.gain_over_cost", self.gain_over_cost, Must::NotNegative),
            ("gate.shift_gain_over_pause", self.shift_gain_over_pause, Must::NotNegative),
            ("gate.shift_cool_down_h", self.shift_cool_down_h, Must::NotNegative),
            ("gate.hazard_trigger", self.hazard_trigger, Must::NotNegative),
            ("gate.hazard_ratio", self.hazard_ratio, Must::AtLeastOne),
            ("gate.headroom_trigger", self.headroom_trigger, Must::Share),
            ("gate.headroom", self.headroom, Must::Share),
            ("gate.peak_over_mean", self.peak_over_mean, Must::AtLeastOne),
            ("gate.exposure_left", self.exposure_left, Must::Share),
            ("gate.shift_keeps", self.shift_keeps, Must::AtLeastOne),
            ("gate.risk_threshold", self.risk_threshold, Must::Share),
        ])
    }

    /// Hours of the residence in which shares will still be what they are, if they lose their meaning at a rate per
    /// hour: (1 - exp(-d T)) / d. All of it where they do not drift; where that is unknown, at the rate that the
    /// policy takes for it.
    #[must_use]
    pub fn useful_h(&self, drift_per_hour: Option<f64>) -> f64 {
        let drift_per_hour = drift_per_hour.unwrap_or(self.drift_per_day / 24.0);
        if drift_per_hour > 0.0 {
            -(-drift_per_hour * self.residence_h).exp_m1() / drift_per_hour
        } else {
            self.residence_h
        }
    }

    /// Whether such a probability of exceeding the headroom, at a moment to come or in a case that may come about, is
    /// a cause. What does not last is not worth a move, and what is as likely as not will as often not come.
    #[must_use]
    pub fn foresees(&self, exceeds: f64) -> bool {
        exceeds >= self.headroom_trigger.max(self.confidence)
    }

    /// Client-minutes that a gain is expected to save: what lasts over the residence, what gray nodes fail as long as
    /// they do.
    #[must_use]
    pub fn saved(&self, gain: Gain, drift_per_hour: Option<f64>) -> f64 {
        let useful_h = self.useful_h(drift_per_hour);
        gain.per_hour * useful_h + gain.gray_per_hour * self.gray_h.min(useful_h)
    }
}

/// How far an operator lets the system go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It keeps a diary of what it would have done.
    #[default]
    Observe,
    /// It tells.
    Recommend,
    /// It asks.
    Approve,
    /// It acts.
    Auto,
}

#[cfg(test)]
mod tests;
