//! The real command line against the real analyzer: answers, exit codes, export, and the standard services.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{Operation, Window};
use isotherm_tests::tools::Tools;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::analyzer::{Analyzer, run};
use support::command::{code, deliver, parsed, seconds, stderr, stdout};
use support::sample::{START_MS, device, host, node, peer, row, window, with_peers};
use support::telemetry::{Agent, Answer};
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn dirs() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

/// Two minutes in which `a` serves three quarters and `b` a quarter of the reads of partition `1`, `a` alone
/// reads partition `2`, and the second hour begins in the middle.
fn two_minutes() -> Vec<Window> {
    seconds(59 * 60, 120)
}

#[tokio::test]
async fn nodes_and_partitions_are_listed_with_what_they_did() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    deliver(&analyzer, &two_minutes(), 10).await;
    let all = ["--since", "@0", "-o", "json"];
    let nodes = parsed(&analyzer.ask(&[&["get", "nodes"][..], &all].concat()).unwrap());
    let a = &nodes["nodes"][0];
    assert_eq!((&a["node"], &a["state"], &a["agents"]), (&json!("a"), &json!("silent"), &json!(["host"])));
    assert_eq!(
        a["total"],
        json!({"reads": 1080, "read_bytes": 108000, "writes": 240, "written_bytes": 2400})
    );
    assert_eq!(a["other"]["reads"], json!(600));
    assert_eq!(a["lost"], json!(0));
    let now = parsed(&analyzer.ask(&["get", "nodes", "-o", "json"]).unwrap());
    assert_eq!(now["nodes"][0]["total"], Value::Null, "nobody was watching in the last 15 minutes");

    let partitions = parsed(&analyzer.ask(&[&["get", "partitions"][..], &all].concat()).unwrap());
    assert_eq!(partitions["partitions"][0]["nodes"][1]["reads"], json!(120));
    let table = stdout(&analyzer.ask(&["get", "partitions", "--since", "@0"]).unwrap());
    assert!(table.starts_with("SYSTEM") && table.lines().count() == 4, "{table}");
    assert!(!table.contains('\u{1b}'), "tables are not coloured");
}

