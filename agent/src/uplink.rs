//! Carries windows to the analyzer: into the spool first, and from there until the analyzer has them for good.
//!
//! One task owns the spool and the connection. Each run in the spool has a stream of its own, the oldest first.
//! Batches are sent in order, no more ahead of their answers than the analyzer gives credit for; whatever
//! breaks, everything that is not acknowledged is sent again, and the analyzer ignores what it knows.

mod payload;

use crate::locator::Follower;
use crate::metrics::Telemetry;
use crate::spool::{RunNumber, Sending, Spool, Status as SpoolStatus};
use isotherm_model::{Interval, Window};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::telemetry::v1::telemetry_service_client::TelemetryServiceClient;
use isotherm_proto::tls::{ClientFiles, TlsError};
use isotherm_proto::{Hello, MAX_MESSAGE_BYTES, compressed, gap_to_wire, hello_to_wire, watching_to_wire};
use payload::payloads;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

/// Messages between this task and the connection. What waits here is in memory, so it is little.
const OUTGOING: usize = 2;

/// Waits between attempts: doubled from the first to the second, and jittered.
const BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// Wait before sending again what the analyzer could not write.
const RETRY: Duration = Duration::from_millis(500);

/// Wait before writing again what the disk did not take.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// How long a stopping agent tries to deliver what it has.
const FAREWELL: Duration = Duration::from_secs(5);

/// Waits for the analyzer to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Notices a link that was cut without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Where the analyzer is.
#[derive(Debug, Clone)]
pub struct Analyzer {
    /// Its address, `http://` or `https://`.
    pub endpoint: String,
    /// The files for `https://`. They are read for each connection, so that renewed ones are used.
    pub tls: Option<ClientFiles>,
}

/// What became of the batches when the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Batches that stay in the spool for the next run.
    pub kept: usize,
    /// Batches that could not be written, and end with the process.
    pub lost: usize,
}

/// Why a session with the analyzer ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("cannot connect to {endpoint}")]
    Certificates {
        endpoint: String,
        #[source]
        source: TlsError,
    },
    #[error("the analyzer ended the stream: {0}")]
    Ended(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the analyzer closed the stream")]
    Closed,
    #[error("the analyzer did not answer within {} s", CONNECT.as_secs())]
    Silent,
    #[error("not all could be delivered within the {} s of a stop", FAREWELL.as_secs())]
    Stopped,
}

impl From<Status> for SessionError {
    /// Only what this end made up has a cause; the last one says what happened.
    fn from(status: Status) -> Self {
        let mut cause = status.source();
        while let Some(next) = cause.and_then(Error::source) {
            cause = Some(next);
        }
        match cause {
            Some(cause) => Self::Broken(cause.to_string()),
            None => Self::Ended(status.message().to_owned()),
        }
    }
}

/// How a session ended without an error.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    /// All of an earlier run is delivered.
    NextRun,
    /// There is nothing more to deliver and nothing more to come.
    Over,
}

/// Runs until `windows` is closed and everything is delivered, or could not be within five seconds. To be run
/// on a runtime of several threads, as writing to the disk blocks one.
pub async fn run(
    analyzer: Analyzer,
    spool: Spool,
    windows: mpsc::Receiver<Window>,
    locators: Follower,
    telemetry: Arc<Telemetry>,
) -> Farewell {
    let told = spool.status();
    let mut uplink =
        Uplink { analyzer, spool, windows, locators, farewell: None, disk_retry: None, telemetry, told };
    uplink.tell();
    let mut wait = BACKOFF[0];
    loop {
        let mut progress = Progress::None;
        let ended = uplink.session(&mut progress).await;
        uplink.telemetry.connected(false);
        match ended {
            Ok(Ended::Over) => break,
            Ok(Ended::NextRun) => continue,
            Err(error) => {
                warn!("{}; {} batches are kept", with_causes(&error), uplink.spool.batches());
            }
        }
        if progress == Progress::Made {
            wait = BACKOFF[0];
        }
        if uplink.is_over() {
            break;
        }
        uplink.pause(wait.mul_f64(0.5 + fastrand::f64())).await;
        wait = (wait * 2).min(BACKOFF[1]);
    }
    let (kept, lost) = block_in_place(|| uplink.spool.close());
    Farewell { kept, lost }
}

