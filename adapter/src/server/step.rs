//! Steps: heard, done beside their callers, and settled.

use super::desk::{Desk, Run, guarded, within};
use super::{WAIT, now_ms};
use crate::contract::{Answer, Asked, Refusal};
use crate::ledger::{Admitted, LedgerError};
use crate::store::{Task, Tell, Told};
use isotherm_migration::{Done, Epoch, Reason, Side, Step, StepKind, Verification};
use isotherm_model::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often something that must be known, or written, is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What must have ended before a step begins.
enum Before {
    /// A step that runs; it settles itself.
    Running(Run),
    /// One that ran when the adapter died, and was to be stopped.
    Left(Asked),
}

impl Desk {
    /// Does what is asked for, once, and tells what came of it so far.
    pub(super) async fn perform(self: &Arc<Self>, asked: Asked) -> Result<Answer, Refusal> {
        self.ledger.hear(asked.term)??;
        // What was heard before is answered also while the store cannot be reached.
        if let Some(first) = self.ledger.find(&asked.request_id)? {
            crate::ledger::rules::repeats(&first, &asked)?;
            return self.told(&asked.request_id).await;
        }
        let seen = self.look(&asked.migration.partition).await?;
        match self.admit(&asked, &seen.look())? {
            Admitted::Refused(refusal) => Err(refusal),
            Admitted::Again(_) | Admitted::Begin { .. } => self.told(&asked.request_id).await,
        }
    }

    /// Lets the ledger decide, and begins what it admits before anybody else is heard.
    fn admit(
        self: &Arc<Self>,
        asked: &Asked,
        look: &crate::ledger::Look<'_>,
    ) -> Result<Admitted, LedgerError> {
        let admitted = self.ledger.admit(asked, look, self.terms, now_ms())?;
        if let Admitted::Begin { stop } = &admitted {
            let before = {
                let running = self.running();
                stop.iter().filter_map(|name| running.get(name)).cloned().map(Before::Running).collect()
            };
            self.spawn(asked.clone(), before);
        }
        Ok(admitted)
    }

    /// What came of a request, after a moment in which it may end.
    async fn told(&self, request: &str) -> Result<Answer, Refusal> {
        let run = self.running().get(request).cloned();
        if let Some(run) = run {
            let _ = tokio::time::timeout(WAIT, run.ended.cancelled()).await;
        }
        let heard = self.ledger.find(request)?;
        Ok(heard.and_then(|heard| heard.fate().cloned()).unwrap_or(Answer::Unheard))
    }

    /// Takes up what was under way when the adapter ended: of each migration the last step; those before it were to
    /// be stopped for it.
    pub(super) fn resume(self: &Arc<Self>) -> Result<(), LedgerError> {
        let mut last: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for asked in self.ledger.under_way()? {
            last.entry(asked.migration.id.to_string()).or_default().push(asked);
        }
        for mut requests in last.into_values() {
            let Some(asked) = requests.pop() else { continue };
            tracing::info!(request = asked.request_id, "takes up what was under way");
            self.spawn(asked, requests.into_iter().map(Before::Left).collect());
        }
        self.resume_shifts()
    }

