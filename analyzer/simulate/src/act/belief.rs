//! A cluster as it will be when copies under way have ended, as far as it is known, and what partitions lose in it.

use crate::analyst::{Analyst, Expect, Hazards};
use crate::cluster::Cluster;
use crate::policy::{Limits, Parts};
use crate::world::{REPLICAS, Shares, normed};
use isotherm_risk::{
    Bearing, Candidates, Domain, Domains, ExposurePolicy, Field, FieldPolicy, GatePolicy, Holding,
    LossPolicy, Lying, Mode, Node, Redundancy, RiskPolicy, Situation, Surroundings,
};

/// What is believed, and the loss that follows.
pub(crate) struct Belief<'a> {
    pub(crate) parts: Parts,
    pub(crate) analyst: &'a Analyst,
    pub(crate) hazards: Hazards,
    pub(crate) holders: Vec<[Node; REPLICAS]>,
    /// Shares if all serve.
    pub(crate) natural: Vec<Shares>,
    pub(crate) drained: Vec<Option<u8>>,
    /// Reads per second at the busiest hour, as multiples of a mean partition's reads per minute.
    pub(crate) reads_per_s: Vec<f64>,
    pub(crate) suspects: Vec<bool>,
    /// Partitions with a copy under way.
    pub(crate) copied: Vec<bool>,
    pub(crate) up: Vec<bool>,
    drained_left: f64,
    shares: Vec<Shares>,
    bearings: Vec<Bearing>,
    pub(crate) field: Field,
    /// Load over capacity of all nodes.
    mean_fullness: f64,
    domains: Domains,
    failing: Vec<f64>,
    policy: RiskPolicy,
    redundancy: Redundancy,
    pub(crate) limits: Limits,
    /// The gate for the parts that decide, and the same when a suspect is left.
    gates: [GatePolicy; 2],
}

/// What a suspect is taken to bear of its capacity, to fail of its reads, and to add to its hazard per hour: nobody
/// has measured them, and they need only be large.
const SUSPECT_BEARS: f64 = 0.5;
const SUSPECT_FAILS: f64 = 0.02;
const SUSPECT_HAZARD_PER_H: f64 = 0.02;

impl<'a> Belief<'a> {
    pub(crate) fn new(
        analyst: &'a Analyst,
        cluster: &Cluster<'_>,
        parts: Parts,
        suspects: Vec<bool>,
        limits: &Limits,
    ) -> Self {
        let facts = analyst.facts();
        let expect = if parts.forecast { Expect::Forecast } else { Expect::Present };
        let mut hazards = analyst.hazards();
        if !parts.hazard {
            // One for all: failures are known to happen, not where.
            let mean = hazards.per_h.iter().sum::<f64>() / hazards.per_h.len() as f64;
            hazards.per_h.fill(mean);
            hazards.over_class.fill(1.0);
            hazards.deviation_per_h.fill(0.0);
        }
        for node in (0..suspects.len()).filter(|node| suspects[*node]) {
            let times = 1.0 + SUSPECT_HAZARD_PER_H / hazards.per_h[node];
            hazards.per_h[node] *= times;
            hazards.over_class[node] *= times;
        }
        let count = cluster.holders.len();
        let mut holders: Vec<[Node; REPLICAS]> =
            cluster.holders.iter().map(|row| row.map(|node| Node(u32::from(node)))).collect();
        let mut copied = vec![false; count];
        for copy in &cluster.copies {
            copied[copy.partition] = true;
            holders[copy.partition][copy.slot] = Node(u32::from(copy.to));
        }
        let bearings: Vec<Bearing> = facts
            .nodes
            .iter()
            .zip(&suspects)
            .map(|(node, suspect)| Bearing {
                capacity_per_s: Some(node.capacity / 60.0 * if *suspect { SUSPECT_BEARS } else { 1.0 }),
                other_per_s: 0.0,
            })
            .collect();
        let racks: Vec<Domain> = facts.nodes.iter().map(|node| Domain(u32::from(node.rack))).collect();
        let most = racks.iter().map(|rack| rack.at() + 1).max().unwrap_or(0);
        // A rack fails twice a year; what is known of it is an operator's word.
        let domains = Domains::new(racks.iter().map(std::slice::from_ref), vec![1.0 / 180.0 / 24.0; most])
            .expect("every rack is one of those counted");
        let policy = RiskPolicy {
            exposure: ExposurePolicy { permanent_share: 0.0, ..ExposurePolicy::default() },
            loss: LossPolicy {
                reroute_s: 60.0,
                overload: parts.headroom,
                busy_share: 0.25,
                ..LossPolicy::default()
            },
            ..RiskPolicy::default()
        };
        let natural: Vec<Shares> = (0..count).map(|at| analyst.expected(at, expect)).collect();
        let reads_per_s = (0..count).map(|at| analyst.peak(at) / 60.0).collect();
        let failing = suspects.iter().map(|suspect| if *suspect { SUSPECT_FAILS } else { 0.0 }).collect();
        let mut belief = Self {
            parts,
            analyst,
            hazards,
            holders,
            natural,
            drained: cluster.drained.clone(),
            reads_per_s,
            suspects,
            copied,
            up: cluster.nodes.up.clone(),
            drained_left: cluster.world.spec().copying.drained_left,
            shares: Vec::new(),
            field: Field::build(&bearings, [], FieldPolicy::default()).expect("capacities are above 0"),
            mean_fullness: 0.0,
            bearings,
            domains,
            failing,
            policy,
            redundancy: Redundancy { quorum_bears: 2, missing: 0 },
            gates: gates(parts, limits),
            limits: limits.clone(),
        };
        belief.shares = (0..count).map(|at| belief.shares_with(at, belief.drained[at])).collect();
        belief.build();
        belief
    }

