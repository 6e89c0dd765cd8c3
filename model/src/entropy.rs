//! Shannon entropy of a histogram of accesses, in bits.
//!
//! Which estimator, and why: the plug-in estimate is too low by about (m - 1) / 2n, so node entropy over a
//! handful of nodes uses Miller-Madow, which adds that term back; offset and peer entropy spread few
//! accesses over many buckets, where Grassberger's estimator has the smallest bias of the closed forms.
//!
//! All three take counts, ignore zeros, return `None` for a histogram without accesses (no data is not zero
//! entropy), and depend only on the multiset of counts, not on their order.

use crate::OffsetHistogram;
use statrs::function::gamma::digamma;
use std::f64::consts::LN_2;

fn total(counts: &[u64]) -> Option<f64> {
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    (sum > 0.0).then_some(sum)
}

/// Plug-in (maximum likelihood) estimate: `log2 n - sum(x log2 x) / n`. Biased low.
///
/// ```
/// assert_eq!(isotherm_model::entropy::plug_in(&[1, 1, 1, 1]), Some(2.0));
/// assert_eq!(isotherm_model::entropy::plug_in(&[0, 0]), None);
/// ```
#[must_use]
pub fn plug_in(counts: &[u64]) -> Option<f64> {
    let n = total(counts)?;
    let weighted: f64 =
        counts.iter().filter(|count| **count > 0).map(|count| *count as f64 * (*count as f64).log2()).sum();
    Some((n.log2() - weighted / n).max(0.0))
}

/// Plug-in plus `(m - 1) / (2 n ln 2)`, m the number of non-empty buckets (Miller 1955), capped at
/// `log2(counts.len())`.
///
/// `counts.len()` is the number of places an access *could* have gone to, so empty places must be passed
/// as zeros.
#[must_use]
pub fn miller_madow(counts: &[u64]) -> Option<f64> {
    let n = total(counts)?;
    let occupied = counts.iter().filter(|count| **count > 0).count() as f64;
    let corrected = plug_in(counts)? + (occupied - 1.0) / (2.0 * n * LN_2);
    Some(corrected.min((counts.len() as f64).log2()))
}

/// Grassberger's estimator (arXiv:physics/0307138, eq. 35), kept within `0 ..= log2(counts.len())`.
///
/// `H = ln n - sum(x G(x)) / n` with `G(x) = psi(x) + (-1)^x (psi((x+1)/2) - psi(x/2)) / 2`, which for whole
/// numbers is `psi(floor(x/2) + 1/2) + ln 2`.
#[must_use]
pub fn grassberger(counts: &[u64]) -> Option<f64> {
    let n = total(counts)?;
    let weighted: f64 =
        counts.iter().filter(|count| **count > 0).map(|count| *count as f64 * grassberger_g(*count)).sum();
    Some(((n.ln() - weighted / n) / LN_2).clamp(0.0, (counts.len() as f64).log2()))
}

fn grassberger_g(count: u64) -> f64 {
    digamma((count / 2) as f64 + 0.5) + LN_2
}

/// The entropy of a partition's accesses over its nodes, or why there is none. "None" has several causes
/// that call for different actions, so each is a value of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEntropy {
    /// Measured.
    Known(Measured),
    /// Some eligible node did not report the whole time, so its share is not known (and not zero).
    Unknown {
        /// Names of the nodes that were silent for part of the time.
        silent: Vec<String>,
    },
    /// Fewer than two nodes may serve the partition: there is nothing to be uncertain about.
    NotApplicable {
        /// Nodes eligible to serve.
        eligible: usize,
    },
    /// Too few accesses to say anything.
    Insufficient {
        /// Accesses seen.
        have: u64,
        /// Accesses needed.
        need: u64,
    },
}

/// An entropy that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Entropy in bits, by the estimator of what it is over, `0 ..= log2(places)`.
    pub bits: f64,
    /// `bits / log2(places)`, `0 ..= 1`.
    pub normalised: f64,
    /// `2^bits`: the number of places that accesses effectively go to.
    pub effective: f64,
    /// Places (nodes, or partitions) an access could have gone to.
    pub places: usize,
    /// Accesses behind the estimate.
    pub accesses: u64,
}

/// Accesses an entropy needs at the least. Miller-Madow's remaining bias at 30 accesses over a handful of
/// nodes is below .01 bits.
pub const MIN_ACCESSES: u64 = 30;

impl NodeEntropy {
    /// What was measured; `None` where there is no entropy, for whatever cause.
    #[must_use]
    pub fn known(&self) -> Option<Measured> {
        match self {
            Self::Known(measured) => Some(*measured),
            Self::Unknown { .. } | Self::NotApplicable { .. } | Self::Insufficient { .. } => None,
        }
    }
}

/// Node entropy of `reads`, one count per eligible node (zeros included), all nodes having reported.
/// Miller-Madow.
#[must_use]
pub fn over_nodes(reads: &[u64]) -> NodeEntropy {
    over(reads, miller_madow)
}

/// Entropy of a system's reads over its partitions, one count per partition (zeros included), all nodes having
/// reported. Grassberger: they are many places, some with few reads. The effective number of places is the number
/// of partitions that the load is concentrated on.
#[must_use]
pub fn over_partitions(reads: &[u64]) -> NodeEntropy {
    over(reads, grassberger)
}

