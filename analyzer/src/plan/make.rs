//! A plan from what is asked for and what is known: snapshot, planner, checker, schedule, and all of it by name.

use super::kept::{Asked, Move, Plan, Pressure, Reason, State};
use super::outlook;
use super::snapshot::{Chart, ChartError, LeftOut, Sources, chart};
use crate::cycle::Cycled;
use crate::topology::Topology;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_placement as placement;
use isotherm_placement::{Action, Gain, Node, Policy, Rejected, Request, Schedule, StuckCause, Violation};
use isotherm_runner::Entry;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Moves whose explanation is kept: each is found by planning again up to it.
const MOST_EXPLAINED: usize = 200;

/// What plans are made from.
pub(super) struct Known<'a> {
    pub(super) topology: &'a Topology,
    pub(super) cycled: Option<&'a Cycled>,
    pub(super) cordoned: &'a BTreeSet<NodeId>,
    /// Migrations that have not ended, and those that ended lately.
    pub(super) migrations: &'a [Entry],
    /// Why nobody may touch a partition, if so.
    pub(super) untouchable: &'a dyn Fn(&PartitionId) -> Option<String>,
    /// Copies at once that a node may take part in.
    pub(super) node_copies: u16,
    pub(super) now_ms: u64,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub(crate) enum MakeError {
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error("{0} is no node of {1}; `isotherm get nodes` lists them")]
    NoNode(String, SystemId),
    #[error("nothing is asked for: say drain, relieve, fill, repair, balance or proactive")]
    Nothing,
    #[error("{0} cannot be both emptied or relieved, and filled")]
    Both(String),
    #[error("{0} is cordoned and takes nothing; `isotherm node uncordon {0}` ends that")]
    Cordoned(String),
    #[error("no cycle has judged the partitions yet: what is likely to hurt is not known")]
    NoCycle,
    #[error("the planner made a plan that its checker refuses, which is a fault of isotherm: {0}")]
    Refuted(String),
}

/// A plan without an id, whom it is by, and why.
pub(super) fn make(known: &Known<'_>, system: &SystemId, asked: &Asked) -> Result<Plan, MakeError> {
    check(known, system, asked)?;
    let charted = charted(known, system, asked)?;
    let node = |name: &String| charted.nodes.iter().position(|node| node.name() == name);
    let position = |names: &mut dyn Iterator<Item = &String>| -> Vec<Node> {
        names.filter_map(node).filter_map(|at| u16::try_from(at).ok()).map(Node).collect()
    };
    let request = Request {
        repair: asked.repair,
        drain: !asked.drain.is_empty(),
        shed: position(&mut asked.relieve.keys()),
        fill: position(&mut asked.fill.iter()),
        risk: None,
        balance: asked.balance,
    };
    let snapshot = &charted.snapshot;
    let (planned, explained) = match known.cycled.filter(|_| asked.proactive) {
        Some(cycled) => outlook::with(&charted, cycled, |outlook| {
            let planned = placement::plan(snapshot, &Request { risk: Some(outlook), ..request });
            let bounded = bounded(planned, asked);
            let explained = explained(&charted, &bounded.0, Some(&outlook));
            (bounded, explained)
        }),
        None => {
            let bounded = bounded(placement::plan(snapshot, &request), asked);
            let explained = explained(&charted, &bounded.0, None);
            (bounded, explained)
        }
    };
    let (planned, cut) = planned;
    let schedule = placement::schedule(snapshot, &planned);
    let found = placement::check(snapshot, &planned);
    let found = found.into_iter().chain(placement::check_schedule(snapshot, &planned, &schedule)).next();
    if let Some(found) = found {
        return Err(MakeError::Refuted(found.to_string()));
    }
    Ok(told(
        known,
        system,
        asked,
        &Decided { charted: &charted, planned: &planned, schedule: &schedule, cut },
        explained,
    ))
}

