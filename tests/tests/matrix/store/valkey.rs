//! Valkey: a bucket of slots that goes from the first primary to the second and back.

use super::{DISK_BYTES, Session, Sessions, Store, Way};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::network::Network;
use isotherm_tests::stores::valkey::client::{Client, fill, tags};
use isotherm_tests::stores::valkey::{Lab, REPLICA, USER, data};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is acknowledged is on disk, and nobody takes the place of a server that comes back: what replication itself loses
/// is not what is looked for. Who has slots serves them, whoever else is gone.
const SETTINGS: &str =
    "appendfsync always\ncluster-replica-no-failover yes\ncluster-require-full-coverage no\n";

/// Keys that nobody changes.
const KEYS: usize = 3_000;

/// Of these, what a corruption takes away: more than clients' own changes could hide.
const TAKEN: usize = 1_000;

/// Those who hold the bucket in turn.
const SERVERS: usize = 2;

pub(super) struct Cluster {
    lab: Lab,
    folder: PathBuf,
    tags: Vec<String>,
}

pub(super) fn start(network: &Network) -> Result<Cluster> {
    let folder = tempfile::tempdir()?;
    for server in 0..=REPLICA {
        network.host(server).memory(&data(folder.path(), server), DISK_BYTES)?;
    }
    let path = folder.path().to_path_buf();
    let hosts = [0, 1, 2, REPLICA].map(|server| network.host(server).clone());
    let cluster = Cluster {
        lab: Lab::on_hosts(hosts, folder, SETTINGS)?,
        folder: path,
        tags: tags().take(50).collect(),
    };
    fill(&cluster.seeds(), KEYS, 200)?;
    Ok(cluster)
}

impl Cluster {
    fn seeds(&self) -> Vec<SocketAddr> {
        self.lab.nodes.iter().map(|node| node.address).collect()
    }

    /// The server whose shard has the bucket's first slot.
    fn owner(&self) -> Result<usize> {
        let mut owners = Vec::new();
        for server in 0..SERVERS {
            let nodes: String = self.lab.ask(server, &["CLUSTER", "NODES"])?;
            let own = nodes.lines().find(|line| line.contains("myself")).context("a node knows itself")?;
            let has = own.split(' ').skip(8).any(|range| range == "0" || range.starts_with("0-"));
            owners.extend(has.then_some(server));
        }
        ensure!(owners.len() == 1, "{owners:?} have the bucket, wanted one");
        Ok(owners[0])
    }

    fn filled(&self, number: usize) -> String {
        format!("{{{}}}:{number}", self.tags[number % self.tags.len()])
    }
}

impl Store for Cluster {
    fn table(&self) -> String {
        let nodes: Vec<String> = self.seeds().iter().map(|seed| format!("\"{seed}\"")).collect();
        let password = self.lab.password_file();
        format!(
            "nodes = [{}]\nbuckets = 64\nuser = \"{USER}\"\npassword_file = {password:?}\n",
            nodes.join(", ")
        )
    }

    fn partition(&self) -> String {
        "slots-00000-00255".to_owned()
    }

    fn node(&self, server: usize) -> String {
        self.lab.nodes[server].address.to_string()
    }

    fn way(&self) -> Result<(usize, usize)> {
        let source = self.owner()?;
        Ok((source, 1 - source))
    }

    fn kill(&mut self, server: usize) -> Result<()> {
        self.lab.kill(server);
        Ok(())
    }

