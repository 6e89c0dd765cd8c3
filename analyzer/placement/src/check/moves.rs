//! A plan's moves, one after the other.

use super::facts::Facts;
use super::replay::Replay;
use super::{Fault, Moment, Violation};
use crate::ids::Node;
use crate::plan::{Action, Move, Plan, Reason};
use crate::topology::NodeState;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

type At = (Option<u32>, Moment);

/// Nodes that a partition was copied away from by the plan so far; absent for replicas that were added.
type Left = Vec<(Option<Node>, Reason)>;

pub(super) fn check(facts: &Facts<'_>, plan: &Plan) -> Vec<Violation> {
    let mut replay = Replay::new(facts, plan);
    if plan.hash.0 != hash(plan) {
        replay.found.push(Violation::whole(Fault::Hash));
    }
    let mut left = BTreeMap::new();
    for (position, decided) in plan.moves.iter().enumerate() {
        let at = (Some(position as u32), Moment::Decided);
        let Some(place) = replay.place(decided.partition) else {
            replay.add(at, Fault::NoSuchPartition);
            continue;
        };
        if let Some(node) = replay.unknown_node(decided.action) {
            replay.add(at, Fault::NoSuchNode { node });
            continue;
        }
        check_facts(&mut replay, decided, at);
        if let Action::Copy { from, to } = decided.action {
            check_target(&mut replay, to, at);
            let left: &mut Left = left.entry(decided.partition).or_default();
            check_history(&mut replay, decided, to, left, at);
            left.push((from, decided.reason));
        }
        if !replay.fits(place, decided.action, at) {
            continue;
        }
        match decided.action {
            Action::Copy { to, .. } => {
                replay.begin(decided, to, at);
                replay.end(place, decided, at);
            }
            Action::Lead { to, .. } => replay.lead(place, to),
            Action::DrainReads { .. } => {}
        }
    }
    check_budgets(&mut replay, plan);
    replay.found
}

/// Epoch, bytes, copies under way.
fn check_facts(replay: &mut Replay<'_>, decided: &Move, at: At) {
    let facts = replay.facts;
    let (planned, current) = (decided.epoch, facts.snapshot.partitions().epoch.get(decided.partition));
    if planned != current {
        replay.add(at, Fault::Epoch { planned, current });
    }
    let needed = match decided.action {
        Action::Copy { .. } => facts.size(decided.partition),
        Action::Lead { .. } | Action::DrainReads { .. } => 0,
    };
    if decided.bytes != needed {
        replay.add(at, Fault::Bytes { planned: decided.bytes, needed });
    }
    if facts.in_flight.binary_search(&decided.partition).is_ok() {
        replay.add(at, Fault::InFlight);
    }
}

fn check_target(replay: &mut Replay<'_>, to: Node, at: At) {
    let snapshot = replay.facts.snapshot;
    let target = &snapshot.topology().nodes()[to.at()];
    match target.state {
        NodeState::Up => {}
        NodeState::Draining => replay.add(at, Fault::TargetDraining { to }),
        NodeState::Down => replay.add(at, Fault::TargetDown { to }),
    }
    if target.cordoned {
        replay.add(at, Fault::TargetCordoned { to });
    }
    if target.capacity_bytes == 0 {
        replay.add(at, Fault::TargetNoCapacity { to });
    }
    if let (Some(risk), Some(limit)) = (target.risk, snapshot.policy().risk_limit)
        && risk > limit
    {
        replay.add(at, Fault::TargetRisk { to, risk, limit });
    }
}

/// Pins, cool-downs, and returns to a node left not long ago.
fn check_history(replay: &mut Replay<'_>, decided: &Move, to: Node, left: &Left, at: At) {
    let snapshot = replay.facts.snapshot;
    let (partitions, policy, now_s) = (snapshot.partitions(), snapshot.policy(), snapshot.now_s());
    let (needless, by_choice) = match decided.reason {
        Reason::Lost | Reason::Missing | Reason::Draining => (false, false),
        Reason::Overfull | Reason::Underfull => (true, false),
        Reason::Balance | Reason::Risk => (true, true),
    };
    if needless && partitions.pinned.get(decided.partition) {
        replay.add(at, Fault::Pinned);
    }
    let before_s = partitions.moved_at_s.get(decided.partition);
    // Several replicas moved for one reason are one decision; a second decision in the same plan is too soon.
    let again = left.iter().any(|(_, reason)| *reason != decided.reason);
    let last_s = if again { Some(now_s) } else { before_s };
    let until_s = last_s.map_or(0, |last_s| last_s.saturating_add(policy.cool_down_s));
    if !by_choice {
        return;
    }
    if now_s < until_s {
        replay.add(at, Fault::CoolingDown { until_s });
    }
    let recent = before_s.is_some_and(|moved_at_s| now_s.saturating_sub(moved_at_s) < policy.no_return_s);
    let returns = recent && partitions.last_left.get(decided.partition) == Some(to);
    if returns || policy.no_return_s > 0 && left.iter().any(|(from, _)| *from == Some(to)) {
        replay.add(at, Fault::Returned { to });
    }
}

fn check_budgets(replay: &mut Replay<'_>, plan: &Plan) {
    let policy = replay.facts.snapshot.policy();
    let (mut bytes, mut moves) = (0u128, 0u32);
    for decided in &plan.moves {
        match decided.reason {
            Reason::Balance | Reason::Risk => {
                bytes += u128::from(decided.bytes);
                moves += 1;
            }
            Reason::Lost | Reason::Missing | Reason::Draining | Reason::Overfull | Reason::Underfull => {}
        }
    }
    if let Some(budget_bytes) = policy.byte_budget.filter(|budget| bytes > u128::from(*budget)) {
        replay.found.push(Violation::whole(Fault::ByteBudget { bytes, budget_bytes }));
    }
    if let Some(budget) = policy.move_budget.filter(|budget| moves > *budget) {
        replay.found.push(Violation::whole(Fault::MoveBudget { moves, budget }));
    }
}

/// The hash again, by its definition: numbers little-endian; of the parent, and of each move its partition, the kind
/// of its action (copy 0, lead 1, drain 2), the nodes from and to with 65,535 for none, bytes and epoch.
fn hash(plan: &Plan) -> [u8; 32] {
    let none = Node(u16::MAX);
    let mut text: Vec<u8> = plan.parent.to_le_bytes().to_vec();
    text.reserve(plan.moves.len() * 25);
    for decided in &plan.moves {
        let (kind, [from, to]) = match decided.action {
            Action::Copy { from, to } => (0u8, [from.unwrap_or(none), to]),
            Action::Lead { from, to } => (1, [from, to]),
            Action::DrainReads { from } => (2, [from, none]),
        };
        text.extend(decided.partition.0.to_le_bytes());
        text.push(kind);
        text.extend([from.0.to_le_bytes(), to.0.to_le_bytes()].concat());
        text.extend([decided.bytes.to_le_bytes(), decided.epoch.to_le_bytes()].concat());
    }
    Sha256::digest(&text).into()
}
