//! `isotherm export parquet|csv`: read by others, chosen by table and partition, gone on with after a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_tests::process::wait_for;
use isotherm_tests::tools::Tools;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::analyzer::{Analyzer, LIMIT, program, run};
use support::command::{code, deliver, parsed, seconds, stderr, stdout};
use support::sample::{node, peer, window, with_peers};

struct Scene {
    analyzer: Analyzer,
    _data: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Scene {
    /// Two minutes over the turn of an hour, and the same of the hour after, with peers.
    async fn new() -> Self {
        let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
        let read = isotherm_model::Operation::Read;
        let peers = vec![
            peer("1", read, "10.0.0.1:80", Some("10.9.9.9:0"), 7),
            peer("1", read, "10.0.0.1:80", None, 2),
        ];
        let mut windows = seconds(59 * 60, 120);
        windows.extend(seconds(3 * 3_600, 60));
        windows.push(window(4 * 3_600, vec![with_peers(node("a", Vec::new()), peers)]));
        deliver(&analyzer, &windows, 30).await;
        Self { analyzer, _data: data, scratch }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn export(&self, format: &str, out: &Path, args: &[&str]) -> Value {
        let fixed = ["export", format, "-o", "json", "--out", out.to_str().unwrap()];
        parsed(&self.analyzer.ask(&[&fixed[..], args].concat()).unwrap())
    }
}

/// Files below a folder, by their paths in it.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Reads an export with three readers, and prints what each sums up: rows and sums by class, first and last
/// start in milliseconds, and how many rows have no partition. Then whether CSV has the very rows of Parquet.
const READERS: &str = r#"
import sys, json, glob
import pandas as pd, pyarrow as pa, pyarrow.dataset as ds, duckdb
parquet, csv = sys.argv[1], sys.argv[2]
def summary(frame):
    ms = frame["window_start"].dt.as_unit("ms").astype("int64")
    sums = frame.groupby("class")[["ops", "bytes"]].sum()
    return {"rows": len(frame), "sums": {k: [int(v.ops), int(v.bytes)] for k, v in sums.iterrows()},
            "first": int(ms.min()), "last": int(ms.max()), "nowhere": int(frame["partition"].isna().sum())}
hive = ds.partitioning(pa.schema([("date", pa.string()), ("hour", pa.string())]), flavor="hive")
arrow = ds.dataset(parquet, format="parquet", partitioning=hive).to_table().to_pandas()
duck = duckdb.sql(f"SET TimeZone = 'UTC'; SELECT * FROM read_parquet('{parquet}/**/*.parquet', hive_partitioning = true)").df()
pandas = pd.concat([pd.read_parquet(f, partitioning=None) for f in sorted(glob.glob(parquet + "/**/*.parquet", recursive=True))])
def read(file):
    text = ["completeness", "agent", "boot", "system", "node", "class", "partition", "reason", "layer", "operation",
            "local", "remote", "peer_system", "peer_node"]
    return pd.read_csv(file, parse_dates=["window_start"], dtype={name: "str" for name in text}, keep_default_na=False,
                       na_values={name: [""] for name in ["partition", "reason", "layer", "operation", "latency_ops",
                                                          "offset_shift", "local", "remote", "peer_system", "peer_node"]})
lines = pd.concat([read(f) for f in sorted(glob.glob(csv + "/**/*.csv", recursive=True))])
def cells(frame):
    frame = frame.reset_index(drop=True)
    return {name: [None if pd.isna(v) else (v.isoformat() if name == "window_start" else
                   (int(v) if isinstance(v, (int, float)) or hasattr(v, "dtype") else v)) for v in frame[name]]
            for name in frame.columns}
a, b = cells(pandas), cells(lines)
print(json.dumps({"arrow": summary(arrow), "duck": summary(duck), "pandas": summary(pandas), "csv": summary(lines),
    "columns": list(a) == list(b), "differing": [name for name in a if a[name] != b.get(name)]}))
"#;

fn read_by_others(parquet: &Path, csv: &Path) -> Value {
    let python = Tools::locate().python().unwrap();
    parsed(&Command::new(python).args(["-c", READERS]).arg(parquet).arg(csv).output().unwrap())
}

#[tokio::test]
async fn three_readers_find_the_sums_of_the_store_and_csv_has_the_same_rows() {
    let scene = Scene::new().await;
    let (parquet, csv) = (scene.out("parquet"), scene.out("csv"));
    let report = scene.export("parquet", &parquet, &[]);
    assert_eq!(report["rows"], scene.export("csv", &csv, &[])["rows"]);
    let found = read_by_others(&parquet, &csv);

    let ask = |sql: &str| {
        let answer = parsed(&scene.analyzer.ask(&["query", sql, "-o", "json"]).unwrap());
        answer["rows"].as_array().unwrap().clone()
    };
    let mut sums = serde_json::Map::new();
    let by_class = "SELECT class, sum(ops) AS ops, sum(bytes) AS bytes FROM windows GROUP BY class";
    for row in ask(by_class) {
        sums.insert(row["class"].as_str().unwrap().to_owned(), json!([row["ops"], row["bytes"]]));
    }
    let peers = ask("SELECT sum(ops) AS ops, sum(bytes) AS bytes FROM peers");
    sums.insert("peer".to_owned(), json!([peers[0]["ops"], peers[0]["bytes"]]));
    // 180 seconds of 3 + 2 + 1 and 1 operations, and 9 of the network layer.
    assert_eq!(sums["partition"][0], json!(180 * 7 + 9));
    assert_eq!(sums["peer"], json!([9, 900]));
    for reader in ["arrow", "duck", "pandas", "csv"] {
        assert_eq!(found[reader]["rows"], report["rows"], "{reader}");
        assert_eq!(found[reader]["sums"], Value::Object(sums.clone()), "{reader}");
        assert_eq!(found[reader]["first"], json!(support::sample::START_MS + 59 * 60_000), "{reader}");
        assert_eq!(found[reader]["last"], json!(support::sample::START_MS + 4 * 3_600_000), "{reader}");
        assert_eq!(found[reader]["nowhere"], found["arrow"]["nowhere"], "{reader}");
    }
    assert_eq!((&found["columns"], &found["differing"]), (&json!(true), &json!([])), "CSV and Parquet");
}

#[tokio::test]
async fn tables_and_partitions_are_chosen() {
    let scene = Scene::new().await;
    let rows = |name: &str, args: &[&str]| {
        let out = scene.out(name);
        let rows = scene.export("csv", &out, args)["rows"].as_u64().unwrap();
        let lines: usize =
            files(&out).values().map(|file| file.split(|byte| *byte == b'\n').count() - 2).sum();
        assert_eq!(rows, lines as u64, "a header in each file, and a line for each row");
        rows
    };
    let (all, windows, peers) =
        (rows("all", &[]), rows("w", &["--table", "windows"]), rows("p", &["--table", "peers"]));
    assert_eq!((all, peers), (windows + peers, 2));
    assert_eq!(rows("two", &["--table", "windows", "--partition", "seaweedfs/2"]), 180);
    assert_eq!(rows("none", &["--partition", "other/2"]), 0);
    assert_eq!(rows("n", &["--table", "nodes"]), 2);
    assert_eq!(files(&scene.out("n")).keys().collect::<Vec<_>>(), ["part-00000.csv"]);
    assert_eq!(rows("q", &["--table", "partitions", "--partition", "1"]), 1);
    let fixed = ["export", "parquet", "--out", "/nowhere/at/all"];
    for args in [&["--table", "x"][..], &["--table", "nodes", "--partition", "1"]] {
        let refused = scene.analyzer.ask(&[&fixed[..], args].concat()).unwrap();
        assert_eq!(code(&refused), Some(2), "{}", stderr(&refused));
        assert!(!Path::new("/nowhere").exists());
    }
}

#[tokio::test]
async fn an_export_that_is_killed_goes_on_and_is_as_if_it_had_not_been() {
    let scene = Scene::new().await;
    let whole = scene.out("whole");
    scene.export("parquet", &whole, &[]);
    let want = files(&whole);
    assert_eq!(want.len(), 4);
    let out = scene.out("killed");
    let args =
        ["export", "parquet", "-o", "json", "--out", out.to_str().unwrap(), "--server", &scene.analyzer.url];
    // Killed after the first and the third file: each attempt goes on after the one before.
    for (attempt, at) in [(1usize, "pause"), (3, "1*off->pause")] {
        let mut command = Command::new(program().unwrap());
        command.args(args).env("FAILPOINTS", format!("export::file_finished={at}"));
        let mut export = command.stdout(Stdio::null()).spawn().unwrap();
        let manifest = out.join(".isotherm-export/manifest.jsonl");
        wait_for("files of an export", LIMIT, || {
            let text = fs::read_to_string(&manifest).unwrap_or_default();
            Ok((text.matches("\"whole\"").count() == attempt).then_some(()))
        })
        .unwrap();
        export.kill().unwrap();
        export.wait().unwrap();
        let visible = fs::read_dir(&out).unwrap().count();
        assert_eq!(visible, 1, "nothing but what is hidden");
    }
    // A file that was being written, and one that was damaged since.
    let gathered = out.join(".isotherm-export");
    fs::write(gathered.join("date=2026-01-01/hour=12/part-00009.tmp"), "half").unwrap();
    let damaged = files(&gathered).into_keys().filter(|name| name.ends_with("parquet")).max().unwrap();
    fs::write(gathered.join(damaged), "short").unwrap();
    let report = parsed(&run(&args).unwrap());
    assert_eq!(report["resumed_files"], json!(2));
    assert_eq!(files(&out), want);
    assert_eq!(report["rows"], scene.export("parquet", &scene.out("again"), &[])["rows"]);

    let other = scene.analyzer.ask(&["export", "csv", "--out", out.to_str().unwrap()]).unwrap();
    assert_eq!(code(&other), Some(1));
    assert!(stderr(&other).contains("is not empty"), "{}", stderr(&other));
    let forced = ["export", "csv", "--force", "--table", "nodes", "--out", out.to_str().unwrap()];
    assert!(stdout(&scene.analyzer.ask(&forced).unwrap()).starts_with("2 rows in 1 files"));
    assert_eq!(files(&out).keys().collect::<Vec<_>>(), ["part-00000.csv"]);
}

#[tokio::test]
async fn files_within_an_hour_are_numbered_on() {
    // More rows than one file takes, in one hour.
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let nodes = |second: u64| {
        let read = isotherm_model::Operation::Read;
        let rows = |_: u32| (0..200).map(|p| support::sample::row(&p.to_string(), read, 1)).collect();
        window(second, (0..10).map(|n| node(&format!("n{n}"), rows(n))).collect())
    };
    deliver(&analyzer, &(0..35).map(nodes).collect::<Vec<_>>(), 5).await;
    let export = |name: &str, failpoints: Option<&str>| {
        let out = scratch.path().join(name);
        let mut command = Command::new(program().unwrap());
        command.args(["export", "parquet", "-o", "json", "--server", &analyzer.url, "--out"]).arg(&out);
        if let Some(failpoints) = failpoints {
            command.env("FAILPOINTS", failpoints);
        }
        (out, command.output().unwrap())
    };
    let (whole, _) = export("whole", None);
    let want = files(&whole);
    assert_eq!(want.len(), 2, "{:?}", want.keys());
    let (out, broken) = export("broken", Some("export::file_finished=panic"));
    assert_eq!(code(&broken), Some(101));
    let report = parsed(&export("broken", None).1);
    assert_eq!((report["resumed_files"].clone(), files(&out) == want), (json!(1), true));
}
