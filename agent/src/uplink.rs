//! Carries windows to the analyzer and keeps them until it has them for good.
//!
//! One task owns the outbox and the connection. Batches are sent in order, a few ahead of their
//! acknowledgements; whatever breaks, everything that is not acknowledged is sent again, and the analyzer
//! ignores what it knows. Memory is bounded by the outbox.

use crate::outbox::{Item, Outbox};
use isotherm_model::{Counts, Interval, Layer, NodeWindow, Peer, Row, Window};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::telemetry::v1::telemetry_service_client::TelemetryServiceClient;
use isotherm_proto::{
    Hello, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, gap_to_wire, hello_to_wire, window_set_to_payload,
};
use std::collections::{BTreeMap, BTreeSet};
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
    windows: mpsc::Receiver<Window>,
) -> usize {
    let mut uplink = Uplink { endpoint, hello, outbox: Outbox::new(max_batches), windows, farewell: None };
    let mut wait = BACKOFF[0];
    loop {
        let mut progress = Progress::None;
        match uplink.session(&mut progress).await {
            Ok(()) => return 0,
            Err(error) => {
                warn!("{}; {} batches are kept", with_causes(&error), uplink.outbox.batches());
            }
        }
        if progress == Progress::Made {
            wait = BACKOFF[0];
        }
        if uplink.is_over() {
            return uplink.outbox.batches();
        }
        uplink.pause(wait.mul_f64(0.5 + fastrand::f64())).await;
        wait = (wait * 2).min(BACKOFF[1]);
    }
}

/// Whether a session moved anything. One that only greets is no reason to come back at once.
#[derive(Clone, Copy, PartialEq)]
enum Progress {
    None,
    Made,
}

struct Uplink {
    endpoint: String,
    hello: Hello,
    outbox: Outbox,
    windows: mpsc::Receiver<Window>,
    /// When a stopping agent gives up; `None` while windows come.
    farewell: Option<Instant>,
}

impl Uplink {
    fn is_over(&self) -> bool {
        self.farewell.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits before the next attempt, while windows go on arriving. A stopping agent has no time for that.
    async fn pause(&mut self, wait: Duration) {
        let again = Instant::now() + wait;
        while self.farewell.is_none() {
            tokio::select! {
                window = self.windows.recv() => self.take(window),
                () = sleep_until(again) => return,
            }
        }
        sleep_until(again.min(Instant::now() + BACKOFF[0])).await;
    }

    /// `Ok` when there is nothing more to deliver and nothing more to come.
    async fn session(&mut self, progress: &mut Progress) -> Result<(), SessionError> {
        let opening = open(self.endpoint.clone(), self.hello.clone());
        tokio::pin!(opening);
        let (requests, mut responses) = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                window = self.windows.recv(), if self.farewell.is_none() => self.take(window),
                () = at(self.farewell), if self.farewell.is_some() => return Err(SessionError::Silent),
            }
        };
        // Set until the analyzer has answered.
        let mut greeting = Some(Instant::now() + CONNECT);
        let mut paused_until: Option<Instant> = None;
        loop {
            if self.farewell.is_some() && self.outbox.is_empty() {
                return Ok(());
            }
            let room = self.outbox.in_flight() < MAX_IN_FLIGHT && self.outbox.has_unsent();
            tokio::select! {
                window = self.windows.recv(), if self.farewell.is_none() => self.take(window),
                response = responses.message() => {
                    let response = response.map_err(SessionError::Ended)?.ok_or(SessionError::Closed)?;
                    match response.message {
                        Some(wire::stream_response::Message::Welcome(welcome)) => {
                            greeting = None;
                            self.welcome(&welcome, progress);
                        }
                        Some(wire::stream_response::Message::Ack(ack)) => {
                            *progress = Progress::Made;
                            self.outbox.acknowledge(ack.seq);
                        }
                        Some(wire::stream_response::Message::Nack(nack)) => {
                            if refused(&nack, &mut self.outbox) == Refusal::SendAgain {
                                paused_until.get_or_insert(Instant::now() + RETRY);
                            }
                        }
                        Some(wire::stream_response::Message::Locators(locators)) => {
                            let count = locators.locators.len();
                            info!("the analyzer sent {count} locators, which this version does not use");
                        }
                        None => warn!("the analyzer sent a message that this version does not know"),
                    }
                }
                permit = requests.reserve(), if greeting.is_none() && paused_until.is_none() && room => {
                    let permit = permit.map_err(|_| SessionError::Closed)?;
                    if let Some(item) = self.outbox.next_to_send() {
                        permit.send(request(item));
                    }
                }
                () = at(paused_until), if paused_until.is_some() => {
                    paused_until = None;
                    self.outbox.resend();
                }
                () = at(greeting), if greeting.is_some() => return Err(SessionError::Silent),
                () = at(self.farewell), if self.farewell.is_some() => return Err(SessionError::Silent),
            }
        }
    }

    fn welcome(&mut self, welcome: &wire::Welcome, progress: &mut Progress) {
        info!("connected to {}; batch {} was its last", self.endpoint, welcome.committed_seq);
        let lost = self.outbox.welcome(welcome.committed_seq);
        if lost > 0 {
            error!("the analyzer no longer has {lost} batches that it had acknowledged; a gap is recorded");
        }
        if self.outbox.is_empty() {
            *progress = Progress::Made;
        }
    }

    /// Puts a window into the outbox. The end of windows starts the farewell.
    fn take(&mut self, window: Option<Window>) {
        let Some(window) = window else {
            self.farewell = Some(Instant::now() + FAREWELL);
            return;
        };
        let Some(time) = Interval::new(window.start, window.end()) else { return };
        for payload in payloads(window) {
            let given_up = self.outbox.push(payload, time);
            if given_up > 0 {
                error!(
                    "{given_up} unacknowledged batches were given up for newer ones (limits.unacked_batches)"
                );
            }
        }
    }
}

