//! A volume server of a real SeaweedFS is killed, and the real analyzer makes its volumes again by itself.
//!
//! Needs root, `ip`, the store that `cargo xtask setup` installs, and the analyzer:
//! `cargo build --workspace --bins --features isotherm/failpoints`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part")]
mod support;

use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, spawn};
use isotherm_tests::workspace;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::weed::{MASTER, Weed, node, number, with_weed};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// Connections are tried every five seconds, and nobody shows when: after this time each server has answered one.
const PROBED: Duration = Duration::from_secs(8);

/// An adapter and an analyzer that repairs a second after a failure. Nobody watches the servers but its own connections.
struct Stage {
    folder: TempDir,
    ports: [u16; 2],
    adapter: Option<Child>,
    _analyzer: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn started(name: &str, mut command: Command, folder: &Path) -> Child {
    let mut notify = Notify::bind(folder, name).unwrap();
    notify.announce(&mut command);
    let mut child = spawn(name, &mut command, &folder.join(format!("{name}.log"))).unwrap();
    notify.wait_ready(&mut child, LIMIT).unwrap();
    child
}

fn adapter(folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm-adapter"));
    command.args(["seaweedfs", "--config"]).arg(folder.join("adapter.toml")).env("RUST_LOG", "info");
    started("adapter", command, folder)
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let dir = folder.path().display();
        let config = format!(
            "system = \"seaweedfs\"\ndata = \"{dir}/adapter\"\nlisten = \"127.0.0.1:{}\"\n\
             [store]\nmaster = [{MASTER:?}]\n",
            ports[0]
        );
        fs::write(folder.path().join("adapter.toml"), config).unwrap();
        let config = format!(
            "[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://127.0.0.1:{}\"\nheartbeat = \"500ms\"\n\
             [failure]\nhold_down = \"1s\"\nprobe = true\n[migrate.limits]\nper_node = 4\n\
             [migrate.repair]\nmode = \"auto\"\nwait = \"1s\"\n",
            ports[0]
        );
        fs::write(folder.path().join("isotherm.toml"), config).unwrap();
        let adapter = Some(adapter(folder.path()));
        let mut command = Command::new(workspace::program("isotherm"));
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", ports[1]), "--config"]);
        command.arg(folder.path().join("isotherm.toml")).arg("--data-dir").arg(folder.path().join("data"));
        command.env_remove("FAILPOINTS").env("RUST_LOG", "info");
        let analyzer = started("analyzer", command, folder.path());
        Self { folder, ports, adapter, _analyzer: analyzer }
    }

    fn ask(&self, args: &[&str]) -> String {
        let mut command = Command::new(workspace::program("isotherm"));
        command.args(args).args(["--server", &format!("http://127.0.0.1:{}", self.ports[1])]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ask(&[args, &["-o", "json"]].concat())).unwrap()
    }

    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            let log = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            assert!(
                begun.elapsed() < LIMIT,
                "not so in time: {what}\n{}\n{}\n--- analyzer\n{}\n--- adapter\n{}",
                self.ask(&["repair", "status"]),
                self.ask(&["diary"]),
                log("analyzer.log"),
                log("adapter.log")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the analyzer knows a volume and has tried its servers.
    fn knows(&self, volume: u32) {
        self.until("the volume is known", || {
            let all = self.json(&["get", "partitions"]);
            let all = all["partitions"].as_array().unwrap();
            all.iter().any(|one| one["partition"].as_str() == Some(&*volume.to_string()))
        });
        std::thread::sleep(PROBED);
    }

    /// Waits until a volume was made again by isotherm itself in the place of a server.
    fn repairs(&self, volume: u32, dead: usize) {
        self.until("the volume is made again", || {
            let all = self.json(&["migrate", "status", "--all"]);
            all["migrations"].as_array().unwrap().iter().any(|one| {
                one["phase"] == "COMPLETED"
                    && one["partition"] == format!("seaweedfs/{volume}")
                    && one["source"] == format!("seaweedfs/{}", node(dead))
                    && one["trigger"] == "failure"
                    && one["who"] == "isotherm"
            })
        });
    }
}

fn holders(weed: &Weed, volume: u32) -> Vec<usize> {
    weed.lookup(volume).unwrap().iter().map(|name| number(name)).collect()
}

/// The servers of a volume after one of them was killed and isotherm made its replica again.
fn mended(weed: &Weed, volume: u32, before: &[usize], dead: usize) -> Vec<usize> {
    let after = holders(weed, volume);
    assert_eq!(after.len(), before.len(), "{after:?}");
    assert!(!after.contains(&dead), "{after:?}");
    after
}

#[test]
fn volumes_of_a_server_that_was_killed_are_made_again_and_lose_nothing() {
    with_weed(
        "volumes_of_a_server_that_was_killed_are_made_again_and_lose_nothing",
        async |weed: &mut Weed| {
            // Both replicas in one rack, as the replication demands.
            let (volume, objects) = weed.volume("001", 40, 50_000).unwrap();
            let before = holders(weed, volume);
            let stage = Stage::new();
            stage.knows(volume);
            weed.kill(before[0]).unwrap();
            stage.repairs(volume, before[0]);
            let after = mended(weed, volume, &before, before[0]);
            weed.ensure_all(volume, &after, &objects).unwrap();
            assert!(weed.takes_writes(volume, &after).unwrap());
            stage.until("nothing is missing", || {
                let status = stage.json(&["repair", "status"]);
                let failures = status["systems"][0]["failures"].as_array().unwrap().clone();
                failures.iter().all(|failure| failure["missing"] == 0)
            });
        },
    );
}

#[test]
fn what_a_server_held_is_known_though_master_and_adapter_have_forgotten_it() {
    with_weed(
        "what_a_server_held_is_known_though_master_and_adapter_have_forgotten_it",
        async |weed: &mut Weed| {
            let (volume, objects) = weed.volume("001", 20, 20_000).unwrap();
            let before = holders(weed, volume);
            let mut stage = Stage::new();
            stage.knows(volume);
            // The adapter dies with the server; the next one has never seen that server, nor what lay there.
            stage.adapter.take().unwrap().kill();
            weed.kill(before[0]).unwrap();
            stage.adapter = Some(adapter(stage.folder.path()));
            stage.repairs(volume, before[0]);
            let after = mended(weed, volume, &before, before[0]);
            weed.ensure_all(volume, &after, &objects).unwrap();
            assert!(
                stage.ask(&["diary"]).contains("the topology does not name it any more"),
                "{}",
                stage.ask(&["diary"])
            );
        },
    );
}
