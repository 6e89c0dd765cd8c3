//! Answers as text, a batch at a time.
//!
//! Null is `null` in JSON and in tables, and an empty field in CSV, where an empty text is `""`. Lists are JSON
//! in CSV and tables.

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use isotherm_store::{ColumnHead, Rows, Value, write_csv, write_csv_header};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::ops::ControlFlow;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnswerFormat {
    /// Columns for people; at most --rows of them.
    Table,
    /// One JSON document: {"columns": [...], "rows": [{...}, ...]}.
    Json,
    /// A JSON object per line.
    Jsonl,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// Columns that a table has room for.
const TABLE_COLUMNS: usize = 24;

/// Writes an answer.
pub(crate) struct Renderer<W> {
    out: W,
    format: AnswerFormat,
    columns: Vec<ColumnHead>,
    /// Of a table.
    max_rows: usize,
    shown: Vec<Vec<String>>,
    /// There are more than were shown.
    more: bool,
    written: u64,
}

impl<W: Write> Renderer<W> {
    pub(crate) fn begin(
        mut out: W,
        format: AnswerFormat,
        columns: &[ColumnHead],
        max_rows: usize,
    ) -> io::Result<Self> {
        match format {
            AnswerFormat::Table | AnswerFormat::Jsonl => {}
            AnswerFormat::Json => {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                write!(out, "{{\"columns\": {}, \"rows\": [", serde_json::to_string(&names)?)?;
            }
            AnswerFormat::Csv => write_csv_header(&mut out, columns)?,
        }
        let columns = columns.to_vec();
        Ok(Self { out, format, columns, max_rows, shown: Vec::new(), more: false, written: 0 })
    }

    /// Writes a batch; whether there is use for more.
    pub(crate) fn batch(&mut self, rows: &Rows) -> io::Result<ControlFlow<()>> {
        if self.format == AnswerFormat::Csv {
            write_csv(&mut self.out, rows)?;
        }
        for row in 0..rows.len() {
            match self.format {
                AnswerFormat::Table if self.shown.len() == self.max_rows => {
                    self.more = true;
                    return Ok(ControlFlow::Break(()));
                }
                AnswerFormat::Table => {
                    self.shown.push(rows.row(row).take(TABLE_COLUMNS).map(|value| cell(&value)).collect());
                }
                AnswerFormat::Json => {
                    self.out.write_all(if self.written == 0 { b"\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut self.out, &rows.object(row))?;
                }
                AnswerFormat::Jsonl => {
                    serde_json::to_writer(&mut self.out, &rows.object(row))?;
                    self.out.write_all(b"\n")?;
                }
                // Written above, all at once.
                AnswerFormat::Csv => {}
            }
            self.written += 1;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the answer.
    pub(crate) fn end(mut self) -> io::Result<()> {
        match self.format {
            AnswerFormat::Jsonl | AnswerFormat::Csv => {}
            AnswerFormat::Json => self.out.write_all(b"\n]}\n")?,
            AnswerFormat::Table => self.table()?,
        }
        self.out.flush()
    }

    fn table(&mut self) -> io::Result<()> {
        if self.shown.is_empty() {
            return writeln!(self.out, "no rows");
        }
        let shown = &self.columns[..self.columns.len().min(TABLE_COLUMNS)];
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(shown.iter().map(|column| column.name.as_str()));
        table.add_rows(std::mem::take(&mut self.shown));
        for (drawn, column) in table.column_iter_mut().zip(shown) {
            drawn.set_padding((0, 2));
            if column.numeric {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(self.out, "{}", table.trim_fmt())?;
        let hidden = self.columns.len() - shown.len();
        if hidden > 0 {
            writeln!(self.out, "({hidden} more columns: name those you want, or -o json, jsonl or csv)")?;
        }
        if self.more {
            let shown = self.written;
            writeln!(self.out, "(the first {shown} rows: --rows N for more, -o json, jsonl or csv for all)")?;
        }
        Ok(())
    }
}

fn cell(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        // A line of a table is a row.
        Value::Text(text) => text.replace(['\n', '\r', '\t'], " "),
        Value::Bool(_)
        | Value::Unsigned(_)
        | Value::Signed(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Fields(_) => plain(value),
    }
}

/// A value without quotes.
fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Unsigned(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(text) => text.to_string(),
        Value::List(_) | Value::Fields(_) => serde_json::to_string(value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_rows_is_well_formed() {
        let columns = [ColumnHead { name: "a,b".to_owned(), numeric: true }];
        let empty = |format| {
            let mut out = Vec::new();
            Renderer::begin(&mut out, format, &columns, 10).unwrap().end().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(empty(AnswerFormat::Csv), "\"a,b\"\n");
        assert_eq!(empty(AnswerFormat::Jsonl), "");
        assert_eq!(empty(AnswerFormat::Table), "no rows\n");
        let json: serde_json::Value = serde_json::from_str(&empty(AnswerFormat::Json)).unwrap();
        assert_eq!(json, serde_json::json!({"columns": ["a,b"], "rows": []}));
    }
}
