//! What no plan can better: the evenness that domain limits allow, and the replicas that they allow.
//!
//! Both walk the tree of domains once from the nodes to the root. A domain of level l holds at most `limit` replicas
//! of a partition, and never more than fit into the domains inside it; so it holds at most that many of each
//! partition's bytes, however large its nodes are. What it cannot take, others must: a bound on evenness that no
//! choice of nodes avoids. It looks at what the cluster is, never at who holds what or at what a plan proposes; so
//! it is a bound for every plan, and one that a plan need not reach.

use crate::ids::{Domain, Level, Node};
use crate::snapshot::Snapshot;
use crate::topology::NodeState;

/// How many replicas of one partition can be had, and what stands against more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feasible {
    /// The most replicas.
    pub replicas: u32,
    /// Nodes that could hold one.
    pub nodes: u16,
    /// The level whose limit stands against more; absent if it is the number of nodes.
    pub limited_by: Option<Limited>,
}

/// A level of domains that bounds the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Which.
    pub level: Level,
    /// Most replicas in one of its domains.
    pub limit: u8,
    /// Its domains that have a node that could hold one.
    pub domains: u16,
}

/// The lowest that the highest size pressure over the mean can be, given the limits of domains and the capacities of
/// the nodes that are up. 1 if nothing bounds it, if there is nothing to hold, or nothing to hold it.
///
/// With f(node, x) = min(x capacity, bytes of one replica each) and f(domain, x) = min(bytes that its limit allows,
/// sum of f inside it), it is the least x with f(root, x) = all bytes, over x of the mean. f is concave and piecewise
/// linear in x, so Newton's method from 0 comes up to it from below, exact after at most as many steps as there are
/// pieces. Replicas that no domain can take are not in the sum; they are in the mean, as in a plan's pressure, so
/// that the bound can be below 1.
#[must_use]
pub fn pressure(snapshot: &Snapshot) -> f64 {
    let held = |node: &Node| {
        let facts = snapshot.topology().node(*node);
        facts.state == NodeState::Up && facts.capacity_bytes > 0
    };
    let tree = Tree::new(snapshot, &|node| held(&node));
    let by_replicas = bytes_by_replicas(snapshot);
    let most: Vec<f64> = tree.most.iter().map(|most| bytes_of(&by_replicas, *most)).collect();
    let one = bytes_of(&by_replicas, 1);
    let capacity: Vec<f64> = snapshot
        .topology()
        .all()
        .map(|node| if held(&node) { snapshot.topology().node(node).capacity_bytes as f64 } else { 0.0 })
        .collect();
    let wanted = bytes_of(&by_replicas, u32::MAX);
    let all = most[tree.root()];
    let mean = wanted / capacity.iter().sum::<f64>();
    if !mean.is_finite() || mean <= 0.0 {
        return 1.0;
    }
    let mut level = 0.0;
    for _ in 0..capacity.len() + most.len() {
        let (taken, slope) = tree.take(level, &capacity, one, &most);
        let left = all - taken;
        if left <= all * 1e-12 || slope <= 0.0 {
            break;
        }
        level += left / slope;
    }
    level / mean
}

/// The most replicas of one partition that the limits of domains allow on nodes that may be targets: up, of some
/// capacity, and not above the policy's risk limit.
#[must_use]
pub fn replicas(snapshot: &Snapshot) -> Feasible {
    let limit = snapshot.policy().risk_limit;
    replicas_on(snapshot, &|node| {
        let facts = snapshot.topology().node(node);
        let safe = limit.is_none_or(|limit| facts.risk.is_none_or(|risk| risk <= limit));
        facts.takes() && safe
    })
}

/// The same on nodes that the caller allows, such as all targets and those that hold the partition already.
#[must_use]
pub fn replicas_on(snapshot: &Snapshot, may_hold: &dyn Fn(Node) -> bool) -> Feasible {
    let tree = Tree::new(snapshot, may_hold);
    let replicas = tree.most[tree.root()];
    let nodes = snapshot.topology().all().filter(|node| may_hold(*node)).count() as u32;
    let limits = snapshot.limits().iter().enumerate().rev();
    let limited_by = limits.filter_map(|(level, limit)| Some((Level(level as u8), (*limit)?))).find_map(
        |(level, limit)| {
            let here = || {
                let domains = snapshot.topology().domains().iter().zip(&tree.most);
                domains.filter(move |(facts, most)| facts.level == level && **most > 0)
            };
            let most: u32 = here().map(|(_, most)| *most).sum();
            let domains = here().count() as u16;
            (most == replicas && replicas < nodes).then_some(Limited { level, limit, domains })
        },
    );
    Feasible { replicas, nodes: nodes as u16, limited_by }
}

