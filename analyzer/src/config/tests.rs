use super::*;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::tls::IdentityFiles;
use isotherm_store::{Limit, Table};

const FULL: &str = r#"listen = "127.0.0.1:7601"
data_dir = "/srv/isotherm"
step = "2m"
[[topology]]
system = "seaweedfs"
[[topology.node]]
name = "10.77.0.1:8080"
domains = ["dc1", "rackA"]
[[topology.node]]
name = "10.77.0.3:8080"
[[topology.partition]]
name = "1"
nodes = ["10.77.0.1:8080", "10.77.0.3:8080"]
"#;

fn refused(text: &str) -> String {
    Config::from_text(Path::new("c.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_full_file_is_understood() {
    let config = Config::from_text(Path::new("c.toml"), FULL).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7601");
    assert_eq!(config.data_dir, Path::new("/srv/isotherm"));
    assert_eq!(config.step, Duration::from_secs(120));
    let system = SystemId::new("seaweedfs").unwrap();
    let node = NodeId::new(system.clone(), "10.77.0.1:8080").unwrap();
    assert_eq!(config.topology.nodes[&node].domains, ["dc1", "rackA"]);
    assert_eq!(config.topology.subsets[&PartitionId::new(system, "1").unwrap()].len(), 2);
}

#[test]
fn listening_takes_an_address_or_a_table_with_certificates() {
    let text =
        "[listen]\naddress = \"0.0.0.0:1\"\n[listen.tls]\ncert = \"/c\"\nkey = \"/k\"\nclient_ca = \"/ca\"\n";
    let config = Config::from_text(Path::new("c.toml"), text).unwrap();
    let identity = IdentityFiles { cert: "/c".into(), key: "/k".into() };
    assert_eq!(config.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.tls, Some(ServerFiles { identity, client_ca: "/ca".into() }));
    let config = Config::from_text(Path::new("c.toml"), FULL).unwrap();
    assert_eq!(config.tls, None);
}

#[test]
fn no_file_is_needed() {
    let config = Config::without_file().unwrap();
    assert_eq!((config.listen, config.step), (LISTEN, STEP));
    assert_eq!(config.topology, Topology::default());
    assert!(config.data_dir.ends_with("isotherm"));
}

#[test]
fn mistakes_are_named_by_file_line_and_key() {
    let with = |from: &str, to: &str| {
        assert!(FULL.contains(from));
        FULL.replacen(from, to, 1)
    };
    for (text, want) in [
        (
            with("127.0.0.1:7601", "localhost"),
            r#"c.toml:1: listen: "localhost" is not an address and port, such as "127.0.0.1:7600""#,
        ),
        (
            with("\"127.0.0.1:7601\"", "{ address = \"here\" }"),
            r#"c.toml:1: listen: "here" is not an address and port, such as "127.0.0.1:7600""#,
        ),
        (with("\"127.0.0.1:7601\"", "{ tls = { cert = \"/c\" } }"), "c.toml:1: listen: missing field `key`"),
        (
            with("\"127.0.0.1:7601\"", "7601"),
            "c.toml:1: listen: invalid type: integer `7601`, expected an address, or a table of address and tls",
        ),
        (with("/srv/isotherm", ""), "c.toml:2: data_dir: is empty"),
        (
            with("2m", "2 fortnights"),
            r#"c.toml:3: step: "2 fortnights" is not a duration such as "60s": unknown time unit "fortnights", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)"#,
        ),
        (with("2m", "0s"), r#"c.toml:3: step: "0s" is not whole milliseconds above 0"#),
        (with("2m", "1500us"), r#"c.toml:3: step: "1500us" is not whole milliseconds above 0"#),
        (with("\"2m\"", "60"), "c.toml:3: step: invalid type: integer `60`, expected a string"),
        (
            with("data_dir", "datadir"),
            "c.toml:2: datadir: unknown field `datadir`, expected one of `listen`, `data_dir`, `step`, `ingest`, `store`, `topology`, `adapter`, `failure`, `cycle`, `migrate`",
        ),
        (with("\"seaweedfs\"", "\"\""), "c.toml:5: topology.system: system is empty"),
        (
            with("10.77.0.3:8080\"\n[[", "10.77.0.1:8080\"\n[["),
            r#"c.toml:10: topology.node.name: "10.77.0.1:8080" occurs twice"#,
        ),
        (
            with(
                "8080\"]\n",
                "8080\"]\n[[topology.partition]]\nname = \"1\"\nnodes = [\"10.77.0.1:8080\"]\n",
            ),
            r#"c.toml:15: topology.partition.name: "1" occurs twice"#,
        ),
        (
            with("nodes = [\"10.77.0.1:8080\"", "nodes = [\n\"10.77.0.9:8080\""),
            r#"c.toml:14: topology.partition.nodes: "10.77.0.9:8080" is not a node of seaweedfs"#,
        ),
        (
            with("nodes = [\"10.77.0.1:8080\"", "nodes = [\"10.77.0.3:8080\""),
            r#"c.toml:13: topology.partition.nodes: "10.77.0.3:8080" occurs twice"#,
        ),
        (
            with("nodes = [\"10.77.0.1:8080\", \"10.77.0.3:8080\"]", "nodes = []"),
            "c.toml:13: topology.partition.nodes: is empty: a partition is held by at least one node",
        ),
        (
            format!("{FULL}[[topology]]\nsystem = \"seaweedfs\"\n"),
            r#"c.toml:15: topology.system: "seaweedfs" occurs twice"#,
        ),
    ] {
        assert_eq!(refused(&text), want);
    }
    assert!(refused("listen = \"127.0.0.1:1\"\nstep = \n").starts_with("c.toml:2: step: "));
}

const FACTS: &str = r#"[[topology]]
system = "s"
[[topology.node]]
name = "a"
addresses = ["10.0.0.1:80"]
domains = ["dc1"]
capacity = "2TiB"
load_capacity = 500
class = "hdd"
[[topology.node]]
name = "b"
[[topology.partition]]
name = "1"
size = "3 MB"
nodes = ["b", "a"]
[[adapter]]
system = "t"
endpoint = "https://10.0.0.9:7700"
ca = "/ca.pem"
cert = "/c.pem"
key = "/k.pem"
heartbeat = "1s"
stale_after = "10s"
load_capacity = 900
[[adapter.node]]
name = "n"
load_capacity = 300
class = "ssd"
[failure]
hold_down = "5s"
probe = true
"#;

#[test]
fn facts_of_nodes_and_sources_of_topologies_are_understood() {
    let config = Config::from_text(Path::new("c.toml"), FACTS).unwrap();
    let system = SystemId::new("s").unwrap();
    let node = |name: &str| NodeId::new(system.clone(), name).unwrap();
    let facts = &config.topology.nodes[&node("a")];
    assert_eq!(facts.capacity_bytes, Some(2 << 40));
    assert_eq!((facts.load_capacity_ops_per_s, facts.class.as_deref()), (Some(500), Some("hdd")));
    assert_eq!(config.topology.nodes[&node("b")].capacity_bytes, None, "unknown is not 0");
    let partition = &config.topology.partitions[&PartitionId::new(system.clone(), "1").unwrap()];
    assert_eq!((&partition.leader, partition.size_bytes), (&node("b"), Some(3_000_000)));
    let [adapter] = &config.adapters[..] else { panic!("one adapter") };
    assert_eq!((adapter.system.as_str(), adapter.heartbeat), ("t", Duration::from_secs(1)));
    assert_eq!(adapter.tls.as_ref().unwrap().ca.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(adapter.assumed.load_capacity_ops_per_s, Some(900));
    let own = &adapter.assumed.nodes[&NodeId::new(adapter.system.clone(), "n").unwrap()];
    assert_eq!((own.load_capacity_ops_per_s, own.class.as_deref()), (Some(300), Some("ssd")));
    assert_eq!(config.failure, FailureConfig { hold_down: Duration::from_secs(5), probe: true });
}

#[test]
fn mistakes_about_facts_and_sources_are_named_by_line_and_key() {
    let with = |from: &str, to: &str| {
        assert!(FACTS.contains(from), "{from}");
        FACTS.replacen(from, to, 1)
    };
    for (text, want) in [
        (
            with("10.0.0.1:80", "a:80"),
            r#"c.toml:5: topology.node.addresses: "a:80" is not an address and port, such as "10.0.0.1:8080""#,
        ),
        (with("\"dc1\"", "\"\""), r#"c.toml:6: topology.node.domains: "" is no name of 1 to 256 bytes"#),
        (with("2TiB", "big"), r#"c.toml:7: topology.node.capacity: "big" is not a size such as "8TiB""#),
        (with("500", "0"), "c.toml:8: topology.node.load_capacity: is 0; leave it out where it is not known"),
        (with("3 MB", "-3"), r#"c.toml:14: topology.partition.size: "-3" is not a size such as "8TiB""#),
        (
            with("system = \"t\"", "system = \"s\""),
            r#"c.toml:17: adapter.system: "s" has a [[topology]] already"#,
        ),
        (
            format!("{FACTS}[[adapter]]\nsystem = \"t\"\nendpoint = \"http://h:1\"\n"),
            r#"c.toml:33: adapter.system: "t" occurs twice"#,
        ),
        (
            with("https://10.0.0.9:7700", "10.0.0.9:7700"),
            r#"c.toml:18: adapter.endpoint: "10.0.0.9:7700" is no address such as "https://10.0.0.1:7700""#,
        ),
        (
            with("https:", "http:"),
            r#"c.toml:19: adapter.endpoint: "http://10.0.0.9:7700" is not encrypted; certificates need https://"#,
        ),
        (with("key = \"/k.pem\"\n", ""), "c.toml:20: adapter.key: is missing beside cert"),
        (with("900", "0"), "c.toml:24: adapter.load_capacity: is 0; leave it out where it is not known"),
        (with("\"10s\"", "\"10ms\""), "c.toml:23: adapter.stale_after: is shorter than a heartbeat"),
        (
            with("\"5s\"", "\"soon\""),
            r#"c.toml:30: failure.hold_down: "soon" is not a duration such as "60s": expected number at 0"#,
        ),
        (
            with("system = \"s\"", "system = \"host\""),
            r#"c.toml:2: topology.system: "host" stands for the hosts of agents, and has no topology"#,
        ),
    ] {
        assert_eq!(refused(&text), want);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::from_file(Path::new("/nonexistent/c.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/c.toml");
}

#[test]
fn limits_of_ingest_are_read_with_their_units() {
    let text = "[ingest]\nmax_streams = 7\nmemory = \"1GiB\"\nagent_memory = \"2MiB\"\n";
    let limits = Config::from_text(Path::new("c.toml"), text).unwrap().ingest;
    assert_eq!(
        (limits.max_streams, limits.memory, limits.agent_memory.as_u64()),
        (7, bytesize::ByteSize::gib(1), 2 << 20)
    );
    assert_eq!(limits.max_agents, Limits::default().max_agents);
}

#[test]
fn limits_of_ingest_that_cannot_be_are_named() {
    for (line, want) in [
        ("max_streams = 0", "c.toml:2: ingest.max_streams: 0 is not within 1 and 1073741824"),
        ("max_agents = -1", "c.toml:2: ingest.max_agents: -1 is not within 1 and 1073741824"),
        ("max_batch_rows = 300000", "c.toml:2: ingest.max_batch_rows: 300000 is not within 1 and 262144"),
        (
            "memory = \"lots\"",
            r#"c.toml:2: ingest.memory: "lots" is not a size such as "64MiB": couldn't parse "lots" into a ByteSize, cannot parse float from empty string"#,
        ),
        ("memory = \"1KiB\"", r#"c.toml:2: ingest.memory: "1KiB" is not within 1.0 MiB and 512.0 GiB"#),
        ("memory = \"16MiB\"", "c.toml:2: ingest.agent_memory: is 32.0 MiB, more than memory = 16.0 MiB"),
        (
            "agent_memory = \"1GiB\"",
            "c.toml:2: ingest.agent_memory: is 1.0 GiB, more than memory = 256.0 MiB",
        ),
        ("memory = 7", "c.toml:2: memory: invalid type: integer `7`, expected a string"),
    ] {
        assert_eq!(refused(&format!("[ingest]\n{line}\n")), want);
    }
    assert!(refused("[ingest]\nstreams = 7\n").starts_with("c.toml:2: streams: unknown field `streams`"));
}

#[test]
fn retention_is_by_age_and_size_and_what_is_not_said_is_by_default() {
    let upkeep = |text: &str| Config::from_text(Path::new("c.toml"), text).unwrap().upkeep;
    assert_eq!(upkeep(""), Upkeep::default());
    let said = upkeep(
        "[store]\nlateness = \"5m\"\nretention = { windows = \"2d\", risks = { age = \"1h\", bytes = \"2GiB\" }, \
         entropy = \"forever\", bytes = \"unlimited\" }\n",
    );
    assert_eq!((said.lateness_ms, said.retention.bytes), (300_000, None));
    let of = |table| said.retention.tables[&table];
    assert_eq!(of(Table::Windows), Limit { age_ms: Some(2 * 86_400_000), bytes: None });
    assert_eq!(of(Table::Risks), Limit { age_ms: Some(3_600_000), bytes: Some(2 << 30) });
    assert_eq!(of(Table::Entropy), Limit { age_ms: None, bytes: None });
    assert_eq!(of(Table::Late), Upkeep::default().retention.tables[&Table::Late]);
    for (text, want) in [
        ("lateness = \"2d\"", r#"c.toml:2: store.lateness: "2d" is more than a day"#),
        ("retention = { windows = \"0s\" }", r#"c.toml:2: store.retention: "0s" keeps nothing"#),
        (
            "retention = { bytes = \"50\" }",
            r#"c.toml:2: store.retention: "50" is not a size such as "50GiB", or "unlimited""#,
        ),
        (
            "retention = { bytes = \"-1GiB\" }",
            r#"c.toml:2: store.retention: "-1GiB" is not a size such as "50GiB", or "unlimited""#,
        ),
    ] {
        assert_eq!(refused(&format!("[store]\n{text}\n")), want);
    }
    let age = refused("[store]\nretention = { windows = \"a while\" }\n");
    assert!(
        age.starts_with("c.toml:2: store.retention: \"a while\" is not a duration such as \"30d\": "),
        "{age}"
    );
    assert!(refused("[store]\nretention = { peers = \"1d\" }\n").contains("unknown field `peers`"));
}

#[test]
fn repairs_have_a_table_of_their_own_that_goes_down_to_seconds() {
    use crate::migrate::repair::Settings;
    let of = |text: &str| Config::from_text(Path::new("c.toml"), text).unwrap().migrate.repair;
    assert_eq!((of(""), of("[migrate.repair]\n")), (Settings::default(), Settings::default()));
    let said = of("[migrate.repair]\nmode = \"auto\"\nwait = \"2s\"\nmost_nodes = 3\nmost_share = 0.5\n\
         breaker_window = \"30s\"\nmost_failed = 5\nper_hour = 7\nretry = \"500ms\"\n");
    let want = Settings {
        mode: isotherm_risk::Mode::Auto,
        wait: Duration::from_secs(2),
        most_nodes: 3,
        most_share: 0.5,
        breaker_window: Duration::from_secs(30),
        most_failed: 5,
        per_hour: 7,
        retry: Duration::from_millis(500),
    };
    assert_eq!(said, want);
    for (line, want) in [
        ("most_share = 0.0", "c.toml:2: migrate.repair.most_share: 0 is not above 0 and at most 1"),
        ("most_share = nan", "c.toml:2: migrate.repair.most_share: NaN is not above 0 and at most 1"),
        ("per_hour = 0", "c.toml:2: migrate.repair.per_hour: must be more than 0"),
        ("wait = \"0s\"", "c.toml:2: migrate.repair.wait: \"0s\" is not whole milliseconds above 0"),
    ] {
        assert_eq!(refused(&format!("[migrate.repair]\n{line}\n")), want);
    }
    assert!(refused("[migrate.repair]\nhours = 7\n").contains("unknown field `hours`"));
}

#[test]
fn when_moves_are_scored_and_how_long_others_are_waited_for_can_be_set() {
    let trust = |text: &str| Config::from_text(Path::new("c.toml"), text).unwrap().migrate.trust;
    assert_eq!(trust(""), crate::migrate::trust::Settings::default());
    let said = trust("[migrate]\nscore_after = \"5s\"\nother_movers_quiet = \"2m\"\n");
    assert_eq!((said.score_after.as_secs(), said.other_movers_quiet.as_secs()), (5, 120));
    assert_eq!(
        refused("[migrate]\nscore_after = \"0s\"\n"),
        r#"c.toml:2: migrate.score_after: "0s" is not whole milliseconds above 0"#
    );
}