#[tokio::test]
async fn entropy_says_what_it_knows_and_why_not() {
    let (data, scratch) = dirs();
    let config = scratch.path().join("isotherm.toml");
    let topology = "step = \"30s\"\n[[topology]]\nsystem = \"seaweedfs\"\n\
        [[topology.node]]\nname = \"a\"\n[[topology.node]]\nname = \"c\"\n\
        [[topology.partition]]\nname = \"2\"\nnodes = [\"a\", \"c\"]\n";
    fs::write(&config, topology).unwrap();
    assert_eq!(stdout(&run(&["config", "check", config.to_str().unwrap()]).unwrap()), "ok\n");
    let mut command = support::analyzer::serve(data.path()).unwrap();
    command.arg("--config").arg(&config);
    let analyzer = Analyzer::from_command(command, scratch.path()).unwrap();
    deliver(&analyzer, &two_minutes(), 10).await;

    let all = ["analyze", "entropy", "--since", "@0", "-o", "json"];
    let whole = parsed(&analyzer.ask(&[&all[..], &["--step", "all"]].concat()).unwrap());
    let first = &whole["entropies"][0];
    assert_eq!(first["partition"], json!("1"));
    assert_eq!((&first["reads"], &first["eligible_source"]), (&json!(480), &json!("observed")));
    assert_eq!(first["node_entropy"]["status"], json!("known"));
    // Shares of 3/4 and 1/4: 2 - (3/4) log2 3 bits, and 1 / (2 * 480 ln 2) by Miller and Madow.
    let want = 2.0 - 0.75 * 3f64.log2() + 1.0 / (960.0 * std::f64::consts::LN_2);
    assert!((first["node_entropy"]["bits"].as_f64().unwrap() - want).abs() < 1e-9);
    assert_eq!(first["offset_entropy_bits"], json!(0.0));
    let second = &whole["entropies"][1];
    assert_eq!(second["eligible_source"], json!("topology"));
    assert_eq!(second["node_entropy"], json!({"status": "unknown", "silent_nodes": ["c"]}));

    let steps = parsed(&analyzer.ask(&[&all[..], &["--step", "1m", "--partition", "1"]].concat()).unwrap());
    let starts: Vec<u64> = steps["entropies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["start_ms"].as_u64().unwrap())
        .collect();
    assert_eq!(starts, [START_MS + 59 * 60_000, START_MS + 60 * 60_000]);
    let configured = parsed(&analyzer.ask(&[&all[..], &["--partition", "1"]].concat()).unwrap());
    let first = &configured["entropies"][0];
    assert_eq!(first["end_ms"].as_u64().unwrap() - first["start_ms"].as_u64().unwrap(), 30_000);
    let table = stdout(&analyzer.ask(&["analyze", "entropy", "--since", "@0", "--top", "1"]).unwrap());
    assert!(table.contains("seaweedfs/1") && !table.contains("seaweedfs/2"), "{table}");

    let missing = analyzer.ask(&["analyze", "entropy", "--since", "@0", "--partition", "99"]).unwrap();
    assert_eq!(code(&missing), Some(3));
    assert!(stderr(&missing).contains("no partition 99"), "{}", stderr(&missing));
}

#[tokio::test]
async fn gaps_and_misspelt_nodes_are_seen() {
    let (data, scratch) = dirs();
    let config = scratch.path().join("isotherm.toml");
    fs::write(&config, "[[topology]]\nsystem = \"seaweedfs\"\n[[topology.node]]\nname = \"A\"\n").unwrap();
    let mut command = support::analyzer::serve(data.path()).unwrap();
    command.arg("--config").arg(&config);
    let analyzer = Analyzer::from_command(command, scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.deliver(1, &[support::sample::ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    agent.send_gap(2, 4).await.unwrap();
    assert_eq!(agent.answer().await.unwrap(), Answer::Ack(4));

    let all = ["get", "nodes", "--since", "@0"];
    let nodes = parsed(&analyzer.ask(&[&all[..], &["-o", "json"]].concat()).unwrap());
    let of =
        |node: usize| ["node", "in_topology", "gaps", "gap_ms"].map(|key| nodes["nodes"][node][key].clone());
    assert_eq!(of(0), [json!("A"), json!(true), json!(0), json!(0)]);
    assert_eq!(of(1), [json!("a"), json!(false), json!(3), json!(1_000)]);
    let table = stdout(&analyzer.ask(&all).unwrap());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["SYSTEM", "NODE", "TOPOLOGY", "STATE"]);
    assert_eq!(rows[1][..4], ["seaweedfs", "A", "yes", "never_reported"]);
    assert_eq!(rows[2][..4], ["seaweedfs", "a", "no", "silent"]);
    assert!(table.contains("GAPS") && table.contains("3 (1s)"), "{table}");
}

#[test]
fn an_analyzer_that_says_nothing_cannot_be_reached() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", mute.local_addr().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        for args in [&["get", "nodes"][..], &["export", "parquet", "--out", out.to_str().unwrap()]] {
            let args = [args, &["--server", &server]].concat();
            scope.spawn(move || {
                let output = run(&args).unwrap();
                assert_eq!(code(&output), Some(8), "{args:?}: {}", stderr(&output));
                assert!(stderr(&output).contains("cannot reach the analyzer"), "{}", stderr(&output));
            });
        }
    });
    assert!(started.elapsed() < support::analyzer::LIMIT, "{:?}", started.elapsed());
    assert!(!out.exists(), "nothing is created for an export that does not begin");
}

