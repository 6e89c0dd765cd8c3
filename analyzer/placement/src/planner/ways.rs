//! How slow the ways between nodes are, against the fastest there is.

use crate::ids::{Level, Node};
use crate::topology::Topology;

/// Pairs of innermost domains up to which slowness is kept in a table.
const MOST_PAIRS: usize = 1 << 24;

/// Slowness: the time of a copy over that on the fastest node's bandwidth, less one; 0 is fastest. What is not
/// bounded counts as fastest.
pub(crate) struct Ways {
    /// Of each node's own bandwidth; empty if all are alike.
    pub(crate) of_node: Vec<f64>,
    /// Of the links between innermost domains, row by row; empty if there are no links, or too many domains.
    between: Vec<f32>,
    fastest: f64,
}

impl Ways {
    pub(crate) fn new(topology: &Topology) -> Self {
        let own = || topology.nodes().iter().filter_map(|node| node.network_bytes_per_s);
        let links = topology.links().iter().map(|link| link.bytes_per_s);
        let fastest = own().max().or(links.max()).map_or(f64::INFINITY, |rate| rate as f64);
        let of_node: Vec<f64> =
            topology.nodes().iter().map(|node| slowness(fastest, node.network_bytes_per_s)).collect();
        let alike = of_node.iter().all(|slow| *slow == 0.0);
        let mut ways =
            Self { of_node: if alike { Vec::new() } else { of_node }, between: Vec::new(), fastest };
        let domains = topology.domains().len();
        if !topology.links().is_empty() && domains * domains <= MOST_PAIRS {
            ways.between = ways.table(topology);
        }
        ways
    }

    /// By the domains of one node of each, as a link is between domains.
    fn table(&self, topology: &Topology) -> Vec<f32> {
        let domains = topology.domains().len();
        let mut one_of = vec![None; domains];
        for node in topology.all() {
            if let Some(domain) = topology.node(node).domain {
                one_of[domain.at()].get_or_insert(node);
            }
        }
        let mut between = vec![0.0; domains * domains];
        for (at, slow) in between.iter_mut().enumerate() {
            if let (Some(a), Some(b)) = (one_of[at / domains], one_of[at % domains]) {
                *slow =
                    slowness(self.fastest, topology.link_between(a, b).map(|link| link.bytes_per_s)) as f32;
            }
        }
        between
    }

    /// Whether a link bounds something.
    pub(crate) fn has_links(topology: &Topology) -> bool {
        !topology.links().is_empty()
    }

    /// Of the whole way from one node to another.
    pub(crate) fn slowness(&self, topology: &Topology, from: Node, to: Node) -> f64 {
        let own = |node: Node| self.of_node.get(node.at()).copied().unwrap_or(0.0);
        own(from).max(own(to)).max(self.of_links(topology, from, to))
    }

    fn of_links(&self, topology: &Topology, from: Node, to: Node) -> f64 {
        let Some(innermost) = topology.levels().len().checked_sub(1) else { return 0.0 };
        if self.between.is_empty() {
            return slowness(self.fastest, topology.link_between(from, to).map(|link| link.bytes_per_s));
        }
        let domains = topology.domains_at(Level(innermost as u8));
        let at = usize::from(domains[from.at()]) * topology.domains().len() + usize::from(domains[to.at()]);
        f64::from(self.between[at])
    }
}

/// A link can be faster than every node.
fn slowness(fastest: f64, rate: Option<u64>) -> f64 {
    rate.map_or(0.0, |rate| (fastest / rate as f64 - 1.0).max(0.0))
}
