//! The real agent, the real analyzer, and a load under watch whose truth is known.

use super::analyzer::{Analyzer, LIMIT, serve};
use super::proxy::Proxy;
use isotherm_agent::rights;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::Generator;
use isotherm_tests::workspace::{program, target_dir};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `None`, told as skipped, where the agent's rights are missing.
pub(crate) fn folder(test: &str) -> Option<TempDir> {
    if let Err(missing) = rights::check() {
        skipped(test, &missing.to_string());
        return None;
    }
    let parent = target_dir().join("tmp");
    fs::create_dir_all(&parent).unwrap();
    Some(TempDir::new_in(parent).unwrap())
}

/// The load, and the agent that watches it.
pub(crate) struct Watch {
    pub(crate) folder: TempDir,
    generator: Generator,
    config: PathBuf,
    runs: usize,
}

impl Watch {
    /// Prepares an agent for an analyzer at `endpoint`; `more` are further lines of `[analyzer]`.
    pub(crate) fn prepare(folder: TempDir, endpoint: &str, more: &str) -> Self {
        let generator =
            Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), "steady").unwrap();
        let config = folder.path().join("agent.toml");
        fs::create_dir(folder.path().join("spool")).unwrap();
        let text = format!(
            "[agent]\nid = \"host\"\nwindow = \"100ms\"\n[analyzer]\nendpoint = \"{endpoint}\"\n{more}\n[spool]\n\
             dir = \"{}\"\nmax_bytes = \"1MiB\"\n[[target]]\nsystem = \"truth\"\nnode = \"n\"\n\
             select = {{ pid = {} }}\n[[target.rule]]\npath = '/(shared)$'\npartition = \"$1\"\n",
            folder.path().join("spool").display(),
            generator.pid()
        );
        fs::write(&config, text).unwrap();
        Self { folder, generator, config, runs: 0 }
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// The agent's command; it tells each window that it cut.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program("isotherm-agent"));
        command.args(["run", "--config"]).arg(&self.config).env_remove("FAILPOINTS");
        command.env("RUST_LOG", "info,isotherm_agent::uplink=debug");
        command
    }

    /// Starts the agent and waits until it watches.
    pub(crate) fn start(&mut self, mut command: Command) -> Running {
        self.runs += 1;
        let name = format!("agent-{}", self.runs);
        let log = self.folder.path().join(format!("{name}.log"));
        let mut notify = Notify::bind(self.folder.path(), &name).unwrap();
        notify.announce(&mut command);
        let mut child = spawn(&name, &mut command, &log).unwrap();
        notify.wait_ready(&mut child, LIMIT).unwrap();
        Running { child, log }
    }

    /// Begins the load.
    pub(crate) fn go(&mut self) {
        self.generator.go().unwrap();
    }

    /// Ends the load; returns the reads that were really done.
    pub(crate) fn end(&mut self) -> u64 {
        self.generator.go().unwrap();
        self.generator.done(|| Ok(())).unwrap().counts("shared", false).0
    }
}

/// An agent at work.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Reads of partitions in each window that it cut, whatever became of them.
    pub(crate) fn cut(&self) -> Vec<u64> {
        let log = self.log();
        let reads = log.lines().filter_map(|line| line.strip_suffix(" reads of partitions"));
        reads.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let result = wait_for(what, LIMIT, || {
            self.child.ensure_alive()?;
            Ok(condition(self).then_some(()))
        });
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.child.log_tail()));
    }

    pub(crate) fn until_says(&mut self, what: &str) {
        self.until(what, |running| running.log().contains(what));
    }

    /// Waits for an end that nobody asked for.
    pub(crate) fn until_dead(&mut self) {
        wait_for("the agent to die", LIMIT, || self.child.ended()).unwrap();
    }

    /// Ends it as a service manager would.
    pub(crate) fn stop(&mut self) {
        self.child.signal(Signal::SIGTERM).unwrap();
        let status = wait_for("the agent to stop", LIMIT, || self.child.ended()).unwrap();
        assert!(status.success(), "{status}\n{}", self.child.log_tail());
    }
}

/// An analyzer that is killed and comes back, behind a link.
pub(crate) struct Behind {
    pub(crate) analyzer: Analyzer,
    pub(crate) proxy: Proxy,
    data: PathBuf,
    scratch: PathBuf,
}

impl Behind {
    pub(crate) fn start(folder: &Path) -> Self {
        let (data, scratch) = (folder.join("data"), folder.to_owned());
        let analyzer = Analyzer::start(&data, &scratch).unwrap();
        let proxy = Proxy::start(address(&analyzer)).unwrap();
        Self { analyzer, proxy, data, scratch }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// Kills the analyzer, and starts one with these failpoints; none if empty.
    pub(crate) fn restart(&mut self, failpoints: &str) {
        self.analyzer.child.kill();
        let mut command = serve(&self.data).unwrap();
        command.env("FAILPOINTS", failpoints);
        self.analyzer = Analyzer::from_command(command, &self.scratch).unwrap();
        self.proxy.lead_to(address(&self.analyzer));
    }
}

fn address(analyzer: &Analyzer) -> std::net::SocketAddr {
    analyzer.url.trim_start_matches("http://").parse().unwrap()
}
