//! What is to be done about a partition: the best shift and the best move that there are, and what the gate says.
//!
//! Only partitions with a cause are looked at: a holder whose hazard is far above its class's, that is suspected of
//! answering badly, or without headroom, now or at the busiest hour of the day to come. Destinations are the nodes
//! with the least load for their capacity that are up and safe; the best of the first [`LOOKED_AT`] that lie in no
//! domain of another holder is offered to the gate. Which of many moves are made, and in which order, is the planner's
//! to say: here is only whether moving helps this partition at all.

mod arriving;
mod shifted;
mod words;

use crate::assess::{Landscape, Placed};
use crate::cluster::{Cluster, NodeState};
use crate::policy::{Settings, Shifts};
use crate::record::Record;
use isotherm_risk::{
    Candidates, Holding, Lying, Move, Node, Shift, ShiftAction, Shifted, Situation, decide, drained,
};
use rayon::prelude::*;

/// Destinations that are looked at for each holder that is worth leaving.
const LOOKED_AT: usize = 24;

/// Fills the verdicts of records. `landscape` is what they were assessed with.
pub fn decide_all(records: &mut [Record], landscape: &Landscape, cluster: &Cluster, settings: &Settings) {
    let nodes = Nodes::new(landscape, cluster, settings);
    let ways = Ways::new(&nodes, landscape, cluster, settings);
    records.par_iter_mut().zip(&landscape.placed).for_each(|(record, placed)| ways.decide(record, placed));
}

/// What is known of nodes, by node.
struct Nodes {
    hazard_over_class: Vec<f64>,
    hazard_sd_per_hour: Vec<f64>,
    /// Reads per second at each one's busiest hour; absent where no hour is known, or forecasts do not count.
    peak_per_s: Option<Vec<f64>>,
    /// Reads per second that are on their way to each one; empty where none are.
    arriving_per_s: Vec<f64>,
}

impl Nodes {
    fn new(landscape: &Landscape, cluster: &Cluster, settings: &Settings) -> Self {
        let forecast = settings.gate.factors.forecast;
        Self {
            hazard_over_class: cluster.nodes.iter().map(|node| node.hazard.over_class).collect(),
            hazard_sd_per_hour: cluster.nodes.iter().map(|node| node.hazard.sd_per_hour).collect(),
            peak_per_s: forecast.then(|| peaks(landscape, cluster.nodes.len())).flatten(),
            arriving_per_s: arriving::of(landscape, cluster.nodes.len()),
        }
    }
}

/// Reads per second of each node at its busiest hour of a day, by the hours that are known. A partition of which an
/// hour is not known goes on as it is. `None` if no hour is known of any.
fn peaks(landscape: &Landscape, nodes: usize) -> Option<Vec<f64>> {
    let known = |hour: usize| landscape.placed.iter().any(|placed| placed.ahead.reads_per_s[hour].is_some());
    let hours = landscape.placed.first().map_or(0, |placed| placed.ahead.reads_per_s.len());
    let hours: Vec<usize> = (0..hours).filter(|hour| known(*hour)).collect();
    let of_hour = |hour: &usize| {
        let mut loads = vec![0.0; nodes];
        for placed in &landscape.placed {
            let Some(held) = placed.holding() else { continue };
            let reads_per_s = placed.ahead.reads_per_s[*hour].map_or(held.reads_per_s, f64::from);
            for (node, share) in held.subset.iter().zip(held.shares) {
                loads[node.at()] += share * reads_per_s;
            }
        }
        loads
    };
    let larger = |mut peak: Vec<f64>, loads: Vec<f64>| {
        peak.iter_mut().zip(loads).for_each(|(peak, load)| *peak = peak.max(load));
        peak
    };
    hours.par_iter().map(of_hour).reduce_with(larger)
}

/// What is the same for all partitions.
struct Ways<'a> {
    candidates: Candidates<'a>,
    cluster: &'a Cluster,
    settings: &'a Settings,
    /// Whether each node is suspected of answering badly.
    suspected: Vec<bool>,
    /// Nodes that may take something, the least loaded for their capacity first.
    destinations: Vec<Node>,
    /// Load of all over the capacity without the largest node; `None` if a capacity is not known.
    load_over_capacity: Option<f64>,
    largest_per_s: Option<f64>,
}

