//! Hazards of nodes, from failures that were seen.

use crate::observe::{Facts, Step};
use isotherm_model::Timestamp;
use isotherm_risk::{HazardPolicy, NodeClass, Tally};

/// Failures of each node and the hours they were counted over, forgotten as the policy of hazards says.
pub(super) struct Failures {
    tallies: Vec<Tally>,
    classes: Vec<NodeClass>,
    policy: HazardPolicy,
    step_h: f64,
    /// What is left of a record after a step.
    left: f64,
}

/// Hazards per hour of all nodes.
#[derive(Debug, Clone)]
pub(crate) struct Hazards {
    pub(crate) per_h: Vec<f64>,
    /// As multiples of the class's.
    pub(crate) over_class: Vec<f64>,
    pub(crate) deviation_per_h: Vec<f64>,
}

/// Nodes of one rack that go away within a step, from which on it is the rack that failed.
const RACK_FAILED: usize = 3;

impl Failures {
    pub(super) fn new(facts: &Facts) -> Self {
        let policy = HazardPolicy::default();
        let (step_h, hours) = (f64::from(facts.step_s) / 3600.0, f64::from(facts.history_days) * 24.0);
        let half_life_h = policy.half_life_days * 24.0;
        // Failures of the history are known by their number, so they count as if they were spread over it.
        let weight = half_life_h / std::f64::consts::LN_2 * (1.0 - 0.5_f64.powf(hours / half_life_h)) / hours;
        let tally = |before: u32| Tally { failures: weight * f64::from(before), exposure_h: weight * hours };
        Self {
            tallies: facts.nodes.iter().map(|node| tally(node.failed_before)).collect(),
            classes: facts.nodes.iter().map(|node| NodeClass(node.class as u32)).collect(),
            step_h,
            left: 0.5_f64.powf(step_h / half_life_h),
            policy,
        }
    }

    pub(super) fn see(&mut self, step: &Step, facts: &Facts) {
        for (tally, latency) in self.tallies.iter_mut().zip(&step.latency_ms) {
            tally.failures *= self.left;
            tally.exposure_h =
                tally.exposure_h * self.left + if latency.is_some() { self.step_h } else { 0.0 };
        }
        for node in &step.failed {
            let rack = |node: u16| facts.nodes[usize::from(node)].rack;
            let same = step.failed.iter().filter(|other| rack(**other) == rack(*node)).count();
            if same < RACK_FAILED {
                self.tallies[usize::from(*node)].failures += 1.0;
            }
        }
    }

    pub(super) fn hazards(&self) -> Hazards {
        let now = Timestamp::from_ms(0);
        let found = isotherm_risk::Hazards::estimate(&self.tallies, &self.classes, &[], now, &self.policy)
            .expect("tallies are counts, one for each node");
        Hazards {
            per_h: found.per_hour(),
            over_class: found.over_class(),
            deviation_per_h: found.of.iter().map(isotherm_risk::Hazard::sd_per_hour).collect(),
        }
    }
}
