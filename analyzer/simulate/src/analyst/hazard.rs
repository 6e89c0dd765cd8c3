//! Hazards of nodes, from failures that were seen.

use crate::observe::{Facts, Step};
use crate::world::TICKS_PER_DAY;

/// Failures and the days they were counted over, both forgotten by half in 60 days.
pub(super) struct Failures {
    failures: Vec<f64>,
    days: Vec<f64>,
}

/// Hazards per hour of all nodes.
#[derive(Debug, Clone)]
pub(crate) struct Hazards {
    pub(crate) per_h: Vec<f64>,
    /// As multiples of the mean of the class.
    pub(crate) over_class: Vec<f64>,
    pub(crate) deviation_per_h: Vec<f64>,
}

impl Failures {
    pub(super) fn new(facts: &Facts) -> Self {
        let days = f64::from(facts.history_days);
        Self {
            failures: facts.nodes.iter().map(|node| f64::from(node.failed_before)).collect(),
            days: vec![days; facts.nodes.len()],
        }
    }

    pub(super) fn see(&mut self, step: &Step, facts: &Facts) {
        let left = 0.5_f64.powf(1.0 / (60.0 * TICKS_PER_DAY as f64));
        for (node, latency) in step.latency_ms.iter().enumerate() {
            self.failures[node] *= left;
            self.days[node] = self.days[node] * left
                + if latency.is_some() { 1.0 / TICKS_PER_DAY as f64 } else { 0.0 };
        }
        for node in &step.failed {
            let rack = facts.nodes[usize::from(*node)].rack;
            let same = step.failed.iter().filter(|n| facts.nodes[usize::from(**n)].rack == rack).count();
            // Several of a rack at once are the rack's doing.
            if same < 3 {
                self.failures[usize::from(*node)] += 1.0;
            }
        }
    }

    pub(super) fn hazards(&self, facts: &Facts) -> Hazards {
        let classes = facts.nodes.iter().map(|node| node.class + 1).max().unwrap_or(0);
        let mean: Vec<f64> = (0..classes)
            .map(|class| {
                let of = || (0..facts.nodes.len()).filter(move |at| facts.nodes[*at].class == class);
                let failures: f64 = of().map(|at| self.failures[at]).sum();
                let days: f64 = of().map(|at| self.days[at]).sum();
                (1.0 + failures) / (90.0 + days)
            })
            .collect();
        let of = |at: usize| mean[facts.nodes[at].class];
        let nodes = 0..facts.nodes.len();
        let per_day = |at: usize| (1.0 + self.failures[at]) / (1.0 / of(at) + self.days[at]);
        Hazards {
            per_h: nodes.clone().map(|at| per_day(at) / 24.0).collect(),
            over_class: nodes.clone().map(|at| per_day(at) / of(at)).collect(),
            deviation_per_h: nodes
                .map(|at| (1.0 + self.failures[at]).sqrt() / (1.0 / of(at) + self.days[at]) / 24.0)
                .collect(),
        }
    }
}
