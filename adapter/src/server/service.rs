//! The contract's calls.

use super::Adapter;
use super::desk::Desk;
use super::progress::heartbeat;
use crate::contract::{
    Answer, Asked, AskedShift, Malformed, capabilities_to_wire, done_to_wire, malformed, refusal_to_status,
    warrant_from_wire,
};
use crate::ledger::record::Shifted;
use isotherm_migration::{MigrationId, Position, Step};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_server::MigrationAdapter;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

type Answered<T> = Result<Response<T>, Status>;

impl Adapter {
    async fn step(
        &self,
        call: Option<wire::Call>,
        step: Result<Step, Malformed>,
    ) -> Result<Option<wire::StepOutcome>, Status> {
        let parse = || Asked::from_wire(&self.desk.capabilities.system, call, step?);
        let asked = parse().map_err(|malformed| Status::from(&malformed))?;
        let answer = match asked.step {
            Step::ValidateMigration => self.desk.validate(asked).await,
            Step::PrepareTarget
            | Step::StartReplication { .. }
            | Step::AwaitCatchup { .. }
            | Step::Verify
            | Step::FenceSource
            | Step::CommitSwitch { .. }
            | Step::UnfenceSource
            | Step::ReverseSwitch
            | Step::RetireSource
            | Step::Abort => apart(&self.desk, asked).await,
        };
        outcome(answer.map_err(|refusal| refusal_to_status(&refusal))?).map(Some)
    }
}

/// A caller that goes away in the middle of being heard must not leave half of it: what is written down and what runs
/// would differ.
async fn apart(desk: &Arc<Desk>, asked: Asked) -> Result<Answer, crate::contract::Refusal> {
    let desk = Arc::clone(desk);
    let heard = tokio::spawn(async move { desk.perform(asked).await });
    heard.await.unwrap_or_else(|error| {
        Err(crate::contract::Refusal::not_now(format!("the adapter failed: {error}")))
    })
}

fn outcome(answer: Answer) -> Result<wire::StepOutcome, Status> {
    use wire::step_outcome::Outcome;
    let outcome = match answer {
        Answer::Running => Outcome::Running(wire::Running {}),
        Answer::Done(done) => Outcome::Done(done_to_wire(&done)),
        Answer::Refused(refusal) => return Err(refusal_to_status(&refusal)),
        // Without a reason it says nothing of what was done.
        Answer::Unheard => return Err(Status::internal("the request was not found again")),
    };
    Ok(wire::StepOutcome { outcome: Some(outcome) })
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A call for a step: the name of the method, its messages, and the step that its request asks for.
macro_rules! steps {
    ($($method:ident, $request:ident, $response:ident, |$raw:ident| $step:expr;)*) => {
        #[tonic::async_trait]
        impl MigrationAdapter for Adapter {
            $(async fn $method(&self, request: Request<wire::$request>) -> Answered<wire::$response> {
                #[allow(unused_mut, reason = "some steps have nothing beside the call")]
                let mut $raw = request.into_inner();
                let call = $raw.call.take();
                let outcome = self.step(call, $step).await?;
                Ok(Response::new(wire::$response { outcome }))
            })*

            async fn get_capabilities(
                &self,
                _: Request<wire::GetCapabilitiesRequest>,
            ) -> Answered<wire::GetCapabilitiesResponse> {
                Ok(Response::new(capabilities_to_wire(&self.desk.capabilities)))
            }

            async fn watch_topology(
                &self,
                request: Request<wire::WatchTopologyRequest>,
            ) -> Answered<BoxStream<wire::WatchTopologyResponse>> {
                let stream = self.desk.watch_topology(request.into_inner().heartbeat_ms).await?;
                Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
            }

            async fn get_migration_state(
                &self,
                request: Request<wire::GetMigrationStateRequest>,
            ) -> Answered<wire::GetMigrationStateResponse> {
                self.desk.state(request.into_inner()).await.map(Response::new)
            }

            async fn watch_progress(
                &self,
                request: Request<wire::WatchProgressRequest>,
            ) -> Answered<BoxStream<wire::WatchProgressResponse>> {
                let raw = request.into_inner();
                let migration = MigrationId::new(raw.migration_id)
                    .map_err(|error| Status::from(&malformed("migration_id", error)))?;
                let stream = self.desk.watch(migration, heartbeat(raw.heartbeat_ms))?;
                Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
            }

            async fn list_migrations(
                &self,
                _: Request<wire::ListMigrationsRequest>,
            ) -> Answered<wire::ListMigrationsResponse> {
                self.desk.list().await.map(Response::new).map_err(|refusal| refusal_to_status(&refusal))
            }

            async fn shift_reads(
                &self,
                request: Request<wire::ShiftReadsRequest>,
            ) -> Answered<wire::ShiftReadsResponse> {
                shift(&self.desk, request.into_inner()).await.map(Response::new)
            }
        }
    };
}

steps! {
    validate_migration, ValidateMigrationRequest, ValidateMigrationResponse, |raw| Ok(Step::ValidateMigration);
    prepare_target, PrepareTargetRequest, PrepareTargetResponse, |raw| Ok(Step::PrepareTarget);
    start_replication, StartReplicationRequest, StartReplicationResponse, |raw| replication(raw);
    await_catchup, AwaitCatchupRequest, AwaitCatchupResponse, |raw| Ok(Step::AwaitCatchup {
        position: some(raw.position).map(Position),
        max_lag_bytes: raw.max_lag_bytes,
    });
    verify, VerifyRequest, VerifyResponse, |raw| Ok(Step::Verify);
    fence_source, FenceSourceRequest, FenceSourceResponse, |raw| Ok(Step::FenceSource);
    commit_switch, CommitSwitchRequest, CommitSwitchResponse,
        |raw| warrant_from_wire(raw.warrant).map(|warrant| Step::CommitSwitch { warrant });
    unfence_source, UnfenceSourceRequest, UnfenceSourceResponse, |raw| Ok(Step::UnfenceSource);
    reverse_switch, ReverseSwitchRequest, ReverseSwitchResponse, |raw| Ok(Step::ReverseSwitch);
    retire_source, RetireSourceRequest, RetireSourceResponse, |raw| Ok(Step::RetireSource);
    abort, AbortRequest, AbortResponse, |raw| Ok(Step::Abort);
}

fn replication(raw: wire::StartReplicationRequest) -> Result<Step, Malformed> {
    if raw.bytes_per_second == Some(0) {
        return Err(malformed("bytes_per_second", "0 would never end; leave it out for no bound"));
    }
    Ok(Step::StartReplication { resume: some(raw.resume_token), bytes_per_s: raw.bytes_per_second })
}

async fn shift(desk: &Arc<Desk>, raw: wire::ShiftReadsRequest) -> Result<wire::ShiftReadsResponse, Status> {
    let asked = AskedShift::from_wire(&desk.capabilities.system, raw)
        .map_err(|malformed| Status::from(&malformed))?;
    let desk = Arc::clone(desk);
    let shifted = tokio::spawn(async move { desk.shift(asked).await });
    let shifted = shifted.await.map_err(|error| Status::internal(format!("the adapter failed: {error}")))?;
    match shifted.map_err(|refusal| refusal_to_status(&refusal))? {
        Some(Shifted::Done { serving, undo }) => {
            Ok(wire::ShiftReadsResponse { serving_epoch: serving.0, undo: undo.unwrap_or_default() })
        }
        Some(Shifted::Refused(refusal)) => Err(refusal_to_status(&refusal)),
        Some(Shifted::Running) | None => {
            Err(Status::deadline_exceeded("the shift goes on; ask again with the same request_id"))
        }
    }
}
