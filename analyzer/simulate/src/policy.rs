//! What is done beside repair: the policies that are compared.

use isotherm_risk::GatePolicy;
use serde::{Deserialize, Serialize};

/// Which parts of the model decide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Hazards of nodes.
    pub hazard: bool,
    /// Overload, present and after failures.
    pub headroom: bool,
    /// Shares tilted to the entropy that is forecast; otherwise those of the last hour.
    pub forecast: bool,
    /// Reads are shifted.
    pub shift: bool,
    /// What gray nodes fail.
    pub gray: bool,
    /// Replicas are copied.
    pub copy: bool,
}

impl Parts {
    /// The full model.
    pub const FULL: Self =
        Self { hazard: true, headroom: true, forecast: true, shift: true, gray: true, copy: true };
}

/// What is done beside repair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nothing.
    Reactive,
    /// Busy replicas of partitions above a level of entropy are moved to where the load is least.
    EntropyLevel,
    /// Replicas are moved from nodes of a high hazard to those of the lowest.
    HazardOnly,
    /// The expected loss decides: candidates are found and judged by the functions that cycles use, what saves the
    /// most goes first. Not through the planner of placement: it takes each replica of a partition to bear the same
    /// load, and one kind of shifts for all, and here partitions that are led and such that are balanced share nodes.
    Model(Parts),
}

impl Policy {
    /// The policies of docs/risk.md's table, with their names.
    #[must_use]
    pub fn table() -> Vec<(&'static str, Self)> {
        let full = Parts::FULL;
        let headroom = Parts { hazard: false, forecast: false, shift: false, gray: false, ..full };
        vec![
            ("reactive only", Self::Reactive),
            ("entropy over a level", Self::EntropyLevel),
            ("hazard only", Self::HazardOnly),
            ("headroom only", Self::Model(headroom)),
            ("full model", Self::Model(full)),
            ("full, no entropy forecast", Self::Model(Parts { forecast: false, ..full })),
            ("full, no shifting", Self::Model(Parts { shift: false, ..full })),
            ("full, no headroom", Self::Model(Parts { headroom: false, ..full })),
            ("full, no hazard", Self::Model(Parts { hazard: false, ..full })),
            ("full, no gray reaction", Self::Model(Parts { gray: false, ..full })),
            ("full, no copies", Self::Model(Parts { copy: false, ..full })),
        ]
    }
}

/// Numbers that all policies share, or that the model decides by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Share of all bytes that may be copied in a day.
    pub bytes_per_day: f64,
    /// Shifts in a day.
    pub shifts_per_day: f64,
    /// Days after a move or a shift in which a partition is left alone, but for gray nodes.
    pub cool_down_days: f64,
    /// Hours between decisions; a new suspicion is decided about at once.
    pub every_h: usize,
    /// Replicas whose copy is looked at closely in a decision.
    pub looks: usize,
    /// How many times the mean load a destination may reach when a suspect is left: the bound is there against crowds
    /// that flee to one node for weeks, and would keep reads on a node that fails them now.
    pub urgent_peak_over_mean: f64,
    /// What an action must pass.
    pub gate: GatePolicy,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_per_day: 0.01,
            shifts_per_day: 120.0,
            cool_down_days: 2.0,
            every_h: 1,
            looks: 16,
            urgent_peak_over_mean: 1.5,
            gate: GatePolicy::default(),
        }
    }
}
