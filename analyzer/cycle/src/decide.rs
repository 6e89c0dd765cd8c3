//! What is to be done about a partition: the best shift and the best move that there are, and what the gate says.
//!
//! Only partitions with a cause are looked at: a holder whose hazard is far above its class's, or without headroom.
//! Destinations are the nodes with the least load for their capacity that are up and safe; the best of the first
//! [`LOOKED_AT`] that lie in no domain of another holder is offered to the gate. Which of many moves are made, and in
//! which order, is the planner's to say: here is only whether moving helps this partition at all.

use crate::assess::{Landscape, Placed};
use crate::cluster::{Cluster, NodeState};
use crate::policy::{Settings, Shifts};
use crate::record::{Record, Verdict};
use isotherm_risk::{
    Criterion, Destination, Holding, Inherit, Move, Node, Shift, ShiftAction, Situation, Surroundings,
    WhyNot, decide, drained, inherit,
};
use rayon::prelude::*;

/// Destinations that are looked at for each holder that is worth leaving.
const LOOKED_AT: usize = 24;

/// Fills the verdicts of records. `landscape` is what they were assessed with.
pub fn decide_all(records: &mut [Record], landscape: &Landscape, cluster: &Cluster, settings: &Settings) {
    let ways = Ways::new(landscape, cluster, settings);
    records.par_iter_mut().zip(&landscape.placed).for_each(|(record, placed)| ways.decide(record, placed));
}

/// What is the same for all partitions.
struct Ways<'a> {
    surroundings: Surroundings<'a>,
    cluster: &'a Cluster,
    settings: &'a Settings,
    /// Nodes that may take something, the least loaded for their capacity first.
    destinations: Vec<Node>,
    hazard_sd_per_hour: Vec<f64>,
    /// Load over capacity of all nodes that are up together; `None` if a capacity is not known.
    mean_fullness: Option<f64>,
    /// Load of all over the capacity without the largest node; `None` alike.
    load_over_capacity: Option<f64>,
    largest_per_s: Option<f64>,
}

impl<'a> Ways<'a> {
    fn new(landscape: &'a Landscape, cluster: &'a Cluster, settings: &'a Settings) -> Self {
        let surroundings = landscape.surroundings();
        let field = surroundings.field();
        let up = || (0_u32..).map(Node).zip(&cluster.nodes).filter(|(_, facts)| facts.state == NodeState::Up);
        let fullness = |node: Node| {
            let capacity = field.capacity_per_s(node)?;
            Some(field.load_per_s(node) / capacity)
        };
        let mut destinations: Vec<(f64, Node)> = up()
            .filter(|(_, facts)| facts.hazard.over_class <= settings.gate.hazard_ratio)
            .map(|(node, _)| (fullness(node).unwrap_or(f64::INFINITY), node))
            .collect();
        destinations.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let capacities: Option<Vec<f64>> = up().map(|(node, _)| field.capacity_per_s(node)).collect();
        let load: f64 = up().map(|(node, _)| field.load_per_s(node)).sum();
        let sums = capacities
            .filter(|all| !all.is_empty())
            .map(|all| (all.iter().sum::<f64>(), all.iter().copied().fold(0.0, f64::max)));
        Self {
            mean_fullness: sums.map(|(sum, _)| load / sum).filter(|mean| *mean > 0.0),
            load_over_capacity: sums
                .and_then(|(sum, largest)| (sum > largest).then(|| load / (sum - largest))),
            largest_per_s: sums.map(|(_, largest)| largest),
            destinations: destinations.into_iter().map(|(_, node)| node).collect(),
            hazard_sd_per_hour: cluster.nodes.iter().map(|node| node.hazard.sd_per_hour).collect(),
            surroundings,
            cluster,
            settings,
        }
    }

