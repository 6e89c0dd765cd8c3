//! One agent of a fleet, as `uplink` of the real one: in order, within its credit, and again from the last
//! acknowledgement whenever something was not taken; beside what its script makes it do wrong.

use super::script::{Item, WINDOW_MS, gap};
use super::{Mishaps, Plan, Role, Script, Truth};
use anyhow::{Context, Result, bail, ensure};
use isotherm_proto::MAX_MESSAGE_BYTES;
use isotherm_proto::telemetry::v1::telemetry_service_client::TelemetryServiceClient;
use isotherm_proto::telemetry::v1::{
    Hello, Nack, NackReason, StreamRequest, StreamResponse, stream_request, stream_response,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// How long an answer may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wait before sending again what was not taken, as the real agent's but shorter.
const AGAIN: Duration = Duration::from_millis(20);

/// Times that a stream may be refused or broken from outside in a row.
const ATTEMPTS: u32 = 50;

/// An open stream.
pub(crate) struct Stream {
    requests: mpsc::Sender<StreamRequest>,
    responses: Streaming<StreamResponse>,
    credit: usize,
    committed: u64,
}

/// Delivers a script, and after it that of another run if the plan says so.
pub(super) async fn deliver(channel: Channel, mut script: Script, plan: &Plan) -> Result<(Truth, Stream)> {
    let mut truth = script.truth();
    let reboots = script.rng.u32(0..1_000) < plan.disorder.reboot && script.role == Role::Ordinary;
    let stream = run(&channel, &mut script, plan, "1", &mut truth).await?;
    if !reboots {
        return Ok((truth, stream));
    }
    drop(stream);
    truth.mishaps.reboots += 1;
    let again = script.truth();
    truth.reads += again.reads;
    truth.rows += again.rows;
    truth.missing += again.missing;
    let stream = run(&channel, &mut script, plan, "2", &mut truth).await?;
    Ok((truth, stream))
}

async fn run(
    channel: &Channel,
    script: &mut Script,
    plan: &Plan,
    boot: &str,
    truth: &mut Truth,
) -> Result<Stream> {
    let mut sender = Sender::new(script, plan);
    let mut failures = 0;
    loop {
        let mut stream = match Stream::open(channel, &sender.script.name, boot).await {
            Ok(stream) => stream,
            Err(error) => {
                failures += 1;
                ensure!(failures < ATTEMPTS, "cannot connect: {error:#}");
                sleep(AGAIN * failures).await;
                continue;
            }
        };
        sender.resume(stream.committed);
        match sender.converse(&mut stream, truth).await? {
            Ended::Delivered => return Ok(stream),
            Ended::Cut => truth.mishaps.cuts += 1,
        }
        failures = 0;
    }
}

enum Ended {
    Delivered,
    Cut,
}

/// Where an agent is in its script.
struct Sender<'a> {
    script: &'a mut Script,
    plan: &'a Plan,
    /// The first that is not acknowledged, and the first that was not sent since the last trouble.
    acknowledged: usize,
    next: usize,
    /// Messages that were made, as they must be the same when they are sent again.
    made: BTreeMap<usize, stream_request::Message>,
    /// When those under way were sent; absent where something went wrong.
    sent_at: BTreeMap<u64, Instant>,
    unanswered: usize,
    paused_until: Option<tokio::time::Instant>,
    /// When the first item was due, and items from there on.
    started: (tokio::time::Instant, usize),
    /// One that is acknowledged, to be sent again as one whose acknowledgement was lost.
    stale: Option<stream_request::Message>,
    /// An item that was left out and must not be sent before the next one was refused.
    hiding: Option<usize>,
}

