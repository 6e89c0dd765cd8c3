//! Stories of partitions that move.

use super::bench::{Bench, Subject};
use super::refusals::done;
use super::trial::Trial;
use super::{Verdict, Why, failed, must, skipped};
use crate::client::Reply;
use isotherm_migration::{Done, Fate, Fenced, Origin, Reason, Request, Side, Step, StepKind, Term};
use isotherm_model::NodeId;
use isotherm_proto::{Health, Switch};

/// Fails unless nothing is left and the target has taken the place of the source. With an engine that switches, the
/// others may be others, too: what is moved goes to the nodes that are the target's replicas.
async fn arrived(bench: &mut Bench, subject: &Subject, before: &[NodeId], when: &str) -> Verdict {
    let replaced = |node: &NodeId| if *node == subject.source { &subject.target } else { node }.clone();
    let expected: Vec<NodeId> = before.iter().map(replaced).collect();
    bench.nothing_left(when).await?;
    match bench.capabilities.switch {
        Switch::EngineAtomic => bench.settled_on(&subject.target, &subject.source, when).await,
        Switch::Gated | Switch::None => bench.settled(&expected, when).await,
    }
}

/// Moves the partition back to where it lay.
pub(super) async fn back(bench: &mut Bench) -> Verdict {
    let subject = bench.subject().await?;
    let mut trial = bench.moving(&subject.target, &subject.source).await?;
    trial.switch().await?;
    trial.retire().await?;
    bench.clean(&subject.holders, "after it was moved back").await
}

pub(super) async fn happy(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let subject = bench.subject().await?;
    let mut trial = bench.trial().await?;
    let serving = trial.serving;
    trial.switch().await?;
    let (seen, _) = trial.state(None).await?;
    must(seen.serves == Side::Target, || format!("after the switch {:?} serves", seen.serves))?;
    must(seen.serving == trial.serving && seen.serving > serving, || {
        format!("the switch proposed epoch {}, and {} serves", trial.serving, seen.serving)
    })?;
    must(seen.fenced == Fenced::No, || "the fence outlived the switch".to_owned())?;
    trial.retire().await?;
    arrived(bench, &subject, &before, "after the source was retired").await?;
    back(bench).await
}

pub(super) async fn repeated(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let subject = bench.subject().await?;
    let mut trial = bench.trial().await?;
    for kind in trial.plan() {
        let step = trial.step_of(kind);
        doubled(&mut trial, step).await?;
    }
    if trial.is_engine() {
        trial.raise();
        doubled(&mut trial, Step::Verify).await?;
    }
    trial.raise();
    doubled(&mut trial, Step::RetireSource).await?;
    bench.term = trial.term;
    arrived(bench, &subject, &before, "after each call was made three times").await?;
    back(bench).await
}

/// Does a step by two calls at once, then asks for the same twice more, once as a newer controller.
async fn doubled(trial: &mut Trial, step: Step) -> Verdict {
    let mut other = trial.clone();
    let request = trial.request(step.clone());
    let (one, two) = tokio::join!(trial.call(&request), other.call(&request));
    for reply in [&one, &two] {
        if let Reply::Unknown(why) = reply {
            return failed(format!(
                "{}, made twice at once, was answered with nothing of use: {why}",
                request.id
            ));
        }
    }
    let (request, first) = match trial.outcome(&request).await? {
        Ok(done) => (request, trial.learned(done)),
        Err(refusal) if matches!(refusal.reason, Reason::Transient { .. } | Reason::Throttled { .. }) => {
            same(trial, &request, &Err(refusal)).await?;
            let request = done(trial, step).await?;
            let first = ended(trial, &request).await?;
            (request, first)
        }
        Err(refusal) => {
            return failed(format!("{} was refused: {}", request.id, super::bench::words(&refusal)));
        }
    };
    same(trial, &request, &Ok(first.clone())).await?;
    trial.term = Term(trial.term.0 + 1);
    same(trial, &request, &Ok(first)).await
}

