//! Migrations: the runner ([`isotherm_runner`]) with what it has to be told of the cluster, and how it is reached.
//!
//! The runner ends when it cannot write its journal, and is begun anew after a pause with what the journal has. Where the
//! journal cannot be used at all, the analyzer goes on without migrations and says so to whoever asks for one.

mod arrivals;
mod movers;
mod outside;
pub(crate) mod reads;
pub(crate) mod repair;
mod score;
mod specify;
mod trigger;
pub(crate) mod trust;

use crate::cycle::Cycles;
use crate::topology::{Adapter, Topologies};
use crate::writer::with_causes;
use isotherm_adapter::client::Client;
use isotherm_migration::Policy;
use isotherm_model::{PartitionId, SystemId};
use isotherm_runner::journal::{FILE, Reading};
use isotherm_runner::{Handle, Inbox, Journal, JournalError, Limits, handle};
use isotherm_store::Reader;
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
    /// Shifts of reads.
    pub(crate) reads: reads::Policy,
    /// Partitions that are never moved.
    pub(crate) never_touch: Vec<Named>,
    /// Partitions of which neither verdicts nor plans are carried out, so that they can be compared with the others.
    pub(crate) hold_out: Vec<Named>,
    /// While this file is there, nothing new is begun.
    pub(crate) freeze_file: Option<PathBuf>,
    /// When lost replicas are made again.
    pub(crate) repair: repair::Settings,
    /// How far isotherm is trusted, and what it is judged by.
    pub(crate) trust: trust::Settings,
}

/// Partitions that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// All of a system.
    System(SystemId),
    /// One.
    Partition(PartitionId),
}

impl Named {
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
    let outside = Arc::new(Outside::new(adapters, topologies.clone(), config.freeze_file.clone()));
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
    // Whoever reads it finds its tables.
    let journal = Journal::open(&dir);
    let begun = std::thread::Builder::new().name("migrations".to_owned());
    let begun = begun.spawn(move || run(journal, &dir, &limits, &outside, inbox, &runtime, &stop));
    if let Err(error) = begun {
        tracing::error!(%error, "there are no migrations: cannot start their thread");
    }
    migrations
}

fn run(
    mut journal: Result<Journal, JournalError>,
    dir: &std::path::Path,
    limits: &Limits,
    outside: &Arc<Outside>,
    mut inbox: Inbox,
    runtime: &tokio::runtime::Handle,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        let ended = journal.and_then(|journal| {
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
        journal = Journal::open(dir);
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

/// Shifts reads as cycles find, as far as their mode allows, and undoes that again, until `stop`.
pub(crate) async fn shift_reads(
    migrations: Migrations,
    cycles: Cycles,
    topologies: Topologies,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    reads::follow(migrations, cycles, topologies, stop).await;
    Ok(())
}

/// Keeps scores, and looks for others who move partitions, until `stop`.
pub(crate) async fn judge(
    migrations: Migrations,
    cycles: Cycles,
    topologies: Topologies,
    reader: Reader,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let keeper =
        score::Keeper { migrations: migrations.clone(), cycles, topologies: topologies.clone(), reader };
    tokio::join!(score::follow(keeper, stop.clone()), movers::watch(migrations, topologies, stop));
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

    /// Why nobody may ever touch a partition, if so.
    pub(crate) fn untouchable(&self, partition: &PartitionId) -> Option<String> {
        self.config.never_touch.iter().any(|never| never.covers(partition)).then(|| {
            format!("{partition} is never touched, as migrate.never_touch of the configuration says")
        })
    }

    /// Why verdicts and plans leave a partition where it is, if so. What failures took away is made again all the same,
    /// and people may move it.
    fn held_out(&self, partition: &PartitionId) -> Option<String> {
        let held_out = self.config.hold_out.iter().any(|held_out| held_out.covers(partition));
        held_out.then(|| format!("{partition} is held out, as migrate.hold_out of the configuration says"))
    }

    /// Why a plan leaves a partition where it is, if so.
    pub(crate) fn stays(&self, partition: &PartitionId) -> Option<String> {
        self.untouchable(partition).or_else(|| self.held_out(partition))
    }

    /// Why isotherm begins nothing of a partition because of a verdict, if so.
    pub(crate) fn withholds(&self, partition: &PartitionId) -> Option<String> {
        self.held_out(partition).or_else(|| self.forbids(partition))
    }

    /// Why nothing may be begun with a partition, if so.
    pub(crate) fn forbids(&self, partition: &PartitionId) -> Option<String> {
        self.untouchable(partition).or_else(|| self.frozen_outside())
    }

    /// Why nothing new is begun at this moment, whatever it is of: somebody's freeze, or the freeze file.
    pub(crate) fn frozen(&self) -> Option<String> {
        let told = self.handle.board().borrow().frozen.as_ref().map(|freeze| {
            let why = if freeze.reason.is_empty() { "no reason was given" } else { &freeze.reason };
            format!("migrations are frozen by {}: {why}", freeze.by)
        });
        told.or_else(|| self.frozen_outside())
    }

    /// The same, of the freeze file alone.
    pub(crate) fn frozen_outside(&self) -> Option<String> {
        use isotherm_runner::Connect;
        self.outside.frozen()
    }
}
