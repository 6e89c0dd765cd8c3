//! `isotherm store`: looks after a data folder, on the host that it lies on.
//!
//! `stats` and `verify` only read, beside a running `isotherm serve`. `compact` writes, so it needs the folder for
//! itself; a running `isotherm serve` compacts closed hours on its own.

use super::Failure;
use super::print::{self, Column, Format};
use super::time::span;
use crate::config::Config;
use crate::writer::{now, with_causes};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use isotherm_model::Timestamp;
use isotherm_store::{
    Limit, Merging, OpenError, Reader, SegmentFile, Store, StoreStats, Table, TableStats, Upkeep,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Say what is kept, by table, also beside a running serve
    Stats(StoreArgs),
    /// Read every segment and say what is wrong with it, also beside a running serve
    Verify(StoreArgs),
    /// Make few segments of each closed hour; a running serve does so by itself
    Compact(StoreArgs),
}

#[derive(Args)]
pub(super) struct StoreArgs {
    /// Folder of segments and catalog [default: that of the configuration, or of serve without one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file of serve (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Stats(args) => stats(&args),
        StoreCommand::Verify(args) => verify(&args),
        StoreCommand::Compact(args) => compact(&args),
    }
}

impl StoreArgs {
    fn folder(&self) -> Result<(PathBuf, Upkeep), Failure> {
        let config = match &self.config {
            Some(file) => Config::from_file(file),
            None => Config::without_file(),
        };
        let config = config.map_err(|error| anyhow!(with_causes(&error)))?;
        Ok((self.data_dir.clone().unwrap_or(config.data_dir), config.upkeep))
    }

    fn reader(&self) -> Result<(Reader, Upkeep), Failure> {
        let (dir, upkeep) = self.folder()?;
        Ok((Reader::open(&dir).map_err(|error| anyhow!(with_causes(&error)))?, upkeep))
    }
}

#[derive(Serialize)]
struct TableJson {
    table: &'static str,
    segments: u64,
    rows: u64,
    bytes: u64,
    hours: u64,
    oldest_ms: Option<u64>,
    newest_ms: Option<u64>,
    levels: BTreeMap<u32, u64>,
    without_checksum: u64,
    keep_ms: Option<u64>,
    keep_bytes: Option<u64>,
    retired_hours: u64,
    retired_rows: u64,
    retired_bytes: u64,
}

#[derive(Serialize)]
struct LateJson {
    agent: String,
    windows: u64,
    arrived_ms: u64,
}

#[derive(Serialize)]
struct StatsJson {
    watermark_ms: Option<u64>,
    lateness_ms: u64,
    keep_bytes: Option<u64>,
    tables: Vec<TableJson>,
    late: Vec<LateJson>,
}

fn stats(args: &StoreArgs) -> Result<(), Failure> {
    let (reader, upkeep) = args.reader()?;
    let stats = reader.stats().map_err(|error| anyhow!(with_causes(&error)))?;
    match args.output {
        Format::Json => print::json(&stats_json(stats, &upkeep)),
        Format::Table => stats_table(&stats, &upkeep),
    }
}

fn limit(upkeep: &Upkeep, table: Table) -> Limit {
    upkeep.retention.tables.get(&table).copied().unwrap_or_default()
}

