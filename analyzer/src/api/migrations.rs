//! The migration service.

mod render;

use super::named::{is_called, only};
use super::trust;
use crate::migrate::{Asked, Migrations, Problem, specify};
use crate::topology::{Topologies, Topology};
use crate::writer::{now, with_causes};
use isotherm_adapter::contract;
use isotherm_migration::{
    Action, Copies, Decision, Done, MigrationId, Outcome, Request as Step, RequestId, Revision, Step as Kind,
    StepKind,
};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::migration_service_server::MigrationService;
use isotherm_runner::journal::{Diary, Freeze, JournalError, Listed};
use isotherm_runner::{Board, Entry, Kind as LineKind, Line, Refused, Seen, ShiftRefused, Start, Trigger};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use wire::MigrationAction;

/// Migrations and lines that are told where nobody says how many.
const SOME: u32 = 100;

/// Lines of one migration that are told with it.
const LINES: u32 = 500;

/// The most that is told at once.
const MOST: u32 = 10_000;

/// How long an adapter may look whether something can be done, and how often it is asked meanwhile.
const VALIDATION: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The service.
#[derive(Clone)]
pub(crate) struct Moves {
    migrations: Migrations,
    topologies: Topologies,
    streams: TaskTracker,
}

impl Moves {
    pub(crate) fn new(migrations: Migrations, topologies: Topologies, streams: TaskTracker) -> Self {
        Self { migrations, topologies, streams }
    }

    fn board(&self) -> Arc<Board> {
        self.migrations.handle.board().borrow().clone()
    }

    /// Reads the journal on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&isotherm_runner::journal::Reading) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Status> {
        let reading = self.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || question(&reading)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        read.map_err(|error| Status::internal(with_causes(&error)))
    }

    /// A migration by its id, or by the beginning of it that no other has.
    async fn found(&self, id: &str) -> Result<Seen, Status> {
        let missing = || {
            Status::not_found(format!(
                "there is no migration {id:?}; `isotherm migrate status --all` lists them"
            ))
        };
        if id.is_empty() {
            return Err(Status::invalid_argument("id: is empty"));
        }
        let board = self.board();
        let begins = |entry: &Entry| entry.migration.spec().id.as_str().starts_with(id);
        let mut open: Vec<&Seen> = board.migrations.iter().filter(|seen| begins(&seen.entry)).collect();
        match (open.pop(), open.is_empty()) {
            (Some(seen), true) => return Ok(seen.clone()),
            (Some(_), false) => {
                return Err(Status::invalid_argument(format!("{id} begins several ids; give more of it")));
            }
            (None, _) => {}
        }
        let all = self.read(|reading| reading.migrations(&Listed { ended: true, limit: MOST })).await?;
        let mut all = all.into_iter().filter(begins);
        match (all.next(), all.next()) {
            (Some(entry), None) => Ok(Seen { entry, progress: None, eta: None, waits: None }),
            (Some(_), Some(_)) => {
                Err(Status::invalid_argument(format!("{id} begins several ids; give more of it")))
            }
            (None, _) => Err(missing()),
        }
    }

    /// What a request asks for, checked against the topology.
    fn specified(&self, request: &wire::StartMigrationRequest) -> Result<isotherm_migration::Spec, Status> {
        let topology = self.topologies.borrow().clone();
        let partition = partition(&topology, &request.partition)?;
        let node = |name: &str| node(&topology, &partition, name);
        let source = match (request.source.as_str(), request.dead.as_str()) {
            ("", "") => None,
            (source, "") => Some(node(source)?),
            ("", dead) => Some(node(dead)?),
            (_, _) => return Err(Status::invalid_argument("source, dead: only one of them can be meant")),
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let id = MigrationId::new(id).map_err(|error| Status::internal(error.to_string()))?;
        let asked = Asked {
            id,
            source,
            repair: !request.dead.is_empty(),
            target: node(&request.target)?,
            gated: request.gated,
            probation_ms: request.probation_ms,
            bytes_per_s: request.bytes_per_s,
            partition,
        };
        if let Some(forbidden) = self.migrations.forbids(&asked.partition) {
            return Err(Status::failed_precondition(forbidden));
        }
        specify(&topology, &self.migrations.config, asked).map_err(|problem| match problem {
            Problem::NoPartition(_) | Problem::NoNode(_) => Status::not_found(problem.to_string()),
            Problem::WhichSource { .. } => Status::invalid_argument(problem.to_string()),
            Problem::NotThere { .. }
            | Problem::ThereAlready { .. }
            | Problem::NoAdapter(_)
            | Problem::Immovable(_)
            | Problem::Stale(_) => Status::failed_precondition(problem.to_string()),
        })
    }

    /// What the adapter says of a migration before there is one.
    async fn findings(&self, spec: &isotherm_migration::Spec) -> Result<Vec<String>, Status> {
        let system = spec.partition.system();
        let client = self.migrations.adapter(system).await.map_err(Status::failed_precondition)?;
        let id = RequestId {
            migration: spec.id.clone(),
            step: StepKind::ValidateMigration,
            epoch: None,
            attempt: 1,
        };
        let request = Step { id, epochs: None, step: Kind::ValidateMigration };
        let (term, migration) = (self.board().term, contract::Migration::from(spec));
        let deadline = Instant::now() + VALIDATION;
        let answered = loop {
            let answered = client.perform(&migration, term, &request).await;
            if answered.answer != Outcome::Accepted || Instant::now() >= deadline {
                break answered;
            }
            sleep(ASK_AGAIN).await;
        };
        let words = answered.words.unwrap_or_default();
        match answered.answer {
            Outcome::Done(Done::Validated(validated)) => {
                let mut findings = validated.findings;
                if validated.copies == Copies::Lost {
                    findings.push("no live copy is left to copy from".to_owned());
                }
                Ok(findings)
            }
            Outcome::Refused(reason) => Ok(vec![format!("{reason}: {words}")]),
            Outcome::Accepted => Err(Status::failed_precondition(format!(
                "the adapter of {system} has looked for {} s whether it can be done, and not ended; ask again",
                VALIDATION.as_secs()
            ))),
            Outcome::Done(_) | Outcome::Unknown => Err(Status::failed_precondition(format!(
                "the adapter of {system} did not say whether it can be done: {words}"
            ))),
        }
    }
}

