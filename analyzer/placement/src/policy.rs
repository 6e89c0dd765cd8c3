//! What a plan may do, and what it should weigh.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// Limits and weights of plans. Every field has a default; see docs/placement.md for how to choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Most replicas of one partition in one domain, by the name of the level. Levels that are not named are not
    /// limited, but the innermost one is, to 1, if none is named.
    pub replicas_per_domain: BTreeMap<String, u8>,
    /// Scatter width that nodes aim at: with how many others a node of mean capacity shares partitions. Absent: as
    /// many copysets as the assignment has; where hardly two partitions share a subset, they are no objective.
    pub spread_factor: Option<u32>,
    /// Into how many substitutes a copyset splits when a node of it is replaced: more spreads the copying and the
    /// load, fewer keeps copysets few.
    pub fan_out: u32,
    /// Copysets there may be, as a multiple of those of the spread factor.
    pub copyset_budget: f64,
    /// Share of a node's capacity that may be filled, what is on its way to it included.
    pub fill_limit: f64,
    /// Nodes of a higher risk take nothing more. Absent: no such bound.
    pub risk_limit: Option<f64>,
    /// Excess over the mean pressure that starts balancing; below it nothing is moved.
    pub dead_band: f64,
    /// Excess over the mean pressure that balancing ends at. Less than the dead band, or it would not rest.
    pub balance: f64,
    /// Bytes that balancing and proactive moves of one plan may copy. Absent: not bounded. Repair is not bounded.
    pub byte_budget: Option<u64>,
    /// Balancing and proactive moves in one plan. Absent: not bounded.
    pub move_budget: Option<u32>,
    /// Seconds after a move in which the partition is not moved again for balance or risk.
    pub cool_down_s: u32,
    /// Seconds after a move in which the partition is not sent back, for balance or risk, to the node it left.
    pub no_return_s: u32,
    /// Share of the serving capacity whose loss at once is taken for a failure of another kind (a network, a
    /// configuration): beyond it nothing is repaired by itself.
    pub breaker: f64,
    /// Copies at once that a node may take part in.
    pub node_copies: u16,
    /// What a candidate's pressure is weighed against.
    pub weights: Weights,
    /// What a proactive move must pass.
    pub gate: Gate,
}

/// Weights beside pressure: a candidate's score is its pressure after the move, as a share of what is tolerable
/// (the highest there was before, or what balancing leaves), plus these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// For a copyset that there was not.
    pub copyset: f64,
    /// For accesses whose peers lie in other domains: times their share.
    pub locality: f64,
    /// For a slow way: times the copy's time over that of the fastest way there is, less one.
    pub transfer: f64,
    /// Of proactive moves: what sharing a node with the present subset costs, times the share of nodes kept, as a
    /// share of the present loss. 0 moves the least bytes; more moves farther away.
    pub overlap: f64,
}

/// What a proactive move must pass; docs/placement.md has the reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Hours that a move is expected to be of use.
    pub residence_h: f64,
    /// What is left of the gain over the residence after the expected drift of shares, at its lower bound: 0 to 1.
    pub certainty: f64,
    /// How many times its cost a copy must gain.
    pub gain_over_cost: f64,
    /// How many times its pause a shift of reads must gain.
    pub shift_gain_over_pause: f64,
    /// Share of a destination's capacity that its pressure may reach, with one more node of its cluster lost.
    pub headroom: f64,
    /// How much over the mean pressure a destination may come.
    pub peak_over_mean: f64,
    /// How many times its class's hazard a holder has at least, that something is moved away from; a holder whose
    /// load would exceed the headroom is one too. Not judged where no hazard is known.
    pub hazard_trigger: f64,
    /// How many times its class's hazard a destination may have; the median of the nodes stands for the class.
    pub hazard_ratio: f64,
    /// What a move for hazard must leave of the exposure, at most.
    pub exposure_left: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            replicas_per_domain: BTreeMap::new(),
            spread_factor: None,
            fan_out: 4,
            copyset_budget: 1.08,
            fill_limit: 0.95,
            risk_limit: None,
            dead_band: 0.03,
            balance: 0.02,
            byte_budget: None,
            move_budget: None,
            cool_down_s: 6 * 3600,
            no_return_s: 24 * 3600,
            breaker: 0.25,
            node_copies: 4,
            weights: Weights::default(),
            gate: Gate::default(),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self { copyset: 0.002, locality: 0.0, transfer: 0.0005, overlap: 0.0 }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            residence_h: 14.0 * 24.0,
            certainty: 0.8,
            gain_over_cost: 3.0,
            shift_gain_over_pause: 30.0,
            headroom: 0.85,
            peak_over_mean: 1.05,
            hazard_trigger: 5.0,
            hazard_ratio: 2.5,
            exposure_left: 0.7,
        }
    }
}

