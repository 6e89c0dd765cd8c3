//! `isotherm` as a child process.

use anyhow::{Context, Result, ensure};
use isotherm_proto::control::v1::control_service_client::ControlServiceClient;
use isotherm_proto::control::v1::{ListNodesRequest, ListPartitionsRequest, Node, Partition};
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{self, Child};
use isotherm_tests::workspace;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take before a test fails: more than a few of the longest pauses between an agent's
/// attempts, 45 s.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

const BUILD: &str = "build it: cargo build --workspace --bins --features isotherm/failpoints";

/// A running analyzer. Its data folder belongs to the test.
pub(crate) struct Analyzer {
    pub(crate) child: Child,
    pub(crate) url: String,
}

/// The program under test.
pub(crate) fn program() -> Result<PathBuf> {
    let path = workspace::program("isotherm");
    ensure!(path.is_file(), "{} is not there; {BUILD}", path.display());
    Ok(path)
}

/// `isotherm serve` on a free port.
pub(crate) fn serve(data_dir: &Path) -> Result<Command> {
    serve_on("127.0.0.1:0", data_dir)
}

/// `isotherm serve` on this address.
pub(crate) fn serve_on(listen: &str, data_dir: &Path) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(data_dir);
    // What the caller's environment says must not reach the test.
    command.env_remove("ISOTHERM_SERVER").env_remove("FAILPOINTS").env("RUST_LOG", "info");
    Ok(command)
}

/// The end of an `isotherm` command.
pub(crate) fn run(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(program()?);
    command.args(args).env_remove("ISOTHERM_SERVER");
    command.output().context("run isotherm")
}

impl Analyzer {
    /// Starts it with its log in `scratch`, and waits until it is ready.
    pub(crate) fn start(data_dir: &Path, scratch: &Path) -> Result<Self> {
        Self::from_command(serve(data_dir)?, scratch)
    }

    /// The same with failpoints, such as `store::write=return`.
    pub(crate) fn start_with(data_dir: &Path, scratch: &Path, failpoints: &str) -> Result<Self> {
        let version = String::from_utf8(run(&["--version"])?.stdout)?;
        ensure!(version.contains("failpoints"), "isotherm has no failpoints; {BUILD}");
        let mut command = serve(data_dir)?;
        command.env("FAILPOINTS", failpoints);
        Self::from_command(command, scratch)
    }

    /// The same from a command that was prepared further.
    pub(crate) fn from_command(mut command: Command, scratch: &Path) -> Result<Self> {
        let mut notify = Notify::bind(scratch, "analyzer")?;
        notify.announce(&mut command);
        let mut child = process::spawn("isotherm serve", &mut command, &scratch.join("analyzer.log"))?;
        notify.wait_ready(&mut child, LIMIT)?;
        let status = notify.status().context("the analyzer gave no status")?;
        let address = status.strip_prefix("listening on ").context("the status has no address")?;
        Ok(Self { url: format!("http://{address}"), child })
    }

    /// A connection of its own.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        Ok(Endpoint::new(self.url.clone())?.connect().await?)
    }

    pub(crate) async fn control(&self) -> Result<ControlServiceClient<Channel>> {
        Ok(ControlServiceClient::new(self.channel().await?))
    }

    /// All nodes, over all time.
    pub(crate) async fn nodes(&self) -> Result<Vec<Node>> {
        let answer = self.control().await?.list_nodes(ListNodesRequest::default()).await?;
        Ok(answer.into_inner().nodes)
    }

    /// Reads of all partitions by all nodes, over all time: whether batches were counted once.
    pub(crate) async fn counted_reads(&self) -> Result<u64> {
        let answer = self.control().await?.list_partitions(ListPartitionsRequest::default()).await?;
        let reads = |partition: &Partition| -> u64 {
            partition.nodes.iter().map(|node| node.activity.unwrap_or_default().reads).sum()
        };
        Ok(answer.into_inner().partitions.iter().map(reads).sum())
    }

    /// Runs a command of the CLI against this analyzer.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Output> {
        run(&[args, &["--server", &self.url]].concat())
    }
}

/// Segments in a data folder, finished or not.
pub(crate) fn segments(data_dir: &Path) -> Result<usize> {
    fn count(folder: &Path) -> Result<usize> {
        let mut found = 0;
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(0) };
        for entry in entries {
            let path = entry?.path();
            found += if path.is_dir() { count(&path)? } else { 1 };
        }
        Ok(found)
    }
    count(&data_dir.join("segments"))
}
