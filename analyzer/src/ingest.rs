//! The telemetry service: one stream per run of an agent.
//!
//! A stream gives its agent [credit](Credit) for what is worth to wait in the writer's queue, and ends where an agent
//! sends more than that. What streams parse and hold takes its part of a [memory](memory) that does not depend on
//! how many they are; while there is none, nothing more is read of the stream, and HTTP/2 flow control holds its agent
//! back. Beside it each stream holds the one message that it has read and waits to parse, and each of the
//! [hands](hands) a payload that is unpacked. Every agent has an [account](agents) of what it may take, and the writer
//! takes from agents in [turns](turns).
//!
//! Answers come in the order of what they answer. What cannot be understood is refused alone; only a stream
//! that does not follow the protocol is ended.

mod agents;
mod batch;
mod clock;
mod credit;
mod limits;
mod memory;
mod names;
mod queue;
mod turns;

use crate::locators::{Indexes, tell as tell_locators};
use crate::writer::{Job, Reply, now, rows_of, with_causes};
pub(crate) use agents::{AgentStatus, Agents, Locators, Told, Totals};
use agents::{Arrival, Visit};
use batch::Parsed;
pub(crate) use clock::ClockState;
use credit::Credit;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, Select, StreamExt, select};
use isotherm_model::Seq;
use isotherm_proto::telemetry::v1::telemetry_service_server::TelemetryService;
use isotherm_proto::telemetry::v1::{
    Ack, Batch, Gap, Hello, Nack, NackReason, StreamRequest, StreamResponse, Welcome, stream_request,
    stream_response,
};
use isotherm_proto::{MAX_PAYLOAD_BYTES, gap_from_wire, hello_from_wire, watching_from_wire};
use isotherm_store::{Entry, Reader, Run, Submission, Verdict};
pub(crate) use limits::Limits;
pub(crate) use memory::Held;
use memory::Memory;
pub(crate) use queue::{Depth, Queue, Submitting, queue};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// Answers that wait for the agent to read them.
const ANSWERS: usize = 16;

/// Parts of a message with locators that wait for the agent to read them.
const LOCATORS: usize = 1;

/// Submissions in the writer's queue beyond which more would only wait longer.
const QUEUE: usize = 64;

/// How long a stream may take to say whose it is. It counts as one from the beginning.
const GREETING: Duration = Duration::from_secs(10);

/// How long an agent may take to read an answer before its stream ends. It holds nobody up, but its own place.
const UNREAD: Duration = Duration::from_secs(60);

/// Sequence numbers that the catalog can hold.
const MAX_SEQ: u64 = i64::MAX.cast_unsigned();

/// The service. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    jobs: Submitting,
    reader: Reader,
    memory: Memory,
    /// Threads that unpack, parse and look into the catalog: as many as there are processors, and two at least.
    hands: Arc<Semaphore>,
    agents: Agents,
    locators: Indexes,
    streams: TaskTracker,
    stop: CancellationToken,
}

/// How near the limits the service is.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) totals: Totals,
    pub(crate) depth: Depth,
    pub(crate) memory_bytes: u64,
    pub(crate) max_memory_bytes: u64,
}

impl Ingest {
    pub(crate) fn new(
        jobs: Submitting,
        reader: Reader,
        limits: Limits,
        locators: Indexes,
        streams: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let memory = Memory::new(&limits);
        let hands = thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        let (hands, agents) = (Arc::new(Semaphore::new(hands)), Agents::new(limits, memory.clone()));
        Self { jobs, reader, memory, hands, agents, locators, streams, stop }
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            totals: self.agents.totals(),
            depth: self.jobs.depth(),
            memory_bytes: self.memory.taken().as_u64(),
            max_memory_bytes: self.memory.limit().as_u64(),
        }
    }
}

type Answers = mpsc::Sender<Result<StreamResponse, Status>>;
type Outgoing = ReceiverStream<Result<StreamResponse, Status>>;

#[tonic::async_trait]
impl TelemetryService for Ingest {
    type StreamStream = Select<Outgoing, Outgoing>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let arrival =
            self.agents.arrive().map_err(|exceeded| Status::resource_exhausted(exceeded.to_string()))?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let (locators, beside) = mpsc::channel(LOCATORS);
        let (ingest, requests) = (self.clone(), request.into_inner());
        self.streams.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = ingest.stop.cancelled() => Err(Status::unavailable("the analyzer is shutting down")),
                ended = ingest.serve(arrival, requests, &answers, locators) => ended,
            };
            if let Err(status) = ended {
                tracing::debug!(%status, "telemetry stream ended");
                // Without room nobody is reading, and the end of the stream says enough.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(select(ReceiverStream::new(stream), ReceiverStream::new(beside))))
    }
}

