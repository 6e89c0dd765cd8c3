//! Verdicts of the gate in the words of a record.

use super::Ways;
use crate::cluster::Kept;
use crate::record::{Action, Cause, How, Shifted, Verdict};
use isotherm_risk::{
    Criterion, Decision, Node, ShiftAction, Situation, Standing, Trigger, Verdict as Gate, WhyNot,
};

impl Ways<'_> {
    /// What a verdict would have done.
    pub(super) fn action(&self, decision: &Decision, situation: &Situation) -> Option<Action> {
        let name = |node: Node| self.cluster.nodes[node.at()].name.clone();
        let (how, judged, loss_after_per_hour) = match &decision.verdict {
            Gate::ShiftReads(shift, judged) => match shift.action {
                ShiftAction::Lead { to } => (How::Lead { to: name(to) }, judged, None),
                ShiftAction::Drain { from } => (How::Drain { from: name(from) }, judged, None),
            },
            Gate::Move(best, judged) => {
                let how = How::Move { from: name(best.from), to: name(best.to) };
                (how, judged, Some(best.loss_after_per_hour))
            }
            Gate::Nothing
            | Gate::MovingWillNotHelp(_)
            | Gate::SplitIt { .. }
            | Gate::SlowDownClients { .. } => return None,
        };
        Some(Action {
            how,
            benefit: judged.benefit,
            benefit_lower: judged.benefit_lower,
            lasting_h: self.settings.gate.useful_h(situation.drift_per_hour),
            loss_after_per_hour,
            cost: judged.cost,
            gray: decision.gray_is_cause,
            standing: decision.standing,
        })
    }

    /// The verdict and its reason.
    pub(super) fn words(&self, decision: &Decision, situation: &Situation) -> (Verdict, String) {
        let name = |node: Node| self.cluster.nodes[node.at()].name.as_str();
        let standing = standing(decision.standing, situation.frozen);
        match &decision.verdict {
            Gate::Nothing if self.settings.gate.trigger == Trigger::Threshold => (
                Verdict::Nothing,
                match situation.risk {
                    Some(risk) => format!(
                        "its risk is {risk:.4}, and {} is asked for",
                        self.settings.gate.risk_threshold
                    ),
                    None => "its risk is not known".to_owned(),
                },
            ),
            Gate::Nothing => (
                Verdict::Nothing,
                format!(
                    "no holder's hazard is {} times its class's (the highest is {:.1} times), and {}",
                    self.settings.gate.hazard_trigger,
                    situation.hazard_over_class,
                    headroom(situation)
                ),
            ),
            Gate::ShiftReads(shift, judged) => {
                let how = match shift.action {
                    ShiftAction::Lead { to } => format!("let {} lead", name(to)),
                    ShiftAction::Drain { from } => format!("drain {}", name(from)),
                };
                (
                    Verdict::ShiftReads,
                    format!(
                        "{how}; saves at least {:.3} client-minutes for a pause of {:.3}; {standing}",
                        judged.benefit_lower, judged.cost
                    ),
                )
            }
            Gate::Move(best, judged) => (
                Verdict::Move,
                format!(
                    "from {} to {}; saves at least {:.3} client-minutes over the residence, and costs {:.3}; \
                     {standing}",
                    name(best.from),
                    name(best.to),
                    judged.benefit_lower,
                    judged.cost
                ),
            ),
            Gate::MovingWillNotHelp(why) => (Verdict::MovingWillNotHelp, why_not(why)),
            Gate::SplitIt { replica_over_largest } => (
                Verdict::SplitIt,
                format!(
                    "its largest replica alone takes {:.0} % of the largest node",
                    replica_over_largest * 100.0
                ),
            ),
            Gate::SlowDownClients { load_over_capacity } => (
                Verdict::SlowDownClients,
                format!(
                    "without the largest node the load is {:.0} % of what the others can bear",
                    load_over_capacity * 100.0
                ),
            ),
        }
    }
}

/// What is said beside a verdict of a shift that is in force.
pub(super) fn in_force(shifted: Shifted, kept: Kept, node: &str) -> String {
    let how = match kept {
        Kept::Drained => format!("{node} serves none of its reads"),
        Kept::Led => format!("{node} does not lead it"),
    };
    let cause = match shifted.cause {
        Cause::There => "and the cause of that is still there",
        Cause::Gone => "and the cause of that is gone",
        Cause::Unknown => "and whether the cause of that is gone is not known",
    };
    format!("{how} as its reads were shifted, {cause}")
}

/// Whether holders have headroom, now and at the busiest hour.
fn headroom(situation: &Situation) -> &'static str {
    match (situation.exceeds_now, situation.exceeds_forecast) {
        (None, _) => "whether they have headroom is not known",
        (Some(_), None) => "all of them have headroom now; that of the day to come is not known yet",
        (Some(_), Some(_)) => "all of them have headroom, now and at the busiest hour",
    }
}

/// What becomes of an action.
fn standing(standing: Standing, frozen: bool) -> &'static str {
    match (standing, frozen) {
        (Standing::Recorded, true) => "only noted, as it must stay where it is",
        (Standing::Recorded, false) => "only noted, as the mode is to observe",
        (Standing::Recommended, _) => "recommended; it is the operator's to do",
        (Standing::AwaitsApproval, _) => "it waits for an operator's word",
        (Standing::Carried, _) => "it is carried out as far as the limits allow",
    }
}

fn why_not(why: &WhyNot) -> String {
    match why {
        WhyNot::LossUnknown => "what it loses is not known, as capacities are not".to_owned(),
        WhyNot::NoDestination => {
            "no node that is up, safe and in another domain may take a replica, or its size is not known"
                .to_owned()
        }
        WhyNot::NoLess { now, after } => {
            format!(
                "on the best other node it would lose {after:.4} client-minutes per hour, and now {now:.4}"
            )
        }
        WhyNot::Failed(criterion, judged) => {
            let check = judged.checks.iter().find(|check| check.criterion == *criterion);
            let value = check.and_then(|check| check.value);
            let value = value.map_or_else(|| "not known".to_owned(), |value| format!("{value:.2}"));
            let bound = check.map_or(f64::NAN, |check| check.bound);
            match criterion {
                Criterion::GainOverCost => {
                    format!(
                        "the least that it would save is {value} times the cost, and {bound} are asked for"
                    )
                }
                Criterion::ExposureLeft => {
                    format!("{value} of the exposure would be left, and at most {bound} is asked for")
                }
                Criterion::DestinationHeadroom => {
                    format!(
                        "the best destination would be filled to {value} of its capacity, and {bound} is allowed"
                    )
                }
                Criterion::DestinationPeak => {
                    format!("the best destination would bear {value} times the mean, and {bound} is allowed")
                }
                Criterion::DestinationHazard => {
                    format!(
                        "the best destination has {value} times its class's hazard, and {bound} is allowed"
                    )
                }
                Criterion::CoolDown => format!(
                    "its subset or leader changed {value} hours ago, and {bound} are to pass before a shift"
                ),
            }
        }
    }
}
