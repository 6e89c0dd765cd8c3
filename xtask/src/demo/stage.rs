//! Everything that runs during a demo, in the order in which it has to end.

use super::answer::{self, NodeAnswer, Span};
use super::cast::Cast;
use super::config::{self, WINDOW_MS};
use super::folder::Folder;
use super::go_on;
use super::stop::Stop;
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::disk::Disk;
use isotherm_tests::forward;
use isotherm_tests::load::Volume;
use isotherm_tests::netns::Namespace;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, POLL, spawn};
use isotherm_tests::seaweed::{Cluster, fill};
use isotherm_tests::tools::Tools;
use isotherm_tests::volume::DeviceStat;
use isotherm_tests::workspace;
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const VOLUMES: usize = 8;
const OBJECTS_PER_VOLUME: usize = 20;
const OBJECT_BYTES: usize = 16 << 10;

/// Of the volume servers' disk; the image is sparse.
const DISK_BYTES: u64 = 2 << 30;

/// How often a moment may be looked for in which the disk rests.
const REST_ATTEMPTS: usize = 5;

/// Where the analyzer listens unless that port is taken.
const PORT: u16 = 7600;

/// Where the adapter listens: on the loopback of the store's network.
const ADAPTER: ([u8; 4], u16) = ([127, 0, 0, 1], 7700);

/// A debug build on a busy machine takes seconds; more is a fault.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The running demo. Fields are dropped from first to last: those who watch before those who are watched,
/// and the namespace after what lives in it.
pub(super) struct Stage {
    agent: Child,
    analyzer: Child,
    adapter: Child,
    pub(super) cluster: Cluster,
    /// The lab's network, and the mounts of its disk.
    pub(super) namespace: Namespace,
    /// What the cluster's files lie on.
    pub(super) disk: Disk,
    /// Hottest first.
    pub(super) volumes: Arc<[Volume]>,
    /// Who plays what.
    pub(super) cast: Cast,
    /// URL of the analyzer.
    pub(super) endpoint: String,
}

impl Stage {
    /// Starts cluster, analyzer and agent, and waits until every volume server is reported.
    pub(super) fn set(folder: &Folder, stop: &Stop) -> Result<Self> {
        eprintln!("starting SeaweedFS: a master and four volume servers in two racks");
        let namespace = Namespace::new()?;
        let disk = Disk::mount(&namespace, DISK_BYTES)?;
        eprintln!("all their files lie on ext4 on {}", disk.device());
        let (tools, logs) = (Tools::locate(), subfolder(folder, "seaweed")?);
        let store = disk.path().to_path_buf();
        let data = store.clone();
        let cluster = namespace.run(move || Cluster::start(&tools, &data, &logs))??;
        go_on(stop)?;
        eprintln!("writing {OBJECTS_PER_VOLUME} objects to each of {VOLUMES} volumes, on two racks each");
        let nodes = cluster.nodes().to_vec();
        let volumes = namespace.run(move || fill(&nodes, 0, VOLUMES, OBJECTS_PER_VOLUME, OBJECT_BYTES))??;
        go_on(stop)?;

        let cast = Cast::of(cluster.nodes(), &volumes)?;
        eprintln!("starting isotherm-adapter seaweedfs");
        let inside = SocketAddr::from(ADAPTER);
        let adapter_config = config::adapter(inside, &subfolder(folder, "adapter")?);
        let adapter_config = write(folder, "adapter.toml", &adapter_config)?;
        let mut serve = Command::new(workspace::program("isotherm-adapter"));
        serve.args(["seaweedfs", "--config"]).arg(&adapter_config);
        let logs = folder.path().to_path_buf();
        let adapter = namespace.run(move || start("isotherm-adapter", &mut serve, &logs))??;
        let adapter_outside = forward::into(&namespace, inside)?;
        go_on(stop)?;

        let listen = format!("127.0.0.1:{}", free_port()?);
        let endpoint = format!("http://{listen}");
        let data = subfolder(folder, "analyzer")?;
        let analyzer_config = config::analyzer(adapter_outside, &cast.held_out, &listen, &data);
        let analyzer_config = write(folder, "analyzer.toml", &analyzer_config)?;
        let spool = subfolder(folder, "spool")?;
        let agent_config = config::agent(cluster.nodes(), &endpoint, &store, &spool);
        let agent_config = write(folder, "agent.toml", &agent_config)?;
        eprintln!("starting isotherm serve at {endpoint}");
        let mut serve = Command::new(workspace::program("isotherm"));
        serve.args(["serve", "--config"]).arg(&analyzer_config).arg("--data-dir").arg(&data);
        let analyzer = start("isotherm", serve.args(["--listen", &listen]), folder.path())?;
        go_on(stop)?;
        eprintln!("starting isotherm-agent run");
        let mut run = Command::new(workspace::program("isotherm-agent"));
        let agent = start("isotherm-agent", run.args(["run", "--config"]).arg(&agent_config), folder.path())?;

        let volumes = volumes.into();
        let mut stage = Self { agent, analyzer, adapter, cluster, namespace, disk, volumes, cast, endpoint };
        stage.wait_for_nodes("the agent to report every volume server", stop, |node| {
            node.processes > Some(0)
        })?;
        Ok(stage)
    }

