//! What a cycle decided of a partition, and everything it decided from.
//!
//! A record stands by itself: exposure, risk and loss can be computed from it again, and must come out the same
//! ([`Record::recomputed_exposure`], [`Record::recomputed_risk`], the parts of the loss). It is what is stored,
//! explained and replayed; nothing else is asked why.

use crate::band::Foreseen;
use isotherm_model::Timestamp;
use isotherm_risk::{LossParts, second_order};
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
    /// Nobody has counted the partition in the step.
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

/// Whether the entropy surges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surging {
    /// Since then.
    Since(u64),
    /// No.
    Quiet,
    /// Too little is known.
    Unknown,
}

impl Surging {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Since(_) => "surging",
            Self::Quiet => "quiet",
            Self::Unknown => "unknown",
        }
    }
}

/// A node that holds the partition, and its part in the risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Its position in the cluster.
    pub node: u32,
    /// Share of the client reads that it serves, smoothed; `None` if it is not known.
    pub share: Option<f64>,
    /// Failures per hour.
    pub hazard: f64,
    /// The same over its class's.
    pub hazard_over_class: f64,
    /// Probability that a survivor exceeds its headroom if this node is lost; `None` where capacities or loads are
    /// not known.
    pub overload: Option<f64>,
    /// Its part of the exposure per hour; without its survivors' overload where that is not known.
    pub exposure: Option<f64>,
    /// Its part of the failover loss, client-minutes per hour.
    pub loss: Option<f64>,
}

/// A failure domain that holders lie in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DomainPart {
    /// Its position in the cluster.
    pub domain: u32,
    /// Share of the reads that nodes in it serve.
    pub share: f64,
    /// Failures of the whole domain per hour.
    pub hazard: f64,
    /// Its part of the exposure per hour.
    pub exposure: f64,
}

/// An exposure and its integral over a horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exposed {
    /// At the present shares, per hour.
    pub per_hour: f64,
    /// If the entropy were as it is habitual, per hour; `None` without a habit.
    pub habitual_per_hour: Option<f64>,
    /// Whether survivors' headroom is in it. If not, all of this is a lower bound.
    pub headroom_known: bool,
    /// Hours of the horizon.
    pub horizon_h: f64,
    /// Mean of the integral over simulated paths.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
    /// Share of the horizon for which there was a model.
    pub forecast_share: f64,
    /// Probability of an incident within the horizon.
    pub risk: f64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too little is known to say.
    Unknown,
    /// Nothing.
    Nothing,
    /// Let others serve its reads.
    ShiftReads,
    /// Move it.
    Move,
    /// It is at risk, and no move that is allowed would help.
    MovingWillNotHelp,
    /// It is too large for any node.
    SplitIt,
    /// All nodes are too full.
    SlowDownClients,
}

impl Verdict {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Nothing => "nothing",
            Self::ShiftReads => "shift_reads",
            Self::Move => "move",
            Self::MovingWillNotHelp => "moving_will_not_help",
            Self::SplitIt => "split_it",
            Self::SlowDownClients => "slow_down_clients",
        }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// End of the step that was judged.
    pub at: At,
    /// Revision of the cluster.
    pub revision: u64,
    /// System.
    pub system: String,
    /// Name in the system.
    pub partition: String,
    /// Whether there is an entropy over nodes.
    pub status: Status,
    /// Over nodes.
    pub node: Judged,
    /// In bits, Miller-Madow; `None` unless known.
    pub bits: Option<f64>,
    /// 2^bits.
    pub effective_nodes: Option<f64>,
    /// `low`, `medium`, `high`; `None` before the first known value.
    pub class: Option<isotherm_risk::class::Class>,
    /// Over offsets; `None` if it was never known.
    pub offset: Option<Judged>,
    /// Over peers; `None` if it was never known.
    pub peer: Option<Judged>,
    /// Whether the entropy over nodes surges.
    pub surge: Surging,
    /// What is foreseen of the minute series, so many steps ahead.
    pub forecast: Option<Foreseen>,
    /// The order of its model.
    pub order: Option<[usize; 3]>,
    /// Whether the lower end of what is foreseen is well above the habit; `None` if either is not known.
    pub forecast_surge: Option<bool>,
    /// Client reads per second; `None` if they are not known.
    pub reads_per_s: Option<f64>,
    /// `None` if the shares are not known.
    pub exposure: Option<Exposed>,
    /// Risk after calibration; `None` while there are too few labels.
    pub calibrated: Option<f64>,
    /// Client-minutes per hour; `None` if the shares are not known.
    pub loss: Option<LossParts>,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Domains that they lie in.
    pub domains: Vec<DomainPart>,
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// What the verdict would have done, if anything.
    pub action: Option<Box<Action>>,
    /// The shift of its reads that is in force, and whether it is still needed.
    pub shift: Option<Shifted>,
}

