//! Other targets and rules while the watcher runs: taken at once, in force from the next window on.

use super::Watcher;
use crate::config::Target;
use crate::metrics::Telemetry;
use crate::probe::ProbeError;
use crate::slot::Changes;
use crate::watched::StageError;
use isotherm_model::Window;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tracing::{debug, info};

/// A request to go on with other targets.
#[derive(Debug)]
pub struct Reload {
    /// All targets of the new configuration.
    pub targets: Vec<Target>,
    /// Gets what changes, once it is staged; or why nothing does.
    pub answer: oneshot::Sender<Result<Changes, StageError>>,
    /// Is told when it is in force, if somebody waits for that.
    pub in_force: Option<oneshot::Sender<()>>,
}

impl Watcher {
    /// Takes requests from a channel while it runs. One that comes while another waits for its window is
    /// taken after it.
    #[must_use]
    pub fn with_reloads(self, reloads: Receiver<Reload>) -> Self {
        Self { reloads: Some(reloads), ..self }
    }

    /// Tells what it counts and how the probe is.
    #[must_use]
    pub fn with_telemetry(self, telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, ..self }
    }

    pub(super) fn take_reload(&mut self) {
        if self.watched.is_staged() {
            return;
        }
        let Some(Reload { targets, answer, in_force }) =
            self.reloads.as_ref().and_then(|reloads| reloads.try_recv().ok())
        else {
            return;
        };
        let staged = self.watched.stage(&mut self.probe, &targets);
        self.nodes = self.watched.nodes();
        self.in_force = if staged.is_ok() { in_force } else { None };
        if answer.send(staged).is_err() {
            debug!("nobody waits for the answer to a reload");
        }
    }

    pub(super) fn before_cut(&mut self) -> Result<(), ProbeError> {
        self.watched.recount(&mut self.probe)?;
        if self.watched.is_staged() {
            self.watched.forget_leaving(&mut self.probe)?;
        }
        Ok(())
    }

    /// Tells how the programs and maps are.
    pub(super) fn tell_probe(&self) {
        let processes: u32 = self.watched.processes().iter().sum();
        let maps = self.probe.map_stats(|name| match name {
            "FILES" => Some(self.cutter.files.len() as u64),
            "BLOCKS" => Some(self.cutter.blocks.len() as u64),
            "PEERS" => Some(self.cutter.peers.len() as u64),
            "PROCESSES" => Some(processes.into()),
            _ => None,
        });
        self.telemetry.probe_read(self.probe.program_stats(), maps);
    }

    /// Takes from the window what it does not tell, clears away what removed targets have left in the kernel,
    /// and puts a staged change in force.
    pub(super) fn after_cut(&mut self, window: &mut Window) -> Result<(), ProbeError> {
        self.watched.tell(window);
        let in_kernel: HashSet<usize> =
            self.cutter.targets().into_iter().map(|target| target as usize).collect();
        self.watched.free_unused(&in_kernel);
        let retired = self.watched.retired();
        if !retired.is_empty() {
            let Self { upkeep, probe, cutter, attribution, .. } = self;
            upkeep.clear(probe, cutter, attribution, |target| retired.contains(&(target as usize)))?;
        }
        if self.watched.is_staged() {
            self.watched.commit(&mut self.probe)?;
            self.attribution.reload(&self.watched.targets(), self.watched.live());
            self.claim_devices()?;
            self.nodes = self.watched.nodes();
            info!("the new targets and rules are in force; {}", self.watched.summary());
            if let Some(waiting) = self.in_force.take() {
                // Whoever waited may have ended.
                let _ = waiting.send(());
            }
        } else if self.open_devices() != self.open {
            self.claim_devices()?;
        }
        Ok(())
    }
}
