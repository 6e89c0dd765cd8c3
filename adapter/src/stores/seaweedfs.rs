//! SeaweedFS: partitions are volumes, nodes are volume servers by the address they serve at.
//!
//! A volume is moved as SeaweedFS's own shell does it, by calls of the volume servers, but in steps that can each be
//! repeated, looked at and taken back: marked read-only on all replicas, copied from server to server, compared,
//! unmounted at the source, made writable at the target, and only later removed at the source. docs/adapters-stores.md
//! has what is guaranteed and what is not.

mod address;
mod config;
mod copy;
mod facts;
mod fence;
mod index;
mod job;
mod master;
mod memory;
mod placement;
mod reads;
mod rpc;
mod server;
mod switch;
mod validate;
mod verify;
mod wire;

pub use address::{Address, InvalidAddress};
pub use config::Config;

use crate::contract::{Migration, Refusal};
use crate::store::{Cluster, Findings, Shift, Store, Task};
use isotherm_migration::{Fenced, Position, Side};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Capabilities, Fence, ShiftReads, Switch, VerifyMethod};
use job::Job;
use master::{Listing, Masters};
use memory::Memory;
use server::{Server, Volume};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cluster of SeaweedFS.
#[derive(Debug)]
pub struct SeaweedFs {
    system: SystemId,
    config: Config,
    masters: Masters,
    memory: Mutex<Memory>,
}

impl SeaweedFs {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(system: SystemId, config: Config) -> Self {
        let masters = Masters::new(config.master.clone());
        Self { system, config, masters, memory: Mutex::default() }
    }

    /// The cluster as the master lists it; only these volumes, unless there are none.
    async fn list(&self, only: &[Volume]) -> Result<Listing, Refusal> {
        self.masters.list(only).await
    }

    /// A volume server by its name.
    fn server(&self, name: &str) -> Result<Server, Refusal> {
        let seen = self.memory().servers.get(name).map(|seen| seen.listed.address.clone());
        let address = match seen {
            Some(address) => address,
            None => Address::try_from(name.to_owned())
                .map_err(|error| Refusal::unsupported(format!("{name} is no volume server: {error}")))?,
        };
        Server::new(address)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing panics half-way through a change of it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_drained(&self, volume: Volume, server: &str, drained: bool) {
        self.memory().set_drained(volume, server, drained);
    }

    fn stand_down(&self, volume: Volume, server: &str, down: bool) {
        self.memory().set_stood_down(volume, server, down);
    }

    fn sample(&self) -> usize {
        usize::try_from(self.config.sample).unwrap_or(usize::MAX)
    }
}

/// The volume that a partition is.
fn volume(partition: &PartitionId) -> Result<Volume, Refusal> {
    let number = partition.name().parse().map(Volume);
    number.map_err(|_| Refusal::unsupported(format!("{partition} is no volume: those have numbers")))
}

#[tonic::async_trait]
impl Store for SeaweedFs {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: self.system.clone(),
            adapter: concat!("isotherm-adapter seaweedfs ", env!("CARGO_PKG_VERSION")).to_owned(),
            switch: Switch::Gated,
            fence: Some(Fence::BeforeCopy),
            repair_from_replica: true,
            shift_reads: ShiftReads::DrainReplica,
            verify: vec![VerifyMethod::Count, VerifyMethod::Sample, VerifyMethod::Size],
            reverse: true,
            // Reads go on; writes to the volume do not.
            online_copy: false,
            throttle: true,
            max_concurrent: self.config.max_concurrent,
        }
    }

    async fn cluster(&self) -> Result<Cluster, Refusal> {
        self.look().await
    }

    async fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        self.who_holds(partition).await
    }

    async fn validate(&self, migration: &Migration) -> Result<Findings, Refusal> {
        self.find(migration).await
    }

    async fn prepare(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.prepare().await
    }

    async fn replicate(&self, task: &Task, _: Option<&str>, bytes_per_s: Option<u64>) -> Result<(), Refusal> {
        Job::new(self, task)?.replicate(bytes_per_s).await
    }

    async fn catch_up(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        Job::new(self, task)?.catch_up(position, max_lag_bytes).await
    }

    async fn verify(&self, task: &Task) -> Result<String, Refusal> {
        Job::new(self, task)?.verify().await
    }

    async fn fence(&self, task: &Task) -> Result<Position, Refusal> {
        Job::new(self, task)?.fence().await
    }

    async fn commit(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.commit().await
    }

    async fn unfence(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.unfence().await
    }

    async fn reverse(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.reverse().await
    }

    async fn retire(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.retire().await
    }

    async fn abort(&self, task: &Task) -> Result<(), Refusal> {
        Job::new(self, task)?.abort().await
    }

    async fn serves(&self, task: &Task) -> Result<Side, Refusal> {
        Job::new(self, task)?.serves().await
    }

    async fn fenced(&self, task: &Task) -> Result<Fenced, Refusal> {
        Job::new(self, task)?.fenced().await
    }

    async fn objects(&self, task: &Task) -> Result<Vec<String>, Refusal> {
        Job::new(self, task)?.objects().await
    }

    async fn shift(&self, partition: &PartitionId, shift: &Shift) -> Result<Option<NodeId>, Refusal> {
        let volume = volume(partition)?;
        match shift {
            Shift::Leader(_) => Err(Refusal::unsupported("replicas of SeaweedFS have no leader: drain one")),
            Shift::Drain(node) => self.drain(volume, node.name()).await.map(|()| Some(node.clone())),
            Shift::Restore(node) => Ok(self.restore(volume, node.name()).await?.then(|| node.clone())),
        }
    }
}