async fn same(
    trial: &mut Trial,
    request: &Request,
    first: &Result<Done, crate::contract::Refusal>,
) -> Verdict {
    let again = trial.outcome(request).await?;
    let alike = match (first, &again) {
        (Ok(first), Ok(again)) => first == again,
        (Err(first), Err(again)) => first.reason == again.reason,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    must(alike, || format!("{} was answered with {first:?}, and then with {again:?}", request.id))
}

/// The result of a request that was done, by its fate.
async fn ended(trial: &mut Trial, request: &Request) -> Result<Done, Why> {
    let (seen, _) = trial.state(Some(&request.id)).await?;
    match seen.fate {
        Some(Fate::Done(done)) => Ok(done),
        fate => failed(format!("{} is done, and its fate is {fate:?}", request.id)),
    }
}

pub(super) async fn late(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let subject = bench.subject().await?;
    let mut trial = bench.trial().await?;
    trial.forward(usize::MAX).await?;
    let (serving, new) = (trial.serving, trial.new);
    let mut old = trial.clone();
    let validated = trial.clone();
    old.serving = isotherm_migration::Epoch(serving.0 - 1);
    for step in [Step::UnfenceSource, Step::Abort, Step::FenceSource, Step::PrepareTarget] {
        (old.new, old.position) = (new.next(), validated.position.clone());
        old.must_refuse(step, &Reason::StaleEpoch, "after the switch").await?;
    }
    let (seen, _) = trial.state(None).await?;
    must(seen.serves == Side::Target, || format!("late calls had an effect: {:?} serves", seen.serves))?;
    trial.verify_after().await?;
    trial.retire().await?;
    arrived(bench, &subject, &before, "after the source was retired").await?;
    back(bench).await
}

pub(super) async fn fence(bench: &mut Bench) -> Verdict {
    if bench.capabilities.switch != Switch::Gated {
        return skipped("the engine stops writes by itself");
    }
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let fence = trial.plan().iter().position(|kind| *kind == StepKind::FenceSource).unwrap_or(0);
    trial.forward(fence + 1).await?;
    let (seen, _) = trial.state(None).await?;
    must(seen.fenced == Fenced::Yes, || {
        "writes are stopped, and GetMigrationState says they are not".to_owned()
    })?;
    let left = bench.left().await?;
    let told = left.iter().any(|status| status.fenced_since_ms.is_some());
    must(told, || "writes are stopped, and ListMigrations has no fenced_since_ms".to_owned())?;
    let mut old = trial.clone();
    trial.raise();
    trial.step(Step::UnfenceSource).await?;
    let (seen, _) = trial.state(None).await?;
    must(seen.fenced == Fenced::No, || {
        "the fence was lifted, and GetMigrationState says it stands".to_owned()
    })?;
    old.must_refuse(Step::FenceSource, &Reason::StaleEpoch, "after the fence was lifted").await?;
    trial.abort().await?;
    bench.clean(&before, "after an abort").await
}

pub(super) async fn repair(bench: &mut Bench) -> Verdict {
    if !bench.capabilities.repair_from_replica {
        return skipped("the adapter does not repair");
    }
    let cluster = bench.cluster().await?;
    let down = |node: &NodeId| cluster.nodes.get(node).is_some_and(|facts| facts.health == Health::Down);
    let found = cluster.partitions.iter().find_map(|(partition, facts)| {
        let dead = facts.nodes.iter().find(|node| down(node))?;
        let survives = facts.nodes.iter().any(|node| !down(node));
        let free = |node: &&NodeId| !down(node) && !facts.nodes.contains(node);
        let target = cluster.nodes.keys().find(free)?;
        survives.then(|| (partition.clone(), facts.nodes.clone(), dead.clone(), target.clone()))
    });
    let Some((partition, holders, dead, target)) = found else {
        return skipped("no partition has lost a replica: a node that holds one must be down");
    };
    let kept = bench.subject.clone();
    let subject = Subject { partition, source: dead.clone(), target, size_bytes: None, holders };
    bench.subject = Some(subject.clone());
    let verdict = repaired(bench, &subject, dead).await;
    bench.subject = kept;
    verdict
}

async fn repaired(bench: &mut Bench, subject: &Subject, dead: NodeId) -> Verdict {
    let mut trial = bench.named(Origin::Repair { dead }, &subject.target)?;
    trial.term = trial.highest_term().await?;
    let findings = trial.learn().await?;
    must(findings.is_empty(), || format!("the repair cannot be done: {findings:?}"))?;
    trial.switch().await?;
    trial.retire().await?;
    arrived(bench, subject, &subject.holders, "after the repair").await
}
