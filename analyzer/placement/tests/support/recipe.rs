//! Random clusters of every odd kind, small enough to read when one fails.

use super::draws::Draws;
use isotherm_placement::{
    Assignment, Cluster, Column, Domain, DomainFacts, InFlight, Level, Link, Node, NodeFacts, NodeState,
    Partition, Partitions, Policy, Topology, hash,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

/// A cluster in few numbers, which shrink well.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) levels: u8,
    pub(crate) racks: u8,
    pub(crate) zones: u8,
    pub(crate) nodes: Vec<NodeRecipe>,
    pub(crate) partitions: Vec<PartitionRecipe>,
    /// Share of the capacity of nodes of weight 1 that is filled.
    pub(crate) filled: f64,
    pub(crate) judges_load: bool,
    /// Rows respect the domains where they can.
    pub(crate) orderly: bool,
    pub(crate) policy: PolicyRecipe,
}

#[derive(Debug, Clone)]
pub(crate) struct NodeRecipe {
    pub(crate) rack: u8,
    pub(crate) weight: Weight,
    pub(crate) state: NodeState,
    pub(crate) risk: Option<u8>,
    pub(crate) network: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Weight {
    Nothing,
    Ratio(u8),
    Huge,
}

#[derive(Debug, Clone)]
pub(crate) struct PartitionRecipe {
    pub(crate) size: u64,
    pub(crate) load: u16,
    pub(crate) replicas: u8,
    pub(crate) missing: u8,
    pub(crate) draw: u16,
    pub(crate) pinned: bool,
    /// Seconds since it moved.
    pub(crate) moved: Option<u32>,
    pub(crate) left: Option<u8>,
    pub(crate) in_flight: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct PolicyRecipe {
    pub(crate) per_rack: u8,
    pub(crate) per_zone: Option<u8>,
    pub(crate) risk_limit: Option<u8>,
    pub(crate) fill_limit: f64,
    pub(crate) breaker: f64,
    pub(crate) spread_factor: Option<u32>,
    pub(crate) byte_budget: Option<u64>,
    pub(crate) move_budget: Option<u32>,
}

/// Clusters as they are in use: nodes that are mostly up, no odd sizes.
pub(crate) fn plain() -> impl Strategy<Value = Recipe> {
    recipes(node(1), partition(0), Just(true), 0.2..0.8f64, plain_policy())
}

/// Clusters of every kind.
pub(crate) fn odd() -> impl Strategy<Value = Recipe> {
    recipes(node(8), partition(12), any::<bool>(), 0.1..1.1f64, policy())
}

fn recipes(
    nodes: impl Strategy<Value = NodeRecipe>,
    partitions: impl Strategy<Value = PartitionRecipe>,
    orderly: impl Strategy<Value = bool>,
    filled: impl Strategy<Value = f64>,
    policy: impl Strategy<Value = PolicyRecipe>,
) -> impl Strategy<Value = Recipe> {
    let shape = (0..4u8, 1..9u8, 1..4u8, any::<bool>());
    (shape, vec(nodes, 1..41), vec(partitions, 0..300), filled, orderly, policy).prop_map(
        |((levels, racks, zones, judges_load), nodes, partitions, filled, orderly, policy)| Recipe {
            levels,
            racks,
            zones,
            nodes,
            partitions,
            filled,
            judges_load,
            orderly,
            policy,
        },
    )
}

fn node(odd: u32) -> impl Strategy<Value = NodeRecipe> {
    let weight = prop_oneof![
        odd => Just(Weight::Nothing),
        80 => prop_oneof![Just(1u8), Just(2), Just(4), 1..9u8].prop_map(Weight::Ratio),
        odd => Just(Weight::Huge),
    ];
    let state = prop_oneof![
        100 => Just(NodeState::Up),
        odd => Just(NodeState::Draining),
        odd => Just(NodeState::Down),
    ];
    let risk = proptest::option::of(any::<u8>());
    (any::<u8>(), weight, state, risk, proptest::option::of(1..255u8))
        .prop_map(|(rack, weight, state, risk, network)| NodeRecipe { rack, weight, state, risk, network })
}

/// From two numbers, as strategies of every field take longer than plans. Small numbers are plain partitions.
fn partition(odd: u64) -> impl Strategy<Value = PartitionRecipe> {
    (any::<u64>(), any::<u64>()).prop_map(move |(mut a, mut b)| {
        let mut of_a = |bits: u32| take(&mut a, bits);
        let draw = of_a(16) as u16;
        let size = match of_a(7) {
            0 if odd > 1 => 1 << 50,
            1..4 if odd > 1 => 0,
            4..24 => of_a(17),
            _ => of_a(10) + 1,
        };
        let load = of_a(10) as u16;
        let replicas = if of_a(2) == 3 { 1 + (of_a(3) % 5) as u8 } else { 3 };
        let mut of_b = |bits: u32| take(&mut b, bits);
        let mut rare = |value: u64| of_b(7) < value;
        let (missing, pinned, in_flight) = (rare(odd), rare(odd), rare(odd / 2));
        let (moved, left) = (rare(odd), rare(odd));
        PartitionRecipe {
            size,
            load,
            replicas,
            missing: if missing { 1 + of_b(2) as u8 } else { 0 },
            draw,
            pinned,
            moved: moved.then(|| of_b(17) as u32),
            left: left.then(|| of_b(8) as u8),
            in_flight,
        }
    })
}

/// The lowest bits, which are taken off.
fn take(from: &mut u64, bits: u32) -> u64 {
    let taken = *from & ((1 << bits) - 1);
    *from >>= bits;
    taken
}

fn plain_policy() -> impl Strategy<Value = PolicyRecipe> {
    Just(()).prop_map(|()| PolicyRecipe {
        per_rack: 1,
        per_zone: None,
        risk_limit: None,
        fill_limit: 0.95,
        breaker: 1.0,
        spread_factor: None,
        byte_budget: None,
        move_budget: None,
    })
}

fn policy() -> impl Strategy<Value = PolicyRecipe> {
    (
        prop_oneof![4 => Just(1u8), 1 => 1..4u8],
        weighted(0.2, 1..4u8),
        weighted(0.2, any::<u8>()),
        prop_oneof![Just(0.95), 0.5..1.0f64],
        prop_oneof![4 => Just(1.0), 1 => 0.05..1.0f64],
        weighted(0.3, 1..20u32),
        weighted(0.3, 0..100_000u64),
        weighted(0.3, 0..50u32),
    )
        .prop_map(
            |(
                per_rack,
                per_zone,
                risk_limit,
                fill_limit,
                breaker,
                spread_factor,
                byte_budget,
                move_budget,
            )| {
                PolicyRecipe {
                    per_rack,
                    per_zone,
                    risk_limit,
                    fill_limit,
                    breaker,
                    spread_factor,
                    byte_budget,
                    move_budget,
                }
            },
        )
}

pub(crate) const NOW_S: u32 = 1_000_000;

impl Recipe {
    pub(crate) fn cluster(&self) -> Cluster {
        let topology = self.topology();
        let width = self.partitions.iter().map(|partition| partition.replicas).max().unwrap_or(1);
        let mut assignment = Assignment::empty(self.partitions.len(), usize::from(width));
        let mut in_flight = Vec::new();
        let policy = self.policy(&topology);
        let limits = policy.limits(topology.levels());
        for (at, recipe) in self.partitions.iter().enumerate() {
            let mut draws = Draws::new(u64::from(recipe.draw), "row");
            let mut order: Vec<Node> = topology.all().collect();
            draws.shuffle(&mut order);
            let mut row: Vec<Node> = Vec::new();
            let wanted = usize::from(recipe.replicas.saturating_sub(recipe.missing));
            let crowded = |row: &[Node], node: Node| {
                limits.iter().enumerate().any(|(level, limit)| {
                    let around = topology.domains_at(Level(level as u8));
                    let there = row.iter().filter(|other| around[other.at()] == around[node.at()]).count();
                    limit.is_some_and(|limit| there >= usize::from(limit))
                })
            };
            for node in order.iter().filter(|node| topology.node(**node).capacity_bytes > 0) {
                if row.len() < wanted && !(self.orderly && crowded(&row, *node)) {
                    row.push(*node);
                }
            }
            assignment.set(Partition(at as u32), &row);
            let free = order.iter().find(|node| !row.contains(node) && !crowded(&row, **node));
            if let (true, Some(to)) = (recipe.in_flight, free) {
                let from = if row.len() < usize::from(width) && draws.below(2) == 0 {
                    None
                } else {
                    row.first().copied()
                };
                if from.is_some() || row.len() < usize::from(recipe.replicas) {
                    in_flight.push(InFlight { partition: Partition(at as u32), from, to: *to });
                }
            }
        }
        Cluster {
            revision: 7,
            now_s: NOW_S,
            partitions: self.columns(),
            topology,
            assignment,
            in_flight,
            policy,
        }
    }

