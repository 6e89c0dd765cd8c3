//! What a plan must be, whatever was asked: each move possible and allowed when it is its turn, everything asked for
//! either done or refused, and each refusal true. Written against the definitions, sharing no code with the planner.

use super::room::{domains_allow, is_target, most_replicas};
use isotherm_placement::{
    Action, Assignment, Cause, Cluster, Node, NodeState, Partition, Plan, Reason, Refusal, Request,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that rounding may hide, per byte of capacity.
const ROUNDING: f64 = 1e-9;

/// What is wrong with a plan, one sentence each.
pub(crate) fn faults(cluster: &Cluster, request: &Request<'_>, plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    if plan.parent != cluster.revision {
        faults.push(format!("made for revision {}, not {}", plan.parent, cluster.revision));
    }
    let after = follow(cluster, plan, &mut faults);
    rows(cluster, request, plan, &after, &mut faults);
    room(cluster, plan, &mut faults);
    choices(cluster, plan, &mut faults);
    if request.repair {
        repaired(cluster, request, plan, &after, &mut faults);
    }
    totals(plan, &mut faults);
    faults
}

/// The assignment when copies under way have ended.
pub(crate) fn settled(cluster: &Cluster) -> Assignment {
    let mut assignment = cluster.assignment.clone();
    for copy in &cluster.in_flight {
        assert!(assignment.replace(copy.partition, copy.from, copy.to), "a copy under way fits");
    }
    assignment
}

fn follow(cluster: &Cluster, plan: &Plan, faults: &mut Vec<String>) -> Assignment {
    let mut after = settled(cluster);
    let in_flight: BTreeSet<Partition> = cluster.in_flight.iter().map(|copy| copy.partition).collect();
    for decided in &plan.moves {
        let p = decided.partition;
        if in_flight.contains(&p) {
            faults.push(format!("{p:?} is moved while a copy of it is under way"));
        }
        if decided.epoch != cluster.partitions.epoch.get(p) {
            faults.push(format!("{p:?} names the epoch {}", decided.epoch));
        }
        let (bytes, fits) = match decided.action {
            Action::Copy { from, to } => {
                let empty = from.is_some_and(|from| !after.holds(from, p)) || after.holds(to, p);
                (cluster.partitions.size_bytes[p.at()], !empty && after.replace(p, from, to))
            }
            Action::Lead { from, to } => (0, after.subset(p).next() == Some(from) && after.lead(p, to)),
            Action::DrainReads { from } => (0, after.holds(from, p)),
        };
        if !fits {
            faults.push(format!("{p:?}: {:?} does not fit {:?}", decided.action, subset(&after, p)));
        }
        if decided.bytes != bytes {
            faults.push(format!("{p:?} counts {} bytes for {:?}", decided.bytes, decided.action));
        }
    }
    after
}

