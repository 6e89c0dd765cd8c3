//! A cluster that is made up: nodes with partitions of real bytes, clients that write, and faults by a seed.
//!
//! It is there for demonstrations, for tests, and for those who write an adapter and want to see one. It plays each of
//! the kinds of system there are: the caller switches, with writes stopped for the switch only or for all of the copy,
//! or the engine copies and switches by itself.
//!
//! The cluster lies in SQLite: in memory, or in a file, so that it outlives an adapter that is killed.

mod clients;
mod copying;
mod flaw;
mod table;
mod world;

pub use flaw::{Flaw, Flawed};
pub use table::{Kind, Simulated};

use crate::contract::{Migration, Refusal};
use crate::store::{Cluster, Findings, Shift, Store, Task};
use isotherm_migration::{Copies, Fenced, Origin, Position, Reason, Side};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Capabilities, Fence, ShiftReads, Switch, VerifyMethod};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use world::World;

/// When a throttled caller should come again.
const THROTTLED_MS: u64 = 20;

/// The store.
pub struct SimulatedStore {
    table: Simulated,
    capabilities: Capabilities,
    world: Arc<World>,
    chance: Mutex<fastrand::Rng>,
}

impl SimulatedStore {
    fn new(table: Simulated, system: isotherm_model::SystemId, world: Arc<World>) -> Self {
        let gated = table.kind != Kind::EngineAtomic;
        let capabilities = Capabilities {
            system,
            adapter: format!("isotherm-adapter simulated {}", env!("CARGO_PKG_VERSION")),
            switch: if gated { Switch::Gated } else { Switch::EngineAtomic },
            fence: Some(match table.kind {
                Kind::BeforeCopy => Fence::BeforeCopy,
                Kind::AtSwitch | Kind::EngineAtomic => Fence::AtSwitch,
            }),
            repair_from_replica: true,
            shift_reads: table.shift_reads,
            verify: vec![VerifyMethod::Count, VerifyMethod::Checksum],
            reverse: true,
            online_copy: table.kind != Kind::BeforeCopy,
            throttle: true,
            max_concurrent: table.max_concurrent,
        };
        let chance = Mutex::new(fastrand::Rng::with_seed(table.seed));
        Self { table, capabilities, world, chance }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.table.flaw == Some(flaw)
    }

    /// Takes a moment, or is refused by chance.
    async fn begin(&self) -> Result<(), Refusal> {
        let (refused, throttled) = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            (chance.u8(0..100) < self.table.refuse_percent, chance.bool())
        };
        tokio::time::sleep(self.table.latency).await;
        match (refused, throttled) {
            (false, _) => Ok(()),
            (true, false) => Err(Refusal::not_now("a fault, by chance")),
            (true, true) => {
                let reason = Reason::Throttled { retry_after_ms: Some(THROTTLED_MS) };
                Err(Refusal::new(reason, "a fault, by chance: too much to do"))
            }
        }
    }

    fn alive(&self, nodes: &[&NodeId]) -> Result<(), Refusal> {
        for node in nodes {
            if !self.world.is_up(node.name())? {
                return Err(Refusal::not_now(format!("{node} is down")));
            }
        }
        Ok(())
    }

    fn engine_only(&self, what: &str) -> Result<(), Refusal> {
        match self.table.kind {
            Kind::EngineAtomic => Err(Refusal::unsupported(format!("the engine does it by itself: {what}"))),
            Kind::AtSwitch | Kind::BeforeCopy => Ok(()),
        }
    }
}

/// Waits, unless the step is not wanted any more.
async fn pause(task: &Task, time: Duration) -> Result<(), Refusal> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = task.stop.cancelled() => Err(Refusal::conflict("stopped")),
    }
}

