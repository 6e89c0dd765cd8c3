//! `isotherm export parquet` and `isotherm export csv`.
//!
//! Files are gathered in a folder of their own inside the target ([`gathered`]) and moved when all have arrived:
//! an export that breaks off leaves no half of itself to be mistaken for the whole. What has arrived in full
//! stays there, and the same command goes on after it.

mod gathered;

use super::Failure;
use super::client::{Client, ClientArgs};
use super::print::{self, Format};
use super::time::ExportSpanArgs;
use anyhow::{Context, bail};
use clap::Args;
use gathered::{Asked, Gathered, Writing};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use isotherm_proto::control::v1::{ExportFormat, ExportRequest, ExportResponse};
use serde::Serialize;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Streaming;

/// Between two drawings of the progress bar.
const DRAW: Duration = Duration::from_millis(200);

/// Write telemetry as Parquet files in hive layout
///
/// Files are DIR/date=YYYY-MM-DD/hour=HH/part-NNNNN.parquet, in UTC, sorted by time; each row has its
/// window_start too. Read the folders' `hour` as text or give a schema: some readers take 09 for the number 9.
/// An export that broke off goes on when it is asked for again with the same arguments.
#[derive(Args)]
pub(super) struct ParquetArgs {
    #[command(flatten)]
    export: ExportArgs,
}

/// Write telemetry as CSV files in hive layout
///
/// The same rows and files as `export parquet`, with a header in each. Null is an empty field, an empty text is
/// "", moments are RFC 3339, lists are JSON.
#[derive(Args)]
pub(super) struct CsvArgs {
    #[command(flatten)]
    export: ExportArgs,
}

#[derive(Args)]
struct ExportArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: ExportSpanArgs,
    /// Only rows of this table (`isotherm query --help` lists them) [default: all rows as they are stored]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    table: String,
    /// Only rows of this partition, `SYSTEM/NAME` or `NAME` [default: all rows]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    partition: String,
    /// Folder to write to; created if needed, and refused if it is not empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an earlier export in DIR; other files there stay
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ExportJson {
    files: Vec<String>,
    rows: u64,
    bytes: u64,
    /// Of these, files that an attempt which broke off had left.
    resumed_files: usize,
}

pub(super) async fn parquet(args: ParquetArgs) -> Result<(), Failure> {
    run(args.export, ExportFormat::Parquet).await
}

pub(super) async fn csv(args: CsvArgs) -> Result<(), Failure> {
    run(args.export, ExportFormat::Csv).await
}

async fn run(args: ExportArgs, format: ExportFormat) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let asked = Asked {
        format: format.as_str_name().to_owned(),
        table: args.table.clone(),
        partition: args.partition.clone(),
        span: args.span.as_given(),
        force: args.force,
        since_ms: span.since,
        until_ms: span.until,
    };
    let mut gathered = Gathered::found(&args.out, asked)?;
    let resumed_files = gathered.files().len();
    if !gathered.is_complete() {
        let mut client = args.client.connect().await?;
        let request = request(&gathered, format);
        let answer = client.control.export(request).await.map_err(|status| client.failure(&status))?;
        // A refusal comes with the first message: without an analyzer that answers, nothing is created.
        let mut stream = answer.into_inner();
        let first = stream.message().await.map_err(|status| client.failure(&status))?;
        prepare(&args.out, args.force, &mut gathered)?;
        let expected = first.map_or(0, |first| first.rows_at_most);
        receive(&client, stream, &mut gathered, expected).await?;
    }
    publish(&args.out, gathered, resumed_files, args.client.output)
}

fn request(gathered: &Gathered, format: ExportFormat) -> ExportRequest {
    let asked = gathered.asked();
    let next = gathered.next();
    ExportRequest {
        since_ms: next.map_or(asked.since_ms, |next| next.since_ms),
        until_ms: asked.until_ms,
        format: format.into(),
        table: asked.table.clone(),
        partition: asked.partition.clone(),
        first_part: next.map_or(0, |next| next.part),
    }
}

/// Makes sure that the target may be written to.
fn prepare(out: &Path, force: bool, gathered: &mut Gathered) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let entries = fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    let others =
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != gathered::FOLDER));
    if !force && others.count() > 0 {
        bail!(
            "{} is not empty; choose another folder, or replace an earlier export with --force",
            out.display()
        );
    }
    gathered.begin()
}

