use super::*;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::tls::IdentityFiles;

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
    assert_eq!(config.topology.nodes[&node], ["dc1", "rackA"]);
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
            "c.toml:2: datadir: unknown field `datadir`, expected one of `listen`, `data_dir`, `step`, `ingest`, `topology`",
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
