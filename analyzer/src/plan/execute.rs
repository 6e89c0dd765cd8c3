//! Carries out plans: their moves become migrations, wave by wave.
//!
//! Nothing of it is remembered but what the journal has. The migration of a move has a name of its own, so it is known
//! after any start whether it was begun, and it is begun once.

use super::Plans;
use super::kept::{Plan, Reason, State};
use super::progress::{Next, next, standings};
use crate::migrate::{Asked, Problem, specify};
use crate::writer::{now, with_causes};
use isotherm_migration::Spec;
use isotherm_runner::JournalError;
use isotherm_runner::journal::KeptPlan;
use isotherm_runner::{Entry, Kind, Line, Refused, Start, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often plans are looked at where nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// Between two looks at the least: what runs is told of many times a second.
const LEAST: Duration = Duration::from_millis(100);

/// Plans that are carried out at a time, at most.
const MOST_PLANS: u32 = 100;

/// Why a move is not begun.
enum NotBegun {
    /// Not now.
    Waits(String),
    /// Never.
    Refused(String),
}

/// Carries out plans until `stop`, and keeps what is known of cordons fresh.
pub(super) async fn run(plans: Plans, stop: CancellationToken) -> anyhow::Result<()> {
    let mut board = plans.migrations.handle.board();
    let mut told = None;
    loop {
        let done = async { plans.refresh_cordons().await.and(step_all(&plans).await) };
        match stop.run_until_cancelled(done).await {
            None => return Ok(()),
            Some(Ok(())) => told = None,
            Some(Err(error)) => {
                let error = with_causes(&error);
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%error, "plans stand still");
                    told = Some(error);
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = plans.wake.notified() => {}
            changed = board.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(TICK) => {}
        }
        tokio::time::sleep(LEAST).await;
    }
}

async fn step_all(plans: &Plans) -> Result<(), JournalError> {
    let rows = plans.read(|reading| reading.plans(Some(State::EXECUTING), MOST_PLANS)).await?;
    let mut waits = BTreeMap::new();
    // The oldest first.
    for row in rows.iter().rev() {
        match Plan::of_row(row) {
            Ok(plan) => step(plans, row, plan, &mut waits).await?,
            Err(error) => tracing::warn!(plan = row.id, %error, "a plan cannot be read"),
        }
    }
    plans.waits.send_if_modified(|known| {
        let news = *known != waits;
        *known = waits;
        news
    });
    Ok(())
}

/// Does what is next of one plan.
async fn step(
    plans: &Plans,
    row: &KeptPlan,
    mut plan: Plan,
    waits: &mut BTreeMap<String, String>,
) -> Result<(), JournalError> {
    let id = plan.id.clone();
    let entries = plans.read(move |reading| reading.migrations_of_plan(&id)).await?;
    let entries: BTreeMap<&str, &Entry> =
        entries.iter().map(|entry| (entry.migration.spec().id.as_str(), entry)).collect();
    let standings = standings(&plan, &entries);
    let mut lines = Vec::new();
    match next(&plan, &standings) {
        Next::Begin(moves) => {
            for at in moves {
                match begin(plans, &plan, at).await {
                    Ok(()) => {}
                    Err(NotBegun::Waits(why)) => {
                        let id = plan.migration(at).map(|id| id.to_string());
                        waits.insert(id.unwrap_or_default(), why);
                    }
                    Err(NotBegun::Refused(why)) => {
                        lines.push(refused(&plan, at, &why));
                        plan.moves[at].refused = Some(why);
                    }
                }
            }
        }
        Next::Done => {
            lines.push(line(format!("plan {} is done", plan.id), String::new()));
            plan.state = State::Done { at_ms: now().as_ms() };
        }
        Next::Failed(why) => {
            lines.push(line(format!("plan {} has failed", plan.id), why.clone()));
            plan.state = State::Failed { at_ms: now().as_ms(), why };
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    match plans.put(&plan, row.version, lines).await {
        // Somebody changed it meanwhile, or the runner is being begun anew: it is looked at again.
        Ok(()) | Err(Refused::Journal(JournalError::PlanMoved { .. }) | Refused::Away) => Ok(()),
        Err(Refused::Journal(error)) => Err(error),
        Err(
            error @ (Refused::Spec(_)
            | Refused::NotFound(_)
            | Refused::Denied(_)
            | Refused::Frozen { .. }
            | Refused::Withheld(_)
            | Refused::Freeze(_)
            | Refused::Shift(_)),
        ) => {
            tracing::warn!(plan = plan.id, %error, "a plan cannot be written");
            Ok(())
        }
    }
}

fn line(what: String, why: String) -> Line {
    let mut line = Line::own(now().as_ms(), Kind::Phase, what);
    line.why = why;
    line
}

fn refused(plan: &Plan, at: usize, why: &str) -> Line {
    let decided = &plan.moves[at];
    let what = format!("move {} of plan {} from {} to {}", at + 1, plan.id, decided.from, decided.to);
    let mut line = Line::own(now().as_ms(), Kind::Refused, what).by("isotherm", why);
    line.partition = Some(format!("{}/{}", plan.system, decided.partition));
    line
}

/// Begins a move.
async fn begin(plans: &Plans, plan: &Plan, at: usize) -> Result<(), NotBegun> {
    let spec = specified(plans, plan, at)?;
    let approval = plan.approval.as_ref();
    let by = approval.map_or_else(|| plan.by.clone(), |approval| approval.by.clone());
    let why = if plan.reason.is_empty() { plan.asked.words() } else { plan.reason.clone() };
    let reason = format!("plan {}, move {}: {why}", plan.id, at + 1);
    let start = Start { spec, by, reason, trigger: Trigger::Plan };
    match plans.migrations.handle.start(start).await {
        Ok(_) => Ok(()),
        Err(
            refused @ (Refused::Frozen { .. }
            | Refused::Withheld(_)
            | Refused::Away
            | Refused::Journal(_)
            | Refused::Freeze(_)),
        ) => Err(NotBegun::Waits(refused.to_string())),
        Err(refused @ (Refused::Spec(_) | Refused::NotFound(_) | Refused::Denied(_) | Refused::Shift(_))) => {
            Err(NotBegun::Refused(refused.to_string()))
        }
    }
}

/// The migration that a move becomes, checked against the topology of the moment.
fn specified(plans: &Plans, plan: &Plan, at: usize) -> Result<Spec, NotBegun> {
    let decided = &plan.moves[at];
    let never = |error: isotherm_model::InvalidName| NotBegun::Refused(error.to_string());
    let partition = plan.partition(&decided.partition).map_err(never)?;
    if let Some(why) = plans.migrations.stays(&partition) {
        return Err(NotBegun::Refused(why));
    }
    if let Some(why) = plans.migrations.forbids(&partition) {
        return Err(NotBegun::Waits(why));
    }
    let target = plan.node(&decided.to).map_err(never)?;
    if plans.is_cordoned(&target) {
        return Err(NotBegun::Refused(format!("{} is cordoned", decided.to)));
    }
    let id = plan.migration(at).ok_or_else(|| NotBegun::Refused("its id is too long".to_owned()))?;
    let asked = Asked {
        id,
        partition,
        source: Some(plan.node(&decided.from).map_err(never)?),
        repair: decided.reason == Reason::Lost,
        target,
        gated: false,
        probation_ms: plan.probation_ms,
        bytes_per_s: None,
    };
    let topology = plans.topologies.borrow().clone();
    specify(&topology, &plans.migrations.config, asked).map_err(|problem| match problem {
        Problem::Stale(_) | Problem::NoAdapter(_) => NotBegun::Waits(problem.to_string()),
        Problem::NoPartition(_)
        | Problem::NoNode(_)
        | Problem::WhichSource { .. }
        | Problem::NotThere { .. }
        | Problem::ThereAlready { .. }
        | Problem::Immovable(_) => NotBegun::Refused(problem.to_string()),
    })
}

/// Why the first of these moves could not become a migration, if so: what can be known before anything is begun.
pub(crate) fn impossible(plans: &Plans, plan: &Plan, moves: &[usize]) -> Option<String> {
    let why = |at: &usize| match specified(plans, plan, *at) {
        Ok(spec) => {
            let repairs = matches!(spec.origin, isotherm_migration::Origin::Repair { .. });
            let cannot = repairs && !spec.capabilities.repair_from_replica;
            cannot.then(|| format!("the adapter of {} cannot repair from a surviving replica", plan.system))
        }
        Err(NotBegun::Waits(why) | NotBegun::Refused(why)) => Some(format!("move {}: {why}", at + 1)),
    };
    moves.iter().find_map(why)
}
