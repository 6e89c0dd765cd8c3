//! Where calls meet the store: who runs, and what is known.

use super::LOOK;
use super::topology::Topology;
use super::validate::Validations;
use crate::contract::{Migration, Refusal};
use crate::ledger::{Ledger, LedgerError, LedgerNotes, Moment, Terms};
use crate::store::{Store, Task, Tell, Told};
use isotherm_migration::{MigrationId, StepKind};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Capabilities, Switch};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Streams at a time: of topology and of progress. A few analyzers and people need a few each.
const STREAMS: usize = 256;

/// What all calls share.
pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) capabilities: Capabilities,
    pub(super) terms: Terms,
    /// By the name of the request. Locked for a moment only, and never while something is awaited.
    running: Mutex<HashMap<String, Run>>,
    pub(super) validations: Validations,
    pub(super) topology: Topology,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    pub(super) streams: Arc<Semaphore>,
}

/// A step that runs, or a shift.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) request: String,
    /// Absent for a shift.
    pub(super) migration: Option<MigrationId>,
    pub(super) kind: Option<StepKind>,
    /// It is not wanted any more.
    pub(super) stop: CancellationToken,
    /// What came of it is written down.
    pub(super) ended: CancellationToken,
    pub(super) progress: watch::Receiver<Option<Told>>,
}

/// Who holds a partition, and when that was so.
pub(super) struct Seen {
    pub(super) moment: Moment,
    pub(super) holders: Vec<NodeId>,
}

impl Seen {
    pub(super) fn look(&self) -> crate::ledger::Look<'_> {
        crate::ledger::Look { moment: self.moment, holders: &self.holders }
    }
}

impl Desk {
    pub(super) fn start(
        store: Arc<dyn Store>,
        ledger: Arc<Ledger>,
        closing: CancellationToken,
    ) -> Result<Arc<Self>, LedgerError> {
        let capabilities = store.capabilities();
        let tasks = TaskTracker::new();
        let topology = Topology::start(Arc::clone(&store), Arc::clone(&ledger), &tasks, closing.clone())?;
        Ok(Arc::new(Self {
            terms: Terms {
                max_concurrent: capabilities.max_concurrent,
                engine: capabilities.switch == Switch::EngineAtomic,
            },
            capabilities,
            store,
            ledger,
            running: Mutex::default(),
            validations: Validations::default(),
            topology,
            tasks,
            closing,
            streams: Arc::new(Semaphore::new(STREAMS)),
        }))
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<String, Run>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The step of a migration that runs: the last one, if it waits for another to stop.
    pub(super) fn run_of(&self, migration: &MigrationId) -> Option<Run> {
        let running = self.running();
        let mut own: Vec<&Run> =
            running.values().filter(|run| run.migration.as_ref() == Some(migration)).collect();
        own.sort_by_key(|run| run.stop.is_cancelled());
        own.first().map(|run| (*run).clone())
    }

    /// Notes a run, and returns it with the end that takes its progress.
    pub(super) fn begin(
        &self,
        request: &str,
        step: Option<(&MigrationId, StepKind)>,
    ) -> (Run, watch::Sender<Option<Told>>) {
        let (tell, progress) = watch::channel(None);
        let run = Run {
            request: request.to_owned(),
            migration: step.map(|(migration, _)| migration.clone()),
            kind: step.map(|(_, kind)| kind),
            stop: self.closing.child_token(),
            ended: CancellationToken::new(),
            progress,
        };
        self.running().insert(request.to_owned(), run.clone());
        (run, tell)
    }

    pub(super) fn ended(&self, run: &Run) {
        self.running().remove(&run.request);
        run.ended.cancel();
    }

    /// A task of the store for a migration.
    pub(super) fn task(
        &self,
        migration: &Migration,
        stop: CancellationToken,
        progress: Arc<dyn Tell>,
    ) -> Task {
        let notes = LedgerNotes::new(Arc::clone(&self.ledger), migration.id.clone());
        Task { migration: migration.clone(), stop, notes: Arc::new(notes), progress }
    }

    /// A task that only asks.
    pub(super) fn asking(&self, migration: &Migration) -> Task {
        self.task(migration, self.closing.child_token(), Arc::new(Silent))
    }

    /// Asks the store who holds a partition.
    pub(super) async fn look(&self, partition: &PartitionId) -> Result<Seen, Refusal> {
        let moment = self.ledger.moment();
        let holders = within(self.store.holders(partition)).await?;
        if holders.is_empty() {
            return Err(Refusal::not_now(format!("the store names no node that holds {partition}")));
        }
        Ok(Seen { moment, holders })
    }
}

/// Asks the store in a task of its own, so that a panic of it is a refusal, and nothing else ends by it.
pub(super) async fn guarded<T: Send + 'static>(
    asked: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let task = AbortOnDropHandle::new(tokio::spawn(asked));
    task.await.unwrap_or_else(|error| Err(Refusal::not_now(format!("the adapter failed: {error}"))))
}

/// Waits for a small answer of the store, but not for ever.
pub(super) async fn within<T>(asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match tokio::time::timeout(LOOK, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Refusal::not_now(format!("the store did not answer within {} s", LOOK.as_secs()))),
    }
}

/// Nobody wants to know.
struct Silent;

impl Tell for Silent {
    fn tell(&self, _: Told) {}
}