/// Why a policy cannot be one.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PolicyError {
    /// A number outside what it can be.
    #[error("{field} is {value}, and must be {must}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
    /// A limit for a level that the topology does not have.
    #[error("replicas_per_domain names the level {name}; there are {levels}")]
    NoSuchLevel {
        /// The level.
        name: String,
        /// Those that exist.
        levels: String,
    },
    /// Balancing would end above where it starts.
    #[error(
        "balance is {balance}, and must be less than dead_band, {dead_band}, or balancing would not rest"
    )]
    NoRest {
        /// Where it ends.
        balance: f64,
        /// Where it starts.
        dead_band: f64,
    },
}

impl Policy {
    /// Checks the numbers, and the levels against those of a topology.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self, levels: &[String]) -> Result<(), PolicyError> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let weight = |value: f64| value.is_finite() && value >= 0.0;
        let more = |value: f64| value.is_finite() && value >= 1.0;
        let (w, g) = (&self.weights, &self.gate);
        let fields = [
            ("fill_limit", self.fill_limit, share(self.fill_limit), SHARE),
            ("breaker", self.breaker, share(self.breaker), SHARE),
            ("copyset_budget", self.copyset_budget, more(self.copyset_budget), MORE),
            ("risk_limit", self.risk_limit.unwrap_or(0.0), weight(self.risk_limit.unwrap_or(0.0)), WEIGHT),
            ("dead_band", self.dead_band, weight(self.dead_band), WEIGHT),
            ("balance", self.balance, weight(self.balance), WEIGHT),
            ("fan_out", f64::from(self.fan_out), self.fan_out >= 1, MORE),
            (
                "spread_factor",
                f64::from(self.spread_factor.unwrap_or(1)),
                self.spread_factor != Some(0),
                MORE,
            ),
            ("node_copies", f64::from(self.node_copies), self.node_copies >= 1, MORE),
            ("weights.copyset", w.copyset, weight(w.copyset), WEIGHT),
            ("weights.locality", w.locality, weight(w.locality), WEIGHT),
            ("weights.transfer", w.transfer, weight(w.transfer), WEIGHT),
            ("weights.overlap", w.overlap, weight(w.overlap), WEIGHT),
            ("gate.residence_h", g.residence_h, weight(g.residence_h), WEIGHT),
            ("gate.certainty", g.certainty, share(g.certainty), SHARE),
            ("gate.gain_over_cost", g.gain_over_cost, weight(g.gain_over_cost), WEIGHT),
            ("gate.shift_gain_over_pause", g.shift_gain_over_pause, weight(g.shift_gain_over_pause), WEIGHT),
            ("gate.headroom", g.headroom, share(g.headroom), SHARE),
            ("gate.peak_over_mean", g.peak_over_mean, more(g.peak_over_mean), MORE),
            ("gate.hazard_trigger", g.hazard_trigger, weight(g.hazard_trigger), WEIGHT),
            ("gate.hazard_ratio", g.hazard_ratio, more(g.hazard_ratio), MORE),
            ("gate.exposure_left", g.exposure_left, share(g.exposure_left), SHARE),
        ];
        if let Some((field, value, _, must)) = fields.into_iter().find(|(_, _, right, _)| !right) {
            return Err(PolicyError::OutOfRange { field, value, must });
        }
        if self.balance >= self.dead_band {
            return Err(PolicyError::NoRest { balance: self.balance, dead_band: self.dead_band });
        }
        if self.replicas_per_domain.values().any(|limit| *limit == 0) {
            return Err(PolicyError::OutOfRange { field: "replicas_per_domain", value: 0.0, must: MORE });
        }
        if let Some(name) = self.replicas_per_domain.keys().find(|name| !levels.contains(name)) {
            let levels = if levels.is_empty() { "none".to_owned() } else { levels.join(", ") };
            return Err(PolicyError::NoSuchLevel { name: name.clone(), levels });
        }
        Ok(())
    }

    /// Most replicas of one partition in one domain of each level; absent where there is no limit.
    #[must_use]
    pub fn limits(&self, levels: &[String]) -> Vec<Option<u8>> {
        let mut limits: Vec<Option<u8>> =
            levels.iter().map(|level| self.replicas_per_domain.get(level).copied()).collect();
        if let (true, Some(innermost)) = (self.replicas_per_domain.is_empty(), limits.last_mut()) {
            *innermost = Some(1);
        }
        limits
    }
}

const SHARE: &str = "above 0 and at most 1";
const MORE: &str = "at least 1";
const WEIGHT: &str = "0 or more";
