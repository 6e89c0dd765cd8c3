//! A node that still answers, but badly, is left by its clients before anybody calls it failed.
//!
//! The sign is in the shares: on most of its partitions it serves clearly less than it used to, and what it still
//! serves takes longer. The direction of an entropy is no sign: a replica that loses two thirds of its reads
//! lowers the entropy of three nodes by a thirteenth and that of eight not measurably, and when it was the busiest
//! the entropy even rises.
//!
//! Each part alone has harmless causes: shares fall when an operator drains a node or a balancer learns of a new
//! one, latencies rise with load, and load comes with a *larger* share. So both are needed, and where the latency
//! is not known the answer is [`Verdict::SharesOnly`], which is shown and counts for nothing. The habits that it is
//! judged against ([`ShareHabit`], [`LatencyHabit`]) must be those of the present subset: when a replica is added,
//! every share falls, so the caller starts the habits of that partition anew.

mod habits;

pub use habits::{HabitRule, HabitSettings, LatencyHabit, ShareHabit};

use crate::bounds::{OutOfRange, require, written_as};
use isotherm_model::LatencyHistogram;
use serde::{Deserialize, Serialize};

/// Accesses of which a 99th percentile says something: ten lie beyond it.
const MIN_MEASURED: u64 = 1000;

/// When a node is suspected, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A share counts as fallen at this part of what is habitual, or less. .60.
    pub share_ratio: f64,
    /// Part of the node's partitions, weighted by the reads it would habitually serve, whose shares must have
    /// fallen: more than. .5.
    pub most: f64,
    /// Partitions that must be judged. Clients of one application leave a node together for reasons of their own;
    /// five partitions are rarely of one. 5.
    pub min_partitions: u32,
    /// Reads that the node would habitually have served of a partition for it to be judged. At 30 a share of .6 is
    /// more than two standard deviations low. 30.
    pub min_reads: f64,
    /// How many times its habit the median latency must be ... 1.5.
    pub median_ratio: f64,
    /// ... or else the 99th percentile, which is noisier. 2.
    pub tail_ratio: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            share_ratio: 0.6,
            most: 0.5,
            min_partitions: 5,
            min_reads: 30.0,
            median_ratio: 1.5,
            tail_ratio: 2.0,
        }
    }
}

/// Settings that were checked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Rule(Settings);

written_as!(Rule, Settings);

/// A partition's reads on the node in question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnNode {
    /// Its share of the partition's reads, 0 to 1.
    pub share: f64,
    /// Its habitual share, 0 to 1; `None` while it is not known.
    pub habitual: Option<f64>,
    /// The partition's reads in the window, on all nodes.
    pub reads: u64,
}

/// How long a node's accesses took in a window, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Half of them took no longer.
    pub median_ns: f64,
    /// 99 % of them took no longer.
    pub p99_ns: f64,
}

impl Latency {
    /// From a histogram, geometrically within the bucket in which a quantile lies: its buckets are powers of two,
    /// and their ends would jump by a factor of two where a latency moves by a hundredth. `None` with fewer than a
    /// thousand accesses.
    #[must_use]
    pub fn of(histogram: &LatencyHistogram) -> Option<Self> {
        let total = histogram.total();
        let quantile = |q: f64| {
            let rank = total as f64 * q;
            let mut below = 0.0;
            histogram.counts().iter().enumerate().find_map(|(bucket, count)| {
                let inside = rank - below;
                below += *count as f64;
                (*count > 0 && below >= rank).then(|| (bucket as f64 + inside / *count as f64).exp2())
            })
        };
        if total < MIN_MEASURED {
            return None;
        }
        Some(Self { median_ns: quantile(0.5)?, p99_ns: quantile(0.99)? })
    }
}

/// How many times its habit a node's latency is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRatio {
    /// The median's.
    pub median: f64,
    /// The 99th percentile's.
    pub p99: f64,
}

/// What a verdict was made from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Partitions that were judged.
    pub judged: u32,
    /// Partitions that were not: too few reads, or no habit.
    pub left_out: u32,
    /// Judged partitions whose share fell.
    pub fallen: u32,
    /// Their part of the reads that the node would habitually serve, 0 to 1.
    pub fallen_weight: f64,
    /// The weighted median of share over habitual share.
    pub median_ratio: f64,
    /// Latency over its habit; `None` if one of them is unknown.
    pub latency: Option<LatencyRatio>,
}

