//! A cluster of SeaweedFS: a master and volume servers.

use crate::host::Host;
use crate::process::{Child, wait_for};
use crate::tools::Tools;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use ureq::Agent;

const LIMIT: Duration = Duration::from_secs(60);

/// The volumes that tests move are in a collection, so that new objects can be told where to go.
pub const COLLECTION: &str = "things";

/// The port of the master and that of volume servers.
const PORTS: [u16; 2] = [9333, 8080];

/// File id and content.
pub type Object = (String, Vec<u8>);
/// Objects of a volume.
pub type Objects = Vec<Object>;

/// Where servers run.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The master's machine.
    pub master: Host,
    /// The machines of the volume servers, each with its rack.
    pub servers: Vec<(Host, &'static str)>,
}

/// The running cluster. Volume servers have numbers from 1.
#[derive(Debug)]
pub struct Weed {
    servers: BTreeMap<usize, Child>,
    _master: Child,
    program: PathBuf,
    folder: PathBuf,
    layout: Layout,
    /// A client whose requests end.
    pub http: Agent,
}

impl Weed {
    /// Starts it with data and logs in `folder`, and waits until the master knows all servers. Data folders are made
    /// unless they are there.
    pub fn start(folder: &Path, layout: Layout) -> Result<Self> {
        let program = Tools::locate().weed()?;
        let mut command = weed_command(&program, folder, "master", &address(&layout.master, PORTS[0]));
        let data = folder.join("master");
        fs::create_dir_all(&data)?;
        command.args(["-peers=none", "-volumeSizeLimitMB=1024"]).arg(format!("-mdir={}", data.display()));
        let master = layout.master.spawn("master", command, &folder.join("master.log"))?;
        let http = Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        let http = http.http_status_as_error(false).build().new_agent();
        let folder = folder.to_path_buf();
        let mut weed = Self { servers: BTreeMap::new(), _master: master, program, folder, layout, http };
        for number in 1..=weed.layout.servers.len() {
            weed.start_server(number)?;
        }
        Ok(weed)
    }

    /// The master, as clients and adapters name it.
    #[must_use]
    pub fn master_name(&self) -> String {
        address(&self.layout.master, PORTS[0])
    }

    /// A server's name.
    #[must_use]
    pub fn node(&self, number: usize) -> String {
        address(&self.layout.servers[number - 1].0, PORTS[1])
    }

    /// Starts a server, and waits until the master knows it with its volumes.
    pub fn start_server(&mut self, number: usize) -> Result<()> {
        let name = self.node(number);
        let mut command = weed_command(&self.program, &self.folder, "volume", &name);
        let (host, rack) = &self.layout.servers[number - 1];
        fs::create_dir_all(self.data(number))?;
        command.args([
            format!("-master={}", self.master_name()),
            "-max=20".to_owned(),
            "-dataCenter=dc1".to_owned(),
        ]);
        command.args([format!("-rack={rack}"), "-preStopSeconds=0".to_owned()]);
        command.arg(format!("-dir={}", self.data(number).display()));
        let log = self.folder.join(format!("server{number}.log"));
        self.servers.insert(number, host.spawn(&name, command, &log)?);
        wait_for(&name, LIMIT, || Ok(self.registered(&name).unwrap_or(false).then_some(())))
    }

    /// Whether the master sends clients to a server for all its volumes: it hears of the server first.
    fn registered(&self, name: &str) -> Result<bool> {
        if !self.master("/dir/status")?.to_string().contains(name) {
            return Ok(false);
        }
        let url = format!("http://{name}/status");
        let status: Value = serde_json::from_str(&self.http.get(&url).call()?.body_mut().read_to_string()?)?;
        for volume in status["Volumes"].as_array().into_iter().flatten() {
            let volume = volume["Id"].as_u64().with_context(|| format!("{url}: a volume without an id"))?;
            if !self.lookup(u32::try_from(volume)?)?.contains(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a server at once.
    pub fn crash(&mut self, number: usize) -> Result<()> {
        self.servers.remove(&number).context("a running server")?.kill();
        Ok(())
    }

    /// Whether a server was started and not ended.
    #[must_use]
    pub fn runs(&self, number: usize) -> bool {
        self.servers.contains_key(&number)
    }

    /// Ends a server at once, and waits until the master has seen it.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.crash(number)?;
        let name = self.node(number);
        let gone = || Ok((!self.master("/dir/status")?.to_string().contains(&name)).then_some(()));
        wait_for("the master to miss a server", LIMIT, gone)
    }

    /// Where a server's files are.
    #[must_use]
    pub fn data(&self, number: usize) -> PathBuf {
        self.folder.join(format!("data{number}"))
    }

    /// The machine of a server.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.layout.servers[number - 1].0
    }

    /// A volume's files on a server.
    pub fn files(&self, number: usize, volume: u32) -> Result<Vec<String>> {
        let folder = self.data(number);
        let prefix = format!("{COLLECTION}_{volume}.");
        self.host(number).run(move || {
            let mut files = Vec::new();
            for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                files.extend(name.starts_with(&prefix).then_some(name));
            }
            Ok(files)
        })?
    }