/// Sleeps until a moment that is set; the callers' conditions see to that.
async fn at(moment: Option<Instant>) {
    sleep_until(moment.unwrap_or_else(Instant::now)).await;
}

async fn open(
    endpoint: String,
    hello: Hello,
) -> Result<(mpsc::Sender<wire::StreamRequest>, Streaming<wire::StreamResponse>), SessionError> {
    let connect = |source| SessionError::Connect { endpoint: endpoint.clone(), source };
    let channel = Endpoint::from_shared(endpoint.clone())
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
    let message = wire::stream_request::Message::Hello(hello_to_wire(&hello));
    requests.try_send(wire::StreamRequest { message: Some(message) }).map_err(|_| SessionError::Closed)?;
    let answer = timeout(CONNECT, client.stream(ReceiverStream::new(outgoing)));
    let responses =
        answer.await.map_err(|_| SessionError::Silent)?.map_err(SessionError::Ended)?.into_inner();
    Ok((requests, responses))
}

/// One payload; or several, of parts of the nodes or rows, where it would be refused as too large.
fn payloads(window: Window) -> Vec<Vec<u8>> {
    let payload = window_set_to_payload(std::slice::from_ref(&window));
    if payload.len() <= MAX_PAYLOAD_BYTES {
        return vec![payload];
    }
    match halves(window) {
        Some(halves) => halves.into_iter().flat_map(payloads).collect(),
        // A single row is never that large.
        None => vec![payload],
    }
}

/// The same window in two, each with totals of its own. `None` if there is but one row.
fn halves(window: Window) -> Option<[Window; 2]> {
    let Window { start, length_ms, completeness, mut nodes } = window;
    let with = |nodes| Window { start, length_ms, completeness, nodes };
    if nodes.len() > 1 {
        let rest = nodes.split_off(nodes.len() / 2);
        return Some([with(nodes), with(rest)]);
    }
    let NodeWindow { node, processes, listening, totals, mut rows, mut peers, lost } =
        nodes.pop().filter(|node| node.rows.len() > 1)?;
    let rest = rows.split_off(rows.len() / 2);
    let network = rest.iter().filter(|row| row.layer == Layer::Network);
    let in_rest: BTreeSet<_> = network.map(|row| (&row.subject, row.operation)).collect();
    let rest_peers: Vec<Peer> =
        peers.extract_if(.., |peer| in_rest.contains(&(&peer.subject, peer.operation))).collect();
    let part = |rows: Vec<Row>, peers, lost| {
        let mut sums: BTreeMap<_, Counts> = totals.keys().map(|key| (*key, Counts::default())).collect();
        for row in &rows {
            let sum = sums.entry((row.layer, row.operation)).or_default();
            *sum = sum.plus(row.counts);
        }
        let (node, listening) = (node.clone(), listening.clone());
        with(vec![NodeWindow { node, processes, listening, totals: sums, rows, peers, lost }])
    };
    Some([part(rows, peers, lost), part(rest, rest_peers, BTreeMap::new())])
}