impl<'a> Sender<'a> {
    fn new(script: &'a mut Script, plan: &'a Plan) -> Self {
        // Agents start and cut their windows at the same time in the worst case, and evenly spread in the best.
        let jitter = plan.pace.map_or(Duration::ZERO, |pace| pace.mul_f64(script.rng.f64()));
        Self {
            script,
            plan,
            acknowledged: 0,
            next: 0,
            made: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            unanswered: 0,
            paused_until: None,
            started: (tokio::time::Instant::now() + jitter, 0),
            stale: None,
            hiding: None,
        }
    }

    /// Goes on after what is committed.
    fn resume(&mut self, committed: u64) {
        self.acknowledged = self.script.items.partition_point(|item| item.last() <= committed);
        self.again();
        (self.unanswered, self.paused_until) = (0, None);
    }

    /// All that is not acknowledged is to be sent again.
    fn again(&mut self) {
        self.next = self.acknowledged;
        self.sent_at.clear();
    }

    fn is_greedy(&self) -> bool {
        matches!(self.script.role, Role::Greedy { .. })
    }

    /// When the next item may be sent.
    fn due(&self) -> Option<tokio::time::Instant> {
        let paced = self.plan.pace.filter(|_| !self.is_greedy()).map(|pace| {
            let (first, from) = self.started;
            first + pace * u32::try_from(self.next - from).unwrap_or(u32::MAX)
        });
        paced.max(self.paused_until)
    }

    async fn converse(&mut self, stream: &mut Stream, truth: &mut Truth) -> Result<Ended> {
        let deaf = self.script.role == Role::Deaf;
        if deaf {
            return self.shout(stream, truth).await;
        }
        while self.acknowledged < self.script.items.len() {
            let may_send = self.unanswered < stream.credit && self.next < self.script.items.len();
            let due = self.due();
            tokio::select! {
                answer = timeout(PATIENCE, stream.responses.message()) => {
                    let answer = answer.context("no answer came")??.context("the stream was closed")?;
                    self.answered(answer, stream, truth)?;
                }
                () = sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if may_send => {
                    self.paused_until = None;
                    if self.script.role == Role::Ordinary
                        && self.script.rng.u32(0..1_000) < self.plan.disorder.cut
                    {
                        return Ok(Ended::Cut);
                    }
                    self.send(stream, &mut truth.mishaps).await?;
                }
            }
        }
        Ok(Ended::Delivered)
    }

    /// Sends what there is credit for, and hears nothing. What it did not send is not to be stored.
    async fn shout(&mut self, stream: &mut Stream, truth: &mut Truth) -> Result<Ended> {
        self.script.items.truncate(stream.credit);
        let (waits, mishaps) = (std::mem::take(&mut truth.waits), truth.mishaps);
        *truth = Truth { waits, mishaps, ..self.script.truth() };
        for index in 0..self.script.items.len() {
            self.send_item(stream, index).await?;
        }
        Ok(Ended::Delivered)
    }

    async fn send(&mut self, stream: &mut Stream, mishaps: &mut Mishaps) -> Result<()> {
        let index = self.next;
        if let Item::Gap { said: false, .. } = self.script.items[index]
            && self.hiding.is_none()
            && index + 1 < self.script.items.len()
        {
            // The next one comes without it, and must be refused; after that the gap is told.
            self.hiding = Some(index);
            self.sent_at.clear();
            self.send_item(stream, index + 1).await?;
            self.next = index;
            self.paused_until = Some(tokio::time::Instant::now() + AGAIN);
            return Ok(());
        }
        if self.script.role == Role::Ordinary {
            let disorder = self.plan.disorder;
            if self.script.rng.u32(0..1_000) < disorder.duplicate
                && let Some(stale) = self.stale.clone()
            {
                mishaps.duplicates += 1;
                self.unanswered += 1;
                return stream.requests.send(request(stale)).await.context("the stream has ended");
            }
            if self.script.rng.u32(0..1_000) < disorder.reorder && index + 1 < self.script.items.len() {
                mishaps.reordered += 1;
                self.send_item(stream, index + 1).await?;
                return Ok(());
            }
        }
        self.send_item(stream, index).await?;
        self.next = index + 1;
        Ok(())
    }

