//! What has arrived of an export.
//!
//! A manifest says what was asked for and, in a line each, which files are whole. A file is written under a
//! name that ends in [`UNFINISHED`], synced, renamed, and only then put into the manifest: whatever a crash
//! leaves, a line stands for a file that is there. Rows of a file end at a moment from which the rest can be asked for,
//! so going on needs nothing of the analyzer but an export that begins later; rows that came late for a time
//! that was written before are not in it, as they would not be had it not broken off.
//!
//! When all files have arrived the manifest says so. From there on the export is finished by moving them, and
//! may be stopped in between as often as one likes.

use anyhow::{Context, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// Where files are gathered, within the target.
pub(super) const FOLDER: &str = ".isotherm-export";

const MANIFEST: &str = "manifest.jsonl";
const UNFINISHED: &str = "tmp";
const HOUR_MS: u64 = 3_600_000;

/// What an export is of. One with other words is another export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) format: String,
    pub(super) table: String,
    pub(super) partition: String,
    /// `--since` and `--until`, as they were written.
    pub(super) span: [String; 2],
    pub(super) force: bool,
    /// What they meant at first: a duration before now means something else later.
    pub(super) since_ms: u64,
    pub(super) until_ms: u64,
}

impl Asked {
    fn is_the_same(&self, other: &Self) -> bool {
        let words = |asked: &Self| {
            (
                asked.format.clone(),
                asked.table.clone(),
                asked.partition.clone(),
                asked.span.clone(),
                asked.force,
            )
        };
        words(self) == words(other)
    }
}

/// A file that has arrived in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whole {
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Where the next one begins; 0 if nothing can come after it.
    pub(super) end_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Asked(Asked),
    Whole(Whole),
    /// All files have arrived.
    Complete,
}

/// Where an export goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) since_ms: u64,
    /// Number of the first file.
    pub(super) part: u32,
}

/// An export under way.
#[derive(Debug)]
pub(super) struct Gathered {
    out: PathBuf,
    folder: PathBuf,
    asked: Asked,
    whole: Vec<Whole>,
    complete: bool,
}

/// A file that is arriving.
#[derive(Debug)]
pub(super) struct Writing {
    whole: Whole,
    file: File,
    unfinished: PathBuf,
}

impl Writing {
    pub(super) fn write(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.whole.bytes += data.len() as u64;
        self.file.write_all(data).with_context(|| format!("cannot write {}", self.unfinished.display()))
    }
}

impl Gathered {
    /// Looks what an earlier attempt left of the same export, and changes nothing.
    pub(super) fn found(out: &Path, asked: Asked) -> anyhow::Result<Self> {
        let folder = out.join(FOLDER);
        let mut gathered = Self { out: out.to_owned(), folder, asked, whole: Vec::new(), complete: false };
        let manifest = gathered.folder.join(MANIFEST);
        if !manifest.is_file() {
            return Ok(gathered);
        }
        let text =
            fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        // What follows the last whole line was being written when the attempt ended.
        let lines =
            text.split_inclusive('\n').map_while(|line| serde_json::from_str(line.strip_suffix('\n')?).ok());
        let mut of_the_same = false;
        for line in lines {
            match line {
                Line::Asked(earlier) => {
                    of_the_same = earlier.is_the_same(&gathered.asked);
                    if !of_the_same {
                        break;
                    }
                    gathered.asked = earlier;
                }
                Line::Whole(file) if of_the_same && gathered.holds(&file)? => gathered.whole.push(file),
                // From a file that is not as it was, on: all again.
                Line::Whole(_) => break,
                Line::Complete => gathered.complete = of_the_same,
            }
        }
        if !gathered.complete && gathered.whole.last().is_some_and(|last| last.end_ms == 0) {
            gathered.whole.clear();
        }
        Ok(gathered)
    }

