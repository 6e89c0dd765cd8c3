//! The plan service.

mod ask;
mod diff;
mod render;

use crate::plan::kept::{APPROVAL_MS, Denied, Plan};
use crate::plan::make::MakeError;
use crate::plan::progress::{Standing, standings};
use crate::plan::stale::Begun;
use crate::plan::{Moment, Plans, execute};
use crate::writer::{now, with_causes};
use isotherm_migration::Action;
use isotherm_model::NodeId;
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::plan_service_server::PlanService;
use isotherm_runner::journal::{Cordon, KeptPlan, Reading};
use isotherm_runner::{Entry, JournalError, Kind, Line, Refused};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use wire::PlanAction;

/// Plans that are listed where nobody says how many.
const SOME: u32 = 100;

/// The most that are listed.
const MOST: u32 = 10_000;

/// The service.
#[derive(Clone)]
pub(crate) struct Planning {
    plans: Plans,
    streams: TaskTracker,
}

/// A plan with what has become of it.
struct Found {
    plan: Plan,
    version: u64,
    /// Its migrations.
    entries: Vec<Entry>,
}

impl Found {
    fn by_id(&self) -> BTreeMap<&str, &Entry> {
        self.entries.iter().map(|entry| (entry.migration.spec().id.as_str(), entry)).collect()
    }

    fn standings(&self) -> Vec<Standing> {
        standings(&self.plan, &self.by_id())
    }

    /// Positions of moves in some standing.
    fn moves(&self, which: impl Fn(&Standing) -> bool) -> Vec<usize> {
        let standings = self.standings();
        let of = standings.iter().enumerate().filter(|(_, standing)| which(standing));
        of.map(|(at, _)| at).collect()
    }
}

impl Planning {
    pub(crate) fn new(plans: Plans, streams: TaskTracker) -> Self {
        Self { plans, streams }
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reading) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Status> {
        self.plans.read(question).await.map_err(|error| Status::internal(with_causes(&error)))
    }

    async fn moment(&self) -> Result<Moment, Status> {
        self.plans.moment().await.map_err(|error| Status::internal(with_causes(&error)))
    }

    /// A plan by its id, or by the beginning of it that no other has.
    async fn found(&self, id: &str) -> Result<Found, Status> {
        if id.is_empty() {
            return Err(Status::invalid_argument("id: is empty"));
        }
        let asked = id.to_owned();
        let mut rows = self.read(move |reading| reading.plans_called(&asked)).await?;
        let Some(row) = rows.pop() else {
            return Err(Status::not_found(format!(
                "there is no plan {id:?}; `isotherm plan list` lists them"
            )));
        };
        if !rows.is_empty() {
            return Err(Status::invalid_argument(format!("{id} begins several ids; give more of it")));
        }
        let plan = read_row(&row)?;
        let whole = plan.id.clone();
        let entries = self.read(move |reading| reading.migrations_of_plan(&whole)).await?;
        Ok(Found { plan, version: row.version, entries })
    }

    fn told(&self, found: &Found) -> wire::Plan {
        render::plan(&found.plan, &found.by_id(), &found.standings(), &self.plans.waits().borrow())
    }

    /// Why what is left of a plan cannot be carried out, if so.
    async fn obstacle(&self, found: &Found, begun: Begun) -> Result<Option<String>, Status> {
        let left = found.moves(|standing| match standing {
            Standing::Planned | Standing::Failed(_) | Standing::Held(_) => true,
            Standing::UnderWay | Standing::Switched | Standing::Done => false,
        });
        if let Some(frozen) = self.plans.migrations.frozen() {
            return Ok(Some(frozen));
        }
        let moment = self.moment().await?;
        let stale = self.plans.stale(&moment, &found.plan, &left, begun).map_err(|error| not_made(&error))?;
        let stale = stale.map(|why| format!("the cluster is not as it was planned for: {why}; plan again"));
        Ok(stale.or_else(|| execute::impossible(&self.plans, &found.plan, &left)))
    }

