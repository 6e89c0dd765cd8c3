<<<<<<< HEAD
//! Calls of an adapter, with answers as the machine takes them.
//!
//! What is not certain is unknown: a deadline, a connection that broke, an answer that cannot be read. A refusal is one
//! only if the adapter says so by its reason.

use crate::contract::{
    Malformed, Migration, call_to_wire, observation_from_wire, outcome_from_wire, progress_from_wire,
    refusal_from_status, warrant_to_wire,
};
use futures::{Stream, StreamExt};
use isotherm_migration::{Outcome, Progress, Question, Request, Step, Term, Told};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::MAX_MESSAGE_BYTES;
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// An adapter. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    calls: MigrationAdapterClient<Channel>,
    timeout: Duration,
}

/// An answer, and beside it what only people read: the words of a refusal, or why nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// For the machine.
    pub answer: T,
    /// For people; absent where all is well.
    pub words: Option<String>,
}

/// Reads that are to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifting {
    /// The name of the request.
    pub request_id: String,
    /// The partition.
    pub partition: PartitionId,
    /// Under which it must be served.
    pub expected_epoch: u64,
    /// Which would serve afterwards.
    pub new_epoch: u64,
    /// What is wanted.
    pub shift: crate::store::Shift,
}

/// Reads that were moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifted {
    /// Which epoch serves now.
    pub serving_epoch: u64,
    /// What would undo it; absent where nothing was changed.
    pub undo: Option<NodeId>,
}

impl Client {
    /// An adapter behind a channel; a call that takes longer than `timeout` is unknown.
    #[must_use]
    pub fn new(channel: Channel, timeout: Duration) -> Self {
        let calls = MigrationAdapterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { calls, timeout }
    }

    /// Makes a call.
    pub async fn perform(&self, migration: &Migration, term: Term, request: &Request) -> Answered<Outcome> {
        let call = Some(call_to_wire(migration, term, request));
        let made = tokio::time::timeout(self.timeout, self.step(call, &request.step)).await;
        let kind = request.step.kind();
        match made {
            Err(_) => unknown(Outcome::Unknown, format!("{kind}: no answer within {:?}", self.timeout)),
            Ok(Ok(raw)) => match outcome_from_wire(kind, raw) {
                Ok(answer) => Answered { answer, words: None },
                Err(error) => unknown(Outcome::Unknown, format!("{kind}: {error}")),
            },
            Ok(Err(status)) => match refusal_from_status(&status) {
                Some(refusal) => {
                    Answered { answer: Outcome::Refused(refusal.reason), words: Some(refusal.message) }
                }
                None => unknown(Outcome::Unknown, format!("{kind}: {}", told(&status))),
            },
        }
    }

    async fn step(&self, call: Option<wire::Call>, step: &Step) -> Result<Option<wire::StepOutcome>, Status> {
        let mut calls = self.calls.clone();
        macro_rules! call {
            ($method:ident, $request:expr) => {
                calls.$method($request).await.map(|answer| answer.into_inner().outcome)
            };
        }
        match step {
            Step::ValidateMigration => call!(validate_migration, wire::ValidateMigrationRequest { call }),
            Step::PrepareTarget => call!(prepare_target, wire::PrepareTargetRequest { call }),
            Step::StartReplication { resume, bytes_per_s } => {
                let resume_token = resume.clone().unwrap_or_default();
                let bytes_per_second = *bytes_per_s;
                call!(
                    start_replication,
                    wire::StartReplicationRequest { call, resume_token, bytes_per_second }
                )
            }
            Step::AwaitCatchup { position, max_lag_bytes } => {
                let position = position.as_ref().map(ToString::to_string).unwrap_or_default();
                let max_lag_bytes = *max_lag_bytes;
                call!(await_catchup, wire::AwaitCatchupRequest { call, position, max_lag_bytes })
            }
            Step::Verify => call!(verify, wire::VerifyRequest { call }),
            Step::FenceSource => call!(fence_source, wire::FenceSourceRequest { call }),
            Step::CommitSwitch { warrant } => {
                let warrant = Some(warrant_to_wire(warrant));
                call!(commit_switch, wire::CommitSwitchRequest { call, warrant })
            }
            Step::UnfenceSource => call!(unfence_source, wire::UnfenceSourceRequest { call }),
            Step::ReverseSwitch => call!(reverse_switch, wire::ReverseSwitchRequest { call }),
            Step::RetireSource => call!(retire_source, wire::RetireSourceRequest { call }),
            Step::Abort => call!(abort, wire::AbortRequest { call }),
        }
    }