impl Ingest {
    async fn serve(
        &self,
        arrival: Arrival,
        mut requests: Streaming<StreamRequest>,
        answers: &Answers,
        locators: Answers,
    ) -> Result<(), Status> {
        let greeting = timeout(GREETING, requests.message()).await.map_err(|_| {
            Status::deadline_exceeded(format!("no hello came within {} s", GREETING.as_secs()))
        })?;
        let mut credit = Credit::default();
        let visit = match greeting? {
            Some(StreamRequest { message: Some(stream_request::Message::Hello(hello)) }) => {
                let granted = credit.grant(0, self.room());
                self.welcome(arrival, hello, granted, answers).await?
            }
            Some(_) => return Err(Status::invalid_argument("the first message must be a hello")),
            None => return Ok(()),
        };
        tokio::select! {
            () = visit.replaced.cancelled() => {
                Err(Status::aborted("a newer stream of this run took its place"))
            }
            ended = self.converse(&visit, credit, requests, answers, locators) => ended,
        }
    }

    async fn converse(
        &self,
        visit: &Visit,
        mut credit: Credit,
        mut requests: Streaming<StreamRequest>,
        answers: &Answers,
        locators: Answers,
    ) -> Result<(), Status> {
        let (ask, asked) = watch::channel(None);
        let telling = tell_locators(self.locators.clone(), asked, Told(visit), locators);
        tokio::pin!(telling);
        let mut waiting: FuturesOrdered<BoxFuture<'static, StreamResponse>> = FuturesOrdered::new();
        let mut open = true;
        loop {
            tokio::select! {
                Some(mut answer) = waiting.next(), if !waiting.is_empty() => {
                    credit.answered();
                    match &mut answer.message {
                        Some(stream_response::Message::Ack(ack)) => {
                            ack.credit = credit.grant(waiting.len(), self.room());
                            visit.acknowledged();
                        }
                        Some(stream_response::Message::Nack(nack)) => tell(visit, nack),
                        Some(stream_response::Message::Welcome(_) | stream_response::Message::Locators(_)) | None => {}
                    }
                    match timeout(UNREAD, answers.send(Ok(answer))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Ok(()),
                        Err(_) => return Err(Status::aborted("answers are not read")),
                    }
                }
                () = &mut telling, if open => {}
                message = requests.message(), if open => match message? {
                    Some(StreamRequest { message: Some(stream_request::Message::Watching(watching)) }) => {
                        let watching = watching_from_wire(watching)
                            .map_err(|malformed| Status::invalid_argument(with_causes(&malformed)))?;
                        ask.send_replace(Some(watching.targets.clone()));
                        visit.watching(watching);
                    }
                    Some(request) => {
                        credit.received().map_err(|overdrawn| {
                            tracing::warn!(agent = %visit.run.agent, boot = %visit.run.boot, "{overdrawn}");
                            Status::resource_exhausted(overdrawn.to_string())
                        })?;
                        waiting.push_back(self.accept(visit, request).await?);
                    }
                    None => open = false,
                },
                else => return Ok(()),
            }
        }
    }

    /// The part of what may wait for the writer that is one stream's.
    fn room(&self) -> usize {
        let free = QUEUE.saturating_sub(self.jobs.depth().submissions);
        free / self.agents.totals().streams.max(1)
    }

    async fn welcome(
        &self,
        arrival: Arrival,
        hello: Hello,
        credit: u32,
        answers: &Answers,
    ) -> Result<Visit, Status> {
        let hello =
            hello_from_wire(hello).map_err(|malformed| Status::invalid_argument(with_causes(&malformed)))?;
        let run = Run { agent: hello.agent, boot: hello.boot };
        let visit = self.agents.enter(arrival, run, Instant::now()).map_err(|exceeded| {
            tracing::warn!("refused a stream: {exceeded}");
            Status::resource_exhausted(exceeded.to_string())
        })?;
        let (reader, asked) = (self.reader.clone(), visit.run.clone());
        let committed = self
            .by_hand(move || reader.committed(&asked))
            .await?
            .map_err(|error| Status::internal(with_causes(&error)))?;
        tracing::info!(
            agent = %visit.run.agent, boot = %visit.run.boot, version = %hello.version,
            committed = committed.map_or(0, Seq::get), targets = hello.targets.len(), "agent connected"
        );
        let welcome = Welcome {
            credit,
            committed_seq: committed.map_or(0, Seq::get),
            max_payload_bytes: u32::try_from(MAX_PAYLOAD_BYTES).unwrap_or(u32::MAX),
            locators: true,
        };
        // An agent that is gone already is noticed by the next read.
        let _ = answers.send(Ok(response(stream_response::Message::Welcome(welcome)))).await;
        Ok(visit)
    }

