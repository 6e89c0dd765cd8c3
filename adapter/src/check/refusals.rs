//! Stories of calls that must be refused.

use super::bench::Bench;
use super::trial::Trial;
use super::{Verdict, Why, failed, must, skipped};
use crate::client::{Reply, State, ask};
use crate::contract::call_to_wire;
use isotherm_migration::{
    Epoch, MigrationId, Origin, Reason, Request, Step, StepKind, Term, Verification, Warrant,
};
use isotherm_proto::Switch;
use isotherm_proto::adapter::v1 as wire;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(super) async fn malformed(bench: &mut Bench) -> Verdict {
    let mut trial = bench.trial().await?;
    let request = trial.request(Step::PrepareTarget);
    let good = call_to_wire(&trial.migration, trial.term, &request);
    let migration = good.migration.clone().unwrap_or_default();
    let moved = |migration| wire::Call { migration: Some(migration), ..good.clone() };
    let node = bench.subject().await?.target.name().to_owned();
    let cases = [
        ("without a migration", wire::Call { migration: None, ..good.clone() }),
        ("without epochs", wire::Call { expected_epoch: None, new_epoch: None, ..good.clone() }),
        (
            "whose new_epoch is below the expected one",
            wire::Call {
                new_epoch: good.expected_epoch.map(|epoch| epoch.saturating_sub(1)),
                ..good.clone()
            },
        ),
        ("without a name", wire::Call { request_id: String::new(), ..good.clone() }),
        ("with a space in its name", wire::Call { request_id: "a b".to_owned(), ..good.clone() }),
        (
            "of a migration/with/slashes",
            moved(wire::Migration { migration_id: "a/b".to_owned(), ..migration.clone() }),
        ),
        (
            "whose source is its target",
            moved(wire::Migration {
                origin: Some(wire::migration::Origin::Source(node)),
                ..migration.clone()
            }),
        ),
        ("without an origin", moved(wire::Migration { origin: None, ..migration })),
    ];
    for (what, call) in cases {
        let answer = bench.client.prepare_target(wire::PrepareTargetRequest { call: Some(call) }).await;
        invalid(&format!("PrepareTarget {what}"), answer.map(drop))?;
    }
    let commit = wire::CommitSwitchRequest { call: Some(good), warrant: None };
    if bench.capabilities.switch == Switch::Gated {
        invalid("CommitSwitch without a warrant", bench.client.commit_switch(commit).await.map(drop))?;
    }
    let (seen, _) = trial.state(Some(&request.id)).await?;
    let unheard = seen.fate == Some(isotherm_migration::Fate::Unheard);
    must(unheard, || format!("a call that cannot be has the fate {:?}", seen.fate))
}

fn invalid(what: &str, answer: Result<(), Status>) -> Verdict {
    match answer {
        Ok(()) => failed(format!("{what} was taken")),
        Err(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let told =
                status.code() == Code::InvalidArgument && reason.is_none_or(|reason| reason == "INVALID");
            must(told, || format!("{what} was refused with {:?}, not with INVALID_ARGUMENT", status.code()))
        }
    }
}

pub(super) async fn stale_term(bench: &mut Bench) -> Verdict {
    let mut trial = bench.trial().await?;
    let old = trial.term;
    let newer = Term(old.0 + 5);
    trial.term = newer;
    trial.state(None).await?;
    bench.term = newer;
    trial.term = old;
    let stale = Reason::StaleTerm { seen: newer };
    trial.must_refuse(Step::PrepareTarget, &stale, "after a newer controller asked").await?;
    trial.must_refuse(Step::Abort, &stale, "after a newer controller asked").await?;
    match ask(&mut trial.client, &trial.migration, old, None).await {
        State::Refused(refusal) if refusal.reason == stale => Ok(()),
        other @ (State::Told(..) | State::Refused(_) | State::Unknown(_)) => {
            failed(format!("GetMigrationState of an older controller was answered with {other:?}"))
        }
    }
}