    fn decide(&self, record: &mut Record, placed: &Placed) {
        let Some(held) = placed.holding() else { return };
        let field = self.surroundings.field();
        let exceeds = held.subset.iter().map(|node| field.exceeds(*node, field.load_per_s(*node)));
        let exceeds_now = exceeds.collect::<Option<Vec<_>>>().map(|all| all.into_iter().fold(0.0, f64::max));
        let over_class = |node: &Node| self.cluster.nodes[node.at()].hazard.over_class;
        let mut situation = Situation {
            loss_per_hour: record.loss.and_then(|loss| loss.per_hour()),
            hazard_over_class: held.subset.iter().map(over_class).fold(0.0, f64::max),
            exceeds_now,
            exceeds_forecast: None,
            replica_over_largest: self
                .largest_per_s
                .map(|largest| held.shares.iter().copied().fold(0.0, f64::max) * held.reads_per_s / largest),
            load_over_capacity: self.load_over_capacity,
            drift_per_hour: 0.0,
            shift: None,
            best_move: None,
            mode: self.settings.mode,
            frozen: placed.stays,
        };
        let gate = &self.settings.gate;
        let first = decide(&situation, gate);
        if first.hazard_is_cause || first.headroom_is_cause {
            situation.shift = self.shift(&held, placed);
            situation.best_move = self.best_move(&held, placed);
        }
        let decision = decide(&situation, gate);
        (record.verdict, record.reason) = self.words(&decision.verdict, &situation);
    }

    /// The holder that is most worth leaving.
    fn worst(&self, held: &Holding<'_>) -> Option<usize> {
        let field = self.surroundings.field();
        let badness = |node: &Node| {
            let hazard = self.cluster.nodes[node.at()].hazard.over_class / self.settings.gate.hazard_trigger;
            let full = field.exceeds(*node, field.load_per_s(*node)).unwrap_or(0.0);
            hazard.max(full / self.settings.gate.headroom_trigger)
        };
        (0..held.subset.len())
            .max_by(|a, b| badness(&held.subset[*a]).total_cmp(&badness(&held.subset[*b])).then(b.cmp(a)))
    }

    fn destination(&self, node: Node, more_per_s: f64) -> Destination {
        let field = self.surroundings.field();
        let peak =
            field.capacity_per_s(node).map(|capacity| (field.load_per_s(node) + more_per_s) / capacity);
        Destination {
            peak_over_capacity: peak,
            peak_over_mean: peak.zip(self.mean_fullness).map(|(peak, mean)| peak / mean),
            hazard_over_class: self.cluster.nodes[node.at()].hazard.over_class,
        }
    }

    fn shift(&self, held: &Holding<'_>, placed: &Placed) -> Option<Shift> {
        let from = self.worst(held)?;
        let mut shares = Vec::new();
        let (action, shifted) = match self.settings.shifts {
            Shifts::None => return None,
            Shifts::Drain => {
                drained(held.shares, from, &mut shares);
                (ShiftAction::Drain { from: held.subset[from] }, held.shares[from])
            }
            Shifts::Lead => {
                // The safest other holder takes the leader's share, and the leader that one's.
                let over = |at: &usize| self.cluster.nodes[held.subset[*at].at()].hazard.over_class;
                let to = (1..held.subset.len()).min_by(|a, b| over(a).total_cmp(&over(b)).then(a.cmp(b)))?;
                if from != 0 {
                    return None;
                }
                shares.extend_from_slice(held.shares);
                shares.swap(0, to);
                (ShiftAction::Lead { to: held.subset[to] }, (held.shares[0] - held.shares[to]).max(0.0))
            }
        };
        let candidate = Holding { shares: &shares, ..*held };
        let policy = &self.settings.risk;
        let sd = &self.hazard_sd_per_hour;
        let gain = self.surroundings.gain(*held, &candidate, placed.redundancy, sd, policy)?;
        // The worst of those that get more.
        let more =
            held.subset.iter().zip(held.shares.iter().zip(&shares)).filter(|(_, (old, new))| new > old);
        let destinations =
            more.map(|(node, (old, new))| self.destination(*node, held.reads_per_s * (new - old)));
        let fullness = |destination: &Destination| destination.peak_over_capacity.unwrap_or(f64::INFINITY);
        let destination = destinations.max_by(|a, b| fullness(a).total_cmp(&fullness(b)))?;
        let pause = policy.cost_of_shift(held.reads_per_s, shifted);
        Some(Shift { action, gain, pause, since_last_h: None, destination })
    }

