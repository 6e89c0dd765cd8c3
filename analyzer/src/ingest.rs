//! The telemetry service: one stream per run of an agent.
//!
//! A stream gives its agent [credit](Credit) for what the writer's queue has room for, and ends where an agent
//! sends more than that. What all streams together parse and hold takes at most [`MEMORY_KIB`]; beyond that nothing
//! is read, and HTTP/2 flow control holds the agents back. Beside it each stream holds the one message that it has
//! read and waits to parse, and [`UNPACKING`] of them together a payload that was unpacked to count its rows.
//! Answers come in the order of what they answer. What cannot be understood is refused alone; only a stream
//! that does not follow the protocol is ended.

mod credit;

use crate::writer::{Job, Reply, with_causes};
use credit::Credit;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use isotherm_model::{Seq, Window};
use isotherm_proto::telemetry::v1::telemetry_service_server::TelemetryService;
use isotherm_proto::telemetry::v1::{
    Ack, Batch, Gap, Hello, Nack, NackReason, StreamRequest, StreamResponse, Welcome, stream_request,
    stream_response,
};
use isotherm_proto::{
    MAX_PAYLOAD_BYTES, Malformed, gap_from_wire, hello_from_wire, rows_in_payload, unpacked, unpacked_bytes,
    window_set_from_payload,
};
use isotherm_store::{Entry, Reader, Run, Submission, Verdict, hours_of};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// Answers that wait for the agent to read them.
const ANSWERS: usize = 16;

/// Memory for batches that are being parsed or wait for a commit, of all streams together, in KiB. The largest
/// batch that is accepted takes nearly all of it.
const MEMORY_KIB: u32 = 400 << 10;

/// Bytes that a row takes beside its part of the payload while a batch is parsed: a message that is freed row by
/// row, a model row with half a KiB of histogram, and a key to find repeated ones; 1 KiB, and half as much where
/// the system's name is as long as a name may be.
const ROW_BYTES: usize = 1_536;

/// Compressed payloads that are unpacked, to at most 8 MiB, and wait for memory to be parsed in. They do not
/// count as [`MEMORY_KIB`], as nobody may wait for memory while holding some.
const UNPACKING: usize = 4;

/// Hours that the windows of one batch may start in: each makes a segment.
const MAX_HOURS: usize = 24;

/// Sequence numbers that the catalog can hold.
const MAX_SEQ: u64 = i64::MAX.cast_unsigned();

/// The service. Clones share their queue and their memory.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    jobs: mpsc::Sender<Job>,
    reader: Reader,
    memory: Arc<Semaphore>,
    unpacking: Arc<Semaphore>,
    /// Shared by the service and every open stream, each of which works on a clone.
    open: Arc<()>,
    streams: TaskTracker,
    stop: CancellationToken,
}

impl Ingest {
    pub(crate) fn new(
        jobs: mpsc::Sender<Job>,
        reader: Reader,
        streams: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let memory = Arc::new(Semaphore::new(MEMORY_KIB as usize));
        let unpacking = Arc::new(Semaphore::new(UNPACKING));
        Self { jobs, reader, memory, unpacking, open: Arc::new(()), streams, stop }
    }
}

type Answers = mpsc::Sender<Result<StreamResponse, Status>>;

