//! The real analyzer watches an adapter: a real gRPC server of a small cluster, which changes, goes away, talks nonsense.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_proto::adapter::v1::watch_topology_response::Message;
use isotherm_proto::adapter::v1::{Changes, Health, Node, WatchTopologyResponse};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use support::adapter::{Cluster, node, partition};
use support::analyzer::{Analyzer, LIMIT, run, serve};
use support::sample::{self, row, window};
use support::telemetry::Agent;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn cluster() -> Cluster {
    let nodes = vec![node(A, &["dc1", "rackA"]), node(B, &["dc1", "rackB"])];
    Cluster::new(nodes, vec![partition("1", &[A, B], 1)])
}

fn start(data: &Path, scratch: &Path, endpoint: &str) -> Analyzer {
    let config = scratch.join("isotherm.toml");
    let text = format!(
        "[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://{endpoint}\"\nheartbeat = \"200ms\"\n\
         stale_after = \"2s\"\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = serve(data).unwrap();
    command.arg("--config").arg(&config);
    Analyzer::from_command(command, scratch).unwrap()
}

fn ask(analyzer: &Analyzer, what: &str) -> Value {
    let output = analyzer.ask(&["get", what, "-o", "json"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn source(analyzer: &Analyzer) -> Value {
    ask(analyzer, "topology")["sources"][0].clone()
}

/// Asks until the answer is as it should be.
async fn until(what: &str, mut holds: impl FnMut() -> Result<(), Value>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        match tokio::task::block_in_place(&mut holds) {
            Ok(()) => return,
            Err(found) if Instant::now() > deadline => panic!("{what}: {found:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until the source of the topology is as it should be.
async fn until_source(analyzer: &Analyzer, what: &str, holds: impl Fn(&Value) -> bool) {
    until(what, || {
        let found = source(analyzer);
        if holds(&found) { Ok(()) } else { Err(found) }
    })
    .await;
}

fn fresh(revision: u64) -> impl Fn(&Value) -> bool {
    move |source| source["freshness"] == json!("fresh") && source["revision"] == json!(revision)
}

fn names(nodes: &Value) -> Vec<&str> {
    nodes["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_follows_the_adapter() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = cluster();
    let adapter = cluster.serve("127.0.0.1:0").await.unwrap();
    let analyzer = start(data.path(), scratch.path(), &adapter.address.to_string());
    until_source(&analyzer, "the snapshot", fresh(10)).await;
    let found = source(&analyzer);
    assert_eq!((&found["nodes"], &found["partitions"]), (&json!(2), &json!(1)));
    assert_eq!((&found["adapter"], &found["problem"]), (&json!("memory 1"), &Value::Null));

    let first = ask(&analyzer, "topology")["revision"].as_u64().unwrap();
    let changes = Changes {
        nodes: vec![node("c", &["dc1", "rackA"])],
        partitions: vec![partition("1", &["c", A], 2), partition("2", &["c"], 1)],
        removed_nodes: vec![B.to_owned()],
        ..Changes::default()
    };
    cluster.change(changes);
    until_source(&analyzer, "the changes", fresh(11)).await;
    assert!(ask(&analyzer, "topology")["revision"].as_u64().unwrap() > first);
    let nodes = ask(&analyzer, "nodes");
    assert_eq!(names(&nodes), [A, "c"]);
    let c = &nodes["nodes"][1];
    assert_eq!(
        (&c["health"], &c["class"], &c["capacity_bytes"]),
        (&json!("up"), &json!("hdd"), &json!(1u64 << 40))
    );
    assert_eq!(c["domains"], json!(["dc1", "rackA"]));
    assert_eq!((&c["match"], &c["match_reason"]), (&json!("no_agent"), &json!("in topology, no agent")));
    assert_eq!(names(&ask(&analyzer, "nodes")).len(), 2);
    let partitions = ask(&analyzer, "partitions");
    assert_eq!(partitions["partitions"].as_array().unwrap().len(), 2);
    cluster.set_health(&["c"], Health::Draining);
    until("health", || {
        let nodes = ask(&analyzer, "nodes");
        if nodes["nodes"][1]["health"] == json!("draining") { Ok(()) } else { Err(nodes) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_goes_away_leaves_what_it_said_until_it_is_back() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = cluster();
    let adapter = cluster.serve("127.0.0.1:0").await.unwrap();
    let address = adapter.address.to_string();
    let analyzer = start(data.path(), scratch.path(), &address);
    until_source(&analyzer, "the snapshot", fresh(10)).await;
    drop(adapter);
    until_source(&analyzer, "a problem", |source| !source["problem"].is_null()).await;
    until_source(&analyzer, "staleness", |source| source["freshness"] == json!("stale")).await;
    let nodes = ask(&analyzer, "nodes");
    assert_eq!(names(&nodes), [A, B], "all but health is as it was");
    assert_eq!(nodes["nodes"][0]["health"], json!("unknown"));
    let table = analyzer.ask(&["get", "topology"]).unwrap();
    assert!(String::from_utf8_lossy(&table.stdout).contains("stale"));

    cluster.change(Changes { removed_partitions: vec!["1".to_owned()], ..Changes::default() });
    let _adapter = cluster.serve(&address).await.unwrap();
    until_source(&analyzer, "the next snapshot", fresh(11)).await;
    assert_eq!(source(&analyzer)["partitions"], json!(0));
    assert_eq!(ask(&analyzer, "nodes")["nodes"][0]["health"], json!("up"));

    cluster.set_seen(false);
    until_source(&analyzer, "silence", |source| {
        source["freshness"] == json!("stale")
            && source["problem"].as_str().is_some_and(|it| it.contains("cannot be seen"))
    })
    .await;
    cluster.set_seen(true);
    until_source(&analyzer, "sight", fresh(11)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_by_name_and_nothing_of_it_is_believed() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = cluster();
    let adapter = cluster.serve("127.0.0.1:0").await.unwrap();
    let analyzer = start(data.path(), scratch.path(), &adapter.address.to_string());
    until_source(&analyzer, "the snapshot", fresh(10)).await;
    let log = || fs::read_to_string(scratch.path().join("analyzer.log")).unwrap();
    // Said again and again, as nobody hears it between two connections.
    let until_refused = async |message: WatchTopologyResponse, problem: &str| {
        until(problem, || {
            cluster.say(message.clone());
            if log().contains(problem) { Ok(()) } else { Err(json!(log())) }
        })
        .await;
    };
    let changes = |nodes: Vec<Node>| Some(Message::Changes(Changes { nodes, ..Changes::default() }));
    let nothing = WatchTopologyResponse { revision: 11, message: None };
    let nameless = Node { node: String::new(), ..node(A, &[]) };
    let message = WatchTopologyResponse { revision: 11, message: changes(vec![nameless]) };
    until_refused(message, "changes.nodes[0].node: node is empty").await;
    let message = WatchTopologyResponse { revision: 9, message: changes(vec![node("z", &[])]) };
    until_refused(message, "revision 9 is older than 10, which was seen already").await;
    until_refused(nothing.clone(), "message is absent, expected a snapshot or changes").await;
    until_source(&analyzer, "the cluster again", |source| fresh(10)(source) && source["problem"].is_null())
        .await;
    assert_eq!(names(&ask(&analyzer, "nodes")), [A, B]);

    // An adapter that starts anew and sees an older cluster is not believed; one that counts anew is.
    cluster.set_count("first", 4);
    until_refused(nothing.clone(), "revision 4 is older than 10, which was seen already").await;
    assert_eq!(names(&ask(&analyzer, "nodes")), [A, B]);
    cluster.set_count("second", 4);
    until_source(&analyzer, "another count", fresh(4)).await;
    assert_eq!(source(&analyzer)["incarnation"], json!("second"));

    cluster.set_system("another");
    until_refused(nothing, "it is an adapter of the system").await;
    assert_eq!(cluster.revision(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_report_and_the_topology_says_are_held_together() {
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nodes = vec![node(A, &[]), node(B, &[]), node("10.0.0.3:80", &[])];
    let cluster = Cluster::new(nodes, Vec::new());
    let adapter = cluster.serve("127.0.0.1:0").await.unwrap();
    let analyzer = start(data.path(), scratch.path(), &adapter.address.to_string());
    until_source(&analyzer, "the snapshot", fresh(10)).await;
    let listening = |name: &str, address: &str| {
        let mut node = sample::node(name, vec![row("1", isotherm_model::Operation::Read, 1)]);
        node.listening = vec![address.parse().unwrap()];
        node
    };
    let nodes =
        vec![listening(A, "0.0.0.0:80"), listening(B, "127.0.0.1:81"), listening("three", "10.0.0.3:80")];
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    agent.deliver_all(1, &[window(1, nodes)]).await.unwrap();
    let output = analyzer.ask(&["get", "nodes", "--since", "@0", "-o", "json"]).unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let matches: Vec<(&str, &str)> = found["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["match"].as_str().unwrap(), node["match_reason"].as_str().unwrap_or("")))
        .collect();
    let want = [
        ("matched", ""),
        ("other_addresses", "listens on other addresses (127.0.0.1:81) than the topology says (10.0.0.2:80)"),
        ("no_agent", "in topology, no agent; three listens on its address"),
        ("not_in_topology", "reports, not in topology; it listens where the topology has 10.0.0.3:80"),
    ];
    assert_eq!(matches, want);
    let mut other = Agent::connect(&analyzer.url, "other", "boot").await.unwrap();
    other.deliver_all(1, &[window(1, vec![listening(A, "0.0.0.0:80")])]).await.unwrap();
    let output = analyzer.ask(&["get", "nodes", "--since", "@0"]).unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("agents host and other report it: its accesses count twice"), "{table}");
}

#[test]
fn a_system_has_one_source() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("c.toml");
    let adapter = "[[adapter]]\nsystem = \"s\"\nendpoint = \"http://h:1\"\n";
    fs::write(&config, format!("{adapter}{adapter}")).unwrap();
    let output = run(&["config", "check", config.to_str().unwrap()]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("c.toml:5: adapter.system: \"s\" occurs twice"), "{error}");
}
