//! The configurations of agent and analyzer for the lab's cluster, as a user would write them.

use isotherm_tests::seaweed::{Cluster, Node};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// The name that both sides give the store.
pub(super) const SYSTEM: &str = "seaweedfs";

/// Length of the agent's windows: short, so that the live table moves.
pub(super) const WINDOW_MS: u64 = 1_000;

/// How late a window may come: it is cut and sent after its end.
const SETTLE_MS: u64 = 3 * WINDOW_MS;

/// What a volume server is said to bear, so that there is a headroom to judge.
const NODE_READS_PER_S: u64 = 1_000;

/// `N.dat` or `COLLECTION_N.dat`. The index beside it belongs to no partition: a GET reads the data only.
const RULE: &str = r"/(?:(?P<collection>[^/]+)_)?(?P<volume>[0-9]+)\.dat$";

/// The agent's name for the host.
pub(super) const AGENT: &str = "demo-host";

/// One target per volume server, found by the address it listens on, and by its data's folder below `store`:
/// a second demo on this host has the same addresses, in a network namespace of its own, and another spool.
pub(super) fn agent(nodes: &[Node], endpoint: &str, store: &Path, spool: &Path) -> String {
    let data = format!("-dir={}/", regex::escape(&store.display().to_string()));
    let data = toml::Value::String(data);
    let mut text = format!(
        "[agent]\nid = \"{AGENT}\"\nwindow = \"{WINDOW_MS}ms\"\n\n[analyzer]\nendpoint = \"{endpoint}\"\n\n\
         [spool]\ndir = '{}'\n\n[metrics]\nlisten = \"off\"\n",
        spool.display()
    );
    for Node { name, .. } in nodes {
        let _ = write!(
            text,
            "\n[[target]]\nsystem = \"{SYSTEM}\"\nnode = \"{name}\"\nselect = {{ listen = \"{name}\", cmdline = {data} }}\n\
             [[target.rule]]\npath = '{RULE}'\npartition = \"$volume\"\n"
        );
    }
    text
}

/// What is told to the adapter of SeaweedFS, which runs beside the store.
pub(super) fn adapter(listen: SocketAddr, data: &Path) -> String {
    format!(
        "system = \"{SYSTEM}\"\ndata = '{}'\nlisten = \"{listen}\"\n\n[store]\nmaster = [\"{}\"]\n",
        data.display(),
        Cluster::master()
    )
}

/// The analyzer acts by itself, but never on the volumes that are held out. A step is a second here, where it would be a
/// minute, and so is all that is said in steps: shares of the present are of the last seconds. A failure is believed at
/// once, where it would be given ten minutes; and as these servers have next to nothing to do, a healthy one may have
/// far more than the mean of it.
pub(super) fn analyzer(adapter: SocketAddr, held_out: &[u32], listen: &str, data: &Path) -> String {
    let held_out: Vec<String> = held_out.iter().map(|volume| format!("{SYSTEM}/{volume}")).collect();
    format!(
        r#"listen = "{listen}"
data_dir = '{data}'
step = "60s"

[[adapter]]
system = "{SYSTEM}"
endpoint = "http://{adapter}"
heartbeat = "1s"
load_capacity = {NODE_READS_PER_S}

[failure]
hold_down = "2s"

[cycle]
settle = "{SETTLE_MS}ms"

[cycle.policy]
step_ms = {WINDOW_MS}
mode = "auto"
share_half_life_min = 5

[cycle.policy.gate]
peak_over_mean = 4.0

[cycle.policy.risk.cost]
shift_pause_s = 0.2

[cycle.policy.habit]
minimum_min = 15

[migrate]
hold_out = {held_out:?}
probation = "2s"

[migrate.repair]
mode = "auto"
wait = "3s"
retry = "5s"
"#,
        data = data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_toml_and_name_what_they_are_about() {
        let nodes = [Node { name: "10.77.0.1:8080".into(), rack: "rackA", data: "/d".into() }];
        let agent: toml::Table =
            agent(&nodes, "http://127.0.0.1:1", Path::new("/a.b/it's"), Path::new("/tmp/spool"))
                .parse()
                .unwrap();
        assert_eq!(agent["target"][0]["select"]["cmdline"].as_str(), Some(r"-dir=/a\.b/it's/"));
        assert_eq!(agent["target"][0]["select"]["listen"].as_str(), Some("10.77.0.1:8080"));
        let address = "127.0.0.1:7".parse().unwrap();
        let analyzer: toml::Table = analyzer(address, &[3], "127.0.0.1:1", Path::new("/d")).parse().unwrap();
        assert_eq!(analyzer["adapter"][0]["endpoint"].as_str(), Some("http://127.0.0.1:7"));
        assert_eq!(analyzer["migrate"]["hold_out"][0].as_str(), Some("seaweedfs/3"));
        let adapter: toml::Table = adapter(address, Path::new("/d")).parse().unwrap();
        assert_eq!(adapter["store"]["master"][0].as_str(), Some("10.77.0.9:9333"));
    }
}
