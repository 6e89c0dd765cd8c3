//! What is expected of a member of a class before its own record is looked at.
//!
//! The class's mean is its failures over its hours, with what all classes together say weighed in as one failure,
//! and the stated prior in theirs likewise. How different its members are is the pseudo-count alpha, by maximum
//! likelihood: failures of a member are then negative binomial. It is sought between the policy's bounds; where the
//! records say nothing of it (no failures), it is the upper one.

use super::{HazardPolicy, NodeClass, Tally};
use statrs::function::gamma::ln_gamma;

/// Failures that what is borrowed weighs as.
const BORROWED: f64 = 1.0;

/// The Gamma distribution of rates in a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassPrior {
    /// Its shape, alpha: failures that it weighs as.
    pub pseudo_count: f64,
    /// Its rate, beta: hours that it weighs as.
    pub pseudo_hours: f64,
    /// What the class saw.
    pub seen: Tally,
    /// Whether it rests on the stated prior: no failures in all classes, and less time than that has one in.
    pub is_stated: bool,
}

impl ClassPrior {
    /// Failures per hour of a member of which nothing else is known.
    #[must_use]
    pub fn mean_per_hour(&self) -> f64 {
        self.pseudo_count / self.pseudo_hours
    }
}

/// The prior of each class up to the highest there is.
pub(super) fn of_classes(tallies: &[Tally], classes: &[NodeClass], policy: &HazardPolicy) -> Vec<ClassPrior> {
    let count = classes.iter().map(|class| class.0 as usize + 1).max().unwrap_or(0);
    let mut members: Vec<Vec<Tally>> = vec![Vec::new(); count];
    for (tally, class) in tallies.iter().zip(classes) {
        members[class.0 as usize].push(*tally);
    }
    let all = Tally::sum(tallies);
    let stated = all.failures == 0.0 && all.exposure_h * policy.prior_per_hour() < BORROWED;
    members
        .iter()
        .map(|members| {
            let seen = Tally::sum(members);
            let mean = mean(seen, all, policy);
            let pseudo_count = pseudo_count(members, mean, policy);
            ClassPrior { pseudo_count, pseudo_hours: pseudo_count / mean, seen, is_stated: stated }
        })
        .collect()
}

/// Failures per hour of a class without one of its members: what that is to be held against. A member of a small
/// class would else be held against itself.
pub(super) fn without(member: Tally, class: &ClassPrior, all: Tally, policy: &HazardPolicy) -> f64 {
    let less = |from: Tally| Tally {
        failures: (from.failures - member.failures).max(0.0),
        exposure_h: (from.exposure_h - member.exposure_h).max(0.0),
    };
    mean(less(class.seen), less(all), policy)
}

fn mean(seen: Tally, all: Tally, policy: &HazardPolicy) -> f64 {
    let shrunk = |tally: Tally, to: f64| (BORROWED + tally.failures) / (BORROWED / to + tally.exposure_h);
    shrunk(seen, shrunk(all, policy.prior_per_hour()))
}

/// The likeliest pseudo-count, by a golden-section search over its logarithm.
fn pseudo_count(members: &[Tally], mean: f64, policy: &HazardPolicy) -> f64 {
    let most = policy.most_pseudo_count;
    if members.iter().all(|member| member.failures == 0.0) {
        return most;
    }
    let likelihood = |ln_alpha: f64| log_likelihood(members, ln_alpha.exp(), mean);
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    let (mut low, mut high) = (policy.least_pseudo_count.ln(), most.ln());
    for _ in 0..60 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if likelihood(a) > likelihood(b) {
            high = b;
        } else {
            low = a;
        }
    }
    (0.5 * (low + high)).exp().clamp(policy.least_pseudo_count, most)
}

/// Of the members' failures, but for what does not depend on alpha. Discounted counts are not whole, for which the
/// Gamma functions are defined as well.
fn log_likelihood(members: &[Tally], alpha: f64, mean: f64) -> f64 {
    let beta = alpha / mean;
    let of = |member: &Tally| {
        ln_gamma(alpha + member.failures) - ln_gamma(alpha) + alpha * (beta / (beta + member.exposure_h)).ln()
            - member.failures * (beta + member.exposure_h).ln()
    };
    members.iter().map(of).sum()
}
