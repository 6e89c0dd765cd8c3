//! An agent that sends what a test makes up, over the real protocol.

use super::analyzer::LIMIT;
use super::sample::WINDOW_MS;
use anyhow::{Context, Result, bail, ensure};
use isotherm_model::Window;
use isotherm_proto::telemetry::v1::telemetry_service_client::TelemetryServiceClient;
use isotherm_proto::telemetry::v1::{
    Batch, Encoding, Gap, GapReason, Hello, NackReason, StreamRequest, StreamResponse, Welcome,
    stream_request, stream_response,
};
use isotherm_proto::window_set_to_payload;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// An open stream.
pub(crate) struct Agent {
    pub(crate) welcome: Welcome,
    /// As it was last given.
    pub(crate) credit: u32,
    requests: mpsc::Sender<StreamRequest>,
    responses: Streaming<StreamResponse>,
}

/// What became of a batch or gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Ack(u64),
    Nack(u64, NackReason, String),
}

pub(crate) fn hello(agent: &str, boot: &str) -> Hello {
    let (agent, boot, version) = (agent.to_owned(), boot.to_owned(), "test".to_owned());
    Hello { agent, boot, version, window_ms: WINDOW_MS, targets: Vec::new() }
}

impl Agent {
    pub(crate) async fn connect(url: &str, agent: &str, boot: &str) -> Result<Self> {
        Ok(Self::introduce(url, hello(agent, boot)).await??)
    }

    /// Sends a hello; the inner result is the analyzer's opinion of it.
    pub(crate) async fn introduce(url: &str, hello: Hello) -> Result<Result<Self, Status>> {
        let mut client = TelemetryServiceClient::connect(url.to_owned()).await?;
        let (requests, stream) = mpsc::channel(64);
        requests.send(request(stream_request::Message::Hello(hello))).await?;
        let mut responses = client.stream(ReceiverStream::new(stream)).await?.into_inner();
        match tokio::time::timeout(LIMIT, responses.message()).await.context("no welcome came")? {
            Ok(Some(StreamResponse { message: Some(stream_response::Message::Welcome(welcome)) })) => {
                Ok(Ok(Self { credit: welcome.credit, welcome, requests, responses }))
            }
            Ok(other) => bail!("expected a welcome, got {other:?}"),
            Err(status) => Ok(Err(status)),
        }
    }

    pub(crate) async fn send(&self, seq: u64, windows: &[Window]) -> Result<()> {
        self.send_payload(seq, window_set_to_payload(windows)).await
    }

    pub(crate) async fn send_payload(&self, seq: u64, payload: Vec<u8>) -> Result<()> {
        self.send_encoded(seq, payload, Encoding::Unspecified.into()).await
    }

    pub(crate) async fn send_encoded(&self, seq: u64, payload: Vec<u8>, encoding: i32) -> Result<()> {
        let batch = stream_request::Message::Batch(Batch { seq, payload, encoding });
        self.requests.send(request(batch)).await.context("the stream has ended")
    }

    pub(crate) async fn send_gap(&self, first_seq: u64, last_seq: u64) -> Result<()> {
        let reason = GapReason::QueueFull.into();
        let gap = Gap { first_seq, last_seq, start_ms: 0, end_ms: 1_000, reason };
        self.requests.send(request(stream_request::Message::Gap(gap))).await.context("the stream has ended")
    }

    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let response =
            tokio::time::timeout(LIMIT, self.responses.message()).await.context("no answer came")?;
        let response = response.map_err(|status| Ended(status.code(), status.message().to_owned()))?;
        match response.and_then(|response| response.message) {
            Some(stream_response::Message::Ack(ack)) => {
                self.credit = ack.credit;
                Ok(Answer::Ack(ack.seq))
            }
            Some(stream_response::Message::Nack(nack)) => {
                Ok(Answer::Nack(nack.seq, nack.reason(), nack.detail))
            }
            other => bail!("expected an answer, got {other:?}"),
        }
    }

    /// Sends a window in each batch from `first` on, as far ahead of the answers as there is credit, and fails
    /// unless all are taken.
    pub(crate) async fn deliver_all(&mut self, first: u64, windows: &[Window]) -> Result<()> {
        let mut sent = 0;
        for answered in 0..windows.len() {
            while sent < windows.len() && sent < answered + self.credit as usize {
                self.send(first + sent as u64, &windows[sent..=sent]).await?;
                sent += 1;
            }
            let (answer, seq) = (self.answer().await?, first + answered as u64);
            ensure!(answer == Answer::Ack(seq), "batch {seq} came to {answer:?}");
        }
        Ok(())
    }

    /// Sends a batch and waits for what becomes of it.
    pub(crate) async fn deliver(&mut self, seq: u64, windows: &[Window]) -> Result<Answer> {
        self.send(seq, windows).await?;
        self.answer().await
    }
}

/// The analyzer ended the stream.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}: {1}")]
pub(crate) struct Ended(pub(crate) tonic::Code, pub(crate) String);

fn request(message: stream_request::Message) -> StreamRequest {
    StreamRequest { message: Some(message) }
}