    /// Changes a plan as somebody wants.
    async fn act(&self, asked: &wire::ActOnPlanRequest, found: &mut Found) -> Result<(), Status> {
        let (who, why, now_ms) = (&asked.who, &asked.reason, now().as_ms());
        match asked.action() {
            PlanAction::Unspecified => return Err(Status::invalid_argument("action: none is given")),
            PlanAction::Approve => {
                let within_ms = asked.within_ms.unwrap_or(APPROVAL_MS);
                found.plan.approve(who, why, now_ms, within_ms).map_err(|error| denied(&error))?;
            }
            PlanAction::Execute => {
                found.plan.execute(now_ms, asked.probation_ms).map_err(|error| denied(&error))?;
                if let Some(why) = self.obstacle(found, Begun::No).await? {
                    return Err(Status::failed_precondition(why));
                }
            }
            PlanAction::Cancel => found.plan.cancel(who, why, now_ms).map_err(|error| denied(&error))?,
            PlanAction::Retry => {
                let failed = found.moves(|standing| matches!(standing, Standing::Failed(_)));
                if failed.is_empty() {
                    return Err(Status::failed_precondition(format!(
                        "nothing of plan {} has failed",
                        found.plan.id
                    )));
                }
                if let Some(why) = self.obstacle(found, Begun::Yes).await? {
                    return Err(Status::failed_precondition(why));
                }
                found.plan.retry(&failed).map_err(|error| denied(&error))?;
            }
            PlanAction::Remove => found.plan.removable().map_err(|error| denied(&error))?,
        }
        Ok(())
    }

    /// Gives up what has not switched yet. What has is left to itself.
    async fn give_up(&self, found: &Found, who: &str, why: &str) {
        for entry in found.entries.iter().filter(|entry| entry.migration.end().is_none()) {
            if entry.migration.permits(&Action::Cancel).is_ok() {
                let id = entry.migration.spec().id.clone();
                if let Err(error) = self.plans.migrations.handle.act(id, Action::Cancel, who, why).await {
                    tracing::warn!(%error, plan = found.plan.id, "a migration of a cancelled plan goes on");
                }
            }
        }
    }

    async fn keep_cordon(&self, cordon: Option<Cordon>, node: &NodeId, line: Line) -> Result<(), Status> {
        let (system, name) = (node.system().to_string(), node.name().to_owned());
        let kept = self.plans.migrations.handle.keep(move |journal| match cordon {
            Some(cordon) => journal.cordon(&cordon, &[line]),
            None => journal.uncordon(&system, &name, &[line]),
        });
        kept.await.map_err(refused)?;
        // Whoever is answered may go on from it.
        let told = self.plans.refresh_cordons().await;
        self.plans.wake();
        told.map_err(|error| Status::internal(with_causes(&error)))
    }
}

#[tonic::async_trait]
impl PlanService for Planning {
    type WatchPlanStream = ReceiverStream<Result<wire::WatchPlanResponse, Status>>;

    async fn create_plan(
        &self,
        request: Request<wire::CreatePlanRequest>,
    ) -> Result<Response<wire::CreatePlanResponse>, Status> {
        let wire::CreatePlanRequest { request, reason, who, validate_only } = request.into_inner();
        let (by, reason) = (ask::words("who", who)?, ask::words("reason", reason)?);
        let topology = self.plans.topologies.borrow().clone();
        let (system, asked) = ask::asked(&topology, request.unwrap_or_default())?;
        let moment = self.moment().await?;
        let plans = self.plans.clone();
        // Of a large cluster it takes seconds.
        let made = tokio::task::spawn_blocking(move || plans.make(&moment, &system, &asked)).await;
        let made = made.map_err(|error| Status::internal(error.to_string()))?;
        let mut plan = made.map_err(|error| not_made(&error))?;
        (plan.by, plan.reason) = (by, reason);
        if !validate_only && !plan.moves.is_empty() {
            // Twelve digits leave room for the number of a move in the id of its migration.
            plan.id = uuid::Uuid::new_v4().simple().to_string().split_off(20);
            let what = format!("plan {}: {}, {} moves", plan.id, plan.asked.words(), plan.moves.len());
            let line = Line::own(now().as_ms(), Kind::Wanted, what).by(&plan.by, &plan.reason);
            self.plans.put(&plan, 0, vec![line]).await.map_err(refused)?;
        }
        let found = Found { plan, version: 1, entries: Vec::new() };
        Ok(Response::new(wire::CreatePlanResponse { plan: Some(self.told(&found)) }))
    }