fn request(item: Item) -> wire::StreamRequest {
    let message = match item {
        Item::Batch { seq, payload, .. } => {
            wire::stream_request::Message::Batch(wire::Batch { seq: seq.get(), payload, encoding: 0 })
        }
        Item::Gap(gap) => wire::stream_request::Message::Gap(gap_to_wire(&gap)),
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

fn refused(nack: &wire::Nack, outbox: &mut Outbox) -> Refusal {
    let (seq, detail) = (nack.seq, &nack.detail);
    match nack.reason() {
        wire::NackReason::Malformed | wire::NackReason::TooLarge => {
            if outbox.refuse(seq) {
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

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::{
        Completeness, NodeId, OffsetHistogram, Operation, OtherReason, PartitionId, Subject, SystemId,
        Timestamp,
    };
    use isotherm_proto::window_set_from_payload;

    fn window(partitions: usize) -> Window {
        let system = SystemId::new("s").unwrap();
        let counts = Counts { ops: u64::MAX >> 8, bytes: 1 };
        let mut offsets = [0; isotherm_model::BUCKETS];
        offsets[5] = counts.ops;
        let row = |n: usize| Row {
            // Long names, and counts of many bytes.
            subject: Subject::Partition(PartitionId::new(system.clone(), format!("{n:0>250}")).unwrap()),
            layer: Layer::Logical,
            operation: Operation::Read,
            counts: Counts { ops: 0, bytes: 1 },
            offsets: OffsetHistogram::EMPTY,
            latency: None,
        };
        let other = Row {
            subject: Subject::Other(OtherReason::NoRule),
            counts,
            offsets: OffsetHistogram::new(12, offsets).unwrap(),
            ..row(0)
        };
        let rows: Vec<Row> = (0..partitions).map(row).chain([other]).collect();
        let bytes = rows.len() as u64;
        let totals = BTreeMap::from([
            ((Layer::Logical, Operation::Read), Counts { ops: counts.ops, bytes }),
            ((Layer::Logical, Operation::Write), Counts::default()),
        ]);
        let lost = BTreeMap::from([(isotherm_model::LostReason::Compat, 7)]);
        let node = NodeId::new(system, "n").unwrap();
        let nodes = vec![NodeWindow {
            node,
            processes: 1,
            listening: Vec::new(),
            totals,
            rows,
            peers: Vec::new(),
            lost,
        }];
        Window { start: Timestamp::from_ms(0), length_ms: 1, completeness: Completeness::Complete, nodes }
    }

    #[test]
    fn a_window_that_is_too_large_travels_in_parts_that_sum_to_it() {
        let whole = window(60_000);
        let parts = payloads(whole.clone());
        assert!(parts.len() > 1);
        let parts: Vec<NodeWindow> = parts
            .iter()
            .flat_map(|payload| window_set_from_payload(payload).unwrap())
            .flat_map(|window| window.nodes)
            .collect();
        let rows: Vec<Row> = parts.iter().flat_map(|node| node.rows.clone()).collect();
        assert_eq!(rows, whole.nodes[0].rows);
        let lost: u64 = parts.iter().flat_map(|node| node.lost.values()).sum();
        assert_eq!(lost, 7);
        assert!(parts.iter().all(|node| node.totals.len() == 2 && node.processes == 1));
        assert_eq!(payloads(window(1)).len(), 1);
    }

    #[test]
    fn only_batches_are_given_up() {
        let mut outbox = Outbox::new(1);
        let time = Interval::new(Timestamp::from_ms(0), Timestamp::from_ms(1)).unwrap();
        for _ in 0..3 {
            outbox.push(vec![1], time);
        }
        let nack =
            |seq, reason: wire::NackReason| wire::Nack { seq, reason: reason.into(), detail: String::new() };
        assert_eq!(refused(&nack(3, wire::NackReason::Retry), &mut outbox), Refusal::SendAgain);
        assert_eq!(refused(&nack(3, wire::NackReason::Malformed), &mut outbox), Refusal::GivenUp);
        // The first two are a gap already, and the third is one by now.
        for seq in [1, 3, 9] {
            assert_eq!(refused(&nack(seq, wire::NackReason::TooLarge), &mut outbox), Refusal::SendAgain);
        }
    }
}
