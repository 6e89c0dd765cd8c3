//! What would happen if a node died now.
//!
//! The first question of an operator, and one that needs no probability of the failure: given that it happens, what
//! do clients lose until it is repaired, who of the survivors has no room, and which partitions are to blame. The
//! numbers are of the same field and in the same unit as the expected loss, so that hazard times this is the node's
//! part of it.
//!
//! A partition that keeps its quorum loses the node's share of its reads until clients are sent elsewhere; one that
//! loses it loses all reads until the node is back. The overload that survivors get is each partition's in
//! proportion to what it sends there, so the parts add up.

use crate::exposure::{Redundancy, Surroundings};
use crate::field::{Holding, spill};
use crate::ids::Node;
use crate::loss::RiskPolicy;
use serde::{Deserialize, Serialize};

/// A partition where it lies, and how many holders it can do without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lying<'a> {
    /// Where.
    pub held: Holding<'a>,
    /// What it bears.
    pub redundancy: Redundancy,
}

/// A node's death.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeDown {
    /// The node.
    pub node: Node,
    /// Client-minutes lost until clients are sent elsewhere.
    pub failover: f64,
    /// Client-minutes lost at survivors that are too full, until the node is repaired. Absent: a survivor's capacity
    /// is unknown. 0 where overload is off.
    pub overload: Option<f64>,
    /// Client-minutes lost by partitions that have no quorum, or no holder, until the node is repaired.
    pub unserved: f64,
    /// Partitions without a quorum then, by position.
    pub without_quorum: Vec<usize>,
    /// Partitions of which it holds the only copy.
    pub only_copy: Vec<usize>,
    /// Who would get something, the fullest first; those of unknown capacity last.
    pub survivors: Vec<Survivor>,
    /// Partitions it holds, by the client-minutes they lose and cause, most first.
    pub responsible: Vec<Responsible>,
}

/// A node that would get some of what another one served.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Survivor {
    /// The node.
    pub node: Node,
    /// Load before, in reads per second.
    pub before_per_s: f64,
    /// Load after.
    pub after_per_s: f64,
    /// Its capacity; absent where unknown.
    pub capacity_per_s: Option<f64>,
    /// Probability that it exceeds its headroom then.
    pub exceeds: Option<f64>,
    /// Expected reads per second beyond its capacity that come with it.
    pub overload_added_per_s: Option<f64>,
}

impl Survivor {
    /// Load after over capacity; absent where that is unknown.
    #[must_use]
    pub fn after_over_capacity(&self) -> Option<f64> {
        self.capacity_per_s.map(|capacity| self.after_per_s / capacity)
    }
}

/// A partition's part in what a node's death costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Responsible {
    /// The partition, by position.
    pub partition: usize,
    /// Client-minutes that its clients lose, and that others lose as its reads come to them; overload of unknown
    /// survivors is left out.
    pub client_minutes: f64,
}

/// Whether moving partitions away beforehand would help.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovingHelps {
    /// So many client-minutes of a death would not be lost, by moving those of so many partitions for which it pays.
    Yes {
        /// Partitions.
        partitions: usize,
        /// Client-minutes, at most: what they are responsible for.
        client_minutes: f64,
    },
    /// For none of those that were asked about it pays.
    No,
    /// Nobody knows of any.
    Unknown,
}

impl NodeDown {
    /// Client-minutes lost in all; absent where overload is unknown.
    #[must_use]
    pub fn client_minutes(&self) -> Option<f64> {
        Some(self.failover + self.unserved + self.overload?)
    }

    /// Whether moving helps, by a gate's answer for each partition: whether it would move, `None` if it was not
    /// asked.
    #[must_use]
    pub fn moving_helps(&self, would_move: impl Fn(usize) -> Option<bool>) -> MovingHelps {
        let asked: Vec<(bool, f64)> = self
            .responsible
            .iter()
            .filter_map(|part| Some((would_move(part.partition)?, part.client_minutes)))
            .collect();
        let moved = || asked.iter().filter(|(moves, _)| *moves);
        match (asked.is_empty(), moved().count()) {
            (true, _) => MovingHelps::Unknown,
            (false, 0) => MovingHelps::No,
            (false, partitions) => {
                MovingHelps::Yes { partitions, client_minutes: moved().map(|(_, lost)| lost).sum() }
            }
        }
    }
}

/// Which partitions each node holds.
#[derive(Debug, Clone)]
pub struct Holders {
    start: Vec<usize>,
    partition: Vec<u32>,
}

