//! The task that owns the topology.
//!
//! Watchers of adapters send what they hear and wait for its opinion; a watcher whose message is refused connects
//! anew. Readers never wait: each new topology replaces the last in a watch channel, at most every
//! [`PUBLISH_EVERY`], because a topology that nobody else holds is changed in place and one that somebody holds is
//! copied first.

use super::model::{Model, Refused};
use super::watch;
use super::{Adapter, Topologies, Topology};
use crate::writer::now;
use isotherm_model::SystemId;
use isotherm_proto::{Capabilities, TopologyMessage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// Messages of all adapters that wait for the owner. Each watcher waits for its answer, so this is never full of
/// one adapter's.
const EVENTS: usize = 16;

/// The shortest time between two topologies.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// How often sources are looked at for staleness.
const TICK: Duration = Duration::from_secs(1);

/// What a watcher tells the owner.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) system: SystemId,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug)]
pub(super) enum What {
    /// A connection is there, and the adapter said what it can do.
    Connected(Capabilities),
    /// A message, and whom to tell whether it was believed.
    Message(TopologyMessage, oneshot::Sender<Result<(), Refused>>),
    /// There is no connection, for this reason.
    Lost(String),
}

/// Starts the owner and a watcher for each adapter. The first topology is the configured one.
pub(crate) fn start(
    configured: Topology,
    adapters: Vec<Adapter>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> Topologies {
    let mut model = Model::new(configured, &adapters, now());
    let (publish, topologies) = tokio::sync::watch::channel(model.take());
    if adapters.is_empty() {
        // Nothing will ever change. The channel stays open as long as the task does.
        let stopped = stop.clone();
        tasks.spawn(async move {
            stopped.cancelled().await;
            drop(publish);
            Ok(())
        });
        return topologies;
    }
    let (events, queue) = mpsc::channel(EVENTS);
    for adapter in adapters {
        let watched = watch::watch(adapter, events.clone(), stop.clone());
        tasks.spawn(async move {
            watched.await;
            Ok(())
        });
    }
    let owned = own(model, queue, publish, stop.clone());
    tasks.spawn(async move {
        owned.await;
        Ok(())
    });
    topologies
}

async fn own(
    mut model: Model,
    mut events: mpsc::Receiver<Event>,
    publish: tokio::sync::watch::Sender<Arc<Topology>>,
    stop: CancellationToken,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => model.tick(now()),
            event = events.recv() => match event {
                Some(event) => happened(&mut model, event),
                None => return,
            },
            () = sleep_until(published + PUBLISH_EVERY), if model.has_news() => {
                published = Instant::now();
                publish.send_replace(model.take());
            }
        }
    }
}

fn happened(model: &mut Model, Event { system, what }: Event) {
    match what {
        What::Connected(capabilities) => {
            tracing::info!(%system, adapter = %capabilities.adapter, "watching the topology");
            model.connected(&system, capabilities, now());
        }
        What::Message(message, opinion) => {
            // A watcher that has ended does not need it.
            let _ = opinion.send(model.apply(&system, message, now()));
        }
        What::Lost(problem) => model.lost(&system, problem, now()),
    }
}
