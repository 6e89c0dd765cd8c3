//! A SeaweedFS cluster: a master, and four volume servers in two racks.
//!
//! Volumes are placed with replication `010`, one copy on another rack, so every volume has two nodes, and
//! losing a rack loses none. Everything here but [`layout`](Cluster::layout) talks to the cluster, so it
//! has to run inside its namespace.

use crate::load::Volume;
use crate::process::{Child, spawn_relayed, wait_for};
use crate::tools::Tools;
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use ureq::Agent;

/// The one data centre.
pub const DATA_CENTER: &str = "dc1";

/// The rack of each volume server, in order of their addresses.
const RACKS: [&str; 4] = ["rackA", "rackA", "rackB", "rackB"];

const MASTER: &str = "10.77.0.9";

/// `xyz`: x copies in other data centres, y in other racks, z on other servers of the rack.
const REPLICATION: &str = "010";

/// An entry of a volume's index: a key of 8 bytes, a place of 5, a length of 4, with the highest byte first,
/// but for the place, whose highest byte is the last (the build for large disks, which the wheel holds).
const INDEX_ENTRY_BYTES: usize = 17;

/// What places in a volume's file are multiples of.
const ALIGNMENT_BYTES: u64 = 8;

/// Four servers were up after 2.6 s on an idle machine; a busy one gets ten times that.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A volume server.
#[derive(Debug, Clone)]
pub struct Node {
    /// `address:port`, by which the store itself knows it.
    pub name: String,
    /// Its failure domain.
    pub rack: &'static str,
    /// Where its volumes' files are.
    pub data: PathBuf,
}

impl Node {
    /// Length of a volume's data file here.
    pub fn data_bytes(&self, volume: u32) -> Result<u64> {
        let path = self.data.join(format!("{volume}.dat"));
        Ok(fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len())
    }

    /// What each object takes in a volume's data file here, by the number in its key. The index names where each
    /// begins, in the order in which they were appended; it ends where the next one begins.
    fn stored_bytes(&self, volume: u32) -> Result<BTreeMap<u64, u64>> {
        let path = self.data.join(format!("{volume}.idx"));
        let index = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let (entries, rest) = index.as_chunks::<INDEX_ENTRY_BYTES>();
        ensure!(rest.is_empty(), "{} does not consist of whole entries", path.display());
        let mut stored = BTreeMap::new();
        let mut end = self.data_bytes(volume)?;
        for entry in entries.iter().rev() {
            let [a, b, c, d, e, f, g, h, w, x, y, z, highest, ..] = *entry;
            let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let start = u64::from_be_bytes([0, 0, 0, highest, w, x, y, z]) * ALIGNMENT_BYTES;
            let bytes = end.checked_sub(start).filter(|bytes| *bytes > 0);
            let bytes = bytes.with_context(|| {
                format!("{}: object {key} begins at {start}, the next at {end}", path.display())
            })?;
            stored.insert(key, bytes);
            end = start;
        }
        Ok(stored)
    }
}

/// The running cluster.
#[derive(Debug)]
pub struct Cluster {
    // Servers before the master, so that they are stopped first.
    servers: Vec<Child>,
    /// Those that were killed on purpose, by their place.
    killed: Vec<usize>,
    master: Child,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts it with its data below `folder` and its logs in `logs`, and waits until the master knows all
    /// servers. Runs in the namespace's own thread: the servers die with the thread that starts them.
    ///
    /// The program is copied to `folder`, too, and the logs are not written by the servers: whatever files they
    /// use is below that folder, so on its block device.
    pub fn start(tools: &Tools, folder: &Path, logs: &Path) -> Result<Self> {
        let weed = folder.join("weed");
        fs::copy(tools.weed()?, &weed).with_context(|| format!("copy to {}", weed.display()))?;
        let start = |name: &str, args: Vec<String>| {
            let data = folder.join(name);
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            let kind = if name == "master" { "mdir" } else { "dir" };
            let mut command = Command::new(&weed);
            // A home of its own: weed reads a security.toml of the user's otherwise.
            command
                .current_dir(folder)
                .env("HOME", folder)
                .env("TMPDIR", folder)
                .arg("-logtostderr")
                .args(args);
            command.arg(format!("-{kind}={}", data.display()));
            spawn_relayed(name, &mut command, &logs.join(format!("{name}.log")))
        };
        let mut master_args = listen("master", MASTER, 9333);
        master_args.extend([format!("-defaultReplication={REPLICATION}"), "-peers=none".to_owned()]);
        master_args.push("-volumeSizeLimitMB=1024".to_owned());
        let master = start("master", master_args)?;
        let mut nodes = Vec::new();
        let mut servers = Vec::new();
        for (rack, number) in RACKS.into_iter().zip(1..) {
            let address = format!("10.77.0.{number}");
            let mut args = listen("volume", &address, 8080);
            args.extend([format!("-master={MASTER}:9333"), "-max=20".to_owned()]);
            args.extend([format!("-dataCenter={DATA_CENTER}"), format!("-rack={rack}")]);
            // Only the metrics of a master or filer are of use here; no pause before a server stops.
            args.push("-preStopSeconds=0".to_owned());
            let name = format!("server{number}");
            servers.push(start(&name, args)?);
            nodes.push(Node { name: format!("{address}:8080"), rack, data: folder.join(name) });
        }
        let mut cluster = Self { servers, killed: Vec::new(), master, nodes };
        cluster.wait_for_servers()?;
        Ok(cluster)
    }