/// Whether a session moved anything. One that only greets is no reason to come back at once.
#[derive(Clone, Copy, PartialEq)]
enum Progress {
    None,
    Made,
}

struct Uplink {
    analyzer: Analyzer,
    spool: Spool,
    windows: mpsc::Receiver<Window>,
    locators: Follower,
    /// When a stopping agent gives up; `None` while windows come.
    farewell: Option<Instant>,
    /// When the disk is tried again; `None` while it takes everything.
    disk_retry: Option<Instant>,
    telemetry: Arc<Telemetry>,
    /// What the telemetry knows.
    told: SpoolStatus,
}

impl Uplink {
    /// Tells how full the spool is, and what became of what was in it.
    fn tell(&mut self) {
        let now = self.spool.status();
        self.telemetry.spooled(now.bytes, now.batches, now.oldest);
        let acknowledged = now.acknowledged.saturating_sub(self.told.acknowledged);
        self.telemetry.acknowledged(acknowledged, now.acknowledged_end);
        self.telemetry.given_up(now.given_up.saturating_sub(self.told.given_up));
        self.told = now;
    }

    fn is_over(&self) -> bool {
        self.farewell.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits before the next attempt, while windows go on arriving. A stopping agent has no time for that.
    async fn pause(&mut self, wait: Duration) {
        let again = Instant::now() + wait;
        while self.farewell.is_none() {
            tokio::select! {
                window = self.windows.recv() => self.take(window),
                () = at(self.disk_retry), if self.disk_retry.is_some() => self.flush(),
                () = sleep_until(again) => return,
            }
        }
        sleep_until(again.min(Instant::now() + BACKOFF[0])).await;
    }

    /// Delivers one run from the spool.
    async fn session(&mut self, progress: &mut Progress) -> Result<Ended, SessionError> {
        let run = self.spool.turn();
        let is_own = self.spool.is_own(run);
        let Some(hello) = self.spool.hello(run).cloned() else { return Ok(Ended::NextRun) };
        let opening = open(self.analyzer.clone(), hello);
        tokio::pin!(opening);
        let (requests, mut responses) = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                window = self.windows.recv(), if self.farewell.is_none() => self.take(window),
                () = at(self.disk_retry), if self.disk_retry.is_some() => self.flush(),
                () = at(self.farewell), if self.farewell.is_some() => return Err(SessionError::Stopped),
            }
        };
        self.spool.resend(run);
        // Set until the analyzer has answered.
        let mut greeting = Some(Instant::now() + CONNECT);
        let mut paused_until: Option<Instant> = None;
        let mut credit = Credit::default();
        let mut watching = Watching::Unwanted;
        loop {
            if self.spool.is_delivered(run) && greeting.is_none() {
                if !is_own {
                    return Ok(Ended::NextRun);
                }
                if self.farewell.is_some() {
                    return Ok(Ended::Over);
                }
            }
            let may_send = greeting.is_none() && paused_until.is_none() && credit.has_room();
            tokio::select! {
                window = self.windows.recv(), if self.farewell.is_none() => self.take(window),
                response = responses.message() => {
                    let response = response.map_err(|status| self.ended(run, is_own, status))?;
                    match response.ok_or(SessionError::Closed)?.message {
                        Some(wire::stream_response::Message::Welcome(welcome)) => {
                            greeting = None;
                            credit.granted(welcome.credit);
                            self.locators.begin();
                            watching = if welcome.locators { Watching::Due } else { Watching::Unwanted };
                            self.welcome(run, &welcome, progress);
                        }
                        Some(wire::stream_response::Message::Ack(ack)) => {
                            *progress = Progress::Made;
                            credit.answered();
                            credit.granted(ack.credit);
                            block_in_place(|| self.spool.acknowledge(run, ack.seq));
                            self.tell();
                        }
                        Some(wire::stream_response::Message::Nack(nack)) => {
                            credit.answered();
                            if block_in_place(|| refused(&nack, &mut self.spool, run)) == Refusal::SendAgain {
                                paused_until.get_or_insert(Instant::now() + RETRY);
                            }
                            self.tell();
                        }
                        Some(wire::stream_response::Message::Locators(locators)) => {
                            if !block_in_place(|| self.locators.take(locators)) {
                                self.telemetry.locators_refused();
                                watching = Watching::Due;
                            }
                        }
                        None => warn!("the analyzer sent a message that this version does not know"),
                    }
                }
                permit = requests.reserve(), if may_send && self.spool.has_unsent(run) => {
                    let permit = permit.map_err(|_| SessionError::Closed)?;
                    if let Some(sending) = block_in_place(|| self.spool.take_unsent(run)) {
                        credit.sent();
                        permit.send(request(sending));
                    }
                    self.note_disk();
                }
                () = self.locators.changed(), if watching == Watching::Told => watching = Watching::Due,
                permit = requests.reserve(), if watching == Watching::Due => {
                    let permit = permit.map_err(|_| SessionError::Closed)?;
                    let told = watching_to_wire(&self.locators.watching());
                    permit.send(wire::StreamRequest { message: Some(wire::stream_request::Message::Watching(told)) });
                    watching = Watching::Told;
                }
                () = at(paused_until), if paused_until.is_some() => {
                    paused_until = None;
                    self.spool.resend(run);
                }
                () = at(self.disk_retry), if self.disk_retry.is_some() => self.flush(),
                () = at(greeting), if greeting.is_some() => return Err(SessionError::Silent),
                () = at(self.farewell), if self.farewell.is_some() => return Err(SessionError::Stopped),
            }
        }
    }

    fn welcome(&mut self, run: RunNumber, welcome: &wire::Welcome, progress: &mut Progress) {
        info!("connected to {}; batch {} was its last", self.analyzer.endpoint, welcome.committed_seq);
        let lost = block_in_place(|| self.spool.welcome(run, welcome.committed_seq));
        self.telemetry.connected(true);
        self.tell();
        if lost > 0 {
            error!("the analyzer no longer has {lost} batches that it had acknowledged; a gap is recorded");
        }
        if self.spool.is_delivered(run) {
            *progress = Progress::Made;
        }
    }

    /// The analyzer ended the stream. An earlier run that it will not hear of must not hold up the others.
    fn ended(&mut self, run: RunNumber, is_own: bool, status: Status) -> SessionError {
        if status.code() == Code::InvalidArgument && !is_own {
            error!("the analyzer does not take what an earlier run left; it stays for the next start");
            self.spool.defer(run);
        }
        SessionError::from(status)
    }

    /// Puts a window into the spool. The end of windows starts the farewell.
    fn take(&mut self, window: Option<Window>) {
        let Some(window) = window else {
            self.farewell = Some(Instant::now() + FAREWELL);
            return;
        };
        let Some(time) = Interval::new(window.start, window.end()) else { return };
        if tracing::enabled!(tracing::Level::DEBUG) {
            debug!("window of {}: {} reads of partitions", window.start.as_ms(), payload::reads(&window));
        }
        block_in_place(|| {
            for payload in payloads(window) {
                self.spool.push(compressed(&payload), time);
            }
        });
        self.note_disk();
        self.tell();
    }

    fn flush(&mut self) {
        block_in_place(|| self.spool.flush());
        self.disk_retry = None;
        self.note_disk();
    }

    fn note_disk(&mut self) {
        if self.spool.is_waiting() {
            self.disk_retry.get_or_insert(Instant::now() + DISK_RETRY);
        }
    }
}

