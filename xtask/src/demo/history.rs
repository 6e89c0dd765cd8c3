//! What an operator knows of the weak server and Isotherm cannot have seen: it has failed often before.

use super::command::isotherm;
use super::config::SYSTEM;
use super::stage::{Stage, now_ms};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Failures on record, one every so many days, of an hour each.
const FAILURES: u64 = 9;
const EVERY_DAYS: u64 = 7;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Puts the failures on record, and says what hazard follows from them: nobody watched in those days, so Isotherm does
/// not hold them against a time.
pub(super) fn tell(stage: &Stage, folder: &Path) -> Result<()> {
    let (weak, now_ms) = (&stage.cast.weak, now_ms());
    let mut table = "system,node,from,to,cause,note\n".to_owned();
    for number in 1..=FAILURES {
        let from = now_ms - number * EVERY_DAYS * DAY_MS;
        let _ = writeln!(table, "{SYSTEM},{weak},@{from},@{},failure,power supply", from + HOUR_MS);
    }
    let file = folder.join("outages.csv");
    fs::write(&file, table).with_context(|| format!("write {}", file.display()))?;
    isotherm(&stage.endpoint, &["node", "import", &file.display().to_string()])?;
    let per_hour = format!("{:.5}", 1.0 / (EVERY_DAYS * 24) as f64);
    let reason = format!("{FAILURES} failures, one every {EVERY_DAYS} days");
    let word =
        ["node", "hazard", "set", weak, "--per-hour", &per_hour, "--until", "14d", "--reason", &reason];
    isotherm(&stage.endpoint, &word)?;
    Ok(())
}
