//! `isotherm-agent run`: starts the threads and tasks, and answers signals.

use anyhow::Context;
use isotherm_agent::config::{Config, Listen};
use isotherm_agent::metrics::{self, Telemetry};
use isotherm_agent::probe::{Probe, count_runs};
use isotherm_agent::watch::{Reload, Watcher};
use isotherm_agent::{memory, rights, service, uplink};
use isotherm_model::BootId;
use isotherm_proto::Hello;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// Windows between the watching thread and the uplink. The uplink takes them at once; this is for a hiccup.
const WINDOW_QUEUE: usize = 16;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    rights::check()?;
    // The kernel counts until the descriptor is closed, also when the right to ask for it is gone.
    let counting = config.metrics.probe_stats.then(count).flatten();
    let mut probe = Probe::attach(config.limits.capacity)?;
    info!(
        "probes attached; {} partitions told apart at most; {}",
        config.limits.partitions,
        memory::bound(&config.limits)
    );
    for degraded in probe.degraded() {
        warn!("degraded: {degraded}");
    }
    rights::reduce(|| probe.watched().is_ok() && probe.read().is_ok())?;
    let telemetry = Arc::new(Telemetry::default());
    let watcher = Watcher::new(probe, &config)?.with_telemetry(Arc::clone(&telemetry));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(watch_and_send(watcher, path, config, telemetry));
    drop(counting);
    result
}

fn count() -> Option<OwnedFd> {
    count_runs()
        .inspect_err(|error| {
            warn!(
                "metrics.probe_stats: the kernel does not count runs: {error}; it takes CAP_SYS_ADMIN at the start, or \
                 sysctl kernel.bpf_stats_enabled=1"
            );
        })
        .ok()
}

async fn watch_and_send(
    watcher: Watcher,
    path: &Path,
    config: Config,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (stop, stopped) = channel();
    let (reloads, reload_requests) = channel();
    let (windows, received) = tokio::sync::mpsc::channel(WINDOW_QUEUE);
    let scrapes = serve_metrics(config.metrics.listen, &telemetry).await?;
    let hello = Hello {
        agent: config.agent.clone(),
        boot: BootId::new(uuid::Uuid::new_v4().to_string()).context("a new boot id")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        window_ms: config.window.as_millis() as u32,
        targets: config.targets.iter().map(|target| target.node.clone()).collect(),
    };
    let watcher = watcher.with_reloads(reload_requests);
    let mut watching = tokio::task::spawn_blocking(move || watcher.run(&stopped, &windows, ready));
    let endpoint = config.endpoint.clone();
    let uplink = tokio::spawn(uplink::run(endpoint, hello, config.limits.unacked_batches, received));
    let reloader = Reloader { path: path.to_owned(), running: config, reloads, telemetry };
    let early = tokio::select! {
        result = &mut watching => Some(result),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        () = reloader.run(&mut hang_up) => None,
    };
    let result = match early {
        Some(result) => result,
        None => {
            info!("stopping");
            service::stopping();
            drop(stop);
            watching.await
        }
    };
    let undelivered = uplink.await.context("the uplink")?;
    if let Some(scrapes) = scrapes {
        scrapes.abort();
    }
    if undelivered > 0 {
        error!("{undelivered} batches were not delivered and are lost with this process");
    }
    result.context("the watching thread")??;
    Ok(())
}

async fn serve_metrics(
    listen: Listen,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Option<tokio::task::JoinHandle<()>>> {
    let (address, wanted) = match listen {
        Listen::Off => return Ok(None),
        Listen::Default(address) => (address, false),
        Listen::At(address) => (address, true),
    };
    match tokio::net::TcpListener::bind(address).await {
        Ok(listener) => {
            // Port 0 is any that is free.
            let address = listener.local_addr().unwrap_or(address);
            info!("metrics at http://{address}/metrics");
            if !address.ip().is_loopback() {
                warn!("metrics.listen: whoever reaches {address} can read the names of this host's nodes");
            }
            Ok(Some(tokio::spawn(metrics::serve(listener, Arc::clone(telemetry)))))
        }
        Err(error) if wanted => {
            Err(error).with_context(|| format!("metrics.listen: cannot listen on {address}"))
        }
        Err(error) => {
            warn!("no metrics are served: cannot listen on {address}: {error} (metrics.listen)");
            Ok(None)
        }
    }
}

fn ready(summary: &str) {
    info!("{summary}");
    service::ready(summary);
}

/// Reads the configuration again when told to.
struct Reloader {
    path: PathBuf,
    running: Config,
    reloads: Sender<Reload>,
    telemetry: Arc<Telemetry>,
}

impl Reloader {
    /// One request at a time; signals that come meanwhile are one more.
    async fn run(mut self, hang_up: &mut tokio::signal::unix::Signal) {
        while hang_up.recv().await.is_some() {
            service::reloading();
            let status = match self.reload().await {
                Ok(status) => {
                    self.telemetry.reloaded(true);
                    info!("{status}");
                    status
                }
                Err(error) => {
                    self.telemetry.reloaded(false);
                    let status = format!("the configuration stays as it was: {error:#}");
                    error!("{status}");
                    status
                }
            };
            service::ready(&status);
        }
        // No more signals will come; the others are waited for.
        std::future::pending::<()>().await;
    }

    async fn reload(&mut self) -> anyhow::Result<String> {
        let config = Config::read(&self.path)?;
        let (answer, changes) = oneshot::channel();
        let targets = config.targets.clone();
        self.reloads.send(Reload { targets, answer }).context("the watching thread has ended")?;
        let changes = changes.await.context("the watching thread has ended")??;
        let waiting = self.running.needing_restart(&config);
        if !waiting.is_empty() {
            warn!("changed, but only a restart puts it in force: {}", waiting.join(", "));
        }
        self.running.targets = config.targets;
        Ok(format!("configuration read again; in force from the next window on: {changes}"))
    }
}
