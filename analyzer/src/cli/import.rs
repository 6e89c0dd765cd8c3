//! `isotherm import`: telemetry from elsewhere, into a data folder of its own.

mod layout;
mod merge;
mod windows;

use super::Failure;
use super::print::{self, Format};
use super::record::{failed, progress};
use super::time::{Moment, rfc3339};
use crate::writer::{now, with_causes};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use isotherm_model::{AgentId, BootId, Seq, SystemId, Timestamp, Window};
use isotherm_store::{Entry, Merging, Outcome, Retention, Run, Store, Submission, Table, Upkeep, Verdict};
use layout::{Layout, Preset};
use merge::Merged;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use windows::Cutter;

#[derive(Subcommand)]
pub(super) enum ImportCommand {
    Trace(TraceArgs),
}

/// Turn a block trace (CSV) into telemetry, in a data folder of its own
///
/// Every line of a trace is an access: when, read or write, how many bytes, where. They are counted as an agent
/// counts block devices: by window, node and partition, with a histogram of offsets, in the device layer. The folder
/// can be asked and judged like any other: `isotherm query`, `isotherm record`, `isotherm backtest --from DIR`, with
/// the configuration that is told at the end.
///
/// A device is one node unless a column says otherwise, so an entropy over nodes is not applicable; the one over
/// offsets speaks. A trace that breaks off and goes on was not watched in between only if a file ends there. Files
/// are read side by side, in the order of time; lines may be out of order by one window.
///
///   isotherm import trace msr.csv --layout msr --data-dir trace/
///   zcat io.csv.gz | isotherm import trace - --layout alibaba --begin 2020-01-01T00:00:00Z --data-dir trace/
///   isotherm import trace d1.csv d2.csv --columns time,op,size,lbn --block-bytes 512 --data-dir trace/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct TraceArgs {
    /// CSV files; - is the standard input. Each is a volume, and a node, of its name unless columns say otherwise
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder to make; refused if it has windows already
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Columns of a known public trace
    #[arg(long, value_enum, conflicts_with = "columns")]
    layout: Option<Preset>,
    /// Columns in their order, of: time (seconds; or `time_ms`, `time_us`, `time_ns`, `time_filetime`), op, size (bytes)
    /// or blocks, offset (bytes) or lbn, volume, node, and - for others [default: time,op,size,lbn]
    #[arg(long, value_name = "A,B")]
    columns: Option<Layout>,
    /// Bytes of a block, for lbn and blocks
    #[arg(long, value_name = "N", default_value_t = 512)]
    block_bytes: u32,
    /// Leave the first line of each file out
    #[arg(long)]
    header: bool,
    /// Let the first access be at that moment, RFC 3339 or @<unix ms> [default: times are as they are written]
    #[arg(long, value_name = "WHEN")]
    begin: Option<Moment>,
    /// System of the nodes and partitions
    #[arg(long, value_name = "NAME", default_value = "trace", value_parser = |name: &str| SystemId::new(name))]
    system: SystemId,
    /// Length of a window, whole milliseconds, at least a second
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What was imported.
#[derive(Debug, Default, Serialize)]
struct Imported {
    accesses: u64,
    reads: u64,
    writes: u64,
    windows: u64,
    nodes: usize,
    partitions: usize,
    since_ms: u64,
    until_ms: u64,
}

/// Windows in one commit.
const TOGETHER: usize = 360;

pub(super) fn run(command: ImportCommand) -> Result<(), Failure> {
    match command {
        ImportCommand::Trace(args) => trace(&args),
    }
}

fn trace(args: &TraceArgs) -> Result<(), Failure> {
    let window_ms = u32::try_from(args.window.as_millis()).ok().filter(|ms| *ms >= 1_000);
    let window_ms =
        window_ms.ok_or_else(|| Failure::Usage("--window is less than a second, or too long".to_owned()))?;
    let begin_ms = match args.begin {
        Some(Moment::AtMs(ms)) => Some(ms),
        Some(Moment::Ago(_)) => return Err(Failure::Usage("--begin is a moment, not a duration".to_owned())),
        None => None,
    };
    let layout = args.columns.clone().or(args.layout.map(Preset::layout)).unwrap_or_default();
    let mut merged = Merged::open(&args.files, &layout, args.block_bytes, args.header, begin_ms)?;
    let mut folder = Folder::open(args)?;
    let mut cutter = Cutter::new(args.system.clone(), window_ms);
    let mut imported = Imported::default();
    let bar = progress(0, "windows");
    while let Some(access) = merged.next()? {
        imported.accesses += 1;
        cutter.add(&access).map_err(|error| anyhow!("{}: {error}", merged.place()))?;
        merged.ended().into_iter().for_each(|file| cutter.leave(file));
        imported.windows += folder.add(cutter.closed())?;
        bar.set_position(imported.windows);
    }
    if imported.accesses == 0 {
        return Err(Failure::NotFound("the trace has no accesses".to_owned()));
    }
    imported.windows += folder.add(cutter.finish())?;
    folder.finish()?;
    bar.finish_and_clear();
    let told = cutter.told();
    (imported.reads, imported.writes) = (told.reads, told.writes);
    (imported.nodes, imported.partitions) = (told.nodes, told.partitions);
    (imported.since_ms, imported.until_ms) = (folder.since_ms, folder.until_ms);
    tell(args, &imported)
}

