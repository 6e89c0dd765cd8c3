//! A cluster of SeaweedFS whose servers can be killed and started again, in a network namespace of its own.

use anyhow::{Context, Result, bail, ensure};
use isotherm_adapter::contract::Migration;
use isotherm_adapter::stores::seaweedfs::{Config, SeaweedFs};
use isotherm_migration::{MigrationId, Origin};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_tests::netns::Namespace;
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::tools::Tools;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::Agent;

pub(crate) const MASTER: &str = "10.77.0.9:9333";
const LIMIT: Duration = Duration::from_secs(60);

/// The volumes that tests move are in a collection, so that new objects can be told where to go.
pub(crate) const COLLECTION: &str = "things";

/// File id and content.
pub(crate) type Object = (String, Vec<u8>);
pub(crate) type Objects = Vec<Object>;

/// One cluster at a time: there may be two processors for all.
static ONE: Mutex<()> = Mutex::new(());

/// The rack of each server.
const RACKS: [&str; 4] = ["rackA", "rackA", "rackA", "rackB"];

/// The running cluster.
pub(crate) struct Weed {
    servers: BTreeMap<usize, Child>,
    _master: Child,
    program: PathBuf,
    folder: PathBuf,
    pub(crate) http: Agent,
}

/// Runs a test on a cluster, in its namespace, or says that it cannot. Its runtime's threads are in there, too.
pub(crate) fn with_weed(name: &'static str, test: impl AsyncFnOnce(&mut Weed) + Send + 'static) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (program, namespace) = match (Tools::locate().weed(), Namespace::new()) {
        (Ok(program), Ok(namespace)) => (program, namespace),
        (Err(error), _) | (_, Err(error)) => return skipped(name, &format!("{error:#}")),
    };
    let run = move || {
        let folder = tempfile::tempdir().unwrap();
        let mut weed = Weed::start(program, folder.path()).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(&mut weed));
    };
    namespace.run(run).unwrap();
}

impl Weed {
    fn start(program: PathBuf, folder: &Path) -> Result<Self> {
        let mut command = weed_command(&program, folder, "master", MASTER);
        let data = folder.join("master");
        fs::create_dir(&data)?;
        command.args(["-peers=none", "-volumeSizeLimitMB=1024"]).arg(format!("-mdir={}", data.display()));
        let master = spawn("master", &mut command, &folder.join("master.log"))?;
        let http = Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        let http = http.http_status_as_error(false).build().new_agent();
        let folder = folder.to_path_buf();
        let mut weed = Self { servers: BTreeMap::new(), _master: master, program, folder, http };
        for number in 1..=RACKS.len() {
            weed.start_server(number)?;
        }
        Ok(weed)
    }

    /// Starts a server, and waits until the master knows it.
    pub(crate) fn start_server(&mut self, number: usize) -> Result<()> {
        let name = node(number);
        let mut command = weed_command(&self.program, &self.folder, "volume", &name);
        fs::create_dir_all(self.data(number))?;
        command.args([format!("-master={MASTER}"), "-max=20".to_owned(), "-dataCenter=dc1".to_owned()]);
        command.args([format!("-rack={}", RACKS[number - 1]), "-preStopSeconds=0".to_owned()]);
        command.arg(format!("-dir={}", self.data(number).display()));
        let log = self.folder.join(format!("server{number}.log"));
        self.servers.insert(number, spawn(&name, &mut command, &log)?);
        wait_for(&name, LIMIT, || {
            Ok(self.master("/dir/status").ok().filter(|s| s.to_string().contains(&name)))
        })?;
        Ok(())
    }

