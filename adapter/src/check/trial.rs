//! One migration of the check: what it has learned, and its next call.

use super::bench::{CALL, Client, words};
use super::{Why, failed, must};
use crate::client::{Reply, State, ask, perform};
use crate::contract::{Migration, Refusal};
use isotherm_migration::{
    Done, Epoch, Fate, Observation, Origin, Position, Proposal, Reason, Request, RequestId, Step, StepKind,
    Term, Verification, Warrant,
};
use isotherm_proto::{Capabilities, Fence, Switch};
use std::time::Duration;
use tokio::time::Instant;

/// How long a step that runs may take.
const STEP: Duration = Duration::from_secs(300);

/// Between two questions about one.
const AGAIN: Duration = Duration::from_millis(50);

/// Refusals for the moment that are borne with.
const PATIENCE: u32 = 60;

/// A lag that any copy has reached once it is whole.
const ANY_LAG: u64 = 1 << 40;

/// A migration.
#[derive(Clone)]
pub(super) struct Trial {
    pub(super) client: Client,
    pub(super) migration: Migration,
    pub(super) term: Term,
    /// The epoch that serves, and the one that is proposed.
    pub(super) serving: Epoch,
    pub(super) new: Epoch,
    attempt: u32,
    pub(super) position: Option<Position>,
    pub(super) verification: Option<Verification>,
    switch: Switch,
    fence: Option<Fence>,
}

impl Trial {
    pub(super) fn new(client: Client, migration: Migration, term: Term, of: &Capabilities) -> Self {
        Self {
            client,
            migration,
            term,
            serving: Epoch(0),
            new: Epoch(0),
            attempt: 0,
            position: None,
            verification: None,
            switch: of.switch,
            fence: of.fence,
        }
    }

    /// The steps up to the switch, in order.
    pub(super) fn plan(&self) -> Vec<StepKind> {
        use StepKind::{AwaitCatchup, CommitSwitch, FenceSource, PrepareTarget, StartReplication, Verify};
        let repair = matches!(self.migration.origin, Origin::Repair { .. });
        match (repair, self.switch, self.fence) {
            (true, _, _) => vec![PrepareTarget, StartReplication, AwaitCatchup, Verify, CommitSwitch],
            (false, Switch::EngineAtomic, _) => vec![PrepareTarget, StartReplication],
            (false, Switch::Gated | Switch::None, Some(Fence::BeforeCopy)) => {
                vec![PrepareTarget, FenceSource, StartReplication, AwaitCatchup, Verify, CommitSwitch]
            }
            (false, Switch::Gated | Switch::None, Some(Fence::AtSwitch) | None) => vec![
                PrepareTarget,
                StartReplication,
                AwaitCatchup,
                Verify,
                FenceSource,
                AwaitCatchup,
                CommitSwitch,
            ],
        }
    }

    /// The call of a kind, with what is known by now.
    pub(super) fn step_of(&self, kind: StepKind) -> Step {
        match kind {
            StepKind::ValidateMigration => Step::ValidateMigration,
            StepKind::PrepareTarget => Step::PrepareTarget,
            StepKind::StartReplication => Step::StartReplication { resume: None, bytes_per_s: None },
            StepKind::AwaitCatchup => Step::AwaitCatchup {
                position: self.position.clone(),
                max_lag_bytes: if self.position.is_some() { 0 } else { ANY_LAG },
            },
            StepKind::Verify => Step::Verify,
            StepKind::FenceSource => Step::FenceSource,
            StepKind::CommitSwitch => Step::CommitSwitch { warrant: Warrant::Verified(self.warrant()) },
            StepKind::UnfenceSource => Step::UnfenceSource,
            StepKind::ReverseSwitch => Step::ReverseSwitch,
            StepKind::RetireSource => Step::RetireSource,
            StepKind::Abort => Step::Abort,
        }
    }

    /// The verification there is, or a made-up one.
    pub(super) fn warrant(&self) -> Verification {
        let made_up = || Verification {
            migration: self.migration.id.clone(),
            epoch: self.serving,
            evidence: "made up by the check".to_owned(),
        };
        self.verification.clone().unwrap_or_else(made_up)
    }

