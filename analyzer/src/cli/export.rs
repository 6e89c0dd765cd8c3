//! `isotherm export parquet`.
//!
//! Files are gathered in a folder of their own inside the target and moved when all have arrived: an export
//! that breaks off leaves no half of itself to be mistaken for the whole.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Format};
use super::time::ExportSpanArgs;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use isotherm_proto::control::v1::{ExportParquetRequest, ExportParquetResponse};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};
use tonic::Streaming;

/// Where files are gathered, within the target.
const GATHERED: &str = ".isotherm-export";

/// Write telemetry as Parquet files in hive layout
///
/// Files are DIR/date=YYYY-MM-DD/hour=HH/part-NNNNN.parquet, in UTC, sorted by time; each row has its
/// window_start too. Read the folders' `hour` as text or give a schema: some readers take 09 for the number 9.
#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: ExportSpanArgs,
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
}

pub(super) async fn run(args: ExportArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let gathered = args.out.join(GATHERED);
    let mut client = args.client.connect().await?;
    let request = ExportParquetRequest { since_ms: span.since, until_ms: span.until };
    let stream = client.control.export_parquet(request).await.map_err(|status| client.failure(&status))?;
    // Without an analyzer that answers, nothing is created.
    prepare(&args.out, args.force)?;
    let received = match receive(stream.into_inner(), &gathered).await {
        Ok(received) => received,
        Err(error) => {
            let _ = fs::remove_dir_all(&gathered);
            return Err(match error.downcast::<tonic::Status>() {
                Ok(status) => client.failure(&status),
                Err(error) => Failure::Failed(error),
            });
        }
    };
    publish(&args.out, &gathered, &received)?;
    match args.client.output {
        Format::Json => print::json(&received),
        Format::Table => print::out(&format!(
            "{} rows in {} files ({}) in {}\n",
            received.rows,
            received.files.len(),
            print::bytes(received.bytes),
            args.out.display()
        )),
    }
}

/// Makes sure that the target may be written to, and clears what an export that broke off left.
fn prepare(out: &Path, force: bool) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let gathered = out.join(GATHERED);
    if gathered.exists() {
        fs::remove_dir_all(&gathered).with_context(|| format!("cannot remove {}", gathered.display()))?;
    }
    let mut entries = fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    if !force && entries.next().is_some() {
        bail!(
            "{} is not empty; choose another folder, or replace an earlier export with --force",
            out.display()
        );
    }
    Ok(())
}

async fn receive(
    mut stream: Streaming<ExportParquetResponse>,
    gathered: &Path,
) -> anyhow::Result<ExportJson> {
    fs::create_dir_all(gathered).with_context(|| format!("cannot create {}", gathered.display()))?;
    let mut received = ExportJson::default();
    let mut file: Option<(File, PathBuf)> = None;
    while let Some(piece) = stream.message().await? {
        if !piece.path.is_empty() {
            let path = gathered.join(inside(&piece.path)?);
            let folder = path.parent().context("the analyzer sent a path without a folder")?;
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            let created = File::create_new(&path);
            file = Some((created.with_context(|| format!("cannot create {}", path.display()))?, path));
            received.files.push(piece.path);
            received.rows += piece.rows;
        }
        let (open, path) = file.as_mut().context("the analyzer sent data before a path")?;
        open.write_all(&piece.data).with_context(|| format!("cannot write {}", path.display()))?;
        received.bytes += piece.data.len() as u64;
        progress(&received);
    }
    end_progress();
    Ok(received)
}

/// A path as it came from the network, if it stays inside the folder it is joined to.
fn inside(path: &str) -> anyhow::Result<&Path> {
    let path = Path::new(path);
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    plain.then_some(path).ok_or_else(|| anyhow!("the analyzer sent the path {path:?}"))
}

/// Puts the files in place of those of an earlier export.
fn publish(out: &Path, gathered: &Path, received: &ExportJson) -> anyhow::Result<()> {
    for old in earlier(out)? {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    for name in &received.files {
        let (from, to) = (gathered.join(name), out.join(name));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
    }
    fs::remove_dir_all(gathered).with_context(|| format!("cannot remove {}", gathered.display()))
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
    let mut files = Vec::new();
    for date in named(out, "date=")?.into_iter().filter(|path| path.is_dir()) {
        for hour in named(&date, "hour=")?.into_iter().filter(|path| path.is_dir()) {
            files.extend(named(&hour, "part-")?);
        }
    }
    Ok(files)
}

fn progress(received: &ExportJson) {
    if io::stderr().is_terminal() {
        eprint!("\r{} rows, {}   ", received.rows, print::bytes(received.bytes));
    }
}

fn end_progress() {
    if io::stderr().is_terminal() {
        eprintln!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_the_network_stay_inside() {
        assert!(inside("date=2026-01-01/hour=09/part-00000.parquet").is_ok());
        for path in ["/etc/passwd", "../x", "a/../../x", "./x"] {
            assert!(inside(path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_an_empty_folder_is_written_to_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        prepare(&out, false).unwrap();
        fs::create_dir(out.join(GATHERED)).unwrap();
        prepare(&out, false).expect("what a broken export left is cleared");
        fs::write(out.join("README"), "mine").unwrap();
        assert!(prepare(&out, false).is_err());
        prepare(&out, true).unwrap();
    }

    #[test]
    fn a_forced_export_replaces_the_earlier_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let (out, gathered) = (dir.path(), dir.path().join(GATHERED));
        let (old, new) =
            ("date=1970-01-01/hour=00/part-00001.parquet", "date=1970-01-01/hour=00/part-00000.parquet");
        for file in [out.join(old), out.join("date=1970-01-01/hour=00/notes"), gathered.join(new)] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        publish(out, &gathered, &ExportJson { files: vec![new.into()], rows: 1, bytes: 1 }).unwrap();
        let left = fs::read_dir(out.join("date=1970-01-01/hour=00")).unwrap().count();
        assert_eq!((left, out.join(new).exists(), out.join(old).exists()), (2, true, false));
        assert!(!gathered.exists());
    }
}
