//! An incident as a file: what the real analyzer decided is decided again from a recording of its folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{Operation, Timestamp, Window};
use isotherm_proto::adapter::v1::{Changes, Health, Node};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::adapter::{self, Cluster};
use support::analyzer::{Analyzer, program, run, serve};
use support::command::{code, parsed, stderr, stdout};
use support::sample::{node, row, window};
use support::telemetry::Agent;

/// A step is a second here, so that a test need not last for hours; windows have time to come on a busy machine. The
/// topology is an adapter's.
const CONFIG: &str = r#"
    [cycle]
    settle = "5s"
    [cycle.policy]
    step_ms = 1000
"#;

const LIMIT: Duration = Duration::from_secs(120);

/// Cycles that there are to be.
const CYCLES: usize = 30;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The second that starts then; node c, which nobody describes as such, serves a partition of its own.
fn second(start_ms: u64) -> Window {
    let wobble = start_ms / 1_000 % 7;
    let reads = |partition, ops| row(partition, Operation::Read, ops);
    let nodes = vec![
        node("a", vec![reads("1", 57 + wobble)]),
        node("b", vec![reads("1", 30), reads("2", 40 + wobble)]),
        node("c", vec![reads("1", 10), reads("2", 20), reads("3", 35)]),
    ];
    Window { start: Timestamp::from_ms(start_ms), ..window(0, nodes) }
}

/// What a folder has of cycles, by time and partition.
fn risks(data: &Path) -> BTreeMap<(u64, String), Value> {
    let sql = "SELECT *, CAST(at AS BIGINT) AS at_ms FROM risks";
    let output = run(&["query", sql, "-o", "jsonl", "--data-dir", data.to_str().unwrap()]).unwrap();
    let key = |row: &Value| (row["at_ms"].as_u64().unwrap(), row["partition"].as_str().unwrap().to_owned());
    said(&output).into_iter().map(|row| (key(&row), row)).collect()
}

/// Partitions 1 and 2, on three nodes that can serve so much.
fn cluster() -> Cluster {
    let nodes = [("a", "r1"), ("b", "r2"), ("c", "r3")].map(|(name, rack)| Node {
        load_capacity_ops_per_s: Some(1_000),
        ..adapter::node(name, &["dc1", rack])
    });
    let partitions =
        vec![adapter::partition("1", &["a", "b", "c"], 1), adapter::partition("2", &["b", "c"], 1)];
    Cluster::new(nodes.into(), partitions)
}

/// Sends every second as it ends until there were enough cycles. On the way a node is drained for a while, and a
/// partition gets another leader and a third node.
async fn live(
    data: &Path,
    scratch: &Path,
    config: &Path,
    cluster: &Cluster,
) -> BTreeMap<(u64, String), Value> {
    let mut command = serve(data).unwrap();
    command.arg("--config").arg(config);
    let analyzer = Analyzer::from_command(command, scratch).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let mut moves = (1..=2).peekable();
    let (begun, mut seq, mut sent_ms) = (Instant::now(), 0, now_ms() / 1_000 * 1_000);
    loop {
        while sent_ms + 1_000 <= now_ms() {
            seq += 1;
            agent.deliver_all(seq, &[second(sent_ms)]).await.unwrap();
            sent_ms += 1_000;
        }
        let output = analyzer.ask(&["analyze", "risk", "--top", "0", "-o", "json"]).unwrap();
        let cycle = parsed(&output)["cycle"]["number"].as_u64();
        let reached = |cycles: usize| cycle.is_some_and(|cycle| cycle as usize >= cycles);
        if reached(CYCLES / 3) && moves.next_if_eq(&1).is_some() {
            cluster.set_health(&["c"], Health::Draining);
        }
        if reached(CYCLES / 2) && moves.next_if_eq(&2).is_some() {
            cluster.set_health(&["c"], Health::Up);
            let partitions = vec![adapter::partition("2", &["c", "b", "a"], 2)];
            cluster.change(Changes { partitions, ..Changes::default() });
        }
        if reached(CYCLES) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "there were only {cycle:?} cycles");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(agent);
    drop(analyzer);
    risks(data)
}