/// Whether the analyzer is told what is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watching {
    /// It has not greeted, or does not want to know.
    Unwanted,
    /// As soon as possible.
    Due,
    /// It knows.
    Told,
}

/// How many messages may be under way, and how many are.
#[derive(Debug)]
struct Credit {
    granted: u32,
    unanswered: u32,
}

impl Default for Credit {
    fn default() -> Self {
        Self { granted: 1, unanswered: 0 }
    }
}

impl Credit {
    fn has_room(&self) -> bool {
        self.unanswered < self.granted
    }

    fn sent(&mut self) {
        self.unanswered += 1;
    }

    fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// An analyzer that says nothing of it gets one at a time.
    fn granted(&mut self, credit: u32) {
        self.granted = credit.max(1);
    }
}

/// Sleeps until a moment that is set; the callers' conditions see to that.
async fn at(moment: Option<Instant>) {
    sleep_until(moment.unwrap_or_else(Instant::now)).await;
}

async fn open(
    analyzer: Analyzer,
    hello: Hello,
) -> Result<(mpsc::Sender<wire::StreamRequest>, Streaming<wire::StreamResponse>), SessionError> {
    let Analyzer { endpoint, tls } = analyzer;
    let connect = |source| SessionError::Connect { endpoint: endpoint.clone(), source };
    let mut target = Endpoint::from_shared(endpoint.clone()).map_err(connect)?;
    if let Some(files) = tls {
        let read = block_in_place(|| files.read());
        let config =
            read.map_err(|source| SessionError::Certificates { endpoint: endpoint.clone(), source })?;
        target = target.tls_config(config).map_err(connect)?;
    }
    let channel = target
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(connect)?;
    let mut client = TelemetryServiceClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (requests, outgoing) = mpsc::channel(OUTGOING);
    let message = wire::stream_request::Message::Hello(hello_to_wire(&hello));
    requests.try_send(wire::StreamRequest { message: Some(message) }).map_err(|_| SessionError::Closed)?;
    let answer = timeout(CONNECT, client.stream(ReceiverStream::new(outgoing)));
    let responses = answer.await.map_err(|_| SessionError::Silent)?.map_err(SessionError::from)?.into_inner();
    Ok((requests, responses))
}