/// What is to be thought of a node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It still answers, badly.
    Suspected(Evidence),
    /// Its shares fell; whether it is slow is not known. To be shown, and no suspicion.
    SharesOnly(Evidence),
    /// Its shares fell, and it is not slow: it was drained, or others were added.
    Relieved(Evidence),
    /// Its shares are habitual.
    Clear(Evidence),
    /// Too few partitions of it can be judged.
    Unknown {
        /// Partitions that can.
        have: u32,
        /// Partitions that it takes.
        need: u32,
    },
}

impl Verdict {
    /// Whether it counts as a suspicion.
    #[must_use]
    pub fn is_suspicion(&self) -> bool {
        matches!(self, Self::Suspected(_))
    }
}

impl Rule {
    /// # Errors
    /// The field that is out of its range.
    pub fn new(settings: Settings) -> Result<Self, OutOfRange> {
        let Settings { share_ratio, most, min_partitions, min_reads, median_ratio, tail_ratio } = settings;
        require((0.0..1.0).contains(&share_ratio), "share_ratio", share_ratio, "at least 0 and below 1")?;
        require((0.5..1.0).contains(&most), "most", most, "at least .5 and below 1")?;
        require(min_partitions >= 1, "min_partitions", f64::from(min_partitions), "at least 1")?;
        require((1.0..=1e9).contains(&min_reads), "min_reads", min_reads, "1 to 1e9")?;
        require((1.0..=1e3).contains(&median_ratio), "median_ratio", median_ratio, "1 to 1000")?;
        require((1.0..=1e3).contains(&tail_ratio), "tail_ratio", tail_ratio, "1 to 1000")?;
        Ok(Self(settings))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// Judges a node by its partitions and by its latency now over the habitual one (`None`: not known).
    ///
    /// A partition weighs as many reads as the node would habitually have served of it, not as many as it did:
    /// those that left would weigh least. Partitions that cannot be judged, or whose shares are no numbers, are
    /// left out and counted.
    #[must_use]
    pub fn judge(
        &self,
        partitions: impl IntoIterator<Item = OnNode>,
        latency: Option<LatencyRatio>,
    ) -> Verdict {
        let mut ratios = Vec::new();
        let mut left_out = 0;
        for partition in partitions {
            match self.ratio(partition) {
                Some(judged) => ratios.push(judged),
                None => left_out += 1,
            }
        }
        let judged = u32::try_from(ratios.len()).unwrap_or(u32::MAX);
        let Some(median_ratio) = weighted_median(&mut ratios).filter(|_| judged >= self.0.min_partitions)
        else {
            return Verdict::Unknown { have: judged, need: self.0.min_partitions };
        };
        let fallen = ratios.partition_point(|(ratio, _)| *ratio <= self.0.share_ratio);
        let weight = |of: &[(f64, f64)]| of.iter().map(|(_, weight)| weight).sum::<f64>();
        let evidence = Evidence {
            judged,
            left_out,
            fallen: u32::try_from(fallen).unwrap_or(u32::MAX),
            fallen_weight: weight(&ratios[..fallen]) / weight(&ratios),
            median_ratio,
            latency,
        };
        match latency {
            _ if evidence.fallen_weight <= self.0.most => Verdict::Clear(evidence),
            None => Verdict::SharesOnly(evidence),
            Some(latency) if self.is_slow(latency) => Verdict::Suspected(evidence),
            Some(_) => Verdict::Relieved(evidence),
        }
    }

    fn is_slow(&self, latency: LatencyRatio) -> bool {
        latency.median >= self.0.median_ratio || latency.p99 >= self.0.tail_ratio
    }

    /// Share over habitual share, and what that weighs.
    fn ratio(&self, partition: OnNode) -> Option<(f64, f64)> {
        let habitual = partition.habitual?;
        let weight = habitual * partition.reads as f64;
        let is_judged =
            weight >= self.0.min_reads && habitual <= 1.0 && (0.0..=1.0).contains(&partition.share);
        is_judged.then(|| (partition.share / habitual, weight))
    }
}

/// Sorts by value, and says the value at which half of the weight is reached. `None` without any.
fn weighted_median(values: &mut [(f64, f64)]) -> Option<f64> {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let reached = values.iter().find(|(_, weight)| {
        below += weight;
        below >= half
    });
    reached.or(values.last()).map(|(value, _)| *value)
}

#[cfg(test)]
mod tests;
