//! The process that answers one statement.
//!
//! It limits itself before there is a second thread. Its standard output is the answer, its standard error the
//! reason why there is none.

use super::allocator;
use super::render::{AnswerFormat, Renderer};
use crate::writer::with_causes;
use isotherm_model::Timestamp;
use isotherm_store::{Reader, Span, SqlError};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};
use std::io::{self, BufWriter, Read};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The hidden subcommand that makes this program a worker.
pub(crate) const COMMAND: &str = "query-worker";

/// Exit code: another statement could be answered.
pub(super) const REFUSED: u8 = 2;

/// Rows of a batch: 8 MB of the widest table.
const BATCH_ROWS: usize = 1 << 13;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 1 << 18;

/// What a worker is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) data_dir: PathBuf,
    pub(crate) sql: String,
    /// 0 leaves an end open.
    pub(crate) since_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) format: AnswerFormat,
    /// Of a table.
    pub(crate) max_rows: usize,
    pub(crate) memory_bytes: u64,
    /// A backstop should whoever watches the time be stopped.
    pub(crate) cpu_s: u64,
    /// Whose end is this process's end.
    pub(crate) parent: i32,
}

impl Job {
    /// Seconds of all processors in which a query that may take `time` must be over.
    pub(crate) fn cpu_s(time: Duration) -> u64 {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
        time.as_secs().saturating_add(1).saturating_mul(processors)
    }

    /// The id of the process that asks.
    pub(crate) fn this_process() -> i32 {
        nix::unistd::getpid().as_raw()
    }
}

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("{0}")]
    Statement(#[source] SqlError),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
    /// Nobody reads.
    #[error("the answer has no reader")]
    NoReader,
}

/// Answers.
pub(crate) fn main() -> ExitCode {
    match job().and_then(|job| answer(&job)) {
        Ok(()) | Err(WorkerError::NoReader) => ExitCode::SUCCESS,
        Err(WorkerError::Statement(error)) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
        Err(WorkerError::Failed(error)) => {
            eprintln!("{}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn job() -> Result<Job, WorkerError> {
    let failed = |error: io::Error| anyhow::anyhow!("cannot read what to do: {error}");
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
    let job: Job = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
    limit(&job).map_err(|errno| anyhow::anyhow!("cannot limit the query: {errno}"))?;
    Ok(job)
}

fn limit(job: &Job) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != job.parent {
        // Whoever asked ended before the kernel knew that this should, too.
        return Err(nix::errno::Errno::ESRCH);
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CPU, job.cpu_s, job.cpu_s)?;
    setrlimit(Resource::RLIMIT_DATA, job.memory_bytes, job.memory_bytes)?;
    allocator::end_when_exhausted();
    Ok(())
}

fn answer(job: &Job) -> Result<(), WorkerError> {
    let reader = Reader::open(&job.data_dir).map_err(|error| {
        anyhow::anyhow!("cannot read {}: {}", job.data_dir.display(), with_causes(&error))
    })?;
    let open = |ms: u64| (ms > 0).then_some(Timestamp::from_ms(ms));
    let span = Span { since: open(job.since_ms), until: open(job.until_ms) };
    let prepared = reader.prepare(&job.sql, span).map_err(of_sql)?;
    let out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut renderer =
        Renderer::begin(out, job.format, prepared.columns(), job.max_rows).map_err(of_output)?;
    let mut written = Ok(());
    let batch =
        NonZeroUsize::new(BATCH_ROWS.min(job.max_rows.saturating_add(1))).unwrap_or(NonZeroUsize::MIN);
    prepared
        .run(batch, |rows| match renderer.batch(rows) {
            Ok(go_on) => go_on,
            Err(error) => {
                written = Err(error);
                ControlFlow::Break(())
            }
        })
        .map_err(of_sql)?;
    written.and_then(|()| renderer.end()).map_err(of_output)
}

fn of_sql(error: SqlError) -> WorkerError {
    if error.is_of_the_statement() {
        WorkerError::Statement(error)
    } else {
        anyhow::Error::from(error).into()
    }
}

fn of_output(error: io::Error) -> WorkerError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return WorkerError::NoReader;
    }
    anyhow::anyhow!("cannot write the answer: {error}").into()
}
