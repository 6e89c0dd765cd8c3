//! A prediction that waits for what comes of it.
//!
//! It follows the shares of its partition, because a node that fails is soon not eligible any more and its share is
//! forgotten then: what it was when the node left is what its failure took. Whether a prediction comes to a label must
//! not depend on the outcome, or labels would be a choice of the bad cases; so one whose partition was not watched for
//! most of the time comes to none, whatever is known to have happened in the rest of it.

use crate::state::Name;
use serde::{Deserialize, Serialize};

/// How late a failure may be told of. A share that is not served any more is known for as long, and a prediction waits
/// for as long after its horizon.
pub(super) const LATE_MS: u64 = 3_600_000;

/// Shares are quotients of sums: an even share of one in five is not to miss a fifth by its last bit.
const ROUNDING: f64 = 1e-9;

/// What a step says of the partition of a prediction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// The shares of nodes, by their numbers.
    Shares(Vec<(u32, f64)>),
    /// Its shares are not known.
    Nothing,
    /// It is being moved.
    Moving,
}

/// A node that serves, or did lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Served {
    node: u32,
    share: f64,
    /// When it last did, milliseconds.
    last_ms: u64,
}

/// A failure of nodes, by their numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    /// The same for failures that are one, see [`super::Calibrator`].
    pub(super) number: u32,
    pub(super) at_ms: u64,
    pub(super) nodes: Vec<u32>,
}

/// What a failure means for a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Struck {
    /// Nothing.
    Not,
    /// It is the incident.
    Incident,
    /// It may be one: nobody knows how much the nodes served.
    Unclear,
}

/// What becomes of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits.
    Open,
    /// It came to a label.
    Label,
    /// It never will.
    Lost,
}

/// A risk that was said, until it is known whether it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Prediction {
    pub(super) partition: Name,
    at_ms: u64,
    /// End of the horizon.
    pub(super) until_ms: u64,
    pub(super) risk: f64,
    /// What was said the risk means, at the time.
    pub(super) calibrated: Option<f64>,
    /// Whether its horizon overlaps none that was counted of the same partition.
    pub(super) independent: bool,
    served: Vec<Served>,
    /// Whether `served` is of the last step.
    known: bool,
    /// Time of the horizon in which shares were known.
    known_ms: u64,
    /// Number of the event that was the incident.
    pub(super) event: Option<u32>,
}

impl Prediction {
    pub(super) fn new(
        partition: Name,
        at_ms: u64,
        horizon_ms: u64,
        risk: f64,
        calibrated: Option<f64>,
    ) -> Self {
        Self {
            partition,
            at_ms,
            until_ms: at_ms.saturating_add(horizon_ms),
            risk,
            calibrated,
            independent: true,
            served: Vec::new(),
            known: false,
            known_ms: 0,
            event: None,
        }
    }

    /// Takes in the shares at the time it was made.
    pub(super) fn begin(&mut self, shares: &[(u32, f64)]) {
        self.known = true;
        self.update(shares, self.at_ms);
    }

    /// Takes in what a step that ends at `end_ms` says of the partition.
    pub(super) fn follow(&mut self, seen: &Seen, end_ms: u64, step_ms: u64) -> Stage {
        if self.event.is_none() && end_ms > self.at_ms && end_ms <= self.until_ms {
            match seen {
                // What would have come of it where it lay is not known any more.
                Seen::Moving => return Stage::Lost,
                Seen::Nothing => self.known = false,
                Seen::Shares(shares) => {
                    self.known = true;
                    self.known_ms += step_ms.min(end_ms - self.at_ms);
                    self.update(shares, end_ms);
                }
            }
        }
        if end_ms < self.until_ms.saturating_add(LATE_MS) {
            return Stage::Open;
        }
        if self.event.is_some() || self.watched(end_ms) { Stage::Label } else { Stage::Lost }
    }

    /// Whether a failure is an incident of this prediction; `now_ms` is the end of the last step. An incident is noted.
    pub(super) fn strike(&mut self, event: &Event, now_ms: u64, incident_share: f64) -> Struck {
        if self.event.is_some() || event.at_ms <= self.at_ms || event.at_ms > self.until_ms {
            return Struck::Not;
        }
        let failed = self.served.iter().filter(|served| event.nodes.contains(&served.node));
        let (share, nodes) = failed.fold((0.0, 0), |(sum, nodes), served| (sum + served.share, nodes + 1));
        if nodes == 0 {
            return Struck::Not;
        }
        if !self.known || now_ms.saturating_sub(event.at_ms) > LATE_MS || !self.watched(now_ms) {
            return Struck::Unclear;
        }
        if share + ROUNDING < incident_share {
            return Struck::Not;
        }
        self.event = Some(event.number);
        Struck::Incident
    }

    /// Whether shares were known for at least half of the horizon that has passed.
    fn watched(&self, now_ms: u64) -> bool {
        2 * self.known_ms >= now_ms.min(self.until_ms).saturating_sub(self.at_ms)
    }

    fn update(&mut self, shares: &[(u32, f64)], at_ms: u64) {
        self.served.retain(|served| at_ms - served.last_ms <= LATE_MS);
        for (node, share) in shares {
            match self.served.iter_mut().find(|served| served.node == *node) {
                Some(served) => (served.share, served.last_ms) = (*share, at_ms),
                None => self.served.push(Served { node: *node, share: *share, last_ms: at_ms }),
            }
        }
    }
}