    /// Asks what is so.
    pub async fn ask(&self, partition: &PartitionId, term: Term, question: &Question) -> Answered<Told> {
        let mut calls = self.calls.clone();
        let about = question.about.as_ref();
        let request = wire::GetMigrationStateRequest {
            migration_id: question.migration.to_string(),
            term: term.0,
            partition: partition.name().to_owned(),
            request_id: about.map(ToString::to_string).unwrap_or_default(),
        };
        match tokio::time::timeout(self.timeout, calls.get_migration_state(request)).await {
            Err(_) => unknown(Told::Unknown, format!("no answer within {:?}", self.timeout)),
            Ok(Ok(raw)) => match observation_from_wire(about.map(|about| about.step), raw.into_inner()) {
                Ok((observation, words)) => Answered { answer: Told::State(observation), words },
                Err(error) => unknown(Told::Unknown, error.to_string()),
            },
            Ok(Err(status)) => match refusal_from_status(&status) {
                Some(refusal) => {
                    Answered { answer: Told::Refused(refusal.reason), words: Some(refusal.message) }
                }
                None => unknown(Told::Unknown, told(&status)),
            },
        }
    }

    /// Follows the progress of a migration. The stream ends when nothing runs, or when the connection breaks; neither
    /// says anything.
    pub async fn watch(
        &self,
        migration: &isotherm_migration::MigrationId,
        heartbeat: Duration,
    ) -> Result<impl Stream<Item = Progress> + Send + use<>, Status> {
        let heartbeat_ms = u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX);
        let request = wire::WatchProgressRequest { migration_id: migration.to_string(), heartbeat_ms };
        let stream = self.calls.clone().watch_progress(request).await?.into_inner();
        let progress = |message: Result<wire::WatchProgressResponse, Status>| async move {
            Some(progress_from_wire(message.ok()?.progress?))
        };
        Ok(stream.take_while(|message| std::future::ready(message.is_ok())).filter_map(progress))
    }

    /// What there is of migrations in the store.
    pub async fn list(&self) -> Result<Vec<wire::MigrationStatus>, Status> {
        let mut calls = self.calls.clone();
        let list = calls.list_migrations(wire::ListMigrationsRequest {});
        let answer = tokio::time::timeout(self.timeout, list).await;
        answer.map_err(|_| late())?.map(|answer| answer.into_inner().migrations)
    }

    /// Moves reads. A status without a reason says nothing of what was done: ask again with the same request.
    pub async fn shift(&self, term: Term, shifting: &Shifting) -> Result<Shifted, Status> {
        use crate::store::Shift;
        use wire::shift_reads_request::Shift as Wire;
        let shift = match &shifting.shift {
            Shift::Leader(node) => Wire::Leader(node.name().to_owned()),
            Shift::Drain(node) => Wire::Drain(node.name().to_owned()),
            Shift::Restore(node) => Wire::Restore(node.name().to_owned()),
        };
        let request = wire::ShiftReadsRequest {
            request_id: shifting.request_id.clone(),
            term: term.0,
            partition: shifting.partition.name().to_owned(),
            expected_epoch: shifting.expected_epoch,
            new_epoch: shifting.new_epoch,
            shift: Some(shift),
        };
        let mut calls = self.calls.clone();
        let answer = tokio::time::timeout(self.timeout, calls.shift_reads(request)).await;
        let answer = answer.map_err(|_| late())??.into_inner();
        let undo = match answer.undo.as_str() {
            "" => None,
            name => Some(NodeId::new(shifting.partition.system().clone(), name).map_err(|error| {
                Status::from(&Malformed { field: "undo".to_owned(), what: error.to_string() })
            })?),
        };
        Ok(Shifted { serving_epoch: answer.serving_epoch, undo })
    }
}

fn unknown<T>(answer: T, words: String) -> Answered<T> {
    Answered { answer, words: Some(words) }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// A status in words, with what caused it.
fn told(status: &Status) -> String {
    let causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    causes.fold(status.message().to_owned(), |text, cause| format!("{text}: {cause}"))
=======
//! Calls of an adapter, by whoever moves something.

use crate::contract::{
    Migration, Refusal, call_to_wire, observation_from_wire, outcome_from_wire, refusal_from_status,
    warrant_to_wire,
};
use isotherm_migration::{Done, Observation, Outcome, Request, RequestId, Step, StepKind, Term};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// What came back of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done(Done),
    /// It runs.
    Running,
    /// It was refused, and had no effect.
    Refused(Refusal),
    /// Nobody knows what was done: no answer, or one that cannot be read. With what is known about why.
    Unknown(String),
}

/// What came back of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What is so, with the words of a refusal that is the fate of the request.
    Told(Observation, Option<String>),
    /// The adapter refused to say.
    Refused(Refusal),
    /// No answer, or one that cannot be read.
    Unknown(String),
}

