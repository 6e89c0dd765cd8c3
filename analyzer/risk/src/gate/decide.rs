//! The decision.

use super::verdict::{Check, Criterion, Decision, Judged, Standing, Verdict, WhyNot};
use super::{GatePolicy, Mode, Trigger, threshold};
use crate::ids::Node;
use crate::loss::Gain;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// All that is known of a partition and of what could be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// Client-minutes per hour where it lies; absent where unknown.
    pub loss_per_hour: Option<f64>,
    /// The probability of an incident over the horizon, calibrated where it can be; absent where unknown.
    pub risk: Option<f64>,
    /// The highest hazard over its class's among its holders.
    pub hazard_over_class: f64,
    /// Whether a holder is suspected of answering badly.
    pub gray: bool,
    /// The highest probability that a holder exceeds its headroom with all nodes up, at present. Absent: capacities
    /// unknown.
    pub exceeds_now: Option<f64>,
    /// The same at the worst that is foreseen: at the busiest hour, or with one more node gone.
    pub exceeds_forecast: Option<f64>,
    /// The load of its largest replica over the largest capacity there is.
    pub replica_over_largest: Option<f64>,
    /// The load of all nodes over the capacity that is left without the largest.
    pub load_over_capacity: Option<f64>,
    /// Rate per hour at which its shares lose their meaning. 0: they do not. Absent: not measured yet.
    pub drift_per_hour: Option<f64>,
    /// The best shift there is.
    pub shift: Option<Shift>,
    /// The best move there is.
    pub best_move: Option<Move>,
    /// How far the operator lets the system go.
    pub mode: Mode,
    /// Whether everything is frozen, or the partition must not be touched.
    pub frozen: bool,
}

/// How reads are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftAction {
    /// Another holder leads.
    Lead {
        /// It.
        to: Node,
    },
    /// A holder serves no reads.
    Drain {
        /// It.
        from: Node,
    },
}

/// A shift of reads that could be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Which.
    pub action: ShiftAction,
    /// What it saves.
    pub gain: Gain,
    /// Client-minutes of its pause.
    pub pause: f64,
    /// Hours since the partition's reads were last shifted; absent if never.
    pub since_last_h: Option<f64>,
    /// The worst of those that would get more.
    pub destination: Destination,
}

/// A move that could be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Who gives its replica up.
    pub from: Node,
    /// Who gets it.
    pub to: Node,
    /// Bytes to copy.
    pub bytes: u64,
    /// What it saves.
    pub gain: Gain,
    /// Client-minutes per hour after it.
    pub loss_after_per_hour: f64,
    /// Client-minutes that it costs: see [`CopyCost`](crate::CopyCost).
    pub cost: f64,
    /// Exposure before; absent where unknown.
    pub exposure_per_hour: Option<f64>,
    /// Exposure after.
    pub exposure_after_per_hour: Option<f64>,
    /// Who gets it.
    pub destination: Destination,
}

/// A node that would get more, with what it would get and what is under way to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Destination {
    /// Its load over its capacity at the peak; absent where unknown.
    pub peak_over_capacity: Option<f64>,
    /// That over the cluster's mean load over capacity.
    pub peak_over_mean: Option<f64>,
    /// Its hazard over its class's.
    pub hazard_over_class: f64,
}

/// Decides. Pure: the same situation, the same decision.
#[must_use]
pub fn decide(situation: &Situation, policy: &GatePolicy) -> Decision {
    match policy.trigger {
        Trigger::Gate => by_gate(situation, policy),
        Trigger::Threshold => threshold::decide(situation, policy),
    }
}

fn by_gate(situation: &Situation, policy: &GatePolicy) -> Decision {
    let factors = policy.factors;
    let now = situation.exceeds_now.is_some_and(|value| value >= policy.headroom_trigger);
    let foreseen = situation.exceeds_forecast.is_some_and(|value| policy.foresees(value));
    let headroom_is_cause = factors.headroom && (now || (factors.forecast && foreseen));
    let hazard_is_cause = factors.hazard && situation.hazard_over_class >= policy.hazard_trigger;
    let gray_is_cause = factors.gray && situation.gray;
    let mut decision = Decision {
        verdict: Verdict::Nothing,
        standing: standing(situation),
        hazard_is_cause,
        headroom_is_cause,
        gray_is_cause,
        risk_is_cause: false,
        shift_failed: None,
        rank: 0.0,
    };
    if !decision.has_cause() {
        return decision;
    }
    if situation.loss_per_hour.is_none() {
        decision.verdict = Verdict::MovingWillNotHelp(WhyNot::LossUnknown);
        return decision;
    }
    if let Some(shift) = situation.shift.filter(|_| factors.shifting) {
        let judged = judge_shift(&shift, situation, policy);
        if judged.failed().is_none() {
            decision.rank = judged.benefit_lower;
            decision.verdict = Verdict::ShiftReads(shift, judged);
            return decision;
        }
        decision.shift_failed = Some(judged);
    }
    let (verdict, rank) = without_shift(situation, policy, hazard_is_cause, headroom_is_cause);
    Decision { verdict, rank, ..decision }
}

/// Whether a shift that is in force should be undone: its cool-down is over, and without it the partition would lose
/// hardly more than with it. What is unknown undoes nothing.
#[must_use]
pub fn undo_shift(
    with_per_hour: Option<f64>,
    without_per_hour: Option<f64>,
    since_h: f64,
    policy: &GatePolicy,
) -> bool {
    let spent = |(with, without): (f64, f64)| without < policy.shift_keeps * with || without <= with;
    since_h >= policy.shift_cool_down_h && with_per_hour.zip(without_per_hour).is_some_and(spent)
}

