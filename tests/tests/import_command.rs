//! `isotherm import trace`: a block trace whose histogram is known becomes telemetry that can be asked and judged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use support::analyzer::run;
use support::command::{code, parsed, stderr, stdout};

/// 2026-01-01T00:00:00Z.
const START_S: u64 = 1_767_225_600;

/// Half an hour at `first` reads a second, each second one read of every one of `places` blocks of 8 MiB, and a write
/// of 512 bytes at the end of a GiB, so that a bucket is 16 MiB.
fn trace(places: u64) -> String {
    let mut text = String::new();
    for second in 0..1_800 {
        let at = START_S + second;
        for place in 0..places {
            writeln!(text, "{at}.{place:03},R,4096,{}", place * 8 * 2_048).unwrap();
        }
        writeln!(text, "{at}.999,W,512,{}", (1 << 21) - 1).unwrap();
    }
    text
}

fn rows(dir: &Path, sql: &str) -> Value {
    parsed(&run(&["query", sql, "-o", "json", "--data-dir", dir.to_str().unwrap()]).unwrap())["rows"].clone()
}

#[test]
fn a_trace_of_known_histogram_is_counted_to_the_last_access() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("d1.csv"), trace(8)).unwrap();
    fs::write(path("d2.csv"), trace(2)).unwrap();
    let (one, two, dir) = (path("d1.csv"), path("d2.csv"), path("data"));
    let (one, two, folder) = (one.to_str().unwrap(), two.to_str().unwrap(), dir.to_str().unwrap());
    let import = ["import", "trace", one, two, "--data-dir", folder];
    let imported = parsed(&run(&[&import[..], &["-o", "json"]].concat()).unwrap());
    let expected = json!({
        "accesses": 1_800 * 12, "reads": 1_800 * 10, "writes": 1_800 * 2, "windows": 180, "nodes": 2,
        "partitions": 2, "since_ms": START_S * 1_000, "until_ms": (START_S + 1_800) * 1_000
    });
    assert_eq!(imported, expected);

    // Buckets of 16 MiB: two blocks of 8 MiB in each.
    let counted = rows(
        &dir,
        "SELECT node, partition, layer, operation, max(offset_shift) AS shift, sum(ops) AS ops, sum(bytes) AS bytes, \
         sum(o00) AS o00, sum(o03) AS o03, sum(o04) AS o04, sum(o63) AS o63 FROM windows WHERE class = 'partition' \
         GROUP BY node, partition, layer, operation ORDER BY node, operation",
    );
    let row = |name: &str, operation: &str, ops: u64, each: u64, [o00, o03, o04, o63]: [u64; 4]| {
        json!({
            "node": name, "partition": name, "layer": "device", "operation": operation, "shift": 24, "ops": ops,
            "bytes": ops * each, "o00": o00, "o03": o03, "o04": o04, "o63": o63
        })
    };
    let expected = json!([
        row("d1", "read", 14_400, 4_096, [3_600, 3_600, 0, 0]),
        row("d1", "write", 1_800, 512, [0, 0, 0, 1_800]),
        row("d2", "read", 3_600, 4_096, [3_600, 0, 0, 0]),
        row("d2", "write", 1_800, 512, [0, 0, 0, 1_800]),
    ]);
    assert_eq!(counted, expected);
    let again = run(&import).unwrap();
    assert_eq!(code(&again), Some(2));
    assert!(stderr(&again).contains("has windows already"), "{}", stderr(&again));
    assert!(stdout(&run(&["store", "verify", "--data-dir", folder]).unwrap()).contains("0 flaws"));

    // It can be recorded and judged: one node has no entropy over nodes, the offsets have one.
    let config = path("trace.toml");
    fs::write(&config, "[cycle.layers]\ntrace = \"device\"\n").unwrap();
    let (config, file) = (config.to_str().unwrap(), path("t.isorec"));
    let record = ["record", "--data-dir", folder, "--config", config, "--warm-up", "0s", "--out"];
    let recorded = parsed(&run(&[&record[..], &[file.to_str().unwrap(), "-o", "json"]].concat()).unwrap());
    assert_eq!((&recorded["minutes"], &recorded["unwatched_minutes"]), (&json!(30), &json!(0)));
    let output = run(&["replay", file.to_str().unwrap(), "--partition", "d1", "-o", "jsonl"]).unwrap();
    let cycles: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let middle = &cycles[15]["record"];
    assert_eq!(middle["status"], "not_applicable", "{middle}");
    let offsets = middle["offset"]["h"].as_f64().unwrap();
    // Four of 64 buckets alike are 2 of 6 bits.
    assert!((offsets - 2.0 / 6.0).abs() < 0.01, "{offsets}");
    let judged = parsed(&run(&["backtest", "--from", file.to_str().unwrap(), "-o", "json"]).unwrap());
    assert!(judged["incidents"]["not_judged"].as_str().unwrap().contains("no incidents were recorded"));
    assert!(judged["surges"]["not_judged"].as_str().unwrap().contains("no surge began"), "{judged}");
}

#[test]
fn a_line_that_is_none_is_named_and_nothing_is_guessed() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("bad.csv");
    let folder = scratch.path().join("data");
    let import = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        let arguments = ["import", "trace", file.to_str().unwrap(), "--data-dir", folder.to_str().unwrap()];
        run(&[&arguments[..], more].concat()).unwrap()
    };
    let wrong = import("1767225600,R,4096,8\n1767225601,Q,4096,8\n", &[]);
    assert_eq!(code(&wrong), Some(1));
    assert!(stderr(&wrong).contains("bad.csv line 2: op \"Q\""), "{}", stderr(&wrong));
    let late = import("1767225660,R,4096,8\n1767225690,R,4096,8\n1767225600,R,4096,8\n", &[]);
    assert!(
        stderr(&late).contains("bad.csv line 3") && stderr(&late).contains("earlier"),
        "{}",
        stderr(&late)
    );
    assert_eq!(code(&import("", &[])), Some(3));
    assert_eq!(code(&import("x", &["--columns", "time,op"])), Some(2));
    let relative = import(
        "time,op,size,lbn\n0.5,read,4096,8\n1.5,write,512,16\n",
        &["--header", "--begin", "2026-01-01T00:00:00Z", "-o", "json"],
    );
    assert_eq!(parsed(&relative)["since_ms"], START_S * 1_000);
}
