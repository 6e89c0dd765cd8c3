//! One phase: a load between two quiet times, and what was counted in exactly that time.
//!
//! Why quiet: the agent cuts its windows a little after their end, so an access near a border may fall into
//! the window before it. The load therefore starts when the window before the phase has arrived, and was
//! cut, however late; and after the load there are two windows of silence. What the load left dirty is written
//! before that, and before the phase nothing of the volumes is cached, so that reads reach the device.

use super::answer::{self, EntropyAnswer, NodeAnswer, PartitionAnswer, PeersAnswer, Span};
use super::config::WINDOW_MS;
use super::stage::Stage;
use super::stop::Stop;
use anyhow::{Context, Result, anyhow};
use isotherm_tests::client::Traffic;
use isotherm_tests::load::{Load, Skew, TrueRequests, Truth};
use isotherm_tests::volume::DeviceStat;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Silence after the load.
const QUIET_MS: u64 = 2 * WINDOW_MS;

/// Requests of the first phase of `--once`: at its rate, a second for each step that a habit and a model need.
pub(super) const HABIT_REQUESTS: u64 = 24_000;

/// Requests of the second: windows enough for a surge to be seen while it goes on.
pub(super) const SURGE_REQUESTS: u64 = 12_000;

/// Requests per second of `--once`; what a debug build on two busy cores still serves.
pub(super) const ONCE_RATE: f64 = 1_000.0;

/// One request of so many is a PUT.
const PUT_EVERY: Option<NonZeroU64> = NonZeroU64::new(20);

/// What to do in a phase.
pub(super) struct Plan {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// Between the replicas of a volume.
    pub(super) skew: Skew,
    /// Of the load.
    pub(super) seed: u64,
    /// GETs and PUTs.
    pub(super) requests: u64,
    /// Of them per second at the most.
    pub(super) rate_per_second: f64,
}

/// What happened in a phase.
pub(super) struct Happened {
    /// Requests by volume and node.
    pub(super) requests: Vec<TrueRequests>,
    /// By how much the volumes' files grew, by volume and node.
    pub(super) grown_bytes: BTreeMap<(u32, String), u64>,
    /// Bytes of an object, as clients know it.
    pub(super) object_bytes: u64,
    /// What the block device did.
    pub(super) device: DeviceStat,
    /// What clients and nodes exchanged.
    pub(super) traffic: Vec<Traffic>,
}

/// What was counted in a phase.
pub(super) struct Counted {
    /// What the analyzer says of nodes, and of hosts and their devices.
    pub(super) nodes: Vec<NodeAnswer>,
    /// Of partitions.
    pub(super) partitions: Vec<PartitionAnswer>,
    /// Of peers.
    pub(super) peers: Vec<PeersAnswer>,
    /// What it computed.
    pub(super) entropies: Vec<EntropyAnswer>,
}

/// What happened in a phase, and what was counted of it.
pub(super) struct Measured {
    /// The plan's name.
    pub(super) name: &'static str,
    /// A border that was cut before the load began.
    pub(super) since_ms: u64,
    /// The first moment after.
    pub(super) until_ms: u64,
    /// The block device's name.
    pub(super) device: String,
    /// The truth.
    pub(super) truth: Happened,
    /// The counts.
    pub(super) counted: Counted,
}

/// Runs a phase and asks what was counted. `watch` is called all the time with the stage and the running
/// phase.
pub(super) fn measure(
    stage: &mut Stage,
    plan: &Plan,
    stop: &Stop,
    mut watch: impl FnMut(&mut Stage, &Running<'_>) -> Result<()>,
) -> Result<Measured> {
    stage.disk.drop_caches(&stage.namespace)?;
    let (start_ms, device_before) = stage.rest(0, stop)?;
    let lengths_before = stage.data_bytes()?;
    let truth = Truth::new(Arc::clone(&stage.volumes))?;
    let running = Running { plan, since_ms: start_ms, truth: &truth, device: device_before };
    let load = Load {
        volumes: Arc::clone(&stage.volumes),
        skew: plan.skew.clone(),
        seed: plan.seed,
        requests: plan.requests,
        put_every: PUT_EVERY,
        rate_per_second: plan.rate_per_second,
    };
    let (seen, stop_load) = (truth.clone(), StopOnDrop::default());
    let flag = Arc::clone(&stop_load.0);
    // The namespace's thread only starts the load, so that the stage stays free to be stopped.
    let load = stage.namespace.run(move || thread::spawn(move || load.run(&seen, &flag)))?;
    while !load.is_finished() {
        stage.pause(Duration::from_millis(100), stop)?;
        watch(stage, &running)?;
    }
    load.join().map_err(|_| anyhow!("the load panicked"))?.context("run the load")?;
    let (end_ms, device_after) = stage.rest(QUIET_MS, stop)?;
    let mut grown_bytes = stage.data_bytes()?;
    for (place, length) in &mut grown_bytes {
        let before = lengths_before.get(place).context("a volume's file was there before")?;
        *length = length.checked_sub(*before).context("a volume's file got shorter")?;
    }
    let object_bytes = stage.volumes.first().map_or(0, |volume| volume.object_bytes as u64);
    let truth = Happened {
        requests: truth.rows(),
        grown_bytes,
        object_bytes,
        device: device_after.since(&device_before),
        traffic: truth.traffic(),
    };
    let span = Span { since_ms: start_ms, until_ms: Some(end_ms) };
    let counted = Counted {
        nodes: answer::nodes(&stage.endpoint, span)?,
        partitions: answer::partitions(&stage.endpoint, span)?,
        peers: answer::peers(&stage.endpoint, span)?,
        entropies: answer::entropies(&stage.endpoint, span)?,
    };
    let device = stage.disk.device().to_owned();
    Ok(Measured { name: plan.name, since_ms: start_ms, until_ms: end_ms, device, truth, counted })
}

/// A phase as it is going on.
pub(super) struct Running<'a> {
    /// Its plan.
    pub(super) plan: &'a Plan,
    /// Its first window's start.
    pub(super) since_ms: u64,
    /// What happened so far.
    pub(super) truth: &'a Truth,
    /// What the block device had done before.
    pub(super) device: DeviceStat,
}

/// Stops the load however the phase ends.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
