//! Lines of several files in the order of time: each file is read as far as it is needed.

use super::layout::{Layout, Op};
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest line in bytes.
const LONGEST_LINE: u64 = 1 << 16;

/// An access of a trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Access {
    /// Milliseconds since the epoch.
    pub(super) at_ms: u64,
    pub(super) op: Op,
    pub(super) bytes: u64,
    pub(super) offset: u64,
    pub(super) node: Arc<str>,
    pub(super) volume: Arc<str>,
    /// Number of its file.
    pub(super) file: usize,
}

/// A file, and its next access.
struct Trace {
    name: String,
    /// What nodes and volumes are called without a column.
    stem: Arc<str>,
    input: Box<dyn BufRead>,
    line: u64,
    text: String,
    next: Option<Access>,
    /// The line of the next access.
    next_line: u64,
}

/// All files.
pub(super) struct Merged {
    traces: Vec<Trace>,
    layout: Layout,
    block_bytes: u32,
    /// What is added to every time.
    shift_ms: f64,
    /// Files that have ended and were not told.
    ended: Vec<usize>,
    /// Where the last access was read.
    place: String,
}

impl Merged {
    pub(super) fn open(
        files: &[PathBuf],
        layout: &Layout,
        block_bytes: u32,
        header: bool,
        begin_ms: Option<u64>,
    ) -> Result<Self> {
        let traces = files.iter().map(|file| Trace::open(file, header)).collect::<Result<_>>()?;
        let mut merged = Self {
            traces,
            layout: layout.clone(),
            block_bytes,
            shift_ms: 0.0,
            ended: Vec::new(),
            place: String::new(),
        };
        for file in 0..merged.traces.len() {
            merged.fill(file)?;
        }
        if let Some(begin_ms) = begin_ms {
            let next = || merged.traces.iter().filter_map(|trace| trace.next.as_ref());
            let first_ms = next().map(|access| access.at_ms).min().unwrap_or(0);
            merged.shift_ms = begin_ms as f64 - first_ms as f64;
            for access in merged.traces.iter_mut().filter_map(|trace| trace.next.as_mut()) {
                access.at_ms = access.at_ms - first_ms + begin_ms;
            }
        }
        Ok(merged)
    }

    /// The earliest access that is left.
    pub(super) fn next(&mut self) -> Result<Option<Access>> {
        let times = self.traces.iter().enumerate();
        let times = times.filter_map(|(file, trace)| Some((trace.next.as_ref()?.at_ms, file)));
        let Some((_, file)) = times.min() else { return Ok(None) };
        let trace = &mut self.traces[file];
        let next = trace.next.take();
        self.place = format!("{} line {}", trace.name, trace.next_line);
        self.fill(file)?;
        Ok(next)
    }

    /// Files that have ended since this was last asked: the last access was their last.
    pub(super) fn ended(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.ended)
    }

    /// Where the last access was read.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    fn fill(&mut self, file: usize) -> Result<()> {
        let trace = &mut self.traces[file];
        while trace.read()? {
            if trace.text.trim().is_empty() {
                continue;
            }
            let said = self.layout.read(&trace.text, self.block_bytes);
            let said = said.map_err(|why| {
                // A first line that cannot be read is most often one of names.
                let way_out =
                    if trace.line == 1 { "; if the first line names the columns, give --header" } else { "" };
                anyhow!("{} line {}: {why}{way_out}", trace.name, trace.line)
            })?;
            let name = |said: &str| if said.is_empty() { trace.stem.clone() } else { Arc::from(said) };
            trace.next = Some(Access {
                at_ms: (said.at_ms + self.shift_ms).max(0.0) as u64,
                op: said.op,
                bytes: said.bytes,
                offset: said.offset,
                node: name(said.node),
                volume: name(said.volume),
                file,
            });
            trace.next_line = trace.line;
            return Ok(());
        }
        self.ended.push(file);
        Ok(())
    }
}

impl Trace {
    fn open(path: &Path, header: bool) -> Result<Self> {
        let stdin = path.as_os_str() == "-";
        let input: Box<dyn BufRead> = if stdin {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        let stem =
            if stdin { "stdin".into() } else { path.file_stem().unwrap_or_default().to_string_lossy() };
        let name = if stdin { "the standard input".to_owned() } else { path.display().to_string() };
        let mut trace = Self {
            name,
            stem: Arc::from(&*stem),
            input,
            line: 0,
            text: String::new(),
            next: None,
            next_line: 0,
        };
        if header {
            trace.read()?;
        }
        Ok(trace)
    }

    /// Reads a line. Whether there was one.
    fn read(&mut self) -> Result<bool> {
        self.text.clear();
        self.line += 1;
        let place = || format!("{} line {}", self.name, self.line);
        let read = self.input.by_ref().take(LONGEST_LINE).read_line(&mut self.text).with_context(place)?;
        ensure!((read as u64) < LONGEST_LINE, "{} is longer than {LONGEST_LINE} bytes", place());
        Ok(read > 0)
    }
}
