//! One column of a CSV file, as a series.
//!
//! Line by line, with the state machine of `csv-core`: the `csv` crate above it skips blank lines, and in a file
//! of one column a blank line is a value that is missing. Only columns that may be the one are kept.

use csv_core::{ReadRecordResult, Reader};
use std::io::{self, BufRead, Read};
use thiserror::Error;

/// Most values that are kept, of all columns together: 80 MB.
const MAX_VALUES: usize = 10_000_000;

/// Longest row in bytes. A quote that is never closed makes one row of the rest of the file.
const MAX_ROW: usize = 1 << 20;

/// What a missing value is written as, in small or capital letters; or nothing at all.
const MISSING: [&str; 3] = ["na", "nan", "null"];

/// A column of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Its name in the header, or else its number, from 1.
    pub(super) name: String,
    /// One per row; `NaN` where it is missing.
    pub(super) values: Vec<f64>,
}

/// Why there is no column.
#[derive(Debug, Error)]
pub(super) enum CsvError {
    #[error("cannot be read")]
    Read(#[source] io::Error),
    #[error("has no rows")]
    Empty,
    #[error("line {line}: {have} fields where the first row has {need}")]
    Width { line: u64, have: usize, need: usize },
    #[error("line {line}: the row is longer than {MAX_ROW} bytes; is a quote not closed?")]
    Long { line: u64 },
    #[error("line {line}: a quote is not closed")]
    Quote { line: u64 },
    #[error("line {line}, column {column}: {text:?} is not a number")]
    NotANumber { line: u64, column: String, text: String },
    #[error("line {line}, column {column}: {text:?} is infinite or beyond double precision")]
    Infinite { line: u64, column: String, text: String },
    #[error(
        "line {line}: more than {MAX_VALUES} values; name one column with --column, or take later rows only"
    )]
    TooMany { line: u64 },
    #[error("there is no column {asked:?} among {}", .columns.join(", "))]
    NoSuchColumn { asked: String, columns: Vec<String> },
    #[error("several columns are called {0:?}; name one by its number, from 1")]
    Twice(String),
    #[error("no column holds numbers; there are {}", .0.join(", "))]
    NoNumbers(Vec<String>),
    #[error("several columns hold numbers: {}; name one with --column", .0.join(", "))]
    Several(Vec<String>),
}

/// Reads the column that is asked for, by name or by number, from 1; or else the only one with numbers.
///
/// A first row without any number is the header. An empty field, `NA`, `NaN` and `null` are missing values, as
/// is a blank line between others if there is only one column.
pub(super) fn read(input: impl BufRead, asked: Option<&str>) -> Result<Column, CsvError> {
    let mut rows = Rows::new(input);
    let first = rows.next()?.ok_or(CsvError::Empty)?;
    let width = first.fields.len();
    let header = is_header(&first.fields).then(|| first.fields.clone());
    let names: Vec<String> = match &header {
        Some(fields) => (1..).zip(fields).map(|(number, field)| name(number, field)).collect(),
        None => (1..=width).map(|number| number.to_string()).collect(),
    };
    let wanted = asked.map(|asked| find(asked, &names)).transpose()?;
    let mut candidates: Vec<Candidate> =
        (0..width).filter(|at| wanted.is_none_or(|wanted| wanted == *at)).map(Candidate::new).collect();
    let mut kept = 0;
    let mut row = if header.is_some() { rows.next()? } else { Some(first) };
    while let Some(Row { line, fields }) = row {
        if fields.len() != width {
            return Err(CsvError::Width { line, have: fields.len(), need: width });
        }
        for candidate in &mut candidates {
            kept += usize::from(candidate.take(line, &fields[candidate.at], &names, wanted.is_some()));
        }
        if kept > MAX_VALUES {
            return Err(CsvError::TooMany { line });
        }
        row = rows.next()?;
    }
    choose(candidates, names, wanted.is_some())
}

fn name(number: usize, field: &str) -> String {
    if field.trim().is_empty() { number.to_string() } else { field.trim().to_owned() }
}

