//! Stories of who goes away in the middle.

use super::bench::Bench;
use super::trial::Trial;
use super::{Verdict, Why, failed, must, skipped};
use isotherm_migration::{Fate, Reason, Request, Step, StepKind};
use isotherm_proto::adapter::v1::GetCapabilitiesRequest;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// How long an adapter may take to come back.
const BACK: Duration = Duration::from_secs(60);

/// How long a caller stays that goes away in the middle of a call.
const STAYS: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(40)];

/// How long a call is under way when the adapter is killed.
const KILLED_AFTER: Duration = Duration::from_millis(30);

pub(super) async fn lost_replies(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    for stays in STAYS {
        let mut trial = bench.trial().await?;
        for kind in trial.plan() {
            for attempt in 0.. {
                must(attempt < 60, || format!("{kind} was refused for the moment again and again"))?;
                let step = trial.step_of(kind);
                let request = trial.request(step);
                trial.call_and_leave(bench.another(), &request, stays).await;
                if resolved(&mut trial, &request).await? {
                    break;
                }
            }
        }
        undo(bench, trial).await?;
        bench.clean(&before, "after calls whose replies were lost").await?;
    }
    Ok(())
}

/// Asks what became of a request, and makes it again if it was not heard. Whether it was done; else it was refused for
/// the moment.
async fn resolved(trial: &mut Trial, request: &Request) -> Result<bool, Why> {
    let (seen, _) = trial.state(Some(&request.id)).await?;
    let outcome = match seen.fate {
        Some(Fate::Unheard) => trial.outcome(request).await?,
        Some(Fate::Running | Fate::Done(_) | Fate::Refused(_)) | None => trial.fate(request).await?,
    };
    match outcome {
        Ok(done) => {
            trial.learned(done);
            Ok(true)
        }
        Err(refusal) if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {
            Ok(false)
        }
        Err(refusal) => failed(format!("{} was refused: {}", request.id, super::bench::words(&refusal))),
    }
}

/// Ends a migration that has switched, so that the partition lies where it lay.
async fn undo(bench: &mut Bench, mut trial: Trial) -> Verdict {
    trial.verify_after().await?;
    trial.retire().await?;
    super::moves::back(bench).await
}

pub(super) async fn crash(bench: &mut Bench) -> Verdict {
    let Some(command) = bench.options.restart.clone() else {
        return skipped("give --restart COMMAND, which kills the adapter and starts it again");
    };
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let mut first: Option<Request> = None;
    for kind in trial.plan() {
        let request = killed(bench, &mut trial, kind, &command).await?;
        first.get_or_insert(request);
    }
    if let Some(first) = &first {
        let (seen, _) = trial.state(Some(&first.id)).await?;
        must(matches!(seen.fate, Some(Fate::Done(_))), || {
            format!("{} was done before the crashes, and its fate is {:?}", first.id, seen.fate)
        })?;
    }
    let term = trial.term;
    trial.raise();
    trial.term = isotherm_migration::Term(term.0 - 1);
    let stale = Reason::StaleTerm { seen: term };
    trial.must_refuse(Step::Abort, &stale, "after a crash, by an older controller").await?;
    trial.term = term;
    undo(bench, trial).await?;
    bench.clean(&before, "after crashes on the way forward").await?;
    let mut trial = bench.trial().await?;
    let plan = trial.plan();
    trial.forward(plan.len() - 1).await?;
    trial.raise();
    killed(bench, &mut trial, StepKind::Abort, &command).await?;
    bench.clean(&before, "after a crash in an abort").await
}

/// Does a step in which the adapter is killed.
async fn killed(bench: &mut Bench, trial: &mut Trial, kind: StepKind, command: &str) -> Result<Request, Why> {
    for _ in 0..60 {
        let step = trial.step_of(kind);
        let request = trial.request(step);
        trial.call_and_leave(bench.another(), &request, KILLED_AFTER).await;
        let heard = trial.state(Some(&request.id)).await?.0.fate;
        restart(bench, command).await?;
        trial.client = bench.client.clone();
        let (seen, _) = trial.state(Some(&request.id)).await?;
        let forgotten = seen.fate == Some(Fate::Unheard) && heard != Some(Fate::Unheard);
        must(!forgotten, || {
            format!("{} was {heard:?}, and after a crash nobody has heard of it", request.id)
        })?;
        if resolved(trial, &request).await? {
            return Ok(request);
        }
    }
    failed(format!("{kind} was refused for the moment again and again"))
}

async fn restart(bench: &mut Bench, command: &str) -> Verdict {
    let command = command.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        // What it says would be between the lines of the report.
        Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).stdout(Stdio::null()).status()
    });
    let ran = ran.await.map_err(|error| Why::Failed(error.to_string()))?;
    let status = ran.map_err(|error| Why::Failed(format!("the restart command cannot be run: {error}")))?;
    must(status.success(), || format!("the restart command failed: {status}"))?;
    let until = Instant::now() + BACK;
    loop {
        bench.reconnect();
        match bench.client.get_capabilities(GetCapabilitiesRequest {}).await {
            Ok(_) => return Ok(()),
            Err(status) if Instant::now() > until => {
                return failed(format!(
                    "the adapter did not come back within {} s: {status}",
                    BACK.as_secs()
                ));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
