//! What an adapter has to know of a storage system.
//!
//! The server around it keeps terms, epochs, requests and notes durably, makes each request happen once, runs steps
//! beside their callers, and calls a step again if it was under way when the adapter died. So a step
//! - may be called twice, also after it has ended, and then does nothing more;
//! - looks at the store, not at its memory, to see how far it is; what the store cannot tell is in [`Task::notes`];
//! - ends soon after [`Task::stop`] is cancelled, with whatever it likes: nobody reads it;
//! - has no effect if it returns a [`Refusal`], or one that [`Store::abort`] takes away.

use crate::contract::{Migration, Refusal};
use isotherm_migration::{Copies, Fenced, Position, Progress, Side};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Capabilities, NodeFacts, PartitionFacts};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A step that is being done.
#[derive(Clone)]
pub struct Task {
    /// For which migration.
    pub migration: Migration,
    /// Cancelled when the step is not wanted any more.
    pub stop: CancellationToken,
    /// What is to be known again after a restart.
    pub notes: Arc<dyn Notes>,
    /// Where progress is told.
    pub progress: Arc<dyn Tell>,
}

/// Durable notes of one migration, gone when it has ended.
pub trait Notes: Send + Sync {
    /// What was noted under this name.
    fn get(&self, name: &str) -> Result<Option<String>, Refusal>;

    /// Notes, durably before it returns. Whatever is made in the store is noted before it is made.
    fn set(&self, name: &str, value: &str) -> Result<(), Refusal>;
}

/// Takes progress.
pub trait Tell: Send + Sync {
    /// How far the step is.
    fn tell(&self, progress: Told);
}

/// Progress, with what only people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As the machine takes it.
    pub progress: Progress,
    /// What is counted: "bytes", "rows", "keys".
    pub unit: &'static str,
    /// Whether the total is an estimate.
    pub estimated: bool,
    /// Where source and target are.
    pub position: Option<Position>,
}

/// The cluster as the store tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: BTreeMap<NodeId, NodeFacts>,
    /// Its partitions. Epochs are the server's to fill in.
    pub partitions: BTreeMap<PartitionId, PartitionFacts>,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// What stands in the way, a sentence each with the way out.
    pub findings: Vec<String>,
    /// Whether there is a copy to copy from.
    pub copies: Copies,
}

/// How reads are moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shift {
    /// This node becomes the leader.
    Leader(NodeId),
    /// This node gets no reads.
    Drain(NodeId),
    /// It gets them again.
    Restore(NodeId),
}

/// A storage system.
#[tonic::async_trait]
pub trait Store: Send + Sync + 'static {
    /// What it is and can do. The same for as long as the adapter runs.
    fn capabilities(&self) -> Capabilities;

    /// Looks at the cluster. Refused while it cannot be seen as a whole: something old is worse than nothing.
    async fn cluster(&self) -> Result<Cluster, Refusal>;

    /// The nodes that hold the partition now, the leader first, by the shortest way: it is asked before each step.
    async fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal>;

    /// Looks whether the migration can be done, switched and taken back. No effects.
    async fn validate(&self, migration: &Migration) -> Result<Findings, Refusal>;

    /// Makes on the target what the copy needs.
    async fn prepare(&self, task: &Task) -> Result<(), Refusal>;

    /// Copies, and makes the copy follow the writes; returns when the copy is whole. An engine also switches.
    async fn replicate(
        &self,
        task: &Task,
        resume: Option<&str>,
        bytes_per_s: Option<u64>,
    ) -> Result<(), Refusal>;

    /// Waits until the target lags by `max_lag_bytes` at most, or has reached `position`. Returns the lag in bytes.
    async fn catch_up(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal>;

    /// Compares copy and source. Returns what was compared, for people; refuses with a mismatch if they differ.
    async fn verify(&self, task: &Task) -> Result<String, Refusal>;

    /// Stops writes to the source, by whatever way they come. Returns where the last one is.
    async fn fence(&self, task: &Task) -> Result<Position, Refusal>;

    /// Lets the target serve, atomically: killed in the middle, one of the two serves.
    async fn commit(&self, task: &Task) -> Result<(), Refusal>;

    /// Lets the source take writes again.
    async fn unfence(&self, task: &Task) -> Result<(), Refusal>;

    /// Lets the source serve again, with what the target acknowledged since.
    async fn reverse(&self, task: &Task) -> Result<(), Refusal>;

    /// Removes the source's copy, and all that was made for the migration.
    async fn retire(&self, task: &Task) -> Result<(), Refusal>;

    /// Restores the start. Whatever ran has been stopped.
    async fn abort(&self, task: &Task) -> Result<(), Refusal>;

    /// Which copy serves, as the store itself tells.
    async fn serves(&self, task: &Task) -> Result<Side, Refusal>;

    /// Whether writes to the source are stopped, as the store itself tells.
    async fn fenced(&self, task: &Task) -> Result<Fenced, Refusal>;

    /// What there is in the store because of the migration, in the store's own names.
    async fn objects(&self, task: &Task) -> Result<Vec<String>, Refusal>;

    /// Moves reads. Returns what would undo it: the former leader, the drained node; `None` where nothing changed.
    async fn shift(&self, partition: &PartitionId, shift: &Shift) -> Result<Option<NodeId>, Refusal>;
}