fn request(sending: Sending) -> wire::StreamRequest {
    let message = match sending {
        Sending::Batch { seq, payload } => wire::stream_request::Message::Batch(wire::Batch {
            seq: seq.get(),
            payload,
            encoding: wire::Encoding::Zstd.into(),
        }),
        Sending::Gap(gap) => wire::stream_request::Message::Gap(gap_to_wire(&gap)),
    };
    wire::StreamRequest { message: Some(message) }
}

/// What a refusal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Everything that is not acknowledged, after a pause.
    SendAgain,
    /// The batch was given up; a gap took its place.
    GivenUp,
}

fn refused(nack: &wire::Nack, spool: &mut Spool, run: RunNumber) -> Refusal {
    let (seq, detail) = (nack.seq, &nack.detail);
    match nack.reason() {
        wire::NackReason::Malformed | wire::NackReason::TooLarge => {
            if spool.refuse(run, seq) {
                error!("batch {seq} was refused and is given up: {detail}");
                Refusal::GivenUp
            } else {
                // A gap, which must not be given up, or something that is not here any more.
                error!("{seq} was refused, and is no batch that could be given up: {detail}");
                Refusal::SendAgain
            }
        }
        wire::NackReason::Retry => {
            warn!("batch {seq} was not taken and is kept: {detail}");
            Refusal::SendAgain
        }
        wire::NackReason::OutOfOrder | wire::NackReason::Unspecified => Refusal::SendAgain,
    }
}

/// An error and its causes in one line. Those that only repeat the one before are left out.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
