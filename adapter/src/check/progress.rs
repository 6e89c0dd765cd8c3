//! Stories of who watches.

use super::bench::Bench;
use super::phases::slow;
use super::trial::Trial;
use super::{Verdict, Why, failed, must};
use crate::client::Reply;
use isotherm_migration::{Reason, Request, Step, StepKind};
use isotherm_proto::adapter::v1 as wire;
use std::time::Duration;
use tokio::time::timeout;

/// How long a stream may go on after its step has ended.
const END: Duration = Duration::from_secs(15);

pub(super) async fn progress(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let plan = trial.plan();
    let copy = plan.iter().position(|kind| *kind == StepKind::StartReplication).unwrap_or(0);
    trial.forward(copy).await?;
    let rate = slow(bench, 4);
    let request = begun(&mut trial, Step::StartReplication { resume: None, bytes_per_s: rate }).await?;
    let gone = watch(&mut trial.clone()).await?;
    let stream = watch(&mut trial.clone()).await?;
    let followed = tokio::spawn(follow(stream, request.id.to_string()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(gone);
    match trial.fate(&request).await? {
        Ok(done) => drop(trial.learned(done)),
        Err(refusal) if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {}
        Err(refusal) => return failed(format!("the copy was refused: {}", super::bench::words(&refusal))),
    }
    match timeout(END, followed).await {
        Ok(Ok(followed)) => followed?,
        Ok(Err(error)) => return failed(format!("the check failed: {error}")),
        Err(_) => return failed(format!("the stream did not end {} s after its step", END.as_secs())),
    }
    let (seen, _) = trial.state(None).await?;
    must(seen.progress.is_none(), || "nothing runs, and yet there is progress".to_owned())?;
    end(bench, trial).await?;
    bench.clean(&before, "after a copy that was watched").await
}

/// Ends the migration without a move.
async fn end(bench: &mut Bench, mut trial: Trial) -> Verdict {
    let (seen, _) = trial.state(None).await?;
    if seen.serves == isotherm_migration::Side::Target {
        trial.verify_after().await?;
        trial.retire().await?;
        super::moves::back(bench).await
    } else {
        trial.abort().await
    }
}

/// Begins a step; whether it has ended is of no interest yet.
pub(super) async fn begun(trial: &mut Trial, step: Step) -> Result<Request, Why> {
    for _ in 0..60 {
        let request = trial.request(step.clone());
        match trial.call(&request).await {
            Reply::Done(_) | Reply::Running => return Ok(request),
            Reply::Refused(refusal)
                if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {}
            reply @ (Reply::Refused(_) | Reply::Unknown(_)) => {
                return failed(format!("{} was answered with {reply:?}", request.id));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    failed(format!("{} was refused for the moment again and again", step.kind()))
}

type Stream = tonic::Streaming<wire::WatchProgressResponse>;

async fn watch(trial: &mut Trial) -> Result<Stream, Why> {
    let migration_id = trial.migration.id.to_string();
    let request = wire::WatchProgressRequest { migration_id, heartbeat_ms: 500 };
    let stream = trial.client.watch_progress(request).await;
    Ok(stream.map_err(|status| Why::Failed(format!("WatchProgress: {status}")))?.into_inner())
}

async fn follow(mut stream: Stream, request: String) -> Verdict {
    let mut last = 0;
    loop {
        let message = timeout(Duration::from_secs(5), stream.message()).await;
        let Ok(message) = message else {
            return failed("no progress for 5 s; a heartbeat of 500 ms was asked for");
        };
        let message = message.map_err(|status| Why::Failed(format!("WatchProgress: {status}")))?;
        let Some(wire::WatchProgressResponse { request_id, progress }) = message else { return Ok(()) };
        if request_id != request {
            return Ok(());
        }
        let Some(progress) = progress else { return failed("a message without progress") };
        must(progress.done >= last, || format!("progress fell from {last} to {}", progress.done))?;
        last = progress.done;
        let total = progress.total.filter(|_| !progress.estimated);
        must(total.is_none_or(|total| last <= total), || format!("{last} are done, of {total:?}"))?;
    }
}
