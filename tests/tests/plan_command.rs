//! `isotherm plan` as it is run: the report, the placement it writes, what it exits with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_tests::workspace;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Four racks of one node each; four partitions of two replicas.
const NODES: &str = "node,rack,zone,weight,capacity_mib,load_cap,nic_mbit\n\
                     0,a,x,1,1000,100,800\n1,b,x,1,1000,100,800\n2,c,y,1,1000,100,800\n3,d,y,1,1000,100,800\n";
const PARTS: &str = "pid,size_mib,load\n0,100,10\n1,100,10\n2,100,10\n3,100,10\n";
const ASSIGN: &str = "pid,n0,n1\n0,0,1\n1,1,2\n2,2,3\n3,3,0\n";
const EVENTS: &str = r#"[{"id": "fail1", "fail": [0]}, {"id": "two left", "fail": [0, 1, 2]}]"#;

fn cluster(changed: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [("nodes.csv", NODES), ("parts.csv", PARTS), ("assign.csv", ASSIGN), ("events.json", EVENTS)];
    for (name, text) in files.iter().chain(changed) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn plan(folder: &Path, what: &str, args: &[&str]) -> Output {
    let mut command = Command::new(workspace::program("isotherm"));
    command.args(["plan", what, "--data"]).arg(folder).arg("--out").arg(folder.join("plan.csv")).args(args);
    command.output().expect("`cargo build -p isotherm` has been run")
}

fn simulate(folder: &Path, event: &str, args: &[&str]) -> Output {
    plan(folder, "simulate", &[&["--event", event], args].concat())
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn written(folder: &Path) -> String {
    fs::read_to_string(folder.join("plan.csv")).unwrap()
}

/// What was said without the folder's name, the plan's hash and what depends on the machine.
fn report(output: &Output, folder: &Path) -> String {
    let text = said(&output.stdout).replace(&folder.display().to_string(), "DIR");
    let line = |line: &str| match line.split_whitespace().next() {
        Some("plan") => "plan HASH of revision 0, in DIR/plan.csv".to_owned(),
        Some("time") => "time".to_owned(),
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(|of| line(of) + "\n").collect()
}

/// What the table says of it; with as many partitions as nodes, nothing is even.
const EXPECTED: &str = r#"fail1 on DIR: 4 nodes, 3 up, 1 down, 2 zones, 4 racks; 4 partitions of 2 replicas
plan HASH of revision 0, in DIR/plan.csv

WHAT                       BEFORE   AFTER  AT BEST
size, highest over mean    0.7500  1.1250   1.0000
load, highest over mean    0.7500  1.1250
copysets                        4       3
scatter width, mean           1.3     2.0
the same, effective           1.3     1.9
P(loss | 3 nodes)          1.00e0  1.00e0
P(quorum lost | 2 nodes)   1.0000  1.0000
quorums of the worst node       2       3

moves      2: 2 lost
bytes      200.0 MiB, 1.0000 of the least possible
receivers  2 nodes, the largest takes 50.0 %
schedule   1.0 s in 1 wave, 1.000 of the least possible
checker    clean
refused    nothing
time

PARTITION  MOVE             BYTES  REASON  GAIN              SCORE  RUNNER-UP  REJECTED
0          copy 0 -> 3  100.0 MiB  lost    replicas 1 -> 2  1.1029  2 1.1029   1 no target, 1 holds it

stays: others were moved instead, or nothing was asked for; 2 is at 1.1250 of the mean
"#;

#[test]
fn a_failed_node_is_replaced_and_the_report_says_how() {
    let folder = cluster(&[]);
    let output = simulate(folder.path(), "fail1", &["--moves", "1", "--explain", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert_eq!(report(&output, folder.path()), EXPECTED);
    let rows = written(folder.path());
    assert!(rows.starts_with("pid,n0,n1\n"), "{rows}");
    // What did not lose a replica is as it was.
    assert!(rows.contains("\n1,1,2\n2,2,3\n"), "{rows}");
    assert!(!rows.contains(",0"), "{rows}");
}

#[test]
fn the_same_as_json_has_names_and_full_precision() {
    let folder = cluster(&[]);
    let output = simulate(folder.path(), "fail1", &["-o", "json", "--moves", "9"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["moves"]["moves"], 2);
    assert_eq!(found["moves"]["bytes"], 200 << 20);
    assert_eq!(found["moves"]["over_least"], 1.0);
    assert_eq!(found["largest"].as_array().unwrap().len(), 2);
    assert_eq!(found["largest"][0]["from"], "0");
    assert_eq!(found["cluster"]["down"], 1);
    assert_eq!(found["violations"], serde_json::json!([]));
    // A copy of 100 MiB at 100 MB/s, from nodes that serve to nodes that serve.
    let bound = found["schedule"]["bound_s"].as_f64().unwrap();
    assert!((1.0..=4.0).contains(&bound), "{bound}");
    assert!(found["peak_rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn what_had_to_be_done_and_is_not_has_its_own_exit_code() {
    let folder = cluster(&[]);
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "breaker = 1.0\n").unwrap();
    let output = simulate(folder.path(), "two left", &["-o", "json", "--policy", policy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let undone: u64 =
        found["refused"].as_array().unwrap().iter().map(|group| group["undone"].as_u64().unwrap()).sum();
    assert!(undone > 0, "{found}");
    // Where to restore what nobody has any more is advice, and not done.
    assert_eq!(found["moves"]["moves"], 0);
    assert!(written(folder.path()).contains("\n0,3,1\n"));
    assert!(found["restores"].as_u64().unwrap() > 0);
    let breaker = simulate(folder.path(), "two left", &[]);
    assert_eq!(breaker.status.code(), Some(4));
    assert!(said(&breaker.stdout).contains("breaker"), "{}", said(&breaker.stdout));
    assert_eq!(written(folder.path()), ASSIGN);
}

#[test]
fn what_is_not_there_and_what_is_wrong_is_told_with_its_place() {
    let folder = cluster(&[]);
    let unknown = simulate(folder.path(), "fail2", &[]);
    assert_eq!(unknown.status.code(), Some(3));
    let expected = "isotherm: there is no event \"fail2\"; there are fail1, two left, none, balance\n";
    assert_eq!(said(&unknown.stderr), expected);
    let partition = simulate(folder.path(), "none", &["--explain", "x"]);
    assert_eq!(partition.status.code(), Some(3));
    assert_eq!(said(&partition.stderr), "isotherm: parts.csv has no partition \"x\"\n");
    for (file, text, place) in [
        (
            "nodes.csv",
            "node,rack,capacity_mib\n0,a,x\n",
            "nodes.csv line 2, column capacity_mib: \"x\" is not",
        ),
        ("parts.csv", "pid,size_mib\n0,1\n0,1\n", "several partitions are called \"0\""),
        ("assign.csv", "pid,n0,n1\n0,0,1\n9,1,2\n", "assign.csv line 3, column pid: \"9\" is no partition"),
        ("events.json", "[{\"id\": \"none\", \"explode\": 1}]", "unknown field `explode`"),
        ("policy.toml", "fan_out = 4\nfanout = 4\n", "policy.toml line 2: unknown field `fanout`"),
    ] {
        let folder = cluster(&[("policy.toml", ""), (file, text)]);
        let policy = folder.path().join("policy.toml");
        let output = simulate(folder.path(), "none", &["--policy", policy.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(said(&output.stderr).contains(place), "{}", said(&output.stderr));
        assert!(!folder.path().join("plan.csv").exists());
    }
}

#[test]
fn a_second_run_of_what_was_written_moves_nothing() {
    let folder = cluster(&[]);
    simulate(folder.path(), "fail1", &[]);
    let before = written(folder.path());
    fs::write(folder.path().join("assign.csv"), &before).unwrap();
    let output = simulate(folder.path(), "fail1", &["-o", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["moves"]["moves"], 0);
    assert_eq!(written(folder.path()), before);
}

#[test]
fn copysets_are_laid_out_anew_and_a_spread_factor_is_recommended() {
    let folder = cluster(&[]);
    let output = plan(folder.path(), "copysets", &["--spread", "1", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["spread"], 1);
    // Two pairs of four nodes.
    assert_eq!(found["copysets"]["after"]["copysets"], 2);
    assert_eq!(written(folder.path()).lines().count(), 5);
    let mut command = Command::new(workspace::program("isotherm"));
    command.args(["plan", "spread", "--nodes", "1000", "--node-gib", "4096", "--repair-mib-per-s", "100"]);
    let output = command.args(["--correlated-nodes", "10", "--repair-within", "1h"]).output().unwrap();
    assert!(said(&output.stdout).starts_with("spread factor 24, by the repair time\n"));
}