#[tonic::async_trait]
impl TelemetryService for Ingest {
    type StreamStream = ReceiverStream<Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS);
        let (ingest, requests) = (self.clone(), request.into_inner());
        self.streams.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = ingest.stop.cancelled() => Err(Status::unavailable("the analyzer is shutting down")),
                ended = ingest.serve(requests, &answers) => ended,
            };
            if let Err(status) = ended {
                tracing::debug!(%status, "telemetry stream ended");
                // Without room nobody is reading, and the end of the stream says enough.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Ingest {
    async fn serve(&self, mut requests: Streaming<StreamRequest>, answers: &Answers) -> Result<(), Status> {
        let mut credit = Credit::default();
        let run = match requests.message().await? {
            Some(StreamRequest { message: Some(stream_request::Message::Hello(hello)) }) => {
                let granted = credit.grant(0, self.room());
                self.welcome(hello, granted, answers).await?
            }
            Some(_) => return Err(Status::invalid_argument("the first message must be a hello")),
            None => return Ok(()),
        };
        let mut waiting: FuturesOrdered<BoxFuture<'static, StreamResponse>> = FuturesOrdered::new();
        let mut open = true;
        loop {
            tokio::select! {
                Some(mut answer) = waiting.next(), if !waiting.is_empty() => {
                    credit.answered();
                    if let Some(stream_response::Message::Ack(ack)) = &mut answer.message {
                        ack.credit = credit.grant(waiting.len(), self.room());
                    }
                    if answers.send(Ok(answer)).await.is_err() {
                        return Ok(());
                    }
                }
                message = requests.message(), if open => match message? {
                    Some(request) => {
                        credit.received().map_err(|overdrawn| {
                            tracing::warn!(agent = %run.agent, boot = %run.boot, "{overdrawn}");
                            Status::resource_exhausted(overdrawn.to_string())
                        })?;
                        waiting.push_back(self.accept(&run, request).await?);
                    }
                    None => open = false,
                },
                else => return Ok(()),
            }
        }
    }

    /// The part of the queue's free room that is one stream's.
    fn room(&self) -> usize {
        // One of those who share it is the service.
        self.jobs.capacity() / (Arc::strong_count(&self.open) - 1).max(1)
    }

    async fn welcome(&self, hello: Hello, credit: u32, answers: &Answers) -> Result<Run, Status> {
        let hello =
            hello_from_wire(hello).map_err(|malformed| Status::invalid_argument(with_causes(&malformed)))?;
        let run = Run { agent: hello.agent, boot: hello.boot };
        let (reader, asked) = (self.reader.clone(), run.clone());
        let committed = tokio::task::spawn_blocking(move || reader.committed(&asked))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(with_causes(&error)))?;
        tracing::info!(
            agent = %run.agent, boot = %run.boot, version = %hello.version,
            committed = committed.map_or(0, Seq::get), targets = hello.targets.len(), "agent connected"
        );
        let welcome = Welcome {
            credit,
            committed_seq: committed.map_or(0, Seq::get),
            max_payload_bytes: u32::try_from(MAX_PAYLOAD_BYTES).unwrap_or(u32::MAX),
        };
        // An agent that is gone already is noticed by the next read.
        let _ = answers.send(Ok(response(stream_response::Message::Welcome(welcome)))).await;
        Ok(run)
    }

    /// Takes one request, and returns what will be its answer.
    async fn accept(
        &self,
        run: &Run,
        request: StreamRequest,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        match request.message {
            Some(stream_request::Message::Batch(batch)) => self.accept_batch(run, batch).await,
            Some(stream_request::Message::Gap(gap)) => self.accept_gap(run, gap).await,
            Some(stream_request::Message::Hello(_)) => {
                Err(Status::invalid_argument("a stream has one hello, its first message"))
            }
            None => Err(Status::invalid_argument("a message of an unknown kind")),
        }
    }

    async fn accept_batch(
        &self,
        run: &Run,
        batch: Batch,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        let number = batch.seq;
        let Some(seq) = valid_seq(number) else {
            return Ok(refusal(number, NackReason::Malformed, "batch.seq is out of range".to_owned()));
        };
        let unpacked_bytes = match unpacked_bytes(batch.encoding, &batch.payload) {
            Ok(bytes) => bytes,
            Err(malformed) => return Ok(refusal(number, refused(&malformed), with_causes(&malformed))),
        };
        let unpacking = match unpacked_bytes {
            0 => None,
            _ => Some(permits(&self.unpacking, 1).await?),
        };
        let content = blocking(move || unpack(batch)).await?;
        let (payload, rows) = match content {
            Ok(content) => content,
            Err(malformed) => return Ok(refusal(number, refused(&malformed), with_causes(&malformed))),
        };
        let memory = self.reserve(payload.len() + rows * ROW_BYTES).await?;
        drop(unpacking);
        let parsed = blocking(move || parse(&payload)).await?;
        match parsed {
            Ok(windows) => self.submit(run, Entry::Batch { seq, windows }, Some(memory)).await,
            Err((reason, detail)) => Ok(refusal(number, reason, detail)),
        }
    }

    async fn accept_gap(&self, run: &Run, gap: Gap) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        let number = gap.last_seq;
        let gap = match gap_from_wire(gap) {
            Ok(gap) if valid_seq(gap.last.get()).is_some() => gap,
            Ok(_) => {
                return Ok(refusal(number, NackReason::Malformed, "gap.last_seq is out of range".to_owned()));
            }
            Err(malformed) => return Ok(refusal(number, NackReason::Malformed, with_causes(&malformed))),
        };
        let (first, last, time) = (gap.first, gap.last, gap.time);
        let gap = isotherm_store::Gap { first, last, time, reason: gap.reason.as_str() };
        self.submit(run, Entry::Gap(gap), None).await
    }

    async fn submit(
        &self,
        run: &Run,
        entry: Entry,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        let number = entry.last().get();
        let (reply, answer) = oneshot::channel();
        let submission = Submission { run: run.clone(), entry };
        self.jobs
            .send(Job { submission, memory, reply })
            .await
            .map_err(|_| Status::unavailable("the analyzer is shutting down"))?;
        Ok(Box::pin(async move {
            match answer.await {
                Ok(reply) => decided(number, reply),
                Err(_) => nack(number, NackReason::Retry, "the analyzer is shutting down".to_owned()),
            }
        }))
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(MEMORY_KIB).clamp(1, MEMORY_KIB);
        permits(&self.memory, kib).await
    }
}

