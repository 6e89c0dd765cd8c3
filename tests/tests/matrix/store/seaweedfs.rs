//! SeaweedFS: a volume that goes round three servers.
//!
//! It has one replica. With two, a server that does not hold the volume any more can pass a write on to one of them alone,
//! which the other one is given seconds later (docs/adapters-stores.md): reads of it would be stale until then.

use super::super::row::{Fault, Phase};
use super::{DISK_BYTES, HUB, Late, Session, Sessions, Store, Way};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::network::Network;
use isotherm_tests::stores::seaweedfs::{COLLECTION, Layout, Object, Weed};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use ureq::Agent;

const SERVERS: usize = 3;

/// Objects that nobody changes, and their size: the copy takes a second or two at the rate below.
const OBJECTS: usize = 32;
const OBJECT_BYTES: usize = 256 << 10;
const RATE: u64 = 4 << 20;

/// Within the first object.
const CORRUPT_AT: u64 = 50_000;

/// What a copy lacks that is out of date is no older.
const LATEST: Duration = Duration::from_secs(30);

/// Phases in which a volume is unmounted or removed somewhere.
const UNMOUNTING: [&str; 5] = ["COMMITTING", "RETIRING", "UNFENCING", "ABORTING", "REVERSING"];

/// What lies in the way.
const STRANGER: &[u8] = b"somebody's";

pub(super) struct Cluster {
    weed: Weed,
    volume: u32,
    /// What nobody changes.
    filled: Vec<Object>,
    _folder: TempDir,
}

pub(super) fn start(network: &Network) -> Result<Cluster> {
    let folder = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for server in 0..SERVERS {
        let host = network.host(server);
        host.memory(&folder.path().join(format!("data{}", server + 1)), DISK_BYTES)?;
        servers.push((host.clone(), "rackA"));
    }
    let layout = Layout { master: network.host(HUB).clone(), servers };
    let weed = Weed::start(folder.path(), layout)?;
    let (volume, filled) = weed.volume("000", OBJECTS, OBJECT_BYTES)?;
    Ok(Cluster { weed, volume, filled, _folder: folder })
}

impl Cluster {
    fn named(&self, name: &str) -> Option<usize> {
        (0..SERVERS).find(|server| self.node(*server) == name)
    }

    fn stranger(&self, server: usize) -> PathBuf {
        self.weed.data(server + 1).join(format!("{COLLECTION}_{}.dat", self.volume))
    }

    /// Whether the volume takes a new object through this server, and what it says if not.
    fn refuses(&self, server: usize) -> Option<String> {
        match self.weed.takes_writes(self.volume, &[server + 1]) {
            Ok(true) => None,
            Ok(false) => Some(format!("{} refuses writes", self.node(server))),
            Err(error) => Some(format!("{}: {error:#}", self.node(server))),
        }
    }
}

impl Store for Cluster {
    fn table(&self) -> String {
        format!("master = [\"{}\"]\n", self.weed.master_name())
    }

    fn partition(&self) -> String {
        self.volume.to_string()
    }

    fn node(&self, server: usize) -> String {
        self.weed.node(server + 1)
    }

    fn way(&self) -> Result<(usize, usize)> {
        let serving = self.serving()?;
        ensure!(serving.len() == 1, "{serving:?} serve volume {}", self.volume);
        Ok((serving[0], (serving[0] + 1) % SERVERS))
    }

    fn kill(&mut self, server: usize) -> Result<()> {
        self.weed.crash(server + 1)
    }

    fn start(&mut self, server: usize) -> Result<()> {
        if self.weed.runs(server + 1) { Ok(()) } else { self.weed.start_server(server + 1) }
    }

    fn start_all(&mut self) -> Result<()> {
        (0..SERVERS).try_for_each(|server| self.start(server))
    }

    fn disk(&self, server: usize) -> PathBuf {
        self.weed.data(server + 1)
    }

    fn sessions(&self) -> Sessions {
        let (master, volume) = (self.weed.master_name(), self.volume);
        let nodes: Vec<String> = (0..SERVERS).map(|server| self.node(server)).collect();
        Arc::new(move |way| -> Box<dyn Session> {
            let http = Agent::config_builder().timeout_global(Some(Duration::from_secs(3)));
            let http = http.http_status_as_error(false).build().new_agent();
            let straight = match way {
                Way::Told => None,
                Way::Straight(server) => nodes.get(server).cloned(),
            };
            Box::new(Client { http, master: master.clone(), volume, straight })
        })
    }

    fn slow(&self, _: usize, _: bool) -> Result<()> {
        Ok(())
    }

    fn rate(&self) -> Option<u64> {
        Some(RATE)
    }

    fn copied(&self, target: usize) -> Result<bool> {
        let files = self.weed.files(target + 1, self.volume)?;
        let whole = files.iter().any(|name| name.ends_with(".dat"))
            && files.iter().any(|name| name.ends_with(".idx"));
        Ok(whole && !files.iter().any(|name| name.ends_with(".note")) && self.serving()?.contains(&target))
    }

