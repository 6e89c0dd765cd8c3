//! An adapter that is called with patience, and answers as the machine takes them.
//!
//! What is not certain is unknown: a deadline, a connection that broke, an answer that cannot be read. A refusal is one
//! only if the adapter says so by its reason.

use super::{Reply, State, ask, perform};
use crate::contract::{Malformed, Migration, progress_from_wire};
use futures::{Stream, StreamExt};
use isotherm_migration::{Outcome, Progress, Question, Request, Term, Told};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::MAX_MESSAGE_BYTES;
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// An adapter. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    calls: MigrationAdapterClient<Channel>,
    timeout: Duration,
}

/// An answer, and beside it what only people read: the words of a refusal, or why nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// For the machine.
    pub answer: T,
    /// For people; absent where all is well.
    pub words: Option<String>,
}

/// Reads that are to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifting {
    /// The name of the request.
    pub request_id: String,
    /// The partition.
    pub partition: PartitionId,
    /// Under which it must be served.
    pub expected_epoch: u64,
    /// Which would serve afterwards.
    pub new_epoch: u64,
    /// What is wanted.
    pub shift: crate::store::Shift,
}

/// Reads that were moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifted {
    /// Which epoch serves now.
    pub serving_epoch: u64,
    /// What would undo it; absent where nothing was changed.
    pub undo: Option<NodeId>,
}

impl Client {
    /// An adapter behind a channel; a call that takes longer than `timeout` is unknown.
    #[must_use]
    pub fn new(channel: Channel, timeout: Duration) -> Self {
        let calls = MigrationAdapterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { calls, timeout }
    }

    /// Makes a call.
    pub async fn perform(&self, migration: &Migration, term: Term, request: &Request) -> Answered<Outcome> {
        let mut calls = self.calls.clone();
        let kind = request.step.kind();
        let made = tokio::time::timeout(self.timeout, perform(&mut calls, migration, term, request)).await;
        match made {
            Err(_) => unknown(Outcome::Unknown, format!("{kind}: no answer within {:?}", self.timeout)),
            Ok(Reply::Unknown(why)) => unknown(Outcome::Unknown, format!("{kind}: {why}")),
            Ok(Reply::Done(done)) => Answered { answer: Outcome::Done(done), words: None },
            Ok(Reply::Running) => Answered { answer: Outcome::Accepted, words: None },
            Ok(Reply::Refused(refusal)) => {
                Answered { answer: Outcome::Refused(refusal.reason), words: Some(refusal.message) }
            }
        }
    }

    /// Asks what is so.
    pub async fn ask(&self, migration: &Migration, term: Term, question: &Question) -> Answered<Told> {
        let mut calls = self.calls.clone();
        let asked = ask(&mut calls, migration, term, question.about.as_ref());
        match tokio::time::timeout(self.timeout, asked).await {
            Err(_) => unknown(Told::Unknown, format!("no answer within {:?}", self.timeout)),
            Ok(State::Unknown(why)) => unknown(Told::Unknown, why),
            Ok(State::Told(observation, words)) => Answered { answer: Told::State(observation), words },
            Ok(State::Refused(refusal)) => {
                Answered { answer: Told::Refused(refusal.reason), words: Some(refusal.message) }
            }
        }
    }

    /// Follows the progress of a migration. The stream ends when nothing runs, or when the connection breaks; neither
    /// says anything.
    pub async fn watch(
        &self,
        migration: &isotherm_migration::MigrationId,
        heartbeat: Duration,
    ) -> Result<impl Stream<Item = Progress> + Send + use<>, Status> {
        let heartbeat_ms = u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX);
        let request = wire::WatchProgressRequest { migration_id: migration.to_string(), heartbeat_ms };
        let stream = self.calls.clone().watch_progress(request).await?.into_inner();
        let progress = |message: Result<wire::WatchProgressResponse, Status>| async move {
            Some(progress_from_wire(message.ok()?.progress?))
        };
        Ok(stream.take_while(|message| std::future::ready(message.is_ok())).filter_map(progress))
    }

    /// What there is of migrations in the store.
    pub async fn list(&self) -> Result<Vec<wire::MigrationStatus>, Status> {
        let mut calls = self.calls.clone();
        let list = calls.list_migrations(wire::ListMigrationsRequest {});
        let answer = tokio::time::timeout(self.timeout, list).await;
        answer.map_err(|_| late())?.map(|answer| answer.into_inner().migrations)
    }

    /// Moves reads. A status without a reason says nothing of what was done: ask again with the same request.
    pub async fn shift(&self, term: Term, shifting: &Shifting) -> Result<Shifted, Status> {
        use crate::store::Shift;
        use wire::shift_reads_request::Shift as Wire;
        let shift = match &shifting.shift {
            Shift::Leader(node) => Wire::Leader(node.name().to_owned()),
            Shift::Drain(node) => Wire::Drain(node.name().to_owned()),
            Shift::Restore(node) => Wire::Restore(node.name().to_owned()),
        };
        let request = wire::ShiftReadsRequest {
            request_id: shifting.request_id.clone(),
            term: term.0,
            partition: shifting.partition.name().to_owned(),
            expected_epoch: shifting.expected_epoch,
            new_epoch: shifting.new_epoch,
            shift: Some(shift),
        };
        let mut calls = self.calls.clone();
        let answer = tokio::time::timeout(self.timeout, calls.shift_reads(request)).await;
        let answer = answer.map_err(|_| late())??.into_inner();
        let undo = match answer.undo.as_str() {
            "" => None,
            name => Some(NodeId::new(shifting.partition.system().clone(), name).map_err(|error| {
                Status::from(&Malformed { field: "undo".to_owned(), what: error.to_string() })
            })?),
        };
        Ok(Shifted { serving_epoch: answer.serving_epoch, undo })
    }
}

fn unknown<T>(answer: T, words: String) -> Answered<T> {
    Answered { answer, words: Some(words) }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}