fn over(reads: &[u64], estimator: fn(&[u64]) -> Option<f64>) -> NodeEntropy {
    if reads.len() < 2 {
        return NodeEntropy::NotApplicable { eligible: reads.len() };
    }
    let accesses = reads.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    match estimator(reads) {
        Some(bits) if accesses >= MIN_ACCESSES => NodeEntropy::Known(Measured {
            bits,
            normalised: bits / (reads.len() as f64).log2(),
            effective: bits.exp2(),
            places: reads.len(),
            accesses,
        }),
        Some(_) | None => NodeEntropy::Insufficient { have: accesses, need: MIN_ACCESSES },
    }
}

/// Entropy of accesses over the buckets of an offset histogram, in bits: Grassberger's, `0 ..= 6`. `None` with
/// fewer than [`MIN_ACCESSES`], where the estimate says more about their number than about their places.
#[must_use]
pub fn over_offsets(offsets: &OffsetHistogram) -> Option<f64> {
    (offsets.total() >= MIN_ACCESSES).then(|| grassberger(offsets.counts()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed with mpmath 1.3 at 30 digits from the formulas as published: counts, plug-in, Miller-Madow
    /// without its cap, Grassberger without its bounds.
    const REFERENCE: [(&[u64], f64, f64, f64); 5] = [
        (&[900, 100], 0.468_995_593_589_281_2, 0.469_716_941_109_725_7, 0.468_992_922_100_307_9),
        (&[5, 3, 2], 1.485_475_297_227_334_3, 1.629_744_801_316_230_7, 1.788_385_843_423_314_9),
        (&[1, 1, 1, 1], 2.0, 2.541_010_640_333_361, 3.832_746_177_276_867),
        (&[10, 0, 0], 0.0, 0.0, -0.002_388_000_981_715_887_8),
        (
            &[812, 391, 97, 40, 11, 3, 1],
            1.466_039_671_077_870_5,
            1.469_233_829_839_986_3,
            1.471_797_047_827_649,
        ),
    ];

    #[test]
    fn estimators_match_the_reference() {
        for (counts, plug, miller, grass) in REFERENCE {
            let cap = (counts.len() as f64).log2();
            let close = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < 1e-12;
            assert!(close(plug_in(counts), plug), "plug-in {counts:?}");
            assert!(close(miller_madow(counts), miller.min(cap)), "Miller-Madow {counts:?}");
            assert!(close(grassberger(counts), grass.clamp(0.0, cap)), "Grassberger {counts:?}");
        }
    }

    #[test]
    fn no_accesses_have_no_entropy() {
        for empty in [&[][..], &[0, 0, 0]] {
            assert_eq!((plug_in(empty), miller_madow(empty), grassberger(empty)), (None, None, None));
        }
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        assert_eq!(over_nodes(&[500]), NodeEntropy::NotApplicable { eligible: 1 });
        assert_eq!(over_nodes(&[20, 9]), NodeEntropy::Insufficient { have: 29, need: 30 });
        let even = over_nodes(&[500, 500]).known().unwrap();
        assert_eq!((even.bits, even.normalised, even.effective), (1.0, 1.0, 2.0));
        let one = over_nodes(&[500, 0]).known().unwrap();
        assert_eq!((one.bits, one.effective), (0.0, 1.0));
        for none in [over_nodes(&[500]), over_nodes(&[20, 9]), NodeEntropy::Unknown { silent: Vec::new() }] {
            assert_eq!(none.known(), None);
        }
    }

    #[test]
    fn nodes_and_partitions_have_estimators_of_their_own() {
        let reads = [812, 391, 97, 40, 11, 3, 1];
        let (nodes, partitions) =
            (over_nodes(&reads).known().unwrap(), over_partitions(&reads).known().unwrap());
        assert_eq!((Some(nodes.bits), Some(partitions.bits)), (miller_madow(&reads), grassberger(&reads)));
        assert_eq!((partitions.places, partitions.accesses), (7, 1_355));
        assert_eq!(over_partitions(&[30]), NodeEntropy::NotApplicable { eligible: 1 });
        assert_eq!(over_partitions(&[29, 0]), NodeEntropy::Insufficient { have: 29, need: 30 });
    }

    #[test]
    fn a_few_offsets_have_no_entropy_yet() {
        let with = |accesses| OffsetHistogram::new(12, [accesses; crate::BUCKETS]).unwrap();
        assert_eq!(over_offsets(&OffsetHistogram::EMPTY), None);
        let mut few = [0; crate::BUCKETS];
        few[3] = MIN_ACCESSES - 1;
        assert_eq!(over_offsets(&OffsetHistogram::new(12, few).unwrap()), None);
        let even = over_offsets(&with(100)).unwrap();
        assert!((even - 6.0).abs() < 0.01, "{even}");
    }

    proptest! {
        #[test]
        fn entropy_is_bounded_and_order_does_not_matter(mut counts in prop::collection::vec(0..100_000u64, 2..70)) {
            let cap = (counts.len() as f64).log2() + 1e-12;
            let forward = [plug_in(&counts), miller_madow(&counts), grassberger(&counts)];
            counts.reverse();
            let backward = [plug_in(&counts), miller_madow(&counts), grassberger(&counts)];
            for (there, back) in forward.iter().zip(backward) {
                if let (Some(there), Some(back)) = (there, back) {
                    prop_assert!((0.0..=cap).contains(there));
                    prop_assert!((there - back).abs() < 1e-9);
                }
            }
        }

        #[test]
        fn uniform_counts_have_log2_k_bits(k in 2..64usize, each in 1..1_000u64) {
            let bits = plug_in(&vec![each; k]).unwrap();
            prop_assert!((bits - (k as f64).log2()).abs() < 1e-9);
        }
    }
}
