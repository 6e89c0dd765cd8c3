//! Output: plain tables that can be cut and grepped, or JSON. Never coloured.

use super::Failure;
use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{self, Write};

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Left-aligned.
    Text(&'static str),
    /// Right-aligned.
    Number(&'static str),
}

/// Writes to the standard output. A reader that has gone away, as `head` does, is no failure.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    out_bytes(text.as_bytes()).map(drop)
}

/// The same with bytes as they come. Whether there is still a reader.
pub(super) fn out_bytes(data: &[u8]) -> Result<bool, Failure> {
    match io::stdout().lock().write_all(data).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true).context("cannot write to the standard output")?),
    }
}

/// Writes a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).context("cannot render JSON")?;
    out(&(text + "\n"))
}

/// Writes rows under a header, or a sentence when there are none.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<String>>, empty: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        return out(&format!("{empty}\n"));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(name) | Column::Number(name) => *name,
    }));
    table.add_rows(rows);
    for (drawn, column) in table.column_iter_mut().zip(columns) {
        drawn.set_padding((0, 2));
        if let Column::Number(_) = column {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    out(&(table.trim_fmt() + "\n"))
}

/// Bytes in the largest binary unit that leaves at least 1, with one decimal.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if size < 1_024.0 {
            break;
        }
        size /= 1_024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// Nanoseconds in the largest unit that leaves at least 1, with one decimal.
pub(super) fn nanoseconds(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        1_000_000_000.. => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        let read = [0, 1_023, 1_024, 1_536, u64::MAX].map(bytes);
        assert_eq!(read, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "16.0 EiB"]);
    }

    #[test]
    fn nanoseconds_are_readable() {
        let read = [0, 512, 2_048, 1 << 20, 1 << 40].map(nanoseconds);
        assert_eq!(read, ["0 ns", "512 ns", "2.0 us", "1.0 ms", "1099.5 s"]);
    }
}