    /// The volume servers.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Kills a volume server for good, as a host that loses its power would.
    pub fn kill(&mut self, node: &str) -> Result<()> {
        let place = self.nodes.iter().position(|known| known.name == node);
        let place = place.with_context(|| format!("{node} is none of the cluster's"))?;
        self.servers[place].kill();
        self.killed.push(place);
        Ok(())
    }

    /// The address of the master.
    #[must_use]
    pub fn master() -> String {
        format!("{MASTER}:9333")
    }

    /// Fails with its log if a process of the cluster ended that was not killed on purpose.
    pub fn ensure_alive(&mut self) -> Result<()> {
        let killed = &self.killed;
        let alive = self.servers.iter_mut().enumerate().filter(|(place, _)| !killed.contains(place));
        alive.map(|(_, server)| server).chain([&mut self.master]).try_for_each(Child::ensure_alive)
    }

    fn wait_for_servers(&mut self) -> Result<()> {
        let http = http();
        let wanted = self.nodes.len();
        wait_for("SeaweedFS to know its volume servers", START_LIMIT, || {
            self.ensure_alive()?;
            let status: Result<Status> = get_json(&http, "/dir/status");
            let racks =
                status.into_iter().flat_map(|status| status.topology.data_centers).flat_map(|dc| dc.racks);
            let known: usize = racks.map(|rack| rack.data_nodes.len()).sum();
            Ok((known == wanted).then_some(()))
        })
    }
}

fn listen(role: &str, address: &str, port: u16) -> Vec<String> {
    vec![role.to_owned(), format!("-ip={address}"), format!("-ip.bind={address}"), format!("-port={port}")]
}

/// Creates volumes and writes `objects_per_volume` objects of `object_bytes` to each, incompressible (a
/// compressible one would be stored compressed) and below 1 MB (so that one GET is one read of the file).
/// `nodes`: those of the cluster.
pub fn fill(
    nodes: &[Node],
    seed: u64,
    volumes: usize,
    objects_per_volume: usize,
    object_bytes: usize,
) -> Result<Vec<Volume>> {
    ensure!(object_bytes < 1 << 20, "objects of 1 MB or more are read in several pieces");
    let (http, mut rng) = (http(), Rng::with_seed(seed));
    get_text(&http, &format!("/vol/grow?count={volumes}&replication={REPLICATION}"))?;
    let mut filled: BTreeMap<u32, Volume> = BTreeMap::new();
    // The master picks the volume, so some get their last object late; the bound is far beyond bad luck.
    for _ in 0..volumes * objects_per_volume * 50 {
        if filled.values().filter(|volume| volume.keys.len() >= objects_per_volume).count() == volumes {
            let mut filled: Vec<Volume> = filled.into_values().collect();
            filled.iter_mut().try_for_each(|volume| measure(volume, nodes))?;
            return Ok(filled);
        }
        let Place { volume: id, key, node } = assign(&http)?;
        let volume = match filled.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let (nodes, keys, stored_bytes) = (replicas(&http, id)?, Vec::new(), Vec::new());
                new.insert(Volume { id, nodes, keys, object_bytes, stored_bytes })
            }
        };
        if volume.keys.len() < objects_per_volume {
            put(&http, &format!("http://{node}/{id},{key}"), &content(&mut rng, object_bytes))?;
            volume.keys.push(key);
        }
    }
    bail!("the master assigned to {} volumes, wanted {volumes}", filled.len())
}

