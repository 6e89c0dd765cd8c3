//! What can be wrong with an adapter on purpose, so that the check is held to find it.
//!
//! Most flaws are made between the caller and an adapter that is right: calls arrive as other ones, answers leave as
//! other ones.

use crate::server::Adapter;
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_server::MigrationAdapter;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_stream::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use wire::commit_switch_request::Warrant;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// A repeated request is done again.
    ForgetsRequests,
    /// Nothing that was promised outlives the adapter.
    ForgetsAtStart,
    /// Every controller is heard.
    SkipsTerms,
    /// Whatever epoch is expected, serves.
    SkipsEpochs,
    /// A switch needs no verification.
    CommitsBlindly,
    /// A fence is never told.
    HidesFence,
    /// What is done becomes less.
    ProgressFalls,
    /// Abort says that it is done, and leaves the copy.
    AbortLeavesCopy,
    /// Retirement says that it is done, and leaves the source.
    RetireLeavesSource,
}

/// A term above all that anybody has.
const ABOVE_ALL: u64 = 1 << 60;

/// An adapter that has a flaw.
#[derive(Clone)]
pub struct Flawed {
    inner: Adapter,
    flaw: Flaw,
    /// Under which name a request was made last.
    names: Arc<Mutex<HashMap<String, String>>>,
}

type Answered<T> = Result<Response<T>, Status>;

impl Flawed {
    /// Gives an adapter a flaw.
    #[must_use]
    pub fn new(inner: Adapter, flaw: Flaw) -> Self {
        Self { inner, flaw, names: Arc::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn term(&self, term: u64) -> u64 {
        if self.is(Flaw::SkipsTerms) { ABOVE_ALL } else { term }
    }

    fn renamed(&self, id: String) -> String {
        if !self.is(Flaw::ForgetsRequests) || id.is_empty() {
            return id;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}#{}", &id[..id.len().min(180)], names.len() + usize::from(fastrand::u16(..)));
        names.insert(id, name.clone());
        name
    }

    fn last_name(&self, id: String) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&id).cloned().unwrap_or(id)
    }

    /// The call as it arrives.
    async fn call(&self, call: Option<wire::Call>) -> Option<wire::Call> {
        let mut call = call?;
        call.term = self.term(call.term);
        call.request_id = self.renamed(call.request_id);
        if let (true, Some(migration), Some(new)) =
            (self.is(Flaw::SkipsEpochs), &call.migration, call.new_epoch)
        {
            let asked = wire::GetMigrationStateRequest {
                migration_id: migration.migration_id.clone(),
                partition: migration.partition.clone(),
                term: call.term,
                request_id: String::new(),
            };
            if let Ok(state) = self.inner.get_migration_state(Request::new(asked)).await {
                let state = state.into_inner();
                call.expected_epoch = Some(state.serving_epoch);
                call.new_epoch = Some(new.max(state.highest_epoch).max(state.serving_epoch + 1));
            }
        }
        Some(call)
    }
}

macro_rules! passed {
    ($($method:ident, $request:ident, $response:ident;)*) => {
        #[tonic::async_trait]
        impl MigrationAdapter for Flawed {
            $(async fn $method(&self, request: Request<wire::$request>) -> Answered<wire::$response> {
                let mut raw = request.into_inner();
                raw.call = self.call(raw.call.take()).await;
                self.inner.$method(Request::new(raw)).await
            })*

            async fn commit_switch(
                &self,
                request: Request<wire::CommitSwitchRequest>,
            ) -> Answered<wire::CommitSwitchResponse> {
                let mut raw = request.into_inner();
                raw.call = self.call(raw.call.take()).await;
                if self.is(Flaw::CommitsBlindly) {
                    let (by, reason) = ("nobody".to_owned(), "none".to_owned());
                    raw.warrant = Some(Warrant::DataLoss(wire::DataLossAccepted { by, reason }));
                }
                self.inner.commit_switch(Request::new(raw)).await
            }

            async fn get_capabilities(
                &self,
                request: Request<wire::GetCapabilitiesRequest>,
            ) -> Answered<wire::GetCapabilitiesResponse> {
                self.inner.get_capabilities(request).await
            }

            async fn watch_topology(
                &self,
                request: Request<wire::WatchTopologyRequest>,
            ) -> Answered<BoxStream<wire::WatchTopologyResponse>> {
                self.inner.watch_topology(request).await
            }

            async fn get_migration_state(
                &self,
                request: Request<wire::GetMigrationStateRequest>,
            ) -> Answered<wire::GetMigrationStateResponse> {
                let mut raw = request.into_inner();
                (raw.term, raw.request_id) = (self.term(raw.term), self.last_name(raw.request_id));
                let mut answer = self.inner.get_migration_state(Request::new(raw)).await?;
                answer.get_mut().fenced &= !self.is(Flaw::HidesFence);
                Ok(answer)
            }

            async fn watch_progress(
                &self,
                request: Request<wire::WatchProgressRequest>,
            ) -> Answered<BoxStream<wire::WatchProgressResponse>> {
                let stream = self.inner.watch_progress(request).await?.into_inner();
                let falls = self.is(Flaw::ProgressFalls);
                let stream = stream.map(move |message| {
                    message.map(|mut message| {
                        if let Some(progress) = message.progress.as_mut().filter(|_| falls) {
                            progress.done = progress.total.unwrap_or(u64::MAX).saturating_sub(progress.done);
                        }
                        message
                    })
                });
                Ok(Response::new(Box::pin(stream)))
            }

            async fn list_migrations(
                &self,
                request: Request<wire::ListMigrationsRequest>,
            ) -> Answered<wire::ListMigrationsResponse> {
                self.inner.list_migrations(request).await
            }

            async fn shift_reads(
                &self,
                request: Request<wire::ShiftReadsRequest>,
            ) -> Answered<wire::ShiftReadsResponse> {
                let mut raw = request.into_inner();
                (raw.term, raw.request_id) = (self.term(raw.term), self.renamed(raw.request_id));
                self.inner.shift_reads(Request::new(raw)).await
            }
        }
    };
}

passed! {
    validate_migration, ValidateMigrationRequest, ValidateMigrationResponse;
    prepare_target, PrepareTargetRequest, PrepareTargetResponse;
    start_replication, StartReplicationRequest, StartReplicationResponse;
    await_catchup, AwaitCatchupRequest, AwaitCatchupResponse;
    verify, VerifyRequest, VerifyResponse;
    fence_source, FenceSourceRequest, FenceSourceResponse;
    unfence_source, UnfenceSourceRequest, UnfenceSourceResponse;
    reverse_switch, ReverseSwitchRequest, ReverseSwitchResponse;
    retire_source, RetireSourceRequest, RetireSourceResponse;
    abort, AbortRequest, AbortResponse;
}