    /// Ends a server at once, and waits until the master has seen it.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        self.servers.remove(&number).context("a running server")?.kill();
        let name = node(number);
        let gone = || Ok((!self.master("/dir/status")?.to_string().contains(&name)).then_some(()));
        wait_for("the master to miss a server", LIMIT, gone)
    }

    /// Where a server's files are.
    pub(crate) fn data(&self, number: usize) -> PathBuf {
        self.folder.join(format!("data{number}"))
    }

    /// A volume's files on a server.
    pub(crate) fn files(&self, number: usize, volume: u32) -> Vec<String> {
        let names = fs::read_dir(self.data(number)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&format!("{COLLECTION}_{volume}."))).collect()
    }

    /// Makes one volume, and fills it with incompressible objects of so many bytes. Returns it, and their ids.
    pub(crate) fn volume(&self, replication: &str, objects: usize, bytes: usize) -> Result<(u32, Objects)> {
        let query = format!("collection={COLLECTION}&replication={replication}");
        self.master(&format!("/vol/grow?count=1&{query}"))?;
        let mut filled = Vec::new();
        for _ in 0..objects {
            let place = self.master(&format!("/dir/assign?{query}"))?;
            let [fid, url] = ["fid", "url"].map(|key| place[key].as_str().unwrap_or_default().to_owned());
            let content = content(bytes);
            ensure!(self.put(&url, &fid, &content)?, "the first objects are taken");
            filled.push((fid, content));
        }
        let (volume, _) = filled[0].0.split_once(',').context("a file id")?;
        let volume = volume.parse()?;
        ensure!(filled.iter().all(|(fid, _)| fid.starts_with(&format!("{volume},"))), "one volume takes all");
        Ok((volume, filled))
    }

    /// Asks the master.
    pub(crate) fn master(&self, path: &str) -> Result<Value> {
        let url = format!("http://{MASTER}{path}");
        let text = self.http.get(&url).call()?.body_mut().read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("{url}: {text}"))
    }

    /// Who serves a volume, as a client asks.
    pub(crate) fn lookup(&self, volume: u32) -> Result<BTreeSet<String>> {
        let found = self.master(&format!("/dir/lookup?volumeId={volume}"))?;
        let urls = found["locations"].as_array().into_iter().flatten();
        Ok(urls.filter_map(|location| location["url"].as_str()).map(str::to_owned).collect())
    }

    /// Whether an object was taken.
    pub(crate) fn put(&self, server: &str, fid: &str, content: &[u8]) -> Result<bool> {
        let request =
            self.http.put(format!("http://{server}/{fid}")).content_type("application/octet-stream");
        let mut response = request.send(content)?;
        response.body_mut().read_to_vec()?;
        Ok(response.status().is_success())
    }

    /// An object from one server, or its status.
    pub(crate) fn get(&self, server: &str, fid: &str) -> Result<Vec<u8>> {
        let mut response = self.http.get(format!("http://{server}/{fid}")).call()?;
        ensure!(response.status() == 200, "GET {server}/{fid}: {}", response.status());
        Ok(response.body_mut().read_to_vec()?)
    }

    /// Fails unless every server that serves the volume, and nobody else is asked, has every object.
    pub(crate) fn ensure_all(&self, volume: u32, servers: &[usize], objects: &[Object]) -> Result<()> {
        let wanted: BTreeSet<String> = servers.iter().map(|number| node(*number)).collect();
        ensure!(
            self.lookup(volume)? == wanted,
            "{:?} serve volume {volume}, wanted {wanted:?}",
            self.lookup(volume)?
        );
        for (fid, content) in objects {
            for server in &wanted {
                ensure!(self.get(server, fid)? == *content, "{fid} differs on {server}");
            }
        }
        Ok(())
    }

    /// Whether the volume takes a new object, through each of these servers.
    pub(crate) fn takes_writes(&self, volume: u32, servers: &[usize]) -> Result<bool> {
        let mut taken = true;
        for number in servers {
            let key = fastrand::u32(0x1000_0000..);
            taken &= self.put(&node(*number), &format!("{volume},{key:x}00000001"), &content(100))?;
        }
        Ok(taken)
    }

    /// A command of SeaweedFS's own shell.
    pub(crate) fn shell(&self, command: &str) -> Result<String> {
        let mut shell = Command::new(&self.program);
        shell
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .args(["shell", &format!("-master={MASTER}")]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        write!(shell.stdin.take().context("a pipe")?, "lock\n{command}\nunlock\n")?;
        let output = shell.wait_with_output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.contains("error:") {
            bail!("{command}: {said}");
        }
        Ok(said)
    }

    /// A new adapter of this cluster.
    pub(crate) fn adapter(&self) -> SeaweedFs {
        let config: Config = toml::from_str(&format!("master = [\"{MASTER}\"]")).unwrap();
        SeaweedFs::new(system(), config)
    }
}

fn weed_command(program: &Path, folder: &Path, role: &str, address: &str) -> Command {
    let (ip, port) = address.split_once(':').unwrap();
    let mut command = Command::new(program);
    // A home of its own: weed reads a security.toml of the user's otherwise.
    command.current_dir(folder).env("HOME", folder).env("TMPDIR", folder).args(["-logtostderr", role]);
    command.args([format!("-ip={ip}"), format!("-ip.bind={ip}"), format!("-port={port}")]);
    command
}

/// A server's name.
pub(crate) fn node(number: usize) -> String {
    format!("10.77.0.{number}:8080")
}

pub(crate) fn system() -> SystemId {
    SystemId::new("seaweedfs").unwrap()
}

pub(crate) fn node_id(number: usize) -> NodeId {
    NodeId::new(system(), node(number)).unwrap()
}

pub(crate) fn partition(volume: u32) -> PartitionId {
    PartitionId::new(system(), volume.to_string()).unwrap()
}

/// The number of a server, by its name.
pub(crate) fn number(name: &str) -> usize {
    name.trim_start_matches("10.77.0.").trim_end_matches(":8080").parse().unwrap()
}

/// A move.
pub(crate) fn migration(volume: u32, source: usize, target: usize) -> Migration {
    moved(volume, Origin::Move { source: node_id(source) }, target)
}

/// A repair.
pub(crate) fn repair(volume: u32, dead: usize, target: usize) -> Migration {
    moved(volume, Origin::Repair { dead: node_id(dead) }, target)
}

fn moved(volume: u32, origin: Origin, target: usize) -> Migration {
    let id = MigrationId::new(format!("m{volume}")).unwrap();
    Migration { id, partition: partition(volume), origin, target: node_id(target) }
}

/// So many incompressible bytes.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect()
}
