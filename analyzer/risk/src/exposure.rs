//! How often per hour clients of a partition would feel an incident: its exposure to its nodes' failures.
//!
//! Lambda(S) = sum over nodes i of lambda_i min(1, p_i / eps) (1 + kappa O_i) + sum over domains d of
//! lambda_d min(1, p_d / eps). A failure is an incident to the extent that it took reads (eps is the share from which
//! on it fully is one), and a worse one if the survivors have no headroom (O_i, the probability that any surviving
//! holder exceeds it). `kappa` and `eps` made no measurable difference in simulations: take them as conventions, not
//! as findings. With kappa above 0, Lambda is no longer the rate of a process, but a rate with some failures counted
//! up to 1 + kappa times.
//!
//! Losing the quorum or the data are of another kind than an incident of failover, so their rates stand beside
//! Lambda, not in it.
//!
//! Everything is a function of *where a partition might lie*: the present subset is one candidate among many.

mod horizon;
mod redundancy;

pub use horizon::second_order;
pub use redundancy::{Outages, Redundancy};

use crate::bounds::{self, Must, OutOfRange};
use crate::domains::{Domains, share_in};
use crate::field::Without;
use crate::field::{Field, Holding};
use crate::ids::{Domain, Node};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What counts as an incident, and how long what failed is away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExposurePolicy {
    /// Share of a partition's reads whose loss is fully an incident. .20, unidentified; fit.
    pub incident_share: f64,
    /// How many incidents more one counts if the survivors lack headroom. 1, unidentified; fit. At 0 headroom is not
    /// asked for, and unknown capacities do not matter.
    pub survivors_weight: f64,
    /// Hours until a node that failed is back or replaced. 2: half of all failures are reboots of minutes, and few
    /// take days.
    pub repair_h: f64,
    /// Hours until a domain that failed is back. 1: one of 15 minutes to 2 hours.
    pub domain_repair_h: f64,
    /// Share of nodes' failures whose data does not come back. .1, unidentified; fit.
    pub permanent_share: f64,
}

impl Default for ExposurePolicy {
    fn default() -> Self {
        Self {
            incident_share: 0.2,
            survivors_weight: 1.0,
            repair_h: 2.0,
            domain_repair_h: 1.0,
            permanent_share: 0.1,
        }
    }
}

impl ExposurePolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("exposure.incident_share", self.incident_share, Must::Share),
            ("exposure.survivors_weight", self.survivors_weight, Must::NotNegative),
            ("exposure.repair_h", self.repair_h, Must::Positive),
            ("exposure.domain_repair_h", self.domain_repair_h, Must::Positive),
            ("exposure.permanent_share", self.permanent_share, Must::Probability),
        ])
    }

    /// To what extent losing a share of the reads is an incident: min(1, p / eps), 0 to 1.
    #[must_use]
    pub fn felt(&self, share: f64) -> f64 {
        (share / self.incident_share).min(1.0)
    }
}

/// What partitions are exposed to: facts of all nodes and domains.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    pub(crate) field: &'a Field,
    pub(crate) hazard_per_hour: &'a [f64],
    pub(crate) domains: &'a Domains,
    pub(crate) failing: Option<&'a [f64]>,
}

/// Facts of nodes that do not belong together.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SurroundingsError {
    /// Facts of different numbers of nodes.
    #[error("{what} are of {have} nodes, and the field has {nodes}")]
    Count {
        /// Which facts.
        what: &'static str,
        /// Of how many nodes.
        have: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A number that is none, or not from 0 (to 1).
    #[error("{what} of node {} is {value}", node.0)]
    Number {
        /// Which fact.
        what: &'static str,
        /// Of which node.
        node: Node,
        /// What was given.
        value: f64,
    },
}

impl<'a> Surroundings<'a> {
    /// Puts facts together. `failing` is the share of reads at each node that fail while it still answers (a gray
    /// node's), if somebody knows.
    ///
    /// # Errors
    /// Facts that are not of the same nodes, or are no numbers.
    pub fn new(
        field: &'a Field,
        hazard_per_hour: &'a [f64],
        domains: &'a Domains,
        failing: Option<&'a [f64]>,
    ) -> Result<Self, SurroundingsError> {
        let nodes = field.nodes();
        let count = |what, have| {
            if have == nodes { Ok(()) } else { Err(SurroundingsError::Count { what, have, nodes }) }
        };
        count("hazards", hazard_per_hour.len())?;
        count("domains", domains.nodes())?;
        count("shares of failing reads", failing.map_or(nodes, <[f64]>::len))?;
        let number = |what, values: &[f64], most: f64| match values
            .iter()
            .position(|value| !(*value >= 0.0 && *value <= most))
        {
            Some(at) => Err(SurroundingsError::Number { what, node: Node(at as u32), value: values[at] }),
            None => Ok(()),
        };
        number("the hazard", hazard_per_hour, f64::MAX)?;
        number("the share of failing reads", failing.unwrap_or_default(), 1.0)?;
        Ok(Self { field, hazard_per_hour, domains, failing })
    }