    /// Makes one volume, and fills it with incompressible objects of so many bytes. Returns it, and their ids.
    pub fn volume(&self, replication: &str, objects: usize, bytes: usize) -> Result<(u32, Objects)> {
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
    pub fn master(&self, path: &str) -> Result<Value> {
        let url = format!("http://{}{path}", self.master_name());
        let text = self.http.get(&url).call()?.body_mut().read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("{url}: {text}"))
    }

    /// Who serves a volume, as a client asks.
    pub fn lookup(&self, volume: u32) -> Result<BTreeSet<String>> {
        let found = self.master(&format!("/dir/lookup?volumeId={volume}"))?;
        let urls = found["locations"].as_array().into_iter().flatten();
        Ok(urls.filter_map(|location| location["url"].as_str()).map(str::to_owned).collect())
    }

    /// Whether an object was taken.
    pub fn put(&self, server: &str, fid: &str, content: &[u8]) -> Result<bool> {
        let request =
            self.http.put(format!("http://{server}/{fid}")).content_type("application/octet-stream");
        let mut response = request.send(content)?;
        response.body_mut().read_to_vec()?;
        Ok(response.status().is_success())
    }

    /// An object from one server, or its status.
    pub fn get(&self, server: &str, fid: &str) -> Result<Vec<u8>> {
        let mut response = self.http.get(format!("http://{server}/{fid}")).call()?;
        ensure!(response.status() == 200, "GET {server}/{fid}: {}", response.status());
        Ok(response.body_mut().read_to_vec()?)
    }

    /// Fails unless every server that serves the volume, and nobody else is asked, has every object.
    pub fn ensure_all(&self, volume: u32, servers: &[usize], objects: &[Object]) -> Result<()> {
        let wanted: BTreeSet<String> = servers.iter().map(|number| self.node(*number)).collect();
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
    pub fn takes_writes(&self, volume: u32, servers: &[usize]) -> Result<bool> {
        let mut taken = true;
        for number in servers {
            let key = fastrand::u32(0x1000_0000..);
            taken &= self.put(&self.node(*number), &format!("{volume},{key:x}00000001"), &content(100))?;
        }
        Ok(taken)
    }

    /// A command of SeaweedFS's own shell.
    pub fn shell(&self, command: &str) -> Result<String> {
        let mut shell = Command::new(&self.program);
        shell
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .args(["shell", &format!("-master={}", self.master_name())]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        write!(shell.stdin.take().context("a pipe")?, "lock\n{command}\nunlock\n")?;
        let output = shell.wait_with_output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.contains("error:") {
            bail!("{command}: {said}");
        }
        Ok(said)
    }
}

fn weed_command(program: &Path, folder: &Path, role: &str, address: &str) -> Command {
    let (ip, port) = address.split_once(':').unwrap_or((address, ""));
    let mut command = Command::new(program);
    // A home of its own: weed reads a security.toml of the user's otherwise.
    command.current_dir(folder).env("HOME", folder).env("TMPDIR", folder).args(["-logtostderr", role]);
    command.args([format!("-ip={ip}"), format!("-ip.bind={ip}"), format!("-port={port}")]);
    command
}

fn address(host: &Host, port: u16) -> String {
    format!("{}:{port}", host.address())
}

/// So many incompressible bytes.
#[must_use]
pub fn content(bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect()
}
