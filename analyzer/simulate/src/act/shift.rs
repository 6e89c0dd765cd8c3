//! Reads are shifted without copying: another replica leads, or one is drained; and what was drained serves again
//! when its cause is gone.

use super::Actor;
use super::belief::Belief;
use crate::cluster::{Cluster, Command};
use crate::policy::Limits;
use crate::world::{REPLICAS, Shares, TICKS_PER_DAY, TICKS_PER_H};
use isotherm_risk::Node;

/// A shift that is worth it.
struct Wish {
    gain: f64,
    partition: usize,
    command: Command,
    holders: [Node; REPLICAS],
    drained: Option<u8>,
}

/// Share of the leader from which on others do not serve, so that nothing can be drained.
const LED: f64 = 0.9;

/// Shifts what gains the most first, each decided anew on the cluster as it is by then.
pub(super) fn run(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    let relieve = relieved(belief, &actor.limits);
    let mut wishes: Vec<(f64, usize)> = (0..belief.holders.len())
        .filter(|partition| may_shift(actor, belief, cluster, *partition))
        .filter_map(|partition| best(belief, &actor.limits, &relieve, partition))
        .map(|wish| (wish.gain, wish.partition))
        .collect();
    wishes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, partition) in wishes {
        if actor.shifts < 1.0 {
            break;
        }
        let Some(wish) = best(belief, &actor.limits, &relieve, partition) else { continue };
        if cluster.obey(wish.command) {
            actor.shifts -= 1.0;
            actor.acted[partition] = Some(cluster.tick);
            belief.change(partition, wish.holders, wish.drained);
        }
    }
}

/// Lets replicas serve again that were drained for a cause that is gone.
pub(super) fn undo(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    let relieve = relieved(belief, &actor.limits);
    for partition in 0..belief.holders.len() {
        let Some(slot) = belief.drained[partition] else { continue };
        let node = belief.holders[partition][usize::from(slot)];
        let since = actor.acted[partition].map_or(usize::MAX, |acted| cluster.tick - acted);
        let soon = since < if belief.parts.gray { TICKS_PER_H } else { TICKS_PER_DAY };
        if soon || relieve[node.at()] || belief.copied[partition] {
            continue;
        }
        let holders = belief.holders[partition];
        let natural = belief.shares_with(partition, None);
        let more = natural[usize::from(slot)] - belief.shares(partition)[usize::from(slot)];
        if !belief.takes(node, more * belief.reads_per_s[partition], &actor.limits) {
            continue;
        }
        if cluster.obey(Command::Undrain { partition }) {
            belief.change(partition, holders, None);
        }
    }
}

/// Nodes that reads are to leave.
fn relieved(belief: &Belief<'_>, limits: &Limits) -> Vec<bool> {
    let of = |at: usize| {
        belief.suspects[at]
            || belief.hazards.over_class[at] >= limits.shift_hazard_trigger
            || belief.violates(Node(at as u32))
    };
    (0..belief.up.len()).map(of).collect()
}

fn may_shift(actor: &Actor, belief: &Belief<'_>, cluster: &Cluster<'_>, partition: usize) -> bool {
    let gray = belief.holders[partition].iter().any(|node| belief.suspects[node.at()]);
    let whole = belief.holders[partition].iter().all(|node| belief.up[node.at()]);
    whole && !belief.copied[partition] && (gray || actor.cooled(partition, cluster.tick))
}

/// The shift of a partition that gains the most, if one gains enough.
fn best(belief: &Belief<'_>, limits: &Limits, relieve: &[bool], partition: usize) -> Option<Wish> {
    let (holders, drained) = (belief.holders[partition], belief.drained[partition]);
    if !holders.iter().any(|node| relieve[node.at()]) {
        return None;
    }
    let now = *belief.shares(partition);
    let reads = belief.reads_per_s[partition];
    let before = belief.loss(partition, &holders, &now);
    let mut found: Option<Wish> = None;
    let mut consider = |command, holders: [Node; REPLICAS], shares: Shares, drained, moved: f64| {
        let old = belief.holders[partition];
        let fits = (0..REPLICAS).all(|slot| {
            let had = old.iter().position(|node| *node == holders[slot]).map_or(0.0, |at| now[at]);
            let more = (shares[slot] - had) * reads;
            more <= 1e-9 * reads || belief.takes(holders[slot], more, limits)
        });
        if !fits || moved <= 0.0 {
            return;
        }
        let gain = belief.gain(&before, &belief.loss(partition, &holders, &shares), limits);
        let cost = belief.cost_of_shift(partition, moved);
        if gain >= limits.shift_gain_over_pause * cost && found.as_ref().is_none_or(|wish| gain > wish.gain) {
            found = Some(Wish { gain, partition, command, holders, drained });
        }
    };
    if relieve[holders[0].at()] {
        for slot in 1..REPLICAS {
            let mut swapped = holders;
            swapped.swap(0, slot);
            let follow = |at: u8| match usize::from(at) {
                0 => slot as u8,
                own if own == slot => 0,
                _ => at,
            };
            let drained = drained.map(follow);
            let shares = belief.shares_with(partition, drained);
            consider(Command::Lead { partition, slot }, swapped, shares, drained, now[0]);
        }
    }
    if drained.is_none() && belief.natural[partition].iter().all(|share| *share < LED) {
        for slot in (0..REPLICAS).filter(|slot| relieve[holders[*slot].at()]) {
            let shares = belief.shares_with(partition, Some(slot as u8));
            consider(Command::Drain { partition, slot }, holders, shares, Some(slot as u8), now[slot]);
        }
    }
    found
}
