//! How often nodes and domains fail, from how often they did.
//!
//! Failures are few: most nodes never failed, and a rate per node of its own record alone would be 0 for them and
//! wild for the others. So a node's rate is drawn from a distribution over its class (hardware of one make, one image,
//! one rack generation) that the class's records fit, and its own record moves it from there: empirical Bayes with
//! failures Poisson and rates Gamma. The posterior of a node with f failures in e hours is Gamma(alpha + f,
//! beta + e), its mean (alpha + f) / (beta + e). The pseudo-count alpha is at most 1, so that a node's own failures
//! outweigh its class's soon: what makes a node worth leaving is that it is not like its class.
//!
//! Old records count less, failures and hours alike: nodes are repaired and upgraded. Hours in which nobody watched
//! are no hours without failure, they are not there; see [`History`].
//!
//! A class without records borrows from all the others, and those from a *stated* prior: one failure per
//! node-year. A server's hardware fails every ten or twenty years, its software, power and people every few months;
//! once a year is within ten times of both. It weighs as one failure does, and a hazard that rests on it says so
//! ([`Basis::Prior`]).

mod history;
mod posterior;
mod prior;

pub use history::{DownCause, History, HistoryError, Span, SpanState, Tally};
pub use posterior::{Basis, Hazard};
pub use prior::ClassPrior;

use crate::bounds::{self, Must, OutOfRange};
use isotherm_model::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How records become hazards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HazardPolicy {
    /// Days after which a record counts half. 60: about two failures' worth of time between upgrades.
    pub half_life_days: f64,
    /// Failures per node and year that are assumed where nothing is known. 1: see the module.
    pub prior_per_year: f64,
    /// Most and least pseudo-count of a class. 1 and .1.
    pub most_pseudo_count: f64,
    /// See above. Less means that a node's own record counts more, and nodes without failures count as safer.
    pub least_pseudo_count: f64,
}

impl Default for HazardPolicy {
    fn default() -> Self {
        Self { half_life_days: 60.0, prior_per_year: 1.0, most_pseudo_count: 1.0, least_pseudo_count: 0.1 }
    }
}

/// Hours of a year of 365 days.
pub(crate) const YEAR_H: f64 = 8760.0;

impl HazardPolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("hazard.half_life_days", self.half_life_days, Must::Positive),
            ("hazard.prior_per_year", self.prior_per_year, Must::Positive),
            ("hazard.most_pseudo_count", self.most_pseudo_count, Must::Share),
            ("hazard.least_pseudo_count", self.least_pseudo_count, Must::Share),
            (
                "hazard.most_pseudo_count less hazard.least_pseudo_count",
                self.most_pseudo_count - self.least_pseudo_count,
                Must::NotNegative,
            ),
        ])
    }

    /// The assumed failures per hour.
    pub(crate) fn prior_per_hour(&self) -> f64 {
        self.prior_per_year / YEAR_H
    }
}

/// What nodes (or domains) have in common that makes their rates alike: make, image, level. A position, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeClass(pub u32);

/// What an operator knows better.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Of which subject, by position.
    pub subject: u32,
    /// What it is.
    pub rate: OverrideRate,
    /// Why; it is shown wherever the hazard is.
    pub reason: String,
    /// Until when, not included. Absent: until it is taken back.
    pub until: Option<Timestamp>,
}

/// What an override says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OverrideRate {
    /// Failures per hour, whatever the record.
    PerHour(f64),
    /// So many times what the record says.
    Factor(f64),
}

/// What no hazards can be found from.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HazardError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] OutOfRange),
    /// Not one class for each record.
    #[error("there are {tallies} records and {classes} classes")]
    Count {
        /// Records.
        tallies: usize,
        /// Classes.
        classes: usize,
    },
    /// A record that is none.
    #[error("the record of {subject} has {} failures in {} hours", tally.failures, tally.exposure_h)]
    Tally {
        /// Whose.
        subject: u32,
        /// What was given.
        tally: Tally,
    },
    /// An override of nobody, or one that is not a number of 0 or more.
    #[error("the override of {subject} ({reason}) is of nobody, or no rate")]
    Override {
        /// Whose.
        subject: u32,
        /// Its reason.
        reason: String,
    },
}

/// Hazards of nodes, or of domains.
#[derive(Debug, Clone, PartialEq)]
pub struct Hazards {
    /// By position.
    pub of: Vec<Hazard>,
    /// By class, those without a member too.
    pub classes: Vec<ClassPrior>,
}

impl Hazards {
    /// Hazards from records (see [`History::tally`]), a class of each, and overrides as of `now`. Of several
    /// overrides of one subject the last that has not run out holds.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn estimate(
        tallies: &[Tally],
        classes: &[NodeClass],
        overrides: &[Override],
        now: Timestamp,
        policy: &HazardPolicy,
    ) -> Result<Self, HazardError> {
        policy.check()?;
        if tallies.len() != classes.len() {
            return Err(HazardError::Count { tallies: tallies.len(), classes: classes.len() });
        }
        if let Some(subject) = tallies.iter().position(|tally| !tally.is_one()) {
            return Err(HazardError::Tally { subject: subject as u32, tally: tallies[subject] });
        }
        let priors = prior::of_classes(tallies, classes, policy);
        let all = Tally::sum(tallies);
        let mut of: Vec<Hazard> = tallies
            .iter()
            .zip(classes)
            .map(|(tally, class)| {
                let prior = &priors[class.0 as usize];
                Hazard::estimate(*tally, prior, prior::without(*tally, prior, all, policy))
            })
            .collect();
        for held in overrides {
            let rate = match held.rate {
                OverrideRate::PerHour(rate) | OverrideRate::Factor(rate) => rate,
            };
            let hazard = of.get_mut(held.subject as usize);
            match (hazard, rate.is_finite() && rate >= 0.0) {
                (Some(hazard), true) => {
                    if held.until.is_none_or(|until| now < until) {
                        hazard.hold(held.rate);
                    }
                }
                (None, _) | (_, false) => {
                    let (subject, reason) = (held.subject, held.reason.clone());
                    return Err(HazardError::Override { subject, reason });
                }
            }
        }
        Ok(Self { of, classes: priors })
    }

    /// Failures per hour, by position: posterior means or what overrides say.
    #[must_use]
    pub fn per_hour(&self) -> Vec<f64> {
        self.of.iter().map(Hazard::per_hour).collect()
    }

    /// How many times its class's each hazard is, by position.
    #[must_use]
    pub fn over_class(&self) -> Vec<f64> {
        self.of.iter().map(Hazard::over_class).collect()
    }
}

#[cfg(test)]
mod tests;
