//! Carries windows to the analyzer and keeps them until it has them for good.
//!
//! One task owns the outbox and the connection. Batches are sent in order, a few ahead of their
//! acknowledgements; whatever breaks, everything that is not acknowledged is sent again, and the analyzer
//! ignores what it knows. Memory is bounded by the outbox.

use crate::outbox::{Item, Outbox};
use isotherm_model::{Interval, Window};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::telemetry::v1::telemetry_service_client::TelemetryServiceClient;
use isotherm_proto::{
    Hello, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, gap_to_wire, hello_to_wire, window_set_to_payload,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};
use tracing::{error, info, warn};

/// Items sent ahead of their acknowledgement.
const MAX_IN_FLIGHT: usize = 16;

/// Waits between attempts: doubled from the first to the second, and jittered.
const BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// Wait before sending again what the analyzer could not write.
const RETRY: Duration = Duration::from_millis(500);

/// How long a stopping agent tries to deliver what it has.
const FAREWELL: Duration = Duration::from_secs(5);

/// Waits for the analyzer to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Notices a link that was cut without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why a session with the analyzer ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the analyzer ended the stream: {0}")]
    Ended(Status),
    #[error("the analyzer closed the stream")]
    Closed,
    #[error("the analyzer did not answer within {} s", CONNECT.as_secs())]
    Silent,
}

/// Runs until `windows` is closed and everything is delivered, or could not be within five seconds.
/// Returns the number of batches that were not delivered.
pub async fn run(
    endpoint: String,
    hello: Hello,
    max_batches: usize,
    mut windows: mpsc::Receiver<Window>,
) -> usize {
    let mut outbox = Outbox::new(max_batches);
    let mut farewell = None;
    let mut wait = BACKOFF[0];
    loop {
        let mut established = false;
        let session = session(&endpoint, &hello, &mut outbox, &mut windows, &mut farewell, &mut established);
        match session.await {
            Ok(()) => return 0,
            Err(error) => warn!("{}; {} batches are kept", with_causes(&error), outbox.batches()),
        }
        if established {
            wait = BACKOFF[0];
        }
        let again = Instant::now() + wait.mul_f64(0.5 + fastrand::f64());
        wait = (wait * 2).min(BACKOFF[1]);
        // Windows go on arriving while nobody takes them.
        loop {
            let deadline = farewell.unwrap_or(again);
            tokio::select! {
                window = windows.recv(), if farewell.is_none() => take(window, &mut outbox, &mut farewell),
                () = sleep_until(again.min(deadline)) => break,
            }
        }
        if farewell.is_some_and(|deadline| Instant::now() >= deadline) {
            return outbox.batches();
        }
    }
}

/// `Ok` when there is nothing more to deliver and nothing more to come.
async fn session(
    endpoint: &str,
    hello: &Hello,
    outbox: &mut Outbox,
    windows: &mut mpsc::Receiver<Window>,
    farewell: &mut Option<Instant>,
    established: &mut bool,
) -> Result<(), SessionError> {
    let (requests, mut responses) = open(endpoint, hello).await?;
    let mut welcome = false;
    let mut paused_until: Option<Instant> = None;
    outbox.resend();
    loop {
        if farewell.is_some() && outbox.is_empty() {
            return Ok(());
        }
        let may_send =
            welcome && paused_until.is_none() && outbox.in_flight() < MAX_IN_FLIGHT && outbox.has_unsent();
        tokio::select! {
            window = windows.recv(), if farewell.is_none() => take(window, outbox, farewell),
            response = responses.message() => {
                let response = response.map_err(SessionError::Ended)?.ok_or(SessionError::Closed)?;
                match response.message {
                    Some(wire::stream_response::Message::Welcome(message)) => {
                        info!("connected to {endpoint}; batch {} was its last", message.committed_seq);
                        outbox.acknowledge(message.committed_seq);
                        outbox.resend();
                        welcome = true;
                        *established = true;
                    }
                    Some(wire::stream_response::Message::Ack(ack)) => outbox.acknowledge(ack.seq),
                    Some(wire::stream_response::Message::Nack(nack)) => {
                        if refused(&nack, outbox) {
                            paused_until.get_or_insert(Instant::now() + RETRY);
                        }
                    }
                    Some(wire::stream_response::Message::Locators(locators)) => {
                        info!("the analyzer sent {} locators, which this version does not use", locators.locators.len());
                    }
                    None => warn!("the analyzer sent a message that this version does not know"),
                }
            }
            permit = requests.reserve(), if may_send => {
                let permit = permit.map_err(|_| SessionError::Closed)?;
                if let Some(item) = outbox.next_to_send() {
                    permit.send(request(item));
                }
            }
            () = sleep_until(paused_until.unwrap_or_else(Instant::now)), if paused_until.is_some() => {
                paused_until = None;
                outbox.resend();
            }
            () = sleep_until(farewell.unwrap_or_else(Instant::now)), if farewell.is_some() => {
                return Err(SessionError::Silent);
            }
        }
    }
}

