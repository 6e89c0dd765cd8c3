//! Plans of the real cluster: made from what is known, kept, approved and carried out as migrations.
//!
//! A plan is [made](make) from a [snapshot] of a system, [kept] in the journal of migrations, looked at again when it is
//! to begin ([`stale`](stale::stale)), and [carried out](execute) by a task that follows its [progress]. Nodes that are
//! cordoned take nothing more, in plans and by verdicts of the cycle.

pub(crate) mod execute;
pub(crate) mod kept;
pub(crate) mod make;
mod outlook;
pub(crate) mod progress;
pub(crate) mod snapshot;
pub(crate) mod stale;

use crate::cycle::{Cycled, Cycles};
use crate::migrate::Migrations;
use crate::topology::{Topologies, Topology};
use crate::writer::now;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_runner::journal::{Cordon, FILE, Listed, Reading};
use isotherm_runner::{Entry, JournalError, Line, Refused};
use kept::{Asked, Plan};
use make::{Known, MakeError};
use stale::Begun;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

/// Migrations that are looked through for what moved lately.
const LOOKED_AT: u32 = 10_000;

/// Nodes that take nothing more, as of the last look.
pub(crate) type Cordoned = watch::Receiver<Arc<BTreeSet<NodeId>>>;

/// How the rest of the analyzer reaches plans. Clones are the same.
#[derive(Clone)]
pub(crate) struct Plans {
    pub(crate) migrations: Migrations,
    pub(crate) topologies: Topologies,
    cycles: Cycles,
    cordoned: watch::Sender<Arc<BTreeSet<NodeId>>>,
    /// What moves wait for, by the ids of their migrations.
    waits: watch::Sender<BTreeMap<String, String>>,
    wake: Arc<Notify>,
    /// Held from reading cordons until they are told: what is older never comes last.
    refreshing: Arc<Mutex<()>>,
}

/// What the journal says at one moment, for a plan to be made or looked at.
pub(crate) struct Moment {
    topology: Arc<Topology>,
    cycled: Option<Arc<Cycled>>,
    cordoned: BTreeSet<NodeId>,
    migrations: Vec<Entry>,
}

/// Begins to carry out plans, until `stop`.
pub(crate) fn start(
    migrations: Migrations,
    topologies: Topologies,
    cycles: Cycles,
    servers: &mut tokio::task::JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> Plans {
    let plans = Plans {
        migrations,
        topologies,
        cycles,
        cordoned: watch::Sender::default(),
        waits: watch::Sender::default(),
        wake: Arc::default(),
        refreshing: Arc::default(),
    };
    servers.spawn(execute::run(plans.clone(), stop.clone()));
    plans
}

impl Plans {
    /// Nodes that take nothing more.
    pub(crate) fn cordoned(&self) -> Cordoned {
        self.cordoned.subscribe()
    }

    /// What moves wait for, by the ids of their migrations.
    pub(crate) fn waits(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.waits.subscribe()
    }

    /// Looks at all plans again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Reads the journal on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reading) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let reading = self.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || question(&reading)).await;
        read.unwrap_or_else(|_| {
            let (path, what) = (FILE.into(), "the analyzer is shutting down".to_owned());
            Err(JournalError::Foreign { path, what })
        })
    }

    /// Writes a plan in the place of that version, 0 for a new one.
    pub(crate) async fn put(&self, plan: &Plan, version: u64, lines: Vec<Line>) -> Result<(), Refused> {
        let row = plan.row(version);
        let kept = self.migrations.handle.keep(move |journal| journal.put_plan(&row, &lines)).await;
        self.wake();
        kept
    }

    /// What is known now.
    pub(crate) async fn moment(&self) -> Result<Moment, JournalError> {
        let (cordons, migrations) = self
            .read(|reading| {
                Ok((reading.cordons()?, reading.migrations(&Listed { ended: true, limit: LOOKED_AT })?))
            })
            .await?;
        let (topology, cycled) = (self.topologies.borrow().clone(), self.cycles.borrow().clone());
        Ok(Moment { topology, cycled, cordoned: nodes(&cordons), migrations })
    }

    /// Makes a plan and keeps nothing.
    pub(crate) fn make(&self, moment: &Moment, system: &SystemId, asked: &Asked) -> Result<Plan, MakeError> {
        self.with(moment, |known| make::make(known, system, asked))
    }

    /// Why moves that are left of a plan cannot be made any more, if so.
    pub(crate) fn stale(
        &self,
        moment: &Moment,
        plan: &Plan,
        left: &[usize],
        begun: Begun,
    ) -> Result<Option<String>, MakeError> {
        self.with(moment, |known| stale::stale(known, plan, left, begun))
    }

    fn with<T>(&self, moment: &Moment, work: impl FnOnce(&Known<'_>) -> T) -> T {
        let untouchable = |partition: &PartitionId| self.migrations.stays(partition);
        let per_node = self.migrations.config.limits.per_node;
        work(&Known {
            topology: &moment.topology,
            cycled: moment.cycled.as_deref(),
            cordoned: &moment.cordoned,
            migrations: &moment.migrations,
            untouchable: &untouchable,
            node_copies: u16::try_from(per_node).unwrap_or(u16::MAX),
            now_ms: now().as_ms(),
        })
    }

    fn is_cordoned(&self, node: &NodeId) -> bool {
        self.cordoned.borrow().contains(node)
    }

    /// Tells what the journal has of cordons now.
    pub(crate) async fn refresh_cordons(&self) -> Result<(), JournalError> {
        let _one = self.refreshing.lock().await;
        let known = Arc::new(nodes(&self.read(Reading::cordons).await?));
        self.cordoned.send_if_modified(|before| {
            let news = *before != known;
            *before = known;
            news
        });
        Ok(())
    }
}

/// The nodes of cordons. What was written has names that can be.
fn nodes(cordons: &[Cordon]) -> BTreeSet<NodeId> {
    let node = |cordon: &Cordon| {
        let system = SystemId::new(cordon.system.clone()).ok()?;
        NodeId::new(system, cordon.node.clone()).ok()
    };
    cordons.iter().filter_map(node).collect()
}