#[tonic::async_trait]
impl MigrationService for Moves {
    type WatchMigrationStream = ReceiverStream<Result<wire::WatchMigrationResponse, Status>>;

    async fn start_migration(
        &self,
        request: Request<wire::StartMigrationRequest>,
    ) -> Result<Response<wire::StartMigrationResponse>, Status> {
        let request = request.into_inner();
        let spec = self.specified(&request)?;
        if request.validate_only {
            let mut findings: Vec<String> = self.migrations.frozen().into_iter().collect();
            findings.extend(self.findings(&spec).await?);
            return Ok(Response::new(wire::StartMigrationResponse { migration: None, findings }));
        }
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        let start = Start { spec, by, reason, trigger: Trigger::Manual };
        let id = self.migrations.handle.start(start).await.map_err(refused)?;
        let migration = Some(render::migration(&self.found(id.as_str()).await?));
        Ok(Response::new(wire::StartMigrationResponse { migration, findings: Vec::new() }))
    }

    async fn list_migrations(
        &self,
        request: Request<wire::ListMigrationsRequest>,
    ) -> Result<Response<wire::ListMigrationsResponse>, Status> {
        let request = request.into_inner();
        let board = self.board();
        let mut migrations: Vec<wire::Migration> = board.migrations.iter().map(render::migration).collect();
        if request.ended {
            let asked = Listed { ended: true, limit: limit(request.limit) };
            let all = self.read(move |reading| reading.migrations(&asked)).await?;
            let ended = all.into_iter().filter(|entry| entry.about.ended_ms.is_some());
            let ended = ended.map(|entry| Seen { entry, progress: None, eta: None, waits: None });
            migrations.extend(ended.map(|seen| render::migration(&seen)));
        }
        migrations.sort_by_key(|migration| std::cmp::Reverse(migration.created_ms));
        migrations.truncate(limit(request.limit) as usize);
        let freeze = Some(render::freeze(board.frozen.as_ref()));
        let frozen_outside = self.migrations.frozen_outside().unwrap_or_default();
        let quiet = self.migrations.config.trust.other_movers_quiet;
        let held = self.read(isotherm_runner::journal::Reading::distrust).await?;
        let distrust = held.iter().map(|one| trust::distrust(one, quiet)).collect();
        Ok(Response::new(wire::ListMigrationsResponse { migrations, freeze, frozen_outside, distrust }))
    }