    async fn list_plans(
        &self,
        request: Request<wire::ListPlansRequest>,
    ) -> Result<Response<wire::ListPlansResponse>, Status> {
        let limit = request.into_inner().limit;
        let limit = if limit == 0 { SOME } else { limit.min(MOST) };
        let rows = self.read(move |reading| reading.plans(None, limit)).await?;
        let mut plans = Vec::new();
        for row in rows {
            let (plan, id) = (read_row(&row)?, row.id.clone());
            let entries = self.read(move |reading| reading.migrations_of_plan(&id)).await?;
            let told = self.told(&Found { plan, version: row.version, entries });
            plans.push(wire::Plan { moves: Vec::new(), ..told });
        }
        Ok(Response::new(wire::ListPlansResponse { plans }))
    }

    async fn get_plan(
        &self,
        request: Request<wire::GetPlanRequest>,
    ) -> Result<Response<wire::GetPlanResponse>, Status> {
        let wire::GetPlanRequest { id, explain } = request.into_inner();
        let found = self.found(&id).await?;
        let explanation = match explain {
            0 => String::new(),
            number => ask::explanation(&found.plan, number)?,
        };
        Ok(Response::new(wire::GetPlanResponse { plan: Some(self.told(&found)), explanation }))
    }

    async fn diff_plans(
        &self,
        request: Request<wire::DiffPlansRequest>,
    ) -> Result<Response<wire::DiffPlansResponse>, Status> {
        let request = request.into_inner();
        let (old, new) = (self.found(&request.old).await?.plan, self.found(&request.new).await?.plan);
        if old.system != new.system {
            return Err(Status::invalid_argument(format!(
                "plan {} is of {}, and {} of {}",
                old.id, old.system, new.id, new.system
            )));
        }
        Ok(Response::new(wire::DiffPlansResponse { lines: diff::lines(&old, &new) }))
    }

    async fn act_on_plan(
        &self,
        request: Request<wire::ActOnPlanRequest>,
    ) -> Result<Response<wire::ActOnPlanResponse>, Status> {
        let mut asked = request.into_inner();
        asked.who = ask::words("who", std::mem::take(&mut asked.who))?;
        asked.reason = ask::words("reason", std::mem::take(&mut asked.reason))?;
        let mut found = self.found(&asked.id).await?;
        let before = self.told(&found);
        if let Err(refused) = self.act(&asked, &mut found).await {
            if !asked.validate_only {
                let what = format!("{} plan {}", render::verb(asked.action()), found.plan.id);
                let why = format!("{}: {}", asked.reason, refused.message());
                let line = Line::own(now().as_ms(), Kind::Refused, what);
                self.plans.migrations.handle.note(line.by(&asked.who, why.trim_start_matches(": "))).await;
            }
            return Err(refused);
        }
        if asked.validate_only {
            return Ok(Response::new(wire::ActOnPlanResponse { plan: Some(before) }));
        }
        let (action, id) = (asked.action(), found.plan.id.clone());
        let line = Line::own(now().as_ms(), Kind::Wanted, format!("{} plan {id}", render::verb(action)));
        let line = line.by(&asked.who, &asked.reason);
        if action == PlanAction::Remove {
            let version = found.version;
            let removed =
                self.plans.migrations.handle.keep(move |journal| journal.remove_plan(&id, version, &[line]));
            removed.await.map_err(refused)?;
            return Ok(Response::new(wire::ActOnPlanResponse { plan: Some(before) }));
        }
        self.plans.put(&found.plan, found.version, vec![line]).await.map_err(refused)?;
        if action == PlanAction::Cancel {
            let found = self.found(&id).await?;
            self.give_up(&found, &asked.who, &format!("plan {id} is cancelled")).await;
        }
        let plan = Some(self.told(&self.found(&id).await?));
        Ok(Response::new(wire::ActOnPlanResponse { plan }))
    }

