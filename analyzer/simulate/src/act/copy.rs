//! Replicas are copied away from nodes of a far too high hazard and from those without headroom.

use super::Actor;
use super::belief::Belief;
use crate::cluster::Cluster;
use crate::world::REPLICAS;
use isotherm_risk::{Move, Node, Situation, Verdict, decide};

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

/// The node that leaves the least loss, if the gate lets a copy to it pass.
fn best(belief: &Belief<'_>, cluster: &Cluster<'_>, partition: usize, slot: usize) -> Option<Node> {
    let holders = belief.holders[partition];
    let shares = *belief.shares(partition);
    let more = shares[slot] * belief.reads_per_s[partition];
    let before = belief.loss(partition, &holders, &shares);
    let with = |node: Node| {
        let mut there = holders;
        there[slot] = node;
        there
    };
    let busy = |node: Node| cluster.nodes.copies[node.at()] >= NODE_COPIES;
    let mut found: Option<(f64, Node)> = None;
    for node in (0..belief.up.len()).map(|at| Node(at as u32)) {
        let apart = cluster.is_apart(partition, slot, node.0 as u16);
        if busy(node) || busy(holders[slot]) || !apart || !belief.takes(node, more, false) {
            continue;
        }
        let gain = belief.saved(&before, &belief.loss(partition, &with(node), &shares));
        if found.is_none_or(|(most, _)| gain > most) {
            found = Some((gain, node));
        }
    }
    let (_, node) = found?;
    let there = with(node);
    let best = Move {
        from: holders[slot],
        to: node,
        bytes: belief.bytes(partition),
        gain: belief.gain(partition, &there, &shares),
        loss_after_per_hour: belief.loss(partition, &there, &shares).per_hour().unwrap_or(f64::NAN),
        cost: belief.cost_of_copy(partition, shares[slot]),
        exposure_per_hour: Some(belief.exposure(partition, &holders)),
        exposure_after_per_hour: Some(belief.exposure(partition, &there)),
        destination: belief.destination(node, more),
    };
    let situation = Situation { best_move: Some(best), ..belief.situation(partition) };
    matches!(decide(&situation, &belief.gate(false)).verdict, Verdict::Move(..)).then_some(node)
}

/// Copies at once that a node takes part in, as in plans.
const NODE_COPIES: u32 = 4;
