//! The cluster, looked at now and then, and told as a snapshot and what changes in it.
//!
//! One task looks. Each stream keeps what it said last and tells the difference to the latest look, so a slow reader
//! costs nothing and gets fewer, larger changes. A look that failed says nothing; after a few of them streams end with
//! UNAVAILABLE and the cause.

mod diff;

use super::desk::{Desk, guarded};
use super::now_ms;
use super::progress::heartbeat;
use crate::contract::Refusal;
use crate::ledger::{Ledger, LedgerError, Look};
use crate::store::{Cluster, Store};
use diff::{changes, empty, snapshot};
use isotherm_proto::adapter::v1::WatchTopologyResponse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// Between two looks, if nothing calls for one.
const EVERY: Duration = Duration::from_secs(2);

/// Between two looks in any case.
const PACE: Duration = Duration::from_millis(100);

/// How long a look may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Looks that may fail in a row before streams end.
const FAILURES: u32 = 3;

/// Messages that wait for a slow reader.
const QUEUE: usize = 4;

/// A revision has room for the parts of its changes before the next.
const PARTS: u64 = 1 << 20;

type Messages = mpsc::Receiver<Result<WatchTopologyResponse, Status>>;

/// What was seen last.
#[derive(Clone, Default)]
struct View {
    /// Rises with everything that changes, by [`PARTS`].
    revision: u64,
    cluster: Option<Arc<Cluster>>,
    /// Looks that have failed since.
    failures: u32,
    /// Of the last one.
    why: String,
}

/// The looks at the cluster.
pub(super) struct Topology {
    view: watch::Receiver<View>,
    poke: Arc<Notify>,
    incarnation: String,
}

impl Topology {
    /// Begins to look.
    pub(super) fn start(
        store: Arc<dyn Store>,
        ledger: Arc<Ledger>,
        tasks: &TaskTracker,
        closing: CancellationToken,
    ) -> Result<Self, LedgerError> {
        let incarnation = ledger.incarnation()?;
        let (publish, view) = watch::channel(View::default());
        let poke = Arc::new(Notify::new());
        let poked = Arc::clone(&poke);
        tasks.spawn(async move {
            loop {
                let seen = look(&store, &ledger).await;
                publish.send_modify(|view| take(view, seen));
                let next = async {
                    tokio::time::sleep(PACE).await;
                    let _ = tokio::time::timeout(EVERY - PACE, poked.notified()).await;
                };
                tokio::select! {
                    () = next => {}
                    () = closing.cancelled() => return,
                }
            }
        });
        Ok(Self { view, poke, incarnation })
    }

    /// Something has changed: looks soon.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }
}

async fn look(store: &Arc<dyn Store>, ledger: &Ledger) -> Result<Cluster, Refusal> {
    let moment = ledger.moment();
    let asked = Arc::clone(store);
    let mut cluster = tokio::time::timeout(LONGEST, guarded(async move { asked.cluster().await }))
        .await
        .unwrap_or_else(|_| Err(Refusal::not_now(format!("no answer within {} s", LONGEST.as_secs()))))?;
    let looks: Vec<_> = cluster
        .partitions
        .iter()
        .filter(|(_, facts)| !facts.nodes.is_empty())
        .map(|(id, facts)| (id, Look { moment, holders: &facts.nodes }))
        .collect();
    let epochs: Vec<u64> =
        ledger.observe(&looks, now_ms())?.iter().map(|partition| partition.serving.0).collect();
    let held = cluster.partitions.values_mut().filter(|facts| !facts.nodes.is_empty());
    for (facts, epoch) in held.zip(epochs) {
        facts.epoch = epoch;
    }
    // One that nobody holds cannot be told.
    cluster.partitions.retain(|_, facts| !facts.nodes.is_empty());
    Ok(cluster)
}

fn take(view: &mut View, seen: Result<Cluster, Refusal>) {
    match seen {
        Ok(cluster) => {
            if view.failures > 0 {
                tracing::info!("the cluster can be seen again");
            }
            view.failures = 0;
            if view.cluster.as_deref() != Some(&cluster) {
                view.revision += PARTS;
                view.cluster = Some(Arc::new(cluster));
            }
        }
        Err(refusal) => {
            if view.failures == 0 {
                tracing::warn!("the cluster cannot be seen: {refusal}");
            }
            view.failures = view.failures.saturating_add(1);
            view.why = refusal.message;
        }
    }
}

impl Desk {
    /// Tells of the cluster until the caller goes.
    pub(super) async fn watch_topology(self: &Arc<Self>, heartbeat_ms: u32) -> Result<Messages, Status> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("too many streams are open"))?;
        let mut view = self.topology.view.clone();
        let first = view.wait_for(|view| view.cluster.is_some() || view.failures > 0);
        let first = first.await.map_err(|_| Status::unavailable("the adapter is ending"))?.clone();
        if first.failures > 0 {
            return Err(unseen(&first));
        }
        let (messages, stream) = mpsc::channel(QUEUE);
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                end = desk.tell(view, first, heartbeat(heartbeat_ms), &messages) => {
                    if let Err(Over::Unseen(status)) = end {
                        let _ = messages.send(Err(status)).await;
                    }
                }
                () = messages.closed() => {}
                () = desk.closing.cancelled() => {}
            }
            drop(place);
        });
        Ok(stream)
    }

    async fn tell(
        &self,
        mut view: watch::Receiver<View>,
        mut said: View,
        heartbeat: Duration,
        messages: &mpsc::Sender<Result<WatchTopologyResponse, Status>>,
    ) -> Result<(), Over> {
        for message in snapshot(said.revision, &self.topology.incarnation, &cluster_of(&said)) {
            messages.send(Ok(message)).await.map_err(|_| Over::Gone)?;
        }
        let mut at = Instant::now();
        loop {
            // The look for a heartbeat comes early enough to be in time.
            let early = at + heartbeat / 2;
            match tokio::time::timeout_at(early, view.changed()).await {
                Ok(changed) => changed.map_err(|_| Over::Gone)?,
                Err(_) => {
                    self.topology.poke();
                    view.changed().await.map_err(|_| Over::Gone)?;
                }
            }
            let seen = view.borrow_and_update().clone();
            if seen.failures >= FAILURES {
                return Err(Over::Unseen(unseen(&seen)));
            }
            if seen.failures > 0 {
                continue;
            }
            let news = if seen.revision > said.revision {
                changes(seen.revision, &cluster_of(&said), &cluster_of(&seen))
            } else if Instant::now() >= early {
                vec![empty(seen.revision)]
            } else {
                continue;
            };
            for message in news {
                messages.send(Ok(message)).await.map_err(|_| Over::Gone)?;
            }
            (said, at) = (seen, Instant::now());
        }
    }
}

/// Why a stream ends.
enum Over {
    Gone,
    Unseen(Status),
}

fn unseen(view: &View) -> Status {
    Status::unavailable(format!("the cluster cannot be seen: {}", view.why))
}

fn cluster_of(view: &View) -> Arc<Cluster> {
    view.cluster.clone().unwrap_or_default()
}
