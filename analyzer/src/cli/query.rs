//! `isotherm query`.
//!
//! The analyzer is asked like by every other command; with `--data-dir` a folder is read without it. Either way
//! a worker answers, and what it writes is passed on as it comes.

use super::client::{Client, ServerArgs};
use super::time::ExportSpanArgs;
use super::{Failure, client, print};
use crate::query::render::AnswerFormat;
use crate::query::worker::Job;
use crate::query::{LEAST_MEMORY_BYTES, MEMORY_BYTES, QueryFailure, TIME, supervise};
use bytesize::ByteSize;
use clap::Args;
use isotherm_proto::control::v1::{QueryFormat, QueryRequest};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;
use tonic::{Code, Status};

/// Ask anything of the telemetry, in SQL
///
/// One SELECT; nothing can be changed. Tables:
///
///   windows     one row per window, node, class (total, partition, other, unattributed, lost), layer and
///               operation: ops, bytes, histograms of offsets (o00 to o63) and latency (l00 to l39)
///   peers       parts of the rows of the network layer, by local and remote address
///   late        windows and peers that came after their hour was closed
///   entropy     entropy of partitions, by steps (step_start)
///   forecasts   what entropy was forecast to be (made_at)
///   risks       decisions, one per partition and cycle (at)
///   nodes       every node that was ever reported
///   partitions  every partition that was seen, with what the logical layer counted
///
/// An unknown column is answered with those that there are. Moments are in UTC; compare them with texts such as
/// '2026-01-31T12:00:00Z', '2026-01-31 12:00:00' or '2026-01-31'. A bound on a table's time (window_start, or as
/// named above), or --since, saves reading what lies outside. Rows of different classes are never summed: `total` has the sums.
///
/// The query runs in a process of its own, which is stopped when it takes too much memory or time. Exit codes:
/// 2 the SQL is wrong, 6 it took too long, 1 it needs more memory, or failed.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:\n  \
        isotherm query \"SELECT node, sum(ops) AS reads FROM windows WHERE class = 'total' AND layer = 'logical'\n    \
        AND operation = 'read' AND window_start >= '2026-01-31T12:00:00Z' GROUP BY node ORDER BY reads DESC\"\n  \
        isotherm query --since 1h \"SELECT partition, sum(bytes) AS bytes FROM windows WHERE class = 'partition'\n    \
        AND layer = 'device' GROUP BY partition ORDER BY bytes DESC LIMIT 10\"\n  \
        isotherm query --since 15m -o csv \"SELECT remote, sum(ops) AS ops FROM peers GROUP BY remote\" > peers.csv\n  \
        isotherm query --data-dir /var/lib/isotherm -o jsonl 'SELECT * FROM partitions'"
)]
pub(super) struct QueryArgs {
    /// The statement
    sql: String,
    #[command(flatten)]
    span: ExportSpanArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Read this data folder instead of asking an analyzer, which may be running beside; whom to ask is not looked at
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Table)]
    output: AnswerFormat,
    /// Rows that a table shows; the other formats have all
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rows: u32,
    /// Memory that the query may take
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::b(MEMORY_BYTES))]
    memory: ByteSize,
    /// Time that it may take, until the last row is taken [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1m", hide_default_value = true)]
    timeout: Duration,
}

const _: () = assert!(TIME.as_secs() == 60, "the default above says so");

pub(super) fn run(args: QueryArgs) -> Result<(), Failure> {
    if args.memory.as_u64() < LEAST_MEMORY_BYTES {
        let least = print::bytes(LEAST_MEMORY_BYTES);
        return Err(Failure::Usage(format!("--memory: the engine itself needs {least}")));
    }
    if args.timeout.as_millis() == 0 {
        return Err(Failure::Usage("--timeout: is less than a millisecond".to_owned()));
    }
    match &args.data_dir {
        Some(dir) => local(&args, dir.clone()),
        None => client(remote(args)),
    }
}

fn local(args: &QueryArgs, data_dir: PathBuf) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let job = Job {
        data_dir,
        sql: args.sql.clone(),
        since_ms: span.since,
        until_ms: span.until,
        format: args.output,
        max_rows: args.rows as usize,
        memory_bytes: args.memory.as_u64(),
        cpu_s: Job::cpu_s(args.timeout),
        parent: Job::this_process(),
    };
    let mut written = Ok(true);
    let take = |piece: Vec<u8>| {
        written = print::out_bytes(&piece);
        if matches!(written, Ok(true)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    supervise::run(&job, args.timeout, || true, take).map_err(failure)?;
    written.map(drop)
}

fn failure(failure: QueryFailure) -> Failure {
    match &failure {
        QueryFailure::Statement(message) => Failure::Usage(message.clone()),
        QueryFailure::Time { .. } => Failure::TimedOut(failure.to_string()),
        QueryFailure::Memory { .. } | QueryFailure::Failed(_) => {
            Failure::Failed(anyhow::anyhow!("{failure}"))
        }
    }
}

async fn remote(args: QueryArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let format = match args.output {
        AnswerFormat::Table => QueryFormat::Table,
        AnswerFormat::Json => QueryFormat::Json,
        AnswerFormat::Jsonl => QueryFormat::Jsonl,
        AnswerFormat::Csv => QueryFormat::Csv,
    };
    let request = QueryRequest {
        sql: args.sql,
        since_ms: span.since,
        until_ms: span.until,
        format: format.into(),
        max_rows: args.rows,
        memory_bytes: args.memory.as_u64(),
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let mut client = args.server.connect().await?;
    let stream = client.control.query(request).await.map_err(|status| refused(&client, &status))?;
    let mut pieces = stream.into_inner();
    while let Some(piece) = pieces.message().await.map_err(|status| refused(&client, &status))? {
        if !print::out_bytes(&piece.data)? {
            break;
        }
    }
    Ok(())
}

/// What the analyzer says of a query; it alone knows these two of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others mean what they mean for every command")]
fn refused(client: &Client, status: &Status) -> Failure {
    let of_the_query = std::error::Error::source(status).is_none();
    match status.code() {
        Code::DeadlineExceeded if of_the_query => Failure::TimedOut(status.message().to_owned()),
        Code::ResourceExhausted if of_the_query => {
            Failure::Failed(anyhow::anyhow!("{}", status.message().to_owned()))
        }
        _ => client.failure(status),
    }
}