impl Holders {
    /// Of partitions on so many nodes.
    ///
    /// # Panics
    /// If a holder is not among them.
    #[must_use]
    pub fn of(partitions: &[Lying<'_>], nodes: usize) -> Self {
        let mut start = vec![0; nodes + 1];
        for lying in partitions {
            lying.held.subset.iter().for_each(|node| start[node.at() + 1] += 1);
        }
        (0..nodes).for_each(|at| start[at + 1] += start[at]);
        let (mut next, mut partition) = (start.clone(), vec![0; start[nodes]]);
        for (at, lying) in partitions.iter().enumerate() {
            for node in lying.held.subset {
                partition[next[node.at()]] = at as u32;
                next[node.at()] += 1;
            }
        }
        Self { start, partition }
    }

    fn on(&self, node: Node) -> impl Iterator<Item = usize> {
        let row = self.start[node.at()]..self.start[node.at() + 1];
        self.partition[row].iter().map(|partition| *partition as usize)
    }
}

impl Surroundings<'_> {
    /// What would happen if a node died now. `partitions` are those that the field was built from, and `holders` is of
    /// them.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn node_down(
        &self,
        partitions: &[Lying<'_>],
        holders: &Holders,
        dead: Node,
        policy: &RiskPolicy,
    ) -> NodeDown {
        let repair_min = 60.0 * policy.exposure.repair_h;
        let overload_min = if policy.loss.overload { repair_min * policy.loss.busy_share } else { 0.0 };
        let survivors = self.survivors(dead);
        let added: Vec<Option<f64>> =
            survivors.iter().map(|survivor| survivor.overload_added_per_s).collect();
        let known: Option<f64> = added.iter().copied().sum();
        let mut down = NodeDown {
            node: dead,
            failover: 0.0,
            overload: if policy.loss.overload {
                known.map(|reads| policy.loss.clients(reads) * overload_min)
            } else {
                Some(0.0)
            },
            unserved: 0.0,
            without_quorum: Vec::new(),
            only_copy: Vec::new(),
            survivors: Vec::new(),
            responsible: Vec::new(),
        };
        for partition in holders.on(dead) {
            let Lying { held, redundancy } = partitions[partition];
            let place = held.subset.iter().position(|node| *node == dead).expect("holders are of these");
            let clients = policy.loss.clients(held.reads_per_s);
            if held.subset.len() == 1 {
                down.only_copy.push(partition);
            }
            let own = if redundancy.missing >= redundancy.quorum_bears {
                // Without a quorum before, the death takes nothing more from its clients.
                let lost = if redundancy.missing > redundancy.quorum_bears { 0.0 } else { clients };
                down.without_quorum.push(partition);
                down.unserved += lost * repair_min;
                lost * repair_min
            } else {
                let lost = clients * held.shares[place] * policy.loss.reroute_s / 60.0;
                down.failover += lost;
                lost
            };
            let caused = self.overload_caused(&held, place, &survivors);
            let client_minutes = own + policy.loss.clients(caused) * overload_min;
            down.responsible.push(Responsible { partition, client_minutes });
        }
        down.responsible.sort_by(|a, b| {
            b.client_minutes.total_cmp(&a.client_minutes).then(a.partition.cmp(&b.partition))
        });
        down.survivors = survivors;
        down.survivors.sort_by(|a, b| {
            let full = |survivor: &Survivor| survivor.after_over_capacity().unwrap_or(-1.0);
            full(b).total_cmp(&full(a)).then(a.node.cmp(&b.node))
        });
        down
    }

    /// What would happen if each node died, the worst first; what is unknown of overload counts as 0 for the order.
    #[must_use]
    pub fn node_downs(&self, partitions: &[Lying<'_>], policy: &RiskPolicy) -> Vec<NodeDown> {
        let holders = Holders::of(partitions, self.field.nodes());
        let nodes = (0_u32..).map(Node).take(self.field.nodes());
        let mut downs: Vec<NodeDown> =
            nodes.map(|node| self.node_down(partitions, &holders, node, policy)).collect();
        let known = |down: &NodeDown| down.failover + down.unserved + down.overload.unwrap_or(0.0);
        downs.sort_by(|a, b| known(b).total_cmp(&known(a)).then(a.node.cmp(&b.node)));
        downs
    }

    /// Who would get something, by node.
    fn survivors(&self, dead: Node) -> Vec<Survivor> {
        let survivor = |(node, reads): (Node, f64)| {
            let before_per_s = self.field.load_per_s(node);
            let after_per_s = before_per_s + reads;
            let over = |load| self.field.overload_per_s(node, load);
            Survivor {
                node,
                before_per_s,
                after_per_s,
                capacity_per_s: self.field.capacity_per_s(node),
                exceeds: self.field.exceeds(node, after_per_s),
                overload_added_per_s: over(after_per_s).zip(over(before_per_s)).map(|(a, b)| a - b),
            }
        };
        self.field.spills_of(dead).map(survivor).collect()
    }

    /// A partition's part of the overload at survivors, which are by node.
    fn overload_caused(&self, held: &Holding<'_>, dead: usize, survivors: &[Survivor]) -> f64 {
        let of = |(at, node): (usize, &Node)| {
            let found = survivors.binary_search_by_key(node, |survivor| survivor.node).ok()?;
            let survivor = survivors[found];
            let all = survivor.after_per_s - survivor.before_per_s;
            (all > 0.0).then(|| survivor.overload_added_per_s.unwrap_or(0.0) * spill(held, dead, at) / all)
        };
        let others = held.subset.iter().enumerate().filter(|(at, _)| *at != dead);
        others.filter_map(of).sum()
    }
}

#[cfg(test)]
mod tests;