    async fn send_item(&mut self, stream: &mut Stream, index: usize) -> Result<()> {
        let item = &self.script.items[index];
        let live = self.plan.pace.is_some();
        let message = match self.made.get(&index) {
            Some(message) => message.clone(),
            None => self.script.message(item, live),
        };
        self.sent_at.entry(item.last()).or_insert_with(Instant::now);
        self.made.insert(index, message.clone());
        self.unanswered += 1;
        stream.requests.send(request(message)).await.context("the stream has ended")
    }

    fn answered(&mut self, answer: StreamResponse, stream: &mut Stream, truth: &mut Truth) -> Result<()> {
        match answer.message {
            Some(stream_response::Message::Ack(ack)) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                stream.credit = ack.credit.max(1) as usize;
                let acknowledged = self.script.items.partition_point(|item| item.last() <= ack.seq);
                self.acknowledged = self.acknowledged.max(acknowledged);
                self.next = self.next.max(self.acknowledged);
                self.hiding = self.hiding.filter(|index| *index >= self.acknowledged);
                let kept = self.made.split_off(&self.acknowledged);
                let done = std::mem::replace(&mut self.made, kept);
                self.stale = done.into_values().next_back().or(self.stale.take());
                if let Some(sent) = self.sent_at.remove(&ack.seq) {
                    truth.waits.push(sent.elapsed());
                }
            }
            Some(stream_response::Message::Nack(nack)) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.refused(&nack, truth)?;
            }
            other => bail!("expected an answer, got {other:?}"),
        }
        Ok(())
    }

    fn refused(&mut self, nack: &Nack, truth: &mut Truth) -> Result<()> {
        match nack.reason() {
            NackReason::OutOfOrder => truth.mishaps.out_of_order += 1,
            NackReason::Retry => truth.mishaps.retries += 1,
            NackReason::Malformed | NackReason::TooLarge => {
                truth.mishaps.garbage += 1;
                let index = self.script.items.partition_point(|item| item.last() < nack.seq);
                match &self.script.items[index] {
                    Item::Bad { seq, .. } => {
                        let seq = *seq;
                        self.script.items[index] = Item::Gap { first: seq, last: seq, said: true };
                        self.made.insert(index, gap(seq, seq));
                    }
                    // It was sent twice, and the gap is made already.
                    Item::Gap { .. } => {}
                    Item::Batch { .. } => bail!("a good batch was refused: {}", nack.detail),
                }
            }
            NackReason::Unspecified => bail!("refused without a reason: {}", nack.detail),
        }
        self.again();
        self.paused_until = Some(tokio::time::Instant::now() + AGAIN);
        Ok(())
    }
}

impl Stream {
    pub(crate) async fn open(channel: &Channel, agent: &str, boot: &str) -> Result<Self> {
        let mut client = TelemetryServiceClient::new(channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, outgoing) = mpsc::channel(2);
        let (agent, boot, version) = (agent.to_owned(), boot.to_owned(), "fleet".to_owned());
        let hello = Hello { agent, boot, version, window_ms: WINDOW_MS, targets: Vec::new() };
        requests.send(request(stream_request::Message::Hello(hello))).await.context("greet")?;
        let opened = timeout(PATIENCE, client.stream(ReceiverStream::new(outgoing)));
        let mut responses = opened.await.context("nobody answers")??.into_inner();
        let welcome = timeout(PATIENCE, responses.message()).await.context("no welcome came")??;
        match welcome.and_then(|response| response.message) {
            Some(stream_response::Message::Welcome(welcome)) => {
                let credit = welcome.credit.max(1) as usize;
                Ok(Self { requests, responses, credit, committed: welcome.committed_seq })
            }
            other => bail!("expected a welcome, got {other:?}"),
        }
    }
}

fn request(message: stream_request::Message) -> StreamRequest {
    StreamRequest { message: Some(message) }
}
