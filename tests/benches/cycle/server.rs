//! The server under measurement, and what it says of its cycles.

use super::support::adapter;
use super::support::analyzer::{Analyzer, serve};
use anyhow::{Context, Result, ensure};
use isotherm_proto::control::v1::risk_service_client::RiskServiceClient;
use isotherm_proto::control::v1::{Cycle, GetCycleRequest};
use isotherm_tests::process::POLL;
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// How long a server with a million partitions may take to do anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1_800);

/// A server that watches an adapter.
pub(crate) struct Server {
    pub(crate) analyzer: Analyzer,
    risks: RiskServiceClient<Channel>,
    /// From its start until it listened.
    pub(crate) ready: Duration,
    started: Instant,
}

impl Server {
    /// Starts it. Steps are judged so long after they end.
    pub(crate) async fn start(data: &Path, adapter: &adapter::Adapter, settle: &str) -> Result<Self> {
        let scratch = data.join("scratch");
        fs::create_dir_all(&scratch)?;
        let file = scratch.join("isotherm.toml");
        let endpoint = adapter.address;
        let config = format!(
            "[cycle]\nsettle = \"{settle}\"\n[[adapter]]\nsystem = \"seaweedfs\"\nendpoint = \"http://{endpoint}\"\n"
        );
        fs::write(&file, config)?;
        let mut command = serve(&data.join("store"))?;
        command.arg("--config").arg(&file).env("RUST_LOG", "warn");
        let started = Instant::now();
        let analyzer = Analyzer::from_command(command, &scratch)?;
        let ready = started.elapsed();
        let risks = RiskServiceClient::new(analyzer.channel().await?);
        Ok(Self { analyzer, risks, ready, started })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.analyzer.child.pid()
    }

    /// The last cycle; `None` before the first.
    pub(crate) async fn cycle(&mut self) -> Result<Option<Cycle>> {
        Ok(self.risks.get_cycle(GetCycleRequest {}).await?.into_inner().cycle)
    }

    /// Waits for the first cycle; how long that was after the start.
    pub(crate) async fn first_cycle(&mut self) -> Result<(Cycle, Duration)> {
        loop {
            if let Some(cycle) = self.cycle().await? {
                return Ok((cycle, self.started.elapsed()));
            }
            ensure!(self.started.elapsed() < PATIENCE, "no cycle came: {}", self.analyzer.child.log_tail());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets it end by itself, with all that it writes down then; how long that took.
    pub(crate) async fn end(mut self) -> Result<Duration> {
        let asked = Instant::now();
        self.analyzer.child.signal(Signal::SIGTERM)?;
        while self.analyzer.child.ended()?.is_none() {
            ensure!(asked.elapsed() < PATIENCE, "it did not end");
            tokio::time::sleep(POLL).await;
        }
        Ok(asked.elapsed())
    }
}

/// Bytes of all files below a folder.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let facts = entry.metadata()?;
        sum += if facts.is_dir() { bytes(&entry.path())? } else { facts.len() };
    }
    Ok(sum)
}
