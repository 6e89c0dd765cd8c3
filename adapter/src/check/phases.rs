//! Stories of ways back.

use super::bench::Bench;
use super::{Verdict, failed, must, skipped};
use crate::client::Reply;
use isotherm_migration::{Done, Reason, Side, Step, StepKind};
use isotherm_proto::Switch;

pub(super) async fn abort(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let steps = bench.trial().await?.plan().len() - 1;
    for step in 0..=steps {
        let mut trial = bench.trial().await?;
        trial.forward(step).await?;
        let serving = trial.serving;
        trial.abort().await?;
        let when = match step {
            0 => "after an abort before the first step".to_owned(),
            step => format!("after an abort that followed {}", trial.plan()[step - 1]),
        };
        let (seen, _) = trial.state(None).await?;
        must(seen.serves == Side::Source && seen.serving == serving, || {
            format!("{when}, {:?} serves under epoch {}", seen.serves, seen.serving)
        })?;
        must(seen.fenced == isotherm_migration::Fenced::No, || format!("{when}, writes are stopped"))?;
        bench.clean(&before, &when).await?;
    }
    Ok(())
}

/// The rate at which a copy takes some seconds; `None` if the adapter takes none, or the size is not known.
pub(super) fn slow(bench: &Bench, seconds: u64) -> Option<u64> {
    let size = bench.subject.as_ref()?.size_bytes?;
    bench.capabilities.throttle.then(|| (size / seconds).max(1))
}

pub(super) async fn abort_running(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let plan = trial.plan();
    let copy = plan.iter().position(|kind| *kind == StepKind::StartReplication).unwrap_or(0);
    trial.forward(copy).await?;
    let Some(rate) = slow(bench, 20) else {
        trial.abort().await?;
        return skipped("a copy cannot be slowed down: no throttle, or its size is not known");
    };
    for _ in 0..60 {
        let step = Step::StartReplication { resume: None, bytes_per_s: Some(rate) };
        let request = trial.request(step);
        match trial.call(&request).await {
            Reply::Running => {
                trial.abort().await?;
                return match trial.fate(&request).await? {
                    Err(_) => bench.clean(&before, "after a running copy was aborted").await,
                    Ok(done) => failed(format!("a copy that was aborted is told to be done ({done:?})")),
                };
            }
            Reply::Done(Done::Replicated) => {
                trial.learned(Done::Replicated);
                return Box::pin(too_fast(bench, trial)).await;
            }
            Reply::Refused(refusal)
                if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {}
            reply @ (Reply::Done(_) | Reply::Refused(_) | Reply::Unknown(_)) => {
                return failed(format!("a copy at {rate} bytes a second was answered with {reply:?}"));
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    failed("StartReplication was refused for the moment again and again")
}

async fn too_fast(bench: &mut Bench, mut trial: super::trial::Trial) -> Verdict {
    if trial.is_engine() {
        trial.verify_after().await?;
        trial.retire().await?;
        super::moves::back(bench).await?;
    } else {
        trial.abort().await?;
    }
    skipped("the copy ended at once, although it was to take 20 s; name a larger --partition")
}

pub(super) async fn reverse(bench: &mut Bench) -> Verdict {
    if !bench.capabilities.reverse || bench.capabilities.switch == Switch::None {
        return skipped("the adapter takes no switch back");
    }
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    trial.switch().await?;
    trial.raise();
    trial.step(Step::ReverseSwitch).await?;
    let (seen, _) = trial.state(None).await?;
    must(seen.serves == Side::Source, || format!("after the reversal {:?} serves", seen.serves))?;
    must(seen.serving == trial.new, || {
        format!("the reversal proposed epoch {}, and {} serves", trial.new, seen.serving)
    })?;
    trial.abort().await?;
    bench.clean(&before, "after the reversal").await
}
