//! The control service: questions of people and tools, answered from what is committed and the topology.

mod agents;
mod export;
mod migrations;
mod named;
mod nodes;
mod peers;
mod place;
mod plans;
mod query;
mod reads;
mod repairs;
mod risk;
mod trust;
mod wire;

use crate::accept::Room;
use crate::ingest::Ingest;
use crate::topology::{Topologies, Topology};
use crate::writer::{now, with_causes};
use isotherm_model::{Layer, Timestamp};
use isotherm_proto::control::v1::control_service_server::ControlService;
use isotherm_proto::control::v1::{
    AnalyzeEntropyRequest, AnalyzeEntropyResponse, ExportParquetRequest, ExportParquetResponse,
    ExportRequest, ExportResponse, ListAgentsRequest, ListAgentsResponse, ListNodesRequest,
    ListNodesResponse, ListPartitionsRequest, ListPartitionsResponse, ListPeersRequest, ListPeersResponse,
    QueryRequest,
};
use isotherm_store::{EntropyQuery, PartitionFilter, QueryError, Reader, Span, Step};
pub(crate) use migrations::Moves;
pub(crate) use plans::Planning;
pub(crate) use reads::Reads;
pub(crate) use repairs::Mending;
pub(crate) use risk::Risk;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
pub(crate) use trust::Trusted;

/// Questions that are answered at the same time; more wait. Each may use every core and a few hundred MB.
const QUESTIONS: usize = 4;

/// What takes telemetry in.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    pub(crate) ingest: Ingest,
    pub(crate) room: Room,
}

/// The service. Clones share the limit on questions.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    reader: Reader,
    intake: Intake,
    topologies: Topologies,
    /// The step of those who do not name one.
    step: Step,
    questions: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    streams: TaskTracker,
    stop: CancellationToken,
}

impl Control {
    pub(crate) fn new(
        reader: Reader,
        intake: Intake,
        topologies: Topologies,
        step: Duration,
        streams: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        let step = each(u64::try_from(step.as_millis()).unwrap_or(u64::MAX));
        let workers = Arc::new(Semaphore::new(query::WORKERS));
        Self { reader, intake, topologies, step, questions, workers, streams, stop }
    }

    /// Asks the store on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader, &Topology) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = Arc::clone(&self.questions)
            .acquire_owned()
            .await
            .map_err(|_| Status::unavailable("the analyzer is shutting down"))?;
        let (reader, topology) = (self.reader.clone(), self.topologies.borrow().clone());
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question(&reader, &topology)
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| status(&error)),
            Err(error) => {
                tracing::error!(%error, "a question ended without an answer");
                Err(Status::internal("the question could not be answered; see the analyzer's log"))
            }
        }
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    type ExportParquetStream = ReceiverStream<Result<ExportParquetResponse, Status>>;

    type ExportStream = ReceiverStream<Result<ExportResponse, Status>>;
    type QueryStream = query::Answer;

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        Ok(Response::new(query::start(self, request.into_inner()).await?))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let request = request.into_inner();
        let span = span(request.since_ms, request.until_ms)?;
        let answer = self.ask(move |reader, topology| {
            let activity = reader.node_activity(span)?;
            let reports = reader.nodes()?;
            let nodes = wire::nodes(topology, &reports, &activity, &reader.missing(span)?, now());
            Ok((reports, nodes))
        });
        let (reports, mut nodes) = answer.await?;
        agents::add_clocks(&mut nodes, &reports, &self.intake.ingest.agents().statuses());
        Ok(Response::new(ListNodesResponse { nodes }))
    }

    async fn list_agents(
        &self,
        _: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let agents = self.intake.ingest.agents().statuses().into_iter().map(agents::agent).collect();
        Ok(Response::new(ListAgentsResponse { agents, intake: Some(agents::intake(&self.intake)) }))
    }

    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let request = request.into_inner();
        let span = span(request.since_ms, request.until_ms)?;
        let layer = place::layer(request.layer)?;
        let answer = self.ask(move |reader, topology| {
            Ok(wire::partitions(topology, &reader.partition_activity(span, layer)?))
        });
        Ok(Response::new(ListPartitionsResponse { partitions: answer.await? }))
    }

    async fn list_peers(
        &self,
        request: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        let request = request.into_inner();
        let span = span(request.since_ms, request.until_ms)?;
        let answer = self.ask(move |reader, topology| peers::list(reader, topology, span, &request));
        Ok(Response::new(ListPeersResponse { nodes: answer.await? }))
    }

    async fn analyze_entropy(
        &self,
        request: Request<AnalyzeEntropyRequest>,
    ) -> Result<Response<AnalyzeEntropyResponse>, Status> {
        let request = request.into_inner();
        let span = span(request.since_ms, request.until_ms)?;
        let step = request.step_ms.map_or(self.step, each);
        let layer = place::layer(request.layer)?.unwrap_or(Layer::Logical);
        let answer = self.ask(move |reader, topology| {
            let query = EntropyQuery {
                span,
                step,
                layer,
                filter: partition_filter(&request.partition),
                top: usize::try_from(request.top).ok().and_then(NonZeroUsize::new),
                subsets: &topology.subsets,
                now: now(),
            };
            Ok(reader.entropy(&query)?.into_iter().map(|found| wire::entropy(found, layer)).collect())
        });
        Ok(Response::new(AnalyzeEntropyResponse { entropies: answer.await? }))
    }

    async fn export_parquet(
        &self,
        request: Request<ExportParquetRequest>,
    ) -> Result<Response<Self::ExportParquetStream>, Status> {
        let request = request.into_inner();
        let span = span(request.since_ms, request.until_ms)?;
        Ok(Response::new(export::start_parquet(self.clone(), span)))
    }

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let query = export::query(request.into_inner())?;
        Ok(Response::new(export::start(self.clone(), query)))
    }
}

/// An empty name is every partition's.
fn partition_filter(name: &str) -> PartitionFilter {
    if name.is_empty() { PartitionFilter::All } else { PartitionFilter::Named(name.to_owned()) }
}

/// 0 is one step for all of the time.
fn each(step_ms: u64) -> Step {
    NonZeroU64::new(step_ms).map_or(Step::Whole, Step::EachMs)
}

/// 0 leaves an end open.
fn span(since_ms: u64, until_ms: u64) -> Result<Span, Status> {
    let open = |ms: u64| (ms > 0).then_some(Timestamp::from_ms(ms));
    let span = Span { since: open(since_ms), until: open(until_ms) };
    match (span.since, span.until) {
        (Some(since), Some(until)) if since >= until => {
            Err(Status::invalid_argument("since_ms is not before until_ms"))
        }
        _ => Ok(span),
    }
}

fn status(error: &QueryError) -> Status {
    match error {
        QueryError::NoSuchPartition { .. } | QueryError::NoSuchNode { .. } => {
            Status::not_found(error.to_string())
        }
        QueryError::TooMany { .. } | QueryError::NoPartitions { .. } => {
            Status::invalid_argument(error.to_string())
        }
        QueryError::Segments(_) | QueryError::Name(_) | QueryError::Catalog(_) => {
            let error = with_causes(error);
            tracing::error!(%error, "a question failed");
            Status::internal(error)
        }
    }
}
