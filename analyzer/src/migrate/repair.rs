//! Lost replicas are made again after a node has failed, by isotherm itself, as far as its mode allows.
//!
//! One task looks every second. What it sees becomes a [book](book::Book) of each system by pure functions
//! ([`track`], [`decide`], [`breaker`]), which is written to the journal before anything follows from it; the planner says
//! [where](destine) replicas go, and they are made by migrations like all others. Whatever is detected and not acted on is
//! in the diary with the reason, once for as long as nothing changes about it.

mod act;
mod book;
mod breaker;
mod decide;
mod destine;
mod keeper;
mod recent;
mod settings;
mod status;
mod told;
mod track;

use super::Migrations;
use crate::cycle::Cycles;
use crate::topology::Topologies;
use crate::topology::failure::Witnesses;
pub(crate) use book::Breaker;
use isotherm_model::SystemId;
use isotherm_runner::Refused;
use isotherm_store::Reader;
use keeper::{Keeper, Scene};
pub(crate) use settings::Settings;
pub(crate) use status::{FailureStatus, Status, SystemStatus};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Wishes that wait.
const WISHES: usize = 16;

/// What repairs need of the rest.
pub(crate) struct Parts {
    pub(crate) migrations: Migrations,
    pub(crate) topologies: Topologies,
    pub(crate) witnesses: Witnesses,
    pub(crate) cycles: Cycles,
    pub(crate) reader: Reader,
    /// The data folder.
    pub(crate) dir: PathBuf,
    /// How long a node must be down, or up again, to be believed.
    pub(crate) hold_down: Duration,
}

/// How everybody else reaches repairs. Clones are the same.
#[derive(Clone)]
pub(crate) struct Repairs {
    status: watch::Receiver<Arc<Status>>,
    wishes: mpsc::Sender<Wish>,
}

/// What an operator wants of the breaker of one system, or of all.
struct Wish {
    system: Option<SystemId>,
    what: Turn,
    by: String,
    reason: String,
    /// Only say whose breakers would be turned.
    validate_only: bool,
    reply: oneshot::Sender<Result<Vec<SystemId>, Denied>>,
}

/// Which way a breaker is turned by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing new is begun.
    Pause,
    /// Repairs may begin again.
    Resume,
}

/// Why an operator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("{0} has no [[adapter]] in the configuration, and so no repairs")]
    NoSystem(SystemId),
    #[error("no system has an [[adapter]] in the configuration, and so none has repairs")]
    NoSystems,
    #[error("the breaker of repairs is {0} already; `isotherm repair status` shows it")]
    Same(&'static str),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Repairs {
    /// What is known of failures and repairs, at the last look.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Turns the breaker of a system, or of all, by hand. Says whose.
    pub(crate) async fn turn(
        &self,
        system: Option<SystemId>,
        what: Turn,
        by: String,
        reason: String,
    ) -> Result<Vec<SystemId>, Denied> {
        self.wish(|reply| Wish { system, what, by, reason, validate_only: false, reply }).await
    }

    /// Says whose breakers would be turned, and turns none.
    pub(crate) async fn would_turn(
        &self,
        system: Option<SystemId>,
        what: Turn,
    ) -> Result<Vec<SystemId>, Denied> {
        let (by, reason) = (String::new(), String::new());
        self.wish(|reply| Wish { system, what, by, reason, validate_only: true, reply }).await
    }

    async fn wish(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<Vec<SystemId>, Denied>>) -> Wish,
    ) -> Result<Vec<SystemId>, Denied> {
        let (reply, answer) = oneshot::channel();
        let wish = wish(reply);
        self.wishes.send(wish).await.map_err(|_| Refused::Away)?;
        answer.await.map_err(|_| Refused::Away)?
    }
}

/// Begins to look after failures, until `stop`.
pub(crate) fn start(
    parts: Parts,
    servers: &mut tokio::task::JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> Repairs {
    let settings = parts.migrations.config.repair.clone();
    let (publish, status) = watch::channel(Arc::new(Status::of(&settings)));
    let (wishes, queue) = mpsc::channel(WISHES);
    let stop = stop.clone();
    servers.spawn(async move {
        if let Some(Some(keeper)) = stop.run_until_cancelled(Keeper::open(parts, settings)).await {
            keeper.run(queue, publish, stop).await;
        }
        Ok(())
    });
    Repairs { status, wishes }
}
