//! `isotherm-agent run`: starts the threads and tasks, and answers signals.

mod reloader;

use anyhow::Context;
use isotherm_agent::config::{Config, Listen};
use isotherm_agent::locator::{Findings, Follower, Kept, Known, Ways, locate, watching, ways};
use isotherm_agent::metrics::{self, Telemetry};
use isotherm_agent::probe::{Probe, count_runs};
use isotherm_agent::spool::Spool;
use isotherm_agent::uplink::{self, Analyzer, Farewell};
use isotherm_agent::watch::{Watcher, wall_clock};
use isotherm_agent::{memory, rights, service};
use isotherm_model::BootId;
use isotherm_proto::Hello;
use reloader::Reloader;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// Windows between the watching thread and the uplink. The uplink takes them at once; this is for a hiccup.
const WINDOW_QUEUE: usize = 16;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let mut config = Config::read(path)?;
    if let Some(files) = &config.tls {
        files.read().context("the certificates for the analyzer")?;
    }
    rights::check()?;
    let spool = open_spool(&config)?;
    let kept = Kept::beside(&config.spool.dir);
    let known = known(&kept, &config);
    let (targets, findings) = locate(&config.targets, &known);
    config.targets = targets;
    findings.tell(&Findings::default());
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
    telemetry.in_force(&config.targets, &findings);
    let Ways { follower, known, watching } = ways(known, watching(&config.targets, &findings));
    let now = (config.targets.clone(), findings);
    let reloader = Reloader::new(path, now, (known, watching), kept, Arc::clone(&telemetry));
    let result = runtime.block_on(watch_and_send(watcher, spool, config, follower, reloader, telemetry));
    drop(counting);
    result
}

/// What was known when the agent ended last. What is damaged is told, and comes again from the analyzer.
fn known(kept: &Kept, config: &Config) -> Known {
    let nodes = config.targets.iter().map(|target| target.node.clone()).collect();
    let known = kept.read(&nodes).unwrap_or_else(|error| {
        error!("{:#}", anyhow::Error::from(error));
        Known::default()
    });
    if known.revision() > 0 {
        info!("{} partitions by locators of revision {}", known.all().count(), known.revision());
    }
    known
}

fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let hello = Hello {
        agent: config.agent.clone(),
        boot: BootId::new(uuid::Uuid::new_v4().to_string()).context("a new boot id")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        window_ms: config.window.as_millis() as u32,
        targets: config.targets.iter().map(|target| target.node.clone()).collect(),
    };
    Ok(Spool::open(config.spool.clone(), hello, wall_clock())?)
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
    spool: Spool,
    config: Config,
    follower: Follower,
    reloader: Reloader,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (stop, stopped) = channel();
    let (reloads, reload_requests) = channel();
    let (windows, received) = tokio::sync::mpsc::channel(WINDOW_QUEUE);
    let scrapes = serve_metrics(config.metrics.listen, &telemetry).await?;
    let watcher = watcher.with_reloads(reload_requests);
    let mut watching = tokio::task::spawn_blocking(move || watcher.run(&stopped, &windows, ready));
    let analyzer = Analyzer { endpoint: config.endpoint.clone(), tls: config.tls.clone() };
    let uplink = tokio::spawn(uplink::run(analyzer, spool, received, follower, Arc::clone(&telemetry)));
    let early = tokio::select! {
        result = &mut watching => Some(result),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        () = reloader.run(config, reloads, &mut hang_up) => None,
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
    let Farewell { kept, lost } = uplink.await.context("the uplink")?;
    if let Some(scrapes) = scrapes {
        scrapes.abort();
    }
    if kept > 0 {
        info!("{kept} batches were not delivered; they stay in the spool for the next start");
    }
    if lost > 0 {
        error!("{lost} batches could be neither delivered nor written, and are lost with this process");
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