pub(super) async fn stale_epoch(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let (serving, new) = (trial.serving, trial.new);
    trial.serving = Epoch(serving.0 + 1_000);
    trial.new = Epoch(trial.serving.0 + 1);
    trial.must_refuse(Step::PrepareTarget, &Reason::StaleEpoch, "where another epoch serves").await?;
    (trial.serving, trial.new) = (serving, Epoch(new.0 + 3));
    trial.step(Step::PrepareTarget).await?;
    let mut late = trial.clone();
    late.new = new;
    for step in [Step::Verify, Step::FenceSource, Step::Abort] {
        late.must_refuse(step, &Reason::StaleEpoch, "after a higher epoch was proposed").await?;
    }
    let (seen, _) = trial.state(None).await?;
    must(seen.promised == trial.new && seen.serving == serving, || {
        format!(
            "{} serves and {} was proposed; told was {} and {}",
            serving, trial.new, seen.serving, seen.promised
        )
    })?;
    trial.abort().await?;
    bench.clean(&before, "after an abort").await
}

pub(super) async fn other_content(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let first = done(&mut trial, Step::PrepareTarget).await?;
    let epochs = first.epochs.map(|epochs| isotherm_migration::Proposal { new: epochs.new.next(), ..epochs });
    let others = [
        ("a higher epoch", Request { epochs, ..first.clone() }),
        ("another step", Request { step: Step::Abort, ..first.clone() }),
    ];
    for (what, other) in others {
        match trial.call(&other).await {
            Reply::Refused(refusal) if refusal.reason == Reason::AlreadyExists => {}
            reply @ (Reply::Done(_) | Reply::Running | Reply::Refused(_) | Reply::Unknown(_)) => {
                return failed(format!("{} with {what} was answered with {reply:?}", first.id));
            }
        }
    }
    trial.abort().await?;
    bench.clean(&before, "after an abort").await
}

/// Does a step to its end, and returns the request that did it.
pub(super) async fn done(trial: &mut Trial, step: Step) -> Result<Request, Why> {
    for _ in 0..60 {
        let request = trial.request(step.clone());
        match trial.outcome(&request).await? {
            Ok(done) => {
                trial.learned(done);
                return Ok(request);
            }
            Err(refusal) if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {
            }
            Err(refusal) => {
                return failed(format!("{} was refused: {}", request.id, super::bench::words(&refusal)));
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    failed(format!("{} was refused for the moment again and again", step.kind()))
}

pub(super) async fn one_at_a_time(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut first = bench.trial().await?;
    first.step(Step::PrepareTarget).await?;
    let subject = bench.subject().await?;
    let mut second = bench.named(Origin::Move { source: subject.source }, &subject.target)?;
    (second.serving, second.new) = (first.serving, first.new.next());
    second
        .must_refuse(Step::PrepareTarget, &Reason::Conflict, "while another migration is under way")
        .await?;
    first.new = second.new;
    first.abort().await?;
    bench.clean(&before, "after an abort").await
}

pub(super) async fn warrant(bench: &mut Bench) -> Verdict {
    if bench.capabilities.switch != Switch::Gated {
        return skipped("the engine switches by itself");
    }
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let commit = |verification| Step::CommitSwitch { warrant: Warrant::Verified(verification) };
    let plan = trial.plan();
    let verified = plan.iter().position(|kind| *kind == StepKind::Verify).unwrap_or(0);
    trial.forward(verified).await?;
    let made_up = trial.warrant();
    trial.must_refuse(commit(made_up), &Reason::Mismatch, "before it was verified").await?;
    trial.step(Step::Verify).await?;
    let good = trial.warrant();
    if !plan[..verified].contains(&StepKind::FenceSource) {
        trial.must_refuse(commit(good.clone()), &Reason::Conflict, "without a fence").await?;
        trial.step(Step::FenceSource).await?;
        let position = trial.step_of(StepKind::AwaitCatchup);
        trial.step(position).await?;
    }
    let foreign = MigrationId::new("somebody-elses").map_err(|error| Why::Failed(error.to_string()))?;
    let foreign = Verification { migration: foreign, ..good.clone() };
    trial.must_refuse(commit(foreign), &Reason::Mismatch, "with another migration's verification").await?;
    let older = Verification { epoch: Epoch(good.epoch.0.wrapping_sub(1)), ..good.clone() };
    trial.must_refuse(commit(older), &Reason::Mismatch, "with another epoch's verification").await?;
    trial.raise();
    trial.must_refuse(commit(good), &Reason::Conflict, "with a fence of another epoch").await?;
    trial.abort().await?;
    bench.clean(&before, "after an abort").await
}
