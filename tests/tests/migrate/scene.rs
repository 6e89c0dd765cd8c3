//! An analyzer, an adapter with a simulated cluster, and what the cluster itself says in the end. The cluster goes by the
//! name of the system that samples of telemetry are of.

use super::support::analyzer::{Analyzer, run, serve_on};
use super::support::command::{parsed, stderr};
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{self, Child};
use isotherm_tests::workspace;
use rusqlite::Connection;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

pub(crate) struct Scene {
    folder: TempDir,
    ports: [u16; 2],
    adapter: Option<Child>,
    analyzer: Option<Analyzer>,
}

/// A port that nobody listens on. Another program could take it first; a test is then told so by its failure to start.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Scene {
    /// `store` is what the simulated cluster differs in, `migrate` the table of that name.
    pub(crate) fn new(kind: &str, store: &str, migrate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let dir = folder.path().display();
        let adapter = format!(
            "system = \"seaweedfs\"\ndata = \"{dir}/adapter\"\nlisten = \"127.0.0.1:{}\"\n\
             [store]\nkind = \"{kind}\"\nstate = \"{dir}/cluster.sqlite\"\n{store}",
            ports[0]
        );
        let probation = if migrate.contains("probation") { "" } else { "probation = \"300ms\"\n" };
        let analyzer = format!(
            "[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://127.0.0.1:{}\"\nheartbeat = \"500ms\"\n\
             [migrate]\n{probation}{migrate}",
            ports[0]
        );
        fs::write(folder.path().join("adapter.toml"), adapter).unwrap();
        fs::write(folder.path().join("isotherm.toml"), analyzer).unwrap();
        let mut scene = Self { folder, ports, adapter: None, analyzer: None };
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
            parsed(&self.ask(&["get", "topology", "-o", "json"]))["sources"][0]["partitions"] == 8
        });
    }

    pub(crate) fn url(&self) -> &str {
        &self.analyzer.as_ref().unwrap().url
    }

    /// Where the adapter listens.
    pub(crate) fn adapter_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// By SIGKILL.
    pub(crate) fn kill_analyzer(&mut self) {
        self.analyzer.take().unwrap().child.kill();
    }

    /// Kills the analyzer, and takes its journal away, as where a disk is lost.
    pub(crate) fn forget(&mut self) {
        self.kill_analyzer();
        for part in ["", "-wal", "-shm"] {
            let file = self.path("data").join(format!("migrations.sqlite{part}"));
            assert!(fs::remove_file(file).is_ok() || !part.is_empty(), "there was no journal");
        }
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

    /// Begins a migration, and says its id.
    pub(crate) fn begin(&self, partition: &str, source: &str, target: &str, more: &[&str]) -> String {
        let start = ["migrate", "start", partition, "--from", source, "--to", target, "--yes", "-o", "json"];
        let begun = self.ask(&[&start[..], more].concat());
        assert!(begun.status.success(), "{}", stderr(&begun));
        parsed(&begun)["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a migration is in this phase.
    pub(crate) fn reaches(&self, id: &str, phase: &str) {
        self.until(&format!("{id} is {phase}"), || {
            let status = self.ask(&["migrate", "status", id, "-o", "json"]);
            status.status.success() && parsed(&status)["migration"]["phase"] == phase
        });
    }

    pub(crate) fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < LIMIT, "not so in time: {what}{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the programs said, for a failure.
    pub(crate) fn logs(&self) -> String {
        let log = |name: &str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        format!("\n--- analyzer\n{}\n--- adapter\n{}", log("analyzer.log"), log("adapter.log"))
    }

    /// The cluster itself, past its adapter.
    pub(crate) fn cluster(&self) -> Connection {
        let cluster = Connection::open(self.path("cluster.sqlite")).unwrap();
        cluster.busy_timeout(Duration::from_secs(10)).unwrap();
        cluster
    }

    /// The node that serves a partition, and one that has no replica of it.
    pub(crate) fn way(&self, partition: &str) -> (String, String) {
        let holders = self.holders(partition);
        let target = NODES.iter().find(|node| !holders.iter().any(|(holder, _)| holder == *node)).unwrap();
        let source = holders.iter().find(|(_, serves)| *serves).unwrap();
        (source.0.clone(), (*target).to_owned())
    }

    /// The nodes with a replica, and whether they serve.
    pub(crate) fn holders(&self, partition: &str) -> Vec<(String, bool)> {
        let cluster = self.cluster();
        let mut rows =
            cluster.prepare("SELECT node, serves FROM replica WHERE part = ?1 ORDER BY rank").unwrap();
        rows.query_map([partition], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// The cluster has the partition on this node and one other, and nothing of a migration.
    pub(crate) fn ended_well(&self, partition: &str, serves: &str) {
        let holders = self.holders(partition);
        assert_eq!(holders.len(), 2, "{partition} on {holders:?}");
        assert!(holders.iter().any(|(node, does)| node == serves && *does), "{partition} on {holders:?}");
        let cluster = self.cluster();
        let count = |sql: &str| -> i64 { cluster.query_row(sql, [partition], |row| row.get(0)).unwrap() };
        assert_eq!(count("SELECT count(*) FROM fence WHERE part = ?1"), 0, "writes are stopped");
        assert_eq!(count("SELECT count(*) FROM feed WHERE part = ?1"), 0, "a copy is fed");
        assert_eq!(
            count("SELECT count(DISTINCT node) FROM block WHERE part = ?1"),
            2,
            "blocks lie where there is no replica"
        );
    }

    /// Every replica of a partition that serves has the same bytes: those that were not moved took every acknowledged
    /// write themselves. The programs are stopped for it.
    pub(crate) fn nothing_is_lost(mut self) {
        self.kill_analyzer();
        self.kill_adapter();
        let count = |sql: &str| -> i64 { self.cluster().query_row(sql, [], |row| row.get(0)).unwrap() };
        let differing = count(
            "SELECT count(*) FROM (
                 SELECT 1 FROM replica JOIN block USING (part, node) WHERE serves
                 GROUP BY part, number HAVING count(DISTINCT data) <> 1 OR count(*) <> 2
             )",
        );
        assert_eq!(differing, 0, "blocks differ between replicas");
        let written = count("SELECT sum(writes) FROM part");
        assert!(written > 50, "there were {written} writes");
    }
}