fn is_header(fields: &[String]) -> bool {
    let word = |field: &String| !field.trim().is_empty();
    fields.iter().any(word) && fields.iter().all(|field| field.trim().is_empty() || parse(field).is_none())
}

fn find(asked: &str, names: &[String]) -> Result<usize, CsvError> {
    let mut called = names.iter().enumerate().filter(|(_, name)| *name == asked);
    match (called.next(), called.next()) {
        (Some((at, _)), None) => Ok(at),
        (Some(_), Some(_)) => Err(CsvError::Twice(asked.to_owned())),
        (None, _) => match asked.parse::<usize>() {
            Ok(number) if (1..=names.len()).contains(&number) => Ok(number - 1),
            Ok(_) | Err(_) => {
                Err(CsvError::NoSuchColumn { asked: asked.to_owned(), columns: names.to_vec() })
            }
        },
    }
}

fn choose(candidates: Vec<Candidate>, names: Vec<String>, asked: bool) -> Result<Column, CsvError> {
    let alone = asked || names.len() == 1;
    let mut numeric: Vec<Candidate> =
        candidates.into_iter().filter(|candidate| alone || candidate.kind == Kind::Numbers).collect();
    match (numeric.pop(), numeric.is_empty()) {
        (Some(Candidate { wrong: Some(wrong), .. }), true) => Err(wrong),
        (Some(Candidate { values, .. }), true) if values.is_empty() => Err(CsvError::Empty),
        (Some(Candidate { at, values, .. }), true) => Ok(Column { name: names[at].clone(), values }),
        (Some(last), false) => {
            let found = numeric.iter().chain([&last]).map(|candidate| names[candidate.at].clone());
            Err(CsvError::Several(found.collect()))
        }
        (None, _) => Err(CsvError::NoNumbers(names)),
    }
}

/// A column that may be the one.
#[derive(Debug)]
struct Candidate {
    at: usize,
    kind: Kind,
    values: Vec<f64>,
    /// The first field of a column of numbers that is none.
    wrong: Option<CsvError>,
}

/// By the first field that is not missing: a later one that is no number is a mistake, not another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Numbers,
    Text,
}

impl Candidate {
    fn new(at: usize) -> Self {
        Self { at, kind: Kind::Unknown, values: Vec::new(), wrong: None }
    }

    /// Whether a value was kept.
    fn take(&mut self, line: u64, field: &str, names: &[String], asked: bool) -> bool {
        if self.kind == Kind::Text || self.wrong.is_some() {
            return false;
        }
        let place = || (names[self.at].clone(), field.to_owned());
        match parse(field) {
            Some(value) if value.is_infinite() => {
                let (column, text) = place();
                self.wrong = Some(CsvError::Infinite { line, column, text });
            }
            Some(value) => {
                self.values.push(value);
                self.kind = if value.is_nan() { self.kind } else { Kind::Numbers };
                return true;
            }
            None if asked || names.len() == 1 || self.kind == Kind::Numbers => {
                let (column, text) = place();
                self.wrong = Some(CsvError::NotANumber { line, column, text });
            }
            None => {
                self.kind = Kind::Text;
                self.values = Vec::new();
            }
        }
        false
    }
}

/// A number, `NaN` for a missing one, nothing for anything else.
fn parse(field: &str) -> Option<f64> {
    let field = field.trim();
    if field.is_empty() || MISSING.iter().any(|word| field.eq_ignore_ascii_case(word)) {
        return Some(f64::NAN);
    }
    field.parse().ok().filter(|value: &f64| !value.is_nan())
}

#[derive(Debug)]
struct Row {
    /// Where it begins, from 1.
    line: u64,
    fields: Vec<String>,
}

/// The rows of a file. Blank lines between others are rows of one empty field.
struct Rows<R> {
    input: R,
    /// Its tables are built once.
    reader: Reader,
    /// Lines read so far.
    lines: u64,
    /// Blank lines that are still to be given out, before the row after them.
    blank: u64,
    after: Option<Row>,
    /// Whether there was a row. Blank lines before the first are none.
    begun: bool,
}