#[test]
fn mistakes_have_exit_codes_and_sentences() {
    let cases: [(&[&str], i32, &str); 8] = [
        (
            &["get", "nodes", "--server", "http://127.0.0.1:1"],
            8,
            "cannot reach the analyzer at http://127.0.0.1:1 (",
        ),
        (&["get", "nodes", "--server", "http://127.0.0.1:1"], 8, "start one with `isotherm serve`"),
        (&["get", "nodes", "--since", "yesterday"], 2, "expected a duration"),
        (&["get", "nodes", "--since", "5m", "--until", "10m"], 2, "--since is not before --until"),
        (&["get", "everything"], 2, "unrecognized subcommand"),
        (&["serve", "--listen", "0.0.0.0:0"], 2, "--insecure-listen"),
        (&["serve", "--config", "/nonexistent.toml"], 1, "cannot read /nonexistent.toml"),
        (&["config", "check", "/nonexistent.toml"], 1, "cannot read /nonexistent.toml"),
    ];
    for (args, want, sentence) in cases {
        let output = run(args).unwrap();
        assert_eq!(code(&output), Some(want), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(sentence), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_wrong_configuration_is_named_by_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, "listen = \"127.0.0.1:0\"\nstep = \"soon\"\n").unwrap();
    let output = run(&["config", "check", file.to_str().unwrap()]).unwrap();
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("c.toml:2: step: \"soon\" is not a duration"), "{}", stderr(&output));
}

/// A second in which node `10.0.0.1:80` answers a client and a replica, `b` writes to its device, and the host too.
fn three_layers(second: u64) -> Window {
    let a = node(
        "10.0.0.1:80",
        vec![row("1", Operation::Read, 40), row("1", Operation::Sync, 3), device("1", Operation::Read, 7)],
    );
    let (local, client, replica) = ("10.0.0.1:80", Some("10.9.9.9:0"), Some("10.0.0.2:0"));
    let a = with_peers(
        a,
        vec![
            peer("1", Operation::Read, local, client, 60),
            peer("1", Operation::Write, local, client, 20),
            peer("1", Operation::Read, local, replica, 30),
            peer("1", Operation::Accept, local, replica, 2),
            peer("1", Operation::Read, local, None, 10),
            peer("1", Operation::Write, "10.0.0.1:0", Some("10.0.0.2:7070"), 5),
            peer("1", Operation::Connect, "10.0.0.1:0", Some("10.8.8.8:53"), 1),
        ],
    );
    let mut b = node("b", vec![row("1", Operation::Read, 40), device("1", Operation::Write, 9)]);
    b.listening = vec!["0.0.0.0:80".parse().unwrap(), "10.0.0.2:7070".parse().unwrap()];
    window(second, vec![a, b, host("host", 4)])
}

