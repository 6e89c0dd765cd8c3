//! `isotherm node import`: a record from elsewhere, as a file.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::plan::csv::{self, Rows};
use super::super::print::{self, Format};
use super::super::time::Moment;
use super::WhoArgs;
use anyhow::anyhow;
use clap::Args;
use isotherm_proto::control::v1::{DownCause, ImportFailuresRequest, ImportedInterval};
use serde::Serialize;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Rows of one import, as the analyzer takes them.
const MAX_ROWS: usize = 100_000;

/// Put outages from a CSV file on record
///
/// Columns are found by name: system, node, from; optional: to (empty while it goes on), cause (failure, maintenance or
/// agent_loss; failure where it is empty), note. Moments are RFC 3339 or @<unix ms>. All rows are recorded or none. An
/// interval that is on record already changes nothing, so a file can be imported again.
#[derive(Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The CSV file
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Why; it is recorded for rows without a note
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Say what would be recorded, and record nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct ImportJson {
    added: u64,
    known: u64,
    dry_run: bool,
}

pub(super) async fn run(args: ImportArgs) -> Result<(), Failure> {
    let (intervals, lines) = read(&args.file)?;
    let mut client = args.client.connect().await?;
    let request = ImportFailuresRequest {
        intervals,
        reason: args.reason,
        who: args.who.name(),
        validate_only: args.dry_run,
    };
    let answer = client.nodes.import_failures(request).await.map_err(|status| {
        let message = with_line(&args.file, &lines, status.message());
        message.map_or_else(|| client.failure(&status), Failure::Usage)
    })?;
    let answer = answer.into_inner();
    match args.client.output {
        Format::Json => {
            print::json(&ImportJson { added: answer.added, known: answer.known, dry_run: args.dry_run })
        }
        Format::Table => {
            let did = if args.dry_run { "would be recorded" } else { "recorded" };
            print::out(&format!("{} {did}, {} on record already\n", answer.added, answer.known))
        }
    }
}

/// The analyzer names a row by its position; people know lines.
fn with_line(file: &Path, lines: &[u64], message: &str) -> Option<String> {
    let (at, what) = message.strip_prefix("intervals[")?.split_once("].")?;
    let line = lines.get(at.parse::<usize>().ok()?)?;
    Some(format!("{} line {line}: {what}", file.display()))
}

/// The rows, and the line of each.
fn read(file: &Path) -> Result<(Vec<ImportedInterval>, Vec<u64>), Failure> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::Usage(format!("{} is not a file", file.display())))?;
    let rows = csv::open(folder, name).map_err(|error| Failure::Failed(anyhow!(error)))?;
    intervals(rows).map_err(|error| Failure::Failed(anyhow!(error)))
}

fn intervals<R: BufRead>(mut rows: Rows<R>) -> Result<(Vec<ImportedInterval>, Vec<u64>), csv::CsvError> {
    let (system, node, from) = (rows.need("system")?, rows.need("node")?, rows.need("from")?);
    let (to, cause, note) = (rows.find("to"), rows.find("cause"), rows.find("note"));
    let (mut intervals, mut lines) = (Vec::new(), Vec::new());
    while rows.next()? {
        let text = |column: Option<usize>| column.map(|column| rows.lossy(column)).unwrap_or_default();
        let named = |column: usize| match rows.lossy(column) {
            name if name.is_empty() => Err(rows.fault(column, "is empty".to_owned())),
            name => Ok(name),
        };
        let moment = |column: usize, text: &str| match text.parse() {
            Ok(Moment::AtMs(ms)) if ms > 0 => Ok(ms),
            Ok(Moment::AtMs(_) | Moment::Ago(_)) | Err(_) => {
                let what = format!("{text:?} is no moment such as 2026-01-31T12:00:00Z or @1769860800000");
                Err(rows.fault(column, what))
            }
        };
        if intervals.len() == MAX_ROWS {
            return Err(rows.fault(system, format!("there are more than {MAX_ROWS} rows")));
        }
        let from_ms = moment(from, &rows.lossy(from))?;
        let to_ms = match to.map(|to| (to, rows.lossy(to))) {
            Some((to, text)) if !text.is_empty() => match moment(to, &text)? {
                ms if ms > from_ms => Some(ms),
                _ => return Err(rows.fault(to, format!("{text:?} is not after from"))),
            },
            Some(_) | None => None,
        };
        let cause = match (text(cause).as_str(), cause) {
            ("" | "failure", _) => DownCause::Failure,
            ("maintenance", _) => DownCause::Maintenance,
            ("agent_loss", _) => DownCause::AgentLoss,
            (other, column) => {
                let what = format!("{other:?} is not failure, maintenance or agent_loss");
                return Err(rows.fault(column.unwrap_or(0), what));
            }
        };
        intervals.push(ImportedInterval {
            system: named(system)?,
            node: named(node)?,
            from_ms,
            to_ms,
            cause: cause.into(),
            note: text(note),
        });
        lines.push(rows.line());
    }
    Ok((intervals, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<ImportedInterval>, String> {
        let rows = Rows::new("f.csv".to_owned(), text.as_bytes()).map_err(|error| error.to_string())?;
        intervals(rows).map(|(intervals, _)| intervals).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_understood_by_their_header() {
        let text = "node,from,system,to,note,cause\na,@1000,s,,\"x, y\",\nb,1970-01-01T00:00:02Z,s,@3000,,maintenance\n";
        let rows = read_text(text).unwrap();
        assert_eq!((rows[0].node.as_str(), rows[0].from_ms, rows[0].to_ms), ("a", 1_000, None));
        assert_eq!((rows[0].cause(), rows[0].note.as_str()), (DownCause::Failure, "x, y"));
        assert_eq!(
            (rows[1].from_ms, rows[1].to_ms, rows[1].cause()),
            (2_000, Some(3_000), DownCause::Maintenance)
        );
        assert_eq!(read_text("system,node,from\ns,a,@5\n").unwrap()[0].to_ms, None);
    }

    #[test]
    fn mistakes_are_told_by_line_and_column() {
        let header = "system,node,from,to,cause\n";
        for (row, want) in [
            ("s,a,yesterday,,\n", "f.csv line 2, column from: \"yesterday\" is no moment"),
            ("s,a,15m,,\n", "f.csv line 2, column from: \"15m\" is no moment"),
            ("s,a,@5,@9,\n\ns,a,@5,@5,\n", "f.csv line 4, column to: \"@5\" is not after from"),
            ("s,a,@5,,broke\n", "f.csv line 2, column cause: \"broke\" is not failure"),
            ("s,,@5,,\n", "f.csv line 2, column node: is empty"),
        ] {
            let error = read_text(&format!("{header}{row}")).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        assert!(read_text("system,node\n").unwrap_err().contains("no column \"from\""));
        let told = with_line(Path::new("f.csv"), &[2, 4], "intervals[1].node is empty");
        assert_eq!(told.as_deref(), Some("f.csv line 4: node is empty"));
        assert_eq!(with_line(Path::new("f.csv"), &[2], "something else"), None);
    }
}
