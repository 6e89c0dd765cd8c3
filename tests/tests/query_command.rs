//! `isotherm query`, of an analyzer and of a folder: answers, limits, and that nothing is left of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_tests::process::wait_for;
use isotherm_tests::usage::memory_kib;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::analyzer::{Analyzer, LIMIT, program, run};
use support::command::{code, deliver, parsed, seconds, stderr, stdout};

/// An analyzer with two minutes of telemetry, of which the second is of the next hour.
struct Scene {
    analyzer: Analyzer,
    data: tempfile::TempDir,
    _scratch: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
        deliver(&analyzer, &seconds(59 * 60, 120), 30).await;
        Self { analyzer, data, _scratch: scratch }
    }

    /// Asks the analyzer, and reads its folder beside it.
    fn both(&self, args: &[&str]) -> [Output; 2] {
        let data = self.data.path().to_str().unwrap();
        let query = [&["query"], args].concat();
        [self.analyzer.ask(&query).unwrap(), run(&[&query[..], &["--data-dir", data]].concat()).unwrap()]
    }

    /// What both answer, which is the same.
    fn text(&self, args: &[&str]) -> String {
        let [remote, local] = self.both(args).map(|output| stdout(&output));
        assert_eq!(remote, local);
        remote
    }

    fn rows(&self, sql: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.text(&[sql, "-o", "json"])).unwrap();
        answer["rows"].clone()
    }

    /// A query of the folder that is under way.
    fn begin(&self, sql: &str) -> Child {
        let mut command = Command::new(program().unwrap());
        // Whom others ask is not looked at.
        command.env("ISOTHERM_SERVER", "http://127.0.0.1:1");
        command.args(["query", sql, "-o", "csv", "--data-dir"]).arg(self.data.path());
        command.stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// A billion pairs and more: never over within a test.
const ENDLESS: &str = "SELECT count(*) AS n FROM windows a CROSS JOIN windows b CROSS JOIN windows c
                       WHERE a.ops + b.ops + c.ops > 1";

/// Workers whose parent has this id.
fn workers(parent: u32) -> Vec<i32> {
    let of = |pid: i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(") ")?;
        let ppid: u32 = after_name.split(' ').nth(1)?.parse().ok()?;
        (command.contains("query-worker") && ppid == parent).then_some(pid)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| of(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn worker_of(parent: u32) -> i32 {
    wait_for("a worker", LIMIT, || Ok(workers(parent).first().copied())).unwrap()
}

/// Waits until a process is gone, or is a zombie that nobody has waited for yet.
fn wait_for_end(pid: i32) {
    wait_for("the end of a worker", LIMIT, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ended = stat.is_empty() || stat.contains(") Z ");
        Ok(ended.then_some(()))
    })
    .unwrap();
}

#[tokio::test]
async fn answers_are_the_sums_of_what_was_sent() {
    let scene = Scene::new().await;
    let sums = "SELECT node, class, sum(ops) AS ops, sum(bytes) AS bytes FROM windows
                WHERE operation = 'read' GROUP BY node, class ORDER BY node, class";
    assert_eq!(
        scene.rows(sums),
        json!([
            {"node": "a", "class": "other", "ops": 600, "bytes": 60000},
            {"node": "a", "class": "partition", "ops": 480, "bytes": 48000},
            {"node": "a", "class": "total", "ops": 1080, "bytes": 108000},
            {"node": "b", "class": "partition", "ops": 120, "bytes": 12000},
            {"node": "b", "class": "total", "ops": 120, "bytes": 12000},
        ])
    );
    let second_hour = "SELECT min(window_start) AS first, sum(ops) AS ops FROM windows
        WHERE class = 'total' AND operation = 'read' AND window_start >= '2026-01-01T11:00:00+01:00'";
    assert_eq!(scene.rows(second_hour), json!([{"first": "2026-01-01T10:00:00Z", "ops": 600}]));
    let partitions = "SELECT partition, nodes, reads, writes, last_window FROM partitions ORDER BY partition";
    assert_eq!(
        scene.rows(partitions),
        json!([
            {"partition": "1", "nodes": 2, "reads": 480, "writes": 240, "last_window": "2026-01-01T10:00:59Z"},
            {"partition": "2", "nodes": 1, "reads": 120, "writes": null, "last_window": "2026-01-01T10:00:59Z"},
        ])
    );
    let by_flag = ["SELECT count(*) AS n FROM windows", "--since", "2026-01-01T10:00:59Z", "-o", "jsonl"];
    assert_eq!(scene.text(&by_flag), "{\"n\":9}\n");
}

#[tokio::test]
async fn every_format_has_the_same_rows_and_nulls_are_null() {
    let scene = Scene::new().await;
    let sql =
        "SELECT partition, reason, ops, window_start FROM windows WHERE operation = 'read' AND node = 'a'
        AND window_start = '2026-01-01 09:59:00' ORDER BY class, partition";
    let row = |partition: Value, reason: Value, ops: u64| json!({"partition": partition, "reason": reason, "ops": ops, "window_start": "2026-01-01T09:59:00Z"});
    let want = [
        row(Value::Null, json!("no_rule"), 5),
        row(json!("1"), Value::Null, 3),
        row(json!("2"), Value::Null, 1),
        row(Value::Null, Value::Null, 9),
    ];
    assert_eq!(scene.rows(sql), json!(want));
    let lines = scene.text(&[sql, "-o", "jsonl"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, want);
    let at = "2026-01-01T09:59:00Z";
    assert_eq!(
        scene.text(&[sql, "-o", "csv"]),
        format!("partition,reason,ops,window_start\n,no_rule,5,{at}\n1,,3,{at}\n2,,1,{at}\n,,9,{at}\n")
    );
    let table = scene.text(&[sql, "--rows", "2"]);
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[1], ["null", "no_rule", "5", at], "{table}");
    assert!(cells.len() == 4 && table.contains("(the first 2 rows:"), "{table}");
    let wide = scene.text(&["SELECT * FROM windows", "--rows", "1"]);
    assert!(wide.contains("more columns"), "{wide}");
}

#[tokio::test]
async fn only_reading_the_tables_is_possible() {
    let scene = Scene::new().await;
    let folder = |dir: &Path| {
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    };
    let before = folder(scene.data.path());
    let written = scene.data.path().join("written");
    let copy = format!("COPY (SELECT * FROM windows) TO '{}'", written.display());
    for sql in [
        "DROP TABLE windows",
        "DELETE FROM windows",
        "INSERT INTO windows SELECT * FROM windows",
        "CREATE TABLE x AS SELECT * FROM windows",
        "SELECT 1; DROP TABLE windows",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        &copy,
    ] {
        for refused in scene.both(&[sql]) {
            assert_eq!(code(&refused), Some(2), "{sql}: {}", stderr(&refused));
            assert!(refused.stdout.is_empty(), "{sql}");
        }
    }
    assert_eq!(folder(scene.data.path()), before);
    assert_eq!(scene.rows("SELECT count(*) AS n FROM windows"), json!([{"n": 1080}]));
}

#[tokio::test]
async fn mistakes_exit_with_2_and_say_what_there_is() {
    let scene = Scene::new().await;
    for (sql, words) in [
        ("SELECT ops FROM windows WHERE )", &["Line: 1, Column: 31"][..]),
        ("SELECT ops FROM window", &["no table window", "windows, peers"]),
        ("SELECT opps FROM windows", &["opps", "ops, bytes"]),
        ("SELECT ops FROM windows WHERE window_start > 'soon'", &["soon", "window_start"]),
        ("SELECT CAST(node AS INT) FROM windows", &["a"]),
    ] {
        for refused in scene.both(&[sql]) {
            assert_eq!(code(&refused), Some(2), "{sql}: {}", stderr(&refused));
            assert!(words.iter().all(|word| stderr(&refused).contains(word)), "{sql}: {}", stderr(&refused));
        }
    }
    let nowhere = run(&["query", "SELECT 1", "--data-dir", "/nowhere"]).unwrap();
    assert_eq!(code(&nowhere), Some(1));
    assert!(stderr(&nowhere).contains("/nowhere"), "{}", stderr(&nowhere));
    let too_much = scene.analyzer.ask(&["query", "SELECT 1", "--memory", "3GiB"]).unwrap();
    assert_eq!(code(&too_much), Some(2));
    let too_little = scene.both(&["SELECT 1", "--memory", "1MiB"]);
    assert!(too_little.iter().all(|output| code(output) == Some(2)));
}

#[tokio::test]
async fn a_query_that_takes_too_much_memory_ends_with_the_limit_it_had() {
    let scene = Scene::new().await;
    let sql = "SELECT a.ops, b.seq, c.bytes FROM windows a CROSS JOIN windows b CROSS JOIN windows c ORDER BY 1, 2, 3";
    for exhausted in scene.both(&[sql, "--memory", "192MiB", "-o", "csv"]) {
        assert_eq!(code(&exhausted), Some(1), "{}", stderr(&exhausted));
        let said = stderr(&exhausted);
        assert!(said.contains("192.0 MiB") && said.contains("--memory"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(workers(std::process::id()).is_empty());
    assert_eq!(scene.rows("SELECT count(*) AS n FROM windows"), json!([{"n": 1080}]), "others go on");
}

#[tokio::test]
async fn a_query_that_takes_too_long_exits_with_6() {
    let scene = Scene::new().await;
    let began = Instant::now();
    for late in scene.both(&[ENDLESS, "--timeout", "1s"]) {
        assert_eq!(code(&late), Some(6), "{}", stderr(&late));
        assert!(stderr(&late).contains("longer than 1s"), "{}", stderr(&late));
    }
    assert!(began.elapsed() < LIMIT);
    assert!(workers(scene.analyzer.child.pid()).is_empty());
}

#[tokio::test]
async fn nothing_is_left_of_a_query_that_nobody_waits_for() {
    let scene = Scene::new().await;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut query = scene.begin(ENDLESS);
        let worker = worker_of(query.id());
        kill(Pid::from_raw(query.id().try_into().unwrap()), signal).unwrap();
        query.wait().unwrap();
        wait_for_end(worker);
    }
    let mut command = Command::new(program().unwrap());
    let mut query = command.args(["query", ENDLESS, "--server", &scene.analyzer.url]).spawn().unwrap();
    let worker = worker_of(scene.analyzer.child.pid());
    query.kill().unwrap();
    query.wait().unwrap();
    wait_for_end(worker);

    let mut query = command.spawn().unwrap();
    let worker = worker_of(scene.analyzer.child.pid());
    let Scene { mut analyzer, .. } = scene;
    analyzer.child.kill();
    wait_for_end(worker);
    assert_eq!(query.wait().unwrap().code(), Some(8), "the analyzer went away");
}

#[tokio::test]
async fn the_analyzer_runs_few_queries_at_once_and_the_others_wait() {
    let scene = Scene::new().await;
    let pid = scene.analyzer.child.pid();
    let ask = || {
        let mut command = Command::new(program().unwrap());
        command.args(["query", ENDLESS, "--timeout", "3s", "--server", &scene.analyzer.url]);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let mut queries = [ask(), ask(), ask(), ask()];
    let mut most = 0;
    let began = Instant::now();
    while queries.iter_mut().any(|query| query.try_wait().unwrap().is_none()) {
        most = most.max(workers(pid).len());
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(most, 2);
    assert!(queries.iter_mut().all(|query| query.wait().unwrap().code() == Some(6)));
}

#[tokio::test]
async fn many_rows_pass_through_without_being_kept() {
    let scene = Scene::new().await;
    let padding = "x".repeat(400);
    let sql = &format!(
        "SELECT '{padding}' AS padding, a.ops FROM windows a CROSS JOIN windows b
         WHERE b.class = 'total' AND b.node = 'b' AND b.operation = 'read'"
    );
    let rows = 1_080u64 * 120;
    let serve_before = memory_kib(scene.analyzer.child.pid(), "VmHWM").unwrap() * 1_024;
    let mut command = Command::new(program().unwrap());
    command.args(["query", sql, "-o", "csv", "--server", &scene.analyzer.url]);
    let remote = command.stdout(Stdio::piped()).spawn().unwrap();
    for (mut query, serve) in [(scene.begin(sql), None), (remote, Some(scene.analyzer.child.pid()))] {
        let mut out = query.stdout.take().unwrap();
        let (mut bytes, mut lines, mut first, mut peak) = (0u64, 0u64, None, 0);
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = out.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            bytes += read as u64;
            lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            // Not at every piece, and while it is surely alive: its pipe is full.
            if lines < rows * 9 / 10 {
                peak = memory_kib(query.id(), "VmHWM").unwrap() * 1_024;
                // What the program itself takes is no row that it keeps.
                first.get_or_insert(peak);
            }
        }
        assert_eq!(query.wait().unwrap().code(), Some(0));
        assert_eq!(lines, rows + 1);
        let kept = peak - first.unwrap();
        assert!(bytes > 40 << 20 && kept < 16 << 20, "{bytes} bytes passed, {kept} were kept");
        assert!(peak < 64 << 20, "the program takes {peak} bytes");
        if let Some(serve) = serve {
            let grown = (memory_kib(serve, "VmHWM").unwrap() * 1_024).saturating_sub(serve_before);
            // Its cycles take some beside it.
            assert!(grown < 40 << 20, "the analyzer grew by {grown} bytes");
        }
    }
}

#[tokio::test]
async fn a_folder_is_read_when_nobody_serves_it() {
    let scene = Scene::new().await;
    let Scene { analyzer, data, _scratch } = scene;
    drop(analyzer);
    let args = [
        "query",
        "SELECT node, listening FROM nodes",
        "-o",
        "json",
        "--data-dir",
        data.path().to_str().unwrap(),
    ];
    let answer = parsed(&run(&args).unwrap());
    assert_eq!(answer["columns"], json!(["node", "listening"]));
    assert_eq!(answer["rows"], json!([{"node": "a", "listening": []}, {"node": "b", "listening": []}]));
}
