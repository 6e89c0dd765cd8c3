//! Cycles of the real analyzer: from windows on the wire to records, explanations and what would be if.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{Operation, Timestamp, Window};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::analyzer::{Analyzer, run, serve};
use support::sample::{node, row, window};
use support::telemetry::Agent;

/// A step is a second here, so that a test need not last for hours.
const CONFIG: &str = r#"
    [cycle]
    settle = "500ms"
    [cycle.policy]
    step_ms = 1000
    [[topology]]
    system = "seaweedfs"
    [[topology.node]]
    name = "a"
    domains = ["dc1", "r1"]
    class = "disk"
    load_capacity = 1000
    [[topology.node]]
    name = "b"
    domains = ["dc1", "r2"]
    class = "disk"
    load_capacity = 1000
    [[topology.node]]
    name = "c"
    domains = ["dc1", "r3"]
    class = "disk"
    load_capacity = 1000
    [[topology.node]]
    name = "d"
    domains = ["dc1", "r1"]
    class = "disk"
    load_capacity = 1000
    [[topology.partition]]
    name = "1"
    nodes = ["a", "b", "c"]
    size = "1GiB"
    [[topology.partition]]
    name = "2"
    nodes = ["b", "c"]
    size = "1GiB"
"#;

const LIMIT: Duration = Duration::from_secs(60);

fn start(data: &Path, scratch: &Path) -> Analyzer {
    let file = scratch.join("isotherm.toml");
    fs::write(&file, CONFIG).unwrap();
    let mut command = serve(data).unwrap();
    command.arg("--config").arg(&file);
    Analyzer::from_command(command, scratch).unwrap()
}

fn parsed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ask(analyzer: &Analyzer, args: &[&str]) -> Value {
    parsed(&analyzer.ask(&[args, &["-o", "json"]].concat()).unwrap())
}

