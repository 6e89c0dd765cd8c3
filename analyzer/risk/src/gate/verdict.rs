//! What a gate says, with the numbers it says it for.

use super::{Move, Shift};
use serde::{Deserialize, Serialize};

/// What should be done about a partition.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// There is no cause to do anything.
    Nothing,
    /// Its reads should be shifted.
    ShiftReads(Shift, Judged),
    /// A replica should be moved.
    Move(Move, Judged),
    /// There is a cause, and no move that would help.
    MovingWillNotHelp(WhyNot),
    /// It is too large for any node: its largest replica's load over the largest capacity there is.
    SplitIt {
        /// That load over that capacity.
        replica_over_largest: f64,
    },
    /// All nodes together are too full: the load of all over the capacity that is left without the largest node.
    SlowDownClients {
        /// That load over that capacity.
        load_over_capacity: f64,
    },
}

/// Why no move helps.
#[derive(Debug, Clone, PartialEq)]
pub enum WhyNot {
    /// What it loses is unknown, as a holder's capacity or its shares are.
    LossUnknown,
    /// No node may take a replica of it.
    NoDestination,
    /// The best destination loses as much, or more.
    NoLess {
        /// Client-minutes per hour where it lies.
        now: f64,
        /// There.
        after: f64,
    },
    /// The best move failed a check; the first that it failed, and all.
    Failed(Criterion, Judged),
}

/// An action's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Expected client-minutes saved over the residence.
    pub benefit: f64,
    /// Those at the lower bound.
    pub benefit_lower: f64,
    /// Client-minutes that it costs.
    pub cost: f64,
    /// What was checked.
    pub checks: Vec<Check>,
}

impl Judged {
    /// The first check that failed.
    #[must_use]
    pub fn failed(&self) -> Option<Criterion> {
        self.checks.iter().find(|check| !check.passed).map(|check| check.criterion)
    }
}

/// What is checked of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The benefit's lower bound over the cost, at least.
    GainOverCost,
    /// Exposure after over exposure before, at most.
    ExposureLeft,
    /// The destination's load over its capacity, at most.
    DestinationHeadroom,
    /// The destination's load over capacity over the cluster's, at most.
    DestinationPeak,
    /// The destination's hazard over its class's, at most.
    DestinationHazard,
    /// Hours since the last shift, at least.
    CoolDown,
}

/// One check with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub criterion: Criterion,
    /// The value; absent where unknown, which passes nothing.
    pub value: Option<f64>,
    /// What it was held against.
    pub bound: f64,
    /// Whether it passed.
    pub passed: bool,
}

impl Check {
    pub(super) fn at_least(criterion: Criterion, value: Option<f64>, bound: f64) -> Self {
        Self { criterion, value, bound, passed: value.is_some_and(|value| value >= bound) }
    }

    pub(super) fn at_most(criterion: Criterion, value: Option<f64>, bound: f64) -> Self {
        Self { criterion, value, bound, passed: value.is_some_and(|value| value <= bound) }
    }
}

/// How far a verdict may go by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is written into the diary.
    Recorded,
    /// It is told.
    Recommended,
    /// It waits for an operator's word.
    AwaitsApproval,
    /// It is carried out.
    Carried,
}

/// A verdict and what led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What should be done.
    pub verdict: Verdict,
    /// How far that may go by itself.
    pub standing: Standing,
    /// A holder's hazard is a cause.
    pub hazard_is_cause: bool,
    /// A holder's headroom is a cause.
    pub headroom_is_cause: bool,
    /// A holder that is suspected of answering badly is a cause.
    pub gray_is_cause: bool,
    /// Its risk is above the threshold, where that is the trigger.
    pub risk_is_cause: bool,
    /// Why the shift that was offered is not the verdict, if it is not.
    pub shift_failed: Option<Judged>,
    /// What orders verdicts of the same kind: the benefit's lower bound, of moves per byte. 0 if there is no action.
    pub rank: f64,
}

impl Decision {
    /// Whether there is a cause to do anything.
    #[must_use]
    pub fn has_cause(&self) -> bool {
        self.hazard_is_cause || self.headroom_is_cause || self.gray_is_cause || self.risk_is_cause
    }
}