#[tokio::test]
async fn layers_are_shown_apart_and_what_was_not_watched_is_a_dash() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    deliver(&analyzer, &[three_layers(0), three_layers(1)], 1).await;
    let all = ["--since", "@0"];
    let as_json = ["--since", "@0", "-o", "json"];

    let nodes = parsed(&analyzer.ask(&[&["get", "nodes"][..], &as_json].concat()).unwrap());
    let [host, a, b] = [0, 1, 2].map(|node| &nodes["nodes"][node]);
    assert_eq!(
        (&host["system"], &host["node"], &host["host"]),
        (&json!("host"), &json!("host"), &json!(true))
    );
    assert_eq!((&host["processes"], &host["total"], &host["lost"]), (&Value::Null, &Value::Null, &json!(0)));
    let (eight, none) = (json!({"ops": 8, "bytes": 80}), json!({"ops": 0, "bytes": 0}));
    assert_eq!(
        host["layers"],
        json!({"device": {"write": {"total": eight, "partitions": none, "other": eight, "unattributed": none}}})
    );
    assert_eq!((&a["host"], &a["processes"]), (&json!(false), &json!(1)));
    assert_eq!(a["layers"].as_object().unwrap().keys().collect::<Vec<_>>(), ["device", "logical", "network"]);
    assert_eq!(a["layers"]["network"]["read"]["partitions"], json!({"ops": 200, "bytes": 20_000}));
    assert_eq!(a["layers"]["logical"]["sync"]["total"], json!({"ops": 6, "bytes": 0}));
    assert_eq!(b["layers"]["network"], Value::Null, "nobody watched it");
    assert_eq!(b["listening"], json!(["0.0.0.0:80", "10.0.0.2:7070"]));
    let table = stdout(&analyzer.ask(&[&["get", "nodes"][..], &all].concat()).unwrap());
    let rows = cells(&table);
    let layers = column(&rows, "LAYERS");
    assert_eq!(
        [1, 2, 3].map(|row| rows[row][layers].as_str()),
        ["device", "logical,device,network", "logical,device"]
    );
    let host_row =
        ["SYSTEM", "TOPOLOGY", "PROCESSES", "READS", "LOST"].map(|name| &rows[1][column(&rows, name)]);
    assert_eq!(host_row, ["host", "-", "-", "-", "0"]);

    let partitions = |layer: &str| {
        let asked = [&["get", "partitions", "--layer", layer][..], &all].concat();
        cells(&stdout(&analyzer.ask(&asked).unwrap()))
    };
    let shown = |layer: &str, names: &[&str], row: usize| -> Vec<String> {
        let rows = partitions(layer);
        names.iter().map(|name| rows[row][column(&rows, name)].clone()).collect()
    };
    assert_eq!(shown("logical", &["NODE", "READS", "WRITES", "SYNCS"], 1), ["10.0.0.1:80", "80", "0", "6"]);
    assert_eq!(
        shown("logical", &["NODE", "READS", "SYNCS"], 2),
        ["b", "80", "-"],
        "its syncs were not watched"
    );
    let device_columns = ["NODE", "READS", "WRITES", "DISCARDS", "READ P50", "READ P99", "WRITE P50"];
    assert_eq!(shown("device", &device_columns, 1), ["10.0.0.1:80", "14", "-", "-", "2.1 ms", "2.1 ms", "-"]);
    assert_eq!(shown("device", &device_columns, 2), ["b", "-", "18", "-", "-", "-", "2.1 ms"]);
    let network_columns = ["NODE", "RECEIVES", "RECEIVED", "SENDS", "ACCEPTS", "CONNECTS"];
    assert_eq!(shown("network", &network_columns, 1), ["10.0.0.1:80", "200", "19.5 KiB", "50", "4", "2"]);
    assert_eq!(partitions("network").len(), 2, "b is not shown where nobody watched it");

    let found = parsed(&analyzer.ask(&[&["get", "partitions"][..], &as_json].concat()).unwrap());
    let a = &found["partitions"][0]["nodes"][0];
    assert_eq!((&a["reads"], &a["layers"]["logical"]["read"]["ops"]), (&json!(80), &json!(80)));
    let latency = json!({"measured": 14, "p50_ns": 1 << 21, "p99_ns": 1 << 21});
    assert_eq!(a["layers"]["device"]["read"], json!({"ops": 14, "bytes": 1_400, "latency": latency}));
    assert_eq!(a["layers"]["network"]["accept"], json!({"ops": 4, "bytes": 0, "latency": null}));
}

