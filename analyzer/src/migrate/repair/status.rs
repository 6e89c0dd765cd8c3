//! How failures and repairs stand, for people.

use super::Scene;
use super::book::{Book, Breaker};
use super::settings::Settings;
use super::track::{Lack, lacks};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_risk::Mode;
use std::collections::BTreeMap;

/// Partitions that are named with why they are not repaired.
const NAMED: usize = 100;

/// All systems.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) mode: Mode,
    pub(crate) per_hour: u32,
    pub(crate) systems: Vec<SystemStatus>,
}

/// One system.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SystemStatus {
    pub(crate) system: SystemId,
    pub(crate) breaker: Breaker,
    /// Repairs that were begun within an hour; `None` where nobody has looked, as nothing has failed or is known.
    pub(crate) begun_within_hour: Option<usize>,
    /// Why nothing is begun, if so.
    pub(crate) hold: Option<String>,
    pub(crate) failures: Vec<FailureStatus>,
    /// Partitions that are not repaired for reasons of their own, the first [`NAMED`].
    pub(crate) unrepaired: Vec<Unrepaired>,
}

/// One node that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailureStatus {
    pub(crate) node: NodeId,
    pub(crate) since_ms: u64,
    pub(crate) standing: String,
    pub(crate) why: String,
    /// Replicas that it held.
    pub(crate) lost: usize,
    /// Of these, replicas that are missing.
    pub(crate) missing: usize,
    /// Of the missing ones, those that are being made or wait for limits.
    pub(crate) under_way: usize,
}

/// A partition that is not repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unrepaired {
    pub(crate) partition: PartitionId,
    pub(crate) why: String,
}

/// What a look has found beside the book.
#[derive(Default)]
pub(super) struct Report {
    pub(super) hold: Option<String>,
    pub(super) unrepaired: Vec<Unrepaired>,
    /// By node: missing replicas, and of these, those under way.
    counts: BTreeMap<NodeId, (usize, usize)>,
}

impl Report {
    /// Counts a replica that is missing to each node that had one.
    pub(super) fn count(&mut self, lack: &Lack, under_way: bool) {
        for node in &lack.dead {
            let (missing, ways) = self.counts.entry(node.clone()).or_default();
            *missing += 1;
            *ways += usize::from(under_way);
        }
    }
}

impl Status {
    /// Without any system.
    pub(super) fn of(settings: &Settings) -> Self {
        Self { mode: settings.mode, per_hour: settings.per_hour, systems: Vec::new() }
    }
}

/// A system in which nothing has failed.
pub(super) fn quiet(system: &SystemId, book: &Book) -> SystemStatus {
    SystemStatus {
        system: system.clone(),
        breaker: book.breaker.clone(),
        begun_within_hour: None,
        hold: None,
        failures: Vec::new(),
        unrepaired: Vec::new(),
    }
}

/// A system whose source is not fresh: nothing is done.
pub(super) fn unheard(scene: &Scene, settings: &Settings) -> SystemStatus {
    let mut report = Report::default();
    lacks(&scene.book, &scene.system, &scene.topology).iter().for_each(|lack| report.count(lack, false));
    report.hold = Some("what is known of the cluster is not of this moment".to_owned());
    of(scene, settings, &report, None)
}

/// A system after a look.
pub(super) fn of(scene: &Scene, settings: &Settings, report: &Report, begun: Option<usize>) -> SystemStatus {
    let failure = |(name, failure): (&String, &super::book::Failure)| {
        let node = scene.node(name)?;
        let standing = scene.standings.get(name)?;
        let (missing, under_way) = report.counts.get(&node).copied().unwrap_or_default();
        Some(FailureStatus {
            node,
            since_ms: failure.since_ms,
            standing: standing.as_str().to_owned(),
            why: standing.why(settings),
            lost: failure.lost.len() + failure.mended,
            missing,
            under_way,
        })
    };
    SystemStatus {
        system: scene.system.clone(),
        breaker: scene.book.breaker.clone(),
        begun_within_hour: begun,
        hold: report.hold.clone(),
        failures: scene.book.failures.iter().filter_map(failure).collect(),
        unrepaired: report.unrepaired.iter().take(NAMED).cloned().collect(),
    }
}
