//! The real analyzer is killed at every step of what keeps its store in order: merges, compaction, retention, windows
//! that come late, what its cycles keep, and the change of a catalog of an earlier version. What it acknowledged is
//! there once afterwards, and no file is left that does not count.
//!
//! Needs `isotherm` built with the feature `failpoints`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{Operation, Window};
use isotherm_tests::process::{self, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::analyzer::{Analyzer, LIMIT, run, serve};
use support::command::{parsed, stdout};
use support::sample::{START_MS, node, row, window};
use support::telemetry::{Agent, Answer};
use tempfile::TempDir;

/// Hours are closed as soon as the next one begins.
const AT_ONCE: &str = "[store]\nlateness = \"0s\"\n";
const HOUR_S: u64 = 3_600;

/// A data folder, and what its analyzer is told.
struct Folder {
    data: TempDir,
    scratch: TempDir,
}

impl Folder {
    fn new(config: &str) -> Self {
        let folder = Self { data: tempfile::tempdir().unwrap(), scratch: tempfile::tempdir().unwrap() };
        fs::write(folder.scratch.path().join("isotherm.toml"), config).unwrap();
        folder
    }

    fn command(&self, failpoints: &str) -> Command {
        let mut command = serve(self.data.path()).unwrap();
        command.arg("--config").arg(self.scratch.path().join("isotherm.toml")).env("FAILPOINTS", failpoints);
        command
    }

    fn start(&self, failpoints: &str) -> Analyzer {
        Analyzer::from_command(self.command(failpoints), self.scratch.path()).unwrap()
    }

    /// Polls with the test's runtime free to serve its connections.
    fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let reached = || Ok(reached(self).then_some(()));
        tokio::task::block_in_place(|| wait_for(what, 2 * LIMIT, reached)).unwrap();
    }

    fn log_says(&self, words: &str) -> bool {
        fs::read_to_string(self.scratch.path().join("analyzer.log")).unwrap_or_default().contains(words)
    }

    /// Files of segments with this ending.
    fn files(&self, ending: &str) -> usize {
        fn below(folder: &Path, ending: &str) -> usize {
            let Ok(entries) = fs::read_dir(folder) else { return 0 };
            let paths = entries.map(|entry| entry.unwrap().path());
            let count = |path: std::path::PathBuf| match path.is_dir() {
                true => below(&path, ending),
                false => usize::from(path.to_str().unwrap().ends_with(ending)),
            };
            paths.map(count).sum()
        }
        below(&self.data.path().join("segments"), ending)
    }

    fn store(&self, command: &str) -> Value {
        let data = self.data.path().to_str().unwrap();
        parsed(&run(&["store", command, "--data-dir", data, "-o", "json"]).unwrap())
    }

    /// Segments that the catalog names, of all tables.
    fn named(&self) -> usize {
        let stats = self.store("stats");
        let segments = |table: &Value| usize::try_from(table["segments"].as_u64().unwrap()).unwrap();
        stats["tables"].as_array().unwrap().iter().map(segments).sum()
    }

    /// What the catalog says of a table.
    fn table(&self, name: &str) -> Value {
        let stats = self.store("stats");
        stats["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap().clone()
    }

    /// Segments that the catalog names, as many as there are without a flaw.
    fn sound(&self) -> usize {
        let found = self.store("verify");
        assert_eq!(found["flaws"], serde_json::json!([]));
        usize::try_from(found["segments"].as_u64().unwrap()).unwrap()
    }

    /// Fails unless the files are those that count, as after every start.
    fn only_what_counts(&self) -> usize {
        let sound = self.sound();
        assert_eq!((self.files(""), self.files(".parquet")), (sound, sound), "files that do not count");
        sound
    }

    fn rows(&self, sql: &str) -> Vec<Value> {
        let data = self.data.path().to_str().unwrap();
        let output = run(&["query", sql, "--data-dir", data, "-o", "jsonl"]).unwrap();
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Reads of the partition by window of a table, as seconds after [`START_MS`].
    fn reads(&self, table: &str) -> BTreeMap<u64, u64> {
        let sql = format!(
            "SELECT window_start, sum(ops) AS ops, count(*) AS n FROM {table} WHERE class = 'partition'
             GROUP BY window_start"
        );
        let window = |row: &Value| {
            assert_eq!(row["n"], 1, "{row}");
            let start = humantime::parse_rfc3339(row["window_start"].as_str().unwrap()).unwrap();
            let start_s = start.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            (start_s - START_MS / 1_000, row["ops"].as_u64().unwrap())
        };
        self.rows(&sql).iter().map(window).collect()
    }

    /// Fails unless the table has these windows, once.
    fn has(&self, table: &str, seconds: impl IntoIterator<Item = u64>) {
        let want: BTreeMap<u64, u64> = seconds.into_iter().map(|second| (second, reads_of(second))).collect();
        assert_eq!(self.reads(table), want, "{table}");
    }
}

/// Every window has another number of reads.
fn reads_of(second: u64) -> u64 {
    100 + second
}

fn sent(second: u64) -> Window {
    window(second, vec![node("a", vec![row("1", Operation::Read, reads_of(second))])])
}

/// Sends windows, each as a batch that is committed by itself. Batches are numbered from `first`.
async fn deliver(analyzer: &Analyzer, first: u64, seconds: &[u64]) -> Agent {
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.welcome.committed_seq, first - 1, "what was acknowledged, and no more");
    for (seq, second) in (first..).zip(seconds) {
        assert_eq!(agent.deliver(seq, &[sent(*second)]).await.unwrap(), Answer::Ack(seq));
    }
    agent
}

/// Where the analyzer dies, how is seen that it got there, and how many segments are left of what was sent.
type Death = (&'static str, Reached, usize);

/// Whether it is where it is to be killed.
type Reached = fn(&Folder) -> bool;

/// Sends windows whose last one leads to the failpoint, kills the analyzer there, and lets another one end the work
/// with one window more. `ended` segments are there at last.
async fn survives(deaths: &[Death], seconds: &[u64], ended: usize) {
    for (failpoint, reached, left) in deaths {
        let folder = Folder::new(AT_ONCE);
        let mut analyzer = folder.start(&format!("{failpoint}=pause"));
        let mut agent = deliver(&analyzer, 1, seconds).await;
        folder.until(failpoint, reached);
        let (next, last) = (seconds.len() as u64 + 1, seconds.last().unwrap() + 1);
        agent.send(next, &[sent(last)]).await.unwrap();
        analyzer.child.kill();
        assert!(agent.answer().await.is_err(), "nobody was there to acknowledge it");

        let analyzer = folder.start("");
        assert_eq!(folder.only_what_counts(), *left, "{failpoint}");
        folder.has("windows", seconds.iter().copied());
        let agent = deliver(&analyzer, next, &[last]).await;
        folder.until("the end of the work", |folder| folder.store("stats")["tables"][0]["segments"] == ended);
        drop((agent, analyzer));
        assert_eq!(folder.sound(), ended, "{failpoint}");
        folder.has("windows", seconds.iter().copied().chain([last]));
    }
}

fn segments_are(folder: &Folder, segments: usize) -> bool {
    folder.table("windows")["segments"] == segments
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_merge_it_has_every_window_once() {
    let deaths: [Death; 2] = [
        ("store::merge_written", |folder| folder.files(".parquet") == 17, 16),
        ("store::merged", |folder| segments_are(folder, 1), 1),
    ];
    survives(&deaths, &(0..16).collect::<Vec<_>>(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_compaction_it_has_every_window_once() {
    let deaths: [Death; 3] = [
        ("store::compact_file", |folder| folder.files("") == 6 && folder.files(".parquet") == 5, 5),
        ("store::compact_written", |folder| folder.files(".parquet") == 6, 5),
        ("store::compacted", |folder| segments_are(folder, 2), 2),
    ];
    survives(&deaths, &[0, 1, 2, 3, HOUR_S], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_retires_it_has_the_other_hours_and_retires_once() {
    let folder = Folder::new(&format!("{AT_ONCE}retention = {{ windows = \"1h\" }}\n"));
    let analyzer = folder.start("");
    drop((deliver(&analyzer, 1, &[0, 1, HOUR_S]).await, analyzer));
    let retired = |folder: &Folder| folder.table("windows")["retired_hours"] == 1;
    assert!(!retired(&folder));

    let mut analyzer = folder.start("store::retired=pause");
    let agent = deliver(&analyzer, 4, &[2 * HOUR_S]).await;
    folder.until("the first hour to go", retired);
    analyzer.child.kill();
    drop(agent);

    let analyzer = folder.start("");
    assert_eq!(folder.only_what_counts(), 2);
    folder.has("windows", [HOUR_S, 2 * HOUR_S]);
    let agent = deliver(&analyzer, 5, &[2 * HOUR_S + 1]).await;
    drop((agent, analyzer));
    let windows = folder.table("windows");
    assert_eq!((&windows["retired_hours"], &windows["retired_rows"]), (&1.into(), &6.into()), "{windows}");
    folder.has("windows", [HOUR_S, 2 * HOUR_S, 2 * HOUR_S + 1]);
    folder.sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_windows_come_late_it_has_them_once_and_apart() {
    let late_files = |folder: &Folder| folder.files(".parquet") == 3;
    let late_counts = |folder: &Folder| folder.table("late")["segments"] == 1;
    let deaths: [(&str, Reached, u64); 2] =
        [("store::segment_written", late_files, 2), ("store::committed", late_counts, 3)];
    for (failpoint, reached, committed) in deaths {
        let folder = Folder::new(AT_ONCE);
        let mut analyzer = folder.start(&format!("{failpoint}=2*off->pause"));
        let mut agent = deliver(&analyzer, 1, &[1, 200]).await;
        agent.send(3, &[sent(2)]).await.unwrap();
        folder.until(failpoint, reached);
        analyzer.child.kill();
        assert!(agent.answer().await.is_err(), "nothing was acknowledged");

        let analyzer = folder.start("");
        assert_eq!(folder.only_what_counts() as u64, committed, "{failpoint}");
        let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
        assert_eq!(agent.welcome.committed_seq, committed);
        assert_eq!(agent.deliver(3, &[sent(2)]).await.unwrap(), Answer::Ack(3));
        folder.has("windows", [1, 200]);
        folder.has("late", [2]);
        let late = &folder.store("stats")["late"];
        assert_eq!((late[0]["windows"].as_u64(), late.as_array().unwrap().len()), (Some(1), 1), "{late}");
        folder.sound();
    }
}

/// Seconds of a step: fewer, and a busy machine has no time for its cycle.
const STEP_S: u64 = 3;

/// A cycle every [`STEP_S`], of a partition that nobody reports: it has rows all the same.
const CYCLES: &str = r#"
    [cycle]
    settle = "100ms"
    [cycle.policy]
    step_ms = 3000
    [[topology]]
    system = "seaweedfs"
    [[topology.node]]
    name = "a"
    [[topology.node]]
    name = "b"
    [[topology.partition]]
    name = "1"
    nodes = ["a", "b"]
"#;

/// Starts of the shortest steps that are kept, in order.
fn steps_s(folder: &Folder) -> Vec<u64> {
    let steps = folder.rows("SELECT step_start FROM entropy WHERE step_ms = 3000 ORDER BY step_start");
    let second = |row: &Value| {
        let start = humantime::parse_rfc3339(row["step_start"].as_str().unwrap()).unwrap();
        start.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    steps.iter().map(second).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_cycle_keeps_its_rows_it_has_every_step_once() {
    let behind = |folder: &Folder| folder.files(".parquet") > folder.named();
    // A cycle keeps its entropies, then its decisions.
    let deaths: [(&str, Reached); 3] = [
        ("store::append_written=2*off->pause", behind),
        ("store::append_written=3*off->pause", behind),
        ("store::appended=4*off->pause", |folder| folder.table("entropy")["segments"].as_u64() >= Some(5)),
    ];
    for (failpoint, reached) in deaths {
        let folder = Folder::new(CYCLES);
        let mut analyzer = folder.start("");
        folder.until("two cycles", |folder| folder.table("entropy")["segments"].as_u64() >= Some(2));
        // Ended in peace it writes down where it is, and goes on from there.
        analyzer.child.stop();
        let mut analyzer = folder.start(failpoint);
        folder.until(failpoint, reached);
        analyzer.child.kill();

        let _analyzer = folder.start("");
        let kept = steps_s(&folder);
        folder.until("a later cycle", |folder| steps_s(folder).last() > kept.last());
        let steps = steps_s(&folder);
        assert!(steps.starts_with(&kept), "{kept:?} was kept, and then {steps:?}");
        let every: Vec<u64> = (steps[0]..).step_by(STEP_S as usize).take(steps.len()).collect();
        assert_eq!(steps, every, "{failpoint}");
        let cycles = folder.rows("SELECT at, partition, count(*) AS n FROM risks GROUP BY at, partition");
        assert!(!cycles.is_empty() && cycles.iter().all(|row| row["n"] == 1), "{cycles:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_a_cycle_are_gone_after_a_start() {
    let folder = Folder::new(CYCLES);
    // A cycle keeps its entropies, then its decisions.
    let mut analyzer = folder.start("store::append_written=2*off->pause");
    let second = |folder: &Folder| folder.named() > 0 && folder.files(".parquet") > folder.named();
    folder.until("files of the second cycle", second);
    analyzer.child.kill();
    fs::write(folder.scratch.path().join("isotherm.toml"), "").unwrap();
    let _analyzer = folder.start("");
    assert_eq!(folder.only_what_counts(), 2, "entropy and risks of the first cycle");
}

/// The version that the catalog says it has.
fn version(folder: &Folder) -> i64 {
    let path = folder.data.path().join("catalog.db");
    let catalog = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    catalog.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Makes the catalog one of version 3, which knew windows only, and no checksums.
fn make_version_3(folder: &Folder) {
    let catalog = Connection::open(folder.data.path().join("catalog.db")).unwrap();
    catalog
        .execute_batch(
            "DROP INDEX segments_by_time;
             DROP INDEX segments_by_start;
             ALTER TABLE segments DROP COLUMN table_name;
             ALTER TABLE segments DROP COLUMN checksum;
             CREATE INDEX segments_by_time ON segments (last_end_ms, first_start_ms);
             CREATE INDEX segments_by_start ON segments (first_start_ms, level);
             DROP TABLE watermark;
             DROP TABLE late;
             DROP TABLE retired;
             DROP TABLE down;
             DROP TABLE observed;
             DROP TABLE hazards;
             PRAGMA user_version = 3;",
        )
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_changes_an_old_catalog_it_has_either_version_whole() {
    for (failpoint, left) in [("store::migrating", 3), ("store::migrated", 4)] {
        let folder = Folder::new(AT_ONCE);
        let analyzer = folder.start("");
        drop((deliver(&analyzer, 1, &[0, 1, 2]).await, analyzer));
        make_version_3(&folder);

        // It cannot be ready before its catalog is.
        let mut command = folder.command(&format!("{failpoint}=pause"));
        let log = folder.scratch.path().join("analyzer.log");
        let mut child = process::spawn("isotherm serve", &mut command, &log).unwrap();
        folder.until(failpoint, |folder| folder.log_says("changing the catalog") && version(folder) == left);
        child.kill();
        assert_eq!(version(&folder), left);

        let analyzer = folder.start("");
        assert_eq!((version(&folder), folder.only_what_counts()), (4, 3), "{failpoint}");
        drop((deliver(&analyzer, 4, &[3]).await, analyzer));
        folder.has("windows", [0, 1, 2, 3]);
        assert_eq!(folder.sound(), 4);
    }
}