#[tokio::test]
async fn peers_are_named_where_they_are_known_and_sum_to_the_network_layer() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    deliver(&analyzer, &[three_layers(0), three_layers(1)], 1).await;
    let ask = |more: &[&str]| analyzer.ask(&[&["get", "peers", "--since", "@0"][..], more].concat()).unwrap();
    let found = parsed(&ask(&["-o", "json"]));
    let nodes = found["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1, "the network layer of b and the host was not watched");
    let rows: Vec<[String; 5]> = nodes[0]["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| {
            let text = |key: &str| peer[key].as_str().unwrap_or("-").to_owned();
            [text("local"), text("remote"), text("direction"), text("is"), text("peer_node")]
        })
        .collect();
    assert_eq!(
        rows,
        [
            ["10.0.0.1:80", "10.9.9.9:0", "inbound", "client", "-"],
            ["10.0.0.1:80", "10.0.0.2:0", "inbound", "node", "b"],
            ["10.0.0.1:80", "-", "inbound", "others", "-"],
            ["10.0.0.1:0", "10.0.0.2:7070", "outbound", "node", "b"],
            ["10.0.0.1:0", "10.8.8.8:53", "outbound", "server", "-"],
        ]
    );
    let sum = |peers: &Value, key: &str| -> u64 {
        let of = |peer: &Value| peer[key]["ops"].as_u64().or_else(|| peer[key].as_u64()).unwrap();
        peers["peers"].as_array().unwrap().iter().map(of).sum::<u64>()
            + if peers["rest"].is_null() { 0 } else { of(&peers["rest"]) }
    };
    let listed = parsed(&analyzer.ask(&["get", "nodes", "--since", "@0", "-o", "json"]).unwrap());
    let network = &listed["nodes"][1]["layers"]["network"];
    let top = parsed(&ask(&["--top", "1", "-o", "json"]));
    assert_eq!(top["nodes"][0]["peers"].as_array().unwrap().len(), 1);
    assert_eq!(top["nodes"][0]["rest"]["peers"], json!(4));
    for (key, operation) in
        [("received", "read"), ("sent", "write"), ("accepts", "accept"), ("connects", "connect")]
    {
        let want = network[operation]["total"]["ops"].as_u64().unwrap();
        assert!(want > 0);
        assert_eq!((sum(&nodes[0], key), sum(&top["nodes"][0], key)), (want, want), "{key}");
    }
    let table = stdout(&ask(&["--node", "10.0.0.1:80", "--partition", "seaweedfs/1", "--top", "2"]));
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("node b") && table.contains("client") && table.contains("(3 more)"), "{table}");

    assert!(stdout(&ask(&["--node", "b"])).starts_with("no peers are known"), "not watched is not none");
    for (args, sentence) in [(["--node", "x"], "no node x"), (["--partition", "99"], "no partition 99")] {
        let missing = ask(&args);
        assert_eq!(code(&missing), Some(3));
        assert!(stderr(&missing).contains(sentence), "{}", stderr(&missing));
    }
}

#[tokio::test]
async fn entropy_is_asked_of_a_layer() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    deliver(&analyzer, &[three_layers(0), three_layers(1)], 1).await;
    let ask = |layer: &str| {
        let args = ["analyze", "entropy", "--since", "@0", "--step", "all", "--layer", layer];
        let answer = parsed(&analyzer.ask(&[&args[..], &["-o", "json"]].concat()).unwrap());
        (answer["entropies"][0].clone(), stdout(&analyzer.ask(&args).unwrap()))
    };
    let (logical, _) = ask("logical");
    assert_eq!((&logical["layer"], &logical["node_entropy"]["bits"]), (&json!("logical"), &json!(1.0)));
    assert_eq!(logical["peer_entropy"], Value::Null);
    let (device, _) = ask("device");
    assert_eq!(
        device["node_entropy"],
        json!({"status": "unknown", "silent_nodes": ["b"]}),
        "b's reads are not watched"
    );
    assert_eq!(device["shares"][1], json!({"node": "b", "reads": null}));
    let (network, table) = ask("network");
    assert_eq!((&network["reads"], &network["writes"]), (&json!(200), &json!(50)));
    assert_eq!(network["node_entropy"], json!({"status": "not_applicable", "eligible_nodes": 1}));
    let peers = &network["peer_entropy"];
    let told = ["lower_bound", "remotes", "ops_not_told_apart"].map(|key| peers[key].clone());
    assert_eq!(told, [json!(true), json!(2), json!(20)]);
    // 140 of the client, with those not told apart, and 60 of the replica: .881 bits.
    assert!((peers["bits"].as_f64().unwrap() - 0.881).abs() < 0.01, "{peers}");
    assert!(table.contains("PEER BITS") && table.contains(">= 0.8"), "{table}");
}

/// The cells of a table, header first; two spaces part them.
fn cells(table: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .map(|line| {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        })
        .collect()
}

fn column(rows: &[Vec<String>], name: &str) -> usize {
    rows[0]
        .iter()
        .position(|cell| cell == name)
        .unwrap_or_else(|| panic!("no column {name} in {:?}", rows[0]))
}

