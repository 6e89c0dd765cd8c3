//! The analyzer's end of the telemetry protocol in the test's own hands: it keeps what comes, and answers when
//! the test says so.

use anyhow::Result;
use isotherm_model::Window;
use isotherm_proto::telemetry::v1::telemetry_service_server::{TelemetryService, TelemetryServiceServer};
use isotherm_proto::telemetry::v1::{
    Ack, StreamRequest, StreamResponse, Welcome, stream_request, stream_response,
};
use isotherm_proto::{MAX_PAYLOAD_BYTES, unpacked, window_set_from_payload};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What came, by sequence number; a batch that comes twice is kept once.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) batches: std::collections::BTreeMap<u64, Vec<Window>>,
    /// Messages that were not answered yet, and the most there ever were.
    pub(crate) unanswered: u32,
    pub(crate) most_unanswered: u32,
}

/// Of one agent and one run.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) kept: Arc<Mutex<Kept>>,
    answering: Arc<AtomicBool>,
    credit: u32,
}

impl Recorder {
    /// Serves in the background of the runtime; returns where.
    pub(crate) async fn start(credit: u32, answering: bool) -> Result<(Self, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answering = Arc::new(AtomicBool::new(answering));
        let recorder = Self { kept: Arc::default(), answering, credit };
        let service = TelemetryServiceServer::new(recorder.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        Ok((recorder, url))
    }

    pub(crate) fn answer(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl TelemetryService for Recorder {
    type StreamStream = ReceiverStream<Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        let (recorder, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let (waiting, mut to_answer) = mpsc::unbounded_channel();
            let (answering, kept, credit) = (recorder.answering, recorder.kept, recorder.credit);
            let counted = Arc::clone(&kept);
            tokio::spawn(async move {
                while let Some(message) = to_answer.recv().await {
                    if matches!(message, stream_response::Message::Ack(_)) {
                        while !answering.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        counted.lock().unwrap().unanswered -= 1;
                    }
                    if answers.send(Ok(StreamResponse { message: Some(message) })).await.is_err() {
                        return;
                    }
                }
            });
            while let Ok(Some(StreamRequest { message: Some(message) })) = requests.message().await {
                let answer = match message {
                    stream_request::Message::Hello(_) => stream_response::Message::Welcome(Welcome {
                        committed_seq: 0,
                        max_payload_bytes: MAX_PAYLOAD_BYTES as u32,
                        credit,
                        locators: false,
                    }),
                    stream_request::Message::Batch(batch) => {
                        let content = unpacked(batch.encoding, &batch.payload).unwrap();
                        let windows = window_set_from_payload(&content).unwrap();
                        let mut kept = kept.lock().unwrap();
                        kept.batches.insert(batch.seq, windows);
                        kept.unanswered += 1;
                        kept.most_unanswered = kept.most_unanswered.max(kept.unanswered);
                        stream_response::Message::Ack(Ack { seq: batch.seq, credit })
                    }
                    // It was not asked for.
                    stream_request::Message::Watching(_) => continue,
                    stream_request::Message::Gap(gap) => {
                        stream_response::Message::Ack(Ack { seq: gap.last_seq, credit })
                    }
                };
                let _ = waiting.send(answer);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