    fn corrupt(&self, target: usize) -> Result<()> {
        let path = self.stranger(target);
        self.weed.host(target + 1).run(move || {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, CORRUPT_AT)?;
            file.write_all_at(&[byte[0] ^ 1], CORRUPT_AT)?;
            Ok(())
        })?
    }

    fn recover(&self) -> Result<()> {
        Ok(())
    }

    fn occupy(&mut self, target: usize, occupy: bool) -> Result<()> {
        let path = self.stranger(target);
        self.weed.host(target + 1).run(move || {
            if occupy {
                return Ok(fs::write(&path, STRANGER)?);
            }
            ensure!(fs::read(&path)? == STRANGER, "{} was changed", path.display());
            Ok(fs::remove_file(&path)?)
        })?
    }

    fn keyless(&mut self, _: bool) -> Result<()> {
        bail!("an object always has a key")
    }

    fn odd(&self, serving: usize, empty: usize) -> Result<Vec<String>> {
        let mut odd = Vec::new();
        let now = self.serving()?;
        if now != [serving] {
            odd.push(format!("{now:?} serve, wanted {serving}"));
            return Ok(odd);
        }
        let left = self.weed.files(empty + 1, self.volume)?;
        odd.extend((!left.is_empty()).then(|| format!("{left:?} are left on {}", self.node(empty))));
        odd.extend(now.iter().filter_map(|server| self.refuses(*server)));
        for (fid, content) in &self.filled {
            for server in &now {
                if self.weed.get(&self.node(*server), fid)? != *content {
                    odd.push(format!("{fid} is not what it was on {}", self.node(*server)));
                }
            }
        }
        Ok(odd)
    }

    /// A copy that is out of date is served (docs/adapters-stores.md) for the moment in which it is removed; by a server that
    /// starts again, until the next look; and when a write slipped onto it, until it is given up or made anew, for which the
    /// adapter must reach it. A read that is under way where a volume is unmounted or removed finds nothing.
    fn may_be_late(&self, late: &Late<'_>) -> bool {
        let is_removed = late.phases.contains(&Phase::Retiring.name());
        let has_risen = [Fault::KillSource, Fault::KillTarget].contains(&late.fault);
        let is_given_up = ["FAILED", "CANCELLED"].contains(&late.ended);
        let is_made_anew = late.phases.contains(&Phase::Reversing.name());
        let in_reach = if late.fault == Fault::LoseAdapter { late.after_mending } else { late.by };
        let unmounts = late.phases.iter().any(|phase| UNMOUNTING.contains(phase));
        (late.is_nothing && unmounts)
            || late.by.min(in_reach) < LATEST && (is_removed || has_risen || is_given_up || is_made_anew)
    }

    /// A copy takes writes until it is marked, and then differs.
    fn begins_anew(&self) -> Option<&'static str> {
        Some("begin anew")
    }

    fn serving(&self) -> Result<Vec<usize>> {
        Ok(self.weed.lookup(self.volume)?.iter().filter_map(|name| self.named(name)).collect())
    }
}

/// A client that asks the master where to go each time.
struct Client {
    http: Agent,
    master: String,
    volume: u32,
    straight: Option<String>,
}

impl Client {
    fn url(&self, server: &str, key: u64) -> String {
        format!("http://{server}/{},{:x}00000001", self.volume, 0x1000_0000 + key)
    }

    /// One of the servers that the master names, or the one that is always gone to.
    fn server(&self) -> Result<String> {
        if let Some(server) = &self.straight {
            return Ok(server.clone());
        }
        let places = self.places()?;
        Ok(places[fastrand::usize(..places.len())].clone())
    }

    fn places(&self) -> Result<Vec<String>> {
        let url = format!("http://{}/dir/lookup?volumeId={}", self.master, self.volume);
        let text = self.http.get(&url).call()?.body_mut().read_to_string()?;
        let found: serde_json::Value = serde_json::from_str(&text)?;
        let places = found["locations"].as_array().into_iter().flatten();
        let places: Vec<String> =
            places.filter_map(|place| place["url"].as_str()).map(str::to_owned).collect();
        ensure!(!places.is_empty(), "the master knows nobody who has volume {}", self.volume);
        Ok(places)
    }

    fn get(&self, server: &str, key: u64) -> Result<u64> {
        let url = self.url(server, key);
        let mut response = self.http.get(&url).call()?;
        let text = response.body_mut().read_to_string()?;
        if response.status() == 404 {
            return Ok(0);
        }
        ensure!(response.status() == 200, "GET {url}: {} {text}", response.status());
        let mut words = text.split(' ');
        ensure!(words.next() == Some(&key.to_string()), "{url} is another object: {text:.40}");
        Ok(words.next().context("a value")?.parse()?)
    }
}

impl Session for Client {
    fn write(&mut self, key: u64, value: u64) -> Result<()> {
        let url = self.url(&self.server()?, key);
        // Of a length that an overwrite changes.
        let padding = "x".repeat(usize::try_from(100 + value * 37 % 1_500)?);
        let request = self.http.put(&url).content_type("application/octet-stream");
        let mut response = request.send(format!("{key} {value} {padding}").as_bytes())?;
        let said = response.body_mut().read_to_string()?;
        ensure!(response.status().is_success(), "PUT {url}: {} {said}", response.status());
        Ok(())
    }

    fn read(&mut self, key: u64) -> Result<u64> {
        self.get(&self.server()?, key)
    }

    fn read_everywhere(&mut self, key: u64) -> Result<Vec<u64>> {
        self.places()?.iter().map(|server| self.get(server, key)).collect()
    }
}