    async fn get_migration(
        &self,
        request: Request<wire::GetMigrationRequest>,
    ) -> Result<Response<wire::GetMigrationResponse>, Status> {
        let seen = self.found(&request.into_inner().id).await?;
        let id = seen.entry.migration.spec().id.to_string();
        let asked = Diary { migration: Some(id.clone()), limit: LINES, ..Diary::default() };
        let read = self.read(move |reading| Ok((reading.diary(&asked)?, reading.scorecard(&id)?)));
        let (lines, card) = read.await?;
        let topology = self.topologies.borrow().clone();
        let source = topology.sources.get(seen.entry.migration.spec().partition.system());
        let capabilities = source.and_then(|source| source.capabilities.as_deref());
        let methods = capabilities.map_or(&[][..], |capabilities| capabilities.verify.as_slice());
        Ok(Response::new(wire::GetMigrationResponse {
            migration: Some(render::migration(&seen)),
            diary: lines.into_iter().map(render::line).collect(),
            scorecard: card.as_ref().map(trust::scorecard),
            comparisons: trust::comparisons(&seen.entry.about.compared, methods),
        }))
    }

    async fn watch_migration(
        &self,
        request: Request<wire::WatchMigrationRequest>,
    ) -> Result<Response<Self::WatchMigrationStream>, Status> {
        let first = self.found(&request.into_inner().id).await?;
        let (messages, stream) = mpsc::channel(4);
        let moves = self.clone();
        self.streams.spawn(async move {
            let id = first.entry.migration.spec().id.to_string();
            let mut board = moves.migrations.handle.board();
            let mut last = None;
            loop {
                let seen = match moves.found(&id).await {
                    Ok(seen) => seen,
                    Err(status) => return drop(messages.send(Err(status)).await),
                };
                let ended = seen.entry.about.ended_ms.is_some();
                let migration = render::migration(&seen);
                if last.as_ref() != Some(&migration) {
                    last = Some(migration.clone());
                    let message = wire::WatchMigrationResponse { migration: Some(migration) };
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                if ended {
                    return;
                }
                tokio::select! {
                    () = messages.closed() => return,
                    changed = board.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn act_on_migration(
        &self,
        request: Request<wire::ActOnMigrationRequest>,
    ) -> Result<Response<wire::ActOnMigrationResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (words("who", request.who.clone())?, words("reason", request.reason.clone())?);
        let seen = self.found(&request.id).await?;
        let action = action(request.action(), seen.entry.migration.spec().revision, &by, &reason)?;
        let id = seen.entry.migration.spec().id.clone();
        // The runner, which is asked about all else, has forgotten those that have ended, and writes down what it refuses.
        if request.validate_only || seen.entry.about.ended_ms.is_some() {
            seen.entry.migration.permits(&action).map_err(|denied| refused(denied.into()))?;
        }
        if request.validate_only {
            let migration = Some(render::migration(&seen));
            return Ok(Response::new(wire::ActOnMigrationResponse { migration }));
        }
        self.migrations.handle.act(id.clone(), action, &by, &reason).await.map_err(refused)?;
        let migration = Some(render::migration(&self.found(id.as_str()).await?));
        Ok(Response::new(wire::ActOnMigrationResponse { migration }))
    }

    async fn freeze(
        &self,
        request: Request<wire::FreezeRequest>,
    ) -> Result<Response<wire::FreezeResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        let since_ms = now().as_ms();
        let line = Line::own(since_ms, LineKind::Wanted, "freeze").by(&by, &reason);
        let freeze = Freeze { since_ms, by, reason };
        self.migrations.handle.freeze(Some(freeze.clone()), line).await.map_err(refused)?;
        Ok(Response::new(wire::FreezeResponse { freeze: Some(render::freeze(Some(&freeze))) }))
    }

    async fn unfreeze(
        &self,
        request: Request<wire::UnfreezeRequest>,
    ) -> Result<Response<wire::UnfreezeResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        let line = Line::own(now().as_ms(), LineKind::Wanted, "unfreeze").by(&by, &reason);
        self.migrations.handle.freeze(None, line).await.map_err(refused)?;
        Ok(Response::new(wire::UnfreezeResponse {}))
    }

    async fn list_diary(
        &self,
        request: Request<wire::ListDiaryRequest>,
    ) -> Result<Response<wire::ListDiaryResponse>, Status> {
        let request = request.into_inner();
        let some = |text: String| (!text.is_empty()).then_some(text);
        let migration = match some(request.migration) {
            Some(id) => Some(self.found(&id).await?.entry.migration.spec().id.to_string()),
            None => None,
        };
        let asked = Diary {
            migration,
            partition: some(request.partition),
            since_ms: request.since_ms,
            after: request.after,
            limit: limit(request.limit),
        };
        let lines = self.read(move |reading| reading.diary(&asked)).await?;
        Ok(Response::new(wire::ListDiaryResponse { lines: lines.into_iter().map(render::line).collect() }))
    }

    async fn list_orphans(
        &self,
        _: Request<wire::ListOrphansRequest>,
    ) -> Result<Response<wire::ListOrphansResponse>, Status> {
        let mut answer = wire::ListOrphansResponse::default();
        for system in self.migrations.systems() {
            let listed = match self.migrations.adapter(&system).await {
                Ok(client) => client.list().await.map_err(|status| status.message().to_owned()),
                Err(why) => Err(why),
            };
            match listed {
                Err(why) => answer.unasked.push(format!("{system}: {why}")),
                Ok(listed) => {
                    let board = self.board();
                    let ours: BTreeSet<&str> =
                        board.migrations.iter().map(|seen| seen.entry.migration.spec().id.as_str()).collect();
                    let orphans = listed.into_iter().filter_map(|status| render::orphan(&system, status));
                    answer.orphans.extend(orphans.filter(|one| !ours.contains(one.migration_id.as_str())));
                }
            }
        }
        Ok(Response::new(answer))
    }
}

pub(super) fn partition(topology: &Topology, name: &str) -> Result<PartitionId, Status> {
    let named = topology.subsets.keys();
    let found = named.filter(|id| is_called(name, id.system().as_str(), id.name()));
    let found = only("partition", name, found.map(|id| (id.system().as_str(), id)))?;
    found.cloned().ok_or_else(|| {
        Status::not_found(format!("no topology names partition {name}: its adapter or a [[topology]] must; `isotherm get topology` shows them"))
    })
}

/// A node of the partition's system.
pub(super) fn node(topology: &Topology, partition: &PartitionId, name: &str) -> Result<NodeId, Status> {
    let system = partition.system();
    let mut nodes = topology.nodes.keys().filter(|id| id.system() == system);
    nodes.find(|id| is_called(name, system.as_str(), id.name())).cloned().ok_or_else(|| {
        Status::not_found(format!("{system} has no node {name:?}; `isotherm get nodes` lists them"))
    })
}

fn action(asked: MigrationAction, revision: Revision, by: &str, reason: &str) -> Result<Action, Status> {
    Ok(match asked {
        MigrationAction::Unspecified => return Err(Status::invalid_argument("action: none is given")),
        MigrationAction::Approve => Action::Approve { revision },
        MigrationAction::Pause => Action::Pause,
        MigrationAction::Resume => Action::Unpause,
        MigrationAction::Cancel => Action::Cancel,
        MigrationAction::Switch => Action::Switch,
        MigrationAction::Complete => Action::Complete,
        MigrationAction::Reverse => Action::Reverse,
        MigrationAction::AcceptDataLoss if reason.is_empty() => {
            return Err(Status::invalid_argument("reason: whoever accepts a loss of data must say why"));
        }
        MigrationAction::AcceptDataLoss => {
            Action::AcceptDataLoss(Decision { by: by.to_owned(), reason: reason.to_owned() })
        }
        MigrationAction::Retry => Action::Retry,
        MigrationAction::Verify => Action::Verify,
    })
}

pub(super) fn limit(asked: u32) -> u32 {
    if asked == 0 { SOME } else { asked.min(MOST) }
}

/// Words that are recorded.
pub(super) fn words(field: &str, text: String) -> Result<String, Status> {
    if text.len() > isotherm_store::MAX_WORDS {
        return Err(Status::invalid_argument(format!(
            "{field}: longer than {} bytes",
            isotherm_store::MAX_WORDS
        )));
    }
    Ok(text)
}

pub(super) fn refused(error: Refused) -> Status {
    match error {
        Refused::NotFound(_) => Status::not_found(error.to_string()),
        Refused::Shift(ShiftRefused::NotFound(_)) => Status::not_found(error.to_string()),
        Refused::Spec(_) => Status::invalid_argument(error.to_string()),
        Refused::Away => Status::unavailable(error.to_string()),
        Refused::Journal(JournalError::Moving { .. })
        | Refused::Denied(_)
        | Refused::Shift(_)
        | Refused::Frozen { .. }
        | Refused::Withheld(_)
        | Refused::Freeze(_) => Status::failed_precondition(error.to_string()),
        Refused::Journal(error) => Status::internal(with_causes(&error)),
    }
}
