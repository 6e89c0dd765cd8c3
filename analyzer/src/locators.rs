//! Where adapters say partitions lie, on its way to the agents that watch their nodes.
//!
//! One task keeps an [index](index) of the topology by node, for all streams together. Each stream whose agent says what
//! it watches compares the index with what it has told ([changes]) and sends what differs: everything of a node first,
//! then what changes. What changes while a message is under way comes together in the next one, and an agent that
//! reads slowly holds up its own locators only: they have a place of their own beside the answers.

mod changes;
mod index;

use crate::ingest::Told;
use crate::topology::Topologies;
use changes::{Changed, changes};
pub(crate) use index::Index;
use isotherm_model::NodeId;
use isotherm_proto::telemetry::v1::{StreamResponse, stream_response};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The index of the moment.
pub(crate) type Indexes = watch::Receiver<Arc<Index>>;

/// The shortest time between two indexes.
const EVERY: Duration = Duration::from_millis(500);

/// So many times as long as an index took, nothing is done before the next: a twentieth of a processor at most.
const REST: u32 = 20;

/// Starts the task that keeps the index.
pub(crate) fn start(
    mut topologies: Topologies,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> Indexes {
    let first = Arc::new(Index::default().next(&topologies.borrow_and_update()));
    let (publish, indexes) = watch::channel(first);
    let stop = stop.clone();
    tasks.spawn(async move { stop.run_until_cancelled(keep(topologies, publish)).await.unwrap_or(Ok(())) });
    indexes
}

async fn keep(mut topologies: Topologies, publish: watch::Sender<Arc<Index>>) -> anyhow::Result<()> {
    loop {
        if topologies.changed().await.is_err() {
            // The topology ends with the analyzer, and what was said of it stays true until then.
            std::future::pending::<()>().await;
        }
        let topology = Arc::clone(&topologies.borrow_and_update());
        let before = Arc::clone(&publish.borrow());
        if before.is_of(&topology) {
            continue;
        }
        let begun = Instant::now();
        let revision = before.revision();
        let index = spawn_blocking(move || before.next(&topology)).await?;
        if index.revision() == revision {
            publish.send_if_modified(|known| {
                *known = Arc::new(index);
                false
            });
        } else {
            publish.send_replace(Arc::new(index));
        }
        sleep(EVERY.max(begun.elapsed() * REST)).await;
    }
}

/// Tells one stream where the partitions of its nodes lie, once it has said which these are, for as long as it is
/// polled.
pub(crate) async fn tell(
    mut indexes: Indexes,
    mut asked: watch::Receiver<Option<BTreeSet<NodeId>>>,
    told: Told<'_>,
    out: mpsc::Sender<Result<StreamResponse, Status>>,
) {
    let (mut known, mut warned) = (BTreeMap::new(), BTreeSet::new());
    loop {
        let index = Arc::clone(&indexes.borrow_and_update());
        let targets = asked.borrow_and_update().clone();
        if let Some(targets) = targets {
            let Changed { message, too_many } = changes(&index, &mut known, &targets);
            for node in too_many.into_iter().filter(|node| warned.insert(node.clone())) {
                tracing::warn!(agent = %told.agent(), %node, "has more partitions than locators are sent of");
            }
            if let Some(message) = message {
                told.revision(message.revision());
                for part in message.parts() {
                    let response = StreamResponse { message: Some(stream_response::Message::Locators(part)) };
                    if out.send(Ok(response)).await.is_err() {
                        // The stream is about to end.
                        return std::future::pending().await;
                    }
                }
            }
        }
        let more = tokio::select! {
            more = indexes.changed() => more,
            more = asked.changed() => more,
        };
        if more.is_err() {
            return std::future::pending().await;
        }
    }
}
