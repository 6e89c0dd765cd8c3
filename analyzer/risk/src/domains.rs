//! Which failure domains nodes share, and how often a domain fails as a whole.

use crate::ids::{Domain, Node};
use thiserror::Error;

/// Failure domains of all levels and who is in them. A domain's hazard is that of failures that take all of its
/// nodes at once (a switch, a power feed); those of single nodes are the nodes'.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Domains {
    start: Vec<usize>,
    of: Vec<Domain>,
    hazard_per_hour: Vec<f64>,
}

/// What no domains can be built from.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DomainsError {
    /// A domain that there is not.
    #[error("node {} is in domain {}, and there are {domains}", node.0, domain.0)]
    NoSuchDomain {
        /// The node.
        node: Node,
        /// Its domain.
        domain: Domain,
        /// How many domains there are.
        domains: usize,
    },
    /// A hazard that is not a number of 0 or more.
    #[error("domain {} has a hazard of {hazard_per_hour} per hour", domain.0)]
    Hazard {
        /// The domain.
        domain: Domain,
        /// What was given.
        hazard_per_hour: f64,
    },
}

impl Domains {
    /// The domains of each node, of all levels, and each domain's hazard per hour.
    ///
    /// # Errors
    /// A domain that there is not, or a hazard that is none.
    pub fn new<'a>(
        of_nodes: impl IntoIterator<Item = &'a [Domain]>,
        hazard_per_hour: Vec<f64>,
    ) -> Result<Self, DomainsError> {
        let right = |hazard: &f64| hazard.is_finite() && *hazard >= 0.0;
        if let Some(at) = hazard_per_hour.iter().position(|hazard| !right(hazard)) {
            let domain = Domain(at as u32);
            return Err(DomainsError::Hazard { domain, hazard_per_hour: hazard_per_hour[at] });
        }
        let mut domains = Self { start: vec![0], of: Vec::new(), hazard_per_hour };
        for (node, own) in (0_u32..).map(Node).zip(of_nodes) {
            if let Some(domain) = own.iter().find(|domain| domain.at() >= domains.hazard_per_hour.len()) {
                let count = domains.hazard_per_hour.len();
                return Err(DomainsError::NoSuchDomain { node, domain: *domain, domains: count });
            }
            let from = domains.of.len();
            for domain in own {
                if !domains.of[from..].contains(domain) {
                    domains.of.push(*domain);
                }
            }
            domains.start.push(domains.of.len());
        }
        Ok(domains)
    }

    /// No domain, for so many nodes: each fails by itself alone.
    #[must_use]
    pub fn none(nodes: usize) -> Self {
        Self { start: vec![0; nodes + 1], of: Vec::new(), hazard_per_hour: Vec::new() }
    }

    /// How many nodes were given.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.start.len().saturating_sub(1)
    }

    /// How many domains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hazard_per_hour.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hazard_per_hour.is_empty()
    }

    /// The domains of a node, each once.
    ///
    /// # Panics
    /// Here and below: if there is no such node or domain.
    #[must_use]
    pub fn of(&self, node: Node) -> &[Domain] {
        &self.of[self.start[node.at()]..self.start[node.at() + 1]]
    }

    /// How often per hour a domain fails as a whole.
    #[must_use]
    pub fn hazard_per_hour(&self, domain: Domain) -> f64 {
        self.hazard_per_hour[domain.at()]
    }

    /// Share of the reads that the nodes of a subset inside a domain serve.
    #[must_use]
    pub fn share(&self, domain: Domain, subset: &[Node], shares: &[f64]) -> f64 {
        share_in(shares, self.mask(subset, domain))
    }

    /// Each domain that a subset touches, once, with the places of those in it as bits: the first node's is the
    /// lowest.
    pub(crate) fn touched(&self, subset: &[Node]) -> impl Iterator<Item = (Domain, u64)> {
        subset.iter().enumerate().flat_map(move |(at, node)| {
            let first = move |domain: &&Domain| !subset[..at].iter().any(|n| self.of(*n).contains(domain));
            self.of(*node).iter().filter(first).map(move |domain| (*domain, self.mask(subset, *domain)))
        })
    }

    fn mask(&self, subset: &[Node], domain: Domain) -> u64 {
        let inside = subset.iter().enumerate().filter(|(_, node)| self.of(**node).contains(&domain));
        inside.fold(0, |mask, (at, _)| mask | 1 << at)
    }
}

/// Sum of the shares at the places whose bits are set.
pub(crate) fn share_in(shares: &[f64], mask: u64) -> f64 {
    shares.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, share)| share).sum()
}
