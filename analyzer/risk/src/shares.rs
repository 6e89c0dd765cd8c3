//! Which share of a partition's reads each node of its subset serves, and which shares an entropy stands for.
//!
//! A forecast is one of entropy, but nodes fail, not entropies: so shares are *tilted*, each raised to a power and
//! normalised again, until they have the entropy that is forecast. The power keeps the order of the nodes, needs one
//! number, and of all shares with that entropy gives those of the least relative entropy to the present ones and
//! the even ones taken together (the exponential family through both), so nothing is made up beside the forecast.
//!
//! Entropy here is that of shares, not of counts: plain Shannon, without a correction for few accesses. Shares are
//! those of nodes that could serve; an entropy of fewer than two of them does not apply.

mod tilt;

pub use tilt::{Reached, Tilted, tilt, tilt_to};

use crate::ids::Node;

/// Shares of counts, in their order: each over their sum. `None` without a count, or if the sum is not finite.
///
/// ```
/// assert_eq!(isotherm_risk::shares_of(&[3.0, 1.0]), Some(vec![0.75, 0.25]));
/// assert_eq!(isotherm_risk::shares_of(&[0.0, 0.0]), None);
/// ```
#[must_use]
pub fn shares_of(counts: &[f64]) -> Option<Vec<f64>> {
    let sum: f64 = counts.iter().sum();
    let right = sum > 0.0 && sum.is_finite() && counts.iter().all(|count| *count >= 0.0);
    right.then(|| counts.iter().map(|count| count / sum).collect())
}

/// Shannon entropy of shares in bits. A share of 0 adds nothing; nothing has an entropy of 0 bits.
///
/// ```
/// assert_eq!(isotherm_risk::entropy_bits(&[0.5, 0.25, 0.25]), 1.5);
/// ```
#[must_use]
pub fn entropy_bits(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().filter(|share| **share > 0.0).map(|share| share * share.log2()).sum();
    (-sum).max(0.0)
}

/// Entropy of shares over the most that so many nodes can have: 0, all on one, to 1, even. `None` for fewer than two
/// nodes, of which there is no entropy to speak.
///
/// ```
/// assert_eq!(isotherm_risk::normalised_entropy(&[0.5, 0.5]), Some(1.0));
/// assert_eq!(isotherm_risk::normalised_entropy(&[1.0]), None);
/// ```
#[must_use]
pub fn normalised_entropy(shares: &[f64]) -> Option<f64> {
    (shares.len() >= 2).then(|| (entropy_bits(shares) / (shares.len() as f64).log2()).min(1.0))
}

/// How the shares of a candidate subset follow from the present ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inherit {
    /// The holder at each place gets the share of the place: a new leader the leader's, a new node that of the node
    /// whose place it took. What a planner that lists the leader first means.
    ByPlace,
    /// Who stays keeps its share wherever it is listed, and who comes gets that of who left, in their order.
    ByNode,
}

/// Shares of a candidate subset, into `shares`, which is emptied first.
///
/// Holders beyond those there were get the least present share (0 where one leads and serves all, an even part where
/// all serve alike); if there are fewer holders, the others serve what is left over in proportion. If those who are
/// left served nothing, they serve evenly: somebody will.
///
/// # Panics
/// If present holders and shares are not as many.
pub fn inherit(
    present: &[Node],
    present_shares: &[f64],
    candidate: &[Node],
    inherit: Inherit,
    shares: &mut Vec<f64>,
) {
    assert_eq!(present.len(), present_shares.len(), "each holder has a share");
    let least = present_shares.iter().copied().reduce(f64::min).unwrap_or(1.0);
    shares.clear();
    match inherit {
        Inherit::ByPlace => {
            shares.extend((0..candidate.len()).map(|at| present_shares.get(at).copied().unwrap_or(least)));
        }
        Inherit::ByNode => {
            let mut left = present.iter().zip(present_shares).filter(|(node, _)| !candidate.contains(node));
            shares.extend(candidate.iter().map(|node| {
                let kept = present.iter().position(|holder| holder == node).map(|at| present_shares[at]);
                kept.unwrap_or_else(|| left.next().map_or(least, |(_, share)| *share))
            }));
        }
    }
    normalise(shares);
}

/// Shares if the holder at a place served no reads, and the others what it served, in proportion to theirs; into
/// `shares`. A sole holder cannot be drained: it keeps all.
pub fn drained(present_shares: &[f64], place: usize, shares: &mut Vec<f64>) {
    shares.clear();
    shares.extend_from_slice(present_shares);
    if present_shares.len() > 1 && place < present_shares.len() {
        shares[place] = 0.0;
        let sum: f64 = shares.iter().sum();
        let others = (shares.len() - 1) as f64;
        for (at, share) in shares.iter_mut().enumerate() {
            *share = match (at == place, sum > NOTHING) {
                (true, _) => 0.0,
                (false, true) => *share / sum,
                (false, false) => 1.0 / others,
            };
        }
    }
}

/// Shares that together serve less than this say nothing of who would serve how much.
pub(crate) const NOTHING: f64 = 1e-9;

/// Makes shares add up to 1; evenly, if they add up to nothing.
fn normalise(shares: &mut [f64]) {
    let (sum, even) = (shares.iter().sum::<f64>(), 1.0 / shares.len() as f64);
    shares.iter_mut().for_each(|share| *share = if sum > NOTHING { *share / sum } else { even });
}

#[cfg(test)]
mod tests;