/// The tree of domains, its root after them all.
struct Tree<'a> {
    snapshot: &'a Snapshot,
    /// Domains, innermost first.
    inward_out: Vec<u16>,
    /// Most replicas of one partition in each domain, then in all.
    most: Vec<u32>,
}

impl<'a> Tree<'a> {
    fn new(snapshot: &'a Snapshot, may_hold: &dyn Fn(Node) -> bool) -> Self {
        let topology = snapshot.topology();
        let domains = topology.domains();
        let mut inward_out: Vec<u16> = (0..domains.len()).map(|at| at as u16).collect();
        inward_out.sort_by_key(|at| std::cmp::Reverse(domains[usize::from(*at)].level));
        let mut tree = Self { snapshot, inward_out, most: vec![0; domains.len() + 1] };
        for node in topology.all().filter(|node| may_hold(*node)) {
            let around = tree.around(node);
            tree.most[around] += 1;
        }
        for position in 0..tree.inward_out.len() {
            let at = usize::from(tree.inward_out[position]);
            if let Some(limit) = snapshot.limits()[domains[at].level.at()] {
                tree.most[at] = tree.most[at].min(u32::from(limit));
            }
            let outer = tree.outer(at);
            tree.most[outer] += tree.most[at];
        }
        tree
    }

    fn root(&self) -> usize {
        self.most.len() - 1
    }

    fn around(&self, node: Node) -> usize {
        self.snapshot.topology().node(node).domain.map_or(self.root(), Domain::at)
    }

    fn outer(&self, domain: usize) -> usize {
        self.snapshot.topology().domains()[domain].parent.map_or(self.root(), Domain::at)
    }

    /// Bytes that all nodes together take if each is filled up to `level` of its capacity, and how fast that grows
    /// with the level.
    fn take(&self, level: f64, capacity: &[f64], one: f64, most: &[f64]) -> (f64, f64) {
        let mut taken = vec![(0.0, 0.0); most.len()];
        for (node, capacity) in self.snapshot.topology().all().zip(capacity) {
            let (bytes, slope) = capped((level * capacity, *capacity), one);
            let around = &mut taken[self.around(node)];
            *around = (around.0 + bytes, around.1 + slope);
        }
        for at in self.inward_out.iter().map(|at| usize::from(*at)) {
            let (bytes, slope) = capped(taken[at], most[at]);
            let outer = &mut taken[self.outer(at)];
            *outer = (outer.0 + bytes, outer.1 + slope);
        }
        capped(taken[self.root()], most[self.root()])
    }
}

fn capped((bytes, slope): (f64, f64), most: f64) -> (f64, f64) {
    if bytes >= most { (most, 0.0) } else { (bytes, slope) }
}

/// Bytes of one replica of all partitions that want r replicas, at r.
fn bytes_by_replicas(snapshot: &Snapshot) -> Vec<f64> {
    let partitions = snapshot.partitions();
    let mut bytes = vec![0.0; usize::from(u8::MAX) + 1];
    for (partition, size) in partitions.all().zip(&partitions.size_bytes) {
        bytes[usize::from(partitions.replicas.get(partition))] += *size as f64;
    }
    bytes
}

