//! How often more holders are away at once than a partition bears.
//!
//! Nodes and domains fail and come back independently of each other; a node is away while it is itself, or any of
//! its domains is. Each has an unavailability q = x / (1 + x), x its hazard times its time to repair. The frequency of
//! getting into the bad state is, for independent parts, exactly sum over parts c of
//! lambda_c (1 - q_c) (P(bad | c away) - P(bad | c there)) (Birnbaum's importance; Barlow and Proschan 1975).
//!
//! P(bad) conditions on domains that more than one holder is in, one after the other; those that hold one are a
//! further cause of that holder's absence. Conditioning ends as soon as the domains that are away suffice, so work
//! grows with what a partition bears, not with two to the number of domains.

use super::{ExposurePolicy, Surroundings};
use crate::field::Holding;
use crate::ids::Node;

/// How many holders a partition can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundancy {
    /// Holders of the full subset that may be away before reads fail: 1 of 3 with majority quorums, 2 of 3 where any
    /// replica serves.
    pub quorum_bears: u8,
    /// Holders that should be there and are not, beside those of the subset that is looked at.
    pub missing: u8,
}

/// How often something happens, and which share of the time it is so.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outages {
    /// Times per hour that the state begins.
    pub per_hour: f64,
    /// Share of the time in the state, 0 to 1.
    pub share_of_time: f64,
}

/// Something that fails as a whole, and the places of the holders it takes along.
#[derive(Debug, Clone, Copy)]
struct Part {
    hazard_per_hour: f64,
    away: f64,
    mask: u64,
}

impl Part {
    fn new(hazard_per_hour: f64, repair_h: f64, mask: u64) -> Self {
        let x = hazard_per_hour * repair_h;
        Self { hazard_per_hour, away: x / (1.0 + x), mask }
    }
}

impl Surroundings<'_> {
    /// How often the partition would lose its quorum if it were held so. With fewer holders than it bears, it has
    /// lost it: all of the time, and no further time.
    ///
    /// # Panics
    /// Here and below: if a holder is no node of the field, or there are more than 64.
    #[must_use]
    pub fn quorum_loss(
        &self,
        held: &Holding<'_>,
        redundancy: Redundancy,
        policy: &ExposurePolicy,
    ) -> Outages {
        let bears = redundancy.quorum_bears.checked_sub(redundancy.missing);
        self.outages(held.subset, bears.map(usize::from), 1.0, policy)
    }

    /// How often the partition would lose all of its copies for good if it were held so: by nodes whose data does not
    /// come back. Domains take power and network, not data, and do not count.
    #[must_use]
    pub fn data_loss(&self, held: &Holding<'_>, policy: &ExposurePolicy) -> Outages {
        let bears = held.subset.len().checked_sub(1);
        let parts = self.node_parts(held.subset, policy.permanent_share, policy);
        bears.map_or(GONE, |bears| frequency(&parts, held.subset.len(), bears))
    }

    fn outages(
        &self,
        subset: &[Node],
        bears: Option<usize>,
        share_of_failures: f64,
        policy: &ExposurePolicy,
    ) -> Outages {
        let Some(bears) = bears.filter(|_| !subset.is_empty()) else { return GONE };
        let mut parts = self.node_parts(subset, share_of_failures, policy);
        for (domain, mask) in self.domains.touched(subset) {
            let hazard = self.domains.hazard_per_hour(domain);
            if hazard > 0.0 {
                parts.push(Part::new(hazard, policy.domain_repair_h, mask));
            }
        }
        frequency(&parts, subset.len(), bears)
    }

    fn node_parts(&self, subset: &[Node], share: f64, policy: &ExposurePolicy) -> Vec<Part> {
        assert!(subset.len() <= 64, "places of holders are bits of a word");
        let part = |(at, node): (usize, &Node)| {
            Part::new(share * self.hazard_per_hour[node.at()], policy.repair_h, 1 << at)
        };
        subset.iter().enumerate().map(part).collect()
    }
}

/// The state that began before and does not end.
const GONE: Outages = Outages { per_hour: 0.0, share_of_time: 1.0 };

fn frequency(parts: &[Part], holders: usize, bears: usize) -> Outages {
    if bears >= holders {
        return Outages::default();
    }
    let mut parts = parts.to_vec();
    let mut per_hour = 0.0;
    for at in 0..parts.len() {
        let part = parts[at];
        parts[at].away = 1.0;
        let with = bad(&parts, holders, bears);
        parts[at].away = 0.0;
        let without = bad(&parts, holders, bears);
        parts[at] = part;
        per_hour += part.hazard_per_hour * (1.0 - part.away) * (with - without).max(0.0);
    }
    Outages { per_hour, share_of_time: bad(&parts, holders, bears) }
}

/// Probability that more holders are away than are borne.
fn bad(parts: &[Part], holders: usize, bears: usize) -> f64 {
    let mut alone = [0.0; 64];
    for part in parts.iter().filter(|part| part.mask.count_ones() == 1) {
        let away = &mut alone[part.mask.trailing_zeros() as usize];
        *away = 1.0 - (1.0 - *away) * (1.0 - part.away);
    }
    condition(parts, &alone[..holders], 0, bears)
}

/// That probability with the holders of `mask` away, and the parts that are left open.
fn condition(parts: &[Part], alone: &[f64], mask: u64, bears: usize) -> f64 {
    if mask.count_ones() as usize > bears {
        return 1.0;
    }
    match parts.iter().position(|part| part.mask.count_ones() > 1) {
        None => more_than(alone, mask, bears),
        Some(at) => {
            let (part, rest) = (parts[at], &parts[at + 1..]);
            let away = |away: u64| condition(rest, alone, mask | away, bears);
            let with = if part.away > 0.0 { part.away * away(part.mask) } else { 0.0 };
            let without = if part.away < 1.0 { (1.0 - part.away) * away(0) } else { 0.0 };
            with + without
        }
    }
}

/// Probability that more than so many holders are away: those of `mask` are, the others with their probability.
fn more_than(alone: &[f64], mask: u64, bears: usize) -> f64 {
    // exactly[n] is the probability that n are away, up to what is borne.
    let mut exactly = [0.0; 64];
    exactly[0] = 1.0;
    let mut beyond = 0.0;
    for (at, away) in alone.iter().enumerate() {
        let away = if mask >> at & 1 == 1 { 1.0 } else { *away };
        beyond += away * exactly[bears];
        for count in (1..=bears).rev() {
            exactly[count] = exactly[count] * (1.0 - away) + exactly[count - 1] * away;
        }
        exactly[0] *= 1.0 - away;
    }
    beyond
}
