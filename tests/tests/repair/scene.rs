//! An analyzer, an adapter with a simulated cluster whose nodes can die, and an agent that watches the nodes.

use super::support::analyzer::{Analyzer, run, serve_on};
use super::support::command::{parsed, stderr, stdout};
use super::support::sample::{node, row, window};
use super::support::telemetry::Agent;
use isotherm_model::{NodeWindow, Operation, Timestamp, Window};
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{self, Child};
use isotherm_tests::workspace;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(90);

const PARTITIONS: usize = 8;

pub(crate) struct Scene {
    folder: TempDir,
    ports: [u16; 2],
    nodes: usize,
    adapter: Option<Child>,
    analyzer: Option<Analyzer>,
    /// Nodes that the agent sees no process of.
    dead: Arc<Mutex<BTreeSet<String>>>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Scene {
    /// A cluster of so many nodes with eight partitions on two each; `repair` is the table of that name.
    pub(crate) fn new(nodes: usize, store: &str, repair: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let dir = folder.path().display();
        let adapter = format!(
            "system = \"seaweedfs\"\ndata = \"{dir}/adapter\"\nlisten = \"127.0.0.1:{}\"\n\
             [store]\nkind = \"at_switch\"\nnodes = {nodes}\nstate = \"{dir}/cluster.sqlite\"\n{store}",
            ports[0]
        );
        let analyzer = format!(
            "[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://127.0.0.1:{}\"\nheartbeat = \"500ms\"\n\
             stale_after = \"5s\"\n[failure]\nhold_down = \"1s\"\n[migrate.limits]\nper_node = 4\n\
             [migrate.repair]\n{repair}",
            ports[0]
        );
        fs::write(folder.path().join("adapter.toml"), adapter).unwrap();
        fs::write(folder.path().join("isotherm.toml"), analyzer).unwrap();
        let dead = Arc::default();
        let mut scene = Self { folder, ports, nodes, adapter: None, analyzer: None, dead };
        scene.restore();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts what does not run, and waits until the topology is known.
    pub(crate) fn restore(&mut self) {
        if self.adapter.is_none() {
            let mut command = Command::new(workspace::program("isotherm-adapter"));
            command.args(["simulated", "--config"]).arg(self.path("adapter.toml")).env("RUST_LOG", "info");
            let mut notify = Notify::bind(self.folder.path(), "adapter").unwrap();
            notify.announce(&mut command);
            let mut child =
                process::spawn("isotherm-adapter", &mut command, &self.path("adapter.log")).unwrap();
            notify.wait_ready(&mut child, LIMIT).unwrap();
            self.adapter = Some(child);
        }
        if self.analyzer.is_none() {
            let mut command = serve_on(&format!("127.0.0.1:{}", self.ports[1]), &self.path("data")).unwrap();
            command.arg("--config").arg(self.path("isotherm.toml"));
            self.analyzer = Some(Analyzer::from_command(command, self.folder.path()).unwrap());
        }
        self.until("the topology is known", || {
            parsed(&self.ask(&["get", "topology", "-o", "json"]))["sources"][0]["partitions"] == PARTITIONS
        });
    }

    /// Lets an agent watch all nodes, until the test ends: a window a second, also to an analyzer that starts again.
    pub(crate) fn watch(&self) {
        let (url, dead, nodes) =
            (format!("http://127.0.0.1:{}", self.ports[1]), Arc::clone(&self.dead), self.nodes);
        tokio::spawn(async move {
            let (mut boot, mut sent_ms) = (0, now_ms() / 1_000 * 1_000);
            loop {
                boot += 1;
                if let Ok(mut agent) = Agent::connect(&url, "host", &format!("boot{boot}")).await {
                    let mut seq = 0;
                    loop {
                        while sent_ms + 1_000 > now_ms() {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        seq += 1;
                        if agent.deliver_all(seq, &[second(sent_ms, nodes, &dead)]).await.is_err() {
                            break;
                        }
                        sent_ms += 1_000;
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    /// A node dies, or is back with what it had; the agent sees it.
    pub(crate) fn set_up(&self, name: &str, up: bool) {
        self.tell_up(name, up);
        let mut dead = self.dead.lock().unwrap();
        if up {
            dead.remove(name)
        } else {
            dead.insert(name.to_owned())
        };
    }

    /// Only the cluster itself says so.
    pub(crate) fn tell_up(&self, name: &str, up: bool) {
        let changed = self.cluster().execute("UPDATE node SET up = ?2 WHERE name = ?1", (name, up)).unwrap();
        assert_eq!(changed, 1);
    }

    /// By SIGKILL.
    pub(crate) fn kill_analyzer(&mut self) {
        self.analyzer.take().unwrap().child.kill();
    }

    /// By SIGKILL.
    pub(crate) fn kill_adapter(&mut self) {
        self.adapter.take().unwrap().kill();
    }

    /// Runs a command of the CLI.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        let server = format!("http://127.0.0.1:{}", self.ports[1]);
        run(&[args, &["--server", &server]].concat()).unwrap()
    }

    /// `isotherm repair status` of the only system.
    pub(crate) fn status(&self) -> Value {
        parsed(&self.ask(&["repair", "status", "-o", "json"]))["systems"][0].clone()
    }

    /// Migrations, ended ones too.
    pub(crate) fn migrations(&self) -> Vec<Value> {
        let all = parsed(&self.ask(&["migrate", "status", "--all", "-o", "json"]));
        all["migrations"].as_array().unwrap().clone()
    }

    /// What a command must do.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Waits until the diary has a line with all of these words.
    pub(crate) fn told(&self, words: &[&str]) {
        self.until(&format!("the diary says {words:?}"), || {
            let diary = stdout(&self.ask(&["diary", "--limit", "1000"]));
            diary.lines().any(|line| words.iter().all(|word| line.contains(word)))
        });
    }

    pub(crate) fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < LIMIT, "not so in time: {what}{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the programs and the diary said, for a failure.
    pub(crate) fn logs(&self) -> String {
        let log = |name: &str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        let diary = self.ask(&["diary", "--limit", "40"]);
        let status = self.ask(&["repair", "status"]);
        format!(
            "\n--- analyzer\n{}\n--- adapter\n{}\n--- diary\n{}\n--- repairs\n{}",
            log("analyzer.log"),
            log("adapter.log"),
            String::from_utf8_lossy(&diary.stdout),
            String::from_utf8_lossy(&status.stdout)
        )
    }

    fn cluster(&self) -> Connection {
        let cluster = Connection::open(self.path("cluster.sqlite")).unwrap();
        cluster.busy_timeout(Duration::from_secs(10)).unwrap();
        cluster
    }

    /// The nodes with a replica that serves.
    pub(crate) fn holders(&self, partition: &str) -> BTreeSet<String> {
        let cluster = self.cluster();
        let mut rows = cluster.prepare("SELECT node FROM replica WHERE part = ?1 AND serves").unwrap();
        rows.query_map([partition], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// All partitions.
    pub(crate) fn partitions() -> impl Iterator<Item = String> {
        (1..=PARTITIONS).map(|number| format!("p{number}"))
    }

    /// Whether every partition has two replicas, none of them on these nodes.
    pub(crate) fn is_whole_without(&self, dead: &[&str]) -> bool {
        Self::partitions().all(|partition| {
            let holders = self.holders(&partition);
            holders.len() == 2 && !dead.iter().any(|node| holders.contains(*node))
        })
    }

    /// The bytes of every replica that serves are the same as those of the other.
    pub(crate) fn copies_are_equal(&self) {
        let differing: i64 = self
            .cluster()
            .query_row(
                "SELECT count(*) FROM (
                     SELECT 1 FROM replica JOIN block USING (part, node) WHERE serves
                     GROUP BY part, number HAVING count(DISTINCT data) <> 1 OR count(*) <> 2
                 )",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(differing, 0, "blocks differ between replicas");
    }
}

/// The window of a second, of all nodes as the agent sees them.
fn second(start_ms: u64, nodes: usize, dead: &Mutex<BTreeSet<String>>) -> Window {
    let dead = dead.lock().unwrap();
    let seen = |name: String| -> NodeWindow {
        let processes = u32::from(!dead.contains(&name));
        NodeWindow { processes, ..node(&name, vec![row("p1", Operation::Read, 1)]) }
    };
    let seen = (1..=nodes).map(|number| seen(format!("n{number}"))).collect();
    Window { start: Timestamp::from_ms(start_ms), ..window(0, seen) }
}
