//! Rules that need no model, to compare with: what somebody would do who looks at one number.

use super::Actor;
use crate::analyst::{Analyst, Expect};
use crate::cluster::Cluster;
use crate::world::{REPLICAS, normed};
use isotherm_risk::GatePolicy;

/// What both rules know: the load of nodes at the busiest hour, copies under way counted.
struct Loads {
    load: Vec<f64>,
    mean: f64,
    holders: Vec<[u16; REPLICAS]>,
}

/// Entropy from which on the busiest replica of a partition is moved: the seed's limit of the high class.
const HIGH: f64 = 0.85;

/// Replicas moved in an hour, at most.
const MOVES: usize = 8;

/// Moves the busiest replica of partitions of high entropy to where the load is least.
pub(super) fn entropy_level(actor: &mut Actor, analyst: &Analyst, cluster: &mut Cluster<'_>) {
    let mut loads = Loads::new(analyst, cluster);
    let mut high: Vec<(f64, usize)> = free(actor, cluster)
        .into_iter()
        .map(|partition| (analyst.entropy(partition), partition))
        .filter(|(entropy, _)| *entropy >= HIGH)
        .collect();
    high.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, partition) in high.into_iter().take(MOVES) {
        let shares = analyst.expected(partition, Expect::Present);
        let slot = (0..REPLICAS).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).unwrap_or(0);
        let more = shares[slot] * analyst.peak(partition);
        let to = loads.targets(analyst, cluster, &actor.limits.gate, partition, slot, more);
        let least = to.into_iter().min_by(|a, b| loads.load[*a].total_cmp(&loads.load[*b]));
        if let Some(to) = least {
            loads.copy(actor, cluster, partition, slot, to, more);
        }
    }
}

/// Moves the largest replicas by hazard, reads and bytes to the node of the least hazard, if that costs less than it
/// is thought to save.
pub(super) fn hazard_only(actor: &mut Actor, analyst: &Analyst, cluster: &mut Cluster<'_>) {
    let hazards = analyst.hazards();
    let mut loads = Loads::new(analyst, cluster);
    let mut slots: Vec<(f64, usize, usize)> = Vec::new();
    for partition in free(actor, cluster) {
        let worth = analyst.mean_reads[partition] / analyst.facts().sizes[partition];
        for slot in 0..REPLICAS {
            let node = usize::from(loads.holders[partition][slot]);
            slots.push((hazards.per_h[node] * worth, partition, slot));
        }
    }
    slots.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, partition, slot) in slots.into_iter().take(MOVES) {
        let from = usize::from(loads.holders[partition][slot]);
        let reads = analyst.mean_reads[partition];
        let more = analyst.peak(partition) * analyst.expected(partition, Expect::Present)[slot];
        let to = loads.targets(analyst, cluster, &actor.limits.gate, partition, slot, more);
        let safest = to.into_iter().min_by(|a, b| hazards.per_h[*a].total_cmp(&hazards.per_h[*b]));
        let Some(to) = safest else { continue };
        // The bound of the hazard, and an incident that costs the clients of a third of the reads four hours, in a
        // day: as one would who takes a failure for an outage.
        let low = hazards.per_h[from] - 0.84 * hazards.deviation_per_h[from];
        let saved = (low - hazards.per_h[to]) * 24.0 * reads / REPLICAS as f64 * 240.0;
        let cost = reads * (2.0 / 60.0 / REPLICAS as f64 + 0.022 * analyst.facts().sizes[partition]);
        let much = hazards.per_h[to] <= actor.limits.gate.exposure_left * hazards.per_h[from];
        if much && saved >= actor.limits.gate.gain_over_cost * cost {
            loads.copy(actor, cluster, partition, slot, to, more);
        }
    }
}

/// Partitions that may be moved.
fn free(actor: &Actor, cluster: &Cluster<'_>) -> Vec<usize> {
    let whole = |partition: usize| (0..REPLICAS).all(|slot| cluster.is_up(partition, slot));
    let copied = |partition: usize| cluster.copies.iter().any(|copy| copy.partition == partition);
    (0..cluster.holders.len())
        .filter(|at| actor.cooled(*at, cluster.tick) && whole(*at) && !copied(*at))
        .collect()
}

impl Loads {
    fn new(analyst: &Analyst, cluster: &Cluster<'_>) -> Self {
        let mut holders = cluster.holders.clone();
        for copy in &cluster.copies {
            holders[copy.partition][copy.slot] = copy.to;
        }
        let mut load = vec![0.0; analyst.facts().nodes.len()];
        for (partition, row) in holders.iter().enumerate() {
            let shares = normed(analyst.expected(partition, Expect::Present));
            for (node, share) in row.iter().zip(shares) {
                load[usize::from(*node)] += share * analyst.peak(partition);
            }
        }
        let mean = load.iter().sum::<f64>() / load.len() as f64;
        Self { load, mean, holders }
    }

    /// Nodes that may take a slot and so much more load, by the limits that all policies share.
    fn targets(
        &self,
        analyst: &Analyst,
        cluster: &Cluster<'_>,
        gate: &GatePolicy,
        partition: usize,
        slot: usize,
        more: f64,
    ) -> Vec<usize> {
        let nodes = &analyst.facts().nodes;
        let fits = |node: &usize| {
            let load = self.load[*node] + more;
            cluster.nodes.up[*node]
                && cluster.nodes.copies[*node] < 4
                && load <= gate.headroom * nodes[*node].capacity
                && load <= gate.peak_over_mean * self.mean
                && cluster.is_apart(partition, slot, *node as u16)
        };
        (0..nodes.len()).filter(fits).collect()
    }

    fn copy(
        &mut self,
        actor: &mut Actor,
        cluster: &mut Cluster<'_>,
        partition: usize,
        slot: usize,
        to: usize,
        more: f64,
    ) {
        let from = usize::from(self.holders[partition][slot]);
        if actor.copy(cluster, partition, slot, to as u16) {
            self.load[from] -= more;
            self.load[to] += more;
            self.holders[partition][slot] = to as u16;
        }
    }
}
