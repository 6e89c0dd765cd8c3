//! The agent's own numbers, for Prometheus: what each part sets, and how they are shown.
//!
//! Every part of the agent holds the same [`Telemetry`] and sets what it knows; a scrape reads it without
//! waiting for any of them. What nobody has set is absent, never zero. The number of series is bounded by
//! what there are words for: layers, operations, reasons, programs, maps, and 63 nodes; none is per partition.

mod exposition;
mod server;

pub use exposition::text;
pub use server::serve;

use crate::config::Target;
use crate::locator::Findings;
use crate::probe::{MapStats, ProgramStats};
use isotherm_model::{
    Completeness, Counts, Layer, LostReason, NodeId, Operation, OtherReason, Subject, Timestamp,
    UnattributedReason, Window,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whose accesses are, as far as it is told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Partition,
    Other(OtherReason),
    Unattributed(UnattributedReason),
}

/// What the watching thread has told, changed once per window.
#[derive(Debug, Clone, Default)]
struct Counted {
    windows: BTreeMap<&'static str, u64>,
    last_end: Option<Timestamp>,
    accesses: BTreeMap<(Layer, Operation, Class), Counts>,
    /// Layers and operations that are watched.
    watched: BTreeSet<(Layer, Operation)>,
    lost: BTreeMap<LostReason, u64>,
    processes: BTreeMap<NodeId, u32>,
    programs: Vec<ProgramStats>,
    maps: Vec<MapStats>,
    /// Rules of each target: of the configuration, and partitions by locators.
    rules: BTreeMap<NodeId, [usize; 2]>,
    /// Nothing before the first locators.
    located: Option<Findings>,
}

/// A value that nobody may have set yet.
#[derive(Debug)]
struct Gauge(AtomicU64);

impl Gauge {
    /// No value is that large.
    const UNSET: u64 = u64::MAX;

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|value| *value != Self::UNSET)
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicU64::new(Self::UNSET))
    }
}

/// Adds to a count, which is thereby known.
fn add(counter: &Gauge, by: u64) {
    let now = counter.get().unwrap_or_default();
    counter.set(now.saturating_add(by));
}

/// What the agent tells about itself. Each setter has one caller, named in its description.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Held for the length of a copy.
    counted: Mutex<Counted>,
    conservation_failures: AtomicU64,
    reloads: [AtomicU64; 2],
    refused_locators: AtomicU64,
    spool_bytes: Gauge,
    spool_batches: Gauge,
    spool_oldest_ms: Gauge,
    acknowledged_batches: Gauge,
    acknowledged_end_ms: Gauge,
    connected: Gauge,
    given_up_batches: Gauge,
}

impl Telemetry {
    /// Takes in a window that was cut. By the watching thread.
    pub fn window_cut(&self, window: &Window) {
        let mut counted = self.counted();
        for completeness in Completeness::ALL {
            counted.windows.entry(completeness.as_str()).or_default();
        }
        *counted.windows.entry(window.completeness.as_str()).or_default() += 1;
        counted.last_end = Some(window.end());
        counted.processes.clear();
        for node in &window.nodes {
            counted.processes.insert(node.node.clone(), node.processes);
            counted.watched.extend(node.totals.keys());
            for row in &node.rows {
                let class = match &row.subject {
                    Subject::Partition(_) => Class::Partition,
                    Subject::Other(reason) => Class::Other(*reason),
                    Subject::Unattributed(reason) => Class::Unattributed(*reason),
                };
                let sum = counted.accesses.entry((row.layer, row.operation, class)).or_default();
                *sum = sum.plus(row.counts);
            }
            for (reason, events) in &node.lost {
                let sum = counted.lost.entry(*reason).or_default();
                *sum = sum.saturating_add(*events);
            }
        }
    }

    /// Takes in the state of programs and maps. By the watching thread, once per window.
    pub fn probe_read(&self, programs: Vec<ProgramStats>, maps: Vec<MapStats>) {
        let mut counted = self.counted();
        counted.programs = programs;
        counted.maps = maps;
    }

    /// The rows of a window and the kernel's own totals disagreed. By the watching thread.
    pub fn conservation_failed(&self) {
        self.conservation_failures.fetch_add(1, Relaxed);
    }

    /// A changed configuration was taken or refused. By the main task.
    pub fn reloaded(&self, taken: bool) {
        self.reloads[usize::from(taken)].fetch_add(1, Relaxed);
    }

    /// Targets and their rules are in force, and what became of locators. By the main task.
    pub fn in_force(&self, targets: &[Target], findings: &Findings) {
        let mut counted = self.counted();
        let rules = |target: &Target| [target.rules.len(), target.located.partitions()];
        counted.rules = targets.iter().map(|target| (target.node.clone(), rules(target))).collect();
        counted.located = (findings.revision > 0).then(|| findings.clone());
    }

    /// Locators came that could not be believed. By the uplink.
    pub fn locators_refused(&self) {
        self.refused_locators.fetch_add(1, Relaxed);
    }

    /// What waits for the analyzer, on disk or in memory: its bytes, its batches, and the start of the oldest
    /// window in it, if there is one. By the spool, after each change.
    pub fn spooled(&self, bytes: u64, batches: u64, oldest: Option<Timestamp>) {
        self.spool_bytes.set(bytes);
        self.spool_batches.set(batches);
        self.spool_oldest_ms.set(oldest.map_or(Gauge::UNSET, Timestamp::as_ms));
    }

    /// Batches were acknowledged; `end` is that of the last window of this run that was. By the uplink.
    pub fn acknowledged(&self, batches: u64, end: Option<Timestamp>) {
        add(&self.acknowledged_batches, batches);
        if let Some(end) = end {
            self.acknowledged_end_ms.set(end.as_ms());
        }
    }

    /// Batches were given up: the analyzer refused them, or the spool had no room. By the uplink and the spool.
    pub fn given_up(&self, batches: u64) {
        add(&self.given_up_batches, batches);
    }

    /// The analyzer has greeted, or the stream has ended. By the uplink.
    pub fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A thread that panicked has left numbers, which are numbers still.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
