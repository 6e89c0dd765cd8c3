//! The configurations of agent and analyzer for the lab's cluster, as a user would write them.

use isotherm_tests::load::Volume;
use isotherm_tests::seaweed::{DATA_CENTER, Node};
use std::fmt::Write;
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

/// The cluster's topology: racks of nodes, and the nodes that hold each volume.
pub(super) fn analyzer(nodes: &[Node], volumes: &[Volume], listen: &str, data: &Path) -> String {
    let mut text = format!(
        "listen = \"{listen}\"\ndata_dir = '{}'\nstep = \"60s\"\n\n\
         [cycle]\nsettle = \"{SETTLE_MS}ms\"\n[cycle.policy]\nstep_ms = {WINDOW_MS}\n\
         [cycle.policy.habit]\nminimum_min = 15\n\n[[topology]]\nsystem = \"{SYSTEM}\"\n",
        data.display()
    );
    for Node { name, rack, .. } in nodes {
        let _ = write!(
            text,
            "\n[[topology.node]]\nname = \"{name}\"\ndomains = [\"{DATA_CENTER}\", \"{rack}\"]\n\
             load_capacity = {NODE_READS_PER_S}\n"
        );
    }
    for Volume { id, nodes, .. } in volumes {
        let _ = write!(text, "\n[[topology.partition]]\nname = \"{id}\"\nnodes = {nodes:?}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_toml_and_name_every_node_and_volume() {
        let nodes = [Node { name: "10.77.0.1:8080".into(), rack: "rackA", data: "/d".into() }];
        let volume = Volume {
            id: 3,
            nodes: vec!["10.77.0.1:8080".into()],
            keys: vec![],
            object_bytes: 1,
            stored_bytes: vec![],
        };
        let agent: toml::Table =
            agent(&nodes, "http://127.0.0.1:1", Path::new("/a.b/it's"), Path::new("/tmp/spool"))
                .parse()
                .unwrap();
        assert_eq!(agent["target"][0]["select"]["cmdline"].as_str(), Some(r"-dir=/a\.b/it's/"));
        assert_eq!(agent["target"][0]["select"]["listen"].as_str(), Some("10.77.0.1:8080"));
        let analyzer: toml::Table =
            analyzer(&nodes, &[volume], "127.0.0.1:1", Path::new("/d")).parse().unwrap();
        assert_eq!(analyzer["topology"][0]["partition"][0]["nodes"][0].as_str(), Some("10.77.0.1:8080"));
        assert_eq!(analyzer["topology"][0]["node"][0]["domains"][1].as_str(), Some("rackA"));
    }
}