    /// Fails with its log if anything that should run has ended.
    pub(super) fn ensure_alive(&mut self) -> Result<()> {
        self.agent.ensure_alive()?;
        self.analyzer.ensure_alive()?;
        self.adapter.ensure_alive()?;
        self.cluster.ensure_alive()
    }

    /// Waits until windows up to this moment (ms since the epoch) have come from every node, and gives the
    /// moment up to which they have: later, if a late cut covered several windows.
    fn wait_for_windows(&mut self, until_ms: u64, stop: &Stop) -> Result<u64> {
        let what = format!("windows up to {until_ms} to arrive from every node");
        let nodes = self.wait_for_nodes(&what, stop, |node| node.last_window_end_ms >= Some(until_ms))?;
        let nodes = nodes.iter().filter(|node| !node.host);
        nodes.filter_map(|node| node.last_window_end_ms).min().context("a cluster has nodes")
    }

    /// Finds a border between windows, `quiet_ms` or more from now, at which nothing was going on at the disk: from
    /// before the border until the windows up to it have arrived, so that no access near it can be counted on
    /// the wrong side. Gives it with all that the disk had done by then.
    pub(super) fn rest(&mut self, quiet_ms: u64, stop: &Stop) -> Result<(u64, DeviceStat)> {
        for _ in 0..REST_ATTEMPTS {
            let before = self.disk.sync(&self.namespace)?;
            let border_ms = next_window_ms() + quiet_ms;
            self.pause(Duration::from_millis(border_ms.saturating_sub(now_ms())), stop)?;
            let border_ms = self.wait_for_windows(border_ms, stop)?;
            if self.disk.stat(&self.namespace)? == before {
                return Ok((border_ms, before));
            }
        }
        bail!("{} did not come to rest in {REST_ATTEMPTS} attempts", self.disk.device())
    }

    /// Length of every volume's file on every node that holds it, by volume and node.
    pub(super) fn data_bytes(&self) -> Result<BTreeMap<(u32, String), u64>> {
        data_bytes(&self.namespace, &self.cluster, &self.volumes)
    }

    /// Sleeps, but not through a signal or the end of a process.
    pub(super) fn pause(&mut self, length: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            go_on(stop)?;
            self.ensure_alive()?;
            thread::sleep(POLL.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until every node of the cluster is known and ready, and gives them.
    fn wait_for_nodes(
        &mut self,
        what: &str,
        stop: &Stop,
        ready: impl Fn(&NodeAnswer) -> bool,
    ) -> Result<Vec<NodeAnswer>> {
        let deadline = Instant::now() + START_LIMIT;
        let everything = Span { since_ms: 0, until_ms: None };
        loop {
            let known = answer::nodes(&self.endpoint, everything)?;
            let mut expected = self.cluster.nodes().iter();
            if expected.all(|node| known.iter().any(|answer| answer.node == node.name && ready(answer))) {
                return Ok(known);
            }
            ensure!(
                Instant::now() < deadline,
                "waited {} s in vain for {what}; known: {known:?}\n{}\n{}",
                START_LIMIT.as_secs(),
                self.agent.log_tail(),
                self.analyzer.log_tail()
            );
            self.pause(Duration::from_millis(WINDOW_MS / 4), stop)?;
        }
    }
}

fn data_bytes(
    namespace: &Namespace,
    cluster: &Cluster,
    volumes: &[Volume],
) -> Result<BTreeMap<(u32, String), u64>> {
    let (nodes, volumes) = (cluster.nodes().to_vec(), volumes.to_vec());
    namespace.run(move || {
        let mut lengths = BTreeMap::new();
        for volume in volumes {
            for node in nodes.iter().filter(|node| volume.nodes.contains(&node.name)) {
                lengths.insert((volume.id, node.name.clone()), node.data_bytes(volume.id)?);
            }
        }
        Ok(lengths)
    })?
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit 64 bits for ages")
}

/// The start of the next window.
fn next_window_ms() -> u64 {
    (now_ms() / WINDOW_MS + 1) * WINDOW_MS
}

/// Starts a program of ours and waits until it says that it is ready.
fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Child> {
    let mut notify = Notify::bind(folder, name)?;
    notify.announce(command);
    let mut child = spawn(name, command, &folder.join(format!("{name}.log")))?;
    notify.wait_ready(&mut child, START_LIMIT).with_context(|| format!("start {name}"))?;
    Ok(child)
}

/// The port that users know if it is free, else any. Another process may take it before the analyzer does,
/// which then says so.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let address = listener.and_then(|listener| listener.local_addr()).context("find a free port")?;
    Ok(address.port())
}

fn subfolder(folder: &Folder, name: &str) -> Result<std::path::PathBuf> {
    let path = folder.path().join(name);
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

fn write(folder: &Folder, name: &str, content: &str) -> Result<std::path::PathBuf> {
    let path: &Path = &folder.path().join(name);
    fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
    Ok(path.to_path_buf())
}
