//! The failure history of the real analyzer: what it detects by itself, what operators record, and what it makes of both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{NodeWindow, Operation, Timestamp, Window};
use isotherm_proto::adapter::v1::Health;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::adapter::{Cluster, node, partition};
use support::analyzer::{Analyzer, serve};
use support::sample::{self, WINDOW_MS, row, window};
use support::telemetry::Agent;
use tokio::net::TcpListener;

/// Agents have 20 s after a start to connect before their silence says anything.
const LIMIT: Duration = Duration::from_secs(60);

fn start(data: &Path, scratch: &Path, config: &str) -> Analyzer {
    let file = scratch.join("isotherm.toml");
    fs::write(&file, config).unwrap();
    let mut command = serve(data).unwrap();
    command.arg("--config").arg(&file);
    Analyzer::from_command(command, scratch).unwrap()
}

fn watching(endpoint: std::net::SocketAddr) -> String {
    format!(
        "[failure]\nhold_down = \"2s\"\n[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://{endpoint}\"\n\
         heartbeat = \"200ms\"\n"
    )
}

/// Two nodes that nobody watches but agents.
const STATIC: &str = "[failure]\nhold_down = \"2s\"\n[[topology]]\nsystem = \"seaweedfs\"\n\
    [[topology.node]]\nname = \"a\"\ndomains = [\"r1\"]\nclass = \"hdd\"\n\
    [[topology.node]]\nname = \"b\"\ndomains = [\"r1\"]\n";

fn parsed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ask(analyzer: &Analyzer, args: &[&str]) -> Value {
    parsed(&analyzer.ask(&[args, &["-o", "json"]].concat()).unwrap())
}