    fn topology(&self) -> Topology {
        let levels: Vec<String> = ["zone", "rack", "chassis"][..usize::from(self.levels)]
            .iter()
            .map(|level| (*level).to_owned())
            .collect();
        let (zones, racks) = (u16::from(self.zones), u16::from(self.racks));
        let mut domains = Vec::new();
        let counts = [zones, racks, racks * 2];
        let mut first = 0;
        for level in 0..usize::from(self.levels) {
            let before = domains.len() as u16;
            domains.extend((0..counts[level]).map(|at| DomainFacts {
                name: format!("{}{at}", levels[level]),
                level: Level(level as u8),
                parent: (level > 0).then(|| Domain(first + at % counts[level - 1])),
            }));
            first = before;
        }
        let total: u64 = self.partitions.iter().map(|p| p.size * u64::from(p.replicas)).sum();
        let weights: f64 = self.nodes.iter().map(|node| node.weight.ratio()).sum();
        let unit = total as f64 / self.filled / weights.max(1.0);
        let innermost = usize::from(self.levels).checked_sub(1).map(|level| counts[level]);
        let nodes = self.nodes.iter().enumerate().map(|(at, node)| NodeFacts {
            name: format!("n{at}"),
            key: hash::key(format!("n{at}").as_bytes()),
            // Uneven: the product of two draws is often small.
            domain: innermost
                .map(|count| Domain(first + (u16::from(node.rack & 15) * u16::from(node.rack >> 4)) % count)),
            capacity_bytes: match node.weight {
                Weight::Nothing => 0,
                Weight::Ratio(ratio) => (unit * f64::from(ratio)) as u64 + 1,
                Weight::Huge => 1 << 60,
            },
            load_capacity: self.judges_load.then(|| node.weight.ratio() * 1_000.0),
            network_bytes_per_s: node.network.map(|network| u64::from(network) * 1_000),
            cordoned: false,
            state: node.state,
            risk: node.risk.map(|risk| f64::from(risk) / 256.0),
        });
        let links = if self.levels > 0 && zones > 1 {
            vec![Link { a: Domain(0), b: Domain(1), bytes_per_s: 10_000 }]
        } else {
            Vec::new()
        };
        Topology::new(levels, domains, nodes.collect(), links).expect("a topology")
    }