/// Bytes where at most `most` replicas of a partition can be.
fn bytes_of(by_replicas: &[f64], most: u32) -> f64 {
    let wanted = by_replicas.iter().enumerate();
    wanted.map(|(replicas, bytes)| f64::from(most.min(replicas as u32)) * bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partitions::{Assignment, Partitions};
    use crate::policy::Policy;
    use crate::snapshot::Cluster;
    use crate::topology::{DomainFacts, NodeFacts, Topology};

    /// Racks in zones; for each rack its zone and the capacities of its nodes, 0 for a node that is down.
    fn cluster(
        zones: u16,
        racks: &[(u16, &[u64])],
        limits: &[(&str, u8)],
        replicas: u8,
        sizes: &[u64],
    ) -> Snapshot {
        let level = |level: u8, parent: Option<u16>| DomainFacts {
            name: "d".to_owned(),
            level: Level(level),
            parent: parent.map(Domain),
        };
        let mut domains: Vec<DomainFacts> = (0..zones).map(|_| level(0, None)).collect();
        let mut nodes = Vec::new();
        for (zone, capacities) in racks {
            let domain = Some(Domain(domains.len() as u16));
            domains.push(level(1, Some(*zone)));
            for capacity in *capacities {
                nodes.push(NodeFacts {
                    name: nodes.len().to_string(),
                    key: nodes.len() as u64,
                    domain,
                    capacity_bytes: *capacity,
                    load_capacity: None,
                    network_bytes_per_s: None,
                    cordoned: false,
                    state: if *capacity == 0 { NodeState::Down } else { NodeState::Up },
                    risk: None,
                });
            }
        }
        let levels = vec!["zone".to_owned(), "rack".to_owned()];
        let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
        Snapshot::new(Cluster {
            revision: 1,
            now_s: 0,
            topology: Topology::new(levels, domains, nodes, Vec::new()).unwrap(),
            partitions: Partitions::new(
                (0..sizes.len() as u64).collect(),
                sizes.to_vec(),
                vec![0.0; sizes.len()],
                replicas,
            ),
            assignment: Assignment::empty(sizes.len(), usize::from(replicas)),
            in_flight: Vec::new(),
            policy: Policy { replicas_per_domain: limits, ..Policy::default() },
        })
        .unwrap()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn three_racks_that_must_all_hold_everything_press_the_smallest_one() {
        // A third of all bytes on 15 of 49 units of capacity: 49 / 45.
        let whole: &[u64] = &[1, 1, 1, 1, 1, 2, 2, 2, 2, 4];
        let less: &[u64] = &[1, 1, 1, 1, 1, 0, 2, 2, 2, 4];
        let snapshot = cluster(1, &[(0, whole), (0, whole), (0, less)], &[("rack", 1)], 3, &[100]);
        near(pressure(&snapshot), 49.0 / 45.0);
    }

    #[test]
    fn racks_of_one_size_in_surplus_bound_nothing() {
        let racks: Vec<(u16, &[u64])> = vec![(0, &[2, 1]); 5];
        near(pressure(&cluster(1, &racks, &[("rack", 1)], 3, &[100, 7])), 1.0);
    }

    #[test]
    fn a_rack_too_large_leaves_the_rest_to_the_others() {
        // Three replicas; the large rack takes one third at most, two thirds lie on 4 of 10: (2/3) / 4 over 1 / 10.
        let racks: Vec<(u16, &[u64])> = vec![(0, &[3, 3]), (0, &[1, 1]), (0, &[1, 1])];
        near(pressure(&cluster(1, &racks, &[("rack", 1)], 3, &[9])), 10.0 / 6.0);
    }

    #[test]
    fn a_node_too_large_is_bounded_without_any_limit() {
        // Two replicas, never twice on one node: half lies on the 2 small units of 10.
        let racks: Vec<(u16, &[u64])> = vec![(0, &[8, 1, 1])];
        near(pressure(&cluster(1, &racks, &[("zone", 2)], 2, &[9])), 0.5 / 2.0 * 10.0);
    }

    #[test]
    fn an_outer_limit_binds_where_the_inner_one_does_not() {
        // Zone 0 has 3 of 4 racks and may take 2 of 3 replicas: zone 1 holds a third on a quarter of the capacity.
        let racks: Vec<(u16, &[u64])> = vec![(0, &[1]), (0, &[1]), (0, &[1]), (1, &[1])];
        near(pressure(&cluster(2, &racks, &[("zone", 2), ("rack", 1)], 3, &[9])), 4.0 / 3.0);
    }

    #[test]
    fn nothing_to_hold_and_nothing_to_hold_it_are_even() {
        near(pressure(&cluster(1, &[(0, &[1])], &[], 1, &[])), 1.0);
        near(pressure(&cluster(1, &[(0, &[0])], &[], 1, &[5])), 1.0);
    }

    #[test]
    fn the_level_that_stands_against_more_replicas_is_named() {
        let racks: Vec<(u16, &[u64])> = vec![(0, &[1, 1, 1]), (0, &[1]), (1, &[1])];
        let limits = [("zone", 2), ("rack", 2)];
        let zone = Limited { level: Level(0), limit: 2, domains: 2 };
        let of = |limits: &[(&str, u8)]| replicas(&cluster(2, &racks, limits, 1, &[]));
        assert_eq!(of(&limits), Feasible { replicas: 3, nodes: 5, limited_by: Some(zone) });
        let rack = Limited { level: Level(1), limit: 1, domains: 3 };
        assert_eq!(of(&[]), Feasible { replicas: 3, nodes: 5, limited_by: Some(rack) });
        assert_eq!(of(&[("rack", 3)]), Feasible { replicas: 5, nodes: 5, limited_by: None });
    }

    /// All sets of nodes, the largest that obeys, by trying each.
    fn by_trying(zone_of: &[u16], rack_of: &[u16], zone: u8, rack: u8) -> u32 {
        let most = |of: &[u16], set: u32| {
            let count = |d: u16| (0..of.len()).filter(|n| set >> n & 1 == 1 && of[*n] == d).count();
            of.iter().map(|d| count(*d)).max().unwrap_or(0)
        };
        let obeys =
            |set: &u32| most(zone_of, *set) <= usize::from(zone) && most(rack_of, *set) <= usize::from(rack);
        (0..1u32 << zone_of.len()).filter(obeys).map(u32::count_ones).max().unwrap_or(0)
    }

    #[test]
    fn the_most_replicas_are_those_of_the_largest_set_that_obeys() {
        let shapes: [&[(u16, usize)]; 4] = [
            &[(0, 3), (0, 1), (1, 2)],
            &[(0, 1), (1, 1), (2, 4)],
            &[(0, 5)],
            &[(0, 2), (1, 2), (1, 2), (1, 1)],
        ];
        for (shape, zone, rack) in shapes
            .into_iter()
            .flat_map(|shape| (1..4).flat_map(move |zone| (1..4).map(move |rack| (shape, zone, rack))))
        {
            let ones = [1u64; 5];
            let racks: Vec<(u16, &[u64])> = shape.iter().map(|(zone, n)| (*zone, &ones[..*n])).collect();
            let each = |of: &dyn Fn(usize) -> u16| -> Vec<u16> {
                let racks = shape.iter().enumerate();
                racks.flat_map(|(at, (_, n))| std::iter::repeat_n(of(at), *n)).collect()
            };
            let tried = by_trying(&each(&|at| shape[at].0), &each(&|at| at as u16), zone, rack);
            let snapshot = cluster(3, &racks, &[("zone", zone), ("rack", rack)], 1, &[]);
            assert_eq!(replicas(&snapshot).replicas, tried, "{shape:?} {zone} {rack}");
        }
    }

    #[test]
    fn no_split_of_a_partition_presses_less_than_the_bound() {
        // Many partitions of one size, every share of them on each set of three racks in steps of a twelfth: the
        // best found is at the bound, which lies on the grid.
        let racks: Vec<(u16, &[u64])> = vec![(0, &[6]), (0, &[2]), (0, &[2]), (0, &[2])];
        let bound = pressure(&cluster(1, &racks, &[("rack", 1)], 3, &[12]));
        let mut best = f64::INFINITY;
        for (a, b, c) in
            (0..=12u32).flat_map(|a| (0..=12 - a).flat_map(move |b| (0..=12 - a - b).map(move |c| (a, b, c))))
        {
            let d = 12 - a - b - c;
            // Sets leave out racks 3, 2, 1 and 0.
            let held = [a + b + c, a + b + d, a + c + d, b + c + d];
            let over = held.iter().zip([6.0, 2.0, 2.0, 2.0]).map(|(h, c)| f64::from(*h) / c / 3.0);
            best = best.min(over.fold(0.0, f64::max));
        }
        near(bound, best);
    }
}