fn stats_json(stats: StoreStats, upkeep: &Upkeep) -> StatsJson {
    let table = |stats: TableStats| {
        let Limit { age_ms, bytes } = limit(upkeep, stats.table);
        TableJson {
            table: stats.table.as_str(),
            segments: stats.segments,
            rows: stats.rows,
            bytes: stats.bytes,
            hours: stats.hours,
            oldest_ms: stats.oldest.map(Timestamp::as_ms),
            newest_ms: stats.newest.map(Timestamp::as_ms),
            levels: stats.levels,
            without_checksum: stats.without_checksum,
            keep_ms: age_ms,
            keep_bytes: bytes,
            retired_hours: stats.retired.hours,
            retired_rows: stats.retired.rows,
            retired_bytes: stats.retired.bytes,
        }
    };
    let late = stats.late.into_iter().map(|late| LateJson {
        agent: late.agent,
        windows: late.windows,
        arrived_ms: late.arrived.as_ms(),
    });
    StatsJson {
        watermark_ms: stats.watermark.map(Timestamp::as_ms),
        lateness_ms: upkeep.lateness_ms,
        keep_bytes: upkeep.retention.bytes,
        late: late.collect(),
        tables: stats.tables.into_iter().map(table).collect(),
    }
}

fn stats_table(stats: &StoreStats, upkeep: &Upkeep) -> Result<(), Failure> {
    let rows = stats.tables.iter().map(|table| {
        let Limit { age_ms, bytes } = limit(upkeep, table.table);
        let age = age_ms.map(|ms| span(Duration::from_millis(ms)));
        let keep = match (age, bytes) {
            (None, None) => "forever".to_owned(),
            (Some(age), None) => age,
            (None, Some(bytes)) => print::bytes(bytes),
            (Some(age), Some(bytes)) => format!("{age}, {}", print::bytes(bytes)),
        };
        let levels: Vec<String> =
            table.levels.iter().map(|(level, segments)| format!("{level}:{segments}")).collect();
        vec![
            table.table.as_str().to_owned(),
            table.segments.to_string(),
            table.rows.to_string(),
            print::bytes(table.bytes),
            table.hours.to_string(),
            moment(table.oldest),
            moment(table.newest),
            if levels.is_empty() { "-".to_owned() } else { levels.join(" ") },
            keep,
            table.retired.hours.to_string(),
        ]
    });
    let columns = [
        Column::Text("TABLE"),
        Column::Number("SEGMENTS"),
        Column::Number("ROWS"),
        Column::Number("SIZE"),
        Column::Number("HOURS"),
        Column::Text("OLDEST"),
        Column::Text("NEWEST"),
        Column::Text("LEVELS"),
        Column::Text("KEEP"),
        Column::Number("RETIRED HOURS"),
    ];
    print::table(&columns, rows.collect(), "no tables")?;
    let keep = upkeep.retention.bytes.map_or("any size".to_owned(), print::bytes);
    let mut text = format!(
        "\nall tables keep {keep}; windows from before {} are late\n",
        stats.watermark.map_or("-".to_owned(), |at| moment(Some(at)))
    );
    for late in &stats.late {
        text += &format!(
            "late: {} windows of {}, last at {}\n",
            late.windows,
            late.agent,
            moment(Some(late.arrived))
        );
    }
    print::out(&text)
}

