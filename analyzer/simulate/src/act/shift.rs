//! Reads are shifted without copying: another replica leads, or one is drained; and what was drained serves again
//! when its cause is gone.

use super::Actor;
use super::belief::Belief;
use crate::cluster::{Cluster, Command};
use crate::world::{REPLICAS, Shares, TICKS_PER_H};
use isotherm_risk::{Node, ShiftAction, Shifted, Situation, Verdict, decide, undo_shift};

/// A shift that is worth it.
struct Wish {
    gain: f64,
    partition: usize,
    command: Command,
    action: ShiftAction,
    holders: [Node; REPLICAS],
    shares: Shares,
    drained: Option<u8>,
    /// Share of the reads that change their node.
    moved: f64,
    /// Whether a suspect is relieved by it.
    gray: bool,
}

/// Share of the leader from which on others do not serve, so that nothing can be drained.
const LED: f64 = 0.9;

/// Shifts what gains the most first, each decided anew on the cluster as it is by then.
pub(super) fn run(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    let relieve = relieved(belief);
    let mut wishes: Vec<(f64, usize)> = (0..belief.holders.len())
        .filter(|partition| may_shift(actor, belief, cluster, *partition))
        .filter_map(|partition| best(belief, &relieve, partition))
        .map(|wish| (wish.gain, wish.partition))
        .collect();
    wishes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, partition) in wishes {
        if actor.shifts < 1.0 {
            break;
        }
        let Some(wish) = best(belief, &relieve, partition) else { continue };
        if passes(actor, belief, cluster, &wish) && cluster.obey(wish.command) {
            actor.shifts -= 1.0;
            actor.acted[partition] = Some(cluster.tick);
            actor.for_gray[partition] = wish.gray;
            belief.change(partition, wish.holders, wish.drained);
        }
    }
}

/// Whether the gate lets a shift pass.
fn passes(actor: &Actor, belief: &Belief<'_>, cluster: &Cluster<'_>, wish: &Wish) -> bool {
    let partition = wish.partition;
    let hours = |ticks: usize| ticks as f64 / TICKS_PER_H as f64;
    // A suspect is left at once: a cool-down is there against habit, not against emergencies.
    let since = actor.acted[partition].filter(|_| !wish.gray).map(|acted| hours(cluster.tick - acted));
    let shifted = Shifted {
        action: wish.action,
        subset: &wish.holders,
        shares: &wish.shares,
        moved: wish.moved,
        since_last_h: since,
    };
    let candidates = belief.candidates(wish.gray);
    let shift = candidates.shift(&belief.lying(partition), &shifted);
    let situation = Situation { shift, ..belief.situation(partition) };
    matches!(decide(&situation, candidates.gate).verdict, Verdict::ShiftReads(..))
}

/// Lets replicas serve again that were drained for a cause that is gone.
pub(super) fn undo(actor: &mut Actor, belief: &mut Belief<'_>, cluster: &mut Cluster<'_>) {
    for partition in 0..belief.holders.len() {
        let Some(slot) = belief.drained[partition] else { continue };
        let (holders, now) = (belief.holders[partition], *belief.shares(partition));
        let node = holders[usize::from(slot)];
        let since = actor.acted[partition].map_or(0, |acted| cluster.tick - acted);
        if belief.copied[partition] || since < TICKS_PER_H || belief.suspects[node.at()] {
            continue;
        }
        let natural = belief.shares_with(partition, None);
        let more = (natural[usize::from(slot)] - now[usize::from(slot)]) * belief.reads_per_s[partition];
        let with = belief.loss_per_hour(partition, &now);
        let without = belief.loss_per_hour(partition, &natural);
        let hours = since as f64 / TICKS_PER_H as f64;
        let over = actor.for_gray[partition] && !belief.is_cause(node);
        let spent = over || undo_shift(with, without, hours, &belief.limits.gate);
        if spent && belief.takes(node, more, false) && cluster.obey(Command::Undrain { partition }) {
            belief.change(partition, holders, None);
        }
    }
}

/// Nodes that reads are to leave.
fn relieved(belief: &Belief<'_>) -> Vec<bool> {
    (0..belief.up.len()).map(|at| belief.is_cause(Node(at as u32))).collect()
}

fn may_shift(actor: &Actor, belief: &Belief<'_>, cluster: &Cluster<'_>, partition: usize) -> bool {
    let gray = belief.holders[partition].iter().any(|node| belief.suspects[node.at()]);
    let whole = belief.holders[partition].iter().all(|node| belief.up[node.at()]);
    whole && !belief.copied[partition] && (gray || actor.cooled(partition, cluster.tick))
}

/// The shift of a partition that gains the most, if one gains anything.
fn best(belief: &Belief<'_>, relieve: &[bool], partition: usize) -> Option<Wish> {
    let (holders, drained) = (belief.holders[partition], belief.drained[partition]);
    if !holders.iter().any(|node| relieve[node.at()]) {
        return None;
    }
    let now = *belief.shares(partition);
    let reads = belief.reads_per_s[partition];
    let (lying, candidates) = (belief.lying(partition), belief.candidates(false));
    let mut found: Option<Wish> = None;
    let mut consider = |wish: Wish| {
        let fits = (0..REPLICAS).all(|slot| {
            let had = holders.iter().position(|node| *node == wish.holders[slot]).map_or(0.0, |at| now[at]);
            let more = (wish.shares[slot] - had) * reads;
            more <= 1e-9 * reads || belief.takes(wish.holders[slot], more, wish.gray)
        });
        if !fits || wish.moved <= 0.0 {
            return;
        }
        let gain = candidates.saved(&lying, &wish.holders, &wish.shares, None).unwrap_or(0.0);
        if gain > 0.0 && found.as_ref().is_none_or(|best| gain > best.gain) {
            found = Some(Wish { gain, ..wish });
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
            consider(Wish {
                gain: 0.0,
                partition,
                command: Command::Lead { partition, slot },
                action: ShiftAction::Lead { to: holders[slot] },
                holders: swapped,
                shares: belief.shares_with(partition, drained),
                drained,
                moved: now[0],
                gray: belief.suspects[holders[0].at()],
            });
        }
    }
    if drained.is_none() && belief.natural[partition].iter().all(|share| *share < LED) {
        for slot in (0..REPLICAS).filter(|slot| relieve[holders[*slot].at()]) {
            consider(Wish {
                gain: 0.0,
                partition,
                command: Command::Drain { partition, slot },
                action: ShiftAction::Drain { from: holders[slot] },
                holders,
                shares: belief.shares_with(partition, Some(slot as u8)),
                drained: Some(slot as u8),
                moved: now[slot],
                gray: belief.suspects[holders[slot].at()],
            });
        }
    }
    found
}
