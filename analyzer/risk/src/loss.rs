//! What a partition's clients are expected to lose per hour, in client-minutes.
//!
//! The unit: a *client-minute* is one client's minute of failed service. Services are known by their reads, so a
//! client is so many reads per minute ([`LossPolicy::reads_per_client_min`], by default 1): a partition of r reads
//! per second has 60 r / c clients, and failing f reads per second for t minutes loses 60 f t / c client-minutes. At
//! c = 1 a client-minute is one failed read. The unit cancels wherever losses are compared with losses or with costs;
//! it matters only where somebody reads the number.
//!
//! L(S), per hour, n the clients, is the sum of
//! - *failover*: lambda_i p_i n times the minutes to re-route, over nodes, and the same over domains;
//! - *overload after failures*: what the partition adds to sum over i of lambda_i times the survivors' expected
//!   overload, as clients, times the minutes to repair ([`Field::effect`]: it is the effect on everybody's clients);
//! - *present overload*: what it adds to the overload with all nodes up, as clients, times 60;
//! - *gray nodes*: the share of reads that fail where a node answers badly, p_i n times 60;
//! - *quorum* and *data*: the share of time without a quorum, n times 60; the frequency of losing all copies, n times
//!   the minutes until data is restored. Missing replicas raise the first: that is the under-replication term.
//!
//! The same function serves the present subset and any candidate: the planner asks it hundreds of thousands of times,
//! so [`Surroundings::loss_per_hour`] builds no parts. Overload at a node of unknown capacity is unknown, and so is
//! the loss of whatever lies there; who has no capacities at all switches overload off, and knows that.
//!
//! [`Field::effect`]: crate::Field::effect

mod cost;
mod gain;

pub use cost::{CopyCost, CostPolicy};
pub use gain::Gain;

use crate::bounds::{self, Must, OutOfRange};
use crate::domains::share_in;
use crate::exposure::{ExposurePolicy, Redundancy, Surroundings};
use crate::field::{Holding, Without};
use crate::ids::{Domain, Node};
use serde::{Deserialize, Serialize};

/// What failures cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossPolicy {
    /// Reads per minute that make a client. 1: a client-minute is a failed read.
    pub reads_per_client_min: f64,
    /// Seconds until clients of a node that failed are served elsewhere. 30: a usual lease or session time-out; give
    /// what was measured.
    pub reroute_s: f64,
    /// Whether overload counts. Off: capacities are not asked for, and their being unknown does not matter.
    pub overload: bool,
    /// Share of the time that nodes bear the load of the field. 1 if that is a mean; less if it is a peak, .25 for
    /// that of a day's six busiest hours.
    pub busy_share: f64,
    /// Hours until data of which no copy is left is restored. 24: from yesterday's backup, by people.
    pub restore_h: f64,
}

impl Default for LossPolicy {
    fn default() -> Self {
        Self { reads_per_client_min: 1.0, reroute_s: 30.0, overload: true, busy_share: 1.0, restore_h: 24.0 }
    }
}

impl LossPolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("loss.reads_per_client_min", self.reads_per_client_min, Must::Positive),
            ("loss.reroute_s", self.reroute_s, Must::NotNegative),
            ("loss.busy_share", self.busy_share, Must::Probability),
            ("loss.restore_h", self.restore_h, Must::NotNegative),
        ])
    }

    /// Clients that so many reads per second are.
    #[must_use]
    pub fn clients(&self, reads_per_s: f64) -> f64 {
        reads_per_s * 60.0 / self.reads_per_client_min
    }
}

/// Policies of exposure and loss together, as most functions need both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskPolicy {
    /// What counts as an incident, and times to repair.
    pub exposure: ExposurePolicy,
    /// What failures cost.
    pub loss: LossPolicy,
    /// What actions cost.
    pub cost: CostPolicy,
}

impl RiskPolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        self.exposure.check()?;
        self.loss.check()?;
        self.cost.check()
    }
}

/// An expected loss in client-minutes per hour, with its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Failover, by node in the order of the subset.
    pub by_node: Vec<(Node, f64)>,
    /// Failover of domains, in the order in which the subset touches them.
    pub by_domain: Vec<(Domain, f64)>,
    /// Sums of parts, and what no node or domain has of its own.
    pub parts: LossParts,
}

