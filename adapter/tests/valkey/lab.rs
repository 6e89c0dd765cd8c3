//! A real cluster: primaries, and a replica of the first, on loopback ports of their own.

use anyhow::{Context, Result, ensure};
use isotherm_tests::process::{self, Child, wait_for};
use isotherm_tests::tools::Tools;
use redis::{Cmd, Connection, FromRedisValue, Value};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a cluster may take to find itself; on a busy machine, most of it is waiting for a processor.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Shards of a lab.
pub(crate) const SHARDS: usize = 3;

/// The node that follows the first.
pub(crate) const REPLICA: usize = 3;

/// Slots of the bucket that tests move, the first of 64.
pub(crate) const BUCKET_SLOTS: u16 = 256;

/// What the adapter's user may do, as docs/adapters-stores.md has it.
const RIGHTS: &str = "%R~* +ping +client|no-touch +client|setinfo +cluster|shards +cluster|info +cluster|nodes \
     +cluster|countkeysinslot +cluster|getkeysinslot +cluster|getslotmigrations +cluster|migrateslots \
     +cluster|cancelslotmigrations +cluster|failover +info +config|get +memory|usage +type +pttl +exists +strlen \
     +getrange +llen +lrange +hlen +hgetall +scard +smembers +zcard +zrange +xlen +xrange";

/// The adapter's user and password.
pub(crate) const USER: &str = "isotherm";
const PASSWORD: &str = "a secret";

/// A cluster of [`SHARDS`] primaries and the [`REPLICA`].
pub(crate) struct Lab {
    pub(crate) nodes: Vec<Node>,
    server: PathBuf,
    /// After the nodes, which write to it as long as they live.
    folder: TempDir,
}

/// A server.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    bus: u16,
    child: Option<Child>,
}