async fn open(
    endpoint: &str,
    hello: &Hello,
) -> Result<(mpsc::Sender<wire::StreamRequest>, Streaming<wire::StreamResponse>), SessionError> {
    let connect = |source| SessionError::Connect { endpoint: endpoint.to_owned(), source };
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(connect)?
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
    let (requests, outgoing) = mpsc::channel(MAX_IN_FLIGHT);
    let message = wire::stream_request::Message::Hello(hello_to_wire(hello));
    requests.try_send(wire::StreamRequest { message: Some(message) }).map_err(|_| SessionError::Closed)?;
    let answer = timeout(CONNECT, client.stream(ReceiverStream::new(outgoing)));
    let responses =
        answer.await.map_err(|_| SessionError::Silent)?.map_err(SessionError::Ended)?.into_inner();
    Ok((requests, responses))
}

/// Puts a window into the outbox. The end of windows starts the farewell.
fn take(window: Option<Window>, outbox: &mut Outbox, farewell: &mut Option<Instant>) {
    let Some(window) = window else {
        *farewell = Some(Instant::now() + FAREWELL);
        return;
    };
    let Some(time) = Interval::new(window.start, window.end()) else { return };
    for payload in payloads(window) {
        let given_up = outbox.push(payload, time);
        if given_up > 0 {
            error!("{given_up} unacknowledged batches were given up for newer ones (limits.unacked_batches)");
        }
    }
}

/// One payload, or one per node where all of them together would be refused as too large.
fn payloads(window: Window) -> Vec<Vec<u8>> {
    let whole = window_set_to_payload(std::slice::from_ref(&window));
    if whole.len() <= MAX_PAYLOAD_BYTES || window.nodes.len() < 2 {
        return vec![whole];
    }
    let Window { start, length_ms, completeness, nodes } = window;
    let part = |node| window_set_to_payload(&[Window { start, length_ms, completeness, nodes: vec![node] }]);
    nodes.into_iter().map(part).collect()
}

fn request(item: Item) -> wire::StreamRequest {
    let message = match item {
        Item::Batch { seq, payload, .. } => {
            wire::stream_request::Message::Batch(wire::Batch { seq: seq.get(), payload })
        }
        Item::Gap(gap) => wire::stream_request::Message::Gap(gap_to_wire(&gap)),
    };
    wire::StreamRequest { message: Some(message) }
}

/// Whether the batch is to be sent again after a pause; otherwise it was given up.
fn refused(nack: &wire::Nack, outbox: &mut Outbox) -> bool {
    let what = format!("batch {} was not taken: {}", nack.seq, nack.detail);
    match nack.reason() {
        wire::NackReason::Malformed | wire::NackReason::TooLarge => {
            error!("{what}; it is given up");
            // A gap cannot be given up, so it is kept and sent again.
            !outbox.refuse(nack.seq)
        }
        wire::NackReason::Retry => {
            warn!("{what}; it is kept");
            true
        }
        wire::NackReason::OutOfOrder | wire::NackReason::Unspecified => true,
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
