//! Migrations: the runner ([`isotherm_runner`]) with what it has to be told of the cluster, and how it is reached.
//!
//! The runner ends when it cannot write its journal, and is begun anew after a pause with what the journal has. Where the
//! journal cannot be used at all, the analyzer goes on without migrations and says so to whoever asks for one.

mod outside;
mod specify;
mod trigger;

use crate::cycle::Cycles;
use crate::topology::{Adapter, Topologies};
use crate::writer::with_causes;
use isotherm_adapter::client::Client;
use isotherm_migration::Policy;
use isotherm_model::{PartitionId, SystemId};
use isotherm_runner::journal::{FILE, Reading};
use isotherm_runner::{Handle, Inbox, Journal, JournalError, Limits, handle};
use outside::Outside;
pub(crate) use specify::{Asked, Problem, specify};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Before a runner that has ended is begun anew.
const PAUSE: Duration = Duration::from_secs(5);

/// How long an adapter may take to answer a question that is no step.
const ANSWER: Duration = Duration::from_secs(10);

/// What an operator may set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    /// How much may move at a time.
    pub(crate) limits: Limits,
    /// Waiting times and bounds of each migration.
    pub(crate) policy: Policy,
    /// Partitions that are never moved.
    pub(crate) never_touch: Vec<NeverTouch>,
    /// While this file is there, nothing new is begun.
    pub(crate) freeze_file: Option<PathBuf>,
}

/// Partitions that are never moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NeverTouch {
    /// All of a system.
    System(SystemId),
    /// One.
    Partition(PartitionId),
}

impl NeverTouch {
    fn covers(&self, partition: &PartitionId) -> bool {
        match self {
            Self::System(system) => partition.system() == system,
            Self::Partition(one) => partition == one,
        }
    }
}

/// How the rest of the analyzer reaches migrations. Clones are the same.
#[derive(Clone)]
pub(crate) struct Migrations {
    pub(crate) handle: Handle,
    pub(crate) reading: Reading,
    pub(crate) config: Arc<Config>,
    outside: Arc<Outside>,
}

/// Begins to run migrations, until `stop`.
pub(crate) fn start(
    config: Config,
    dir: PathBuf,
    adapters: Vec<Adapter>,
    topologies: Topologies,
    servers: &mut tokio::task::JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> Migrations {
    let (handle, inbox) = handle();
    let outside = Arc::new(Outside::new(adapters, topologies.clone()));
    let reading = Reading::new(dir.join(FILE));
    let migrations = Migrations { handle, reading, config: Arc::new(config), outside };
    let (told, ending) = (migrations.handle.clone(), stop.clone());
    servers.spawn(async move {
        let mut topologies = topologies;
        let mut revision = 0;
        while let Some(Ok(())) = ending.run_until_cancelled(topologies.changed()).await {
            let newer = topologies.borrow_and_update().revision;
            if std::mem::replace(&mut revision, newer) != newer {
                told.topology_moved().await;
            }
        }
        Ok(())
    });
    let (limits, outside, stop) =
        (migrations.config.limits.clone(), Arc::clone(&migrations.outside), stop.clone());
    let runtime = tokio::runtime::Handle::current();
    let begun = std::thread::Builder::new().name("migrations".to_owned());
    let begun = begun.spawn(move || run(&dir, &limits, &outside, inbox, &runtime, &stop));
    if let Err(error) = begun {
        tracing::error!(%error, "there are no migrations: cannot start their thread");
    }
    migrations
}

fn run(
    dir: &std::path::Path,
    limits: &Limits,
    outside: &Arc<Outside>,
    mut inbox: Inbox,
    runtime: &tokio::runtime::Handle,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        let ended = Journal::open(dir).and_then(|journal| {
            isotherm_runner::run(journal, limits.clone(), outside.clone(), &mut inbox, runtime, stop)
        });
        match ended {
            Ok(()) => return,
            Err(error @ (JournalError::Foreign { .. } | JournalError::Superseded { .. })) => {
                tracing::error!(error = %with_causes(&error), "there are no migrations until that is mended");
            }
            Err(error) => {
                tracing::error!(error = %with_causes(&error), "migrations stand still; trying again");
            }
        }
        let _ = runtime.block_on(tokio::time::timeout(PAUSE, stop.cancelled()));
        inbox.turn_away();
    }
}

/// Acts on what cycles find, as far as their mode allows, until `stop`.
pub(crate) async fn act_on(
    migrations: Migrations,
    cycles: Cycles,
    topologies: Topologies,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    trigger::follow(migrations, cycles, topologies, stop).await;
    Ok(())
}

impl Migrations {
    /// Systems whose adapters can move something.
    pub(crate) fn systems(&self) -> Vec<SystemId> {
        self.outside.systems()
    }

    /// An adapter.
    pub(crate) async fn adapter(&self, system: &SystemId) -> Result<Client, String> {
        use isotherm_runner::Connect;
        let connected = tokio::time::timeout(ANSWER, self.outside.connect(system)).await;
        Ok(Client::new(connected.map_err(|_| "the adapter does not answer".to_owned())??, ANSWER))
    }

    /// Why nothing may be begun with a partition, if so.
    pub(crate) fn forbids(&self, partition: &PartitionId) -> Option<String> {
        if self.config.never_touch.iter().any(|never| never.covers(partition)) {
            return Some(format!(
                "{partition} is never touched, as migrate.never_touch of the configuration says"
            ));
        }
        let file = self.config.freeze_file.as_ref().filter(|file| file.exists())?;
        Some(format!("migrations are frozen as long as {} is there", file.display()))
    }
}
