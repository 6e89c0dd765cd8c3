//! The order of doing, and what the checker says.

use crate::cli::plan::cluster::Names;
use isotherm_placement::{Plan, Schedule, Violation};
use serde::Serialize;

/// A schedule in short.
#[derive(Debug, Serialize)]
pub(in crate::cli::plan) struct Ordered {
    pub(super) waves: u32,
    /// Absent, as the next two, where the bandwidth of a node is not known.
    pub(super) makespan_s: Option<f64>,
    /// What no schedule of the same moves can take less than.
    pub(super) bound_s: Option<f64>,
    /// The one over the other; absent too where nothing takes time.
    pub(super) over_bound: Option<f64>,
    /// Moves that can never be done.
    pub(super) stuck: usize,
    /// Why the first of them cannot.
    pub(super) stuck_example: Option<String>,
}

impl Ordered {
    pub(super) fn of(schedule: &Schedule) -> Self {
        let times = schedule.times.as_ref();
        let over = |(makespan, bound): (u64, u64)| (bound > 0).then(|| makespan as f64 / bound as f64);
        Self {
            waves: schedule.waves,
            makespan_s: times.map(|times| times.makespan_ms as f64 / 1e3),
            bound_s: times.map(|times| times.bound_ms as f64 / 1e3),
            over_bound: times.and_then(|times| over((times.makespan_ms, times.bound_ms))),
            stuck: schedule.stuck.len(),
            stuck_example: schedule.stuck.first().map(|stuck| stuck.cause.to_string()),
        }
    }
}

/// A violation with the partition's name.
pub(super) fn violation(found: &Violation, plan: &Plan, names: &Names) -> String {
    let decided = found.position.and_then(|position| plan.moves.get(position as usize));
    let of = decided.map_or_else(String::new, |decided| {
        format!("partition {}, ", names.partitions.of(decided.partition))
    });
    format!("{of}{:?}: {}", found.moment, found.fault)
}
