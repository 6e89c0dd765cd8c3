//! Calls of an adapter, by whoever moves something.

mod patient;

use crate::contract::{
    Migration, Refusal, call_to_wire, observation_from_wire, outcome_from_wire, refusal_from_status,
    warrant_to_wire,
};
use isotherm_migration::{Done, Observation, Outcome, Request, RequestId, Step, StepKind, Term};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
pub use patient::{Answered, Client, Shifted, Shifting};
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
}
