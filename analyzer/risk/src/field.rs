//! The cluster's load field: what each node serves, and what it would serve after another one died.
//!
//! A node's failure hurts twice: its clients wait until they are sent elsewhere, and where they are sent may have no
//! room for them. The second is a matter of pairs of nodes: `spill(i, j)` is what `j` gets when `i` dies, the sum over
//! the partitions on both of r p_i p_j / (1 - p_i): what `i` served goes to the others in proportion to what they
//! serve. Where the others serve nothing (they stand by), it goes to all of them evenly; a sole holder's reads go
//! nowhere, they are lost.
//!
//! A partition's candidate subset changes a few loads and a few pairs. The effect of that on the whole cluster's
//! overload is found from the field as it is, without building another one: only nodes that gain or lose load of
//! this partition, and pairs into them, can differ.
//!
//! Loads are expected values, and how far off they are grows with the node: its load over its capacity has a normal
//! error of a standard deviation that is given. Errors of different nodes count as independent.

mod build;
mod effect;
mod normal;

pub use build::FieldError;
pub(crate) use build::spill;
pub use effect::Effect;
pub(crate) use effect::Without;

use crate::bounds::{self, Must, OutOfRange};
use crate::ids::Node;
use serde::{Deserialize, Serialize};

/// A partition where it lies, or would: its holders, what share of its reads each serves, and how many those are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holding<'a> {
    /// Its holders, each once.
    pub subset: &'a [Node],
    /// Share of the reads that each serves; they add up to 1.
    pub shares: &'a [f64],
    /// Client reads per second of the partition.
    pub reads_per_s: f64,
}

/// What a node can bear, beside what partitions' reads bring to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bearing {
    /// Reads per second that it can serve, measured or given. Absent: unknown, and so is its overload.
    pub capacity_per_s: Option<f64>,
    /// What else it serves (writes, scrubs, what no partition is known of), as reads per second of the same cost.
    pub other_per_s: f64,
}

/// How uncertain loads are, and where a node is too full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldPolicy {
    /// Share of its capacity that a node should not exceed. Beyond it latency climbs. .85: docs/risk.md.
    pub headroom: f64,
    /// Standard deviation of a node's load over its capacity. .08: errors of a day-ahead forecast of load.
    pub uncertainty: f64,
}

impl Default for FieldPolicy {
    fn default() -> Self {
        Self { headroom: 0.85, uncertainty: 0.08 }
    }
}

impl FieldPolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("field.headroom", self.headroom, Must::Share),
            ("field.uncertainty", self.uncertainty, Must::Positive),
        ])
    }
}

/// Loads of all nodes, and what each would get from each. See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    policy: FieldPolicy,
    load: Vec<f64>,
    capacity: Vec<Option<f64>>,
    /// Pairs by the node that dies, the other ascending.
    out: Pairs,
    /// Pairs by the node that gets, the largest spill first.
    into: Pairs,
}

/// Rows of other nodes and reads per second.
#[derive(Debug, Clone, PartialEq, Default)]
struct Pairs {
    start: Vec<usize>,
    other: Vec<Node>,
    reads: Vec<f64>,
}

impl Pairs {
    fn row(&self, node: Node) -> impl Iterator<Item = (Node, f64)> {
        let row = self.start[node.at()]..self.start[node.at() + 1];
        self.other[row.clone()].iter().copied().zip(self.reads[row].iter().copied())
    }
}

impl Field {
    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.load.len()
    }

    /// Its policy.
    #[must_use]
    pub const fn policy(&self) -> &FieldPolicy {
        &self.policy
    }

    /// Reads per second that a node serves.
    ///
    /// # Panics
    /// Here and below: if there is no such node.
    #[must_use]
    pub fn load_per_s(&self, node: Node) -> f64 {
        self.load[node.at()]
    }

    /// Reads per second that a node can serve; absent where unknown.
    #[must_use]
    pub fn capacity_per_s(&self, node: Node) -> Option<f64> {
        self.capacity[node.at()]
    }

    /// Reads per second that `to` would get if `dead` died. 0 where they share nothing.
    #[must_use]
    pub fn spill_per_s(&self, dead: Node, to: Node) -> f64 {
        let row = self.out.start[dead.at()]..self.out.start[dead.at() + 1];
        let found = self.out.other[row.clone()].binary_search(&to);
        found.map_or(0.0, |at| self.out.reads[row.start + at])
    }

    /// Who would get how many reads per second if a node died, by node.
    pub fn spills_of(&self, dead: Node) -> impl Iterator<Item = (Node, f64)> {
        self.out.row(dead)
    }

    /// From whose death a node would get how many reads per second, the most first.
    pub fn spills_into(&self, node: Node) -> impl Iterator<Item = (Node, f64)> {
        self.into.row(node)
    }

    /// Probability that a node with such a load exceeds the headroom. Absent where its capacity is unknown.
    #[must_use]
    pub fn exceeds(&self, node: Node, load_per_s: f64) -> Option<f64> {
        let capacity = self.capacity[node.at()]?;
        Some(normal::below((load_per_s / capacity - self.policy.headroom) / self.policy.uncertainty))
    }

    /// Expected reads per second beyond a node's capacity, if its load were such. Absent where that is unknown.
    ///
    /// With x the load over the capacity c and s the uncertainty, c E[max(0, x + sZ - 1)]; below 6.5 standard
    /// deviations, where this is less than a hundred-thousand-millionth of the capacity, it is 0.
    #[must_use]
    pub fn overload_per_s(&self, node: Node, load_per_s: f64) -> Option<f64> {
        self.capacity[node.at()].map(|capacity| self.beyond(capacity, load_per_s))
    }

    fn beyond(&self, capacity: f64, load_per_s: f64) -> f64 {
        let sigma = self.policy.uncertainty * capacity;
        sigma * normal::excess((load_per_s - capacity) / sigma)
    }

    /// Present expected overload of all nodes whose capacity is known, in reads per second, and how many are not.
    #[must_use]
    pub fn present_overload(&self) -> (f64, usize) {
        let nodes = || (0_u32..).map(Node).take(self.nodes());
        let known: f64 = nodes().filter_map(|node| self.overload_per_s(node, self.load_per_s(node))).sum();
        (known, self.capacity.iter().filter(|capacity| capacity.is_none()).count())
    }

    /// Expected reads per second beyond capacity that a node's death adds to the survivors' present overload. Absent
    /// where the capacity of one of those that get something is unknown.
    #[must_use]
    pub fn overload_added_by(&self, dead: Node) -> Option<f64> {
        let mut sum = 0.0;
        for (node, reads) in self.out.row(dead) {
            let (capacity, load) = (self.capacity[node.at()]?, self.load_per_s(node));
            sum += self.beyond(capacity, load + reads) - self.beyond(capacity, load);
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests;
