//! What a cycle decided of a partition, and everything it decided from.
//!
//! A record stands by itself: exposure, risk and loss can be computed from it again with the functions of
//! `isotherm_risk`, and must come out the same ([`Record::exposure`], [`Record::recomputed_risk`],
//! [`LossParts::total`]). It is what is stored, explained and replayed; nothing else is asked why.

use crate::band::Foreseen;
use isotherm_model::{PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether there is an entropy, and if not why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is.
    Known,
    /// A node was not watched.
    Unknown,
    /// Fewer than two nodes may serve.
    NotApplicable,
    /// Too few reads.
    Insufficient,
    /// Nobody has reported the partition in the step.
    Unseen,
}

impl Status {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not_applicable",
            Self::Insufficient => "insufficient",
            Self::Unseen => "unseen",
        }
    }
}

/// An entropy beside what is habitual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Over its largest value, 0 to 1; `None` if it is not known in this step.
    pub h: Option<f64>,
    /// What is habitual; `None` before there is a habit.
    pub habitual: Option<Habitual>,
    /// How far off, in robust standard deviations; `None` if either is not known.
    pub z: Option<f64>,
}

/// What is habitual at this time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Habitual {
    /// 0 to 1.
    pub value: f64,
    /// Median absolute deviation.
    pub mad: f64,
    /// Of how many weeks the median of this hour is; 0 if it is the mean of the last days.
    pub weeks: u8,
}

/// A node that holds the partition, and its part in the risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name.
    pub node: String,
    /// Share of the client reads that it serves, smoothed; `None` if it is not known.
    pub share: Option<f64>,
    /// Failures per hour.
    pub hazard: f64,
    /// The same over its class's.
    pub hazard_over_class: f64,
    /// Probability that a survivor exceeds its capacity if this node is lost; `None` where capacities or loads are
    /// not known.
    pub overload: Option<f64>,
    /// Its part of the exposure per hour.
    pub exposure: Option<f64>,
    /// Its part of the loss, client-minutes per hour.
    pub loss: Option<f64>,
}

/// A failure domain that holders lie in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainPart {
    /// Its name, with those around it.
    pub domain: String,
    /// Share of the reads that nodes in it serve.
    pub share: f64,
    /// Failures of the whole domain per hour.
    pub hazard: f64,
    /// Its part of the exposure per hour.
    pub exposure: f64,
}

/// Expected loss, client-minutes per hour, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossParts {
    /// Until clients have gone elsewhere.
    pub failover: f64,
    /// By survivors that are overloaded until the repair; `None` where capacities are not known.
    pub survivors_overload: Option<f64>,
    /// By nodes that are overloaded now; `None` where capacities are not known.
    pub present_overload: Option<f64>,
    /// By further failures while there are fewer replicas.
    pub under_replication: f64,
}

impl LossParts {
    /// The sum. `None` if a part is not known: what is known is in the parts.
    #[must_use]
    pub fn total(&self) -> Option<f64> {
        Some(self.failover + self.survivors_overload? + self.present_overload? + self.under_replication)
    }
}

/// The exposure's integral over a horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// Hours.
    pub hours: f64,
    /// Mean over simulated paths.
    pub mean: f64,
    /// Variance over them.
    pub variance: f64,
    /// Share of the horizon for which there was a model.
    pub forecast_share: f64,
}
