//! Calls of adapters, each a task beside the runner, which hears of its end.
//!
//! A connection is kept for as long as it answers; after an outcome that nobody knows the next call makes a new one.

use super::shifts::Heard;
use super::{Connect, Message};
use crate::shift::{self, Order, Shift};
use futures::StreamExt;
use isotherm_adapter::client::{Answered, Client, Shifting};
use isotherm_adapter::contract;
use isotherm_adapter::store::Shift as Wire;
use isotherm_migration::{Command, Migration, MigrationId, Origin, Outcome, Question, Term, Told};
use isotherm_model::SystemId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often a watched adapter says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The longest that a shift of reads, or the question before it, may take to be answered; the same call asks again.
const SHIFT: Duration = Duration::from_secs(30);

/// Ended tasks are forgotten when there are so many.
const TASKS: usize = 64;

pub(super) struct Calls {
    connections: Connections,
    messages: mpsc::Sender<Message>,
    runtime: tokio::runtime::Handle,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Connections {
    outside: Arc<dyn Connect>,
    known: Arc<Mutex<BTreeMap<SystemId, Client>>>,
}

impl Calls {
    pub(super) fn new(
        outside: Arc<dyn Connect>,
        messages: mpsc::Sender<Message>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let connections = Connections { outside, known: Arc::default() };
        Self { connections, messages, runtime, tasks: JoinSet::new() }
    }

    /// Does what a migration asks for, now that it is written.
    pub(super) fn command(&mut self, migration: &Migration, command: Command, watched: &mut bool) {
        let spec = migration.spec();
        let id = spec.id.clone();
        let (connections, messages) = (self.connections.clone(), self.messages.clone());
        let timeout = Duration::from_millis(spec.policy.call_timeout_ms);
        let system = spec.partition.system().clone();
        match command {
            Command::Perform { term, request } => {
                let subject = contract::Migration::from(spec);
                self.spawn(async move {
                    let answered = match connections.to(&system, timeout).await {
                        Ok(client) => client.perform(&subject, term, &request).await,
                        Err(why) => Answered { answer: Outcome::Unknown, words: Some(why) },
                    };
                    if answered.answer == Outcome::Unknown {
                        connections.forget(&system);
                    }
                    let request = request.id;
                    drop(messages.send(Message::Answered { id, request, answered }).await);
                });
            }
            Command::Ask { term, question } => {
                let subject = contract::Migration::from(spec);
                self.spawn(async move {
                    let answered = match connections.to(&system, timeout).await {
                        Ok(client) => client.ask(&subject, term, &question).await,
                        Err(why) => Answered { answer: Told::Unknown, words: Some(why) },
                    };
                    if answered.answer == Told::Unknown {
                        connections.forget(&system);
                    }
                    drop(messages.send(Message::Observed { id, question, answered }).await);
                });
            }
            Command::Watch { migration, .. } if !*watched => {
                *watched = true;
                self.spawn(async move {
                    follow(&connections, &system, timeout, &migration, &messages).await;
                    drop(messages.send(Message::Unwatched(migration)).await);
                });
            }
            Command::Watch { .. } => {}
            Command::Replan { revision } => {
                tracing::info!(migration = %id, %revision, "the topology has moved: plan it anew");
            }
        }
    }

    /// Asks which epochs a partition has, for a shift of its reads.
    pub(super) fn epochs(&mut self, term: Term, shift: &Shift) {
        let (connections, messages) = (self.connections.clone(), self.messages.clone());
        let id = shift.id.clone();
        let node = shift.what.node().clone();
        // The adapter looks at the partition alone, as it has no such migration.
        let subject = contract::Migration {
            id: id.clone(),
            partition: shift.partition.clone(),
            origin: Origin::Move { source: node.clone() },
            target: node,
        };
        self.spawn(async move {
            let system = subject.partition.system().clone();
            let question = Question { migration: id.clone(), number: 0, about: None };
            let answered = match connections.to(&system, SHIFT).await {
                Ok(client) => client.ask(&subject, term, &question).await,
                Err(why) => Answered { answer: Told::Unknown, words: Some(why) },
            };
            let words = answered.words.unwrap_or_default();
            let known = match answered.answer {
                Told::State(state) => Ok([state.serving, state.promised]),
                Told::Refused(reason) => Err(shift::Outcome::Refused(reason, words)),
                Told::Unknown => {
                    connections.forget(&system);
                    Err(shift::Outcome::Unknown(words))
                }
            };
            drop(messages.send(Message::Shift(Heard::Epochs { id, known })).await);
        });
    }

    /// Makes the call of a shift, which is written.
    pub(super) fn shift(&mut self, term: Term, shift: &Shift, call: shift::Call, order: Order) {
        let (connections, messages) = (self.connections.clone(), self.messages.clone());
        let (id, partition) = (shift.id.clone(), shift.partition.clone());
        self.spawn(async move {
            let system = partition.system().clone();
            let request = call.request_id.clone();
            let shifting = Shifting {
                request_id: call.request_id,
                partition,
                expected_epoch: call.expected,
                new_epoch: call.new,
                shift: match order {
                    Order::Lead(node) => Wire::Leader(node),
                    Order::Drain(node) => Wire::Drain(node),
                    Order::Restore(node) => Wire::Restore(node),
                },
            };
            let outcome = match connections.to(&system, SHIFT).await {
                Ok(client) => match client.shift(term, &shifting).await {
                    Ok(shifted) => shift::Outcome::Done(shifted.undo),
                    Err(status) => match contract::refusal_from_status(&status) {
                        Some(refusal) => shift::Outcome::Refused(refusal.reason, refusal.message),
                        None => shift::Outcome::Unknown(status.message().to_owned()),
                    },
                },
                Err(why) => shift::Outcome::Unknown(why),
            };
            if matches!(outcome, shift::Outcome::Unknown(_)) {
                connections.forget(&system);
            }
            drop(messages.send(Message::Shift(Heard::Answered { id, request, outcome })).await);
        });
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if self.tasks.len() >= TASKS {
            while self.tasks.try_join_next().is_some() {}
        }
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Lets go of what is under way: its outcome is asked for by whoever goes on.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
    }
}

async fn follow(
    connections: &Connections,
    system: &SystemId,
    timeout: Duration,
    migration: &MigrationId,
    messages: &mpsc::Sender<Message>,
) {
    let Ok(client) = connections.to(system, timeout).await else { return };
    let Ok(stream) = client.watch(migration, HEARTBEAT).await else { return };
    let mut stream = std::pin::pin!(stream);
    while let Some(progress) = stream.next().await {
        let id = migration.clone();
        if messages.send(Message::Progressed { id, progress }).await.is_err() {
            return;
        }
    }
}

impl Connections {
    async fn to(&self, system: &SystemId, timeout: Duration) -> Result<Client, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(system).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let connected = tokio::time::timeout(timeout, self.outside.connect(system)).await;
        let channel = connected.map_err(|_| "the adapter does not answer".to_owned())??;
        let client = Client::new(channel, timeout);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(system.clone()).or_insert(client).clone())
    }

    fn forget(&self, system: &SystemId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(system);
    }
}