fn said(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_is_decided_again_from_a_file_on_any_number_of_threads() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = scratch.path().join("isotherm.toml");
    let cluster = cluster();
    let served = cluster.serve("127.0.0.1:0").await.unwrap();
    let adapter = format!("[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://{}\"\n", served.address);
    fs::write(&config, format!("{CONFIG}{adapter}")).unwrap();
    let live = live(data.path(), scratch.path(), &config, &cluster).await;
    drop(served);
    let first_ms = live.first_key_value().unwrap().0.0;
    assert!(live.len() >= 3 * (CYCLES - 8), "three partitions in nearly each cycle: {}", live.len());

    // From before the first cycle, cold, as the analyzer began.
    let file = scratch.path().join("incident.isorec");
    let since = format!("@{}", first_ms - 1_000);
    let (folder, config, path) =
        (data.path().to_str().unwrap(), config.to_str().unwrap(), file.to_str().unwrap());
    let span = ["--config", config, "--since", &since, "--warm-up", "0s"];
    let record = [&["record", "--data-dir", folder, "--out", path, "-o", "json"][..], &span].concat();
    let recorded = parsed(&run(&record).unwrap());
    assert!(recorded["minutes"].as_u64().unwrap() as usize >= CYCLES, "{recorded}");
    assert_eq!(recorded["without_topology"], serde_json::json!([]), "what the adapter told is on record");
    let again = run(&record).unwrap();
    assert_eq!((code(&again), stderr(&again).contains("--force")), (Some(2), true));

    // Each decision is that of the store, to the last bit of every number.
    for partition in ["1", "2", "3"] {
        let output = run(&["replay", path, "--partition", partition, "-o", "jsonl"]).unwrap();
        let cycles: BTreeMap<u64, Value> = said(&output)
            .into_iter()
            .filter(|line| line["record"].is_object())
            .map(|line| (line["at_ms"].as_u64().unwrap(), line["record"].clone()))
            .collect();
        for ((at, _), kept) in live.iter().filter(|((_, name), _)| name == partition) {
            let replayed =
                cycles.get(at).unwrap_or_else(|| panic!("{partition} at {at} was not decided again"));
            let pairs = [
                ("h", &replayed["node"]["h"]),
                ("z", &replayed["node"]["z"]),
                ("forecast_lower", &replayed["forecast"]["lower_80"]),
                ("exposure_per_hour", &replayed["exposure"]["per_hour"]),
                ("exposure_variance", &replayed["exposure"]["variance"]),
                ("risk", &replayed["exposure"]["risk"]),
                ("verdict", &replayed["verdict"]),
                ("reason", &replayed["reason"]),
            ];
            for (name, value) in pairs {
                assert_eq!(&kept[name], value, "{name} of {partition} at {at}: {kept} {replayed}");
            }
        }
    }
    let known = live.values().filter(|row| row["h"].is_number() && row["risk"].is_number()).count();
    // Of partition 2 nothing is known while one of its two nodes is drained: a sixth of the cycles, or some more.
    assert!(known >= 2 * (CYCLES - 8) - CYCLES / 3, "most of it is known: {known} of {}", live.len());

    // The same digest on every run, with any number of threads.
    let digest = |threads: &str| {
        let mut command = Command::new(program().unwrap());
        let output =
            command.args(["replay", path, "-o", "jsonl"]).env("RAYON_NUM_THREADS", threads).output().unwrap();
        said(&output).pop().unwrap()["digest"].as_str().unwrap().to_owned()
    };
    let (one, other) = (digest("1"), digest("4"));
    assert_eq!((one.len(), &one), (64, &other));

    // What would have been if: another definition of an incident is another risk.
    let policy = scratch.path().join("strict.toml");
    fs::write(&policy, "[risk.exposure]\nincident_share = 0.5\n").unwrap();
    let output = run(&["replay", path, "--policy", policy.to_str().unwrap(), "-o", "jsonl"]).unwrap();
    let summary = said(&output).pop().unwrap();
    assert_eq!(summary["digest"], one.as_str(), "the recorded settings decide as before");
    assert_ne!(summary["policy"]["digest"], one.as_str());
    assert!(summary["policy"]["risks_differ"].as_u64().unwrap() > 0, "{summary}");

    // In words, at a moment.
    let at = format!("@{}", first_ms + 20_000);
    let words = stdout(&run(&["replay", path, "--partition", "1", "--at", &at]).unwrap());
    assert!(
        words.contains("spread over its 3 nodes") && words.contains("client-minutes per hour"),
        "{words}"
    );

    // Judged alike from the file and from the folder; nothing failed, and that is said.
    let judged =
        |from: &[&str]| parsed(&run(&[&["backtest", "-o", "json", "--from"], from].concat()).unwrap());
    let of_file = judged(&[path]);
    assert_eq!(of_file, judged(&[&[folder][..], &span].concat()));
    let why = of_file["incidents"]["not_judged"].as_str().unwrap();
    assert!(why.contains("no incidents were recorded"), "{why}");

    // What is damaged is refused, and what is not there is said.
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&file, &bytes).unwrap();
    let damaged = run(&["replay", path]).unwrap();
    assert_eq!(code(&damaged), Some(1));
    assert!(
        stderr(&damaged).contains("at byte") && stderr(&damaged).contains("checksum"),
        "{}",
        stderr(&damaged)
    );
    let early = ["record", "--data-dir", folder, "--config", config, "--until", "@1000", "--out", "never"];
    let early = run(&early).unwrap();
    assert_eq!(code(&early), Some(3));
    assert!(stderr(&early).contains("has windows from"), "{}", stderr(&early));
}