/// Replicas are not lost, and what moved respects the domains.
fn rows(cluster: &Cluster, request: &Request<'_>, plan: &Plan, after: &Assignment, faults: &mut Vec<String>) {
    let before = settled(cluster);
    let copied: BTreeSet<Partition> = copies(plan).map(|(p, ..)| p).collect();
    for p in cluster.partitions.all() {
        let (was, is) = (subset(&before, p), subset(after, p));
        let distinct: BTreeSet<Node> = is.iter().copied().collect();
        if is.len() < was.len() || distinct.len() < is.len() {
            faults.push(format!("{p:?} went from {was:?} to {is:?}"));
        }
        if !copied.contains(&p) && is.iter().collect::<BTreeSet<_>>() != was.iter().collect() {
            faults.push(format!("{p:?} was not copied and changed from {was:?} to {is:?}"));
        }
        if is.len() > was.len() && is.len() > usize::from(cluster.partitions.replicas.get(p)) {
            faults.push(format!("{p:?} has more replicas than are wanted: {is:?}"));
        }
    }
    for (p, from, to, reason) in copies(plan) {
        let others: Vec<Node> = after.subset(p).filter(|node| *node != to).collect();
        if after.holds(to, p) && !domains_allow(cluster, &others, to) {
            faults.push(format!("{p:?} has too many replicas in the domain of {to:?}: {others:?}"));
        }
        if !is_target(cluster, to) {
            faults.push(format!("{p:?} goes to {to:?}, which may take nothing"));
        }
        let state = from.map(|from| cluster.topology.node(from).state);
        let right = match reason {
            Reason::Lost => state == Some(NodeState::Down),
            Reason::Draining => state == Some(NodeState::Draining),
            Reason::Missing => state.is_none(),
            Reason::Overfull => from.is_some_and(|from| request.shed.contains(&from)) || request.balance,
            Reason::Underfull => {
                (state == Some(NodeState::Up) && request.fill.contains(&to)) || request.balance
            }
            Reason::Balance => state == Some(NodeState::Up) && request.balance,
            Reason::Risk => state == Some(NodeState::Up) && request.risk.is_some(),
        };
        if !right {
            faults.push(format!("{p:?} leaves {from:?} for {to:?} as {reason:?}, which is not so"));
        }
        if !request.repair && matches!(reason, Reason::Lost | Reason::Draining | Reason::Missing) {
            faults.push(format!("{p:?} is repaired and no repair was asked for"));
        }
    }
}

/// What comes fits beside all that was there, whatever leaves.
fn room(cluster: &Cluster, plan: &Plan, faults: &mut Vec<String>) {
    let nodes = cluster.topology.nodes();
    let mut held = vec![0u128; nodes.len()];
    let size = |p: Partition| u128::from(cluster.partitions.size_bytes[p.at()]);
    for p in cluster.partitions.all() {
        cluster.assignment.subset(p).for_each(|node| held[node.at()] += size(p));
    }
    cluster.in_flight.iter().for_each(|copy| held[copy.to.at()] += size(copy.partition));
    let mut takes = vec![false; nodes.len()];
    for (p, _, to, _) in copies(plan) {
        held[to.at()] += size(p);
        takes[to.at()] |= size(p) > 0;
    }
    for (at, node) in nodes.iter().enumerate() {
        let most = node.capacity_bytes as f64 * cluster.policy.fill_limit;
        if takes[at] && held[at] as f64 > most * (1.0 + ROUNDING) {
            faults.push(format!("node {at} comes to {} bytes of {most}", held[at]));
        }
    }
}

/// Moves by choice keep to what the policy bounds.
fn choices(cluster: &Cluster, plan: &Plan, faults: &mut Vec<String>) {
    let (partitions, policy) = (&cluster.partitions, &cluster.policy);
    let (mut bytes, mut moves) = (0, 0);
    for decided in &plan.moves {
        let p = decided.partition;
        let since = partitions.moved_at_s.get(p).map(|at| cluster.now_s.saturating_sub(at));
        let repair = matches!(decided.reason, Reason::Lost | Reason::Missing | Reason::Draining);
        let balance = matches!(decided.reason, Reason::Balance | Reason::Risk);
        if !repair && partitions.pinned.get(p) {
            faults.push(format!("{p:?} is pinned and moves as {:?}", decided.reason));
        }
        if balance && since.is_some_and(|since| since < policy.cool_down_s) {
            faults.push(format!("{p:?} moves by choice {since:?} s after its last move"));
        }
        let Action::Copy { to, .. } = decided.action else { continue };
        let left = partitions.last_left.get(p) == Some(to);
        if left && since.is_some_and(|since| since < policy.no_return_s) && balance {
            faults.push(format!("{p:?} returns to {to:?} after {since:?} s"));
        }
        if balance {
            (bytes, moves) = (bytes + decided.bytes, moves + 1);
        }
    }
    if policy.byte_budget.is_some_and(|most| bytes > most)
        || policy.move_budget.is_some_and(|most| moves > most)
    {
        faults.push(format!("{moves} moves of {bytes} bytes by choice are over the budget"));
    }
}

