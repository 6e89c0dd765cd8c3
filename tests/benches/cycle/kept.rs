//! How long a restart takes with weeks of telemetry kept.

use super::Figure;
use super::cluster::Cluster;
use super::feed::Agents;
use super::live::now_ms;
use super::server::{Server, bytes};
use super::support::adapter;
use anyhow::Result;
use isotherm_tests::usage::memory_kib;
use std::sync::Arc;

const PARTITIONS: u32 = 1_000;

const HOUR_MS: u64 = 3_600_000;

/// Windows of twenty minutes: three an hour, so that the hours are compacted as they would be.
const WINDOW_MS: u64 = HOUR_MS / 3;

pub(crate) async fn measure(days: u32) -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let cluster = Arc::new(Cluster::new(PARTITIONS));
    let (nodes, all) = cluster.topology();
    let adapter = adapter::Cluster::new(nodes, all).serve("127.0.0.1:0").await?;
    eprintln!("storing {days} days of {PARTITIONS} partitions");
    let server = Server::start(dir.path(), &adapter, "10m").await?;
    let mut agents = Agents::connect(&cluster, &server.analyzer.url, 0).await?;
    let until = now_ms() / HOUR_MS * HOUR_MS;
    let windows = u64::from(days) * 24 * HOUR_MS / WINDOW_MS;
    for window in (1..=windows).rev() {
        agents.send(until - window * WINDOW_MS, WINDOW_MS as u32).await?;
    }
    server.end().await?;
    let stored = bytes(&dir.path().join("store"))?;
    let mut server = Server::start(dir.path(), &adapter, "20s").await?;
    let ready = server.ready;
    let (_, first) = server.first_cycle().await?;
    let rss_kib = memory_kib(server.pid(), "VmRSS")?;
    server.end().await?;
    let figures = [
        ("restart, to listening", ready.as_secs_f64(), "s"),
        ("restart, to the first cycle", first.as_secs_f64(), "s"),
        ("rss after it", rss_kib as f64 / 1024.0, "MiB"),
        ("store", stored as f64 / f64::from(1 << 20), "MiB"),
    ];
    let figure = |(name, value, unit)| Figure { name: format!("{days} days kept: {name}"), value, unit };
    Ok(figures.map(figure).into())
}
