//! Plans as messages.

use crate::plan::kept::{Asked, Move, Plan, State};
use crate::plan::progress::Standing;
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::PlanAction;
use isotherm_runner::Entry;
use isotherm_runner::journal::{Cordon, name_of};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a plan that is watched is looked at where nothing is said to have changed.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Between two looks at the least: what runs is told of many times a second.
pub(super) const LEAST: Duration = Duration::from_millis(100);

/// What an action is called in the diary.
pub(super) fn verb(action: PlanAction) -> &'static str {
    match action {
        PlanAction::Unspecified => "nothing of",
        PlanAction::Approve => "approve",
        PlanAction::Execute => "execute",
        PlanAction::Cancel => "cancel",
        PlanAction::Retry => "retry",
        PlanAction::Remove => "remove",
    }
}

pub(super) fn plan(
    plan: &Plan,
    entries: &BTreeMap<&str, &Entry>,
    standings: &[Standing],
    waits: &BTreeMap<String, String>,
) -> wire::Plan {
    let count = |which: fn(&Standing) -> bool| standings.iter().filter(|one| which(one)).count() as u64;
    let moves = plan.moves.iter().zip(standings).enumerate();
    let moves: Vec<_> =
        moves.map(|(at, (one, standing))| of_move(plan, at, one, standing, entries, waits)).collect();
    let (ended_ms, why) = match &plan.state {
        State::Draft | State::Approved => (None, String::new()),
        State::Executing => (None, waiting(&moves)),
        State::Done { at_ms } => (Some(*at_ms), String::new()),
        State::Failed { at_ms, why } | State::Cancelled { at_ms, why } => (Some(*at_ms), why.clone()),
    };
    wire::Plan {
        id: plan.id.clone(),
        system: plan.system.clone(),
        state: plan.state.word().to_owned(),
        created_ms: plan.created_ms,
        who: plan.by.clone(),
        reason: plan.reason.clone(),
        request: Some(request(&plan.system, &plan.asked)),
        revision: plan.revision,
        cycle_ms: plan.cycle_ms,
        move_count: plan.moves.len() as u64,
        moves,
        bytes: plan.bytes,
        waves: plan.waves,
        size_before: plan.before.size,
        size_after: plan.after.size,
        load_before: plan.before.load,
        load_after: plan.after.load,
        refusals: plan.refusals.clone(),
        left_out: plan.left_out.clone(),
        closed: plan.closed.clone(),
        no_load: plan.no_load.clone().unwrap_or_default(),
        approval: plan.approval.as_ref().map(|approval| wire::PlanApproval {
            who: approval.by.clone(),
            reason: approval.reason.clone(),
            at_ms: approval.at_ms,
            until_ms: approval.until_ms,
        }),
        ended_ms,
        why,
        done: count(|one| matches!(one, Standing::Done)),
        under_way: count(|one| matches!(one, Standing::UnderWay | Standing::Switched)),
        failed: count(|one| matches!(one, Standing::Failed(_))),
    }
}

/// What a plan waits for: what its first move does that needs or waits for something.
fn waiting(moves: &[wire::PlannedMove]) -> String {
    let stopped = moves.iter().find(|one| one.phase == "NEEDS_OPERATOR");
    let stopped = stopped.or_else(|| moves.iter().find(|one| one.standing == "waits"));
    stopped.map_or_else(String::new, |one| match one.phase.as_str() {
        "NEEDS_OPERATOR" => format!("move {} needs an operator: {}", one.number, one.why),
        _ => format!("move {} waits: {}", one.number, one.why),
    })
}

fn of_move(
    plan: &Plan,
    at: usize,
    decided: &Move,
    standing: &Standing,
    entries: &BTreeMap<&str, &Entry>,
    waits: &BTreeMap<String, String>,
) -> wire::PlannedMove {
    let id = plan.migration(at).map(|id| id.to_string()).unwrap_or_default();
    let entry = entries.get(id.as_str());
    let waits = waits.get(&id).filter(|_| *standing == Standing::Planned);
    let why = match (standing, entry) {
        (Standing::Failed(why), _) => why.clone(),
        (Standing::Held(before), _) => format!("move {} comes first", before + 1),
        (Standing::UnderWay, Some(entry)) => {
            let cause = entry.migration.cause().map(ToString::to_string).unwrap_or_default();
            match &entry.about.words {
                Some(words) if !cause.is_empty() => format!("{cause} ({words})"),
                Some(_) | None => cause,
            }
        }
        (Standing::Planned | Standing::UnderWay | Standing::Switched | Standing::Done, _) => {
            waits.cloned().unwrap_or_default()
        }
    };
    wire::PlannedMove {
        number: u32::try_from(at + 1).unwrap_or(u32::MAX),
        partition: decided.partition.clone(),
        source: decided.from.clone(),
        target: decided.to.clone(),
        repair: decided.reason == crate::plan::kept::Reason::Lost,
        bytes: decided.bytes,
        wave: decided.wave + 1,
        reason: decided.reason.word().to_owned(),
        gain: decided.gain.clone(),
        score: decided.score,
        runner_up: decided.runner_up.as_ref().map(|(node, _)| node.clone()).unwrap_or_default(),
        runner_up_score: decided.runner_up.as_ref().and_then(|(_, score)| *score),
        rejected: decided
            .rejected
            .iter()
            .map(|(constraint, nodes)| wire::RejectedNodes { constraint: constraint.clone(), nodes: *nodes })
            .collect(),
        standing: if waits.is_some() { "waits" } else { standing.word() }.to_owned(),
        migration: entry.map(|_| id).unwrap_or_default(),
        phase: entry.map(|entry| name_of(entry.migration.phase())).unwrap_or_default(),
        why,
    }
}

fn request(system: &str, asked: &Asked) -> wire::PlanRequest {
    let relieve = asked.relieve.iter();
    let capacities = asked.capacities.iter();
    wire::PlanRequest {
        system: system.to_owned(),
        drain: asked.drain.clone(),
        relieve: relieve
            .map(|(node, share)| wire::RelievedNode { node: node.clone(), share: *share })
            .collect(),
        fill: asked.fill.clone(),
        repair: asked.repair,
        balance: asked.balance,
        proactive: asked.proactive,
        most_moves: asked.most_moves,
        most_bytes: asked.most_bytes,
        capacities: capacities
            .map(|(node, bytes)| wire::NodeCapacity { node: node.clone(), bytes: *bytes })
            .collect(),
    }
}

pub(super) fn cordon(cordon: &Cordon) -> wire::CordonState {
    wire::CordonState {
        system: cordon.system.clone(),
        node: cordon.node.clone(),
        since_ms: cordon.since_ms,
        who: cordon.by.clone(),
        reason: cordon.reason.clone(),
    }
}