    fn spawn(self: &Arc<Self>, asked: Asked, before: Vec<Before>) {
        let step = (&asked.migration.id, asked.step.kind());
        let (run, tell) = self.begin(&asked.request_id, Some(step));
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            desk.carry_out(&asked, &run, tell, before).await;
            desk.ended(&run);
        });
    }

    async fn carry_out(
        self: &Arc<Self>,
        asked: &Asked,
        run: &Run,
        tell: watch::Sender<Option<Told>>,
        before: Vec<Before>,
    ) {
        for earlier in before {
            match earlier {
                Before::Running(earlier) => {
                    earlier.stop.cancel();
                    earlier.ended.cancelled().await;
                }
                Before::Left(earlier) => {
                    let found = self.found(&earlier).await;
                    self.settle(&earlier, found).await;
                }
            }
        }
        if self.closing.is_cancelled() {
            return;
        }
        let (request, step) = (&asked.request_id, asked.step.kind());
        tracing::info!(%request, partition = %asked.migration.partition, target = %asked.migration.target, "begins {step}");
        let task = self.task(&asked.migration, run.stop.clone(), Arc::new(Rising(tell)));
        let result = match self.ledger.still_expected(asked).map_err(Refusal::from) {
            Ok(Ok(())) => {
                let (desk, asked) = (Arc::clone(self), asked.clone());
                guarded(async move { desk.step(&task, &asked).await }).await
            }
            Ok(Err(refusal)) | Err(refusal) => Err(refusal),
        };
        let answer = match result {
            Ok(done) => Answer::Done(done),
            Err(refusal) if self.is_overtaken(asked, &refusal).await => {
                tracing::warn!(%request, "the engine has switched before it could be stopped: {refusal}");
                let holders = self.look(&asked.migration.partition).await.ok().map(|seen| seen.holders);
                let (ledger, terms) = (&self.ledger, self.terms);
                let written =
                    || ledger.settle_overtaken(asked, &refusal, holders.as_deref(), terms, now_ms());
                return self.written(asked, written).await;
            }
            // It is done again after the next start.
            Err(_) if self.closing.is_cancelled() => return,
            Err(_) if run.stop.is_cancelled() => self.found(asked).await,
            Err(refusal) => Answer::Refused(refusal),
        };
        match &answer {
            Answer::Refused(refusal) => tracing::warn!(%request, "{step} was refused: {refusal}"),
            Answer::Done(_) | Answer::Running | Answer::Unheard => tracing::info!(%request, "ended {step}"),
        }
        self.settle(asked, answer).await;
    }

    /// What came of a step that was stopped in the middle. Who serves is asked of the store, until it answers.
    async fn found(&self, asked: &Asked) -> Answer {
        let stopped = || Answer::Refused(Refusal::conflict("stopped, because the start was to be restored"));
        let (side, done) = match asked.step.kind() {
            StepKind::CommitSwitch => (Side::Target, Done::Committed),
            StepKind::StartReplication if self.terms.engine => (Side::Target, Done::Replicated),
            StepKind::ReverseSwitch => (Side::Source, Done::Reversed),
            StepKind::ValidateMigration
            | StepKind::PrepareTarget
            | StepKind::StartReplication
            | StepKind::AwaitCatchup
            | StepKind::Verify
            | StepKind::FenceSource
            | StepKind::UnfenceSource
            | StepKind::RetireSource
            | StepKind::Abort => return stopped(),
        };
        let task = self.asking(&asked.migration);
        loop {
            match within(self.store.serves(&task)).await {
                Ok(serves) if serves == side => return Answer::Done(done),
                Ok(_) => return stopped(),
                Err(refusal) => {
                    tracing::warn!(request = asked.request_id, "who serves is not known: {refusal}");
                }
            }
            if self.rest().await.is_err() {
                return Answer::Running;
            }
        }
    }

    /// Writes down what came of a step, however long it takes: nobody is told before.
    async fn settle(&self, asked: &Asked, answer: Answer) {
        if answer == Answer::Running {
            return;
        }
        let holders = self.holders_after(asked, &answer).await;
        let written = || self.ledger.settle(asked, &answer, holders.as_deref(), self.terms, now_ms());
        self.written(asked, written).await;
    }

    /// Whether the switch that an abort was to prevent has happened although the step that led to it was stopped: an
    /// engine that is handing over goes on by itself.
    async fn is_overtaken(&self, asked: &Asked, refusal: &Refusal) -> bool {
        let may_be = self.terms.engine
            && asked.step.kind() == StepKind::Abort
            && refusal.reason == Reason::StaleEpoch
            && matches!(self.ledger.still_expected(asked), Ok(Ok(())));
        may_be && within(self.store.serves(&self.asking(&asked.migration))).await == Ok(Side::Target)
    }

    async fn written(&self, asked: &Asked, write: impl Fn() -> Result<(), LedgerError>) {
        loop {
            match write() {
                Ok(()) => break,
                Err(error) => {
                    let refusal = Refusal::from(error);
                    tracing::error!(
                        request = asked.request_id,
                        "what came of it cannot be written: {refusal}"
                    );
                }
            }
            if self.rest().await.is_err() {
                return;
            }
        }
        self.topology.poke();
    }

    async fn holders_after(&self, asked: &Asked, answer: &Answer) -> Option<Vec<NodeId>> {
        let Answer::Done(_) = answer else { return None };
        let seen = self.look(&asked.migration.partition).await;
        seen.map(|seen| seen.holders)
            .inspect_err(|refusal| {
                tracing::warn!(request = asked.request_id, "who holds it now is not known: {refusal}");
            })
            .ok()
    }

    async fn rest(&self) -> Result<(), Closing> {
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => Ok(()),
            () = self.closing.cancelled() => Err(Closing),
        }
    }

    async fn step(&self, task: &Task, asked: &Asked) -> Result<Done, Refusal> {
        let store = &self.store;
        Ok(match &asked.step {
            Step::ValidateMigration => return Err(Refusal::unsupported("a validation is no step")),
            Step::PrepareTarget => store.prepare(task).await.map(|()| Done::Prepared)?,
            Step::StartReplication { resume, bytes_per_s } => {
                store.replicate(task, resume.as_deref(), *bytes_per_s).await.map(|()| Done::Replicated)?
            }
            Step::AwaitCatchup { position, max_lag_bytes } => {
                let lag_bytes = store.catch_up(task, position.as_ref(), *max_lag_bytes).await?;
                Done::CaughtUp { lag_bytes }
            }
            Step::Verify => {
                let evidence = store.verify(task).await?;
                let epoch = asked.epochs.map_or(Epoch(0), |epochs| epochs.expected);
                Done::Verified(Verification { migration: asked.migration.id.clone(), epoch, evidence })
            }
            Step::FenceSource => Done::Fenced { position: store.fence(task).await? },
            Step::CommitSwitch { .. } => store.commit(task).await.map(|()| Done::Committed)?,
            Step::UnfenceSource => store.unfence(task).await.map(|()| Done::Unfenced)?,
            Step::ReverseSwitch => store.reverse(task).await.map(|()| Done::Reversed)?,
            Step::RetireSource => store.retire(task).await.map(|()| Done::Retired)?,
            Step::Abort => store.abort(task).await.map(|()| Done::Aborted)?,
        })
    }
}

/// The adapter ends.
struct Closing;

/// Passes progress on; within a step it does not fall.
struct Rising(watch::Sender<Option<Told>>);

impl Tell for Rising {
    fn tell(&self, mut told: Told) {
        self.0.send_modify(|last| {
            if let Some(last) = last {
                told.progress.done = told.progress.done.max(last.progress.done);
                told.progress.handing_over |= last.progress.handing_over;
            }
            *last = Some(told);
        });
    }
}