    /// Another request for a step, under a name of its own.
    pub(super) fn request(&mut self, step: Step) -> Request {
        self.attempt += 1;
        let validates = matches!(step, Step::ValidateMigration);
        let epochs = (!validates).then_some(Proposal { expected: self.serving, new: self.new });
        let epoch = epochs.map(|epochs| epochs.new);
        let id = RequestId {
            migration: self.migration.id.clone(),
            step: step.kind(),
            epoch,
            attempt: self.attempt,
        };
        Request { id, epochs, step }
    }

    /// Proposes a higher epoch than before, as every step back does.
    pub(super) fn raise(&mut self) {
        self.new = self.new.next();
    }

    /// Validates, and takes the epochs. Returns what stands in the way.
    pub(super) async fn learn(&mut self) -> Result<Vec<String>, Why> {
        let Done::Validated(found) = self.step(Step::ValidateMigration).await? else {
            return failed("a validation was answered with the result of another step");
        };
        (self.serving, self.new) = (found.serving, found.promised.next());
        Ok(found.findings)
    }

    /// Makes one call.
    pub(super) async fn call(&mut self, request: &Request) -> Reply {
        perform(&mut self.client, &self.migration, self.term, request).await
    }

    /// Does a step to its end. What is refused for the moment is asked for anew.
    pub(super) async fn step(&mut self, step: Step) -> Result<Done, Why> {
        let kind = step.kind();
        for _ in 0..PATIENCE {
            let request = self.request(step.clone());
            match self.outcome(&request).await? {
                Ok(done) => return Ok(self.learned(done)),
                Err(refusal) => match refusal.reason {
                    Reason::Transient { retry_after_ms } | Reason::Throttled { retry_after_ms } => {
                        let wait = retry_after_ms.unwrap_or(50).min(2_000);
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                    }
                    Reason::StaleTerm { .. }
                    | Reason::StaleEpoch
                    | Reason::Conflict
                    | Reason::Unsupported
                    | Reason::Mismatch
                    | Reason::NoLiveCopy
                    | Reason::AlreadyExists => {
                        return failed(format!("{kind} was refused: {}", words(&refusal)));
                    }
                },
            }
        }
        failed(format!("{kind} was refused for the moment {PATIENCE} times"))
    }

    /// Does a step that must be refused, and returns why. Refusals for the moment say nothing yet.
    pub(super) async fn refused(&mut self, step: Step) -> Result<Refusal, Why> {
        let kind = step.kind();
        for _ in 0..PATIENCE {
            let request = self.request(step.clone());
            match self.outcome(&request).await? {
                Ok(done) => {
                    return failed(format!("{kind} was done ({done:?}); it should have been refused"));
                }
                Err(refusal) => match refusal.reason {
                    Reason::Transient { .. } | Reason::Throttled { .. } => tokio::time::sleep(AGAIN).await,
                    Reason::StaleTerm { .. }
                    | Reason::StaleEpoch
                    | Reason::Conflict
                    | Reason::Unsupported
                    | Reason::Mismatch
                    | Reason::NoLiveCopy
                    | Reason::AlreadyExists => return Ok(refusal),
                },
            }
        }
        failed(format!("{kind} was refused for the moment {PATIENCE} times"))
    }

    /// Fails unless a step is refused for this reason.
    pub(super) async fn must_refuse(&mut self, step: Step, reason: &Reason, when: &str) -> Result<(), Why> {
        let kind = step.kind();
        let refusal = match self.refused(step).await {
            Err(Why::Failed(what)) => return failed(format!("{when}: {what}")),
            other => other?,
        };
        must(refusal.reason == *reason, || {
            format!("{when}, {kind} was refused with {}, not with {reason:?}", words(&refusal))
        })
    }

    /// What comes of a request, however long it takes.
    pub(super) async fn outcome(&mut self, request: &Request) -> Result<Result<Done, Refusal>, Why> {
        match self.call(request).await {
            Reply::Done(done) => Ok(Ok(done)),
            Reply::Refused(refusal) => Ok(Err(refusal)),
            Reply::Running => self.fate(request).await,
            Reply::Unknown(why) => failed(format!("{} was answered with nothing of use: {why}", request.id)),
        }
    }