/// Parts of a loss, in client-minutes per hour.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossParts {
    /// Failovers of nodes.
    pub failover: f64,
    /// Failovers of whole domains.
    pub domains: f64,
    /// Overload of survivors after failures. Absent: a holder's capacity is unknown. 0 where overload is off.
    pub after_failures: Option<f64>,
    /// Present overload; absent alike.
    pub present_overload: Option<f64>,
    /// Reads that fail at gray nodes.
    pub gray: f64,
    /// Time without a quorum.
    pub quorum: f64,
    /// Loss of all copies.
    pub data: f64,
}

impl LossParts {
    /// All of it; absent where overload is unknown.
    #[must_use]
    pub fn per_hour(&self) -> Option<f64> {
        Some(self.without_overload() + self.after_failures? + self.present_overload?)
    }

    /// All but overload.
    #[must_use]
    pub fn without_overload(&self) -> f64 {
        self.until_rerouted() + self.under_replication()
    }

    /// Until clients have gone elsewhere: failovers, and reads that gray nodes fail.
    #[must_use]
    pub fn until_rerouted(&self) -> f64 {
        self.failover + self.domains + self.gray
    }

    /// While replicas are missing.
    #[must_use]
    pub fn under_replication(&self) -> f64 {
        self.quorum + self.data
    }
}

impl Loss {
    /// All of it in client-minutes per hour; absent where overload is unknown.
    #[must_use]
    pub fn per_hour(&self) -> Option<f64> {
        self.parts.per_hour()
    }
}

impl Surroundings<'_> {
    /// Expected loss of a partition if it were `held` so, with its parts; `own` is how it lies in the field (`None`:
    /// it is not part of it).
    ///
    /// # Panics
    /// Here and below: if a holder is no node of the field, or there are more than 64.
    #[must_use]
    pub fn loss(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> Loss {
        Loss {
            by_node: self.by_node(held, policy).collect(),
            by_domain: self.by_domain_loss(held, policy).collect(),
            parts: self.loss_parts(own, held, redundancy, policy),
        }
    }

    /// Expected loss in client-minutes per hour if the partition were `held` so. Absent where a holder's capacity is
    /// unknown and overload counts. The sum of [`Surroundings::loss_parts`].
    #[must_use]
    pub fn loss_per_hour(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> Option<f64> {
        self.loss_parts(own, held, redundancy, policy).per_hour()
    }

    /// Parts of the expected loss if the partition were `held` so.
    #[must_use]
    pub fn loss_parts(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> LossParts {
        self.parts_with(Without::new(self.field, own), held, redundancy, policy)
    }

    fn parts_with(
        &self,
        without: Without<'_>,
        held: &Holding<'_>,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> LossParts {
        let clients = policy.loss.clients(held.reads_per_s);
        let effect = if policy.loss.overload {
            without.effect(held, self.hazard_per_hour)
        } else {
            Some(crate::field::Effect::default())
        };
        let busy_min = 60.0 * policy.loss.busy_share;
        let gray = self.failing.map_or(0.0, |failing| {
            held.subset.iter().zip(held.shares).map(|(node, share)| share * failing[node.at()]).sum()
        });
        LossParts {
            failover: self.by_node(held, policy).map(|(_, loss)| loss).sum(),
            domains: self.by_domain_loss(held, policy).map(|(_, loss)| loss).sum(),
            after_failures: effect.map(|effect| {
                policy.loss.clients(effect.after_failures_per_s_h) * busy_min * policy.exposure.repair_h
            }),
            present_overload: effect.map(|effect| policy.loss.clients(effect.present_per_s) * busy_min),
            gray: clients * gray * 60.0,
            quorum: clients * 60.0 * self.quorum_loss(held, redundancy, &policy.exposure).share_of_time,
            data: clients * 60.0 * policy.loss.restore_h * self.data_loss(held, &policy.exposure).per_hour,
        }
    }

    fn by_node(&self, held: &Holding<'_>, policy: &RiskPolicy) -> impl Iterator<Item = (Node, f64)> {
        let waiting_min = policy.loss.clients(held.reads_per_s) * policy.loss.reroute_s / 60.0;
        let pairs = held.subset.iter().zip(held.shares);
        pairs.map(move |(node, share)| (*node, self.hazard_per_hour[node.at()] * share * waiting_min))
    }

    fn by_domain_loss(&self, held: &Holding<'_>, policy: &RiskPolicy) -> impl Iterator<Item = (Domain, f64)> {
        let waiting_min = policy.loss.clients(held.reads_per_s) * policy.loss.reroute_s / 60.0;
        self.domains.touched(held.subset).map(move |(domain, mask)| {
            let share = share_in(held.shares, mask);
            (domain, self.domains.hazard_per_hour(domain) * share * waiting_min)
        })
    }
}

#[cfg(test)]
mod tests;