fn said(analyzer: &Analyzer, args: &[&str]) -> String {
    let output = analyzer.ask(args).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The second that starts then: of partition 1, node a serves 60 reads, b 30, c 10, give or take some; of partition
/// 2, b serves all.
fn second(start_ms: u64) -> Window {
    let wobble = start_ms / 1_000 % 7;
    let reads = |partition, ops| row(partition, Operation::Read, ops);
    Window {
        start: Timestamp::from_ms(start_ms),
        ..window(
            0,
            vec![
                node("a", vec![reads("1", 57 + wobble)]),
                node("b", vec![reads("1", 30), reads("2", 40)]),
                node("c", vec![reads("1", 10)]),
                node("d", vec![reads("3", 40)]),
            ],
        )
    }
}

/// Sends every second as it ends, and asks for the cycle after each, until `enough` of what it says.
async fn until(
    analyzer: &Analyzer,
    agent: &mut Agent,
    seq: &mut u64,
    enough: impl Fn(&Value) -> bool,
) -> Value {
    let begun = Instant::now();
    let mut sent_ms = now_ms() / 1_000 * 1_000;
    loop {
        while sent_ms + 1_000 <= now_ms() {
            *seq += 1;
            agent.deliver_all(*seq, &[second(sent_ms)]).await.unwrap();
            sent_ms += 1_000;
        }
        let answer = ask(analyzer, &["analyze", "risk", "--top", "0"]);
        if enough(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "it did not come to that: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn record<'a>(answer: &'a Value, partition: &str) -> &'a Value {
    let records = answer["records"].as_array().unwrap();
    records.iter().find(|record| record["partition"] == partition).unwrap_or(&Value::Null)
}

fn holder<'a>(record: &'a Value, node: &str) -> &'a Value {
    record["holders"].as_array().unwrap().iter().find(|holder| holder["node"] == node).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_has_a_record_that_explains_itself_and_a_restart_goes_on() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analyzer = start(data.path(), scratch.path());
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let mut seq = 0;
    let answer = until(&analyzer, &mut agent, &mut seq, |answer| {
        let record = record(answer, "1");
        record["status"] == "known" && record["forecast"].is_object()
    })
    .await;

    // The record says what was sent, and its score can be computed from it.
    let one = record(&answer, "1");
    let share = |node| holder(one, node)["share"].as_f64().unwrap();
    assert!((share("a") - 0.6).abs() < 0.02 && (share("b") - 0.3).abs() < 0.02, "{one}");
    let felt = |share: f64| (share / 0.2).min(1.0);
    let holders = one["holders"].as_array().unwrap().iter().map(|holder| {
        let [share, hazard, overload] =
            ["share", "hazard", "overload"].map(|key| holder[key].as_f64().unwrap_or(0.0));
        hazard * felt(share) * (1.0 + overload)
    });
    let domains = one["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|domain| domain["hazard"].as_f64().unwrap() * felt(domain["share"].as_f64().unwrap()));
    let exposure = holders.chain(domains).sum::<f64>();
    assert!((one["exposure_per_hour"].as_f64().unwrap() / exposure - 1.0).abs() < 1e-9, "{exposure} {one}");
    let [mean, variance, risk] =
        ["exposure_mean", "exposure_variance", "risk"].map(|key| one[key].as_f64().unwrap());
    assert!((risk - (1.0 - (-mean + variance / 2.0).exp())).abs() < 1e-12);
    assert!(one["calibrated"].is_null(), "nothing has failed yet");
    assert!(one["loss"]["total"].as_f64().unwrap() > 0.0);
    let two = record(&answer, "2");
    assert_eq!((two["h"].as_f64(), two["holders"].as_array().unwrap().len()), (Some(0.0), 2));
    // Nobody says who holds partition 3, so it is who serves it; one node has no entropy.
    assert_eq!(record(&answer, "3")["status"], "not_applicable");

    // In words, and the first question of an operator.
    let words = said(&analyzer, &["explain", "partition", "1"]);
    for part in ["spread over its 3 nodes", "a serves 6", "client-minutes per hour", "uncalibrated"] {
        assert!(words.contains(part), "{part:?} is not in:\n{words}");
    }
    assert!(said(&analyzer, &["explain", "node", "b"]).contains("holds 2 partitions"));
    let down = ask(&analyzer, &["what-if", "node-down", "a"]);
    let minutes = down["nodes"][0]["failover_client_minutes"].as_f64().unwrap();
    assert!(
        (minutes - 60.0 * 60.0 * 0.5).abs() < 90.0,
        "60 reads a second fail for half a minute: {minutes}"
    );
    let worst = ask(&analyzer, &["what-if", "node-down"]);
    assert_eq!(worst["nodes"][0]["node"], "d", "it has the only copy of partition 3: {worst}");
    assert_eq!(worst["nodes"][1]["node"], "b", "it serves most of what is left: {worst}");
    let missing = analyzer.ask(&["explain", "partition", "nowhere"]).unwrap();
    assert_eq!(missing.status.code(), Some(3));

    // What is known of a hazard reaches the next cycle.
    let before = one["exposure_per_hour"].as_f64().unwrap();
    said(
        &analyzer,
        &["node", "hazard", "set", "a", "--per-hour", "0.05", "--until", "1h", "--reason", "its fan"],
    );
    let answer = until(&analyzer, &mut agent, &mut seq, |answer| {
        record(answer, "1")["exposure_per_hour"].as_f64().is_some_and(|exposure| exposure > 10.0 * before)
    })
    .await;
    assert!(holder(record(&answer, "1"), "a")["hazard_over_class"].as_f64().unwrap() > 5.0);
    assert_ne!(record(&answer, "1")["verdict"], "nothing", "a cause that something be done");
    assert_eq!(record(&answer, "2")["verdict"], "nothing", "it does not lie there");

    // After a restart the last cycle is known before the next one, which goes on from it.
    let cycles = answer["cycle"]["number"].as_u64().unwrap();
    drop(agent);
    drop(analyzer);
    let analyzer = start(data.path(), scratch.path());
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let first = until(&analyzer, &mut agent, &mut seq, |answer| answer["cycle"].is_object()).await;
    let last = first["cycle"]["number"].as_u64().unwrap();
    assert!(last >= cycles && record(&first, "1")["forecast"].is_object(), "{first}");
    let later = until(&analyzer, &mut agent, &mut seq, |answer| {
        answer["cycle"]["number"].as_u64() > Some(last) && record(answer, "1")["status"] == "known"
    })
    .await;
    assert!(record(&later, "1")["forecast"].is_object(), "its series are warm: {later}");
    let folder = data.path().to_str().unwrap();
    let stats = parsed(&run(&["store", "stats", "--data-dir", folder, "-o", "json"]).unwrap());
    assert!(stats.to_string().contains("risks"), "{stats}");
}