    /// The load field.
    #[must_use]
    pub const fn field(&self) -> &'a Field {
        self.field
    }

    /// Failures per hour of a node.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn hazard_per_hour(&self, node: Node) -> f64 {
        self.hazard_per_hour[node.at()]
    }

    /// The failure domains.
    #[must_use]
    pub const fn domains(&self) -> &'a Domains {
        self.domains
    }
}

/// A node's part of an exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeExposure {
    /// The node.
    pub node: Node,
    /// Its part for the failover itself.
    pub failover_per_hour: f64,
    /// Its part for survivors without headroom. Absent: a survivor's capacity is unknown.
    pub survivors_per_hour: Option<f64>,
}

/// A domain's part of an exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainExposure {
    /// The domain.
    pub domain: Domain,
    /// Share of the reads that nodes in it serve.
    pub share: f64,
    /// Its part.
    pub per_hour: f64,
}

/// An exposure per hour with its parts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Exposure {
    /// By node, in the order of the subset.
    pub by_node: Vec<NodeExposure>,
    /// By domain, in the order in which the subset touches them.
    pub by_domain: Vec<DomainExposure>,
    /// The nodes' part for failovers.
    pub failover_per_hour: f64,
    /// The nodes' part for survivors without headroom. Absent: some survivor's capacity is unknown.
    pub survivors_per_hour: Option<f64>,
    /// The domains' part.
    pub domains_per_hour: f64,
}

impl Exposure {
    /// All of it. Absent where the survivors' part is unknown.
    #[must_use]
    pub fn per_hour(&self) -> Option<f64> {
        Some(self.failover_per_hour + self.survivors_per_hour? + self.domains_per_hour)
    }
}

impl Surroundings<'_> {
    /// The exposure of a partition if it were `held` so; `own` is how it lies in the field (`None`: it is not part of
    /// it).
    ///
    /// # Panics
    /// Here and below: if a holder is no node of the field.
    #[must_use]
    pub fn exposure(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        policy: &ExposurePolicy,
    ) -> Exposure {
        let mut exposure = Exposure { survivors_per_hour: Some(0.0), ..Exposure::default() };
        self.nodes(own, held, policy, |part| {
            exposure.failover_per_hour += part.failover_per_hour;
            exposure.survivors_per_hour =
                exposure.survivors_per_hour.zip(part.survivors_per_hour).map(|(sum, part)| sum + part);
            exposure.by_node.push(part);
        });
        for part in self.by_domain(held, policy) {
            exposure.domains_per_hour += part.per_hour;
            exposure.by_domain.push(part);
        }
        exposure
    }

    /// The exposure alone, without an allocation: for planners that ask it of many candidates. Absent where a
    /// survivor's capacity is unknown and counts.
    #[must_use]
    pub fn exposure_per_hour(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        policy: &ExposurePolicy,
    ) -> Option<f64> {
        let (mut failover, mut survivors) = (0.0, Some(0.0));
        self.nodes(own, held, policy, |part| {
            failover += part.failover_per_hour;
            survivors = survivors.zip(part.survivors_per_hour).map(|(sum, part)| sum + part);
        });
        let domains: f64 = self.by_domain(held, policy).map(|part| part.per_hour).sum();
        Some(failover + survivors? + domains)
    }

    fn nodes(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        policy: &ExposurePolicy,
        mut each: impl FnMut(NodeExposure),
    ) {
        let without = Without::new(self.field, own);
        for (at, (node, share)) in held.subset.iter().zip(held.shares).enumerate() {
            let failover_per_hour = self.hazard_per_hour[node.at()] * policy.felt(*share);
            let weight = policy.survivors_weight;
            let survivors_per_hour = if weight * failover_per_hour == 0.0 {
                Some(0.0)
            } else {
                without.any_exceeds(held, at).map(|exceeds| failover_per_hour * weight * exceeds)
            };
            each(NodeExposure { node: *node, failover_per_hour, survivors_per_hour });
        }
    }

    fn by_domain(&self, held: &Holding<'_>, policy: &ExposurePolicy) -> impl Iterator<Item = DomainExposure> {
        self.domains.touched(held.subset).map(|(domain, mask)| {
            let share = share_in(held.shares, mask);
            DomainExposure {
                domain,
                share,
                per_hour: self.domains.hazard_per_hour(domain) * policy.felt(share),
            }
        })
    }
}

#[cfg(test)]
mod tests;