    /// Whether a file is there in full, in this folder or already where it belongs.
    fn holds(&self, file: &Whole) -> anyhow::Result<bool> {
        let path = inside(&file.path)?;
        let is_whole = |path: PathBuf| fs::metadata(path).is_ok_and(|found| found.len() == file.bytes);
        Ok(is_whole(self.folder.join(path)) || is_whole(self.out.join(path)))
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(super) fn files(&self) -> &[Whole] {
        &self.whole
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Where it goes on; `None` if nothing has arrived.
    pub(super) fn next(&self) -> Option<Next> {
        let last = self.whole.last()?;
        let same_hour = last.end_ms / HOUR_MS == last.end_ms.checked_sub(1)? / HOUR_MS;
        let folder = Path::new(&last.path).parent();
        let before = self.whole.iter().filter(|file| Path::new(&file.path).parent() == folder).count();
        let part = if same_hour { u32::try_from(before).unwrap_or(u32::MAX) } else { 0 };
        Some(Next { since_ms: last.end_ms, part })
    }

    /// Makes the folder what the manifest says, with nothing of other attempts.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        let cannot = |what: &str, path: &Path| format!("cannot {what} {}", path.display());
        if self.whole.is_empty() && self.folder.exists() {
            fs::remove_dir_all(&self.folder).with_context(|| cannot("remove", &self.folder))?;
        }
        fs::create_dir_all(&self.folder).with_context(|| cannot("create", &self.folder))?;
        let manifest = self.folder.join(MANIFEST);
        let unfinished = manifest.with_extension(UNFINISHED);
        let mut file = File::create(&unfinished).with_context(|| cannot("create", &unfinished))?;
        let lines = [Line::Asked(self.asked.clone())].into_iter();
        for line in lines.chain(self.whole.iter().cloned().map(Line::Whole)) {
            write_line(&mut file, &line).with_context(|| cannot("write", &unfinished))?;
        }
        fs::rename(&unfinished, &manifest).with_context(|| cannot("create", &manifest))
    }

    /// Begins a file.
    pub(super) fn start(&self, path: &str, rows: u64, end_ms: u64) -> anyhow::Result<Writing> {
        let whole = self.folder.join(inside(path)?);
        ensure!(!self.whole.iter().any(|file| file.path == path), "the analyzer sent {path} twice");
        let folder = whole.parent().context("the analyzer sent a path without a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let unfinished = whole.with_extension(UNFINISHED);
        let file =
            File::create(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        Ok(Writing { whole: Whole { path: path.to_owned(), rows, bytes: 0, end_ms }, file, unfinished })
    }

    /// Keeps a file that has arrived in full.
    pub(super) fn finish(&mut self, writing: Writing) -> anyhow::Result<&Whole> {
        let Writing { whole, file, unfinished } = writing;
        let path = self.folder.join(inside(&whole.path)?);
        file.sync_all().with_context(|| format!("cannot write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).with_context(|| format!("cannot create {}", path.display()))?;
        self.note(&Line::Whole(whole.clone()))?;
        self.whole.push(whole);
        self.whole.last().context("it was just put there")
    }

    /// All files have arrived.
    pub(super) fn complete(&mut self) -> anyhow::Result<()> {
        self.note(&Line::Complete)?;
        self.complete = true;
        Ok(())
    }

    fn note(&self, line: &Line) -> anyhow::Result<()> {
        let manifest = self.folder.join(MANIFEST);
        let append = || write_line(&mut OpenOptions::new().append(true).open(&manifest)?, line);
        append().with_context(|| format!("cannot write {}", manifest.display()))
    }

    /// Whether a file of the target is one of this export.
    pub(super) fn published(&self, path: &Path) -> bool {
        let ours = |file: &Whole| self.out.join(&file.path) == path && !self.folder.join(&file.path).exists();
        self.whole.iter().any(ours)
    }

    /// Moves the files to where they belong.
    pub(super) fn publish(self) -> anyhow::Result<()> {
        for file in &self.whole {
            let path = inside(&file.path)?;
            let (from, to) = (self.folder.join(path), self.out.join(path));
            if !from.exists() {
                continue;
            }
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            }
            fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

fn write_line(file: &mut File, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

/// A path as it came from the network, if it stays inside the folder it is joined to.
fn inside(path: &str) -> anyhow::Result<&Path> {
    let path = Path::new(path);
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    plain.then_some(path).ok_or_else(|| anyhow!("the analyzer sent the path {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "date=1970-01-01/hour=00/part-00000.csv";
    const B: &str = "date=1970-01-01/hour=00/part-00001.csv";

    fn asked(since: &str, since_ms: u64) -> Asked {
        Asked { span: [since.to_owned(), String::new()], since_ms, ..Asked::default() }
    }

    fn add(gathered: &mut Gathered, path: &str, end_ms: u64) {
        let mut file = gathered.start(path, 3, end_ms).unwrap();
        file.write(b"abc").unwrap();
        gathered.finish(file).unwrap();
    }

    /// An export of two files that broke off in the third.
    fn broken(out: &Path) -> Gathered {
        let mut gathered = Gathered::found(out, asked("1h", 100)).unwrap();
        gathered.begin().unwrap();
        add(&mut gathered, A, 1_000);
        add(&mut gathered, B, HOUR_MS / 2);
        gathered.start("date=1970-01-01/hour=00/part-00002.csv", 1, 9).unwrap().write(b"x").unwrap();
        gathered
    }

    #[test]
    fn paths_from_the_network_stay_inside() {
        assert!(inside("date=2026-01-01/hour=09/part-00000.parquet").is_ok());
        for path in ["/etc/passwd", "../x", "a/../../x", "./x"] {
            assert!(inside(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_arrived_in_full_is_kept_for_the_same_export_only() {
        let dir = tempfile::tempdir().unwrap();
        broken(dir.path());
        let again = Gathered::found(dir.path(), asked("1h", 5_000)).unwrap();
        assert_eq!(again.asked().since_ms, 100, "what was meant at first");
        assert_eq!(again.files().iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), [A, B]);
        assert_eq!(again.next(), Some(Next { since_ms: HOUR_MS / 2, part: 2 }));
        assert!(!again.is_complete());
        let other = Gathered::found(dir.path(), asked("2h", 5_000)).unwrap();
        assert_eq!((other.files().len(), other.next()), (0, None));
    }

    #[test]
    fn a_file_that_is_not_as_it_was_is_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        broken(dir.path());
        fs::write(dir.path().join(FOLDER).join(B), "ab").unwrap();
        let again = Gathered::found(dir.path(), asked("1h", 0)).unwrap();
        assert_eq!(again.next(), Some(Next { since_ms: 1_000, part: 1 }));
        fs::remove_file(dir.path().join(FOLDER).join(A)).unwrap();
        assert_eq!(Gathered::found(dir.path(), asked("1h", 0)).unwrap().next(), None);
    }

    #[test]
    fn a_line_that_was_being_written_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        broken(dir.path());
        let manifest = dir.path().join(FOLDER).join(MANIFEST);
        let text = fs::read_to_string(&manifest).unwrap();
        for length in 0..text.len() {
            fs::write(&manifest, &text[..length]).unwrap();
            let found = Gathered::found(dir.path(), asked("1h", 0)).unwrap();
            assert_eq!(found.files().len(), text[..length].matches('\n').count().saturating_sub(1));
        }
    }

    #[test]
    fn the_next_hour_begins_with_its_first_part() {
        let dir = tempfile::tempdir().unwrap();
        let mut gathered = broken(dir.path());
        add(&mut gathered, "date=1970-01-01/hour=00/part-00003.csv", HOUR_MS);
        assert_eq!(gathered.next(), Some(Next { since_ms: HOUR_MS, part: 0 }));
    }

    #[test]
    fn moving_may_be_stopped_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut gathered = broken(dir.path());
        gathered.complete().unwrap();
        let moved = dir.path().join(A);
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::rename(dir.path().join(FOLDER).join(A), &moved).unwrap();
        let again = Gathered::found(dir.path(), asked("1h", 0)).unwrap();
        assert!(again.is_complete() && again.published(&moved) && !again.published(&dir.path().join(B)));
        again.publish().unwrap();
        assert!(moved.exists() && dir.path().join(B).exists() && !dir.path().join(FOLDER).exists());
    }

    #[test]
    fn a_table_without_a_time_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut gathered = Gathered::found(dir.path(), asked("1h", 0)).unwrap();
        gathered.begin().unwrap();
        add(&mut gathered, "part-00000.csv", 0);
        assert_eq!(Gathered::found(dir.path(), asked("1h", 0)).unwrap().files().len(), 0);
        gathered.complete().unwrap();
        assert!(Gathered::found(dir.path(), asked("1h", 0)).unwrap().is_complete());
    }
}