#[tonic::async_trait]
impl Store for SimulatedStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn cluster(&self) -> Result<Cluster, Refusal> {
        let mut cluster = self.world.cluster(&self.capabilities.system)?;
        for facts in cluster.nodes.values_mut() {
            facts.load_capacity_ops_per_s = self.table.load_capacity.map(u64::from);
        }
        Ok(cluster)
    }

    async fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        self.world.holders(partition)
    }

    async fn validate(&self, migration: &Migration) -> Result<Findings, Refusal> {
        tokio::time::sleep(self.table.latency).await;
        let mut findings = Vec::new();
        let holders = self.world.holders(&migration.partition)?;
        let (from, to) = (migration.origin.node(), &migration.target);
        if !holders.contains(from) {
            findings.push(format!("{from} does not hold {}; name a node that does", migration.partition));
        }
        if holders.contains(to) {
            findings.push(format!("{to} holds {} already; name another target", migration.partition));
        }
        match self.world.is_up(to.name()) {
            Ok(true) => {}
            Ok(false) => findings.push(format!("{to} is down; bring it up, or name another target")),
            Err(refusal) => findings.push(refusal.message),
        }
        let giver = self.world.giver(migration)?;
        let copies = if giver.is_some() { Copies::Live } else { Copies::Lost };
        Ok(Findings { findings, copies })
    }

    async fn prepare(&self, task: &Task) -> Result<(), Refusal> {
        self.begin().await?;
        self.alive(&[&task.migration.target])?;
        task.notes.set("copy", task.migration.target.name())?;
        self.world.prepare(&task.migration)
    }

    async fn replicate(&self, task: &Task, _: Option<&str>, bytes_per_s: Option<u64>) -> Result<(), Refusal> {
        self.begin().await?;
        self.alive(&[&task.migration.target])?;
        self.copy(task, bytes_per_s).await?;
        match self.table.kind {
            Kind::EngineAtomic if matches!(task.migration.origin, Origin::Move { .. }) => {
                self.hand_over(task).await
            }
            Kind::EngineAtomic | Kind::AtSwitch | Kind::BeforeCopy => Ok(()),
        }
    }

    async fn catch_up(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        self.begin().await?;
        self.follow(task, position, max_lag_bytes).await
    }

    async fn verify(&self, task: &Task) -> Result<String, Refusal> {
        self.begin().await?;
        pause(task, self.table.latency).await?;
        self.world.verify(&task.migration)
    }

    async fn fence(&self, task: &Task) -> Result<Position, Refusal> {
        self.engine_only("fencing")?;
        self.begin().await?;
        self.world.fence(&task.migration).map(|write| Position(write.to_string()))
    }

    async fn commit(&self, task: &Task) -> Result<(), Refusal> {
        self.begin().await?;
        self.alive(&[&task.migration.target])?;
        self.world.switch(&task.migration)
    }

    async fn unfence(&self, task: &Task) -> Result<(), Refusal> {
        self.engine_only("unfencing")?;
        self.begin().await?;
        self.world.unfence(&task.migration)
    }

    async fn reverse(&self, task: &Task) -> Result<(), Refusal> {
        self.begin().await?;
        self.alive(&[task.migration.origin.node()])?;
        self.world.reverse(&task.migration)
    }

    async fn retire(&self, task: &Task) -> Result<(), Refusal> {
        self.begin().await?;
        if self.is(Flaw::RetireLeavesSource) {
            return Ok(());
        }
        self.world.retire(&task.migration)
    }

    async fn abort(&self, task: &Task) -> Result<(), Refusal> {
        self.begin().await?;
        if self.is(Flaw::AbortLeavesCopy) {
            return Ok(());
        }
        self.world.abort(&task.migration)
    }

    async fn serves(&self, task: &Task) -> Result<Side, Refusal> {
        self.world.serves(&task.migration)
    }

    async fn fenced(&self, task: &Task) -> Result<Fenced, Refusal> {
        self.world.fenced(&task.migration)
    }

    async fn objects(&self, task: &Task) -> Result<Vec<String>, Refusal> {
        self.world.objects(&task.migration)
    }

    async fn shift(&self, partition: &PartitionId, shift: &Shift) -> Result<Option<NodeId>, Refusal> {
        self.begin().await?;
        match (self.table.shift_reads, shift) {
            (ShiftReads::LeaderSwitch, Shift::Leader(node)) => self.world.lead(partition, node),
            (ShiftReads::DrainReplica, Shift::Drain(node)) => self.world.drain(partition, node, true),
            (ShiftReads::DrainReplica, Shift::Restore(node)) => self.world.drain(partition, node, false),
            (ShiftReads::None | ShiftReads::LeaderSwitch | ShiftReads::DrainReplica, _) => {
                Err(Refusal::unsupported("reads cannot be moved in this way"))
            }
        }
    }
}