impl<R: BufRead> Rows<R> {
    fn new(input: R) -> Self {
        Self { input, reader: Reader::new(), lines: 0, blank: 0, after: None, begun: false }
    }

    fn next(&mut self) -> Result<Option<Row>, CsvError> {
        if self.after.is_none() {
            self.after = self.filled()?;
        }
        match &self.after {
            Some(row) if self.blank > 0 => {
                let line = row.line - self.blank;
                self.blank -= 1;
                Ok(Some(Row { line, fields: vec![String::new()] }))
            }
            Some(_) | None => Ok(self.after.take()),
        }
    }

    /// The next row that is not blank. Counts the blank ones before it.
    fn filled(&mut self) -> Result<Option<Row>, CsvError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if !self.line(&mut bytes)? {
                return Ok(None);
            }
            if bytes.iter().any(|byte| !byte.is_ascii_whitespace()) {
                self.begun = true;
                return self.row(bytes).map(Some);
            }
            self.blank += u64::from(self.begun);
        }
    }

    /// A row that begins with a line and goes on in the next ones while a quote is open.
    fn row(&mut self, mut bytes: Vec<u8>) -> Result<Row, CsvError> {
        let line = self.lines;
        self.reader.reset();
        let (mut output, mut ends) = (Vec::new(), Vec::new());
        let (mut read, mut written, mut fields) = (0, 0, 0);
        loop {
            output.resize(bytes.len(), 0);
            ends.resize(bytes.len() + 1, 0);
            let (result, consumed, more, ended) =
                self.reader.read_record(&bytes[read..], &mut output[written..], &mut ends[fields..]);
            (read, written, fields) = (read + consumed, written + more, fields + ended);
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::InputEmpty if bytes.len() > MAX_ROW => {
                    return Err(CsvError::Long { line });
                }
                ReadRecordResult::InputEmpty => {
                    if !self.line(&mut bytes)? {
                        return Err(CsvError::Quote { line });
                    }
                }
                // A field is no longer than what it was read from, and has a byte that ends it.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull | ReadRecordResult::End => {
                    return Err(CsvError::Long { line });
                }
            }
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let text = |(start, end): (usize, &usize)| String::from_utf8_lossy(&output[start..*end]).into_owned();
        let fields = starts.zip(&ends[..fields]).map(text).collect();
        Ok(Row { line, fields })
    }

    /// Appends one line with its end, also if the file's last has none. Says whether there was one.
    fn line(&mut self, bytes: &mut Vec<u8>) -> Result<bool, CsvError> {
        let before = bytes.len();
        let most = (MAX_ROW + 1) as u64;
        let read = self.input.by_ref().take(most).read_until(b'\n', bytes).map_err(CsvError::Read)?;
        if read == 0 {
            return Ok(false);
        }
        self.lines += 1;
        if bytes.last() != Some(&b'\n') {
            if bytes.len() - before > MAX_ROW {
                return Err(CsvError::Long { line: self.lines });
            }
            bytes.push(b'\n');
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(text: &str, asked: Option<&str>) -> Result<(String, Vec<Option<f64>>), String> {
        let found = read(text.as_bytes(), asked).map_err(|error| error.to_string())?;
        let values = found.values.iter().map(|value| (!value.is_nan()).then_some(*value));
        Ok((found.name, values.collect()))
    }

    fn values(text: &str) -> Vec<Option<f64>> {
        column(text, None).unwrap().1
    }

    #[test]
    fn a_first_row_without_a_number_is_the_header() {
        assert_eq!(column("flow\n1\n2\n", None).unwrap(), ("flow".into(), vec![Some(1.0), Some(2.0)]));
        assert_eq!(column("1\n2", None).unwrap(), ("1".into(), vec![Some(1.0), Some(2.0)]));
        let dated = "2026-01-01,1\n2026-01-02,2\n";
        assert_eq!(column(dated, None).unwrap(), ("2".into(), vec![Some(1.0), Some(2.0)]));
        assert_eq!(column("\u{feff}flow\r\n1\r\n2\r\n", None).unwrap().0, "flow");
    }

    #[test]
    fn missing_values_are_missing_and_not_left_out() {
        let expected = vec![Some(1.0), None, None, None, None, Some(-2.5e3)];
        assert_eq!(values("t,y\na,1\nb,\nc,NA\nd,nan\ne, NULL \nf,-2.5e3\n"), expected);
        assert_eq!(
            values("\n\ny\n1\n\n2\n\r\n\n3\n\n\n"),
            [Some(1.0), None, Some(2.0), None, None, Some(3.0)]
        );
        assert_eq!(values("y\nNA\n\"\"\n"), [None, None]);
    }

    #[test]
    fn quoted_fields_may_hold_commas_quotes_and_ends_of_lines() {
        let text = "\"what, when\",\"the \"\"y\"\"\"\n\"a,\n\nb\",1\nc,\"2\"\n";
        assert_eq!(column(text, None).unwrap(), ("the \"y\"".into(), vec![Some(1.0), Some(2.0)]));
        // Behind a row of three lines, the line is still the right one.
        let error = column("t,y\n\"a,\n\nb\",1\nc,two\n", None).unwrap_err();
        assert_eq!(error, "line 5, column y: \"two\" is not a number");
        assert_eq!(column("y\n1\n\"2\n3\n", None).unwrap_err(), "line 3: a quote is not closed");
        assert_eq!(values("5\" pipe,1\n4\" pipe,2\n"), [Some(1.0), Some(2.0)]);
    }

    #[test]
    fn what_is_no_number_is_told_with_its_place() {
        let wrong = column("y\n1\n\n1,5\n", None).unwrap_err();
        assert_eq!(wrong, "line 4: 2 fields where the first row has 1");
        assert_eq!(column("y\n1\n12x\n", None).unwrap_err(), "line 3, column y: \"12x\" is not a number");
        let infinite = "line 3, column y: \"1e999\" is infinite or beyond double precision";
        assert_eq!(column("y\n1\n1e999\n", None).unwrap_err(), infinite);
        assert!(column("y\n-inf\n", None).unwrap_err().contains("infinite"));
        // A mistake does not make the column one of text, which would leave another as the only one.
        let both = column("t,a,b\nx,1,1\nx,oops,2\n", None).unwrap_err();
        assert_eq!(both, "several columns hold numbers: a, b; name one with --column");
        let named = column("t,a,b\nx,1,1\nx,oops,2\n", Some("t")).unwrap_err();
        assert_eq!(named, "line 2, column t: \"x\" is not a number");
    }

    #[test]
    fn a_column_is_found_by_name_before_number() {
        let text = "a,b,1\n1,2,x\n";
        // With a number in it, the first row is no header.
        assert!(column(text, Some("b")).unwrap_err().starts_with("there is no column \"b\" among 1, 2, 3"));
        let named = "a,b,a\n1,2,3\n";
        assert_eq!(column(named, Some("b")).unwrap().1, [Some(2.0)]);
        assert_eq!(column(named, Some("3")).unwrap(), ("a".into(), vec![Some(3.0)]));
        assert!(column(named, Some("a")).unwrap_err().contains("several columns are called \"a\""));
        for none in ["0", "4", "c", ""] {
            assert!(column(named, Some(none)).unwrap_err().starts_with("there is no column"), "{none}");
        }
    }

    #[test]
    fn files_without_values_say_so() {
        for empty in ["", "\n\n", "y\n", "y\n\n\n"] {
            assert_eq!(column(empty, None).unwrap_err(), "has no rows", "{empty:?}");
        }
        assert_eq!(column("t,u\na,b\n", None).unwrap_err(), "no column holds numbers; there are t, u");
    }

    #[test]
    fn a_row_has_a_longest_length() {
        let long = format!("y\n{}\n", "1".repeat(MAX_ROW + 1));
        assert!(column(&long, None).unwrap_err().starts_with("line 2: the row is longer"));
        let open = format!("y\n\"{}", "1\n".repeat(MAX_ROW / 2 + 10));
        assert!(column(&open, None).unwrap_err().starts_with("line 2: the row is longer"));
    }
}