    fn start(&mut self, server: usize) -> Result<()> {
        if !self.lab.runs(server) {
            self.lab.run(server)?;
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        self.lab.forget_ended()?;
        (0..=REPLICA).try_for_each(|server| self.start(server))?;
        self.lab.settle()
    }

    fn disk(&self, server: usize) -> PathBuf {
        data(&self.folder, server)
    }

    fn sessions(&self) -> Sessions {
        let seeds = self.seeds();
        let tags = self.tags.clone();
        Arc::new(move |way| -> Box<dyn Session> {
            let client = match way {
                Way::Told => Client::new(&seeds).with_patience(Duration::from_secs(1)),
                Way::Straight(server) => Client::new(&seeds[server..=server]).with_patience(Duration::ZERO),
            };
            Box::new(Keys { client, tags: tags.clone() })
        })
    }

    /// The source may not hand over.
    fn slow(&self, server: usize, slow: bool) -> Result<()> {
        self.lab.hold(server, slow)
    }

    fn rate(&self) -> Option<u64> {
        None
    }

    fn copied(&self, target: usize) -> Result<bool> {
        Ok(self.owner().is_ok_and(|owner| owner == target))
    }

    fn corrupt(&self, target: usize) -> Result<()> {
        let mut client = Client::new(&self.seeds()[target..=target]);
        for number in 0..TAKEN {
            client.run(redis::cmd("DEL").arg(self.filled(number)))?.context("a key was not taken")?;
        }
        Ok(())
    }

    fn recover(&self) -> Result<()> {
        let mut client = Client::new(&self.seeds());
        for number in 0..TAKEN {
            client.run(redis::cmd("DEL").arg(self.filled(number)))?.context("a key was not taken")?;
        }
        fill(&self.seeds(), TAKEN, 200)
    }

    /// A key of a slot that another has, as an import by hand that was broken off leaves it.
    fn occupy(&mut self, target: usize, occupy: bool) -> Result<()> {
        let name = format!("{{{}}}:stranger", self.tags[0]);
        let slot: u64 = self.lab.ask(target, &["CLUSTER", "KEYSLOT", &name])?;
        let (slot, source) = (slot.to_string(), self.lab.id(1 - target)?);
        let import: &[&str] = &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source];
        let asking: &[&str] = &["ASKING"];
        if occupy {
            self.lab.ask_all::<()>(target, &[import, asking, &["SET", &name, "77"]])?;
        } else {
            let found: Option<u64> = self.lab.ask_all(target, &[import, asking, &["GET", &name]])?;
            ensure!(found == Some(77), "the key in the way was changed: {found:?}");
            self.lab.ask_all::<()>(target, &[asking, &["DEL", &name]])?;
        }
        self.lab.ask(target, &["CLUSTER", "SETSLOT", &slot, "STABLE"])
    }

    fn keyless(&mut self, _: bool) -> Result<()> {
        bail!("all that Valkey has, has a key")
    }

    fn odd(&self, serving: usize, empty: usize) -> Result<Vec<String>> {
        let mut odd = Vec::new();
        let owner = self.owner();
        if !owner.as_ref().is_ok_and(|owner| *owner == serving) {
            odd.push(format!("{owner:?} has the bucket, wanted {serving}"));
            return Ok(odd);
        }
        let (here, there) = (self.lab.keys(serving)?, self.lab.keys(empty)?);
        odd.extend((there > 0).then(|| format!("{there} keys are left on {}", self.node(empty))));
        if here < u64::try_from(KEYS)? {
            odd.push(format!("{here} keys of the {KEYS} that nobody changed"));
        }
        for server in [serving, empty] {
            let nodes: String = self.lab.ask(server, &["CLUSTER", "NODES"])?;
            odd.extend(
                nodes.lines().filter(|line| line.contains("->-") || line.contains("-<-")).map(str::to_owned),
            );
            // The engine's log keeps what has ended.
            let ended = ["success", "failed", "cancelled"];
            let states = self.lab.states(server)?;
            odd.extend(
                states
                    .iter()
                    .find(|state| !ended.contains(&state.as_str()))
                    .map(|state| format!("{} has a slot migration that is {state}", self.node(server))),
            );
        }
        Ok(odd)
    }

    fn serving(&self) -> Result<Vec<usize>> {
        Ok(vec![self.owner()?])
    }
}

/// A client of the bucket.
struct Keys {
    client: Client,
    tags: Vec<String>,
}

impl Keys {
    fn name(&self, key: u64) -> Result<String> {
        let tag = &self.tags[usize::try_from(key)? % self.tags.len()];
        Ok(format!("{{{tag}}}:of clients:{key}"))
    }
}

impl Session for Keys {
    fn write(&mut self, key: u64, value: u64) -> Result<()> {
        let name = self.name(key)?;
        self.client.run(redis::cmd("SET").arg(name).arg(value))?.context("it was given up")?;
        Ok(())
    }

    fn read(&mut self, key: u64) -> Result<u64> {
        let name = self.name(key)?;
        let found = self.client.run(redis::cmd("GET").arg(name))?.context("it was given up")?;
        Ok(redis::from_redis_value::<Option<u64>>(found)?.unwrap_or(0))
    }
}