/// Makes the call that a request stands for.
pub async fn perform(
    client: &mut MigrationAdapterClient<Channel>,
    migration: &Migration,
    term: Term,
    request: &Request,
) -> Reply {
    let call = Some(call_to_wire(migration, term, request));
    let answered = match request.step.clone() {
        Step::ValidateMigration => {
            let request = wire::ValidateMigrationRequest { call };
            outcome(client.validate_migration(request).await, |raw| raw.outcome)
        }
        Step::PrepareTarget => {
            outcome(client.prepare_target(wire::PrepareTargetRequest { call }).await, |raw| raw.outcome)
        }
        Step::StartReplication { resume, bytes_per_s } => {
            let resume_token = resume.unwrap_or_default();
            let request = wire::StartReplicationRequest { call, resume_token, bytes_per_second: bytes_per_s };
            outcome(client.start_replication(request).await, |raw| raw.outcome)
        }
        Step::AwaitCatchup { position, max_lag_bytes } => {
            let position = position.map(|position| position.0).unwrap_or_default();
            let request = wire::AwaitCatchupRequest { call, position, max_lag_bytes };
            outcome(client.await_catchup(request).await, |raw| raw.outcome)
        }
        Step::Verify => outcome(client.verify(wire::VerifyRequest { call }).await, |raw| raw.outcome),
        Step::FenceSource => {
            outcome(client.fence_source(wire::FenceSourceRequest { call }).await, |raw| raw.outcome)
        }
        Step::CommitSwitch { warrant } => {
            let warrant = Some(warrant_to_wire(&warrant));
            outcome(client.commit_switch(wire::CommitSwitchRequest { call, warrant }).await, |raw| {
                raw.outcome
            })
        }
        Step::UnfenceSource => {
            outcome(client.unfence_source(wire::UnfenceSourceRequest { call }).await, |raw| raw.outcome)
        }
        Step::ReverseSwitch => {
            outcome(client.reverse_switch(wire::ReverseSwitchRequest { call }).await, |raw| raw.outcome)
        }
        Step::RetireSource => {
            outcome(client.retire_source(wire::RetireSourceRequest { call }).await, |raw| raw.outcome)
        }
        Step::Abort => outcome(client.abort(wire::AbortRequest { call }).await, |raw| raw.outcome),
    };
    match answered {
        Ok(raw) => match outcome_from_wire(request.step.kind(), raw) {
            Ok(Outcome::Done(done)) => Reply::Done(done),
            Ok(Outcome::Accepted) => Reply::Running,
            Ok(Outcome::Refused(_) | Outcome::Unknown) => Reply::Unknown("no outcome".to_owned()),
            Err(malformed) => Reply::Unknown(malformed.to_string()),
        },
        Err(status) => match refusal_from_status(&status) {
            Some(refusal) => Reply::Refused(refusal),
            None => Reply::Unknown(status.to_string()),
        },
    }
}

fn outcome<T>(
    answered: Result<Response<T>, Status>,
    of: impl FnOnce(T) -> Option<wire::StepOutcome>,
) -> Result<Option<wire::StepOutcome>, Status> {
    answered.map(|response| of(response.into_inner()))
}

/// Asks what is so, and what became of a request.
pub async fn ask(
    client: &mut MigrationAdapterClient<Channel>,
    migration: &Migration,
    term: Term,
    about: Option<&RequestId>,
) -> State {
    let request = wire::GetMigrationStateRequest {
        migration_id: migration.id.to_string(),
        term: term.0,
        partition: migration.partition.name().to_owned(),
        request_id: about.map(ToString::to_string).unwrap_or_default(),
    };
    let step: Option<StepKind> = about.map(|request| request.step);
    match client.get_migration_state(request).await {
        Ok(answer) => match observation_from_wire(step, answer.into_inner()) {
            Ok((observation, words)) => State::Told(observation, words),
            Err(malformed) => State::Unknown(malformed.to_string()),
        },
        Err(status) => match refusal_from_status(&status) {
            Some(refusal) => State::Refused(refusal),
            None => State::Unknown(status.to_string()),
        },
    }
>>>>>>> h51-core
}