impl Lab {
    /// Starts it, and waits until all serve and the replica follows.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Tools::locate().valkey()?;
        let mut lab = Self { nodes: ports()?, server, folder };
        fs::write(lab.password_file(), format!("{PASSWORD}\n"))?;
        for node in 0..lab.nodes.len() {
            lab.run(node)?;
        }
        lab.join()?;
        Ok(lab)
    }

    /// Where the adapter's password is.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// Starts a node that does not run, with the files it left.
    pub(crate) fn run(&mut self, node: usize) -> Result<()> {
        let folder = self.folder.path().join(node.to_string());
        fs::create_dir_all(&folder)?;
        let config = folder.join("valkey.conf");
        fs::write(&config, self.nodes[node].config(&folder))?;
        let log = folder.join("log");
        let child = process::spawn(&format!("valkey {node}"), Command::new(&self.server).arg(&config), &log)?;
        self.nodes[node].child = Some(child);
        wait_for("a server that answers", LIMIT, || {
            self.nodes[node].child.as_mut().context("was started")?.ensure_alive()?;
            Ok(self.ask::<Value>(node, &["PING"]).ok())
        })?;
        Ok(())
    }

    /// Ends a node as a failing machine would.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            child.kill();
        }
    }

    /// Sends a command as somebody who may do all.
    pub(crate) fn ask<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> Result<T> {
        let mut command = Cmd::new();
        command.arg(words);
        command.query(&mut self.connect(node)?).with_context(|| format!("{words:?} on node {node}"))
    }

    fn connect(&self, node: usize) -> Result<Connection> {
        let client = redis::Client::open(format!("redis://{}", self.nodes[node].address))?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(connection)
    }

    /// The cluster's name of a node.
    pub(crate) fn id(&self, node: usize) -> Result<String> {
        self.ask(node, &["CLUSTER", "MYID"])
    }

    /// How many keys of the first bucket a node has.
    pub(crate) fn keys(&self, node: usize) -> Result<u64> {
        let mut commands = redis::pipe();
        for slot in 0..BUCKET_SLOTS {
            commands.cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot);
        }
        Ok(commands.query::<Vec<u64>>(&mut self.connect(node)?)?.iter().sum())
    }

    /// States of the migrations that a node tells of, the latest first.
    pub(crate) fn states(&self, node: usize) -> Result<Vec<String>> {
        let jobs: Vec<Vec<Value>> = self.ask(node, &["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let state = |job: Vec<Value>| {
            let at = job
                .iter()
                .position(|field| *field == Value::BulkString(b"state".to_vec()))
                .context("a state")?;
            Ok(redis::from_redis_value(job[at + 1].clone())?)
        };
        jobs.into_iter().map(state).collect()
    }

    /// Keeps a source from handing over, or lets it.
    pub(crate) fn hold(&self, node: usize, hold: bool) -> Result<()> {
        self.ask(node, &["DEBUG", "SLOTMIGRATION", "PREVENT-PAUSE", if hold { "1" } else { "0" }])
    }

    /// Waits until all nodes believe that the cluster serves.
    pub(crate) fn settle(&self) -> Result<()> {
        let serves = |node: usize| {
            Ok::<_, anyhow::Error>(
                self.ask::<String>(node, &["CLUSTER", "INFO"])?.contains("cluster_state:ok"),
            )
        };
        wait_for("a cluster that serves", LIMIT, || {
            let running = (0..self.nodes.len()).filter(|node| self.nodes[*node].child.is_some());
            let all = running.map(serves).collect::<Result<Vec<bool>>>()?;
            Ok(all.into_iter().all(|serves| serves).then_some(()))
        })
    }

    fn join(&self) -> Result<()> {
        let width = 16_384 / SHARDS;
        for node in 0..SHARDS {
            let last = if node + 1 == SHARDS { 16_383 } else { (node + 1) * width - 1 };
            let (first, last) = ((node * width).to_string(), last.to_string());
            self.ask::<()>(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            self.ask::<()>(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()])?;
        }
        for node in &self.nodes[1..] {
            let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
            self.ask::<()>(0, &["CLUSTER", "MEET", &ip, &port, &node.bus.to_string()])?;
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        wait_for("nodes that know each other", LIMIT, || {
            let infos = (0..self.nodes.len()).map(|node| self.ask::<String>(node, &["CLUSTER", "INFO"]));
            Ok(infos.collect::<Result<Vec<_>>>()?.iter().all(|info| info.contains(&known)).then_some(()))
        })?;
        self.ask::<()>(REPLICA, &["CLUSTER", "REPLICATE", &self.id(0)?])?;
        self.settle()?;
        self.follows(REPLICA)
    }

    /// Waits until a node follows its primary, and all have heard of it.
    pub(crate) fn follows(&self, node: usize) -> Result<()> {
        let link = "master_link_status:up";
        wait_for("a replica that follows", LIMIT, || {
            let follows = self.ask::<String>(node, &["INFO", "replication"])?.contains(link);
            let views = (0..self.nodes.len()).map(|from| self.ask::<Value>(from, &["CLUSTER", "SHARDS"]));
            let heard = !format!("{:?}", views.collect::<Result<Vec<_>>>()?).contains("loading");
            Ok((follows && heard).then_some(()))
        })
    }
}

impl Node {
    fn config(&self, folder: &Path) -> String {
        let (ip, port, bus) = (self.address.ip(), self.address.port(), self.bus);
        let folder = folder.display();
        format!(
            "bind {ip}\nport {port}\ncluster-port {bus}\ndir {folder}\ncluster-enabled yes\ncluster-node-timeout 2000\n\
             cluster-allow-replica-migration no\nappendonly yes\nsave \"\"\nrepl-diskless-sync-delay 0\n\
             enable-debug-command yes\nuser {USER} on \">{PASSWORD}\" {RIGHTS}\n"
        )
    }
}

/// Ports that were free a moment ago: all are held until all are found, so that none is found twice.
fn ports() -> Result<Vec<Node>> {
    let mut held = Vec::new();
    let mut free = || -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    let nodes = (0..=REPLICA).map(|_| Ok(Node { address: free()?, bus: free()?.port(), child: None }));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    ensure!(nodes.len() == SHARDS + 1, "a node for each shard, and the replica");
    Ok(nodes)
}