    /// Takes one request, and returns what will be its answer.
    async fn accept(
        &self,
        visit: &Visit,
        request: StreamRequest,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        match request.message {
            Some(stream_request::Message::Batch(batch)) => self.accept_batch(visit, batch).await,
            Some(stream_request::Message::Gap(gap)) => self.accept_gap(visit, gap),
            Some(stream_request::Message::Hello(_)) => {
                Err(Status::invalid_argument("a stream has one hello, its first message"))
            }
            Some(stream_request::Message::Watching(_)) => {
                Err(Status::internal("what an agent watches is not answered"))
            }
            None => Err(Status::invalid_argument("a message of an unknown kind")),
        }
    }

    async fn accept_batch(
        &self,
        visit: &Visit,
        batch: Batch,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        let arrival = now();
        let number = batch.seq;
        let Some(seq) = valid_seq(number) else {
            return Ok(refusal(number, NackReason::Malformed, "batch.seq is out of range".to_owned()));
        };
        let (batch, most) = (Arc::new(batch), self.agents.limits().max_batch_rows);
        let unpacking = Arc::clone(&batch);
        let unpacked = match self.by_hand(move || batch::unpack(&unpacking, most)).await? {
            Ok(unpacked) => unpacked,
            Err((reason, detail)) => return Ok(refusal(number, reason, detail)),
        };
        let bytes = unpacked.memory_bytes();
        let (memory, content) = match self.memory.try_reserve(&visit.share, bytes) {
            Some(memory) => (memory, unpacked.content),
            None => {
                // Whoever waits for memory holds none but its message.
                drop(unpacked);
                let memory = self.memory.reserve(&visit.share, bytes).await;
                (memory.map_err(|_| Status::unavailable("the analyzer is shutting down"))?, None)
            }
        };
        let keys = self.agents.keys().clone();
        let Parsed { windows, names } =
            match self.by_hand(move || batch::parse(&batch, content, &keys)).await? {
                Ok(parsed) => parsed,
                Err((reason, detail)) => return Ok(refusal(number, reason, detail)),
            };
        if let Err(exceeded) = visit.admit(&names, Instant::now()) {
            // Who raises the limit loses nothing.
            return Ok(refusal(number, NackReason::Retry, exceeded.to_string()));
        }
        let newest =
            windows.iter().max_by_key(|window| window.end()).map(|window| (window.end(), window.length_ms));
        let entry = Entry::Batch { seq, windows };
        if let Some((end, window_ms)) = newest
            && let Some((state, lag_ms)) = visit.batch(rows_of(&entry), arrival, end, window_ms)
        {
            state.tell(&visit.run, lag_ms);
        }
        self.submit(visit, entry, Some(memory))
    }

    fn accept_gap(&self, visit: &Visit, gap: Gap) -> Result<BoxFuture<'static, StreamResponse>, Status> {
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
        self.submit(visit, Entry::Gap(gap), None)
    }

    fn submit(
        &self,
        visit: &Visit,
        entry: Entry,
        memory: Option<Held>,
    ) -> Result<BoxFuture<'static, StreamResponse>, Status> {
        let (number, rows) = (entry.last().get(), rows_of(&entry));
        let (reply, answer) = oneshot::channel();
        let submission = Submission { run: visit.run.clone(), entry };
        self.jobs
            .submit(Job { submission, rows, memory, reply })
            .map_err(|_| Status::unavailable("the analyzer is shutting down"))?;
        Ok(Box::pin(async move {
            match answer.await {
                Ok(reply) => decided(number, reply),
                Err(_) => nack(number, NackReason::Retry, "the analyzer is shutting down".to_owned()),
            }
        }))
    }

    /// Runs what takes its time where it holds up nobody, and no more of it at a time than there are processors: a
    /// thread for each of a thousand streams would take more memory than what they parse.
    async fn by_hand<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let hand = Arc::clone(&self.hands).acquire_owned().await;
        let hand = hand.map_err(|_| Status::unavailable("the analyzer is shutting down"))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(hand);
            done
        });
        done.await.map_err(|error| Status::internal(error.to_string()))
    }
}

/// Counts a refusal, and tells it unless that agent's were told often enough.
fn tell(visit: &Visit, nack: &Nack) {
    if visit.refused(&nack.detail, Instant::now()) {
        tracing::warn!(
            agent = %visit.run.agent, boot = %visit.run.boot, seq = nack.seq,
            reason = nack.reason().as_str_name(), detail = %nack.detail, "refused"
        );
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
    Box::pin(std::future::ready(nack(number, reason, detail)))
}

fn nack(seq: u64, reason: NackReason, detail: String) -> StreamResponse {
    response(stream_response::Message::Nack(Nack { seq, reason: reason.into(), detail }))
}

fn response(message: stream_response::Message) -> StreamResponse {
    StreamResponse { message: Some(message) }
}
