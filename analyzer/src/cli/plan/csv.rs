//! A CSV file with a header, read row by row into one buffer.
//!
//! A million rows are read to plan once, so a row costs no allocation: a line is split at its commas where it lies,
//! and only one that has a quote goes through the state machine of `csv-core`. A row is a line; a quoted field never
//! goes on in the next one. Blank lines are none.

use csv_core::{ReadRecordResult, Reader};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;
use thiserror::Error;

/// Longest line in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// How much is read at once.
const CHUNK: usize = 1 << 18;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub(in crate::cli) enum CsvError {
    #[error("{file} cannot be opened")]
    Open {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} line {line} cannot be read")]
    Read {
        file: String,
        line: u64,
        #[source]
        source: io::Error,
    },
    #[error("{file} has no header")]
    Empty { file: String },
    #[error("{file} has no column {column:?} among {}", .has.join(", "))]
    NoColumn { file: String, column: String, has: Vec<String> },
    #[error("{file} line {line}: two columns are called {column:?}")]
    Twice { file: String, line: u64, column: String },
    #[error("{file} line {line}: {have} fields where the header has {need}")]
    Width { file: String, line: u64, have: usize, need: usize },
    #[error("{file} line {line} is longer than {LONGEST_LINE} bytes")]
    Long { file: String, line: u64 },
    #[error("{file} line {line}: a quote is not closed")]
    Quote { file: String, line: u64 },
    #[error("{file} line {line}, column {column}: {cause}")]
    Field { file: String, line: u64, column: String, cause: String },
}

/// An open file, and the row that was read last.
pub(in crate::cli) struct Rows<R> {
    /// What errors call it.
    file: String,
    input: R,
    reader: Reader,
    header: Vec<String>,
    /// Lines read so far.
    line: u64,
    text: Vec<u8>,
    /// The unquoted fields of a line with quotes.
    unquoted: Vec<u8>,
    quoted: bool,
    /// Where each field of the row ends, in the text or the unquoted one; there is a byte between two fields of the
    /// text, and none between two that were unquoted.
    ends: Vec<usize>,
}

/// Opens a file of a folder and reads its header.
pub(in crate::cli) fn open(folder: &Path, name: &str) -> Result<Rows<BufReader<File>>, CsvError> {
    let path = folder.join(name);
    let file = path.display().to_string();
    match File::open(&path) {
        Ok(opened) => Rows::new(file, BufReader::with_capacity(CHUNK, opened)),
        Err(source) => Err(CsvError::Open { file, source }),
    }
}

impl<R: BufRead> Rows<R> {
    /// Reads the header.
    pub(in crate::cli) fn new(file: String, input: R) -> Result<Self, CsvError> {
        let mut rows = Self {
            file,
            input,
            reader: Reader::new(),
            header: Vec::new(),
            line: 0,
            text: Vec::new(),
            unquoted: Vec::new(),
            quoted: false,
            ends: Vec::new(),
        };
        if !rows.filled()? {
            return Err(CsvError::Empty { file: rows.file });
        }
        if rows.text.starts_with("\u{feff}".as_bytes()) {
            rows.text.drain(.."\u{feff}".len());
        }
        rows.split()?;
        let name = |at| String::from_utf8_lossy(rows.bytes(at)).into_owned();
        rows.header = (0..rows.ends.len()).map(name).collect();
        let twice = |(at, name): (usize, &String)| !name.is_empty() && rows.header[..at].contains(name);
        if let Some(at) = rows.header.iter().enumerate().position(twice) {
            let column = rows.header.swap_remove(at);
            return Err(CsvError::Twice { file: rows.file, line: rows.line, column });
        }
        Ok(rows)
    }

    pub(in crate::cli) fn header(&self) -> &[String] {
        &self.header
    }

    /// The number of the line that was read last, from 1.
    pub(in crate::cli) fn line(&self) -> u64 {
        self.line
    }

