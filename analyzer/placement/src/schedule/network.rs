//! What bounds the rate of a copy: the budgets of its two nodes, and every link between the domains around them.

use crate::ids::{Level, Node};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;

/// Not bounded.
pub(super) const UNBOUNDED: u64 = u64::MAX;

/// Budgets and links, flat. A lane is a link in one direction.
pub(super) struct Network<'a> {
    snapshot: &'a Snapshot,
    /// Bytes per second of each node in each direction.
    pub(super) budget: Vec<u64>,
    /// The same without what copies under way take, in and out.
    pub(super) left_in: Vec<u64>,
    pub(super) left_out: Vec<u64>,
    /// Bytes per second of each lane.
    pub(super) lanes: Vec<u64>,
    /// Domains from and to, and the lane between them, sorted.
    between: Vec<(u16, u16, u32)>,
    /// Levels that have links.
    linked: Vec<Level>,
}

impl<'a> Network<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let topology = snapshot.topology();
        let budget: Vec<u64> =
            topology.nodes().iter().map(|node| node.network_bytes_per_s.unwrap_or(UNBOUNDED)).collect();
        let mut network = Self {
            snapshot,
            left_in: budget.clone(),
            left_out: budget.clone(),
            budget,
            lanes: Vec::with_capacity(2 * topology.links().len()),
            between: Vec::with_capacity(2 * topology.links().len()),
            linked: Vec::new(),
        };
        for link in topology.links() {
            network.linked.push(topology.domains()[link.a.at()].level);
            network.between.push((link.a.0, link.b.0, network.lanes.len() as u32));
            network.lanes.push(link.bytes_per_s);
            if link.a != link.b {
                network.between.push((link.b.0, link.a.0, network.lanes.len() as u32));
                network.lanes.push(link.bytes_per_s);
            }
        }
        network.between.sort_unstable();
        network.linked.sort_unstable();
        network.linked.dedup();
        network.reserve();
        network
    }

    /// A copy under way takes its share of the budgets of its two nodes: one over the copies a node may take part in.
    fn reserve(&mut self) {
        let copies = u64::from(self.snapshot.policy().node_copies);
        for copy in self.snapshot.in_flight() {
            let live = |node: &Node| self.snapshot.topology().node(*node).state != NodeState::Down;
            let ends = [(&mut self.left_in, Some(copy.to)), (&mut self.left_out, copy.from.filter(live))];
            for (left, node) in ends {
                let Some(at) = node.map(Node::at) else { continue };
                if left[at] != UNBOUNDED {
                    left[at] = left[at].saturating_sub(self.budget[at] / copies).max(1);
                }
            }
        }
    }

    /// The lanes that bytes from one node to another cross, at every level.
    pub(super) fn crossed(&self, from: Node, to: Node) -> impl Iterator<Item = u32> + '_ {
        self.linked.iter().flat_map(move |level| {
            let domains = self.snapshot.topology().domains_at(*level);
            let ends = (domains[from.at()], domains[to.at()]);
            let first = self.between.partition_point(|(a, b, _)| (*a, *b) < ends);
            let same = self.between[first..].iter().take_while(move |(a, b, _)| (*a, *b) == ends);
            same.map(|(_, _, lane)| *lane)
        })
    }

    /// The fastest that bytes can go from one node to another when nothing of the schedule runs.
    pub(super) fn way(&self, from: Node, to: Node) -> u64 {
        self.with_lanes(self.left_out[from.at()].min(self.left_in[to.at()]), from, to)
    }

    /// The fastest that they could go if no copy were under way.
    pub(super) fn empty_way(&self, from: Node, to: Node) -> u64 {
        self.with_lanes(self.budget[from.at()].min(self.budget[to.at()]), from, to)
    }

    fn with_lanes(&self, ends: u64, from: Node, to: Node) -> u64 {
        self.crossed(from, to).map(|lane| self.lanes[lane as usize]).fold(ends, u64::min)
    }
}

/// How long bytes take, in milliseconds: rounded up, and at least 1.
pub(super) fn duration_ms(bytes: u64, bytes_per_s: u64) -> u64 {
    over(u128::from(bytes), u128::from(bytes_per_s)).max(1)
}

/// Bytes over bytes per second, in milliseconds, rounded up.
pub(super) fn over(bytes: u128, bytes_per_s: u128) -> u64 {
    u64::try_from((bytes * 1000).div_ceil(bytes_per_s)).unwrap_or(u64::MAX)
}