/// The system's snapshot, as this request has it.
pub(super) fn charted(known: &Known<'_>, system: &SystemId, asked: &Asked) -> Result<Chart, MakeError> {
    let id = |name: &String| {
        let id = NodeId::new(system.clone(), name.clone()).ok();
        let id = id.filter(|id| known.topology.nodes.contains_key(id));
        id.ok_or_else(|| MakeError::NoNode(name.clone(), system.clone()))
    };
    let drained = asked.drain.iter().map(id).collect::<Result<BTreeSet<_>, _>>()?;
    let lowered = asked.relieve.iter().map(|(name, share)| Ok((id(name)?, *share)));
    let lowered = lowered.collect::<Result<BTreeMap<_, _>, MakeError>>()?;
    let capacities = asked.capacities.iter().map(|(name, bytes)| Ok((id(name)?, *bytes)));
    let capacities = capacities.collect::<Result<BTreeMap<_, _>, MakeError>>()?;
    asked.fill.iter().try_for_each(|name| id(name).map(drop))?;
    let mut policy = Policy {
        byte_budget: asked.most_bytes,
        move_budget: asked.most_moves,
        node_copies: known.node_copies.max(1),
        ..Policy::default()
    };
    if let Some(cycled) = known.cycled {
        outlook::gate(&mut policy, cycled);
    }
    let sources = Sources {
        drained: &drained,
        cordoned: known.cordoned,
        lowered: &lowered,
        capacities: &capacities,
        migrations: known.migrations,
        untouchable: known.untouchable,
        policy,
        now_ms: known.now_ms,
        ..Sources::new(system, known.topology, known.cycled)
    };
    Ok(chart(&sources)?)
}

fn check(known: &Known<'_>, system: &SystemId, asked: &Asked) -> Result<(), MakeError> {
    if asked.is_empty() {
        return Err(MakeError::Nothing);
    }
    if asked.proactive && known.cycled.is_none() {
        return Err(MakeError::NoCycle);
    }
    for name in &asked.fill {
        if asked.drain.contains(name) || asked.relieve.contains_key(name) {
            return Err(MakeError::Both(name.clone()));
        }
        let cordoned = |node: &NodeId| node.system() == system && node.name() == name;
        if known.cordoned.iter().any(cordoned) {
            return Err(MakeError::Cordoned(name.clone()));
        }
    }
    Ok(())
}

/// The plan within the bounds of what is asked for, and how many moves are beyond them. The planner's own budgets bound
/// what it does by choice; here all is bounded. Moves are in the order of their urgency, and each part of a plan from its
/// beginning on is a plan.
fn bounded(mut plan: placement::Plan, asked: &Asked) -> (placement::Plan, usize) {
    let most = asked.most_moves.map_or(usize::MAX, |most| most as usize);
    let (mut bytes, mut kept) = (0_u64, 0);
    for decided in plan.moves.iter().take(most) {
        bytes = bytes.saturating_add(decided.bytes);
        if asked.most_bytes.is_some_and(|most| bytes > most) {
            break;
        }
        kept += 1;
    }
    let cut = plan.moves.len() - kept;
    if cut == 0 {
        return (plan, 0);
    }
    plan.moves.truncate(kept);
    let totals = placement::Totals { bytes: plan.moves.iter().map(|one| one.bytes).sum(), ..plan.totals };
    (placement::Plan::new(plan.parent, plan.moves, plan.refusals, totals), cut)
}

/// Explanations of the first moves, in words.
fn explained(
    charted: &Chart,
    plan: &placement::Plan,
    outlook: Option<&placement::Outlook<'_>>,
) -> Vec<Option<String>> {
    let words = |at: usize| {
        let found = placement::explain::of_move(&charted.snapshot, plan, at, outlook).ok()?;
        let words = found.in_words(charted.snapshot.topology()).to_string();
        // Positions stand for partitions there.
        let name = format!("partition {}", charted.partitions[found.partition.at()].name());
        Some(words.replacen(&format!("partition {}", found.partition.0), &name, 1))
    };
    (0..plan.moves.len().min(MOST_EXPLAINED)).map(words).collect()
}

