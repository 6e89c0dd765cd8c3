//! What came of rows.

use super::row::{Fault, Kind, Row};
use anyhow::{Context, Result};
use isotherm_tests::history::Felt;
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What came of one row.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ran {
    #[serde(serialize_with = "shown")]
    pub(crate) row: Row,
    /// The phase that it ended in; empty if it did not.
    pub(crate) outcome: String,
    /// The phase in which the fault struck, as the diary had it at that moment.
    pub(crate) hit: String,
    /// Why it stopped for its operator, each time.
    pub(crate) stops: Vec<String>,
    pub(crate) felt: Felt,
    /// Reads that found what had been replaced, where the store does that.
    pub(crate) stale: usize,
    pub(crate) seconds: f64,
    /// What was not as it must be.
    pub(crate) failed: Option<String>,
}

/// What clients of one store felt in rows that ended as they must.
#[derive(Debug, Clone, Serialize)]
struct Pauses {
    store: &'static str,
    /// Whether something struck these migrations.
    disturbed: bool,
    rows: usize,
    operations: u64,
    errors: u64,
    write_pause_p50_ms: u64,
    write_pause_p99_ms: u64,
    read_pause_p50_ms: u64,
    read_pause_p99_ms: u64,
}

/// All rows, and what they come to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Ran>,
    pauses: Vec<Pauses>,
    seconds: f64,
}

impl Ran {
    pub(crate) fn of(row: Row) -> Self {
        Self {
            row,
            outcome: String::new(),
            hit: String::new(),
            stops: Vec::new(),
            felt: Felt::default(),
            stale: 0,
            seconds: 0.0,
            failed: None,
        }
    }
}

fn shown<S: serde::Serializer>(row: &Row, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(row)
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.failed.is_some() { "WRONG" } else { &self.outcome };
        write!(
            f,
            "{:<52} {outcome:<10} {:<13} {:>6} {:>6} {:>6} {:>5} {:>5} {:>6.1}",
            self.row.to_string(),
            self.hit,
            self.stops.len(),
            self.felt.write_pause_ms,
            self.felt.read_pause_ms,
            self.felt.errors,
            self.stale,
            self.seconds
        )
    }
}

impl Report {
    /// One more, of those that run side by side for so long.
    pub(crate) fn add(&mut self, ran: Ran, since: Duration) {
        self.rows.push(ran);
        self.rows.sort_by_key(|ran| ran.row);
        let of_kind = |kind| [false, true].map(|disturbed| pauses(kind, disturbed, &self.rows));
        self.pauses = Kind::ALL.into_iter().flat_map(of_kind).flatten().collect();
        self.seconds = since.as_secs_f64();
    }

    /// The heading of rows.
    pub(crate) fn heading() -> String {
        format!(
            "{:<52} {:<10} {:<13} {:>6} {:>6} {:>6} {:>5} {:>5} {:>6}",
            "ROW", "OUTCOME", "STRUCK IN", "STOPS", "W MS", "R MS", "ERR", "STALE", "S"
        )
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// What failed, with the line that shows it again.
    pub(crate) fn failures(&self) -> String {
        let mut text = String::new();
        for ran in &self.rows {
            if let Some(failed) = &ran.failed {
                let _ = write!(text, "\n{}: {failed}\nagain: {}\n", ran.row, again(ran.row));
            }
        }
        text
    }
}

/// The command that runs a row alone.
fn again(row: Row) -> String {
    format!(
        "ISOTHERM_MATRIX={row} cargo test --workspace --features isotherm/failpoints --test matrix -- --nocapture rows"
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::heading())?;
        self.rows.iter().try_for_each(|ran| writeln!(f, "{ran}"))?;
        for pauses in &self.pauses {
            writeln!(
                f,
                "{}, {}: {} rows, {} operations, {} errors; longest wait of a row p50/p99: writes {}/{} ms, reads {}/{} ms",
                pauses.store,
                if pauses.disturbed { "struck" } else { "undisturbed" },
                pauses.rows,
                pauses.operations,
                pauses.errors,
                pauses.write_pause_p50_ms,
                pauses.write_pause_p99_ms,
                pauses.read_pause_p50_ms,
                pauses.read_pause_p99_ms
            )?;
        }
        let wrong = self.rows.iter().filter(|ran| ran.failed.is_some()).count();
        writeln!(f, "{} rows, {wrong} wrong, {:.0} s", self.rows.len(), self.seconds)
    }
}

/// Of rows that ended as they must; `None` if there is none.
fn pauses(kind: Kind, disturbed: bool, rows: &[Ran]) -> Option<Pauses> {
    let wanted = |ran: &&Ran| ran.row.kind == kind && (ran.row.fault != Fault::Nothing) == disturbed;
    let rows: Vec<&Ran> = rows.iter().filter(wanted).filter(|ran| ran.failed.is_none()).collect();
    let at = |percent: usize, pause: fn(&Felt) -> u64| {
        let mut pauses: Vec<u64> = rows.iter().map(|ran| pause(&ran.felt)).collect();
        pauses.sort_unstable();
        pauses.get((pauses.len() * percent / 100).min(pauses.len().saturating_sub(1))).copied()
    };
    let writes = |felt: &Felt| felt.write_pause_ms;
    let reads = |felt: &Felt| felt.read_pause_ms;
    Some(Pauses {
        store: kind.name(),
        disturbed,
        rows: rows.len(),
        operations: rows.iter().map(|ran| ran.felt.operations).sum(),
        errors: rows.iter().map(|ran| ran.felt.errors).sum(),
        write_pause_p50_ms: at(50, writes)?,
        write_pause_p99_ms: at(99, writes)?,
        read_pause_p50_ms: at(50, reads)?,
        read_pause_p99_ms: at(99, reads)?,
    })
}