async fn permits(of: &Arc<Semaphore>, number: u32) -> Result<OwnedSemaphorePermit, Status> {
    let permits = Arc::clone(of).acquire_many_owned(number).await;
    permits.map_err(|_| Status::unavailable("the analyzer is shutting down"))
}

/// Runs what takes its time where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))
}

/// The payload without its compression, and its rows.
fn unpack(batch: Batch) -> Result<(Vec<u8>, usize), Malformed> {
    let content = match unpacked(batch.encoding, &batch.payload)? {
        Cow::Owned(content) => content,
        Cow::Borrowed(_) => batch.payload,
    };
    let rows = rows_in_payload(&content)?;
    Ok((content, rows))
}

fn parse(payload: &[u8]) -> Result<Vec<Window>, (NackReason, String)> {
    let windows = window_set_from_payload(payload)
        .map_err(|malformed| (refused(&malformed), with_causes(&malformed)))?;
    let hours = hours_of(&windows);
    if hours > MAX_HOURS {
        let detail = format!("windows of {hours} different hours are more than the {MAX_HOURS} accepted");
        return Err((NackReason::TooLarge, detail));
    }
    Ok(windows)
}

fn refused(malformed: &Malformed) -> NackReason {
    match malformed {
        Malformed::TooLarge { .. } | Malformed::TooManyRows => NackReason::TooLarge,
        Malformed::Frame { .. }
        | Malformed::Encoding(_)
        | Malformed::Name { .. }
        | Malformed::Value { .. }
        | Malformed::TooMany { .. }
        | Malformed::Repeated { .. }
        | Malformed::NotConserved { .. } => NackReason::Malformed,
    }
}

fn valid_seq(number: u64) -> Option<Seq> {
    Seq::new(number).filter(|seq| seq.get() < MAX_SEQ)
}

fn decided(number: u64, reply: Reply) -> StreamResponse {
    match reply {
        Reply::Decided(Verdict::Committed { through }) => {
            // The credit is given when it is sent.
            response(stream_response::Message::Ack(Ack { seq: through.get(), credit: 0 }))
        }
        Reply::Decided(Verdict::OutOfOrder { expected }) => {
            nack(number, NackReason::OutOfOrder, format!("batch {expected} must come first"))
        }
        Reply::Decided(Verdict::Retry) => nack(number, NackReason::Retry, "cannot write now".to_owned()),
        Reply::Failed(reason) => nack(number, NackReason::Retry, reason),
    }
}

fn refusal(number: u64, reason: NackReason, detail: String) -> BoxFuture<'static, StreamResponse> {
    tracing::warn!(seq = number, reason = reason.as_str_name(), %detail, "refused");
    Box::pin(std::future::ready(nack(number, reason, detail)))
}

fn nack(seq: u64, reason: NackReason, detail: String) -> StreamResponse {
    response(stream_response::Message::Nack(Nack { seq, reason: reason.into(), detail }))
}

fn response(message: stream_response::Message) -> StreamResponse {
    StreamResponse { message: Some(message) }
}
