//! PostgreSQL 15 or later: table partitions on servers of their own, which a router has as foreign tables.
//!
//! A partition is copied by logical replication, and switched by a transaction on the router that puts one foreign
//! table in the place of another. Writes are stopped by a trigger on the source, and clients of the router wait behind
//! a lock meanwhile. After the switch the source follows the target until it is retired, so that the switch can be
//! taken back.
//!
//! Everything that is made is named after the migration: the store tells how far a step is.

mod check;
mod clean;
mod compare;
mod fence;
mod follow;
mod link;
mod moving;
mod names;
mod place;
mod schema;
mod stream;
mod switch;
mod table;

pub use table::Servers;

use crate::contract::{Migration, Refusal};
use crate::store::{Cluster, Findings, Shift, Store, Task};
use fence::Held;
use isotherm_migration::{Fenced, MigrationId, Position, Side};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Capabilities, Fence, ShiftReads, Switch, VerifyMethod};
use link::Login;
use std::collections::BTreeMap;
use tokio::sync::Mutex;

/// Migrations at a time: each takes slots and log of two servers.
const MAX_CONCURRENT: u32 = 2;

/// The note of what slots of the first copy are called on the source.
const COPIES: &str = "copies";

/// Servers behind a router.
pub struct Postgres {
    system: SystemId,
    servers: Servers,
    login: Login,
    /// The configured nodes, in their order.
    nodes: Vec<NodeId>,
    /// Locks of the router, from the fence to the switch.
    held: Mutex<BTreeMap<MigrationId, Held>>,
}

impl Postgres {
    fn new(system: SystemId, servers: Servers, login: Login, nodes: Vec<NodeId>) -> Self {
        Self { system, servers, login, nodes, held: Mutex::default() }
    }
}

#[tonic::async_trait]
impl Store for Postgres {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: self.system.clone(),
            adapter: concat!("isotherm-adapter postgres ", env!("CARGO_PKG_VERSION")).to_owned(),
            switch: Switch::Gated,
            fence: Some(Fence::AtSwitch),
            repair_from_replica: false,
            shift_reads: ShiftReads::None,
            verify: vec![VerifyMethod::Count, VerifyMethod::Checksum],
            reverse: true,
            online_copy: true,
            throttle: false,
            max_concurrent: MAX_CONCURRENT,
        }
    }

    async fn cluster(&self) -> Result<Cluster, Refusal> {
        self.look().await
    }

    async fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        let router = self.router().await?;
        let place = self.place(&router, partition).await?;
        Ok(vec![self.holder(&place)?])
    }

    async fn validate(&self, migration: &Migration) -> Result<Findings, Refusal> {
        self.findings(migration).await
    }

    async fn prepare(&self, task: &Task) -> Result<(), Refusal> {
        self.make_target(task).await
    }

    /// Replication has no bound of its rate, and resumes by itself.
    async fn replicate(&self, task: &Task, _: Option<&str>, _: Option<u64>) -> Result<(), Refusal> {
        self.follow(task).await
    }

    async fn catch_up(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        self.wait(task, position, max_lag_bytes).await
    }

    async fn verify(&self, task: &Task) -> Result<String, Refusal> {
        self.compared(task).await
    }

    async fn fence(&self, task: &Task) -> Result<Position, Refusal> {
        self.stop_writes(task).await
    }

    async fn commit(&self, task: &Task) -> Result<(), Refusal> {
        self.switch(task).await
    }

    async fn unfence(&self, task: &Task) -> Result<(), Refusal> {
        self.allow_writes(task).await
    }

    async fn reverse(&self, task: &Task) -> Result<(), Refusal> {
        self.switch_back(task).await
    }

    async fn retire(&self, task: &Task) -> Result<(), Refusal> {
        self.finish(task).await
    }

    async fn abort(&self, task: &Task) -> Result<(), Refusal> {
        self.restore(task).await
    }

    async fn serves(&self, task: &Task) -> Result<Side, Refusal> {
        Ok(self.moving(&task.migration).await?.side())
    }

    /// The trigger stays on the source after the switch, where there are no writes that it could stop: it keeps those
    /// away that do not come by the router.
    async fn fenced(&self, task: &Task) -> Result<Fenced, Refusal> {
        let moving = self.moving(&task.migration).await?;
        if moving.side() == Side::Target {
            return Ok(Fenced::No);
        }
        let source = self.node(moving.source).await?;
        let up = fence::is_up(&source, moving.data(), &moving.names).await?;
        Ok(if up { Fenced::Yes } else { Fenced::No })
    }

    async fn objects(&self, task: &Task) -> Result<Vec<String>, Refusal> {
        self.left(task).await
    }

    async fn shift(&self, _: &PartitionId, _: &Shift) -> Result<Option<NodeId>, Refusal> {
        Err(Refusal::unsupported("a partition has one copy, and its reads cannot go elsewhere"))
    }
}