fn moment(at: Option<Timestamp>) -> String {
    let at = at.and_then(|at| chrono::DateTime::from_timestamp_millis(at.as_ms().cast_signed()));
    at.map_or("-".to_owned(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[derive(Serialize)]
struct FlawJson {
    path: String,
    flaw: String,
}

#[derive(Serialize)]
struct VerifyJson {
    segments: usize,
    bytes: u64,
    flaws: Vec<FlawJson>,
}

fn verify(args: &StoreArgs) -> Result<(), Failure> {
    let (reader, _) = args.reader()?;
    let failed = |error: isotherm_store::QueryError| anyhow!(with_causes(&error));
    let catalog = reader.verify_catalog().map_err(failed)?;
    let mut flaws: Vec<FlawJson> =
        catalog.into_iter().map(|flaw| FlawJson { path: "catalog.db".to_owned(), flaw }).collect();
    let files = reader.segment_files().map_err(failed)?;
    let bytes = files.iter().map(SegmentFile::bytes).sum();
    let mut done = 0;
    for (number, file) in files.iter().enumerate() {
        let found = reader.verify(file).map_err(failed)?;
        let path = file.path().display();
        flaws.extend(found.iter().map(|flaw| FlawJson { path: path.to_string(), flaw: flaw.to_string() }));
        done += file.bytes();
        progress(number + 1, files.len(), done, bytes);
    }
    let damaged = flaws.len();
    match args.output {
        Format::Json => print::json(&VerifyJson { segments: files.len(), bytes, flaws })?,
        Format::Table => {
            let lines: String = flaws.iter().map(|flaw| format!("{} {}\n", flaw.path, flaw.flaw)).collect();
            let end = format!("{} segments, {}, {damaged} flaws\n", files.len(), print::bytes(bytes));
            print::out(&(lines + &end))?;
        }
    }
    if damaged == 0 { Ok(()) } else { Err(anyhow!("the store has {damaged} flaws").into()) }
}

/// A line that is written over, where somebody can see it.
fn progress(number: usize, of: usize, done: u64, bytes: u64) {
    const WIDTH: u64 = 30;
    if !io::stderr().is_terminal() {
        return;
    }
    let part = done.saturating_mul(WIDTH).checked_div(bytes).unwrap_or(WIDTH).min(WIDTH) as usize;
    let bar = format!("{}{}", "#".repeat(part), "-".repeat(WIDTH as usize - part));
    let end = if number == of { "\n" } else { "" };
    eprint!("\r[{bar}] {number} of {of} segments, {}{end}", print::bytes(done));
    // Nobody is helped by an error about a line that says how far it is.
    let _ = io::stderr().flush();
}

#[derive(Serialize)]
struct CompactJson {
    segments_before: u64,
    segments_after: u64,
    bytes_before: u64,
    bytes_after: u64,
}

fn compact(args: &StoreArgs) -> Result<(), Failure> {
    let (dir, upkeep) = args.folder()?;
    // A store would be created where there is none.
    Reader::open(&dir)
        .map(drop)
        .or_else(|error| if matches!(error, OpenError::Older { .. }) { Ok(()) } else { Err(error) })
        .map_err(|error| anyhow!(with_causes(&error)))?;
    let store = Store::open(&dir).map_err(|error| {
        if matches!(error, OpenError::InUse { .. }) {
            anyhow!(
                "{error}; it compacts every hour that is closed by itself, so nothing is to be done beside it"
            )
        } else {
            anyhow!(with_causes(&error))
        }
    })?;
    let mut store = store.with_upkeep(upkeep);
    let size = |store: &Store| -> anyhow::Result<(u64, u64)> {
        let stats = store.reader().stats().context("cannot read the catalog")?;
        let of = |size: fn(&TableStats) -> u64| stats.tables.iter().map(size).sum();
        Ok((of(|table| table.segments), of(|table| table.bytes)))
    };
    let (segments_before, bytes_before) = size(&store)?;
    let mut failures = Vec::new();
    loop {
        match store.compact(now(), Instant::now()) {
            Ok(Merging::MoreToDo) => {}
            Ok(Merging::Done) => break,
            // The hour is given up, and the next one is tried.
            Err(error) => {
                let error = with_causes(&error);
                eprintln!("isotherm: {error}");
                failures.push(error);
                if failures.len() >= MAX_FAILURES {
                    break;
                }
            }
        }
    }
    let (segments_after, bytes_after) = size(&store)?;
    match args.output {
        Format::Json => {
            print::json(&CompactJson { segments_before, segments_after, bytes_before, bytes_after })?;
        }
        Format::Table => print::out(&format!(
            "{segments_before} segments ({}) became {segments_after} ({})\n",
            print::bytes(bytes_before),
            print::bytes(bytes_after)
        ))?,
    }
    match failures.len() {
        0 => Ok(()),
        failed => Err(anyhow!("{failed} hours could not be compacted").into()),
    }
}

/// Hours that may fail before the rest is not tried: something is wrong with the disk then.
const MAX_FAILURES: usize = 32;