/// Every slot that is lost or missing is made again, or refused for a true reason.
fn repaired(
    cluster: &Cluster,
    request: &Request<'_>,
    plan: &Plan,
    after: &Assignment,
    faults: &mut Vec<String>,
) {
    let whole = plan.refusals.iter().any(|refusal| matches!(refusal.cause, Cause::Breaker { .. }));
    let mut refused: BTreeMap<Partition, Vec<&Refusal>> = BTreeMap::new();
    for refusal in &plan.refusals {
        // What is to leave a node that is up is no part of repair.
        let up = |node: Node| cluster.topology.node(node).state == NodeState::Up;
        let sheds = refusal.node.is_some_and(|node| up(node) && request.shed.contains(&node));
        if let (Some(p), false) = (refusal.partition, sheds) {
            refused.entry(p).or_default().push(refusal);
        }
    }
    for refusal in &plan.refusals {
        if let Some(false) = is_true(cluster, after, refusal) {
            let row = refusal.partition.map(|p| subset(after, p));
            faults.push(format!("{refusal:?} is not true of {row:?}"));
        }
    }
    for p in cluster.partitions.all() {
        let open = open_slots(cluster, after, p);
        if open > 0 && !whole && !refused.contains_key(&p) {
            faults.push(format!(
                "{p:?} has {open} replicas to make again, is not refused: {:?}",
                subset(after, p)
            ));
        }
        if open == 0 && refused.get(&p).is_some_and(|all| all.iter().any(|refusal| is_repairs(refusal.cause)))
        {
            faults.push(format!("{p:?} is refused and whole: {:?}", refused[&p]));
        }
    }
}

fn is_repairs(cause: Cause) -> bool {
    matches!(cause, Cause::Capacity { .. } | Cause::Domains { .. } | Cause::Nodes { .. } | Cause::NoSurvivor)
}

/// Replicas of a partition that are not on a node that is up, and should be.
pub(crate) fn open_slots(cluster: &Cluster, assignment: &Assignment, p: Partition) -> usize {
    let up = assignment.subset(p).filter(|node| cluster.topology.node(*node).state == NodeState::Up).count();
    let slots = assignment.subset(p).len().max(usize::from(cluster.partitions.replicas.get(p)));
    slots - up
}