/// Looks what the objects of a volume take on its nodes.
fn measure(volume: &mut Volume, nodes: &[Node]) -> Result<()> {
    for name in &volume.nodes {
        let node = nodes.iter().find(|node| node.name == *name);
        let stored =
            node.with_context(|| format!("{name} is none of the cluster's"))?.stored_bytes(volume.id)?;
        let of = |key: &String| {
            // The last eight digits of a key are a secret, not part of its number.
            let number =
                key.len().checked_sub(8).and_then(|end| u64::from_str_radix(key.get(..end)?, 16).ok());
            let bytes = number.and_then(|number| stored.get(&number)).copied();
            bytes.with_context(|| format!("volume {} on {name} has no object {key}", volume.id))
        };
        let bytes: Vec<u64> = volume.keys.iter().map(of).collect::<Result<_>>()?;
        volume.stored_bytes.push(bytes);
    }
    Ok(())
}

/// The nodes that the master says hold a volume.
pub(crate) fn locations(http: &Agent, volume: u32) -> Result<Vec<String>> {
    let found: Found = get_json(http, &format!("/dir/lookup?volumeId={volume}"))?;
    Ok(found.locations.into_iter().map(|location| location.url).collect())
}

/// The nodes that the master says hold a volume. Runs in the cluster's namespace.
pub fn holders(volume: u32) -> Result<Vec<String>> {
    locations(&http(), volume)
}

/// The nodes that hold a volume, in order of their names; two, on different racks.
fn replicas(http: &Agent, volume: u32) -> Result<Vec<String>> {
    let mut nodes = locations(http, volume)?;
    nodes.sort();
    ensure!(nodes.len() == 2, "volume {volume} has the replicas {nodes:?}, wanted two");
    Ok(nodes)
}

/// A client whose requests cannot hang.
#[must_use]
pub fn http() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().new_agent()
}

/// Where a new object goes.
pub(crate) struct Place {
    pub(crate) volume: u32,
    pub(crate) key: String,
    /// The node to give it to, which passes it on to the other.
    pub(crate) node: String,
}

/// Asks the master for a place.
pub(crate) fn assign(http: &Agent) -> Result<Place> {
    let assigned: Assigned = get_json(http, "/dir/assign")?;
    let (volume, key) = assigned.fid.split_once(',').context("a file id is VOLUME,KEY")?;
    let volume = volume.parse().with_context(|| format!("volume of {:?}", assigned.fid))?;
    Ok(Place { volume, key: key.to_owned(), node: assigned.url })
}

/// So many incompressible bytes.
pub(crate) fn content(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

pub(crate) fn put(http: &Agent, url: &str, content: &[u8]) -> Result<()> {
    let request = http.put(url).header("Content-Type", "application/octet-stream");
    request.send(content).with_context(|| format!("PUT {url}"))?;
    Ok(())
}

fn get_text(http: &Agent, path: &str) -> Result<String> {
    let url = format!("http://{MASTER}:9333{path}");
    let mut response = http.get(&url).call().with_context(|| format!("GET {url}"))?;
    response.body_mut().read_to_string().with_context(|| format!("read {url}"))
}

fn get_json<T: for<'de> Deserialize<'de>>(http: &Agent, path: &str) -> Result<T> {
    let text = get_text(http, path)?;
    serde_json::from_str(&text).with_context(|| format!("parse the answer to {path}: {text}"))
}

// The parts of the master's answers that are used, as version 4.48 writes them.

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "Topology")]
    topology: Topology,
}

#[derive(Deserialize)]
struct Topology {
    #[serde(rename = "DataCenters", default)]
    data_centers: Vec<DataCenter>,
}

#[derive(Deserialize)]
struct DataCenter {
    #[serde(rename = "Racks", default)]
    racks: Vec<Rack>,
}

#[derive(Deserialize)]
struct Rack {
    #[serde(rename = "DataNodes", default)]
    data_nodes: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Assigned {
    fid: String,
    url: String,
}

#[derive(Deserialize)]
struct Found {
    locations: Vec<Location>,
}

#[derive(Deserialize)]
struct Location {
    url: String,
}
