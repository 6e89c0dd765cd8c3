//! What is watched, and by which rules: the configuration, read again when told to, and the locators that come.
//!
//! Both go the same way, as a reload of the watching thread. A change of locators waits until the one before is in
//! force, and then takes the newest.

use anyhow::Context;
use isotherm_agent::config::{Config, Target};
use isotherm_agent::locator::{Findings, Kept, Known, locate, watching};
use isotherm_agent::metrics::Telemetry;
use isotherm_agent::service;
use isotherm_agent::slot::Changes;
use isotherm_agent::watch::Reload;
use isotherm_proto::Watching;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::task::block_in_place;
use tracing::{error, info, warn};

/// The owner of targets and their rules.
pub(super) struct Reloader {
    path: PathBuf,
    /// With their rules by locators; the last that were staged.
    targets: Vec<Target>,
    findings: Findings,
    telemetry: Arc<Telemetry>,
    locators: Locators,
    /// Becomes ready when what was staged is in force.
    staged: Option<oneshot::Receiver<()>>,
}

/// Where locators come from, and who is told of them.
struct Locators {
    known: watch::Receiver<Arc<Known>>,
    watching: watch::Sender<Watching>,
    kept: Kept,
    /// The uplink has not ended.
    open: bool,
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        (targets, findings): (Vec<Target>, Findings),
        (known, watching): (watch::Receiver<Arc<Known>>, watch::Sender<Watching>),
        kept: Kept,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let locators = Locators { known, watching, kept, open: true };
        Self { path: path.to_owned(), targets, findings, telemetry, locators, staged: None }
    }

    /// One request at a time; signals that come meanwhile are one more.
    pub(super) async fn run(mut self, mut running: Config, reloads: Sender<Reload>, hang_up: &mut Signal) {
        loop {
            tokio::select! {
                signal = hang_up.recv() => match signal {
                    Some(()) => self.hung_up(&mut running, &reloads).await,
                    // No more signals will come; the others are waited for.
                    None => std::future::pending().await,
                },
                changed = self.locators.known.changed(), if self.staged.is_none() && self.locators.open => {
                    self.locators.open = changed.is_ok();
                    self.relocate(&reloads).await;
                }
                () = in_force(&mut self.staged) => self.is_in_force(),
            }
        }
    }

    async fn hung_up(&mut self, running: &mut Config, reloads: &Sender<Reload>) {
        service::reloading();
        let status = match self.reload(running, reloads).await {
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

    async fn reload(&mut self, running: &mut Config, reloads: &Sender<Reload>) -> anyhow::Result<String> {
        let config = Config::read(&self.path)?;
        let known = Arc::clone(&self.locators.known.borrow());
        let (targets, findings) = locate(&config.targets, &known);
        let changes = self.stage(targets, findings, reloads).await?;
        let waiting = running.needing_restart(&config);
        if !waiting.is_empty() {
            warn!("changed, but only a restart puts it in force: {}", waiting.join(", "));
        }
        running.targets = config.targets;
        Ok(format!("configuration read again; in force from the next window on: {changes}"))
    }

    /// Keeps what is known, and makes it rules.
    async fn relocate(&mut self, reloads: &Sender<Reload>) {
        let known = Arc::clone(&self.locators.known.borrow_and_update());
        if let Err(error) = block_in_place(|| self.locators.kept.write(&known)) {
            error!(
                "a restart will not know the locators of revision {}: {:#}",
                known.revision(),
                anyhow::Error::from(error)
            );
        }
        let (targets, findings) = locate(&self.targets, &known);
        let same = targets.iter().zip(&self.targets).all(|(new, old)| new.located == old.located);
        if same {
            self.found(findings);
            self.is_in_force();
            return;
        }
        if let Err(error) = self.stage(targets, findings, reloads).await {
            error!("the locators of revision {} are not in force: {error:#}", known.revision());
        }
    }

    async fn stage(
        &mut self,
        targets: Vec<Target>,
        findings: Findings,
        reloads: &Sender<Reload>,
    ) -> anyhow::Result<Changes> {
        let ((answer, changes), (in_force, staged)) = (oneshot::channel(), oneshot::channel());
        let request = Reload { targets: targets.clone(), answer, in_force: Some(in_force) };
        reloads.send(request).context("the watching thread has ended")?;
        let changes = changes.await.context("the watching thread has ended")??;
        self.targets = targets;
        self.found(findings);
        self.staged = Some(staged);
        Ok(changes)
    }

    fn found(&mut self, findings: Findings) {
        findings.tell(&self.findings);
        self.findings = findings;
    }

    fn is_in_force(&mut self) {
        self.staged = None;
        self.telemetry.in_force(&self.targets, &self.findings);
        self.locators.watching.send_replace(watching(&self.targets, &self.findings));
    }
}

/// Waits until what was staged is in force, or will never be; for ever if nothing was.
async fn in_force(staged: &mut Option<oneshot::Receiver<()>>) {
    match staged {
        // It is dropped with the watching thread only, or by a change that takes its place.
        Some(waiting) => drop(waiting.await),
        None => std::future::pending().await,
    }
}