impl<'a> Ways<'a> {
    fn new(nodes: &'a Nodes, landscape: &'a Landscape, cluster: &'a Cluster, settings: &'a Settings) -> Self {
        let mut candidates = Candidates {
            surroundings: landscape.surroundings(),
            hazard_over_class: &nodes.hazard_over_class,
            hazard_sd_per_hour: &nodes.hazard_sd_per_hour,
            peak_per_s: nodes.peak_per_s.as_deref(),
            arriving_per_s: &[],
            mean_fullness: None,
            risk: &settings.risk,
            gate: &settings.gate,
        };
        let field = candidates.surroundings.field();
        let suspected: Vec<bool> = (0..cluster.nodes.len())
            .map(|at| landscape.failing.get(at).is_some_and(|failing| *failing > 0.0))
            .collect();
        let up = || (0_u32..).map(Node).zip(&cluster.nodes).filter(|(_, facts)| facts.state == NodeState::Up);
        let coming = Candidates { arriving_per_s: &nodes.arriving_per_s, ..candidates };
        let fullness = |node: Node| coming.destination(node, 0.0).peak_over_capacity;
        let mut destinations: Vec<(f64, Node)> = up()
            .filter(|(node, facts)| {
                facts.hazard.over_class <= settings.gate.hazard_ratio && !suspected[node.at()]
            })
            .map(|(node, _)| (fullness(node).unwrap_or(f64::INFINITY), node))
            .collect();
        destinations.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let capacities: Option<Vec<f64>> = up().map(|(node, _)| field.capacity_per_s(node)).collect();
        let sums = capacities
            .filter(|all| !all.is_empty())
            .map(|all| (all.iter().sum::<f64>(), all.iter().copied().fold(0.0, f64::max)));
        let load: f64 = up().map(|(node, _)| field.load_per_s(node)).sum();
        // What is on its way is in the load of its source still.
        let at_peak: Option<f64> = up()
            .map(|(node, _)| {
                Some(candidates.destination(node, 0.0).peak_over_capacity? * field.capacity_per_s(node)?)
            })
            .sum();
        candidates.mean_fullness =
            sums.zip(at_peak).map(|((sum, _), load)| load / sum).filter(|mean| *mean > 0.0);
        candidates.arriving_per_s = &nodes.arriving_per_s;
        Self {
            candidates,
            cluster,
            settings,
            suspected,
            destinations: destinations.into_iter().map(|(_, node)| node).collect(),
            load_over_capacity: sums
                .and_then(|(sum, largest)| (sum > largest).then(|| load / (sum - largest))),
            largest_per_s: sums.map(|(_, largest)| largest),
        }
    }

    fn decide(&self, record: &mut Record, placed: &Placed) {
        record.shift = placed.shift.map(|shift| self.shifted(shift, placed, record.at));
        self.judge(record, placed);
        if let Some((shift, shifted)) = placed.shift.zip(record.shift) {
            let node = &self.cluster.nodes[shift.node as usize].name;
            record.reason = format!("{}; {}", record.reason, words::in_force(shifted, shift.kept, node));
        }
    }

    fn judge(&self, record: &mut Record, placed: &Placed) {
        let Some(held) = placed.holding() else { return };
        let lying = Lying { held, redundancy: placed.redundancy };
        let mut situation = self.situation(&held, placed, record.loss.and_then(|loss| loss.per_hour()));
        situation.risk = record.calibrated.or(record.exposure.as_ref().map(|exposure| exposure.risk));
        let gate = &self.settings.gate;
        if decide(&situation, gate).has_cause() {
            let candidates = self.candidates_of(placed);
            situation.shift = self.shift(&candidates, &lying, placed);
            situation.best_move = self.best_move(&candidates, &lying, placed);
        }
        let decision = decide(&situation, gate);
        (record.verdict, record.reason) = self.words(&decision, &situation);
        record.action = self.action(&decision, &situation).map(Box::new);
    }