/// What was decided, by position.
struct Decided<'a> {
    charted: &'a Chart,
    planned: &'a placement::Plan,
    schedule: &'a Schedule,
    /// Moves beyond the bounds.
    cut: usize,
}

fn told(
    known: &Known<'_>,
    system: &SystemId,
    asked: &Asked,
    decided: &Decided<'_>,
    explanations: Vec<Option<String>>,
) -> Plan {
    let Decided { charted, planned, schedule, cut } = decided;
    let totals = &planned.totals;
    let waves = waves(schedule);
    let mut refusals: Vec<String> = planned.refusals.iter().map(|one| refusal(charted, one)).collect();
    let mut moves = Vec::new();
    let mut explanations = explanations.into_iter();
    for (at, one) in (0..).zip(&planned.moves) {
        let explanation = explanations.next().flatten();
        match named(charted, one, waves.get(&at).copied(), explanation) {
            Ok(named) => moves.push(named),
            Err(why) => refusals.push(why),
        }
    }
    let emptied = |node: &NodeId| asked.drain.iter().any(|name| name == node.name());
    let stays = |left: &&LeftOut| left.holders.iter().any(emptied);
    refusals.extend(charted.left_out.iter().filter(stays).map(left_out));
    if *cut > 0 {
        refusals.push(format!("{cut} moves more are needed, and beyond what this plan may do"));
    }
    // What is left of a plan that was cut is another cluster than the planner measured.
    let after = if *cut == 0 { pressure(totals.after) } else { Pressure::default() };
    Plan {
        id: String::new(),
        system: system.to_string(),
        created_ms: known.now_ms,
        by: String::new(),
        reason: String::new(),
        asked: asked.clone(),
        revision: planned.parent,
        cycle_ms: known.cycled.map(|cycled| cycled.at.as_ms()),
        bytes: moves.iter().map(|one: &Move| one.bytes).sum(),
        waves: moves.iter().map(|one| one.wave + 1).max().unwrap_or(0),
        moves,
        before: pressure(totals.before),
        after,
        refusals,
        left_out: charted.left_out.iter().map(left_out).collect(),
        closed: charted.closed.iter().map(|(node, why)| format!("{}: {why}", node.name())).collect(),
        no_load: charted.no_load.clone(),
        approval: None,
        probation_ms: None,
        state: State::Draft,
    }
}

/// The wave of each move that can be made, by position. What only waits for copies under way, whose end the schedule does
/// not know, comes last: the runner lets it wait.
fn waves(schedule: &Schedule) -> BTreeMap<u32, u32> {
    let mut waves: BTreeMap<u32, u32> =
        schedule.steps.iter().map(|step| (step.position, step.wave)).collect();
    for stuck in &schedule.stuck {
        let waits = match stuck.cause {
            StuckCause::Busy { .. } => true,
            StuckCause::After { position } => waves.contains_key(&position),
            StuckCause::Stale
            | StuckCause::DoesNotFit
            | StuckCause::InFlight
            | StuckCause::NoSource
            | StuckCause::Room { .. } => false,
        };
        if waits {
            waves.insert(stuck.position, schedule.waves);
        }
    }
    waves
}

fn pressure(measured: placement::Pressure) -> Pressure {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    Pressure { size: finite(measured.size), load: finite(measured.load) }
}

fn left_out(left: &LeftOut) -> String {
    let holders: Vec<&str> = left.holders.iter().map(NodeId::name).collect();
    format!("{} on {}: {}", left.partition.name(), holders.join(", "), left.why)
}

fn name(charted: &Chart, node: Node) -> String {
    charted.nodes[node.at()].name().to_owned()
}

fn refusal(charted: &Chart, refusal: &placement::Refusal) -> String {
    let partition = refusal.partition.map(|partition| charted.partitions[partition.at()].name());
    match (partition, refusal.node) {
        (Some(partition), Some(node)) => format!("{partition} on {}: {}", name(charted, node), refusal.cause),
        (Some(partition), None) => format!("{partition}: {}", refusal.cause),
        (None, Some(node)) => format!("{}: {}", name(charted, node), refusal.cause),
        (None, None) => refusal.cause.to_string(),
    }
}

