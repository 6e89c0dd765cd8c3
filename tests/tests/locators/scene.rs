//! A real SeaweedFS, its real adapter, analyzer and agent, all in one namespace, and a load whose truth is known. No
//! volume is named anywhere but in the store.

use isotherm_agent::rights;
use isotherm_tests::disk::Disk;
use isotherm_tests::load::{Load, Skew, TrueRequests, Truth, Volume};
use isotherm_tests::netns::Namespace;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::seaweed::{Cluster, Node, fill};
use isotherm_tests::skip::skipped;
use isotherm_tests::tools::Tools;
use isotherm_tests::workspace::{program, target_dir};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// More than a few of the longest pauses between an agent's attempts, 45 s.
const LIMIT: Duration = Duration::from_secs(180);

const VOLUMES: usize = 4;
const OBJECTS: usize = 10;
const OBJECT_BYTES: usize = 4 << 10;
const DISK_BYTES: u64 = 1 << 30;
const ADAPTER: &str = "127.0.0.1:7700";
const ANALYZER: &str = "127.0.0.1:7600";
const METRICS: &str = "127.0.0.1:7601";

/// Reads and writes by volume and node.
type Counts = BTreeMap<(u32, String), (u64, u64)>;

/// Fields are dropped from first to last: those who watch before those who are watched, and the namespace last.
pub(crate) struct Scene {
    agent: Option<Child>,
    analyzer: Option<Child>,
    _adapter: Child,
    cluster: Cluster,
    volumes: Vec<Volume>,
    /// What the analyzer had counted before the last load.
    before: Counts,
    folder: TempDir,
    _disk: Disk,
    namespace: Namespace,
}

/// A load that was run, and what it really asked for.
pub(crate) struct Done(Vec<TrueRequests>);

impl Scene {
    /// The store with its volumes, and its adapter. `None`, told as skipped, where something is missing.
    pub(crate) fn set(name: &str) -> Option<Self> {
        if let Err(missing) = rights::check() {
            skipped(name, &missing.to_string());
            return None;
        }
        let namespace = match (Tools::locate().weed(), Namespace::new()) {
            (Ok(_), Ok(namespace)) => namespace,
            (Err(error), _) | (_, Err(error)) => {
                skipped(name, &format!("{error:#}"));
                return None;
            }
        };
        let parent = target_dir().join("tmp");
        fs::create_dir_all(&parent).unwrap();
        let folder = TempDir::new_in(parent).unwrap();
        let disk = Disk::mount(&namespace, DISK_BYTES).unwrap();
        let (tools, store, logs) = (Tools::locate(), disk.path().to_path_buf(), folder.path().to_path_buf());
        let cluster = namespace.run(move || Cluster::start(&tools, &store, &logs)).unwrap().unwrap();
        let nodes = cluster.nodes().to_vec();
        let volumes =
            namespace.run(move || fill(&nodes, 7, VOLUMES, OBJECTS, OBJECT_BYTES)).unwrap().unwrap();
        write_configurations(folder.path(), cluster.nodes());
        let config = folder.path().join("adapter.toml");
        let mut command = Command::new(program("isotherm-adapter"));
        command.args(["seaweedfs", "--config"]).arg(config).env("RUST_LOG", "info");
        let adapter = start(&namespace, folder.path(), "isotherm-adapter", command);
        let before = Counts::new();
        Some(Self {
            agent: None,
            analyzer: None,
            _adapter: adapter,
            cluster,
            volumes,
            before,
            folder,
            _disk: disk,
            namespace,
        })
    }

    pub(crate) fn start_analyzer(&mut self) {
        let mut command = Command::new(program("isotherm"));
        command.args(["serve", "--listen", ANALYZER, "--config"]).arg(self.path("isotherm.toml"));
        command.arg("--data-dir").arg(self.path("data")).env("RUST_LOG", "info");
        self.analyzer = Some(start(&self.namespace, self.folder.path(), "isotherm", command));
    }

    pub(crate) fn stop_analyzer(&mut self) {
        self.analyzer.take().unwrap().kill();
    }

    pub(crate) fn start_agent(&mut self) {
        let mut command = Command::new(program("isotherm-agent"));
        command.args(["run", "--config"]).arg(self.path("agent.toml"));
        self.agent = Some(start(&self.namespace, self.folder.path(), "isotherm-agent", command));
    }

    pub(crate) fn restart_agent(&mut self) {
        self.agent.take().unwrap().stop();
        fs::remove_file(self.path("isotherm-agent.log")).unwrap();
        self.start_agent();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program in the namespace.
    fn ask(&self, name: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program(name));
        command.args(args).env_remove("ISOTHERM_SERVER");
        self.namespace.run(move || command.output().unwrap()).unwrap()
    }