    /// What candidates of a partition are judged with. Of one that something is begun of, what comes is its own.
    fn candidates_of(&self, placed: &Placed) -> Candidates<'a> {
        match placed.coming {
            Some(_) => Candidates { arriving_per_s: &[], ..self.candidates },
            None => self.candidates,
        }
    }

    /// What the gate is told, but for what could be done.
    fn situation(&self, held: &Holding<'_>, placed: &Placed, loss_per_hour: Option<f64>) -> Situation {
        let field = self.candidates.surroundings.field();
        let over_class = |node: &Node| self.candidates.hazard_over_class[node.at()];
        // The highest of the holders; `None` if one of them is not known.
        let most = |of: &dyn Fn(&Node) -> Option<f64>| {
            let all: Option<Vec<f64>> = held.subset.iter().map(of).collect();
            all.map(|all| all.into_iter().fold(0.0, f64::max))
        };
        let peak = |node: &Node| self.candidates.peak_per_s.map(|peak| peak[node.at()]);
        Situation {
            loss_per_hour,
            risk: None,
            hazard_over_class: held.subset.iter().map(over_class).fold(0.0, f64::max),
            gray: held.subset.iter().any(|node| self.suspected[node.at()]),
            exceeds_now: most(&|node| field.exceeds(*node, field.load_per_s(*node))),
            exceeds_forecast: most(&|node| field.exceeds(*node, peak(node)?)),
            replica_over_largest: self
                .largest_per_s
                .map(|largest| held.shares.iter().copied().fold(0.0, f64::max) * held.reads_per_s / largest),
            load_over_capacity: self.load_over_capacity,
            drift_per_hour: placed.ahead.drift_per_hour,
            shift: None,
            best_move: None,
            mode: self.settings.mode,
            frozen: placed.stays,
        }
    }

    /// The holder that is most worth leaving: a suspect, then who is the farthest above a trigger.
    fn worst(&self, held: &Holding<'_>) -> Option<usize> {
        let (field, gate) = (self.candidates.surroundings.field(), &self.settings.gate);
        let badness = |node: &Node| {
            if self.suspected[node.at()] {
                return f64::INFINITY;
            }
            let hazard = self.candidates.hazard_over_class[node.at()] / gate.hazard_trigger;
            let peak = self.candidates.peak_per_s.map_or(0.0, |peak| peak[node.at()]);
            let full = field.exceeds(*node, peak.max(field.load_per_s(*node))).unwrap_or(0.0);
            hazard.max(full / gate.headroom_trigger)
        };
        (0..held.subset.len())
            .max_by(|a, b| badness(&held.subset[*a]).total_cmp(&badness(&held.subset[*b])).then(b.cmp(a)))
    }

    /// The best shift. One at a time: what is in force is undone before another is made.
    fn shift(&self, candidates: &Candidates<'_>, lying: &Lying<'_>, placed: &Placed) -> Option<Shift> {
        if placed.shift.is_some() {
            return None;
        }
        let held = &lying.held;
        let from = self.worst(held)?;
        let mut shares = Vec::new();
        let told = self.cluster.nodes[held.subset[from].at()].shifts;
        let (action, moved) = match self.settings.shifts.unwrap_or(told) {
            Shifts::None => return None,
            Shifts::Drain => {
                drained(held.shares, from, &mut shares);
                (ShiftAction::Drain { from: held.subset[from] }, held.shares[from])
            }
            Shifts::Lead => {
                // The safest other holder takes the leader's share, and the leader that one's.
                let over = |at: &usize| self.candidates.hazard_over_class[held.subset[*at].at()];
                let to = (1..held.subset.len()).min_by(|a, b| over(a).total_cmp(&over(b)).then(a.cmp(b)))?;
                if from != 0 {
                    return None;
                }
                shares.extend_from_slice(held.shares);
                shares.swap(0, to);
                (ShiftAction::Lead { to: held.subset[to] }, (held.shares[0] - held.shares[to]).max(0.0))
            }
        };
        let since_last_h = placed.ahead.changed_ago_h;
        let shifted = Shifted { action, subset: held.subset, shares: &shares, moved, since_last_h };
        candidates.shift(lying, &shifted)
    }

    fn best_move(&self, candidates: &Candidates<'_>, lying: &Lying<'_>, placed: &Placed) -> Option<Move> {
        let subset = lying.held.subset;
        let from = self.worst(&lying.held)?;
        let leaving = subset[from];
        let innermost = |node: Node| self.cluster.nodes[node.at()].domains.last().copied();
        let others = || subset.iter().filter(move |node| **node != leaving);
        let allowed = |to: &Node| {
            !subset.contains(to)
                && self.cluster.nodes[to.at()].system == self.cluster.nodes[leaving.at()].system
                && !others().any(|other| innermost(*other).is_some() && innermost(*other) == innermost(*to))
        };
        let (bytes, drift_per_hour) = (placed.size_bytes?, placed.ahead.drift_per_hour);
        let back = shifted::back(placed);
        let more_per_s = lying.held.reads_per_s * back[from];
        // What is on its way to a node is in no loss yet: it would be chosen as if it were empty, and refused then.
        let free = |to: &Node| {
            candidates.arriving_per_s.get(to.at()).is_none_or(|arriving| *arriving <= 0.0)
                || candidates.destination(*to, more_per_s).passes(&self.settings.gate)
        };
        let all = self.destinations.iter().copied().filter(allowed);
        let mut to: Vec<Node> = all.clone().filter(free).take(LOOKED_AT).collect();
        if to.is_empty() {
            to.extend(all.take(LOOKED_AT));
        }
        candidates.best_move_back(lying, &back, from, bytes, drift_per_hour, to.into_iter())
    }
}