/// Reads an export with pyarrow and with DuckDB, and prints what either sums up as JSON.
const READERS: &str = r#"
import sys, json
import pyarrow as pa, pyarrow.dataset as ds, pyarrow.compute as pc
import duckdb
out = sys.argv[1]
hive = ds.partitioning(pa.schema([("date", pa.string()), ("hour", pa.string())]), flavor="hive")
table = ds.dataset(out, format="parquet", partitioning=hive).to_table()
part = table.filter(pc.equal(table["class"], "partition"))
offsets = sum(pc.sum(part[f"o{i:02d}"]).as_py() for i in range(64))
arrow = {
    "rows": table.num_rows,
    "ops": pc.sum(part["ops"]).as_py(),
    "bytes": pc.sum(part["bytes"]).as_py(),
    "offsets": offsets,
    "start_type": str(table.schema.field("window_start").type),
    "hours": sorted(set(table["hour"].to_pylist())),
    "first": pc.min(pc.cast(table["window_start"], pa.int64())).as_py(),
}
source = f"read_parquet('{out}/**/*.parquet', hive_partitioning = true, hive_types = {{'date': VARCHAR, 'hour': VARCHAR}})"
row = duckdb.sql(f"""
    SELECT count(*), sum(ops) FILTER (class = 'partition'), sum(bytes) FILTER (class = 'partition'),
           sum(o03) FILTER (class = 'partition'), min(epoch_ms(window_start)), list_sort(list(DISTINCT hour)),
           count(*) FILTER (class = 'total' AND layer = 'logical')
    FROM {source}""").fetchall()[0]
duck = {"rows": row[0], "ops": int(row[1]), "bytes": int(row[2]), "offsets": int(row[3]), "first": row[4],
        "hours": row[5], "totals": row[6]}
print(json.dumps({"arrow": arrow, "duck": duck}))
"#;

fn read_by_others(out: &Path) -> Value {
    let python = Tools::locate().python().unwrap();
    let output = Command::new(python).args(["-c", READERS]).arg(out).output().unwrap();
    parsed(&output)
}

#[tokio::test]
async fn an_export_has_what_was_sent_for_other_readers_too() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    deliver(&analyzer, &two_minutes(), 10).await;
    let out = scratch.path().join("out");
    let target = out.to_str().unwrap();
    let export = ["export", "parquet", "--out", target, "-o", "json"];
    let report = parsed(&analyzer.ask(&export).unwrap());
    // Per window: two nodes with totals in two directions, and five rows.
    assert_eq!(report["rows"], json!(120 * (2 * 2 + 5)));
    let files = ["date=2026-01-01/hour=09/part-00000.parquet", "date=2026-01-01/hour=10/part-00000.parquet"];
    assert_eq!(report["files"], json!(files));

    let found = read_by_others(&out);
    let first = START_MS + 59 * 60_000;
    // Per window 3 + 2 + 1 operations of `a` and 1 of `b`; reads move 100 bytes, writes 10.
    let sums = json!({"rows": 1080, "ops": 120 * 7, "bytes": 120 * 520, "offsets": 120 * 7, "first": first,
        "hours": ["09", "10"]});
    for (key, want) in sums.as_object().unwrap() {
        assert_eq!(&found["arrow"][key], want, "pyarrow: {key}");
        assert_eq!(&found["duck"][key], want, "DuckDB: {key}");
    }
    assert_eq!(found["arrow"]["start_type"], json!("timestamp[ms, tz=UTC]"));
    assert_eq!(found["duck"]["totals"], json!(120 * 4), "every node has totals in every window");

    let again = analyzer.ask(&export).unwrap();
    assert_eq!(code(&again), Some(1));
    assert!(stderr(&again).contains("is not empty"), "{}", stderr(&again));
    let (since, until) = (format!("@{first}"), format!("@{}", first + 1_000));
    let one_second = ["--force", "--since", &since, "--until", &until];
    let report = parsed(&analyzer.ask(&[&export[..], &one_second].concat()).unwrap());
    assert_eq!(report["rows"], json!(9));
    assert_eq!(read_by_others(&out)["duck"]["rows"], json!(9), "the earlier export is gone");
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let channel = analyzer.channel().await.unwrap();
    let services = ["isotherm.telemetry.v1.TelemetryService", "isotherm.control.v1.ControlService"];
    let mut health = HealthClient::new(channel.clone());
    for service in ["", services[0], services[1]] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    for service in services {
        assert!(list.service.iter().any(|found| found.name == service), "{service}: {list:?}");
    }
}