    async fn watch_plan(
        &self,
        request: Request<wire::WatchPlanRequest>,
    ) -> Result<Response<Self::WatchPlanStream>, Status> {
        let id = self.found(&request.into_inner().id).await?.plan.id;
        let (messages, stream) = mpsc::channel(4);
        let planning = self.clone();
        self.streams.spawn(async move {
            let (mut board, mut waits) = (planning.plans.migrations.handle.board(), planning.plans.waits());
            let mut last = None;
            loop {
                let told = match planning.found(&id).await {
                    Ok(found) => planning.told(&found),
                    Err(status) => return drop(messages.send(Err(status)).await),
                };
                let going = told.state == crate::plan::kept::State::EXECUTING;
                if last.as_ref() != Some(&told) {
                    last = Some(told.clone());
                    let message = wire::WatchPlanResponse { plan: Some(told) };
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                if !going {
                    return;
                }
                tokio::select! {
                    () = messages.closed() => return,
                    changed = board.changed() => if changed.is_err() { return },
                    changed = waits.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(render::LOOK) => {}
                }
                tokio::time::sleep(render::LEAST).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn cordon(
        &self,
        request: Request<wire::CordonRequest>,
    ) -> Result<Response<wire::CordonResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (ask::words("who", request.who)?, ask::words("reason", request.reason)?);
        let node = ask::node(&self.plans.topologies.borrow(), &request.node)?;
        let since_ms = now().as_ms();
        let line = Line::own(since_ms, Kind::Wanted, format!("cordon {node}")).by(&by, &reason);
        let (system, name) = (node.system().to_string(), node.name().to_owned());
        let cordon = Cordon { system, node: name, since_ms, by, reason };
        let told = render::cordon(&cordon);
        self.keep_cordon(Some(cordon), &node, line).await?;
        Ok(Response::new(wire::CordonResponse { cordon: Some(told) }))
    }

    async fn uncordon(
        &self,
        request: Request<wire::UncordonRequest>,
    ) -> Result<Response<wire::UncordonResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (ask::words("who", request.who)?, ask::words("reason", request.reason)?);
        let cordons = self.read(Reading::cordons).await?;
        // The node may be gone from the topology meanwhile.
        let node = ask::cordoned(&cordons, &request.node)?;
        let line = Line::own(now().as_ms(), Kind::Wanted, format!("uncordon {node}")).by(&by, &reason);
        self.keep_cordon(None, &node, line).await?;
        Ok(Response::new(wire::UncordonResponse {}))
    }

    async fn list_cordons(
        &self,
        _: Request<wire::ListCordonsRequest>,
    ) -> Result<Response<wire::ListCordonsResponse>, Status> {
        let cordons = self.read(Reading::cordons).await?;
        Ok(Response::new(wire::ListCordonsResponse { cordons: cordons.iter().map(render::cordon).collect() }))
    }
}

fn read_row(row: &KeptPlan) -> Result<Plan, Status> {
    Plan::of_row(row).map_err(|error| Status::internal(format!("plan {} cannot be read: {error}", row.id)))
}

fn denied(error: &Denied) -> Status {
    Status::failed_precondition(error.to_string())
}

fn not_made(error: &MakeError) -> Status {
    match error {
        MakeError::NoNode(_, _) => Status::not_found(error.to_string()),
        MakeError::Nothing | MakeError::Both(_) => Status::invalid_argument(error.to_string()),
        MakeError::Chart(_) | MakeError::Cordoned(_) | MakeError::NoCycle => {
            Status::failed_precondition(error.to_string())
        }
        MakeError::Refuted(_) => Status::internal(error.to_string()),
    }
}

fn refused(error: Refused) -> Status {
    match error {
        Refused::Away => Status::unavailable(error.to_string()),
        Refused::Journal(JournalError::PlanMoved { .. }) => Status::failed_precondition(error.to_string()),
        Refused::Journal(error) => Status::internal(with_causes(&error)),
        Refused::Spec(_)
        | Refused::NotFound(_)
        | Refused::Denied(_)
        | Refused::Frozen { .. }
        | Refused::Withheld(_)
        | Refused::Freeze(_)
        | Refused::Shift(_) => Status::failed_precondition(error.to_string()),
    }
}