    /// The answer of a command of the CLI, once it has one.
    fn get(&self, args: &[&str]) -> Option<Value> {
        let server = format!("http://{ANALYZER}");
        let output = self.ask("isotherm", &[args, &["-o", "json", "--server", &server]].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    fn until<T>(&mut self, what: &str, mut reached: impl FnMut(&Self) -> Option<T>) -> T {
        let found = wait_for(what, LIMIT, || {
            self.cluster.ensure_alive()?;
            Ok(reached(self))
        });
        found.unwrap_or_else(|error| {
            let tail = |child: &Option<Child>| child.as_ref().map(Child::log_tail).unwrap_or_default();
            let seen = (self.get(&["get", "agents"]), self.get(&["get", "partitions", "--layer", "logical"]));
            panic!("{error:#}\n{}\n{}\n{seen:#?}", tail(&self.agent), tail(&self.analyzer))
        })
    }

    /// Waits until so many partitions are counted by the locators that the agent was told last; their revision.
    pub(crate) fn locators_in_force(&mut self, partitions: u64) -> u64 {
        self.until("locators to be in force", |scene| {
            let agents = scene.get(&["get", "agents"])?;
            let locators = &agents["agents"][0]["locators"];
            assert!(locators["problem"].is_null(), "{locators}");
            let revision = locators["revision"].as_u64()?;
            let told = locators["told_revision"].as_u64()?;
            (locators["partitions"] == partitions && revision == told).then_some(revision)
        })
    }

    /// Asks so many times, also for writes, and waits for the answers.
    pub(crate) fn load(&self, requests: u64) -> Done {
        let volumes: Arc<[Volume]> = self.volumes.clone().into();
        let load = Load {
            volumes: Arc::clone(&volumes),
            skew: Skew::Uneven { spared: None },
            seed: requests,
            requests,
            put_every: NonZeroU64::new(10),
            rate_per_second: 200.0,
        };
        let truth = Truth::new(volumes).unwrap();
        let asked = truth.clone();
        let run = move || load.run(&asked, &Arc::new(AtomicBool::new(false)));
        self.namespace.run(run).unwrap().unwrap();
        Done(truth.rows())
    }

    /// What is counted since the last time is what was asked for, volume by volume and node by node.
    pub(crate) fn counts_are_the_truth_of(&mut self, Done(rows): Done) {
        let mut wanted = self.before.clone();
        for row in rows {
            let counts = wanted.entry((row.volume, row.node)).or_default();
            *counts = (counts.0 + row.gets, counts.1 + row.writes);
        }
        assert!(wanted != self.before, "something was asked for");
        self.until(&format!("the counts to be {wanted:?}"), |scene| {
            let counts = scene.counts()?;
            let short = wanted.iter().any(|(place, (reads, writes))| {
                counts.get(place).is_none_or(|have| have.0 < *reads || have.1 < *writes)
            });
            (!short).then_some(())
        });
        self.windows_have_come();
        let counts = self.counts().unwrap();
        assert_eq!(counts, wanted);
        self.before = counts;
    }

    /// What moving a volume has read and written is no client's: it is counted before the next load.
    pub(crate) fn is_settled(&mut self) {
        self.windows_have_come();
        self.before = self.counts().unwrap();
    }

    /// Waits until every node has told of all up to now.
    fn windows_have_come(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        self.until("windows up to now", |scene| {
            let nodes = scene.get(&["get", "nodes"])?;
            let nodes = nodes["nodes"].as_array()?.iter().filter(|node| node["system"] == "seaweedfs");
            let mut ends = nodes.map(|node| node["last_window_end_ms"].as_u64());
            ends.all(|end| end >= Some(now)).then_some(())
        });
    }

    /// Volumes that somebody read or wrote, by node.
    fn counts(&self) -> Option<Counts> {
        let answer = self.get(&["get", "partitions", "--layer", "logical"])?;
        let mut counts = Counts::new();
        for partition in answer["partitions"].as_array()? {
            let volume: u32 = partition["partition"].as_str()?.parse().ok()?;
            for node in partition["nodes"].as_array()? {
                let count = |key: &str| node[key].as_u64().unwrap_or_default();
                counts.insert((volume, node["node"].as_str()?.to_owned()), (count("reads"), count("writes")));
            }
        }
        Some(counts)
    }

    /// A volume, a server that holds it, and one of the same rack that does not.
    pub(crate) fn way(&self) -> (u32, String, String) {
        let volume = &self.volumes[0];
        let nodes = self.cluster.nodes();
        let source = nodes.iter().find(|node| node.name == volume.nodes[0]).unwrap();
        let free = |node: &&Node| node.rack == source.rack && !volume.nodes.contains(&node.name);
        (volume.id, source.name.clone(), nodes.iter().find(free).unwrap().name.clone())
    }

    /// Moves a replica, and waits until that is done.
    pub(crate) fn moves(&mut self, volume: u32, source: &str, target: &str) {
        let id = volume.to_string();
        let begun = self.until("the migration to begin", |scene| {
            let start = ["migrate", "start", &id, "--from", source, "--to", target, "--yes"];
            scene.get(&start)?["id"].as_str().map(str::to_owned)
        });
        self.until("the migration to end", |scene| {
            let status = scene.get(&["migrate", "status", &begun])?;
            (status["migration"]["phase"] == "COMPLETED").then_some(())
        });
        let moved = self.volumes.iter_mut().find(|known| known.id == volume).unwrap();
        for node in moved.nodes.iter_mut().filter(|node| *node == source) {
            target.clone_into(node);
        }
    }

    fn data_file(&self, volume: u32, node: &str) -> PathBuf {
        let node = self.cluster.nodes().iter().find(|known| known.name == node).unwrap();
        node.data.join(format!("{volume}.dat"))
    }

    /// Waits until the agent's rules give a node's file to the volume, or to nobody.
    pub(crate) fn names(&mut self, volume: u32, node: &str, named: bool) {
        let file = self.data_file(volume, node).display().to_string();
        let config = self.path("agent.toml").display().to_string();
        let claimed = format!("  {file}: partition {volume}");
        self.until(&format!("{file} to be {named}"), |scene| {
            let check = scene.ask("isotherm-agent", &["check", "--config", &config, "--path", &file]);
            let text = String::from_utf8(check.stdout).unwrap();
            (text.lines().any(|line| line == claimed) == named).then_some(())
        });
    }

    /// `explain` and the metrics say that rules are by locators, and of which revision.
    pub(crate) fn says_where_rules_come_from(&self, revision: u64) {
        let volume = &self.volumes[0];
        let file = self.data_file(volume.id, &volume.nodes[0]).display().to_string();
        let config = self.path("agent.toml").display().to_string();
        let output = self.ask("isotherm-agent", &["explain", "--config", &config, "-o", "json", &file]);
        let story: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut targets = story["targets"].as_array().unwrap().iter();
        let of = targets.find(|target| target["verdict"] == format!("partition {}", volume.id)).unwrap();
        assert_eq!(of["target"], format!("seaweedfs/{}", volume.nodes[0]));
        assert_eq!(
            (&of["located"]["revision"], of["rules"].as_array().unwrap().len()),
            (&revision.into(), 0)
        );
        let metrics = self.metrics();
        assert!(metrics.contains(&format!("isotherm_agent_locators_revision {revision}\n")), "{metrics}");
        let rules = |source: &str| -> u64 {
            let lines =
                metrics.lines().filter(|line| line.starts_with("isotherm_agent_target_rules{system="));
            let of_source = lines.filter(|line| line.contains(&format!("source=\"{source}\"")));
            of_source.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
        };
        assert_eq!((rules("config"), rules("locators")), (0, 8), "{metrics}");
    }

    fn metrics(&self) -> String {
        let scrape = || {
            let url = format!("http://{METRICS}/metrics");
            ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
        };
        self.namespace.run(scrape).unwrap()
    }

    /// The agent has rules, with nobody who could have told it of them.
    pub(crate) fn goes_on_by_what_it_kept(&self) {
        let log = fs::read_to_string(self.path("isotherm-agent.log")).unwrap();
        assert!(log.contains("8 partitions by locators of revision"), "{log}");
        assert!(!self.metrics().contains("isotherm_agent_uplink_connected 1\n"));
    }
}

/// The least that has to be said: who the adapter is, and which processes are watched.
fn write_configurations(folder: &Path, nodes: &[Node]) {
    let dir = folder.display();
    let adapter = format!(
        "system = \"seaweedfs\"\ndata = \"{dir}/adapter\"\nlisten = \"{ADAPTER}\"\n[store]\nmaster = [\"10.77.0.9:9333\"]\n"
    );
    let analyzer = format!(
        "[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://{ADAPTER}\"\nheartbeat = \"500ms\"\n\
         [migrate]\nprobation = \"300ms\"\n"
    );
    let mut agent = format!(
        "[agent]\nid = \"host\"\nwindow = \"300ms\"\n[analyzer]\nendpoint = \"http://{ANALYZER}\"\n\
         [metrics]\nlisten = \"{METRICS}\"\n[spool]\ndir = \"{dir}/spool\"\n"
    );
    for Node { name, .. } in nodes {
        agent += &format!("[[target]]\nsystem = \"seaweedfs\"\nselect = {{ listen = \"{name}\" }}\n");
    }
    for (name, text) in [("adapter.toml", adapter), ("isotherm.toml", analyzer), ("agent.toml", agent)] {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// Starts a program in the namespace, and waits until it is ready.
fn start(namespace: &Namespace, folder: &Path, name: &str, mut command: Command) -> Child {
    let (folder, name) = (folder.to_path_buf(), name.to_owned());
    namespace
        .run(move || {
            let mut notify = Notify::bind(&folder, &name).unwrap();
            notify.announce(&mut command);
            let mut child = spawn(&name, &mut command, &folder.join(format!("{name}.log"))).unwrap();
            notify.wait_ready(&mut child, LIMIT).unwrap();
            child
        })
        .unwrap()
}