    /// The position of a column that may be there.
    pub(in crate::cli) fn find(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| name == column)
    }

    /// The position of a column that must be there.
    pub(in crate::cli) fn need(&self, column: &str) -> Result<usize, CsvError> {
        self.find(column).ok_or_else(|| CsvError::NoColumn {
            file: self.file.clone(),
            column: column.to_owned(),
            has: self.header.clone(),
        })
    }

    /// Reads the next row. Whether there was one.
    pub(in crate::cli) fn next(&mut self) -> Result<bool, CsvError> {
        if !self.filled()? {
            return Ok(false);
        }
        self.split()?;
        let (have, need) = (self.ends.len(), self.header.len());
        if have != need {
            return Err(CsvError::Width { file: self.file.clone(), line: self.line, have, need });
        }
        Ok(true)
    }

    /// A field of the row, without white space around it.
    pub(in crate::cli) fn bytes(&self, column: usize) -> &[u8] {
        let (text, between) = if self.quoted { (&self.unquoted, 0) } else { (&self.text, 1) };
        let start = if column == 0 { 0 } else { self.ends[column - 1] + between };
        text[start..self.ends[column]].trim_ascii()
    }

    /// A field that is a number.
    pub(in crate::cli) fn number<T: FromStr>(&self, column: usize, what: &str) -> Result<T, CsvError> {
        let parsed = str::from_utf8(self.bytes(column)).ok().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| self.fault(column, format!("{:?} is not {what}", self.lossy(column))))
    }

    /// A field that is a finite number of at least 0.
    pub(in crate::cli) fn quantity(&self, column: usize) -> Result<f64, CsvError> {
        const WHAT: &str = "a number of 0 or more";
        let number: f64 = self.number(column, WHAT)?;
        if number.is_finite() && number >= 0.0 {
            Ok(number)
        } else {
            Err(self.fault(column, format!("{:?} is not {WHAT}", self.lossy(column))))
        }
    }

    /// The same, or nothing where the field is empty.
    pub(in crate::cli) fn maybe(&self, column: usize) -> Result<Option<f64>, CsvError> {
        if self.bytes(column).is_empty() { Ok(None) } else { self.quantity(column).map(Some) }
    }

    /// A field as text for people.
    pub(in crate::cli) fn lossy(&self, column: usize) -> String {
        String::from_utf8_lossy(self.bytes(column)).into_owned()
    }

    /// What is wrong with a field of the row.
    pub(in crate::cli) fn fault(&self, column: usize, cause: String) -> CsvError {
        let column = self.header[column].clone();
        CsvError::Field { file: self.file.clone(), line: self.line, column, cause }
    }

    /// The next line that is not blank, without its end.
    fn filled(&mut self) -> Result<bool, CsvError> {
        loop {
            self.text.clear();
            let read = self.input.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut self.text);
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => self.line += 1,
                Err(source) => {
                    return Err(CsvError::Read { file: self.file.clone(), line: self.line + 1, source });
                }
            }
            if self.text.len() as u64 > LONGEST_LINE {
                return Err(CsvError::Long { file: self.file.clone(), line: self.line });
            }
            while let Some(b'\n' | b'\r') = self.text.last() {
                self.text.pop();
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn split(&mut self) -> Result<(), CsvError> {
        self.ends.clear();
        self.quoted = self.text.contains(&b'"');
        if self.quoted {
            return self.unquote();
        }
        let commas = self.text.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
        self.ends.extend(commas);
        self.ends.push(self.text.len());
        Ok(())
    }

    fn unquote(&mut self) -> Result<(), CsvError> {
        self.reader.reset();
        self.text.push(b'\n');
        self.unquoted.resize(self.text.len(), 0);
        self.ends.resize(self.text.len() + 1, 0);
        let (result, _, _, fields) = self.reader.read_record(&self.text, &mut self.unquoted, &mut self.ends);
        self.text.pop();
        self.ends.truncate(fields);
        match result {
            ReadRecordResult::Record => Ok(()),
            // A field is no longer than what it was read from, and has a byte that ends it: there is always room.
            ReadRecordResult::InputEmpty
            | ReadRecordResult::OutputFull
            | ReadRecordResult::OutputEndsFull
            | ReadRecordResult::End => Err(CsvError::Quote { file: self.file.clone(), line: self.line }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<Vec<String>>, CsvError> {
        let mut rows = Rows::new("f.csv".into(), text.as_bytes())?;
        let mut all = vec![rows.header().to_vec()];
        while rows.next()? {
            all.push((0..rows.header().len()).map(|at| rows.lossy(at)).collect());
        }
        Ok(all)
    }

    fn error(text: &str) -> String {
        rows(text).unwrap_err().to_string()
    }

    #[test]
    fn a_row_is_a_line_and_blank_lines_are_none() {
        let all = rows("\u{feff}a, b\r\n\n1,2\r\n \n,\n3, 4 ").unwrap();
        assert_eq!(all, [["a", "b"], ["1", "2"], ["", ""], ["3", "4"]]);
    }

    #[test]
    fn quotes_may_hold_commas_and_not_ends_of_lines() {
        let all = rows("a,\"b,c\"\n\"x \"\"y\"\"\",\"1,2\"\n3,4\n").unwrap();
        assert_eq!(all, [["a", "b,c"], ["x \"y\"", "1,2"], ["3", "4"]]);
        assert_eq!(error("a,b\n1,\"2\n3,4\n"), "f.csv line 2: a quote is not closed");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(error(""), "f.csv has no header");
        assert_eq!(error("\n \n"), "f.csv has no header");
        assert_eq!(error("a,b,a\n"), "f.csv line 1: two columns are called \"a\"");
        assert_eq!(error("a,b\n\n1,2\n1,2,3\n"), "f.csv line 4: 3 fields where the header has 2");
        assert_eq!(error("a,b\n1\n"), "f.csv line 2: 1 fields where the header has 2");
        let long = format!("a\n{}\n", "1".repeat(1 << 20 | 1));
        assert_eq!(error(&long), "f.csv line 2 is longer than 1048576 bytes");
        let mut rows = Rows::new("f.csv".into(), "a,b\n-1,x\n".as_bytes()).unwrap();
        assert_eq!(rows.need("c").unwrap_err().to_string(), "f.csv has no column \"c\" among a, b");
        assert!(rows.next().unwrap());
        let negative = "f.csv line 2, column a: \"-1\" is not a number of 0 or more";
        assert_eq!(rows.quantity(0).unwrap_err().to_string(), negative);
        let word = "f.csv line 2, column b: \"x\" is not a whole number";
        assert_eq!(rows.number::<u32>(1, "a whole number").unwrap_err().to_string(), word);
    }
}