fn refused(analyzer: &Analyzer, args: &[&str]) -> (Option<i32>, String) {
    let output = analyzer.ask(args).unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn failures(analyzer: &Analyzer) -> Vec<Value> {
    ask(analyzer, &["node", "failures"])["failures"].as_array().unwrap().clone()
}

/// Waits until what is on record is as it should be.
async fn until(analyzer: &Analyzer, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = tokio::task::block_in_place(|| failures(analyzer));
        if holds(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: {found:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The window of the second before this one.
fn just_now(nodes: Vec<NodeWindow>) -> Window {
    let second = now_ms() / u64::from(WINDOW_MS) - 1;
    Window { start: Timestamp::from_ms(second * u64::from(WINDOW_MS)), ..window(0, nodes) }
}

fn running(name: &str) -> NodeWindow {
    sample::node(name, vec![row("1", Operation::Read, 1)])
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_go_down_by_the_topology_are_on_record_and_a_rack_is_one_event() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let racks = [("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r2")];
    let nodes = racks.iter().map(|(name, rack)| node(name, &["dc1", rack])).collect();
    let cluster = Cluster::new(nodes, vec![partition("1", &["a", "c"], 1)]);
    let adapter = cluster.serve("127.0.0.1:0").await.unwrap();
    let config = watching(adapter.address);
    let started_ms = now_ms();
    let mut analyzer = start(data.path(), scratch.path(), &config);
    let exposure = |analyzer: &Analyzer, name: &str| {
        let nodes = ask(analyzer, &["node", "exposure"])["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|node| node["node"] == json!(name)).unwrap_or_default()
    };
    let deadline = Instant::now() + LIMIT;
    while exposure(&analyzer, "a")["observed_h"].as_f64().is_none_or(|hours| hours <= 0.0) {
        assert!(Instant::now() < deadline, "nobody observes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before_ms = now_ms();
    cluster.set_health(&["a", "b"], Health::Down);
    let found = until(&analyzer, "both are down", |found| found.len() == 2).await;
    for (failure, name) in found.iter().zip(["a", "b"]) {
        assert_eq!((&failure["node"], &failure["to_ms"]), (&json!(name), &Value::Null));
        assert_eq!((&failure["cause"], &failure["source"]), (&json!("failure"), &json!("topology")));
        assert_eq!(failure["domain"], json!("dc1/r1"));
        let from_ms = failure["from_ms"].as_u64().unwrap();
        assert!((before_ms..now_ms() - 1_900).contains(&from_ms), "before the hold-down");
    }

    // What is open is known after a restart, and ends once.
    analyzer.child.kill();
    let analyzer = start(data.path(), scratch.path(), &config);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(failures(&analyzer).len(), 2, "nothing is recorded anew");
    cluster.set_health(&["a", "b"], Health::Up);
    let found =
        until(&analyzer, "both are back", |found| found.iter().all(|one| !one["to_ms"].is_null())).await;
    assert_eq!(found.len(), 2);
    let a = exposure(&analyzer, "a");
    assert_eq!((&a["class"], &a["outages"][0]["observed_before"]), (&json!("hdd"), &json!(true)));
    let (from, to) = (found[0]["from_ms"].as_u64().unwrap(), found[0]["to_ms"].as_u64().unwrap());
    let hours = a["observed_h"].as_f64().unwrap();
    assert!(from < to && to <= now_ms());
    let most = (now_ms() - started_ms - (to - from)) as f64 / 3.6e6;
    assert!(0.0 < hours && hours <= most, "an outage is no exposure: {hours} {most}");
    let days: f64 = a["days"].as_array().unwrap().iter().map(|day| day["observed_h"].as_f64().unwrap()).sum();
    assert!((days - hours).abs() < 1e-9, "days sum to the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_agent_is_no_failure_without_a_second_signal() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Node a answers to the end, b until its listener is closed. Both agents become silent.
    let (a, b) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let nodes = [("a", a.local_addr().unwrap()), ("b", b.local_addr().unwrap())];
    let mut config =
        "[failure]\nhold_down = \"2s\"\nprobe = true\n[[topology]]\nsystem = \"seaweedfs\"\n".to_owned();
    for (name, address) in nodes {
        config.push_str(&format!("[[topology.node]]\nname = \"{name}\"\naddresses = [\"{address}\"]\n"));
    }
    let analyzer = start(data.path(), scratch.path(), &config);
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    agent.deliver_all(1, &[just_now(vec![running("a"), running("b")])]).await.unwrap();
    let found = until(&analyzer, "the agents are lost", |found| found.len() == 2).await;
    for failure in &found {
        assert_eq!((&failure["cause"], &failure["source"]), (&json!("agent_loss"), &json!("agent")));
    }
    drop(b);
    let found =
        until(&analyzer, "b failed", |found| found.iter().any(|one| one["cause"] == json!("failure"))).await;
    let b = found.iter().find(|one| one["node"] == json!("b")).unwrap();
    assert!(b["note"].as_str().unwrap().contains("is refused"), "{b}");
    assert_eq!(found.iter().filter(|one| one["cause"] == json!("agent_loss")).count(), 1);
    let exposure = ask(&analyzer, &["node", "exposure", "a"]);
    assert_eq!(exposure["nodes"][0]["outages"], json!([]), "agent loss is no outage");
    let observed = exposure["nodes"][0]["observed_h"].as_f64().unwrap() * 3_600.0;
    assert!((observed - 1.0).abs() < 1e-6, "one window of a second: {observed}");

    agent.deliver_all(2, &[just_now(vec![running("a"), running("b")])]).await.unwrap();
    until(&analyzer, "a is heard again", |found| {
        found.iter().all(|one| one["cause"] != json!("agent_loss") || !one["to_ms"].is_null())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_put_outages_on_record() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analyzer = start(data.path(), scratch.path(), STATIC);
    let fail = ["node", "fail", "a", "--at", "10m", "--reason", "disk 3", "--who", "ann"];
    ask(&analyzer, &[&fail[..], &["--dry-run"]].concat());
    assert!(failures(&analyzer).is_empty(), "a dry run records nothing");
    let recorded = ask(&analyzer, &fail)["failures"][0].clone();
    assert_eq!((&recorded["who"], &recorded["note"]), (&json!("ann"), &json!("disk 3")));
    assert_eq!((&recorded["source"], &recorded["to_ms"]), (&json!("operator"), &Value::Null));
    ask(&analyzer, &["node", "recover", "a", "--reason", "swapped", "--dry-run"]);
    assert_eq!(failures(&analyzer)[0]["to_ms"], Value::Null);
    let ended = ask(&analyzer, &["node", "recover", "seaweedfs/a", "--at", "1m", "--reason", "swapped"]);
    assert_eq!(ended["failures"][0]["note"], json!("disk 3; swapped"));
    ask(&analyzer, &["node", "fail", "b", "--at", "9m", "--until", "8m", "--maintenance"]);
    let found = failures(&analyzer);
    assert_eq!((found.len(), &found[1]["cause"]), (2, &json!("maintenance")));
    assert_eq!(failures(&analyzer)[0]["domain"], Value::Null, "maintenance is no failure of a domain");
    let since = ask(&analyzer, &["node", "failures", "--since", "5m"]);
    assert_eq!(since["failures"].as_array().unwrap().len(), 1, "b was back before");
    let table = String::from_utf8(analyzer.ask(&["node", "failures"]).unwrap().stdout).unwrap();
    assert!(table.starts_with("SYSTEM") && table.contains("disk 3; swapped"), "{table}");

    let again = refused(&analyzer, &["node", "recover", "a"]);
    assert_eq!((again.0, again.1.contains("is not on record as down")), (Some(3), true), "{again:?}");
    let nobody = refused(&analyzer, &["node", "fail", "z"]);
    assert_eq!((nobody.0, nobody.1.contains("no node z")), (Some(3), true), "{nobody:?}");
    let future = refused(&analyzer, &["node", "fail", "a", "--at", "2999-01-01T00:00:00Z"]);
    assert_eq!((future.0, future.1.contains("from_ms: is in the future")), (Some(2), true), "{future:?}");
    let backwards = refused(&analyzer, &["node", "fail", "a", "--at", "1m", "--until", "2m"]);
    assert_eq!(backwards.0, Some(2), "{backwards:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_elsewhere_is_imported_once() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analyzer = start(data.path(), scratch.path(), STATIC);
    let file = scratch.path().join("outages.csv");
    let import = ["node", "import", file.to_str().unwrap()];
    let text = "system,node,from,to,cause,note\n\
        seaweedfs,a,2026-01-01T00:00:00Z,2026-01-01T01:00:00Z,failure,\"psu, left\"\n\
        seaweedfs,b,2026-01-01T00:01:00Z,2026-01-01T02:00:00Z,,\n\
        seaweedfs,old,2025-01-01T00:00:00Z,2025-01-02T00:00:00Z,maintenance,\n";
    fs::write(&file, text).unwrap();
    let tried = ask(&analyzer, &[&import[..], &["--dry-run"]].concat());
    assert_eq!(tried, json!({"added": 3, "known": 0, "dry_run": true}));
    assert!(failures(&analyzer).is_empty());
    assert_eq!(ask(&analyzer, &import), json!({"added": 3, "known": 0, "dry_run": false}));
    assert_eq!(ask(&analyzer, &import), json!({"added": 0, "known": 3, "dry_run": false}));
    let found = failures(&analyzer);
    let (names, domains): (Vec<&Value>, Vec<&Value>) =
        found.iter().map(|one| (&one["node"], &one["domain"])).unzip();
    assert_eq!(names, [&json!("old"), &json!("a"), &json!("b")]);
    assert_eq!(domains, [&Value::Null, &json!("r1"), &json!("r1")], "both nodes of the rack within a minute");
    assert_eq!(found[1]["note"], json!("psu, left"));
    let exposure = ask(&analyzer, &["node", "exposure", "a"]);
    assert_eq!(exposure["nodes"][0]["outages"][0]["observed_before"], json!(false), "nobody looked then");

    for (row, want) in [
        ("seaweedfs,a,soon,,,\n", "outages.csv line 5, column from: \"soon\" is no moment"),
        ("seaweedfs,a,2026-01-02T00:00:00Z,2026-01-01T00:00:00Z,,\n", "line 5, column to:"),
        ("seaweedfs,a,2999-01-01T00:00:00Z,,,\n", "outages.csv line 5: from_ms: is in the future"),
        ("seaweedfs,a\n", "outages.csv line 5: 2 fields where the header has 6"),
    ] {
        fs::write(&file, format!("{text}{row}")).unwrap();
        let (code, error) = refused(&analyzer, &import);
        assert!(code != Some(0) && error.contains(want), "{error}");
    }
    let other = text.replace("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z");
    fs::write(&file, other).unwrap();
    let (code, error) = refused(&analyzer, &import);
    assert!(code == Some(2) && error.contains("is on record already, and ends at"), "{error}");
    assert_eq!(failures(&analyzer).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_stands_for_a_hazard() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analyzer = start(data.path(), scratch.path(), STATIC);
    let set = ["node", "hazard", "set", "a", "--until", "14d", "--reason", "smart errors", "--who", "ann"];
    ask(&analyzer, &[&set[..], &["--factor", "5", "--dry-run"]].concat());
    let list = |all: &[&str]| ask(&analyzer, &[&["node", "hazard", "list"], all].concat())["hazards"].clone();
    assert_eq!(list(&[]), json!([]));
    ask(&analyzer, &[&set[..], &["--factor", "5"]].concat());
    ask(&analyzer, &[&set[..], &["--per-hour", "0.01"]].concat());
    let standing = list(&[]);
    assert_eq!(standing.as_array().unwrap().len(), 1, "it took the place of the first");
    assert_eq!((&standing[0]["per_hour"], &standing[0]["factor"]), (&json!(0.01), &Value::Null));
    assert_eq!((&standing[0]["who"], &standing[0]["reason"]), (&json!("ann"), &json!("smart errors")));
    let cleared = ask(&analyzer, &["node", "hazard", "clear", "a", "--reason", "new disk", "--who", "bob"]);
    assert_eq!(cleared["hazards"][0]["cleared_by"], json!("bob"));
    assert_eq!(list(&[]), json!([]));
    assert_eq!(list(&["--all"]).as_array().unwrap().len(), 2, "nothing is forgotten");
    assert_eq!(refused(&analyzer, &["node", "hazard", "clear", "a"]).0, Some(3));
    for (option, value) in [("--factor", "0"), ("--factor", "NaN"), ("--per-hour=-1", "")] {
        let args: Vec<&str> = [option, value].into_iter().filter(|arg| !arg.is_empty()).collect();
        let (code, error) = refused(&analyzer, &[&set[..], &args].concat());
        assert_eq!(code, Some(2), "{option} {value}: {error}");
    }
    assert_eq!(refused(&analyzer, &set).0, Some(2), "a rate or a factor is needed");
    let over = ["node", "hazard", "set", "a", "--factor", "2", "--until", "@1000", "--reason", "x"];
    assert_eq!(refused(&analyzer, &over).0, Some(2));
}
