//! Small clusters for tests.

use crate::{Bearing, Domain, Domains, Field, FieldPolicy, Holding, Node, Surroundings};
use proptest::prelude::*;

/// A cluster whose facts can be changed before its field is built.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) nodes: Vec<Bearing>,
    pub(crate) hazard_per_hour: Vec<f64>,
    pub(crate) domain_of: Vec<Vec<Domain>>,
    pub(crate) domain_hazard_per_hour: Vec<f64>,
    pub(crate) partitions: Vec<Part>,
}

/// A partition: holders, shares, reads per second.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) subset: Vec<Node>,
    pub(crate) shares: Vec<f64>,
    pub(crate) reads_per_s: f64,
}

impl Part {
    pub(crate) fn new(subset: &[u32], shares: &[f64], reads_per_s: f64) -> Self {
        let subset = subset.iter().copied().map(Node).collect();
        Self { subset, shares: shares.to_vec(), reads_per_s }
    }

    pub(crate) fn held(&self) -> Holding<'_> {
        Holding { subset: &self.subset, shares: &self.shares, reads_per_s: self.reads_per_s }
    }
}

impl Sample {
    /// So many nodes of a capacity that do nothing yet, of a hazard of 1/1000 h, each in one of three racks.
    pub(crate) fn new(nodes: usize, capacity_per_s: f64) -> Self {
        Self {
            nodes: vec![Bearing { capacity_per_s: Some(capacity_per_s), other_per_s: 0.0 }; nodes],
            hazard_per_hour: vec![0.001; nodes],
            domain_of: (0..nodes).map(|at| vec![Domain((at % 3) as u32)]).collect(),
            domain_hazard_per_hour: vec![0.0; 3],
            partitions: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, subset: &[u32], shares: &[f64], reads_per_s: f64) -> Self {
        self.partitions.push(Part::new(subset, shares, reads_per_s));
        self
    }

    pub(crate) fn field(&self) -> Field {
        let holdings = self.partitions.iter().map(Part::held);
        Field::build(&self.nodes, holdings, FieldPolicy::default()).unwrap()
    }

    pub(crate) fn domains(&self) -> Domains {
        Domains::new(self.domain_of.iter().map(Vec::as_slice), self.domain_hazard_per_hour.clone()).unwrap()
    }

    /// Calls with the surroundings.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let (field, domains) = (self.field(), self.domains());
        look(&Surroundings::new(&field, &self.hazard_per_hour, &domains, None).unwrap())
    }

    /// The same cluster with its nodes in another order: node `at` becomes `order[at]`.
    pub(crate) fn renamed(&self, order: &[u32]) -> Self {
        let mut renamed = self.clone();
        for (at, to) in order.iter().enumerate() {
            renamed.nodes[*to as usize] = self.nodes[at];
            renamed.hazard_per_hour[*to as usize] = self.hazard_per_hour[at];
            renamed.domain_of[*to as usize].clone_from(&self.domain_of[at]);
        }
        for node in renamed.partitions.iter_mut().flat_map(|part| &mut part.subset) {
            *node = Node(order[node.at()]);
        }
        renamed
    }
}

/// Shares of so many holders: uneven, even, or all on the first.
fn shares(holders: usize) -> impl Strategy<Value = Vec<f64>> {
    let normal = |weights: Vec<f64>| {
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>()
    };
    prop_oneof![
        4 => prop::collection::vec(0.01..1.0, holders).prop_map(normal),
        1 => Just(vec![1.0 / holders as f64; holders]),
        1 => Just((0..holders).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect()),
    ]
}

/// A partition on some of so many nodes.
pub(crate) fn part(nodes: usize) -> impl Strategy<Value = Part> {
    (1..=4_usize.min(nodes)).prop_flat_map(move |holders| {
        let order = Just((0..nodes as u32).collect::<Vec<u32>>()).prop_shuffle();
        (order, shares(holders), 0.0..100.0_f64)
            .prop_map(move |(order, shares, reads_per_s)| Part::new(&order[..holders], &shares, reads_per_s))
    })
}

/// Clusters of 4 to 7 nodes, some of them nearly full or beyond.
pub(crate) fn clusters() -> impl Strategy<Value = Sample> {
    (4..=7_usize).prop_flat_map(|nodes| {
        let bearing = (60.0..400.0_f64, 0.0..20.0_f64)
            .prop_map(|(capacity, other_per_s)| Bearing { capacity_per_s: Some(capacity), other_per_s });
        (
            prop::collection::vec(bearing, nodes),
            prop::collection::vec(0.0..0.01_f64, nodes),
            prop::collection::vec(0.0..0.002_f64, 3),
            prop::collection::vec(part(nodes), 1..12),
        )
            .prop_map(move |(bearings, hazards, domain_hazard_per_hour, partitions)| Sample {
                nodes: bearings,
                hazard_per_hour: hazards,
                domain_hazard_per_hour,
                partitions,
                ..Sample::new(nodes, 1.0)
            })
    })
}

/// Whether two numbers are the same but for rounding: 1e-9 of the larger, or of 1.
pub(crate) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}
