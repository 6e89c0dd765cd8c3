//! Replicas are copied away from nodes of a far too high hazard and from those without headroom.

use super::Actor;
use super::belief::Belief;
use crate::cluster::Cluster;
use crate::policy::Limits;
use crate::world::REPLICAS;
use isotherm_risk::Node;

/// Copies what saves the most for each byte, each decided anew on the cluster as it is by then.
pub(super) fn run(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    if actor.bytes <= 0.0 {
        return;
    }
    let hazardous: Vec<bool> =
        belief.hazards.over_class.iter().map(|over| *over >= actor.limits.hazard_trigger).collect();
    let leave: Vec<bool> =
        (0..belief.up.len()).map(|at| hazardous[at] || belief.violates(Node(at as u32))).collect();
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
        if !hazardous[from.at()] && !belief.violates(from) {
            continue;
        }
        let Some(to) = best(belief, cluster, &actor.limits, partition, slot, hazardous[from.at()]) else {
            continue;
        };
        if actor.copy(cluster, partition, slot, to.0 as u16) {
            let mut holders = belief.holders[partition];
            holders[slot] = to;
            belief.copied[partition] = true;
            belief.change(partition, holders, belief.drained[partition].filter(|at| usize::from(*at) != slot));
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

/// The node that leaves the least loss, if that gains enough.
fn best(
    belief: &Belief<'_>,
    cluster: &Cluster<'_>,
    limits: &Limits,
    partition: usize,
    slot: usize,
    for_hazard: bool,
) -> Option<Node> {
    let holders = belief.holders[partition];
    let shares = *belief.shares(partition);
    let more = shares[slot] * belief.reads_per_s[partition];
    let before = belief.loss(partition, &holders, &shares);
    let mut found: Option<(f64, Node)> = None;
    for at in 0..belief.up.len() {
        let node = Node(at as u32);
        let free = cluster.nodes.copies[at] < 4 && cluster.nodes.copies[holders[slot].at()] < 4;
        if !free || !cluster.is_apart(partition, slot, at as u16) || !belief.takes(node, more, limits) {
            continue;
        }
        let mut there = holders;
        there[slot] = node;
        let gain = belief.gain(&before, &belief.loss(partition, &there, &shares), limits);
        if found.is_none_or(|(most, _)| gain > most) {
            found = Some((gain, node));
        }
    }
    let (gain, node) = found?;
    let mut there = holders;
    there[slot] = node;
    let cost = belief.cost_of_copy(partition, shares[slot]);
    let exposed = for_hazard
        && !belief.violates(holders[slot])
        && belief.exposure(partition, &there) > limits.exposure_left * belief.exposure(partition, &holders);
    (gain > 0.0 && gain >= limits.gain_over_cost * cost && !exposed).then_some(node)
}
