//! How far a step is, as a stream.

use super::desk::{Desk, Run};
use crate::contract::progress_to_wire;
use isotherm_migration::MigrationId;
use isotherm_proto::adapter::v1::WatchProgressResponse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// The shortest time between two messages.
const PACE: Duration = Duration::from_millis(250);

/// The longest time without one that a caller can ask for, and the adapter's own choice.
const LONGEST: Duration = Duration::from_secs(10);
const CHOICE: Duration = Duration::from_secs(5);

/// Messages that wait for a slow caller; newer progress waits in the step.
const QUEUE: usize = 4;

type Messages = mpsc::Receiver<Result<WatchProgressResponse, Status>>;

/// The heartbeat that is kept for a caller who asked for `ms`.
pub(super) fn heartbeat(ms: u32) -> Duration {
    if ms == 0 { CHOICE } else { Duration::from_millis(ms.into()).clamp(PACE, LONGEST) }
}

impl Desk {
    /// Tells how far the step of a migration is, until nothing runs.
    pub(super) fn watch(
        self: &Arc<Self>,
        migration: MigrationId,
        heartbeat: Duration,
    ) -> Result<Messages, Status> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("too many streams are open"))?;
        let (messages, stream) = mpsc::channel(QUEUE);
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut last = None;
            while let Some(run) = desk.run_of(&migration).filter(|run| last.as_ref() != Some(&run.request)) {
                if follow(&run, heartbeat, &messages, &desk).await.is_err() {
                    break;
                }
                last = Some(run.request);
            }
            drop(place);
        });
        Ok(stream)
    }
}

/// The caller is gone, or the adapter ends.
struct Over;

async fn follow(
    run: &Run,
    heartbeat: Duration,
    messages: &mpsc::Sender<Result<WatchProgressResponse, Status>>,
    desk: &Desk,
) -> Result<(), Over> {
    let mut progress = run.progress.clone();
    loop {
        let told = progress.borrow_and_update().as_ref().map(progress_to_wire).unwrap_or_default();
        let message = WatchProgressResponse { request_id: run.request.clone(), progress: Some(told) };
        tokio::select! {
            sent = messages.send(Ok(message)) => sent.map_err(|_| Over)?,
            () = desk.closing.cancelled() => return Err(Over),
        }
        if run.ended.is_cancelled() {
            return Ok(());
        }
        let changed = async {
            tokio::time::sleep(PACE).await;
            // An end of the step drops what tells.
            if progress.changed().await.is_err() {
                run.ended.cancelled().await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(heartbeat, changed) => {}
            () = run.ended.cancelled() => {}
            () = messages.closed() => return Err(Over),
            () = desk.closing.cancelled() => return Err(Over),
        }
    }
}
