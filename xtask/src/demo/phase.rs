//! One phase: a load between two quiet times, and what was counted in exactly that time.
//!
//! Why quiet: the agent cuts its windows a little after their end, so an access near a border may fall into
//! the window before it. The load therefore starts when the window before the phase has arrived, and was
//! cut, however late; and after the load there are two windows of silence.

use super::answer::{self, EntropyAnswer, NodeAnswer, PartitionAnswer, Span};
use super::config::WINDOW_MS;
use super::stage::Stage;
use super::stop::Stop;
use anyhow::{Context, Result, anyhow};
use isotherm_tests::load::{Load, Skew, TrueReads, Truth};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Silence after the load.
const QUIET_MS: u64 = 2 * WINDOW_MS;

/// GETs of a phase of `--once`: the coldest of eight volumes gets about 276 of them.
pub(super) const ONCE_REQUESTS: u64 = 6_000;

/// GETs per second of `--once`; what a debug build on two busy cores still serves.
pub(super) const ONCE_RATE: f64 = 1_000.0;

/// What to do in a phase.
pub(super) struct Plan {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// Between the replicas of a volume.
    pub(super) skew: Skew,
    /// Of the load.
    pub(super) seed: u64,
    /// GETs.
    pub(super) requests: u64,
    /// GETs per second at the most.
    pub(super) rate_per_second: f64,
}

/// What happened in a phase, and what was counted of it.
pub(super) struct Measured {
    /// The plan's name.
    pub(super) name: &'static str,
    /// A border that was cut before the load began.
    pub(super) since_ms: u64,
    /// The first moment after.
    pub(super) until_ms: u64,
    /// What happened.
    pub(super) truth: Vec<TrueReads>,
    /// What the analyzer says of nodes.
    pub(super) nodes: Vec<NodeAnswer>,
    /// What the analyzer says of partitions.
    pub(super) partitions: Vec<PartitionAnswer>,
    /// What the analyzer computed.
    pub(super) entropies: Vec<EntropyAnswer>,
}

/// Runs a phase and asks what was counted. `watch` is called all the time with the stage and the running
/// phase.
pub(super) fn measure(
    stage: &mut Stage,
    plan: &Plan,
    stop: &Stop,
    mut watch: impl FnMut(&mut Stage, &Running<'_>) -> Result<()>,
) -> Result<Measured> {
    let start_ms = stage.wait_for_windows(next_window_ms(), stop)?;
    let truth = Truth::new(Arc::clone(&stage.volumes));
    let running = Running { plan, since_ms: start_ms, truth: &truth };
    let load = Load {
        volumes: Arc::clone(&stage.volumes),
        skew: plan.skew,
        seed: plan.seed,
        requests: plan.requests,
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
    let end_ms = next_window_ms() + QUIET_MS;
    pause_until(stage, end_ms, stop)?;
    stage.wait_for_windows(end_ms, stop)?;
    let span = Span { since_ms: start_ms, until_ms: Some(end_ms) };
    Ok(Measured {
        name: plan.name,
        since_ms: start_ms,
        until_ms: end_ms,
        truth: truth.rows(),
        nodes: answer::nodes(&stage.endpoint, span)?,
        partitions: answer::partitions(&stage.endpoint, span)?,
        entropies: answer::entropies(&stage.endpoint, span)?,
    })
}

/// A phase as it is going on.
pub(super) struct Running<'a> {
    /// Its plan.
    pub(super) plan: &'a Plan,
    /// Its first window's start.
    pub(super) since_ms: u64,
    /// What happened so far.
    pub(super) truth: &'a Truth,
}

/// Stops the load however the phase ends.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit 64 bits for ages")
}

/// The start of the next window.
fn next_window_ms() -> u64 {
    (now_ms() / WINDOW_MS + 1) * WINDOW_MS
}

fn pause_until(stage: &mut Stage, moment_ms: u64, stop: &Stop) -> Result<()> {
    stage.pause(Duration::from_millis(moment_ms.saturating_sub(now_ms())), stop)
}
