//! SQL for the control API: a worker for each query, a few at a time.

use super::{Control, span};
use crate::query::render::AnswerFormat;
use crate::query::worker::Job;
use crate::query::{LEAST_MEMORY_BYTES, MEMORY_BYTES, QueryFailure, TIME, supervise};
use isotherm_proto::control::v1::{QueryFormat, QueryRequest, QueryResponse};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Workers at the same time; more wait. Together with their memory this is what the analyzer's host must have.
pub(super) const WORKERS: usize = 2;

/// The most that a query may ask for. Files that a merge replaced are kept as long.
const MOST_TIME: Duration = Duration::from_secs(600);

/// Pieces that wait for the reader.
const PIECES: usize = 2;

/// How long a reader may take before it is told why there is no more.
const TELL: Duration = Duration::from_secs(10);

/// Rows that a table shows by default.
const ROWS: u32 = 100;

pub(super) type Answer = ReceiverStream<Result<QueryResponse, Status>>;

/// Checks a request, and begins to answer it when it is its turn.
pub(super) async fn start(control: &Control, request: QueryRequest) -> Result<Answer, Status> {
    let span = span(request.since_ms, request.until_ms)?;
    let or_default = |asked: u64, default: u64| if asked == 0 { default } else { asked };
    let memory_bytes = or_default(request.memory_bytes, MEMORY_BYTES);
    if !(LEAST_MEMORY_BYTES..=MEMORY_BYTES).contains(&memory_bytes) {
        let [least, most] = [LEAST_MEMORY_BYTES, MEMORY_BYTES].map(crate::cli::bytes);
        return Err(Status::invalid_argument(format!(
            "the analyzer gives a query from {least} to {most} of memory"
        )));
    }
    let timeout_ms = or_default(request.timeout_ms, u64::try_from(TIME.as_millis()).unwrap_or(u64::MAX));
    let time = Duration::from_millis(timeout_ms);
    if time > MOST_TIME {
        let most = humantime::format_duration(MOST_TIME);
        return Err(Status::invalid_argument(format!("the analyzer gives a query at most {most}")));
    }
    let job = Job {
        data_dir: control.reader.dir().to_owned(),
        format: format(request.format)?,
        sql: request.sql,
        since_ms: span.since.map_or(0, isotherm_model::Timestamp::as_ms),
        until_ms: span.until.map_or(0, isotherm_model::Timestamp::as_ms),
        max_rows: if request.max_rows == 0 { ROWS } else { request.max_rows } as usize,
        memory_bytes,
        cpu_s: Job::cpu_s(time),
        parent: Job::this_process(),
    };
    let turn = control.workers.clone().acquire_owned();
    let turn = turn.await.map_err(|_| Status::unavailable("the analyzer is shutting down"))?;
    let (pieces, stream) = mpsc::channel(PIECES);
    let runtime = tokio::runtime::Handle::current();
    let (stop, running) = (control.stop.clone(), control.streams.token());
    // A thread of its own: the worker ends with the thread that starts it, and those of the runtime come and go.
    let thread = std::thread::Builder::new().name("query".to_owned()).spawn(move || {
        let (_turn, _running) = (turn, running);
        let wanted = || !pieces.is_closed() && !stop.is_cancelled();
        let mut stalled = false;
        let take = |data: Vec<u8>| {
            let sent = async { tokio::time::timeout(time, pieces.send(Ok(QueryResponse { data }))).await };
            match runtime.block_on(sent) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(()),
                // A reader that takes nothing must not keep a worker for ever.
                Err(_) => {
                    stalled = true;
                    ControlFlow::Break(())
                }
            }
        };
        let ended = match supervise::run(&job, time, wanted, take) {
            Ok(()) if stalled => Some(status(&QueryFailure::Time { limit: time })),
            Ok(()) if stop.is_cancelled() => Some(Status::unavailable("the analyzer is shutting down")),
            Ok(()) => None,
            Err(failure) => Some(status(&failure)),
        };
        if let Some(status) = ended {
            // Whoever has gone away, or does not listen, gets no reason.
            let told = async { tokio::time::timeout(TELL, pieces.send(Err(status))).await };
            let _ = runtime.block_on(told);
        }
    });
    thread.map_err(|error| Status::internal(format!("cannot start a thread for the query: {error}")))?;
    Ok(ReceiverStream::new(stream))
}

fn format(format: i32) -> Result<AnswerFormat, Status> {
    match QueryFormat::try_from(format) {
        Ok(QueryFormat::Table) => Ok(AnswerFormat::Table),
        Ok(QueryFormat::Json) => Ok(AnswerFormat::Json),
        Ok(QueryFormat::Jsonl | QueryFormat::Unspecified) => Ok(AnswerFormat::Jsonl),
        Ok(QueryFormat::Csv) => Ok(AnswerFormat::Csv),
        Err(_) => Err(Status::invalid_argument(format!("{format} is no format of answers"))),
    }
}

fn status(failure: &QueryFailure) -> Status {
    match failure {
        QueryFailure::Statement(message) => Status::invalid_argument(message),
        QueryFailure::Memory { .. } => Status::resource_exhausted(failure.to_string()),
        QueryFailure::Time { .. } => Status::deadline_exceeded(failure.to_string()),
        QueryFailure::Failed(_) => {
            tracing::error!(error = %failure, "a query failed");
            Status::internal(failure.to_string())
        }
    }
}