async fn receive(
    client: &Client,
    mut stream: Streaming<ExportResponse>,
    gathered: &mut Gathered,
    rows_at_most: u64,
) -> Result<(), Failure> {
    let resumed: u64 = gathered.files().iter().map(|file| file.rows).sum();
    let bar = progress(resumed + rows_at_most);
    bar.set_position(resumed);
    let mut writing: Option<Writing> = None;
    while let Some(piece) = stream.message().await.map_err(|status| client.failure(&status))? {
        if !piece.path.is_empty() {
            if writing.is_some() {
                return Err(anyhow::anyhow!("the analyzer began a file within a file").into());
            }
            writing = Some(gathered.start(&piece.path, piece.rows, piece.end_ms)?);
        }
        let file = writing.as_mut().context("the analyzer sent data before a path")?;
        file.write(&piece.data)?;
        if piece.last
            && let Some(file) = writing.take()
        {
            bar.inc(gathered.finish(file)?.rows);
            fail::fail_point!("export::file_finished");
        }
    }
    bar.finish_and_clear();
    if writing.is_some() {
        return Err(anyhow::anyhow!("the export ended within a file").into());
    }
    Ok(gathered.complete()?)
}

fn publish(out: &Path, gathered: Gathered, resumed_files: usize, output: Format) -> Result<(), Failure> {
    let files = gathered.files();
    let done = ExportJson {
        files: files.iter().map(|file| file.path.clone()).collect(),
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        resumed_files,
    };
    for old in earlier(out)?.into_iter().filter(|old| !gathered.published(old)) {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    gathered.publish()?;
    match output {
        Format::Json => print::json(&done),
        Format::Table => {
            let resumed = if resumed_files > 0 {
                format!(", {resumed_files} of them from an attempt that broke off")
            } else {
                String::new()
            };
            print::out(&format!(
                "{} rows in {} files ({}) in {}{resumed}\n",
                done.rows,
                done.files.len(),
                print::bytes(done.bytes),
                out.display()
            ))
        }
    }
}

/// Files of an earlier export, told by their names.
fn earlier(out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let named = |folder: &Path, prefix: &str| -> anyhow::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        let starts =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        Ok(paths.into_iter().filter(starts).collect())
    };
    // Tables without a time lie in no folders.
    let mut files = named(out, "part-")?;
    for date in named(out, "date=")?.into_iter().filter(|path| path.is_dir()) {
        for hour in named(&date, "hour=")?.into_iter().filter(|path| path.is_dir()) {
            files.extend(named(&hour, "part-")?);
        }
    }
    Ok(files)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(rows: u64) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows), target);
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of at most {human_len} rows, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(DRAW);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked::default()
    }

    #[test]
    fn only_an_empty_folder_is_written_to_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut gathered = Gathered::found(&out, asked()).unwrap();
        assert!(!out.exists(), "looking creates nothing");
        prepare(&out, false, &mut gathered).unwrap();
        prepare(&out, false, &mut gathered).expect("what a broken export left is no obstacle");
        fs::write(out.join("README"), "mine").unwrap();
        assert!(prepare(&out, false, &mut gathered).is_err());
        prepare(&out, true, &mut gathered).unwrap();
    }

    #[test]
    fn a_forced_export_replaces_the_earlier_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        let (old, new) =
            ("date=1970-01-01/hour=00/part-00001.parquet", "date=1970-01-01/hour=00/part-00000.parquet");
        for file in [old, "date=1970-01-01/hour=00/notes", "part-00000.csv"] {
            fs::create_dir_all(out.join(file).parent().unwrap()).unwrap();
            fs::write(out.join(file), "x").unwrap();
        }
        let mut gathered = Gathered::found(out, asked()).unwrap();
        prepare(out, true, &mut gathered).unwrap();
        let mut file = gathered.start(new, 1, 5).unwrap();
        file.write(b"y").unwrap();
        gathered.finish(file).unwrap();
        gathered.complete().unwrap();
        publish(out, gathered, 0, Format::Table).unwrap();
        let left = fs::read_dir(out.join("date=1970-01-01/hour=00")).unwrap().count();
        assert_eq!((left, out.join(new).exists(), out.join(old).exists()), (2, true, false));
        assert!(!out.join("part-00000.csv").exists() && !out.join(gathered::FOLDER).exists());
    }
}