/// A shift of reads that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shifted {
    /// The node that reads are kept off, as a position in the cluster.
    pub node: u32,
    /// Since when.
    pub since: At,
    /// Whether what it was for is still there. Judged on the node, as the shares hide it.
    pub cause: Cause,
}

/// Whether a shift is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The node is as hazardous, or suspected, or would have no headroom with the reads back.
    There,
    /// It is none of these, and is up.
    Gone,
    /// It is not up, or too little is known of it.
    Unknown,
}

/// What a verdict would have done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// What.
    pub how: How,
    /// Client-minutes that it is expected to save.
    pub benefit: f64,
    /// Client-minutes that it saves at the least.
    pub benefit_lower: f64,
    /// Hours for which that is counted: see [`GatePolicy::useful_h`](isotherm_risk::GatePolicy::useful_h).
    pub lasting_h: f64,
    /// Client-minutes per hour after it; `None` of a shift.
    pub loss_after_per_hour: Option<f64>,
    /// Client-minutes that it costs.
    pub cost: f64,
    /// A suspicion that a holder answers badly is among its causes.
    pub gray: bool,
    /// How far it may go by itself.
    pub standing: isotherm_risk::Standing,
}

/// Who is to do what, by nodes' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Another holder leads.
    Lead {
        /// It.
        to: String,
    },
    /// A holder serves no reads.
    Drain {
        /// It.
        from: String,
    },
    /// A replica gets another node.
    Move {
        /// Who gives it up.
        from: String,
        /// Who gets it.
        to: String,
    },
}

/// A moment, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub u64);

impl From<Timestamp> for At {
    fn from(at: Timestamp) -> Self {
        Self(at.as_ms())
    }
}

impl Record {
    /// The exposure per hour, from the holders' and domains' shares and hazards alone: the sum of lambda min(1, p / eps)
    /// (1 + kappa O) over holders and of lambda min(1, p / eps) over domains. `None` if a share is not known.
    #[must_use]
    pub fn recomputed_exposure(&self, incident_share: f64, survivors_weight: f64) -> Option<f64> {
        let felt = |share: f64| (share / incident_share).min(1.0);
        let mut sum = 0.0;
        for holder in &self.holders {
            let overload = holder.overload.unwrap_or(0.0);
            sum += holder.hazard * felt(holder.share?) * (1.0 + survivors_weight * overload);
        }
        Some(sum + self.domains.iter().map(|domain| domain.hazard * felt(domain.share)).sum::<f64>())
    }

    /// The risk, from the mean and the variance of the integrated exposure. `None` without one.
    #[must_use]
    pub fn recomputed_risk(&self) -> Option<f64> {
        self.exposure.map(|exposed| second_order(exposed.mean, exposed.variance))
    }

    /// The part of the expected incidents over the horizon that is due to the entropy's being forecast other than it
    /// habitually is. `None` without a habit or an exposure.
    #[must_use]
    pub fn surge_part(&self) -> Option<f64> {
        let exposed = self.exposure?;
        Some(exposed.mean - exposed.habitual_per_hour? * exposed.horizon_h)
    }
}
