//! Valkey 9 in cluster mode: partitions are buckets of hash slots, and the engine moves them.
//!
//! `CLUSTER MIGRATESLOTS` copies slots to another primary, follows the writes, holds them back for some tens of
//! milliseconds and hands over, all by itself: there is no moment at which somebody else could verify or decide.
//! So steps are few: begin, watch, cancel until the engine hands over, and afterwards compare with what was
//! remembered of the source. Nothing is kept here but connections and sizes; the cluster is asked each time.

mod baseline;
mod bucket;
mod check;
mod config;
mod facts;
mod jobs;
mod movement;
mod nodes;
mod reply;
mod sample;
mod shift;
mod sight;
mod verify;
mod view;

pub use bucket::UnevenBuckets;
pub use config::{Config, ConfigError, TlsConfig};

use crate::contract::{Migration, Refusal};
use crate::store::{Cluster, Findings, Shift, Store, Task};
use bucket::Buckets;
use config::Settings;
use facts::Sizes;
use isotherm_migration::{Fenced, Position, Side};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Capabilities, Fence, ShiftReads, Switch, VerifyMethod};
use movement::Way;
use nodes::Nodes;
use std::net::SocketAddr;
use std::sync::Mutex;

/// Migrations at a time. Each source sends one, for which it forks.
const MAX_CONCURRENT: u32 = 4;

/// A cluster.
pub struct Valkey {
    system: SystemId,
    buckets: Buckets,
    tls: bool,
    /// Addresses that were configured.
    seeds: Vec<SocketAddr>,
    /// Addresses to ask; the one that answered last is first.
    known: Mutex<Vec<SocketAddr>>,
    nodes: Nodes,
    sizes: tokio::sync::Mutex<Sizes>,
    /// Held from looking whether a source is idle until it is told to send.
    starts: tokio::sync::Mutex<()>,
}

impl Valkey {
    /// Reads the files that the configuration names; connects to nothing yet.
    pub fn new(system: SystemId, config: Config) -> Result<Self, ConfigError> {
        let Settings { system, nodes: seeds, buckets, login, tls } = config.settings(system)?;
        Ok(Self {
            system,
            buckets,
            tls: tls.is_some(),
            known: Mutex::new(seeds.clone()),
            seeds,
            nodes: Nodes::new(login, tls),
            sizes: tokio::sync::Mutex::default(),
            starts: tokio::sync::Mutex::default(),
        })
    }

    /// Refused unless the copy serves: an engine has no copy that could be looked at before.
    async fn switched(&self, task: &Task) -> Result<(), Refusal> {
        match self.serves(task).await? {
            Side::Target => Ok(()),
            Side::Source | Side::Neither => Err(Refusal::conflict("the target does not have the slots")),
        }
    }
}

#[tonic::async_trait]
impl Store for Valkey {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: self.system.clone(),
            adapter: concat!("isotherm-adapter valkey ", env!("CARGO_PKG_VERSION")).to_owned(),
            switch: Switch::EngineAtomic,
            fence: Some(Fence::AtSwitch),
            repair_from_replica: false,
            shift_reads: ShiftReads::LeaderSwitch,
            verify: vec![VerifyMethod::Count, VerifyMethod::Sample],
            reverse: true,
            online_copy: true,
            throttle: false,
            max_concurrent: MAX_CONCURRENT,
        }
    }

    async fn cluster(&self) -> Result<Cluster, Refusal> {
        self.facts().await
    }

    async fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        let bucket = self.bucket(partition)?;
        let view = self.view_of_holder(bucket).await?;
        self.holders_in(&view, bucket)
    }

    async fn validate(&self, migration: &Migration) -> Result<Findings, Refusal> {
        self.findings(migration).await
    }

    /// Makes nothing. What was found at the validation may be long ago, so the target is looked at once more.
    async fn prepare(&self, task: &Task) -> Result<(), Refusal> {
        if self.serves(task).await? == Side::Target {
            return Ok(());
        }
        match self.findings(&task.migration).await?.findings.as_slice() {
            [] => Ok(()),
            findings => Err(Refusal::conflict(findings.join("; "))),
        }
    }

    /// Moves the bucket. The engine has no bound of its rate, and no way to go on where an attempt broke off.
    async fn replicate(
        &self,
        task: &Task,
        _resume: Option<&str>,
        _bytes_per_s: Option<u64>,
    ) -> Result<(), Refusal> {
        self.carry(task, Way::forth(self.ends(&task.migration)?)).await
    }

    /// Nothing is left to catch up with once the engine has switched.
    async fn catch_up(
        &self,
        task: &Task,
        _position: Option<&Position>,
        _max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        self.switched(task).await.map(|()| 0)
    }

    async fn verify(&self, task: &Task) -> Result<String, Refusal> {
        self.switched(task).await?;
        self.compare(task).await
    }

    async fn fence(&self, _task: &Task) -> Result<Position, Refusal> {
        Err(Refusal::unsupported("Valkey holds writes back by itself, when it hands slots over"))
    }

    /// The engine has switched, or will by itself.
    async fn commit(&self, task: &Task) -> Result<(), Refusal> {
        self.switched(task).await
    }

    /// There is no fence that could be lifted.
    async fn unfence(&self, _task: &Task) -> Result<(), Refusal> {
        Ok(())
    }

    async fn reverse(&self, task: &Task) -> Result<(), Refusal> {
        self.carry(task, Way::back(self.ends(&task.migration)?)).await
    }

    /// The engine has removed the source's keys already; that it has is looked at.
    async fn retire(&self, task: &Task) -> Result<(), Refusal> {
        self.switched(task).await?;
        let ends = self.ends(&task.migration)?;
        let source = self.scene(ends).await?.from.address;
        // Here a source that does not answer is not taken for an empty one.
        self.left_at(source, ends).await?;
        self.settle(source, ends).await
    }

    async fn abort(&self, task: &Task) -> Result<(), Refusal> {
        self.cancel(self.ends(&task.migration)?).await
    }

    async fn serves(&self, task: &Task) -> Result<Side, Refusal> {
        Ok(self.scene(self.ends(&task.migration)?).await?.side)
    }

    async fn fenced(&self, _task: &Task) -> Result<Fenced, Refusal> {
        Ok(Fenced::No)
    }

    /// A slot migration under way, or keys at the end that does not serve them.
    async fn objects(&self, task: &Task) -> Result<Vec<String>, Refusal> {
        let ends = self.ends(&task.migration)?;
        let scene = self.scene(ends).await?;
        let idle = match scene.side {
            Side::Source => scene.to.address,
            Side::Target => scene.from.address,
            Side::Neither => return Ok(Vec::new()),
        };
        Ok(self.left_at(idle, ends).await?.into_iter().collect())
    }

    async fn shift(&self, partition: &PartitionId, shift: &Shift) -> Result<Option<NodeId>, Refusal> {
        match shift {
            Shift::Leader(node) => self.lead(partition, node).await,
            Shift::Drain(_) | Shift::Restore(_) => {
                Err(Refusal::unsupported("reads of Valkey are moved by another leader only"))
            }
        }
    }
}