/// A move by name, or why it cannot become a migration.
fn named(
    charted: &Chart,
    decided: &placement::Move,
    wave: Option<u32>,
    explanation: Option<String>,
) -> Result<Move, String> {
    let partition = charted.partitions[decided.partition.at()].name().to_owned();
    let (from, to) = match decided.action {
        Action::Copy { from: Some(from), to } => (name(charted, from), name(charted, to)),
        Action::Copy { from: None, to } => {
            return Err(format!("{partition}: one more replica, on {}, is no migration", name(charted, to)));
        }
        Action::Lead { .. } | Action::DrainReads { .. } => {
            return Err(format!("{partition}: plans do not shift reads"));
        }
    };
    let Some(wave) = wave else {
        return Err(format!("{partition}: cannot go from {from} to {to} beside what is under way"));
    };
    let finite = |value: f64| value.is_finite().then_some(value);
    Ok(Move {
        partition,
        from,
        to,
        bytes: decided.bytes,
        epoch: decided.epoch,
        wave,
        reason: reason(decided.reason),
        gain: gain(decided.gain),
        score: finite(decided.score),
        runner_up: decided.runner_up.map(|(node, score)| (name(charted, node), finite(score))),
        rejected: rejected(decided.rejected),
        explanation,
        attempt: 0,
        refused: None,
    })
}

/// `Missing` cannot come of a copy that leaves a node.
fn reason(reason: placement::Reason) -> Reason {
    match reason {
        placement::Reason::Lost | placement::Reason::Missing => Reason::Lost,
        placement::Reason::Draining => Reason::Draining,
        placement::Reason::Overfull => Reason::Overfull,
        placement::Reason::Underfull => Reason::Underfull,
        placement::Reason::Balance => Reason::Balance,
        placement::Reason::Risk => Reason::Risk,
    }
}

/// The planner's reason.
pub(crate) fn reason_of(reason: Reason) -> placement::Reason {
    match reason {
        Reason::Lost => placement::Reason::Lost,
        Reason::Draining => placement::Reason::Draining,
        Reason::Overfull => placement::Reason::Overfull,
        Reason::Underfull => placement::Reason::Underfull,
        Reason::Balance => placement::Reason::Balance,
        Reason::Risk => placement::Reason::Risk,
    }
}

fn gain(gain: Gain) -> String {
    match gain {
        Gain::Replicas { before, after } => format!("{after} replicas that stay instead of {before}"),
        Gain::Pressure { before, after } if before.is_finite() => {
            format!("pressure {after:.3} of the mean instead of {before:.3}")
        }
        Gain::Pressure { .. } => "a node of no capacity is left".to_owned(),
        Gain::Loss { benefit, cost } => format!("saves {benefit:.3} client-minutes for {cost:.3}"),
    }
}

fn rejected(rejected: Rejected) -> Vec<(String, u32)> {
    let Rejected { not_a_target, risk, holds, domain, capacity, returned, headroom, copysets } = rejected;
    let all = [
        ("not a target", not_a_target),
        ("risk", risk),
        ("holds it", holds),
        ("failure domain", domain),
        ("capacity", capacity),
        ("left not long ago", returned),
        ("headroom", headroom),
        ("copysets", copysets),
    ];
    let some = all.into_iter().filter(|(_, nodes)| *nodes > 0);
    some.map(|(constraint, nodes)| (constraint.to_owned(), u32::from(nodes))).collect()
}

/// What a violation says, with the names of the nodes in it.
pub(super) fn in_words(charted: &Chart, found: &Violation, nodes: [Node; 2]) -> String {
    let mut words = found.fault.to_string();
    for node in nodes {
        let (number, called) = (format!("node {}", node.0), name(charted, node));
        words = words.replace(&format!("{number} "), &format!("{called} "));
        words = words.replace(&format!("{number},"), &format!("{called},"));
    }
    words
}