pub(super) fn standing(situation: &Situation) -> Standing {
    match (situation.frozen, situation.mode) {
        (true, _) | (false, Mode::Observe) => Standing::Recorded,
        (false, Mode::Recommend) => Standing::Recommended,
        (false, Mode::Approve) => Standing::AwaitsApproval,
        (false, Mode::Auto) => Standing::Carried,
    }
}

/// A move, or why there is none.
fn without_shift(
    situation: &Situation,
    policy: &GatePolicy,
    hazard_is_cause: bool,
    headroom_is_cause: bool,
) -> (Verdict, f64) {
    let because = match situation.best_move {
        None => WhyNot::NoDestination,
        Some(best) => {
            let now = situation.loss_per_hour.unwrap_or(f64::NAN);
            let judged = judge_move(&best, situation, policy, hazard_is_cause && !headroom_is_cause);
            match judged.failed() {
                None => {
                    let rank = judged.benefit_lower / (best.bytes.max(1) as f64);
                    return (Verdict::Move(best, judged), rank);
                }
                Some(_) if best.loss_after_per_hour >= now => {
                    WhyNot::NoLess { now, after: best.loss_after_per_hour }
                }
                Some(criterion) => WhyNot::Failed(criterion, judged),
            }
        }
    };
    (instead(situation, policy, headroom_is_cause).unwrap_or(Verdict::MovingWillNotHelp(because)), 0.0)
}

/// What would help where headroom is the cause and no move does.
fn instead(situation: &Situation, policy: &GatePolicy, headroom_is_cause: bool) -> Option<Verdict> {
    let beyond = |value: Option<f64>| value.filter(|value| headroom_is_cause && *value > policy.headroom);
    let slow = beyond(situation.load_over_capacity)
        .map(|load_over_capacity| Verdict::SlowDownClients { load_over_capacity });
    let split = beyond(situation.replica_over_largest)
        .map(|replica_over_largest| Verdict::SplitIt { replica_over_largest });
    split.or(slow)
}

fn judge_shift(shift: &Shift, situation: &Situation, policy: &GatePolicy) -> Judged {
    // A shift is undone when its cause is gone, so it is of use until the next one at least, and no longer for sure.
    let (benefit, benefit_lower) = benefit(shift.gain, situation, policy);
    let since = shift.since_last_h.unwrap_or(f64::INFINITY);
    let mut checks = vec![
        paid(benefit_lower, shift.pause, policy.shift_gain_over_pause),
        Check::at_least(Criterion::CoolDown, Some(since), policy.shift_cool_down_h),
    ];
    checks.extend(judge_destination(&shift.destination, policy));
    Judged { benefit, benefit_lower, cost: shift.pause, checks }
}

fn judge_move(best: &Move, situation: &Situation, policy: &GatePolicy, for_hazard: bool) -> Judged {
    let (benefit, benefit_lower) = benefit(best.gain, situation, policy);
    let mut checks = vec![paid(benefit_lower, best.cost, policy.gain_over_cost)];
    if for_hazard {
        let left = best.exposure_per_hour.zip(best.exposure_after_per_hour);
        let left = left.filter(|(before, _)| *before > 0.0).map(|(before, after)| after / before);
        checks.push(Check::at_most(Criterion::ExposureLeft, left, policy.exposure_left));
    }
    checks.extend(judge_destination(&best.destination, policy));
    Judged { benefit, benefit_lower, cost: best.cost, checks }
}

impl Destination {
    /// Whether it is what the gate asks of a destination.
    #[must_use]
    pub fn passes(&self, policy: &GatePolicy) -> bool {
        judge_destination(self, policy).iter().all(|check| check.passed)
    }
}

fn judge_destination(destination: &Destination, policy: &GatePolicy) -> Vec<Check> {
    let mut checks = Vec::new();
    if policy.factors.headroom {
        let peak = destination.peak_over_capacity;
        checks.push(Check::at_most(Criterion::DestinationHeadroom, peak, policy.headroom));
        let over = destination.peak_over_mean;
        checks.push(Check::at_most(Criterion::DestinationPeak, over, policy.peak_over_mean));
    }
    if policy.factors.hazard {
        let over = Some(destination.hazard_over_class);
        checks.push(Check::at_most(Criterion::DestinationHazard, over, policy.hazard_ratio));
    }
    checks
}

/// Whether something gains so many times what it costs, and anything at all.
fn paid(benefit_lower: f64, cost: f64, times: f64) -> Check {
    let over = if cost > 0.0 { benefit_lower / cost } else { f64::INFINITY.copysign(benefit_lower) };
    let passed = benefit_lower > 0.0 && benefit_lower >= times * cost;
    Check { criterion: Criterion::GainOverCost, value: Some(over), bound: times, passed }
}

/// The benefit, expected and at its lower bound: what is believed of the gain is taken for normal.
pub(super) fn benefit(gain: Gain, situation: &Situation, policy: &GatePolicy) -> (f64, f64) {
    let below = Normal::standard().inverse_cdf(policy.confidence);
    let saved = policy.saved(gain, situation.drift_per_hour);
    (saved, saved - below * gain.sd_per_hour * policy.useful_h(situation.drift_per_hour))
}