fn tell(args: &TraceArgs, imported: &Imported) -> Result<(), Failure> {
    if args.output == Format::Json {
        return print::json(imported);
    }
    let (dir, system) = (args.data_dir.display(), &args.system);
    print::out(&format!(
        "{} accesses ({} reads, {} writes) of {} volumes on {} nodes, {} windows from {} to {}, in {dir}\n\
         To judge it, the device layer has to count; in a file for --config:\n\n\
         [cycle.layers]\n{system:?} = \"device\"\n",
        imported.accesses,
        imported.reads,
        imported.writes,
        imported.partitions,
        imported.nodes,
        imported.windows,
        rfc3339(imported.since_ms),
        rfc3339(imported.until_ms),
        system = system.as_str(),
    ))
}

/// A data folder that windows are committed to as an agent's are.
struct Folder {
    store: Store,
    run: Run,
    seq: u64,
    waiting: Vec<Window>,
    since_ms: u64,
    until_ms: u64,
}

impl Folder {
    fn open(args: &TraceArgs) -> Result<Self, Failure> {
        let store = Store::open(&args.data_dir).map_err(|error| failed(&error))?;
        // Traces are old, and counted back from their end nothing of one is to be removed.
        let store = store.with_upkeep(Upkeep { retention: Retention::forever(), ..Upkeep::default() });
        let stats = store.reader().stats().map_err(|error| failed(&error))?;
        let used = stats.tables.iter().any(|table| table.table == Table::Windows && table.rows > 0);
        if used {
            let dir = args.data_dir.display();
            let message =
                format!("{dir} has windows already, and those of a trace could come late: name a new folder");
            return Err(Failure::Usage(message));
        }
        let name = |error| anyhow!("cannot name the import: {error}");
        let run = Run {
            agent: AgentId::new("import").map_err(name)?,
            boot: BootId::new(format!("trace-{}", now().as_ms())).map_err(name)?,
        };
        Ok(Self { store, run, seq: 0, waiting: Vec::new(), since_ms: 0, until_ms: 0 })
    }

    /// Commits what is enough for a commit. Returns how many windows there were.
    fn add(&mut self, windows: Vec<Window>) -> Result<u64, Failure> {
        let many = windows.len() as u64;
        if let (0, Some(first)) = (self.until_ms, windows.first()) {
            self.since_ms = first.start.as_ms();
        }
        self.until_ms = windows.last().map_or(self.until_ms, |last| last.end().as_ms());
        self.waiting.extend(windows);
        while self.waiting.len() >= TOGETHER {
            let rest = self.waiting.split_off(TOGETHER);
            self.commit()?;
            self.waiting = rest;
        }
        Ok(many)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.seq += 1;
        let seq = Seq::new(self.seq).context("there are too many batches")?;
        let windows = std::mem::take(&mut self.waiting);
        let now = Timestamp::from_ms(now().as_ms().max(self.until_ms));
        let submission = Submission { run: self.run.clone(), entry: Entry::Batch { seq, windows } };
        let Outcome { verdicts, failure, .. } = self.store.commit(&[submission], now);
        match (verdicts.as_slice(), failure) {
            ([Verdict::Committed { .. }], None) => {}
            (_, Some(error)) => return Err(failed(&error)),
            (verdicts, None) => return Err(anyhow!("the store refused a batch: {verdicts:?}").into()),
        }
        self.maintain()
    }

    /// Merges and compacts as the analyzer does when nothing waits.
    fn maintain(&mut self) -> Result<(), Failure> {
        loop {
            match self.store.maintain(now(), Instant::now()) {
                Ok(Merging::MoreToDo) => {}
                Ok(Merging::Done) => return Ok(()),
                Err(error) => {
                    return Err(anyhow!(with_causes(&error)).context("cannot merge segments").into());
                }
            }
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.commit()?;
        self.maintain()
    }
}
