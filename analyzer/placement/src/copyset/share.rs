//! What share of all data each node should hold: as even a pressure as failure domains allow.
//!
//! A node can hold at most one replica of a partition, and a domain at most its limit. A share is counted in
//! replicas: the shares of all nodes sum to the replicas, a node has at most 1 and a domain at most its limit. Under
//! those bounds shares are proportional to weights, as water finds its level: what a full domain cannot take rises
//! in all others alike. The same bounds say how many replicas are feasible at all.

use crate::ids::{Level, Node};
use crate::snapshot::Snapshot;

/// Nodes that may be placed on, sorted so that those of a domain are neighbours at every level.
pub(super) struct Ground<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) nodes: Vec<Node>,
}

/// The level that allows too few replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) level: Option<Level>,
    pub(super) limit: u8,
    pub(super) domains: u16,
    pub(super) feasible: u8,
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, mut nodes: Vec<Node>) -> Self {
        let topology = snapshot.topology();
        let path = |node: &Node| -> Vec<u16> {
            (0..topology.levels().len())
                .map(|level| topology.domains_at(Level(level as u8))[node.at()])
                .collect()
        };
        nodes.sort_by_cached_key(|node| (path(node), *node));
        Self { snapshot, nodes }
    }

    /// The domains at a level of neighbouring nodes.
    pub(super) fn domains<'n>(
        &self,
        nodes: &'n [Node],
        level: usize,
    ) -> impl Iterator<Item = &'n [Node]> + use<'_, 'a, 'n> {
        let around = self.snapshot.topology().domains_at(Level(level as u8));
        nodes.chunk_by(|a, b| around[a.at()] == around[b.at()])
    }

    pub(super) fn levels(&self) -> usize {
        self.snapshot.limits().len()
    }

    /// Most replicas in one domain of a level.
    pub(super) fn limit(&self, level: usize) -> f64 {
        self.snapshot.limits()[level].map_or(f64::INFINITY, f64::from)
    }

    /// Shares by position in the topology, 0 for nodes that are not of the ground. Weights are by the same position
    /// and above 0 for nodes of the ground.
    pub(super) fn shares(&self, weights: &[f64], replicas: u8) -> Result<Vec<f64>, Shortage> {
        let feasible = self.poured(&self.nodes, 0, weights, f64::INFINITY);
        if feasible + 0.5 < f64::from(replicas) {
            return Err(self.shortage(replicas, feasible as u8));
        }
        let mut shares = vec![0.0; weights.len()];
        self.pour(&self.nodes, 0, weights, f64::from(replicas), &mut shares);
        Ok(shares)
    }

    /// What neighbouring nodes hold of each partition if the water stands at `height`, by the limits from `level` in.
    fn poured(&self, nodes: &[Node], level: usize, weights: &[f64], height: f64) -> f64 {
        if level == self.levels() {
            return nodes.iter().map(|node| (weights[node.at()] * height).min(1.0)).sum();
        }
        let limit = self.limit(level);
        self.domains(nodes, level)
            .map(|inside| self.poured(inside, level + 1, weights, height).min(limit))
            .sum()
    }

    fn pour(&self, nodes: &[Node], level: usize, weights: &[f64], amount: f64, shares: &mut [f64]) {
        let height = self.height(nodes, level, weights, amount);
        if level == self.levels() {
            for node in nodes {
                shares[node.at()] = (weights[node.at()] * height).min(1.0);
            }
            return;
        }
        let limit = self.limit(level);
        for inside in self.domains(nodes, level) {
            let amount = self.poured(inside, level + 1, weights, height).min(limit);
            self.pour(inside, level + 1, weights, amount, shares);
        }
    }

    /// How high the water must stand for an amount, by bisection to the last bit that counts.
    fn height(&self, nodes: &[Node], level: usize, weights: &[f64], amount: f64) -> f64 {
        let lightest = nodes.iter().map(|node| weights[node.at()]).fold(f64::INFINITY, f64::min);
        let (mut low, mut high) = (0.0, 1.0 / lightest);
        for _ in 0..64 {
            let middle = low + (high - low) / 2.0;
            if self.poured(nodes, level, weights, middle) < amount {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    fn shortage(&self, replicas: u8, feasible: u8) -> Shortage {
        let of_level = |level: usize| -> (usize, f64) {
            let sizes: Vec<usize> = self.domains(&self.nodes, level).map(<[Node]>::len).collect();
            (sizes.len(), sizes.iter().map(|size| (*size as f64).min(self.limit(level))).sum())
        };
        let limited: Vec<usize> = (0..self.levels()).filter(|level| self.limit(*level).is_finite()).collect();
        let alone = limited.iter().find(|level| of_level(**level).1 < f64::from(replicas));
        let level =
            if self.nodes.len() < usize::from(replicas) { None } else { alone.or(limited.last()).copied() };
        Shortage {
            level: level.map(|level| Level(level as u8)),
            limit: level.and_then(|level| self.snapshot.limits()[level]).unwrap_or(1),
            domains: level.map_or(0, |level| of_level(level).0 as u16),
            feasible,
        }
    }
}