    /// Shares of a partition if a slot of it is drained.
    pub(crate) fn shares_with(&self, partition: usize, drained: Option<u8>) -> Shares {
        let mut shares = self.natural[partition];
        if let Some(slot) = drained {
            shares[usize::from(slot)] *= self.drained_left;
        }
        normed(shares)
    }

    pub(crate) fn shares(&self, partition: usize) -> &Shares {
        &self.shares[partition]
    }

    /// Counts a change as done.
    pub(crate) fn change(&mut self, partition: usize, holders: [Node; REPLICAS], drained: Option<u8>) {
        self.holders[partition] = holders;
        self.drained[partition] = drained;
        self.shares[partition] = self.shares_with(partition, drained);
        self.build();
    }

    fn build(&mut self) {
        let holdings = (0..self.holders.len()).map(|at| self.held(at));
        self.field = Field::build(&self.bearings, holdings, FieldPolicy::default())
            .expect("shares add up to 1 and reads are counts");
        let load: f64 = (0..self.bearings.len()).map(|at| self.field.load_per_s(Node(at as u32))).sum();
        let capacity: f64 = self.bearings.iter().filter_map(|bearing| bearing.capacity_per_s).sum();
        self.mean_fullness = load / capacity;
    }

    pub(crate) fn held(&self, partition: usize) -> Holding<'_> {
        Holding {
            subset: &self.holders[partition],
            shares: &self.shares[partition],
            reads_per_s: self.reads_per_s[partition],
        }
    }

    /// A partition as candidates of it are judged.
    pub(crate) fn lying(&self, partition: usize) -> Lying<'_> {
        Lying { held: self.held(partition), redundancy: self.redundancy }
    }

    /// What candidates are judged with; it is urgent when a suspect is left.
    pub(crate) fn candidates(&self, urgent: bool) -> Candidates<'_> {
        Candidates {
            surroundings: self.surroundings(),
            hazard_over_class: &self.hazards.over_class,
            hazard_sd_per_hour: &self.hazards.deviation_per_h,
            // The field is that of the busiest hour.
            peak_per_s: None,
            arriving_per_s: &[],
            mean_fullness: Some(self.mean_fullness),
            risk: &self.policy,
            gate: self.gate(urgent),
        }
    }

    /// Expected loss per hour of a partition on its holders, with other shares of the reads.
    pub(crate) fn loss_per_hour(&self, partition: usize, shares: &[f64]) -> Option<f64> {
        let own = self.held(partition);
        let held = Holding { shares, ..own };
        self.surroundings().loss_per_hour(Some(own), &held, self.redundancy, &self.policy)
    }

    /// Exposure per hour of a partition where it lies.
    pub(crate) fn exposure(&self, partition: usize) -> f64 {
        let own = self.held(partition);
        let exposure = self.surroundings().exposure_per_hour(Some(own), &own, &self.policy.exposure);
        exposure.expect("all capacities are known")
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings::new(&self.field, &self.hazards.per_h, &self.domains, Some(&self.failing))
            .expect("all are of the same nodes")
    }

    /// What the gate is told of a partition, but for what could be done about it.
    pub(crate) fn situation(&self, partition: usize) -> Situation {
        let holders = self.holders[partition];
        let most = |of: &dyn Fn(Node) -> f64| holders.iter().map(|node| of(*node)).fold(0.0, f64::max);
        let own = self.held(partition);
        Situation {
            risk: None,
            loss_per_hour: self.loss_per_hour(partition, own.shares),
            gray: holders.iter().any(|node| self.suspects[node.at()]),
            hazard_over_class: most(&|node| self.hazards.over_class[node.at()]),
            exceeds_now: Some(most(&|node| self.exceeds(node, 0.0))),
            exceeds_forecast: Some(most(&|node| self.exceeds(node, self.worst_spill(node)))),
            replica_over_largest: None,
            load_over_capacity: None,
            drift_per_hour: None,
            shift: None,
            best_move: None,
            mode: Mode::Auto,
            frozen: false,
        }
    }

    /// Probability that a node with so much more exceeds its headroom at the busiest hour.
    fn exceeds(&self, node: Node, more_per_s: f64) -> f64 {
        let load = self.field.load_per_s(node) + more_per_s;
        self.field.exceeds(node, load).expect("all capacities are known")
    }

    fn worst_spill(&self, node: Node) -> f64 {
        self.field.spills_into(node).next().map_or(0.0, |(_, reads)| reads)
    }

    /// Bytes of a replica.
    pub(crate) fn bytes(&self, partition: usize) -> u64 {
        (self.analyst.facts().sizes[partition] * MEAN_BYTES) as u64
    }

    /// Load over capacity at the busiest hour.
    pub(crate) fn filled(&self, node: Node) -> f64 {
        self.field.load_per_s(node) / self.field.capacity_per_s(node).expect("all capacities are known")
    }

    /// Whether a node is a cause to act: its hazard is far above its class's, or it will not have headroom, with
    /// the node that would leave it the most gone.
    pub(crate) fn is_cause(&self, node: Node) -> bool {
        let gate = &self.limits.gate;
        let hazardous = self.hazards.over_class[node.at()] >= gate.hazard_trigger;
        hazardous || self.violates(node)
    }

    /// The second of both.
    pub(crate) fn violates(&self, node: Node) -> bool {
        let gate = &self.limits.gate;
        let after = gate.foresees(self.exceeds(node, self.worst_spill(node)));
        self.parts.headroom && (after || self.exceeds(node, 0.0) >= gate.headroom_trigger)
    }

    /// Whether a node may serve so much more, by what the gate asks of destinations.
    pub(crate) fn takes(&self, node: Node, more_per_s: f64, urgent: bool) -> bool {
        let gate = self.gate(urgent);
        let there = self.candidates(urgent).destination(node, more_per_s);
        let within = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
        let room = within(there.peak_over_capacity, gate.headroom)
            && within(there.peak_over_mean, gate.peak_over_mean);
        let safe = there.hazard_over_class <= gate.hazard_ratio;
        self.up[node.at()] && !self.suspects[node.at()] && safe && (room || !self.parts.headroom)
    }

    /// The gate for the parts that decide.
    pub(crate) fn gate(&self, urgent: bool) -> &GatePolicy {
        &self.gates[usize::from(urgent)]
    }
}

fn gates(parts: Parts, limits: &Limits) -> [GatePolicy; 2] {
    let mut gate = limits.gate.clone();
    gate.factors.headroom = parts.headroom;
    gate.factors.shifting = parts.shift;
    let urgent = GatePolicy { peak_over_mean: limits.urgent_peak_over_mean, ..gate.clone() };
    [gate, urgent]
}

/// Bytes of a mean replica.
const MEAN_BYTES: f64 = 40e9;
