//! The literal rule: who is above a threshold of risk is moved to where it is lower.
//!
//! It asks for no cause, and not what a move costs. It is there beside the gate for those who want it, and to be compared
//! with; what comes of it is in docs/risk.md.

use super::GatePolicy;
use super::decide::{Situation, benefit, standing};
use super::verdict::{Decision, Judged, Verdict, WhyNot};

/// Decides by the threshold alone. A risk that is unknown is above none.
pub(super) fn decide(situation: &Situation, policy: &GatePolicy) -> Decision {
    let risk_is_cause = situation.risk.is_some_and(|risk| risk > policy.risk_threshold);
    let (verdict, rank) = if risk_is_cause { moved(situation, policy) } else { (Verdict::Nothing, 0.0) };
    Decision {
        verdict,
        standing: standing(situation),
        hazard_is_cause: false,
        headroom_is_cause: false,
        gray_is_cause: false,
        risk_is_cause,
        shift_failed: None,
        rank,
    }
}

/// The best move, if less is lost after it.
fn moved(situation: &Situation, policy: &GatePolicy) -> (Verdict, f64) {
    let Some(best) = situation.best_move else {
        return (Verdict::MovingWillNotHelp(WhyNot::NoDestination), 0.0);
    };
    let Some(now) = situation.loss_per_hour else {
        return (Verdict::MovingWillNotHelp(WhyNot::LossUnknown), 0.0);
    };
    if best.loss_after_per_hour >= now {
        let after = best.loss_after_per_hour;
        return (Verdict::MovingWillNotHelp(WhyNot::NoLess { now, after }), 0.0);
    }
    let (benefit, benefit_lower) = benefit(best.gain, situation, policy);
    let judged = Judged { benefit, benefit_lower, cost: best.cost, checks: Vec::new() };
    (Verdict::Move(best, judged), situation.risk.unwrap_or(0.0))
}
