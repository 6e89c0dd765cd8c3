//! Replicas are copied away from nodes of a far too high hazard and from those without headroom.

use super::Actor;
use super::belief::Belief;
use crate::cluster::Cluster;
use crate::world::REPLICAS;
use isotherm_risk::{Node, Verdict, decide};

/// Copies what saves the most for each byte, each decided anew on the cluster as it is by then.
pub(super) fn run(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    if actor.bytes <= 0.0 {
        return;
    }
    let leave: Vec<bool> = (0..belief.up.len()).map(|at| belief.is_cause(Node(at as u32))).collect();
    if !leave.contains(&true) {
        return;
    }
    let mut slots: Vec<(f64, usize, usize)> = Vec::new();
    for partition in 0..belief.holders.len() {
        let holders = belief.holders[partition];
        let whole = holders.iter().all(|node| belief.up[node.at()]);
        if !whole || belief.copied[partition] || !actor.cooled(partition, cluster.tick) {
            continue;
        }
        for slot in (0..REPLICAS).filter(|slot| leave[holders[*slot].at()]) {
            let size = belief.analyst.facts().sizes[partition];
            slots.push((rough(belief, partition, slot) / size, partition, slot));
        }
    }
    slots.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    slots.truncate(actor.limits.looks);
    for (_, partition, slot) in slots {
        let from = belief.holders[partition][slot];
        if belief.copied[partition] || belief.analyst.facts().sizes[partition] > actor.bytes {
            continue;
        }
        // What left it may have made room enough.
        if !belief.is_cause(from) {
            continue;
        }
        let Some(to) = best(belief, cluster, partition, slot) else { continue };
        if actor.copy(cluster, partition, slot, to.0 as u16) {
            let mut holders = belief.holders[partition];
            holders[slot] = to;
            belief.copied[partition] = true;
            belief.change(
                partition,
                holders,
                belief.drained[partition].filter(|at| usize::from(*at) != slot),
            );
        }
    }
}

/// What leaving a slot could save: all that its node adds to the loss.
fn rough(belief: &Belief<'_>, partition: usize, slot: usize) -> f64 {
    let node = belief.holders[partition][slot];
    let serves = belief.shares(partition)[slot] * belief.reads_per_s[partition];
    let over = (belief.filled(node) - 0.6).max(0.0);
    serves * (belief.hazards.per_h[node.at()] + over)
}

/// The node that a copy saves the most on, if the gate lets that copy pass.
fn best(belief: &Belief<'_>, cluster: &Cluster<'_>, partition: usize, slot: usize) -> Option<Node> {
    let more = belief.shares(partition)[slot] * belief.reads_per_s[partition];
    let busy = |node: Node| cluster.nodes.copies[node.at()] >= NODE_COPIES;
    if busy(belief.holders[partition][slot]) {
        return None;
    }
    let fits = |node: &Node| {
        let apart = cluster.is_apart(partition, slot, node.0 as u16);
        !busy(*node) && apart && belief.takes(*node, more, false)
    };
    let to = (0..belief.up.len()).map(|at| Node(at as u32)).filter(fits);
    let candidates = belief.candidates(false);
    let mut situation = belief.situation(partition);
    let drift = situation.drift_per_hour;
    situation.best_move =
        candidates.best_move(&belief.lying(partition), slot, belief.bytes(partition), drift, to);
    match decide(&situation, candidates.gate).verdict {
        Verdict::Move(best, _) => Some(best.to),
        Verdict::Nothing
        | Verdict::ShiftReads(..)
        | Verdict::MovingWillNotHelp(_)
        | Verdict::SplitIt { .. }
        | Verdict::SlowDownClients { .. } => None,
    }
}

/// Copies at once that a node takes part in, as in plans.
const NODE_COPIES: u32 = 4;