    /// Asks until a request has ended.
    pub(super) async fn fate(&mut self, request: &Request) -> Result<Result<Done, Refusal>, Why> {
        let until = Instant::now() + STEP;
        while Instant::now() < until {
            let (seen, message) = self.state(Some(&request.id)).await?;
            match seen.fate {
                Some(Fate::Done(done)) => return Ok(Ok(done)),
                Some(Fate::Refused(reason)) => {
                    return Ok(Err(Refusal { reason, message: message.unwrap_or_default() }));
                }
                Some(Fate::Running) => {}
                Some(Fate::Unheard) => {
                    return failed(format!("{} ran, and then was not heard of", request.id));
                }
                None => return failed(format!("the fate of {} was not told", request.id)),
            }
            tokio::time::sleep(AGAIN).await;
        }
        failed(format!("{} did not end within {} s", request.id, STEP.as_secs()))
    }

    /// Asks what is so. Who cannot say for the moment is asked again.
    pub(super) async fn state(
        &mut self,
        about: Option<&RequestId>,
    ) -> Result<(Observation, Option<String>), Why> {
        for _ in 0..PATIENCE {
            match ask(&mut self.client, &self.migration, self.term, about).await {
                State::Told(seen, message) => return Ok((seen, message)),
                State::Refused(Refusal {
                    reason: Reason::Transient { .. } | Reason::Throttled { .. },
                    ..
                }) => {
                    tokio::time::sleep(AGAIN).await;
                }
                State::Refused(refusal) => {
                    return failed(format!("GetMigrationState was refused: {}", words(&refusal)));
                }
                State::Unknown(why) => {
                    return failed(format!("GetMigrationState was answered with nothing of use: {why}"));
                }
            }
        }
        failed("GetMigrationState was refused for the moment again and again")
    }

    /// A term that is not below any that the adapter heard.
    pub(super) async fn highest_term(&self) -> Result<Term, Why> {
        let mut client = self.client.clone();
        match ask(&mut client, &self.migration, self.term, None).await {
            State::Refused(Refusal { reason: Reason::StaleTerm { seen }, .. }) => Ok(Term(seen.0 + 1)),
            State::Told(..) => Ok(self.term),
            State::Refused(refusal) => failed(format!("GetMigrationState was refused: {}", words(&refusal))),
            State::Unknown(why) => {
                failed(format!("GetMigrationState was answered with nothing of use: {why}"))
            }
        }
    }

    /// Keeps what later steps need.
    pub(super) fn learned(&mut self, done: Done) -> Done {
        match &done {
            Done::Fenced { position } => self.position = Some(position.clone()),
            Done::Verified(verification) => self.verification = Some(verification.clone()),
            Done::Committed | Done::Reversed => self.serving = self.new,
            Done::Replicated if self.is_engine() => self.serving = self.new,
            Done::Validated(_)
            | Done::Prepared
            | Done::Replicated
            | Done::CaughtUp { .. }
            | Done::Unfenced
            | Done::Retired
            | Done::Aborted => {}
        }
        done
    }

    pub(super) fn is_engine(&self) -> bool {
        self.switch == Switch::EngineAtomic && matches!(self.migration.origin, Origin::Move { .. })
    }

    /// Does the first steps of the plan.
    pub(super) async fn forward(&mut self, steps: usize) -> Result<(), Why> {
        for kind in self.plan().into_iter().take(steps) {
            let step = self.step_of(kind);
            self.step(step).await?;
        }
        Ok(())
    }

    /// Does all of the plan, and for an engine the verification after it.
    pub(super) async fn switch(&mut self) -> Result<(), Why> {
        self.forward(usize::MAX).await?;
        self.verify_after().await
    }

    /// Verifies the copy that an engine has switched to.
    pub(super) async fn verify_after(&mut self) -> Result<(), Why> {
        if self.is_engine() {
            self.raise();
            self.step(Step::Verify).await?;
        }
        Ok(())
    }

    /// Removes the source.
    pub(super) async fn retire(&mut self) -> Result<(), Why> {
        self.raise();
        self.step(Step::RetireSource).await.map(drop)
    }

    /// Restores the start.
    pub(super) async fn abort(&mut self) -> Result<(), Why> {
        self.raise();
        self.step(Step::Abort).await.map(drop)
    }

    /// Makes a call, and goes away after a moment.
    pub(super) async fn call_and_leave(&self, mut client: Client, request: &Request, after: Duration) {
        let call = perform(&mut client, &self.migration, self.term, request);
        let _ = tokio::time::timeout(after.min(CALL), call).await;
    }
}