    fn best_move(&self, held: &Holding<'_>, placed: &Placed) -> Option<Move> {
        let policy = &self.settings.risk;
        let from = self.worst(held)?;
        let leaving = held.subset[from];
        let innermost = |node: Node| self.cluster.nodes[node.at()].domains.last().copied();
        let others = || held.subset.iter().filter(move |node| **node != leaving);
        let allowed = |to: &&Node| {
            !held.subset.contains(to)
                && self.cluster.nodes[to.at()].system == self.cluster.nodes[leaving.at()].system
                && !others().any(|other| innermost(*other).is_some() && innermost(*other) == innermost(**to))
        };
        let (mut subset, mut shares) = (held.subset.to_vec(), Vec::new());
        let mut best: Option<(f64, Node)> = None;
        for to in self.destinations.iter().filter(allowed).take(LOOKED_AT) {
            subset[from] = *to;
            inherit(held.subset, held.shares, &subset, Inherit::ByPlace, &mut shares);
            let candidate = Holding { subset: &subset, shares: &shares, ..*held };
            let loss = self.surroundings.loss_per_hour(Some(*held), &candidate, placed.redundancy, policy)?;
            if best.is_none_or(|(least, _)| loss < least) {
                best = Some((loss, *to));
            }
        }
        let (loss_after_per_hour, to) = best?;
        subset[from] = to;
        inherit(held.subset, held.shares, &subset, Inherit::ByPlace, &mut shares);
        let candidate = Holding { subset: &subset, shares: &shares, ..*held };
        let bytes = placed.size_bytes?;
        let gain =
            self.surroundings.gain(*held, &candidate, placed.redundancy, &self.hazard_sd_per_hour, policy)?;
        let exposure = |held: &Holding<'_>, lies: Holding<'_>| {
            self.surroundings.exposure_per_hour(Some(lies), held, &policy.exposure)
        };
        let cost = self.surroundings.cost_of_copy(held, held.shares[from], bytes, placed.redundancy, policy);
        Some(Move {
            from: leaving,
            to,
            bytes,
            gain,
            loss_after_per_hour,
            cost: cost.total(),
            exposure_per_hour: exposure(held, *held),
            exposure_after_per_hour: exposure(&candidate, *held),
            destination: self.destination(to, held.reads_per_s * held.shares[from]),
        })
    }

    fn words(&self, verdict: &isotherm_risk::Verdict, situation: &Situation) -> (Verdict, String) {
        use isotherm_risk::Verdict as Gate;
        let name = |node: Node| self.cluster.nodes[node.at()].name.as_str();
        match verdict {
            Gate::Nothing => (
                Verdict::Nothing,
                format!(
                    "no holder's hazard is {} times its class's (the highest is {:.1} times), and {}",
                    self.settings.gate.hazard_trigger,
                    situation.hazard_over_class,
                    match situation.exceeds_now {
                        Some(_) => "all of them have headroom",
                        None => "whether they have headroom is not known",
                    }
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
                        "{how}; saves at least {:.3} client-minutes for a pause of {:.3}",
                        judged.benefit_lower, judged.cost
                    ),
                )
            }
            Gate::Move(best, judged) => (
                Verdict::Move,
                format!(
                    "from {} to {}; saves at least {:.3} client-minutes over the residence, and costs {:.3}",
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
                Criterion::CoolDown => format!("it was shifted {value} hours ago, and {bound} are to pass"),
            }
        }
    }
}