/// Whether a refusal of repair is true of the end; nothing where this cannot tell.
fn is_true(cluster: &Cluster, after: &Assignment, refusal: &Refusal) -> Option<bool> {
    let nodes = cluster.topology.nodes();
    if let Cause::Breaker { lost, limit } = refusal.cause {
        let capacity = |down: bool| -> f64 {
            let counts = nodes.iter().filter(|node| !down || node.state == NodeState::Down);
            counts.map(|node| node.capacity_bytes as f64).sum()
        };
        let share = capacity(true) / capacity(false);
        return Some(limit == cluster.policy.breaker && lost > limit && lost <= share * (1.0 + ROUNDING));
    }
    let p = refusal.partition?;
    let size = cluster.partitions.size_bytes[p.at()];
    let wanted = usize::from(cluster.partitions.replicas.get(p)).max(after.subset(p).len());
    let up = |node: &Node| nodes[node.at()].state == NodeState::Up;
    let kept: Vec<Node> = after.subset(p).filter(up).collect();
    // What has not left yet is in the way, too; where that matters, a test of its own says so.
    let others: Vec<Node> = after.subset(p).filter(|node| Some(*node) != refusal.node).collect();
    let can = |node: Node| is_target(cluster, node);
    match refusal.cause {
        Cause::Capacity { needs_bytes, .. } => {
            let room = free(cluster, after);
            let allowed = cluster.topology.all().filter(|node| can(*node) && !after.holds(*node, p));
            let mut fits = allowed
                .filter(|node| domains_allow(cluster, &others, *node))
                .filter(|node| room[node.at()] >= size as f64 * (1.0 + ROUNDING) + 1.0);
            Some(needs_bytes == size && fits.next().is_none())
        }
        Cause::Domains { feasible, replicas, .. } => {
            let most = most_replicas(cluster, &can, &kept);
            Some(most < wanted && feasible < replicas)
        }
        Cause::Nodes { nodes, .. } => {
            let extra = cluster.topology.all().filter(|node| can(*node) && !kept.contains(node)).count();
            Some(extra + kept.len() < wanted && usize::from(nodes) < wanted)
        }
        Cause::NoTarget { .. } => {
            let room = free(cluster, after);
            let recent = cluster.partitions.moved_at_s.get(p).map(|at| cluster.now_s.saturating_sub(at));
            let may = |node: &Node| {
                let back = cluster.partitions.last_left.get(p) == Some(*node)
                    && recent.is_some_and(|since| since < cluster.policy.no_return_s);
                can(*node)
                    && !after.holds(*node, p)
                    && !back
                    && room[node.at()] > size as f64 * (1.0 + ROUNDING)
            };
            Some(!cluster.topology.all().any(|node| may(&node) && domains_allow(cluster, &others, node)))
        }
        Cause::NoSurvivor => {
            let alive = |node: Node| nodes[node.at()].state != NodeState::Down;
            Some(!settled_sources(cluster, p).into_iter().any(alive))
        }
        Cause::InFlight => Some(cluster.in_flight.iter().any(|copy| copy.partition == p)),
        Cause::Pinned => Some(cluster.partitions.pinned.get(p)),
        // What these say is no matter of fact: it is the policy's weighing, or the sum of what was found.
        Cause::CoolDown { .. }
        | Cause::Budget { .. }
        | Cause::NoGain { .. }
        | Cause::Exposure { .. }
        | Cause::Breaker { .. }
        | Cause::Pressure { .. } => None,
    }
}

/// Who can be copied from: who holds it at the start.
fn settled_sources(cluster: &Cluster, p: Partition) -> Vec<Node> {
    subset(&cluster.assignment, p)
}

/// Bytes that nodes may take yet, with all that is there or comes counted.
fn free(cluster: &Cluster, after: &Assignment) -> Vec<f64> {
    let nodes = cluster.topology.nodes();
    let mut room: Vec<f64> =
        nodes.iter().map(|node| node.capacity_bytes as f64 * cluster.policy.fill_limit).collect();
    let (before, coming) = (&cluster.assignment, settled(cluster));
    for p in cluster.partitions.all() {
        let size = cluster.partitions.size_bytes[p.at()] as f64;
        before.subset(p).for_each(|node| room[node.at()] -= size);
        let new = |node: &Node| !before.holds(*node, p);
        after.subset(p).filter(new).for_each(|node| room[node.at()] -= size);
        let passing = |node: &Node| new(node) && !after.holds(*node, p);
        coming.subset(p).filter(passing).for_each(|node| room[node.at()] -= size);
    }
    room
}

fn totals(plan: &Plan, faults: &mut Vec<String>) {
    let bytes: u64 = plan.moves.iter().map(|decided| decided.bytes).sum();
    if plan.totals.bytes != bytes {
        faults.push(format!("totals say {} bytes, moves {bytes}", plan.totals.bytes));
    }
    let after = plan.totals.after.size;
    if after.is_some_and(|size| !size.is_finite() || size < 0.0) {
        faults.push(format!("the size pressure after is {after:?}"));
    }
}

/// Partition, from, to and reason of what is copied.
pub(crate) fn copies(plan: &Plan) -> impl Iterator<Item = (Partition, Option<Node>, Node, Reason)> + '_ {
    plan.moves.iter().filter_map(|decided| match decided.action {
        Action::Copy { from, to } => Some((decided.partition, from, to, decided.reason)),
        Action::Lead { .. } | Action::DrainReads { .. } => None,
    })
}

pub(crate) fn subset(assignment: &Assignment, p: Partition) -> Vec<Node> {
    assignment.subset(p).collect()
}
