//! Rows as comma-separated values (RFC 4180).
//!
//! Null is an empty field, and an empty text `""`, so that they are told apart. Lists and structures are JSON.

use crate::query::{ColumnHead, Rows, Value};
use std::io::{self, Write};

/// Writes the names of columns.
pub fn write_csv_header(out: &mut impl Write, columns: &[ColumnHead]) -> io::Result<()> {
    for (index, column) in columns.iter().enumerate() {
        separate(out, index)?;
        write_text(out, &column.name)?;
    }
    out.write_all(b"\n")
}

/// Writes rows.
pub fn write_csv(out: &mut impl Write, rows: &Rows) -> io::Result<()> {
    for row in 0..rows.len() {
        for (index, value) in rows.row(row).enumerate() {
            separate(out, index)?;
            write_value(out, &value)?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// A whole file.
pub(crate) fn file(rows: &Rows) -> Vec<u8> {
    let mut file = Vec::new();
    let written = write_csv_header(&mut file, &rows.heads()).and_then(|()| write_csv(&mut file, rows));
    written.expect("memory takes all that is written to it");
    file
}

fn separate(out: &mut impl Write, index: usize) -> io::Result<()> {
    if index > 0 { out.write_all(b",") } else { Ok(()) }
}

fn write_value(out: &mut impl Write, value: &Value<'_>) -> io::Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Signed(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Text(text) => write_text(out, text),
        Value::List(_) | Value::Fields(_) => write_text(out, &serde_json::to_string(value)?),
    }
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        return write!(out, "\"{}\"", text.replace('"', "\"\""));
    }
    out.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn nothing_and_an_empty_text_are_told_apart() {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        let list = Value::List(vec![text("a"), Value::Null, Value::Unsigned(3)]);
        let values = [
            (Value::Null, ""),
            (text(""), "\"\""),
            (text("plain"), "plain"),
            (text("a,\"b\""), "\"a,\"\"b\"\"\""),
            (text("a\nb"), "\"a\nb\""),
            (list, "\"[\"\"a\"\",null,3]\""),
            (Value::Float(0.1), "0.1"),
            (Value::Signed(-3), "-3"),
            (Value::Bool(true), "true"),
        ];
        for (value, want) in values {
            let mut out = Vec::new();
            write_value(&mut out, &value).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let mut out = Vec::new();
        write_csv_header(&mut out, &["a", "b,c"].map(|name| ColumnHead { name: name.into(), numeric: true }))
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a,\"b,c\"\n");
    }
}