    fn columns(&self) -> Partitions {
        let all = &self.partitions;
        let mut partitions = Partitions::new(
            (0..all.len()).map(|at| hash::key(format!("p{at}").as_bytes())).collect(),
            all.iter().map(|partition| partition.size).collect(),
            all.iter().map(|partition| f64::from(partition.load)).collect(),
            3,
        );
        let node = |draw: u8| Node(u16::from(draw) % self.nodes.len() as u16);
        partitions.replicas = Column::Each(all.iter().map(|partition| partition.replicas).collect());
        partitions.pinned = Column::Each(all.iter().map(|partition| partition.pinned).collect());
        partitions.moved_at_s =
            Column::Each(all.iter().map(|partition| partition.moved.map(|ago| NOW_S - ago)).collect());
        partitions.last_left = Column::Each(all.iter().map(|partition| partition.left.map(node)).collect());
        partitions
    }

    fn policy(&self, topology: &Topology) -> Policy {
        let recipe = &self.policy;
        let mut policy = Policy {
            spread_factor: recipe.spread_factor,
            fill_limit: recipe.fill_limit,
            risk_limit: recipe.risk_limit.map(|risk| f64::from(risk) / 256.0),
            breaker: recipe.breaker,
            byte_budget: recipe.byte_budget,
            move_budget: recipe.move_budget,
            ..Policy::default()
        };
        if let Some(innermost) = topology.levels().last() {
            policy.replicas_per_domain.insert(innermost.clone(), recipe.per_rack);
        }
        if let (Some(limit), true) = (recipe.per_zone, topology.levels().len() > 1) {
            policy.replicas_per_domain.insert(topology.levels()[0].clone(), limit);
        }
        policy
    }
}

impl Weight {
    fn ratio(self) -> f64 {
        match self {
            Self::Nothing => 0.0,
            Self::Ratio(ratio) => f64::from(ratio),
            Self::Huge => 16.0,
        }
    }
}
