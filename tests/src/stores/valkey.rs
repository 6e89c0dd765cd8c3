//! A cluster of Valkey: primaries, and a replica of the first.

pub mod client;

use crate::host::Host;
use crate::process::{Child, wait_for};
use crate::tools::Tools;
use anyhow::{Context, Result};
use redis::{Cmd, Connection, FromRedisValue, Value};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a cluster may take to find itself; on a busy machine, most of it is waiting for a processor.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Shards of a lab.
pub const SHARDS: usize = 3;

/// The node that follows the first.
pub const REPLICA: usize = 3;

/// Slots of the bucket that tests move, the first of 64.
pub const BUCKET_SLOTS: u16 = 256;

/// The port of each server, and that of its cluster bus, on machines of their own.
const PORTS: [u16; 2] = [7000, 17000];

/// What the adapter's user may do, as docs/adapters-stores.md has it.
const RIGHTS: &str = "%R~* +ping +client|no-touch +client|setinfo +cluster|shards +cluster|info +cluster|nodes \
     +cluster|countkeysinslot +cluster|getkeysinslot +cluster|getslotmigrations +cluster|migrateslots \
     +cluster|cancelslotmigrations +cluster|failover +info +config|get +memory|usage +type +pttl +exists +strlen \
     +getrange +llen +lrange +hlen +hgetall +scard +smembers +zcard +zrange +xlen +xrange";

/// The adapter's user and password.
pub const USER: &str = "isotherm";
const PASSWORD: &str = "a secret";

/// A cluster of [`SHARDS`] primaries and the [`REPLICA`].
#[derive(Debug)]
pub struct Lab {
    /// The primaries, then the replica.
    pub nodes: Vec<Node>,
    server: PathBuf,
    /// Lines of each server's configuration.
    settings: String,
    /// After the nodes, which write to it as long as they live.
    folder: TempDir,
}

/// A server.
#[derive(Debug)]
pub struct Node {
    /// Where clients reach it.
    pub address: SocketAddr,
    bus: u16,
    /// Its machine.
    pub host: Host,
    child: Option<Child>,
}

impl Lab {
    /// Starts it on loopback ports, and waits until all serve and the replica follows.
    pub fn start() -> Result<Self> {
        Self::on(loopback()?, tempfile::tempdir()?, "")
    }

    /// Starts it on machines of their own, with these lines in each server's configuration. Data folders in `folder` are
    /// made unless they are there.
    pub fn on_hosts(hosts: [Host; SHARDS + 1], folder: TempDir, settings: &str) -> Result<Self> {
        let node = |host: Host| Node {
            address: SocketAddr::from((host.address(), PORTS[0])),
            bus: PORTS[1],
            host,
            child: None,
        };
        Self::on(hosts.map(node).into(), folder, settings)
    }

    fn on(nodes: Vec<Node>, folder: TempDir, settings: &str) -> Result<Self> {
        let server = Tools::locate().valkey()?;
        let mut lab = Self { nodes, server, settings: settings.to_owned(), folder };
        fs::write(lab.password_file(), format!("{PASSWORD}\n"))?;
        for node in 0..lab.nodes.len() {
            lab.run(node)?;
        }
        lab.join()?;
        Ok(lab)
    }

    /// Where the adapter's password is.
    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// Starts a node that does not run, with the files it left.
    pub fn run(&mut self, node: usize) -> Result<()> {
        let folder = data(self.folder.path(), node);
        fs::create_dir_all(&folder)?;
        let config = self.folder.path().join(format!("{node}.conf"));
        fs::write(&config, self.nodes[node].config(&folder) + &self.settings)?;
        let log = self.folder.path().join(format!("{node}.log"));
        let mut command = Command::new(&self.server);
        command.arg(&config);
        let child = self.nodes[node].host.spawn(&format!("valkey {node}"), command, &log)?;
        self.nodes[node].child = Some(child);
        wait_for("a server that answers", LIMIT, || {
            self.nodes[node].child.as_mut().context("was started")?.ensure_alive()?;
            Ok(self.ask::<Value>(node, &["PING"]).ok())
        })?;
        Ok(())
    }

    /// Ends a node as a failing machine would.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            child.kill();
        }
    }

    /// Looks which nodes have ended by themselves, as one does whose disk is full.
    pub fn forget_ended(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child
                && child.ended()?.is_some()
            {
                node.child = None;
            }
        }
        Ok(())
    }

    /// Whether a node was started and not ended.
    #[must_use]
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].child.is_some()
    }

    /// Sends a command as somebody who may do all.
    pub fn ask<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> Result<T> {
        let mut command = Cmd::new();
        command.arg(words);
        command.query(&mut self.connect(node)?).with_context(|| format!("{words:?} on node {node}"))
    }

    /// Sends commands by one connection, and says what the last one answers.
    pub fn ask_all<T: FromRedisValue>(&self, node: usize, commands: &[&[&str]]) -> Result<T> {
        let mut connection = self.connect(node)?;
        let mut answer = Value::Nil;
        for words in commands {
            let asked = Cmd::new().arg(words).query(&mut connection);
            answer = asked.with_context(|| format!("{words:?} on node {node}"))?;
        }
        Ok(redis::from_redis_value(answer)?)
    }

    fn connect(&self, node: usize) -> Result<Connection> {
        let client = redis::Client::open(format!("redis://{}", self.nodes[node].address))?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(connection)
    }

    /// The cluster's name of a node.
    pub fn id(&self, node: usize) -> Result<String> {
        self.ask(node, &["CLUSTER", "MYID"])
    }

    /// How many keys of the first bucket a node has.
    pub fn keys(&self, node: usize) -> Result<u64> {
        let mut commands = redis::pipe();
        for slot in 0..BUCKET_SLOTS {
            commands.cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot);
        }
        Ok(commands.query::<Vec<u64>>(&mut self.connect(node)?)?.iter().sum())
    }

    /// States of the migrations that a node tells of, the latest first.
    pub fn states(&self, node: usize) -> Result<Vec<String>> {
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
    pub fn hold(&self, node: usize, hold: bool) -> Result<()> {
        self.ask(node, &["DEBUG", "SLOTMIGRATION", "PREVENT-PAUSE", if hold { "1" } else { "0" }])
    }

    /// Waits until all nodes believe that the cluster serves.
    pub fn settle(&self) -> Result<()> {
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
    pub fn follows(&self, node: usize) -> Result<()> {
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
             protected-mode no\ncluster-allow-replica-migration no\nappendonly yes\nsave \"\"\nrepl-diskless-sync-delay 0\n\
             enable-debug-command yes\nuser {USER} on \">{PASSWORD}\" {RIGHTS}\n"
        )
    }
}

/// Where a node's files are, in the lab's folder.
#[must_use]
pub fn data(folder: &Path, node: usize) -> PathBuf {
    folder.join(node.to_string())
}

/// Ports that were free a moment ago: all are held until all are found, so that none is found twice.
fn loopback() -> Result<Vec<Node>> {
    let mut held = Vec::new();
    let mut free = || -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    let host = || Host::here(Ipv4Addr::LOCALHOST);
    (0..=REPLICA)
        .map(|_| Ok(Node { address: free()?, bus: free()?.port(), host: host(), child: None }))
        .collect()
}
